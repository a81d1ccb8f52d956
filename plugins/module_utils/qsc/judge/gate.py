# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""The gate: judges the telemetry since the cutover, before anything is changed. Missing proof is a refusal."""

from __future__ import annotations

import typing as t
from collections import deque
from dataclasses import asdict, dataclass

from ..errors import BadInput
from ..verdict import Violation, about, printable
from . import rules, sequential
from .cadence import SAMPLE, Cadence
from .compare import comparison
from .cutover import ZERO, Cutover, StreamId, parse_cutover, utc
from .decisions import Decision, parse
from .drift import Reference, reference_of
from .frame import HISTORY, Frame
from .impact import Impact, Tally
from .loss import clock_skew, lost_entries
from .options import CANARY, SEQUENTIAL, GateOptions
from .stream import StreamReader, StreamTooLarge
from .summary import EnsembleFigures, ModelFigures, Summary, ensemble_figures, model_figures
from .table import Table, table_of
from .wire import PAGE

PASSED, FAILED, COLLECTED = 0, 2, 3


@dataclass(frozen=True)
class GateResult:
    """What the gate found. ``violations`` are those that refuse; ``reason`` and ``remedy`` are empty when it passed.
    Under the policy ``sequential`` ``frame`` is what the run is to know of the time before it, and ``claims`` tells how
    certain the figures are. With one model in ``options.models``: ``comparison`` with the others, ``reference`` for the
    comparison of the run, and, where the baseline's weights are known, ``impact``."""

    stream: str
    options: GateOptions
    cutover: Cutover
    checked_at: float
    summary: Summary
    models: tuple[ModelFigures, ...]
    ensemble: EnsembleFigures
    found: t.Mapping[str, t.Sequence[Violation]]
    violations: tuple[Violation, ...]
    blockers: tuple[Violation, ...]
    truncated: bool
    cadence: Cadence
    before: Summary
    clock_skew_s: float
    warnings: tuple[str, ...]
    exit_code: int
    reason: str
    remedy: str
    frame: t.Mapping[str, t.Any] | None = None
    claims: tuple[t.Mapping[str, t.Any], ...] = ()
    impact: t.Mapping[str, t.Any] | None = None
    comparison: t.Mapping[str, t.Any] | None = None
    reference: Reference | None = None

    @property
    def passed(self) -> bool:
        """True only for mode canary with nothing against it."""
        return self.exit_code == PASSED

    def to_dict(self) -> dict[str, t.Any]:
        """The module's return, JSON-ready, but for the report made of it."""
        options = self.options
        return {
            "passed": self.passed,
            "exit_code": self.exit_code,
            "mode": options.mode,
            "reason": self.reason,
            "remedy": self.remedy,
            "stream": self.stream,
            "checked_at": utc(int(self.checked_at * 1000)),
            "judged_at": self.checked_at,
            "cutover": {"id": str(self.cutover.after), "time": self.cutover.text},
            "events": self.summary.events,
            "min_events": options.min_events,
            "window": {**_window(self.summary), "truncated": self.truncated},
            "models": {model.name: self._model(model) for model in self.models},
            "ensemble": {**self.ensemble.to_dict(), "violations": _plain(self.found.get(rules.ENSEMBLE, ()))},
            "violations": _plain(self.violations),
            "blockers": _plain(self.blockers),
            "before_cutover": _before(self.before),
            "cadence": self._cadence(),
            "ignored": dict(self.summary.ignored),
            "repeated": self.summary.repeated,
            "limits": asdict(options.limits),
            "policy": options.policy,
            "frame": self.frame,
            "claims": [dict(item) for item in self.claims],
            "impact": self.impact,
            "comparison": self.comparison,
            "reference": None if self.reference is None else self.reference.to_dict(),
            "clock_skew_s": self.clock_skew_s,
            "warnings": list(self.warnings),
        }

    def _cadence(self) -> dict[str, t.Any]:
        found = self.cadence.to_dict(self.options.min_events)
        if self.options.stale_after is not None:
            found["stale_after_s"] = self.options.stale_after
        return found

    def _model(self, model: ModelFigures) -> dict[str, t.Any]:
        violations = self.found.get(model.name, ())
        judged = model.voting or model.name in self.options.models
        word = "fail" if violations else "pass"
        if not judged:
            word = "shadow" if model.samples else "absent"
        return {
            **model.to_dict(),
            "violations": _plain(violations),
            "status": word,
            "required": _required(model, self.options),
        }


def _plain(violations: t.Sequence[Violation]) -> list[dict[str, t.Any]]:
    return [asdict(item) for item in violations]


def _window(summary: Summary) -> dict[str, str]:
    return {
        "first_id": str(summary.first_id) if summary.first_id else "",
        "last_id": str(summary.last_id) if summary.last_id else "",
    }


