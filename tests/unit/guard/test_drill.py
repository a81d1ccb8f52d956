# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a drill may touch, what it makes of the guards' units, how it ends. The drill itself is held on test hosts."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.qsc.canary.plugins.module_utils.qsc import record as records
from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import Busy, QscError, Refused, SystemdError
from ansible_collections.qsc.canary.plugins.module_utils.qsc.files import digest_bytes
from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard import activation, drill, install, systemd
from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard.host import Guards
from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard.rollback import Finding, roll_back
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge import rehearsal
from ansible_collections.qsc.canary.plugins.module_utils.qsc.settings import DrillPaths, Paths, Settings
from ansible_collections.qsc.canary.plugins.module_utils.qsc.tell.drill import STEPS, WAYS, drill_line, drill_lines
from helpers.machine import Machine, Unit
from helpers.samples import UNIT, make_record

RUN = "/usr/bin/python3 -I /usr/local/lib/qsc_canary/current/run.py unit"


# --- what it may touch


def places(paths: Paths) -> dict[str, Path]:
    names = [name for name in dir(Paths) if isinstance(getattr(Paths, name), property)]
    return {name: getattr(paths, name) for name in names}


def test_a_drill_writes_nothing_of_a_run() -> None:
    run, own = places(Paths()), places(DrillPaths())
    shared = {name for name in run if run[name] == own[name]}
    assert shared == {"agent_root", "command", "config", "password", "units", "tmpfiles"}
    apart = [name for name, path in own.items() if name not in shared and "drill" not in path.parts]
    assert apart == []


def test_a_drill_stays_where_the_guards_may_write(root: Path) -> None:
    for path in (DrillPaths().state, DrillPaths().ledger.parent, DrillPaths().run):
        assert path.parent in (Paths().state, Paths().ledger.parent, Paths().run)


def test_the_guards_of_a_drill_are_not_those_of_a_run() -> None:
    assert set(vars(drill.GUARDS).values()) & set(vars(Guards()).values()) == set()
    host = drill.scratch_host(Paths())
    assert (host.settings.engine_unit, host.guards) == (drill.ENGINE, drill.GUARDS)


def test_the_guard_s_code_acts_on_the_units_of_its_host(machine: Machine) -> None:
    """Armed, activated and rolled back under other names: nothing is asked of the real guards."""
    for name in (drill.GUARDS.watchdog_timer, drill.GUARDS.monitor_timer, drill.GUARDS.rollback_service):
        machine.units[name] = Unit()
    del machine.units["qsc-monitor.timer"], machine.units["qsc-watchdog.timer"], machine.units["qsc-rollback.service"]
    object.__setattr__(machine.host, "guards", drill.GUARDS)
    machine.activate(machine.armed_and_restarted())
    roll_back(machine.host, Finding("manual", "enough"))
    named = [event for event in machine.events if "qsc-" in event]
    assert named == [f"start {drill.GUARDS.monitor_timer}", f"stop {drill.GUARDS.monitor_timer}"]


# --- what it makes of the guards' units

ROLLBACK = f"""\
# /etc/systemd/system/qsc-rollback.service
[Unit]
Description=Return {UNIT} to its baseline
[Service]
ExecStart={RUN} rollback
ReadWritePaths=-/etc/systemd/system/{UNIT}.d
ReadWritePaths=-/var/lib/qsc_canary
CapabilityBoundingSet=CAP_SYS_PTRACE
ExecPaths=/usr
RuntimeDirectory=qsc_canary
# /etc/systemd/system/qsc-rollback.service.d/by-hand.conf
[Service]
CapabilityBoundingSet=
"""


def test_a_unit_keeps_everything_but_its_names() -> None:
    made = drill.scratch_unit("qsc-rollback.service", ROLLBACK, UNIT)
    assert UNIT not in made
    assert f"ExecStart={RUN} rollback --drill\n" in made
    changed = [line for line in made.splitlines() if line not in ROLLBACK.splitlines()]
    assert changed == [
        "# /etc/systemd/system/qsc-drill-rollback.service",
        "Description=Return qsc-drill-engine.service to its baseline",
        f"ExecStart={RUN} rollback --drill",
        "ReadWritePaths=-/etc/systemd/system/qsc-drill-engine.service.d",
        "# /etc/systemd/system/qsc-drill-rollback.service.d/by-hand.conf",
    ]


