# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A person at a terminal: a command that runs on a pseudo terminal of its own, read and typed into by a test."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
import typing as t
from pathlib import Path

CTRL_C = "\x03"
_ERASE, _CLEARED = "\x7f", b"\x1b[K"
_COLUMNS = 250
"""Wide enough that nothing is wrapped."""


class Terminal:
    """The command on its terminal: the leader of a session, in the foreground, as a shell has it.

    ``patience``: how much longer than its time-outs is waited.
    """

    def __init__(self, command: t.Sequence[str], *, cwd: Path, env: t.Mapping[str, str], patience: float = 1) -> None:
        self._begin = time.monotonic()
        self._patience = patience
        self._read = bytearray()
        self._seen = 0
        self.moments: list[tuple[float, int]] = []
        """(s since the start, bytes read until then)"""
        self._pid, self._fd = pty.fork()
        if self._pid == 0:  # the child: nothing but the command may come of it
            try:
                fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 50, _COLUMNS, 0, 0))
                os.chdir(cwd)
                os.execvpe(command[0], list(command), dict(env))
            finally:
                os._exit(127)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._pid:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
        os.close(self._fd)

    @property
    def output(self) -> str:
        """What was on the terminal so far, with plain line ends."""
        return self._read.decode(errors="replace").replace("\r\n", "\n").replace("\r", "\n")

    def seconds_of(self, text: str) -> float:
        """s after the start at which a text was there."""
        for seconds, length in self.moments:
            if text.encode() in self._read[:length]:
                return seconds
        raise AssertionError(f"{text!r} never came:\n{self.output}")

    def wait_for(self, text: str, timeout: float = 60) -> None:
        """Read on until ``text`` has come after what was waited for before."""
        end = time.monotonic() + timeout * self._patience
        while not self._came(text.encode()):
            if not self._more(end):
                raise AssertionError(f"{text!r} did not come:\n{self.output}")

    def answer(self, prompt: str, keys: str, timeout: float = 60) -> None:
        """Wait for a prompt of ansible's pause, then press keys.

        It throws away what is pressed before it reads. An erase on the empty line does nothing but be answered by the
        line being cleared, so that one is pressed until then.
        """
        self.wait_for(prompt, timeout)
        end = time.monotonic() + 20 * self._patience
        while not self._came(_CLEARED):
            if time.monotonic() >= end:
                raise AssertionError(f"nobody reads the answer to {prompt!r}:\n{self.output}")
            self.type(_ERASE)
            self._more(time.monotonic() + 0.1)
        self.type(keys)

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._fd, keys.encode())

    def end(self, timeout: float = 120) -> int:
        """Read to the end; the exit code, negative for a signal."""
        end = time.monotonic() + timeout * self._patience
        while self._more(end):
            pass
        if time.monotonic() >= end:
            raise AssertionError(f"no end after {timeout * self._patience} s:\n{self.output}")
        _pid, status = os.waitpid(self._pid, 0)
        self._pid = 0
        return os.waitstatus_to_exitcode(status)

    def _came(self, text: bytes) -> bool:
        found = self._read.find(text, self._seen)
        if found >= 0:
            self._seen = found + len(text)
        return found >= 0

    def _more(self, end: float) -> bool:
        """Read what comes; False at the end of the command or of the time."""
        ready, _write, _other = select.select([self._fd], [], [], max(0.0, end - time.monotonic()))
        if not ready:
            return False
        try:
            data = os.read(self._fd, 1 << 16)
        except OSError:  # EIO: the other side is closed
            return False
        self._read += data
        self.moments.append((time.monotonic() - self._begin, len(self._read)))
        return bool(data)
