# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The recorded telemetry of a real ensemble gives, through the module, exactly the figures of its README.

The recording is not part of this project: without it beside the checkout these tests are skipped by name.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from helpers.run_module import run_module
from helpers.telemetry import STREAM

FOLDER = Path(__file__).resolve().parent.parent.parent.parent / "shared" / "data"
RECORDING = FOLDER / "telemetry-2025-11-22.jsonl"
CUTOVER = "2025-11-22T13:32:18Z"
ALIASES = {"xgboost": "xgb", "lightgbm": "lgbm"}

pytestmark = pytest.mark.skipif(not RECORDING.exists(), reason="no recorded telemetry in ../shared/data")


@pytest.fixture
def recorded(redis_server):
    """The recording under its own IDs."""
    pipe = redis_server.client().pipeline(transaction=False)
    for line in RECORDING.read_text().splitlines():
        event = json.loads(line)
        pipe.xadd(STREAM, event["fields"], id=f"{event['ms']}-*")
    pipe.execute()
    return redis_server


def readme():
    """Figures by model, agreement and hard disagreement, as the README beside the recording tells them."""
    text = (FOLDER / "README.md").read_text()
    rows = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 11 and cells[1].isdigit():
            rows[cells[0]] = ([float(cell) for cell in cells[1:10]], cells[10])
    (agreement, hard) = re.search(r"agreement ([\d.]+) %, hard disagreement ([\d.]+) %", text).groups()
    return rows, float(agreement), float(hard)


@pytest.mark.parametrize("aliases", [{}, ALIASES], ids=["names as recorded", "aliases"])
def test_the_figures_and_the_answer_are_those_of_the_readme(recorded, aliases):
    rows, agreement, hard = readme()
    assert len(rows) == 4
    result = run_module("qsc_quality_gate", cutover=CUTOVER, aliases=aliases, **recorded.options())
    assert (result["failed"], result["passed"], result["exit_code"]) == (True, False, 2)
    assert result["events"] == 510
    assert set(result["models"]) == {aliases.get(name, name) for name in rows}
    for name, (wanted, answer) in rows.items():
        model = result["models"][aliases.get(name, name)]
        actions, confidence = model["actions"], model["confidence"]
        found = [model["samples"], *[actions[action]["percent"] for action in ("BUY", "SELL", "HOLD")]]
        found += [confidence[key] for key in ("mean", "std", "p10", "p90", "range")]
        for value, figure in zip(found, wanted):
            # The README rounds shares to four digits and confidences to six; half a digit is its own error.
            assert value == pytest.approx(figure, abs=5.1e-5 if value > 1 else 1e-6)
        assert model["status"] == answer.split(":")[0]
        assert model["coverage"] == 100.0
        assert confidence["normalized"] == 0
    assert result["ensemble"]["agreement"] == pytest.approx(agreement, abs=1e-6)
    assert result["ensemble"]["hard_disagree"] == pytest.approx(hard, abs=1e-6)


def test_shares_are_exact_ratios_of_the_counts(recorded):
    result = run_module("qsc_quality_gate", cutover=CUTOVER, fail_on_violation=False, **recorded.options())
    for model in result["models"].values():
        for action in model["actions"].values():
            assert action["percent"] == pytest.approx(100 * action["count"] / 510, abs=1e-9)


def test_the_two_collapsed_models_are_named_with_their_rules(recorded):
    result = run_module("qsc_quality_gate", cutover=CUTOVER, fail_on_violation=False, **recorded.options())
    found = {(item["subject"], item["code"]) for item in result["violations"]}
    for name in ("nhits", "patchtst"):
        assert {(name, "action_collapse"), (name, "not_really_running")} <= found
    assert ("ensemble", "hard_disagree") in found
    assert not {subject for subject, _code in found} & {"xgboost", "lightgbm"}
    assert "HOLD=82.4% (>70%)" in result["reason"]


def test_neither_collapsed_model_may_be_the_canary_whatever_is_required(recorded):
    for name in ("nhits", "patchtst"):
        result = run_module(
            "qsc_quality_gate", cutover=CUTOVER, models=[name], require=["xgboost"], require_ensemble=False,
            fail_on_violation=False, **recorded.options(),
        )  # fmt: skip
        assert result["exit_code"] == 2


# Aggregate figures of the backtest, pinned: 23 starts, a day in which the rate falls to a third after two hours.
BACKTEST = {
    "xgb": {"strict": (7, 0, 16), "sequential": (0, 0, 23)},
    "lgbm": {"strict": (7, 0, 16), "sequential": (0, 0, 23)},
    "nhits": {"strict": (23, 0, 0), "sequential": (23, 0, 0)},
    "patchtst": {"strict": (23, 0, 0), "sequential": (23, 0, 0)},
}


@pytest.mark.parametrize("model", sorted(BACKTEST))
def test_the_backtest_of_each_model(model):
    result = run_module("qsc_backtest", model=model, file=str(RECORDING), aliases=ALIASES, weight=0.1)
    assert not result["failed"]
    assert (result["decisions"], result["starts"], result["gate_passed"]) == (510, 23, 0)
    found = {item["policy"]: (item["rolled_back"], item["safe"], item["inconclusive"]) for item in result["policies"]}
    assert found == BACKTEST[model]
    for item in result["policies"]:
        assert item["cut_off"] == 0
        if item["rolled_back"]:
            rule = "hard_disagree (ensemble)" if model in ("xgb", "lgbm") else f"action_collapse ({model})"
            assert item["first_rules"] == {rule: item["rolled_back"]}


def test_the_plan_says_that_a_run_could_not_be_concluded():
    result = run_module("qsc_plan", model="xgb", file=str(RECORDING), aliases=ALIASES)
    assert result["first_judgement_s"] > 6 * 3600
    assert any("ends before its first judgement" in note for note in result["notes"])
    assert result["expected_buckets"] < 10
