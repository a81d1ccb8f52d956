# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the collection says in each case of the reference values, and how far that is from them."""

from __future__ import annotations

import json
import math
import typing as t
from collections import Counter
from pathlib import Path

from references.inputs import histograms, pairs, series

from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.compare import kappa_of
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.drift import jensen_shannon
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.evidence import (
    Betting,
    Cusum,
    EmpiricalBernstein,
    Series,
    asymptotic_radius,
    gaussian_ratio,
)
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.frame import correlation_sum

VALUES = Path(__file__).resolve().parent.parent / "unit" / "judge" / "reference_values.json"
Case = t.Mapping[str, t.Any]


def cases() -> list[dict[str, t.Any]]:
    """The reference values."""
    found: list[dict[str, t.Any]] = json.loads(VALUES.read_text())
    return found


def _after(case: Case, process: t.Any, say: t.Callable[[t.Any], list[float]]) -> list[list[float]]:
    """What is said of a process after the observations of which the case has values."""
    row, found = series(dict(case)), []
    for n, y in enumerate(row, 1):
        process(y)
        if n in case["after"]:
            found.append(say(n))
    return found


def _betting(case: Case) -> list[list[float]]:
    item = Betting(case["m"], case["side"])
    return _after(case, item.add, lambda _n: [item.log_e])


def _empirical_bernstein(case: Case) -> list[list[float]]:
    item = EmpiricalBernstein(case["alpha"])
    return _after(case, item.add, lambda _n: list(item.interval()))


def _cusum(case: Case) -> list[list[float]]:
    item = Cusum()
    return _after(
        case,
        lambda y: item.add(gaussian_ratio(y, case["m0"], case["m1"], case["variance"])),
        lambda _n: [item.value, item.highest],
    )


def _series(case: Case) -> list[list[float]]:
    item = Series()
    return _after(case, item.add, lambda n: [item.mean, item.std, item.lag1, item.jumps / (2 * (n - 1))])


def _radius(case: Case) -> list[list[float]]:
    return [[asymptotic_radius(n, case["alpha"], case["optimal"])] for n in case["after"]]


def _kappa(case: Case) -> list[list[float]]:
    found = pairs(series(dict(case)), case["keep"])
    table = Counter((one + 1, other + 1) for one, other in found)
    return [[math.nan if value is None else value for value in kappa_of(table, len(found))]]


def _jensen_shannon(case: Case) -> list[list[float]]:
    value = jensen_shannon(*histograms(series(dict(case)), case["bins"]))
    return [[math.nan if value is None else value]]


FORMULAS: t.Mapping[str, t.Callable[[Case], list[list[float]]]] = {
    "betting": _betting,
    "empirical_bernstein": _empirical_bernstein,
    "radius": _radius,
    "radius_bounds": _radius,
    "cusum": _cusum,
    "series": _series,
    "correlation_sum": lambda case: [[correlation_sum(series(dict(case)))]],
    "kappa": _kappa,
    "jensen_shannon": _jensen_shannon,
}
BOUNDS = ("radius_bounds",)
"""Formulas whose reference values are a lower and an upper bound."""


def differences(case: Case) -> list[float]:
    """How far each figure is from its reference value: absolutely below 1, relatively above. Of bounds: by how much
    the figure lies beyond them."""
    found = []
    for ours, theirs in zip(FORMULAS[case["formula"]](case), case["values"]):
        theirs = theirs if isinstance(theirs, list) else [theirs]
        if case["formula"] in BOUNDS:
            low, high = theirs
            found.append(max(0.0, low - ours[0], ours[0] - high))
        else:
            found.extend(abs(one - two) / max(1.0, abs(two)) for one, two in zip(ours, theirs))
    if len(found) < len(case["after"]) or any(math.isnan(one) for one in found):
        raise ValueError(f"a figure is missing: {case}")
    return found