def test_the_monitor_fires_the_drill_s_rollback_and_writes_in_the_drill_s_folder() -> None:
    text = f"OnFailure=qsc-rollback.service\nExecStart={RUN} monitor\nStateDirectory=qsc_canary/monitor\n"
    made = drill.scratch_unit("qsc-monitor.service", text, UNIT)
    assert "OnFailure=qsc-drill-rollback.service\n" in made
    assert "StateDirectory=qsc_canary/drill/monitor\n" in made


@pytest.mark.parametrize(("name", "seconds"), [("qsc-monitor.timer", "0.5s"), ("qsc-watchdog.timer", "86400s")])
def test_a_timer_gets_the_drill_s_period(name: str, seconds: str) -> None:
    made = drill.scratch_unit(name, "[Timer]\nOnActiveSec=0\nOnUnitActiveSec=30s\nAccuracySec=1s\n", UNIT)
    assert made == f"[Timer]\nOnActiveSec=0\nOnUnitActiveSec={seconds}\nAccuracySec=100ms\n"


@pytest.mark.parametrize(
    "line",
    [
        "ExecStart=/usr/local/bin/qsc rollback",
        f"ExecStart=-{RUN} rollback",
        f" ExecStart = {RUN} rollback",
        f"ExecStart={RUN} rollback --reason x",
        "ExecStartPost=/bin/systemctl restart engine.service",
        "ExecStopPost=+/bin/true",
        "ExecCondition=/bin/true",
    ],
)
def test_a_unit_that_runs_something_else_is_refused(line: str) -> None:
    """Without the agent's word for a drill it might roll back the run that is in flight."""
    with pytest.raises(Refused, match=re.escape(line.strip())) as caught:
        drill.scratch_unit("qsc-rollback.service", f"{ROLLBACK}{line}\n", UNIT)
    assert "install.yml" in caught.value.remedy


@pytest.mark.parametrize(
    "text", ["", "# Unit qsc-rollback.service is masked.\n", ROLLBACK + f"ExecStart={RUN} rollback\n"]
)
def test_a_unit_that_does_not_run_the_agent_once_is_refused(text: str) -> None:
    with pytest.raises(Refused, match=r"qsc-rollback\.service is masked, or does not run the agent"):
        drill.scratch_unit("qsc-rollback.service", text, UNIT)


def test_the_units_of_the_role_run_what_the_drill_expects(root: Path) -> None:
    role = yaml.safe_load((root / "roles/qsc_canary/vars/main.yml").read_text())
    assert role["_qsc_canary_run"] == RUN
    assert f"User={role['_qsc_canary_user']}\n" in drill.ENGINE_UNIT


def test_the_drop_in_has_the_shape_of_the_role_s(root: Path) -> None:
    template = (root / "roles/qsc_canary/templates/qsc_canary.conf.j2").read_text()
    role = [line for line in template.splitlines() if re.match(r"\[|[A-Z]\w+=", line)]
    own = [line for line in drill.dropin_text(DrillPaths()).splitlines() if re.match(r"\[|[A-Z]\w+=", line)]
    assert [
        re.sub(r"qsc-", "qsc-drill-", line).replace("/run/qsc_canary/", "/run/qsc_canary/drill/") for line in role
    ] == own


# --- how it ends


