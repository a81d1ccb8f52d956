# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a violation of a raised canary leads: to the step before where that is wanted, and else to the baseline.

The host is one in memory; the real thing is tested on the test hosts.
"""

from __future__ import annotations

import json
import typing as t
from dataclasses import fields, replace

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc import steps
from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import Refused
from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard import (
    artifacts,
    history,
    promotion,
    rollback,
    status,
    stepback,
    watchdog,
)  # fmt: skip
from ansible_collections.qsc.canary.plugins.module_utils.qsc.record import Record, save
from ansible_collections.qsc.canary.plugins.module_utils.qsc.tell.status import ledger_line, status_lines
from ansible_collections.qsc.canary.plugins.module_utils.qsc.verdict import Violation
from helpers.machine import Machine
from helpers.samples import COLLAPSE

Make = t.Callable[..., Machine]


@pytest.fixture
def machine(make_machine: Make) -> Machine:
    return make_machine(rollback_to="previous_step")


def raised(machine: Machine) -> Record:
    """patchtst at 25 %, after a safe run at 10 %."""
    machine.run_canary()
    machine.make_safe()
    return machine.raise_canary()


def violate(machine: Machine, **changes: t.Any) -> None:
    machine.write_verdict(verdict="violation", violations=[COLLAPSE], last_id="1768027500000-3", **changes)


def roll_back(machine: Machine) -> rollback.Outcome:
    return rollback.roll_back(machine.host, rollback.trigger_of_unit)


def kill_at(monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def listener(name: str) -> None:
        if name == step:
            monkeypatch.setattr(steps, "listener", None)
            raise KeyboardInterrupt

    monkeypatch.setattr(steps, "listener", listener)


def test_a_violation_leads_to_a_fresh_run_of_the_step_before(machine: Machine) -> None:
    quarter = raised(machine)
    violate(machine)
    outcome = roll_back(machine)
    now = machine.record()
    assert (now.state, now.weight, now.stepped_back_from, now.outcome) == ("active", 0.1, quarter.id, "")
    assert now.id not in (quarter.id, quarter.raised_from)
    assert now.since == {"id": "1768027500000-3", "entries_added": None}
    assert now.activated_at == machine.time.wall and not now.latched
    assert machine.engine.environment["QSC_CANARY_TRAFFIC"] == "0.10"
    assert json.loads(machine.paths.weights.read_bytes())["patchtst"] == 0.1
    assert machine.units["qsc-monitor.timer"].active_state == "active"
    assert outcome.lines()[0] == f"canary {quarter.id} ended, the step before goes on as {now.id}: patchtst at 10 %"
    [entry] = machine.ledger("stepped_back")
    assert (entry["canary_id"], entry["to_canary_id"], entry["outcome"]) == (quarter.id, now.id, "violated")
    assert entry["violations"] == [COLLAPSE.message]
    assert quarter.id in ledger_line(entry)
    assert machine.ledger("rollback_executed") == [], "that is one to the baseline"
    facts = status.gather(machine.host)
    assert facts["proof"]["state"] == "canary"
    assert any(quarter.id in line for line in status_lines(facts)), status_lines(facts)
    machine.time.sleep(30)
    machine.write_verdict()
    assert watchdog.watch(machine.host) == [], "the guards have nothing against it"


def test_the_fresh_run_is_judged_and_guarded_as_the_one_that_was_kept(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing but what a run does and comes to begins anew: a forgotten setting would be a guard less."""
    machine.run_canary()
    first = replace(
        machine.make_safe(),
        own_checks=["pnl"],
        check_timeout_s=5.0,
        artifacts=[{"path": "/srv/m.pt", "sha256": "0" * 64, "seen": [1, 2, 3, 4, 5]}],
    )
    save(machine.paths.record, first)
    monkeypatch.setattr(artifacts, "look", lambda *_arguments, **_options: "")
    machine.raise_canary()
    violate(machine)
    roll_back(machine)
    now = machine.record()
    assert (now.own_checks, now.check_timeout_s) == (["pnl"], 5.0)
    assert now.artifacts == first.artifacts
    of_a_run = {
        "id", "state", "owner", "generation", "boot_id", "armed_at", "armed_boot", "arming_deadline_boot",
        "engine_before", "stepped_back_from", "since", "activated_at", "activated_boot", "watched_boot", "engine",
        "proof", "outcome", "concluded_at", "concluded_boot", "rollback_to",
    }  # fmt: skip
    differing = {item.name for item in fields(now) if getattr(now, item.name) != getattr(first, item.name)}
    assert differing <= of_a_run
    assert (now.outcome, now.concluded_at, now.rollback_to, now.step_back) == ("", 0.0, "baseline", "")


