# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""What changed since the time before the cutover, and whether all models changed alike: that is the market. Pure.

How far two equal times lie apart where nothing was done is what lies between the periods of the time before: the band.
Source: Lin, "Divergence measures based on the Shannon entropy" (1991).
"""

from __future__ import annotations

import math
import typing as t
from dataclasses import dataclass

from .decisions import ACTIONS
from .evidence import count_of, finite
from .summary import percentile
from .table import WIDTH, Table

PERIODS = 8
"""Equal periods into which the time before is cut."""
T99 = 3.4994832973504937
"""The 99.5 % quantile of Student's distribution with ``PERIODS`` - 1 degrees of freedom."""
LEAST_PERIOD = 25
"""Decisions of a period; fewer are too few to compare."""
_BINS = 10
_SHIFTS = ("confidence", *ACTIONS)


class Period(t.NamedTuple):
    """One model in one period: its votes by action, by tenth of the confidence, and their mean confidence."""

    actions: tuple[int, ...]
    bins: tuple[int, ...]
    mean: float

    @property
    def votes(self) -> int:
        return sum(self.actions)


@dataclass(frozen=True)
class Reference:
    """The time before the cutover in ``PERIODS`` equal periods of ``size`` decisions each, by model."""

    size: int
    first_ms: int
    last_ms: int
    models: t.Mapping[str, tuple[Period, ...]]

    def to_dict(self) -> dict[str, t.Any]:
        """As JSON-ready data."""
        models = {
            name: [[list(one.actions), list(one.bins), one.mean] for one in periods]
            for name, periods in self.models.items()
        }
        return {"size": self.size, "first_ms": self.first_ms, "last_ms": self.last_ms, "models": models}

    @classmethod
    def from_dict(cls, raw: t.Any) -> Reference:
        """Take what ``to_dict`` gave. Raises ValueError, KeyError or TypeError for anything else."""
        if not isinstance(raw, t.Mapping) or not isinstance(raw["models"], t.Mapping) or len(raw["models"]) > WIDTH:
            raise ValueError("not a reference")
        models = {}
        for name, periods in raw["models"].items():
            if not isinstance(name, str) or len(periods) != PERIODS:
                raise ValueError(f"not {PERIODS} periods of a model")
            models[name] = tuple(_period(one) for one in periods)
        return cls(count_of(raw["size"]), count_of(raw["first_ms"]), count_of(raw["last_ms"]), models)


def _period(raw: t.Any) -> Period:
    actions, bins, mean = raw
    found = Period(tuple(count_of(one) for one in actions), tuple(count_of(one) for one in bins), finite(mean))
    if len(found.actions) != len(ACTIONS) or len(found.bins) != _BINS or found.votes != sum(found.bins):
        raise ValueError("votes that do not belong together")
    if not 0 <= found.mean <= 1:
        raise ValueError("a mean out of range")
    return found


def _periods(rows: t.Sequence[tuple[bytes, t.Sequence[float]]], width: int) -> list[Period]:
    """Every model of a table in these rows."""
    actions = [[0, 0, 0] for _number in range(width)]
    bins = [[0] * _BINS for _number in range(width)]
    sums = [0.0] * width
    for pattern, confidences in rows:
        for place, code in enumerate(pattern):
            if code:
                actions[place][(code & 3) - 1] += 1
                bins[place][min(_BINS - 1, int(confidences[place] * _BINS))] += 1
                sums[place] += confidences[place]
    return [
        Period(tuple(actions[place]), tuple(bins[place]), sums[place] / max(1, sum(actions[place])))
        for place in range(width)
    ]


def reference_of(table: Table) -> Reference | None:
    """The newest of the table's decisions as the time before; None where they are too few."""
    size = len(table) // PERIODS
    if size < LEAST_PERIOD:
        return None
    rows = list(table.rows())[-size * PERIODS :]
    width = len(table.names)
    cut = [[(row[2], row[3]) for row in rows[size * k : size * (k + 1)]] for k in range(PERIODS)]
    columns = [_periods(part, width) for part in cut]
    models = {name: tuple(column[place] for column in columns) for place, name in enumerate(table.names)}
    return Reference(size, rows[0][0], rows[-1][0], models)


