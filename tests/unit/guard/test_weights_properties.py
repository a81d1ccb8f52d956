# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Weight math for every baseline: an exact sum, the canary exactly at its share, the others in proportion."""

from __future__ import annotations

import math
import typing as t
from decimal import Decimal

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import BadInput, Refused
from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard.weights import (
    WeightsPlan,
    checked_baseline,
    checked_weight,
    parse_baseline,
    plan_weights,
    weights_bytes,
)
from helpers.samples import BASELINE

names = st.lists(st.from_regex(r"[a-z][a-z0-9_]{0,5}", fullmatch=True), min_size=2, max_size=9, unique=True)
shares = st.integers(min_value=1, max_value=1_000_000).map(lambda units: units / 1_000_000)


@st.composite
def baselines(draw: st.DrawFn) -> dict[str, float]:
    """Weights of 2 to 9 models as an engine may hold them: floats that sum to 1 but for rounding, zeros among them."""
    models = draw(names)
    parts = draw(st.lists(st.integers(0, 10**9), min_size=len(models), max_size=len(models)))
    assume(sum(parts) > 0)
    return {name: part / sum(parts) for name, part in zip(models, parts)}


def plan(baseline: dict[str, float], model: str, share: float) -> WeightsPlan:
    try:
        return plan_weights(checked_baseline(baseline), model, share, known=(model,))
    except Refused:
        assume(False)
        raise


@given(baselines(), st.integers(0, 9), shares)
@settings(deadline=None, max_examples=80)
@example({"c": 1 / 3, "b": 1 / 3, "a": 1 / 3}, 2, 0.1)
@example({"a": 0.999999, "b": 0.000001, "c": 0.0}, 1, 0.5)
def test_sum_order_share_and_proportion(baseline: dict[str, float], index: int, share: float) -> None:
    model = [*baseline, "newcomer"][index % (len(baseline) + 1)]
    result = plan(baseline, model, share)
    weights = result.weights
    assert sum((Decimal(repr(value)) for value in weights.values()), Decimal(0)) == 1, "exact, not nearly"
    assert result.total == 1.0
    assert weights[model] == share, "the canary stands exactly at its share"
    assert list(weights) == [*baseline, *([model] if model not in baseline else [])]
    assert all(0 <= value <= 1 for value in weights.values())
    rest = math.fsum(value for name, value in baseline.items() if name != model)
    for name, value in baseline.items():
        if name != model:
            assert abs(weights[name] - value / rest * (1 - share)) <= 1e-6


@given(baselines(), st.integers(0, 9), shares)
@settings(deadline=None, max_examples=30)
def test_a_larger_baseline_weight_never_gets_less(baseline: dict[str, float], index: int, share: float) -> None:
    model = list(baseline)[index % len(baseline)]
    weights = plan(baseline, model, share).weights
    others = sorted((name for name in baseline if name != model), key=lambda name: baseline[name])
    for small, large in zip(others, others[1:]):
        assert weights[small] <= weights[large] or baseline[small] == baseline[large]


@given(baselines(), st.integers(0, 9), shares)
@settings(deadline=None, max_examples=30)
def test_the_weights_file_can_be_read_back(baseline: dict[str, float], index: int, share: float) -> None:
    model = list(baseline)[index % len(baseline)]
    weights = plan(baseline, model, share).weights
    assert parse_baseline(weights_bytes(weights), "x") == weights


bad_numbers: st.SearchStrategy[t.Any] = st.one_of(
    st.sampled_from([math.nan, math.inf, -math.inf, True, False, None, "0.5", "", [], {}, 10**400, -(10**400)]),
    st.floats(max_value=-1e-12, allow_nan=False),
    st.floats(min_value=1.0000001, allow_nan=False),
    st.integers(max_value=-1),
    st.integers(min_value=2),
    st.text(max_size=4),
)


@given(st.sampled_from(sorted(BASELINE)), bad_numbers)
@settings(deadline=None, max_examples=60)
def test_any_bad_number_in_the_baseline_is_bad_input(name: str, value: t.Any) -> None:
    try:
        checked_baseline({**BASELINE, name: value}, "baseline")
    except BadInput as error:
        assert f"baseline: {name}=" in error.message
        assert error.remedy
    else:
        raise AssertionError(f"{value!r:.80} was taken as a weight")


@given(bad_numbers)
@settings(deadline=None, max_examples=60)
@example(0)
@example(4.9e-7)
def test_any_bad_share_is_bad_input(value: t.Any) -> None:
    try:
        checked_weight(value)
    except BadInput as error:
        assert error.message.startswith("weight=")
        assert error.remedy
    else:
        raise AssertionError(f"{value!r:.80} was taken as a share")
