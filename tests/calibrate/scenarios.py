# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is simulated: scenarios (what is true of the ensemble, and since when) and traffic (how decisions come)."""

from __future__ import annotations

import typing as t
import zlib
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from .ensemble import Ensemble, quarrel, solve
from .generate import RUN_S, Array, Stage, Telemetry, bursts, generate, regular

HEALTHY, CLOSE, GROSS, LASTING, SLIGHT = "healthy", "close", "gross", "lasting", "slight"
"""Kinds. ``close``: healthy, but nearer to a limit than any target promises; ``lasting``: 15 points beyond a limit;
``slight``: 2 points beyond."""
START, START_AFTER_HEALTH, HALF_TIME = "start", "start, healthy before", "half time"
ALWAYS = -1e9
TRIMMED = 10_000
"""Decisions a stream holds: what is older was trimmed, and cannot be learnt from."""


@dataclass(frozen=True)
class Traffic:
    """How decisions come: ``rate_per_s`` at equal distances, None in bursts; ``tau_s`` is the correlation time."""

    rate_per_s: float | None
    tau_s: float

    @property
    def name(self) -> str:
        """For tables."""
        rate = "bursts" if self.rate_per_s is None else f"{self.rate_per_s:g}/s"
        return f"{rate} " + (f"tau {self.tau_s:g} s" if self.tau_s else "independent")

    def times(self, random: np.random.Generator) -> Array:
        """When the decisions come, s since the cutover."""
        return bursts(random, TRIMMED) if self.rate_per_s is None else regular(self.rate_per_s, TRIMMED)


TRAFFIC = (
    *(Traffic(rate, tau) for rate in (0.1, 1.0, 10.0) for tau in (0.0, 60.0, 600.0)),
    Traffic(None, 60.0),
)


@dataclass(frozen=True)
class Scenario:
    """``values``: of ``ensemble.solve``, those that differ from the comfortable ensemble; ``rule``: the code that ought
    to be violated."""

    name: str
    kind: str
    values: tuple[tuple[str, float], ...] = ()
    when: str = START
    rule: str = ""

    @property
    def from_s(self) -> float:
        """When the degradation begins, as far as the run is concerned (s since the cutover)."""
        return RUN_S / 2 if self.when == HALF_TIME else 0.0

    @property
    def ensemble(self) -> Ensemble:
        """The ensemble that gives the scenario its name."""
        return built(self.values)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """From the beginning of the history to the end of the run."""
        if self.kind in (HEALTHY, CLOSE) or self.when == START:
            return (Stage(ALWAYS, self.ensemble),)
        return Stage(ALWAYS, built(())), Stage(self.from_s, self.ensemble)


@cache
def built(values: tuple[tuple[str, float], ...]) -> Ensemble:
    """The ensemble with these values; ``std`` costs no solving, ``quarrel`` is the one that agrees least."""
    wanted = dict(values)
    std = wanted.pop("std", 0.08)
    return replace(quarrel() if wanted.pop("quarrel", 0) else solve(**wanted), std=std)


def _each_start(name: str, kind: str, rule: str, **values: float) -> list[Scenario]:
    return [Scenario(name, kind, tuple(values.items()), when, rule) for when in (START, START_AFTER_HEALTH, HALF_TIME)]


SCENARIOS = (
    Scenario("comfortable", HEALTHY),
    Scenario("share 65", HEALTHY, (("hold", 0.65),)),
    Scenario("share 68", CLOSE, (("hold", 0.68),)),
    Scenario("agreement 75", HEALTHY, (("agreement", 0.75),)),
    Scenario("agreement 60", HEALTHY, (("agreement", 0.60),)),
    Scenario("hard 15", HEALTHY, (("hard", 0.15),)),
    Scenario("std .06", HEALTHY, (("std", 0.06),)),
    *_each_start("share 99", GROSS, "action_collapse", hold=0.99),
    *_each_start("constant", GROSS, "constant_output", std=0.0),
    *_each_start("share 85", LASTING, "action_collapse", hold=0.85),
    *_each_start("agreement 51", LASTING, "agreement_out_of_range", quarrel=1.0),
    *_each_start("hard 35", LASTING, "hard_disagree", hard=0.35),
    *_each_start("std .03", LASTING, "flat_predictions", std=0.03),
    Scenario("share 72", SLIGHT, (("hold", 0.72),), START, "action_collapse"),
    Scenario("agreement 53", SLIGHT, (("agreement", 0.53), ("hard", 0.08)), START, "agreement_out_of_range"),
    Scenario("hard 22", SLIGHT, (("hard", 0.22),), START, "hard_disagree"),
    Scenario("std .048", SLIGHT, (("std", 0.048),), START, "flat_predictions"),
)


@dataclass(frozen=True)
class Cell:
    """One scenario under one kind of traffic."""

    scenario: Scenario
    traffic: Traffic

    @property
    def name(self) -> str:
        """Unique; the seeds follow from it."""
        return f"{self.scenario.name} | {self.scenario.when} | {self.traffic.name}"

    @property
    def seed(self) -> int:
        """Of the cell; run k draws from (seed, k)."""
        return zlib.crc32(self.name.encode())

    def telemetry(self, run: int) -> tuple[Telemetry, Telemetry]:
        """The history before the cutover and the run after it."""
        random = np.random.default_rng([self.seed, run])
        times = self.traffic.times(random)
        rows = generate(random, times, self.traffic.tau_s, self.scenario.stages)
        return rows.part(rows.ms < 0), rows.part(rows.ms >= 0)


def cells(only: str = "") -> list[Cell]:
    """Every cell whose name holds every one of some words."""
    every: t.Iterable[Cell] = (Cell(scenario, traffic) for scenario in SCENARIOS for traffic in TRAFFIC)
    return [cell for cell in every if all(word in cell.name for word in only.split(","))]
