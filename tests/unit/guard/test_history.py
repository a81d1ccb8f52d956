# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ledger remembers for the operator: a violated model, and one that comes back again and again."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc.files import timestamp
from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard import history

NOW = 1_768_100_000.0
HOUR = 3600.0


def ended(number: int, hours_ago: float, **changes: t.Any) -> dict[str, t.Any]:
    """A run that ended so long ago."""
    return {
        "timestamp": timestamp(NOW - hours_ago * HOUR),
        "action": "rollback_executed",
        "canary_id": f"patchtst-{number}",
        "canary_model": "patchtst",
        "outcome": "terminated",
        "trigger": "engine_restarted",
        "reason": "it fell over",
        **changes,
    }


def started(number: int, hours_ago: float, acknowledged: str = "") -> dict[str, t.Any]:
    return {
        "timestamp": timestamp(NOW - hours_ago * HOUR),
        "action": "canary_activated",
        "canary_id": f"patchtst-{number}",
        "canary_model": "patchtst",
        "acknowledged": acknowledged,
    }


def objection(entries: list[dict[str, t.Any]], acknowledge: str = "", most: int = 3) -> str:
    found = history.find_objection(entries, "patchtst", acknowledge, now=NOW, most=most, window_s=24 * HOUR)
    return "" if found is None else str(found)


THREE = [ended(1, 20), ended(2, 10), ended(3, 1)]


def test_the_loop_breaker() -> None:
    text = objection(THREE)
    assert "patchtst was rolled back 3 times within 24 h, the limit is 3" in text
    assert "engine_restarted: it fell over" in text
    assert "-e acknowledge=patchtst-3" in text
    assert objection(THREE, "patchtst-3") == ""
    assert objection(THREE, "patchtst-2") != "", "an acknowledgement is of the last run"


@pytest.mark.parametrize(
    ("entries", "most"),
    [
        (THREE[1:], 3),
        (THREE, 0),
        ([ended(1, 25), ended(2, 10), ended(3, 1)], 3),
        ([ended(1, 20), ended(2, 10, trigger="manual"), ended(3, 1)], 3),
        ([ended(1, 20), ended(2, 10, outcome="safe", trigger="hold_expired"), ended(3, 1)], 3),
        ([ended(1, 20), ended(2, 10, canary_model="xgb"), ended(3, 1)], 3),
        ([ended(1, 20), started(2, 11, acknowledged="patchtst-1"), ended(2, 10), ended(3, 1)], 3),
        ([*THREE, started(4, 0.5)], 3),
        ([*THREE[:2], ended(3, 1, outcome="")], 3),
    ],
    ids=["two", "off", "old", "by an operator", "safe", "another model", "acknowledged before", "went on", "no run"],
)
def test_what_does_not_count(entries: list[dict[str, t.Any]], most: int) -> None:
    assert objection(entries, most=most) == ""


def test_a_time_that_cannot_be_read_counts() -> None:
    assert objection([ended(1, 0, timestamp="?"), *THREE[1:]]) != ""


def test_a_clock_that_was_put_back_hides_none() -> None:
    assert objection([ended(1, -30), ended(2, -20), ended(3, -10)]) != ""


def test_a_violation_is_named_first() -> None:
    text = objection([*THREE[:2], ended(3, 1, outcome="violated", violations=["HOLD=78.3%"])])
    assert "was violated: HOLD=78.3%" in text
