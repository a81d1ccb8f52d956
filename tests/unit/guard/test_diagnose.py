# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ends a run, and what may be called safe: from facts of a healthy run, one thing wrong at a time."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard.watchdog import (
    Facts,
    diagnose,
    reasons_not_safe,
    silence_limit,
)
from helpers.samples import COLLAPSE, make_engine, make_record, make_verdict

NOW = 1_100.0 + 600.0
"""Boot time: ten minutes into the run."""
END = 1_100.0 + 21_600.0


def healthy(**changes: t.Any) -> Facts:
    """A run of ten minutes, checked 5 s ago."""
    facts = Facts(
        record=make_record(),
        verdict=make_verdict(checked_boot=NOW - 5, checks_done=20, checks_judged=15),
        verdict_error="",
        engine=make_engine(),
        dropin_digest="d" * 64,
        environment_intact=True,
        weights_intact=True,
        monitor_timer="active",
        boot_id="kernel/mark",
        boot=NOW,
        wall=1_768_000_100.0 + 600.0,
        late=False,
        settling_s=0.0,
    )
    return replace(facts, **changes)


def finished(**changes: t.Any) -> Facts:
    """The same at its deadline, 720 checks done."""
    facts = healthy(verdict=make_verdict(checked_boot=END - 1), boot=END, wall=1_768_000_100.0 + 21_600.0)
    return replace(facts, **changes)


def verdict(**changes: t.Any) -> t.Any:
    return make_verdict(**{"checked_boot": NOW - 5, "checks_done": 20, "checks_judged": 15, **changes})


def test_a_healthy_run_goes_on() -> None:
    assert diagnose(healthy()) is None


def test_a_finished_run_goes_on_until_promoted() -> None:
    assert diagnose(finished()) is None
    assert diagnose(finished(record=make_record(outcome="safe", concluded_boot=END))) is None


SAFE = make_record(outcome="safe", concluded_boot=1_100.0, hold_s=500.0)

ONE_WRONG: t.Mapping[str, tuple[dict[str, t.Any], str]] = {
    "another boot": ({"boot_id": "kernel/other"}, "reboot"),
    "violation": ({"verdict": verdict(verdict="violation", violations=(COLLAPSE,))}, "qsc_monitor_violation"),
    "violation without details": ({"verdict": verdict(verdict="violation")}, "qsc_monitor_violation"),
    "retrained": ({"another_model": "patchtst's file changed"}, "model_changed"),
    "retrained while safe": ({"another_model": "patchtst's file changed", "record": SAFE}, "model_changed"),
    "inconclusive": ({"verdict": verdict(verdict="inconclusive")}, "inconclusive"),
    "budget spent": ({"verdict": verdict(verdict="terminated")}, "exposure_budget"),
    "budget spent while safe": ({"verdict": verdict(verdict="terminated"), "record": SAFE}, "exposure_budget"),
    "hostile verdict": ({"verdict": None, "verdict_error": "not JSON"}, "verdict_unreadable"),
    "masked": ({"engine": make_engine(load_state="masked")}, "engine_masked"),
    "unit file gone": ({"engine": make_engine(load_state="not-found")}, "engine_masked"),
    "restarted by itself": ({"engine": make_engine(n_restarts=1)}, "engine_restarted"),
    "failed": ({"engine": make_engine(active_state="failed", sub_state="failed")}, "engine_down"),
    "stopped": ({"engine": make_engine(active_state="inactive", sub_state="dead", main_pid=0)}, "engine_down"),
    "exited": ({"engine": make_engine(sub_state="exited")}, "engine_down"),
    "no process": ({"engine": make_engine(main_pid=0)}, "engine_down"),
    "starting for a minute": (
        {"engine": make_engine(active_state="activating", sub_state="start"), "settling_s": 60.0},
        "engine_down",
    ),
    "drop-in removed": ({"dropin_digest": None}, "dropin_removed"),
    "drop-in changed": ({"dropin_digest": "e" * 64}, "dropin_changed"),
    "environment file changed": ({"environment_intact": False}, "environment_changed"),
    "weights file changed": ({"weights_intact": False}, "weights_changed"),
    "timer stopped": ({"monitor_timer": "inactive"}, "timer_stopped"),
    "timer failed": ({"monitor_timer": "failed"}, "timer_stopped"),
    "timer unknown": ({"monitor_timer": ""}, "timer_stopped"),
    "five missed": ({"verdict": verdict(missed_in_a_row=5, verdict="transient")}, "telemetry_lost"),
    "silent": ({"verdict": verdict(checked_boot=NOW - 156)}, "monitor_silent"),
    "never a heartbeat": ({"verdict": None}, "monitor_silent"),
    "heartbeat of the future": ({"verdict": verdict(checked_boot=NOW + 2)}, "monitor_silent"),
    "hold expired": ({"record": SAFE}, "hold_expired"),
    "not safe long after the deadline": (
        {"verdict": verdict(checked_boot=END + 60), "boot": END + 61, "wall": 1_768_000_100.0 + 21_661.0},
        "inconclusive",
    ),
}


