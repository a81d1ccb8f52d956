# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Both policies on one generated run. ``strict`` is the specification, vectorised and proven equal to the judge's rules
by a test; ``sequential`` is the judge's own code, fed with ready-made minutes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge import rules
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.buckets import GRID, MINUTE_MS
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.claims import KEPT, VIOLATED, Evidence, claims_of
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.decisions import ACTIONS
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.fold import (
    OPEN_S,
    RECENT_DECISIONS,
    RECENT_S,
    Minutes,
)
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.frame import Frame
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.rules import Limits

from .generate import RUN_S, Array, Telemetry
from .minutes import VOTERS, bins_of, minutes

LOOK_S = 30
LOOKS = round(RUN_S / LOOK_S)
WINDOW, LEAST = 2000, 200
LEAST_JUDGED = 0.5
"""Of the checks: a run of which fewer could be judged is not safe."""
LIMITS = Limits()

ROLLED_BACK, SAFE, INCONCLUSIVE = "rolled back", "safe", "inconclusive"


@dataclass(frozen=True)
class Outcome:
    """How a run ended under a policy: ``at_s`` since the cutover, ``by`` what (detector and rule)."""

    result: str
    at_s: float = RUN_S
    by: tuple[str, ...] = ()


class Columns:
    """Cumulative sums over the decisions of a run; ``seen[k]``: decisions before look k, at 30, 60, ... s."""

    def __init__(self, rows: Telemetry) -> None:
        self.rows = rows
        self.times = LOOK_S * np.arange(1, LOOKS + 1)
        self.seen = np.searchsorted(rows.ms, 1000 * self.times, side="left")
        self.actions = np.stack([_sums(rows.canary == place) for place in range(3)])
        self.largest = _sums(rows.largest)
        self.hard = _sums(rows.hard)
        self.off = rows.confidence - 0.6
        self.d1, self.d2 = _sums(self.off), _sums(self.off * self.off)

    def shares(self, low: Array, high: Array) -> Array:
        """Percent of BUY, SELL and HOLD from row ``low`` to before ``high``."""
        return np.asarray(100.0 * (self.actions[:, high] - self.actions[:, low]) / (high - low))

    def std(self, low: Array, high: Array) -> Array:
        """The population standard deviation of the confidences."""
        n = high - low
        mean = (self.d1[high] - self.d1[low]) / n
        return np.asarray(np.sqrt(np.maximum(0.0, (self.d2[high] - self.d2[low]) / n - mean * mean)))


def _sums(values: Array) -> Array:
    kind = np.float64 if values.dtype.kind == "f" else np.int64
    return np.concatenate([np.zeros(1, kind), np.cumsum(values, dtype=kind)])


def early_trip(columns: Columns) -> dict[int, tuple[str, ...]]:
    """The looks at which the early trip fires, below ``LEAST`` decisions: both policies have it."""
    found = {}
    ms = columns.rows.ms
    for look in np.flatnonzero((columns.seen < LEAST) & (columns.seen >= LIMITS.early_trip_events)).tolist():
        seen = np.array([columns.seen[look]])
        if (ms[seen[0] - 1] - ms[0]) / 1000 < LIMITS.early_trip_seconds:
            continue
        gross = columns.shares(0 * seen, seen).max() > LIMITS.early_trip_share
        if gross or columns.std(0 * seen, seen)[0] < LIMITS.early_trip_std:
            found[look] = (rules.ACTION_COLLAPSE if gross else rules.CONSTANT,)
    return found


def strict_violations(columns: Columns) -> dict[str, Array]:
    """Of each code: the looks at which the point rules are violated on the newest ``WINDOW`` decisions.

    ``narrow_range`` is looked for only until something else is violated, which is as far as it matters.
    """
    high = columns.seen
    judged = high >= LEAST
    high = np.maximum(high, 1)
    low = np.maximum(0, high - WINDOW)
    n = high - low
    shares, std = columns.shares(low, high), columns.std(low, high)
    agreement = 100.0 * (columns.largest[high] - columns.largest[low]) / (VOTERS * n)
    hard = 100.0 * (columns.hard[high] - columns.hard[low]) / n
    found = {
        rules.ACTION_COLLAPSE: (shares > LIMITS.max_action_share).any(axis=0) & judged,
        rules.DEAD_ZONE: (shares[2] > LIMITS.max_hold_share) & judged,
        rules.FLAT: (std < LIMITS.min_std) & judged,
        rules.AGREEMENT: ((agreement < LIMITS.min_agreement) | (agreement > LIMITS.max_agreement)) & judged,
        rules.HARD_DISAGREE: (hard > LIMITS.max_hard_disagree) & judged,
    }
    narrow = np.zeros(LOOKS, bool)
    violated = np.any(list(found.values()), axis=0)
    until = int(np.argmax(violated)) + 1 if violated.any() else LOOKS
    for look in np.flatnonzero(judged[:until]).tolist():
        p10, p90 = percentiles(columns.rows.confidence[low[look] : high[look]])
        narrow[look] = p90 - p10 < LIMITS.min_range
    return {**found, rules.NARROW: narrow}