def test_a_second_violation_leads_to_the_baseline(machine: Machine) -> None:
    raised(machine)
    violate(machine)
    roll_back(machine)
    violate(machine)
    roll_back(machine)
    machine.check_baseline()
    assert machine.record().outcome == "violated"


def test_the_default_is_the_baseline(make_machine: Make) -> None:
    machine = make_machine()
    raised(machine)
    assert not machine.paths.previous.exists()
    violate(machine)
    roll_back(machine)
    machine.check_baseline()


def test_an_operator_s_rollback_leads_to_the_baseline(machine: Machine) -> None:
    raised(machine)
    rollback.roll_back(machine.host, rollback.Finding("manual", "ended by an operator"))
    machine.check_baseline()


def test_an_engine_that_fell_over_leads_to_the_baseline(machine: Machine) -> None:
    raised(machine)
    machine.engine.n_restarts = 1
    watchdog.watch(machine.host)
    roll_back(machine)
    machine.check_baseline()
    assert machine.record().trigger == "engine_restarted"


def test_the_watchdog_that_reads_the_verdict_first_leads_there_too(machine: Machine) -> None:
    raised(machine)
    violate(machine)
    watchdog.watch(machine.host)
    assert machine.record().state == "rolling_back"
    roll_back(machine)
    assert (machine.record().state, machine.record().weight) == ("active", 0.1)


