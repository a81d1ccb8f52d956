# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the claims of a run find, on buckets made for the purpose. How often they err: docs/error-rates.md."""

from __future__ import annotations

import numpy as np
import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.buckets import Stretch
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.claims import (
    CHANGE,
    KEPT,
    VIOLATED,
    Evidence,
    claims_of,
)
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.frame import Frame
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.rules import Limits

FRAME = Frame(bucket_s=600.0, buckets=36, means={"agreement": 0.67}, spreads={"agreement": 0.015})


def bucket(agreement: float) -> Stretch:
    """Two hundred decisions of which the canary's part is beyond reproach."""
    bins = dict.fromkeys(range(450, 750, 3), 2)
    return Stretch(
        0, 600_000, 200, [60, 60, 80], 200, 0, 0.0, 200 * 0.08**2, bins, 200, agreement=200 * agreement, hard=10
    )


def fed(limits: Limits, means: list[float]) -> Evidence:
    random = np.random.default_rng(3)
    evidence = Evidence(claims_of(limits), FRAME)
    for mean in means:
        evidence.add(bucket(mean + 0.012 * float(random.standard_normal())))
    return evidence


@pytest.mark.parametrize("agreement", [0.50, 0.51])
def test_four_voters_who_come_to_be_two_against_two_are_found(agreement: float) -> None:
    """They never agree less than .5, so a detector that waits for .45 would see nothing."""
    found = fed(Limits(), [0.67] * 18 + [agreement] * 14).read()
    violated = {(item.claim.name, item.by) for item in found if item.state == VIOLATED}
    assert violated == {("agreement below 0.55", CHANGE)}


def test_a_limit_below_two_against_two_is_watched_as_well() -> None:
    found = fed(Limits(min_agreement=45.0), [0.67] * 18 + [0.34] * 8).read()
    assert [item.claim.name for item in found if item.state == VIOLATED] == ["agreement below 0.45"]


def test_an_agreement_that_is_kept_is_not_violated() -> None:
    assert not [item for item in fed(Limits(), [0.60] * 36).read() if item.state == VIOLATED]


def flips(share: float, seed: int) -> str:
    """The state of the claim about flips at its violation, or at the end of 72 buckets of 100 decisions that stray."""
    random = np.random.default_rng(seed)
    learnt = dict.fromkeys(("BUY", "SELL", "HOLD"), 0.06)
    frame = Frame(bucket_s=300.0, buckets=72, means=dict.fromkeys(learnt, 0.33), spreads=learnt)
    evidence = Evidence(claims_of(Limits(flip_share_max=0.2)), frame)
    state = ""
    for _number in range(72):
        flipped = int(random.binomial(100, random.beta(40 * share, 40 * (1 - share))))
        evidence.add(Stretch(0, 1, 100, compared=100, flipped=flipped))
        [state] = [item.state for item in evidence.read() if item.claim.metric == "flips"]
        if state == VIOLATED:
            break
    return state


def test_flips_are_called_violated_however_often_one_looks_only_when_they_are() -> None:
    just = [flips(0.2, seed) for seed in range(100)]
    assert just.count(VIOLATED) <= 3 and just.count(KEPT) <= 5
    assert {flips(0.3, seed) for seed in range(20)} == {VIOLATED}
    assert [flips(0.1, seed) for seed in range(20)] == [KEPT] * 20
