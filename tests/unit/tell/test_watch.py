# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The live tree of `qsc status --watch`: every state, in words, at any width, and no escape code unless asked for."""

from __future__ import annotations

import re
import time
import typing as t
import unicodedata

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc.tell import watch
from helpers.scenes import SCENES, scene

COLUMNS = (80, 200)
SGR = re.compile(r"\x1b\[\d+m")


def width(line: str) -> int:
    """Cells of a terminal, counted by another way than the code under test."""
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in line)
    return len(line) + wide


def text(name: str, columns: int = 80, **options: t.Any) -> str:
    return "\n".join(watch.tree(SCENES[name](), columns, **options))


def next_of(facts: dict[str, t.Any]) -> str:
    """The sentence after "next"."""
    lines = watch.tree(facts, 400)
    return next(line.split("next", 1)[1].strip() for line in lines if re.search(r"[├└]── next ", line))


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("columns", [*COLUMNS, 20, 40, 79, 1])
def test_no_line_is_wider_than_the_columns(name: str, columns: int) -> None:
    for ascii_only in (False, True):
        lines = watch.tree(SCENES[name](), columns, ascii_only=ascii_only)
        assert len(lines) >= 5
        assert [line for line in lines if width(line) > columns] == []


@pytest.mark.parametrize("name", SCENES)
def test_nothing_of_value_is_cut_at_80_columns(name: str) -> None:
    if name == "hostile":
        return
    cut = [line for line in watch.tree(SCENES[name](), 79) if "…" in line]
    assert [line for line in cut if not line.startswith("    │      ")] == [], (
        "but the end of an ok, which the rules tell"
    )


@pytest.mark.parametrize("name", ["strict", "sequential", "waiting", "violated"])
def test_a_usual_terminal_holds_it(name: str) -> None:
    assert len(watch.tree(SCENES[name](), 79)) <= 24


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("columns", COLUMNS)
def test_plain_is_plain(name: str, columns: int) -> None:
    for line in watch.tree(SCENES[name](), columns):
        assert line.isprintable()
        assert line == line.rstrip()


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("columns", COLUMNS)
def test_colour_changes_nothing_but_colour(name: str, columns: int) -> None:
    coloured = watch.tree(SCENES[name](), columns, colour=True)
    assert any("\x1b[" in line for line in coloured)
    stripped = [SGR.sub("", line).rstrip() for line in coloured]
    assert stripped == watch.tree(SCENES[name](), columns)
    assert all(line.isprintable() for line in stripped)


@pytest.mark.parametrize("name", SCENES)
def test_a_terminal_without_unicode(name: str) -> None:
    lines = watch.tree(SCENES[name](), 80, ascii_only=True)
    assert all(line.isascii() for line in lines)
    assert any("`-- " in line for line in lines)


@pytest.mark.parametrize("name", SCENES)
def test_the_tree_ends_with_its_last_branch(name: str) -> None:
    lines = watch.tree(SCENES[name](), 80)
    branches = [line for line in lines if re.match(r" *[├└]── ", line)]
    assert "└── " in branches[-1]
    assert not any("│" in line for line in lines[lines.index(branches[-1]) :])


def test_a_strict_run() -> None:
    shown = text("strict")
    for part in (
        "prod-7  2026-01-10 01:56:20Z",
        "quantum-ai_engine.service  ● active/running, pid 4321 runs the canary",
        "patchtst-20260110T054315Z-beef  ● active",
        "patchtst 10 % ██", "baseline 20 %",
        "3 h 12 min left of 6 h",
        "done 336 of 336, judged 330, missed 0; safe needs 684 of 720",
        "● ok, status GO, 12 s ago",
        "next       safe in 3 h 12 min if nothing happens",
        "way back   sudo qsc rollback --id patchtst-20260110T054315Z-beef",
        "● watchdog active  ● monitor active  ○ rollback inactive",
    ):  # fmt: skip
        assert part in shown
    rows = [line.split("  ") for line in shown.splitlines() if line.startswith("    HOLD")]
    assert [[cell.strip() for cell in row if cell.strip()][:4] for row in rows] == [
        ["HOLD", "53.5 %", "≤ 70 %", "16.5"]
    ]
    assert "steps" not in shown


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("strict", "conf_std 0.1524 ≥ 0.05 0.1024"),
        ("strict", "agreement 68.0 % ≥ 55 % 13.0"),
        ("strict", "agreement 68.0 % ≤ 80 % 12.0"),
        ("strict", "newest decision 2 s ≤ 200 s 198"),
        ("violated", "HOLD 78.3 % ≤ 70 % 8.3 over"),
        ("sequential", "HOLD 63.5 % ≤ 70 % 6.5 open 51.0 to 76.0 18 buckets"),
        ("sequential", "p90-p10 0.3923 ≥ 0.12 0.2723 kept 0.2000 to 0.5500 18 buckets"),
        ("sequential", "agreement 57.0 % ≥ 55 % 2.0 suspended 46.1 to 67.9 18 buckets"),
    ],
)
def test_a_rule_with_value_limit_distance_and_what_is_certain(name: str, cells: str) -> None:
    rows = [" ".join(line.replace("█", "").replace("░", "").split()) for line in watch.tree(SCENES[name](), 200)]
    assert cells in rows