@pytest.mark.parametrize(
    "step", [step.name for step in steps.STEPS if step.phase == "stepback"] + ["back.pre_hook", "back.post_hook"]
)
def test_killed_anywhere_on_the_way_it_ends_at_the_baseline(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    raised(machine)
    violate(machine)
    kill_at(monkeypatch, step)
    with pytest.raises(KeyboardInterrupt):
        roll_back(machine)
    assert machine.record().state == "rolling_back"
    roll_back(machine)
    if step == "stepback.latch":  # not begun: the next try is the first one
        assert machine.record().weight == 0.1
        return
    machine.check_baseline()
    assert machine.record().outcome == "violated"
    assert len(machine.ledger("rollback_executed")) == 1


def _damage(machine: Machine, what: str) -> None:
    if what == "gone":
        machine.paths.previous.unlink()
    elif what == "garbage":
        machine.paths.previous.write_text("{")
    elif what == "other run":
        kept = json.loads(machine.paths.previous.read_text())
        kept["record"]["id"] = "patchtst-20260110T000000Z-0000"
        machine.paths.previous.write_text(json.dumps(kept))
    elif what == "other drop-in":
        kept = json.loads(machine.paths.previous.read_text())
        machine.paths.previous.write_text(json.dumps({**kept, "dropin": "[Service]\nUser=root\n"}))
    elif what == "restart":
        machine.fail("restart")
    elif what == "silent":
        machine.acknowledges = False


@pytest.mark.parametrize("what", ["gone", "garbage", "other run", "other drop-in", "silent"])
def test_where_the_step_before_cannot_be_taken_up_it_is_the_baseline(machine: Machine, what: str) -> None:
    raised(machine)
    violate(machine)
    _damage(machine, what)
    outcome = roll_back(machine)
    machine.check_baseline()
    assert any("the step before could not be taken up again" in note for note in outcome.notes)


@pytest.mark.parametrize("last_id", ["", "x", "1-2-3", "-", "9" * 40 + "-0"])
def test_a_marker_that_is_none_leads_to_the_baseline(machine: Machine, last_id: str) -> None:
    raised(machine)
    violate(machine)
    watchdog.watch(machine.host)
    raw = json.loads(machine.paths.record.read_text())
    raw["judged"]["last_id"] = last_id
    machine.paths.record.write_text(json.dumps(raw))
    roll_back(machine)
    machine.check_baseline()


def test_the_step_that_was_violated_needs_an_acknowledgement(machine: Machine) -> None:
    quarter = raised(machine)
    violate(machine)
    roll_back(machine)
    machine.make_safe()
    with pytest.raises(Refused, match="runs again since the step after it was violated") as failure:
        promotion.preflight(machine.host, machine.promotion())
    assert failure.value.remedy.endswith(f"-e acknowledge={quarter.id}")
    plan = promotion.preflight(machine.host, machine.promotion(acknowledge=quarter.id))
    assert (plan.action, plan.weights.weight) == ("raise", 0.25)
    assert promotion.raise_step(machine.host, machine.promotion(acknowledge=quarter.id))[1].acknowledged == quarter.id


def test_a_run_that_ends_after_a_step_back_still_needs_the_acknowledgement_of_the_violation(machine: Machine) -> None:
    quarter = raised(machine)
    violate(machine)
    roll_back(machine)
    rollback.roll_back(machine.host, rollback.Finding("manual", "test"))
    with pytest.raises(Refused, match=quarter.id):
        history.check(machine.host, "patchtst", "")
    history.check(machine.host, "patchtst", quarter.id)


def test_an_acknowledged_activation_that_fails_asks_for_no_older_violation(machine: Machine) -> None:
    """Both violations of a step back are behind the one that was acknowledged last."""
    raised(machine)
    violate(machine)
    roll_back(machine)
    again = machine.record().id
    violate(machine)
    roll_back(machine)
    assert machine.record().outcome == "violated"
    machine.time.sleep(30)
    machine.arm(acknowledge=again)
    rollback.roll_back(machine.host, rollback.Finding("activation_failed", "test"))
    history.check(machine.host, "patchtst", "")


def test_nothing_but_the_monitor_s_judgement_is_wanted(machine: Machine) -> None:
    record = raised(machine)
    assert not stepback.wanted(machine.host, record)


@pytest.mark.parametrize("trigger", ["aborted", "manual"])
def test_an_operator_who_comes_between_gets_the_baseline(machine: Machine, trigger: str) -> None:
    """The watchdog has latched the violation, its rollback unit has not begun yet."""
    quarter = raised(machine)
    violate(machine)
    record = rollback.begin(machine.host, machine.record(), rollback.trigger_of_unit(machine.host))
    save(machine.paths.record, record)
    assert stepback.wanted(machine.host, record), "the host was about to go to the step before"
    outcome = rollback.roll_back(machine.host, rollback.Finding(trigger, "odd fills"))
    machine.check_baseline()
    assert machine.ledger("stepped_back") == []
    [entry] = machine.ledger("rollback_executed")
    assert (entry["canary_id"], entry["trigger"]) == (quarter.id, "qsc_monitor_violation")
    assert f"asked for meanwhile: {trigger}: odd fills" in entry["notes"]
    assert machine.record().state == "rolled_back" and outcome.changed


def test_a_violation_with_a_spent_budget_leads_to_the_baseline(machine: Machine) -> None:
    """A step back begins with a whole budget: what is spent must not begin anew without a human."""
    raised(machine)
    spent = Violation("exposure_budget", "patchtst", 7000.0, 7000.0, "Exposure budget spent")
    machine.write_verdict(verdict="violation", violations=[spent, COLLAPSE], last_id="1768027500000-3")
    roll_back(machine)
    machine.check_baseline()
    assert (machine.record().outcome, machine.ledger("stepped_back")) == ("violated", [])


def test_a_spent_budget_leads_to_the_baseline(machine: Machine) -> None:
    raised(machine)
    machine.write_verdict(verdict="terminated", last_id="1768027500000-3")
    roll_back(machine)
    machine.check_baseline()
    assert (machine.record().outcome, machine.record().trigger) == ("terminated", "exposure_budget")
    assert machine.ledger("stepped_back") == []


def test_a_run_that_was_not_certain_leads_to_the_baseline(machine: Machine) -> None:
    raised(machine)
    machine.write_verdict(verdict="inconclusive", last_id="1768027500000-3")
    roll_back(machine)
    machine.check_baseline()
    assert (machine.record().trigger, machine.ledger("stepped_back")) == ("inconclusive", [])


def test_after_a_reboot_it_is_the_baseline(machine: Machine) -> None:
    quarter = raised(machine)
    violate(machine)
    watchdog.watch(machine.host)
    machine.paths.engine_env.unlink()  # it lies in memory
    machine.start_engine()
    roll_back(machine)
    machine.check_baseline()
    assert (machine.record().id, machine.record().outcome) == (quarter.id, "violated")
    assert machine.ledger("stepped_back") == []


def test_a_full_disk_does_not_lead_from_the_baseline_to_a_step_back(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first try could write nothing down, and went to the baseline: there it stays when there is room again."""
    raised(machine)
    violate(machine)
    watchdog.watch(machine.host)

    def full(*_arguments: object) -> t.NoReturn:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as no_room:
        for module in (stepback, rollback):
            no_room.setattr(module, "save", full)
        with pytest.raises(OSError, match="No space"):
            roll_back(machine)
    assert (machine.record().state, machine.record().step_back) == ("rolling_back", "")
    assert not machine.runs_canary
    roll_back(machine)
    machine.check_baseline()
    assert machine.ledger("stepped_back") == []
    assert len(machine.ledger("rollback_executed")) == 1
