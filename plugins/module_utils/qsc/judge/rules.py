# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""Every rule by which a model, the ensemble or the stream is judged: the only place where a limit is compared. Pure.

Each predicate is written so that NaN violates: ``not (figure within limit)``, never ``figure beyond limit``.
Figures arrive unrounded; rounding is for the message alone, and keeps the digits that tell figure from limit.
"""

from __future__ import annotations

import math
import typing as t
from dataclasses import dataclass, fields

from ..errors import BadInput
from ..verdict import Violation
from .decisions import ACTIONS, INVALID_ACTION, INVALID_CONFIDENCE, INVALID_PAYLOAD
from .summary import EnsembleFigures, ModelFigures, Summary, known, percent

ACTION_COLLAPSE = "action_collapse"
DEAD_ZONE = "dead_zone"
FLAT = "flat_predictions"
NARROW = "narrow_range"
CONSTANT = "constant_output"
NOT_RUNNING = "not_really_running"
AGREEMENT = "agreement_out_of_range"
HARD_DISAGREE = "hard_disagree"
MISSING = "canary_missing"
STALE = "stale_telemetry"
TRUNCATED = "truncated_telemetry"
FLIPS = "flip_share"
GATE_FAILED = "gate_failed"
NO_GO = "no_go"

CODES = (
    ACTION_COLLAPSE, DEAD_ZONE, FLAT, NARROW, CONSTANT, NOT_RUNNING, AGREEMENT, HARD_DISAGREE, MISSING, STALE,
    TRUNCATED, FLIPS, GATE_FAILED, NO_GO, INVALID_CONFIDENCE, INVALID_ACTION, INVALID_PAYLOAD,
)  # fmt: skip
MODEL_CODES = frozenset(
    {
        ACTION_COLLAPSE,
        DEAD_ZONE,
        FLAT,
        NARROW,
        CONSTANT,
        NOT_RUNNING,
        INVALID_CONFIDENCE,
        INVALID_ACTION,
        INVALID_PAYLOAD,
    }
)
"""What a gate over the canary alone would fail on: in the monitor any of them brings ``gate_failed`` along."""

GO, WAIT, NO_GO_STATUS = "GO", "WAIT", "NO-GO"
ENSEMBLE = "ensemble"
STREAM = "stream"


@dataclass(frozen=True)
class Limits:
    """The limits. ``*_share``, ``*agreement``, ``max_hard_disagree``, ``min_coverage`` in percent; times in s;
    ``flip_share_max`` is a fraction, and 1 (every decision may flip) turns its rule off."""

    max_action_share: float = 70.0
    max_hold_share: float = 85.0
    min_std: float = 0.05
    min_range: float = 0.12
    constant_std: float = 0.01
    constant_range: float = 0.001
    min_agreement: float = 55.0
    max_agreement: float = 80.0
    max_hard_disagree: float = 20.0
    min_coverage: float = 80.0
    max_fallback_share: float = 20.0
    early_trip_share: float = 97.0
    early_trip_std: float = 0.01
    early_trip_events: float = 30
    early_trip_seconds: float = 600.0
    start_grace: float = 120.0
    flip_share_max: float = 1.0

    @classmethod
    def from_dict(cls, raw: t.Any) -> Limits:
        """Check and take limits; those left out (or None) keep their defaults. Raises BadInput."""
        raw = {} if raw is None else raw
        if not isinstance(raw, t.Mapping):
            raise BadInput(f"limits={raw!r:.80} is not a dictionary", remedy="Give {name: number}.")
        names = [item.name for item in fields(cls)]
        for name in raw:
            if name not in names:
                raise BadInput(f"limits: unknown limit {str(name)!r:.80}", remedy=f"Known are: {', '.join(names)}.")
        limits = cls(**{name: _limit(name, value) for name, value in raw.items() if value is not None})
        if not limits.min_agreement <= limits.max_agreement:
            raise BadInput(
                f"limits: min_agreement={limits.min_agreement:g} is above max_agreement={limits.max_agreement:g}",
                remedy="Give a band that something can lie in.",
            )
        return limits


_RANGES: t.Mapping[str, tuple[float, float, str]] = {
    "min_std": (0, 0.5, "(of a confidence in [0, 1])"),
    "min_range": (0, 1, "(of a confidence in [0, 1])"),
    "constant_std": (0, 0.5, "(of a confidence in [0, 1])"),
    "constant_range": (0, 1, "(of a confidence in [0, 1])"),
    "early_trip_std": (0, 0.5, "(of a confidence in [0, 1])"),
    "early_trip_events": (2, 1_000_000, "decisions"),
    "early_trip_seconds": (0, 86_400, "s"),
    "start_grace": (0, 3_600, "s"),
    "flip_share_max": (0, 1, "(a share of the decisions; 1: no limit)"),
}
_PERCENT = (0.0, 100.0, "percent")


def _limit(name: str, value: t.Any) -> float:
    low, high, unit = _RANGES.get(name, _PERCENT)
    good = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not good or not low <= value <= high:
        raise BadInput(
            f"limits: {name}={value!r:.80} is out of range", remedy=f"Use a number from {low:g} to {high:g} {unit}."
        )
    return float(value)


# The predicates: True = violated.


def share_too_high(share: float, limit: float) -> bool:
    """action_collapse, dead_zone, not_really_running, hard_disagree, flip_share: above the limit, or unknown."""
    return not share <= limit


def too_low(figure: float, limit: float) -> bool:
    """flat_predictions, narrow_range, coverage: below the limit, or unknown."""
    return not figure >= limit


def outside(figure: float, low: float, high: float) -> bool:
    """agreement_out_of_range: outside the band, or unknown."""
    return not low <= figure <= high


def is_constant(std: float, spread: float, limits: Limits) -> bool:
    """constant_output: hardly any spread by either measure, or unknown."""
    return not (std >= limits.constant_std and abs(spread) >= limits.constant_range)


def is_stale(lag_s: float, limit_s: float) -> bool:
    """stale_telemetry: no new decision for longer than the limit, or unknown."""
    return not lag_s <= limit_s


def not_applicable(ensemble: EnsembleFigures, limits: Limits) -> bool:
    """Too few decisions have two voters for the ensemble's rules to mean anything, or that is unknown."""
    return too_low(percent(ensemble.decisions, ensemble.events), limits.min_coverage)


