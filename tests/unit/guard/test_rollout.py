# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The staged rollout: one decision for every state, at most one step, and what operators say about it."""

from __future__ import annotations

import json
import typing as t
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import (
    BadInput,
    NotYet,
    QscError,
    RecordUnreadable,
    Refused,
)
from ansible_collections.qsc.canary.plugins.module_utils.qsc.freeze import DAYS
from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard import (
    activation,
    history,
    install,
    installed,
    promotion,
    reconcile,
    rollback,
    rollout,
    rollout_state,
    status,
)
from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard.rollout import Answer, Decision, Ended, Facts
from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard.weights import step_after
from ansible_collections.qsc.canary.plugins.module_utils.qsc.record import OUTCOMES, STATES, Record, load, save
from ansible_collections.qsc.canary.plugins.module_utils.qsc.tell.status import ledger_line, status_lines
from helpers.machine import Machine
from helpers.samples import COLLAPSE, UNIT, make_record

Make = t.Callable[..., Machine]
ALWAYS = [{"days": list(DAYS), "from": "00:00", "to": "00:00", "timezone": "UTC"}]
# 2026-01-10 05:43 UTC is a Saturday, and the machine's time a little later
WEEKEND = [{"days": ["sat", "sun"], "from": "00:00", "to": "00:00", "timezone": "Europe/Berlin"}]


# --- pure: every state x outcome

ASK = "ask the host"
RUNS: t.Mapping[tuple[str, str], str] = {
    **{("arming", outcome): "wait" for outcome in OUTCOMES},
    **{("promoting", outcome): "wait" for outcome in OUTCOMES},
    **{("rolling_back", outcome): "wait" for outcome in OUTCOMES},
    ("active", ""): "wait",
    ("active", "safe"): ASK,
    ("active", "violated"): ASK,
    ("active", "inconclusive"): ASK,
    ("active", "terminated"): ASK,
}


def ended_of(record: Record) -> Ended | None:
    if record.in_flight:
        return None
    return Ended(record.id, "promoted" if record.state == "promoted" else record.outcome or "terminated")


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("state", STATES)
def test_every_state_and_outcome(state: str, outcome: str) -> None:
    record = make_record(state=state, outcome=outcome, concluded_at=1_768_021_700.0)
    facts = Facts(record, ended=ended_of(record), number=1, steps=4)
    for model in ("", record.model):
        found = rollout.standing(replace(facts, model=model))
        if record.in_flight:
            wanted = RUNS[state, outcome]
            assert (ASK if found is None else found.action) == wanted
            if found is not None:
                assert found.canary_id == record.id and record.id in found.sentence
                assert (found.number, found.of, found.until) == (1, 4, record.ends_at)
            continue
        assert found is not None
        if not model:
            assert found.action == "done" and found.sentence.startswith("nothing to do")
        elif state == "promoted":
            assert found.action == "done" and "was promoted" in found.sentence
        else:
            assert (found.action, record.id in found.remedy) == ("stopped", True)
    other = rollout.standing(replace(facts, model="nhits", ended=None))
    assert (ASK if other is None else other.action) == ("wait" if record.in_flight else ASK)
    called = rollout.standing(replace(facts, page="a human is needed"))
    assert called is not None and called.action == "stopped"


@pytest.mark.parametrize("how", ["promoted", "safe", "violated", "inconclusive", "terminated"])
def test_only_the_id_of_that_very_run_begins_anew(how: str) -> None:
    facts = Facts(None, "patchtst", ended=Ended("patchtst-1", how, "manual: because"))
    assert rollout.standing(replace(facts, acknowledge="patchtst-1")) is None
    for acknowledge in ("", "patchtst-2", "patchtst", "true", "patchtst-1 "):
        found = rollout.standing(replace(facts, acknowledge=acknowledge))
        assert found is not None
        assert found.action == ("done" if how == "promoted" else "stopped")
        assert "-e acknowledge=patchtst-1" in found.remedy


def test_a_model_that_never_ran_is_asked_for() -> None:
    assert rollout.standing(Facts(None, "patchtst")) is None
    assert rollout.standing(Facts(make_record(state="rolled_back"), "nhits")) is None


