# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The policy `sequential`: what is claimed, and when something is certain."""

from __future__ import annotations

import json
import math
import typing as t

import numpy as np
import pytest
from hypothesis import given, settings

from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge import rules
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.buckets import Stretch, bin_of
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.claims import (
    BURN_IN,
    BURN_IN_VIOLATED,
    CHANGE,
    EXACT,
    KEPT,
    LONG_RUN,
    OPEN,
    ROLLBACK_ALPHA,
    SUSPENDED,
    VIOLATED,
    Evidence,
    Reading,
    claims_of,
)
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.evidence import ABOVE, BELOW
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.frame import Frame
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.rules import Limits
from helpers.hostile_state import hostile
from helpers.proportions import at_most

SPREAD = tuple(0.5 + 0.12 * x for x in (-1.5, -1, -0.5, 0, 0.5, 1, 1.5))
"""Confidences: std .12, p90 - p10 .36."""
LEARNT = Frame(
    bucket_s=300.0,
    buckets=72,
    centre=0.5,
    decisions=1000,
    history_s=9000.0,
    means={
        "BUY": 0.4,
        "SELL": 0.3,
        "HOLD": 0.3,
        "agreement": 0.7,
        "hard_disagree": 0.1,
        "confidence": 0.0,
        "variance": 0.0144,
    },
    spreads={
        "BUY": 0.06,
        "SELL": 0.06,
        "HOLD": 0.06,
        "agreement": 0.04,
        "hard_disagree": 0.04,
        "confidence": 0.02,
        "variance": 0.002,
    },
)


def bucket(
    counts: t.Sequence[int] = (40, 30, 30),
    confidences: t.Sequence[float] = SPREAD,
    *,
    agreement: float = 0.7,
    hard: float = 0.1,
    voted: int = 100,
    centre: float = 0.5,
) -> Stretch:
    """A bucket with these votes; its confidences in turn."""
    item = Stretch(1, 2, max(sum(counts), voted), list(counts), voting=sum(counts))
    for number in range(sum(counts)):
        confidence = confidences[number % len(confidences)]
        item.d1 += confidence - centre
        item.d2 += (confidence - centre) ** 2
        place = bin_of(confidence)
        item.bins[place] = item.bins.get(place, 0) + 1
    item.voted, item.agreement, item.hard = voted, agreement * voted, round(hard * voted)
    return item


def evidence(
    buckets: t.Iterable[Stretch], limits: Limits | None = None, frame: Frame = LEARNT, **options: t.Any
) -> Evidence:
    found = Evidence(claims_of(limits or Limits(), **options), frame)
    for item in buckets:
        found.add(item)
    return found


def read(found: Evidence, metric: str, side: str = ABOVE) -> Reading:
    return next(item for item in found.read() if (item.claim.metric, item.claim.side) == (metric, side))


