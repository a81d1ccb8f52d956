# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""Root's work in a folder that may belong to somebody else: the way there is checked once, then held.

Who owns a folder on the way can put a link in place of what lies below it, at any moment. So the way is walked step by
step and never leaves the hands of a user again once it is in them (the rule of systemd-tmpfiles), and what was reached
is worked with by its handle, not by its name.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import typing as t
from pathlib import Path

from ..errors import Refused

_FLAGS = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_LINKS = 20
_REMEDY = "Keep the weights file in a folder of root or of the engine's user, writable for nobody else."


@contextlib.contextmanager
def pinned(folder: Path) -> t.Iterator[Path]:
    """``folder`` as a path that stays this very folder, whatever is renamed or linked on the way to it.

    Raises Refused when the way is not safe, OSError when there is none.
    """
    handle = _walk(folder)
    try:
        yield Path(f"/proc/self/fd/{handle}")
    finally:
        os.close(handle)


def _walk(folder: Path) -> int:
    """A handle of ``folder``, reached without trusting anybody but root and, from their folder on, one user."""
    left = list(folder.parts)
    trusted = {0, os.geteuid()}
    owner, links = 0, 0
    here = os.open("/", _FLAGS)
    try:
        while left:
            name = left.pop(0)
            step = os.open(name, _FLAGS, dir_fd=here)
            try:
                status = os.fstat(step)
                if owner not in trusted and status.st_uid != owner:
                    raise _unsafe(
                        folder, f"{name!r} on the way is of user {status.st_uid}, in the hands of user {owner}"
                    )
                owner = status.st_uid
                if stat.S_ISLNK(status.st_mode):
                    links += 1
                    if links > _MOST_LINKS:
                        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(folder))
                    left = [*Path(os.readlink("", dir_fd=step)).parts, *left]
                    continue
                if not stat.S_ISDIR(status.st_mode):
                    raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
                if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
                    raise _unsafe(folder, f"{name!r} on the way is writable for everybody")
                here, step = step, here
            finally:
                os.close(step)
        return here
    except BaseException:
        os.close(here)
        raise


def _unsafe(folder: Path, why: str) -> Refused:
    return Refused(f"the folder {folder} is not safe: {why}", remedy=_REMEDY)


def set_aside(path: Path, aside: Path) -> None:
    """Keep what stands at ``path`` under another name too; a file is never gone from its place meanwhile.

    Nothing is read or copied, so its owner and mode give nobody anything: it stays the same file. What can have no
    second name (a folder) is moved. Raises OSError.
    """
    try:
        os.link(path, aside, follow_symlinks=False)
    except OSError:
        os.replace(path, aside)
