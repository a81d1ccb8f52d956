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

from ..verdict import count_in
from .cutover import StreamId
from .decisions import Dialect, parse
from .impact import Change, Tally
from .stream import Telemetry


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
        return not self.cents < round(100 * budget_usd)

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


def follow(reader: Telemetry, change: Change, dialect: Dialect, before: Exposure, until: StreamId) -> Exposure:
    """Count what came after ``before`` and up to ``until``. Raises TelemetryError, and nothing is counted then."""
    if until <= before.cursor:
        return before
    tally = Tally(change)
    for entry in reader.newest(0, before.cursor, until):
        tally.add(parse(entry.id, entry.fields, dialect))
    return Exposure(
        until,
        before.decisions + tally.compared,
        before.flipped + tally.flipped,
        before.unsized + tally.unsized,
        before.cents + tally.cents,
    )


def sentence(spent: Exposure, budget_usd: float) -> str:
    """Why the run ends."""
    more = f"; of {spent.unsized} more the size is not known" if spent.unsized else ""
    return (
        f"Exposure budget spent: the canary flipped {spent.flipped} of {spent.decisions} decisions, with positions of "
        f"{spent.usd:,.2f} USD{more} (budget {budget_usd:,.2f} USD)"
    )
