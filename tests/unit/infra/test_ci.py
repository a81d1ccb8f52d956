# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`.ci/run` needs no terminal, no input and no folder of its own, and is green only when something ran."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tools.checkout import copy_checkout


@pytest.mark.parametrize(
    ("says", "green"),
    [
        ("2 passed, 0 failed, 0 skipped", True),
        ("0 passed, 0 failed, 0 skipped", False),
        ("0 passed, 0 failed, 3 skipped", False),
        ("2 passed, 1 failed, 0 skipped", False),
        ("", False),
    ],
)
def test_ci_run(root: Path, tmp_path: Path, clean_environment: dict[str, str], says: str, green: bool) -> None:
    checkout = tmp_path / "checkout"
    copy_checkout(checkout)
    (checkout / ".venv").symlink_to(root / ".venv")
    os.utime(checkout / "requirements-dev.txt", (0, 0))  # nothing to install
    # One phase stands for all of them: what counts here is the way from a phase to the exit code.
    (checkout / "tests/defects").mkdir(exist_ok=True)
    (checkout / "tests/defects/run.py").write_text(f"print({says!r})\n")
    done = subprocess.run(
        [str(checkout / ".ci/run")],
        cwd="/",
        env={**clean_environment, "RUN_FLAGS": "--only defects", "QSC_SKIP_PACKAGES": "1", "MAKEFLAGS": ""},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) is green, done.stdout
    assert "make test: " in done.stdout.splitlines()[-1 if green else -2], done.stdout
