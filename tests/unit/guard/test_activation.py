# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Arm before fire: what is refused before anything changes, a lease that ends by itself, and proof of the effect.

A stand-in in memory takes systemd's place here; the real thing is tested on the test hosts.
"""

from __future__ import annotations

import errno
import json
import math
import os
import typing as t
from dataclasses import replace

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc import files, ledger
from ansible_collections.qsc.canary.plugins.module_utils.qsc import record as records
from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import (
    BadInput,
    LeaseLost,
    NotProven,
    QscError,
    RecordUnreadable,
    Refused,
    SystemdError,
)
from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard import activation, effect, rollback, systemd
from ansible_collections.qsc.canary.plugins.module_utils.qsc.ledger import Ledger
from helpers.machine import DIGEST, Machine
from helpers.samples import BASELINE, CANARY, COLLAPSE, UNIT

Change = t.Callable[[Machine], object]
VIOLATION = rollback.Finding("qsc_monitor_violation", "HOLD=78.3%", "violated", (COLLAPSE,))


def no_space(*_arguments: object, **_options: object) -> t.NoReturn:
    raise OSError(errno.ENOSPC, "No space left on device")


def plain(record: records.Record) -> t.Any:
    """The record as JSON gives it back."""
    return json.loads(json.dumps(record.to_dict()))


def refused(machine: Machine, error: type[QscError], *words: str, check: bool = True, **request: t.Any) -> QscError:
    """The request is refused with these words, in the preflight and when arming, and nothing changed at all."""
    before, process = machine.files(), machine.engine.pid
    tries: list[t.Callable[[], object]] = [lambda: activation.arm(machine.host, machine.request(**request))]
    if check:
        tries.append(lambda: activation.preflight(machine.host, machine.request(**request)))
    for attempt in tries:
        with pytest.raises(error) as caught:
            attempt()
        for word in words:
            assert word in str(caught.value)
    assert machine.files() == before
    assert machine.engine.pid == process
    assert machine.events == []
    return caught.value


# --- the way through


def test_from_preflight_to_active(machine: Machine) -> None:
    before = machine.files()
    plan = activation.preflight(machine.host, machine.request(gate=None))
    assert (plan.action, dict(plan.weights.weights)) == ("activate", CANARY)
    assert machine.files() == before
    record = machine.arm()
    assert machine.record().to_dict() == plain(record)
    assert (record.state, record.generation, record.baseline, record.weights) == ("arming", 1, BASELINE, CANARY)
    assert record.arming_deadline_boot == machine.time.boot + 300
    assert record.engine_before["invocation_id"] == machine.engine.invocation
    assert machine.paths.engine_env.read_text() == (
        f"QSC_CANARY_WEIGHTS={machine.paths.weights}\nQSC_CANARY_MODEL=patchtst\n"
        f"QSC_CANARY_TRAFFIC=0.10\nQSC_CANARY_ACK={machine.paths.ack}\n"
    )
    assert json.loads(machine.paths.weights.read_bytes()) == CANARY
    assert machine.paths.baseline.read_bytes() == machine.baseline_path.read_bytes()
    assert machine.units["qsc-monitor.timer"].active_state == "active"
    assert not machine.runs_canary, "arming restarts nothing: that is the operator's play"
    machine.write_dropin()
    machine.time.sleep(2)
    machine.start_engine()
    active = machine.activate(record)
    assert machine.record().to_dict() == plain(active)
    assert (active.state, active.generation, active.effective) == ("active", 2, "acknowledged")
    assert active.since == {"id": "1768023800000-0", "entries_added": 9000}
    assert active.dropin_digest == files.digest_file(machine.dropin)
    assert active.engine == {"invocation_id": machine.engine.invocation, "main_pid": machine.engine.pid}
    (entry,) = machine.ledger("canary_activated")
    wanted = {
        "canary_id": record.id,
        "canary_model": "patchtst",
        "canary_weight": 0.1,
        "weights": CANARY,
        "cutover_ts": "2026-01-10T05:43:15Z",
        "quality_gate_events": 400,
        "monitoring_duration_hours": 6.0,
        "rollback_cmd": f"/usr/local/bin/qsc rollback --id {record.id}",
        "baseline_weights_file": str(machine.paths.baseline),
        "actor": "tester",
    }
    assert {name: entry[name] for name in wanted} == wanted


def test_the_environment_file_is_written_last(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it is there any restart comes up at baseline, so record and monitor must stand before it."""
    order: list[str] = []
    real = files.write_atomic

    def write(path: t.Any, data: bytes, **options: t.Any) -> None:
        order.append(path.name)
        real(path, data, **options)

    monkeypatch.setattr(activation, "write_atomic", write)
    monkeypatch.setattr(files, "write_atomic", write)
    machine.failing["start"] = lambda: order.append("monitor started")
    machine.arm()
    assert [name for name in order if name != "boot_id"] == [
        "record.json",
        "baseline.json",
        "weights.json",
        "monitor started",
        "engine.env",
    ]