def _before(summary: Summary) -> dict[str, t.Any]:
    models = {name: model_figures(name, model, summary.events).to_dict() for name, model in summary.models.items()}
    return {
        "events": summary.events,
        **_window(summary),
        "models": models,
        "ensemble": ensemble_figures(summary).to_dict(),
    }


def evaluate(reader: StreamReader, options: GateOptions, now: float) -> GateResult:
    """Judge the telemetry since the cutover. ``now`` is the host's clock in s.

    Raises BadInput for options that cannot be meant, Refused when the clocks disagree, TelemetryError.
    """
    parse_cutover(options.cutover, None)  # what is wrong by itself is refused without asking anybody
    server_ms = reader.server_ms()
    skew_s, warnings = clock_skew(server_ms, now)
    cutover = parse_cutover(options.cutover, max(int(now * 1000), server_ms))
    start = reader.info()
    newest: deque[StreamId] = deque(maxlen=SAMPLE)
    summary = Summary()
    kept: list[Decision] = []
    certain = options.policy == SEQUENTIAL and len(options.models) == 1
    table = Table(options.models[0], options.baseline) if len(options.models) == 1 else None
    change = None
    if table is not None and options.baseline:
        change = Impact(options.models[0], options.baseline, options.vote, options.weight)
    for entry in reader.newest(options.max_events, cutover.after, start.last_generated_id):
        if len(newest) < SAMPLE:
            newest.append(entry.id)
        decision = parse(entry.id, entry.fields, options.dialect)
        summary.add(decision)
        if table is not None:
            table.add(decision)
        if change is not None:
            change.add(decision)
        if certain and len(kept) < HISTORY:
            kept.append(decision)
    filled = bool(options.max_events) and summary.events == options.max_events
    truncated = "" if filled else lost_entries(reader.info(), cutover.after)
    before = Summary()
    earlier: list[Decision] = []
    try:
        for entry in reader.newest(PAGE, ZERO, cutover.after):
            earlier.append(parse(entry.id, entry.fields, options.dialect))
            before.add(earlier[-1])
    except StreamTooLarge as error:  # shown only: an old flood must not keep the gate shut
        before, earlier = Summary(), []
        warnings.append(f"nothing is compared with before the cutover: {error.message}")
    _known_models(options, summary)

    asked = change.asked if change is not None else None
    models, ensemble, blockers, found, against = findings(summary, options, asked)
    if truncated:
        against.append(Violation(rules.TRUNCATED, rules.STREAM, None, None, f"Truncated telemetry: {truncated}"))
    cadence = Cadence.of(newest)
    warnings += _advice(summary, cadence, options, now)
    if options.limits.flip_share_max < 1 and asked is None:
        warnings.append("flip_share_max is not judged: the baseline's weights or the canary's are not known")
    frame: Frame | None = None
    claims: tuple[t.Mapping[str, t.Any], ...] = ()
    if certain:
        frame = sequential.learn_from(
            reader, options.models[0], options.dialect, start.last_generated_id, options.duration_s
        )
        claims = sequential.claims_on(kept[::-1], options, frame)
    beside, reference = None, None
    if table is not None:
        beside = comparison(table, reference_of(table_of(earlier, table.names[0], table.names)), frame)
        reference = reference_of(table)
    reason, remedy = _reason(summary, against, options, cadence)
    code = FAILED if reason else (PASSED if options.mode == CANARY else COLLECTED)
    return GateResult(
        stream=reader.stream,
        options=options,
        cutover=cutover,
        checked_at=now,
        summary=summary,
        models=models,
        ensemble=ensemble,
        found=found,
        violations=tuple(against),
        blockers=blockers,
        truncated=bool(truncated),
        cadence=cadence,
        before=before,
        clock_skew_s=skew_s,
        warnings=tuple(warnings),
        exit_code=code,
        reason=reason,
        remedy=remedy,
        frame=frame.to_dict() if frame is not None else None,
        claims=claims,
        impact=None if change is None else change.to_dict(),
        comparison=beside,
        reference=reference,
    )


class Findings(t.NamedTuple):
    """What the rules say of a summary: every violation by model, and ``against``: those that refuse."""

    models: tuple[ModelFigures, ...]
    ensemble: EnsembleFigures
    blockers: tuple[Violation, ...]
    found: dict[str, list[Violation]]
    against: list[Violation]


