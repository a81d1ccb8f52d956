# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ways in which a canary, or the ensemble around it, can be ill: one small mode for each rule, and more.

A mode changes as little as it can, so that it breaks the rules it is meant to break and no other. Which ones those
are stands in modes.py.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Callable, NamedTuple

Breakdown = dict[str, dict[str, Any]]
Tamper = Callable[[Breakdown, str, int, random.Random], None]
HEALTHY = "healthy"

# Patterns: how many of the others vote as the canary -> how often. -1 stands for a hard disagreement.
_SOUND = {4: {3: 6, 2: 16, 1: 19, 0: 6, -1: 3}, 5: {4: 3, 3: 14, 2: 19, 1: 6, 0: 5, -1: 3}}
# A canary that always votes the same would drag the others along: here they leave it alone more often.
_ALONE = {4: {3: 8, 2: 18, 1: 14, 0: 8, -1: 2}, 5: {4: 4, 3: 14, 2: 17, 1: 8, 0: 5, -1: 2}}
_SPLIT = {4: {1: 50}, 5: {2: 25, 1: 25}}
_HERD = {4: {3: 40, 2: 6, 0: 4}, 5: {4: 42, 3: 5, 0: 3}}
_FIGHT = {4: {3: 5, 2: 12, 1: 8, 0: 3, -1: 22}, 5: {4: 3, 3: 12, 2: 8, 1: 3, 0: 2, -1: 22}}


class Mode(NamedTuple):
    """One way to behave. ``actions`` replaces the canary's own voting; ``tamper`` edits the finished breakdown."""

    name: str
    text: str
    mix: dict[int, dict[int, int]]
    actions: Sequence[str] | None
    tamper: Tamper

    def patterns(self, models: int) -> list[int]:
        """Return the bag of patterns for so many models."""
        return [same for same, times in self.mix[models].items() for _ in range(times)]


def _nothing(breakdown: Breakdown, canary: str, count: int, rng: random.Random) -> None:
    del breakdown, canary, count, rng


def _confidence(value: Callable[[int, random.Random], float]) -> Tamper:
    """Replace the canary's confidence in every decision."""

    def tamper(breakdown: Breakdown, canary: str, count: int, rng: random.Random) -> None:
        breakdown[canary]["confidence"] = value(count, rng)

    return tamper


def _says(key: str, value: Any, every: int = 10) -> Tamper:
    """Put a fixed value into the canary's entry of each ``every``-th decision."""

    def tamper(breakdown: Breakdown, canary: str, count: int, rng: random.Random) -> None:
        del rng
        if count % every == 0:
            breakdown[canary][key] = value

    return tamper


def _lower_case(breakdown: Breakdown, canary: str, count: int, rng: random.Random) -> None:
    del rng
    if count % 10 == 0:
        breakdown[canary]["action"] = breakdown[canary]["action"].lower()


def _mark(key: str, value: Any, of_10: int = 10) -> Tamper:
    """Set a key of the canary's entry in so many of ten decisions."""

    def tamper(breakdown: Breakdown, canary: str, count: int, rng: random.Random) -> None:
        del rng
        if count % 10 < of_10:
            breakdown[canary][key] = value

    return tamper


def _absent(of_10: int) -> Tamper:
    def tamper(breakdown: Breakdown, canary: str, count: int, rng: random.Random) -> None:
        del rng
        if count % 10 < of_10:
            del breakdown[canary]

    return tamper


def _flat(count: int, rng: random.Random) -> float:
    """Std .036 (below .05) although p90 - p10 is .13 (above .12): 15 % on either side, the rest in the middle."""
    place = count % 20
    return round(0.6 + (0.065 if place < 3 else -0.065 if place < 6 else 0.0) + rng.uniform(-0.002, 0.002), 6)


def _tails(count: int) -> float | None:
    """4 % far above and 4 % far below: they carry the standard deviation and do not reach the percentiles."""
    return {0: 0.95, 12: 0.25}.get(count % 25)


def _narrow(count: int, rng: random.Random) -> float:
    """Std .10 (above .05) although p90 - p10 is about .06 (below .12)."""
    return _tails(count) or round(0.6 + rng.uniform(-0.04, 0.04), 6)


def _constant_middle(count: int, rng: random.Random) -> float:
    del rng
    return _tails(count) or 0.6


def _logit(breakdown: Breakdown, canary: str, count: int, rng: random.Random) -> None:
    """Confidences above 1, as a model without its last layer gives: sigmoid(1.05 .. 4) is .74 .. .98."""
    del count
    breakdown[canary]["confidence"] = round(rng.uniform(1.05, 6.0), 6)


def _mixed(breakdown: Breakdown, canary: str, count: int, rng: random.Random) -> None:
    if count % 3 == 0:
        breakdown[canary]["confidence"] = round(rng.uniform(1.05, 4.0), 6)


