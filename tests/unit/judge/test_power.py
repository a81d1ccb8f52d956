# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run can see: the formulas against simulated runs of the judge's own evidence."""

from __future__ import annotations

import math
import random

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.buckets import Stretch
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.claims import VIOLATED, Evidence, claims_of
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.frame import Frame
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.power import Reach, reach
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.rules import Limits

CLAIMS = claims_of(Limits())
MEANS = {
    "BUY": 0.3, "SELL": 0.3, "HOLD": 0.4, "agreement": 0.65, "hard_disagree": 0.1, "confidence": 0.0, "variance": 0.01,
}  # fmt: skip


def frame(buckets: int = 72, scale: float = 1.0, **changes: object) -> Frame:
    spreads = {
        "BUY": 0.06, "SELL": 0.06, "HOLD": 0.06, "agreement": 0.04, "hard_disagree": 0.04, "confidence": 0.01,
        "variance": 0.001,
    }  # fmt: skip
    return Frame(
        bucket_s=300.0, buckets=buckets, tau_s=20.0, rate_per_s=0.2, centre=0.6, decisions=4000, history_s=20_000.0,
        means=MEANS, spreads={name: scale * value for name, value in spreads.items()}, **changes,  # type: ignore[arg-type]
    )  # fmt: skip


def of(found: tuple[Reach, ...], metric: str, side: str) -> Reach:
    return next(item for item in found if (item.claim.metric, item.claim.side) == (metric, side))


def bucket(agreement: float) -> Stretch:
    """A healthy bucket of 60 votes but for its agreement."""
    return Stretch(0, 299_000, 60, [18, 18, 24], 60, 0, 0.0, 0.6, {500: 30, 700: 30}, 60, 60 * agreement, 6)


def found_share(mean: float, learnt: Frame, runs: int = 300, seed: int = 3, begins: int = 0) -> float:
    """How often a run finds that agreement lies at ``mean`` from bucket ``begins`` on."""
    rng, seen = random.Random(seed), 0
    spread = learnt.spreads["agreement"]
    for _run in range(runs):
        evidence = Evidence(CLAIMS, learnt)
        for number in range(learnt.buckets):
            here = mean if number >= begins else 0.65
            evidence.add(bucket(min(1.0, max(0.3, rng.gauss(here, spread)))))
            state = next(item for item in evidence.read() if item.claim.name == "agreement below 0.55").state
            if state == VIOLATED:
                seen += 1
                break
    return seen / runs


@pytest.mark.parametrize(("buckets", "scale"), [(24, 1.0), (36, 2.0)])
def test_what_is_said_to_be_seen_is_seen_with_chance_80_percent(buckets: int, scale: float) -> None:
    learnt = frame(buckets, scale)
    item = of(reach(CLAIMS, learnt), "agreement", "below")
    assert item.seen is not None
    assert 0.74 <= found_share(item.seen, learnt, 120) <= 0.97
    assert found_share((item.seen + 0.55) / 2 + 0.02, learnt, 60) < 0.74


def test_a_change_at_half_time_is_seen_with_chance_80_percent() -> None:
    learnt = frame(36, 0.5)
    item = of(reach(CLAIMS, learnt), "agreement", "below")
    assert item.seen_late is not None
    # The run's own steps hold the change too, which makes the detector a little slower than what was learnt says.
    assert found_share(item.seen_late, learnt, 120, begins=18) > 0.65


def test_more_buckets_and_less_noise_see_more() -> None:
    for metric, side in {(claim.metric, claim.side) for claim in CLAIMS}:
        sharp, plain, rough, short = (
            of(reach(CLAIMS, learnt), metric, side) for learnt in (frame(72, 0.5), frame(), frame(72, 2.0), frame(24))
        )
        sign = 1 if side == "above" else -1
        assert plain.seen is not None
        assert sharp.seen is not None
        assert short.seen is None or sign * (short.seen - plain.seen) > 0
        assert sign * (plain.seen - sharp.seen) > 0
        assert rough.seen is None or sign * (rough.seen - plain.seen) > 0
        assert plain.seen_late is None or sign * (plain.seen_late - plain.seen) >= 0
        assert sign * (plain.seen - plain.claim.limit) > 0
        if plain.kept is not None:
            assert sign * (plain.claim.limit - plain.kept) > 0


def test_what_was_not_learnt_is_not_known() -> None:
    for item in reach(CLAIMS, Frame()):
        assert not item.learnt
        assert (item.now, item.seen, item.seen_late, item.kept) == (None, None, None, None)


def test_too_few_buckets_keep_nothing_and_noise_beyond_every_figure_sees_nothing() -> None:
    assert all(item.kept is None for item in reach(CLAIMS, frame(9)))
    found = of(reach(CLAIMS, frame(9, 6.0)), "BUY", "above")
    assert found.learnt
    assert found.seen is None
    assert math.isclose(found.now or 0, 0.3)
