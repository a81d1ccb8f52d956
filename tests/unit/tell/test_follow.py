# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of a run check by check: the verdict, each rule where it was judged, what comes next, and the end."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc.settings import Paths
from ansible_collections.qsc.canary.plugins.module_utils.qsc.tell import follow
from helpers.machine import Time
from helpers.scenes import SCENES, scene

HOSTILE = "\x1b[2J\x07"


def told(name: str, *, over: bool = False) -> dict[str, t.Any]:
    facts = SCENES[name]()
    record = facts["record"] or {"id": "patchtst-gone"}
    return follow.told(facts, record["id"], over=over)


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("over", [False, True])
def test_everything_is_printable_and_on_one_line_each(name: str, over: bool) -> None:
    found = told(name, over=over)
    assert all(line.isprintable() for line in (*found["check"], *found["ahead"], found["end"]))
    assert bool(found["end"]) == over


def test_a_check_before_it_can_judge_says_how_many_and_how_long() -> None:
    assert told("waiting")["check"][1:] == [
        "  waiting, status WAIT: 120 of 200 decisions, about 11 min at this rate",
    ], "no rule: none was judged"


def test_a_check_that_judged_shows_each_rule_with_value_and_limit() -> None:
    first, second, *rules = told("strict")["check"]
    assert first == "check 336 at 2026-01-10T01:56:08.000Z"
    assert second == "  ok, status GO: 2000 decisions judged, nothing against patchtst"
    text = "\n".join(rules)
    for part in (
        "BUY 23.3 % (<= 70 %)",
        "conf_std 0.1524 (>= 0.05)",
        "agreement 68.0 % (<= 80 %)",
        "agreement 68.0 % (>= 55 %)",
        "hard disagreement 5.8 % (<= 20 %)",
        "newest decision 2 s (<= 200 s)",
    ):
        assert part in text
    assert all(len(line) <= 104 for line in rules)
    assert len(rules) < 11


def test_under_sequential_a_rule_says_what_is_certain() -> None:
    text = "\n".join(told("sequential")["check"])
    assert "BUY 23.3 % (<= 70 %, kept)" in text
    assert "HOLD 63.5 % (<= 70 %, open)" in text


def test_a_violation_comes_first_and_every_other_follows() -> None:
    another = {"code": "std", "subject": "patchtst", "measured": 0.0, "limit": 0.05, "message": "std 0.00 (<0.05)"}
    facts = scene(verdict={"verdict": "violation", "status": "NO-GO"})
    facts["verdict"]["violations"] = [{**another, "message": "HOLD=78.3%"}, another]
    assert follow.check_lines(facts)[1:3] == ["  violation, status NO-GO: HOLD=78.3%", "  std 0.00 (<0.05)"]


def test_a_missed_check_says_why() -> None:
    facts = scene(verdict={"verdict": "transient", "checks_done": 2, "checks_missed": 1, "missed_in_a_row": 1,
                           "message": f"Redis does not answer{HOSTILE}"}, figures={"judged": False})  # fmt: skip
    first, second = follow.check_lines(facts)
    assert first.startswith("check 3 at ")
    assert second.startswith("  missed, 1 in a row: Redis does not answer\N{REPLACEMENT CHARACTER}")


def test_no_check_yet() -> None:
    assert told("not checked yet")["check"] == []


def test_what_comes_next_ends_with_the_way_back() -> None:
    ahead = told("strict")["ahead"]
    assert ahead[0] == "next      safe in 3 h 12 min if nothing happens"
    assert ahead[1].startswith("until     20")
    assert "a check every 30 s" in ahead[1]
    assert ahead[-1] == 'qsc rollback --reason "..."'


def test_nothing_comes_after_the_end() -> None:
    assert told("rolled back", over=True)["ahead"] == []


def test_how_it_ended() -> None:
    assert "ended violated (qsc_monitor_violation: " in told("rolled back", over=True)["end"]
    assert told("rolled back", over=True)["end"].endswith("BACK AT THE BASELINE: pid 4321 runs the baseline.")
    assert "ended terminated (manual: maintenance)" in told("ended by hand", over=True)["end"]
    assert "was promoted meanwhile" in told("promoted", over=True)["end"]
    assert "is on its way back to the baseline, which is NOT PROVEN yet" in told("rolling back", over=True)["end"]
    assert "see: qsc status" in told("paged", over=True)["end"]
    assert "has QSC_CANARY_MODEL" in told("paged", over=True)["end"]
    assert "is gone" in told("none", over=True)["end"]


def test_a_baseline_that_is_not_shown_is_not_claimed() -> None:
    facts = {**SCENES["rolled back"](), "proof": {"state": "unproven", "reason": "no process"}}
    end = follow.end_line(facts, facts["record"]["id"])
    assert "BACK AT" not in end
    assert "THE BASELINE IS NOT SHOWN: what the engine runs is not shown, no process" in end


def test_another_run_is_not_shown_as_this_one() -> None:
    found = follow.told(scene(), "patchtst-before", over=True)
    assert (found["check"], found["ahead"]) == ([], [])
    assert "canary patchtst-before is gone" in found["end"]


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    found = Paths(tmp_path)
    found.figures.parent.mkdir(parents=True)
    return found


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Time:
    fake = Time()
    monkeypatch.setattr(follow, "time", fake)
    return fake


def figures_at(facts: t.Mapping[str, t.Any], shift_s: float = 0.0) -> str:
    return json.dumps({**facts["figures"], "checked_at": facts["verdict"]["checked_at"] + shift_s})


def test_the_figures_of_this_check_are_waited_for(paths: Paths, clock: Time) -> None:
    facts = scene()
    bare = {key: value for key, value in facts.items() if key != "figures"}
    paths.figures.write_text(figures_at(facts, -30))
    clock.at(0.5, lambda: paths.figures.write_text(figures_at(facts)))
    found = follow.with_figures_of_the_check(bare, paths)
    assert found["figures"]["checked_at"] == facts["verdict"]["checked_at"]


def test_figures_of_an_earlier_check_are_not_shown_as_its_own(paths: Paths, clock: Time) -> None:
    facts = scene()
    bare = {key: value for key, value in facts.items() if key != "figures"}
    paths.figures.write_text(figures_at(facts, -30))
    begin = clock.boot
    assert "figures" not in follow.with_figures_of_the_check(bare, paths)
    assert clock.boot - begin == pytest.approx(3, abs=0.2)


def test_a_missed_check_has_no_figures_to_wait_for(paths: Paths, clock: Time) -> None:
    facts = scene(verdict={"verdict": "transient"})
    paths.figures.write_text(figures_at(facts, -30))
    bare = {key: value for key, value in facts.items() if key != "figures"}
    begin = clock.boot
    assert "figures" not in follow.with_figures_of_the_check(bare, paths)
    assert clock.boot == begin
