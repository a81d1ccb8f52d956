# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""Rehearse activation, violation and rollback on a scratch unit beside the engine, never on the engine.

The code under test is that of a real run, under the guards' units as this host has them (their files, their drop-ins,
their sandboxes); only names and folders differ. A drill goes both ways back: the monitor that finds a violation, and
the watchdog that finds nobody judging.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import time
import typing as t
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from .. import agent
from ..errors import Busy, NotProven, QscError, RecordUnreadable, Refused
from ..files import Lock, remove, try_io, write_atomic
from ..record import ACTIVE, ARMING, ROLLED_BACK, Record, load
from ..settings import DrillPaths, Paths, Settings
from ..verdict import MONITOR_VIOLATION
from . import activation, rollback, systemd
from .host import MONITOR_SERVICE, MONITOR_TIMER, ROLLBACK_SERVICE, WATCHDOG_TIMER, Guards, Host
from .weights import weights_bytes

ENGINE = "qsc-drill-engine.service"
GUARDS = Guards("qsc-drill-watchdog.timer", "qsc-drill-monitor.timer", "qsc-drill-monitor.service",
                "qsc-drill-rollback.service")  # fmt: skip
WATCHDOG_SERVICE, _WATCHDOG = "qsc-watchdog.service", "qsc-drill-watchdog.service"
_END_TIMER, _END_SERVICE = "qsc-drill-end.timer", "qsc-drill-end.service"
_PERIOD_S: t.Mapping[str, float] = {MONITOR_TIMER: 0.5, WATCHDOG_TIMER: 86400.0}
"""s: the monitor judges again and again; the watchdog looks only when its timer is started: each way is gone alone."""
_COPIED = (MONITOR_SERVICE, MONITOR_TIMER, WATCHDOG_SERVICE, WATCHDOG_TIMER, ROLLBACK_SERVICE)

BASELINE: t.Mapping[str, float] = {"first": 0.5, "second": 0.3, "third": 0.2}
MODEL, WEIGHT = "third", 0.1
STABILITY_S = 1.0
_RESTART_S, _IDLE_S, _BACK_S = 20.0, 6.0, 20.0
"""s: a restart or a way back that takes longer has failed, and one that nobody has begun after ``_IDLE_S``."""
_ENDED_AFTER_S = 180
"""s: what a drill that was killed has left is removed by a timer."""

_RUN = "/usr/bin/python3 -I /usr/local/lib/qsc_canary/current/run.py"
_RUNS = re.compile(r"\s*Exec(?:Condition|StartPre|Start|StartPost|Reload|Stop|StopPost)\s*=\s*\S")
_RUN_LINE = re.compile(re.escape(f"ExecStart={_RUN}") + r" unit (monitor|watchdog|rollback)")

ENGINE_UNIT = f"""\
# Made by a drill of qsc.canary; gone when the drill is over.
[Unit]
Description=Stand in for the engine in a drill of qsc.canary

[Service]
Type=notify
ExecStart={_RUN} unit engine --drill
User=qsc-canary
Restart=always
RestartSec=1
TimeoutStartSec=10
TimeoutStopSec=5
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
PrivateNetwork=yes
NoNewPrivileges=yes
"""

END_UNITS: t.Mapping[str, str] = {
    _END_SERVICE: f"""\
# Made by a drill of qsc.canary: takes away what a drill that was killed has left. 2: a drill is at work.
[Service]
Type=oneshot
ExecStart={_RUN} drill --clean
TimeoutStartSec=60
SuccessExitStatus=2
""",
    _END_TIMER: f"""\
# Made by a drill of qsc.canary.
[Timer]
OnActiveSec={_ENDED_AFTER_S}s
OnUnitActiveSec=60s
""",
}

_OURS = (ENGINE, *asdict(GUARDS).values(), _WATCHDOG, _END_TIMER, _END_SERVICE)


class Interrupted(BaseException):
    """Somebody ended the drill by a signal. Not an Exception: no step may take it for its own failure."""


class _StepFailed(Exception):
    def __init__(self, step: str, cause: Exception) -> None:
        super().__init__(step)
        self.step = step
        self.reason = str(cause) if isinstance(cause, (QscError, OSError)) else f"{type(cause).__name__}: {cause}"


