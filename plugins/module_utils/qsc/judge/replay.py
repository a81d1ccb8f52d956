# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""One run of a canary over recorded decisions, check by check, by the monitor's own judges. Pure.

A check at a moment sees the decisions up to that moment and nothing later; what is learnt before the run is learnt from
the decisions up to its start.
"""

from __future__ import annotations

import typing as t
from bisect import bisect_right
from dataclasses import dataclass, replace

from ..verdict import HALF_JUDGED
from . import check, rules, sequential
from .buckets import Observation, observe
from .cadence import SAMPLE
from .check import CheckResult, Moment, Progress
from .cutover import ZERO, StreamId
from .decisions import Decision
from .frame import HISTORY, Frame
from .loss import Seen
from .options import SEQUENTIAL, MonitorOptions
from .planted import Degradation, Planted
from .sliding import Sliding

ROLLED_BACK, SAFE, INCONCLUSIVE, CUT_OFF = "rolled_back", "safe", "inconclusive", "cut_off"
"""How a run ends; ``cut_off``: the recording ends before it."""
WAITED, HARDLY_JUDGED, UNCERTAIN = "waited too long", "hardly judged", "not certain"
"""Why a run is inconclusive: too few decisions within the longest wait, fewer than half of the checks could judge, or
the last verdict was not GO."""
_DERIVED = (rules.GATE_FAILED, rules.NO_GO)


@dataclass(frozen=True)
class Outcome:
    """How one run ended: ``at_s`` s after its start, after ``decisions`` of its own. ``rules``: the codes that were
    violated, each with its subject, or why the run was inconclusive; ``message``: the judge's sentence."""

    start_ms: int
    result: str
    at_s: float
    decisions: int
    rules: tuple[str, ...] = ()
    message: str = ""
    judged: int = 0

    def to_dict(self) -> dict[str, t.Any]:
        """As JSON-ready data."""
        return {
            "start_ms": self.start_ms,
            "result": self.result,
            "at_s": self.at_s,
            "decisions": self.decisions,
            "rules": list(self.rules),
            "message": self.message,
        }


@dataclass(frozen=True)
class Start:
    """A moment at which a canary begins, and what is known then. ``place``: how many decisions came before."""

    ms: int
    place: int
    since: StreamId
    frame: Frame
    stale_after_s: float
    max_wait_s: float


