# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`qsc status --watch` as it is run: on a pseudo-terminal and into a pipe, with a record that changes meanwhile."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
import typing as t
from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc import command
from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import SystemdError
from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard import rollback, status
from ansible_collections.qsc.canary.plugins.module_utils.qsc.record import save
from ansible_collections.qsc.canary.plugins.module_utils.qsc.tell import live
from helpers.machine import Machine
from helpers.samples import COLLAPSE
from helpers.scenes import SCENES

ENTER, LEAVE = "\x1b[?1049h\x1b[?25l\x1b[?7l", "\x1b[?7h\x1b[?25h\x1b[?1049l"
ESCAPES = re.compile(r"\x1b\[[?0-9;]*[A-Za-z]")
PERIOD_S = 0.1
WAIT_S = 20.0


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A host in memory that the command takes for its own, looked at ten times a second."""
    made = Machine(tmp_path / "host", monkeypatch)
    made.paths.config.parent.mkdir(parents=True)
    made.paths.config.write_text(json.dumps(made.host.settings.to_dict()))
    monkeypatch.setattr(command, "Paths", lambda: made.paths)
    monkeypatch.setitem(live.watch.__kwdefaults__ or {}, "period_s", PERIOD_S)
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    return made


class Terminal:
    """The command in a child process on a pseudo-terminal of its own."""

    def __init__(self, *arguments: str, columns: int = 80, lines: int = 40) -> None:
        self.output = ""
        ready_read, ready_write = os.pipe()
        self.pid, self.handle = pty.fork()
        if self.pid == 0:
            os.read(ready_read, 1)  # until the terminal has its size
            code = 99
            try:
                sys.stdout = os.fdopen(os.dup(1), "w", encoding="utf-8")
                sys.stderr = os.fdopen(os.dup(2), "w", encoding="utf-8")
                code = command.main(["status", "--watch", *arguments])
            except SystemExit as leave:
                code = int(leave.code or 0)
            finally:
                os._exit(code)
        self.resize(columns, lines)
        os.write(ready_write, b"x")
        os.close(ready_read)
        os.close(ready_write)

    def resize(self, columns: int, lines: int = 40) -> None:
        fcntl.ioctl(self.handle, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def type(self, keys: bytes) -> None:
        os.write(self.handle, keys)

    def read(self, seconds: float) -> bool:
        """Take what has been printed; False at the end."""
        if not select.select([self.handle], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self.handle, 1 << 16)
        except OSError:  # Linux says so when the child has closed it
            return False
        self.output += data.decode(errors="replace")
        return bool(data)

    def until(self, condition: t.Callable[[], bool], what: str) -> None:
        end = time.monotonic() + WAIT_S
        while not condition():
            assert time.monotonic() < end, f"never came: {what}; last:\n{self.output[-3000:]}"
            assert self.read(0.1) or condition(), f"ended before: {what}; last:\n{self.output[-3000:]}"

    @property
    def frames(self) -> list[list[str]]:
        """What was drawn on the screen, frame by frame, as lines without escape codes."""
        drawn = self.output.split(LEAVE, maxsplit=1)[0].split("\x1b[H")[1:]
        whole = [frame for frame in drawn if frame.endswith("\x1b[J")]
        return [[ESCAPES.sub("", line) for line in re.split("\r+\n", frame)] for frame in whole]

    def shows(self, text: str) -> None:
        self.until(lambda: bool(self.frames) and any(text in line for line in self.frames[-1]), text)

    def end(self) -> int:
        """Wait for the end; returns the exit code."""
        end = time.monotonic() + WAIT_S
        while self.read(0.1):
            assert time.monotonic() < end, f"it does not end; last:\n{self.output[-3000:]}"
        _pid, left = os.waitpid(self.pid, 0)
        os.close(self.handle)
        self.pid = 0
        assert os.WIFEXITED(left), left
        return os.WEXITSTATUS(left)

    def close(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            os.close(self.handle)


Open = t.Callable[..., Terminal]


@pytest.fixture
def terminal() -> t.Iterator[Open]:
    opened: list[Terminal] = []

    def start(*arguments: str, **size: int) -> Terminal:
        opened.append(Terminal(*arguments, **size))
        return opened[-1]

    yield start
    for item in opened:
        item.close()


def given_back(found: Terminal) -> list[str]:
    """The lines after the terminal was given back; it was entered once, and left as it was."""
    assert found.output.startswith(ENTER)
    assert found.output.count(ENTER) == found.output.count(LEAVE)
    assert "Traceback" not in found.output
    return ESCAPES.sub("", found.output.rsplit(LEAVE, 1)[1]).replace("\r\n", "\n").splitlines()


@pytest.mark.parametrize("columns", [80, 200])
def test_it_is_drawn_over_again_and_nothing_wraps(machine: Machine, terminal: Open, columns: int) -> None:
    record = machine.run_canary()
    found = terminal(columns=columns)
    found.shows("next")
    count = len(found.frames)
    found.until(lambda: len(found.frames) > count + 2, "further frames")
    assert all(len(line) < columns for frame in found.frames for line in frame)
    assert any(f"└── {record.id}" in line for line in found.frames[-1])
    assert "\x1b[2J" not in found.output, "a screen that is cleared first flickers"
    assert "\x1b[32m" in found.output
    found.type(b"\x03")
    assert found.end() == 130
    assert given_back(found) == found.frames[-1], "what was seen last stays readable"


def test_a_new_size_is_taken_at_once(machine: Machine, terminal: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(live.watch.__kwdefaults__ or {}, "period_s", 3600.0)
    machine.run_canary()
    found = terminal(columns=80)
    found.shows("next")
    assert max(map(len, found.frames[-1])) <= 79
    found.resize(200)
    found.until(lambda: max(map(len, found.frames[-1])) > 90, "a wider frame")
    found.resize(40, 10)
    found.until(lambda: len(found.frames[-1]) == 10, "a lower frame")
    assert max(map(len, found.frames[-1])) <= 39
    assert re.fullmatch(r"\.\.\. \d+ more lines", found.frames[-1][-1])
    found.type(b"\x03")
    assert found.end() == 130
    given_back(found)


def test_what_changes_on_the_host_is_seen(machine: Machine, terminal: Open) -> None:
    machine.run_canary()
    found = terminal()
    found.shows("safe in ")
    machine.write_verdict(verdict="violation", status="NO-GO", violations=(COLLAPSE,), message="HOLD=78.3%")
    found.shows("goes back to the baseline now: the monitor found a violation")
    found.type(b"\x03")
    assert found.end() == 130


def safe(machine: Machine) -> None:
    record = machine.record()
    save(machine.paths.record, replace(record, outcome="safe", concluded_at=1.0, concluded_boot=machine.time.boot))


def inconclusive(machine: Machine) -> None:
    record = machine.record()
    save(machine.paths.record, replace(record, outcome="inconclusive", concluded_boot=machine.time.boot))


def violated(machine: Machine) -> None:
    rollback.roll_back(machine.host, rollback.Finding("qsc_monitor_violation", "HOLD", "violated", (COLLAPSE,)))


def by_hand(machine: Machine) -> None:
    rollback.roll_back(machine.host, rollback.Finding("manual", "why"))


def promoted(machine: Machine) -> None:
    save(machine.paths.record, replace(machine.record(), state="promoted", outcome="safe"))


def paged(machine: Machine) -> None:
    machine.paths.page.write_text(json.dumps({"at": 1.0, "reason": "it is not proven", "tries": 8}))


def another(machine: Machine) -> None:
    save(machine.paths.record, replace(machine.record(), id="another", outcome="safe"))


def gone(machine: Machine) -> None:
    machine.paths.record.unlink()


ENDS: t.Sequence[tuple[t.Callable[[Machine], None], int]] = (
    (safe, 0), (promoted, 0), (violated, 1), (another, 2), (gone, 2), (inconclusive, 4), (by_hand, 4), (paged, 5),
)  # fmt: skip


@pytest.mark.parametrize(("change", "code"), ENDS)
def test_a_time_out_ends_with_the_run(
    machine: Machine, terminal: Open, change: t.Callable[[Machine], None], code: int
) -> None:
    machine.run_canary()
    found = terminal("--timeout", "3600")
    found.shows("next")
    change(machine)
    assert found.end() == code
    assert given_back(found)


def test_a_time_out_that_comes_first(machine: Machine, terminal: Open) -> None:
    machine.run_canary()
    found = terminal("--timeout", "0.5")
    assert found.end() == 4
    assert len(found.frames) > 2
    given_back(found)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_gives_the_terminal_back(machine: Machine, terminal: Open, number: signal.Signals) -> None:
    found = terminal()
    found.shows("none yet")
    os.kill(found.pid, number)
    assert found.end() == 128 + number
    given_back(found)


def test_stopping_it_gives_the_terminal_back_until_it_goes_on(machine: Machine, terminal: Open) -> None:
    found = terminal()
    found.shows("none yet")
    found.type(b"\x1a")  # nobody could continue the leader of a session, so the kernel does not stop it
    found.until(lambda: found.output.count(ENTER) == 2, "the screen again")
    found.type(b"\x03")
    assert found.end() == 130
    given_back(found)


def test_an_error_gives_the_terminal_back(machine: Machine, terminal: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter([status.live(machine.host)])

    def once(_host: object) -> t.Any:
        try:
            return next(looks)
        except StopIteration:
            raise SystemdError("no answer") from None

    monkeypatch.setattr(status, "live", once)
    found = terminal()
    assert found.end() == 2
    assert given_back(found)[-1] == "qsc status: no answer"


def test_without_colour(machine: Machine, terminal: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    machine.run_canary()
    found = terminal()
    found.shows("next")
    assert re.search(r"\x1b\[\d*m", found.output) is None


def test_a_terminal_that_knows_nothing_gets_plain_text(
    machine: Machine, terminal: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    found = terminal()
    assert found.end() == 0
    assert "\x1b" not in found.output
    assert "none yet" in found.output


# --- into a pipe

Run = t.Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> tuple[int, str, str]:
        try:
            code = command.main(["status", *arguments])
        except SystemExit as leave:
            code = int(leave.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return call


def test_a_pipe_gets_it_once_and_plain(run: Run, machine: Machine) -> None:
    record = machine.run_canary()
    code, out, err = run("--watch")
    assert (code, err) == (0, "")
    assert out.count(record.id + "  ") == 1
    assert all(line.isprintable() for line in out.splitlines())
    machine.write_verdict(verdict="violation", status="NO-GO", violations=(COLLAPSE,))
    assert run("--watch")[0] == 1, "without a time-out it ends as the plain status does"


def test_the_columns_of_a_pipe(run: Run, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.run_canary()
    monkeypatch.setenv("COLUMNS", "60")
    assert max(map(len, run("--watch")[1].splitlines())) <= 60


@pytest.mark.parametrize(("change", "code"), ENDS[:1] + ENDS[2:3] + ENDS[5:])
def test_a_pipe_waits_for_the_end(run: Run, machine: Machine, change: t.Callable[[Machine], None], code: int) -> None:
    machine.run_canary()
    change(machine)
    found, out, _err = run("--watch", "--timeout", "0")
    assert found == code
    assert "next " in out


def test_a_pipe_waits_no_longer_than_asked(run: Run, machine: Machine) -> None:
    machine.run_canary()
    code, out, _err = run("--watch", "--timeout", "0.3")
    assert code == 4
    assert out.count("├── next") == 1


def test_there_must_be_a_run_to_wait_for(run: Run, machine: Machine) -> None:
    code, out, _err = run("--watch", "--timeout", "60")
    assert code == 2
    assert "none yet" in out


def test_ctrl_c_while_a_pipe_waits(run: Run, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.run_canary()

    def interrupted(_seconds: float) -> t.NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(live.time, "sleep", interrupted)
    try:
        assert run("--watch", "--timeout", "60") == (130, "", "")
    except KeyboardInterrupt:  # it would end the whole suite
        pytest.fail("Ctrl-C ends with a traceback")


def test_a_record_that_cannot_be_read_is_waited_for(run: Run, machine: Machine) -> None:
    machine.paths.record.write_text("{")
    code, out, _err = run("--watch", "--timeout", "0.2")
    assert code == 2
    assert "problem" in out


@pytest.mark.parametrize(
    "arguments",
    [("--timeout", "5"), ("--watch", "--timeout", "-1"), ("--watch", "--timeout", "nan"), ("--watch", "--json"),
     ("--watch", "--timeout", "soon"), ("--watch", "--timeout", "1e9")],
)  # fmt: skip
def test_options_that_mean_nothing(run: Run, machine: Machine, arguments: tuple[str, ...]) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err


def test_the_help_names_the_exit_codes(run: Run) -> None:
    out = " ".join(run("--help")[1].split())
    assert "0 safe or promoted, 1 rolled back by a violation, 2 error or no run to wait for, 4 still running" in out


# --- the monitor's figures


def write_figures(machine: Machine, **changes: t.Any) -> None:
    page = {**SCENES["strict"]()["figures"], "canary_id": machine.record().id, **changes}
    machine.paths.figures.parent.mkdir(parents=True, exist_ok=True)
    machine.paths.figures.write_text(json.dumps(page))


def test_figures_of_this_run_are_shown(run: Run, machine: Machine) -> None:
    machine.run_canary()
    assert "the monitor has shown no figures of this run yet" in run("--watch")[1]
    write_figures(machine)
    assert re.search(r"HOLD +53\.5 % +≤ 70 % +16\.5", run("--watch")[1])
    write_figures(machine, canary_id="another")
    assert "the monitor has shown no figures of this run yet" in run("--watch")[1]


@pytest.mark.parametrize("content", [b"{", b"\x1b[2J", b'{"schema": 1, "rules": 5}', b"x" * (1 << 17), None])
def test_hostile_figures_are_only_said_to_be_so(run: Run, machine: Machine, content: bytes | None) -> None:
    machine.run_canary()
    machine.paths.figures.parent.mkdir(parents=True)
    if content is None:
        machine.paths.figures.symlink_to("/etc/passwd")
    else:
        machine.paths.figures.write_bytes(content)
    before = run()
    code, out, err = run("--watch")
    assert (code, err) == (0, "")
    assert "next       safe in " in out
    assert "root:" not in out
    assert all(line.isprintable() for line in out.splitlines())
    assert run() == before == (0, before[1], ""), "the plain status does not read them"


def test_the_ledger_is_not_read_again_and_again(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.run_canary()

    def read(*_arguments: object) -> t.NoReturn:
        raise AssertionError("it grows")

    monkeypatch.setattr(type(machine.host.ledger), "newest_first", read)
    before = machine.files()
    facts = status.live(machine.host)
    assert machine.files() == before
    assert facts["watching"] == {
        "expected": 720, "needed": 684, "due": 0, "missed_limit": 4, "silence_limit_s": 155.0
    }  # fmt: skip
    json.dumps(facts, allow_nan=False)
