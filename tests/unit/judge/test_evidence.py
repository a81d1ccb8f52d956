# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evidence: it keeps the error rates it promises, goes to JSON and back, and takes no state it did not write."""

from __future__ import annotations

import json
import math
import typing as t

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.evidence import (
    ABOVE,
    BELOW,
    BETS,
    Betting,
    Cusum,
    EmpiricalBernstein,
    Series,
    asymptotic_radius,
    bets,
    finite,
    gaussian_ratio,
)
from helpers.hostile_state import hostile
from helpers.proportions import at_most

RUNS = 2000
ALPHA = 0.05
shares = st.floats(0, 1)
numbers = st.floats(-1e3, 1e3)
increments = st.integers(-64, 64).map(lambda k: k / 8)  # sums of them are exact


def filled(process: t.Any, row: t.Iterable[float]) -> t.Any:
    for y in row:
        process.add(y)
    return process


# Error rates, by simulation


@pytest.mark.parametrize(("m", "side"), [(0.6, ABOVE), (0.2, ABOVE), (0.55, BELOW)])
def test_the_betting_process_crosses_as_seldom_as_ville_has_it(m: float, side: str) -> None:
    rng = np.random.default_rng(20260901)
    crossed = 0
    for _run in range(RUNS):
        item = Betting(m, side)
        for y in rng.binomial(1, m, 40):
            item.add(float(y))
            if item.log_e >= math.log(1 / ALPHA):
                crossed += 1
                break
    assert crossed > 0, "a process that never crosses shows nothing"
    assert at_most(crossed, RUNS) <= ALPHA


@pytest.mark.parametrize(("m", "side", "y"), [(0.7, ABOVE, 0.85), (0.2, ABOVE, 0.4), (0.55, BELOW, 0.35)])
def test_the_betting_process_grows_beyond_the_limit_and_shrinks_within(m: float, side: str, y: float) -> None:
    assert filled(Betting(m, side), [y] * 60).log_e > math.log(100)
    assert filled(Betting(m, side), [2 * m - y] * 60).log_e < 0
    other = BELOW if side == ABOVE else ABOVE
    assert filled(Betting(m, other), [y] * 60).log_e < 0


def test_a_betting_process_at_the_limit_says_nothing() -> None:
    assert filled(Betting(0.25, ABOVE), [0.25] * 100).log_e == 0.0
    assert Betting(0.25, ABOVE).log_e == 0.0


@pytest.mark.parametrize("side", [ABOVE, BELOW])
def test_no_bet_can_lose_all(side: str) -> None:
    for m in (0.01, 0.5, 0.99):
        worst = m if side == ABOVE else 1 - m
        assert 1 - max(bets(m, side)) * worst == pytest.approx(0.25)
        assert len(bets(m, side)) == BETS


@pytest.mark.parametrize(("m", "side"), [(0.0, ABOVE), (1.0, BELOW)])
def test_at_a_limit_with_nothing_beyond_one_observation_within_says_nothing_and_one_beyond_says_all(
    m: float, side: str
) -> None:
    item = filled(Betting(m, side), [m] * 100)
    assert item.log_e == 0.0
    assert filled(item, [0.5]).log_e > math.log(1000)


def test_the_empirical_bernstein_sequence_covers() -> None:
    rng = np.random.default_rng(20260902)
    missed = 0
    for _run in range(RUNS):
        item = EmpiricalBernstein(ALPHA)
        for y in rng.binomial(5, 0.3, 40) / 5:
            item.add(float(y))
            low, high = item.interval()
            if not low <= 0.3 <= high:
                missed += 1
                break
    assert at_most(missed, RUNS) <= ALPHA


def test_the_empirical_bernstein_sequence_gets_narrow() -> None:
    assert EmpiricalBernstein(ALPHA).interval() == (0.0, 1.0)
    low, high = filled(EmpiricalBernstein(ALPHA), [0.3, 0.5] * 500).interval()
    assert low < 0.4 < high
    assert high - low < 0.05


