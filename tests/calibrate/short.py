# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The short form: a few cells, few runs, and bounds that only a rate which is grossly off can miss.

A bound lies so far from the measured rate (docs/error-rates.md) that the seeds, which are fixed, do not matter.
"""

from __future__ import annotations

import typing as t

from .rates import SEQUENTIAL, STRICT, Tally
from .scenarios import SCENARIOS, TRAFFIC, Cell

RUNS = 15


class Bound(t.NamedTuple):
    """Of ``RUNS`` runs of a cell at least and at most so many may come out as ``what`` counts them."""

    scenario: str
    when: str
    traffic: str
    policy: str
    what: str
    least: int
    most: int = RUNS

    @property
    def cell(self) -> Cell:
        """The one meant."""
        scenario = next(one for one in SCENARIOS if (one.name, one.when) == (self.scenario, self.when))
        return Cell(scenario, next(one for one in TRAFFIC if one.name == self.traffic))


COUNTS: t.Mapping[str, t.Callable[[Tally], int]] = {
    "rolled back": lambda item: item.rolled_back,
    "rolled back early": lambda item: item.before,
    "within 11 min": lambda item: item.within(11),
    "within 35 min": lambda item: item.within(35),
    "within 120 min": lambda item: item.within(120),
    "safe": lambda item: item.safe,
}

BOUNDS = (
    Bound("share 65", "start", "10/s tau 60 s", SEQUENTIAL, "rolled back", 0, 2),
    Bound("share 65", "start", "10/s tau 60 s", SEQUENTIAL, "safe", 8),
    Bound("share 65", "start", "10/s tau 60 s", STRICT, "rolled back", 12),
    Bound("comfortable", "start", "1/s tau 60 s", SEQUENTIAL, "safe", 12),
    Bound("std .06", "start", "0.1/s independent", SEQUENTIAL, "rolled back", 0, 2),
    Bound("share 68", "start", "1/s tau 60 s", SEQUENTIAL, "rolled back", 0, 2),
    Bound("share 68", "start", "0.1/s tau 60 s", SEQUENTIAL, "rolled back", 0, 2),
    Bound("share 68", "start", "0.1/s tau 60 s", SEQUENTIAL, "safe", 0, 8),
    Bound("share 72", "start", "1/s tau 60 s", SEQUENTIAL, "safe", 0, 2),
    Bound("std .048", "start", "0.1/s tau 60 s", SEQUENTIAL, "safe", 0, 2),
    Bound("share 85", "half time", "1/s tau 60 s", SEQUENTIAL, "within 120 min", 12),
    Bound("share 85", "half time", "1/s tau 60 s", SEQUENTIAL, "rolled back early", 0, 2),
    Bound("agreement 51", "half time", "0.1/s tau 60 s", SEQUENTIAL, "rolled back", 12),
    Bound("std .03", "half time", "1/s independent", SEQUENTIAL, "within 120 min", 12),
    Bound("share 99", "start", "1/s independent", SEQUENTIAL, "within 11 min", 12),
    Bound("constant", "start, healthy before", "0.1/s tau 60 s", SEQUENTIAL, "within 35 min", 12),
)

WANTED = [(cell, RUNS) for cell in dict.fromkeys(bound.cell for bound in BOUNDS)]


def grossly_off(tallies: t.Sequence[Tally]) -> list[str]:
    """Of each bound that was missed, what was counted."""
    found = {(item.cell.name, item.policy): item for item in tallies}
    missed = []
    for bound in BOUNDS:
        count = COUNTS[bound.what](found[bound.cell.name, bound.policy])
        if not bound.least <= count <= bound.most:
            missed.append(f"{bound}: {count} of {RUNS}")
    return missed
