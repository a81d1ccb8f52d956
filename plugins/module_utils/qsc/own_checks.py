# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""The operator's own checks: which programs stand in their two folders, and which of them may be run.

Root's part refuses an activation with one that others than root can change; the monitor looks again before each run.
"""

from __future__ import annotations

import os
import re
import stat
import typing as t
from dataclasses import dataclass
from pathlib import Path

from .settings import Paths

MOST = 16
"""Programs in one folder; all of them run at once."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,47}")
TRUSTED_UID = 0
"""Whose programs are run; a test that is not root sets its own."""
_MOST_LINKS = 20


@dataclass(frozen=True)
class Program:
    """One program. ``required``: its violation ends the run; ``problem``: why it must not be run, "" when it may, with
    ``remedy``."""

    name: str
    path: Path
    required: bool
    problem: str = ""
    remedy: str = ""


def programs(paths: Paths, required: t.Iterable[str] = ()) -> list[Program]:
    """What stands in both folders, by name; hidden files are left out. ``required``: the names that a run began with:
    one that is gone is still asked for."""
    found = _in_folder(paths.checks, required=True) + _in_folder(paths.wanted_checks, required=False)
    there = {program.name for program in found if program.required}
    gone = [
        Program(name, paths.checks / name, True, "was removed during the run", f"Put {paths.checks / name} back.")
        for name in sorted({*required} - there)
    ]
    return found + gone


def _in_folder(folder: Path, *, required: bool) -> list[Program]:
    try:
        names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except FileNotFoundError:
        return []
    except OSError as error:
        return [Program("folder", folder, required, f"cannot be listed: {error.strerror}", f"See: ls -ld {folder}")]
    found = []
    for number, name in enumerate(names[: MOST + 1]):
        problem, remedy = why_not(folder / name)
        if number >= MOST:
            problem = f"is one of {len(names)} programs, at most {MOST} are run"
            remedy = f"Leave at most {MOST} in {folder}."
        found.append(Program(name, folder / name, required, problem, remedy))
    return found


def why_not(path: Path) -> tuple[str, str]:
    """Why this file must not be run, and what to do about it; two empty texts when it may.

    It must be root's, and every folder and link on the way to it as well: who can change one of them decides what runs.
    """
    if not NAME.fullmatch(path.name):
        return "has no plain name", "Use letters, digits, '_', '-' or '.', at most 48 of them; or a hidden file."
    try:
        place, why = open_place(path)
        if place is not None:
            return f"can be changed by others than root: {place} {why}", repair(place)
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return "is not a regular file", "Put a program there, or a link to one."
        if not status.st_mode & stat.S_IXOTH:
            return "is not executable for everybody", f"Run: chmod 0755 {path}"
    except OSError as error:
        return f"cannot be read: {error.strerror}", f"See: ls -l {path}"
    return "", ""


def open_place(path: Path) -> tuple[Path | None, str]:
    """The first file, folder or link on the way to ``path`` that others than root can change, and how; (None, "") where
    there is none. Raises OSError."""
    for place, status in _way(path):
        if status.st_uid not in (0, TRUSTED_UID):
            return place, f"is of user {status.st_uid}"
        if not stat.S_ISLNK(status.st_mode) and _open_to_others(status):
            return place, "is writable for others"
    return None, ""


def repair(place: Path) -> str:
    """What takes that right away."""
    return f"Run: chown root:root {place} && chmod go-w {place}"


def _open_to_others(status: os.stat_result) -> bool:
    sticky_folder = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
    return bool(status.st_mode & 0o022) and not sticky_folder  # in a sticky one nobody can replace what is root's


def _way(path: Path) -> t.Iterator[tuple[Path, os.stat_result]]:
    """Every folder, link and file on the way from / to what ``path`` leads to, which comes last. Raises OSError."""
    here, left, links = Path("/"), list(path.parts), 0
    while left:
        name = left.pop(0)
        here = here.parent if name == ".." else here / name
        status = here.lstat()
        yield here, status
        if stat.S_ISLNK(status.st_mode):
            links += 1
            if links > _MOST_LINKS:
                raise OSError(0, "too many links")
            left = [*Path(os.readlink(here)).parts, *left]
            here = here.parent
