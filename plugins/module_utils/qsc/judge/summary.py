# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""What a window of decisions holds: summaries that merge, and the unrounded figures the rules compare. Pure.

A summary keeps every confidence, so figures do not depend on the order or on the grouping of merges; or, where it must
not grow with the run, a sketch of them (``bounded``), which cannot be merged.
"""

from __future__ import annotations

import math
import typing as t
from array import array
from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction

from .cutover import StreamId
from .decisions import ACTIONS, INVALID_PAYLOAD, Blocker, Decision
from .sketch import Sketch

NAN = math.nan
MOST_MODELS = 256
"""Different names in one summary: whoever can write the stream must not decide how much memory a check takes."""
MOST_SKETCHED = 64
"""The same for a bounded summary, whose sketches hold up to a thousand bins each."""
_MOST_SOURCES = 16
_OTHER_SOURCES = "other sources"


@dataclass
class ModelSummary:
    """The votes of one model. ``samples`` are its valid votes, of which ``shadow`` did not count in the ensemble."""

    counts: Counter[str] = field(default_factory=Counter)
    values: array[float] | Sketch = field(default_factory=lambda: array("d"))
    shadow: int = 0
    inactive: int = 0
    normalized: int = 0
    fallback: Counter[str] = field(default_factory=Counter)
    invalid: Counter[str] = field(default_factory=Counter)

    @property
    def samples(self) -> int:
        return len(self.values)

    def merge(self, other: ModelSummary) -> ModelSummary:
        """Both together, as a new summary. Raises ValueError for sketches."""
        if not isinstance(self.values, array) or not isinstance(other.values, array):
            raise ValueError("a bounded summary is continued, not merged")
        return ModelSummary(
            self.counts + other.counts,
            self.values + other.values,
            self.shadow + other.shadow,
            self.inactive + other.inactive,
            self.normalized + other.normalized,
            self.fallback + other.fallback,
            self.invalid + other.invalid,
        )


class FirstBlocker(t.NamedTuple):
    """The blockers of one kind: how many, and the oldest of them."""

    times: int
    id: StreamId
    message: str

    def merge(self, other: FirstBlocker) -> FirstBlocker:
        """Both together; the older example stays."""
        first = min(self, other, key=lambda item: (item.id, item.message))
        return FirstBlocker(self.times + other.times, first.id, first.message)


@dataclass
class Summary:
    """A set of decisions. ``agreement`` counts decisions by (voters, votes of the largest group). ``bounded``: its size
    does not grow with them."""

    events: int = 0
    first_id: StreamId | None = None
    last_id: StreamId | None = None
    models: dict[str, ModelSummary] = field(default_factory=dict)
    agreement: Counter[tuple[int, int]] = field(default_factory=Counter)
    hard: int = 0
    ignored: Counter[str] = field(default_factory=Counter)
    blockers: dict[tuple[str, str], FirstBlocker] = field(default_factory=dict)
    fingerprints: array[int] = field(default_factory=lambda: array("q"))
    bounded: bool = False

    def add(self, decision: Decision) -> None:
        """Take one more decision."""
        self.events += 1
        self.first_id = _pick(min, self.first_id, decision.id)
        self.last_id = _pick(max, self.last_id, decision.id)
        names = {*decision.votes, *decision.inactive, *(item.model for item in decision.blockers if item.model)}
        most = MOST_SKETCHED if self.bounded else MOST_MODELS
        if len(self.models) + len(names) > most and len(names.union(self.models)) > most:
            self._block(Blocker(INVALID_PAYLOAD, "", f"more than {most} different models"), decision.id)
            return
        votes: Counter[str] = Counter()
        for name, vote in decision.votes.items():
            model = self._model(name)
            model.counts[vote.action] += 1
            model.values.append(vote.confidence)
            if vote.normalized:
                model.normalized += 1
            if vote.fallback:
                kept = vote.source in model.fallback or len(model.fallback) < _MOST_SOURCES
                model.fallback[vote.source if kept else _OTHER_SOURCES] += 1
            if vote.shadow:
                model.shadow += 1
            else:
                votes[vote.action] += 1
        if votes:
            self.agreement[(sum(votes.values()), max(votes.values()))] += 1
            if votes["BUY"] and votes["SELL"]:
                self.hard += 1
        for name in decision.inactive:
            self._model(name).inactive += 1
        for name in decision.ignored:
            self.ignored[name] += 1
        for blocker in decision.blockers:
            if blocker.model:
                self._model(blocker.model).invalid[blocker.code] += 1
            self._block(blocker, decision.id)
        if decision.fingerprint and not self.bounded:
            self.fingerprints.append(decision.fingerprint)

    def _block(self, blocker: Blocker, entry_id: StreamId) -> None:
        key = (blocker.code, blocker.model)
        new = FirstBlocker(1, entry_id, blocker.message)
        known = self.blockers.get(key)
        self.blockers[key] = known.merge(new) if known else new

    def _model(self, name: str) -> ModelSummary:
        found = self.models.get(name)
        if found is None:
            found = self.models[name] = ModelSummary(values=Sketch()) if self.bounded else ModelSummary()
        return found

    def merge(self, other: Summary) -> Summary:
        """Both together, as a new summary. Associative; no decision may be in both."""
        models = dict(self.models)
        for name, model in other.models.items():
            models[name] = models[name].merge(model) if name in models else model
        blockers = dict(self.blockers)
        for key, first in other.blockers.items():
            blockers[key] = blockers[key].merge(first) if key in blockers else first
        return Summary(
            self.events + other.events,
            _pick(min, self.first_id, other.first_id),
            _pick(max, self.last_id, other.last_id),
            models,
            self.agreement + other.agreement,
            self.hard + other.hard,
            self.ignored + other.ignored,
            blockers,
            self.fingerprints + other.fingerprints,
        )

    @property
    def repeated(self) -> int:
        """Decisions that were published more than once with the same content (at-least-once publishers)."""
        ordered = sorted(self.fingerprints)
        return sum(1 for one, two in zip(ordered, ordered[1:]) if one == two)


def summarise(decisions: t.Iterable[Decision]) -> Summary:
    """The summary of some decisions."""
    summary = Summary()
    for decision in decisions:
        summary.add(decision)
    return summary


def _pick(which: t.Callable[..., StreamId], one: StreamId | None, two: StreamId | None) -> StreamId | None:
    if one is None or two is None:
        return one if two is None else two
    return which(one, two)


@dataclass(frozen=True)
class ModelFigures:
    """One model's figures, unrounded: shares and coverage in percent, NaN where there is nothing to measure."""

    name: str
    samples: int
    shadow: int
    inactive: int
    coverage: float
    voting_coverage: float
    counts: t.Mapping[str, int]
    shares: t.Mapping[str, float]
    mean: float
    std: float
    p10: float
    p90: float
    range: float
    normalized: int
    fallback: t.Mapping[str, int]
    fallback_share: float
    invalid: t.Mapping[str, int]

    @property
    def voting(self) -> bool:
        """True when at least one of its votes counted in the ensemble."""
        return self.samples > self.shadow

    def to_dict(self) -> dict[str, t.Any]:
        """As the modules return it; a figure that is NaN becomes null."""
        return {
            "samples": self.samples,
            "coverage": known(self.coverage),
            "shadow": self.shadow,
            "inactive": self.inactive,
            "actions": {name: {"count": self.counts[name], "percent": known(self.shares[name])} for name in ACTIONS},
            "confidence": {
                "mean": known(self.mean),
                "std": known(self.std),
                "p10": known(self.p10),
                "p90": known(self.p90),
                "range": known(self.range),
                "normalized": self.normalized,
                "mixed": 0 < self.normalized < self.samples,
            },
            "fallback": {"percent": known(self.fallback_share), "sources": dict(self.fallback)},
            "invalid": dict(self.invalid),
        }


