# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real hosts with systemd, Redis and ssh for this folder; see tests/hosts."""

from __future__ import annotations

import typing as t

import pytest
from qsc_hosts import fleet

from helpers.plays import Host, play, quick_engine

COUNT = 3


@pytest.fixture(scope="session")
def fleet_of_hosts() -> t.Iterator[list[Host]]:
    """Some hosts with the agent installed, for the whole session."""
    with fleet.session("suite", COUNT) as hosts:
        done = play("install", *hosts)
        assert done.rc == 0, done.output
        for each in hosts:
            quick_engine(each)
        yield hosts


@pytest.fixture
def host(fleet_of_hosts: list[Host]) -> t.Iterator[Host]:
    """One host at a healthy, quick baseline; whatever a test leaves behind is undone."""
    chosen = fleet_of_hosts[0]
    reset(chosen)
    yield chosen


@pytest.fixture
def two_hosts(fleet_of_hosts: list[Host]) -> list[Host]:
    """Two hosts at baseline."""
    for each in fleet_of_hosts[:2]:
        reset(each)
    return fleet_of_hosts[:2]


def reset(host: Host) -> None:
    """Back to a healthy engine at baseline with nothing in flight."""
    host.engine("reset")
    host.run("systemctl unmask -q quantum-ai_engine.service; qsc rollback --reason 'between two tests'", timeout=120)
    host.run("systemctl reset-failed quantum-ai_engine.service; systemctl start quantum-ai_engine.service")
    quick_engine(host)
