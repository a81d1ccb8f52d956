# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""The loop of ``qsc status --watch``: look, draw, wait; on a screen of its own that is given back whatever happens."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import time
import typing as t
from types import FrameType

from .watch import ERROR, UNDECIDED, end_state, tree

Facts = t.Mapping[str, t.Any]

INTERRUPTED = 130
"""The exit code after Ctrl-C, as a shell has it."""
PERIOD_S = 2.0
"""s between two looks."""
_PLAIN_COLUMNS = 120
# The alternate screen, without a cursor, and without wrapping (xterm's 1049, DECTCEM, DECAWM); and all of it back.
_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l"
_LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l"
_HOME, _TO_LINE_END, _TO_END = "\x1b[H", "\x1b[K", "\x1b[J"


def watch(
    look: t.Callable[[], Facts],
    out: t.TextIO,
    *,
    timeout_s: float | None = None,
    period_s: float = PERIOD_S,
) -> tuple[int | None, Facts]:
    """Show what ``look`` finds, on a terminal again and again until Ctrl-C; elsewhere once, as plain text.

    With ``timeout_s`` it ends when the run has come to its end or the time is over. Returns the exit code, None where
    it was only shown once, and what was found last.
    """
    if not _is_screen(out):
        return _wait_and_show(look, out, timeout_s, period_s)
    with _Screen(out) as screen:
        return screen.run(look, timeout_s, period_s), screen.facts


def _is_screen(out: t.TextIO) -> bool:
    return out.isatty() and os.environ.get("TERM", "dumb") != "dumb"


class _Wait:
    """Until when to wait, for which run."""

    def __init__(self, timeout_s: float | None) -> None:
        self._timeout_s = timeout_s
        self._end = time.monotonic() + (timeout_s or 0.0)
        self._canary_id = ""

    def code(self, facts: Facts) -> int | None:
        """The exit code when there is nothing to wait for any more, else None."""
        if self._timeout_s is None:
            return None
        found = end_state(facts, self._canary_id)
        self._canary_id = self._canary_id or str((facts.get("record") or {}).get("id", ""))
        if found is not None:
            return found
        if time.monotonic() < self._end:
            return None
        return ERROR if facts.get("problems") and not facts.get("record") else UNDECIDED

    def pause_s(self, period_s: float) -> float:
        """s until the next look: never beyond the end."""
        if self._timeout_s is None:
            return period_s
        return min(period_s, max(0.0, self._end - time.monotonic()))


def _wait_and_show(
    look: t.Callable[[], Facts], out: t.TextIO, timeout_s: float | None, period_s: float
) -> tuple[int | None, Facts]:
    wait = _Wait(timeout_s)
    while True:
        facts = look()
        code = wait.code(facts)
        if code is not None or timeout_s is None:
            columns = shutil.get_terminal_size((_PLAIN_COLUMNS, 24)).columns
            text = "".join(f"{line}\n" for line in tree(facts, columns, ascii_only=_needs_ascii(out)))
            out.write(_encoded(out, text).decode(out.encoding or "ascii"))
            out.flush()
            return code, facts
        time.sleep(wait.pause_s(period_s))


class _Screen:
    """The terminal while the view is on it. Resizing redraws at once; Ctrl-Z gives the terminal back until fg."""

    def __init__(self, out: t.TextIO) -> None:
        self._out = out
        self.facts: Facts = {}
        self._handlers: dict[int, t.Any] = {}
        self._colour = not os.environ.get("NO_COLOR")
        self._wake_read, self._wake_write = -1, -1
        self._wakeup_before = -1

    def __enter__(self) -> _Screen:
        self._wake_read, self._wake_write = os.pipe()
        for handle in (self._wake_read, self._wake_write):
            os.set_blocking(handle, False)
        self._wakeup_before = signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        handlers = {
            signal.SIGWINCH: _nothing, signal.SIGTERM: _end, signal.SIGHUP: _end, signal.SIGTSTP: self._stop,
            signal.SIGINT: signal.default_int_handler,
        }  # fmt: skip
        for number, handler in handlers.items():
            self._handlers[number] = signal.signal(number, handler)
        try:
            _write(self._out, _ENTER)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        for number in self._handlers:  # a second Ctrl-C must not leave the terminal as it is now
            signal.signal(number, signal.SIG_IGN)
        with contextlib.suppress(OSError, ValueError):
            _write(self._out, _LEAVE)
            # what was seen last stays readable
            _write(self._out, "".join(f"{line}\n" for line in self._lines(_size(self._out).columns - 1)))
        signal.set_wakeup_fd(self._wakeup_before)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        os.close(self._wake_read)
        os.close(self._wake_write)

    def run(self, look: t.Callable[[], Facts], timeout_s: float | None, period_s: float) -> int:
        """Look and draw until there is nothing more to wait for."""
        wait = _Wait(timeout_s)
        try:
            while True:
                self.facts = look()
                self._draw()
                code = wait.code(self.facts)
                if code is not None:
                    return code
                self._pause(wait.pause_s(period_s))
        except KeyboardInterrupt:
            return INTERRUPTED

    def _pause(self, seconds: float) -> None:
        """Wait; a resize in between draws again what is known."""
        end = time.monotonic() + seconds
        while True:
            ready, _write_ready, _other = select.select([self._wake_read], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                return
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_read, 1 << 12)
            self._draw()

    def _draw(self) -> None:
        """One frame in one write. The last column stays free: clearing a full line would take its last cell away."""
        size = _size(self._out)
        lines = self._lines(size.columns - 1)
        if len(lines) > size.lines > 1:
            hidden = len(lines) - size.lines + 1
            lines = [*lines[: size.lines - 1], f"... {hidden} more lines"[: size.columns - 1]]
        _write(self._out, _HOME + f"{_TO_LINE_END}\r\n".join(lines) + _TO_LINE_END + _TO_END)

    def _lines(self, columns: int) -> list[str]:
        """The view; nothing before the first look."""
        if not self.facts:
            return []
        return tree(self.facts, columns, colour=self._colour, ascii_only=_needs_ascii(self._out))

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        _write(self._out, _LEAVE)
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)  # stops here, and goes on after SIGCONT
        signal.signal(signal.SIGTSTP, self._stop)
        _write(self._out, _ENTER)
        self._draw()


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """The signal wakes the loop through its pipe."""


def _end(number: int, _frame: FrameType | None) -> t.NoReturn:
    raise SystemExit(128 + number)


def _size(out: t.TextIO) -> os.terminal_size:
    """The terminal's size as it is now; (80, 24) where it cannot be told."""
    with contextlib.suppress(OSError, ValueError):
        size = os.get_terminal_size(out.fileno())
        if size.columns > 1 and size.lines > 1:
            return size
    return os.terminal_size((80, 24))


def _needs_ascii(out: t.TextIO) -> bool:
    try:
        "├█●≤✓…".encode(out.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return True
    return False


def _encoded(out: t.TextIO, text: str) -> bytes:
    return text.encode(out.encoding or "ascii", "replace")


def _write(out: t.TextIO, text: str) -> None:
    """Past the stream's own buffer: a signal's handler may write in the middle of another write."""
    data = _encoded(out, text)
    while data:
        data = data[os.write(out.fileno(), data) :]
