# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From 10 % to the engine's own weights: what is refused, and where a host ends whatever cuts the way off.

The host is one in memory; the real thing is tested on the test hosts.
"""

from __future__ import annotations

import errno
import json
import typing as t
from dataclasses import replace

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc import steps
from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import BadInput, LeaseLost, QscError, Refused
from ansible_collections.qsc.canary.plugins.module_utils.qsc.files import digest_file
from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard import (
    hooks,
    promotion,
    resume,
    rollback,
    status,
    watchdog,
)
from ansible_collections.qsc.canary.plugins.module_utils.qsc.record import Record, save
from ansible_collections.qsc.canary.plugins.module_utils.qsc.tell.status import ledger_line, status_lines
from helpers.machine import Machine
from helpers.samples import BASELINE, COLLAPSE, UNIT, make_record

SHARES = (0.10, 0.25, 0.50, 1.00)
FULL = {"xgb": 0.0, "lgbm": 0.0, "nhits": 0.0, "patchtst": 1.0}
FINAL = {"xgb": 0.1, "lgbm": 0.1, "nhits": 0.1, "patchtst": 0.7}
Make = t.Callable[..., Machine]


class Killed(BaseException):
    """The process is gone: nothing of ours catches it."""


def kill_at(monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """The process that is about to take this step is killed there, once."""

    def listener(name: str) -> None:
        if name == step:
            monkeypatch.setattr(steps, "listener", None)
            raise Killed

    monkeypatch.setattr(steps, "listener", listener)


def at_share(machine: Machine, share: float) -> Record:
    """A safe canary at this step of the default ones."""
    machine.run_canary()
    record = machine.make_safe()
    while record.weight < share:
        machine.raise_canary(confirm_full=True)
        record = machine.make_safe()
    return record


def own_weights(machine: Machine) -> t.Any:
    return json.loads(machine.baseline_path.read_bytes())


def loaded(machine: Machine) -> t.Any:
    """The weights that the engine's process acknowledged, by the file that has their digest."""
    acknowledged = json.loads(machine.paths.ack.read_bytes())
    assert acknowledged["pid"] == machine.engine.pid
    assert acknowledged["sha256"] == digest_file(machine.paths.weights)
    return json.loads(machine.paths.weights.read_bytes())


def guards(machine: Machine, looks: int = 3) -> None:
    """The watchdog's next looks, each with the rollback that it starts."""
    for _number in range(looks):
        machine.time.sleep(30)
        before = len(machine.events)
        watchdog.watch(machine.host)
        if "start qsc-rollback.service" in machine.events[before:]:
            rollback.roll_back(machine.host, rollback.trigger_of_unit)


def refused(machine: Machine, *words: str, error: type[QscError] = Refused, **request: t.Any) -> QscError:
    """Refused with these words, when asked and when done, and nothing changed at all."""
    before, process = machine.files(), machine.engine.pid
    wanted = machine.promotion(**request) if machine.paths.record.exists() else promotion.Request(gate={}, **request)
    caught = []
    for attempt in (promotion.preflight, promotion.raise_step, promotion.promote):
        with pytest.raises(error) as failure:
            attempt(machine.host, wanted)
        caught.append(failure.value)
        for word in words:
            assert word in str(failure.value)
        assert failure.value.remedy
    assert machine.files() == before
    assert machine.engine.pid == process
    assert machine.events == []
    return caught[0]


# --- the way up