def _pseudo_model(breakdown: Breakdown, canary: str, count: int, rng: random.Random) -> None:
    """The extra entry of the real engine's rules: it is no model and has no vote."""
    del canary, rng
    if count % 4 == 0:
        breakdown["fallback"] = {"action": "BUY", "confidence": 0.6, "model": "fallback_rules"}


def _long_names(breakdown: Breakdown, canary: str, count: int, rng: random.Random) -> None:
    del canary, count, rng
    for name, old in (("xgb", "xgboost"), ("lgbm", "lightgbm")):
        if name in breakdown:
            breakdown[old] = breakdown.pop(name)


def _share(action: str, of_50: int, *rest: str) -> tuple[str, ...]:
    return (action,) * of_50 + tuple(rest[place % len(rest)] for place in range(50 - of_50))


def _modes() -> list[Mode]:
    def mode(
        name: str,
        text: str,
        tamper: Tamper = _nothing,
        mix: dict[int, dict[int, int]] | None = None,
        actions: Sequence[str] | None = None,
    ) -> Mode:
        return Mode(name, text, mix or _SOUND, actions, tamper)

    return [
        mode(HEALTHY, "keeps every rule"),
        mode("action_collapse", "BUY in 92 %", mix=_ALONE, actions=_share("BUY", 46, "HOLD")),
        mode("sell_collapse", "SELL in 92 %", mix=_ALONE, actions=_share("SELL", 46, "HOLD")),
        mode("hold_collapse", "HOLD in 78 %: collapsed, no dead zone", mix=_ALONE,
             actions=_share("HOLD", 39, "BUY", "SELL")),
        mode("dead_zone", "HOLD in 96 %", mix=_ALONE, actions=_share("HOLD", 48, "BUY", "SELL")),
        mode("one_action", "BUY always", mix=_ALONE, actions=("BUY",)),
        mode("flat_predictions", "std .036, p90-p10 .13", _confidence(_flat)),
        mode("narrow_range", "std .10, p90-p10 .06", _confidence(_narrow)),
        mode("constant_output", "one confidence for ever", _says("confidence", 0.6, 1)),
        mode("constant_middle", "p90-p10 0, yet std .10 by rare outliers", _confidence(_constant_middle)),
        mode("nan_confidence", "NaN in every 10th", _says("confidence", float("nan"))),
        mode("infinite_confidence", "Infinity in every 10th", _says("confidence", float("inf"))),
        mode("negative_confidence", "-0.2 in every 10th", _says("confidence", -0.2)),
        mode("text_confidence", "text in every 10th", _says("confidence", "0.61")),
        mode("bool_confidence", "true in every 10th", _says("confidence", True)),
        mode("null_confidence", "null in every 10th", _says("confidence", None)),
        mode("lower_case_action", "buy, sell, hold in every 10th", _lower_case),
        mode("unknown_action", "STRONG_BUY in every 10th", _says("action", "STRONG_BUY")),
        mode("null_action", "null in every 10th", _says("action", None)),
        mode("agreement_low", "two against two, never BUY against SELL", mix=_SPLIT),
        mode("agreement_high", "nearly always unanimous", mix=_HERD),
        mode("hard_disagree", "BUY against SELL in 44 %", mix=_FIGHT),
        mode("canary_absent", "no entry", _absent(10)),
        mode("canary_half_absent", "no entry in half of the decisions", _absent(5)),
        mode("canary_shadow", "predicts, does not vote", _mark("shadow", True)),
        mode("canary_inactive", "did not predict", _mark("inactive", True)),
        mode("fallback_source", "6 of 10 from fallback rules", _mark("model", "patchtst_fallback_rules", 6)),
        mode("insufficient_history", "6 of 10 without history", _mark("model", "patchtst_insufficient_history", 6)),
        mode("some_fallback", "1 of 10 from fallback rules: allowed", _mark("model", "patchtst_fallback_rules", 1)),
        mode("logits", "confidences above 1", _logit),
        mode("mixed_kinds", "every third confidence above 1", _mixed),
        mode("pseudo_model", "an extra entry `fallback`", _pseudo_model),
        mode("long_names", "xgboost and lightgbm for xgb and lgbm", _long_names),
        # What these do to the stream or the payload is the engine's part.
        mode("silent", "publishes nothing"),
        mode("truncation", "trims the stream to 3 entries, again and again"),
        mode("vanished", "deletes the stream and publishes nothing"),
        mode("wrong_type", "puts a text in the stream's place and publishes nothing"),
        mode("breakdown_field", "model_breakdown in an entry field of its own"),
        mode("no_breakdown", "no model_breakdown in every 10th"),
        mode("broken_payload", "payload that is no JSON in every 10th"),
        mode("duplicate_key", "the canary twice in one breakdown, in every 10th"),
        mode("republish", "every decision twice"),
        mode("replay", "the lines of a recorded file, live"),
    ]  # fmt: skip


MODES: dict[str, Mode] = {mode.name: mode for mode in _modes()}
