# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate and the plan are told the weights of before the canary: the host's answer, else what was given."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import yaml

from helpers.local_play import evaluate

GIVEN, TOLD = {"xgb": 0.5, "lgbm": 0.5}, {"xgb": 0.25, "lgbm": 0.75}
CASES: t.Sequence[tuple[dict[str, t.Any], dict[str, float]]] = (
    ({}, {}),
    ({"qsc_canary_baseline": GIVEN}, GIVEN),
    ({"_qsc_canary_preflight": {"plan": {"baseline": TOLD}}}, TOLD),
    ({"_qsc_canary_preflight": {"plan": {"baseline": TOLD}}, "qsc_canary_baseline": GIVEN}, TOLD),
    ({"_qsc_canary_preflight": {"failed": True}, "qsc_canary_baseline": GIVEN}, GIVEN),
)


def test_the_weights_before_the_canary(root: Path, clean_environment: dict[str, str], tmp_path: Path) -> None:
    role = root / "roles/qsc_canary"
    tasks = [
        {
            "ansible.builtin.copy": {
                "content": "{{ _qsc_canary_before | to_json }}",
                "dest": str(tmp_path / f"{number}.json"),
                "mode": "0600",
            },
            "vars": told,
        }
        for number, (told, _wanted) in enumerate(CASES)
    ]
    files = [str(role / "defaults/main.yml"), str(role / "vars/main.yml")]
    evaluate(tmp_path, {"vars_files": files, "tasks": tasks}, clean_environment)
    found = [json.loads((tmp_path / f"{number}.json").read_text()) for number in range(len(CASES))]
    assert found == [wanted for _told, wanted in CASES]


def test_gate_and_plan_take_them_and_how_the_engine_votes(root: Path) -> None:
    for name, module in (("gate", "qsc_quality_gate"), ("plan", "qsc_plan"), ("backtest", "qsc_backtest")):
        tasks = yaml.safe_load((root / f"roles/qsc_canary/tasks/{name}.yml").read_text())
        [options] = [task[f"qsc.canary.{module}"] for task in tasks if f"qsc.canary.{module}" in task]
        assert (options["baseline"], options["vote"]) == ("{{ _qsc_canary_before or omit }}", "{{ qsc_canary_vote }}")
