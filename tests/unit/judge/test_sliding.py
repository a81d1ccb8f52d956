# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sliding window equals one that is read anew at every check, whatever the decisions hold."""

from __future__ import annotations

import random
import typing as t

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.check import Moment, Window, judge
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.cutover import ZERO, StreamId
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.decisions import Decision, parse
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.options import MonitorOptions
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.sliding import Sliding
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.summary import MOST_MODELS
from helpers.recorded import BEGIN_MS, CANARY, DIALECT
from helpers.telemetry import entry, healthy, vote

SIZE = 40
BASELINE = {"xgb": 0.25, "lgbm": 0.25, "nhits": 0.3, CANARY: 0.2}
LIMITS = {"flip_share_max": 0.25}
OPTIONS = MonitorOptions.from_dict(
    {"window_events": SIZE, "min_events": 20, "baseline": BASELINE, "weight": 0.6, "limits": LIMITS},
    model=CANARY,
    since=ZERO,
)
MOMENT = Moment(1.0, 3600.0, 3600.0, 120.0, 7200.0)


def spoilt(rng: random.Random, said: dict[str, t.Any], part: float) -> None:
    """Some of what telemetry may hold."""
    names = list(said)
    for name in names:
        if rng.random() > part:
            continue
        kind = rng.randrange(8)
        if kind == 0:
            said[name]["confidence"] = rng.choice([float("nan"), -1, "x", True])
        elif kind == 1:
            said[name]["action"] = rng.choice(["buy", None, "WAIT"])
        elif kind == 2:
            said[name]["shadow"] = True
        elif kind == 3:
            said[name]["inactive"] = True
        elif kind == 4:
            said[name]["model"] = rng.choice(["a_fallback_rules", "b_insufficient_history"])
        elif kind == 5:
            said[name]["confidence"] = rng.uniform(1.1, 4)
        elif kind == 6:
            del said[name]
        else:
            said[f"other{rng.randrange(5)}"] = vote("BUY", 0.5)
    if rng.random() < part:
        said["fallback"] = vote()


def decisions(seed: int, count: int, part: float) -> list[Decision]:
    rng, found = random.Random(seed), []
    for i in range(count):
        said = healthy(rng.randrange(10_000))
        spoilt(rng, said, part)
        fields = [(name.encode(), value.encode()) for name, value in entry(said or {"x": 1}).items()]
        found.append(parse(StreamId(BEGIN_MS + 1000 * (i // 2), i % 2), fields, DIALECT))
    return found


def fresh(held: t.Sequence[Decision]) -> Window:
    window = Window.of(OPTIONS)
    for decision in reversed(held[-SIZE:]):  # newest first, as the monitor reads them
        window.add(decision, CANARY)
    return window


def said_of(window: Window) -> t.Any:
    found = judge("", OPTIONS, window, "", MOMENT)
    data = found.to_dict()
    del data["comparison"]  # shown only, and not where telemetry is replayed
    impact = data.pop("impact")
    data["impact"] = [impact["decisions"], impact["flipped"], impact["directions"], impact["symbols"]]
    for model in data["models"].values():
        model["fallback"].pop("sources")  # names of zero votes may be left
    data["ignored"] = {name: count for name, count in data["ignored"].items() if count}
    return data


@pytest.mark.parametrize("part", [0.0, 0.02, 0.3])
@pytest.mark.parametrize("seed", range(4))
def test_it_equals_a_window_that_is_read_anew(seed: int, part: float) -> None:
    rows = decisions(seed, 160, part)
    window = Sliding(CANARY, SIZE, OPTIONS.change)
    compared = 0
    for number, decision in enumerate(rows, 1):
        window.add(decision, CANARY)
        anew = fresh(rows[:number])
        if CANARY not in anew.summary.models:  # the sliding one knows its name beforehand
            continue
        assert said_of(window) == said_of(anew)
        compared += 1
    assert compared > 100


def test_more_names_than_are_kept_do_not_break_it() -> None:
    window = Sliding(CANARY, SIZE, OPTIONS.change)
    for i in range(3 * SIZE):
        said = {f"m{i}x{k}": vote() for k in range(MOST_MODELS // SIZE + 2)}
        fields = [(name.encode(), value.encode()) for name, value in entry(said).items()]
        window.add(parse(StreamId(BEGIN_MS + i, 0), fields, DIALECT), CANARY)
    assert window.summary.events == SIZE
    assert len(window.summary.models) <= MOST_MODELS
    assert any("different models" in item.message for item in judge("", OPTIONS, window, "", MOMENT).violations)
