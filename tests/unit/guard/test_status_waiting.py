# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for the monitor's checks: until they are made or the run is over, never longer, and on this run alone."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import Refused
from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard import rollback, status
from ansible_collections.qsc.canary.plugins.module_utils.qsc.record import save
from helpers.machine import Machine
from helpers.samples import COLLAPSE


def check(machine: Machine, number: int, **changes: t.Any) -> t.Callable[[], object]:
    """The monitor makes its check of that number."""
    return lambda: machine.write_verdict(**{"checks_done": number, "checks_judged": number, **changes})


def wait(machine: Machine, checks: int, timeout_s: float = 300, canary_id: str = "") -> tuple[status.Followed, float]:
    """What was found, and the s it took."""
    begin = machine.time.boot
    found = status.await_checks(machine.host, checks=checks, timeout_s=timeout_s, canary_id=canary_id)
    return found, machine.time.boot - begin


@pytest.fixture
def active(machine: Machine) -> Machine:
    """A canary that was activated just now: no check yet."""
    machine.activate(machine.armed_and_restarted())
    machine.events.clear()
    return machine


def test_it_returns_when_the_check_was_made_and_no_earlier(active: Machine) -> None:
    for number in (1, 2, 3):
        active.time.at(30 * number, check(active, number))
    found, seconds = wait(active, 2)
    assert found == status.Followed(active.record().id, checks=2)
    assert found.reached(2)
    assert 60 <= seconds < 61


def test_checks_that_were_made_already_are_not_waited_for(active: Machine) -> None:
    check(active, 300)()
    before = active.files()
    found, seconds = wait(active, 5)
    assert (found.checks, seconds) == (300, 0)
    assert active.files() == before
    assert active.events == []


def test_a_missed_check_is_one(active: Machine) -> None:
    active.time.at(30, check(active, 0, checks_missed=1, missed_in_a_row=1, verdict="transient", status="WAIT"))
    found, _seconds = wait(active, 1)
    assert (found.checks, found.ending, found.reached(1)) == (1, False, True)


def test_the_time_is_bounded(active: Machine) -> None:
    check(active, 1)()
    found, seconds = wait(active, 2, timeout_s=155)
    assert (found.checks, found.ended, found.reached(2)) == (1, False, False)
    assert seconds == pytest.approx(155)
    found, seconds = wait(active, 2, timeout_s=0)
    assert (found.reached(2), seconds) == (False, 0)


def test_a_check_that_ends_the_run_is_waited_for_until_the_baseline(active: Machine) -> None:
    bad = {"verdict": "violation", "status": "NO-GO", "violations": (COLLAPSE,), "message": COLLAPSE.message}
    active.time.at(30, check(active, 1, **bad))
    canary = active.record().id
    seen = []

    def back() -> None:
        seen.append(active.record().state)
        rollback.roll_back(active.host, rollback.Finding("qsc_monitor_violation", "HOLD", "violated", (COLLAPSE,)))

    active.time.at(42, back)
    found, seconds = wait(active, 1)
    assert seen == ["active"]
    assert (found.canary_id, found.checks, found.ended, found.reached(1)) == (canary, 1, True, True)
    assert seconds >= 42
    assert active.record().state == "rolled_back"


@pytest.mark.parametrize("state", ["rolling_back", "verdict unreadable", "record unreadable"])
def test_a_run_that_is_about_to_end_is_not_one_that_goes_on(active: Machine, state: str) -> None:
    canary = active.record().id
    check(active, 7)()
    if state == "rolling_back":
        save(active.paths.record, replace(active.record(), state=state))
    elif state == "verdict unreadable":
        active.paths.verdict.write_text("{")
    else:
        active.paths.record.write_text("{")
    found, seconds = wait(active, 5, timeout_s=20, canary_id=canary)
    assert (found.ending, found.ended, found.reached(5)) == (True, False, False)
    assert seconds == pytest.approx(20)


@pytest.mark.parametrize("what", ["ended", "another run", "no record"])
def test_a_run_that_is_over_is_not_waited_for(active: Machine, what: str) -> None:
    check(active, 1)()
    canary = active.record().id
    if what == "ended":
        save(active.paths.record, replace(active.record(), state="rolled_back", outcome="terminated"))
    elif what == "another run":
        save(active.paths.record, replace(active.record(), id="patchtst-another"))
    else:
        active.paths.record.unlink()
    found, seconds = wait(active, 5, canary_id=canary)
    assert (found.canary_id, found.ended, found.reached(5), seconds) == (canary, True, True, 0)


def test_the_run_that_was_the_newest_is_followed_to_its_end(active: Machine) -> None:
    canary = active.record().id
    active.time.at(10, lambda: save(active.paths.record, replace(active.record(), id="patchtst-another")))
    found, seconds = wait(active, 1)
    assert (found.canary_id, found.ended) == (canary, True)
    assert 10 <= seconds < 11


def test_where_no_canary_ever_ran(machine: Machine) -> None:
    with pytest.raises(Refused, match=r"no canary ever ran.*playbooks/quickstart.yml"):
        wait(machine, 1)
