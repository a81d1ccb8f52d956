# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a canary as the role takes them: what it refuses by itself, and what it tells the host."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
import yaml

from helpers.local_play import evaluate

GOOD: t.Sequence[t.Any] = ([0.1, 0.25, 0.5, 1.0], [1], ["0.10", "1"], [0.000001, 0.3])
BAD: t.Sequence[t.Any] = ([], [0.25, 0.1], [0.1, 0.1], [0.0, 0.1], [-0.1], [0.1, 1.01], ["some"])


@pytest.fixture(scope="module")
def told(root: Path, clean_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> list[t.Any]:
    """[objections, settings, maximum age] of each of the steps, as Ansible evaluates them."""
    folder = tmp_path_factory.mktemp("steps")
    role = root / "roles/qsc_canary"
    [check] = yaml.safe_load((role / "tasks/preflight.yml").read_text())
    wanted = "{{ [_qsc_canary_objections, _qsc_canary_settings.steps, _qsc_canary_max_verdict_age_s] | to_json }}"
    tasks = [
        {
            "ansible.builtin.copy": {"content": wanted, "dest": str(folder / f"{number}.json"), "mode": "0600"},
            "vars": {**check["vars"], "qsc_canary_steps": steps, "qsc_canary_hold_hours": 6},
        }
        for number, steps in enumerate((*GOOD, *BAD))
    ]
    files = [str(role / "defaults/main.yml"), str(role / "vars/main.yml")]
    evaluate(folder, {"vars_files": files, "tasks": tasks}, clean_environment)
    return [json.loads((folder / f"{number}.json").read_text()) for number in range(len(tasks))]


@pytest.mark.parametrize("number", range(len(GOOD)))
def test_good_steps_reach_the_host_as_numbers(told: list[t.Any], number: int) -> None:
    assert told[number][:2] == [[], [float(step) for step in GOOD[number]]]


@pytest.mark.parametrize("number", range(len(BAD)))
def test_bad_steps_are_refused_with_their_value(told: list[t.Any], number: int) -> None:
    [objection] = told[len(GOOD) + number][0]
    assert objection.startswith("qsc_canary_steps must be shares above 0 and at most 1 in ascending order")
    assert objection.endswith(f"they are {BAD[number]}.")


def test_a_verdict_may_be_as_old_as_a_safe_run_is_held(told: list[t.Any]) -> None:
    assert float(told[0][2]) == 6 * 3600


@pytest.fixture(scope="module")
def rollouts(root: Path, clean_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> list[t.Any]:
    """[objections of the preflight, of the rollout, approvals and windows of the settings] for each of CASES."""
    folder = tmp_path_factory.mktemp("rollouts")
    role = root / "roles/qsc_canary"
    [first] = yaml.safe_load((role / "tasks/preflight.yml").read_text())
    second = yaml.safe_load((role / "tasks/rollout.yml").read_text())[1]
    tasks = []
    for number, (changes, _word) in enumerate(CASES):
        for check in (first, second):
            wanted = (
                "{{ [_qsc_canary_objections, _qsc_canary_settings.approvals, _qsc_canary_settings.freeze_windows] }}"
            )
            name = f"{number}-{'first' if check is first else 'second'}.json"
            copy = {"content": wanted, "dest": str(folder / name), "mode": "0600"}
            tasks.append({"ansible.builtin.copy": copy, "vars": {**check["vars"], **changes}})
    files = [str(role / "defaults/main.yml"), str(role / "vars/main.yml")]
    evaluate(folder, {"vars_files": files, "tasks": tasks}, clean_environment)
    return [
        [json.loads((folder / f"{number}-{which}.json").read_text()) for which in ("first", "second")]
        for number in range(len(CASES))
    ]


WINDOW = {"from": "22:00", "to": "06:00", "timezone": "Europe/Berlin"}
CASES: t.Sequence[tuple[dict[str, t.Any], str]] = [
    ({}, ""),
    ({"qsc_canary_approvals": ["1.0", 0.5], "qsc_canary_freeze_windows": [WINDOW]}, ""),
    ({"qsc_canary_approvals": [0.5, 0.3]}, "qsc_canary_approvals must be some of qsc_canary_steps"),
    (
        {"qsc_canary_rollout": "fly"},
        "qsc_canary_rollout (-e rollout=) must be reconcile, pause, resume, approve or abort",
    ),
    ({"qsc_canary_rollout": "pause"}, "Say why it is paused, such as -e reason=holidays."),
    ({"qsc_canary_rollout": "pause", "qsc_canary_reason": "holidays"}, ""),
    ({"qsc_canary_rollout": "approve"}, "Name the share that is approved, such as -e approve=0.5; it is 0."),
    ({"qsc_canary_rollout": "approve", "qsc_canary_approve": "50"}, "Name the share that is approved"),
    ({"qsc_canary_rollout": "approve", "qsc_canary_approve": "0.5"}, ""),
    ({"qsc_canary_approve": "0.5"}, "To approve a step: -e rollout=approve -e approve=0.5."),
]


@pytest.mark.parametrize("number", range(len(CASES)))
def test_what_a_rollout_refuses_by_itself(rollouts: list[t.Any], number: int) -> None:
    word = CASES[number][1]
    said = [text for found in rollouts[number] for text in found[0]]
    assert len(said) == bool(word), said
    assert all(text.startswith(word) for text in said)


def test_what_a_rollout_tells_the_host(rollouts: list[t.Any]) -> None:
    assert [found[1:] for found in rollouts[0]] == [[[], []]] * 2
    assert rollouts[1][0][1:] == [[0.5, 1.0], [WINDOW]]