ANSWERS: t.Sequence[tuple[Answer, str]] = [
    (Answer("activate", 0.1), "activate"),
    (Answer("raise", 0.25), "raise"),
    (Answer("promote"), "promote"),
    (Answer("already_active", 0.25), "wait"),
    (Answer("already_promoted"), "wait"),
    (Answer(), "wait"),
    (Answer(share=0.25, refusal=NotYet("frozen", until=17.0)), "wait"),
    (Answer(share=0.25, refusal=Refused("stale")), "stopped"),
]


@pytest.mark.parametrize(("answer", "action"), ANSWERS, ids=lambda item: f"{item!r:.60}")
def test_what_an_answer_means(answer: Answer, action: str) -> None:
    """Waiting or stopped is told by the kind of the refusal, never by its words."""
    found = rollout.answered(Facts(make_record(outcome="safe"), "patchtst"), answer)
    assert found.action == action
    assert found.share == (answer.share if action != "wait" or answer.refusal else None)
    if answer.refusal is not None:
        assert found.sentence == answer.refusal.message
    assert found.until == (17.0 if isinstance(answer.refusal, NotYet) else 0.0)


def test_without_a_run_nothing_is_raised() -> None:
    for action in ("raise", "promote"):
        assert rollout.answered(Facts(None, "patchtst"), Answer(action, 0.25)).action == "wait"


RECORDS = st.builds(
    make_record,
    state=st.sampled_from(STATES),
    outcome=st.sampled_from(OUTCOMES),
    model=st.sampled_from(["patchtst", "nhits"]),
    weight=st.sampled_from([0.1, 0.25, 1.0]),
    violations=st.sampled_from([(), (vars(COLLAPSE),)]),
)
REFUSALS = st.sampled_from([None, NotYet("not yet"), Refused("no"), Refused("never")])
ALL_FACTS = st.builds(
    Facts,
    record=st.none() | RECORDS,
    model=st.sampled_from(["", "patchtst", "nhits"]),
    acknowledge=st.sampled_from(["", make_record().id, "x"]),
    ended=st.none() | st.builds(Ended, st.just(make_record().id), st.sampled_from(["promoted", *OUTCOMES[1:]])),
    page=st.sampled_from(["", "a human is needed"]),
)


@given(ALL_FACTS, st.sampled_from(["activate", "raise", "promote", "already_active", ""]), REFUSALS)
def test_at_most_one_step_and_only_where_the_host_agrees(facts: Facts, action: str, refusal: Refused | None) -> None:
    asked: list[Answer] = []

    def ask() -> Answer:
        asked.append(Answer(action, 0.25, refusal))
        return asked[-1]

    found = rollout.decide(facts, ask)
    assert len(asked) <= 1
    if found.action in rollout.STEPS:
        assert asked and refusal is None and found.action == action
        assert not facts.page
        assert found.share in (None, 0.25)
        record = facts.record
        if found.action != "activate":
            assert record is not None and record.state == "active"
            assert facts.model in ("", record.model)
    if refusal is not None and asked:
        assert found.action == ("wait" if isinstance(refusal, NotYet) else "stopped")
    assert found.sentence and "\n" not in found.line()


@given(ALL_FACTS, st.sampled_from(["activate", "raise", "promote"]), REFUSALS)
def test_nothing_that_is_said_against_it_brings_a_step(facts: Facts, action: str, refusal: Refused | None) -> None:
    """Monotone: who takes no step takes none with a page, a refusal or without the acknowledgement either."""
    before = rollout.decide(facts, lambda: Answer(action, 0.25, refusal)).action
    worse = [
        rollout.decide(replace(facts, page="a human is needed"), lambda: Answer(action, 0.25, refusal)).action,
        rollout.decide(facts, lambda: Answer(action, 0.25, refusal or Refused("no"))).action,
        rollout.decide(replace(facts, acknowledge=""), lambda: Answer(action, 0.25, refusal)).action,
        rollout.decide(replace(facts, model=""), lambda: Answer(action, 0.25, refusal)).action
        if facts.record is None or facts.model == facts.record.model
        else before,
    ]
    for after in worse:
        assert after == before or after not in rollout.STEPS


SHARES = st.lists(st.integers(1, 1000), min_size=1, max_size=8, unique=True).map(
    lambda found: [n / 1000 for n in sorted(found)]
)


