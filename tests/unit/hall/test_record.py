# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record: its table, its latch, its lease, and what it refuses to read."""

from __future__ import annotations

import json
import typing as t
from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc import record as records
from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import LeaseLost, RecordUnreadable, Refused
from helpers.samples import COLLAPSE, make_record

STATES = ("", "arming", "active", "rolling_back", "rolled_back", "promoting", "promoted")
EVENTS = (
    "arm", "activate", "reprove", "resume", "drift", "conclude_safe", "conclude_inconclusive", "extend", "roll_back",
    "proven", "raise", "promote", "promoted", "",
)  # fmt: skip

# Written out once more on purpose: a new line in the code's table must be meant.
ALLOWED = {
    ("", "arm"): "arming",
    ("rolled_back", "arm"): "arming",
    ("promoted", "arm"): "arming",
    ("arming", "activate"): "active",
    ("active", "reprove"): "active",
    ("active", "resume"): "active",
    ("active", "drift"): "active",
    ("active", "conclude_safe"): "active",
    ("active", "conclude_inconclusive"): "active",
    ("active", "extend"): "active",
    ("active", "raise"): "arming",
    ("active", "promote"): "promoting",
    ("promoting", "promoted"): "promoted",
    ("promoting", "roll_back"): "rolling_back",
    ("arming", "roll_back"): "rolling_back",
    ("active", "roll_back"): "rolling_back",
    ("rolling_back", "roll_back"): "rolling_back",
    ("rolling_back", "proven"): "rolled_back",
}
PAIRS = [(state, event) for state in STATES for event in EVENTS]
VIOLATION = vars(COLLAPSE)


def test_the_table_is_the_one_written_here() -> None:
    assert dict(records.TABLE) == ALLOWED
    assert {state for state, _event in ALLOWED} | set(ALLOWED.values()) <= set(STATES)


@pytest.mark.parametrize(("state", "event"), PAIRS)
def test_state_and_event(state: str, event: str) -> None:
    before = make_record(state=state, generation=7, outcome="safe" if event in ("raise", "promote") else "")
    wanted = ALLOWED.get((state, event))
    if wanted is None:
        with pytest.raises(Refused, match=before.id):
            records.transition(before, event)
        return
    after = records.transition(before, event)
    assert after.state == wanted
    assert after.generation == 8, "a change that keeps the generation cannot be noticed by the holder of a lease"
    assert replace(after, state=state, generation=7) == before, "an event changes nothing else by itself"


@pytest.mark.parametrize(
    "latch", [{"violations": (VIOLATION,)}, {"outcome": "violated"}], ids=["violations", "outcome"]
)
@pytest.mark.parametrize(("state", "event"), PAIRS)
def test_a_latched_record_only_goes_towards_baseline(state: str, event: str, latch: dict[str, t.Any]) -> None:
    before = make_record(state=state, **latch)
    assert before.latched
    if event in ("roll_back", "proven") and (state, event) in ALLOWED:
        after = records.transition(before, event)
        assert after.state in ("rolling_back", "rolled_back")
        assert after.latched
    else:
        with pytest.raises(Refused, match="violated"):
            records.transition(before, event)


@pytest.mark.parametrize(
    "latch",
    [{"violations": (VIOLATION,), "outcome": "violated"}, {"violations": (), "outcome": "violated"}],
    ids=["with violations", "a violation without details"],
)
def test_the_first_violation_is_the_one_that_counts(latch: dict[str, t.Any]) -> None:
    first = make_record(
        state="rolling_back",
        trigger="qsc_monitor_violation",
        reason="first",
        violated_at=1_768_000_500.0,
        judged={"events": 400},
        **latch,
    )
    later = records.transition(
        first,
        "roll_back",
        trigger="manual",
        reason="an operator",
        violations=({**VIOLATION, "code": "no_go"},),
        violated_at=0.0,
        outcome="terminated",
        judged={},
    )
    kept = ("trigger", "reason", "violations", "violated_at", "outcome", "judged")
    assert {name: getattr(later, name) for name in kept} == {name: getattr(first, name) for name in kept}


