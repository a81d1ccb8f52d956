# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""What the policy ``sequential`` found, in words a person can check: value, limit, interval, how much was seen, and how
often a canary that just keeps the rule would look so. Pure."""

from __future__ import annotations

import math
import typing as t

from ..verdict import Violation, about
from . import rules
from .claims import (
    AGREEMENT_METRIC,
    CHANGE,
    FLIP_METRIC,
    HARD_METRIC,
    KEPT,
    OPEN,
    PROMOTION_ALPHA,
    RANGE,
    STD,
    SUSPENDED,
    VIOLATED,
    Claim,
    Reading,
)
from .evidence import ABOVE
from .frame import Frame
from .summary import known

_NAMES = {
    STD: "conf_std",
    RANGE: "p90-p10",
    AGREEMENT_METRIC: "agreement",
    HARD_METRIC: "hard disagreement",
    FLIP_METRIC: "flip share",
}
_HEADS = {
    rules.ACTION_COLLAPSE: "Action collapse",
    rules.DEAD_ZONE: "Dead zone",
    rules.FLAT: "Flat predictions",
    rules.NARROW: "Narrow range",
    rules.AGREEMENT: "Agreement out of range",
    rules.HARD_DISAGREE: "Hard disagreement",
    rules.FLIPS: "Flip share",
}


def subject(claim: Claim, model: str) -> str:
    """Whose rule it is."""
    return rules.ENSEMBLE if claim.metric in (AGREEMENT_METRIC, HARD_METRIC) else model


def _is_spread(item: Claim) -> bool:
    return item.metric in (STD, RANGE)


def _figure(item: Claim, value: float) -> str:
    """A figure for people: percent for shares, four digits for a spread of confidence."""
    if not math.isfinite(value):
        return "unknown"
    return f"{value:.4f}" if _is_spread(item) else f"{100 * value:.1f} %"


def rule(item: Claim) -> str:
    """The rule: ``BUY at most 70 %``."""
    limit = f"{item.limit:g}" if _is_spread(item) else f"{100 * item.limit:g} %"
    return f"{_NAMES.get(item.metric, item.metric)} at {'most' if item.side == ABOVE else 'least'} {limit}"


def _seen(reading: Reading, frame: Frame) -> str:
    return f"{reading.buckets} bucket{'' if reading.buckets == 1 else 's'} of {about(frame.bucket_s)}"


def violation(reading: Reading, frame: Frame, model: str) -> Violation:
    """A rule that is violated for certain. Figures of shares in percent, as everywhere."""
    item = reading.claim
    scale, unit = (1.0, "") if _is_spread(item) else (100.0, "%")
    value = f"{scale * reading.value:.4f}" if not unit else f"{scale * reading.value:.1f}{unit}"
    text = (
        f"{_HEADS[item.code]}: {_NAMES.get(item.metric, item.metric)}={value} "
        f"({'>' if item.side == ABOVE else '<'}{scale * item.limit:g}{unit}), certain "
        f"{'in the newest' if reading.by == CHANGE else 'over'} {_seen(reading, frame)} ({reading.by}): "
        f"of canaries that keep the rule 1 in {1 / reading.alpha:.0f} would look so"
    )
    return Violation(item.code, subject(item, model), known(scale * reading.value), scale * item.limit, text)


_STATES = {
    KEPT: "kept for certain",
    VIOLATED: "violated for certain",
    OPEN: "not certain yet",
    SUSPENDED: "nothing is certain: the buckets resemble their neighbours",
}


def sentence(reading: Reading, frame: Frame) -> str:
    """What is known of a claim: ``BUY at most 70 %: kept for certain, 63.1 % (58.0 % to 68.2 %) over 24 buckets``."""
    item = reading.claim
    if not reading.buckets:
        return f"{rule(item)}: no bucket yet"
    between = f"{_figure(item, reading.low)} to {_figure(item, reading.high)}"
    return (
        f"{rule(item)}: {_STATES[reading.state]}, {_figure(item, reading.value)} ({between}) "
        f"over {_seen(reading, frame)}"
    )


def so_far(model: str, events: int, readings: t.Sequence[Reading], frame: Frame) -> str:
    """The verdict ok in words: how much is certain, and what is not."""
    kept = sum(item.state == KEPT for item in readings)
    text = f"{events} decisions, nothing against {model}; {kept} of {len(readings)} rules are kept for certain"
    unsure = [item for item in readings if item.state != KEPT]
    if unsure:
        text += f"; {sentence(unsure[0], frame)}"
    return text if len(unsure) < 2 else f"{text}; and {len(unsure) - 1} more"


def claim(reading: Reading, frame: Frame, decisions: int) -> dict[str, t.Any]:
    """One claim as JSON-ready data, with its sentence. Shares as fractions. ``alpha``: what it may spend on a false
    violation, all looks and detectors together; ``promotion_alpha``: the chance of a false ``kept``."""
    item = reading.claim
    return {
        "code": item.code,
        "metric": item.metric,
        "side": item.side,
        "rule": rule(item),
        "state": reading.state,
        "value": known(reading.value),
        "limit": item.limit,
        "low": known(reading.low),
        "high": known(reading.high),
        "decisions": decisions,
        "buckets": reading.buckets,
        "bucket_s": frame.bucket_s,
        "alpha": reading.alpha,
        "promotion_alpha": PROMOTION_ALPHA,
        "by": reading.by,
        "e_value": reading.e_value,
        "sentence": sentence(reading, frame),
    }
