# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How systemctl is asked, and what proves that a process runs what it should.

systemctl and /proc are stood in for here, with the answers real ones were seen to give in bad moments; real engines
under a real systemd are tested on the test hosts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import NotProven, SystemdError
from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard import systemd
from helpers.machine import Time
from helpers.samples import UNIT

PROPERTIES = {
    "LoadState": "loaded",
    "ActiveState": "active",
    "SubState": "running",
    "MainPID": "4321",
    "InvocationID": "new",
    "NRestarts": "0",
    "ActiveEnterTimestamp": "@1768000050",
    "UnitFileState": "enabled",
    "DropInPaths": "/etc/systemd/system/e.service.d/qsc_canary.conf /etc/systemd/system/e.service.d/z.conf",
    "User": "quantum",
    "Result": "success",
    "ExecMainStatus": "0",
}
NAMES = ("QSC_CANARY_WEIGHTS", "QSC_CANARY_MODEL")
WANTED = {"QSC_CANARY_WEIGHTS": "/w.json", "QSC_CANARY_MODEL": "patchtst"}


def answer(**changes: str) -> str:
    return "".join(f"{key}={value}\n" for key, value in {**PROPERTIES, **changes}.items())


class Script:
    """systemctl answers from a list (the last answer for ever); /proc answers from another."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.time = Time()
        self.shows: list[t.Any] = [answer()]
        self.processes: list[t.Any] = [({"INVOCATION_ID": "new", "PATH": "/usr/bin", **WANTED}, "/usr/bin/python3.11")]
        self.calls: list[tuple[str, ...]] = []
        monkeypatch.setattr(systemd, "systemctl", self._systemctl)
        monkeypatch.setattr(systemd, "process_environment", self._process)
        monkeypatch.setattr(systemd, "time", self.time)

    @staticmethod
    def _next(script: list[t.Any]) -> t.Any:
        item = script.pop(0) if len(script) > 1 else script[0]
        if isinstance(item, BaseException):
            raise item
        return item

    def _systemctl(self, *arguments: str, **_options: float) -> str:
        self.calls.append(arguments)
        return str(self._next(self.shows))

    def _process(self, _pid: int) -> tuple[dict[str, str], str]:
        environment, executable = self._next(self.processes)
        return dict(environment), executable

    def prove(self, **changes: t.Any) -> systemd.Proof:
        options = {"expected": WANTED, "names": NAMES, "not_invocation": "old", "stability_s": 2.0, "timeout_s": 5.0}
        return systemd.prove(UNIT, **{**options, **changes})


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    return Script(monkeypatch)


# --- show


def test_show_reads_by_key_in_any_order(script: Script) -> None:
    first = systemd.show("e.service")
    script.shows = ["".join(reversed(answer().splitlines(keepends=True)))]
    assert systemd.show("e.service") == first
    assert first == systemd.UnitFacts(
        unit="e.service",
        load_state="loaded",
        active_state="active",
        sub_state="running",
        main_pid=4321,
        invocation_id="new",
        n_restarts=0,
        started_ms=1_768_000_051_000,
        unit_file_state="enabled",
        dropin_paths=tuple(PROPERTIES["DropInPaths"].split()),
        user="quantum",
        result="success",
        exit_status="0",
    )
    assert first.running


@pytest.mark.parametrize(
    "bad", ["", "\n", "MainPID=\n", "LoadState=\nActiveState=\n", "garbage", "ActiveState=active\n"]
)
def test_an_empty_answer_is_asked_again(script: Script, bad: str) -> None:
    script.shows = [bad, bad, answer()]
    assert systemd.show(UNIT).main_pid == 4321
    assert len(script.calls) == 3


def test_a_failing_systemctl_is_asked_again(script: Script) -> None:
    script.shows = [SystemdError("reexec"), SystemdError("reexec"), answer()]
    assert systemd.show(UNIT).main_pid == 4321


@pytest.mark.parametrize("bad", ["", SystemdError("gone")])
def test_silence_is_an_error_and_never_an_answer(script: Script, bad: t.Any) -> None:
    script.shows = [bad]
    with pytest.raises(SystemdError):
        systemd.show(UNIT)


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"MainPID": ""}, "main_pid", 0),
        ({"MainPID": "[not set]"}, "main_pid", 0),
        ({"NRestarts": "7"}, "n_restarts", 7),
        ({"ActiveEnterTimestamp": ""}, "started_ms", 0),
        ({"ActiveEnterTimestamp": "n/a"}, "started_ms", 0),
        ({"ActiveEnterTimestamp": "Sat 2026-01-10 05:43:15 UTC"}, "started_ms", 0),
        ({"DropInPaths": ""}, "dropin_paths", ()),
        ({"Result": "exit-code=5"}, "result", "exit-code=5"),
    ],
)
def test_odd_values(script: Script, changes: dict[str, str], field: str, value: t.Any) -> None:
    script.shows = [answer(**changes)]
    assert getattr(systemd.show(UNIT), field) == value


@pytest.mark.parametrize(
    ("changes", "running"),
    [
        ({}, True),
        ({"MainPID": "0"}, False),
        ({"SubState": "start-post"}, False),
        ({"SubState": "exited"}, False),
        ({"ActiveState": "activating"}, False),
        ({"ActiveState": "reloading"}, False),
        ({"ActiveState": "failed", "SubState": "failed"}, False),
    ],
)
def test_running(script: Script, changes: dict[str, str], running: bool) -> None:
    script.shows = [answer(**changes)]
    assert systemd.show(UNIT).running == running


# --- the real systemctl function, with a program of that name


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Callable[[str], None]:
    """Put a program named systemctl first on PATH."""

    def write(text: str) -> None:
        path = tmp_path / "systemctl"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    return write


def test_systemctl_gives_its_output_in_plain_english(program: t.Callable[[str], None]) -> None:
    program('echo "$LC_ALL $SYSTEMD_COLORS $*"')
    assert systemd.systemctl("show", UNIT) == f"C 0 --no-ask-password show {UNIT}\n"


def test_a_failing_systemctl_is_an_error_with_its_words(program: t.Callable[[str], None]) -> None:
    program("printf 'Unit \\033[31mx not found' >&2; exit 5")
    with pytest.raises(SystemdError, match="not found") as caught:
        systemd.systemctl("restart", "x")
    assert str(caught.value).isprintable()


def test_a_systemctl_that_hangs_is_ended(program: t.Callable[[str], None]) -> None:
    program("exec sleep 60")
    with pytest.raises(SystemdError, match="did not end within"):
        systemd.systemctl("restart", "x", timeout_s=0.2)


def test_no_systemctl(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemdError, match="cannot be run") as caught:
        systemd.systemctl("show")
    assert caught.value.remedy


# --- reset-failed, start


def test_reset_failed_of_a_unit_that_is_not_loaded_is_no_error(script: Script) -> None:
    script.shows = [SystemdError("not loaded"), answer(LoadState="not-found", ActiveState="inactive")]
    systemd.reset_failed(UNIT)


def test_reset_failed_of_a_loaded_unit_must_succeed(script: Script) -> None:
    script.shows = [SystemdError("busy"), answer(), ""]
    systemd.reset_failed(UNIT)
    assert script.calls[-1] == ("reset-failed", UNIT)
    script.shows = [SystemdError("busy"), answer(), SystemdError("busy")]
    with pytest.raises(SystemdError):
        systemd.reset_failed(UNIT)


@pytest.mark.parametrize(("block", "call"), [(True, ("start", UNIT)), (False, ("start", "--no-block", UNIT))])
def test_start(script: Script, block: bool, call: tuple[str, ...]) -> None:
    systemd.start(UNIT, block=block)
    assert script.calls == [call]


def test_a_restart_is_not_repeated(script: Script) -> None:
    """A second try would restart an engine that has just come up."""
    script.shows = [SystemdError("job failed")]
    with pytest.raises(SystemdError):
        systemd.restart(UNIT)
    assert len(script.calls) == 1


# --- prove


def test_proven(script: Script) -> None:
    proof = script.prove()
    assert (proof.main_pid, proof.invocation_id, proof.n_restarts) == (4321, "new", 0)
    assert dict(proof.environment) == WANTED, "only the canary's variables are shown: others may be secrets"
    assert proof.exe == "/usr/bin/python3.11"
    assert proof.seconds >= 2.0, "the stability time was not waited for"


@pytest.mark.parametrize(
    "helper", ["/usr/lib/systemd/systemd-executor", "/usr/lib/systemd/systemd", "/lib/systemd/systemd (deleted)"]
)
def test_systemds_own_helper_proves_nothing(script: Script, helper: str) -> None:
    """Between fork and exec the main process is systemd's helper, without any variable: a false proof of baseline."""
    script.processes = [({"INVOCATION_ID": "new"}, helper)]
    with pytest.raises(NotProven):
        script.prove(expected={})
    engine = ({"INVOCATION_ID": "new", **WANTED}, "/usr/bin/engine")
    script.processes = [({"INVOCATION_ID": "new"}, helper), ({"INVOCATION_ID": "new"}, helper), engine]
    with pytest.raises(NotProven, match="expected was no canary variables"):
        script.prove(expected={})
    script.processes = [({"INVOCATION_ID": "new"}, helper), engine]
    assert script.prove().exe == "/usr/bin/engine"


