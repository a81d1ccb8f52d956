# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""The policy ``sequential``: one check of a canary whose violation, and whose health, must be certain.

An immediate trip ends the run at once: what cannot be read, a canary that is missing or constant, telemetry that is
stale or lost. A rule is violated when that is certain, whenever one looks (``claims``). The status is GO only when
every rule is certain to be kept; until then it is WAIT, and a run that ends so was inconclusive.

A check reads what is new since the one before and folds it into bounded state (``fold``).
"""

from __future__ import annotations

import math
import typing as t
from dataclasses import replace

from ..errors import TelemetryError
from ..verdict import Violation
from . import rules, wording
from .buckets import Observation, observe
from .check import (
    COVERAGE_FROM,
    OK,
    VIOLATION,
    CheckResult,
    Moment,
    Progress,
    Window,
    begin,
    compared,
    gone,
    incumbents,
    newest_age_s,
    not_yet,
    patience,
    spending_of,
    within_budget,
)
from .claims import KEPT, VIOLATED, Reading, claims_of
from .cutover import ZERO, StreamId
from .decisions import ACTIONS, Decision, Dialect, parse
from .fold import RECENT_DECISIONS, RECENT_S, Fold
from .frame import HISTORY, Frame, blocks_of, learn
from .loss import Seen, StreamInfo, lost_between
from .options import GateOptions, MonitorOptions
from .stream import Telemetry
from .summary import ModelSummary, ensemble_figures, known, model_figures, percent
from .wire import PAGE

MOST_AT_ONCE = 20_000
"""Entries of the stream one check reads at most; what is left is the next one's."""
MOST_SHOWN = PAGE
"""Of the newest decisions those that are compared: one reply of Redis."""


def judge(
    reader: Telemetry,
    options: MonitorOptions,
    progress: Progress,
    elapsed_s: float,
    watched_s: float | None,
    *,
    shown: bool = True,
) -> tuple[CheckResult, Progress]:
    """One check under this policy; the arguments are those of ``check.check``."""
    spending = spending_of(options, progress)
    fold = _fold_of(progress, options)
    if fold is None:  # the first check, or a state that is of no use: everything since the marker is read again
        progress = begin(options)
        frame = options.frame or learn_from(reader, options.model, options.dialect, options.since, options.duration_s)
        fold = new_fold(options, frame)
    before = reader.info()
    for entry in reader.oldest(progress.seen.cursor, before.last_generated_id, MOST_AT_ONCE):
        decision = parse(entry.id, entry.fields, options.dialect)
        fold.add(decision)
        if spending is not None:
            spending.add(decision)
    scanned, reached = reader.scanned, reader.reached
    behind = scanned >= MOST_AT_ONCE and reached < before.last_generated_id
    after = reader.info()
    stale_after, max_wait = patience(reader, options)
    now_ms = reader.server_ms()
    lost = lost_between(progress.seen, after)
    new = _advance(progress, before, reached if behind else None, scanned, fold, now_ms)
    lag_s = newest_age_s(new, now_ms, elapsed_s)
    moment = Moment(lag_s, elapsed_s, elapsed_s if watched_s is None else watched_s, stale_after, max_wait)
    result = result_of(reader.stream, options, fold, lost, moment, behind=behind, others=shown)
    result, new = within_budget(options, spending, result, new)
    if not shown:
        return result, new
    return replace(result, **_shown(reader, options, fold, before.last_generated_id)), new


def _shown(reader: Telemetry, options: MonitorOptions, fold: Fold, until: StreamId) -> dict[str, t.Any]:
    """What is only shown, from the newest decisions, read last: the state does not hold them one by one. Where they
    cannot be read nothing is shown, and nothing else follows."""
    window = Window.of(options)
    try:
        for entry in reader.newest(min(options.window_events, MOST_SHOWN), options.since, until):
            window.compare(parse(entry.id, entry.fields, options.dialect))
    except TelemetryError:
        return {}
    return {
        "impact": window.tally.page() if window.tally is not None else None,
        "comparison": compared(window.table, options, fold.evidence.frame),
    }


def learn_from(reader: Telemetry, model: str, dialect: Dialect, until: StreamId, duration_s: float) -> Frame:
    """What the newest decisions up to ``until`` teach about a run of ``duration_s``."""
    found: list[Observation] = [
        observe(parse(entry.id, entry.fields, dialect), model) for entry in reader.newest(HISTORY, ZERO, until)
    ]
    return learn_of(found[::-1], duration_s)


def learn_of(history: t.Sequence[Observation], duration_s: float) -> Frame:
    """The same from the observations (oldest first) themselves, at most ``HISTORY``."""
    blocks, centre = blocks_of(history)
    return learn(blocks, centre, duration_s)


def claims_on(decisions: t.Sequence[Decision], options: GateOptions, frame: Frame) -> tuple[t.Mapping[str, t.Any], ...]:
    """How certain the gate's figures are, from the decisions (oldest first) it judged. Its answer does not hang on it:
    the gate looks once, and what is not proven does not pass."""
    if not decisions:
        return ()
    alone = rules.stands_alone(options.weight)
    claims = claims_of(options.limits, alone=alone)
    since = decisions[0].id.previous()
    fold = Fold.new(options.models[0], since, frame, claims, alone=alone, grace_s=0.0)
    for decision in decisions:
        fold.add(decision)
    return tuple(wording.claim(item, frame, len(decisions)) for item in fold.evidence.read())


def _claims(options: MonitorOptions) -> tuple[t.Any, ...]:
    return claims_of(options.limits, alone=options.alone)


