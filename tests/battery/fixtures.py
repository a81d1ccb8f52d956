# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Broken canaries: the telemetry of six hours before a cutover and six hours after it, the canary ill from there on.

The decisions are those of the reference engine's market. Only the canary is touched, so the rest stays as healthy as
it can be beside it. The seed is the first that was taken, and no fixture was changed after its outcome was known.
Added later, and said on the page: "unchanged" and "surer".
"""

from __future__ import annotations

import copy
import random
import statistics
import typing as t
from dataclasses import dataclass

from engine.votes import BUY, HOLD, SELL, SYMBOLS, Decision, Market

from helpers.telemetry import MODELS

CANARY = "patchtst"
SEED = 20260110
SEEDS = range(1, 21)
"""Seeds of the runs that show what depends on the draw."""
EVENTS = 2160
"""Decisions before and after the cutover: six hours at the original engine's rate, six a minute."""
TEN = (*SYMBOLS, "DOGEUSDT", "AVAXUSDT", "LINKUSDT", "DOTUSDT")
# The first symbol has two of three decisions.
BUSY = (TEN[0],) * (2 * len(TEN[1:])) + TEN[1:]

Decisions = list[Decision]
Spoil = t.Callable[[Decisions, Decisions, int], None]


class Telemetry(t.NamedTuple):
    """The decisions before and after the cutover."""

    before: Decisions
    after: Decisions


@dataclass(frozen=True)
class Fixture:
    """One canary. ``ill``: it ought to be caught. ``mode`` is the reference engine's, after the cutover;
    ``spoil(before, after, seed)`` edits what was decided."""

    name: str
    text: str
    spoil: Spoil | None = None
    mode: str = "healthy"
    symbols: tuple[str, ...] = TEN
    ill: bool = True

    def telemetry(self, seed: int = SEED) -> Telemetry:
        """Make the decisions; the same ones each time."""
        market = Market(seed, MODELS, CANARY, self.symbols)
        before = [market.decide() for _draw in range(EVENTS)]
        market.set_mode(self.mode)
        after = [market.decide() for _draw in range(EVENTS)]
        if self.spoil is not None:
            self.spoil(before, after, seed)
        return Telemetry(before, after)


def confidences(decisions: t.Iterable[Decision]) -> list[float]:
    """The canary's confidences as it published them."""
    return [made.breakdown[CANARY]["confidence"] for made in decisions if CANARY in made.breakdown]


def _each(change: t.Callable[[dict[str, t.Any]], None]) -> Spoil:
    """Change the canary's entry in every decision after the cutover."""

    def spoil(before: Decisions, after: Decisions, seed: int) -> None:
        for made in after:
            change(made.breakdown[CANARY])

    return spoil


def _identical(before: Decisions, after: Decisions, seed: int) -> None:
    after[:] = copy.deepcopy(before)


def _another_model(before: Decisions, after: Decisions, seed: int) -> None:
    """What was learnt anew: it dissents at other times than the old one, and its confidence is calibrated otherwise
    (its logits divided by 1.5, as temperature scaling does)."""
    market = Market(seed + 1, MODELS, "xgb", TEN)  # the canary is one of those that follow, not the one that leads
    after[:] = [market.decide() for _draw in range(EVENTS)]
    for made in after:
        vote = made.breakdown[CANARY]
        odds = (vote["confidence"] / (1 - vote["confidence"])) ** (1 / 1.5)
        vote["confidence"] = round(odds / (1 + odds), 6)


def _constant_median(before: Decisions, after: Decisions, seed: int) -> None:
    median = statistics.median(confidences(before))
    for made in after:
        made.breakdown[CANARY]["confidence"] = median


def _spread(std: float | None, *, times: float = 1.0) -> Spoil:
    """Another spread about the baseline's mean: this standard deviation, or so many times the canary's own."""

    def spoil(before: Decisions, after: Decisions, seed: int) -> None:
        mean, own = statistics.fmean(confidences(before)), confidences(after)
        centre, by = statistics.fmean(own), times if std is None else std / statistics.pstdev(own)
        for made in after:
            vote = made.breakdown[CANARY]
            vote["confidence"] = round(min(1.0, max(0.0, mean + by * (vote["confidence"] - centre))), 6)

    return spoil