@pytest.mark.parametrize("own", [{"INVOCATION_ID": "old"}, {"INVOCATION_ID": ""}, {}], ids=["old", "empty", "none"])
def test_a_process_of_another_invocation_proves_nothing(script: Script, own: dict[str, str]) -> None:
    script.processes = [(own, "/usr/bin/engine")]
    with pytest.raises(NotProven, match="does not run"):
        script.prove(expected={})


def test_the_process_of_before_the_restart_proves_nothing(script: Script) -> None:
    script.shows = [answer(InvocationID="old")]
    script.processes = [({"INVOCATION_ID": "old", **WANTED}, "/usr/bin/engine")]
    with pytest.raises(NotProven, match="still the process of before the restart"):
        script.prove()
    assert script.prove(not_invocation="").invocation_id == "old"


def test_a_process_that_is_not_there_any_more(script: Script) -> None:
    engine = script.processes[0]
    script.processes = [ProcessLookupError(3, "No such process"), engine]
    assert script.prove().main_pid == 4321
    script.processes = [FileNotFoundError(2, "No such file")]
    with pytest.raises(NotProven, match="No such file"):
        script.prove()


@pytest.mark.parametrize(
    ("changes", "seen"),
    [
        ({"QSC_CANARY_MODEL": "xgb"}, "QSC_CANARY_MODEL=xgb"),
        ({"QSC_CANARY_WEIGHTS": "/other.json"}, "/other.json"),
        ({"QSC_CANARY_MODEL": None}, "QSC_CANARY_WEIGHTS=/w.json"),
        ({"QSC_CANARY_MODEL": None, "QSC_CANARY_WEIGHTS": None}, "no canary variables"),
        ({"QSC_CANARY_MODEL": "\x1b[2J"}, "QSC_CANARY_MODEL="),
    ],
)
def test_other_variables_are_no_proof(script: Script, changes: dict[str, str | None], seen: str) -> None:
    environment = {"INVOCATION_ID": "new", **WANTED, **changes}
    script.processes = [({key: value for key, value in environment.items() if value is not None}, "/usr/bin/engine")]
    with pytest.raises(NotProven) as caught:
        script.prove()
    assert seen in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", NAMES)
