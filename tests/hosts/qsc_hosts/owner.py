# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whose hosts these are: a test run that was killed leaves hosts behind, and the next one may take their names.

An owner is a process, told apart from a later one of the same number by its start time.
"""

from __future__ import annotations

import os
from pathlib import Path

from .errors import HostsError


def _stat(pid: int) -> tuple[int, str]:
    """Return (parent's pid, start time in clock ticks); raises OSError for no such process."""
    # The name in brackets may hold anything; the fields behind it are numbers.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    if fields[0] == "Z":
        raise ProcessLookupError(pid)
    return int(fields[1]), fields[19]


def identity(pid: int) -> str:
    """Return the owner's mark of a running process."""
    return f"{pid}:{_stat(pid)[1]}"


def is_alive(mark: str) -> bool:
    """True while the process behind a mark runs. An empty mark (a person's host) counts as alive."""
    if not mark:
        return True
    try:
        return identity(int(mark.partition(":")[0])) == mark
    except (OSError, ValueError):
        return False


def ancestor(program: str) -> str:
    """Return the mark of the nearest ancestor whose command line runs a program of this name."""
    pid = os.getpid()
    while pid > 1:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        # A script is the second word: the interpreter comes first.
        if pid != os.getpid() and program in (os.path.basename(word) for word in words[:2]):
            return identity(pid)
        pid = _stat(pid)[0]
    raise HostsError(f"no ancestor of this process is {program!r}")
