# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which agent a host has to run: the controller tells the modules, who do not carry the package whole."""

from __future__ import annotations

import ast
import dataclasses
import os
import types
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.qsc.canary.plugins.lookup.agent_digest import LookupModule
from ansible_collections.qsc.canary.plugins.module_utils._guard import make_host
from ansible_collections.qsc.canary.plugins.module_utils.qsc import agent
from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import Refused
from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard import activation, systemd
from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard.host import Host
from ansible_collections.qsc.canary.plugins.module_utils.qsc.settings import Paths, Settings

CORE = "ansible_collections.qsc.canary.plugins.module_utils"
LIGHT = ("qsc_canary", "qsc_canary_info", "qsc_gate_report", "qsc_hook", "qsc_rollout", "qsc_quality_gate")


def carried(root: Path, module: str) -> set[str]:
    """The files of the package that Ansible packs with a module: all it imports, wherever, and all those import."""
    utils = root / "plugins" / "module_utils"
    found: set[Path] = set()
    left = [(root / "plugins" / "modules" / f"{module}.py", [])]
    while left:
        path, package = left.pop()
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ImportFrom):
                continue
            if node.level:
                where = [*package[: len(package) - node.level + 1], *(node.module or "").split(".")]
            elif (node.module or "").startswith(CORE):
                where = str(node.module)[len(CORE) :].strip(".").split(".")
            else:
                continue
            base = utils.joinpath(*(name for name in where if name))
            for one in (base.with_suffix(".py"), *(base / f"{item.name}.py" for item in node.names)):
                if one.is_file() and one not in found:
                    found.add(one)
                    left.append((one, list(one.relative_to(utils).parent.parts)))
    return {str(path.relative_to(utils / "qsc")) for path in found if path.is_relative_to(utils / "qsc")}


def test_the_lookup_tells_the_digest_that_the_installation_would_leave() -> None:
    assert LookupModule().run([]) == [agent.digest()]


def test_the_module_that_installs_carries_every_file(root: Path) -> None:
    assert {name for name in agent.FILES if not name.endswith("__init__.py")} <= carried(root, "qsc_agent")


@pytest.mark.parametrize("module", LIGHT)
def test_what_a_play_runs_at_every_activation_carries_less_than_half(root: Path, module: str) -> None:
    """Each file is parsed once a play on the controller, and compiled at every task on the host."""
    assert len(carried(root, module)) < len(agent.FILES) / 2


def test_a_rollback_does_not_ask_the_controller_for_anything(root: Path) -> None:
    tasks = root / "roles" / "qsc_canary" / "tasks"
    assert "agent_digest" not in (tasks / "rollback.yml").read_text()
    told = [
        task["qsc.canary.qsc_canary"]
        for name in ("activate.yml", "arm.yml", "promote.yml", "rollback.yml")
        for task in _tasks(yaml.safe_load((tasks / name).read_text()))
        if "qsc.canary.qsc_canary" in task
    ]
    assert len(told) >= 6
    assert all(("agent_digest" in task) == (task["state"] != "rolled_back") for task in told)


def _tasks(tree: t.Any) -> t.Iterator[dict[str, t.Any]]:
    for task in tree:
        yield task
        for part in ("block", "rescue", "always"):
            yield from _tasks(task.get(part, ()))


class _Module:
    def __init__(self, digest: str) -> None:
        self.params = {"settings": {}, "actor": "", "agent_digest": digest}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host whose guards are up and whose agent is ``0123``."""
    up = types.SimpleNamespace(load_state="loaded", active_state="active")
    monkeypatch.setattr(systemd, "show", lambda *_given: up)
    paths = Paths(prefix=tmp_path)
    paths.agent_root.mkdir(parents=True)
    (paths.agent_root / "current").symlink_to("0123")
    return Host(settings=Settings(), paths=paths)


@pytest.mark.parametrize(
    ("wanted", "says"),
    [("0123", ""), ("4567", "the agent on this host is 0123, this collection carries 4567"), (None, "carries ")],
)
def test_another_agent_on_the_host_starts_nothing(host: Host, wanted: str | None, says: str) -> None:
    told = dataclasses.replace(host, agent_digest=wanted)
    if not says:
        activation.check_guards(told)
        return
    with pytest.raises(Refused) as refused:
        activation.check_guards(told)
    assert says in refused.value.message
    assert "playbooks/install.yml" in refused.value.remedy


def test_no_agent_at_all_is_never_enough(host: Host) -> None:
    (host.paths.agent_root / "current").unlink()
    with pytest.raises(Refused, match="the agent on this host is missing"):
        activation.check_guards(dataclasses.replace(host, agent_digest="0123"))


def test_a_module_that_is_told_none_starts_nothing(host: Host) -> None:
    assert make_host(_Module("4567")).wanted_agent == "4567"
    untold = dataclasses.replace(host, agent_digest=make_host(_Module("")).agent_digest)
    with pytest.raises(Refused, match="was not told") as refused:
        activation.check_guards(untold)
    assert "lookup('qsc.canary.agent_digest')" in refused.value.remedy


def test_code_that_is_a_link_or_no_file_is_not_intact(tmp_path: Path) -> None:
    """Root's guards run it, and somebody else might write what a link leads to."""
    for name, data in agent.sources().items():
        path = tmp_path / "agent" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    assert agent.digest_in(tmp_path / "agent") == agent.digest()
    one = tmp_path / "agent" / "qsc" / "verdict.py"
    one.rename(tmp_path / "elsewhere.py")
    one.symlink_to(tmp_path / "elsewhere.py")
    assert agent.digest_in(tmp_path / "agent") == ""
    one.unlink()
    os.mkfifo(one)
    assert agent.digest_in(tmp_path / "agent") == ""