@dataclass(frozen=True)
class Round:
    """One way there and back. All in s; each proof includes ``STABILITY_S``."""

    way: str
    canary_proven_s: float
    canary_downtime_s: float
    baseline_proven_s: float
    baseline_downtime_s: float


@dataclass(frozen=True)
class Report:
    """What a drill came to. ``failed_step`` is the first that failed, "" when none did; ``found`` lay there before."""

    agent: str
    failed_step: str
    reason: str
    seconds: float
    steps: t.Sequence[tuple[str, float]]
    rounds: t.Sequence[Round]
    found: t.Sequence[str]

    @property
    def passed(self) -> bool:
        """True when every step was done."""
        return not self.failed_step

    def to_dict(self) -> dict[str, t.Any]:
        """As JSON-ready data."""
        return {
            **asdict(self),
            "passed": self.passed,
            "steps": [{"name": name, "seconds": seconds} for name, seconds in self.steps],
        }


def scratch_host(real: Paths, actor: str = "") -> Host:
    """The host of a drill: every path, unit and setting of its own."""
    paths = DrillPaths(real.prefix)
    settings = Settings(
        engine_unit=ENGINE, interval_s=1.0, stability_s=STABILITY_S, arming_timeout_s=30.0,
        baseline_path=str(paths.engine_weights), page_after=1000,
    )  # fmt: skip
    return Host(settings=settings, paths=paths, actor=actor, guards=GUARDS)


def scratch_unit(name: str, text: str, engine_unit: str) -> str:
    """A guard's unit for the drill, from what systemd has under the guard's ``name``. Pure.

    Raises Refused for a unit that runs anything but the agent: there is no telling which engine it would act on.
    """
    lines, runs = [], 0
    for line in text.splitlines():
        if _RUNS.match(line):
            if not _RUN_LINE.fullmatch(line):
                raise Refused(
                    f"{name} does not run the agent alone: {line.strip()}",
                    remedy="Install it again: ansible-playbook playbooks/install.yml",
                )
            line += " --drill"
            runs += 1
        lines.append(line)
    if name.endswith(".service") and runs != 1:
        raise Refused(
            f"{name} is masked, or does not run the agent",
            remedy="Install it again: ansible-playbook playbooks/install.yml",
        )
    text = "\n".join(lines) + "\n"
    text = re.sub(r"\bqsc-(monitor|watchdog|rollback)\.(service|timer)\b", r"qsc-drill-\1.\2", text)
    text = text.replace(engine_unit, ENGINE)
    text = re.sub(r"(?m)^(StateDirectory=qsc_canary)/monitor$", r"\1/drill/monitor", text)
    if name in _PERIOD_S:
        text = re.sub(r"(?m)^OnUnitActiveSec=.*$", f"OnUnitActiveSec={_PERIOD_S[name]:g}s", text)
        text = re.sub(r"(?m)^AccuracySec=.*$", "AccuracySec=100ms", text)
    return text


def dropin_text(paths: DrillPaths) -> str:
    """The drop-in of the scratch engine, in the shape of the role's qsc_canary.conf."""
    return f"""\
# Made by a drill of qsc.canary.
[Unit]
OnFailure={GUARDS.rollback_service}
Upholds={GUARDS.watchdog_timer}

[Service]
EnvironmentFile=-{paths.engine_env}
ReadWritePaths=-{paths.ack_folder}
"""


def run(real: Host) -> Report:
    """Rehearse on this host and log the result in its ledger. Everything of the drill is gone afterwards.

    Raises Refused where no drill can be held: no systemd, no agent, another drill, or a signal that ended this one.
    """
    systemd.check_booted()
    installed = agent.installed_digest(real.paths)
    if not installed:
        raise Refused("the agent is missing", remedy="Install it: ansible-playbook playbooks/install.yml")
    host = scratch_host(real.paths, real.actor)
    paths = _paths(host)
    with _only_one(paths):
        begin = time.monotonic()
        drill = _Drill(host, real)
        failure: _StepFailed | None = None
        try:
            with _interruptible():
                drill.rehearse()
        except _StepFailed as error:
            failure = error
        except Interrupted as error:
            with _undisturbed():
                clean(paths)
            raise Refused(
                f"the drill was ended by {error}; everything of it is removed", remedy="Run it again: qsc drill"
            ) from None
        with _undisturbed():
            failure = drill.attempt("clean", lambda: clean(paths), failure)
            report = drill.report(installed, failure, begin)
            failure = drill.attempt("ledger", lambda: _log(real, report), failure)
        return drill.report(installed, failure, begin)