@given(SHARES, st.sampled_from([0.0, 0.1, 0.2, 0.25, 1.0]))
def test_the_steps_go_up_and_come_to_an_end(steps: list[float], own: float) -> None:
    shares, share = [], step_after(steps, 0.0, own)
    while share is not None:
        shares.append(share)
        assert len(shares) <= len(steps)
        share = step_after(steps, share, own)
    assert shares == [step for step in steps if abs(step - own) > 1e-9]
    assert shares == sorted(set(shares))


# --- on a host


def wanted(machine: Machine, model: str = "patchtst", **changes: t.Any) -> reconcile.Request:
    return reconcile.Request(**{"model": model, "baseline_path": str(machine.baseline_path), **changes})


def decided(machine: Machine, model: str = "patchtst", **changes: t.Any) -> Decision:
    """The decision; to ask changes nothing."""
    before, events = machine.files(), list(machine.events)
    found = reconcile.decided(machine.host, wanted(machine, model, **changes))
    assert (machine.files(), machine.events) == (before, events)
    return found


def end(machine: Machine, trigger: str = "manual", reason: str = "") -> None:
    """The run in flight is taken back, and the engine decides on."""
    rollback.roll_back(machine.host, ENDS.get(trigger) or rollback.Finding(trigger, reason))
    machine.time.sleep(60)
    machine.events.clear()


def take(machine: Machine, decision: Decision, **changes: t.Any) -> None:
    """What the playbook does with a decision."""
    if decision.action == "activate":
        machine.run_canary(model=decision.model, weight=decision.share, rollout=True, **changes)
    elif decision.action == "raise":
        machine.raise_canary(confirm_full=True)
    elif decision.action == "promote":
        promotion.promote(machine.host, machine.promotion(confirm_full=True))


def test_from_nothing_to_promoted_one_step_at_a_time(machine: Machine) -> None:
    shares, actions = [], []
    for _number in range(30):
        decision = decided(machine, confirm_full=True)
        actions.append(decision.action)
        if decision.action == "done":
            break
        take(machine, decision)
        again = decided(machine, confirm_full=True)
        assert again.action in ("wait", "done"), "a second run takes no second step"
        if again.action == "wait":
            assert again.until == machine.record().ends_at
            assert (again.number, again.of) == (len(shares) + 1, 4)
            shares.append(machine.record().weight)
            machine.make_safe()
    assert shares == [0.1, 0.25, 0.5, 1.0]
    assert actions == ["activate", "raise", "raise", "raise", "promote", "done"]
    assert "was promoted at 2026-01-11T" in decided(machine).sentence
    assert decided(machine, "").action == "done"
    assert decided(machine, acknowledge=machine.record().id).action == "stopped", "it is at 100 % already"


def test_the_first_step_is_one_that_changes_something(make_machine: Make) -> None:
    assert decided(make_machine(steps=[0.2, 0.4])).share == 0.4, "20 % is its own weight in the baseline"


def test_a_rollout_begins_with_its_first_step_alone(machine: Machine) -> None:
    with pytest.raises(Refused, match=r"weight=0\.3 is not the first step of the rollout, 0\.1"):
        activation.arm(machine.host, machine.request(weight=0.3, rollout=True))
    assert not machine.paths.record.exists()


def test_nothing_is_known_and_no_model_is_named(machine: Machine) -> None:
    found = decided(machine, "")
    assert (found.action, found.canary_id, found.until) == ("done", "", 0.0)
    assert "no canary is in flight" in found.sentence


@pytest.mark.parametrize("share", [0.1, 1.0])
def test_all_of_the_weight_needs_a_word(make_machine: Make, share: float) -> None:
    machine = make_machine(steps=[0.1, 1.0] if share == 0.1 else [1.0])
    if share == 0.1:
        machine.run_canary()
        machine.make_safe()
    found = decided(machine)
    assert (found.action, found.share) == ("wait", 1.0)
    assert "100 % for patchtst: all other models get weight 0" in found.sentence
    assert "-e confirm_full=true" in found.remedy
    assert decided(machine, confirm_full=True).action == ("raise" if share == 0.1 else "activate")


