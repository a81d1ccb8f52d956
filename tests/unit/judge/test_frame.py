# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is learnt before the cutover."""

from __future__ import annotations

import json
import math
import typing as t

import numpy as np
import pytest
from hypothesis import given, settings

from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.buckets import Observation, Stretch
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.claims import Evidence, claims_of
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.frame import (
    BLOCK_S,
    LEAST_BLOCKS,
    METRICS,
    Blocks,
    Frame,
    blocks_of,
    correlation_sum,
    learn,
)
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.rules import Limits
from helpers.hostile_state import hostile

HOURS_6 = 21_600.0


def autoregressive(keep: float, n: int, seed: int) -> list[float]:
    """x_i = keep x_(i-1) + e_i, stationary, variance 1."""
    e = np.random.default_rng(seed).normal(size=n)
    row = [float(e[0])]
    for step in e[1:]:
        row.append(keep * row[-1] + math.sqrt(1 - keep * keep) * float(step))
    return row


def decisions(
    n: int, every_ms: int, *, confidence: t.Callable[[int], float] = lambda _k: 0.6, seed: int = 1, votes: bool = True
) -> list[Observation]:
    rng = np.random.default_rng(seed)
    actions = rng.choice(["BUY", "SELL", "HOLD"], n)
    return [
        Observation(
            k * every_ms, str(actions[k]) if votes else None, confidence(k), False, False, 0.75, bool(k % 10 == 0)
        )
        for k in range(n)
    ]


def with_rows(rows: dict[str, list[float]], *, rate: float = 1.0) -> Blocks:
    """Blocks of 30 s without a gap, of some metrics."""
    n = max(map(len, rows.values()))
    found = Blocks(int(rate * n * BLOCK_S), n * BLOCK_S)
    found.means.update(rows)
    return found


# The correlation time


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.6, 0.9])
def test_the_correlation_sum_of_an_autoregressive_series_is_known(keep: float) -> None:
    sums = [correlation_sum(autoregressive(keep, 4000, seed)) for seed in range(8)]
    # up to the last lag whose correlation is at least .05
    lags = [keep**k for k in range(1, 200) if keep**k >= 0.05]
    assert np.mean(sums) == pytest.approx(math.fsum(lags), abs=0.06 + 0.08 * math.fsum(lags))


def test_the_correlation_ends_at_the_first_lag_that_is_small() -> None:
    rise = [math.sin(2 * math.pi * k / 40) for k in range(400)]
    # a wave comes back after its first quarter; what comes after is not added
    quarter = math.fsum(math.cos(2 * math.pi * k / 40) for k in range(1, 10))
    assert correlation_sum(rise) == pytest.approx(quarter, rel=0.02)


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, 1.0])
def test_what_does_not_vary_has_no_correlation(value: float) -> None:
    assert correlation_sum([value] * 100) == 0.0
    assert learn(with_rows({"BUY": [value] * 100}), 0.5, HOURS_6).spreads["BUY"] < 1e-15


@pytest.mark.parametrize(("keep", "seed"), [(0.0, 3), (0.5, 4), (0.8, 5)])
def test_what_is_learnt_of_an_autoregressive_series(keep: float, seed: int) -> None:
    row = [0.5 + 0.1 * x for x in autoregressive(keep, 5000, seed)]
    found = learn(with_rows({"BUY": row}), 0.5, HOURS_6)
    tau = BLOCK_S * (0.5 + keep / (1 - keep))
    assert found.tau_s == pytest.approx(tau, rel=0.25)
    assert found.bucket_s == min(1200, 60 * math.ceil(10 * found.tau_s / 60))
    assert found.buckets == math.floor(HOURS_6 / found.bucket_s)
    assert found.means["BUY"] == pytest.approx(0.5, abs=0.02)
    # the known standard deviation of a mean over so many blocks
    blocks = int(found.bucket_s / BLOCK_S)
    lags = math.fsum((1 - k / blocks) * keep**k for k in range(1, blocks))
    known = 0.1 * math.sqrt((1 + 2 * lags) / blocks)
    assert found.spreads["BUY"] == pytest.approx(known, rel=0.15)