def test_one_variable_too_many_is_no_baseline(script: Script, name: str) -> None:
    script.processes = [({"INVOCATION_ID": "new", name: ""}, "/usr/bin/engine")]
    with pytest.raises(NotProven, match="expected was no canary variables"):
        script.prove(expected={})


@pytest.mark.parametrize(
    ("later", "word"),
    [
        ({"ActiveState": "failed", "SubState": "failed", "MainPID": "0"}, "did not stay up"),
        ({"ActiveState": "activating", "SubState": "auto-restart"}, "did not stay up"),
        ({"MainPID": "5000"}, "did not stay up"),
        ({"InvocationID": "newer"}, "did not stay up"),
        ({"NRestarts": "1"}, "was restarted by systemd 1 times"),
    ],
)
def test_a_process_that_does_not_stay_up(script: Script, later: dict[str, str], word: str) -> None:
    script.shows = [answer(), answer(), answer(), answer(**later), answer()]
    with pytest.raises(NotProven, match=word):
        script.prove()


def test_the_same_is_proven_when_nobody_waits_for_it(script: Script) -> None:
    """Without a stability time one consistent look must do; it is still two answers of systemd."""
    proof = script.prove(stability_s=0.0)
    assert proof.seconds == 0.0
    assert len(script.calls) == 2
    script.shows = [answer(), answer(MainPID="5000")]
    with pytest.raises(NotProven):
        script.prove(stability_s=0.0)