def clean_up(real: Paths) -> list[str]:
    """Remove what a drill that was killed has left; returns what it was. Raises Busy while a drill is at work."""
    paths = DrillPaths(real.prefix)
    with _only_one(paths):
        return clean(paths)


def clean(paths: DrillPaths) -> list[str]:
    """Remove everything of a drill, the canary first; returns what was there. Raises QscError for what stays."""
    dropin = paths.dropin(ENGINE)
    units = [name for name in _OURS if (paths.scratch_units / name).exists()]
    folders = [paths.state, paths.ledger.parent, paths.run, dropin.parent]
    found = [str(path) for path in (*(paths.scratch_units / name for name in units), *folders) if path.exists()]
    if not found:
        return []
    actions: list[tuple[str, t.Callable[[], object]]] = [
        ("the environment file", partial(remove, paths.engine_env)),
        ("the drop-in", partial(remove, dropin)),
        # the engine first: as long as it runs, its drop-in revives the watchdog's timer
        *((f"stop {' '.join(group)}", partial(systemd.stop, *group)) for group in _stops(units)),
        *((f"forget {name}", partial(_forget, name)) for name in units),
        *((name, partial(remove, paths.scratch_units / name)) for name in units),
        *((str(path), partial(_remove_folder, path)) for path in folders),
        ("reload", systemd.daemon_reload),
    ]
    left = [problem for problem in (try_io(what, action) for what, action in actions) if problem]
    if left:
        raise QscError(f"not everything of the drill could be removed: {'; '.join(left)}", remedy="qsc drill --clean")
    return found


def _stops(units: t.Sequence[str]) -> t.Iterator[list[str]]:
    """In this order; the one that may be cleaning up right now is left to end by itself."""
    if ENGINE in units:
        yield [ENGINE]
    others = [name for name in units if name not in (ENGINE, _END_SERVICE)]
    if others:
        yield others


def _remove_folder(path: Path) -> None:
    if path.exists():
        shutil.rmtree(path)


def _forget(unit: str) -> None:
    if systemd.show(unit).active_state == "failed":
        systemd.reset_failed(unit)


def _paths(host: Host) -> DrillPaths:
    if not isinstance(host.paths, DrillPaths):
        raise QscError("a drill never acts on the paths of a run")
    return host.paths


@contextlib.contextmanager
def _only_one(paths: DrillPaths) -> t.Iterator[None]:
    paths.only_one.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(Lock(paths.only_one, wait_s=0.0))
        except Busy as error:
            raise Busy("another drill is at work on this host", remedy="It ends within a minute.") from error
        yield


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def _interruptible() -> t.Iterator[None]:
    def stop(number: int, _frame: object) -> t.NoReturn:
        raise Interrupted(signal.Signals(number).name)

    with _handling(stop):
        yield


@contextlib.contextmanager
def _undisturbed() -> t.Iterator[None]:
    """A second Ctrl-C must not stop the clean-up."""
    with _handling(signal.SIG_IGN):
        yield


