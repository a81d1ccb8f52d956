# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The generated ensemble: four models that vote, and the long-run values that are true of it.

A model's action is a latent standard normal value cut at two thresholds: BUY above, SELL below, HOLD between. The
latent value of model m is ``loading_m * g + sqrt(1 - loading_m ** 2) * e_m`` with g common to all of a symbol's models,
so given g the votes are independent and the long-run values are one-dimensional integrals: computed, not estimated.
"""

from __future__ import annotations

import itertools
import math
import typing as t
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.optimize import least_squares
from scipy.stats import norm

MODELS = ("xgb", "lgbm", "nhits", "patchtst")
CANARY = 3
"""Its place in ``MODELS``."""
MEAN = 0.6
"""Of the canary's confidence."""

_NODES = np.linspace(-8.0, 8.0, 3201)
_WEIGHTS = norm.pdf(_NODES) / norm.pdf(_NODES).sum()
_VOTES = np.array(list(itertools.product(range(3), repeat=len(MODELS))))
_LARGEST = np.array([max(np.bincount(row, minlength=3)) for row in _VOTES]) / len(MODELS)
_HARD = np.array([0 in row and 1 in row for row in _VOTES])


@dataclass(frozen=True)
class Model:
    """A model's long-run shares of BUY and SELL, and how far it follows the common factor (-1 to 1)."""

    buy: float
    sell: float
    loading: float

    @property
    def thresholds(self) -> tuple[float, float]:
        """SELL below the first, BUY above the second, of a standard normal value."""
        return float(norm.ppf(self.sell)), float(norm.isf(self.buy))


@dataclass(frozen=True)
class Ensemble:
    """Four models (order of ``MODELS``) and the standard deviation of the canary's confidence, whose mean is .6."""

    models: tuple[Model, ...]
    std: float = 0.08

    @property
    def shares(self) -> tuple[float, float, float]:
        """The canary's true shares of BUY, SELL and HOLD."""
        canary = self.models[CANARY]
        return canary.buy, canary.sell, 1.0 - canary.buy - canary.sell

    @property
    def truth(self) -> dict[str, float]:
        """The true long-run values of everything a rule looks at; shares as fractions."""
        agreement, hard = together(self.models)
        spread = 2 * float(norm.ppf(0.9)) * self.std
        return {
            "max_share": max(self.shares), "agreement": agreement, "hard": hard, "std": self.std, "range": spread
        }  # fmt: skip


def together(models: t.Sequence[Model]) -> tuple[float, float]:
    """The true agreement and hard disagreement of some models, by integration over the common factor."""
    chances = []
    for model in models:
        low, high = model.thresholds
        scale = math.sqrt(1 - model.loading**2)
        buy = norm.sf((high - model.loading * _NODES) / scale)
        sell = norm.cdf((low - model.loading * _NODES) / scale)
        chances.append(np.array([buy, sell, 1 - buy - sell]))
    joint = np.ones((len(_VOTES), len(_NODES)))
    for place, chance in enumerate(chances):
        joint *= chance[_VOTES[:, place]]
    weights = joint @ _WEIGHTS
    return float(weights @ _LARGEST), float(weights @ _HARD)


_SHAPES = tuple(itertools.product((0.9, 0.99, 0.999), (0.5, 0.45)))
"""Tried in turn: the loading of the canary and lgbm, and the share of HOLD of the models that are not judged."""
_STARTS = tuple(itertools.product((-1.5, 0.0, 1.5), (-3.0, 0.0)))


@cache
def solve(*, hold: float = 0.55, agreement: float = 0.67, hard: float = 0.12, std: float = 0.08) -> Ensemble:
    """The ensemble with these true values, ``hold`` being the canary's largest share.

    Two numbers are found: the loading of xgb and nhits, and how the shares that are not HOLD divide into BUY and SELL.
    Raises ValueError when no such ensemble was found (four voters never agree less than 50 %).
    """
    for (loading, others), start in itertools.product(_SHAPES, _STARTS):

        def built(point: t.Sequence[float], loading: float = loading, others: float = others) -> tuple[Model, ...]:
            other, sell = 0.999 * math.tanh(point[0]), 0.5 / (1 + math.exp(-point[1]))

            def model(holds: float, follows: float) -> Model:
                return Model((1 - holds) * (1 - sell), (1 - holds) * sell, follows)

            return model(others, other), model(others, loading), model(others, other), model(hold, loading)

        def off(point: t.Sequence[float], built: t.Callable[..., tuple[Model, ...]] = built) -> list[float]:
            found = together(built(point))
            return [found[0] - agreement, found[1] - hard]

        found = least_squares(off, start, xtol=1e-12, ftol=1e-12, gtol=1e-12, max_nfev=40)
        if max(abs(value) for value in found.fun) < 1e-5:
            return Ensemble(built(found.x), std)
    raise ValueError(f"no ensemble with hold={hold} agreement={agreement} hard={hard}")


def quarrel(*, std: float = 0.08) -> Ensemble:
    """Four voters that agree as little as four can: two against two all the time, hardly ever three ways."""
    along, against = Model(0.495, 0.005, 0.999), Model(0.495, 0.005, -0.999)
    return Ensemble((against, along, against, along), std)
