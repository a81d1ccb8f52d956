# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of this checkout, with what is not committed yet: what a plain clone of the next commit would hold."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


# What to leave out where git cannot tell (an unpacked archive); the same as .gitignore.
MADE_HERE = {".git", ".venv", "build", ".ansible", ".cache", ".hypothesis", ".import_linter_cache", "__pycache__"}
MADE_HERE |= {".mypy_cache", ".pytest_cache", ".ruff_cache"}


def checkout_files(root: Path = ROOT) -> list[str]:
    """Paths (relative, sorted) of the files and links that belong to the project: known to git, or not ignored."""
    if not (root / ".git").exists():
        found = (path.relative_to(root) for path in root.rglob("*") if path.is_symlink() or path.is_file())
        return sorted(str(path) for path in found if not MADE_HERE & set(path.parts))
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, check=True, stdout=subprocess.PIPE).stdout.decode().split("\0")
    return sorted(name for name in set(listed) if name and os.path.lexists(root / name))


def copy_checkout(target: Path, *, root: Path = ROOT) -> None:
    """Copy the project's files to target (emptied first; links stay links) and make it a git repository."""
    shutil.rmtree(target, ignore_errors=True)
    for name in checkout_files(root):
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        # Somebody may be editing: a file that vanished since the listing is no part of the copy.
        try:
            shutil.copy2(root / name, copy, follow_symlinks=False)
        except FileNotFoundError:
            continue
    for command in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", *command], cwd=target, check=True, stdout=subprocess.DEVNULL)