def test_what_is_judged_is_frozen(machine: Machine) -> None:
    record = machine.arm(gate=machine.gate(cadence={"rate_per_s": 0.05, "stale_after_s": 210.0}))
    assert record.judging["stale_after"] == 210.0
    assert record.judging["max_wait"] == 6000.0, "1.5 x 200 decisions at 0.05 a second"
    assert record.judging["min_events"] == 200


def test_what_the_gate_has_learnt_and_how_the_engine_votes_are_frozen(
    make_machine: t.Callable[..., Machine],
) -> None:
    machine = make_machine(vote="weight_only")
    learnt = {"frame": {"bucket_s": 60.0}, "reference": {"size": 25}}
    record = machine.arm(gate=machine.gate(**learnt))
    assert {name: record.judging[name] for name in (*learnt, "vote")} == {**learnt, "vote": "weight_only"}
    assert (dict(record.baseline), record.weights["patchtst"]) == (BASELINE, 0.1)


def test_waits_of_ones_own(make_machine: t.Callable[..., Machine]) -> None:
    record = make_machine(stale_after=77, max_wait=88).arm()
    assert (record.judging["stale_after"], record.judging["max_wait"]) == (77.0, 88.0)


def test_a_fast_stream_waits_an_hour_at_least(machine: Machine) -> None:
    assert machine.arm().judging["max_wait"] == 3600.0


@pytest.mark.parametrize(
    ("weight", "text"), [(0.1, "0.10"), (0.25, "0.25"), (1.0, "1.00"), (0.125, "0.125"), (0.000001, "0.000001")]
)
def test_the_share_as_the_engine_reads_it(machine: Machine, weight: float, text: str) -> None:
    machine.arm(weight=weight)
    assert f"QSC_CANARY_TRAFFIC={text}\n" in machine.paths.engine_env.read_text()


# --- the gate

GATES: t.Mapping[str, tuple[dict[str, t.Any], str]] = {
    "not passed": ({"passed": False, "exit_code": 2}, "the quality gate did not pass"),
    "passed is text": ({"passed": "yes"}, "the quality gate did not pass"),
    "passed is 1": ({"passed": 1}, "the quality gate did not pass"),
    "another exit code": ({"exit_code": 2}, "the quality gate did not pass"),
    "collection": ({"mode": "collection", "exit_code": 3}, "the quality gate did not pass"),
    "collection that says passed": ({"mode": "collection"}, "the quality gate did not pass"),
    "too few": ({"events": 199}, "the gate judged 199 decisions, at least 200 are needed"),
    "no number of events": ({"events": None}, "the gate judged None decisions"),
    "events a boolean": ({"events": True}, "the gate judged True decisions"),
    "events text": ({"events": "400"}, "the gate judged '400' decisions"),
    "events not a number": ({"events": math.nan}, "the gate judged nan decisions"),
    "another model": ({"models": {"xgb": {}, "lgbm": {}}}, "the gate did not judge patchtst"),
    "no models": ({"models": {}}, "the gate did not judge patchtst"),
    "no time": ({"judged_at": None}, "the gate's answer is not of now"),
    "time a boolean": ({"judged_at": True}, "the gate's answer is not of now"),
    "time NaN": ({"judged_at": math.nan}, "the gate's answer is not of now"),
    "no rate": ({"cadence": {}}, "the rate of decisions is not known"),
    "no cadence": ({"cadence": None}, "the rate of decisions is not known"),
    "rate 0": ({"cadence": {"rate_per_s": 0}}, "the rate of decisions is not known"),
    "rate NaN": ({"cadence": {"rate_per_s": math.nan}}, "the rate of decisions is not known"),
    "rate a boolean": ({"cadence": {"rate_per_s": True}}, "the rate of decisions is not known"),
}


