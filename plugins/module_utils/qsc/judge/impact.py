# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""What a share of the weight changes: the ensemble's action at other weights, from the votes that were logged. Pure.

Votes and confidences do not depend on the ensemble's weights, so every decision tells what the ensemble would have done
at any of them. A decision *flips* where that differs from its action at the baseline's weights.
"""

from __future__ import annotations

import typing as t
from collections import Counter
from dataclasses import dataclass, field

from ..errors import BadInput
from ..verdict import printable
from .cutover import StreamId
from .decisions import ACTIONS, Decision
from .vote import CONFIDENCE_WEIGHTED, VOTES, Ballot, Weights, ballots_of

SHARES = (0.0, 0.10, 0.25, 0.50, 1.0)
"""What is shown before a run, besides the share it is to have."""
MOST_SYMBOLS = 64
"""Different symbols that are counted apart; whoever writes the stream must not decide how large a page gets."""
SHOWN_SYMBOLS = 12
OTHERS = "other symbols"
_MOST_WEIGHTS = 256


class Outcome(t.NamedTuple):
    """One decision: the ensemble's action at the baseline's weights and at the others, and the size of its position in
    cents where that is known."""

    before: str
    after: str
    symbol: str
    cents: int | None = None

    @property
    def flips(self) -> bool:
        return self.before != self.after


@dataclass(frozen=True)
class Change:
    """Two sets of weights {model: share} for one canary, and how the engine votes (a name in ``VOTES``)."""

    model: str
    baseline: Weights
    weights: Weights
    vote: str = CONFIDENCE_WEIGHTED

    def outcome(self, decision: Decision) -> Outcome | None:
        """Both actions; None where nobody votes."""
        before, after = _ballots(decision, self.model)
        if not after:
            return None
        vote = VOTES[self.vote]
        return Outcome(vote(before, self.baseline), vote(after, self.weights), decision.symbol, decision.cents)


def _ballots(decision: Decision, model: str) -> tuple[list[Ballot], list[Ballot]]:
    """Who votes at the baseline's weights, and at the canary's: its vote counts there even while it is marked shadow,
    at the baseline only when it is not."""
    own = decision.votes.get(model)
    after = ballots_of(decision.votes, model)
    return (ballots_of(decision.votes) if own is not None and own.shadow else after), after


@dataclass
class Tally:
    """Outcomes, counted: of ``compared`` decisions ``directions`` {(from, to): count} flipped, with positions of
    ``cents`` in all; of ``unsized`` flips no size is known."""

    change: Change
    compared: int = 0
    flipped: int = 0
    unsized: int = 0
    cents: int = 0
    directions: Counter[tuple[str, str]] = field(default_factory=Counter)
    symbols: Counter[str] = field(default_factory=Counter)
    symbol_flips: Counter[str] = field(default_factory=Counter)
    first_id: StreamId | None = None
    last_id: StreamId | None = None

    def add(self, decision: Decision) -> Outcome | None:
        """One more decision, in any order; returns what is to be given to ``drop`` when it is to be left out again."""
        return self.take(decision.id, self.change.outcome(decision))

    def take(self, entry_id: StreamId, outcome: Outcome | None) -> Outcome | None:
        """The same for an outcome that is known."""
        if outcome is None:
            return None
        if outcome.symbol not in self.symbols and len(self.symbols) >= MOST_SYMBOLS:
            outcome = outcome._replace(symbol=OTHERS)
        self.first_id = entry_id if self.first_id is None else min(self.first_id, entry_id)
        self.last_id = entry_id if self.last_id is None else max(self.last_id, entry_id)
        self._count(outcome, 1)
        return outcome

    def drop(self, outcome: Outcome | None) -> None:
        """Leave one out again: counts alone, the first ID stays."""
        if outcome is not None:
            self._count(outcome, -1)

    def _count(self, outcome: Outcome, step: int) -> None:
        self.compared += step
        self.symbols[outcome.symbol] += step
        if outcome.flips:
            self.flipped += step
            self.unsized += step * (outcome.cents is None)
            self.cents += step * (outcome.cents or 0)
            self.directions[(outcome.before, outcome.after)] += step
            self.symbol_flips[outcome.symbol] += step

    @property
    def share(self) -> float | None:
        """Flips among the compared decisions, a fraction; None of nothing."""
        return self.flipped / self.compared if self.compared else None

    def to_dict(self) -> dict[str, t.Any]:
        """As JSON-ready data; the symbols with the most decisions are shown, the rest together."""
        return {
            "weights": dict(self.change.weights),
            "decisions": self.compared,
            "flipped": self.flipped,
            "flip_share": self.share,
            "exposure_usd": self.cents / 100,
            "unsized": self.unsized,
            "directions": [
                {"from": one, "to": two, "count": self.directions[(one, two)]}
                for one in ACTIONS
                for two in ACTIONS
                if self.directions[(one, two)]
            ],
            "symbols": [
                {"symbol": name, "decisions": n, "flipped": flips, "flip_share": flips / n}
                for name, n, flips in self._rows()
            ],
        }

    def _rows(self) -> list[tuple[str, int, int]]:
        order = sorted((name for name in self.symbols if name != OTHERS), key=lambda name: (-self.symbols[name], name))
        rows = [(name, self.symbols[name], self.symbol_flips[name]) for name in order[:SHOWN_SYMBOLS]]
        rest = [*order[SHOWN_SYMBOLS:], OTHERS]
        rows.append((OTHERS, sum(self.symbols[name] for name in rest), sum(self.symbol_flips[name] for name in rest)))
        return [row for row in rows if row[1]]

    def page(self) -> dict[str, t.Any]:
        """The same with what was compared, as the monitor shows it."""
        return {**_what(self), **self.to_dict()}


def _what(tally: Tally) -> dict[str, t.Any]:
    change = tally.change
    return {
        "model": change.model,
        "vote": change.vote,
        "baseline": dict(change.baseline),
        "first_id": str(tally.first_id or ""),
        "last_id": str(tally.last_id or ""),
    }


class Impact:
    """What every share of the canary would change, decision by decision. ``weight``: the share that is asked for."""

    def __init__(self, model: str, baseline: Weights, vote: str, weight: float | None = None) -> None:
        self.model = model
        self.baseline = baseline
        self.weight = weight
        self.vote = vote
        shares = sorted({*SHARES, *([] if weight is None else [weight])})
        self.tallies = {
            share: Tally(Change(model, baseline, weights_at(baseline, model, share), vote)) for share in shares
        }
        self.sides = 0
        self.same = 0
        self.sized = 0

    def add(self, decision: Decision) -> None:
        """One more decision, in any order."""
        before, after = _ballots(decision, self.model)
        if not after:
            return
        vote = VOTES[self.vote]
        now = vote(before, self.baseline)
        for tally in self.tallies.values():
            then = vote(after, tally.change.weights)
            tally.take(decision.id, Outcome(now, then, decision.symbol, decision.cents))
        self.sized += decision.cents is not None
        if decision.side:
            self.sides += 1
            self.same += now == decision.side

    @property
    def asked(self) -> Tally | None:
        """At the share that is asked for."""
        return None if self.weight is None else self.tallies[self.weight]

    def to_dict(self) -> dict[str, t.Any]:
        """As JSON-ready data. ``reproduced``: of the decisions that tell the action the engine took, those in which the
        vote at the baseline's weights is that one; it tells whether this is how the engine votes. ``sized``: decisions
        that tell the size of their position."""
        first = next(iter(self.tallies.values()))
        return {
            **_what(first),
            "weight": self.weight,
            "decisions": first.compared,
            "reproduced": {"decisions": self.sides, "same": self.same},
            "sized": self.sized,
            "shares": [{"share": share, **tally.to_dict()} for share, tally in self.tallies.items()],
        }


def weights_at(baseline: Weights, model: str, share: float) -> dict[str, float]:
    """The baseline with ``model`` at ``share`` and the others in proportion; others that have no weight get none."""
    others = {name: value for name, value in baseline.items() if name != model}
    rest = sum(others.values())
    scale = (1 - share) / rest if rest > 0 else 0.0
    return {**{name: value * scale for name, value in others.items()}, model: share}


def weights_of(option: str, raw: t.Any) -> dict[str, float]:
    """Check {model: weight}, each from 0 to 1; empty when there is none. Their sum does not matter: only what is larger
    does. Raises BadInput."""
    raw = {} if raw is None else raw
    if not isinstance(raw, t.Mapping) or len(raw) > _MOST_WEIGHTS:
        raise BadInput(f"{option}={raw!r:.80} is not a dictionary of weights", remedy="Give {model: weight}.")
    for name, value in raw.items():
        good = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1  # NaN fails
        if not isinstance(name, str) or not name or not good:
            raise BadInput(
                f"{option}: {printable(str(name), 64)}={value!r:.80} is not a weight",
                remedy="Give {model: weight}, each weight from 0 to 1.",
            )
    return {name: float(value) for name, value in raw.items()}
