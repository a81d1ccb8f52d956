# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a stretch of time held."""

from __future__ import annotations

import json
import math
import typing as t

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.buckets import (
    GRID,
    Observation,
    Stretch,
    bin_of,
    count_of,
    observe,
)
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.cutover import StreamId
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.decisions import ACTIONS, Decision, Vote
from helpers.hostile_state import hostile

CENTRE = 0.5
observations = st.builds(
    Observation,
    ms=st.integers(0, 10**13),
    action=st.sampled_from([*ACTIONS, None]),
    confidence=st.integers(0, 64).map(lambda k: k / 64),  # sums of them are exact
    shadow=st.booleans(),
    fallback=st.booleans(),
    agreement=st.sampled_from([None, 0.25, 0.5, 0.75, 1.0]),
    hard=st.booleans(),
)
in_order = st.lists(observations, max_size=12).map(lambda row: sorted(row, key=lambda item: item.ms))


def vote(action: str, *, confidence: float = 0.6, shadow: bool = False, fallback: bool = False) -> Vote:
    return Vote(action, confidence, False, "", fallback, shadow)


def stretch(items: t.Iterable[Observation]) -> Stretch:
    found = Stretch()
    for item in items:
        found.add(item, CENTRE)
    return found


def said(confidence: float, ms: int = 1) -> Observation:
    return Observation(ms, "BUY", confidence, False, False, None, False)


# Observations


@pytest.mark.parametrize(
    ("votes", "agreement", "hard"),
    [
        ({"a": vote("BUY"), "b": vote("BUY"), "c": vote("HOLD")}, 2 / 3, False),
        ({"a": vote("BUY"), "b": vote("SELL"), "c": vote("HOLD"), "d": vote("BUY")}, 0.5, True),
        ({"a": vote("BUY"), "b": vote("SELL")}, 0.5, True),
        ({"a": vote("BUY")}, None, False),
        ({}, None, False),
        ({"a": vote("BUY"), "b": vote("SELL", shadow=True)}, None, False),
        ({"a": vote("BUY", shadow=True), "b": vote("SELL"), "c": vote("SELL")}, 1.0, False),
    ],
)
def test_what_a_decision_says_about_the_ensemble(votes: dict[str, Vote], agreement: float | None, hard: bool) -> None:
    found = observe(Decision(StreamId(7, 0), votes, ()), "a")
    assert (found.ms, found.agreement, found.hard) == (7, agreement, hard)


def test_what_a_decision_says_about_the_canary() -> None:
    votes = {"a": vote("SELL", confidence=0.3, shadow=True, fallback=True), "b": vote("BUY")}
    assert observe(Decision(StreamId(7, 0), votes, ()), "a")[1:5] == ("SELL", 0.3, True, True)
    assert observe(Decision(StreamId(7, 0), votes, ()), "c")[1:5] == (None, 0.0, False, False)


# Sums


def test_a_stretch_counts_what_it_holds() -> None:
    found = stretch(
        [
            Observation(10, "BUY", 0.75, False, True, 1.0, False),
            Observation(20, None, 0.0, False, False, 0.5, True),
            Observation(30, "HOLD", 0.25, True, False, None, False),
            Observation(40, "BUY", 1.0, False, False, 0.5, False),
        ]
    )
    assert found == Stretch(
        first_ms=10,
        last_ms=40,
        decisions=4,
        counts=[2, 0, 1],
        voting=2,
        fallback=1,
        d1=0.5,
        d2=0.375,
        bins={750: 1, 250: 1, 1000: 1},
        voted=3,
        agreement=2.0,
        hard=1,
    )
    assert found.votes == 3


@given(in_order, in_order)
def test_stretches_taken_in_are_one_stretch(one: list[Observation], two: list[Observation]) -> None:
    two = [item._replace(ms=item.ms + 10**13) for item in two]
    found = stretch(one)
    found.take(stretch(two))
    assert found == stretch(one + two)


@given(in_order)
def test_a_stretch_goes_to_json_and_back(items: list[Observation]) -> None:
    found = stretch(items)
    assert Stretch.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False))) == found


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
def test_the_variance_is_the_population_s(row: list[float]) -> None:
    assert stretch(map(said, row)).within == pytest.approx(float(np.var(row)), abs=1e-12)


