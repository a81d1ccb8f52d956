# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What changed since the time before the cutover: what all models share is the market's, the rest the canary's own."""

from __future__ import annotations

import json
import random
import typing as t

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import t as student

from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.compare import comparison
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.cutover import StreamId
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.decisions import ACTIONS, Decision, Vote
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.drift import (
    LEAST_PERIOD,
    PERIODS,
    T99,
    Reference,
    jensen_shannon,
    reference_of,
)
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.table import table_of
from ansible_collections.qsc.canary.plugins.module_utils.qsc.tell.impact import comparison_lines, comparison_section
from helpers.hostile_state import hostile
from helpers.proportions import at_most

MODELS = ("a", "b", "c", "d")
histograms = st.lists(st.integers(0, 1000), min_size=3, max_size=3)


def told(
    count: int, seed: int, *, moved: t.Collection[str] = (), by: float = 0.0, hold: float = 0.4, begin: int = 0
) -> list[Decision]:
    """Independent decisions; confidences of ``moved`` are ``by`` higher, and they say HOLD in a share of ``hold``."""
    dice = random.Random(seed)
    found = []
    for number in range(count):
        votes = {}
        for name in MODELS:
            waits = dice.random() < (hold if name in moved else 0.4)
            action = "HOLD" if waits else dice.choice(("BUY", "SELL"))
            confidence = min(1.0, max(0.0, dice.gauss(0.5 + (by if name in moved else 0.0), 0.1)))
            votes[name] = Vote(action, confidence, False, "", False, False)
        found.append(Decision(StreamId(1_768_000_000_000 + 1000 * (begin + number), 0), votes, ()))
    return found


def drifted(before: t.Sequence[Decision], after: t.Sequence[Decision]) -> dict[str, t.Any]:
    found = comparison(table_of(after, "a"), reference_of(table_of(before, "a")))
    assert found is not None
    return found


@given(histograms, histograms)
def test_the_divergence_is_scipys(one, other):
    found = jensen_shannon(one, other)
    if not (sum(one) and sum(other)):
        assert found is None
        return
    assert found == pytest.approx(float(jensenshannon(one, other, base=2)) ** 2, abs=1e-12)
    assert 0 <= found <= 1 + 1e-12


def test_the_time_before_is_cut_into_equal_periods_of_the_newest_decisions():
    rows = told(8 * 30 + 5, 1)
    reference = reference_of(table_of(rows[::-1], "a"))  # newest first, as the gate reads them
    assert reference is not None and reference.size == 30
    assert (reference.first_ms, reference.last_ms) == (rows[5].id.ms, rows[-1].id.ms)
    for k, period in enumerate(reference.models["b"]):
        part = [item.votes["b"] for item in rows[5 + 30 * k : 35 + 30 * k]]
        assert period.actions == tuple(sum(vote.action == action for vote in part) for action in ACTIONS)
        assert period.mean == pytest.approx(float(np.mean([vote.confidence for vote in part])))
        counts, _edges = np.histogram([vote.confidence for vote in part], bins=10, range=(0, 1))
        assert period.bins == tuple(counts)


def test_too_little_before_is_said_to_be_so():
    assert reference_of(table_of(told(PERIODS * LEAST_PERIOD - 1, 1), "a")) is None
    assert reference_of(table_of(told(PERIODS * LEAST_PERIOD, 1), "a")) is not None
    found = drifted(told(10, 1), told(100, 2))["drift"]
    assert (found["reason"], found["shift"]) == ("nothing before the cutover to compare with", None)
    few = drifted(told(400, 1), told(49, 2, begin=400))
    assert few["drift"]["reason"] == "too few decisions yet"
    assert "no drift is shown: too few decisions yet" in "\n".join(comparison_lines(few))


