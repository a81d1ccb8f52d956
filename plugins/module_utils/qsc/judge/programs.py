# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""Runs the operator's own checks, all at once, with a time limit and a bound on what is read of them.

They run as the monitor's user, in its sandbox. One that hangs, floods or forks costs the monitor its time limit and no
more: its process group is killed, and what left the group ends with the unit.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
import typing as t

from ..own_checks import Program
from .answers import Ran

MOST_BYTES = 1 << 20
"""Bytes a program may print; one that prints more is stopped."""
_TAIL = 1 << 12
_CHUNK = 1 << 16
_TICK_S = 0.02
_REAP_S = 0.5
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class _Running:
    """One program on its way, with what it has printed so far."""

    def __init__(self, program: Program, question: bytes) -> None:
        self.program = program
        self.question = question
        self.output = self.errors = b""
        self.printed = 0
        self.process = subprocess.Popen(
            [str(program.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd="/",
            env=_environment(),
            start_new_session=True,
        )
        for pipe in self.open_pipes:
            os.set_blocking(pipe.fileno(), False)

    @property
    def open_pipes(self) -> list[t.IO[bytes]]:
        """Its standard input, output and error, as far as there is still something to be said through them."""
        process = self.process
        return [pipe for pipe in (process.stdin, process.stdout, process.stderr) if pipe and not pipe.closed]

    def work(self, pipe: t.IO[bytes]) -> bool:
        """Give it more of the question, or take more of its answer, without waiting; False when the pipe is done."""
        try:
            if pipe is self.process.stdin:
                self.question = self.question[os.write(pipe.fileno(), self.question) :]
                return bool(self.question)
            data = os.read(pipe.fileno(), _CHUNK)
        except BlockingIOError:
            return True
        except OSError:  # it reads no question
            return False
        self.printed += len(data)
        if pipe is self.process.stdout:
            self.output = (self.output + data)[-_TAIL:]
        else:
            self.errors = (self.errors + data)[-_TAIL:]
        return bool(data)

    @property
    def ended(self) -> bool:
        """Whether it ended by itself; it is not reaped yet, so that its group's number is still its own."""
        return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    @property
    def over(self) -> bool:
        """Whether nothing more is to be waited for."""
        return self.printed > MOST_BYTES or self.ended

    def finish(self, timeout_s: float) -> Ran:
        """Kill what is left of its group, and say how it ended."""
        program, problem = self.program, ""
        if self.printed > MOST_BYTES:
            problem = f"printed more than {MOST_BYTES} bytes and was stopped"
        elif not self.ended:
            problem = f"did not end within {timeout_s:g} s and was stopped"
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for pipe in self.open_pipes:
            if pipe is not self.process.stdin:
                self.work(pipe)  # what it printed last
            with contextlib.suppress(OSError):
                pipe.close()
        status: int | None = None
        with contextlib.suppress(subprocess.TimeoutExpired):  # one that no signal reaches is left to systemd
            status = self.process.wait(_REAP_S)
        if problem:
            return Ran(program.name, program.required, problem=problem)
        return Ran(program.name, program.required, status, self.output, self.errors)


def _environment() -> dict[str, str]:
    names = ("CREDENTIALS_DIRECTORY",)  # where the monitor's unit keeps the Redis password
    return {"PATH": _PATH, "LANG": "C.UTF-8", **{name: os.environ[name] for name in names if name in os.environ}}


def run(programs: t.Sequence[Program], question: bytes, timeout_s: float) -> list[Ran]:
    """Run all of them at once, each with ``question`` on its standard input, for at most ``timeout_s`` together.

    Never raises for what a program is or does.
    """
    end = time.monotonic() + timeout_s
    answers: dict[int, Ran] = {}
    running: dict[int, _Running] = {}
    for number, program in enumerate(programs):
        if program.problem:
            answers[number] = Ran(program.name, program.required, problem=f"not run: it {program.problem}")
            continue
        try:
            running[number] = _Running(program, question)
        except (OSError, ValueError) as error:
            answers[number] = Ran(program.name, program.required, problem=f"could not be started: {error}")
    with selectors.DefaultSelector() as selector:
        for number, one in running.items():
            for pipe in one.open_pipes:
                writes = pipe is one.process.stdin
                selector.register(pipe, selectors.EVENT_WRITE if writes else selectors.EVENT_READ, number)
        while running:
            for key, _events in selector.select(_TICK_S):
                pipe = t.cast("t.IO[bytes]", key.fileobj)
                if not running[key.data].work(pipe):
                    selector.unregister(pipe)
                    pipe.close()  # a program that reads its input to the end goes on here
            late = time.monotonic() >= end
            for number in [number for number, one in running.items() if late or one.over]:
                one = running.pop(number)
                for pipe in one.open_pipes:
                    selector.unregister(pipe)
                answers[number] = one.finish(timeout_s)
    return [answers[number] for number in range(len(programs))]
