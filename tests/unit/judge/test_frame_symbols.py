# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is learnt from the telemetry before a cutover."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.buckets import Observation
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.frame import MOST_BUCKET_S, blocks_of, learn

SYMBOLS = 10
HOURS_6 = 6 * 3600.0


def history(rate_per_s: float, tau_s: float, seed: int) -> list[Observation]:
    """Six hours in which symbols take turns; each remembers its own confidence for tau, and none knows of another."""
    random = np.random.default_rng(seed)
    n = round(HOURS_6 * rate_per_s)
    keep = math.exp(-SYMBOLS / rate_per_s / tau_s) if tau_s else 0.0
    now = random.standard_normal(SYMBOLS)
    found = []
    for k in range(n):
        place = k % SYMBOLS
        now[place] = keep * now[place] + math.sqrt(1 - keep * keep) * random.standard_normal()
        action = "BUY" if now[place] > 0 else "HOLD"
        ms = round(1000 * k / rate_per_s)
        found.append(Observation(ms, action, min(1.0, max(0.0, 0.6 + 0.1 * now[place])), False, False, 0.75, False))
    return found


def lengths(rate_per_s: float, tau_s: float) -> list[float]:
    return [learn(*blocks_of(history(rate_per_s, tau_s, seed)), HOURS_6).bucket_s for seed in range(8)]


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_what_does_not_remember_makes_short_buckets(rate):
    assert max(lengths(rate, 0.0)) <= 300


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_symbols_that_come_again_only_after_blocks_of_others_are_seen_to_remember(rate):
    """At .1/s a block of 30 s holds three decisions; the next ones are about other symbols."""
    found = lengths(rate, 600.0)
    assert sorted(found)[1] >= MOST_BUCKET_S / 2
    assert np.median(found) >= 0.8 * MOST_BUCKET_S