def wobbling(share: float, n: int, wobble: float = 0.03) -> list[Stretch]:
    """Buckets of 100 votes whose BUY share goes up and down by ``wobble``, without correlation."""
    ups = [1, -1, -1, 1, 1, -1, 1, -1]
    buys = [round(100 * (share + wobble * ups[k % len(ups)])) for k in range(n)]
    return [bucket((buy, (100 - buy) // 2, 100 - buy - (100 - buy) // 2)) for buy in buys]


# What is claimed


def test_the_claims_of_the_default_limits() -> None:
    assert [(item.code, item.name) for item in claims_of(Limits())] == [
        (rules.ACTION_COLLAPSE, "BUY above 0.7"),
        (rules.ACTION_COLLAPSE, "SELL above 0.7"),
        (rules.ACTION_COLLAPSE, "HOLD above 0.7"),
        (rules.FLAT, "std below 0.05"),
        (rules.NARROW, "range below 0.12"),
        (rules.AGREEMENT, "agreement below 0.55"),
        (rules.AGREEMENT, "agreement above 0.8"),
        (rules.HARD_DISAGREE, "hard_disagree above 0.2"),
    ]


def test_a_hold_limit_below_the_action_limit_is_the_dead_zone_s() -> None:
    found = {item.metric: item for item in claims_of(Limits(max_hold_share=60.0))}
    assert (found["HOLD"].code, found["HOLD"].limit) == (rules.DEAD_ZONE, 0.6)
    assert (found["BUY"].code, found["BUY"].limit) == (rules.ACTION_COLLAPSE, 0.7)
    same = {item.metric: item for item in claims_of(Limits(max_hold_share=70.0))}
    assert same["HOLD"].code == rules.ACTION_COLLAPSE


def test_who_stands_alone_makes_no_claim_about_others() -> None:
    assert {item.metric for item in claims_of(Limits(), alone=True)} == {"BUY", "SELL", "HOLD", "std", "range"}


def test_a_limit_that_nothing_violates_makes_no_claim() -> None:
    loose = Limits(
        max_action_share=100.0, max_hold_share=100.0, min_std=0.0, min_range=0.0, min_agreement=0.0,
        max_agreement=100.0, max_hard_disagree=100.0,
    )  # fmt: skip
    assert claims_of(loose) == ()
    assert evidence([bucket()] * 20, loose).read() == []
    assert {item.metric for item in claims_of(Limits(max_action_share=100.0))} >= {"HOLD", "std"}


EXTREME = Limits(
    max_action_share=0.0, max_hold_share=0.0, min_std=0.5, min_range=1.0, min_agreement=100.0, max_agreement=100.0,
    max_hard_disagree=0.0,
)  # fmt: skip


@pytest.mark.parametrize("frame", [LEARNT, Frame()], ids=["learnt", "not learnt"])
def test_the_most_extreme_limits_are_certainly_violated(frame: Frame) -> None:
    found = evidence([bucket()] * BURN_IN_VIOLATED, EXTREME, frame)
    assert {item.claim.metric for item in found.read()} == {
        "BUY", "SELL", "HOLD", "std", "range", "agreement", "hard_disagree"
    }  # fmt: skip
    assert {item.state for item in found.read()} == {VIOLATED}
    assert all(math.isfinite(item.e_value) for item in found.read() if item.e_value is not None)


def test_the_most_extreme_limits_can_be_kept() -> None:
    nothing = [bucket((0, 0, 100), agreement=1.0, hard=0.0)] * 15
    limits = Limits(
        max_action_share=0.0, max_hold_share=100.0, min_agreement=100.0, max_agreement=100.0, max_hard_disagree=0.0
    )
    states = {item.claim.name: item.state for item in evidence(nothing, limits).read()}
    assert states.pop("HOLD above 0") == VIOLATED
    assert set(states.values()) == {KEPT}


@pytest.mark.parametrize(
    ("agreement", "limits"), [(0.8, Limits()), (0.55, Limits()), (0.6, Limits(min_agreement=60.0))]
)
@pytest.mark.parametrize("voted", [30, 100, 300, 1000])
def test_what_lies_on_its_limit_to_the_last_digit_is_never_certainly_beyond(
    agreement: float, limits: Limits, voted: int
) -> None:
    total = 0.0
    for _decision in range(voted):
        total += agreement  # five voters, four of them of one mind: the sum of 30 such is above 24
    found = evidence([bucket(agreement=total / voted, voted=voted)] * 20, limits)
    assert {item.state for item in found.read()} == {KEPT}


# When something is certain


def test_nothing_is_known_of_nothing() -> None:
    found = evidence([])
    assert {item.state for item in found.read()} == {OPEN}
    for item in found.read():
        assert math.isnan(item.value)
        assert (item.low, item.buckets, item.by) == (0.0, 0, "")
        assert item.high == (0.5 if item.claim.metric == "std" else 1.0)
        assert item.alpha == ROLLBACK_ALPHA / 8


@pytest.mark.parametrize("buckets", range(1, BURN_IN))
def test_a_few_buckets_make_nothing_kept_and_no_long_run(buckets: int) -> None:
    found = evidence([bucket()] * buckets)
    assert {item.state for item in found.read()} == {OPEN}
    assert all(item.low <= item.value <= item.high for item in found.read())


@pytest.mark.parametrize("frame", [LEARNT, Frame()], ids=["learnt", "not learnt"])
def test_equal_buckets_within_the_limits_are_kept_and_never_violated(frame: Frame) -> None:
    found = Evidence(claims_of(Limits()), frame)
    for number in range(1, 41):
        found.add(bucket())
        states = {item.state for item in found.read()}
        assert states == {KEPT if number >= BURN_IN else OPEN}


def test_a_canary_that_says_nothing_leaves_its_own_claims_open() -> None:
    found = evidence([bucket((0, 0, 0), voted=100)] * 20)
    states = {item.claim.metric: item.state for item in found.read()}
    assert {states[name] for name in ("BUY", "SELL", "HOLD", "std", "range")} == {OPEN}
    assert {states[name] for name in ("agreement", "hard_disagree")} == {KEPT}
    assert {
        read(found, name, BELOW if name in ("std", "range") else ABOVE).buckets for name in ("BUY", "std", "range")
    } == {0}
    assert (found.betting["agreement below 0.55"].n, found.cusum["agreement below 0.55"].n) == (20, 20)
    assert (found.betting["BUY above 0.7"].n, found.cusum["range below 0.12"].n) == (0, 0)


def test_a_canary_without_others_leaves_the_ensemble_s_claims_open() -> None:
    found = evidence([bucket(voted=0, agreement=0.0, hard=0.0)] * 20)
    states = {item.claim.metric: item.state for item in found.read()}
    assert {states[name] for name in ("agreement", "hard_disagree")} == {OPEN}
    assert {states[name] for name in ("BUY", "SELL", "HOLD", "std", "range")} == {KEPT}


def test_what_is_far_beyond_the_limit_is_violated_by_each_detector_in_its_time() -> None:
    found = Evidence(claims_of(Limits()), LEARNT)
    said = []
    for number, item in enumerate(wobbling(0.94, 40), 1):
        found.add(item)
        reading = read(found, "BUY")
        said.append((number, reading.state, reading.by))
    assert said[1][1] == OPEN, "two buckets are too few, however far they are off"
    assert said[2] == (3, VIOLATED, CHANGE)
    found.alarms.clear()
    assert (read(found, "BUY").state, read(found, "BUY").by) == (VIOLATED, EXACT)
    found.betting["BUY above 0.7"].logs = [0.0] * 24
    assert (read(found, "BUY").state, read(found, "BUY").by) == (VIOLATED, LONG_RUN)
    assert read(found, "SELL").state == KEPT


def test_agreement_below_its_band_is_found_by_each_detector() -> None:
    found = evidence([bucket(agreement=0.4 + 0.02 * (k % 3 == 0) - 0.02 * (k % 5 == 0)) for k in range(60)])
    name = "agreement below 0.55"
    assert (read(found, "agreement", BELOW).state, read(found, "agreement", BELOW).by) == (VIOLATED, CHANGE)
    found.alarms.clear()
    assert read(found, "agreement", BELOW).by == EXACT
    found.betting[name].logs = [0.0] * 24
    assert read(found, "agreement", BELOW).by == LONG_RUN
    assert read(found, "agreement", ABOVE).state == KEPT


def test_a_late_decay_is_a_change_that_stays_found() -> None:
    found = evidence(wobbling(0.5, 40) + wobbling(0.9, 6))
    assert read(found, "BUY").by == CHANGE
    for item in wobbling(0.3, 20):
        found.add(item)
    assert (read(found, "BUY").state, read(found, "BUY").by) == (VIOLATED, CHANGE)
    assert read(found, "BUY").value > 0.8, "of the buckets since the change began"


def test_neighbours_that_resemble_each_other_suspend_what_is_certain() -> None:
    shares = [0.5 + 0.1 * math.sin(k / 8) for k in range(60)]
    found = evidence([bucket((round(100 * share), 50 - round(50 * share), 50 - round(50 * share))) for share in shares])
    assert found.series["BUY"].correlated
    assert read(found, "BUY").state == SUSPENDED
    assert read(found, "hard_disagree").state == KEPT


@pytest.mark.parametrize(
    ("metric", "series"), [("std", "y1"), ("std", "y2"), ("std", "log_variance"), ("range", "log_range")]
)
def test_a_spread_is_suspended_by_each_series_behind_it(metric: str, series: str) -> None:
    found = evidence([bucket()] * 20)
    assert read(found, metric, BELOW).state == KEPT
    for k in range(40):
        found.series[series].add(0.3 + 0.01 * math.sin(k / 8))
    assert read(found, metric, BELOW).state == SUSPENDED
    others = {item.claim.metric for item in found.read() if item.state == SUSPENDED}
    assert others == {metric}


def spread(std: float, n: int, seed: int, votes: int = 100, centre: float = 0.5) -> list[Stretch]:
    rng = np.random.default_rng(seed)
    return [
        bucket((40, 30, votes - 70), [float(x) for x in np.clip(rng.normal(0.5, std, votes), 0, 1)], centre=centre)
        for _bucket in range(n)
    ]


def test_a_flat_canary_is_certainly_flat_and_a_lively_one_certainly_is_not() -> None:
    flat = evidence(spread(0.03, 20, 5))
    for metric in ("std", "range"):
        assert (read(flat, metric, BELOW).state, read(flat, metric, BELOW).by) == (VIOLATED, CHANGE)
        del flat.alarms[read(flat, metric, BELOW).claim.name]
        assert (read(flat, metric, BELOW).state, read(flat, metric, BELOW).by) == (VIOLATED, LONG_RUN)
    lively = evidence(spread(0.1, 20, 2))
    for metric in ("std", "range"):
        assert read(lively, metric, BELOW).state == KEPT


@pytest.mark.parametrize("centre", [0.5, 0.35, 0.9])
def test_the_intervals_of_the_spreads_hold_the_truth_wherever_the_centre_is(centre: float) -> None:
    frame = Frame(bucket_s=300.0, buckets=72, centre=centre)
    found = evidence(spread(0.08, 60, 3, centre=centre), frame=frame)
    std, width = read(found, "std", BELOW), read(found, "range", BELOW)
    assert std.low < 0.08 < std.high
    assert std.value == pytest.approx(0.08, rel=0.05)
    truth = 2 * 1.2815515655 * 0.08
    assert width.low < truth < width.high
    assert width.value == pytest.approx(truth, rel=0.05)


def test_a_bin_is_half_a_bin_from_the_truth_on_either_side() -> None:
    found = evidence([bucket((50, 50, 0), (0.3, 0.6))] * 20)
    width = read(found, "range", BELOW)
    assert (width.low, width.value, width.high) == (0.299, 0.3, 0.301)


def test_a_quantile_may_lie_wherever_a_bound_leaves_room_for_it() -> None:
    """Each bound holds for one bin that is fixed beforehand, not for all bins together: that the share is certain to be
    above a tenth at one bin does not help where it is not at a later one."""
    regimes = [(0.2,) * 3 + (0.4,) * 22, (0.2,) * 3 + (0.8,) * 22]
    found = read(evidence([bucket((50, 50, 0), regimes[k % 4 > 0]) for k in range(20)]), "range", BELOW)
    assert found.value == pytest.approx(0.6)
    assert (found.low, found.state) == (0.0, OPEN)


def test_a_mean_that_wanders_is_part_of_the_spread() -> None:
    """Buckets that are each narrow, about means that differ: the long run's spread is wide."""
    found = evidence([bucket(confidences=(0.3 + 0.4 * (k % 2),)) for k in range(40)], frame=Frame())
    assert read(found, "std", BELOW).value == pytest.approx(0.2)
    assert read(found, "range", BELOW).value == pytest.approx(0.4)


def test_without_a_history_a_bucket_s_spread_is_not_taken_for_the_long_run_s() -> None:
    """Each bucket is flat, the canary is not: how much of its spread lies between buckets was not learnt."""
    found = evidence([bucket(confidences=(0.3 + 0.4 * (k % 2),)) for k in range(40)], frame=Frame())
    for metric in ("std", "range"):
        assert read(found, metric, BELOW).state == KEPT
    assert found.cusum["BUY above 0.7"].total < 0, "of a share it is known without"


# What may be spent


def test_what_the_detectors_spend_is_the_rollback_s_chance() -> None:
    found = evidence([])
    assert found.alpha * len(found.claims) == pytest.approx(ROLLBACK_ALPHA)
    assert 3 * LEARNT.buckets * math.exp(-found.threshold) == pytest.approx(found.alpha)
    assert Evidence((), LEARNT).alpha == ROLLBACK_ALPHA


def test_one_bucket_is_never_enough_for_a_change() -> None:
    for frame in (LEARNT, Frame()):
        found = evidence([bucket((100, 0, 0), agreement=1.0, hard=1.0)] * 2, frame=frame)
        assert {item.state for item in found.read()} <= {OPEN}
        assert max(item.highest for item in found.cusum.values()) <= 2 * found.threshold / 3


def test_a_bucket_strays_as_was_learnt_or_as_the_run_shows_whichever_is_more() -> None:
    found = evidence(wobbling(0.5, 4, 0.3))
    claim = found.claims[0]
    # a share of .7 strays by .7 x .3 times the largest factor that was learnt, SELL's and HOLD's: .06^2 / (.3 x .7)
    assert found._variance(claim, "BUY", 0.7) == pytest.approx(0.06**2)
    assert found._variance(claim, "BUY", 0.9) == pytest.approx(0.09 * 0.06**2 / 0.21)
    found.add(wobbling(0.5, 1, 0.3)[0])
    assert found._variance(claim, "BUY", 0.7) == pytest.approx(found.series["BUY"].step_variance) == pytest.approx(0.09)
    steady = evidence(wobbling(0.5, 30, 0.01))
    assert steady._variance(claim, "BUY", 0.7) == pytest.approx(0.06**2)
    unknown = evidence(wobbling(0.5, 4), frame=Frame())
    assert unknown._variance(claim, "BUY", 0.7) is None
    assert unknown.cusum["BUY above 0.7"].total == 0.0


def test_the_asymptotic_sequence_begins_with_the_bucket_it_was_simulated_from() -> None:
    assert BURN_IN == 10


def runs(share: float, number: int, buckets: int, seed: int, votes: int = 100) -> t.Iterator[list[Reading]]:
    """Of each run all readings of the BUY claim, with independent votes and a frame that knows as much."""
    claims = claims_of(Limits(), alone=True)[:1]
    factor = 1 / votes
    frame = Frame(
        buckets=buckets, means={"BUY": 0.5}, spreads={"BUY": math.sqrt(0.25 * factor)}, history_s=1.0, decisions=1
    )
    rng = np.random.default_rng(seed)
    for _run in range(number):
        found = Evidence(claims, frame)
        readings = []
        for buys in rng.binomial(votes, share, buckets):
            found.add(Stretch(1, 2, votes, [int(buys), votes - int(buys), 0], bins={500: votes}))
            readings.extend(found.read())
        yield readings


def test_a_share_on_its_limit_is_called_violated_and_called_kept_as_seldom_as_promised() -> None:
    number = 400
    violated = kept = 0
    for readings in runs(0.7, number, 24, 11):
        violated += any(item.state == VIOLATED for item in readings)
        kept += any(item.state == KEPT for item in readings)
    assert at_most(violated, number) <= ROLLBACK_ALPHA
    assert at_most(kept, number) <= 0.1
    assert kept > 0


def test_shares_off_their_limit_are_told() -> None:
    assert all(any(item.state == VIOLATED for item in readings) for readings in runs(0.8, 20, 24, 12))
    assert all(readings[-1].state == KEPT for readings in runs(0.6, 20, 24, 13))


# To JSON and back


def mixed() -> Evidence:
    return evidence([*wobbling(0.6, 9), bucket((0, 0, 0)), *wobbling(0.65, 5), *spread(0.08, 3, 4)])


def test_the_evidence_goes_to_json_and_back_and_on() -> None:
    found = mixed()
    raw = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    other = Evidence.from_dict(raw, found.claims, LEARNT)
    assert other == found
    for item in (found, other):
        item.add(bucket((70, 20, 10), hard=0.3))
    assert other == found
    assert other.read() == found.read()
    assert len(json.dumps(raw)) < 40_000


def test_the_order_of_two_buckets_is_all_that_the_mean_forgets() -> None:
    one, two = evidence(wobbling(0.6, 8)), evidence(reversed(wobbling(0.6, 8)))
    assert read(one, "BUY").value == pytest.approx(read(two, "BUY").value)
    assert read(one, "BUY").e_value == pytest.approx(read(two, "BUY").e_value)


STATE = json.loads(json.dumps(mixed().to_dict()))
for _row in (1, 2):  # a grid with fewer runs: as many places for the rest
    STATE["grid"][_row] = [[400, 0.0], [1, 0.5], [600, 1.0]] if _row == 1 else [[1001, 0.25]]


STATE["alarms"] = {"BUY above 0.7": [3, 0.9], "std below 0.05": [4, -6.5]}


@settings(max_examples=300)
@given(hostile(STATE))
def test_a_hostile_state_is_refused_or_harmless(raw: t.Any) -> None:
    claims = claims_of(Limits())
    try:
        found = Evidence.from_dict(raw, claims, LEARNT)
    except (ValueError, KeyError, TypeError):
        return
    found.add(bucket())
    found.add(bucket((10, 60, 30)))
    for item in found.read():
        assert item.state in (KEPT, VIOLATED, OPEN, SUSPENDED)
        assert not any(math.isnan(value) for value in (item.low, item.high, item.value, item.alpha))
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    "grid",
    [
        [18, [[1000, 0.0]], [[1001, 0.0]]],
        [18, [[1001, 0.0]], [[1002, 0.0]]],
        [18, [[1001, 0.0], [1, 0.0]], [[1001, 0.0]]],
        [18, [[1 << 40, 0.0]], [[1001, 0.0]]],
        [18, [[-1, 0.0]], [[1001, 0.0]]],
        [18, [], [[1001, 0.0]]],
        [18, [0.0] * 1001, [[1001, 0.0]]],
        [19, [[1001, 0.0]], [[1001, 0.0]]],
        [18, [[1001, 0.0]]],
    ],
)
def test_a_grid_of_another_length_is_refused(grid: t.Any) -> None:
    assert STATE["buckets"] == 18
    with pytest.raises((ValueError, TypeError)):
        Evidence.from_dict({**STATE, "grid": grid}, claims_of(Limits()), LEARNT)


def test_the_state_of_other_claims_is_refused() -> None:
    with pytest.raises(KeyError):
        Evidence.from_dict(STATE, claims_of(Limits(max_action_share=60.0)), LEARNT)


def test_the_long_run_says_nothing_against_a_canary_before_its_burn_in() -> None:
    """At the limit of few buckets the tail of the asymptotic sequence errs up to three times as often as it says."""
    found = evidence(wobbling(0.8, BURN_IN_VIOLATED - 1), frame=Frame())
    found.alarms.clear()
    assert read(found, "BUY").state == OPEN
    found.add(wobbling(0.8, 1)[0])
    found.alarms.clear()
    assert (read(found, "BUY").state, read(found, "BUY").by) == (VIOLATED, LONG_RUN)


def test_where_a_bucket_may_not_be_as_long_as_the_memory_the_intervals_are_wider() -> None:
    short, long = Frame(bucket_s=1200.0, tau_s=15.0), Frame(bucket_s=1200.0, tau_s=615.0)
    assert short.carried == 1.0
    a = 600.0 / 1200.0
    assert long.carried == pytest.approx(1 / math.sqrt(1 - a * (1 - math.exp(-1 / a))))
    wide = [bucket(confidences=SPREAD if k % 3 else SPREAD[2:-2]) for k in range(30)]
    for metric, side, buckets in (("BUY", ABOVE, wobbling(0.5, 30)), ("std", BELOW, wide), ("range", BELOW, wide)):
        one, two = (read(evidence(buckets, frame=frame), metric, side) for frame in (short, long))
        assert two.high - two.low > 1.2 * (one.high - one.low) > 0, metric


def test_where_most_of_the_spread_lies_between_buckets_no_bucket_tells_of_it() -> None:
    spreads = {"confidence": 0.11, "variance": 0.002}
    frame = Frame(means={"confidence": 0.0, "variance": 0.0144}, spreads=spreads)
    assert not evidence([bucket(confidences=(0.5, 0.51))] * 30, frame=frame).alarms
    less = Frame(means=frame.means, spreads={**spreads, "confidence": 0.05})
    assert evidence([bucket(confidences=(0.5, 0.51))] * 30, frame=less).alarms
