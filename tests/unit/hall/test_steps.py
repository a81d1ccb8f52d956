# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table of steps is the code's: no step without a name, no name without a step."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from ansible_collections.qsc.canary.plugins.module_utils.qsc.steps import PLAY, STEPS


def test_the_code_takes_the_steps_of_the_table(root: Path) -> None:
    core = root / "plugins/module_utils/qsc"
    taken = [name for path in core.rglob("*.py") for name in re.findall(r'\breached\("([^"]+)"\)', path.read_text())]
    assert sorted(set(taken)) == sorted(step.name for step in STEPS if step.by != PLAY)
    assert len({step.name for step in STEPS}) == len(STEPS)


def test_the_steps_of_the_play_are_tasks_of_the_role_in_this_order(root: Path) -> None:
    tasks = yaml.safe_load((root / "roles/qsc_canary/tasks/arm.yml").read_text())
    names = [task["name"] for task in tasks[1]["block"][1]["block"]]
    assert [name for name in names if name in {step.text for step in STEPS}] == [
        step.text for step in STEPS if step.by == PLAY
    ]