def test_an_unknown_value_is_said_to_be_unknown() -> None:
    facts = scene()
    facts["figures"]["rules"][0]["value"] = None
    row = next(line for line in watch.tree(facts, 80) if "BUY" in line)
    assert row.split() == ["BUY", "unknown", "≤", "70", "%", "unknown"]


@pytest.mark.parametrize(
    ("value", "limit", "side", "colour"),
    [(30.0, 70.0, "most", "32"), (66.0, 70.0, "most", "33"), (70.1, 70.0, "most", "31"),
     (100.0, 80.0, "least", "32"), (81.0, 80.0, "least", "33"), (79.9, 80.0, "least", "31"), (0.0, 0.0, "most", "32")],
)  # fmt: skip
def test_near_the_limit_is_seen(value: float, limit: float, side: str, colour: str) -> None:
    facts = scene()
    facts["figures"]["rules"] = [{**facts["figures"]["rules"][0], "value": value, "limit": limit, "side": side}]
    row = next(line for line in watch.tree(facts, 80, colour=True) if "BUY" in line)
    assert f"\x1b[{colour}m" in row
    assert not any(f"\x1b[{other}m" in row for other in {"31", "32", "33"} - {colour})


NEXT: t.Mapping[str, str] = {
    "none": "nothing: a canary is started with playbooks/activate.yml",
    "arming": "goes back to the baseline at 2026-01-09 23:11:40Z unless the activation is completed",
    "waiting": "judged from 200 decisions on, safe in 3 h 12 min or later",
    "not checked yet": "the monitor's first check",
    "strict": "safe in 3 h 12 min if nothing happens",
    "sequential": "in 3 h 12 min: safe if every rule is certain to be kept by then, else back to the baseline",
    "extended": (
        "safe as soon as every rule is certain; else back to the baseline at 2026-01-10 03:08:20Z (in 1 h 12 min)"
    ),
    "safe": "goes back to the baseline at 2026-01-11 01:08:20Z (in 23 h 12 min) unless it is promoted",
    "safe with steps": (
        "goes back to the baseline at 2026-01-11 01:08:20Z (in 23 h 12 min) unless it is promoted to 25 %"
    ),
    "safe and held back": (
        "goes back to the baseline at 2026-01-11 01:08:20Z (in 23 h 12 min) unless it is promoted to 25 %. Held back: "
        "paused since 2026-01-10T01:00:00.000Z by root: earnings week; the step to 25 % needs an approval: "
        "qsc rollout approve 0.25"
    ),
    "inconclusive": ("goes back to the baseline at 2026-01-11 01:08:20Z (in 23 h 12 min): it can never be promoted"),
    "violated": "goes back to the baseline now: the monitor found a violation",
    "rolling back": "goes back to the baseline now, until that is proven",
    "rolled back": "nothing: the baseline runs; anew only with -e acknowledge=patchtst-20260110T054315Z-beef",
    "ended by hand": "nothing: the baseline runs",
    "promoted": "nothing: patchtst is part of the baseline",
    "paged": "tried again every 10 minutes; when you know why it failed: qsc acknowledge",
    "monitor late": "goes back to the baseline in 55 s unless the monitor checks",
    "monitor silent": "goes back to the baseline now: the monitor has been silent for 2 min 50 s",
    "telemetry away": "the telemetry is tried again in 30 s; safe in 3 h 12 min or later",
    "unwatched": "nothing by itself: the watchdog does not run. Run: systemctl start qsc-watchdog.timer",
}


def test_a_pause_is_shown_while_the_run_is_watched() -> None:
    assert "paused since 2026-01-10T01:00:00.000Z by root: earnings week" in " ".join(text("paused", 200).split())
    assert next_of(SCENES["paused"]()) == NEXT["strict"]


@pytest.mark.parametrize("name", NEXT)
def test_what_comes_next(name: str) -> None:
    assert next_of(SCENES[name]()) == NEXT[name]


@pytest.mark.parametrize(
    ("verdict", "changes", "sentence"),
    [
        ({"verdict": "inconclusive"}, {}, "goes back to the baseline now: too little could be judged"),
        ({"verdict": "terminated"}, {}, "goes back to the baseline now: its exposure budget is spent"),
        ({"missed_in_a_row": 5}, {}, "goes back to the baseline now: 5 checks in a row could not read the telemetry"),
        ({"complete": False}, {}, "inconclusive: the telemetry has gaps"),
        ({"max_missed_in_a_row": 5}, {}, "inconclusive: 5 checks were missed in a row"),
        ({"checks_done": 290}, {}, "inconclusive: 290 checks were done, 684 are needed"),
        ({}, {"problems": ["the monitor's verdict cannot be used: x"], "verdict": None},
         "goes back to the baseline now: the monitor's verdict cannot be read"),
        ({}, {"guards": {"qsc-watchdog.timer": "active", "qsc-monitor.timer": "failed"}},
         "goes back to the baseline now: the monitor's timer is failed"),
        ({"status": "WAIT"}, {}, "in 3 h 12 min: safe if the status is GO by then, else back to the baseline"),
        ({"checks_done": 720}, {"seconds_left": 0.0}, "safe at the watchdog's next look if nothing happens"),
    ],
)  # fmt: skip
def test_what_stands_against_the_run(verdict: dict[str, t.Any], changes: dict[str, t.Any], sentence: str) -> None:
    found = next_of({**scene(verdict=verdict), **changes})
    assert found.endswith(sentence)
    assert found.startswith(("goes back to the baseline", "in 3 h", "safe"))


