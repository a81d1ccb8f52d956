# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""One check of a canary under watch: what its own decisions since the marker say. Changes nothing.

The canary and the ensemble are judged; what the other models do is shown, never a reason to roll back. ``check`` is the
door for both policies; here stands what they share, and ``strict``: any violated rule over the newest decisions. The
other one is in ``sequential``.
"""

from __future__ import annotations

import typing as t
from dataclasses import asdict, dataclass, field, replace

from ..errors import TelemetryError
from ..verdict import Violation, about, count_in
from . import rules
from .answers import Answer, unanswered, violations_of, words_of
from .cadence import SAMPLE, Cadence
from .compare import comparison
from .cutover import ZERO, StreamId
from .decisions import INVALID_PAYLOAD, Decision, parse
from .drift import Reference, reference_of
from .exposure import Exposure, Spending, violation
from .frame import Frame
from .impact import Tally
from .loss import Seen, StreamInfo, lost_between
from .options import SEQUENTIAL, MonitorOptions
from .stream import StreamGone, StreamTooLarge, Telemetry
from .summary import (
    EnsembleFigures,
    ModelFigures,
    ModelSummary,
    Summary,
    ensemble_figures,
    known,
    model_figures,
    percent,
)
from .table import Table
from .wire import PAGE

MOST_BYTES = 64 << 20
"""Bytes one check reads at most: 4,000 of the largest entries that are decoded, or 50,000 real ones."""
OK, WAITING, VIOLATION, INCONCLUSIVE, TERMINATED = "ok", "waiting", "violation", "inconclusive", "terminated"
ENDING = (VIOLATION, INCONCLUSIVE, TERMINATED)
"""Verdicts that end a run."""
MOST_COUNTED = 20_000
"""Entries of the stream before the window that one check of ``strict`` counts against a budget; the rest is the next
one's."""
COVERAGE_FROM = 20
"""Decisions from which the canary's coverage is judged; so many in a row without it mean that it is gone."""


@dataclass(frozen=True)
class Progress:
    """What one check leaves to the next: how far it read, and when (ms of Redis' clock) the newest decision was
    first seen; its own ID may lie in the future when a publisher's clock is wrong. ``fold``: what was read so far, as
    the policy ``sequential`` remembers it; ``exposure``: what of the budget is spent, where there is one."""

    seen: Seen
    last_id: StreamId | None = None
    last_seen_ms: int = 0
    fold: t.Mapping[str, t.Any] | None = None
    exposure: Exposure | None = None

    def to_dict(self) -> dict[str, t.Any]:
        """As JSON-ready data; ``exposure`` only where there is a budget."""
        return {
            "cursor": str(self.seen.cursor),
            "entries_added": self.seen.entries_added,
            "first_id": str(self.seen.first_id) if self.seen.first_id else None,
            "last_id": str(self.last_id) if self.last_id else None,
            "last_seen_ms": self.last_seen_ms,
            "fold": self.fold,
            **({} if self.exposure is None else {"exposure": self.exposure.to_dict()}),
        }

    @classmethod
    def from_dict(cls, raw: t.Any) -> Progress:
        """Take what ``to_dict`` gave. Raises ValueError, KeyError or TypeError for anything else."""
        first, last = raw["first_id"], raw["last_id"]
        seen = Seen(
            StreamId.parse(raw["cursor"]),
            None if raw["entries_added"] is None else count_in(raw, "entries_added"),
            None if first is None else StreamId.parse(first),
        )
        fold = raw.get("fold")
        if fold is not None and not isinstance(fold, dict):
            raise ValueError("fold: not an object")
        exposure = Exposure.from_dict(raw["exposure"]) if "exposure" in raw else None
        return cls(seen, None if last is None else StreamId.parse(last), count_in(raw, "last_seen_ms"), fold, exposure)