def test_from_the_first_step_to_the_engine_s_own_weights(machine: Machine) -> None:
    snapshot = json.dumps(BASELINE).encode()
    first = machine.run_canary()
    before = first
    for share in SHARES[1:]:
        machine.make_safe()
        plan = promotion.preflight(machine.host, promotion.Request(confirm_full=True))
        assert (plan.action, plan.weights.weight) == ("raise", share)
        armed = promotion.raise_step(machine.host, machine.promotion(confirm_full=True))[1]
        assert armed.state == "arming"
        assert (armed.raised_from, armed.raised_weight) == (before.id, before.weight)
        assert armed.id != before.id and armed.owner != before.owner
        assert machine.runs_canary, "the engine keeps running the step before until it is restarted"
        assert machine.engine.environment["QSC_CANARY_TRAFFIC"] == f"{before.weight:.2f}"
        machine.write_dropin()
        machine.time.sleep(2)
        machine.start_engine()
        now = machine.activate(armed, since={"id": f"{int(machine.time.wall * 1000)}-0", "entries_added": 9000})
        assert machine.engine.environment["QSC_CANARY_TRAFFIC"] == f"{share:.2f}"
        assert loaded(machine) == dict(now.weights)
        rest = {name: BASELINE[name] * (1 - share) / 0.8 for name in ("xgb", "lgbm", "nhits")}
        assert dict(now.weights) == pytest.approx({**rest, "patchtst": share}, abs=1e-6), "from the original baseline"
        assert dict(now.baseline) == BASELINE
        assert machine.paths.baseline.read_bytes() == snapshot
        (entry,) = [item for item in machine.ledger("canary_promoted_step") if item["canary_id"] == now.id]
        wanted = {
            "from_canary_id": before.id,
            "from_weight": before.weight,
            "to_weight": share,
            "weights": dict(now.weights),
            "rollback_cmd": f"/usr/local/bin/qsc rollback --id {now.id}",
        }
        assert {name: entry[name] for name in wanted} == wanted
        assert f"from {100 * before.weight:g} % to {100 * share:g} %" in ledger_line(entry)
        machine.write_verdict()
        before = now
    machine.make_safe()
    plan, record, proof = promotion.promote(machine.host, machine.promotion(confirm_full=True))
    assert (plan.action, record.state, record.outcome) == ("promote", "promoted", "safe")
    assert proof is not None and proof.environment == {}
    assert own_weights(machine) == FULL
    assert machine.baseline_path.with_name(f"weights.json.{record.id}.before").read_bytes() == snapshot
    machine.check_baseline()
    assert machine.events == ["daemon-reload", f"reset-failed {UNIT}", f"restart {UNIT}", "stop qsc-monitor.timer"]
    (entry,) = machine.ledger("promoted")
    assert entry["weights"] == FULL
    assert entry["rollback_cmd"] == promotion.undo_command(record)
    assert str(machine.baseline_path) in ledger_line(entry)
    assert machine.ledger("rollback_executed") == []
    # nobody undoes it, and a second promotion changes nothing
    guards(machine)
    assert rollback.roll_back(machine.host, rollback.Finding("manual", "")).changed is False
    after = machine.files()
    again = promotion.promote(machine.host, promotion.Request(gate={}))
    assert (again[0].action, again[2]) == ("already_promoted", None)
    assert machine.files() == after


def test_a_raise_that_runs_changes_nothing_when_asked_again(machine: Machine) -> None:
    at_share(machine, 0.10)
    record = machine.raise_canary()
    before = machine.files()
    plan, found = promotion.raise_step(machine.host, machine.promotion())
    assert plan.action == "already_active"
    assert found == record == machine.record()
    assert found.ends_at == record.activated_at + 21_600
    assert machine.files() == before
    assert machine.events == []


def test_promoted_weights_of_ones_own(make_machine: Make) -> None:
    machine = make_machine(steps=[0.1])
    at_share(machine, 0.10)
    promotion.promote(machine.host, machine.promotion(promoted_weights=FINAL))
    assert own_weights(machine) == FINAL
    assert machine.record().promoted == FINAL


def test_the_owner_and_mode_of_the_engine_s_file_stay(make_machine: Make) -> None:
    machine = make_machine(steps=[0.1])
    machine.baseline_path.chmod(0o640)
    at_share(machine, 0.10)
    promotion.promote(machine.host, machine.promotion())
    assert machine.baseline_path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    ("shares", "weight", "wanted", "number"),
    [
        (SHARES, 0.10, 0.25, 1),
        (SHARES, 0.25, 0.50, 2),
        (SHARES, 1.0, None, 4),
        (SHARES, 0.3, 0.5, 2),
        (SHARES, 0.05, 0.10, 0),
        ((0.1, 0.2, 0.3), 0.1, 0.3, 1),
        ((0.1, 0.2), 0.1, None, 1),
    ],
    ids=str,
)
def test_the_next_step(shares: tuple[float, ...], weight: float, wanted: float | None, number: int) -> None:
    """The share that the model has in the baseline (20 %) is no step: the engine would run its baseline."""
    record = make_record(weight=weight)
    assert promotion.step_of(shares, record) == {"number": number, "of": len(shares), "next": wanted}


