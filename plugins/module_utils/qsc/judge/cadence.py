# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""How often decisions come: the rate, the gaps, and the limits of patience that follow from them. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .cutover import StreamId

SAMPLE = 200
"""Decisions a cadence is taken from: the newest ones before the moment it serves."""
STALE_FLOOR_S, STALE_CEILING_S = 120.0, 1800.0
LEAST_WAIT_S = 3600.0


@dataclass(frozen=True)
class Cadence:
    """``rate_per_s`` and ``largest_gap_s`` of ``decisions``; both 0 when fewer than two were there."""

    decisions: int
    rate_per_s: float
    largest_gap_s: float

    @classmethod
    def of(cls, ids: t.Iterable[StreamId]) -> Cadence:
        """The cadence of some decisions, in any order."""
        times = sorted(entry.ms for entry in ids)
        if len(times) < 2:
            return cls(len(times), 0.0, 0.0)
        span_ms = max(1, times[-1] - times[0])
        gap_ms = max(after - before for before, after in zip(times, times[1:]))
        return cls(len(times), (len(times) - 1) * 1000.0 / span_ms, gap_ms / 1000.0)

    @property
    def stale_after_s(self) -> float:
        """Three times the largest gap, but at least 2 and at most 30 minutes: decisions may come in bursts."""
        return min(max(3 * self.largest_gap_s, STALE_FLOOR_S), STALE_CEILING_S)

    def max_wait_s(self, min_events: int) -> float:
        """How long a run may wait for its first ``min_events``: an hour, or half as long again as they should take."""
        if self.rate_per_s > 0:
            return max(LEAST_WAIT_S, 1.5 * min_events / self.rate_per_s)
        return LEAST_WAIT_S

    def to_dict(self, min_events: int) -> dict[str, t.Any]:
        """As the modules return it."""
        return {
            "decisions": self.decisions,
            "rate_per_s": self.rate_per_s,
            "largest_gap_s": self.largest_gap_s,
            "stale_after_s": self.stale_after_s,
            "max_wait_s": self.max_wait_s(min_events),
        }