@dataclass(frozen=True)
class CheckResult:
    """What one check found. ``violations`` are the canary's, the ensemble's and the stream's: any of them ends the
    run. ``incumbent_violations`` are the other models'."""

    options: MonitorOptions
    stream: str
    verdict: str
    status: str
    message: str
    violations: tuple[Violation, ...]
    incumbent_violations: tuple[Violation, ...] = ()
    complete: bool = True
    events: int = 0
    first_id: StreamId | None = None
    last_id: StreamId | None = None
    lag_s: float | None = None
    elapsed_s: float = 0.0
    stale_after_s: float = 0.0
    max_wait_s: float = 0.0
    models: tuple[ModelFigures, ...] = ()
    ensemble: EnsembleFigures | None = None
    ignored: t.Mapping[str, int] = field(default_factory=dict)
    claims: tuple[t.Mapping[str, t.Any], ...] = ()
    frame: t.Mapping[str, t.Any] | None = None
    impact: t.Mapping[str, t.Any] | None = None
    comparison: t.Mapping[str, t.Any] | None = None
    own_checks: tuple[t.Mapping[str, t.Any], ...] = ()
    exposure: t.Mapping[str, t.Any] | None = None

    @property
    def judged(self) -> bool:
        """True when the rules of domain were applied to enough decisions."""
        return self.verdict in (OK, VIOLATION, TERMINATED) and self.events >= self.options.min_events

    def to_dict(self) -> dict[str, t.Any]:
        """The module's return, JSON-ready, but for the scoreboard made of it."""
        return {
            "model": self.options.model,
            "weight": self.options.weight,
            "stream": self.stream,
            "policy": self.options.policy,
            "since": str(self.options.since),
            "verdict": self.verdict,
            "status": self.status,
            "message": self.message,
            "events": self.events,
            "min_events": self.options.min_events,
            "window": {
                "first_id": str(self.first_id) if self.first_id else "",
                "last_id": str(self.last_id) if self.last_id else "",
                "truncated": not self.complete,
            },
            "lag_s": self.lag_s,
            "elapsed_s": self.elapsed_s,
            "stale_after_s": self.stale_after_s,
            "max_wait_s": self.max_wait_s,
            "violations": [asdict(item) for item in self.violations],
            "incumbent_violations": [asdict(item) for item in self.incumbent_violations],
            "models": {model.name: model.to_dict() for model in self.models},
            "ensemble": self.ensemble.to_dict() if self.ensemble else {},
            "ignored": dict(self.ignored),
            "limits": asdict(self.options.limits),
            "claims": [dict(item) for item in self.claims],
            "frame": self.frame,
            "impact": self.impact,
            "comparison": self.comparison,
            "exposure": self.exposure,
            **({"own_checks": [dict(item) for item in self.own_checks]} if self.own_checks else {}),
        }


@dataclass
class Window:
    """The decisions of one check: their summary, in which of them the canary voted, what its weights change in the
    ensemble's actions (None: not known), and the votes by model where they are to be compared."""

    summary: Summary = field(default_factory=Summary)
    voted: list[tuple[StreamId, bool]] = field(default_factory=list)
    tally: Tally | None = None
    table: Table | None = None

    @classmethod
    def of(cls, options: MonitorOptions) -> Window:
        """An empty one for a check."""
        change = options.change
        tally = None if change is None else Tally(change)
        return cls(tally=tally, table=Table(options.model, options.baseline))

    def add(self, decision: Decision, model: str) -> None:
        """One more decision; ``newest_first`` puts them in order."""
        self.summary.add(decision)
        vote = decision.votes.get(model)
        self.voted.append((decision.id, vote is not None and not vote.shadow))
        self.compare(decision)

    def compare(self, decision: Decision) -> None:
        """What is compared between models and between weights."""
        if self.tally is not None:
            self.tally.add(decision)
        if self.table is not None:
            self.table.add(decision)

    def figures(self, model: str) -> tuple[ModelFigures, EnsembleFigures]:
        """The figures of the canary and of the ensemble."""
        summary = self.summary
        return (
            model_figures(model, summary.models.get(model, ModelSummary()), summary.events),
            ensemble_figures(summary),
        )

    @property
    def newest_first(self) -> list[tuple[StreamId, bool]]:
        """In which decisions the canary voted, whichever way they were added."""
        backwards = len(self.voted) > 1 and self.voted[0][0] < self.voted[-1][0]
        return self.voted[::-1] if backwards else self.voted


@dataclass(frozen=True)
class Moment:
    """When a check is made: s since the newest decision, since the activation, and since the watch began (or went on
    after a reboot), and the limits of patience that hold for the run."""

    lag_s: float
    elapsed_s: float
    watched_s: float
    stale_after_s: float
    max_wait_s: float


