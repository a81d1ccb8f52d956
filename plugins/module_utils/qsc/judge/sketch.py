# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""Confidences in bounded space: moments, and how many lie in each bin of .001. Pure."""

from __future__ import annotations

import math
import typing as t
from dataclasses import dataclass, field

from .buckets import GRID, bin_of
from .evidence import Series, count_of


@dataclass
class Sketch:
    """Stands in for the list of all confidences: mean and standard deviation are exact but for rounding, percentiles
    to .001."""

    moments: Series = field(default_factory=Series)
    bins: dict[int, int] = field(default_factory=dict)

    def append(self, confidence: float) -> None:
        """One more confidence, in [0, 1]."""
        self.moments.add(confidence)
        place = bin_of(confidence)
        self.bins[place] = self.bins.get(place, 0) + 1

    def __len__(self) -> int:
        return self.moments.n

    def figures(self) -> tuple[float, float, float, float]:
        """Mean, standard deviation, p10 and p90; NaN of nothing."""
        if not self.moments.n:
            return math.nan, math.nan, math.nan, math.nan
        return self.moments.mean, self.moments.std, self._percentile(10), self._percentile(90)

    def _percentile(self, p: int) -> float:
        seen = 0
        for place in sorted(self.bins):
            seen += self.bins[place]
            if 100 * seen >= p * self.moments.n:
                return place / GRID
        return 1.0

    def to_list(self) -> list[t.Any]:
        """As JSON-ready data."""
        return [self.moments.to_list(), [[place, self.bins[place]] for place in sorted(self.bins)]]

    @classmethod
    def from_list(cls, raw: t.Any) -> Sketch:
        """Take what ``to_list`` gave. Raises ValueError or TypeError."""
        moments, rows = raw
        bins = {count_of(place): count_of(count) for place, count in rows}
        if any(place > GRID for place in bins):
            raise ValueError("a bin beyond the grid")
        sketch = cls(Series.from_list(moments), bins)
        if sum(bins.values()) != sketch.moments.n:
            raise ValueError("bins and moments do not belong together")
        return sketch
