# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a simulation says about a chance."""

from __future__ import annotations

import math


def at_most(times: int, runs: int, confidence: float = 0.95) -> float:
    """The upper bound of Clopper and Pearson (1934) of a chance that showed ``times`` in ``runs``."""
    low, high = times / runs, 1.0
    for _number in range(60):
        p = (low + high) / 2
        if _at_most_so_often(times, runs, p) > 1 - confidence:
            low = p
        else:
            high = p
    return high


def _at_most_so_often(times: int, runs: int, p: float) -> float:
    if p >= 1:
        return float(times >= runs)
    logs = (
        math.lgamma(runs + 1)
        - math.lgamma(k + 1)
        - math.lgamma(runs - k + 1)
        + k * math.log(p)
        + (runs - k) * math.log1p(-p)
        for k in range(times + 1)
    )
    return math.fsum(math.exp(log) for log in logs)
