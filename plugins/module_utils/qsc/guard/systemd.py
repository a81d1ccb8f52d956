# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""The only place that runs systemctl, and the proof that a process runs what it should.

A failed or empty answer of systemctl proves nothing and is asked again; a restart alone proves nothing either: see
:func:`prove`.
"""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import time
import typing as t
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import NotProven, Refused, SystemdError
from ..files import read_bounded
from ..verdict import printable

_PROPERTIES = (
    "LoadState", "ActiveState", "SubState", "MainPID", "InvocationID", "NRestarts", "ActiveEnterTimestamp",
    "UnitFileState", "DropInPaths", "User", "Result", "ExecMainStatus",
)  # fmt: skip
_TRIES = 5
RESTART_TIMEOUT_S = 280.0
"""s that an engine may take for a stop and a start before a restart by us counts as failed."""
_ENVIRON_LIMIT = 1 << 22


@dataclass(frozen=True)
class UnitFacts:
    """What systemd says of a unit. ``started_ms``: last start in ms since 1970, rounded up to a whole second."""

    unit: str
    load_state: str
    active_state: str
    sub_state: str
    main_pid: int
    invocation_id: str
    n_restarts: int
    started_ms: int
    unit_file_state: str
    dropin_paths: tuple[str, ...]
    user: str
    result: str
    exit_status: str

    @property
    def running(self) -> bool:
        """True when the main process runs and the start is complete."""
        return self.active_state == "active" and self.sub_state == "running" and self.main_pid > 0

    def to_dict(self) -> dict[str, t.Any]:
        """As JSON-ready data."""
        return asdict(self)


@dataclass(frozen=True)
class Proof:
    """Process facts that show what an engine runs. ``environment`` holds only the canary's variables."""

    unit: str
    main_pid: int
    invocation_id: str
    n_restarts: int
    exe: str
    environment: t.Mapping[str, str]
    seconds: float

    def to_dict(self) -> dict[str, t.Any]:
        """As JSON-ready data."""
        return {**asdict(self), "environment": dict(self.environment)}


def booted() -> bool:
    """True when systemd is the init of this host (sd_booted(3))."""
    return os.path.isdir("/run/systemd/system")


def check_booted() -> None:
    """Raises Refused on a host whose init is another one."""
    if not booted():
        raise Refused("this host was not booted with systemd", remedy="qsc.canary needs a host under systemd.")


def _pairs(text: str) -> dict[str, str]:
    """The properties in an answer of ``systemctl show`` about one unit."""
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def systemctl(*arguments: str, timeout_s: float = 30.0) -> str:
    """Run systemctl and return its output. Raises SystemdError."""
    command = ["systemctl", "--no-ask-password", *arguments]
    environment = {**os.environ, "LC_ALL": "C", "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": ""}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout_s, check=False, env=environment, errors="replace"
        )
    except subprocess.TimeoutExpired as error:
        raise SystemdError(f"'{' '.join(command)}' did not end within {timeout_s:.0f} s") from error
    except OSError as error:
        raise SystemdError(f"systemctl cannot be run: {error}", remedy="This host needs systemd.") from error
    if done.returncode != 0:
        raise SystemdError(f"'{' '.join(command)}' failed: {printable(done.stderr.strip() or str(done.returncode))}")
    return done.stdout


def _retried(*arguments: str, timeout_s: float = 30.0) -> str:
    """systemctl, asked again while it fails: a daemon-reexec in between makes any call fail once."""
    for attempt in range(_TRIES):
        try:
            return systemctl(*arguments, timeout_s=timeout_s)
        except SystemdError:
            if attempt == _TRIES - 1:
                raise
            time.sleep(0.1 * 2**attempt)
    raise AssertionError("unreachable")


def show(unit: str) -> UnitFacts:
    """Ask systemd for a unit's facts, by key, and again while the answer is empty. Raises SystemdError."""
    arguments = ["show", unit, "--timestamp=unix", f"--property={','.join(_PROPERTIES)}"]
    for attempt in range(_TRIES):
        answer = _pairs(_retried(*arguments))
        if answer.get("LoadState") and answer.get("ActiveState"):
            return _facts(unit, answer)
        time.sleep(0.1 * 2**attempt)
    raise SystemdError(f"systemd says nothing of {unit}")