ENDS: t.Mapping[str, rollback.Finding] = {
    "violated": rollback.Finding("qsc_monitor_violation", "HOLD", "violated", (COLLAPSE,)),
    "inconclusive": rollback.Finding("inconclusive", "too little", "inconclusive"),
    "terminated": rollback.Finding("reboot", "the host was rebooted"),
    "safe": rollback.Finding("hold_expired", "nobody promoted it"),
}


@pytest.mark.parametrize("case", ENDS)
def test_a_run_that_ended_stops_it_until_that_run_is_acknowledged(make_machine: Make, case: str) -> None:
    machine = make_machine(breaker_rollbacks=0)
    record = machine.run_canary()
    if case == "safe":
        machine.make_safe()
    end(machine, case)
    found = decided(machine)
    assert found.action == "stopped"
    assert f"{record.id}, ended {case}" in found.sentence and ENDS[case].trigger in found.sentence
    assert decided(machine, acknowledge="some").action == "stopped"
    assert decided(machine, "").action == "done"
    assert decided(machine, "nhits").action == "activate", "another model is another matter"
    anew = decided(machine, acknowledge=record.id)
    assert (anew.action, anew.share) == ("activate", 0.1)
    take(machine, anew, acknowledge=record.id)
    assert machine.record().acknowledged == record.id
    # the same words again do not begin a third one
    end(machine, "terminated")
    assert decided(machine, acknowledge=record.id).action == "stopped"


def test_the_ledger_knows_of_a_run_that_the_record_has_forgotten(machine: Machine) -> None:
    first = machine.run_canary()
    end(machine, reason="odd")
    machine.run_canary(model="nhits")
    end(machine)
    found = decided(machine)
    assert found.action == "stopped" and f"{first.id}, ended terminated at 2026-01-10T" in found.sentence
    assert "(manual: odd)" in found.sentence


def test_a_run_whose_record_was_lost_is_no_run_that_went_well(machine: Machine) -> None:
    record = machine.run_canary()
    machine.paths.record.write_text("{")
    rollback.roll_back(machine.host, rollback.Finding("record_unreadable", "broken"))
    machine.events.clear()
    found = decided(machine)
    assert found.action == "stopped" and f"{record.id}, ended terminated (its record was lost)" in found.sentence
    assert decided(machine, acknowledge=record.id).action == "activate"


def test_the_last_run_of_a_model_by_the_ledger() -> None:
    def entry(action: str, canary: str, model: str = "a", **more: str) -> dict[str, str]:
        return {"action": action, "canary_id": canary, "canary_model": model, **more}

    ended = entry("rollback_executed", "a-1", outcome="safe")
    assert history.last_run([], "a") is None
    assert (
        history.last_run([entry("gate_refused", ""), entry("rollback_executed", "", outcome="x"), ended], "a") == ended
    )
    assert history.last_run([entry("rollback_executed", "a-2"), ended], "a") == ended, (
        "without an outcome it ended none"
    )
    assert history.last_run([ended, entry("promoted", "a-0")], "a") == ended
    back = entry("stepped_back", "a-0", outcome="violated", to_canary_id="a-1")
    earlier = {**back, "to_canary_id": "a-7"}
    assert history.last_run([ended, earlier], "a") == ended, "acknowledged since: a-1 was begun after it"
    assert history.last_run([ended, back, entry("canary_activated", "a-0")], "a") == back
    assert history.last_run([{**ended, "outcome": "violated"}, back], "a") == {**ended, "outcome": "violated"}
    assert history.last_run([ended, entry("canary_activated", "a-1"), back], "a") == ended
    assert history.last_run([entry("canary_promoted_step", "a-2"), ended], "a") == entry("canary_promoted_step", "a-2")
    assert history.last_run([ended, entry("canary_promoted_step", "a-1"), back], "a") == back
    assert history.last_run([entry("promoted", "b-0", "b"), entry("promoted", "a-0")], "a") == entry("promoted", "a-0")


