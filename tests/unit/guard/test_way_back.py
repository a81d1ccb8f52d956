# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The way back: the command that is logged at activation, and the units that outlive what they end."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc import arguments
from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard.host import rollback_command
from ansible_collections.qsc.canary.plugins.module_utils.qsc.settings import Paths

TYING = ("Requires", "Requisite", "BindsTo", "PartOf", "Wants", "StopWhenUnneeded", "PropagatesStopTo", "Conflicts")


def test_the_logged_command_is_one_this_host_understands() -> None:
    words = shlex.split(rollback_command("patchtst-20260110T054315Z-ab12"))
    assert words[0] == str(Paths().command)
    options = arguments.parser(("watchdog",)).parse_args(words[1:])
    assert (options.subcommand, options.id) == ("rollback", "patchtst-20260110T054315Z-ab12")


@pytest.mark.parametrize("unit", ["monitor", "watchdog", "rollback", "resume"])
def test_no_guard_falls_with_the_engine(root: Path, unit: str) -> None:
    """A guard that requires the engine is stopped by the engine's own restart, in the middle of its work."""
    text = (root / "roles" / "qsc_canary" / "templates" / f"qsc-{unit}.service.j2").read_text()
    tied = [line for line in text.splitlines() if line.split("=")[0] in TYING]
    assert tied == []


def test_a_failed_monitor_fires_the_rollback(root: Path) -> None:
    """The monitor may do nothing but fail: systemd answers, and nothing but a missed check and an end by systemd is no
    failure."""
    text = (root / "roles" / "qsc_canary" / "templates" / "qsc-monitor.service.j2").read_text()
    lines = text.splitlines()
    assert "OnFailure=qsc-rollback.service" in lines[: lines.index("[Service]")]
    assert "SuccessExitStatus=75 SIGTERM" in lines
