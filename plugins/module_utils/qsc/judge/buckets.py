# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""The unit of observation: what a stretch of time held. Decisions become minutes, minutes become buckets. Pure.

Decisions are correlated, so the mean over a bucket of time counts as one observation. How long a bucket is, see
``frame``.
"""

from __future__ import annotations

import math
import typing as t
from dataclasses import dataclass, field

from .decisions import ACTIONS, Decision
from .evidence import count_of, finite
from .impact import Change

MINUTE_MS = 60_000
LEAST_VOTES = 30
"""A bucket with fewer takes the next one in."""
GRID = 1000
"""Bins of confidence, .001 each."""


class Observation(t.NamedTuple):
    """What one decision says about the canary and the ensemble. ``action`` is None without a valid vote of the canary;
    ``agreement`` (votes of the largest group / votes) is None with fewer than two voters; ``flips`` (the ensemble's
    action is not that of the baseline) is None where nobody votes or the weights are not known."""

    ms: int
    action: str | None
    confidence: float
    shadow: bool
    fallback: bool
    agreement: float | None
    hard: bool
    flips: bool | None = None


def observe(decision: Decision, model: str, change: Change | None = None) -> Observation:
    """The observation in a decision."""
    vote = decision.votes.get(model)
    counts = dict.fromkeys(ACTIONS, 0)
    for other in decision.votes.values():
        if not other.shadow:
            counts[other.action] += 1
    voters = sum(counts.values())
    outcome = None if change is None else change.outcome(decision)
    return Observation(
        decision.id.ms,
        None if vote is None else vote.action,
        0.0 if vote is None else vote.confidence,
        vote is not None and vote.shadow,
        vote is not None and vote.fallback,
        max(counts.values()) / voters if voters >= 2 else None,
        bool(counts["BUY"] and counts["SELL"]),
        None if outcome is None else outcome.flips,
    )


_WHOLE = ("first_ms", "last_ms", "decisions", "voting", "fallback", "voted", "hard", "compared", "flipped")
_SUMS = ("d1", "d2", "agreement")


@dataclass
class Stretch:
    """What a stretch of time held. ``counts``: valid votes of the canary by action, ``voting`` of them in the ensemble;
    ``d1``, ``d2``: sums of (confidence - centre) and of its square; ``bins``: votes by the bin of .001 their confidence
    lies in; ``agreement``: sum over the ``voted`` decisions with two voters or more, ``hard`` of which had a BUY and a
    SELL; ``flipped``: of the ``compared`` decisions those whose action of the ensemble is not the baseline's."""

    first_ms: int = 0
    last_ms: int = 0
    decisions: int = 0
    counts: list[int] = field(default_factory=lambda: [0, 0, 0])
    voting: int = 0
    fallback: int = 0
    d1: float = 0.0
    d2: float = 0.0
    bins: dict[int, int] = field(default_factory=dict)
    voted: int = 0
    agreement: float = 0.0
    hard: int = 0
    compared: int = 0
    flipped: int = 0

    @property
    def votes(self) -> int:
        """Valid votes of the canary."""
        return sum(self.counts)

    def add(self, item: Observation, centre: float) -> None:
        """One more decision; times do not go back."""
        if not self.decisions:
            self.first_ms = item.ms
        self.last_ms = item.ms
        self.decisions += 1
        if item.action is not None:
            self.counts[ACTIONS.index(item.action)] += 1
            self.voting += not item.shadow
            self.fallback += item.fallback
            distance = item.confidence - centre
            self.d1 += distance
            self.d2 += distance * distance
            place = bin_of(item.confidence)
            self.bins[place] = self.bins.get(place, 0) + 1
        if item.agreement is not None:
            self.voted += 1
            self.agreement += item.agreement
            self.hard += item.hard
        if item.flips is not None:
            self.compared += 1
            self.flipped += item.flips

    def take(self, later: Stretch) -> None:
        """Take in the stretch after this one."""
        if not later.decisions:
            return
        if not self.decisions:
            self.first_ms = later.first_ms
        self.last_ms = later.last_ms
        self.decisions += later.decisions
        self.counts = [one + two for one, two in zip(self.counts, later.counts)]
        self.voting += later.voting
        self.fallback += later.fallback
        self.d1 += later.d1
        self.d2 += later.d2
        for place, count in later.bins.items():
            self.bins[place] = self.bins.get(place, 0) + count
        self.voted += later.voted
        self.agreement += later.agreement
        self.hard += later.hard
        self.compared += later.compared
        self.flipped += later.flipped

    @property
    def within(self) -> float:
        """The population variance of the confidences; NaN of nothing."""
        votes = self.votes
        return max(0.0, self.d2 / votes - (self.d1 / votes) ** 2) if votes else math.nan

    def quantile_bins(self, p: float) -> int:
        """The bin in which the p-quantile of the confidences lies; -1 of nothing."""
        wanted, seen = p * self.votes, 0
        for place in sorted(self.bins):
            seen += self.bins[place]
            if seen >= wanted:
                return place
        return -1

    @property
    def spread(self) -> float:
        """p90 - p10 of the confidences, to .001; NaN of nothing."""
        low, high = self.quantile_bins(0.1), self.quantile_bins(0.9)
        return (high - low) / GRID if low >= 0 else math.nan

    def to_dict(self) -> dict[str, t.Any]:
        """As JSON-ready data."""
        bins = sorted([place, count] for place, count in self.bins.items())
        return {
            **{name: getattr(self, name) for name in (*_WHOLE, *_SUMS)},
            "counts": list(self.counts),
            "bins": bins,
        }

    @classmethod
    def from_dict(cls, raw: t.Any) -> Stretch:
        """Take what ``to_dict`` gave. Raises ValueError, KeyError or TypeError."""
        counts = [count_of(value) for value in raw["counts"]]
        if len(counts) != len(ACTIONS):
            raise ValueError("not three actions")
        bins = {count_of(place): count_of(count) for place, count in raw["bins"]}
        if any(place > GRID for place in bins) or len(bins) != len(raw["bins"]):
            raise ValueError("a bin beyond the grid, or twice")
        whole = {name: count_of(raw[name]) for name in _WHOLE}
        d1, d2, agreement = (finite(raw[name]) for name in _SUMS)
        found = cls(counts=counts, bins=bins, d1=d1, d2=d2, agreement=agreement, **whole)
        if not found._possible():
            raise ValueError("counts that do not belong together")
        return found

    def _possible(self) -> bool:
        votes = self.votes
        return (
            max(votes, self.voted) <= self.decisions
            and max(self.voting, self.fallback) <= votes == sum(self.bins.values())
            and self.hard <= self.voted
            and self.flipped <= self.compared <= self.decisions
            and 0 <= self.agreement <= self.voted
            and self.d1**2 <= (self.d2 + 1e-9) * (votes + 1e-9) * (1 + 1e-9)
            and self.d2 <= votes
        )


def bin_of(confidence: float) -> int:
    """The bin k of a confidence c in [0, 1]: (k - 1) / 1000 < c <= k / 1000."""
    return min(GRID, max(0, math.ceil(confidence * GRID - 1e-9)))
