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