@pytest.mark.parametrize("case", GATES)
def test_without_a_passing_gate(machine: Machine, case: str) -> None:
    changes, word = GATES[case]
    refused(machine, Refused, word, gate=machine.gate(**changes))


@pytest.mark.parametrize("gate", [None, {}], ids=["none", "empty"])
def test_without_any_gate(machine: Machine, gate: t.Any) -> None:
    refused(machine, Refused, "No activation without a passing gate", gate=gate, check=False)


@pytest.mark.parametrize(("age", "good"), [(-61.0, False), (-59.0, True), (0.0, True), (899.0, True), (901.0, False)])
def test_the_age_of_the_gate(machine: Machine, age: float, good: bool) -> None:
    gate = machine.gate(judged_at=machine.time.wall - age)
    if good:
        assert activation.preflight(machine.host, machine.request(gate=gate)).action == "activate"
    else:
        refused(machine, Refused, "the gate's answer is not of now", "Ask the gate again", gate=gate)


def test_an_engine_restarted_after_its_gate(machine: Machine) -> None:
    gate = machine.gate()
    machine.time.sleep(10)
    machine.start_engine()
    refused(machine, Refused, f"{UNIT} was restarted after the gate had judged it", gate=gate)


@pytest.mark.parametrize(("rate", "hours"), [(0.0185, "6.1"), (1 / 60, "6.7"), (0.001, "111.2"), (0.01, "11.2")])
def test_a_stream_too_slow_to_judge_gets_the_hours_that_would_do(machine: Machine, rate: float, hours: str) -> None:
    error = refused(
        machine, Refused, "too slow to judge a run of 6.00 h", gate=machine.gate(cadence={"rate_per_s": rate})
    )
    assert error.remedy == f"Set qsc_canary_monitor_hours to {hours} or more."
    assert rate * float(hours) * 3600 >= 400, "the proposed hours would be refused again"


def test_a_budget_nothing_would_be_counted_against(machine: Machine) -> None:
    machine.host = replace(machine.host, settings=replace(machine.host.settings, exposure_budget=5000.0))
    for impact in (None, {}, {"sized": 0}, {"sized": True}, {"sized": "many"}, {"sized": math.nan}):
        gate = machine.gate(impact=impact)
        remedy = "set qsc_canary_exposure_budget to 0"
        refused(machine, Refused, "exposure_budget=5000: none of the decisions", remedy, gate=gate)
    gate = machine.gate(impact={"sized": 1})
    assert activation.preflight(machine.host, machine.request(gate=gate)).action == "activate"


def test_a_stream_just_fast_enough(machine: Machine) -> None:
    gate = machine.gate(cadence={"rate_per_s": 400 / 21_600 + 1e-9})
    assert activation.preflight(machine.host, machine.request(gate=gate)).action == "activate"


# --- the baseline


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (None, "does not exist"),
        (b"", "is empty"),
        (b"{}", "is empty"),
        (b"xgb=0.5", "is not JSON"),
        (b'{"xgb": 0.5, "patchtst": 0.2}', "sum to 0.700000"),
        (b'{"xgb": 1.2, "patchtst": -0.2}', "is not a weight"),
        (b'{"xgb": -0.2, "patchtst": 0.2}', "xgb=-0.2 is not a weight"),
        (b'{"xgb": NaN, "patchtst": 0.2}', "xgb=nan is not a weight"),
        (b"[]", "is not an object"),
    ],
)
def test_a_baseline_file_that_is_none(machine: Machine, data: bytes | None, word: str) -> None:
    if data is None:
        machine.baseline_path.unlink()
    else:
        machine.baseline_path.write_bytes(data)
    error = refused(machine, BadInput, word, str(machine.baseline_path))
    assert error.remedy


def test_a_baseline_behind_a_link(machine: Machine) -> None:
    machine.baseline_path.rename(machine.baseline_path.with_name("other"))
    machine.baseline_path.symlink_to("other")
    refused(machine, BadInput, "cannot be read", "not a link")


def test_no_baseline_at_all_names_both_ways(machine: Machine) -> None:
    error = refused(machine, BadInput, "the baseline is missing", baseline_path="")
    assert "qsc_canary_baseline_path" in error.remedy
    assert "qsc_canary_baseline inline" in error.remedy