def stale(units: t.Sequence[str]) -> list[str]:
    """Those of which systemd does not say that it has read their files as they are. Raises SystemdError."""
    if not units:
        return []
    answer = _retried("show", "--property=Id,LoadState,NeedDaemonReload", *units)
    blocks = [_pairs(block) for block in answer.split("\n\n")]
    good = {one.get("Id") for one in blocks if (one.get("LoadState"), one.get("NeedDaemonReload")) == ("loaded", "no")}
    return [unit for unit in units if unit not in good]


def _facts(unit: str, answer: t.Mapping[str, str]) -> UnitFacts:
    started = re.fullmatch(r"@(\d+)", answer.get("ActiveEnterTimestamp", ""))
    return UnitFacts(
        unit=unit,
        load_state=answer["LoadState"],
        active_state=answer["ActiveState"],
        sub_state=answer.get("SubState", ""),
        main_pid=_int(answer.get("MainPID")),
        invocation_id=answer.get("InvocationID", ""),
        n_restarts=_int(answer.get("NRestarts")),
        # whole seconds are all systemctl tells: round up, so that no decision of the process before counts
        started_ms=(int(started.group(1)) + 1) * 1000 if started else 0,
        unit_file_state=answer.get("UnitFileState", ""),
        dropin_paths=tuple(answer.get("DropInPaths", "").split()),
        user=answer.get("User", ""),
        result=answer.get("Result", ""),
        exit_status=answer.get("ExecMainStatus", ""),
    )


def _int(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0


def daemon_reload() -> None:
    """Let systemd read the unit files again."""
    _retried("daemon-reload", timeout_s=60.0)


def reset_failed(unit: str) -> None:
    """Forget the unit's failures: a flapping engine has used up its start limit. A unit that is not loaded has none."""
    try:
        systemctl("reset-failed", unit)
    except SystemdError:
        if show(unit).load_state == "loaded":
            _retried("reset-failed", unit)


def restart(unit: str, *, timeout_s: float = 150.0) -> None:
    """Restart and wait for the job. Raises SystemdError."""
    systemctl("restart", unit, timeout_s=timeout_s)


def start(unit: str, *, block: bool = True) -> None:
    """Start a unit. Never restarts a running one."""
    _retried("start", *([] if block else ["--no-block"]), unit)


def enable(unit: str) -> None:
    """Enable a unit for the next boots and start it now."""
    _retried("enable", "--now", unit)


def stop(*units: str) -> None:
    """Stop units."""
    _retried("stop", *units)


def known_downtime_s(unit: str) -> float | None:
    """The same where it is only told: None when systemd does not know."""
    try:
        return downtime_s(unit)
    except SystemdError:
        return None


_OUTPUT_KEPT = 2000
_STOP_S = 2


@dataclass(frozen=True)
class Ran:
    """How a command of an operator ended. ``exit_status``: its own, 255 for a signal, -1 when nothing is known;
    ``output``: the end of what it printed, as it is."""

    exit_status: int
    seconds: float
    timed_out: bool
    output: str


def _started(command: t.Sequence[str], *, stderr: int) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "LC_ALL": "C"}
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, env=environment
    )  # fmt: skip


def _printed(process: subprocess.Popen[bytes], end: float) -> t.Iterator[bytes]:
    """What a program prints, piece by piece, until it prints no more or the time (monotonic s) is over."""
    stream = t.cast("t.IO[bytes]", process.stdout).fileno()
    while select.select([stream], [], [], max(0.0, end - time.monotonic()))[0]:
        chunk = os.read(stream, 1 << 16)
        if not chunk:
            return
        yield chunk