def test_status_shows_the_step(machine: Machine) -> None:
    at_share(machine, 0.25)
    assert "step      2 of 4; 50 % is next" in status_lines(status.gather(machine.host))
    machine.raise_canary()
    machine.make_safe()
    machine.raise_canary(confirm_full=True)
    assert "step      4 of 4; the last one" in status_lines(status.gather(machine.host))


# --- what is refused


def test_without_any_canary(machine: Machine) -> None:
    error = refused(machine, "no canary is in flight on this host")
    assert "playbooks/activate.yml" in error.remedy


def test_a_run_that_is_still_watched(machine: Machine) -> None:
    machine.run_canary()
    refused(machine, "patchtst at 10 %", "is not safe yet: it is watched until 2026-01-10T1")


def test_a_run_that_is_being_armed(machine: Machine) -> None:
    machine.arm()
    machine.events.clear()
    before = machine.files()
    with pytest.raises(Refused, match="is being armed, until 2026-01-10T0"):
        promotion.preflight(machine.host, promotion.Request())
    assert machine.files() == before


ENDED: t.Mapping[str, tuple[dict[str, t.Any], str]] = {
    "terminated": ({"state": "rolled_back", "outcome": "terminated", "trigger": "manual"}, "ended terminated (manual"),
    "violated": ({"state": "rolled_back", "outcome": "violated", "trigger": "x"}, "ended violated (x"),
    "inconclusive": ({"state": "rolled_back", "outcome": "inconclusive"}, "ended inconclusive ("),
    "safe, then ended": ({"state": "rolled_back", "outcome": "safe", "trigger": "hold_expired"}, "ended safe (hold_"),
    "rolling back": (
        {"state": "rolling_back", "outcome": "safe", "trigger": "manual"},
        "on its way back to the baseline",
    ),
    "half promoted": ({"state": "promoting"}, "on its way back to the baseline (promoting)"),
    "held as inconclusive": (
        {"outcome": "inconclusive", "reason": "not certain"},
        "is inconclusive (not certain), held",
    ),
    "violated in flight": ({"violations": (vars(COLLAPSE),)}, "is violated: Action collapse: HOLD=78.3%"),
}


@pytest.mark.parametrize("raised", [False, True], ids=["first step", "raised"])
@pytest.mark.parametrize("case", ENDED)
def test_nothing_but_a_safe_run(machine: Machine, case: str, raised: bool) -> None:
    changes, word = ENDED[case]
    record = at_share(machine, 0.25 if raised else 0.10)
    save(machine.paths.record, replace(record, **changes))
    refused(machine, record.id, word, promoted_weights=FINAL, confirm_full=True, max_age_s=1e9)


def test_a_stale_verdict(machine: Machine) -> None:
    record = at_share(machine, 0.10)
    machine.time.sleep(7300)
    machine.write_verdict()
    error = refused(machine, "is stale: safe since 2026-01-10T1", "2.0 h ago", "at most 2.0 h", max_age_s=7200.0)
    assert record.id in error.remedy
    assert promotion.preflight(machine.host, machine.promotion(max_age_s=7400.0)).action == "raise"


def test_no_verdict_is_younger_than_the_hold_allows(make_machine: Make) -> None:
    machine = make_machine(hold_s=3600)
    at_share(machine, 0.10)
    machine.time.sleep(3700)
    machine.write_verdict()
    refused(machine, "is stale", max_age_s=1e9)