def test_two_baselines(machine: Machine) -> None:
    refused(machine, BadInput, "both baseline and baseline_path are given", baseline=BASELINE)


@pytest.mark.parametrize(
    ("baseline", "word"),
    [
        ({}, "is empty"),
        ({"xgb": 0.5}, "sum to 0.500000"),
        ({"xgb": math.nan, "patchtst": 1.0}, "xgb=nan"),
        ({"xgb": math.inf, "patchtst": 1.0}, "xgb=inf"),
        ({"xgb": [math.nan], "patchtst": 1.0}, "xgb"),
        ({"xgb": 10**400, "patchtst": 1.0}, "xgb=1"),
        ({"xgb": "0.8", "patchtst": 0.2}, "xgb='0.8'"),
        ({"xgb": -0.2, "patchtst": 0.2}, "xgb=-0.2"),
    ],
    ids=lambda item: repr(item)[:30],
)
def test_an_inline_baseline_that_is_none(machine: Machine, baseline: dict[str, t.Any], word: str) -> None:
    refused(machine, BadInput, "baseline", word, baseline=baseline, baseline_path="")


def test_an_inline_baseline(machine: Machine) -> None:
    record = machine.arm(baseline=BASELINE, baseline_path="")
    assert dict(record.baseline) == BASELINE
    assert record.baseline_path == ""
    assert json.loads(machine.paths.baseline.read_bytes()) == BASELINE


@pytest.mark.parametrize(
    ("request_", "error", "word"),
    [
        ({"model": "tft"}, BadInput, "neither in the baseline nor in the telemetry"),
        ({"model": "../x"}, BadInput, "not a model's name"),
        ({"weight": 0.2}, Refused, "already the baseline weight"),
        ({"weight": 0.0}, BadInput, "weight=0.0"),
        ({"weight": 1.5}, BadInput, "weight=1.5"),
    ],
)
def test_no_canary(machine: Machine, request_: dict[str, t.Any], error: type[QscError], word: str) -> None:
    refused(machine, error, word, **request_)


def test_a_model_that_only_the_telemetry_knows(machine: Machine) -> None:
    gate = machine.gate(models={**machine.gate()["models"], "tft": {}})
    record = machine.arm(model="tft", gate=gate)
    assert record.weights["tft"] == 0.1
    assert "tft" not in record.baseline


# --- the engine and its guards

HOSTS: t.Mapping[str, tuple[Change, tuple[str, ...]]] = {
    "no such unit": (
        lambda machine: machine.units.pop(UNIT),
        ("does not exist on this host", "qsc_canary_engine_unit"),
    ),
    "masked": (
        lambda machine: setattr(machine.engine, "load_state", "masked"),
        ("is masked", f"systemctl unmask {UNIT}"),
    ),
    "stopped": (lambda machine: machine.stop_engine(), ("is not running (inactive/dead)", "systemctl start")),
    "failed": (lambda machine: machine.stop_engine(active="failed", sub="failed"), ("is not running (failed/failed)",)),
    "starting": (
        lambda machine: setattr(machine.engine, "active_state", "activating"),
        ("is not running (activating/running)",),
    ),
    "a drop-in without a run": (lambda machine: machine.write_dropin(), ("qsc_canary.conf exists", "qsc rollback")),
    "an environment file without a run": (
        lambda machine: machine.paths.engine_env.write_text("A=b\n"),
        ("engine.env exists", "qsc rollback"),
    ),
}


@pytest.mark.parametrize("case", HOSTS)
def test_a_host_that_is_not_ready(machine: Machine, case: str) -> None:
    change, words = HOSTS[case]
    change(machine)
    refused(machine, Refused, *words)


def relink(machine: Machine, target: str | None) -> None:
    link = machine.paths.agent_root / "current"
    link.unlink()
    if target is not None:
        link.symlink_to(target)


