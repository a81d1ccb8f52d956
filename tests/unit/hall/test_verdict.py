# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A compromised monitor may write anything into its verdict; only RecordUnreadable ever comes out of reading it."""

from __future__ import annotations

import json
import typing as t

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import RecordUnreadable
from ansible_collections.qsc.canary.plugins.module_utils.qsc.verdict import LIMIT, Verdict, printable
from helpers.samples import COLLAPSE, make_verdict

GOOD = make_verdict(violations=(COLLAPSE,), verdict="violation", status="NO-GO").to_dict()

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=10**300, max_value=10**320),
    st.floats(allow_nan=True, allow_infinity=True),
    st.text(max_size=30),
    st.sampled_from(["ok", "violation", "GO", "\x1b[2J", "\ud800", "\u202e", "1e999"]),
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def read(data: bytes) -> Verdict | None:
    """The verdict, or None where it is refused; any other exception is the test's failure."""
    try:
        return Verdict.from_hostile(data)
    except RecordUnreadable as error:
        assert str(error).isprintable(), "the error itself would carry what it refuses to a terminal"
        assert len(str(error)) < 400
        return None


def check_harmless(verdict: Verdict) -> None:
    texts = [verdict.canary_id, verdict.boot_id, verdict.first_id, verdict.last_id, verdict.message]
    texts += [text for item in verdict.violations for text in (item.code, item.subject, item.message)]
    assert all(text.isprintable() and len(text) <= 500 for text in texts)
    json.dumps(verdict.to_dict(), allow_nan=False)


@given(st.binary(max_size=300))
@settings(deadline=None, max_examples=60)
def test_arbitrary_bytes(data: bytes) -> None:
    assert read(data) is None


@given(anything)
@settings(deadline=None, max_examples=60)
def test_arbitrary_json(value: t.Any) -> None:
    assert read(json.dumps(value).encode()) is None


@given(st.sampled_from(sorted(GOOD)), anything)
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_a_good_verdict_with_one_field_replaced(name: str, value: t.Any) -> None:
    verdict = read(json.dumps({**GOOD, name: value}).encode())
    if verdict is not None:
        check_harmless(verdict)


@given(st.sampled_from(sorted(GOOD["violations"][0])), anything)
@settings(deadline=None, max_examples=60)
def test_a_violation_with_one_field_replaced(name: str, value: t.Any) -> None:
    hostile = {**GOOD, "violations": [{**GOOD["violations"][0], name: value}]}
    verdict = read(json.dumps(hostile).encode())
    if verdict is not None:
        check_harmless(verdict)


@given(st.integers(min_value=0, max_value=len(json.dumps(GOOD)) - 1))
@settings(deadline=None, max_examples=30)
def test_cut_off(length: int) -> None:
    assert read(json.dumps(GOOD).encode()[:length]) is None


def changed(**values: t.Any) -> bytes:
    return json.dumps({**GOOD, **values}).encode()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"[" * 100_000, id="deep lists"),
        pytest.param(b'{"a":' * 40_000, id="deep objects"),
        pytest.param(json.dumps(GOOD).encode().replace(b"78.3", b"9" * 5000), id="a number of 5000 digits"),
        pytest.param(json.dumps(GOOD).encode().replace(b"78.3", b"9" * 400), id="an integer no float can hold"),
        pytest.param(changed(message="x" * LIMIT), id="too large"),
        pytest.param(changed(schema=2), id="newer schema"),
        pytest.param(changed(violations=[GOOD["violations"][0]] * 201), id="too many violations"),
        pytest.param(changed(violations={}), id="violations no list"),
        pytest.param(changed(violations=["text"]), id="a violation no object"),
        pytest.param(changed(verdict="fine"), id="unknown verdict"),
        pytest.param(changed(verdict=["ok"]), id="verdict a list"),
        pytest.param(changed(status="go"), id="unknown status"),
        pytest.param(changed(checks_done=-1), id="a negative count"),
        pytest.param(changed(checks_done=True), id="a boolean count"),
        pytest.param(changed(checks_done=1.0), id="a count with a fraction"),
        pytest.param(changed(checks_done=1 << 53), id="a count too large"),
        pytest.param(changed(checked_boot=float("nan")), id="heartbeat NaN"),
        pytest.param(changed(checked_boot=float("inf")), id="heartbeat infinite"),
        pytest.param(changed(checked_boot="5"), id="heartbeat text"),
        pytest.param(changed(checked_boot=True), id="heartbeat boolean"),
        pytest.param(changed(lag_s=float("-inf")), id="lag infinite"),
        pytest.param(changed(canary_id=None), id="no id"),
    ],
)
def test_refused(data: bytes) -> None:
    assert read(data) is None


@pytest.mark.parametrize("name", sorted(set(GOOD) - {"lag_s", "complete"}))
def test_no_field_may_be_missing(name: str) -> None:
    assert read(json.dumps({key: value for key, value in GOOD.items() if key != name}).encode()) is None


@pytest.mark.parametrize("value", [1, "true", None, [], "yes"])
def test_only_true_is_complete(value: t.Any) -> None:
    assert Verdict.from_hostile(changed(complete=value)).complete is False


def test_missing_complete_is_not_complete() -> None:
    raw = {key: value for key, value in GOOD.items() if key != "complete"}
    assert Verdict.from_hostile(json.dumps(raw).encode()).complete is False


@pytest.mark.parametrize("violations", [(), (COLLAPSE,), (COLLAPSE,) * 200])
@pytest.mark.parametrize("lag", [None, 0.0, 12.5])
def test_round_trip(violations: tuple[t.Any, ...], lag: float | None) -> None:
    verdict = make_verdict(violations=violations, lag_s=lag)
    assert Verdict.from_hostile(json.dumps(verdict.to_dict()).encode()) == verdict


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("plain", "plain"),
        ("a\nb", "a\N{REPLACEMENT CHARACTER}b"),
        ("\x1b[31mred", "\N{REPLACEMENT CHARACTER}[31mred"),
        ("\u202egnp", "\N{REPLACEMENT CHARACTER}gnp"),
        ("\ud800", "\N{REPLACEMENT CHARACTER}"),
        ("xgb: 81 % — größer", "xgb: 81 % — größer"),
        ("123456", "123456"),
        ("1234567", "12345\N{HORIZONTAL ELLIPSIS}"),
    ],
)
def test_printable(text: str, clean: str) -> None:
    assert printable(text, 6 if text.isdigit() else 500) == clean
