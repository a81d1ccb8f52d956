# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The backtest: starts, counts, intervals, planted degradations, and every option that cannot be meant."""

from __future__ import annotations

import json
import math
import typing as t
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import BadInput
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.backtest import (
    Backtest,
    BacktestOptions,
    backtest,
    wilson,
)
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.planted import (
    STANDARD,
    Degradation,
    Planted,
    degradations,
)
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.recording import (
    EVERYTHING,
    Recording,
    from_file,
)
from ansible_collections.qsc.canary.plugins.module_utils.qsc.tell.backtest import backtest_result
from ansible_collections.qsc.canary.plugins.module_utils.qsc.tell.plot import svg
from helpers.recorded import CANARY, DIALECT, lines, recording

SHORT = {"duration_s": 3600, "min_events": 100, "window_events": 400}


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Two hours and a half at ten decisions a minute."""
    return recording(tmp_path_factory.mktemp("recording"), 1500)


def replayed(found: Recording, **options: t.Any) -> Backtest:
    return backtest(found, BacktestOptions.from_dict({"model": CANARY, **SHORT, **options}))


def test_counts_add_up_and_the_gate_is_asked(healthy: Recording) -> None:
    found = replayed(healthy, every_s=600).to_dict()
    assert found["starts"] == 14
    assert found["gate_passed"] == 14
    for item in found["policies"]:
        assert item["starts"] == 14 == len(item["runs"])
        assert item["rolled_back"] + item["safe"] + item["inconclusive"] + item["cut_off"] == 14
        assert item["rolled_back"] == 0
        assert item["cut_off"] >= 4
        assert item["rollback"]["low"] == 0
        assert 1 < item["rollback"]["runs"] < 5
    json.dumps(found, allow_nan=False)


def test_an_ill_recording_is_rolled_back_everywhere(tmp_path: Path) -> None:
    ill = recording(tmp_path, 900, spoil=lambda _i, said: said[CANARY].update(action="BUY"))
    found = replayed(ill, every_s=600).to_dict()
    assert found["gate_passed"] == 0
    for item in found["policies"]:
        results = [run["result"] for run in item["runs"]]
        assert set(results[:-1]) == {"rolled_back"}  # the recording may end before the last one's early trip
        assert item["rolled_back"] == results.count("rolled_back") >= 7
        assert item["rollback_passed"]["of"] == 0
        assert f"action_collapse ({CANARY})" in item["first_rules"]
        assert not [rule for rule in item["rules"] if rule.startswith("stale")]
        assert 600 <= item["median_s"] < 900  # the early trip


def test_starts_keep_their_distance_and_leave_room(healthy: Recording) -> None:
    found = replayed(healthy, every_s=300, history=50, policy=["strict"])
    ids = [item.id.ms for item in healthy.decisions]
    assert found.starts[0] == ids[49]
    assert {two - one for one, two in zip(found.starts, found.starts[1:])} == {300_000}
    assert sum(ms > found.starts[-1] for ms in ids) >= 100
    assert found.starts[-1] + 300_000 > ids[-100] - 1


def test_starts_between_which_nothing_came_count_once(tmp_path: Path) -> None:
    rows = lines(300)
    gap = [json.dumps({**json.loads(row), "ms": json.loads(row)["ms"] + 36_000_000}) for row in lines(300, seed=2)]
    path = tmp_path / "gap.jsonl"
    path.write_text("\n".join([*rows, *gap]))
    found = replayed(from_file(str(path), DIALECT, EVERYTHING), every_s=300, policy=["strict"])
    assert 6 < len(found.starts) < 15  # 10 h of silence hold one start, not 120


def test_the_step_grows_with_the_recording(healthy: Recording) -> None:
    found = replayed(healthy, starts=7, policy=["strict"])
    assert found.every_s == 1200
    assert len(found.starts) <= 7


def test_too_many_starts_are_refused(healthy: Recording) -> None:
    with pytest.raises(BadInput, match=r"every_s=60 gives 1\d\d starts, more than starts=100"):
        replayed(healthy, every_s=60, starts=100)


def test_a_recording_too_short_for_a_start_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds 110 decisions: too few for one start with 20 before it"):
        replayed(recording(tmp_path, 110))


def test_degradations_are_counted_against_what_would_have_come_anyway(healthy: Recording) -> None:
    found = replayed(healthy, every_s=1200, degradation=["collapse:HOLD:0.95@900", "dropout:0.02@900"])
    for item in found.to_dict()["policies"]:
        collapse, hardly = item["degradations"]
        assert collapse["alive"] == collapse["detected"]["of"] > 4
        assert collapse["anyway"] == 0
        assert collapse["detected"]["count"] >= collapse["alive"] - 2  # the last runs are cut off
        assert 0 < collapse["delay_s"]["median"] <= collapse["delay_s"]["p95"] < 2700
        assert hardly["detected"]["count"] == 0
        assert hardly["delay_s"] == {"median": None, "p95": None}


def test_a_run_that_ended_before_a_degradation_says_nothing_of_it(tmp_path: Path) -> None:
    ill = recording(tmp_path, 900, spoil=lambda _i, said: said[CANARY].update(action="BUY"))
    found = replayed(ill, every_s=600, degradation=["constant@1800"])
    for item in found.to_dict()["policies"]:
        (never,) = item["degradations"]
        assert (never["alive"], never["anyway"], never["detected"]["count"]) == (0, 0, 0)
        assert never["detected"]["share"] is None
    assert "no run left" in "\n".join(backtest_result(found)["report_lines"])


def test_the_same_seed_gives_the_same_result(healthy: Recording) -> None:
    asked = {"every_s": 2400, "degradation": ["dropout:0.2@0", "collapse:BUY:0.72@0"], "policy": ["strict"]}
    one, two, other = (replayed(healthy, seed=seed, **asked).to_dict()["policies"] for seed in (5, 5, 6))
    assert one == two
    assert one != other


def test_progress_is_told_run_by_run(healthy: Recording) -> None:
    seen: list[tuple[int, int]] = []
    asked = BacktestOptions.from_dict({"model": CANARY, **SHORT, "every_s": 2400, "degradation": ["constant"]})
    found = backtest(healthy, asked, lambda done, total: seen.append((done, total)))
    total = len(found.starts) * 2 * 2
    assert seen == [(done, total) for done in range(1, total + 1)]


@pytest.mark.parametrize(
    ("option", "value", "what"),
    [
        ("model", "a b", "model='a b' is not a model's name"),
        ("model", 7, "model=7 is not a model's name"),
        ("policy", ["lenient"], "policy='lenient' is unknown"),
        ("policy", "strict", "policy='strict' is not a list"),
        ("since", "yesterday", "since='yesterday' cannot be read"),
        ("until", "1768000000", "until=1768000000 looks like seconds"),
        ("interval_s", 0, "interval_s=0 is out of range"),
        ("interval_s", "30", "interval_s='30' is out of range"),
        ("every_s", 0.5, "every_s=0.5 is out of range"),
        ("every_s", math.nan, "every_s=nan is out of range"),
        ("starts", 0, "starts=0 is out of range"),
        ("starts", True, "starts=True is out of range"),
        ("history", -1, "history=-1 is out of range"),
        ("seed", 1.5, "seed=1.5 is out of range"),
        ("duration_s", "6h", "duration_s='6h' is out of range"),
        ("min_events", 0, "min_events=0 is out of range"),
        ("limits", {"max_share": 1}, "limits: unknown limit 'max_share'"),
        ("aliases", ["x"], "aliases=['x'] is not a dictionary"),
        ("degradation", "standard", "degradation='standard' is not a list"),
        ("degradation", [3], "degradation=3 is not a degradation"),
        *[
            ("degradation", [text], f"degradation='{text}' is not a degradation")
            for text in ("", "fall", "collapse", "collapse:WAIT:0.9", "collapse:HOLD:1.1", "collapse:HOLD:x", "shrink",
                         "shrink:nan", "shrink:0.5:1", "dropout:-1", "constant:1", "constant@soon",
                         "constant@-1", "constant@nan")
        ],
    ],
)  # fmt: skip
def test_options_that_cannot_be_meant_are_named(option: str, value: t.Any, what: str) -> None:
    with pytest.raises(BadInput) as caught:
        BacktestOptions.from_dict({"model": CANARY, option: value})
    assert what in str(caught.value)
    assert caught.value.remedy


def test_a_range_that_is_none() -> None:
    with pytest.raises(BadInput, match="until='2026-01-10T00:00:00Z' is not after since='2026-01-11T00:00:00Z'"):
        BacktestOptions.from_dict({"model": "xgb", "since": "2026-01-11T00:00:00Z", "until": "2026-01-10T00:00:00Z"})


def test_standard_stands_for_the_four_kinds() -> None:
    assert [item.text for item in degradations(["standard", "constant@0"])] == [*STANDARD, "constant@0"]


@pytest.mark.parametrize(("text", "after"), [("shrink:0.25@0", True), ("shrink:0.25@900000", False)])
def test_a_spread_is_shrunk_by_its_factor(healthy: Recording, text: str, after: bool) -> None:
    what = Planted(Degradation.parse(text), CANARY, healthy.first_ms - 1, 0.55, 0)
    plain = [item.votes[CANARY].confidence for item in healthy.decisions]
    ill = [what(place, item).votes[CANARY].confidence for place, item in enumerate(healthy.decisions)]
    factor = 0.25 if after else 1.0
    assert ill == pytest.approx([0.55 + factor * (value - 0.55) for value in plain])


def test_a_collapse_gives_its_share_and_a_dropout_its_part(healthy: Recording) -> None:
    rows = healthy.decisions
    collapse = Planted(Degradation.parse("collapse:SELL:0.8@0"), CANARY, healthy.first_ms - 1, 0.5, 0)
    ill = [collapse(place, item).votes[CANARY].action for place, item in enumerate(rows)]
    assert ill.count("SELL") / len(ill) == pytest.approx(0.8, abs=0.035)
    dropout = Planted(Degradation.parse("dropout:0.3@0"), CANARY, healthy.first_ms - 1, 0.5, 0)
    left = [CANARY in dropout(place, item).votes for place, item in enumerate(rows)]
    assert left.count(False) / len(left) == pytest.approx(0.3, abs=0.04)
    assert all(len(dropout(place, item).votes) >= 3 for place, item in enumerate(rows))


def test_wilson() -> None:
    """Against the closed form's published value: 7 of 20 gives .1812 to .5671 (Wilson 1927, without continuity)."""
    assert wilson(7, 20) == pytest.approx((0.1812, 0.5671), abs=5e-5)
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(0, 10)[0] == 0.0
    assert wilson(10, 10)[1] == 1.0
    low, high = wilson(50, 100, 2.0)
    assert low < wilson(50, 100)[0]
    assert high > wilson(50, 100)[1]


