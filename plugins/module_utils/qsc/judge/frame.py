# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""What a run learns from the telemetry before its cutover: how long a bucket is, how far its mean strays. Pure.

Source: integrated autocorrelation time, e.g. Sokal, "Monte Carlo methods in statistical mechanics" (1997).
"""

from __future__ import annotations

import math
import typing as t
from dataclasses import asdict, dataclass, field, fields

from .buckets import LEAST_VOTES, Observation, Stretch
from .decisions import ACTIONS
from .evidence import count_of, finite

BLOCK_S = 30.0
"""s: the grain in which correlation is measured."""
LEAST_BUCKET_S, MOST_BUCKET_S = 60.0, 1200.0
LEAST_BLOCKS = 20
"""Fewer blocks before the cutover teach nothing."""
HISTORY = 50_000
"""Decisions before the cutover that are learnt from, the newest ones: more than a trimmed stream usually holds."""
_CORRELATION_FLOOR = 0.05

METRICS = (*ACTIONS, "agreement", "hard_disagree", "confidence", "variance")
"""What is learnt: shares, the ensemble's figures, mean and squared distance (from the mean) of the confidence."""


@dataclass(frozen=True)
class Frame:
    """What was learnt before the cutover, and holds for the whole run.

    ``bucket_s``: the length of a bucket; ``buckets``: how many a run is expected to hold; ``tau_s``: the integrated
    correlation time; ``centre``: the canary's mean confidence; ``means`` and ``spreads``: of each metric its mean and
    the standard deviation of a bucket's mean (of the long run, so correlation beyond a bucket is in it). Both are
    empty where ``decisions`` in ``history_s`` were too few to learn from.
    """

    bucket_s: float = MOST_BUCKET_S
    buckets: int = 18
    tau_s: float = 0.0
    rate_per_s: float = 0.0
    centre: float = 0.5
    decisions: int = 0
    history_s: float = 0.0
    means: t.Mapping[str, float] = field(default_factory=dict)
    spreads: t.Mapping[str, float] = field(default_factory=dict)

    @property
    def carried(self) -> float:
        """How many times wider an interval over buckets is because they go on resembling each other where 10 tau are
        longer than a bucket may be: 1 / sqrt(1 - a (1 - exp(-1 / a))), a = tau / L, of an exponential correlation."""
        a = max(0.0, self.tau_s - BLOCK_S / 2) / self.bucket_s
        if a < 1e-3:
            return 1.0
        return min(10.0, 1.0 / math.sqrt(max(0.01, 1.0 - a * -math.expm1(-1.0 / a))))

    def to_dict(self) -> dict[str, t.Any]:
        """As JSON-ready data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: t.Any) -> Frame:
        """Take what ``to_dict`` gave. Raises ValueError, KeyError or TypeError for what cannot have been learnt."""
        names = {item.name for item in fields(cls)}
        if not isinstance(raw, t.Mapping) or set(raw) != names:
            raise ValueError(f"not the fields {', '.join(sorted(names))}")
        frame = cls(
            bucket_s=finite(raw["bucket_s"]),
            buckets=count_of(raw["buckets"]),
            tau_s=finite(raw["tau_s"]),
            rate_per_s=finite(raw["rate_per_s"]),
            centre=finite(raw["centre"]),
            decisions=count_of(raw["decisions"]),
            history_s=finite(raw["history_s"]),
            means=_figures(raw["means"]),
            spreads=_figures(raw["spreads"]),
        )
        if not (LEAST_BUCKET_S <= frame.bucket_s <= MOST_BUCKET_S and frame.bucket_s % 60 == 0):
            raise ValueError(f"bucket_s={frame.bucket_s:g} is not whole minutes within {MOST_BUCKET_S:g} s")
        if not (1 <= frame.buckets <= 1_000_000 and 0 <= frame.centre <= 1):
            raise ValueError("buckets or centre out of range")
        if set(frame.means) != set(frame.spreads):
            raise ValueError("means and spreads do not belong together")
        # all is a share or a distance in [0, 1] but for the confidence: that is a distance from the centre
        if any(not (-1 if name == "confidence" else 0) <= mean <= 1 for name, mean in frame.means.items()):
            raise ValueError("a mean out of range")
        if any(not 0 <= spread <= 1 for spread in frame.spreads.values()):
            raise ValueError("a spread out of range")
        return frame


def _figures(raw: t.Any) -> dict[str, float]:
    found = {str(name): finite(value) for name, value in dict(raw).items()}
    if not set(found) <= set(METRICS):
        raise ValueError("an unknown metric")
    return found


@dataclass
class Blocks:
    """Means over the blocks of ``BLOCK_S`` that held something, in order, for each metric."""

    decisions: int = 0
    span_s: float = 0.0
    means: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in METRICS})


def blocks_of(items: t.Sequence[Observation]) -> tuple[Blocks, float]:
    """The blocks of some decisions (oldest first), and the canary's mean confidence in them (.5 of no vote)."""
    votes = [item.confidence for item in items if item.action is not None]
    centre = math.fsum(votes) / len(votes) if votes else 0.5
    blocks = Blocks(len(items), (items[-1].ms - items[0].ms) / 1000 if items else 0.0)
    stretch, place = Stretch(), None
    for item in items:
        here = int((item.ms - items[0].ms) // (1000 * BLOCK_S))
        if here != place:
            _close(stretch, blocks)
            stretch, place = Stretch(), here
        stretch.add(item, centre)
    _close(stretch, blocks)
    return blocks, centre


def _close(stretch: Stretch, blocks: Blocks) -> None:
    votes = stretch.votes
    if votes:
        for action, count in zip(ACTIONS, stretch.counts):
            blocks.means[action].append(count / votes)
        blocks.means["confidence"].append(stretch.d1 / votes)
        blocks.means["variance"].append(stretch.d2 / votes)
    if stretch.voted:
        blocks.means["agreement"].append(stretch.agreement / stretch.voted)
        blocks.means["hard_disagree"].append(stretch.hard / stretch.voted)


def learn(blocks: Blocks, centre: float, duration_s: float) -> Frame:
    """The frame of a run of ``duration_s`` from the telemetry before its cutover.

    tau = d (1/2 + r_1 + r_2 + ... until r_k < .05) with r_k the correlation of block means k blocks of d s apart
    (d = 30 s, more where most blocks are empty; it stops only where the lags that hold ``LEAST_VOTES`` decisions are
    below .05 on average); a bucket is 10 tau of the slowest metric, in whole minutes.
    """
    usable = {name: row for name, row in blocks.means.items() if len(row) >= LEAST_BLOCKS}
    rate = blocks.decisions / blocks.span_s if blocks.span_s > 0 else 0.0
    taus: dict[str, float] = {}
    for name, row in usable.items():
        step = max(BLOCK_S, blocks.span_s / len(row))
        together = math.ceil(LEAST_VOTES / (rate * step) - 1e-9) if rate > 0 else 1
        # neighbours that differ more than chance has it never count for more than independent ones
        taus[name] = step * (0.5 + max(0.0, correlation_sum(row, together)))
    tau = max(taus.values(), default=0.0)
    length = min(max(10 * tau, LEAST_BUCKET_S), MOST_BUCKET_S) if taus else MOST_BUCKET_S
    length = 60.0 * math.ceil(length / 60 - 1e-9)
    real = length * max(1, math.ceil(LEAST_VOTES / (rate * length))) if rate > 0 else length
    means, spreads = {}, {}
    for name, row in usable.items():
        mean = math.fsum(row) / len(row)
        variance = math.fsum((value - mean) ** 2 for value in row) / (len(row) - 1)
        means[name] = mean
        spreads[name] = math.sqrt(variance * 2 * taus[name] / max(real, taus[name]))
    return Frame(
        bucket_s=length,
        buckets=max(1, math.floor(duration_s / real)),
        tau_s=tau,
        rate_per_s=rate,
        centre=centre,
        decisions=blocks.decisions,
        history_s=blocks.span_s,
        means=means,
        spreads=spreads,
    )


def correlation_sum(row: t.Sequence[float], together: int = 1) -> float:
    """r_1 + r_2 + ... up to the first from which on ``together`` are below .05 on average; 0 where nothing varies.

    Symbols take turns: where a block holds but a few decisions, its neighbours are about other symbols and do not
    resemble it, and only when its own symbols come again does it show that they remember.
    """
    n = len(row)
    mean = math.fsum(row) / n
    off = [value - mean for value in row]
    power = math.fsum(value * value for value in off)
    if not power > 1e-12:
        return 0.0
    found: list[float] = []
    for lag in range(1, n // 2):
        found.append(math.fsum(one * two for one, two in zip(off, off[lag:])) / power)
        if len(found) >= together and math.fsum(found[-together:]) < _CORRELATION_FLOOR * together:
            return math.fsum(found[:-together])
    return math.fsum(found)