GUARDS: t.Mapping[str, tuple[Change, tuple[str, ...]]] = {
    "an agent of another digest": (
        lambda machine: relink(machine, "feedfeedfeedfeed"),
        ("the agent on this host is feedfeedfeedfeed", DIGEST, "install.yml"),
    ),
    "no agent": (lambda machine: relink(machine, None), ("the agent on this host is missing", "install.yml")),
    "no watchdog": (lambda machine: machine.units.pop("qsc-watchdog.timer"), ("qsc-watchdog.timer is not running",)),
    "a stopped watchdog": (
        lambda machine: setattr(machine.units["qsc-watchdog.timer"], "active_state", "inactive"),
        ("qsc-watchdog.timer is not running",),
    ),
    "no monitor": (lambda machine: machine.units.pop("qsc-monitor.timer"), ("qsc-monitor.timer is not-found",)),
    "a masked rollback": (
        lambda machine: setattr(machine.units["qsc-rollback.service"], "load_state", "masked"),
        ("qsc-rollback.service is masked",),
    ),
}


@pytest.mark.parametrize("case", GUARDS)
def test_nothing_is_armed_without_its_guards(machine: Machine, case: str) -> None:
    change, words = GUARDS[case]
    change(machine)
    refused(machine, Refused, *words, check=False)


def test_a_host_without_systemd(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd, "booted", lambda: False)
    refused(machine, Refused, "not booted with systemd")


def test_an_unreadable_record_is_not_overwritten(machine: Machine) -> None:
    machine.paths.record.write_bytes(b"{")
    refused(machine, RecordUnreadable, "Run: qsc rollback")


# --- another run


def test_another_canary_in_flight_is_named_with_its_way_back(machine: Machine) -> None:
    record = machine.run_canary()
    error = refused(machine, Refused, record.id, "patchtst at 10 %, active", model="xgb")
    assert error.remedy.endswith(f"/usr/local/bin/qsc rollback --id {record.id}")
    refused(machine, Refused, record.id, weight=0.25)


@pytest.mark.parametrize("state", ["arming", "rolling_back"])
def test_the_same_canary_not_yet_or_no_longer_active(machine: Machine, state: str) -> None:
    if state == "arming":
        machine.arm()
    else:
        machine.run_canary()
        machine.fail("restart")
        with pytest.raises(SystemdError):
            rollback.roll_back(machine.host, VIOLATION)
    machine.events.clear()
    refused(machine, Refused, state)


def test_the_same_canary_again_changes_nothing(machine: Machine) -> None:
    record = machine.run_canary()
    before, pid = machine.files(), machine.engine.pid
    plan, again = activation.arm(machine.host, machine.request())
    assert (plan.action, again) == ("already_active", record)
    assert dict(plan.weights.weights) == CANARY
    assert (machine.files(), machine.engine.pid, machine.events) == (before, pid, [])


def test_the_same_canary_that_is_not_proven_any_more(machine: Machine) -> None:
    record = machine.run_canary()
    machine.engine.environment.pop("QSC_CANARY_MODEL")
    refused(machine, Refused, "is active but not proven", f"qsc rollback --id {record.id}")


# --- the last run


def ended(machine: Machine, finding: rollback.Finding) -> str:
    record = machine.run_canary()
    rollback.roll_back(machine.host, finding)
    machine.time.sleep(3600)
    machine.events.clear()
    return record.id


def test_a_violated_model_needs_an_acknowledgement(machine: Machine) -> None:
    last = ended(machine, VIOLATION)
    error = refused(machine, Refused, last, COLLAPSE.message)
    assert f"acknowledge={last}" in error.remedy
    refused(machine, Refused, last, acknowledge="patchtst-other")
    record = machine.arm(acknowledge=last)
    assert record.acknowledged == last


def test_a_rotation_hides_no_violation(machine: Machine) -> None:
    last = ended(machine, VIOLATION)
    os.rename(machine.paths.ledger, f"{machine.paths.ledger}.1")
    refused(machine, Refused, last)
    machine.host.ledger.append("gate_refused", {"canary_model": "patchtst"}, wall=machine.time.wall)
    refused(machine, Refused, last)


def test_a_full_disk_hides_no_violation(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "_write_all", no_space)
        last = ended(machine, VIOLATION)
    refused(machine, Refused, last)


def test_another_model_needs_none(machine: Machine) -> None:
    ended(machine, VIOLATION)
    assert machine.arm(model="xgb").model == "xgb"


def test_a_terminated_run_needs_none(machine: Machine) -> None:
    ended(machine, rollback.Finding("manual", "maintenance"))
    machine.arm()