@pytest.mark.parametrize("case", ONE_WRONG)
def test_one_thing_wrong(case: str) -> None:
    changes, trigger = ONE_WRONG[case]
    finding = diagnose(healthy(**changes))
    assert finding is not None
    assert finding.trigger == trigger
    assert finding.reason


def test_every_trigger_occurs_here() -> None:
    """A new reason to end a run needs its case above (and in the table of the documentation)."""
    found = {trigger for _changes, trigger in ONE_WRONG.values()} | {"arming_expired"}
    assert found == {
        "arming_expired", "dropin_changed", "dropin_removed", "engine_down", "engine_masked", "engine_restarted",
        "environment_changed", "exposure_budget", "hold_expired", "inconclusive", "model_changed", "monitor_silent",
        "qsc_monitor_violation", "reboot", "telemetry_lost", "timer_stopped", "verdict_unreadable", "weights_changed",
    }  # fmt: skip


NEARLY: t.Mapping[str, dict[str, t.Any]] = {
    "four missed": {"verdict": verdict(missed_in_a_row=4, verdict="transient")},
    "silent up to the limit": {"verdict": verdict(checked_boot=NOW - 155)},
    "silent, but the watchdog itself is late": {"verdict": verdict(checked_boot=NOW - 1000), "late": True},
    "heartbeat one second ahead": {"verdict": verdict(checked_boot=NOW + 1)},
    "no heartbeat yet": {"verdict": None, "boot": 1_100.0 + 155},
    "waiting": {"verdict": verdict(verdict="waiting", status="WAIT")},
    "status NO-GO of an incumbent": {"verdict": verdict(status="NO-GO")},
    "restarting for a short time": {
        "engine": make_engine(active_state="deactivating", sub_state="stop-sigterm"),
        "settling_s": 59.0,
    },
    "hold not yet expired": {"record": replace(SAFE, hold_s=600.0)},
    "just past the deadline, the last check is due": {
        "verdict": verdict(checked_boot=END),
        "boot": END + 59,
        "wall": 1_768_000_100.0 + 21_659.0,
    },
}


@pytest.mark.parametrize("case", NEARLY)
def test_nearly_wrong(case: str) -> None:
    assert diagnose(healthy(**NEARLY[case])) is None


def test_the_limit_of_silence() -> None:
    assert silence_limit(make_record(interval_s=30.0)) == 155.0
    assert silence_limit(make_record(interval_s=1.0)) == 10.0


def test_an_older_heartbeat_counts_from_the_activation() -> None:
    """While arming the monitor beats too; a beat of before the activation must not be taken for silence at once."""
    facts = healthy(verdict=verdict(checked_boot=1_050.0), boot=1_100.0 + 150)
    assert diagnose(facts) is None
    assert diagnose(replace(facts, boot=1_100.0 + 156)) is not None


def test_grace_is_for_silence_only() -> None:
    """A late watchdog forgives silence, nothing else."""
    for case, (changes, trigger) in ONE_WRONG.items():
        if trigger != "monitor_silent":
            finding = diagnose(healthy(**{**changes, "late": True}))
            assert finding is not None, case
            assert finding.trigger == trigger


# --- order


def test_the_violation_is_the_reason_whatever_else_is_wrong() -> None:
    everything: dict[str, t.Any] = {}
    for changes, trigger in ONE_WRONG.values():
        if trigger != "reboot":
            everything.update(changes)
    everything.update(verdict=verdict(verdict="violation", violations=(COLLAPSE,), missed_in_a_row=9))
    finding = diagnose(healthy(**everything))
    assert finding is not None
    assert (finding.trigger, finding.outcome, finding.violations) == ("qsc_monitor_violation", "violated", (COLLAPSE,))
    assert finding.judged["events"] == 400


def test_a_masked_engine_is_not_merely_down() -> None:
    finding = diagnose(healthy(engine=make_engine(load_state="masked", active_state="inactive", main_pid=0)))
    assert finding is not None
    assert finding.trigger == "engine_masked"


def test_the_reason_of_a_restart_tells_what_happened() -> None:
    finding = diagnose(healthy(engine=make_engine(n_restarts=3, result="oom-kill", exit_status="9")))
    assert finding is not None
    assert "3 times (result oom-kill, exit status 9)" in finding.reason


# --- while arming


def arming(**changes: t.Any) -> Facts:
    record = make_record(state="arming", activated_boot=0.0, activated_at=0.0, dropin_digest="", engine={})
    return healthy(record=record, verdict=None, dropin_digest=None, boot=1_200.0, **changes)


def test_arming_waits_for_its_deadline() -> None:
    assert diagnose(arming()) is None
    assert diagnose(replace(arming(), boot=1_300.0)) is None
    finding = diagnose(replace(arming(), boot=1_300.1))
    assert finding is not None
    assert finding.trigger == "arming_expired"