@pytest.mark.parametrize("load", ["masked", "not-found", "bad-setting"])
def test_a_unit_that_is_not_loaded_is_not_waited_for(script: Script, load: str) -> None:
    script.shows = [answer(LoadState=load, ActiveState="inactive", SubState="dead", MainPID="0")]
    begin = script.time.boot
    with pytest.raises(NotProven, match=load):
        script.prove()
    assert script.time.boot == begin


def test_an_engine_that_never_comes_up(script: Script) -> None:
    script.shows = [
        answer(ActiveState="activating", SubState="auto-restart", MainPID="0", NRestarts="4", ExecMainStatus="1")
    ]
    with pytest.raises(NotProven, match=r"activating/auto-restart.*4 restarts by itself, exit status 1"):
        script.prove()


def test_a_slow_start_is_waited_for(script: Script) -> None:
    starting = answer(ActiveState="activating", SubState="start", MainPID="4321")
    script.shows = [starting] * 40 + [answer()]
    assert script.prove().main_pid == 4321


# --- a real process


def test_the_environment_of_a_real_process() -> None:
    environment = {"INVOCATION_ID": "abc", "EMPTY": "", "EQUALS": "a=b", "TEXT": "grün"}
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys; print('up', flush=True); sys.stdin.read()"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        found, executable = systemd.process_environment(process.pid)
        assert found == environment
        assert executable == os.path.realpath(sys.executable)
    finally:
        process.kill()
        process.communicate()
    with pytest.raises(OSError):
        systemd.process_environment(process.pid)


# --- acknowledged


@pytest.fixture
def ack(tmp_path: Path) -> Path:
    return tmp_path / "ack.json"


