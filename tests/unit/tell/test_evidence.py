# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a replay came to, in lines: the answer first, numbers of checks in few words, nothing without bounds."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc.command_evidence import code_of
from ansible_collections.qsc.canary.plugins.module_utils.qsc.tell.evidence import MOST_SHOWN, replay_lines


def told(**changes: t.Any) -> dict[str, t.Any]:
    """An answer that is equal, with changes."""
    return {
        "canary_id": "m-1", "policy": "strict", "checks": 720, "recomputed": 720, "whole": True, "differences": [],
        "impossible": {}, "gaps": [], "taken_over": {}, "notes": [], "altered": [], "ledger": [], **changes,
    }  # fmt: skip


def difference(number: int, name: str = "verdict") -> dict[str, t.Any]:
    return {"number": number, "name": name, "recorded": "ok", "recomputed": "violation"}


@pytest.mark.parametrize(
    ("changes", "code", "head"),
    [
        ({}, 0, "EQUAL: 720 of 720 checks of m-1 (strict) were judged again with the same verdicts"),
        ({"taken_over": {"telemetry not read": 2}}, 0, "EQUAL"),
        ({"differences": [difference(17)]}, 1, "DIFFERS: 720 of 720 checks of m-1 (strict) were judged again, and "),
        ({"altered": ["decisions.jsonl"]}, 1, "DIFFERS"),
        ({"ledger": ["line 3 ..."]}, 1, "DIFFERS"),
        ({"whole": False, "recomputed": 0}, 4, "NOT ALL: 0 of 720 checks"),
        ({"whole": False, "differences": [difference(1)]}, 1, "DIFFERS"),
    ],
)
def test_the_answer_comes_first(changes: dict[str, t.Any], code: int, head: str) -> None:
    assert replay_lines(told(**changes))[0].startswith(head)
    assert code_of(told(**changes)) == code


def test_numbers_of_checks_in_few_words() -> None:
    impossible = {"4": "trimmed", "5": "trimmed", "9": "trimmed", "11": "other"}
    differences = [difference(number) for number in (1, 2, 3, 7)]
    found = told(differences=differences, whole=False, impossible=impossible, gaps=[(20, 1 << 50)])
    lines = replay_lines(found)
    assert lines[0].endswith("differ in: checks 1 to 3, 7")
    assert 'verdict of check 1: recorded "ok", recomputed "violation"' in lines
    assert "cannot be recomputed: checks 4 to 5, 9: trimmed" in lines
    assert "cannot be recomputed: check 11: other" in lines
    assert f"not in the log: checks 20 to {1 << 50}" in lines


def test_a_difference_of_the_run_as_a_whole() -> None:
    assert 'model of the run: recorded "ok", recomputed "violation"' in replay_lines(
        told(differences=[difference(0, "model")])
    )


def test_nothing_is_without_bounds_or_reaches_a_terminal_raw() -> None:
    many = [{**difference(number), "recorded": "\x1b[2J" * 500} for number in range(1, 5000, 2)]
    lines = replay_lines(told(differences=many, gaps=[(number, number) for number in range(1, 5000, 2)]))
    assert len(lines) < 2 * MOST_SHOWN + 10
    assert all(line.isprintable() and len(line) < 1000 for line in lines)