@pytest.mark.parametrize(("buckets", "optimal"), [(18, 18), (90, 90), (90, 22.5)])
def test_the_asymptotic_sequence_misses_as_seldom_as_promised_with_a_third_of_the_chance(
    buckets: int, optimal: float
) -> None:
    rng = np.random.default_rng(20260903)
    y = rng.binomial(30, 0.2, (RUNS, buckets)) / 30
    n = np.arange(1, buckets + 1)
    means = np.cumsum(y, axis=1) / n
    stds = np.sqrt(np.maximum(0, np.cumsum(y**2, axis=1) / n - means**2))
    radii = np.array([asymptotic_radius(int(k), ALPHA / 3, optimal) for k in n])
    for bound in (means - stds * radii <= 0.2, means + stds * radii >= 0.2):
        missed = int((~bound[:, 9:]).any(axis=1).sum())
        assert missed > 0, "a sequence that never misses shows nothing"
        assert at_most(missed, RUNS) <= ALPHA


def test_the_asymptotic_radius_is_tightest_near_its_optimum() -> None:
    for n in (18, 90, 720):
        radii = [asymptotic_radius(n, ALPHA / 3, n * factor) for factor in (0.1, 0.5, 1, 2, 10)]
        assert min(radii[1:4]) < min(radii[0], radii[4])
        assert radii[2] < 1.01 * min(radii)
    assert asymptotic_radius(0, ALPHA, 18) == math.inf
    assert asymptotic_radius(100, 0.01, 100) > asymptotic_radius(100, 0.05, 100) > asymptotic_radius(200, 0.05, 100)


def test_the_change_detector_cries_wolf_as_seldom_as_promised() -> None:
    rng = np.random.default_rng(20260904)
    m0, m1, std, looks = 0.7, 0.8, 0.08, 60
    alarms = 0
    for _run in range(RUNS):
        item = filled(Cusum(), (gaussian_ratio(float(y), m0, m1, std**2) for y in rng.normal(m0, std, looks)))
        alarms += item.highest >= math.log(looks / ALPHA)
    assert alarms > 0
    assert at_most(alarms, RUNS) <= ALPHA


def test_the_change_detector_finds_a_change_however_long_all_was_well() -> None:
    before = [gaussian_ratio(0.5, 0.7, 0.8, 0.01)] * 1000
    after = [gaussian_ratio(0.8, 0.7, 0.8, 0.01)] * 30
    item = filled(Cusum(), before)
    assert (item.value, item.highest, item.length) == (0.0, 0.0, 0)
    item = filled(item, after)
    assert item.value == item.highest == pytest.approx(15)
    assert item.length == 30


def test_the_ratio_of_two_gaussians() -> None:
    y, m0, m1, variance = 0.3, 0.5, 0.4, 0.02
    expected = ((y - m0) ** 2 - (y - m1) ** 2) / (2 * variance)
    assert gaussian_ratio(y, m0, m1, variance) == pytest.approx(expected, rel=1e-12)


# Series


def test_a_series_of_nothing_and_of_one() -> None:
    empty, one = Series(), filled(Series(), [0.3])
    assert math.isnan(empty.std) and math.isnan(empty.step_variance) and empty.lag1 == 0.0 and not empty.correlated
    assert (one.mean, one.std, one.lag1, one.correlated) == (0.3, 0.0, 0.0, False)
    assert math.isnan(one.step_variance)


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, 1e-9, 1e6])
def test_a_constant_series_varies_not_at_all(value: float) -> None:
    item = filled(Series(), [value] * 1000)
    assert (item.mean, item.std, item.step_variance, item.lag1) == (value, 0.0, 0.0, 0.0)
    assert not item.correlated


def test_a_small_spread_on_a_large_mean_is_kept() -> None:
    item = filled(Series(), [1e6 + (k % 2) * 1e-3 for k in range(1000)])
    assert item.std == pytest.approx(5e-4, rel=1e-4)


def test_a_lasting_shift_does_not_count_in_the_step_variance() -> None:
    item = filled(Series(), [0.2] * 50 + [0.8] * 50)
    assert item.step_variance == 0.0
    assert item.std == pytest.approx(0.3)


@pytest.mark.parametrize("n", [5, 10, 36, 120])
def test_without_a_shift_the_largest_step_that_is_left_out_is_allowed_for(n: int) -> None:
    rng = np.random.default_rng(n)
    found = [filled(Series(), [float(y) for y in rng.normal(0.5, 0.1, n)]).step_variance for _run in range(2000)]
    assert 0.92 * 0.01 < sum(found) / len(found) < 1.1 * 0.01