def test_a_shift_of_the_canary_alone_is_its_own():
    found = drifted(told(800, 1), told(300, 2, moved={"a"}, by=0.15, hold=0.9, begin=800))
    shift = found["drift"]["shift"]
    for what, off in (("confidence", 0.15), ("HOLD", 0.5)):
        assert shift[what]["canary_moved"] and shift[what]["own"] == pytest.approx(off, abs=0.12)
    assert found["drift"]["models"]["a"]["actions"]["beyond"] and found["drift"]["models"]["a"]["confidence"]["beyond"]
    assert abs(shift["confidence"]["market"]) < 0.02
    line = comparison_lines(found)[-1]
    assert "the canary's own: mean confidence +0." in line and "HOLD +" in line


def test_a_shift_that_all_models_share_is_the_markets():
    found = drifted(told(800, 3), told(300, 4, moved=MODELS, by=0.15, hold=0.9, begin=800))
    shift = found["drift"]["shift"]
    for what, off in (("confidence", 0.15), ("HOLD", 0.5)):
        assert shift[what]["market_moved"] and shift[what]["market"] == pytest.approx(off, abs=0.1)
        assert shift[what]["canary"] == pytest.approx(off, abs=0.12)
        assert abs(shift[what]["own"]) < 0.1 and not shift[what]["canary_moved"]
    assert found["drift"]["models"]["a"]["actions"]["beyond"], "by itself it looks changed"
    assert "the market's, in all other models: mean confidence +0." in comparison_lines(found)[-1]
    assert "none of the canary's own" in comparison_lines(found)[-1]
    page = "\n".join(comparison_section(found))
    assert "BEYOND" in page and "| mean confidence | +0.1" in page


def test_where_nothing_changes_the_band_is_left_no_more_often_than_it_says():
    """A divergence once in PERIODS + 1 times, by the symmetry of the periods; a shift once in 100."""
    left = {"divergence": 0, "own": 0, "market": 0}
    runs = 300
    for seed in range(runs):
        rows = told(PERIODS * 25 + 25, 1000 + seed)
        found = drifted(rows[: PERIODS * 25], rows[PERIODS * 25 :])["drift"]
        left["divergence"] += found["models"]["a"]["confidence"]["beyond"]
        left["own"] += found["shift"]["confidence"]["canary_moved"]
        left["market"] += found["shift"]["confidence"]["market_moved"]
    assert at_most(left["divergence"], runs) > 1 / (PERIODS + 1) and left["divergence"] / runs < 2 / (PERIODS + 1)
    for times in (left["own"], left["market"]):
        assert at_most(times, runs) > 0.01 and times / runs < 0.03


def test_the_quantile_is_that_of_the_periods():
    assert pytest.approx(float(student.ppf(0.995, PERIODS - 1)), rel=1e-12) == T99


def test_a_canary_alone_or_absent_shifts_against_nobody():
    def alone(rows: t.Sequence[Decision], name: str) -> list[Decision]:
        return [item._replace(votes={name: item.votes[name]}) for item in rows]

    before, after = told(400, 1), told(100, 2, begin=400)
    assert drifted(alone(before, "a"), alone(after, "a"))["drift"]["shift"] is None
    found = drifted(alone(before, "b"), alone(after, "b"))
    assert found["drift"]["shift"] is None
    assert "nobody to compare the canary's change with" in comparison_lines(found)[-1]


def test_what_was_learnt_survives_its_form():
    reference = reference_of(table_of(told(400, 1), "a"))
    assert reference is not None
    assert Reference.from_dict(json.loads(json.dumps(reference.to_dict()))) == reference
    assert len(json.dumps(reference.to_dict())) < 6000


LEARNT = json.loads(json.dumps(reference_of(table_of(told(200, 1), "a")).to_dict()))  # type: ignore[union-attr]


@given(hostile(LEARNT))
def test_what_cannot_have_been_learnt_is_refused_or_can_be_compared_with(raw):
    try:
        found = Reference.from_dict(raw)
    except (ValueError, KeyError, TypeError):
        return
    compared = comparison(table_of(told(60, 5), "a"), found)
    json.dumps(compared, allow_nan=False)
    assert all(line.isprintable() for line in (*comparison_lines(compared), *comparison_section(compared)))