def test_of_nothing_there_is_no_spread() -> None:
    assert math.isnan(Stretch().within)
    assert math.isnan(Stretch().spread)
    assert Stretch().quantile_bins(0.5) == -1


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, 0.7, 1.0])
def test_a_constant_has_no_spread(value: float) -> None:
    found = stretch([said(value)] * 1000)
    assert found.within < 1e-14
    assert found.spread == 0.0


@given(st.lists(st.integers(0, GRID), min_size=1, max_size=80), st.sampled_from([0.1, 0.5, 0.9]))
def test_a_quantile_is_the_least_bin_that_so_many_reach(places: list[int], p: float) -> None:
    found = stretch(said(place / GRID) for place in places)
    expected = float(np.quantile(places, p, method="inverted_cdf"))
    assert found.quantile_bins(p) == expected


@pytest.mark.parametrize("votes", [10, 30, 70, 110, 130, 230, 470, 910])
def test_a_quantile_is_not_off_by_one_where_a_product_is_rounded_up(votes: int) -> None:
    found = stretch(said(place / GRID) for place in range(1, votes + 1))
    assert (found.quantile_bins(0.1), found.quantile_bins(0.9)) == (votes // 10, votes * 9 // 10)


@given(st.floats(0, 1))
def test_a_bin_holds_its_confidences(confidence: float) -> None:
    place = bin_of(confidence)
    assert 0 <= place <= GRID
    assert (place - 1) / GRID < confidence + 2e-12
    assert confidence <= place / GRID + 2e-12


@pytest.mark.parametrize("place", [0, 1, 7, 29, 57, 58, 113, 290, 555, 999, 1000])
def test_a_confidence_of_three_digits_lies_in_its_own_bin(place: int) -> None:
    assert bin_of(float(f"0.{place:03d}") if place < GRID else 1.0) == place


@pytest.mark.parametrize(
    ("confidence", "place"), [(0.1 + 0.2, 300), (1 - 0.9, 100), (0.7 + 0.1, 800), (1.1 * 0.1, 110)]
)
def test_a_last_digit_moves_nothing_into_the_next_bin(confidence: float, place: int) -> None:
    assert bin_of(confidence) == place


# State files

STATE = json.loads(
    json.dumps(stretch([said(0.25, 5), said(0.75, 6), Observation(7, None, 0, False, False, 0.5, True)]).to_dict())
)


@settings(max_examples=300)
@given(hostile(STATE))
def test_a_hostile_state_is_refused_or_harmless(raw: t.Any) -> None:
    try:
        found = Stretch.from_dict(raw)
    except (ValueError, KeyError, TypeError):
        return
    found.add(said(0.5), CENTRE)
    found.take(stretch([said(0.1)]))
    assert found.votes <= found.decisions and found.hard <= found.voted <= found.decisions
    assert sum(found.bins.values()) == found.votes
    assert math.isfinite(found.within) and 0 <= found.spread <= 1
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    "wrong",
    [
        {"counts": [1, 1]},
        {"counts": [1, 1, 0, 0]},
        {"counts": [3, 0, 0]},
        {"counts": [1, 1, 2]},
        {"counts": [-1, 3, 0]},
        {"bins": [[250, 1]]},
        {"bins": [[250, 1], [250, 1]]},
        {"bins": [[250, 1], [250, 2]]},
        {"bins": [[250, 1], [1001, 1]]},
        {"bins": [[250, 2], [750, 1]]},
        {"bins": [[250, 2, 1]]},
        {"voted": 4},
        {"hard": 2},
        {"voting": 3},
        {"fallback": 3},
        {"agreement": 1.5},
        {"agreement": -0.5},
        {"d2": -0.1},
        {"d1": math.nan},
        {"d1": 0.6},
        {"d2": 2.5},
        {"decisions": 2.0},
    ],
    ids=str,
)
def test_counts_that_do_not_belong_together_are_refused(wrong: dict[str, t.Any]) -> None:
    assert Stretch.from_dict(STATE).decisions == 3
    with pytest.raises(ValueError):
        Stretch.from_dict({**STATE, **wrong})


@pytest.mark.parametrize("name", sorted(STATE))
def test_every_field_is_needed(name: str) -> None:
    with pytest.raises(KeyError):
        Stretch.from_dict({key: value for key, value in STATE.items() if key != name})


@pytest.mark.parametrize("bad", [True, None, 1.0, "1", -1, 1 << 62, math.nan])
def test_what_is_no_count_is_refused(bad: t.Any) -> None:
    with pytest.raises(ValueError, match="is not a count"):
        count_of(bad)
    assert count_of(0) == 0