def test_neighbours_that_resemble_each_other_are_told_from_chance() -> None:
    rng = np.random.default_rng(5)
    for n in (20, 100):
        chance = sum(filled(Series(), map(float, rng.normal(size=n))).correlated for _run in range(400))
        assert chance / 400 < 0.03
    for keep in (0.7, 0.9):
        row = [0.0]
        for e in rng.normal(size=300):
            row.append(keep * row[-1] + float(e))
        item = filled(Series(), row)
        assert item.lag1 == pytest.approx(keep, abs=0.12)
        assert item.correlated


@pytest.mark.parametrize("n", [20, 60, 360])
def test_ten_series_of_chance_are_rarely_taken_for_correlated(n: int) -> None:
    """Two standard errors each would hold up one healthy run in five."""
    rng = np.random.default_rng(n)
    runs = [
        any(filled(Series(), map(float, row)).correlated for row in rng.normal(size=(10, n))) for _run in range(300)
    ]
    assert sum(runs) / len(runs) < 0.05


def test_neighbours_that_take_turns_are_not_correlated() -> None:
    assert not filled(Series(), [0.0, 1.0] * 50).correlated
    assert filled(Series(), [0.0, 1.0] * 50).lag1 == pytest.approx(-0.99)


# Two stretches are as good as one


def close(one: t.Sequence[float], two: t.Sequence[float]) -> bool:
    return all(math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-6) for a, b in zip(one, two))


@given(st.lists(shares, max_size=20), st.lists(shares, max_size=20), st.sampled_from([ABOVE, BELOW]))
def test_betting_merged_is_betting_continued(one: list[float], two: list[float], side: str) -> None:
    merged = filled(Betting(0.3, side), one).merge(filled(Betting(0.3, side), two))
    whole = filled(Betting(0.3, side), one + two)
    assert merged.n == whole.n
    assert close(merged.logs, whole.logs)


def test_different_hypotheses_do_not_merge() -> None:
    for other in (Betting(0.4, ABOVE), Betting(0.3, BELOW)):
        with pytest.raises(ValueError, match="two different hypotheses"):
            Betting(0.3, ABOVE).merge(other)


@given(st.lists(numbers, max_size=20), st.lists(numbers, max_size=20))
def test_series_merged_are_series_continued(one: list[float], two: list[float]) -> None:
    merged = filled(Series(), one).merge(filled(Series(), two))
    whole = filled(Series(), one + two)
    assert merged.n == whole.n
    assert (merged.first, merged.last) == (whole.first, whole.last)
    assert close(merged.to_list(), whole.to_list())


@given(st.lists(increments, max_size=20), st.lists(increments, max_size=20))
def test_sums_merged_are_sums_continued(one: list[float], two: list[float]) -> None:
    assert filled(Cusum(), one).merge(filled(Cusum(), two)) == filled(Cusum(), one + two)


# To JSON and back


def processes() -> list[tuple[t.Any, t.Callable[[t.Any], t.Any]]]:
    row = [0.1, 1 / 3, 0.9, 0.0, 1.0, 0.7]
    return [
        (filled(Betting(0.3, BELOW), row), lambda raw: Betting.from_list(raw, 0.3, BELOW)),
        (filled(EmpiricalBernstein(ALPHA), row), lambda raw: EmpiricalBernstein.from_list(raw, ALPHA)),
        (filled(Series(), row), Series.from_list),
        (filled(Cusum(), [y - 0.3 for y in row]), Cusum.from_list),
    ]


PROCESSES = processes()
NAMES = [type(item).__name__ for item, _take in PROCESSES]


@pytest.mark.parametrize(("item", "take"), PROCESSES, ids=NAMES)
def test_a_process_goes_to_json_and_back_and_on(item: t.Any, take: t.Callable[[t.Any], t.Any]) -> None:
    other = take(json.loads(json.dumps(item.to_list(), allow_nan=False)))
    assert other == item
    item = take(item.to_list())  # a copy: the original serves other tests
    assert filled(other, [0.4, 0.6]) == filled(item, [0.4, 0.6])
    fresh = take(take(item.to_list()).to_list())
    assert fresh == item


def finite_everywhere(values: t.Iterable[t.Any]) -> bool:
    return all(math.isfinite(value) for value in values)