def test_the_reports_tell_it(healthy: Recording) -> None:
    found = backtest_result(replayed(healthy, every_s=1200, degradation=["constant@600"]))
    text = "\n".join(found["report_lines"])
    assert f"gate      its rules let {CANARY} pass at 7 of the starts" in text
    for policy in ("strict", "sequential"):
        assert f"{policy}" in text
        assert f"| {policy} |" in found["report"]
    assert "the starts overlap" in text
    assert "seed 0" in text
    assert "constant@600" in found["report"]
    root = ET.fromstring(found["plot"])
    bars = [item for item in root.iter() if item.tag.endswith("rect") and len(item)]
    assert len(bars) == 14
    assert all(float(item.attrib["height"]) > 0 for item in bars)


def test_the_picture_and_the_page_take_hostile_names() -> None:
    hostile = "<script>&\x1b[31m|\u202e"
    run = {"start_ms": 0, "result": "rolled_back", "at_s": 9.0, "rules": [hostile], "decisions": 3}
    policy = {
        "policy": "strict", "runs": [run], "safe": 0, "inconclusive": 0, "cut_off": 0,
        "rollback": {"count": 1, "of": 1},
    }  # fmt: skip
    picture = svg({"model": hostile, "policies": [policy], "every_s": 300.0, "duration_s": 60.0})
    root = ET.fromstring(picture)
    assert "\x1b" not in picture
    assert "<script>" in "".join(root.itertext())
    assert not [item for item in root.iter() if item.tag.endswith("script")]
