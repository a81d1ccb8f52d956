# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""Weight math: ONE model gets a fixed share of the ensemble's weight, the others are scaled in proportion. Pure.

Weights are kept as whole millionths, so that a set of weights sums to exactly 1 (largest remainder method, Hamilton).
"""

from __future__ import annotations

import json
import math
import typing as t
from dataclasses import dataclass
from fractions import Fraction

from ..errors import BadInput, Refused
from ..settings import model_name
from ..verdict import printable

UNITS = 1_000_000
"""Weights have 6 decimals."""
SAME = 0.5 / UNITS
"""Shares that differ by no more than this are written as one."""
SUM_TOLERANCE = 1e-6
_REMEDY_BASELINE = "Give {model: weight}, each from 0 to 1, summing to 1."


@dataclass(frozen=True)
class WeightsPlan:
    """Weights before and after, {model: share of the ensemble}, shares in [0, 1]."""

    model: str
    weight: float
    baseline: t.Mapping[str, float]
    weights: t.Mapping[str, float]

    @property
    def deltas(self) -> dict[str, float]:
        """What each model gains (or loses)."""
        return {name: round(value - self.baseline.get(name, 0.0), 6) for name, value in self.weights.items()}

    @property
    def direction(self) -> str:
        """``raises`` or ``lowers``: what the canary's share does to that model's own baseline weight."""
        return "raises" if self.weight > self.baseline.get(self.model, 0.0) else "lowers"

    @property
    def total(self) -> float:
        """The exact sum: 1.0, or the plan was not made here."""
        return sum(round(value * UNITS) for value in self.weights.values()) / UNITS

    def lines(self) -> list[str]:
        """For a terminal: each model's weight before and after."""
        width = max(len(name) for name in self.weights)
        lines = [
            f"{name:<{width}}  {100 * self.baseline.get(name, 0.0):9.4f} % -> {100 * value:9.4f} %"
            + ("   <- canary" if name == self.model else "")
            for name, value in self.weights.items()
        ]
        before = 100 * self.baseline.get(self.model, 0.0)
        lines.append(f"the canary {self.direction} {self.model} from {before:g} % to {100 * self.weight:g} %")
        if self.weight == 1:
            lines.append("all other models get weight 0")
        if self.direction == "lowers":
            lines.append(f"so a rollback raises {self.model} back to {before:g} %")
        return lines


def checked_weight(value: t.Any) -> float:
    """The canary's share, in (0, 1]. Raises BadInput."""
    good = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not good or not 1 / UNITS <= value <= 1:  # NaN fails here, and so does an integer no float can hold
        raise BadInput(
            f"weight={value!r:.80} is not a share of the ensemble", remedy="Use a number above 0 and up to 1, as 0.10."
        )
    return float(round(value * UNITS) / UNITS)


def checked_baseline(raw: t.Any, source: str = "baseline") -> dict[str, float]:
    """Take {model: weight} as the baseline. Raises BadInput naming ``source`` and what is wrong with it."""
    if not isinstance(raw, dict) or not raw:
        what = "is empty" if raw in ({}, None, "") else "is not an object {model: weight}"
        raise BadInput(f"{source} {what}", remedy=_REMEDY_BASELINE)
    for name, value in raw.items():
        model_name(name, f"{source}: model")
        good = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not good or not 0 <= value <= 1:
            raise BadInput(f"{source}: {name}={value!r:.80} is not a weight", remedy=_REMEDY_BASELINE)
    total = math.fsum(raw.values())
    if not abs(total - 1) <= SUM_TOLERANCE:
        raise BadInput(f"{source}: the weights sum to {total:.6f}, not 1", remedy=_REMEDY_BASELINE)
    return {name: float(value) for name, value in raw.items()}


def parse_baseline(data: bytes, source: str) -> dict[str, float]:
    """Take the bytes of an engine's weights file as the baseline. Raises BadInput."""
    if not data.strip():
        raise BadInput(f"{source} is empty", remedy=_REMEDY_BASELINE)
    try:
        raw = json.loads(data, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{source} is not JSON: {error}", remedy=_REMEDY_BASELINE) from error
    return checked_baseline(raw, source)


def _no_duplicates(pairs: list[tuple[str, t.Any]]) -> dict[str, t.Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a model is named twice")
    return found


def plan_weights(
    baseline: t.Mapping[str, float], model: str, weight: float, *, known: t.Collection[str] = ()
) -> WeightsPlan:
    """Set ``model`` to ``weight``, the others in proportion to their baseline.

    A model absent from the baseline may be a canary when it is ``known`` from elsewhere (the telemetry). Raises
    BadInput for an unknown model, Refused where the result would be no canary.
    """
    model_name(model)
    weight = checked_weight(weight)
    if model not in baseline and model not in known:
        raise BadInput(
            f"model={model!r} is neither in the baseline nor in the telemetry",
            remedy=f"Known are: {printable(', '.join(sorted({*baseline, *known})), 300)}.",
        )
    before = Fraction(baseline.get(model, 0.0))
    others = {name: Fraction(value) for name, value in baseline.items() if name != model}
    rest = sum(others.values(), Fraction(0))
    if rest <= 0:
        raise Refused(
            f"model={model!r} is the only model with weight: there is nothing to compare or to fall back to",
            remedy="A canary needs a baseline of at least two models.",
        )
    share = round(weight * UNITS)
    if abs(before * UNITS - share) < Fraction(1, 2):
        raise Refused(
            f"weight={weight:g} is already the baseline weight of {model}",
            remedy="Choose another weight, or no canary.",
        )
    units = _largest_remainder({name: value / rest for name, value in others.items()}, UNITS - share)
    units[model] = share
    order = [*baseline, *([model] if model not in baseline else [])]
    return WeightsPlan(
        model=model, weight=weight, baseline=dict(baseline), weights={name: units[name] / UNITS for name in order}
    )


def step_after(steps: t.Sequence[float], share: float, own: float) -> float | None:
    """The first of these ascending shares above ``share``, None where there is none. ``own``, what the model has in the
    baseline anyway, is no step."""
    return next((step for step in steps if step > share + SAME and abs(step - own) > SAME), None)


def _largest_remainder(shares: t.Mapping[str, Fraction], total: int) -> dict[str, int]:
    """Whole units in proportion to ``shares`` (sum 1) that sum to exactly ``total`` and keep the order of shares."""
    quotas = {name: share * total for name, share in shares.items()}
    units = {name: math.floor(quota) for name, quota in quotas.items()}
    missing = total - sum(units.values())
    by_remainder = sorted(quotas, key=lambda name: (units[name] - quotas[name], -shares[name], name))
    for name in by_remainder[:missing]:
        units[name] += 1
    return units


def weights_bytes(weights: t.Mapping[str, float]) -> bytes:
    """The bytes of the weights file: the engine acknowledges their SHA-256."""
    return json.dumps(dict(weights), sort_keys=True, allow_nan=False).encode() + b"\n"