@pytest.fixture
def calls(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What systemctl was asked to do; every unit is there and has failed."""
    asked: list[str] = []

    def systemctl(*arguments: str, **_options: float) -> str:
        if arguments[0] == "show":
            return "LoadState=loaded\nActiveState=failed\n"
        asked.append(" ".join(arguments))
        return ""

    monkeypatch.setattr(systemd, "systemctl", systemctl)
    return asked


def killed(machine: Machine) -> DrillPaths:
    """What a drill leaves that is killed while the canary runs."""
    paths = DrillPaths(machine.paths.prefix)
    for folder in (paths.state, paths.ledger.parent, paths.run, paths.scratch_units, paths.dropin(drill.ENGINE).parent):
        folder.mkdir(parents=True)
    for path in (paths.record, paths.ledger, paths.engine_env, paths.dropin(drill.ENGINE)):
        path.write_text("x")
    for name in (drill.ENGINE, "qsc-drill-watchdog.timer", "qsc-drill-rollback.service", "qsc-drill-end.service"):
        (paths.scratch_units / name).write_text("x")
    (paths.scratch_units / "other.service").write_text("x")
    return paths


def test_everything_of_a_drill_is_removed_and_nothing_else(machine: Machine, calls: list[str]) -> None:
    before = machine.files()
    paths = killed(machine)
    found = drill.clean(paths)
    assert str(paths.run) in found
    (paths.scratch_units / "other.service").unlink()
    assert machine.files() == before
    # the one that may be cleaning up is not stopped
    assert calls[:2] == [f"stop {drill.ENGINE}", "stop qsc-drill-watchdog.timer qsc-drill-rollback.service"]
    assert [call for call in calls if call.startswith("reset-failed")] != []
    assert calls[-1] == "daemon-reload"
    calls.clear()
    assert (drill.clean(paths), calls) == ([], [])


def test_what_cannot_be_removed_is_told_and_stops_nothing(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = killed(machine)

    def systemctl(*_arguments: str, **_options: float) -> str:
        raise SystemdError("no answer")

    monkeypatch.setattr(systemd, "systemctl", systemctl)
    with pytest.raises(QscError, match=r"not everything .* stop qsc-drill-engine\.service: no answer"):
        drill.clean(paths)
    assert not paths.run.exists()
    assert not paths.dropin(drill.ENGINE).exists()


def test_an_uninstallation_removes_what_a_killed_drill_left(machine: Machine, calls: list[str]) -> None:
    paths = killed(machine)
    install.uninstall(machine.paths, dry_run=True)
    assert calls == []
    install.uninstall(machine.paths)
    assert f"stop {drill.ENGINE}" in calls
    assert not (paths.scratch_units / drill.ENGINE).exists()


def test_refused_without_systemd(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd, "booted", lambda: False)
    with pytest.raises(Refused, match="not booted with systemd"):
        drill.run(machine.host)


def test_refused_without_an_agent(machine: Machine) -> None:
    (machine.paths.agent_root / "current").unlink()
    with pytest.raises(Refused, match="the agent is missing") as caught:
        drill.run(machine.host)
    assert "install.yml" in caught.value.remedy


def ending(monkeypatch: pytest.MonkeyPatch, action: t.Callable[[t.Any], object]) -> None:
    """A drill whose steps are ``action``."""
    monkeypatch.setattr(drill._Drill, "rehearse", action)


def test_refused_while_another_is_at_work(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def second(_self: t.Any) -> None:
        for call in (lambda: drill.run(machine.host), lambda: drill.clean_up(machine.paths)):
            with pytest.raises(Busy, match="another drill is at work"):
                call()
            seen.append("refused")

    ending(monkeypatch, second)
    assert drill.run(machine.host).passed
    assert seen == ["refused", "refused"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_cleanly(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, calls: list[str], number: signal.Signals
) -> None:
    before = signal.getsignal(number)

    def interrupted(self: t.Any) -> None:
        with self.step("engine"):
            killed(machine)
            signal.raise_signal(number)

    ending(monkeypatch, interrupted)
    with pytest.raises(Refused, match=rf"ended by {number.name}; everything of it is removed"):
        drill.run(machine.host)
    assert not DrillPaths(machine.paths.prefix).run.exists()
    assert machine.ledger("drill_completed") == []
    assert signal.getsignal(number) == before


def test_a_second_signal_does_not_stop_the_clean_up(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    cleaned: list[str] = []

    def clean(_paths: DrillPaths) -> list[str]:
        signal.raise_signal(signal.SIGTERM)
        cleaned.append("all of it")
        return []

    monkeypatch.setattr(drill, "clean", clean)
    ending(monkeypatch, lambda _self: signal.raise_signal(signal.SIGINT))
    with pytest.raises(Refused, match="ended by SIGINT"):
        drill.run(machine.host)
    assert cleaned == ["all of it"]


def failing(error: Exception) -> t.Callable[[t.Any], None]:
    def fail(self: t.Any) -> None:
        with self.step("prepare"):
            pass
        with self.step("monitor.canary"):
            raise error

    return fail


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (SystemdError("no", remedy="Yes."), "no. Yes."),
        (PermissionError(13, "Permission denied", "/x"), "[Errno 13] Permission denied: '/x'"),
        (KeyError("rate"), "KeyError: 'rate'"),
    ],
)
def test_the_first_failed_step_is_named_and_logged(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    ending(monkeypatch, failing(error))
    report = drill.run(machine.host)
    assert (report.passed, report.failed_step, report.reason) == (False, "monitor.canary", reason)
    assert [name for name, _seconds in report.steps] == ["prepare", "clean", "ledger"]
    [entry] = machine.ledger("drill_completed")
    assert (entry["result"], entry["failed_step"], entry["reason"]) == ("failed", "monitor.canary", reason)
    json.dumps(report.to_dict(), allow_nan=False)


def test_a_result_that_cannot_be_logged_is_a_failure(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    ending(monkeypatch, lambda _self: None)
    machine.paths.ledger.mkdir()
    machine.paths.ledger_pending.mkdir()  # nor can it wait
    assert drill.run(machine.host).failed_step == "ledger"


def test_a_drill_that_cannot_be_removed_has_failed(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    ending(monkeypatch, lambda _self: None)

    def stuck(_paths: DrillPaths) -> list[str]:
        raise QscError("stuck")

    monkeypatch.setattr(drill, "clean", stuck)
    report = drill.run(machine.host)
    assert (report.failed_step, report.reason) == ("clean", "stuck")
    ending(monkeypatch, failing(SystemdError("no")))
    assert drill.run(machine.host).failed_step == "monitor.canary", "the first failure is the one to tell"


def test_a_drill_is_not_held_on_the_paths_of_a_run(machine: Machine) -> None:
    with pytest.raises(QscError, match="never acts on the paths of a run"):
        drill._Drill(machine.host, machine.host)


def test_a_drill_does_not_count_as_a_run_of_a_model(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    ending(monkeypatch, failing(SystemdError("no")))
    drill.run(machine.host)
    assert activation.preflight(machine.host, machine.request()).action == "activate"


# --- the parts it is held with


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [("ActiveExitTimestampMonotonic=1000000\nActiveEnterTimestampMonotonic=1250000\n", 0.25),
     ("ActiveEnterTimestampMonotonic=9000000\nActiveExitTimestampMonotonic=2000000\n", 7.0)],
)  # fmt: skip
def test_the_downtime_of_a_restart(monkeypatch: pytest.MonkeyPatch, answer: str, seconds: float) -> None:
    monkeypatch.setattr(systemd, "systemctl", lambda *_arguments, **_options: answer)
    assert systemd.downtime_s("x.service") == seconds


@pytest.mark.parametrize(("stopped", "ready"), [(0, 5), (9, 5), (0, 0)])
def test_no_downtime_where_nothing_was_restarted(monkeypatch: pytest.MonkeyPatch, stopped: int, ready: int) -> None:
    answer = f"ActiveExitTimestampMonotonic={stopped}\nActiveEnterTimestampMonotonic={ready}\n"
    monkeypatch.setattr(systemd, "systemctl", lambda *_arguments, **_options: answer)
    with pytest.raises(SystemdError, match="was not restarted, or is not up again"):
        systemd.downtime_s("x.service")


@pytest.mark.parametrize(
    ("asked", "code", "verdict"), [("mine", 1, "violation"), ("", 75, "transient"), ("other", 75, "transient")]
)
def test_the_monitor_of_a_drill(tmp_path: Path, asked: str, code: int, verdict: str) -> None:
    paths = DrillPaths(tmp_path)
    for folder in (paths.monitor_folder, paths.run):
        folder.mkdir(parents=True)
    judging = {**Settings().judging(), "stale_after": 120.0, "max_wait": 3600.0}
    record = make_record(id="mine", judging=judging)
    records.save(paths.record, record)
    if asked:
        paths.violation.write_text(asked)
    found, lines = rehearsal.run_unit(paths)
    assert found == code, lines
    assert json.loads(paths.verdict.read_text())["verdict"] == verdict
    paths.violation.unlink(missing_ok=True)
    assert rehearsal.run_unit(paths)[0] == code, "a violation latches"


def test_the_scratch_engine_takes_what_its_environment_names(root: Path, short_folder: Path) -> None:
    """Also that it is ready only once it has its weights."""
    baseline, weights, ack = short_folder / "baseline", short_folder / "weights", short_folder / "ack"
    baseline.write_text('{"a": 1}')
    weights.write_text('{"a": 0.9, "b": 0.1}')
    program = "import pathlib, sys; from qsc.guard import scratch_engine; scratch_engine.run(pathlib.Path(sys.argv[1]))"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(short_folder / "notify"))
        listener.settimeout(30)
        for own in ({}, {"QSC_CANARY_WEIGHTS": str(weights), "QSC_CANARY_ACK": str(ack)}):
            environment = {**os.environ, "PYTHONPATH": str(root / "plugins/module_utils"), **own}
            environment["NOTIFY_SOCKET"] = str(short_folder / "notify")
            engine = subprocess.Popen([sys.executable, "-c", program, str(baseline)], env=environment)
            try:
                assert listener.recv(100) == b"READY=1"
                assert ack.exists() == bool(own)
                assert engine.poll() is None
                if own:
                    wanted = {"pid": engine.pid, "sha256": digest_bytes(weights.read_bytes())}
                    assert json.loads(ack.read_text()) == wanted
            finally:
                engine.kill()
                engine.wait()


# --- what it says

ROUND = {"canary_proven_s": 1.38, "canary_downtime_s": 0.09, "baseline_proven_s": 1.52, "baseline_downtime_s": 0.14}
PASSED = {"passed": True, "seconds": 8.4, "rounds": [{"way": way, **ROUND} for way in WAYS], "failed_step": "",
          "reason": "", "found": []}  # fmt: skip


def test_the_table_fits_a_play_s_output() -> None:
    lines = drill_lines(PASSED)
    assert lines[0] == "drill PASSED in 8.4 s on a scratch unit"
    assert lines[2] == "the monitor finds a violation    1.38 s    0.09 s    1.52 s    0.14 s"
    assert max(map(len, lines)) <= 74  # YAML output breaks longer ones


def test_a_failure_names_its_step_in_words() -> None:
    lines = drill_lines({**PASSED, "passed": False, "failed_step": "watchdog.noticed", "reason": "why\x1b[2J"})
    assert lines[0].startswith("drill FAILED")
    assert f"first failed step: watchdog.noticed ({WAYS['watchdog']}): {STEPS['noticed']}" in lines
    assert "why\N{REPLACEMENT CHARACTER}[2J" in lines
    assert "removed what an earlier drill had left: 2 files and folders" in drill_lines({**PASSED, "found": ["a", "b"]})


def test_every_step_of_the_code_has_words(root: Path) -> None:
    code = (root / "plugins/module_utils/qsc/guard/drill.py").read_text()
    taken = re.findall(r'(?:\.step\(f?|attempt\()"(?:\{way\}\.)?(\w+)"', code)
    assert set(taken) == set(STEPS)
    assert set(re.findall(r'self\._round\("(\w+)"', code)) == set(WAYS)


def test_a_ledger_entry_in_a_line() -> None:
    assert (
        drill_line({"result": "passed", "rounds": [ROUND]}) == "passed, the baseline was proven 1.5 s after the finding"
    )
    assert drill_line({"result": "failed", "failed_step": "guards", "reason": "masked"}) == "FAILED at guards: masked"


# --- how long it waits


@pytest.mark.parametrize(
    ("state", "comes_after", "waited"),
    [
        ("inactive", 5.0, None),  # there, soon enough
        ("inactive", 9.0, 6.0),  # nobody is at work on it
        ("activating", 15.0, None),  # a busy host is slow, not broken
        ("activating", 99.0, 20.0),
    ],
)
def test_who_is_at_work_is_waited_for(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, state: str, comes_after: float, waited: float | None
) -> None:
    monkeypatch.setattr(drill, "time", machine.time)
    machine.units["x.service"] = Unit(active_state=state)
    begin = machine.time.monotonic()

    def found() -> bool:
        return machine.time.monotonic() - begin >= comes_after

    if waited is None:
        assert drill._Drill._await(found, lambda: "never", "x.service")
        return
    with pytest.raises(QscError, match=f"never within {waited:.0f} s"):
        drill._Drill._await(found, lambda: "never", "x.service")
    assert machine.time.monotonic() - begin == pytest.approx(waited, abs=0.2)


def test_what_ended_while_it_was_looked_at_counts(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rollback ends between two questions: the record is asked after the unit."""
    monkeypatch.setattr(drill, "time", machine.time)
    done: list[bool] = []

    def show(unit: str) -> t.Any:
        done.append(True)
        return Unit(active_state="inactive")

    monkeypatch.setattr(systemd, "show", show)
    assert drill._Drill._await(lambda: bool(done), lambda: "never", "x.service")
