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


INPUTS = {"plain": plain, "wave": wave}


def series(case: dict) -> list[float]:
    """The input of a case: {"input": name, "arguments": {...}}."""
    return INPUTS[case["input"]](**case["arguments"])