def test_the_violation_that_led_a_step_back_is_the_one_to_acknowledge(make_machine: Make) -> None:
    """The preflight of an activation wants that one, too: no other id may be asked for."""
    machine = make_machine(rollback_to="previous_step")
    machine.run_canary()
    machine.make_safe()
    raised = machine.raise_canary()
    machine.write_verdict(verdict="violation", status="NO-GO", violations=(COLLAPSE,), message="HOLD")
    rollback.roll_back(machine.host, rollback.trigger_of_unit)
    back = machine.record()
    assert (back.state, back.weight, back.stepped_back_from) == ("active", 0.1, raised.id)
    machine.time.sleep(60)
    machine.write_verdict()
    assert decided(machine).action == "wait"
    machine.make_safe()
    found = decided(machine)
    assert found.action == "stopped" and f"-e acknowledge={raised.id}" in found.remedy
    assert decided(machine, acknowledge=raised.id).action == "raise"
    end(machine, "aborted", "odd")
    found = decided(machine)
    assert found.action == "stopped" and f"-e acknowledge={raised.id}" in found.remedy
    assert decided(machine, acknowledge=back.id).action == "stopped"
    assert decided(machine, acknowledge=raised.id).action == "activate"


def test_a_run_of_another_model_goes_first(machine: Machine) -> None:
    record = machine.run_canary()
    found = decided(machine, "nhits")
    assert (found.action, found.until) == ("wait", record.ends_at)
    assert "one model at a time" in found.sentence and "nhits waits" in found.sentence


def test_held_as_inconclusive_is_stopped(machine: Machine) -> None:
    record = machine.run_canary()
    save(machine.paths.record, replace(record, outcome="inconclusive", concluded_at=machine.time.wall))
    found = decided(machine)
    assert found.action == "stopped" and "is inconclusive" in found.sentence


def test_violated_and_not_yet_ended_is_stopped(machine: Machine) -> None:
    record = machine.run_canary()
    save(machine.paths.record, replace(record, violations=(vars(COLLAPSE),)))
    assert decided(machine).action == "stopped"


SPEAKS_AGAINST: t.Mapping[str, tuple[t.Callable[[Machine], object], str, str]] = {
    "stale": (lambda machine: machine.time.sleep(90_000) or machine.write_verdict(), "stopped", "is stale"),
    "a violation since": (
        lambda machine: machine.write_verdict(verdict="violation", status="NO-GO", violations=(COLLAPSE,)),
        "stopped",
        "is about to be ended by its host",
    ),
    "not certain now": (lambda machine: machine.write_verdict(status="WAIT"), "wait", "was found safe, but now"),
    "the file of a freeze": (
        lambda machine: machine.paths.freeze.parent.mkdir(parents=True) or machine.paths.freeze.write_text("audit"),
        "wait",
        "is frozen by",
    ),
    "a page": (
        lambda machine: machine.paths.page.write_text(json.dumps({"at": 1e9, "reason": "why", "tries": 8})),
        "stopped",
        "a human is needed",
    ),
    "an engine that stopped": (lambda machine: machine.stop_engine(), "stopped", "is not running"),
    "paused": (lambda machine: rollout_state.pause(machine.host, "odd"), "wait", "is paused since 2026-01-10T"),
}


@pytest.mark.parametrize("case", SPEAKS_AGAINST)
def test_what_speaks_against_the_next_step(machine: Machine, case: str) -> None:
    machine.run_canary()
    record = machine.make_safe()
    change, action, words = SPEAKS_AGAINST[case]
    change(machine)
    found = decided(machine, max_age_s=43_200.0)
    assert (found.action, found.share) == (action, 0.25)
    assert words in found.sentence
    if action == "wait":
        assert found.until == record.ends_at, "then it goes back by itself"


# --- freeze windows


def test_a_window_stops_activation_and_promotion_but_no_rollback(make_machine: Make) -> None:
    machine = make_machine(freeze_windows=WEEKEND)
    words = r"this host is frozen until 2026-01-11T23:00:00Z by the window sat, sun 00:00 to 00:00 Europe/Berlin"
    with pytest.raises(NotYet, match=words) as caught:
        activation.arm(machine.host, machine.request())
    assert caught.value.until == 1_768_172_400
    assert not machine.paths.record.exists()
    found = decided(machine)
    assert (found.action, found.until) == ("wait", 1_768_172_400)
    machine.time.sleep(1_768_172_400 - machine.time.wall)
    take(machine, decided(machine))
    machine.make_safe()
    monday = [{"days": ["mon"], "from": "00:00", "to": "00:00", "timezone": "Europe/Berlin"}]
    machine.host = replace(machine.host, settings=replace(machine.host.settings, freeze_windows=monday))
    for attempt in (promotion.preflight, promotion.raise_step):
        with pytest.raises(NotYet, match="this host is frozen until 2026-01-12T23:00:00Z by the window mon 00:00"):
            attempt(machine.host, machine.promotion())
    assert decided(machine).action == "wait"
    assert rollback.roll_back(machine.host, rollback.Finding("manual", "")).changed
    machine.check_baseline()