def test_a_frozen_host_takes_no_canary_but_always_gives_one_back(machine: Machine) -> None:
    machine.paths.freeze.parent.mkdir(parents=True)
    machine.paths.freeze.write_text("quarter end\x1b[31m, ask treasury\n")
    refused(
        machine, Refused, f"this host is frozen by {machine.paths.freeze}: quarter end", f"rm {machine.paths.freeze}"
    )
    machine.paths.freeze.unlink()
    record = machine.run_canary()
    machine.paths.freeze.symlink_to("nowhere")
    assert activation.arm(machine.host, machine.request())[1] == record, "what runs already is proven again"
    rollback.roll_back(machine.host, VIOLATION)
    machine.check_baseline()
    machine.events.clear()
    refused(machine, Refused, "this host is frozen", acknowledge=record.id)


def test_an_open_page_stops_an_activation(machine: Machine) -> None:
    machine.paths.page.write_text("{")
    refused(machine, Refused, "a human is needed", "qsc acknowledge")


def test_a_refused_gate_in_between_hides_no_violation(machine: Machine) -> None:
    last = ended(machine, VIOLATION)
    machine.host.ledger.append("gate_refused", {"canary_model": "patchtst"}, wall=machine.time.wall)
    refused(machine, Refused, last)


def test_an_orphan_cleaned_up_in_between_hides_no_violation(machine: Machine) -> None:
    """A play that was frozen past its deadline leaves a drop-in, which the host removes under the old record."""
    last = ended(machine, VIOLATION)
    machine.write_dropin()
    assert rollback.roll_back(machine.host, rollback.Finding("", "")).changed
    machine.events.clear()
    refused(machine, Refused, last)


def test_a_new_record_is_a_new_run(machine: Machine) -> None:
    last = ended(machine, VIOLATION)
    record = machine.arm(acknowledge=last)
    assert record.id != last
    assert (record.violations, record.outcome, record.trigger, record.generation) == ((), "", "", 1)


# --- arming that fails midway

MIDWAY: t.Mapping[str, tuple[object, str]] = {
    "snapshot, weights or environment file": (activation, "write_atomic"),
    "acknowledgement folder": (effect, "prepare_ack"),
}