NOW_BAD: t.Mapping[str, tuple[t.Callable[[Machine], object], str]] = {
    "a violation since": (
        lambda machine: machine.write_verdict(
            verdict="violation", status="NO-GO", violations=(COLLAPSE,), message="HOLD"
        ),
        "about to be ended by its host (qsc_monitor_violation: HOLD",
    ),
    "not certain any more": (lambda machine: machine.write_verdict(status="WAIT"), "was found safe, but now: the last"),
    "not readable": (lambda machine: machine.paths.verdict.write_text("{"), "(verdict_unreadable: "),
    "silence": (lambda machine: machine.time.sleep(400), "(monitor_silent: "),
    "no telemetry": (
        lambda machine: machine.write_verdict(verdict="transient", status="WAIT"),
        "was found safe, but now: the last verdict is transient",
    ),
    "the drop-in changed": (lambda machine: machine.dropin.write_text("[Unit]"), "(dropin_changed: "),
    "the engine restarted by itself": (lambda machine: machine.start_engine(n_restarts=1), "(engine_restarted: "),
    "the engine without its variables": (
        lambda machine: machine.engine.environment.pop("QSC_CANARY_MODEL"),
        "is active but not proven",
    ),
    "another snapshot": (lambda machine: machine.paths.baseline.write_text("{}"), "is not the baseline that was saved"),
    "no snapshot": (lambda machine: machine.paths.baseline.unlink(), "the saved baseline cannot be read"),
    "frozen": (
        lambda machine: (
            machine.paths.freeze.parent.mkdir(parents=True),
            machine.paths.freeze.write_text("earnings week"),
        ),
        "this host is frozen by",
    ),
    "a page": (
        lambda machine: machine.paths.page.write_text(json.dumps({"at": 1e9, "reason": "why", "tries": 8})),
        "a human is needed since",
    ),
    "a stopped engine": (lambda machine: machine.stop_engine(), "is not running"),
}


@pytest.mark.parametrize("case", NOW_BAD)
def test_what_speaks_against_it_since(machine: Machine, case: str) -> None:
    at_share(machine, 0.10)
    change, word = NOW_BAD[case]
    change(machine)
    refused(machine, word)


def test_another_model(machine: Machine) -> None:
    at_share(machine, 0.10)
    error = refused(machine, "model=nhits is not the canary of this host", "patchtst at 10 %", model="nhits")
    assert "-e model=patchtst" in error.remedy
    assert promotion.preflight(machine.host, machine.promotion(model="patchtst")).action == "raise"


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"passed": False, "exit_code": 2}, "the quality gate did not pass"),
        ({"mode": "collection"}, "the quality gate did not pass"),
        ({"models": {"xgb": {}}}, "the gate did not judge patchtst"),
        ({"judged_at": 1.0}, "the gate's answer is not of now"),
        ({"cutover": {"id": "1-0"}}, "the gate judged the telemetry after 1-0, this step began at 1768023800000-0"),
        ({"cutover": {"time": "2026-01-10T05:43:15Z"}}, "the gate judged the telemetry after None"),
        ({"cutover": None}, "the gate judged the telemetry after None"),
    ],
    ids=str,
)
@pytest.mark.parametrize("last", [False, True], ids=["raise", "promote"])
def test_without_a_gate_of_this_step(make_machine: Make, changes: dict[str, t.Any], word: str, last: bool) -> None:
    machine = make_machine(steps=[0.1] if last else [0.1, 0.25])
    at_share(machine, 0.10)
    refused(machine, word, gate=machine.step_gate(**changes))


def test_without_any_gate(machine: Machine) -> None:
    at_share(machine, 0.10)
    for attempt in (promotion.raise_step, promotion.promote):
        with pytest.raises(Refused, match="No promotion without a passing gate"):
            attempt(machine.host, promotion.Request())


def test_all_of_the_weight_has_to_be_confirmed(machine: Machine) -> None:
    at_share(machine, 0.50)
    error = refused(machine, "100 % for patchtst: all other models get weight 0")
    assert "-e confirm_full=true" in error.remedy
    plan = promotion.preflight(machine.host, machine.promotion(confirm_full=True))
    assert "all other models get weight 0" in plan.weights.lines()
    machine.raise_canary(confirm_full=True)
    machine.make_safe()
    refused(machine, "100 % for patchtst: all other models get weight 0")
    assert promotion.preflight(machine.host, machine.promotion(promoted_weights=FINAL)).action == "promote"


def test_the_last_step_of_an_inline_baseline(make_machine: Make) -> None:
    machine = make_machine(steps=[0.1])
    record = machine.run_canary(baseline=BASELINE, baseline_path="")
    machine.make_safe()
    error = refused(machine, "has reached the last step", "the file of the engine's own weights is not known")
    assert "xgb 0.28125" in error.remedy
    assert f"qsc rollback --id {record.id}" in error.remedy


def test_a_weights_file_that_somebody_changed_is_not_overwritten(make_machine: Make) -> None:
    machine = make_machine(steps=[0.1])
    at_share(machine, 0.10)
    machine.baseline_path.write_text(json.dumps(FINAL))
    refused(machine, "was changed during the run: a promotion would overwrite that")


