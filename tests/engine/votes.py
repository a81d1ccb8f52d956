# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The reference engines' market and models: seeded votes, healthy by default, ill when told so.

Nothing of the collection is imported here: the engines are the independent side of every test.

A decision is made canary first: the model that a test watches votes by the symbol's regime, then a *pattern* says how
many of the others vote as it does. So the ensemble's agreement and hard disagreement are set directly, and an ill
canary need not make the ensemble ill. Regimes last some decisions and come from shuffled bags: votes are correlated in
time and by symbol, yet a window of 200 decisions never strays far from the long run.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from .tampering import HEALTHY, MODES, Mode

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "BNBUSDT", "XRPUSDT", "ADAUSDT")
REGIMES = ("up", "down", "flat")
BUY, SELL, HOLD = "BUY", "SELL", "HOLD"

# Out of 10: how the canary votes in each regime of its symbol.
_BY_REGIME = {
    "up": (BUY,) * 6 + (HOLD,) * 4,
    "down": (SELL,) * 6 + (HOLD,) * 4,
    "flat": (HOLD,) * 8 + (BUY, SELL),
}
_T = TypeVar("_T")


class Bag(Generic[_T]):
    """Draws without return until empty, then fills up again: the long-run shares hold in short windows too."""

    def __init__(self, rng: random.Random, items: Sequence[_T]) -> None:
        self._rng = rng
        self._items = list(items)
        self._left: list[_T] = []

    def draw(self) -> _T:
        """Return the next item."""
        if not self._left:
            self._left = list(self._items)
            self._rng.shuffle(self._left)
        return self._left.pop()


class _Symbol:
    """What one symbol remembers between its decisions."""

    def __init__(self, rng: random.Random, models: Sequence[str]) -> None:
        self.regimes = Bag(rng, REGIMES)
        self.regime = self.regimes.draw()
        self.left = rng.randint(2, 8)
        self.actions = {regime: Bag(rng, actions) for regime, actions in _BY_REGIME.items()}
        self.order = list(models)
        rng.shuffle(self.order)
        self.order_left = rng.randint(1, 3)
        self.level = {model: rng.gauss(0.0, 1.0) for model in models}
        self.price = rng.uniform(0.5, 60000.0)


class Decision(NamedTuple):
    """One decision: the symbol's state and each model's entry of ``model_breakdown``."""

    symbol: str
    regime: str
    price: float
    breakdown: dict[str, dict[str, Any]]