@pytest.mark.parametrize("case", MIDWAY)
def test_arming_that_fails_midway_ends_rolled_back(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    pid = machine.engine.pid
    with monkeypatch.context() as patch:
        patch.setattr(*MIDWAY[case], no_space)
        with pytest.raises(Refused, match=r"could not be armed.*No space left.*The host is at baseline"):
            machine.arm()
    machine.check_baseline()
    assert machine.engine.pid == pid, "nothing of the canary had reached the engine"
    record = machine.record()
    assert (record.state, record.trigger, record.outcome) == ("rolled_back", "arming_failed", "terminated")
    assert len(machine.ledger("rollback_executed")) == 1
    machine.arm()


@pytest.mark.parametrize("verb", ["start", "reset-failed"])
def test_arming_without_an_answer_of_systemd_ends_rolled_back(machine: Machine, verb: str) -> None:
    machine.fail(verb)
    with pytest.raises(Refused, match=f"{verb} failed"):
        machine.arm()
    machine.check_baseline()
    assert machine.record().state == "rolled_back"


def test_a_record_that_cannot_be_written_arms_nothing(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    before = machine.files()
    monkeypatch.setattr(activation, "save", no_space)
    with pytest.raises(OSError, match="No space"):
        machine.arm()
    assert machine.files() == before


# --- committing


def unchanged(machine: Machine, error: type[QscError], call: t.Callable[[], object]) -> QscError:
    before = machine.paths.record.read_bytes(), machine.ledger()
    with pytest.raises(error) as caught:
        call()
    assert (machine.paths.record.read_bytes(), machine.ledger()) == before
    return caught.value


@pytest.mark.parametrize(
    "lease", [{"canary_id": "patchtst-other"}, {"owner": "f0" * 16}, {"generation": 2}, {"generation": 0}]
)
def test_a_lost_lease(machine: Machine, lease: dict[str, t.Any]) -> None:
    record = machine.armed_and_restarted()
    unchanged(machine, LeaseLost, lambda: machine.activate(record, **lease))


def test_past_the_deadline(machine: Machine) -> None:
    record = machine.armed_and_restarted()
    machine.time.sleep(300)
    error = unchanged(machine, LeaseLost, lambda: machine.activate(record))
    assert "was armed until 2026-01-10T" in str(error)


def test_past_the_deadline_while_proving(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lease is looked at again after the proof, which takes its time."""
    record = machine.armed_and_restarted()
    real = systemd.prove

    def slow(*arguments: t.Any, **options: t.Any) -> systemd.Proof:
        proof = real(*arguments, **options)
        machine.time.sleep(400)
        return proof

    monkeypatch.setattr(systemd, "prove", slow)
    unchanged(machine, LeaseLost, lambda: machine.activate(record))


def test_after_another_boot(machine: Machine) -> None:
    record = machine.armed_and_restarted()
    machine.paths.boot_mark.unlink()
    unchanged(machine, LeaseLost, lambda: machine.activate(record))


def test_after_the_host_has_moved_on(machine: Machine) -> None:
    record = machine.armed_and_restarted()
    rollback.roll_back(machine.host, rollback.Finding("arming_expired", "too late"))
    machine.write_dropin()
    machine.start_engine()
    error = unchanged(machine, LeaseLost, lambda: machine.activate(record))
    assert "rolled_back (arming_expired: too late)" in str(error)
    assert not machine.runs_canary


def test_twice(machine: Machine) -> None:
    record = machine.armed_and_restarted()
    machine.activate(record)
    unchanged(machine, LeaseLost, lambda: machine.activate(record))


def test_without_a_record(machine: Machine) -> None:
    record = machine.armed_and_restarted()
    machine.paths.record.unlink()
    with pytest.raises(LeaseLost, match="the record is gone"):
        machine.activate(record)


UNPROVEN: t.Mapping[str, tuple[Change, str]] = {
    "not restarted": (
        lambda machine: machine.engine.environment.update(machine.host.engine_environment(machine.record())),
        "still the process of before the restart",
    ),
    "restarted without the drop-in": (
        lambda machine: machine.start_engine(),
        "runs with no canary variables",
    ),
    "another share": (
        lambda machine: (restarted(machine), machine.engine.environment.update(QSC_CANARY_TRAFFIC="1.00")),
        "QSC_CANARY_TRAFFIC=1.00",
    ),
    "not acknowledged": (
        lambda machine: (restarted(machine), machine.paths.ack.unlink()),
        "the engine wrote no acknowledgement",
    ),
    "other weights acknowledged": (
        lambda machine: (restarted(machine), acknowledge(machine, sha256="ab" * 32)),
        "the engine loaded other weights",
    ),
    "acknowledged by a process that is gone": (
        lambda machine: (restarted(machine), acknowledge(machine, pid=99_999_999)),
        "is of process 99999999",
    ),
    "no drop-in": (lambda machine: (restarted(machine), machine.dropin.unlink()), "qsc_canary.conf is not there"),
}


def restarted(machine: Machine) -> None:
    machine.write_dropin()
    machine.start_engine()


def acknowledge(machine: Machine, **changes: t.Any) -> None:
    raw = json.loads(machine.paths.ack.read_bytes())
    machine.paths.ack.write_text(json.dumps({**raw, **changes}))


@pytest.mark.parametrize("case", UNPROVEN)
def test_without_proof_nothing_is_committed(machine: Machine, case: str) -> None:
    change, word = UNPROVEN[case]
    record = machine.arm()
    machine.time.sleep(2)
    change(machine)
    error = unchanged(machine, NotProven, lambda: machine.activate(record))
    assert word in str(error)


def test_the_remedy_of_a_missing_effect(machine: Machine) -> None:
    machine.acknowledges = False
    record = machine.armed_and_restarted()
    error = unchanged(machine, NotProven, lambda: machine.activate(record))
    assert "$QSC_CANARY_ACK" in error.remedy
    assert "qsc_canary_weights_field" in error.remedy


def test_a_late_acknowledgement_is_waited_for(machine: Machine) -> None:
    machine.acknowledges = False
    record = machine.armed_and_restarted()
    digest = files.digest_file(machine.paths.weights)
    text = json.dumps({"pid": machine.engine.pid, "sha256": digest})
    machine.time.at(20.0, lambda: machine.paths.ack.write_text(text))
    assert machine.activate(record).effective == "acknowledged"


def test_an_acknowledgement_of_an_earlier_run_does_not_count(machine: Machine) -> None:
    machine.run_canary()
    rollback.roll_back(machine.host, rollback.Finding("manual", ""))
    assert machine.paths.ack.exists()
    machine.time.sleep(3600)
    machine.arm()
    assert not machine.paths.ack.exists()


def test_accept_unproven_is_written_down(make_machine: t.Callable[..., Machine]) -> None:
    machine = make_machine(accept_unproven=True)
    machine.acknowledges = False
    record = machine.activate(machine.armed_and_restarted())
    assert record.effective == "unproven"
    assert machine.ledger("canary_activated")[0]["effective"] == "unproven"


def test_accept_unproven_accepts_no_wrong_process(make_machine: t.Callable[..., Machine]) -> None:
    machine = make_machine(accept_unproven=True)
    record = machine.armed_and_restarted()
    machine.engine.environment.pop("QSC_CANARY_WEIGHTS")
    unchanged(machine, NotProven, lambda: machine.activate(record))


@pytest.mark.parametrize(
    ("published", "same"),
    [
        (CANARY, True),
        ({**CANARY, "tft": 0.0}, True),
        ({**CANARY, "xgb": CANARY["xgb"] + 9e-7}, True),
        ({**CANARY, "xgb": CANARY["xgb"] + 2e-6}, False),
        (BASELINE, False),
        ({**CANARY, "tft": 0.1}, False),
        ({**CANARY, "tft": math.nan}, False),
        ({name: value for name, value in CANARY.items() if name != "xgb"}, False),
        ({**CANARY, "xgb": math.nan}, False),
        ({**CANARY, "xgb": True}, False),
        ({**CANARY, "xgb": "0.28125"}, False),
        ({**CANARY, "xgb": None}, False),
        ({**CANARY, "xgb": 10**400}, False),
    ],
    ids=lambda item: repr(item)[-40:],
)
def test_published_weights(machine: Machine, published: dict[str, t.Any], same: bool) -> None:
    """What the engine publishes comes from the telemetry, so it may hold anything."""
    machine.acknowledges = False
    record = machine.armed_and_restarted()
    if same:
        assert machine.activate(record, published=published).effective == "published"
    else:
        error = unchanged(machine, NotProven, lambda: machine.activate(record, published=published))
        assert "the engine publishes other weights" in str(error)


def test_published_weights_count_before_an_acknowledgement(machine: Machine) -> None:
    record = machine.armed_and_restarted()
    unchanged(machine, NotProven, lambda: machine.activate(record, published=BASELINE))


@pytest.mark.parametrize("where", ["ledger and /run", "record"])
def test_a_full_disk_while_committing_leaves_the_run_armed(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    record = machine.armed_and_restarted()
    with monkeypatch.context() as patch:
        if where == "ledger and /run":
            patch.setattr(Ledger, "append", no_space)
        else:
            patch.setattr(activation, "save", no_space)
        with pytest.raises(OSError, match="No space"):
            machine.activate(record)
    assert machine.record().to_dict() == plain(record)
    machine.activate(record)
    assert len(machine.ledger("canary_activated")) == 1


# --- the acknowledgement's folder


def test_the_folder_belongs_to_the_engines_user(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    owners: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "chown", lambda _path, uid, gid, **_options: owners.append((uid, gid)))
    machine.engine.user = "12345"  # a dynamic user: known to the running process alone
    machine.engine.pid = os.getpid()
    machine.engine.environment["INVOCATION_ID"] = machine.engine.invocation
    machine.arm()
    assert owners == [(os.getuid(), os.getgid())]
    assert machine.paths.ack_folder.stat().st_mode & 0o777 == 0o700


def test_the_table_decides_whether_a_run_may_begin(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    ended(machine, rollback.Finding("manual", ""))
    monkeypatch.setattr(records, "TABLE", {})
    with pytest.raises(Refused, match="cannot arm"):
        machine.arm()


@pytest.mark.parametrize("unit", ["qsc-watchdog.timer", "qsc-monitor.timer"])
def test_nothing_is_committed_that_nobody_watches(machine: Machine, unit: str) -> None:
    """Somebody stopped a guard between arming and the commit."""
    record = machine.armed_and_restarted()
    machine.units[unit].active_state = "inactive"
    with pytest.raises(Refused, match=unit):
        machine.activate(record)
    assert machine.record().state == "arming"
