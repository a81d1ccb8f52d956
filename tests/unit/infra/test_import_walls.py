# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The walls between the parts of the core hold, and the linter that guards them goes red when one is broken."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


@pytest.fixture
def core(root: Path, tmp_path: Path) -> Path:
    """A copy of the core that a test may break."""
    copy = tmp_path / "qsc"
    shutil.copytree(root / "plugins/module_utils/qsc", copy, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def lint_imports(root: Path, core: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["lint-imports", "--no-cache", "--config", str(root / ".importlinter")],
        cwd=core.parent,
        env={**environment, "PYTHONPATH": str(core.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def test_the_core_as_it_is(root: Path, core: Path, clean_environment: dict[str, str]) -> None:
    done = lint_imports(root, core, clean_environment)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        pytest.param("guard/weights.py", "from ..judge import rules", "guard acts with privileges", id="guard-judge"),
        pytest.param("guard/weights.py", "from .. import judge", "guard acts with privileges", id="guard-package"),
        pytest.param("judge/rules.py", "from ..guard import weights", "judge reads untrusted", id="judge-guard"),
        pytest.param("files.py", "from .judge import rules", "imports go down only", id="hall-judge"),
        pytest.param("judge/rules.py", "from .. import command", "imports go down only", id="judge-command"),
        pytest.param("judge/gate.py", "import redis", "only judge.wire touches Redis", id="gate-redis"),
        pytest.param("guard/systemd.py", "def f():\n    import redis", "only judge.wire", id="guard-redis-inside"),
        pytest.param("judge/rules.py", "import time", "rules, summaries and evidence", id="rules-time"),
        pytest.param("judge/summary.py", "import socket", "rules, summaries and evidence", id="summary-socket"),
        pytest.param(
            "judge/rules.py", "from ..files import read_json", "rules, summaries and evidence", id="rules-files"
        ),
        pytest.param("guard/weights.py", "import os", "the weights are pure", id="weights-os"),
        pytest.param("record.py", "import time", "the record's state machine", id="record-time"),
        pytest.param("errors.py", "import ansible", "the core runs on a host without Ansible", id="ansible"),
        pytest.param(
            "judge/gate.py", "from ansible_collections.qsc.canary import plugins", "without Ansible", id="collection"
        ),
    ],
)
def test_a_broken_wall_is_seen(
    root: Path, core: Path, clean_environment: dict[str, str], module: str, line: str, contract: str
) -> None:
    path = core / module
    assert path.exists(), f"{module} has moved: this test must follow it"
    path.write_text(f"{path.read_text()}\n\n{line}\n")
    if line.endswith("import command") and not (core / "command.py").exists():
        (core / "command.py").write_text("")
    done = lint_imports(root, core, clean_environment)
    broken = [text for text in done.stdout.splitlines() if " BROKEN" in text]
    assert done.returncode != 0, done.stdout
    assert any(contract in text for text in broken), done.stdout
