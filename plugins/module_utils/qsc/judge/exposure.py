# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""How much of the canary's budget is spent: the positions of all decisions of the run that its weight has flipped.

Every decision since the marker counts once, however checks split the stream; sums are whole cents, so that neither the
order nor a second reading changes them.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ..verdict import EXPOSURE_BUDGET, Violation, count_in
from .cutover import StreamId
from .decisions import Decision
from .impact import Change, Tally

_MOST_CENTS = (1 << 53) - 1
"""The most that a state file holds; it is beyond every budget."""


@dataclass(frozen=True)
class Exposure:
    """What was counted up to ``cursor``: of ``decisions`` with a vote ``flipped``, with positions of ``cents`` (USD);
    of ``unsized`` flips the size is not known."""

    cursor: StreamId
    decisions: int = 0
    flipped: int = 0
    unsized: int = 0
    cents: int = 0

    @property
    def usd(self) -> float:
        """What is spent, in USD."""
        return self.cents / 100

    def spent(self, budget_usd: float) -> bool:
        """True when nothing is left of the budget."""
        return not self.cents < max(1, round(100 * budget_usd))

    def to_dict(self) -> dict[str, t.Any]:
        """As JSON-ready data."""
        return {**vars(self), "cursor": str(self.cursor)}

    @classmethod
    def from_dict(cls, raw: t.Any) -> Exposure:
        """Take what ``to_dict`` gave. Raises ValueError, KeyError or TypeError for anything else."""
        counts = {name: count_in(raw, name) for name in ("decisions", "flipped", "unsized", "cents")}
        return cls(StreamId.parse(raw["cursor"]), **counts)

    def page(self, budget_usd: float) -> dict[str, t.Any]:
        """What is shown of it."""
        counts = {name: getattr(self, name) for name in ("decisions", "flipped", "unsized")}
        return {"usd": self.usd, "budget_usd": budget_usd, **counts, "until": str(self.cursor)}


class Spending:
    """What one check adds to an exposure: give it decisions in any order, also some that were counted before."""

    def __init__(self, change: Change, before: Exposure) -> None:
        self.before = before
        self.reached: StreamId | None = None
        """The last entry that was given, where a check had to stop before the newest one."""
        self._tally = Tally(change)

    def add(self, decision: Decision) -> None:
        """Count it, where no check before has."""
        if decision.id > self.before.cursor:
            self._tally.add(decision)

    def until(self, cursor: StreamId) -> Exposure:
        """The exposure up to ``cursor``, up to where all decisions were given."""
        before, tally = self.before, self._tally
        return Exposure(
            max(cursor if self.reached is None else self.reached, before.cursor),
            before.decisions + tally.compared,
            before.flipped + tally.flipped,
            before.unsized + tally.unsized,
            min(before.cents + tally.cents, _MOST_CENTS),
        )


def violation(spent: Exposure, model: str, budget_usd: float) -> Violation:
    """Why the run ends."""
    more = f"; of {spent.unsized} of them the size is not known" if spent.unsized else ""
    text = (
        f"Exposure budget spent: the canary flipped {spent.flipped} of {spent.decisions} decisions, with positions of "
        f"{spent.usd:,.2f} USD{more} (budget {budget_usd:,.2f} USD)"
    )
    return Violation(EXPOSURE_BUDGET, model, spent.usd, budget_usd, text)
