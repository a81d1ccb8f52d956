# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real hosts with systemd, Redis and ssh for this folder; see tests/hosts."""

from __future__ import annotations

import statistics
import typing as t

import pytest
from qsc_hosts import fleet
from qsc_hosts.machine import PATIENCE

from helpers.plays import WORKER, Host, enough_telemetry, play, quick_engine


@pytest.fixture(scope="session")
def installed_host() -> t.Iterator[Host]:
    """One host with the agent installed, for all tests of this worker."""
    with fleet.session(f"suite-{WORKER}", 1) as [host]:
        done = play("install", host)
        assert done.rc == 0, done.output
        quick_engine(host)
        yield host


@pytest.fixture
def host(installed_host: Host) -> Host:
    """A host at a healthy, quick baseline; whatever a test left behind is undone."""
    reset(installed_host)
    return installed_host


def pytest_terminal_summary(terminalreporter: t.Any) -> None:
    """Print what the tests measured: speed is measured, never asserted."""
    measured: dict[str, list[float]] = {}
    for report in terminalreporter.stats.get("passed", []):
        for name, value in report.user_properties:
            if isinstance(value, float):
                measured.setdefault(name, []).append(value)
    for name, values in sorted(measured.items()):
        terminalreporter.write_line(
            f"{name}: median {statistics.median(values):.2f} s, maximum {max(values):.2f} s ({len(values)} runs)"
        )


def reset(host: Host) -> None:
    """Back to a healthy engine at baseline with nothing in flight; does nothing where that is so already."""
    if host.run(CLEAN, check=False).returncode == 0:
        enough_telemetry(host)
        return
    host.engine("reset")
    host.run("systemctl unmask -q quantum-ai_engine.service; qsc rollback --reason 'between two tests'", timeout=120)
    host.run("systemctl reset-failed quantum-ai_engine.service; systemctl restart quantum-ai_engine.service")
    quick_engine(host)
    host.run("cp /etc/quantum/control.json /run/control-between-tests")


# An untouched engine: its orders are those of the last reset, it has no faults, and no run is in flight.
CLEAN = """
    cmp -s /etc/quantum/control.json /run/control-between-tests && ! test -e /etc/quantum/faults.json &&
    systemctl is-active -q quantum-ai_engine.service qsc-watchdog.timer &&
    test "$(systemctl show -P NRestarts quantum-ai_engine.service)" = 0 &&
    ! test -e /run/qsc_canary/engine.env &&
    ! test -e /etc/systemd/system/quantum-ai_engine.service.d/qsc_canary.conf &&
    ! grep -qE '"state": "(arming|active|rolling_back)"' /var/lib/qsc_canary/record.json
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Plays and monitored runs take longer than a test elsewhere may."""
    for item in items:
        if "hosts_tests" in item.nodeid:
            marker = item.get_closest_marker("timeout")
            quiet_s = 400 if marker is None else marker.args[0]
            item.add_marker(pytest.mark.timeout(PATIENCE * quiet_s), append=False)
