# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""How an engine makes one action of its models' votes, as far as the counterfactual must know it. Pure.

An engine that votes otherwise gets a function of its own here, named in ``VOTES``; nothing else knows how votes count.
"""

from __future__ import annotations

import typing as t

from ..errors import BadInput
from .decisions import ACTIONS, Vote

Ballot = tuple[str, str, float]
"""(model, action, confidence) of one model that votes."""
Weights = t.Mapping[str, float]
VoteFunction = t.Callable[[t.Sequence[Ballot], Weights], str]

UNDECIDED = "HOLD"
"""The action of a tie, and of decisions in which nobody with weight votes: nothing is traded then."""
_SAME = 1e-9
"""Relative: scores that differ by less are a tie, in whichever order they were summed."""


def confidence_weighted(ballots: t.Sequence[Ballot], weights: Weights) -> str:
    """The action with the largest sum of weight x confidence over the models that chose it.

    Who has no weight (or none is known of) counts 0; who is missing leaves its weight unused; a tie is ``UNDECIDED``.
    """
    buy = sell = hold = 0.0
    for model, action, confidence in ballots:
        score = weights.get(model, 0.0) * confidence
        if action == "BUY":
            buy += score
        elif action == "SELL":
            sell += score
        else:
            hold += score
    return largest(buy, sell, hold)


def weight_only(ballots: t.Sequence[Ballot], weights: Weights) -> str:
    """The action with the largest sum of weights over the models that chose it, however sure they are."""
    return confidence_weighted([(model, action, 1.0) for model, action, _confidence in ballots], weights)


CONFIDENCE_WEIGHTED = "confidence_weighted"
VOTES: t.Mapping[str, VoteFunction] = {CONFIDENCE_WEIGHTED: confidence_weighted, "weight_only": weight_only}


def largest(buy: float, sell: float, hold: float) -> str:
    """The action with the largest score; ``UNDECIDED`` where two share it or none is above 0."""
    top = max(buy, sell, hold)
    if not top > 0:
        return UNDECIDED
    close = top * (1 - _SAME)
    first = [action for action, score in zip(ACTIONS, (buy, sell, hold)) if score >= close]
    return first[0] if len(first) == 1 else UNDECIDED


def ballots_of(votes: t.Mapping[str, Vote], unshadowed: str = "") -> list[Ballot]:
    """The votes that count. A shadow vote does not, but for that of ``unshadowed``: a canary is taken out of shadow."""
    return [
        (model, vote.action, vote.confidence) for model, vote in votes.items() if not vote.shadow or model == unshadowed
    ]


def vote_named(name: t.Any) -> str:
    """Check the name of a vote function. Raises BadInput."""
    if not isinstance(name, str) or name not in VOTES:
        raise BadInput(f"vote={name!r:.80} is unknown", remedy=f"Use {' or '.join(VOTES)}.")
    return name