def stands_alone(weight: float | None) -> bool:
    """A canary with all the weight may run without others to agree with: none is left."""
    return weight is not None and weight >= 1.0


def status(own_violations: bool, ensemble: EnsembleFigures, limits: Limits, *, weight: float | None = None) -> str:
    """The scoreboard's word: NO-GO for a rule of the canary's own; GO when the ensemble is well inside its limits;
    else WAIT."""
    if own_violations:
        return NO_GO_STATUS
    if not_applicable(ensemble, limits):
        return GO if stands_alone(weight) else WAIT
    inside = not outside(ensemble.agreement, limits.min_agreement, limits.max_agreement)
    return GO if inside and ensemble.hard_disagree < limits.max_hard_disagree else WAIT


# The judges: figures in, violations out.


def judge_model(model: ModelFigures, limits: Limits) -> list[Violation]:
    """The rules of a single model, on all its valid votes."""
    found = []

    def violated(code: str, measured: float, limit: float, message: str) -> None:
        found.append(Violation(code, model.name, known(measured), limit, message))

    for action in ACTIONS:
        share = model.shares[action]
        if share_too_high(share, limits.max_action_share):
            text = (
                f"Action collapse: {action}={_beyond(share, limits.max_action_share)}% (>{limits.max_action_share:g}%)"
            )
            violated(ACTION_COLLAPSE, share, limits.max_action_share, text)
    hold = model.shares["HOLD"]
    if share_too_high(hold, limits.max_hold_share):
        text = f"Dead zone: HOLD={_beyond(hold, limits.max_hold_share)}% (>{limits.max_hold_share:g}%)"
        violated(DEAD_ZONE, hold, limits.max_hold_share, text)
    if too_low(model.std, limits.min_std):
        text = f"Flat predictions: conf_std={_beyond(model.std, limits.min_std, 4)} (<{limits.min_std:g})"
        violated(FLAT, model.std, limits.min_std, text)
    if too_low(model.range, limits.min_range):
        text = f"Narrow range: p90-p10={_beyond(model.range, limits.min_range, 4)} (<{limits.min_range:g})"
        violated(NARROW, model.range, limits.min_range, text)
    if is_constant(model.std, model.range, limits):
        if too_low(model.std, limits.constant_std):
            figure, limit, name = model.std, limits.constant_std, "conf_std"
        else:
            figure, limit, name = abs(model.range), limits.constant_range, "p90-p10"
        violated(CONSTANT, figure, limit, f"Constant output: {name}={_beyond(figure, limit, 5)} (<{limit:g})")
    if share_too_high(model.fallback_share, limits.max_fallback_share):
        sources = ", ".join(sorted(model.fallback)) or "no votes"
        text = (
            f"Not really running: {_beyond(model.fallback_share, limits.max_fallback_share)}% of its decisions "
            f"from a fallback (>{limits.max_fallback_share:g}%): {sources}"
        )
        violated(NOT_RUNNING, model.fallback_share, limits.max_fallback_share, text)
    return found