def model_figures(name: str, model: ModelSummary, events: int) -> ModelFigures:
    """The figures of one model among ``events`` decisions."""
    n = model.samples
    if isinstance(model.values, Sketch):
        mean, std, p10, p90 = model.values.figures()
    else:
        ordered = sorted(model.values)
        mean, std = mean_std(ordered)
        p10, p90 = percentile(ordered, 10), percentile(ordered, 90)
    return ModelFigures(
        name=name,
        samples=n,
        shadow=model.shadow,
        inactive=model.inactive,
        coverage=percent(n, events),
        voting_coverage=percent(n - model.shadow, events),
        counts={action: model.counts[action] for action in ACTIONS},
        shares={action: percent(model.counts[action], n) for action in ACTIONS},
        mean=mean,
        std=std,
        p10=p10,
        p90=p90,
        range=p90 - p10,
        normalized=model.normalized,
        fallback=dict(model.fallback),
        fallback_share=percent(sum(model.fallback.values()), n),
        invalid=dict(model.invalid),
    )


@dataclass(frozen=True)
class EnsembleFigures:
    """The ensemble's figures over ``decisions``, those with two voters or more; percent, unrounded."""

    events: int
    decisions: int
    agreement: float
    hard_disagree: float
    by_voters: t.Mapping[int, tuple[int, float]]

    def to_dict(self) -> dict[str, t.Any]:
        """As the modules return it. ``by_voters`` shows that a mean may move because a model stopped voting."""
        return {
            "decisions": self.decisions,
            "agreement": known(self.agreement),
            "hard_disagree": known(self.hard_disagree),
            "by_voters": {
                str(voters): {"decisions": count, "agreement": known(agreement)}
                for voters, (count, agreement) in sorted(self.by_voters.items())
            },
        }