def check(
    reader: Telemetry,
    options: MonitorOptions,
    progress: Progress | None,
    elapsed_s: float,
    watched_s: float | None = None,
    *,
    shown: bool = True,
) -> tuple[CheckResult, Progress]:
    """One check. ``elapsed_s``: s since the activation; ``progress``: what the check before returned, if any;
    ``watched_s``: s since the watch began or went on after a reboot, from which the grace of the start counts. Without
    ``shown`` what decides nothing is left out.

    A stream that is gone or too large to be read is a violation: silence and noise count against the canary. Other
    troubles raise TelemetryError.
    """
    if progress is None or (options.exposure_budget is not None and progress.exposure is None):
        progress = begin(options)  # a budget needs everything since the marker, and to know when that is not there
    try:
        if options.policy == SEQUENTIAL:
            from . import sequential  # here: strict needs none of it

            return sequential.judge(reader, options, progress, elapsed_s, watched_s, shown=shown)
        return _strict(reader, options, progress, elapsed_s, watched_s, shown)
    except StreamGone as error:
        return _unreadable(reader, options, rules.STALE, f"Stale telemetry: {error}", elapsed_s), progress
    except StreamTooLarge as error:
        return _unreadable(reader, options, INVALID_PAYLOAD, f"Invalid payload: {error}", elapsed_s), progress


def spending_of(options: MonitorOptions, progress: Progress) -> Spending | None:
    """What counts the new decisions of a check against the budget; None where there is none."""
    change = options.change
    if options.exposure_budget is None or change is None:
        return None
    return Spending(change, progress.exposure or Exposure(options.since))


def within_budget(
    options: MonitorOptions, spending: Spending | None, result: CheckResult, progress: Progress
) -> tuple[CheckResult, Progress]:
    """The same with what the canary has spent up to where this check has read, under either policy. A run that is
    violated, or cannot be judged, ends for that."""
    budget = options.exposure_budget
    if spending is None or budget is None:
        return result, progress
    spent = spending.until(progress.seen.cursor)
    result = replace(result, exposure=spent.page(budget))
    if spent.spent(budget):
        found = violation(spent, options.model, budget)
        result = replace(result, violations=(found, *result.violations))
        if result.verdict not in ENDING:
            result = replace(result, verdict=TERMINATED, message=found.message)
    return result, replace(progress, exposure=spent)


def with_own(result: CheckResult, answers: t.Sequence[Answer]) -> CheckResult:
    """The same with what the operator's own checks say, under either policy: a required one that is violated ends the
    run, and without the answer of one the canary is not certain to be well."""
    if not answers:
        return result
    result = replace(result, own_checks=tuple(item.to_dict() for item in answers))
    own = violations_of(answers)
    if own:
        before = [item for item in result.violations if item.code != rules.NO_GO]
        said = [result.message] if result.verdict in (VIOLATION, TERMINATED) else []
        return replace(
            result,
            verdict=VIOLATION,
            status=rules.NO_GO_STATUS,
            message="; ".join([*said, *[item.message for item in own]]),
            violations=(*own, *before, *rules.derived([], result.options.model, rules.NO_GO_STATUS)),
        )
    open_ones = unanswered(answers)
    if not open_ones or result.verdict != OK:
        return result
    told = "; ".join(f"own check {item.name} has no answer ({words_of(item)})" for item in open_ones)
    word = rules.WAIT if result.status == rules.GO else result.status
    return replace(result, status=word, message=f"{result.message}; {told}")


def begin(options: MonitorOptions) -> Progress:
    """Nothing read since the marker."""
    return Progress(Seen(options.since, options.entries_added))


def _strict(
    reader: Telemetry,
    options: MonitorOptions,
    progress: Progress,
    elapsed_s: float,
    watched_s: float | None,
    shown: bool,
) -> tuple[CheckResult, Progress]:
    before = reader.info()
    spending = spending_of(options, progress)
    window = _read(reader, options, before.last_generated_id, spending, shown=shown)
    after = reader.info()
    stale_after, max_wait = patience(reader, options)
    now_ms = reader.server_ms()
    lost = lost_between(progress.seen, after)
    new = _advance(progress, before, window.summary.last_id, now_ms)
    lag_s = newest_age_s(new, now_ms, elapsed_s)
    moment = Moment(lag_s, elapsed_s, elapsed_s if watched_s is None else watched_s, stale_after, max_wait)
    return within_budget(options, spending, judge(reader.stream, options, window, lost, moment, others=shown), new)


def _read(
    reader: Telemetry, options: MonitorOptions, until: StreamId, spending: Spending | None, *, shown: bool
) -> Window:
    """The window; what is new and older than that is only counted against the budget."""
    window = Window.of(options)
    if not shown:
        window.table = None
    new = []
    for entry in reader.newest(options.window_events, options.since, until):
        decision = parse(entry.id, entry.fields, options.dialect)
        window.add(decision, options.model)
        if spending is not None:
            new.append(decision)
    if spending is not None and not (len(new) == options.window_events and _behind(reader, options, spending, new[-1])):
        for decision in new:
            spending.add(decision)
    return window


