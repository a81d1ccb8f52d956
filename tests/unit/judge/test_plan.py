# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of a run: when it is judged, what it holds, and what speaks against it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import BadInput
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.backtest import BacktestOptions
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.plan import MOST_STARTS, Plan, plan
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.recording import Recording
from ansible_collections.qsc.canary.plugins.module_utils.qsc.tell.backtest import plan_result
from helpers.recorded import CANARY, recording


def planned(found: Recording, **options: object) -> Plan:
    return plan(found, BacktestOptions.from_dict({"model": CANARY, "duration_s": 3600, "min_events": 100, **options}))


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Two hours at ten decisions a minute."""
    return recording(tmp_path_factory.mktemp("busy"), 1200)


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Five hours at one decision a minute."""
    return recording(tmp_path_factory.mktemp("slow"), 300, step_ms=60_000)


def test_the_first_judgement_and_what_the_run_holds(busy: Recording) -> None:
    found = planned(busy).to_dict()
    assert found["first_judgement_s"] == pytest.approx(600, rel=0.15)
    assert found["expected_decisions"] == pytest.approx(600, rel=0.15)
    assert 10 <= found["expected_buckets"] <= 20
    assert found["backtest"]["starts"] <= MOST_STARTS
    assert [item["policy"] for item in found["backtest"]["policies"]] == ["strict", "sequential"]
    json.dumps(found, allow_nan=False)


def test_lines_say_it(busy: Recording) -> None:
    lines = plan_result(planned(busy, run_policy="sequential"))["report_lines"]
    text = "\n".join(lines)
    assert f"plan      {CANARY}: 60 min under sequential" in text
    assert "judged    first after 10 min" in text or "judged    first after 9 min" in text
    assert "history   strict would have rolled back 0 of" in text
    assert "the starts overlap" in text
    assert "what is less passes unseen" in text
    assert "agreement at least 55 % (now 6" in text


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"min_events": 45}, "is after half of the run"),
        ({"min_events": 100}, "the run ends before its first judgement"),
        ({"min_events": 100, "max_wait": 900}, "100 decisions take longer than the longest wait"),
        ({"min_events": 20}, "under sequential the run holds"),
    ],
)
def test_what_speaks_against_the_run_is_said(slow: Recording, options: dict[str, int], what: str) -> None:
    assert any(what in note for note in planned(slow, **options).notes())


def test_a_figure_that_cannot_be_kept_is_named(tmp_path: Path) -> None:
    near = recording(tmp_path, 1200, spoil=lambda i, said: said[CANARY].update(action="BUY" if i % 10 < 7 else "SELL"))
    notes = planned(near).notes()
    assert any("cannot end safe at the present figures: BUY at most 70 %" in note for note in notes)


def test_nothing_speaks_against_a_run_that_can_do_all(busy: Recording) -> None:
    assert planned(busy).notes() == []


def test_a_past_too_short_for_a_start_is_no_error(tmp_path: Path) -> None:
    found = planned(recording(tmp_path, 60))
    assert found.backtest is None
    assert "too few for one start" in found.why_not
    assert "no run could be replayed" in "\n".join(plan_result(found)["report_lines"])


def test_one_decision_tells_no_rate(tmp_path: Path) -> None:
    found = planned(recording(tmp_path, 1))
    assert found.first_judgement_s is None
    assert any("no rate is known" in note for note in found.notes())
    assert "judged    no rate is known" in plan_result(found)["report_lines"]


def test_a_model_that_never_votes_is_an_error(busy: Recording) -> None:
    with pytest.raises(BadInput, match="model='tft' never votes"):
        planned(busy, model="tft")
