# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The reference engine is healthy by every rule, in every window of 200 consecutive decisions or more.

Measured on 2026-11-23: 3000 runs of 2000 decisions, all windows below: no violation in any run, so the rate is below
.001 a run with 95 % confidence.
"""

from __future__ import annotations

import typing as t

import numpy as np
import numpy.typing as npt
import pytest
from engine.orbit import ORBIT
from engine.quantum import MODELS
from engine.votes import Market

ACTIONS = {"BUY": 0, "SELL": 1, "HOLD": 2}
LENGTH = 2000
# Sliding windows of these lengths, at every place; and all windows that begin at the first decision.
SLIDING = (200, 250, 300, 399, 800)
Array = npt.NDArray[t.Any]


def run(seed: int, models: t.Sequence[str]) -> tuple[Array, Array]:
    """Return actions and confidences of one run, shape (decisions, models)."""
    market = Market(seed, models, "patchtst")
    made = [market.decide().breakdown for _ in range(LENGTH)]
    actions = np.array([[ACTIONS[votes[model]["action"]] for model in models] for votes in made])
    confidences = np.array([[votes[model]["confidence"] for model in models] for votes in made])
    return actions, confidences


def windows() -> t.Iterator[tuple[Array, Array]]:
    """Return (starts, ends) of the windows, by kind."""
    ends = np.arange(200, LENGTH + 1)
    yield np.zeros_like(ends), ends
    for length in SLIDING:
        starts = np.arange(0, LENGTH - length + 1)
        yield starts, starts + length


def mean(values: Array, starts: Array, ends: Array) -> Array:
    """Return the mean of each window, for each column."""
    sums = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
    return np.asarray((sums[ends] - sums[starts]) / (ends - starts)[:, None])


def violations(actions: Array, confidences: Array) -> set[str]:
    """Return the names of the rules that some window of a run breaks."""
    found = set()
    counts = np.stack([(actions == action).sum(axis=1) for action in range(3)], axis=1)
    agreement = counts.max(axis=1, keepdims=True) / actions.shape[1]
    hard = ((counts[:, 0] > 0) & (counts[:, 1] > 0))[:, None]
    for starts, ends in windows():
        for action in range(3):
            if (mean(actions == action, starts, ends) > 0.70).any():
                found.add("action_collapse")
        level = mean(confidences, starts, ends)
        std = np.sqrt(mean(confidences**2, starts, ends) - level**2)
        if (std < 0.05).any():
            found.add("flat_predictions")
        # p90 - p10 >= .12 is certain where more than 10 % lie at or below .55 and more than 10 % at or above .67;
        # only the other windows need the percentiles themselves.
        low, high = mean(confidences <= 0.55, starts, ends), mean(confidences >= 0.67, starts, ends)
        for window, model in np.argwhere((low <= 0.11) | (high <= 0.11)):
            p10, p90 = np.percentile(confidences[starts[window] : ends[window], model], [10, 90])
            if p90 - p10 < 0.12:
                found.add("narrow_range")
        agreed = mean(agreement, starts, ends)
        if ((agreed < 0.55) | (agreed > 0.80)).any():
            found.add("agreement_out_of_range")
        if (mean(hard, starts, ends) > 0.20).any():
            found.add("hard_disagree")
    return found


@pytest.mark.parametrize("models", [MODELS, ORBIT.models], ids=["quantum", "orbit"])
def test_no_window_of_a_healthy_engine_breaks_a_rule(models: tuple[str, ...]) -> None:
    for seed in range(12):
        assert violations(*run(seed, models)) == set(), f"seed {seed}"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_rate_of_false_violations_is_below_one_in_a_thousand() -> None:
    """No violation in 3000 runs bounds the rate by .001 (95 %)."""
    bad = {seed: found for seed in range(3000) if (found := violations(*run(seed, MODELS)))}
    assert bad == {}


def test_the_long_run_lies_well_inside_the_limits() -> None:
    actions, confidences = (np.concatenate(parts) for parts in zip(*(run(seed, MODELS) for seed in range(10, 16))))
    for action in range(3):
        assert (100 * (actions == action).mean(axis=0) < 60).all()
    assert (confidences.std(axis=0) >= 0.1).all()
    assert (np.percentile(confidences, 90, axis=0) - np.percentile(confidences, 10, axis=0) >= 0.25).all()
    counts = np.stack([(actions == action).sum(axis=1) for action in range(3)], axis=1)
    assert 62 <= 100 * (counts.max(axis=1) / 4).mean() <= 72
    assert 100 * ((counts[:, 0] > 0) & (counts[:, 1] > 0)).mean() <= 10


def test_votes_are_correlated_in_time() -> None:
    """Neighbouring decisions of one symbol resemble each other, as those of a real market do."""
    market = Market(1, MODELS, "patchtst")
    made = [market.decide() for _ in range(3000)]
    own = [d.breakdown["patchtst"]["confidence"] for d in made if d.symbol == "BTCUSDT"]
    assert np.corrcoef(own[:-1], own[1:])[0, 1] > 0.4
    regimes = [d.regime for d in made if d.symbol == "BTCUSDT"]
    assert np.mean([a == b for a, b in zip(regimes, regimes[1:])]) > 0.6
