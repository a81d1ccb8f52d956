# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Own checks that hang, flood, fork and die: each costs the monitor its time limit at most, and no more."""

from __future__ import annotations

import json
import os
import sys
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge import programs
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.answers import Ran
from ansible_collections.qsc.canary.plugins.module_utils.qsc.own_checks import Program

LONG_S = 60.0
"""A limit that no test reaches, however slow the machine is."""
SHORT_S = 0.5


@pytest.fixture
def run(tmp_path: Path) -> t.Callable[..., list[Ran]]:
    """Run shell scripts as checks, in order."""

    def made(*scripts: str, timeout_s: float = LONG_S, question: bytes = b"{}\n") -> list[Ran]:
        found = []
        for number, script in enumerate(scripts):
            path = tmp_path / f"c{number}"
            path.write_text(script if script.startswith("#!") else f"#!/bin/sh\n{script}\n")
            path.chmod(0o755)
            found.append(Program(path.name, path, True))
        return programs.run(found, question, timeout_s)

    return made


def test_status_and_output_come_back_in_order(run: t.Callable[..., list[Ran]]) -> None:
    found = run("sleep 0.2; echo one", "echo two >&2; exit 3", "kill -9 $$")
    assert [(item.status, item.output, item.errors) for item in found] == [
        (0, b"one\n", b""), (3, b"", b"two\n"), (-9, b"", b""),
    ]  # fmt: skip


def test_the_question_arrives_whole(run: t.Callable[..., list[Ran]]) -> None:
    question = json.dumps({"weights": {f"m{number}": 0.1 for number in range(20_000)}}).encode()
    assert len(question) > 1 << 17, "more than a pipe holds"
    [found] = run("wc -c", question=question)
    assert int(found.output) == len(question)


def test_a_check_that_reads_no_question_is_not_waited_for(run: t.Callable[..., list[Ran]]) -> None:
    [found] = run("exec <&-; echo done", question=b"x" * (1 << 18))
    assert (found.status, found.output) == (0, b"done\n")


def test_one_that_hangs_is_stopped_and_holds_up_no_other(run: t.Callable[..., list[Ran]]) -> None:
    begin = time.monotonic()
    slow, quick = run("sleep 600", "echo fine", timeout_s=SHORT_S)
    assert time.monotonic() - begin < 30
    assert (slow.status, slow.problem) == (None, "did not end within 0.5 s and was stopped")
    assert (quick.status, quick.output) == (0, b"fine\n")


def test_one_that_ignores_signals_is_stopped(run: t.Callable[..., list[Ran]]) -> None:
    [found] = run("trap '' TERM INT HUP; while :; do sleep 600; done", timeout_s=SHORT_S)
    assert found.problem


@pytest.mark.parametrize("ends", [True, False], ids=["it ends", "it hangs"])
def test_its_children_are_gone_with_it(run: t.Callable[..., list[Ran]], tmp_path: Path, ends: bool) -> None:
    note = tmp_path / "child"
    [found] = run(f"sleep 600 & echo $! > {note}; {'exit 0' if ends else 'wait'}", timeout_s=LONG_S if ends else 2.0)
    assert (found.status == 0) == ends
    child = int(note.read_text())
    deadline = time.monotonic() + 30
    while _alive(child):
        assert time.monotonic() < deadline, "the child outlived its check"
        time.sleep(0.01)


def _alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_a_child_that_keeps_the_pipe_open_is_not_waited_for(run: t.Callable[..., list[Ran]]) -> None:
    """A daemon in a session of its own outlives the kill of the group here; systemd ends it with the unit."""
    begin = time.monotonic()
    [found] = run("echo fine; setsid sleep 5 & exit 0")
    assert (found.status, found.output) == (0, b"fine\n")
    assert time.monotonic() - begin < 4.5


@pytest.mark.parametrize("where", ["", " >&2"], ids=["stdout", "stderr"])
def test_one_that_floods_is_stopped(run: t.Callable[..., list[Ran]], where: str) -> None:
    begin = time.monotonic()
    flood, other = run(f"exec cat /dev/zero{where}", "echo fine")
    assert flood.problem == f"printed more than {1 << 20} bytes and was stopped"
    assert time.monotonic() - begin < LONG_S / 2, "at once, not when its time is over"
    assert other.status == 0


def test_only_the_end_of_a_long_output_is_kept(run: t.Callable[..., list[Ran]]) -> None:
    [found] = run("head -c 500000 /dev/urandom; echo; echo the end")
    assert found.status == 0
    assert found.output.endswith(b"\nthe end\n")
    assert len(found.output) <= 1 << 12


def test_what_cannot_be_started_has_failed(tmp_path: Path, run: t.Callable[..., list[Ran]]) -> None:
    [found] = run("#!/nonexistent/interpreter\n")
    assert found.status is None and found.problem.startswith("could not be started: ")
    [gone] = programs.run([Program("gone", tmp_path / "gone", True)], b"", LONG_S)
    assert gone.problem.startswith("could not be started: ")


def test_one_with_a_problem_is_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    path = tmp_path / "pnl"
    path.write_text(f"#!/bin/sh\ntouch {mark}\n")
    path.chmod(0o777)
    [found] = programs.run([Program("pnl", path, True, "can be changed by others")], b"", LONG_S)
    assert (found.status, found.problem) == (None, "not run: it can be changed by others")
    assert not mark.exists()


def test_a_fork_bomb_is_stopped_with_all_of_it(run: t.Callable[..., list[Ran]], tmp_path: Path) -> None:
    """A small one, 40 processes: what holds a large one is TasksMax= of the unit."""
    forks = "import os, time\nfor _n in range(40):\n    if not os.fork():\n        break\ntime.sleep(600)\n"
    script = f"#!{sys.executable}\n{forks}"
    before = _processes_of(tmp_path)
    [found] = run(script, timeout_s=3.0)
    assert found.problem
    deadline = time.monotonic() + 30
    while _processes_of(tmp_path) > before:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _processes_of(folder: Path) -> int:
    found = 0
    for entry in os.listdir("/proc"):
        try:
            found += entry.isdigit() and str(folder).encode() in Path(f"/proc/{entry}/cmdline").read_bytes()
        except OSError:
            continue
    return found


def test_it_sees_nothing_of_the_monitors_environment(
    run: t.Callable[..., list[Ran]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/x")
    [found] = run("env; pwd")
    assert b"hunter2" not in found.output
    assert b"CREDENTIALS_DIRECTORY=/run/credentials/x\n" in found.output


def test_no_descriptor_is_left_open(run: t.Callable[..., list[Ran]]) -> None:
    run("exit 0")
    before = len(os.listdir("/proc/self/fd"))
    for _number in range(3):
        run("exit 0", "exec >&- 2>&-; sleep 600", "cat /dev/zero", timeout_s=SHORT_S)
    assert len(os.listdir("/proc/self/fd")) == before
