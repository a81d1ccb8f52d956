# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""The files the canary's model is loaded from: a run is about what they were when it was armed, and nothing else.

Their SHA-256 is taken before the engine loads them. A look compares size, times and inode, and reads the file again
only where one of these differs.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
import typing as t
from pathlib import Path

from ..errors import QscError, Refused
from ..files import read_json, timestamp, try_io, write_json
from ..record import Record
from .host import Host

READING_S = 20.0
"""s that reading all of them may take: a guard must end before its own time-out."""
_CHUNK = 1 << 20

Seen = t.Sequence[int]
"""Size, mtime, ctime (ns), inode and device."""


def check(host: Host) -> None:
    """Refuse files that are not there, cheaply. Raises Refused."""
    for path in host.settings.model_artifacts:
        try:
            status = os.stat(path)
        except OSError as error:
            raise _refused(path, f"cannot be read: {error.strerror}") from error
        if stat.S_ISDIR(status.st_mode):
            raise Refused(f"model_artifacts: {path} is a folder", remedy="Name the files in it that the engine loads.")
        if not stat.S_ISREG(status.st_mode):
            raise _refused(path, "is not a regular file")


def taken(paths: t.Iterable[str]) -> list[dict[str, t.Any]]:
    """What the files are now. Raises Refused where one cannot be read, or not in time."""
    end = time.monotonic() + READING_S
    found = []
    for path in paths:
        try:
            digest, seen = _digest(path, end)
        except OSError as error:
            raise _refused(path, f"cannot be read: {error.strerror or error}") from error
        found.append({"path": path, "sha256": digest, "seen": seen})
    return found


def _refused(path: str, why: str) -> Refused:
    return Refused(
        f"model_artifacts: {path} {why}",
        remedy="Name the files the engine loads the model from (qsc_canary_model_artifacts), or none.",
    )


def _digest(path: str, end: float) -> tuple[str, Seen]:
    """SHA-256 of a regular file. Raises OSError, also where it changes meanwhile or is not read until ``end``."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb", buffering=0) as stream:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise OSError("it is not a regular file")
        total, left = hashlib.sha256(), status.st_size
        while left > 0:
            data = stream.read(min(_CHUNK, left))
            if not data:
                break
            left -= len(data)
            total.update(data)
            if time.monotonic() > end:
                raise OSError(f"it takes longer than {READING_S:g} s")
        if _seen(os.fstat(handle)) != _seen(status):
            raise OSError("it is being written")
    return total.hexdigest(), _seen(status)


def _seen(status: os.stat_result) -> Seen:
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev]


def look(host: Host, record: Record, *, remember: bool = False) -> str:
    """Why the model is another one than the run began with, "" where it is the same. Never raises.

    ``remember``: note what was read again and found equal, so that the next look need not.
    """
    if not record.artifacts:
        return ""
    known, fresh = _remembered(host, record), {}
    end = time.monotonic() + READING_S
    for item in record.artifacts:
        path = str(item["path"])
        try:
            status = os.stat(path)
            if _seen(status) in (item["seen"], known.get(path)):
                continue
            changed = status.st_size != item["seen"][0]
            if not changed:
                digest, seen = _digest(path, end)
                changed, fresh[path] = digest != item["sha256"], seen
        except FileNotFoundError:
            return f"{record.model}'s file {path} was removed: nobody can say which model this is"
        except OSError as error:
            return f"{record.model}'s file {path} cannot be read any more ({error.strerror or error})"
        if changed:
            at = timestamp(max(status.st_ctime_ns, status.st_mtime_ns) / 1e9)
            return f"{record.model}'s file {path} changed at {at}: this is another model"
    if remember and fresh:
        note = {"canary_id": record.id, "seen": {**known, **fresh}}
        try_io("artifacts", lambda: write_json(host.paths.artifacts_seen, note))
    return ""


def _remembered(host: Host, record: Record) -> dict[str, Seen]:
    try:
        note = read_json(Path(host.paths.artifacts_seen))
        return dict(note["seen"]) if note["canary_id"] == record.id else {}
    except (OSError, QscError, KeyError, TypeError, ValueError):
        return {}