def test_acknowledged(ack: Path) -> None:
    ack.write_text(json.dumps({"pid": 4321, "sha256": "ab" * 32, "weights": {"xgb": 1.0}}))
    assert systemd.acknowledged(ack, main_pid=4321, weights_digest="ab" * 32) is None


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (None, "wrote no acknowledgement"),
        (b"", "cannot be read"),
        (b"{", "cannot be read"),
        (b"[" * 60_000, "cannot be read"),
        (b"\xff\x00", "cannot be read"),
        (b" " * 70_000, "cannot be read"),
        (b"9" * 5000, "cannot be read"),
        (b"[]", "names no pid"),
        (b"null", "names no pid"),
        (b"{}", "names no pid"),
        (b'{"pid": "4321"}', "names no pid"),
        (b'{"pid": true}', "names no pid"),
        (b'{"pid": 4321.0}', "names no pid"),
        (b'{"pid": 99999999, "sha256": "' + b"ab" * 32 + b'"}', "of process 99999999"),
        (b'{"pid": -1, "sha256": "' + b"ab" * 32 + b'"}', "of process -1"),
        (b'{"pid": ' + b"9" * 300 + b"}", "of process 9"),
        (b'{"pid": 4321}', "loaded other weights"),
        (b'{"pid": 4321, "sha256": null}', "loaded other weights"),
        (b'{"pid": 4321, "sha256": ""}', "loaded other weights"),
        (b'{"pid": 4321, "sha256": "' + b"AB" * 32 + b'"}', "loaded other weights"),
        (b'{"pid": 4321, "sha256": "\\u001b[2J"}', "loaded other weights"),
        (b'{"pid": 4321, "sha256": "' + b"cd" * 32 + b'"}', "loaded other weights"),
    ],
    ids=lambda item: repr(item)[:30],
)
def test_not_acknowledged(ack: Path, data: bytes | None, word: str) -> None:
    if data is not None:
        ack.write_bytes(data)
    problem = systemd.acknowledged(ack, main_pid=4321, weights_digest="ab" * 32)
    assert problem is not None
    assert word in problem
    assert problem.isprintable()


@pytest.mark.parametrize("kind", ["link", "fifo", "folder"])
def test_an_acknowledgement_is_a_plain_file(ack: Path, kind: str) -> None:
    if kind == "link":
        good = ack.with_name("good.json")
        good.write_text(json.dumps({"pid": 4321, "sha256": "ab" * 32}))
        ack.symlink_to(good)
    elif kind == "fifo":
        os.mkfifo(ack)
    else:
        ack.mkdir()
    assert systemd.acknowledged(ack, main_pid=4321, weights_digest="ab" * 32) is not None


def test_a_worker_of_the_engine_may_acknowledge(ack: Path) -> None:
    """A process of the same control group is one of the engine's: here the test's own child."""
    child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    try:
        ack.write_text(json.dumps({"pid": child.pid, "sha256": "ab" * 32}))
        assert systemd.acknowledged(ack, main_pid=os.getpid(), weights_digest="ab" * 32) is None
        assert systemd.acknowledged(ack, main_pid=99_999_999, weights_digest="ab" * 32) is not None
    finally:
        child.kill()
        child.communicate()


@pytest.fixture
def journalctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Callable[[str], Path]:
    """A stand-in for journalctl that does what a test says; returns where it writes its arguments."""

    def make(body: str) -> Path:
        told = tmp_path / "arguments"
        script = tmp_path / "journalctl"
        script.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >{told}\n{body}\n')
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        return told

    return make


def journal(most_bytes: int = 1000) -> tuple[bytes, bool]:
    return systemd.journal(("a.service", "b.timer"), since=10.4, until=99.6, lines=7, most_bytes=most_bytes)


def test_the_journal_of_some_units_and_moments(journalctl: t.Callable[[str], Path]) -> None:
    told = journalctl("echo one; echo two")
    assert journal() == (b"one\ntwo\n", False)
    arguments = told.read_text().split("\n")
    wanted = {"--unit=a.service", "--unit=b.timer", "--since=@10", "--until=@100", "--lines=7", "--output=json"}
    assert wanted <= set(arguments)
    [fields] = [argument for argument in arguments if argument.startswith("--output-fields=")]
    assert "_CMDLINE" not in fields


def test_a_journal_without_end_is_cut_at_a_line(journalctl: t.Callable[[str], Path]) -> None:
    journalctl("exec yes 0123456789")
    found, more = journal()
    assert more
    assert found == b"0123456789\n" * 90


@pytest.mark.parametrize("body", ["exit 1", "kill -9 $$"])
def test_a_journal_that_cannot_be_read_says_so(journalctl: t.Callable[[str], Path], body: str) -> None:
    journalctl(body)
    with pytest.raises(SystemdError, match="journalctl ended with status"):
        journal()


def test_a_host_without_a_journal_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemdError, match="journalctl cannot be run"):
        journal()