def ensemble_figures(summary: Summary) -> EnsembleFigures:
    """The ensemble's figures. Exact rational means: a host at 55 % is at 55 %."""
    by_voters = {}
    for voters in sorted({voters for voters, _top in summary.agreement}):
        rows = {top: count for (found, top), count in summary.agreement.items() if found == voters}
        count = sum(rows.values())
        by_voters[voters] = (count, float(Fraction(100 * sum(top * n for top, n in rows.items()), count * voters)))
    judged = {key: count for key, count in summary.agreement.items() if key[0] >= 2}
    decisions = sum(judged.values())
    agreement = NAN
    if decisions:
        total = sum((Fraction(top * count, voters) for (voters, top), count in judged.items()), Fraction(0))
        agreement = float(100 * total / decisions)
    return EnsembleFigures(summary.events, decisions, agreement, percent(summary.hard, decisions), by_voters)


def percent(part: int, whole: int) -> float:
    """100 part / whole; NaN of nothing."""
    return 100.0 * part / whole if whole else NAN


def mean_std(values: t.Sequence[float]) -> tuple[float, float]:
    """Mean and population standard deviation, by exactly rounded sums; NaN of nothing."""
    n = len(values)
    if not n:
        return NAN, NAN
    mean = math.fsum(values) / n
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / n)


def percentile(ordered: t.Sequence[float], p: float) -> float:
    """The p-th percentile of sorted values, linear between the closest ranks (numpy's default); NaN of nothing."""
    if not ordered:
        return NAN
    place = (len(ordered) - 1) * (p / 100)
    low = math.floor(place)
    if low + 1 >= len(ordered):
        return ordered[-1]
    a, b, part = ordered[low], ordered[low + 1], place - low
    return a + (b - a) * part if part < 0.5 else b - (b - a) * (1 - part)


def known(value: float) -> float | None:
    """The figure, or None when it is none: NaN is not JSON."""
    return value if math.isfinite(value) else None