@pytest.mark.parametrize(
    ("weights", "error", "word"),
    [
        ({"xgb": 1.0}, Refused, "patchtst has no weight in them"),
        ({"xgb": 1.0, "patchtst": 0.0}, Refused, "patchtst has no weight in them"),
        ({"patchtst": 0.5}, BadInput, "promoted_weights: the weights sum to 0.500000"),
        ({"patchtst": "1"}, BadInput, "promoted_weights: patchtst='1'"),
    ],
    ids=str,
)
def test_promoted_weights_that_are_none(
    make_machine: Make, weights: dict[str, t.Any], error: type[QscError], word: str
) -> None:
    machine = make_machine(steps=[0.1])
    at_share(machine, 0.10)
    refused(machine, word, error=error, promoted_weights=weights)


# --- and back


@pytest.mark.parametrize("share", SHARES)
def test_a_violation_at_every_step_returns_to_the_original_baseline(machine: Machine, share: float) -> None:
    at_share(machine, share)
    machine.write_verdict(verdict="violation", status="NO-GO", violations=(COLLAPSE,), message="HOLD=78.3%")
    guards(machine)
    machine.check_baseline()
    record = machine.record()
    assert (record.state, record.outcome) == ("rolled_back", "violated")
    assert dict(record.baseline) == BASELINE == own_weights(machine)
    assert machine.paths.baseline.read_bytes() == json.dumps(BASELINE).encode()
    assert len(machine.ledger("rollback_executed")) == 1
    assert machine.ledger("rollback_executed")[0]["weights"] == BASELINE


def test_a_drifted_file_gets_the_original_baseline_back(machine: Machine) -> None:
    at_share(machine, 0.10)
    machine.baseline_path.write_text(json.dumps(FINAL))
    machine.write_verdict()
    watchdog.watch(machine.host)
    machine.raise_canary()
    assert machine.record().drift
    rollback.roll_back(machine.host, rollback.Finding("manual", ""))
    machine.check_baseline()
    assert own_weights(machine) == BASELINE


RAISE_STEPS = ("arm.record", "arm.weights", "arm.monitor", "arm.environment")


