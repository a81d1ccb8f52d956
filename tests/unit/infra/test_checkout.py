# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A copy of the checkout is what the next commit would hold."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tools.checkout import checkout_files, copy_checkout


def test_a_copy_holds_what_is_not_committed_yet_and_nothing_ignored(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    copy_checkout(first)
    (first / "new.txt").write_text("not committed")
    (first / "build").mkdir()
    (first / "build/made").write_text("ignored")
    (first / "README.md").unlink()
    copy_checkout(second, root=first)
    assert (second / "new.txt").read_text() == "not committed"
    assert not (second / "build").exists()
    assert not (second / "README.md").exists()
    link = "playbooks/collections/ansible_collections/qsc/canary/plugins"
    assert os.readlink(second / link) == os.readlink(first / link)


def test_without_git_the_same_files_are_found(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy_checkout(copy)
    with_git = checkout_files(copy)
    shutil.rmtree(copy / ".git")
    (copy / "plugins/__pycache__").mkdir()
    (copy / "plugins/__pycache__/x.pyc").write_text("x")
    assert checkout_files(copy) == with_git


def test_the_copy_is_a_repository_of_its_own(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy_checkout(copy)
    top = subprocess.run(["git", "rev-parse", "--show-toplevel"], cwd=copy, capture_output=True, text=True, check=True)
    assert Path(top.stdout.strip()).resolve() == copy.resolve()
