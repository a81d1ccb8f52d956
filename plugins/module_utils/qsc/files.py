# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""Files that survive a crash: atomic replacement, bounded reading, the lock, the clock."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import math
import os
import stat
import tempfile
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

from .errors import Busy, QscError, RecordUnreadable

STATE_LIMIT = 1 << 20
"""Bytes: no state file of ours is larger; a larger one is not ours."""


def fsync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomic(path: Path, data: bytes, *, mode: int = 0o644, owner: tuple[int, int] | None = None) -> None:
    """Replace ``path`` by ``data``: temporary file, fsync, rename, fsync of the folder.

    A reader sees the old content or the new, never a part, and never under another owner (user, group) than ``owner``.
    Raises OSError and leaves the old file on failure.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            os.fchmod(stream.fileno(), mode)
            if owner is not None:
                os.fchown(stream.fileno(), *owner)
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(name, path)
    except BaseException:
        remove(Path(name))
        raise
    fsync_folder(path.parent)


def write_json(path: Path, value: t.Any, *, mode: int = 0o644, compact: bool = False) -> None:
    """Write ``value`` as JSON, atomically; ``compact`` where only programs read it, which takes a tenth of the time.
    NaN is refused: it is not JSON."""
    form: dict[str, t.Any] = {"separators": (",", ":")} if compact else {"indent": 1, "sort_keys": True}
    text = json.dumps(value, allow_nan=False, **form)
    write_atomic(path, text.encode() + b"\n", mode=mode)


def remove(path: Path) -> bool:
    """Remove a file; True when it was there."""
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    fsync_folder(path.parent)
    return True


def read_bounded(path: Path, limit: int = STATE_LIMIT) -> bytes:
    """Read a regular file of at most ``limit`` bytes, following no symbolic link at its last component.

    Files beside another user's folder are read through here: a link, a fifo or a device is refused with OSError.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"larger than {limit} bytes", str(path))
    return data


def read_json(path: Path, limit: int = STATE_LIMIT) -> t.Any:
    """Parse a bounded JSON file. Raises FileNotFoundError, or RecordUnreadable for all that is not plain JSON."""
    try:
        return parse_json(read_bounded(path, limit))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise RecordUnreadable(f"{path} cannot be read: {error}", remedy="Run: qsc rollback") from error


def parse_json(data: bytes) -> t.Any:
    """Parse JSON that may be written again as such: no NaN, nothing infinite. Raises ValueError or RecursionError."""
    return json.loads(data, parse_constant=_refuse_constant, parse_float=_finite)


def _refuse_constant(name: str) -> t.NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    """1e999 would be read as infinite: what was read with it could never be written again."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text:.40} is no number")
    return number


def digest_bytes(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def digest_file(path: Path) -> str | None:
    """SHA-256 of a bounded file, or None when it is not there."""
    try:
        return digest_bytes(read_bounded(path))
    except FileNotFoundError:
        return None


@dataclass(frozen=True)
class Clock:
    """The three clocks, injectable: wall (s since 1970), boot (s, counts through suspend), and the mark of this boot.

    The kernel's boot id survives the restart of a container, so a random mark in /run, which no reboot keeps, joins it.
    """

    boot_mark: Path

    def wall(self) -> float:
        """Seconds since 1970, UTC: for people and for telemetry."""
        return time.time()

    def boot(self) -> float:
        """Seconds of CLOCK_BOOTTIME: for durations."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def boot_id(self, *, create: bool = True) -> str:
        """The identity of this boot. Without ``create`` a missing mark gives an id that equals no other."""
        kernel = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        try:
            mark = read_bounded(self.boot_mark, 100).decode("ascii", "replace").strip()
        except FileNotFoundError:
            if not create:
                return f"{kernel}/unmarked"
            mark = os.urandom(8).hex()
            write_atomic(self.boot_mark, mark.encode())
        return f"{kernel}/{mark}"


def timestamp(wall: float) -> str:
    """RFC 3339 in UTC with Z, to the millisecond."""
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(wall))
    return f"{whole}.{int(wall * 1000) % 1000:03d}Z"


class Lock:
    """One writer of the record at a time, across plays, watchdog and rollback (flock, freed by the kernel on death)."""

    def __init__(self, path: Path, *, wait_s: float = 20.0) -> None:
        self._path = path
        self._wait_s = wait_s
        self._handle: int | None = None

    def __enter__(self) -> Lock:
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        end = time.monotonic() + self._wait_s
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES) or time.monotonic() >= end:
                    os.close(handle)
                    raise Busy(
                        f"another process has held {self._path} for {self._wait_s:.0f} s: {error}",
                        remedy="Wait for the other activation or rollback to end; see it with: qsc status",
                    ) from error
                time.sleep(0.05)  # flock offers no bounded wait
            else:
                self._handle = handle
                return self

    def __exit__(self, *_exc: object) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def lock_holder(path: Path) -> int | None:
    """The process that holds this lock, by the kernel's list (proc_locks(5)); None when it cannot be told."""
    try:
        status = path.lstat()
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return None
    file = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    for line in lines:
        words = line.split()
        if len(words) > 5 and words[1] == "FLOCK" and words[5] == file and words[4].isdigit():
            return int(words[4]) or None  # 0: of a process that this one cannot see
    return None


def is_stopped(pid: int) -> bool:
    """True for a process that was stopped (SIGSTOP, Ctrl-Z, a debugger) and not continued (proc_pid_stat(5))."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in ("T", "t")
    except (OSError, IndexError):
        return False


def try_io(what: str, action: t.Callable[[], object]) -> str | None:
    """Run a step that must not stop a rollback; return what went wrong, or None."""
    try:
        action()
    except (OSError, QscError) as error:
        return f"{what}: {error}"
    return None
