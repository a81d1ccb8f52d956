# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The policy sequential on a real host: what is gross still ends a run at once, what is not certain is not safe."""

from __future__ import annotations

import json

import pytest

from helpers.plays import Host, await_state, entries, play, process_variables, record

SEQUENTIAL = {"qsc_canary_policy": "sequential", "qsc_canary_monitor_hours": 45 / 3600}


def _activate(host: Host, **extra: object) -> tuple[str, str]:
    done = play("activate", host, model="patchtst", **{**SEQUENTIAL, **extra})
    assert done.rc == 0, done.output
    return str(record(host)["id"]), done.output


@pytest.mark.slow
def test_what_is_not_certain_is_held_watched_and_never_safe(host: Host) -> None:
    canary, output = _activate(host, qsc_canary_inconclusive="hold")
    assert "one observation is" in output  # the gate says what it learnt
    frame = record(host)["judging"]["frame"]
    assert frame["decisions"] >= 200
    held = await_state(host, "active", outcome="inconclusive", timeout=120)
    assert held["id"] == canary
    [entry] = [entry for entry in entries(host, canary) if entry["action"] == "monitoring_completed"]
    assert entry["result"] == "inconclusive"
    assert "0 of 8 rules are kept for certain" in entry["reason"]
    status = host.run("qsc status").stdout
    assert "an inconclusive run is never promoted" in status
    assert process_variables(host)["QSC_CANARY_MODEL"] == "patchtst"
    page = host.run("qsc scoreboard").stdout
    assert "## Certainty" in page
    verdict = json.loads(host.run("qsc check --json; true").stdout)
    assert (verdict["verdict"], verdict["status"]) == ("ok", "WAIT")
    again = play("activate", host, model="patchtst", **SEQUENTIAL, qsc_canary_inconclusive="hold")
    assert (again.rc, again.changed) == (0, 0), again.output
    host.engine("mode", "lower_case_action")
    ended = await_state(host, "rolled_back", timeout=60)
    assert (ended["outcome"], ended["trigger"]) == ("violated", "qsc_monitor_violation")
    assert process_variables(host) == {}


@pytest.mark.slow
def test_an_extended_run_that_never_becomes_certain_goes_back(host: Host) -> None:
    canary, _output = _activate(host, qsc_canary_inconclusive="extend", qsc_canary_max_monitor_hours=75 / 3600)
    ended = await_state(host, "rolled_back", timeout=180)
    assert (ended["id"], ended["outcome"], ended["trigger"]) == (canary, "inconclusive", "inconclusive")
    [entry] = [entry for entry in entries(host, canary) if entry["action"] == "monitoring_extended"]
    assert entry["until"]
    assert process_variables(host) == {}


def test_what_is_gross_ends_the_run_at_once(host: Host) -> None:
    limits = {"start_grace": 10, "early_trip_seconds": 3}
    # slowly enough that 200 decisions, from which on more time is asked for, take longer than the trip
    host.engine("mode", "one_action", "when=canary", "rate=8")
    _activate(host, qsc_canary_monitor_hours=1, qsc_canary_limits=limits)
    ended = await_state(host, "rolled_back", timeout=60)
    assert (ended["outcome"], ended["trigger"]) == ("violated", "qsc_monitor_violation")
    assert "Action collapse" in ended["reason"]


@pytest.mark.slow
def test_an_extension_that_is_none_is_refused_before_anything_changes(host: Host) -> None:
    extra = {"qsc_canary_inconclusive": "extend", "qsc_canary_max_monitor_hours": 0.001}
    done = play("activate", host, model="patchtst", **{**SEQUENTIAL, **extra})
    assert done.rc != 0
    assert "qsc_canary_max_monitor_hours" in done.flat(), done.output
    assert process_variables(host) == {}
