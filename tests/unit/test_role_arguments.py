# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role's defaults and its argument specification are one list: same names, same defaults, all of them in use."""

from __future__ import annotations

import json
import re
import typing as t
from pathlib import Path

import pytest
import yaml

from helpers.local_play import evaluate

Options = dict[str, dict[str, t.Any]]


@pytest.fixture(scope="module")
def role(root: Path) -> Path:
    return root / "roles" / "qsc_canary"


@pytest.fixture(scope="module")
def entry_points(role: Path) -> dict[str, Options]:
    specs = yaml.safe_load((role / "meta/argument_specs.yml").read_text())["argument_specs"]
    return {name: spec.get("options") or {} for name, spec in specs.items()}


@pytest.fixture(scope="module")
def options(entry_points: dict[str, Options]) -> Options:
    return {name: option for found in entry_points.values() for name, option in found.items()}


@pytest.fixture(scope="module")
def defaults(role: Path) -> dict[str, t.Any]:
    loaded = yaml.safe_load((role / "defaults/main.yml").read_text())
    assert isinstance(loaded, dict)
    return loaded


@pytest.fixture(scope="module")
def evaluated(
    role: Path, clean_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, t.Any]:
    """The defaults as Ansible sees them where no QSC_ variable is set."""
    folder = tmp_path_factory.mktemp("defaults")
    play = {
        "vars_files": [str(role / "defaults/main.yml")],
        "tasks": [
            {
                "ansible.builtin.copy": {
                    "content": "{{ dict(names | zip(names | map('extract', vars))) | to_json }}",
                    "dest": str(folder / "defaults.json"),
                    "mode": "0600",
                },
                "vars": {"names": list(yaml.safe_load((role / "defaults/main.yml").read_text()))},
            }
        ],
    }
    evaluate(folder, play, clean_environment)
    found = json.loads((folder / "defaults.json").read_text())
    assert isinstance(found, dict)
    return found


def default_of(option: dict[str, t.Any]) -> t.Any:
    """The default an option documents; that of a dictionary may stand in its parts."""
    if "default" not in option and option.get("options"):
        return {name: default_of(part) for name, part in option["options"].items()}
    # What Ansible takes for an option without a default: absent, or what the defaults write for "not given".
    return option.get("default")


def test_same_names(options: Options, defaults: dict[str, t.Any]) -> None:
    assert sorted(options) == sorted(defaults)


def test_names_have_the_role_s_prefix(options: Options) -> None:
    assert [name for name in options if not name.startswith("qsc_canary_")] == []


def test_same_defaults(options: Options, evaluated: dict[str, t.Any]) -> None:
    different = {}
    for name, value in evaluated.items():
        option = options.get(name, {})
        documented = default_of(option)
        not_given = documented is None and value in ("", {}, [])
        if not not_given and (documented != value or isinstance(documented, bool) != isinstance(value, bool)):
            different[name] = {"defaults/main.yml": value, "argument_specs.yml": documented}
    assert different == {}


def test_an_option_is_the_same_at_every_entry_point(entry_points: dict[str, Options], options: Options) -> None:
    for entry_point, found in entry_points.items():
        for name, option in found.items():
            assert option == options[name], f"{name} differs at {entry_point}"


def test_every_option_has_a_type_and_a_description(options: Options) -> None:
    assert [name for name, option in options.items() if not option.get("description") or not option.get("type")] == []


def test_every_entry_point_has_a_task_file(role: Path, entry_points: dict[str, Options]) -> None:
    assert [name for name in entry_points if not (role / "tasks" / f"{name}.yml").is_file()] == []


def test_every_variable_is_used(role: Path, defaults: dict[str, t.Any]) -> None:
    texts = "\n".join(
        path.read_text()
        for folder in ("tasks", "templates", "vars", "handlers")
        for path in (role / folder).rglob("*")
        if path.is_file()
    )
    unused = [name for name in defaults if not re.search(rf"\b{re.escape(name)}\b", texts)]
    assert unused == []
