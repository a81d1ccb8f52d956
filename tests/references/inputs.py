# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The inputs of the reference checks: a formula in integers that any language can repeat, no library's generator.

u_i = ((7919 i^2 + 104729 i) mod 10007) / 10006, i = 1, 2, ...: in [0, 1].
"""

from __future__ import annotations


def unit(i: int) -> float:
    """u_i."""
    return ((7919 * i * i + 104729 * i) % 10007) / 10006


def plain(n: int, low: float, width: float) -> list[float]:
    """low + width u_i, i = 1..n."""
    return [low + width * unit(i) for i in range(1, n + 1)]


def wave(n: int, keep: float) -> list[float]:
    """x_i = keep x_(i-1) + u_i, x_0 = 0, i = 1..n: neighbours resemble each other."""
    row, x = [], 0.0
    for i in range(1, n + 1):
        x = keep * x + unit(i)
        row.append(x)
    return row


def pairs(row: list[float], keep: float) -> list[tuple[int, int]]:
    """Two raters' choices 0, 1, 2: the first half of a row tells one's; the second half, where it is below ``keep``,
    has the other agree, and tells its own choice elsewhere."""
    half = len(row) // 2
    ones = [min(2, int(3 * y)) for y in row[:half]]
    return [(one, one if y < keep else min(2, int(3 * y))) for one, y in zip(ones, row[half:])]


def histograms(row: list[float], bins: int) -> tuple[list[int], list[int]]:
    """How many of the first half of a row, and of the squares of the second half, fall into each of equal bins."""
    half = len(row) // 2
    found = []
    for part in (row[:half], [y * y for y in row[half:]]):
        places = [min(bins - 1, int(bins * y)) for y in part]
        found.append([places.count(place) for place in range(bins)])
    return found[0], found[1]


INPUTS = {"plain": plain, "wave": wave}


def series(case: dict) -> list[float]:
    """The input of a case: {"input": name, "arguments": {...}}."""
    return INPUTS[case["input"]](**case["arguments"])
