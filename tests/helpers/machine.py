# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host in memory for the unit tests of the guard: files below a temporary folder, a stand-in for systemd, a clock.

The stand-in answers where the guard touches the world (systemctl's text, a process's environment, the clocks), so all
of the guard's own code runs. It knows only what the guard relies on; the real systemd is tested on the test hosts.
"""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import time as real_time
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc import agent, files
from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import SystemdError
from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard import (
    activation,
    effect,
    page,
    promotion,
    status,
    systemd,
    watchdog,
)
from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard.host import Host
from ansible_collections.qsc.canary.plugins.module_utils.qsc.record import Record, load
from ansible_collections.qsc.canary.plugins.module_utils.qsc.settings import Paths, Settings
from ansible_collections.qsc.canary.plugins.module_utils.qsc.tell import follow
from ansible_collections.qsc.canary.plugins.module_utils.qsc.verdict import Verdict

from .samples import BASELINE, UNIT, make_verdict

DIGEST = "0123456789abcdef"
DROPIN = b"[Service]\nEnvironmentFile=-/run/qsc_canary/engine.env\n"


class Time:
    """Stands in for the module `time`: sleeping moves all clocks of the machine, and takes no time."""

    strftime, gmtime = staticmethod(real_time.strftime), staticmethod(real_time.gmtime)

    def __init__(self) -> None:
        self.wall = 1_768_023_800.0
        self.boot = 50_000.0
        self.after: list[tuple[float, t.Callable[[], object]]] = []

    def monotonic(self) -> float:
        return self.boot

    def time(self) -> float:
        return self.wall

    def sleep(self, seconds: float) -> None:
        self.wall += seconds
        self.boot += seconds
        due = [item for item in self.after if item[0] <= self.boot]
        self.after = [item for item in self.after if item[0] > self.boot]
        for _when, action in due:
            action()

    def at(self, seconds: float, action: t.Callable[[], object]) -> None:
        """Do something when that much time has passed."""
        self.after.append((self.boot + seconds, action))


@dataclass
class Unit:
    """What the stand-in knows of a unit."""

    load_state: str = "loaded"
    active_state: str = "active"
    sub_state: str = "running"
    pid: int = 0
    invocation: str = ""
    n_restarts: int = 0
    started: int = 0
    user: str = ""
    result: str = "success"
    exit_status: str = "0"
    environment: dict[str, str] = field(default_factory=dict)
    exe: str = "/usr/bin/python3.11"
    start_limit_hit: bool = False


class Machine:
    """A host with an engine, its guards, and everything a test may do to them."""

    def __init__(self, prefix: Path, monkeypatch: pytest.MonkeyPatch, **settings: t.Any) -> None:
        self.time = Time()
        self.paths = Paths(prefix)
        self.baseline_path = prefix / "engine" / "weights.json"
        self.baseline_path.parent.mkdir(parents=True)
        self.baseline_path.write_text(json.dumps(BASELINE))
        self.host = Host(
            settings=Settings.from_dict({"stability_s": 2.0, **settings}), paths=self.paths, actor="tester"
        )
        self.events: list[str] = []
        """systemctl calls other than show, each restart with what lay there at that moment."""
        self.failing: dict[str, t.Callable[[], object]] = {}
        """{"restart": called instead of doing it}"""
        self.commands: list[tuple[str, dict[str, str]]] = []
        """Commands of the operator that were run: (program, its variables)."""
        self.exit_status: dict[str, int] = {}
        """{program: how it ends}, 0 unless named; 124 does not end in its time."""
        self.acknowledges = True
        self.obeys = True
        """False: systemctl says that it restarted the engine, and the old process still runs."""
        self.leaked: dict[str, str] = {}
        """Variables the engine gets from elsewhere, whatever drop-in there is."""
        self._pids = 100
        for folder in (self.paths.state, self.paths.ledger.parent, self.paths.run, self.paths.monitor_folder):
            folder.mkdir(parents=True, exist_ok=True)
        self.paths.agent_root.mkdir(parents=True)
        (self.paths.agent_root / "current").symlink_to(DIGEST)
        user = pwd.getpwuid(os.getuid()).pw_name
        self.engine = Unit(user=user)
        self.units = {
            UNIT: self.engine,
            "qsc-watchdog.timer": Unit(sub_state="waiting"),
            "qsc-monitor.timer": Unit(active_state="inactive", sub_state="dead"),
            "qsc-monitor.service": Unit(active_state="inactive", sub_state="dead"),
            "qsc-rollback.service": Unit(active_state="inactive", sub_state="dead"),
        }
        self.start_engine()
        self.time.sleep(3600)
        monkeypatch.setattr(systemd, "systemctl", self._systemctl)
        monkeypatch.setattr(systemd, "process_environment", self._process_environment)
        monkeypatch.setattr(systemd, "booted", lambda: True)
        monkeypatch.setattr(systemd, "time", self.time)
        monkeypatch.setattr(systemd, "run_command", self._run_command)
        monkeypatch.setattr(effect, "time", self.time)
        monkeypatch.setattr(page, "time", self.time)
        monkeypatch.setattr(status, "time", self.time)
        monkeypatch.setattr(follow, "time", self.time)
        monkeypatch.setattr(files.Clock, "wall", lambda _clock: self.time.wall)
        monkeypatch.setattr(files.Clock, "boot", lambda _clock: self.time.boot)
        monkeypatch.setattr(agent, "digest", lambda: DIGEST)
        monkeypatch.setattr(os, "fsync", lambda _handle: None)  # minutes of a busy disk; test_files.py has its order

    # --- the engine

    @property
    def dropin(self) -> Path:
        return self.paths.dropin(UNIT)

    def start_engine(self, **changes: t.Any) -> None:
        """A new process of the engine, with what the drop-in and the environment file give it at this moment."""
        unit = self.engine
        self._pids += 1
        unit.pid, unit.invocation = self._pids, f"{self._pids:032x}"
        unit.active_state, unit.sub_state, unit.n_restarts = "active", "running", 0
        unit.started = int(self.time.wall)
        unit.environment = {
            "PATH": "/usr/bin",
            "INVOCATION_ID": unit.invocation,
            **self._canary_variables(),
            **self.leaked,
        }
        for name, value in changes.items():
            setattr(unit, name, value)
        ack = unit.environment.get("QSC_CANARY_ACK")
        if ack and self.acknowledges:
            loaded = Path(unit.environment["QSC_CANARY_WEIGHTS"]).read_bytes()
            Path(ack).write_text(json.dumps({"pid": unit.pid, "sha256": hashlib.sha256(loaded).hexdigest()}))

    def stop_engine(self, *, active: str = "inactive", sub: str = "dead") -> None:
        self.engine.active_state, self.engine.sub_state, self.engine.pid = active, sub, 0
        self.engine.invocation = ""

    def _canary_variables(self) -> dict[str, str]:
        if not self.dropin.exists() or not self.paths.engine_env.exists():
            return {}
        lines = self.paths.engine_env.read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)

    @property
    def runs_canary(self) -> bool:
        return "QSC_CANARY_MODEL" in self.engine.environment

    # --- what stands in for systemd

    def _systemctl(self, *arguments: str, **_options: float) -> str:
        verb = arguments[0]
        name = next((item for item in arguments[1:] if not item.startswith("-")), "")
        if verb != "show":
            there = "".join(
                f" {label}"
                for label, path in (("+env", self.paths.engine_env), ("+dropin", self.dropin))
                if verb == "restart" and path.exists()
            )
            self.events.append(f"{verb} {name}".strip() + there)
        if verb in self.failing:
            self.failing[verb]()
        unit = self.units.get(name)
        if verb == "show":
            return self._show(unit)
        if verb == "daemon-reload":
            return ""
        if unit is None:
            raise SystemdError(f"Unit {name} not found.")
        if verb == "reset-failed":
            unit.start_limit_hit, unit.n_restarts = False, 0
        elif verb == "restart":
            if unit.start_limit_hit:
                raise SystemdError("Start request repeated too quickly.")
            self.time.sleep(0.3)
            if self.obeys:
                self.start_engine()
        elif verb == "start":
            if name == "qsc-rollback.service":
                return ""
            unit.active_state = "active"
        elif verb == "stop":
            unit.active_state = "inactive"
        return ""

    @staticmethod
    def _show(unit: Unit | None) -> str:
        unit = unit if unit is not None else Unit("not-found", "inactive", "dead")
        return (
            f"MainPID={unit.pid}\nNRestarts={unit.n_restarts}\nResult={unit.result}\nExecMainStatus={unit.exit_status}\n"
            f"User={unit.user}\nDropInPaths=\nLoadState={unit.load_state}\nActiveState={unit.active_state}\n"
            f"SubState={unit.sub_state}\nUnitFileState=enabled\nActiveEnterTimestamp=@{unit.started}\n"
            f"InvocationID={unit.invocation}\n"
        )

    def _run_command(
        self, argv: t.Sequence[str], *, name: str, environment: t.Mapping[str, str], timeout_s: float
    ) -> systemd.Ran:
        """Stands in for systemd-run."""
        assert name.startswith("qsc-hook-")
        self.commands.append((argv[0], dict(environment)))
        self.events.append(f"hook {argv[0]}")
        status = self.exit_status.get(argv[0], 0)
        late = status == 124
        self.time.sleep(timeout_s if late else 0.2)
        return systemd.Ran(
            255 if late else status, timeout_s if late else 0.2, late, "" if status == 0 else "no exchange"
        )

    def _process_environment(self, pid: int) -> tuple[dict[str, str], str]:
        if pid != self.engine.pid:
            raise ProcessLookupError(3, "No such process")
        return dict(self.engine.environment), self.engine.exe

    def fail(self, verb: str, error: Exception | None = None) -> None:
        """Let that verb of systemctl fail from now on."""

        def raise_it() -> t.NoReturn:
            raise error if error is not None else SystemdError(f"{verb} failed")

        self.failing[verb] = raise_it

    # --- the way of a canary

    def gate(self, **changes: t.Any) -> dict[str, t.Any]:
        """What the quality gate answers when everything is well."""
        return {
            "passed": True,
            "exit_code": 0,
            "mode": "canary",
            "events": 400,
            "models": {name: {"status": "GO"} for name in BASELINE},
            "judged_at": self.time.wall - 5.0,
            "cutover": {"time": "2026-01-10T05:43:15Z"},
            "window": {"first_id": "1-0", "last_id": "2-0", "truncated": False},
            "cadence": {"rate_per_s": 0.1, "stale_after_s": 200.0},
            **changes,
        }

    def request(self, **changes: t.Any) -> activation.Request:
        """What an operator asks for: patchtst at 10 %."""
        values = {"model": "patchtst", "weight": 0.1, "baseline_path": str(self.baseline_path), "gate": self.gate()}
        return activation.Request(**{**values, **changes})

    def arm(self, **changes: t.Any) -> Record:
        return activation.arm(self.host, self.request(**changes))[1]

    def write_dropin(self) -> None:
        """What the role does once the way back is armed."""
        self.dropin.parent.mkdir(parents=True, exist_ok=True)
        self.dropin.write_bytes(DROPIN)

    def activate(self, record: Record, **changes: t.Any) -> Record:
        values: dict[str, t.Any] = {
            "canary_id": record.id,
            "owner": record.owner,
            "generation": record.generation,
            "since": {"id": "1768023800000-0", "entries_added": 9000},
        }
        return activation.activate(self.host, **{**values, **changes})[0]

    def armed_and_restarted(self, **changes: t.Any) -> Record:
        """Armed, the drop-in written, the engine restarted into the canary; not yet active."""
        record = self.arm(**changes)
        self.write_dropin()
        self.time.sleep(2.0)
        self.start_engine()
        return record

    def run_canary(self, **changes: t.Any) -> Record:
        """A canary from the preflight to active, its first verdict written."""
        record = self.activate(self.armed_and_restarted(**changes))
        self.write_verdict()
        self.events.clear()
        return record

    # --- the way to more weight

    def make_safe(self) -> Record:
        """The monitored time passes and is concluded as safe; the last check was just now."""
        self.time.sleep(self.record().duration_s + 1)
        self.write_verdict()
        watchdog.watch(self.host)
        record = self.record()
        assert record.outcome == "safe"
        self.events.clear()
        return record

    def step_gate(self, **changes: t.Any) -> dict[str, t.Any]:
        """What the gate says of the telemetry since the marker of the step that runs."""
        return self.gate(**{"cutover": {"id": self.record().since["id"], "time": "2026-01-10T05:43:15Z"}, **changes})

    def promotion(self, **changes: t.Any) -> promotion.Request:
        """What an operator asks for: the next step."""
        return promotion.Request(**{"gate": self.step_gate(), **changes})

    def raised_and_restarted(self, **changes: t.Any) -> Record:
        """The next step armed and the engine restarted into it; not yet active."""
        record = promotion.raise_step(self.host, self.promotion(**changes))[1]
        self.write_dropin()
        self.time.sleep(2.0)
        self.start_engine()
        return record

    def raise_canary(self, **changes: t.Any) -> Record:
        """A safe canary at its next step, active, with its first verdict."""
        record = self.raised_and_restarted(**changes)
        record = self.activate(record, since={"id": f"{int(self.time.wall * 1000)}-0", "entries_added": 9000})
        self.write_verdict()
        self.events.clear()
        return record

    # --- what lies on the host

    def record(self) -> Record:
        record = load(self.paths.record)
        assert record is not None
        return record

    def write_verdict(self, **changes: t.Any) -> Verdict:
        """What the monitor wrote at its last check, just now."""
        record = self.record()
        values = {
            "canary_id": record.id,
            "boot_id": record.boot_id,
            "checked_at": self.time.wall,
            "checked_boot": self.time.boot,
        }
        verdict = make_verdict(**{**values, **changes})
        self.paths.verdict.write_text(json.dumps(verdict.to_dict()))
        return verdict

    def ledger(self, action: str = "") -> list[dict[str, t.Any]]:
        return [entry for entry in self.host.ledger.entries() if action in ("", entry["action"])]

    def files(self) -> dict[str, t.Any]:
        """Everything below the prefix but the lock and the mark of this boot, to compare before and after."""
        skipped = {self.paths.lock, self.paths.boot_mark}
        found: dict[str, t.Any] = {}
        for path in sorted(self.paths.prefix.rglob("*")):
            if path in skipped or path.is_dir():
                continue
            found[str(path)] = os.readlink(path) if path.is_symlink() else path.read_bytes()
        return found

    def check_baseline(self) -> None:
        """The host is where every rollback must end."""
        assert self.engine.active_state == "active"
        assert not self.runs_canary
        assert not self.paths.engine_env.exists()
        assert not self.dropin.exists()
        assert self.units["qsc-monitor.timer"].active_state == "inactive"
