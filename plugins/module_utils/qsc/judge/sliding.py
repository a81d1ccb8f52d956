# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""The window of ``strict`` as it moves through recorded decisions: what leaves it is taken out again. Pure.

It equals a window that is read anew at every check in all that the rules look at, at a fraction of the time.
"""

from __future__ import annotations

import typing as t
from bisect import bisect_left, insort
from collections import Counter, deque

from .check import Window
from .cutover import StreamId
from .decisions import INVALID_PAYLOAD, Blocker, Decision
from .impact import Change, Outcome, Tally
from .summary import EnsembleFigures, FirstBlocker, ModelFigures, ModelSummary, Summary


class Ordered(list):  # type: ignore[type-arg]
    """Confidences in order; stands in for the list of all confidences of a model."""

    def append(self, value: float) -> None:
        """One more, at its place."""
        insort(self, value)

    def drop(self, value: float) -> None:
        """Take one of this value out."""
        del self[bisect_left(self, value)]


class Sliding(Window):
    """The newest ``size`` decisions, added oldest first; nothing is compared."""

    def __init__(self, model: str, size: int, change: Change | None = None) -> None:
        super().__init__(tally=None if change is None else Tally(change))
        self._outcomes: deque[Outcome | None] = deque()
        self._model = model
        self._size = size
        self._held: deque[Decision] = deque()
        self._blockers: dict[tuple[str, str], deque[tuple[StreamId, str]]] = {}
        self._figures: tuple[ModelFigures, EnsembleFigures] | None = None
        self.summary.models[model] = _ordered()

    def add(self, decision: Decision, model: str) -> None:
        """One more decision; the oldest leaves when there are too many."""
        self._figures = None
        super().add(decision, model)
        if any(name not in self.summary.models for name in _named(decision)):  # too many names: none was taken
            decision = Decision(decision.id, {}, (Blocker(INVALID_PAYLOAD, "", "too many different models"),))
        self._held.append(decision)
        for blocker in decision.blockers:
            self._blockers.setdefault((blocker.code, blocker.model), deque()).append((decision.id, blocker.message))
        if len(self._held) > self._size:
            self._drop(self._held.popleft())

    def compare(self, decision: Decision) -> None:
        """What is compared between models and between weights."""
        if self.tally is not None:
            self._outcomes.append(self.tally.add(decision))

    def figures(self, model: str) -> tuple[ModelFigures, EnsembleFigures]:
        """The figures of the canary and of the ensemble; they change with a decision only."""
        if self._figures is None:
            self._figures = super().figures(model)
        return self._figures

    def _drop(self, decision: Decision) -> None:
        summary = self.summary
        del self.voted[0]
        if self.tally is not None:
            self.tally.drop(self._outcomes.popleft())
        summary.events -= 1
        summary.first_id = self._held[0].id
        votes: Counter[str] = Counter()
        for name, vote in decision.votes.items():
            model = summary.models[name]
            model.counts[vote.action] -= 1
            if isinstance(model.values, Ordered):
                model.values.drop(vote.confidence)
            else:
                del model.values[0]  # type: ignore[union-attr]  # an array: its first is the oldest
            model.normalized -= vote.normalized
            if vote.fallback:
                model.fallback[vote.source if model.fallback[vote.source] > 0 else _any(model.fallback)] -= 1
            if vote.shadow:
                model.shadow -= 1
            else:
                votes[vote.action] += 1
        if votes:
            _take(summary.agreement, (sum(votes.values()), max(votes.values())))
            summary.hard -= bool(votes["BUY"] and votes["SELL"])
        for name in decision.inactive:
            summary.models[name].inactive -= 1
        for name in decision.ignored:
            summary.ignored[name] -= 1
        for blocker in decision.blockers:
            self._unblock(summary, blocker.code, blocker.model)
        for name in _named(decision):
            if name != self._model and name in summary.models and _empty(summary.models[name]):
                del summary.models[name]

    def _unblock(self, summary: Summary, code: str, model: str) -> None:
        left = self._blockers[(code, model)]
        left.popleft()
        if model:
            _take(summary.models[model].invalid, code)
        if not left:
            del self._blockers[(code, model)], summary.blockers[(code, model)]
            return
        first = left[0][0]
        message = min(text for entry, text in left if entry == first)
        summary.blockers[(code, model)] = FirstBlocker(len(left), first, message)


def _named(decision: Decision) -> tuple[str, ...]:
    return (*decision.votes, *decision.inactive, *(item.model for item in decision.blockers if item.model))


def _ordered() -> ModelSummary:
    return ModelSummary(values=t.cast("t.Any", Ordered()))


def _empty(model: ModelSummary) -> bool:
    return not (model.samples or model.inactive or sum(model.invalid.values()))


def _take(counter: Counter[t.Any], key: t.Any) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]


def _any(counter: Counter[str]) -> str:
    return max(counter, key=lambda name: counter[name])