def test_a_window_without_an_end_waits_for_the_way_back(make_machine: Make) -> None:
    machine = make_machine()
    machine.run_canary()
    record = machine.make_safe()
    machine.host = replace(machine.host, settings=replace(machine.host.settings, freeze_windows=ALWAYS))
    found = decided(machine)
    assert (found.action, found.until) == ("wait", record.ends_at)
    assert "without an end in sight" in found.sentence


def test_an_unknown_zone_is_an_error_and_no_step(make_machine: Make) -> None:
    windows = [{"from": "22:00", "to": "06:00", "timezone": "Europe/Berlim"}]
    machine = make_machine(freeze_windows=windows)
    for ask in (
        lambda: activation.arm(machine.host, machine.request()),
        lambda: reconcile.decided(machine.host, wanted(machine)),
        lambda: installed.plan(machine.host.settings, None, machine.paths),
    ):
        with pytest.raises(BadInput, match="timezone=Europe/Berlim is not known on this host") as caught:
            ask()
        assert "tzdata" in caught.value.remedy
    assert not machine.paths.record.exists()
    assert any("Europe/Berlim" in problem for problem in status.gather(machine.host)["problems"])


# --- what operators say


def next_step(machine: Machine) -> t.Callable[[Record], float | None]:
    return lambda record: promotion.next_step(machine.host.settings.steps, record)


def state_of(machine: Machine) -> t.Any:
    return json.loads(machine.paths.rollout.read_bytes())


def test_pause_and_resume_once_each(machine: Machine) -> None:
    record = machine.run_canary()
    machine.make_safe()
    untouched = machine.files()
    assert "paused since" in rollout_state.pause(machine.host, "earnings\x1b[2J", dry_run=True)[2]
    assert machine.files() == untouched
    before, after, _sentence = rollout_state.pause(machine.host, "earnings\x1b[2J")
    assert (before.paused, after) == (None, rollout_state.read(machine.host))
    paused = {"by": "tester", "at": machine.time.wall, "reason": "earnings\N{REPLACEMENT CHARACTER}[2J"}
    assert state_of(machine) == {"paused": paused, "approvals": []}
    (entry,) = machine.ledger("rollout_paused")
    assert (entry["canary_id"], entry["actor"], entry["reason"]) == (record.id, "tester", paused["reason"])
    once = machine.files()
    machine.time.sleep(5)
    assert "nothing changed" in rollout_state.pause(machine.host, "other")[2]
    assert machine.files() == once
    for attempt in (promotion.raise_step, promotion.preflight):
        with pytest.raises(NotYet, match="the rollout of this host is paused since") as caught:
            attempt(machine.host, machine.promotion())
        assert "qsc rollout resume" in caught.value.remedy
    assert decided(machine).action == "wait"
    assert "rollout   paused since" in "\n".join(status_lines(status.gather(machine.host)))
    assert "resumed" in rollout_state.resume(machine.host)[2]
    assert len(machine.ledger("rollout_resumed")) == 1
    once = machine.files()
    assert rollout_state.resume(machine.host)[2] == "not paused: nothing changed"
    assert machine.files() == once
    assert decided(machine).action == "raise"
    assert all("earnings" in ledger_line(item) for item in machine.ledger() if item["action"].startswith("rollout_"))


def test_a_pause_stops_the_first_step_of_a_rollout_and_no_activation_by_hand(machine: Machine) -> None:
    rollout_state.pause(machine.host, "odd")
    assert decided(machine).action == "wait"
    with pytest.raises(NotYet, match="is paused since"):
        activation.arm(machine.host, machine.request(rollout=True))
    assert machine.ledger("rollout_paused")[0]["canary_id"] == ""
    machine.run_canary()


