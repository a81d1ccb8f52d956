# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""The guards' unit files on a host: written in one step with their reload, enabled and started."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass
from pathlib import Path

from ..errors import BadInput
from ..files import read_bounded, write_atomic
from ..settings import Paths
from ..steps import reached
from . import systemd
from .host import WATCHDOG_TIMER

TMPFILES = "tmpfiles.conf"
GUARDS = ("qsc-resume.service", WATCHDOG_TIMER)
"""What runs from install to uninstall. The monitor's timer is started when a run is armed."""
_OURS = re.compile(r"qsc-[a-z]+\.(service|timer)")


@dataclass(frozen=True)
class Change:
    """A file that differs; ``before`` is empty where there is none."""

    path: Path
    before: str
    after: str


def path_of(name: str, paths: Paths) -> Path:
    """Where a unit file stands. Raises BadInput for a name that is not one of ours."""
    if name == TMPFILES:
        return paths.tmpfiles
    if not _OURS.fullmatch(name):
        raise BadInput(f"units: {name!r:.80} is not a unit of this collection", remedy="Names are qsc-*.service|timer.")
    return paths.units / name


def plan(units: t.Mapping[str, str], paths: Paths) -> list[Change]:
    """What differs. Raises BadInput."""
    changes = []
    for name, text in units.items():
        path = path_of(name, paths)
        if not isinstance(text, str) or not text.strip():
            raise BadInput(f"units: {name} has no text", remedy="Give the text of the unit file.")
        try:
            before = read_bounded(path).decode("utf-8", "replace")
        except FileNotFoundError:
            before = ""
        if before != text:
            changes.append(Change(path, before, text))
    return changes


def guards_down() -> list[str]:
    """Guards that are not enabled and running, as sentences."""
    down = []
    for unit in GUARDS:
        facts = systemd.show(unit)
        if facts.active_state != "active":
            down.append(f"{unit} started")
        if facts.unit_file_state != "enabled":
            down.append(f"{unit} enabled")
    return down


def differ(units: t.Mapping[str, str], paths: Paths) -> list[str]:
    """What ``install`` would do, as sentences; also the reload that one which was cut off has left out."""
    files = [f"unit {change.path}" for change in plan(units, paths)]
    stale = systemd.stale([name for name in units if name != TMPFILES])
    return [*files, *(f"{unit} reloaded" for unit in stale), *guards_down()]


def install(units: t.Mapping[str, str], paths: Paths) -> tuple[list[Change], list[str]]:
    """Write what differs, reload, enable and start the guards; returns the changed files and the guards' changes.

    Reloaded every time: an installation that was cut off between files and reload is healed by the next one.
    """
    changes = plan(units, paths)
    for change in changes:
        reached("upgrade.units")
        write_atomic(change.path, change.after.encode())
    reached("upgrade.reload")
    systemd.daemon_reload()
    down = guards_down()
    if down:
        reached("upgrade.guards")
        for unit in GUARDS:
            systemd.enable(unit)
    return changes, down
