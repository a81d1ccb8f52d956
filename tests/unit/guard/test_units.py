# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guards' unit files: planned, written, reloaded, started. systemctl is stood in for; the real one is on hosts."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import BadInput
from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard import systemd, units
from ansible_collections.qsc.canary.plugins.module_utils.qsc.settings import Paths

TEXTS = {"qsc-watchdog.timer": "[Timer]\n", "qsc-rollback.service": "[Service]\n", "tmpfiles.conf": "d /run/x\n"}


class Systemctl:
    """Remembers what it was asked for; every guard is down until it is enabled."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self.calls: list[str] = []
        self.up: set[str] = set()
        self.stale: dict[str, str] = {}

    def __call__(self, *arguments: str, **_options: float) -> str:
        self.calls.append(" ".join(arguments))
        if arguments[0] == "daemon-reload":
            assert (self.paths.units / "qsc-rollback.service").exists(), "reloaded before the files were there"
        if arguments[0] == "enable":
            self.up.add(arguments[-1])
        if arguments[:2] == ("show", "--property=Id,LoadState,NeedDaemonReload"):
            loaded = "LoadState=loaded\nNeedDaemonReload="
            return "\n\n".join(f"Id={name}\n{self.stale.get(name, loaded + 'no')}\n" for name in arguments[2:])
        if arguments[0] == "show":
            state = "active" if arguments[1] in self.up else "inactive"
            enabled = "enabled" if arguments[1] in self.up else "disabled"
            return f"LoadState=loaded\nActiveState={state}\nUnitFileState={enabled}\n"
        return ""


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    paths = Paths(tmp_path)
    paths.units.mkdir(parents=True)
    paths.tmpfiles.parent.mkdir(parents=True)
    return paths


@pytest.fixture
def systemctl(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> Systemctl:
    made = Systemctl(paths)
    monkeypatch.setattr(systemd, "systemctl", made)
    return made


def test_the_files_are_there_before_the_reload_and_the_guards_run_after_it(paths: Paths, systemctl: Systemctl) -> None:
    changes, guards = units.install(TEXTS, paths)
    assert {change.path for change in changes} == {
        paths.units / "qsc-watchdog.timer", paths.units / "qsc-rollback.service", paths.tmpfiles,
    }  # fmt: skip
    assert len(guards) == 4
    reload = systemctl.calls.index("daemon-reload")
    assert all(systemctl.calls.index(f"enable --now {unit}") > reload for unit in units.GUARDS)


def test_a_second_installation_changes_nothing_and_still_reloads(paths: Paths, systemctl: Systemctl) -> None:
    """A run that was cut off between the files and the reload must be healed by the next one."""
    units.install(TEXTS, paths)
    systemctl.calls.clear()
    assert units.install(TEXTS, paths) == ([], [])
    assert "daemon-reload" in systemctl.calls
    assert not [call for call in systemctl.calls if call.startswith("enable")]


def test_a_guard_that_was_stopped_is_started_again(paths: Paths, systemctl: Systemctl) -> None:
    units.install(TEXTS, paths)
    systemctl.up.discard("qsc-watchdog.timer")
    assert units.install(TEXTS, paths)[1] == ["qsc-watchdog.timer started", "qsc-watchdog.timer enabled"]
    assert "qsc-watchdog.timer" in systemctl.up


def test_what_differs_is_what_an_installation_does(paths: Paths, systemctl: Systemctl) -> None:
    differ = units.differ(TEXTS, paths)
    changes, guards = units.install(TEXTS, paths)
    assert differ == [*(f"unit {change.path}" for change in changes), *guards]
    assert units.differ(TEXTS, paths) == []


@pytest.mark.parametrize(
    "said",
    ["LoadState=loaded\nNeedDaemonReload=yes", "LoadState=not-found\nNeedDaemonReload=no", "LoadState=loaded", ""],
)
def test_a_reload_that_was_left_out_is_a_difference(paths: Paths, systemctl: Systemctl, said: str) -> None:
    """An installation that was cut off between the files and the reload leaves nothing else to be seen; and what
    systemd does not say is no proof of the contrary."""
    units.install(TEXTS, paths)
    systemctl.stale = {"qsc-rollback.service": said}
    assert units.differ(TEXTS, paths) == ["qsc-rollback.service reloaded"]


def test_planning_writes_nothing(paths: Paths) -> None:
    assert len(units.plan(TEXTS, paths)) == 3
    assert list(paths.units.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["../x.service", "qsc-x.socket", "sshd.service", "qsc-a/b.service", "", "qsc-x.service\n"]
)
def test_no_other_file_is_written(paths: Paths, name: str) -> None:
    with pytest.raises(BadInput, match="not a unit of this collection"):
        units.plan({name: "[Unit]\n"}, paths)


@pytest.mark.parametrize("text", ["", "  \n", None, 3])
def test_a_unit_needs_a_text(paths: Paths, text: t.Any) -> None:
    with pytest.raises(BadInput, match="has no text"):
        units.plan({"qsc-monitor.service": text}, paths)
