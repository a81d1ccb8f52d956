# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/error-rates.md and docs/error-rates.json from what became of the runs."""

from __future__ import annotations

import typing as t

from .policies import LEAST, LOOK_S, LOOKS, WINDOW
from .rates import KINDS, POLICIES, SEQUENTIAL, STRICT, Tally, Target, interval, targets
from .scenarios import HALF_TIME, SCENARIOS, START, START_AFTER_HEALTH, Cell

HEAD = f"""\
# How often the two policies err

Written by `make calibrate`; every run can be repeated (`docs/error-rates.json` has the seeds). Six-hour runs with
{LOOKS} looks, one each {LOOK_S} s, judged by the judge's own code, on generated telemetry of which the truth is known:
four models, ten symbols in turn, each symbol's latent values correlated over dt by exp(-dt / tau). `strict` judges the
newest {WINDOW} decisions from {LEAST} on. `sequential` learns its frame from the decisions before the cutover, at most
10,000, as a host does. In brackets: 95 % intervals (Clopper-Pearson). No parameter of the generator was chosen to make
a rate come out.

What this does not tell: real telemetry has other distributions, symbols that move together, and rates that change over
the day. "Bursts" is the cadence of a recorded engine: 2 to 14 decisions every 302 s, 1.0 a minute; no target is set for
it, because six hours hold too few decisions to be certain of anything but a gross failure.
"""

_WHEN = {
    START: "from before the cutover on",
    START_AFTER_HEALTH: "from the cutover on",
    HALF_TIME: "from half time on",
}


def json_of(tallies: t.Sequence[Tally]) -> dict[str, t.Any]:
    """What the table says, for programs."""
    found: dict[str, t.Any] = {"seeds": "numpy.random.default_rng([seed of the cell, number of the run])", "cells": {}}
    for item in tallies:
        cell = found["cells"].setdefault(item.cell.name, {"seed": item.cell.seed, "truth": truth_of(item.cell)})
        cell[item.policy] = item.to_dict()
    found["targets"] = [{**vars(target), "verdict": target.verdict} for target in targets(tallies)]
    return found


def truth_of(cell: Cell) -> dict[str, float]:
    """The true long-run values, rounded."""
    return {name: round(value, 4) for name, value in cell.scenario.ensemble.truth.items()}


def page_of(tallies: t.Sequence[Tally]) -> str:
    """The page."""
    parts = [HEAD, "## Targets of `sequential`\n", _targets(targets(tallies)), "## What is true\n", _truth()]
    pairs: dict[str, dict[str, Tally]] = {}
    for item in tallies:
        pairs.setdefault(item.cell.name, {})[item.policy] = item
    for kind, title in KINDS.items():
        some = [pair for pair in pairs.values() if pair[STRICT].cell.scenario.kind == kind]
        if some:
            parts += [f"## {title}\n", _cells(some)]
    return "\n".join(parts)


def _targets(found: t.Sequence[Target]) -> str:
    rows = [
        (
            item.text, share(item.count, item.n), f"{item.n}", f"**{item.verdict}**",
            f"{item.worst}: {share(item.worst_count, item.worst_n)}, {item.worst_verdict}",
        )
        for item in found
    ]  # fmt: skip
    note = (
        '"Met" and "not met" only where the whole interval says so. The worst of many cells looks worse than it is: '
        "read it with its own interval.\n"
    )
    return table(("target", "measured, %", "runs", "", "worst cell"), rows) + "\n" + note


def _truth() -> str:
    rows = []
    for name in dict.fromkeys(item.name for item in SCENARIOS):
        truth = next(item for item in SCENARIOS if item.name == name).ensemble.truth
        percent = (f"{100 * truth[key]:.1f}" for key in ("max_share", "agreement", "hard"))
        rows.append((name, *percent, f"{truth['std']:.3f}", f"{truth['range']:.3f}"))
    note = (
        "Limits: share 70, agreement 55 to 80, hard disagreement 20, std .05, p90-p10 .12. Four voters never agree "
        "less than 50 % (two against two): 51 is as far beyond that limit as they get.\n"
    )
    heads = ("scenario", "largest share, %", "agreement, %", "hard disagreement, %", "std", "p90-p10")
    return table(heads, rows) + "\n" + note


def _cells(pairs: t.Sequence[t.Mapping[str, Tally]]) -> str:
    rows = []
    for pair in pairs:
        scenario, traffic = pair[STRICT].cell.scenario, pair[STRICT].cell.traffic
        what = scenario.name + (f", {_WHEN[scenario.when]}" if scenario.rule else "")
        row = [what, traffic.name]
        for policy in POLICIES:
            item = pair[policy]
            row += [share(item.rolled_back, item.runs), times(item), share(item.safe, item.runs, short=True)]
        row.append(", ".join(f"{name} {count}" for name, count in list(pair[SEQUENTIAL].by.items())[:2]))
        rows.append(tuple(row))
    heads = (
        "scenario", "traffic", "strict: rolled back, %", "min", "safe, %", "sequential: rolled back, %", "min",
        "safe, %", "by (runs)",
    )  # fmt: skip
    note = (
        "min: median / 95th percentile of the minutes from the degradation (or the cutover) to the rollback; "
        '"n early" were rolled back before anything was wrong. What is neither rolled back nor safe is inconclusive.\n'
    )
    return table(heads, rows) + "\n" + note


def share(count: int, n: int, *, short: bool = False) -> str:
    """A rate in percent with its interval."""
    low, high = interval(count, n)
    text = f"{100 * count / n:.3g}"
    return text if short else f"{text} ({100 * low:.1f} to {100 * high:.1f})"


def times(item: Tally) -> str:
    """Median and 95th percentile, and how many came too early."""
    early = [f"{item.before} early"] if item.before else []
    if item.median is None or item.p95 is None:
        return ", ".join(early)
    return ", ".join([f"{item.median:.0f} / {item.p95:.0f}", *early])


def table(heads: t.Sequence[str], rows: t.Sequence[t.Sequence[str]]) -> str:
    """In Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)