def test_an_approval_is_for_one_step_after_one_run(make_machine: Make) -> None:
    machine = make_machine(approvals=[0.25, 0.5])
    machine.run_canary()
    first = machine.make_safe()
    for attempt in (promotion.preflight, promotion.raise_step):
        with pytest.raises(NotYet, match=r"the step to 25 % needs an approval \(qsc_canary_approvals\)") as caught:
            attempt(machine.host, machine.promotion())
        for command in ("playbooks/rollout.yml -e rollout=approve -e approve=0.25", "qsc rollout approve 0.25"):
            assert command in caught.value.remedy
    held = "rollout   the step to 25 % needs an approval: qsc rollout approve 0.25"
    assert held in status_lines(status.gather(machine.host))
    untouched = machine.files()
    assert "is approved" in rollout_state.approve(machine.host, 0.25, next_step(machine), dry_run=True)[2]
    assert machine.files() == untouched
    rollout_state.approve(machine.host, 0.25, next_step(machine))
    given = {"canary_id": first.id, "step": 0.25, "by": "tester", "at": machine.time.wall}
    assert state_of(machine) == {"paused": None, "approvals": [given]}
    once = machine.files()
    assert "already approved" in rollout_state.approve(machine.host, 0.25, next_step(machine))[2]
    assert machine.files() == once
    (entry,) = machine.ledger("rollout_approved")
    assert (entry["canary_id"], entry["from_weight"], entry["to_weight"]) == (first.id, 0.1, 0.25)
    assert "the step from 10 % to 25 %" in ledger_line(entry)
    assert held not in status_lines(status.gather(machine.host))
    take(machine, decided(machine))
    second = machine.make_safe()
    assert decided(machine).action == "wait", "the next step needs its own"
    rollout_state.approve(machine.host, 0.5, next_step(machine))
    assert [item["canary_id"] for item in state_of(machine)["approvals"]] == [second.id], "the old one is dropped"
    # the same share after another run of the model is another step
    end(machine)
    machine.run_canary()
    machine.make_safe()
    assert "needs an approval" in decided(machine).sentence


def test_an_approval_is_for_its_share_alone(make_machine: Make) -> None:
    machine = make_machine(approvals=[0.25])
    machine.run_canary()
    rollout_state.approve(machine.host, 0.25, next_step(machine))
    machine.make_safe()
    settings = replace(machine.host.settings, steps=[0.1, 0.5], approvals=[0.5])
    machine.host = replace(machine.host, settings=settings)
    with pytest.raises(NotYet, match="the step to 50 % needs an approval"):
        promotion.raise_step(machine.host, machine.promotion())


def test_an_approval_does_not_outlive_its_run(make_machine: Make) -> None:
    machine = make_machine(approvals=[0.25])
    machine.run_canary()
    rollout_state.approve(machine.host, 0.25, next_step(machine))
    end(machine)
    machine.run_canary()
    machine.make_safe()
    with pytest.raises(NotYet, match="the step to 25 % needs an approval"):
        promotion.raise_step(machine.host, machine.promotion())


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0, 0.3, 0.0, -1.0, float("nan"), 25.0])
def test_only_the_next_step_is_approved(make_machine: Make, share: float) -> None:
    machine = make_machine(approvals=[0.25])
    machine.run_canary()
    before = machine.files()
    with pytest.raises(BadInput, match=r"the next step is 0\.25"):
        rollout_state.approve(machine.host, share, next_step(machine))
    assert machine.files() == before


@pytest.mark.parametrize(
    "changes", [{"outcome": "inconclusive"}, {"violations": (vars(COLLAPSE),)}, {"state": "arming"}]
)
def test_nothing_is_approved_that_cannot_be_raised(machine: Machine, changes: dict[str, t.Any]) -> None:
    with pytest.raises(BadInput, match="no canary on this host that could be raised"):
        rollout_state.approve(machine.host, 0.25, next_step(machine))
    save(machine.paths.record, replace(machine.run_canary(), **changes))
    with pytest.raises(BadInput, match="no canary on this host that could be raised"):
        rollout_state.approve(machine.host, 0.25, next_step(machine))


@pytest.mark.parametrize("safe", [False, True])
def test_an_abort_ends_at_the_baseline_and_stays_there(machine: Machine, safe: bool) -> None:
    record = machine.run_canary()
    if safe:
        machine.make_safe()
    assert reconcile.abort(machine.host, "odd fills").changed
    machine.check_baseline()
    (entry,) = machine.ledger("rollback_executed")
    assert (entry["trigger"], entry["reason"], entry["canary_id"]) == ("aborted", "odd fills", record.id)
    once = machine.files()
    assert not reconcile.abort(machine.host, "odd fills").changed
    assert machine.files() == once
    machine.events.clear()
    found = decided(machine)
    assert found.action == "stopped" and "(aborted: odd fills)" in found.sentence
    assert decided(machine, acknowledge=record.id).action == "activate"


