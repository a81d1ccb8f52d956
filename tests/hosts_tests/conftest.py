# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real hosts with systemd, Redis and ssh for this folder; see tests/hosts."""

from __future__ import annotations

import os
import statistics
import typing as t

import pytest
from qsc_hosts import fleet

from helpers.plays import Host, play, quick_engine

WORKER = os.environ.get("PYTEST_XDIST_WORKER", "gw0")


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
    """Back to a healthy engine at baseline with nothing in flight."""
    host.engine("reset")
    host.run("systemctl unmask -q quantum-ai_engine.service; qsc rollback --reason 'between two tests'", timeout=120)
    host.run("systemctl reset-failed quantum-ai_engine.service; systemctl start quantum-ai_engine.service")
    quick_engine(host)
