# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""Degradations planted in the votes of a canary, to see whether and when a policy finds them. Pure: seeded hashes.

What is drawn for a decision depends on the seed and on the decision's place in the recording alone, so that every
start and every policy meets the same one.
"""

from __future__ import annotations

import hashlib
import typing as t
from dataclasses import dataclass

from ..errors import BadInput
from .decisions import ACTIONS, Decision, Vote

COLLAPSE, SHRINK, DROPOUT, CONSTANT = "collapse", "shrink", "dropout", "constant"
KINDS = (COLLAPSE, SHRINK, DROPOUT, CONSTANT)
STANDARD = ("collapse:HOLD:0.9", "shrink:0.1", "dropout:0.5", "constant")
AFTER_S = 3600.0
_FORM = (
    "Use standard, or KIND[@SECONDS]: collapse:HOLD:0.9 (nine in ten votes), shrink:0.1 (the spread of the confidence "
    "times this), dropout:0.5 (every second vote is missing), constant (its last vote again and again)."
)


@dataclass(frozen=True)
class Degradation:
    """``kind`` from ``after_s`` s after the start on. ``amount``: the share of ``action``, the factor of the spread, or
    the chance that a vote is missing."""

    text: str
    kind: str
    after_s: float = AFTER_S
    action: str = "HOLD"
    amount: float = 0.0

    @classmethod
    def parse(cls, text: t.Any) -> Degradation:
        """Take one as an option gives it. Raises BadInput."""
        try:
            return cls._parse(text)
        except (ValueError, AttributeError):
            raise BadInput(f"degradation={text!r:.80} is not a degradation", remedy=_FORM) from None

    @classmethod
    def _parse(cls, text: str) -> Degradation:
        what, at, seconds = text.partition("@")
        after_s = _within(float(seconds), 0, 30 * 86_400) if at else AFTER_S
        kind, *rest = what.split(":")
        action, amount = "HOLD", 0.0
        if kind == COLLAPSE:
            action, share = rest
            amount = _within(float(share), 0, 1)
            if action not in ACTIONS:
                raise ValueError(action)
        elif kind in (SHRINK, DROPOUT):
            (share,) = rest
            amount = _within(float(share), 0, 1)
        elif kind != CONSTANT or rest:
            raise ValueError(kind)
        return cls(text, kind, after_s, action, amount)


def degradations(given: t.Any) -> tuple[Degradation, ...]:
    """Take the option: a list of texts, among them ``standard``. Raises BadInput."""
    if not isinstance(given, (list, tuple)):
        raise BadInput(f"degradation={given!r:.80} is not a list", remedy=_FORM)
    texts = [text for item in given for text in (STANDARD if item == "standard" else (item,))]
    return tuple(Degradation.parse(text) for text in texts)


def _within(value: float, low: float, high: float) -> float:
    if not low <= value <= high:
        raise ValueError(value)
    return value


class Planted:
    """One degradation of one run, from some time after ``start_ms`` on. ``centre``: the mean confidence before it."""

    def __init__(self, what: Degradation, model: str, start_ms: int, centre: float, seed: int) -> None:
        self.what = what
        self.from_ms = start_ms + int(1000 * what.after_s)
        self._model = model
        self._centre = centre
        self._seed = seed
        self._last: Vote | None = None

    def __call__(self, place: int, decision: Decision) -> Decision:
        """The decision at ``place`` of the recording as the ill canary would have made it."""
        vote = decision.votes.get(self._model)
        if vote is None:
            return decision
        if decision.id.ms <= self.from_ms:
            self._last = vote
            return decision
        votes = dict(decision.votes)
        changed = self._changed(vote, place)
        if changed is None:
            del votes[self._model]
        else:
            votes[self._model] = changed
        return decision._replace(votes=votes)

    def _changed(self, vote: Vote, place: int) -> Vote | None:
        what = self.what
        if what.kind == CONSTANT:
            self._last = self._last or vote
            return vote._replace(action=self._last.action, confidence=self._last.confidence)
        if what.kind == SHRINK:
            return vote._replace(confidence=self._centre + what.amount * (vote.confidence - self._centre))
        first, second = chances(self._seed, what.text, place)
        if what.kind == DROPOUT:
            return None if first < what.amount else vote
        if first < what.amount:
            return vote._replace(action=what.action)
        if vote.action != what.action:
            return vote
        others = [action for action in ACTIONS if action != what.action]
        return vote._replace(action=others[second < 0.5])


def chances(seed: int, text: str, place: int) -> tuple[float, float]:
    """Two numbers in [0, 1), uniform, of a seed, a purpose and a place."""
    digest = hashlib.blake2b(f"{seed}\0{text}\0{place}".encode(), digest_size=16).digest()
    return tuple(int.from_bytes(half, "big") / 2.0**64 for half in (digest[:8], digest[8:]))  # type: ignore[return-value]