@contextlib.contextmanager
def _handling(handler: t.Any) -> t.Iterator[None]:
    before = {number: signal.signal(number, handler) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _log(real: Host, report: Report) -> None:
    with real.lock():
        real.ledger.append(
            "drill_completed",
            {
                "canary_id": "",
                "canary_model": "",
                "actor": real.actor,
                "result": "passed" if report.passed else "failed",
                "failed_step": report.failed_step,
                "reason": report.reason,
                "seconds": report.seconds,
                "rounds": [asdict(item) for item in report.rounds],
                "agent": report.agent,
            },
            wall=real.clock.wall(),
        )


_Value = t.TypeVar("_Value")


class _Drill:
    """The steps of one drill, each with the time it took."""

    def __init__(self, host: Host, real: Host) -> None:
        self.host, self.real, self.paths = host, real, _paths(host)
        self.steps: list[tuple[str, float]] = []
        self.rounds: list[Round] = []
        self.found: list[str] = []

    @contextlib.contextmanager
    def step(self, name: str) -> t.Iterator[None]:
        begin = time.monotonic()
        try:
            yield
        except Exception as error:  # a step that ends in whatever error has failed, and the drill with it
            raise _StepFailed(name, error) from error
        self.steps.append((name, round(time.monotonic() - begin, 3)))

    def attempt(self, name: str, action: t.Callable[[], object], failure: _StepFailed | None) -> _StepFailed | None:
        """A step that is taken whatever failed before; the first failure is the one that is told."""
        try:
            with self.step(name):
                action()
        except _StepFailed as error:
            return failure or error
        return failure

    def report(self, installed: str, failure: _StepFailed | None, begin: float) -> Report:
        return Report(
            agent=installed,
            failed_step=failure.step if failure else "",
            reason=failure.reason if failure else "",
            seconds=round(time.monotonic() - begin, 3),
            steps=tuple(self.steps),
            rounds=tuple(self.rounds),
            found=tuple(self.found),
        )

    def rehearse(self) -> None:
        """There and back, twice. Raises _StepFailed at the first step that fails."""
        with self.step("prepare"):
            self.found = clean(self.paths)
            self._prepare()
        with self.step("guards"):
            self._write_guards()
            systemd.start(GUARDS.watchdog_timer)
        with self.step("engine"):
            systemd.start(ENGINE)
            self._prove_baseline("")
        violated = self._round("monitor", self._violate, MONITOR_VIOLATION, "")
        self._round("watchdog", self._silence, "timer_stopped", violated.id)

    def _prepare(self) -> None:
        for folder in (self.paths.state, self.paths.ledger.parent, self.paths.run, self.paths.dropin(ENGINE).parent):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o755)
        write_atomic(self.paths.engine_weights, weights_bytes(BASELINE))
        for name, text in {**END_UNITS, ENGINE: ENGINE_UNIT}.items():
            write_atomic(self.paths.scratch_units / name, text.encode())
        systemd.daemon_reload()
        systemd.start(_END_TIMER)

    def _write_guards(self) -> None:
        for name in _COPIED:
            text = scratch_unit(name, systemd.text(name), self.real.settings.engine_unit)
            write_atomic(self.paths.scratch_units / name.replace("qsc-", "qsc-drill-"), text.encode())
        systemd.daemon_reload()

    def _round(self, way: str, provoke: t.Callable[[Record], float], trigger: str, acknowledge: str) -> Record:
        host = self.host
        begin = time.monotonic()
        with self.step(f"{way}.arm"):
            _plan, record = activation.arm(host, self._request(acknowledge))
        with self.step(f"{way}.canary"):
            # what the role does
            write_atomic(self.paths.dropin(ENGINE), dropin_text(self.paths).encode())
            systemd.daemon_reload()
            systemd.restart(ENGINE, timeout_s=_RESTART_S)
            record, proof = activation.activate(
                host,
                canary_id=record.id,
                owner=record.owner,
                generation=record.generation,
                since={"id": "1-0", "entries_added": 0},
            )
            proven_s = time.monotonic() - begin
            downtime_s = systemd.downtime_s(ENGINE)
        with self.step(f"{way}.noticed"):
            found_boot = provoke(record)
            self._await(self._taken_back, self._not_noticed, _WATCHDOG, GUARDS.rollback_service)
            seen = self._record()
            if seen.trigger != trigger:
                raise NotProven(f"the run was ended by {seen.trigger} ({seen.reason}), not by {trigger}")
        with self.step(f"{way}.baseline"):
            self._await(lambda: self._record().state == ROLLED_BACK, self._not_back, GUARDS.rollback_service)
            back_s = host.clock.boot() - found_boot
            self._prove_baseline(proof.invocation_id)
            back_downtime_s = systemd.downtime_s(ENGINE)
            # or its last look would take the next run for the one it was started for
            self._await(lambda: self._ended(GUARDS.rollback_service), self._not_back, GUARDS.rollback_service)
        self.rounds.append(Round(way, round(proven_s, 3), downtime_s, round(back_s, 3), back_downtime_s))
        return record

    def _request(self, acknowledge: str) -> activation.Request:
        """What an operator asks for, with the answer of a gate that a drill has no telemetry for."""
        gate = {
            "passed": True,
            "exit_code": 0,
            "mode": "canary",
            "events": self.host.settings.min_events,
            "models": {name: {} for name in BASELINE},
            "judged_at": self.host.clock.wall(),
            "cadence": {"rate_per_s": 1.0, "stale_after_s": 120.0},
        }
        return activation.Request(
            MODEL, WEIGHT, baseline_path=str(self.paths.engine_weights), gate=gate, acknowledge=acknowledge
        )

    def _violate(self, record: Record) -> float:
        """The monitor finds a violation at its next check; returns when, in s of boot time."""
        write_atomic(self.paths.violation, record.id.encode())

        def found() -> float:
            verdict = rollback.verdict_of(self.host, record)
            return verdict.checked_boot if verdict is not None and verdict.verdict == "violation" else 0.0

        return self._await(found, self._not_judged, GUARDS.monitor_service)

    def _silence(self, _record: Record) -> float:
        """Nobody judges the canary any more, and the watchdog looks; returns when it began, in s of boot time."""
        # every reload starts the watchdog's timer over: an earlier look that still goes on would swallow this one
        self._await(lambda: self._ended(_WATCHDOG), self._not_noticed, _WATCHDOG)
        systemd.stop(GUARDS.monitor_timer)
        begin = self.host.clock.boot()
        systemd.restart(GUARDS.watchdog_timer)
        return begin

    def _prove_baseline(self, not_invocation: str) -> None:
        """As a stranger would: the process has none of the variables, and nothing lies there to give it any."""
        names = tuple(self.host.settings.environment.values())
        systemd.prove(ENGINE, expected={}, names=names, not_invocation=not_invocation, timeout_s=10.0)
        left = [str(path) for path in (self.paths.engine_env, self.paths.dropin(ENGINE)) if path.exists()]
        if left:
            raise NotProven(f"still there: {', '.join(left)}")

    def _record(self) -> Record:
        record = load(self.paths.record)
        if record is None:
            raise RecordUnreadable(f"{self.paths.record} is gone")
        return record

    def _taken_back(self) -> bool:
        return self._record().state not in (ARMING, ACTIVE)

    @staticmethod
    def _ended(unit: str) -> bool:
        return systemd.show(unit).active_state in ("inactive", "failed")

    @staticmethod
    def _await(found: t.Callable[[], _Value], why: t.Callable[[], str], *at_work: str) -> _Value:
        """What ``found`` finds, as long as one of the units is at work on it. Raises NotProven with ``why``."""
        begin = time.monotonic()
        while True:
            waited = time.monotonic() - begin
            # asked before the finding is: what ended in between has left it
            busy = waited <= _IDLE_S or any(systemd.show(unit).active_state == "activating" for unit in at_work)
            value = found()
            if value:
                return value
            if waited > _BACK_S or not busy:
                raise NotProven(f"{why()} within {waited:.0f} s", remedy="See: journalctl -u 'qsc-drill-*'")
            time.sleep(0.05)

    def _not_judged(self) -> str:
        return f"the monitor found no violation ({self._unit(GUARDS.monitor_service)})"

    def _not_noticed(self) -> str:
        units = (GUARDS.monitor_service, _WATCHDOG, GUARDS.rollback_service)
        return f"nobody took the canary back ({'; '.join(map(self._unit, units))})"

    def _not_back(self) -> str:
        return f"the rollback did not end ({self._unit(GUARDS.rollback_service)})"

    @staticmethod
    def _unit(name: str) -> str:
        facts = systemd.show(name)
        return f"{name}: {facts.active_state}, result {facts.result}, exit status {facts.exit_status}"