def _behind(reader: Telemetry, options: MonitorOptions, spending: Spending, oldest: Decision) -> bool:
    """Count what is new and lies before the window, oldest first; True when a part of it is left to the next check,
    and the window with it."""
    last = oldest.id.previous()
    if last <= spending.before.cursor:
        return False
    for entry in reader.oldest(spending.before.cursor, last, MOST_COUNTED):
        spending.add(parse(entry.id, entry.fields, options.dialect))
    if reader.scanned < MOST_COUNTED or reader.reached >= last:
        return False
    spending.reached = reader.reached
    return True


def patience(reader: Telemetry, options: MonitorOptions) -> tuple[float, float]:
    """The stale limit and the longest wait; what is ``auto`` follows from the decisions before the marker."""
    if options.stale_after is not None and options.max_wait is not None:
        return options.stale_after, options.max_wait
    return patience_from((entry.id for entry in reader.newest(SAMPLE, ZERO, options.since)), options)


def patience_from(before: t.Iterable[StreamId], options: MonitorOptions) -> tuple[float, float]:
    """The same from the newest ``SAMPLE`` decisions before the marker."""
    cadence = Cadence.of(before)
    stale_after = cadence.stale_after_s if options.stale_after is None else options.stale_after
    return stale_after, cadence.max_wait_s(options.min_events) if options.max_wait is None else options.max_wait


def _advance(progress: Progress, before: StreamInfo, last_id: StreamId | None, now_ms: int) -> Progress:
    """Read up to the look BEFORE the window was read: what came later is the next check's to answer for."""
    seen = Seen(max(before.last_generated_id, progress.seen.cursor), before.entries_added, before.first_id)
    if last_id is None or last_id == progress.last_id:
        return Progress(seen, progress.last_id, progress.last_seen_ms)
    return Progress(seen, last_id, now_ms)


def newest_age_s(progress: Progress, now_ms: int, elapsed_s: float) -> float:
    """Seconds since the newest decision of the canary's time; since the activation while there is none."""
    if progress.last_id is None:
        return elapsed_s
    return max(0, now_ms - progress.last_id.ms, now_ms - progress.last_seen_ms) / 1000


def _unreadable(reader: Telemetry, options: MonitorOptions, code: str, message: str, elapsed_s: float) -> CheckResult:
    violation = Violation(code, rules.STREAM, None, None, message)
    violations = (violation, *rules.derived([violation], options.model, rules.NO_GO_STATUS))
    return CheckResult(
        options, reader.stream, VIOLATION, rules.NO_GO_STATUS, violation.message, violations,
        complete=False, elapsed_s=elapsed_s,
    )  # fmt: skip


def judge(
    stream: str, options: MonitorOptions, window: Window, lost: str, moment: Moment, *, others: bool = True
) -> CheckResult:
    """What ``strict`` says of a window; ``lost``: why telemetry is missing, "" when none is. Without ``others`` what is
    shown only of the other models is left out."""
    summary, limits = window.summary, options.limits
    canary, ensemble = window.figures(options.model)
    shown = incumbents(summary, options.model) if others else ()
    enough = summary.events >= options.min_events
    blockers = rules.judge_blockers(summary)
    ours = [item for item in blockers if item.subject in (options.model, rules.STREAM)]
    theirs = [item for item in blockers if item not in ours]
    if lost:
        ours.append(Violation(rules.TRUNCATED, rules.STREAM, None, None, f"Truncated telemetry: {lost}"))
    if moment.watched_s >= limits.start_grace:
        ours += rules.judge_lag(moment.lag_s, moment.stale_after_s)
        ours += _missing(window, canary, options)
    if enough:
        # without a single vote there is nothing to measure: that is canary_missing, once the grace of the start is over
        ours += rules.judge_model(canary, limits) if canary.samples else []
        ours += rules.judge_ensemble(ensemble, limits, weight=options.weight)
        if window.tally is not None:
            ours += rules.judge_flips(options.model, window.tally.flipped, window.tally.compared, limits)
        theirs += [item for model in shown if model.voting for item in rules.judge_model(model, limits)]
    else:
        ours += rules.judge_early(canary, _span_s(window.newest_first), limits)

    own = any(item.subject != rules.ENSEMBLE for item in ours)
    word = rules.status(own, ensemble, limits, weight=options.weight)
    if not (enough and canary.samples) and word == rules.GO:
        word = rules.WAIT  # GO is a word about min_events decisions of the canary's
    verdict, message = _verdict(options, summary.events, canary.samples, ours, moment)
    return CheckResult(
        options=options,
        stream=stream,
        verdict=verdict,
        status=word,
        message=message,
        violations=tuple(ours + rules.derived(ours, options.model, word)),
        incumbent_violations=tuple(theirs),
        complete=not lost,
        events=summary.events,
        first_id=summary.first_id,
        last_id=summary.last_id,
        lag_s=known(moment.lag_s),
        elapsed_s=moment.elapsed_s,
        stale_after_s=moment.stale_after_s,
        max_wait_s=moment.max_wait_s,
        models=(canary, *shown),
        ensemble=ensemble,
        ignored=dict(summary.ignored),
        impact=window.tally.page() if window.tally is not None and others else None,
        comparison=compared(window.table, options, options.frame) if others else None,
    )