@pytest.mark.parametrize("step", RAISE_STEPS)
def test_a_raise_that_is_killed_while_it_is_armed(machine: Machine, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Before the record nothing has happened; after it the arming deadline ends the run at the original baseline."""
    record = at_share(machine, 0.25)
    kill_at(monkeypatch, step)
    with pytest.raises(Killed):
        promotion.raise_step(machine.host, machine.promotion())
    if step == "arm.record":
        machine.write_verdict()
        guards(machine)
        assert machine.record() == record
        assert machine.runs_canary
        return
    guards(machine, 12)
    machine.check_baseline()
    ended = machine.record()
    assert (ended.state, ended.trigger, ended.raised_from) == ("rolled_back", "arming_expired", record.id)
    assert own_weights(machine) == BASELINE


@pytest.mark.parametrize("step", ["prove.effect", "commit.ledger", "commit.record"])
def test_a_raise_that_is_killed_before_its_commit(machine: Machine, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    at_share(machine, 0.25)
    record = machine.raised_and_restarted()
    kill_at(monkeypatch, step)
    with pytest.raises(Killed):
        machine.activate(record)
    guards(machine, 12)
    machine.check_baseline()
    assert machine.record().trigger == "arming_expired"
    assert own_weights(machine) == BASELINE
    with pytest.raises(LeaseLost):
        machine.activate(record)


def test_a_raise_takes_no_snapshot(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    at_share(machine, 0.10)
    taken: list[str] = []
    monkeypatch.setattr(steps, "listener", taken.append)
    promotion.raise_step(machine.host, machine.promotion())
    assert tuple(taken) == RAISE_STEPS


def test_a_raise_that_cannot_be_armed_goes_back(machine: Machine) -> None:
    at_share(machine, 0.10)
    machine.fail("start")
    with pytest.raises(Refused, match="the next step could not be armed") as caught:
        promotion.raise_step(machine.host, machine.promotion())
    assert caught.value.remedy == "The host is at baseline."
    machine.check_baseline()
    assert machine.record().trigger == "arming_failed"


def test_an_engine_that_ignores_the_new_step_is_not_committed(machine: Machine) -> None:
    at_share(machine, 0.10)
    machine.acknowledges = False
    record = machine.raised_and_restarted()
    with pytest.raises(QscError, match="no proof that"):
        machine.activate(record)


PROMOTE_STEPS = tuple(step.name for step in steps.STEPS if step.phase == "promote")
DRIFTS = ("restore", "keep", "refuse")


@pytest.mark.parametrize("drift", DRIFTS)
@pytest.mark.parametrize("step", PROMOTE_STEPS)
@pytest.mark.parametrize("then", ["watchdog", "rollback", "reboot"])
def test_a_promotion_that_is_killed_converges(
    make_machine: Make, monkeypatch: pytest.MonkeyPatch, step: str, then: str, drift: str
) -> None:
    """Proven at the original baseline, whatever the option for changes by other hands says."""
    machine = make_machine(steps=[0.1], baseline_drift=drift)
    record = at_share(machine, 0.10)
    kill_at(monkeypatch, step)
    with pytest.raises(Killed):
        promotion.promote(machine.host, machine.promotion())
    monkeypatch.setattr(steps, "listener", None)
    if then == "reboot":
        for path in (machine.paths.engine_env, machine.paths.boot_mark, machine.paths.watchdog_state):
            path.unlink(missing_ok=True)
        resume.decide(machine.host)
        machine.start_engine()
        machine.units["qsc-monitor.timer"].active_state = "inactive"
        guards(machine)
    elif then == "rollback":
        rollback.roll_back(machine.host, rollback.trigger_of_unit)
    else:
        machine.write_verdict()
        guards(machine)
    if step == "promote.record" and then == "watchdog":
        assert machine.record() == record, "nothing had happened"
        assert machine.runs_canary
        return
    machine.check_baseline()
    ended = machine.record()
    wanted = {"reboot": "reboot"}.get(then, "manual" if step == "promote.record" else "promotion_interrupted")
    assert (ended.state, ended.trigger) == ("rolled_back", wanted)
    assert own_weights(machine) == BASELINE
    restarted = [index for index, event in enumerate(machine.events) if event.startswith(f"restart {UNIT}")]
    assert restarted or then == "reboot", "the engine must not run on with what it loaded"
    (entry,) = machine.ledger("rollback_executed")
    assert entry["outcome"] == "safe"
    before = machine.files()
    assert rollback.roll_back(machine.host, rollback.Finding("manual", "")).changed is False
    assert machine.files() == before


def test_a_promotion_that_was_cut_off_is_not_resumed(make_machine: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = make_machine(steps=[0.1], on_reboot="resume")
    at_share(machine, 0.10)
    kill_at(monkeypatch, "promote.disarm")
    with pytest.raises(Killed):
        promotion.promote(machine.host, machine.promotion())
    machine.write_verdict()
    for path in (machine.paths.engine_env, machine.paths.boot_mark):
        path.unlink()
    [note] = resume.decide(machine.host)
    assert "cannot go on: the promotion was not completed; the engine starts at baseline" in note
    machine.start_engine()
    guards(machine)
    machine.check_baseline()
    assert own_weights(machine) == BASELINE


def test_a_promotion_cut_off_after_the_restart_is_restarted_again(
    make_machine: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine has no canary variable any more, and still runs the promoted weights."""
    machine = make_machine(steps=[0.1])
    at_share(machine, 0.10)
    kill_at(monkeypatch, "promote.commit")
    with pytest.raises(Killed):
        promotion.promote(machine.host, machine.promotion())
    process = machine.engine.pid
    guards(machine)
    assert machine.engine.pid != process
    assert machine.record().trigger == "promotion_interrupted"


def test_a_promotion_that_fails_goes_back(make_machine: Make) -> None:
    machine = make_machine(steps=[0.1])
    at_share(machine, 0.10)
    leaks = [{"QSC_CANARY_MODEL": "patchtst"}, {}]
    machine.failing["restart"] = lambda: setattr(machine, "leaked", leaks.pop(0))
    with pytest.raises(Refused, match="the canary could not be promoted") as caught:
        promotion.promote(machine.host, machine.promotion())
    assert "runs with QSC_CANARY_MODEL=patchtst, expected was no canary variables" in str(caught.value)
    machine.check_baseline()
    assert "baseline" in caught.value.remedy
    assert own_weights(machine) == BASELINE
    assert machine.record().trigger == "promotion_failed"


JUDGED_BAD: t.Mapping[str, dict[str, t.Any]] = {
    "violated": {"verdict": "violation", "status": "NO-GO", "violations": [COLLAPSE], "message": "Action collapse"},
    "budget spent": {"verdict": "terminated", "message": "Exposure budget spent"},
}


@pytest.mark.parametrize("case", JUDGED_BAD)
def test_what_the_monitor_finds_while_the_hook_runs_stops_a_promotion(
    make_machine: Make, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    machine = make_machine(steps=[0.1])
    at_share(machine, 0.10)
    ran: list[str] = []

    def slow_hook(*_arguments: t.Any, **_options: t.Any) -> None:
        ran.append("pre")
        machine.time.sleep(30)
        machine.write_verdict(**JUDGED_BAD[case])

    monkeypatch.setattr(hooks, "before_restart", slow_hook)
    monkeypatch.setattr(hooks, "after_restart", lambda *_arguments, **_options: ran.append("post"))
    before = machine.engine.pid
    with pytest.raises(Refused, match="is about to be ended by its host"):
        promotion.promote(machine.host, machine.promotion())
    assert ran == ["pre", "post"]
    assert (machine.record().state, machine.engine.pid, own_weights(machine)) == ("active", before, BASELINE)
    rollback.roll_back(machine.host, rollback.trigger_of_unit)
    machine.check_baseline()
    assert machine.record().state == "rolled_back"
    assert machine.ledger("promoted") == []


@pytest.mark.parametrize("case", JUDGED_BAD)
def test_a_check_that_ends_while_the_engine_is_restarted_stops_a_promotion(make_machine: Make, case: str) -> None:
    """It had begun before the record said promoting."""
    machine = make_machine(steps=[0.1])
    at_share(machine, 0.10)
    machine.failing["restart"] = lambda: machine.write_verdict(**JUDGED_BAD[case])
    with pytest.raises(Refused, match="the monitor ended it while it was promoted") as caught:
        promotion.promote(machine.host, machine.promotion())
    assert "baseline" in caught.value.remedy
    machine.check_baseline()
    assert own_weights(machine) == BASELINE
    assert machine.record().state == "rolled_back"
    assert machine.ledger("promoted") == []


def test_a_hook_whose_end_cannot_be_kept_takes_no_promotion_back(
    make_machine: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = make_machine(steps=[0.1])
    at_share(machine, 0.10)

    def full(*_arguments: t.Any, **_options: t.Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(hooks, "after_restart", full)
    promotion.promote(machine.host, machine.promotion())
    assert machine.record().state == "promoted"
    assert own_weights(machine)["patchtst"] == 0.1


def test_a_budget_is_no_matter_of_the_last_promotion(make_machine: Make) -> None:
    """No run follows it. A step that begins one needs decisions that tell their positions."""
    machine = make_machine(steps=[0.1, 0.25], exposure_budget=5000.0)
    sized = {"impact": {"sized": 400}}
    machine.run_canary(gate=machine.gate(**sized))
    machine.make_safe()
    refused(machine, "exposure_budget=5000: none of the decisions", gate=machine.step_gate())
    machine.raise_canary(gate=machine.step_gate(**sized))
    machine.make_safe()
    promotion.promote(machine.host, machine.promotion())
    assert machine.record().state == "promoted"


def test_weights_that_cannot_be_taken_back_keep_the_run_open(
    make_machine: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine leaves the canary's environment at once; the run ends only when its file is the baseline again."""
    machine = make_machine(steps=[0.1])
    at_share(machine, 0.10)
    kill_at(monkeypatch, "promote.disarm")
    with pytest.raises(Killed):
        promotion.promote(machine.host, machine.promotion())
    real = rollback._replace_changed

    def broken(*_arguments: object) -> t.NoReturn:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(rollback, "_replace_changed", broken)
    with pytest.raises(OSError, match="Read-only"):
        rollback.roll_back(machine.host, rollback.trigger_of_unit)
    assert not machine.runs_canary
    assert machine.record().state == "rolling_back"
    monkeypatch.setattr(rollback, "_replace_changed", real)
    guards(machine)
    machine.check_baseline()
    assert own_weights(machine) == BASELINE
    assert machine.record().state == "rolled_back"