def test_a_rollback_without_a_violation_takes_its_reason() -> None:
    after = records.transition(make_record(), "roll_back", trigger="manual", reason="why", outcome="terminated")
    assert (after.trigger, after.reason, after.outcome) == ("manual", "why", "terminated")


@pytest.mark.parametrize(
    ("state", "live", "in_flight"),
    [
        ("arming", True, True),
        ("active", True, True),
        ("rolling_back", False, True),
        ("rolled_back", False, False),
        ("promoting", True, True),
        ("promoted", False, False),
    ],
)
def test_live_and_in_flight(state: str, live: bool, in_flight: bool) -> None:
    record = make_record(state=state)
    assert (record.live, record.in_flight) == (live, in_flight)


HELD = {"canary_id": make_record().id, "owner": make_record().owner, "generation": 2}


def test_the_lease_holds() -> None:
    record = make_record()
    assert records.check_lease(record, **HELD) is record


@pytest.mark.parametrize(
    ("record", "lease"),
    [
        pytest.param(make_record(), {**HELD, "canary_id": "patchtst-other"}, id="id"),
        pytest.param(make_record(), {**HELD, "owner": "f0" * 16}, id="owner"),
        pytest.param(make_record(), {**HELD, "generation": 1}, id="older generation"),
        pytest.param(make_record(), {**HELD, "generation": 3}, id="newer generation"),
        pytest.param(None, HELD, id="no record"),
    ],
)
def test_the_lease_is_lost(record: records.Record | None, lease: dict[str, t.Any]) -> None:
    with pytest.raises(LeaseLost) as caught:
        records.check_lease(record, **lease)
    assert lease["canary_id"] in str(caught.value)
    assert "qsc status" in caught.value.remedy


def test_every_event_ends_a_lease_taken_before_it() -> None:
    record = make_record(state="arming")
    with pytest.raises(LeaseLost, match=r"rolling_back \(arming_expired: too late\)"):
        records.check_lease(
            records.transition(record, "roll_back", trigger="arming_expired", reason="too late"), **HELD
        )


@pytest.mark.parametrize("state", STATES[1:])
def test_round_trip(tmp_path: Path, state: str) -> None:
    path = tmp_path / "record.json"
    record = make_record(state=state, violations=(VIOLATION,), outcome="violated", baseline_path="/etc/weights.json")
    records.save(path, record)
    found = records.load(path)
    assert found is not None
    lists = ("violations", "own_checks", "artifacts")
    assert replace(found, **{name: tuple(getattr(found, name)) for name in lists}) == record
    assert found.to_dict() == json.loads(path.read_bytes())


def test_no_record_is_none(tmp_path: Path) -> None:
    assert records.load(tmp_path / "record.json") is None


GOOD = make_record(violations=(VIOLATION,)).to_dict()
TEXT = json.dumps(GOOD)


def without(name: str) -> str:
    return json.dumps({key: value for key, value in GOOD.items() if key != name})