def findings(summary: Summary, options: GateOptions, flips: Tally | None = None) -> Findings:
    """Hold a summary, and what the canary's weight changes, against the rules; how many decisions there are is not
    looked at."""
    models = tuple(model_figures(name, summary.models[name], summary.events) for name in sorted(summary.models))
    ensemble = ensemble_figures(summary)
    blockers = tuple(rules.judge_blockers(summary))
    found = _judge(models, ensemble, blockers, options)
    against = _against(models, found, options)
    if flips is not None:
        canary = flips.change.model
        flipping = rules.judge_flips(canary, flips.flipped, flips.compared, options.limits)
        found.setdefault(canary, []).extend(flipping)
        against.extend(flipping)
    against.extend(item for item in blockers if item not in against)
    return Findings(models, ensemble, blockers, found, against)


def _known_models(options: GateOptions, summary: Summary) -> None:
    """Every named model must have telemetry. With no telemetry at all that is the reason to give, not this."""
    if not summary.events:
        return
    names = [(name, "models") for name in options.models]
    names += [(name, "require") for name in options.require if name != "all"]
    there = printable(", ".join(sorted(summary.models)) or "none", 300)
    for name, option in names:
        if name in summary.models:
            continue
        alias = options.dialect.aliases.get(name)
        if alias is not None:
            remedy = f"The aliases call it {alias!r}: use that name."
        elif name in options.dialect.ignore:
            remedy = "It is in ignore_models."
        else:
            remedy = "Correct the name, or map the telemetry's name to it with aliases."
        raise BadInput(f"{option}: {name!r} has no telemetry since the cutover; known are: {there}", remedy=remedy)


def _required(model: ModelFigures, options: GateOptions) -> bool:
    if model.name in options.models:
        return True
    return model.voting and ("all" in options.require or model.name in options.require)


def _judge(
    models: t.Sequence[ModelFigures], ensemble: EnsembleFigures, blockers: t.Sequence[Violation], options: GateOptions
) -> dict[str, list[Violation]]:
    """Every violation, by model; the ensemble's under its own name."""
    found: dict[str, list[Violation]] = {}
    for model in models:
        own = [item for item in blockers if item.subject == model.name]
        if model.samples or model.name in options.models:
            own += rules.judge_model(model, options.limits)
        if model.name in options.models:
            own += rules.judge_coverage(model.name, model.coverage, options.limits)
        found[model.name] = own
    found[rules.ENSEMBLE] = rules.judge_ensemble(ensemble, options.limits, weight=options.weight)
    return found


def _against(
    models: t.Sequence[ModelFigures], found: t.Mapping[str, t.Sequence[Violation]], options: GateOptions
) -> list[Violation]:
    against = [item for model in models if _required(model, options) for item in found[model.name]]
    if options.require_ensemble:
        against.extend(found[rules.ENSEMBLE])
    return against


def _advice(summary: Summary, cadence: Cadence, options: GateOptions, now: float) -> list[str]:
    said = []
    stale_after = cadence.stale_after_s if options.stale_after is None else options.stale_after
    if summary.last_id is not None and now - summary.last_id.ms / 1000 > stale_after:
        said.append(
            f"the newest decision is {about(now - summary.last_id.ms / 1000)} old: a monitor with a stale limit of "
            f"{about(stale_after)} would roll a canary back at once"
        )
    mixed = [name for name, model in sorted(summary.models.items()) if 0 < model.normalized < model.samples]
    if mixed:
        said.append(f"probabilities and logits are mixed by: {', '.join(mixed)}")
    if summary.repeated:
        said.append(f"{summary.repeated} decisions were published more than once")
    return said


def _reason(
    summary: Summary, against: t.Sequence[Violation], options: GateOptions, cadence: Cadence
) -> tuple[str, str]:
    """Why the gate refuses, and what to do; both empty when it does not."""
    short = options.min_events - summary.events
    if short > 0:
        left = (
            f"about {about(short / cadence.rate_per_s)} more at this rate"
            if cadence.rate_per_s
            else "no rate is known yet"
        )
        since = f"{summary.events} decisions since the cutover, {options.min_events} are needed"
        also = f"; also: {_listed(against)}" if against else ""
        return f"Too little telemetry: {since}{also}", f"Wait: {left}; or check that the cutover is the one meant."
    if not against:
        return "", ""
    remedy = "Read the report; nothing was changed."
    if all(item.subject == rules.ENSEMBLE for item in against):
        remedy = (
            "The ensemble breaks its rules before any canary: a canary would be rolled back whatever it does. "
            "Mend the ensemble, change the limits, or judge without it (require_ensemble: false)."
        )
    elif any(item.code == rules.TRUNCATED for item in against):
        remedy = "Give a later cutover, set max_events, or let the stream keep more entries (MAXLEN)."
    return f"Quality gate failed: {_listed(against)}", remedy


def _listed(violations: t.Sequence[Violation], most: int = 6) -> str:
    texts = [f"{item.subject}: {item.message}" for item in violations[:most]]
    more = f"; and {len(violations) - most} more" if len(violations) > most else ""
    return "; ".join(texts) + more