@pytest.mark.parametrize(
    ("record", "otherwise"),
    [
        ({"inconclusive": "hold"}, "held for 24 h, then back to the baseline"),
        ({"inconclusive": "extend", "max_duration_s": 43_200.0}, "judged on, 12 h in all"),
    ],
)
def test_what_follows_where_only_certainty_is_missing(record: dict[str, t.Any], otherwise: str) -> None:
    facts = scene({**record, "judging": {"policy": "sequential"}}, {"status": "WAIT"})
    assert next_of(facts).endswith(f"else {otherwise}")


def test_how_old_the_verdict_is_across_a_reboot() -> None:
    facts = scene()
    assert watch.age_s(facts) == 12.0
    facts["clock"] = {**facts["clock"], "boot_id": "another", "boot": 5.0}
    assert watch.age_s(facts) == pytest.approx(12.0), "by the wall clock"
    assert watch.age_s({**facts, "verdict": None, "record": None}) is None


def test_figures_older_than_the_verdict_say_so() -> None:
    facts = scene()
    facts["figures"]["checked_at"] -= 300
    assert "figures 5 min older than the verdict" in "\n".join(watch.tree(facts, 120))


@pytest.mark.parametrize("where", ["facts", "record", "settings"])
@pytest.mark.parametrize("key", ["steps", "canary_steps"])
def test_steps_are_shown_wherever_the_host_knows_them(where: str, key: str) -> None:
    facts = scene({"weight": 0.25})
    steps = [0.10, 0.25, 0.50, 1.00]
    if where == "facts":
        facts[key] = steps
    else:
        facts[where] = {**(facts.get(where) or {}), key: steps}
    assert "steps      ✓ 10 % ── ● 25 % ── ○ 50 % ── ○ 100 %" in "\n".join(watch.tree(facts, 80))


@pytest.mark.parametrize(
    "steps", [None, [], [0.1], "0.1", [0.1, "x"], [0.1, 2.0], [0.0, 0.5], [True, 0.5], {}, [0.1] * 13]
)
def test_steps_of_another_form_are_left_out(steps: t.Any) -> None:
    facts = scene(steps=steps)
    assert "steps" not in "\n".join(watch.tree(facts, 80))


def test_the_way_back_is_never_cut() -> None:
    """It is there to be copied: one that does not fit gives way to one that does the same."""
    facts = scene({"id": "m" * 64 + "-20260110T054315Z-beef"})
    assert "way back   sudo qsc rollback\n" in "\n".join(watch.tree(facts, 80))
    assert "way back   sudo qsc rollback --id mmm" in "\n".join(watch.tree(facts, 200))


END: t.Mapping[str, int | None] = {
    "none": 2, "arming": None, "waiting": None, "strict": None, "sequential": None, "extended": None, "safe": 0,
    "inconclusive": 4, "violated": None, "rolling back": None, "rolled back": 1, "ended by hand": 4, "promoted": 0,
    "paged": 5, "monitor silent": None, "unreadable": None,
}  # fmt: skip


@pytest.mark.parametrize("name", END)
def test_the_exit_code_of_an_end(name: str) -> None:
    assert watch.end_state(SCENES[name]()) == END[name]


def test_a_safe_run_that_went_back_was_safe() -> None:
    assert watch.end_state(scene({"state": "rolled_back", "outcome": "safe", "trigger": "hold_expired"})) == 0
    assert watch.end_state(scene({"state": "rolled_back", "outcome": "inconclusive"})) == 4


def test_another_run_in_its_place_is_no_end_of_this_one() -> None:
    facts = SCENES["safe"]()
    assert watch.end_state(facts, facts["record"]["id"]) == 0
    assert watch.end_state(facts, "patchtst-older") == 2


@pytest.mark.parametrize("wall", [0, 951_782_399, 951_782_400, 1_709_208_000, 1_768_010_180, 4_102_444_799])
def test_moments(wall: int) -> None:
    shown = watch.tree(scene(clock={"wall": float(wall), "boot": 0.0, "boot_id": ""}), 80)[0]
    assert shown == "prod-7  " + time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(wall))


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.9, "0 s"), (59, "59 s"), (60, "1 min"), (245, "4 min 05 s"), (3600, "1 h"), (11_520, "3 h 12 min"),
     (86_400, "24 h"), (200_000, "2 d 7 h"), (-5, "0 s"), (None, "an unknown time"), (float("nan"), "an unknown time")],
)  # fmt: skip
def test_durations(seconds: float | None, shown: str) -> None:
    assert watch.span(seconds) == shown