def judge_ensemble(ensemble: EnsembleFigures, limits: Limits, *, weight: float | None = None) -> list[Violation]:
    """The rules of the ensemble, or why they cannot be applied."""
    if not_applicable(ensemble, limits):
        return [] if stands_alone(weight) else [no_ensemble(ensemble.decisions, ensemble.events, limits)]
    found = []
    low, high = limits.min_agreement, limits.max_agreement
    if outside(ensemble.agreement, low, high):
        limit = high if ensemble.agreement > high else low
        text = f"Agreement out of range: {_beyond(ensemble.agreement, limit)}% (not {low:g}% to {high:g}%)"
        found.append(Violation(AGREEMENT, ENSEMBLE, known(ensemble.agreement), limit, text))
    if share_too_high(ensemble.hard_disagree, limits.max_hard_disagree):
        text = (
            f"Hard disagreement: {_beyond(ensemble.hard_disagree, limits.max_hard_disagree)}% "
            f"(>{limits.max_hard_disagree:g}%)"
        )
        found.append(Violation(HARD_DISAGREE, ENSEMBLE, known(ensemble.hard_disagree), limits.max_hard_disagree, text))
    return found


def no_ensemble(decisions: int, events: int, limits: Limits) -> Violation:
    """agreement_out_of_range where there is hardly anybody to agree with."""
    text = (
        f"Agreement not applicable: only {decisions} of {events} decisions have two or more voters "
        f"(<{limits.min_coverage:g}%)"
    )
    return Violation(AGREEMENT, ENSEMBLE, None, limits.min_agreement, text)


def judge_blockers(summary: Summary) -> list[Violation]:
    """What could not be read at all. Subject: the model, or the stream when a whole decision is meant."""
    found = []
    for (code, model), blocker in sorted(summary.blockers.items()):
        word = code.replace("_", " ").capitalize()
        text = f"{word}: {blocker.times} time(s), first in {blocker.id}: {blocker.message}"
        found.append(Violation(code, model or STREAM, float(blocker.times), 0.0, text))
    return found


def judge_coverage(name: str, coverage: float, limits: Limits, *, shadow: int = 0) -> list[Violation]:
    """canary_missing: too few decisions carry a vote of the canary. ``coverage`` in percent."""
    if not too_low(coverage, limits.min_coverage):
        return []
    hint = f"; {shadow} vote(s) are marked shadow: the engine did not take it out of shadow" if shadow else ""
    text = f"Canary missing: coverage={_beyond(coverage, limits.min_coverage)}% (<{limits.min_coverage:g}%){hint}"
    return [Violation(MISSING, name, known(coverage), limits.min_coverage, text)]


def judge_lag(lag_s: float, limit_s: float, what: str = "no decision") -> list[Violation]:
    """stale_telemetry."""
    if not is_stale(lag_s, limit_s):
        return []
    text = f"Stale telemetry: {what} for {_beyond(lag_s, limit_s, 0)} s (>{limit_s:g} s)"
    return [Violation(STALE, STREAM, known(lag_s), limit_s, text)]