def test_arming_ends_with_the_boot() -> None:
    finding = diagnose(arming(boot_id="kernel/other"))
    assert finding is not None
    assert finding.trigger == "reboot"


@pytest.mark.parametrize("engine", [make_engine(active_state="deactivating"), make_engine(active_state="inactive")])
def test_a_restart_in_the_middle_of_arming_is_expected(engine: t.Any) -> None:
    assert diagnose(arming(engine=engine)) is None


# --- safe


def test_safe_when_all_hold() -> None:
    assert reasons_not_safe(finished()) == []


def last(**changes: t.Any) -> dict[str, t.Any]:
    return {"verdict": make_verdict(checked_boot=END - 1, **changes)}


def judged_by(**changes: t.Any) -> dict[str, t.Any]:
    return {"record": make_record(**changes)}


NOT_SAFE: t.Mapping[str, tuple[dict[str, t.Any], str]] = {
    "deadline by boot time": ({"boot": END - 0.5}, "the run has lasted 21600 of 21600 s"),
    "deadline by the wall": ({"wall": 1_768_000_100.0 + 21_599.0}, "the run has lasted 21599 of 21600 s"),
    "a wall clock set back": ({"wall": 0.0}, "the run has lasted"),
    "latched by violations": (judged_by(violations=(vars(COLLAPSE),)), "a violation was recorded"),
    "latched by outcome": (judged_by(outcome="violated"), "a violation was recorded"),
    "never judged": ({"verdict": None}, "the run was never judged"),
    "checks missing at 0.95": (last(checks_done=683), "683 of 720 checks were done, 95 % are needed"),
    "one check missing at 1.0": (
        {**last(checks_done=719), **judged_by(required_checks=1.0)},
        "719 of 720 checks were done, 100 % are needed",
    ),
    "missed in a row": (last(max_missed_in_a_row=5), "5 checks were missed in a row"),
    "less than half judged": (last(checks_judged=359), "359 of 720 checks could judge, half are needed"),
    "nothing judged": (last(checks_judged=0), "0 of 720 checks could judge"),
    "waiting": (last(verdict="waiting"), "the last verdict is waiting with status GO"),
    "transient": (last(verdict="transient"), "the last verdict is transient"),
    "violation": (last(verdict="violation"), "the last verdict is violation"),
    "inconclusive": (last(verdict="inconclusive"), "the last verdict is inconclusive"),
    "status WAIT": (last(status="WAIT"), "the last verdict is ok with status WAIT"),
    "status NO-GO": (last(status="NO-GO"), "the last verdict is ok with status NO-GO"),
    "too few decisions": (last(events=199), "199 decisions were judged, 200 are needed"),
    "gaps": (last(complete=False), "the telemetry has gaps"),
}


@pytest.mark.parametrize("case", NOT_SAFE)
def test_every_condition_alone_makes_it_not_safe(case: str) -> None:
    changes, reason = NOT_SAFE[case]
    reasons = reasons_not_safe(finished(**changes))
    assert len(reasons) == 1, reasons
    assert reason in reasons[0]


@pytest.mark.parametrize(
    "changes",
    [
        last(checks_done=684),
        {**last(checks_done=720), **judged_by(required_checks=1.0)},
        last(max_missed_in_a_row=4),
        last(checks_judged=360),
        last(events=200),
    ],
    ids=["684 checks at 0.95", "720 checks at 1.0", "4 missed in a row", "half judged", "200 decisions"],
)
def test_exactly_enough_is_safe(changes: dict[str, t.Any]) -> None:
    assert reasons_not_safe(finished(**changes)) == []


@pytest.mark.parametrize(
    ("interval", "duration", "expected"), [(30.0, 21_600.0, 720), (0.1, 0.3, 3), (0.7, 2.1, 3), (60.0, 30.0, 1)]
)
def test_how_many_checks_are_expected(interval: float, duration: float, expected: int) -> None:
    record = make_record(interval_s=interval, duration_s=duration, required_checks=1.0)
    enough = make_verdict(checks_done=expected, checks_judged=expected)
    assert reasons_not_safe(finished(record=record, verdict=enough)) == []
    missing = replace(enough, checks_done=expected - 1)
    assert len(reasons_not_safe(finished(record=record, verdict=missing))) == 1


def test_a_run_that_was_never_judged_ends_at_baseline_after_its_grace() -> None:
    waiting = make_verdict(verdict="waiting", status="WAIT", events=57, checks_judged=0, checked_boot=END + 59)
    facts = finished(verdict=waiting, boot=END + 60, wall=1_768_000_100.0 + 21_660.0)
    finding = diagnose(facts)
    assert finding is not None
    assert (finding.trigger, finding.outcome) == ("inconclusive", "inconclusive")
    assert "0 of 720 checks could judge" in finding.reason
    assert "57 decisions were judged" in finding.reason