def compared(table: Table | None, options: MonitorOptions, frame: Frame | None) -> t.Mapping[str, t.Any] | None:
    """The canary beside the others; only shown."""
    return None if table is None else comparison(table, options.reference, frame)


def reference_before(reader: Telemetry, options: MonitorOptions) -> Reference | None:
    """The newest decisions before the marker, to compare with; None where they cannot be read: they are only shown."""
    table = Table(options.model, options.baseline)
    try:
        for entry in reader.newest(PAGE, ZERO, options.since):
            table.add(parse(entry.id, entry.fields, options.dialect))
    except TelemetryError:
        return None
    return reference_of(table)


def incumbents(summary: Summary, canary: str) -> tuple[ModelFigures, ...]:
    """The figures of the models beside the canary."""
    return tuple(
        model_figures(name, model, summary.events) for name, model in sorted(summary.models.items()) if name != canary
    )


def _missing(window: Window, canary: ModelFigures, options: MonitorOptions) -> list[Violation]:
    """canary_missing. Decisions before its first vote do not count while they lie in the grace of the start; after
    that, a long good past must not hide that it fell silent: the newest ones are looked at by themselves."""
    voted: t.Sequence[tuple[StreamId, bool]] = window.newest_first
    if len(voted) < options.window_events:  # else the window no longer holds the start
        voted = _without_start(voted, options.limits.start_grace)
    if len(voted) < COVERAGE_FROM:
        return []
    found = rules.judge_coverage(
        options.model, percent(sum(yes for _id, yes in voted), len(voted)), options.limits, shadow=canary.shadow
    )
    newest = voted[:COVERAGE_FROM]
    if found or any(yes for _id, yes in newest):
        return found
    return [gone(options)]


def gone(options: MonitorOptions) -> Violation:
    """canary_missing: a long good past must not hide that it fell silent."""
    text = f"Canary missing: not in one of the newest {COVERAGE_FROM} decisions"
    return Violation(rules.MISSING, options.model, 0.0, options.limits.min_coverage, text)


def _without_start(voted: t.Sequence[tuple[StreamId, bool]], grace_s: float) -> t.Sequence[tuple[StreamId, bool]]:
    """The decisions (newest first) without those before the canary's first vote that fall into the grace, which
    begins at the first decision of the window."""
    if not voted:
        return voted
    end_ms = voted[-1][0].ms + 1000 * grace_s
    keep = len(voted)
    while keep and not voted[keep - 1][1] and voted[keep - 1][0].ms < end_ms:
        keep -= 1
    return voted[:keep]


def _span_s(voted: t.Sequence[tuple[StreamId, bool]]) -> float:
    times = [entry.ms for entry, yes in voted if yes]
    return (times[0] - times[-1]) / 1000 if times else 0.0


def _verdict(
    options: MonitorOptions,
    events: int,
    samples: int,
    ours: t.Sequence[Violation],
    moment: Moment,
) -> tuple[str, str]:
    if ours:
        return VIOLATION, "; ".join(item.message for item in ours)
    if events >= options.min_events and samples:
        return OK, f"{events} decisions judged, nothing against {options.model}"
    return not_yet(options, events, moment)


def not_yet(options: MonitorOptions, events: int, moment: Moment) -> tuple[str, str]:
    """The verdict, and its sentence, on a canary of which too little is known to be judged."""
    elapsed_s, max_wait = moment.elapsed_s, moment.max_wait_s
    count = f"{events} of {options.min_events} decisions"
    if elapsed_s > max_wait:
        return INCONCLUSIVE, f"{count} after {about(elapsed_s)} (longest wait: {about(max_wait)})"
    if events >= options.min_events:
        return WAITING, f"{events} decisions, none of them with a vote of {options.model} yet"
    if not events or not elapsed_s > 0:
        return WAITING, f"{count}, no rate known yet"
    left = (options.min_events - events) * elapsed_s / events
    return WAITING, f"{count}, about {about(left)} at this rate"