def _one_symbol(before: Decisions, after: Decisions, seed: int) -> None:
    for made in after:
        if made.symbol == TEN[0]:
            made.breakdown[CANARY]["action"] = BUY


def _repeated(before: Decisions, after: Decisions, seed: int) -> None:
    median = statistics.median(confidences(before))
    for made in random.Random(seed).sample(after, round(0.6 * len(after))):
        made.breakdown[CANARY]["confidence"] = median


def _hold_share(decisions: Decisions, share: float, rng: random.Random) -> None:
    """Give the canary exactly this share of HOLD. A vote that becomes a trade takes the side of the others', so that
    nothing else goes wrong."""
    holds = [made for made in decisions if made.breakdown[CANARY]["action"] == HOLD]
    trades = [made for made in decisions if made.breakdown[CANARY]["action"] != HOLD]
    surplus = len(holds) - round(share * len(decisions))
    for made in rng.sample(holds, max(0, surplus)):
        others = [vote["action"] for name, vote in made.breakdown.items() if name != CANARY]
        sides = [side for side in (BUY, SELL) if side in others] or [BUY, SELL]
        made.breakdown[CANARY]["action"] = rng.choice(sides)
    for made in rng.sample(trades, max(0, -surplus)):
        made.breakdown[CANARY]["action"] = HOLD


def _shifted(before: Decisions, after: Decisions, seed: int) -> None:
    rng = random.Random(seed)
    _hold_share(before, 0.40, rng)
    _hold_share(after, 0.69, rng)


def _copycat(before: Decisions, after: Decisions, seed: int) -> None:
    for made in after:
        others = [vote["action"] for name, vote in made.breakdown.items() if name != CANARY]
        most = max(others.count(action) for action in others)
        first = [action for action in others if others.count(action) == most]
        if most > 1:  # three that all differ have no majority: its own vote stays
            made.breakdown[CANARY]["action"] = first[0]


def _nan_once(before: Decisions, after: Decisions, seed: int) -> None:
    """In the middle of the six hours."""
    after[len(after) // 2].breakdown[CANARY]["confidence"] = float("nan")


FIXTURES = (
    Fixture("identical", "the baseline's decisions once more", _identical, ill=False),
    Fixture("unchanged", "the same model goes on", ill=False),
    Fixture("another model", "healthy, but votes and is calibrated otherwise", _another_model, ill=False),
    Fixture("constant", "always HOLD, always at 0.5", _each(lambda vote: vote.update(action=HOLD, confidence=0.5))),
    Fixture("constant at the median", "every confidence is the baseline's median", _constant_median),
    Fixture("narrow", "standard deviation .03, the same mean", _spread(0.03)),
    Fixture("wide", "every deviation from the mean doubled, cut at 0 and 1", _spread(None, times=2)),
    Fixture("surer", "every confidence .1 higher, cut at 1",
            _each(lambda vote: vote.update(confidence=round(min(1.0, vote["confidence"] + 0.1), 6)))),
    Fixture("one symbol", "one of ten symbols always BUY, a tenth of the decisions", _one_symbol),
    Fixture("one busy symbol", "one of ten symbols always BUY, two thirds of the decisions", _one_symbol, symbols=BUSY),
    Fixture("one number", "60 % of its confidences are one number, the baseline's median", _repeated),
    Fixture("0 to 100", "confidence on a scale of 0 to 100",
            _each(lambda vote: vote.update(confidence=round(100 * vote["confidence"], 4)))),
    Fixture("mixed scales", "every third confidence is a logit from 1.05 to 4", mode="mixed_kinds"),
    Fixture("lower case", "buy, sell, hold", _each(lambda vote: vote.update(action=vote["action"].lower()))),
    Fixture("half missing", "no vote in half of the decisions", mode="canary_half_absent"),
    Fixture("fallback", "60 % of its votes come from fallback rules", mode="fallback_source"),
    Fixture("NaN once", "one confidence is NaN", _nan_once),
    Fixture("shifted", "HOLD in 69 % of its votes, from 40 %", _shifted),
    Fixture("silent", "not one vote", mode="canary_absent"),
    Fixture("copycat", "always the majority of the others", _copycat),
)  # fmt: skip