def changed(**values: t.Any) -> str:
    return json.dumps({**GOOD, **values})


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("\n", id="blank"),
        pytest.param(TEXT[:-1], id="truncated by one"),
        pytest.param(TEXT[: len(TEXT) // 2], id="truncated in the middle"),
        pytest.param("\x00" * 500, id="zeros of a crashed file system"),
        pytest.param("[" * 100_000, id="deep"),
        pytest.param("null", id="null"),
        pytest.param("[]", id="list"),
        pytest.param('"text"', id="text"),
        pytest.param(changed(schema=2), id="newer schema"),
        pytest.param(without("schema"), id="no schema"),
        pytest.param(without("id"), id="no id"),
        pytest.param(without("generation"), id="no generation"),
        pytest.param(without("environment"), id="no environment"),
        pytest.param(changed(id=""), id="empty id"),
        pytest.param(changed(id=5), id="id a number"),
        pytest.param(changed(state="flying"), id="unknown state"),
        pytest.param(changed(state=None), id="state null"),
        pytest.param(changed(outcome="fine"), id="unknown outcome"),
        pytest.param(changed(generation="2"), id="generation text"),
        pytest.param(changed(generation=True), id="generation boolean"),
        pytest.param(changed(duration_s=None), id="duration null"),
        pytest.param(changed(accept_unproven=1), id="boolean a number"),
        pytest.param(changed(weights=[]), id="weights a list"),
        pytest.param(changed(weights={"xgb": "0.5"}), id="a weight text"),
        pytest.param(changed(baseline={"xgb": None}), id="a baseline weight null"),
        pytest.param(changed(promoted={"xgb": "1"}), id="a promoted weight text"),
        pytest.param(changed(environment={}), id="environment empty: any process would prove the baseline"),
        pytest.param(changed(environment={**GOOD["environment"], "ack": 5}), id="a variable's name a number"),
        pytest.param(changed(violations={}), id="violations an object"),
        pytest.param(changed(violations=["HOLD=78.3%"]), id="violations of text"),
        pytest.param(changed(violations=[{"code": "no_go"}]), id="a violation without its message"),
        pytest.param(TEXT.replace('"hold_s": 86400.0', '"hold_s": NaN'), id="NaN"),
        pytest.param(TEXT.replace('"hold_s": 86400.0', '"hold_s": 1e999'), id="infinite"),
    ],
)
def test_what_this_version_did_not_write_is_unreadable(tmp_path: Path, text: str) -> None:
    path = tmp_path / "record.json"
    path.write_text(text)
    with pytest.raises(RecordUnreadable) as caught:
        records.load(path)
    assert caught.value.remedy == "Run: qsc rollback"


@pytest.mark.parametrize("kind", ["link", "folder", "too large", "not text"])
def test_what_is_no_plain_file_is_unreadable(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "record.json"
    if kind == "link":
        records.save(tmp_path / "other", make_record())
        path.symlink_to("other")
    elif kind == "folder":
        path.mkdir()
    elif kind == "too large":
        path.write_text(changed(reason="x" * (1 << 20)))
    else:
        path.write_bytes(b"\xff\xfe{")
    with pytest.raises(RecordUnreadable):
        records.load(path)


def test_a_field_of_a_later_patch_release_is_ignored() -> None:
    assert records.parse({**GOOD, "colour": "yellow"}).id == GOOD["id"]


def test_saving_needs_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        records.save(tmp_path / "record.json", make_record(hold_s=float("nan")))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("outcome", ["safe", "inconclusive"])
@pytest.mark.parametrize("event", ["conclude_safe", "conclude_inconclusive", "extend"])
def test_a_conclusion_is_final(outcome: str, event: str) -> None:
    record = make_record(outcome=outcome)
    assert record.held
    with pytest.raises(Refused):
        records.transition(record, event, outcome="safe")
    assert records.transition(record, "roll_back").state == "rolling_back"


@pytest.mark.parametrize("outcome", ["", "inconclusive", "terminated", "violated"])
@pytest.mark.parametrize("event", ["raise", "promote"])
def test_nothing_but_a_safe_run_goes_on_to_more_weight(outcome: str, event: str) -> None:
    with pytest.raises(Refused):
        records.transition(make_record(outcome=outcome), event)
    assert records.transition(make_record(outcome="safe"), event).state in ("arming", "promoting")


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"state": "arming"}, 1_768_000_300.0),
        ({}, 1_768_021_700.0),
        ({"extended": True, "max_duration_s": 30_000.0}, 1_768_030_100.0),
        ({"outcome": "safe", "concluded_at": 1_768_021_710.0}, 1_768_108_110.0),
        ({"state": "promoting", "outcome": "safe"}, 0.0),
        ({"state": "rolled_back"}, 0.0),
    ],
)
def test_when_a_state_ends_by_itself(changes: dict[str, t.Any], wanted: float) -> None:
    assert make_record(**changes).ends_at == wanted


def test_the_deadline_of_an_extended_run_is_the_later_one() -> None:
    assert make_record(max_duration_s=90_000.0).deadline_s == 21_600.0
    assert make_record(max_duration_s=90_000.0, extended=True).deadline_s == 90_000.0