def test_the_slowest_metric_says_how_long_a_bucket_is() -> None:
    rows = {"BUY": autoregressive(0.0, 2000, 1), "agreement": autoregressive(0.8, 2000, 2)}
    found = learn(with_rows(rows), 0.5, HOURS_6)
    assert found.tau_s == learn(with_rows({"agreement": rows["agreement"]}), 0.5, HOURS_6).tau_s
    assert found.tau_s > 80


def test_a_bucket_is_neither_shorter_nor_longer_than_its_bounds() -> None:
    # neighbours that avoid each other: half a block is the least that is measured
    quick = learn(with_rows({"BUY": [float(k % 2) for k in range(400)]}), 0.5, HOURS_6)
    assert (quick.tau_s, quick.bucket_s, quick.buckets) == (15.0, 180.0, 120)
    slow = learn(with_rows({"BUY": [math.sin(k / 200) for k in range(1000)]}), 0.5, HOURS_6)
    assert slow.tau_s > 1000
    assert (slow.bucket_s, slow.buckets) == (1200.0, 18)


def test_a_run_shorter_than_a_bucket_expects_one() -> None:
    assert learn(with_rows({"BUY": [math.sin(k / 200) for k in range(1000)]}), 0.5, 60.0).buckets == 1


# Blocks


def test_blocks_of_steady_decisions() -> None:
    found, centre = blocks_of(decisions(3000, 1000, confidence=lambda k: 0.5 + 0.1 * (-1) ** k))
    assert (found.decisions, found.span_s) == (3000, 2999.0)
    assert centre == pytest.approx(0.5)
    assert {name: len(row) for name, row in found.means.items()} == dict.fromkeys(METRICS, 100)
    assert found.means["agreement"] == [0.75] * 100
    assert found.means["hard_disagree"] == pytest.approx([0.1] * 100)
    assert found.means["confidence"] == pytest.approx([0.0] * 100, abs=1e-12)
    assert found.means["variance"] == pytest.approx([0.01] * 100)
    assert [sum(shares) for shares in zip(*(found.means[name] for name in ("BUY", "SELL", "HOLD")))] == pytest.approx(
        [1.0] * 100
    )


def test_empty_blocks_are_left_out_and_stretch_the_time_between_the_others() -> None:
    burst = [
        Observation(300_000 * k + 1000 * j, "BUY", 0.6, False, False, None, False) for k in range(60) for j in range(8)
    ]
    found, _centre = blocks_of(burst)
    assert len(found.means["BUY"]) == 60
    assert found.means["agreement"] == []
    frame = learn(found, 0.6, HOURS_6)
    # a block each 300 s: as nothing is correlated, tau is half of that time
    assert frame.tau_s == pytest.approx(150, rel=0.02)
    assert frame.bucket_s == 1200.0
    # 32 of 8 in 1200 s
    assert frame.rate_per_s == pytest.approx(8 / 300, rel=0.02)
    assert frame.buckets == 18


def test_too_few_votes_in_a_bucket_make_fewer_buckets() -> None:
    found, centre = blocks_of(decisions(1000, 20_000))
    frame = learn(found, centre, HOURS_6)
    assert frame.rate_per_s == pytest.approx(0.05, rel=0.01)
    lengths = math.ceil(30 / (frame.rate_per_s * frame.bucket_s))
    assert lengths > 1
    assert frame.buckets == math.floor(HOURS_6 / (lengths * frame.bucket_s))


def test_too_short_a_history_teaches_nothing() -> None:
    steady = decisions(int(LEAST_BLOCKS * BLOCK_S), 1000)
    assert learn(*blocks_of(steady), HOURS_6).means.keys() == set(METRICS)
    found = learn(*blocks_of(steady[: -int(BLOCK_S)]), HOURS_6)
    assert (found.bucket_s, found.buckets, found.tau_s) == (1200.0, 18, 0.0)
    assert found.means == found.spreads == {}
    assert (found.decisions, found.history_s) == (570, 569.0)
    assert found.centre == pytest.approx(0.6)


