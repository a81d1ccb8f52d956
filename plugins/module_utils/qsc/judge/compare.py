# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""The canary beside the other models, on the same decisions: each votes on every one, so the market cancels. Pure.

It shows and never decides. Sources: Cohen, "A coefficient of agreement for nominal scales" (1960); McNemar (1947), here
as a bet on means of buckets (module ``evidence``), which may be looked at at any time.
"""

from __future__ import annotations

import math
import typing as t
from collections import Counter
from dataclasses import dataclass, field

from .buckets import LEAST_VOTES
from .claims import ASYMPTOTIC_MARGIN, BURN_IN
from .drift import Reference, drift
from .evidence import ABOVE, BELOW, Betting, Series, asymptotic_radius
from .frame import Frame
from .impact import SHOWN_SYMBOLS
from .summary import known, mean_std
from .table import CODES, SHADOW, WIDTH, Table

ALPHA = 0.05
"""The chance that an interval misses, at all looks together."""
_BUY, _SELL, _HOLD = CODES.values()


# What a pattern of actions says of each model


class _Facts(t.NamedTuple):
    """Of one decision: by model its action, and the largest group of the other voters (several where they tie); by
    incumbent whether canary and incumbent match the one majority of the rest, None where there is none."""

    actions: tuple[int, ...]
    others: tuple[tuple[int, ...], ...]
    rest: tuple[tuple[bool, bool] | None, ...]


def _facts(pattern: bytes) -> _Facts:
    counts = [0, 0, 0, 0]
    actions = tuple(code & 3 for code in pattern)
    voting = [code if code < SHADOW else 0 for code in pattern]
    for code in voting:
        counts[code] += 1
    others, rest = [], []
    for place, code in enumerate(voting):
        left = counts[:]
        left[code] -= 1
        others.append(_largest(left) if actions[place] else ())
        left[voting[0]] -= 1 if place else 0
        majority = _largest(left) if place and actions[0] and actions[place] else ()
        rest.append((actions[0] == majority[0], actions[place] == majority[0]) if len(majority) == 1 else None)
    return _Facts(actions, tuple(others), tuple(rest))


def _largest(counts: t.Sequence[int]) -> tuple[int, ...]:
    """The actions of the largest group of votes; none where nobody votes."""
    top = max(counts[_BUY], counts[_SELL], counts[_HOLD])
    return tuple(code for code in (_BUY, _SELL, _HOLD) if counts[code] == top) if top else ()


@dataclass
class _Agreement:
    """Actions of one beside those of another, {(one, other): decisions}; a tie of the other counts in parts."""

    cells: Counter[tuple[int, int]] = field(default_factory=Counter)
    ties: dict[tuple[int, tuple[int, ...]], int] = field(default_factory=dict)

    def add(self, one: int, other: tuple[int, ...], times: int) -> None:
        if len(other) == 1:
            self.cells[(one, other[0])] += times
        elif other:
            self.ties[(one, other)] = self.ties.get((one, other), 0) + times

    def figures(self) -> tuple[int, float | None, float | None]:
        """(decisions, agreement, Cohen's kappa), fractions; None where it is not defined."""
        table: dict[tuple[int, int], float] = {key: float(count) for key, count in self.cells.items()}
        for (one, other), times in self.ties.items():
            for code in other:
                table[(one, code)] = table.get((one, code), 0.0) + times / len(other)
        n = sum(self.cells.values()) + sum(self.ties.values())
        return n, *kappa_of(table, n)


def kappa_of(table: t.Mapping[tuple[int, int], float], n: int) -> tuple[float | None, float | None]:
    """Agreement and Cohen's kappa of a table {(one, other): decisions}; kappa is None where chance alone agrees."""
    if not n:
        return None, None
    observed = sum(count for (one, other), count in table.items() if one == other) / n
    expected = 0.0
    for code in (_BUY, _SELL, _HOLD):
        row = sum(count for (one, _other), count in table.items() if one == code)
        column = sum(count for (_one, other), count in table.items() if other == code)
        expected += row / n * (column / n)
    return observed, (observed - expected) / (1 - expected) if expected < 1 - 1e-12 else None


# Means of buckets


@dataclass
class _Bucket:
    """A stretch of time: patterns of actions, and by model the sum of (canary's confidence - its own) over the
    decisions both are in; place 0 is the mean of all other voters."""

    patterns: Counter[bytes] = field(default_factory=Counter)
    counts: list[int] = field(default_factory=lambda: [0] * WIDTH)
    sums: list[float] = field(default_factory=lambda: [0.0] * WIDTH)
    decisions: int = 0

    def add(self, pattern: bytes, confidences: t.Sequence[float]) -> None:
        self.decisions += 1
        self.patterns[pattern] += 1
        if not pattern[0]:
            return
        total, voters = 0.0, 0
        for place in range(1, len(pattern)):
            code = pattern[place]
            if code:
                self.counts[place] += 1
                self.sums[place] += confidences[0] - confidences[place]
                if code < SHADOW:
                    voters += 1
                    total += confidences[place]
        if voters:
            self.counts[0] += 1
            self.sums[0] += confidences[0] - total / voters


def _buckets(table: Table, bucket_s: float) -> list[_Bucket]:
    """Oldest first; one with too few decisions takes the next one in, a last short one is left out."""
    length = max(1, int(1000 * bucket_s))
    found: list[_Bucket] = []
    place, bucket = -1, _Bucket()
    for ms, _symbol, pattern, confidences in table.rows():
        if ms // length != place and bucket.decisions >= LEAST_VOTES:
            found.append(bucket)
            bucket = _Bucket()
        place = ms // length
        bucket.add(pattern, confidences)
    if bucket.decisions >= LEAST_VOTES:
        found.append(bucket)
    return found


def _difference(buckets: t.Sequence[_Bucket], place: int, expected: float) -> dict[str, t.Any]:
    """The mean over buckets of a paired difference, with an anytime-valid interval from ``BURN_IN`` buckets on."""
    series = Series()
    pairs = 0
    for bucket in buckets:
        if bucket.counts[place]:
            series.add(bucket.sums[place] / bucket.counts[place])
            pairs += bucket.counts[place]
    low = high = None
    if series.n >= BURN_IN:
        radius = asymptotic_radius(series.n, ALPHA / 2 / ASYMPTOTIC_MARGIN, max(1.0, expected)) * series.std
        low, high = series.mean - radius, series.mean + radius
    mean = series.mean if series.n else None
    return {"mean": mean, "low": low, "high": high, "decisions": pairs, "buckets": series.n}


def _mcnemar(buckets: t.Sequence[_Bucket], place: int, facts: t.Mapping[bytes, _Facts]) -> dict[str, t.Any]:
    """Of the decisions in which exactly one of canary and incumbent matches the one majority of the rest: how many are
    the canary's, and the evidence (mean of two betting processes) that in the long run it is not half of a bucket's."""
    above, below = Betting(0.5, ABOVE), Betting(0.5, BELOW)
    ours = theirs = used = 0
    for bucket in buckets:
        one = other = 0
        for pattern, times in bucket.patterns.items():
            found = facts[pattern].rest[place]
            if found is not None and found[0] != found[1]:
                one += times if found[0] else 0
                other += times if found[1] else 0
        if one + other:
            above.add(one / (one + other))
            below.add(one / (one + other))
            used += 1
        ours, theirs = ours + one, theirs + other
    e_value = (math.exp(min(above.log_e, 700.0)) + math.exp(min(below.log_e, 700.0))) / 2
    return {"canary": ours, "incumbent": theirs, "buckets": used, "e_value": e_value, "certain": e_value >= 1 / ALPHA}


def comparison(table: Table, reference: Reference | None = None, frame: Frame | None = None) -> dict[str, t.Any] | None:
    """The canary beside each incumbent, JSON-ready; None where nothing was read. Shares are fractions. ``frame``: what
    was learnt before the run; without one the buckets are the longest."""
    if not len(table):
        return None
    frame = Frame() if frame is None else frame
    cut = _buckets(table, frame.bucket_s)
    patterns: Counter[bytes] = Counter()
    by_symbol: dict[int, Counter[bytes]] = {}
    confidences: dict[int, list[float]] = {}
    for _ms, symbol, pattern, row in table.rows():
        patterns[pattern] += 1
        by_symbol.setdefault(symbol, Counter())[pattern] += 1
        if pattern[0]:
            confidences.setdefault(symbol, []).append(row[0])
    facts = {pattern: _facts(pattern) for pattern in patterns}
    n = len(table)
    models = {name: _beside(place, patterns, facts, n) for place, name in enumerate(table.names)}
    for place, name in enumerate(table.names[1:], 1):
        models[name].update(
            same=_pair(place, patterns, facts),
            difference=_difference(cut, place, frame.buckets),
            mcnemar=_mcnemar(cut, place, facts),
        )
    canary = models.pop(table.names[0])
    return {
        "model": table.names[0],
        "decisions": n,
        "first_ms": min(table.times),
        "last_ms": max(table.times),
        "bucket_s": frame.bucket_s,
        "canary": {**canary, "difference": _difference(cut, 0, frame.buckets)},
        "incumbents": {name: found for name, found in models.items() if found["votes"]},
        "symbols": _symbols(table, by_symbol, confidences, facts),
        "drift": drift(table, reference),
    }


def _beside(place: int, patterns: t.Mapping[bytes, int], facts: t.Mapping[bytes, _Facts], n: int) -> dict[str, t.Any]:
    """Coverage, and agreement with the majority of all other voters."""
    votes, agreement = 0, _Agreement()
    for pattern, times in patterns.items():
        found = facts[pattern]
        if found.actions[place]:
            votes += times
            agreement.add(found.actions[place], found.others[place], times)
    decisions, share, kappa = agreement.figures()
    return {"votes": votes, "coverage": votes / n, "decisions": decisions, "agreement": share, "kappa": kappa}


def _pair(place: int, patterns: t.Mapping[bytes, int], facts: t.Mapping[bytes, _Facts]) -> dict[str, t.Any]:
    """Agreement of the canary with this incumbent itself."""
    agreement = _Agreement()
    for pattern, times in patterns.items():
        one, other = facts[pattern].actions[0], facts[pattern].actions[place]
        if one and other:
            agreement.add(one, (other,), times)
    decisions, share, kappa = agreement.figures()
    return {"decisions": decisions, "agreement": share, "kappa": kappa}


def _symbols(
    table: Table,
    by_symbol: t.Mapping[int, Counter[bytes]],
    confidences: t.Mapping[int, t.Sequence[float]],
    facts: t.Mapping[bytes, _Facts],
) -> list[dict[str, t.Any]]:
    """The canary by symbol, those with the most decisions: one symbol can carry a violation."""
    names = table.symbol_names
    order = sorted(by_symbol, key=lambda number: (number == 0, -sum(by_symbol[number].values()), names[number]))
    rows = []
    for number in order[:SHOWN_SYMBOLS]:
        patterns = by_symbol[number]
        n = sum(patterns.values())
        found = _beside(0, patterns, facts, n)
        actions = Counter(dict.fromkeys(CODES.values(), 0))
        for pattern, times in patterns.items():
            actions[facts[pattern].actions[0]] += times
        mean, std = mean_std(confidences.get(number, ()))
        votes = found["votes"]
        rows.append(
            {
                "symbol": names[number],
                "decisions": n,
                "coverage": found["coverage"],
                "shares": {action: actions[code] / votes if votes else None for action, code in CODES.items()},
                "mean": known(mean),
                "std": known(std),
                "agreement": found["agreement"],
            }
        )
    return rows
