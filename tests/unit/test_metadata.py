# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""galaxy.yml, meta/runtime.yml and the changelog say what the collection is."""

from __future__ import annotations

import ast
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.qsc.canary.plugins.module_utils.qsc import __version__


def load(path: Path) -> t.Any:
    return yaml.safe_load(path.read_text())


@pytest.fixture(scope="module")
def modules(root: Path) -> dict[str, dict[str, t.Any]]:
    """The DOCUMENTATION of every module, read without importing it."""
    found = {}
    for path in sorted((root / "plugins/modules").glob("*.py")):
        if path.stem == "__init__":
            continue
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "DOCUMENTATION":
                found[path.stem] = yaml.safe_load(ast.literal_eval(node.value))
        assert path.stem in found, f"{path.name} has no DOCUMENTATION"
    assert found
    return found


def test_the_action_group_holds_every_module(root: Path, modules: dict[str, dict[str, t.Any]]) -> None:
    groups = load(root / "meta/runtime.yml")["action_groups"]
    assert sorted(groups["canary"]) == sorted(modules)


def test_the_telemetry_group_holds_the_modules_that_connect_to_redis(
    root: Path, modules: dict[str, dict[str, t.Any]]
) -> None:
    groups = load(root / "meta/runtime.yml")["action_groups"]
    connecting = [
        name
        for name, documentation in modules.items()
        if "login_host" in (documentation.get("options") or {})
        or any("redis" in fragment for fragment in documentation.get("extends_documentation_fragment") or [])
    ]
    assert sorted(groups["telemetry"]) == sorted(connecting)


def test_the_version_has_release_notes(root: Path) -> None:
    version = load(root / "galaxy.yml")["version"]
    assert version in load(root / "changelogs/changelog.yaml")["releases"]
    assert version.replace(".", "\\.") in (root / "CHANGELOG.md").read_text()


def test_the_core_knows_the_version(root: Path) -> None:
    """Every entry of the ledger names it."""
    assert load(root / "galaxy.yml")["version"] == __version__


def test_every_module_dates_from_this_version(root: Path, modules: dict[str, dict[str, t.Any]]) -> None:
    version = load(root / "galaxy.yml")["version"]
    later = [name for name, documentation in modules.items() if documentation.get("version_added") != version]
    assert later == []


def test_no_dependency_needs_galaxy(root: Path) -> None:
    assert load(root / "galaxy.yml")["dependencies"] == {}


def test_every_ansible_core_has_the_same_sanity_exceptions(root: Path) -> None:
    texts = {path.name: path.read_text() for path in (root / "tests/sanity").glob("ignore-2.*.txt")}
    assert len(texts) == 4
    assert len(set(texts.values())) == 1, "an exception was added for one version of ansible-core only"