def jensen_shannon(one: t.Sequence[int], other: t.Sequence[int]) -> float | None:
    """The Jensen-Shannon divergence of two histograms in bits, 0 (the same) to 1; None of an empty one."""
    n, m = sum(one), sum(other)
    if not (n and m):
        return None
    found = 0.0
    for a, b in zip(one, other):
        p, q = a / n, b / m
        mean = (p + q) / 2
        found += (p * math.log2(p / mean) if p else 0.0) + (q * math.log2(q / mean) if q else 0.0)
    return max(0.0, found / 2)


def _drift_of(periods: t.Sequence[Period], now: Period) -> dict[str, t.Any] | None:
    """How far the newest period lies from those before (the median divergence), beside how far each of those lies from
    the rest: the largest of these is the band. Nothing but chance leaves it once in ``PERIODS`` + 1."""
    if not all(one.votes for one in (*periods, now)):
        return None
    found: dict[str, t.Any] = {}
    for what in ("actions", "bins"):
        name = "confidence" if what == "bins" else what
        value = _median_divergence(getattr(now, what), [getattr(one, what) for one in periods])
        band = max(
            _median_divergence(getattr(one, what), [getattr(other, what) for other in periods if other is not one])
            for one in periods
        )
        found[name] = {"divergence": value, "band": band, "beyond": value > band}
    return found


def _median_divergence(one: t.Sequence[int], others: t.Sequence[t.Sequence[int]]) -> float:
    return percentile(sorted(jensen_shannon(one, other) or 0.0 for other in others), 50)


def _value(period: Period, what: str) -> float:
    """The mean confidence, or the share of an action."""
    return period.mean if what == "confidence" else period.actions[ACTIONS.index(what)] / period.votes


def _shifts(canary: t.Sequence[Period], others: t.Sequence[t.Sequence[Period]]) -> dict[str, t.Any] | None:
    """The canary's shift against the time before, less that of the other models' mean (difference in differences):
    what all models share is the market's. Rows hold ``PERIODS`` periods and then the newest one."""
    others = [row for row in others if all(one.votes for one in row)]
    if not others or not all(one.votes for one in canary):
        return None
    found: dict[str, t.Any] = {}
    for what in _SHIFTS:
        own = [_value(one, what) for one in canary]
        market = [math.fsum(_value(row[k], what) for row in others) / len(others) for k in range(PERIODS + 1)]
        shared, shared_band = _shift(market)
        alone, alone_band = _shift([one - two for one, two in zip(own, market)])
        found[what] = {
            "canary": _shift(own)[0],
            "market": shared,
            "market_band": shared_band,
            "market_moved": abs(shared) > shared_band,
            "own": alone,
            "own_band": alone_band,
            "canary_moved": abs(alone) > alone_band,
        }
    return found


def _shift(values: t.Sequence[float]) -> tuple[float, float]:
    """The last value less the mean of those before it, and how far chance alone takes it in 99 of 100 cases: Student's
    prediction interval, from how far the values before lie apart."""
    before = values[:-1]
    n = len(before)
    mean = math.fsum(before) / n
    std = math.sqrt(math.fsum((one - mean) ** 2 for one in before) / (n - 1))
    return values[-1] - mean, T99 * std * math.sqrt(1 + 1 / n)


def drift(table: Table, reference: Reference | None) -> dict[str, t.Any]:
    """What changed since the time before."""
    if reference is None or len(table) < reference.size:
        why = "nothing before the cutover to compare with" if reference is None else "too few decisions yet"
        return {"reason": why, "models": {}, "shift": None}
    rows = [(row[2], row[3]) for row in list(table.rows())[-reference.size :]]
    now = dict(zip(table.names, _periods(rows, len(table.names))))
    both = [name for name in table.names if name in reference.models]
    models = {name: _drift_of(reference.models[name], now[name]) for name in both}
    canary, *others = [(*reference.models[name], now[name]) for name in both] if both[:1] == table.names[:1] else [()]
    return {
        "reason": "",
        "decisions": reference.size,
        "before": {"periods": PERIODS, "first_ms": reference.first_ms, "last_ms": reference.last_ms},
        "models": {name: found for name, found in models.items() if found is not None},
        "shift": _shifts(canary, others) if canary else None,
    }