def percentiles(values: Array) -> tuple[float, float]:
    """p10 and p90, linear between the closest ranks: ``numpy.percentile``, which takes four times as long."""
    places = [(len(values) - 1) * p / 100 for p in (10, 90)]
    ranks = [int(place) for place in places]
    ordered = np.partition(values, [rank + more for rank in ranks for more in (0, 1)])
    low, high = (
        float(ordered[rank] + (ordered[rank + 1] - ordered[rank]) * (place - rank))
        for place, rank in zip(places, ranks)
    )
    return low, high


def strict(columns: Columns) -> Outcome:
    """The specified policy."""
    found = strict_violations(columns)
    ends = early_trip(columns)
    for look in np.flatnonzero(np.any(list(found.values()), axis=0))[:1].tolist():
        ends.setdefault(look, tuple(code for code, where in found.items() if where[look]))
    if ends:
        first = min(ends)
        return Outcome(ROLLED_BACK, float(columns.times[first]), ends[first])
    judged = int((columns.seen >= LEAST).sum())
    return Outcome(SAFE if judged >= LEAST_JUDGED * LOOKS else INCONCLUSIVE)


def recent_starts(columns: Columns) -> Array:
    """Of each look: the row at which the newest minutes of ``fold.Minutes.window`` begin."""
    ms = columns.rows.ms
    places = ms // MINUTE_MS
    starts = np.flatnonzero(np.diff(places, prepend=-1))
    ends = np.append(starts[1:], len(ms))
    kept = np.zeros(len(starts), np.int64)
    first = 0
    for newest in range(len(starts)):
        while first < newest:
            span_ms = ms[ends[newest] - 1] - ms[starts[first + 1]]
            if span_ms < 1000 * (RECENT_S - OPEN_S) or ends[newest] - starts[first + 1] < RECENT_DECISIONS:
                break
            first += 1
        kept[newest] = starts[first]
    open_minute = np.searchsorted(starts, np.maximum(columns.seen, 1) - 1, side="right") - 1
    return np.where(open_minute > 0, kept[open_minute - 1], 0)


def immediate_trips(columns: Columns) -> dict[int, tuple[str, ...]]:
    """The looks at which the newest minutes are gross, judged by ``rules.judge_gross``."""
    low, high = recent_starts(columns), columns.seen
    ms = columns.rows.ms
    full = high - low >= RECENT_DECISIONS
    full &= ms[np.maximum(high, 1) - 1] - ms[low] >= 1000 * RECENT_S
    looks = np.flatnonzero(full)
    if not len(looks):
        return {}
    shares, std = columns.shares(low[looks], high[looks]), columns.std(low[looks], high[looks])
    # fewer looks to the rule itself: p10 = p90 needs 80 % of the votes in one bin, so 60 % in that of the one before
    repeats = _sums(np.diff(bins_of(columns.rows.confidence), prepend=-1) == 0)
    repeated = (repeats[high[looks]] - repeats[low[looks]]) / (high[looks] - low[looks])
    near = (shares.max(axis=0) > LIMITS.early_trip_share - 1) | (std < 2 * LIMITS.constant_std) | (repeated > 0.5)
    found = {}
    for place in np.flatnonzero(near).tolist():
        look = int(looks[place])
        bins = np.sort(bins_of(columns.rows.confidence[low[look] : high[look]]))
        n = len(bins)
        spread = float(bins[int(np.ceil(0.9 * n)) - 1] - bins[int(np.ceil(0.1 * n)) - 1]) / GRID
        percent = dict(zip(ACTIONS, shares[:, place].tolist()))
        violations = rules.judge_gross("patchtst", percent, float(std[place]), spread, n, LIMITS)
        if violations:
            found[look] = tuple(sorted({item.code for item in violations}))
    return found


def sequential(columns: Columns, frame: Frame) -> Outcome:
    """The policy ``sequential``: the judge's own minutes, buckets, claims."""
    trips = {look: tuple(f"trip {code}" for code in codes) for look, codes in immediate_trips(columns).items()}
    for look, codes in early_trip(columns).items():
        trips.setdefault(look, tuple(f"early {code}" for code in codes))
    fed = Minutes(Evidence(claims_of(LIMITS), frame))
    ready = minutes(columns.rows, frame.centre)
    places = [one.first_ms // MINUTE_MS for one in ready]
    taken, buckets, readings = 0, -1, fed.evidence.read()
    for look in range(LOOKS):
        seen = int(columns.seen[look])
        newest = int(columns.rows.ms[seen - 1]) // MINUTE_MS if seen else -1
        while taken < len(ready) and places[taken] < newest:  # a minute ends when a later one has begun
            fed.take(places[taken], ready[taken])
            taken += 1
        if fed.evidence.buckets != buckets:
            buckets, readings = fed.evidence.buckets, fed.evidence.read()
        by = trips.get(look, ())
        if seen >= LEAST:
            by += tuple(f"{item.by}: {item.claim.name}" for item in readings if item.state == VIOLATED)
        if by:
            return Outcome(ROLLED_BACK, float(columns.times[look]), by)
    if columns.seen[-1] >= LEAST and all(item.state == KEPT for item in readings):
        return Outcome(SAFE)
    return Outcome(
        INCONCLUSIVE, by=tuple(f"{item.state}: {item.claim.name}" for item in readings if item.state != KEPT)
    )