def run_command(argv: t.Sequence[str], *, name: str, environment: t.Mapping[str, str], timeout_s: float) -> Ran:
    """Run a command as a service of its own, whoever calls: bounded by systemd, with all of its children.

    Its environment and rights are the same from a play, a unit's sandbox or a shell; what it prints goes to the caller,
    who keeps the end of it. Raises SystemdError when it cannot be run at all.
    """
    command = [
        "systemd-run", "--no-ask-password", "--quiet", "--wait", "--pipe", "--collect", "--service-type=exec",
        f"--unit={name}", f"--property=RuntimeMaxSec={timeout_s:g}", f"--property=TimeoutStopSec={_STOP_S}",
        *(f"--setenv={key}={value}" for key, value in environment.items()),
        "--", *(word.replace("$", "$$") for word in argv),  # systemd would put variables of its own in there
    ]  # fmt: skip
    begin = time.monotonic()
    end = begin + timeout_s + 2 * _STOP_S + 1
    tail = b""
    try:
        with _started(command, stderr=subprocess.STDOUT) as process:
            for chunk in _printed(process, end):
                tail = (tail + chunk)[-_OUTPUT_KEPT:]
            try:
                status = process.wait(timeout=max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                status = -1
    except OSError as error:
        raise SystemdError(f"systemd-run cannot be run: {error}", remedy="This host needs systemd.") from error
    seconds = time.monotonic() - begin
    output = tail.decode("utf-8", "replace").strip()
    return Ran(status, round(seconds, 3), status != 0 and seconds >= timeout_s, output)


def text(unit: str) -> str:
    """The unit as systemd puts it together: its file, then its drop-ins. Raises SystemdError."""
    return systemctl("cat", unit)


JOURNAL_FIELDS = ("MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "_PID", "_SYSTEMD_UNIT", "UNIT")
"""No command line: a secret may stand there."""


def journal(units: t.Sequence[str], *, since: float, until: float, lines: int, most_bytes: int) -> tuple[bytes, bool]:
    """The newest ``lines`` of the journal about units between two moments (wall s) as JSON lines, and whether there
    were more than ``most_bytes``, which are left out. Raises SystemdError."""
    command = [
        "journalctl", "--no-pager", "--quiet", "--output=json", f"--output-fields={','.join(JOURNAL_FIELDS)}",
        f"--since=@{since:.0f}", f"--until=@{until:.0f}", f"--lines={lines}", *(f"--unit={unit}" for unit in units),
    ]  # fmt: skip
    end = time.monotonic() + 60
    found = b""
    try:
        with _started(command, stderr=subprocess.DEVNULL) as process:
            for chunk in _printed(process, end):
                found += chunk
                if len(found) > most_bytes:
                    break
            more = len(found) > most_bytes
            if more or time.monotonic() >= end:
                process.kill()
            status = process.wait(timeout=10)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SystemdError(f"journalctl cannot be run: {error}") from error
    if status != 0 and not more:
        raise SystemdError(f"journalctl ended with status {status}")
    return found[:most_bytes].rpartition(b"\n")[0] + b"\n" if more else found, more


def downtime_s(unit: str) -> float:
    """s from the stop signal of the last restart to the moment the new process was ready. Raises SystemdError."""
    names = ("ActiveExitTimestampMonotonic", "ActiveEnterTimestampMonotonic")
    answer = _retried("show", unit, f"--property={','.join(names)}")
    found = _pairs(answer)
    stopped, ready = (_int(found.get(name)) for name in names)  # in microseconds; 0 when it never happened
    if not 0 < stopped <= ready:
        raise SystemdError(f"{unit} was not restarted, or is not up again")
    return round((ready - stopped) / 1e6, 3)


def process_environment(pid: int) -> tuple[dict[str, str], str]:
    """The start environment of a process and its executable, read in this order. Raises OSError.

    Between fork and exec a main process is still systemd's own helper: an executable read AFTER the environment that is
    not systemd's shows that the environment was the engine's.
    """
    with open(f"/proc/{pid}/environ", "rb") as stream:
        raw = stream.read(_ENVIRON_LIMIT)
    executable = os.readlink(f"/proc/{pid}/exe")
    pairs = (item.split(b"=", 1) for item in raw.split(b"\0") if b"=" in item)
    return {key.decode(errors="replace"): value.decode(errors="replace") for key, value in pairs}, executable


def prove(
    unit: str,
    *,
    expected: t.Mapping[str, str] | None,
    names: t.Collection[str],
    not_invocation: str = "",
    stability_s: float = 0.0,
    timeout_s: float = 20.0,
) -> Proof:
    """Show that the unit's main process was started with exactly ``expected`` among the variables ``names``.

    With None, the process is shown and nothing is said of its variables: of an engine that was reloaded they tell what
    it ran before.

    One consistent read: active and running, a new invocation when ``not_invocation`` is given, the process's own
    INVOCATION_ID equal to systemd's, an executable that is not systemd's, the variables equal; then the same process,
    not restarted by itself, for ``stability_s``. Raises NotProven with what was seen instead.
    """
    begin = time.monotonic()
    proof = _await_process(unit, names, not_invocation, begin + timeout_s)
    seen = dict(proof.environment)
    if expected is not None and seen != dict(expected):
        raise NotProven(f"{unit} runs with {_spelled(seen)}, expected was {_spelled(expected)}")
    stable_until = time.monotonic() + stability_s
    while True:
        facts = show(unit)
        if (facts.main_pid, facts.invocation_id) != (proof.main_pid, proof.invocation_id) or not facts.running:
            raise NotProven(
                f"{unit} did not stay up for {stability_s:g} s: {facts.active_state}/{facts.sub_state}, "
                f"{facts.n_restarts} restarts by itself, result {facts.result}, exit status {facts.exit_status}"
            )
        if facts.n_restarts != 0 and not_invocation:
            raise NotProven(f"{unit} was restarted by systemd {facts.n_restarts} times within {stability_s:g} s")
        if time.monotonic() >= stable_until:
            break
        time.sleep(min(0.2, max(0.0, stable_until - time.monotonic())))
    return Proof(
        unit=unit,
        main_pid=proof.main_pid,
        invocation_id=proof.invocation_id,
        n_restarts=facts.n_restarts,
        exe=proof.exe,
        environment=seen,
        seconds=round(time.monotonic() - begin, 3),
    )


def _await_process(unit: str, names: t.Collection[str], not_invocation: str, end: float) -> Proof:
    last = "nothing"
    while True:
        facts = show(unit)
        last = f"{facts.active_state}/{facts.sub_state}, pid {facts.main_pid}, result {facts.result}"
        if facts.load_state != "loaded":
            raise NotProven(f"{unit} is {facts.load_state}")
        if facts.running and facts.invocation_id and facts.invocation_id != not_invocation:
            try:
                environment, executable = process_environment(facts.main_pid)
            except OSError as error:
                last = f"pid {facts.main_pid}: {error}"
            else:
                own = environment.get("INVOCATION_ID") == facts.invocation_id
                if own and not os.path.basename(executable).startswith("systemd"):
                    values = {name: environment[name] for name in names if name in environment}
                    return Proof(unit, facts.main_pid, facts.invocation_id, facts.n_restarts, executable, values, 0.0)
        elif facts.running and facts.invocation_id == not_invocation:
            last = "still the process of before the restart"
        if time.monotonic() >= end:
            raise NotProven(
                f"{unit} does not run: {last}, {facts.n_restarts} restarts by itself, exit status {facts.exit_status}"
            )
        time.sleep(0.05)


def _spelled(environment: t.Mapping[str, str]) -> str:
    if not environment:
        return "no canary variables"
    return " ".join(f"{key}={printable(value, 120)}" for key, value in sorted(environment.items()))


def acknowledged(path: Path, *, main_pid: int, weights_digest: str) -> str | None:
    """None when the engine acknowledged these weights, else what is wrong.

    The file is the engine's own and so is parsed as hostile: {"pid", "sha256"}; pid is the main process, or one in its
    control group.
    """
    try:
        raw = json.loads(read_bounded(path, 1 << 16))
    except FileNotFoundError:
        return f"the engine wrote no acknowledgement to {path}"
    except (OSError, ValueError, RecursionError) as error:
        return f"the acknowledgement cannot be read: {printable(str(error), 200)}"
    if not isinstance(raw, dict) or isinstance(raw.get("pid"), bool) or not isinstance(raw.get("pid"), int):
        return "the acknowledgement names no pid"
    if raw["pid"] != main_pid and not _same_control_group(raw["pid"], main_pid):
        return f"the acknowledgement is of process {raw['pid']!s:.40}, the engine is {main_pid}"
    if raw.get("sha256") != weights_digest:
        return f"the engine loaded other weights (sha256 {printable(str(raw.get('sha256')), 64)})"
    return None


def _same_control_group(pid: int, other: int) -> bool:
    try:
        groups = [Path(f"/proc/{number:d}/cgroup").read_bytes() for number in (pid, other)]
    except (OSError, ValueError):
        return False
    return groups[0] == groups[1]