def judge_early(model: ModelFigures, span_s: float, limits: Limits) -> list[Violation]:
    """The early trip: evidence so gross that it needs no ``min_events``. ``span_s``: first to last vote."""
    if not (model.samples >= limits.early_trip_events and span_s >= limits.early_trip_seconds):
        return []
    of = f"of the first {model.samples}"
    found = _judge_gross_shares(model.name, model.shares, limits, of)
    if too_low(model.std, limits.early_trip_std):
        text = (
            f"Constant output: conf_std={_beyond(model.std, limits.early_trip_std, 5)} "
            f"(<{limits.early_trip_std:g} in the first {model.samples})"
        )
        found.append(Violation(CONSTANT, model.name, known(model.std), limits.early_trip_std, text))
    return found


def judge_gross(
    name: str, shares: t.Mapping[str, float], std: float, spread: float, samples: int, limits: Limits
) -> list[Violation]:
    """What is so gross in the newest ``samples`` votes that it needs no certainty. ``shares`` in percent."""
    found = _judge_gross_shares(name, shares, limits, f"of the newest {samples}")
    if is_constant(std, spread, limits):
        text = (
            f"Constant output: conf_std={_beyond(std, limits.constant_std, 5)}, p90-p10={spread:.3f} in the newest "
            f"{samples} (std <{limits.constant_std:g} or p90-p10 <{limits.constant_range:g})"
        )
        found.append(Violation(CONSTANT, name, known(std), limits.constant_std, text))
    return found


def _judge_gross_shares(name: str, shares: t.Mapping[str, float], limits: Limits, of: str) -> list[Violation]:
    found = []
    for action in ACTIONS:
        share = shares[action]
        if share_too_high(share, limits.early_trip_share):
            text = (
                f"Action collapse: {action}={_beyond(share, limits.early_trip_share)}% "
                f"(>{limits.early_trip_share:g}% {of})"
            )
            found.append(Violation(ACTION_COLLAPSE, name, known(share), limits.early_trip_share, text))
    return found


def judge_fallback(name: str, share: float, samples: int, limits: Limits) -> list[Violation]:
    """not_really_running in the newest ``samples`` votes. ``share`` in percent."""
    if not share_too_high(share, limits.max_fallback_share):
        return []
    text = (
        f"Not really running: {_beyond(share, limits.max_fallback_share)}% of its newest {samples} decisions from a "
        f"fallback (>{limits.max_fallback_share:g}%)"
    )
    return [Violation(NOT_RUNNING, name, known(share), limits.max_fallback_share, text)]


def judge_flips(name: str, flipped: int, compared: int, limits: Limits) -> list[Violation]:
    """flip_share: of the decisions the ensemble takes, those that are others than at the baseline's weights."""
    limit = limits.flip_share_max
    share = flipped / compared if compared else math.nan
    if limit >= 1 or not share_too_high(share, limit):
        return []
    text = (
        f"Flip share: {_beyond(100 * share, 100 * limit)}% of the ensemble's decisions are not the baseline's "
        f"(>{100 * limit:g}%), {flipped} of {compared}"
    )
    return [Violation(FLIPS, name, known(100 * share), 100 * limit, text)]


def derived(violations: t.Sequence[Violation], model: str, word: str) -> list[Violation]:
    """The codes that accompany others: ``gate_failed`` for a rule of the canary's own, ``no_go`` for the status."""
    own = sorted({item.code for item in violations if item.subject == model and item.code in MODEL_CODES})
    found = []
    if own:
        found.append(Violation(GATE_FAILED, model, None, None, f"Quality gate failed: {', '.join(own)}"))
    if word == NO_GO_STATUS:
        found.append(Violation(NO_GO, model, None, None, "Scoreboard status: NO-GO"))
    return found


def _beyond(figure: float, limit: float, digits: int = 1) -> str:
    """The figure rounded for people, with as many digits as it takes not to look equal to its limit."""
    if not math.isfinite(figure):
        return "unknown"
    while digits < 12 and float(f"{figure:.{digits}f}") == limit:
        digits += 1
    return f"{figure:.{digits}f}"
