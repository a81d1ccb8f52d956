# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What became of the runs, counted: rates with Clopper-Pearson intervals, times, and the targets."""

from __future__ import annotations

import statistics
import typing as t
from collections import Counter
from dataclasses import dataclass

from scipy.stats import beta

from .policies import INCONCLUSIVE, ROLLED_BACK, SAFE
from .scenarios import CLOSE, GROSS, HEALTHY, LASTING, SLIGHT, Cell

STRICT, SEQUENTIAL = "strict", "sequential"
POLICIES = (STRICT, SEQUENTIAL)
CONFIDENCE = 0.95

Rows = t.Sequence[t.Mapping[str, t.Any]]
"""The runs of a cell, as ``run.one`` gives them."""


def interval(count: int, n: int) -> tuple[float, float]:
    """The Clopper-Pearson interval of a chance that came true ``count`` times in ``n``."""
    miss = (1 - CONFIDENCE) / 2
    low = float(beta.ppf(miss, count, n - count + 1)) if count else 0.0
    high = float(beta.isf(miss, count + 1, n - count)) if count < n else 1.0
    return low, high


@dataclass(frozen=True)
class Tally:
    """A cell under one policy. ``before``: rolled back before the degradation began; ``minutes``: from then to the
    rollback, of the others; ``by``: what rolled them back first; ``held_up_by``: what kept runs from being safe."""

    cell: Cell
    policy: str
    runs: int
    rolled_back: int
    before: int
    safe: int
    inconclusive: int
    minutes: tuple[float, ...]
    by: t.Mapping[str, int]
    held_up_by: t.Mapping[str, int]

    @classmethod
    def of(cls, cell: Cell, rows: Rows, policy: str) -> Tally:
        """Count."""
        ends = [row[policy] for row in rows]
        back = [(at_s - cell.scenario.from_s, by) for result, at_s, by in ends if result == ROLLED_BACK]
        results = Counter(result for result, _at_s, _by in ends)
        held = Counter(item for result, _at_s, by in ends if result == INCONCLUSIVE for item in by)
        return cls(
            cell=cell,
            policy=policy,
            runs=len(rows),
            rolled_back=len(back),
            before=sum(after_s <= 0 for after_s, _by in back),
            safe=results[SAFE],
            inconclusive=results[INCONCLUSIVE],
            minutes=tuple(sorted(after_s / 60 for after_s, _by in back if after_s > 0)),
            by=dict(Counter(by[0] for _after_s, by in back).most_common()),
            held_up_by=dict(held.most_common()),
        )

    @property
    def median(self) -> float | None:
        """Minutes to the rollback."""
        return statistics.median(self.minutes) if self.minutes else None

    @property
    def p95(self) -> float | None:
        """Minutes within which 95 % of those that were rolled back after the degradation began were."""
        return self.minutes[-1 - len(self.minutes) // 20] if self.minutes else None

    def within(self, minutes: float) -> int:
        """Runs rolled back that soon after the degradation began."""
        return sum(value <= minutes for value in self.minutes)

    def to_dict(self) -> dict[str, t.Any]:
        """As JSON-ready data."""
        return {
            "runs": self.runs,
            "rolled_back": self.rolled_back,
            "rolled_back_interval": [round(value, 5) for value in interval(self.rolled_back, self.runs)],
            "before_degradation": self.before,
            "safe": self.safe,
            "safe_interval": [round(value, 5) for value in interval(self.safe, self.runs)],
            "inconclusive": self.inconclusive,
            "minutes_median": self.median,
            "minutes_p95": self.p95,
            "by": dict(self.by),
            "held_up_by": dict(self.held_up_by),
        }


@dataclass(frozen=True)
class Target:
    """One promise: ``count`` of ``n`` runs came out so, where at most (``most``) or at least the share ``limit``
    should; ``worst``: the cell that is furthest off, with its own numbers."""

    text: str
    count: int
    n: int
    limit: float
    most: bool
    worst: str
    worst_count: int
    worst_n: int

    @property
    def verdict(self) -> str:
        """``met`` or ``not met`` where the whole interval says so, else with ``not certain``."""
        return verdict(self.count, self.n, self.limit, most=self.most)

    @property
    def worst_verdict(self) -> str:
        """The same of the worst cell alone."""
        return verdict(self.worst_count, self.worst_n, self.limit, most=self.most)


def verdict(count: int, n: int, limit: float, *, most: bool) -> str:
    """What the interval says about a share that must be at most, or at least, ``limit``."""
    low, high = interval(count, n)
    if (high <= limit) if most else (low >= limit):
        return "met"
    if (low > limit) if most else (high < limit):
        return "not met"
    return "met, not certain" if ((count <= limit * n) if most else (count >= limit * n)) else "not met, not certain"


def targets(tallies: t.Sequence[Tally]) -> list[Target]:
    """The targets of the policy ``sequential``, over the cells that each of them is about."""
    ours = [item for item in tallies if item.policy == SEQUENTIAL]

    def regular(item: Tally, *kinds: str, least_rate: float = 0.0, most_tau: float = 60.0) -> bool:
        traffic = item.cell.traffic
        rate = traffic.rate_per_s
        return (
            item.cell.scenario.kind in kinds and rate is not None and rate >= least_rate and traffic.tau_s <= most_tau
        )

    def target(text: str, some: t.Sequence[Tally], hit: t.Callable[[Tally], int], limit: float, *, most: bool) -> None:
        if some:
            worst = (max if most else min)(some, key=lambda item: hit(item) / item.runs)
            count, n = sum(hit(item) for item in some), sum(item.runs for item in some)
            found.append(Target(text, count, n, limit, most, worst.cell.name, hit(worst), worst.runs))

    found: list[Target] = []
    target(
        "a healthy run is rolled back in at most 1 % (tau <= 60 s, 5 points or 20 % from each limit)",
        [item for item in ours if regular(item, HEALTHY)], lambda item: item.rolled_back, 0.01, most=True,
    )  # fmt: skip
    target(
        "a run that degrades is not rolled back before it does, in at most 1 % (tau <= 60 s, half time)",
        [item for item in ours if regular(item, GROSS, LASTING) and item.cell.scenario.from_s > 0],
        lambda item: item.before, 0.01, most=True,
    )  # fmt: skip
    target(
        "a gross failure is rolled back within 11 min at 1 decision/s and more, in at least 95 %",
        [item for item in ours if regular(item, GROSS, least_rate=1.0, most_tau=600.0)],
        lambda item: item.within(11), 0.95, most=False,
    )  # fmt: skip
    target(
        "a gross failure is rolled back within 35 min at .1 decisions/s, in at least 95 %",
        [item for item in ours if regular(item, GROSS, most_tau=600.0) and item.cell.traffic.rate_per_s == 0.1],
        lambda item: item.within(35), 0.95, most=False,
    )  # fmt: skip
    target(
        "a lasting violation is rolled back within 90 min at 1 decision/s and more, in at least 95 % (tau <= 60 s)",
        [item for item in ours if regular(item, LASTING, least_rate=1.0)],
        lambda item: item.within(90), 0.95, most=False,
    )  # fmt: skip
    target(
        "a run that violates a rule is called safe in at most 5 % (any traffic)",
        [item for item in ours if item.cell.scenario.kind in (GROSS, LASTING, SLIGHT)],
        lambda item: item.safe, 0.05, most=True,
    )  # fmt: skip
    return found


KINDS: t.Mapping[str, str] = {
    HEALTHY: "Healthy, 5 points or 20 % from each limit",
    CLOSE: "Healthy, closer to a limit",
    GROSS: "Gross failures",
    LASTING: "15 points or 40 % beyond a limit",
    SLIGHT: "2 points or 4 % beyond a limit",
}
