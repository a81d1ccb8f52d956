# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The policy `sequential`: what is claimed, and when something is certain."""

from __future__ import annotations

import json
import math
import typing as t

import numpy as np
import pytest
from helpers.hostile_state import hostile
from helpers.proportions import at_most
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge import rules
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.buckets import Stretch, bin_of
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.claims import (
    BURN_IN,
    CHANGE,
    EXACT,
    KEPT,
    LONG_RUN,
    OPEN,
    ROLLBACK_ALPHA,
    SUSPENDED,
    VIOLATED,
    Claim,
    Evidence,
    Reading,
    claims_of,
)
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.evidence import ABOVE, BELOW
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.frame import Frame
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.rules import Limits

SPREAD = tuple(0.5 + 0.12 * x for x in (-1.5, -1, -0.5, 0, 0.5, 1, 1.5))
"""Confidences: std .12, p90 - p10 .36."""
LEARNT = Frame(
    bucket_s=300.0,
    buckets=72,
    centre=0.5,
    decisions=1000,
    history_s=9000.0,
    means={"BUY": 0.4, "SELL": 0.3, "HOLD": 0.3, "agreement": 0.7, "hard_disagree": 0.1, "confidence": 0.0, "variance": 0.0144},
    spreads={
        "BUY": 0.06, "SELL": 0.06, "HOLD": 0.06, "agreement": 0.04, "hard_disagree": 0.04, "confidence": 0.02, "variance": 0.002
    },
)  # fmt: skip


def bucket(
    counts: t.Sequence[int] = (40, 30, 30),
    confidences: t.Sequence[float] = SPREAD,
    *,
    agreement: float = 0.7,
    hard: float = 0.1,
    voted: int = 100,
    centre: float = 0.5,
) -> Stretch:
    """A bucket with these votes; its confidences in turn."""
    item = Stretch(1, 2, max(sum(counts), voted), list(counts), voting=sum(counts))
    for number in range(sum(counts)):
        confidence = confidences[number % len(confidences)]
        item.d1 += confidence - centre
        item.d2 += (confidence - centre) ** 2
        place = bin_of(confidence)
        item.bins[place] = item.bins.get(place, 0) + 1
    item.voted, item.agreement, item.hard = voted, agreement * voted, round(hard * voted)
    return item


def evidence(
    buckets: t.Iterable[Stretch], limits: Limits | None = None, frame: Frame = LEARNT, **options: t.Any
) -> Evidence:
    found = Evidence(claims_of(limits or Limits(), **options), frame)
    for item in buckets:
        found.add(item)
    return found


def read(found: Evidence, metric: str, side: str = ABOVE) -> Reading:
    return next(item for item in found.read() if (item.claim.metric, item.claim.side) == (metric, side))


def wobbling(share: float, n: int, wobble: float = 0.03) -> list[Stretch]:
    """Buckets of 100 votes whose BUY share goes up and down by ``wobble``, without correlation."""
    ups = [1, -1, -1, 1, 1, -1, 1, -1]
    buys = [round(100 * (share + wobble * ups[k % len(ups)])) for k in range(n)]
    return [bucket((buy, (100 - buy) // 2, 100 - buy - (100 - buy) // 2)) for buy in buys]


# What is claimed


def test_the_claims_of_the_default_limits() -> None:
    assert [(item.code, item.name) for item in claims_of(Limits())] == [
        (rules.ACTION_COLLAPSE, "BUY above 0.7"),
        (rules.ACTION_COLLAPSE, "SELL above 0.7"),
        (rules.ACTION_COLLAPSE, "HOLD above 0.7"),
        (rules.FLAT, "std below 0.05"),
        (rules.NARROW, "range below 0.12"),
        (rules.AGREEMENT, "agreement below 0.55"),
        (rules.AGREEMENT, "agreement above 0.8"),
        (rules.HARD_DISAGREE, "hard_disagree above 0.2"),
    ]


def test_a_hold_limit_below_the_action_limit_is_the_dead_zone_s() -> None:
    found = {item.metric: item for item in claims_of(Limits(max_hold_share=60.0))}
    assert (found["HOLD"].code, found["HOLD"].limit) == (rules.DEAD_ZONE, 0.6)
    assert (found["BUY"].code, found["BUY"].limit) == (rules.ACTION_COLLAPSE, 0.7)
    same = {item.metric: item for item in claims_of(Limits(max_hold_share=70.0))}
    assert same["HOLD"].code == rules.ACTION_COLLAPSE


def test_who_stands_alone_makes_no_claim_about_others() -> None:
    assert {item.metric for item in claims_of(Limits(), alone=True)} == {"BUY", "SELL", "HOLD", "std", "range"}


def test_a_limit_that_nothing_violates_makes_no_claim() -> None:
    loose = Limits(
        max_action_share=100.0, max_hold_share=100.0, min_std=0.0, min_range=0.0, min_agreement=0.0, max_agreement=100.0,
        max_hard_disagree=100.0,
    )  # fmt: skip
    assert claims_of(loose) == ()
    assert evidence([bucket()] * 20, loose).read() == []
    assert {item.metric for item in claims_of(Limits(max_action_share=100.0))} >= {"HOLD", "std"}


EXTREME = Limits(
    max_action_share=0.0, max_hold_share=0.0, min_std=0.5, min_range=1.0, min_agreement=100.0, max_agreement=100.0,
    max_hard_disagree=0.0,
)  # fmt: skip


@pytest.mark.parametrize("frame", [LEARNT, Frame()], ids=["learnt", "not learnt"])
def test_the_most_extreme_limits_are_certainly_violated(frame: Frame) -> None:
    found = evidence([bucket()] * 15, EXTREME, frame)
    assert {item.claim.metric: item.state for item in found.read()} == {
        name: VIOLATED for name in ("BUY", "SELL", "HOLD", "std", "range", "agreement", "hard_disagree")
    }
    assert all(math.isfinite(item.e_value) for item in found.read() if item.e_value is not None)


def test_the_most_extreme_limits_can_be_kept() -> None:
    nothing = [bucket((0, 0, 100), agreement=1.0, hard=0.0)] * 15
    limits = Limits(
        max_action_share=0.0, max_hold_share=100.0, min_agreement=100.0, max_agreement=100.0, max_hard_disagree=0.0
    )
    states = {item.claim.name: item.state for item in evidence(nothing, limits).read()}
    assert states.pop("HOLD above 0") == VIOLATED
    assert set(states.values()) == {KEPT}