class Market:
    """Makes decisions; the same seed, models and modes give the same votes."""

    def __init__(
        self, seed: int, models: Sequence[str], canary: str = "patchtst", symbols: Sequence[str] = SYMBOLS
    ) -> None:
        """``symbols`` have a turn in each round for every time they are named."""
        if canary not in models:
            raise ValueError(f"{canary!r} is none of the models {', '.join(models)}")
        self._rng = random.Random(seed)
        self.models = tuple(models)
        self.canary = canary
        self._mode = MODES[HEALTHY]
        self._round = tuple(symbols)
        self._symbols = {name: _Symbol(self._rng, self._others()) for name in dict.fromkeys(symbols)}
        for symbol in self._symbols.values():
            symbol.level[canary] = self._rng.gauss(0.0, 1.0)
        self._queue: list[str] = []
        self._count = 0
        self._set_bags()

    def _others(self) -> list[str]:
        return [model for model in self.models if model != self.canary]

    def _set_bags(self) -> None:
        self._patterns = self._mode.patterns(len(self.models))
        self._fixed = Bag(self._rng, self._mode.actions) if self._mode.actions else None

    @property
    def mode(self) -> str:
        """The present mode's name."""
        return self._mode.name

    def set_mode(self, name: str) -> None:
        """Behave by another mode from the next decision on; KeyError for an unknown name."""
        mode: Mode = MODES[name]
        if mode is not self._mode:
            self._mode = mode
            self._count = 0
            self._set_bags()

    def decide(self) -> Decision:
        """Return the next decision; every symbol has its turn in each round, in a new order."""
        if not self._queue:
            self._queue = list(self._round)
            self._rng.shuffle(self._queue)
        name = self._queue.pop()
        symbol = self._symbols[name]
        self._move(symbol)
        own = self._fixed.draw() if self._fixed else symbol.actions[symbol.regime].draw()
        actions = self._vote(symbol, own)
        breakdown = {
            model: {
                "action": actions[model],
                "confidence": self._confidence(symbol, model, actions[model]),
                "model": f"{model}_model",
                "version": "20260110_054315",
                "horizon": "4h",
                "features": 49,
                "latency_ms": round(self._rng.uniform(2.0, 30.0), 3),
            }
            for model in self.models
        }
        self._mode.tamper(breakdown, self.canary, self._count, self._rng)
        self._count += 1
        return Decision(name, symbol.regime, symbol.price, breakdown)

    def _move(self, symbol: _Symbol) -> None:
        if symbol.left <= 0:
            symbol.regime = symbol.regimes.draw()
            symbol.left = self._rng.randint(4, 8)
        symbol.left -= 1
        if symbol.order_left <= 0:
            # Who dissents stays so for some decisions, then it is the next one's turn.
            symbol.order.append(symbol.order.pop(0))
            symbol.order_left = self._rng.randint(1, 3)
        symbol.order_left -= 1
        drift = {"up": 0.0004, "down": -0.0004, "flat": 0.0}[symbol.regime]
        symbol.price *= math.exp(drift + self._rng.gauss(0.0, 0.001))

    def _vote(self, symbol: _Symbol, own: str) -> dict[str, str]:
        """Give every other model its action, from how many are to vote as the canary (``own``)."""
        rng = self._rng
        toward = {"up": BUY, "down": SELL, "flat": rng.choice((BUY, SELL))}[symbol.regime]
        other = HOLD if own != HOLD else toward
        same = rng.choice(self._patterns)
        actions = {self.canary: own}
        if same >= 0:
            for place, model in enumerate(symbol.order):
                actions[model] = own if place < same else other
            return actions
        # Hard disagreement: a BUY and a SELL at least, whatever the canary votes.
        against = {BUY: SELL, SELL: BUY, HOLD: SELL if toward == BUY else BUY}[own]
        for place, model in enumerate(symbol.order):
            actions[model] = own
            if place == 0:
                actions[model] = against
            elif place == 1 and own == HOLD:
                actions[model] = toward
        return actions

    def _confidence(self, symbol: _Symbol, model: str, action: str) -> float:
        """Correlated in time for each symbol and model; a little surer of a trade than of waiting."""
        level = 0.7 * symbol.level[model] + math.sqrt(1 - 0.49) * self._rng.gauss(0.0, 1.0)
        symbol.level[model] = level
        centre = 0.60 if action == HOLD else 0.66
        return round(min(0.98, max(0.06, centre + 0.15 * level)), 6)


def ensemble(breakdown: Mapping[str, Mapping[str, Any]], weights: Mapping[str, float]) -> dict[str, Any]:
    """Return what the weighted ensemble does: side, confidence, consensus_count, total_models."""
    score = {BUY: 0.0, SELL: 0.0, HOLD: 0.0}
    votes: list[str] = []
    for model, vote in breakdown.items():
        confidence, action = vote.get("confidence"), str(vote.get("action")).upper()
        if not isinstance(confidence, float) or not 0.0 <= confidence <= 1.0 or action not in score:
            continue
        if not vote.get("shadow") and not vote.get("inactive"):
            score[action] += weights.get(model, 0.0) * confidence
            votes.append(action)
    side = max(score, key=lambda action: score[action])
    total = sum(score.values())
    return {
        "side": side,
        "confidence": round(score[side] / total, 6) if total else 0.0,
        "consensus_count": votes.count(side),
        "total_models": len(breakdown),
    }