def new_fold(options: MonitorOptions, frame: Frame) -> Fold:
    """Nothing folded yet."""
    return Fold.new(
        options.model,
        options.since,
        frame,
        _claims(options),
        alone=options.alone,
        grace_s=options.limits.start_grace,
        change=options.change,
    )


def _fold_of(progress: Progress, options: MonitorOptions) -> Fold | None:
    """The state the check before left, None where it is missing or cannot be used: that is no evidence of health, the
    stream is read again from the marker, and where that is not possible any more the telemetry is truncated."""
    if progress.fold is None:
        return None
    try:
        fold = Fold.from_dict(
            progress.fold,
            model=options.model,
            since=options.since,
            claims=_claims(options),
            alone=options.alone,
            grace_s=options.limits.start_grace,
            change=options.change,
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return None
    if options.frame is not None and fold.evidence.frame != options.frame:
        return None
    return fold


def _advance(
    progress: Progress, before: StreamInfo, reached: StreamId | None, scanned: int, fold: Fold, now_ms: int
) -> Progress:
    """Read up to ``reached``, or, when that is None, up to the look before the reading."""
    if reached is None:
        seen = Seen(max(before.last_generated_id, progress.seen.cursor), before.entries_added, before.first_id)
    else:
        added = progress.seen.entries_added
        seen = Seen(reached, None if added is None else added + scanned, before.first_id)
    new = replace(progress, seen=seen, fold=fold.to_dict())
    last_id = fold.summary.last_id
    if last_id is None or last_id == progress.last_id:
        return new
    return replace(new, last_id=last_id, last_seen_ms=now_ms)


def result_of(
    stream: str,
    options: MonitorOptions,
    fold: Fold,
    lost: str,
    moment: Moment,
    *,
    behind: bool = False,
    others: bool = True,
) -> CheckResult:
    """What this policy says of what was folded; ``behind``: a part of the stream is still unread. Without ``others``
    what is shown only is left out: the other models, and the claims in words."""
    summary, limits, name = fold.summary, options.limits, options.model
    canary = model_figures(name, summary.models.get(name, ModelSummary()), summary.events)
    shown = incumbents(summary, name) if others else ()
    enough = summary.events >= options.min_events
    blockers = rules.judge_blockers(summary)
    ours = [item for item in blockers if item.subject in (name, rules.STREAM)]
    theirs = [item for item in blockers if item not in ours]
    if lost:
        ours.append(Violation(rules.TRUNCATED, rules.STREAM, None, None, f"Truncated telemetry: {lost}"))
    if moment.watched_s >= limits.start_grace and not behind:
        ours += rules.judge_lag(moment.lag_s, moment.stale_after_s)
    ours += _immediate(fold, options, canary.shadow)
    readings = fold.readings()
    if enough:
        ours += [wording.violation(item, fold.evidence.frame, name) for item in readings if item.state == VIOLATED]
        theirs += [item for model in shown if model.voting for item in rules.judge_model(model, limits)]
    else:
        ours += rules.judge_early(canary, (fold.last_vote_ms - fold.first_vote_ms) / 1000, limits)
    word = _status(ours, readings, enough and canary.samples > 0 and not behind)
    verdict, message = _verdict(options, fold, readings, ours, canary.samples, behind, moment)
    return CheckResult(
        options=options,
        stream=stream,
        verdict=verdict,
        status=word,
        message=message,
        violations=tuple(ours + rules.derived(ours, name, word)),
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
        ensemble=ensemble_figures(summary) if others else None,
        ignored=dict(summary.ignored),
        claims=tuple(wording.claim(item, fold.evidence.frame, summary.events) for item in readings) if others else (),
        frame=fold.evidence.frame.to_dict() if others else None,
    )


def _immediate(fold: Fold, options: MonitorOptions, shadow: int) -> list[Violation]:
    """What ends the run without certainty, in the newest minutes."""
    window, limits, name = fold.window(), options.limits, options.model
    found = []
    if window.decisions >= COVERAGE_FROM:
        found += rules.judge_coverage(name, percent(window.voting, window.decisions), limits, shadow=shadow)
    if not found and fold.silent >= COVERAGE_FROM:
        found.append(gone(options))
    if window.decisions < RECENT_DECISIONS or window.last_ms - window.first_ms < 1000 * RECENT_S:
        return found
    if not options.alone and rules.too_low(percent(window.voted, window.decisions), limits.min_coverage):
        found.append(rules.no_ensemble(window.voted, window.decisions, limits))
    if window.votes:
        shares = {action: percent(count, window.votes) for action, count in zip(ACTIONS, window.counts)}
        found += rules.judge_gross(name, shares, math.sqrt(window.within), window.spread, window.votes, limits)
        found += rules.judge_fallback(name, percent(window.fallback, window.votes), window.votes, limits)
    return found


def _status(ours: t.Sequence[Violation], readings: t.Sequence[Reading], judged: bool) -> str:
    """NO-GO for a violation that is not the ensemble's, GO when all is certain to be kept; else WAIT."""
    if any(item.subject != rules.ENSEMBLE for item in ours):
        return rules.NO_GO_STATUS
    certain = judged and not ours and bool(readings) and all(item.state == KEPT for item in readings)
    return rules.GO if certain else rules.WAIT


def _verdict(
    options: MonitorOptions,
    fold: Fold,
    readings: t.Sequence[Reading],
    ours: t.Sequence[Violation],
    samples: int,
    behind: bool,
    moment: Moment,
) -> tuple[str, str]:
    events = fold.summary.events
    if ours:
        return VIOLATION, "; ".join(item.message for item in ours)
    if events >= options.min_events and samples:
        more = "; catching up with the stream" if behind else ""
        return OK, wording.so_far(options.model, events, readings, fold.evidence.frame) + more
    return not_yet(options, events, moment)