def test_an_abort_is_an_operator_s_and_feeds_no_breaker(make_machine: Make) -> None:
    machine = make_machine(breaker_rollbacks=1)
    machine.run_canary()
    reconcile.abort(machine.host, "")
    machine.time.sleep(60)
    machine.run_canary()


# --- a file that nobody of us wrote

PAUSED = {"by": "x", "at": 1.0, "reason": ""}
GIVEN = {"canary_id": make_record().id, "step": 0.25, "by": "x", "at": 1.0}
BROKEN: t.Sequence[t.Any] = [
    "{", "null", "[]", "5", '"paused"', "{}", '{"paused": null}', '{"approvals": []}', "\xff", "[" * 100_000,
    " " * (1 << 21),
    '{"paused": null, "approvals": NaN}', '{"paused": null, "approvals": {}}', '{"paused": false, "approvals": []}',
    *(json.dumps({"paused": paused, "approvals": []}) for paused in
      ({}, [], 0, "", {**PAUSED, "at": "now"}, {**PAUSED, "at": -1}, {**PAUSED, "at": 10**400}, {**PAUSED, "by": None},
       {**PAUSED, "at": True}, {"by": "x", "at": 1.0})),
    *(json.dumps({"paused": None, "approvals": approvals}) for approvals in
      ([None], [[]], [{}], [{**GIVEN, "step": 1.5}], [{**GIVEN, "step": "0.25"}], [{**GIVEN, "canary_id": 5}], "x",
       [GIVEN] * 101)),
]  # fmt: skip


@pytest.mark.parametrize("content", BROKEN, ids=lambda item: f"{item!r:.60}")
def test_a_broken_file_is_an_error_and_no_step(make_machine: Make, content: str) -> None:
    machine = make_machine(approvals=[0.25])
    machine.run_canary()
    machine.make_safe()
    machine.paths.rollout.write_bytes(content.encode("latin-1"))
    before = machine.files()
    for ask in (
        lambda: promotion.preflight(machine.host, machine.promotion()),
        lambda: promotion.raise_step(machine.host, machine.promotion()),
        lambda: reconcile.decided(machine.host, wanted(machine)),
        lambda: rollout_state.pause(machine.host, "x"),
        lambda: rollout_state.resume(machine.host),
        lambda: rollout_state.approve(machine.host, 0.25, next_step(machine)),
    ):
        with pytest.raises(RecordUnreadable) as caught:
            ask()
        assert str(machine.paths.rollout) in caught.value.message
        assert f"rm {machine.paths.rollout}" in caught.value.remedy
        assert str(caught.value).isprintable()
    assert machine.files() == before
    assert any(str(machine.paths.rollout) in problem for problem in status.gather(machine.host)["problems"])
    assert reconcile.abort(machine.host, "").changed, "the way back needs no such file"


def test_a_broken_file_is_said_while_the_run_is_watched_too(machine: Machine) -> None:
    machine.run_canary()
    machine.paths.rollout.write_text("{}")
    with pytest.raises(RecordUnreadable, match=r"rollout\.json is not the state of a rollout"):
        reconcile.decided(machine.host, wanted(machine))


def test_a_link_is_no_state(machine: Machine) -> None:
    machine.paths.rollout.symlink_to(machine.paths.record)
    with pytest.raises(RecordUnreadable, match=r"rollout\.json cannot be read"):
        rollout_state.read(machine.host)


def test_a_broken_record_is_an_error(machine: Machine) -> None:
    machine.paths.record.write_text("{")
    with pytest.raises(QscError):
        reconcile.decided(machine.host, wanted(machine))


def test_an_uninstall_takes_it_along(machine: Machine) -> None:
    rollout_state.pause(machine.host, "odd")
    assert install.uninstall(machine.paths)
    assert not machine.paths.rollout.exists()
    assert load(machine.paths.record) is None
    assert UNIT in str(machine.dropin)
