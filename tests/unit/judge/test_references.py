# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The formulas say what other people's packages say (docs/reference-checks.md)."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from references.inputs import plain, wave
from references.ours import FORMULAS, cases, differences
from references.page import HOW, page

CASES = cases()


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda k: f"{CASES[k]['formula']}-{CASES[k]['by']}-{k}")
def test_a_figure_is_the_reference_s(number: int) -> None:
    assert max(differences(CASES[number])) < 1e-12


def test_every_formula_has_references_and_every_reference_its_words() -> None:
    assert {case["formula"] for case in CASES} == set(FORMULAS)
    assert {(case["formula"], case["by"].split()[0]) for case in CASES} == set(HOW)


def test_the_references_are_long_and_lie_on_both_sides() -> None:
    logs = [value for case in CASES if case["formula"] == "betting" for value in case["values"]]
    assert min(logs) < -1 and max(logs) > 10
    assert all(len(case["values"]) == len(case["after"]) for case in CASES)
    radius = next(case for case in CASES if case["formula"] == "radius")
    assert len(repr(radius["values"][0])) >= 14


def test_a_difference_shows() -> None:
    case = next(case for case in CASES if case["formula"] == "betting")
    other: dict[str, t.Any] = {**case, "values": [value + 1e-9 for value in case["values"]]}
    assert max(differences(other)) > 1e-10
    bounds = next(case for case in CASES if case["formula"] == "radius_bounds")
    assert max(differences({**bounds, "values": [[0.0, low] for low, _high in bounds["values"]]})) > 1e-10


def test_the_page_is_what_the_figures_make_it(root: Path) -> None:
    assert (root / "docs/reference-checks.md").read_text() == page(), "run tests/references/page.py"


def test_the_inputs_are_what_their_formula_says() -> None:
    assert plain(3, 0.0, 1.0) == [2571 / 10006, 966 / 10006, 5192 / 10006]
    assert wave(2, 0.5) == [2571 / 10006, 0.5 * (2571 / 10006) + 966 / 10006]