class Replay:
    """Recorded decisions, and the runs over them. ``options`` are those of the monitor, whose marker is each start's;
    ``interval_s``: between two checks."""

    def __init__(self, decisions: t.Sequence[Decision], options: MonitorOptions, interval_s: float) -> None:
        self.decisions = decisions
        self.options = options
        self.interval_ms = int(1000 * interval_s)
        self._times = [decision.id.ms for decision in decisions]
        self._observed: list[Observation] | None = None
        self._starts: dict[int, Start] = {}

    def start(self, ms: int) -> Start:
        """What is known at ``ms``: learnt from the decisions up to it."""
        found = self._starts.get(ms)
        if found is None:
            found = self._starts[ms] = self._start(ms)
        return found

    def _start(self, ms: int) -> Start:
        place = bisect_right(self._times, ms)
        since = self.decisions[place - 1].id if place else ZERO
        if self._observed is None:
            self._observed = [observe(decision, self.options.model) for decision in self.decisions]
        frame = self.options.frame or sequential.learn_of(
            self._observed[max(0, place - HISTORY) : place], self.options.duration_s
        )
        before = (decision.id for decision in self.decisions[max(0, place - SAMPLE) : place])
        stale_after, max_wait = check.patience_from(before, self.options)
        return Start(ms, place, since, frame, stale_after, max_wait)

    def run(self, start_ms: int, policy: str, degradation: Degradation | None = None, seed: int = 0) -> Outcome:
        """One run from ``start_ms`` on."""
        return self.follow(start_ms, policy, degradation, seed, None)

    def follow(
        self,
        start_ms: int,
        policy: str,
        degradation: Degradation | None,
        seed: int,
        seen: t.Callable[[CheckResult], None] | None,
    ) -> Outcome:
        """The same; ``seen`` is given the result of every check."""
        start = self.start(start_ms)
        options = replace(
            self.options,
            since=start.since,
            policy=policy,
            frame=start.frame,
            stale_after=start.stale_after_s,
            max_wait=start.max_wait_s,
        )
        judge = _Sequential(options) if policy == SEQUENTIAL else _Strict(options)
        change = None
        if degradation is not None:
            change = Planted(degradation, options.model, start_ms, start.frame.centre, seed)
        duration_ms = int(1000 * options.duration_s)
        place, judged, checks = start.place, 0, 0
        progress = Progress(Seen(start.since, None))
        result: CheckResult | None = None
        for now_ms in range(start_ms, start_ms + duration_ms + 1, self.interval_ms):
            if now_ms > self._times[-1]:
                return Outcome(start_ms, CUT_OFF, (self._times[-1] - start_ms) / 1000, place - start.place)
            until = bisect_right(self._times, now_ms, place)
            for number in range(place, until):
                decision = self.decisions[number]
                judge.add(decision if change is None else change(number, decision))
            if until > place:
                progress = replace(progress, last_id=self.decisions[until - 1].id, last_seen_ms=now_ms)
                place = until
            elapsed_s = (now_ms - start_ms) / 1000
            lag_s = check.newest_age_s(progress, now_ms, elapsed_s)
            moment = Moment(lag_s, elapsed_s, elapsed_s, start.stale_after_s, start.max_wait_s)
            result = judge.at(moment, others=seen is not None)
            if seen is not None:
                seen(result)
            checks += 1
            judged += result.judged
            if result.verdict in check.ENDING:
                violated = result.verdict == check.VIOLATION
                ended, why = (ROLLED_BACK, _violated(result)) if violated else (INCONCLUSIVE, (WAITED,))
                return Outcome(start_ms, ended, elapsed_s, place - start.place, why, result.message, judged)
        return _concluded(start_ms, result, place - start.place, judged, checks, options)

    def room(self, least_before: int, least_after: int) -> tuple[int, int]:
        """The first and the last moment with so many decisions before it and after it; the first may be the later."""
        if len(self._times) < least_before + least_after:
            return self._times[-1], self._times[0]
        return self._times[max(0, least_before - 1)], self._times[len(self._times) - least_after] - 1

    def before(self, ms: int) -> int:
        """How many decisions there are up to ``ms``."""
        return bisect_right(self._times, ms)


class _Strict:
    """The policy ``strict`` over decisions as they come."""

    def __init__(self, options: MonitorOptions) -> None:
        self._options = options
        self._window = Sliding(options.model, options.window_events, options.change)

    def add(self, decision: Decision) -> None:
        self._window.add(decision, self._options.model)

    def at(self, moment: Moment, *, others: bool) -> CheckResult:
        return check.judge("", self._options, self._window, "", moment, others=others)


class _Sequential:
    """The policy ``sequential`` over decisions as they come."""

    def __init__(self, options: MonitorOptions) -> None:
        self._options = options
        self._fold = sequential.new_fold(options, options.frame or Frame())

    def add(self, decision: Decision) -> None:
        self._fold.add(decision)

    def at(self, moment: Moment, *, others: bool) -> CheckResult:
        return sequential.result_of("", self._options, self._fold, "", moment, others=others)


def _violated(result: CheckResult) -> tuple[str, ...]:
    found = [f"{item.code} ({item.subject})" for item in result.violations if item.code not in _DERIVED]
    return tuple(dict.fromkeys(found))


def _concluded(
    start_ms: int, last: CheckResult | None, decisions: int, judged: int, checks: int, options: MonitorOptions
) -> Outcome:
    """At the end of its time, as the watchdog concludes a run of which no check was missed."""
    why, reasons = [], []
    if judged < HALF_JUDGED * max(1, checks - 1):
        why.append(HARDLY_JUDGED)
        reasons.append(f"{judged} of {checks} checks could judge, half are needed")
    if last is None or last.verdict != check.OK or last.status != rules.GO:
        why.append(UNCERTAIN)
        reasons.append("" if last is None else f"the last verdict is {last.verdict} ({last.status}): {last.message}")
    result = INCONCLUSIVE if reasons else SAFE
    return Outcome(start_ms, result, options.duration_s, decisions, tuple(why), "; ".join(reasons), judged)
