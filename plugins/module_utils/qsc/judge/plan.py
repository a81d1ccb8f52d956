# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""What a run on this host would be, before it begins: when it is judged, how much it holds, what it can see. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import asdict, dataclass, replace

from ..errors import BadInput
from ..verdict import HALF_JUDGED, about
from .backtest import Backtest, BacktestOptions, Tick, backtest
from .cadence import SAMPLE, Cadence
from .check import patience_from
from .claims import BURN_IN, claims_of
from .frame import HISTORY, Frame
from .impact import Impact
from .power import CHANCE, Reach, reach
from .recording import Recording
from .replay import Replay
from .table import MOST_ROWS

MOST_STARTS = 40
"""An activation waits for the plan."""


@dataclass(frozen=True)
class Plan:
    """The answers. ``backtest`` is None where the telemetry is too short for a single start, ``why_not`` says so."""

    options: BacktestOptions
    source: str
    decisions: int
    cadence: Cadence
    stale_after_s: float
    max_wait_s: float
    frame: Frame
    reaches: tuple[Reach, ...]
    backtest: Backtest | None
    why_not: str
    impact: t.Mapping[str, t.Any] | None = None

    @property
    def first_judgement_s(self) -> float | None:
        """s from the start until ``min_events`` decisions are there; None where no rate is known."""
        rate = self.cadence.rate_per_s
        return self.options.monitor.min_events / rate if rate > 0 else None

    @property
    def expected(self) -> float:
        """Decisions the run will hold at this rate."""
        return self.cadence.rate_per_s * self.options.monitor.duration_s

    def notes(self) -> list[str]:
        """What speaks against such a run, whatever the model does."""
        monitor, first = self.options.monitor, self.first_judgement_s
        found = []
        if first is None:
            found.append("no rate is known: nothing can be said of when the run is judged")
        elif first > monitor.duration_s:
            found.append(
                f"the run ends before its first judgement ({about(first)}): it can only end inconclusive, after "
                f"{about(monitor.duration_s)}"
            )
        elif first > (1 - HALF_JUDGED) * monitor.duration_s:
            found.append(
                f"its first judgement ({about(first)}) is after half of the run: fewer than half of the checks could "
                "judge, so that it can only end inconclusive"
            )
        if first is not None and first > self.max_wait_s:
            found.append(f"{monitor.min_events} decisions take longer than the longest wait ({about(self.max_wait_s)})")
        if not self.frame.means:
            found.append(f"{self.decisions} decisions are too few to learn from: what the run can see is not known")
        elif self.frame.buckets < BURN_IN:
            found.append(
                f"under sequential the run holds {self.frame.buckets} buckets, and nothing is certain to be kept "
                f"before {BURN_IN}: it can only end inconclusive or rolled back"
            )
        unlikely = [item for item in self.reaches if _never_kept(item)]
        if self.frame.buckets >= BURN_IN and unlikely:
            names = ", ".join(item.to_dict()["rule"] for item in unlikely)
            found.append(f"under sequential the run cannot end safe at the present figures: {names}")
        return found

    def to_dict(self) -> dict[str, t.Any]:
        """The module's return, JSON-ready, but for the lines made of it."""
        monitor = self.options.monitor
        return {
            "model": self.options.model,
            "source": self.source,
            "decisions": self.decisions,
            "duration_s": monitor.duration_s,
            "interval_s": self.options.interval_s,
            "min_events": monitor.min_events,
            "policy": monitor.policy,
            "limits": asdict(monitor.limits),
            "cadence": {
                **self.cadence.to_dict(monitor.min_events),
                "stale_after_s": self.stale_after_s,
                "max_wait_s": self.max_wait_s,
            },
            "first_judgement_s": self.first_judgement_s,
            "expected_decisions": self.expected,
            "expected_buckets": self.frame.buckets,
            "frame": self.frame.to_dict(),
            "chance": CHANCE,
            "reach": [item.to_dict() for item in self.reaches],
            "backtest": None if self.backtest is None else _short(self.backtest),
            "backtest_reason": self.why_not,
            "impact": self.impact,
            "notes": self.notes(),
        }


def _never_kept(item: Reach) -> bool:
    if not item.learnt or item.now is None or item.claim.metric == "range":
        return False
    if item.kept is None:
        return True
    return item.now > item.kept if item.claim.side == "above" else item.now < item.kept


def _short(found: Backtest) -> dict[str, t.Any]:
    """The backtest without its single runs."""
    data = found.to_dict()
    policies = [{name: value for name, value in item.items() if name != "runs"} for item in data["policies"]]
    return {**data, "policies": policies}


def plan(recording: Recording, options: BacktestOptions, tick: Tick | None = None) -> Plan:
    """What a run begun after the recording would be. Raises BadInput for a model that never votes in it."""
    options = replace(options, starts=min(options.starts, MOST_STARTS), degradations=())
    monitor = options.monitor
    newest = [decision.id for decision in recording.decisions[-SAMPLE:]]
    stale_after, max_wait = patience_from(newest, monitor)
    tested, why_not = None, ""
    recording.require(options.model, monitor.dialect)
    try:
        tested = backtest(recording, options, tick)
    except BadInput as error:
        why_not = str(error)
    decisions = recording.decisions[-HISTORY:]
    frame = Replay(decisions, monitor, options.interval_s).start(recording.last_ms).frame
    return Plan(
        options=options,
        source=recording.source,
        decisions=len(recording.decisions),
        cadence=Cadence.of(newest),
        stale_after_s=stale_after,
        max_wait_s=max_wait,
        frame=frame,
        reaches=reach(claims_of(monitor.limits, alone=monitor.alone), frame),
        backtest=tested,
        why_not=why_not,
        impact=_impact(recording, options),
    )


def _impact(recording: Recording, options: BacktestOptions) -> t.Mapping[str, t.Any] | None:
    """What the shares of the canary would have changed in the newest decisions; None without the baseline's weights."""
    monitor = options.monitor
    if not monitor.baseline:
        return None
    found = Impact(options.model, monitor.baseline, monitor.vote, monitor.weight)
    for decision in recording.decisions[-MOST_ROWS:]:
        found.add(decision)
    return found.to_dict()
