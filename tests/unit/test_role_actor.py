# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who acts, as the role tells the modules: the controller's user, and the automation platform's user and job."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

from helpers.local_play import evaluate

CASES: t.Mapping[str, tuple[dict[str, t.Any], str]] = {
    "a user": ({}, "alice"),
    "AWX": ({"awx_user_name": "bob", "awx_job_id": 17}, "alice, AWX user bob, AWX job 17"),
    "a scheduled job of AWX": ({"awx_job_id": 17}, "alice, AWX job 17"),
    "Tower": ({"tower_user_name": "bob", "tower_job_id": "17"}, "alice, AWX user bob, AWX job 17"),
    "both names": (
        {"awx_user_name": "bob", "tower_user_name": "bob", "awx_job_id": 17, "tower_job_id": 17},
        "alice, AWX user bob, AWX job 17",
    ),
}


@pytest.fixture(scope="module")
def actors(root: Path, clean_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """{case: actor} as Ansible evaluates the role's variable."""
    folder = tmp_path_factory.mktemp("actors")
    tasks = [
        {
            "ansible.builtin.copy": {
                "content": "{{ _qsc_canary_actor | to_json }}",
                "dest": str(folder / f"{number}.json"),
                "mode": "0600",
            },
            "vars": variables,
        }
        for number, (variables, _actor) in enumerate(CASES.values())
    ]
    play = {"vars_files": [str(root / "roles/qsc_canary/vars/main.yml")], "tasks": tasks}
    evaluate(folder, play, {**clean_environment, "USER": "alice"})
    return {case: json.loads((folder / f"{number}.json").read_text()) for number, case in enumerate(CASES)}


@pytest.mark.parametrize("case", CASES)
def test_the_actor(actors: dict[str, str], case: str) -> None:
    assert actors[case] == CASES[case][1]