@pytest.mark.parametrize("number", range(len(PROCESSES)), ids=NAMES)
@given(data=st.data())
def test_a_hostile_state_is_refused_or_harmless(number: int, data: st.DataObject) -> None:
    item, take = PROCESSES[number]
    raw = data.draw(hostile(item.to_list()))
    try:
        taken = take(raw)
    except (ValueError, KeyError, TypeError):
        return
    filled(taken, [0.0, 0.5, 1.0])
    assert finite_everywhere(taken.to_list())
    if isinstance(taken, Betting):
        assert math.isfinite(taken.log_e)
    if isinstance(taken, EmpiricalBernstein):
        low, high = taken.interval()
        assert low >= 0 and high <= 1
    if isinstance(taken, Series):
        assert finite_everywhere((taken.std, taken.lag1, taken.step_variance))
        assert taken.correlated in (True, False)


@pytest.mark.parametrize("bad", [math.nan, -0.001, 1.001, math.inf, -math.inf])
@pytest.mark.parametrize(
    "item", [Betting(0.3, ABOVE), EmpiricalBernstein(ALPHA)], ids=["Betting", "EmpiricalBernstein"]
)
def test_what_is_no_share_is_refused_and_changes_nothing(item: t.Any, bad: float) -> None:
    before = item.to_list()
    with pytest.raises(ValueError, match="is not in"):
        item.add(bad)
    assert item.to_list() == before


@pytest.mark.parametrize("bad", [True, None, "1", math.nan, math.inf, -math.inf, [1.0], 10**400, 1e200])
def test_what_is_no_finite_number_is_refused(bad: t.Any) -> None:
    with pytest.raises(ValueError, match="is not a finite number"):
        finite(bad)
    assert finite(3) == 3.0
    assert isinstance(finite(3), float)


@pytest.mark.parametrize(
    ("take", "raw"),
    [
        (lambda raw: EmpiricalBernstein.from_list(raw, ALPHA), [3, 1.0, -0.25, 1.0, 0.5, 0.1]),
        (lambda raw: EmpiricalBernstein.from_list(raw, ALPHA), [3, 1.0, 0.25, 0.0, 0.5, 0.1]),
        (lambda raw: EmpiricalBernstein.from_list(raw, ALPHA), [0, 1.0, 0.25, 1.0, 0.5, 0.1]),
        (lambda raw: EmpiricalBernstein.from_list(raw, ALPHA), [3, 1.0, 0.25, 1.0, 0.5]),
        (Series.from_list, [3, 0.5, -0.1, 0.4, 0.6, 0.1, 0.1]),
        (Series.from_list, [3, 0.5, 0.1, 0.4, 0.6, -0.1, -0.1]),
        (Series.from_list, [3, 0.5, 0.1, 0.4, 0.6, 0.1, 0.2]),
        (Series.from_list, [3, 0.5, 0.1, 0.4, 0.6, 0.1, 0.1, 0.1]),
        (Cusum.from_list, [3, 1, 0.5, 0.1, 0.4]),
        (Cusum.from_list, [3, 1, -0.5, 0.5, 0.1, 0.4]),
        (Cusum.from_list, [3, 1, 0.5, 0.4, 0.1, 0.4]),
        (Cusum.from_list, [3, 4, 0.5, 0.5, 0.1, 0.4]),
        (Cusum.from_list, [3, 1, 0.5, 0.5, 0.1, -0.4]),
        (lambda raw: Betting.from_list(raw, 0.3, ABOVE), [3, *[0.0] * (BETS - 1)]),
        (lambda raw: Betting.from_list(raw, 0.3, ABOVE), [-1, *[0.0] * BETS]),
        (lambda raw: Betting.from_list(raw, 0.3, ABOVE), [1.0, *[0.0] * BETS]),
    ],
)
def test_sums_that_nothing_can_have_are_refused(take: t.Callable[[t.Any], t.Any], raw: list[float]) -> None:
    with pytest.raises(ValueError, match=r"not a |no confidence sequence|below 0"):
        take(raw)


def test_a_long_run_stays_finite() -> None:
    item = filled(Betting(0.5, ABOVE), [1.0] * 5000)
    assert item.log_e > 1000
    item = filled(item, [0.0] * 20000)
    assert -100 < item.log_e < 0