@pytest.mark.parametrize("items", [[], decisions(1, 1000), decisions(100, 0)], ids=["none", "one", "at once"])
def test_no_history_teaches_nothing(items: list[Observation]) -> None:
    found = learn(*blocks_of(items), HOURS_6)
    assert (found.bucket_s, found.buckets, found.rate_per_s, found.means) == (1200.0, 18, 0.0, {})
    assert found.centre == pytest.approx(0.6 if items else 0.5)


def test_without_a_vote_of_the_canary_the_ensemble_is_learnt_alone() -> None:
    found = learn(*blocks_of(decisions(2000, 1000, votes=False)), HOURS_6)
    assert found.means.keys() == {"agreement", "hard_disagree"}
    assert found.centre == 0.5


# State files


def learnt() -> Frame:
    return learn(*blocks_of(decisions(2000, 1000, confidence=lambda k: 0.5 + 0.1 * math.sin(k))), HOURS_6)


STATE = json.loads(json.dumps(learnt().to_dict()))


def test_a_frame_goes_to_json_and_back() -> None:
    assert set(STATE["means"]) == set(METRICS)
    assert Frame.from_dict(STATE) == learnt()
    assert Frame.from_dict(Frame().to_dict()) == Frame()


def test_a_spread_beyond_all_proportion_says_nothing_and_overflows_nothing() -> None:
    frame = Frame.from_dict({**STATE, "means": {**STATE["means"], "variance": 1e-200}})
    found = Evidence(claims_of(Limits()), frame)
    found.add(Stretch(1, 2, 60, [20, 20, 20], d2=0.001, bins={500: 60}))
    assert found.cusum["std below 0.05"].value == 0.0


@settings(max_examples=300)
@given(hostile(STATE))
def test_a_hostile_state_is_refused_or_harmless(raw: t.Any) -> None:
    try:
        frame = Frame.from_dict(raw)
    except (ValueError, KeyError, TypeError):
        return
    found = Evidence(claims_of(Limits()), frame)
    for _bucket in range(3):
        bucket = Stretch()
        for item in decisions(60, 1000, confidence=lambda k: 0.5 + 0.1 * math.sin(k)):
            bucket.add(item, frame.centre)
        found.add(bucket)
    for item in found.read():
        assert not any(math.isnan(value) for value in (item.low, item.high, item.value, item.alpha))
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    "wrong",
    [
        {"bucket_s": 59.0},
        {"bucket_s": 90.0},
        {"bucket_s": 1260.0},
        {"bucket_s": math.nan},
        {"buckets": 0},
        {"buckets": 1_000_001},
        {"buckets": 18.0},
        {"centre": 1.1},
        {"centre": -0.1},
        {"means": {}},
        {"means": {**STATE["means"], "more": 0.1}, "spreads": {**STATE["spreads"], "more": 0.1}},
        {"spreads": {**STATE["spreads"], "BUY": -0.1}},
        {"spreads": {**STATE["spreads"], "BUY": math.nan}},
        {"means": {**STATE["means"], "BUY": 1.1}},
        {"means": {**STATE["means"], "variance": -0.1}},
        {"spreads": {**STATE["spreads"], "BUY": 1.5}},
        {"more": 1},
    ],
    ids=" ".join,
)
def test_what_cannot_have_been_learnt_is_refused(wrong: dict[str, t.Any]) -> None:
    with pytest.raises(ValueError):
        Frame.from_dict({**STATE, **wrong})


@pytest.mark.parametrize("raw", [None, [], "x", 1, {}, [["bucket_s", 60]]])
def test_what_is_no_frame_is_refused(raw: t.Any) -> None:
    with pytest.raises(ValueError, match="not the fields"):
        Frame.from_dict(raw)


def test_blocks_that_take_turns_are_no_more_than_independent() -> None:
    """Their correlations add up to less than -1/2: no time, and no spread, can be made of that."""
    row = [0.0, 1.0] * 30
    blocks = Blocks(decisions=60, span_s=3600.0, means={name: list(row) for name in METRICS})
    frame = learn(blocks, 0.5, 21_600.0)
    assert frame.tau_s == 30.0  # half a block of 60 s
    assert all(0.05 < spread < 0.5 for spread in frame.spreads.values())
