# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The watchdog looks at a host in memory: what it starts, what it writes, and that its own trouble never blinds it."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import typing as t
from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import SystemdError
from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard import page, resume, rollback, watchdog
from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard.status import gather
from ansible_collections.qsc.canary.plugins.module_utils.qsc.record import save
from ansible_collections.qsc.canary.plugins.module_utils.qsc.tell.status import status_lines
from helpers.machine import Machine
from helpers.samples import COLLAPSE, UNIT

STARTED = "start qsc-rollback.service"


def look(machine: Machine) -> list[str]:
    """One look, 30 s after the one before."""
    machine.time.sleep(30)
    return watchdog.watch(machine.host)


def looked(machine: Machine, **changes: t.Any) -> list[str]:
    """One look with a heartbeat just before it."""
    machine.time.sleep(30)
    machine.write_verdict(**changes)
    return watchdog.watch(machine.host)


def no_space(*_arguments: object, **_options: object) -> t.NoReturn:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_nothing_to_do(machine: Machine) -> None:
    before = machine.files()
    assert look(machine) == []
    assert machine.files() == before
    assert machine.events == []


def test_a_healthy_run_is_left_alone(machine: Machine) -> None:
    record = machine.run_canary()
    for _number in range(5):
        assert looked(machine) == []
    assert machine.record() == record
    assert machine.events == []


def test_a_violation_is_latched_and_the_rollback_started(machine: Machine) -> None:
    machine.run_canary()
    notes = looked(machine, verdict="violation", status="NO-GO", violations=(COLLAPSE,), message="HOLD=78.3%")
    assert machine.events == [STARTED]
    record = machine.record()
    assert (record.state, record.trigger, record.outcome) == ("rolling_back", "qsc_monitor_violation", "violated")
    assert [item["code"] for item in record.violations] == ["action_collapse"]
    assert record.violated_at == machine.time.wall
    assert any("HOLD=78.3%" in note for note in notes)
    # a verdict that turns good again changes nothing: it is started until the record says baseline
    looked(machine)
    assert machine.events == [STARTED, STARTED]
    assert machine.record().violations


def test_silence_rolls_back(machine: Machine) -> None:
    machine.run_canary()
    for _number in range(5):
        assert look(machine) == []
    look(machine)
    assert machine.events == [STARTED]
    assert machine.record().trigger == "monitor_silent"


def test_after_a_pause_of_the_machine_the_monitor_gets_one_period(machine: Machine) -> None:
    machine.run_canary()
    looked(machine)
    machine.time.sleep(3600)  # the whole machine stood still; the watchdog happens to wake up first
    assert watchdog.watch(machine.host) == []
    assert looked(machine) == [], "the monitor woke up too"
    machine.time.sleep(3600)
    assert watchdog.watch(machine.host) == []
    look(machine)
    assert machine.record().trigger == "monitor_silent", "it did not wake up"


def test_a_watchdog_that_cannot_remember_still_sees_silence(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full /run must neither blind the watchdog nor make it think for ever that it is late itself."""
    machine.run_canary()
    looked(machine)
    monkeypatch.setattr(watchdog, "write_atomic", no_space)
    assert looked(machine) == []
    for _number in range(7):
        look(machine)
    assert machine.record().trigger == "monitor_silent"


def test_a_watchdog_that_cannot_remember_forgives_no_restart(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.run_canary()
    monkeypatch.setattr(watchdog, "write_atomic", no_space)
    machine.engine.active_state = "deactivating"
    looked(machine)
    assert machine.record().trigger == "engine_down"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"last": "x"}', b'{"last": null, "settling_since": 0}'])
def test_a_damaged_memory_is_no_memory(machine: Machine, content: bytes) -> None:
    machine.run_canary()
    machine.paths.watchdog_state.write_bytes(content)
    assert looked(machine) == []
    assert json.loads(machine.paths.watchdog_state.read_bytes())["last"] == machine.time.boot


def replaced_by_link(machine: Machine, path: Path) -> None:
    other = machine.paths.prefix / "other"
    path.rename(other)
    path.symlink_to(other)


TAMPERED: t.Mapping[str, tuple[t.Callable[[Machine], object], str]] = {
    "drop-in removed": (lambda machine: machine.dropin.unlink(), "dropin_removed"),
    "drop-in changed": (lambda machine: machine.dropin.write_text("[Service]\n"), "dropin_changed"),
    "drop-in a link": (lambda machine: replaced_by_link(machine, machine.dropin), "dropin_changed"),
    "environment file removed": (lambda machine: machine.paths.engine_env.unlink(), "environment_changed"),
    "environment file changed": (lambda machine: machine.paths.engine_env.write_text("A=b\n"), "environment_changed"),
    "weights removed": (lambda machine: machine.paths.weights.unlink(), "weights_changed"),
    "weights changed": (lambda machine: machine.paths.weights.write_text('{"patchtst": 1.0}'), "weights_changed"),
    "weights a link": (lambda machine: replaced_by_link(machine, machine.paths.weights), "weights_changed"),
    "timer stopped": (
        lambda machine: setattr(machine.units["qsc-monitor.timer"], "active_state", "inactive"),
        "timer_stopped",
    ),
    "engine stopped": (lambda machine: machine.stop_engine(), "engine_down"),
    "engine crashed": (lambda machine: machine.start_engine(n_restarts=1), "engine_restarted"),
    "engine masked": (lambda machine: setattr(machine.engine, "load_state", "masked"), "engine_masked"),
    "verdict damaged": (lambda machine: machine.paths.verdict.write_bytes(b"{"), "verdict_unreadable"),
    "verdict a link": (lambda machine: replaced_by_link(machine, machine.paths.verdict), "verdict_unreadable"),
    "reboot": (lambda machine: machine.paths.boot_mark.unlink(), "reboot"),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_what_somebody_did_to_the_host(machine: Machine, case: str) -> None:
    tamper, trigger = TAMPERED[case]
    machine.run_canary()
    assert looked(machine) == []
    machine.time.sleep(30)
    machine.write_verdict()
    tamper(machine)
    code, notes = watchdog.run(machine.host)
    assert (code, machine.events) == (0, [STARTED]), notes
    record = machine.record()
    assert (record.state, record.trigger, record.outcome) == ("rolling_back", trigger, "terminated")


def test_a_heartbeat_of_another_boot_is_none(machine: Machine) -> None:
    machine.run_canary()
    for _number in range(6):
        looked(machine, boot_id="kernel/other")
    assert machine.record().trigger == "monitor_silent"


def test_an_unreadable_record_starts_the_rollback(machine: Machine) -> None:
    machine.run_canary()
    machine.paths.record.write_bytes(b"{")
    look(machine)
    assert machine.events == [STARTED]


@pytest.mark.parametrize("orphan", ["dropin", "environment", "dangling link"])
def test_orphans_start_the_rollback(machine: Machine, orphan: str) -> None:
    if orphan == "dropin":
        machine.write_dropin()
    elif orphan == "environment":
        machine.paths.engine_env.write_text("A=b\n")
    else:
        machine.paths.engine_env.symlink_to("nowhere")
    look(machine)
    assert machine.events == [STARTED]
    rollback.roll_back(machine.host, rollback.Finding("orphan", ""))
    assert look(machine) == []


def test_an_armed_run_ends_at_its_deadline(machine: Machine) -> None:
    machine.arm()
    for _number in range(10):
        assert look(machine) == []
    look(machine)
    assert machine.record().trigger == "arming_expired"
    assert machine.record().outcome == "terminated"


def test_a_full_disk_still_starts_the_rollback(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.run_canary()
    monkeypatch.setattr(watchdog, "save", no_space)
    notes = looked(machine, verdict="violation", violations=(COLLAPSE,))
    assert STARTED in machine.events
    assert any("could not be written" in note for note in notes)


# --- a deliberate restart


def test_a_deliberate_restart_is_proven_again(machine: Machine) -> None:
    record = machine.run_canary()
    machine.start_engine()
    assert looked(machine) == []
    after = machine.record()
    assert after.state == "active"
    assert after.generation == record.generation + 1
    assert after.engine["invocation_id"] == machine.engine.invocation
    assert [entry["action"] for entry in machine.ledger()][-1] == "engine_restart_proven"
    looked(machine)
    assert len(machine.ledger("engine_restart_proven")) == 1


def test_killed_between_ledger_and_record_tells_of_a_restart_once(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.run_canary()
    machine.start_engine()
    with monkeypatch.context() as patch:
        patch.setattr(watchdog, "save", no_space)
        with pytest.raises(OSError):
            looked(machine)
    looked(machine)
    assert machine.record().engine["invocation_id"] == machine.engine.invocation
    assert len(machine.ledger("engine_restart_proven")) == 1
    machine.start_engine()  # the next restart is another one
    looked(machine)
    assert len(machine.ledger("engine_restart_proven")) == 2


@pytest.mark.parametrize("case", ["without the variables", "without an acknowledgement"])
def test_a_restart_that_cannot_be_proven_ends_the_run(machine: Machine, case: str) -> None:
    machine.run_canary()
    machine.acknowledges = False
    machine.start_engine()
    if case == "without the variables":
        machine.engine.environment.pop("QSC_CANARY_WEIGHTS")
    looked(machine)
    assert machine.record().trigger == "restart_not_proven"
    assert machine.events == [STARTED]


def test_a_restart_under_way_is_waited_for(machine: Machine) -> None:
    machine.run_canary()
    machine.engine.active_state, machine.engine.sub_state = "deactivating", "stop-sigterm"
    assert looked(machine) == []
    assert looked(machine) == []
    looked(machine)
    assert machine.record().trigger == "engine_down"


# --- the end of the monitored time


def at_the_deadline(machine: Machine, **changes: t.Any) -> list[str]:
    machine.run_canary()
    machine.time.sleep(21_600)
    machine.write_verdict(**changes)
    return watchdog.watch(machine.host)


def test_safe(machine: Machine) -> None:
    notes = at_the_deadline(machine)
    record = machine.record()
    assert (record.state, record.outcome) == ("active", "safe")
    assert (record.concluded_at, record.concluded_boot) == (machine.time.wall, machine.time.boot)
    (entry,) = machine.ledger("monitoring_completed")
    wanted = {
        "canary_model": "patchtst",
        "duration_hours": 6.0,
        "checks_performed": 720,
        "violations": None,
        "result": "safe",
    }
    assert {name: entry[name] for name in wanted} == wanted
    assert "still watched" in notes[0]
    assert machine.events == []
    assert looked(machine) == []
    assert len(machine.ledger("monitoring_completed")) == 1


def test_a_violation_after_safe_rolls_back(machine: Machine) -> None:
    at_the_deadline(machine)
    looked(machine, verdict="violation", violations=(COLLAPSE,))
    assert machine.events == [STARTED]
    assert machine.record().outcome == "violated"


def test_safe_but_never_promoted(machine: Machine) -> None:
    at_the_deadline(machine)
    machine.time.sleep(86_400)
    assert looked(machine)
    record = machine.record()
    assert (record.trigger, record.outcome) == ("hold_expired", "safe")


def test_never_judged_is_never_safe(machine: Machine) -> None:
    at_the_deadline(machine, verdict="waiting", status="WAIT", events=57, checks_judged=0)
    assert machine.record().outcome == ""
    machine.time.sleep(30)
    looked(machine, verdict="waiting", status="WAIT", events=57, checks_judged=0)
    record = machine.record()
    assert (record.state, record.outcome) == ("rolling_back", "inconclusive")
    assert machine.ledger("monitoring_completed") == []


def test_killed_between_ledger_and_record_concludes_once(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(watchdog, "save", no_space)
        with pytest.raises(OSError):
            at_the_deadline(machine)
    looked(machine)
    assert machine.record().outcome == "safe"
    assert len(machine.ledger("monitoring_completed")) == 1


# --- not certain at the deadline

UNSURE = {"verdict": "ok", "status": "WAIT", "message": "BUY at most 70 %: not certain yet, 66.0 % (58.0 % to 74.0 %)"}
LATE_S = 21_660.0


def unsure(machine: Machine, option: str, *, wait_s: float = LATE_S, **changes: t.Any) -> list[str]:
    """A look after the deadline at a run of which nothing but certainty is missing."""
    record = machine.run_canary()
    until = 43_200.0 if option == "extend" else 0.0
    save(machine.paths.record, replace(record, inconclusive=option, max_duration_s=until))
    machine.time.sleep(wait_s)
    machine.write_verdict(**{**UNSURE, **changes})
    return watchdog.watch(machine.host)


def test_by_default_what_is_not_certain_goes_back(machine: Machine) -> None:
    unsure(machine, "rollback")
    record = machine.record()
    assert (record.state, record.outcome) == ("rolling_back", "inconclusive")
    assert "66.0 % (58.0 % to 74.0 %)" in record.reason
    assert machine.events == [STARTED]


def test_hold_keeps_the_canary_and_says_that_it_is_not_safe(machine: Machine) -> None:
    notes = unsure(machine, "hold")
    record = machine.record()
    assert (record.state, record.outcome, machine.events) == ("active", "inconclusive", [])
    (entry,) = machine.ledger("monitoring_completed")
    assert (entry["result"], entry["violations"]) == ("inconclusive", None)
    assert "66.0 % (58.0 % to 74.0 %)" in entry["reason"]
    assert "inconclusive" in notes[0]
    generation = record.generation
    assert looked(machine, **UNSURE) == []
    assert looked(machine) == []  # certain now, but the conclusion is final
    assert (machine.record().outcome, machine.record().generation) == ("inconclusive", generation)
    assert len(machine.ledger("monitoring_completed")) == 1


def test_a_violation_while_held_rolls_back(machine: Machine) -> None:
    unsure(machine, "hold")
    looked(machine, verdict="violation", violations=(COLLAPSE,))
    assert machine.events == [STARTED]
    assert machine.record().outcome == "violated"


def test_what_is_held_goes_back_in_the_end(machine: Machine) -> None:
    unsure(machine, "hold")
    machine.time.sleep(86_400)
    assert looked(machine, **UNSURE)
    record = machine.record()
    assert (record.trigger, record.outcome) == ("hold_expired", "inconclusive")


def test_extend_goes_on_and_may_become_safe(machine: Machine) -> None:
    notes = unsure(machine, "extend")
    record = machine.record()
    assert (record.state, record.outcome, record.extended, machine.events) == ("active", "", True, [])
    (entry,) = machine.ledger("monitoring_extended")
    assert "66.0 % (58.0 % to 74.0 %)" in entry["reason"]
    assert entry["until"] in notes[0]
    assert looked(machine, **UNSURE) == []
    machine.time.sleep(600)
    looked(machine)
    assert machine.record().outcome == "safe"
    (done,) = machine.ledger("monitoring_completed")
    assert done["duration_hours"] == pytest.approx((LATE_S + 600) / 3600, abs=0.1)
    assert len(machine.ledger("monitoring_extended")) == 1


def test_an_extension_ends(machine: Machine) -> None:
    unsure(machine, "extend")
    machine.time.sleep(21_600)
    looked(machine, **UNSURE)
    record = machine.record()
    assert (record.state, record.outcome) == ("rolling_back", "inconclusive")


@pytest.mark.parametrize("option", ["rollback", "hold", "extend"])
@pytest.mark.parametrize(
    "lacking",
    [
        {"checks_done": 600},
        {"checks_judged": 300},
        {"max_missed_in_a_row": 5},
        {"complete": False},
        {"events": 150},
        {"verdict": "waiting"},
        {"verdict": "transient"},
        {"verdict": "ok", "status": "NO-GO"},
    ],
)
def test_a_run_that_was_not_watched_never_stays(machine: Machine, option: str, lacking: dict[str, t.Any]) -> None:
    unsure(machine, option, **lacking)
    record = machine.record()
    assert (record.state, record.outcome) == ("rolling_back", "inconclusive")
    assert machine.events == [STARTED]


@pytest.mark.parametrize("option", ["rollback", "hold", "extend"])
def test_a_certain_run_is_safe_under_every_option(machine: Machine, option: str) -> None:
    unsure(machine, option, status="GO")
    assert machine.record().outcome == "safe"


@pytest.mark.parametrize(("option", "action"), [("hold", "monitoring_completed"), ("extend", "monitoring_extended")])
def test_killed_between_ledger_and_record_it_is_said_once(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, option: str, action: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(watchdog, "save", no_space)
        with pytest.raises(OSError):
            unsure(machine, option)
    looked(machine, **UNSURE)
    assert machine.record().held or machine.record().extended
    assert len(machine.ledger(action)) == 1


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("hold", "then back to the baseline: an inconclusive run is never promoted"),
        ("extend", "extended: it was not certain at its deadline"),
    ],
)
def test_the_status_tells_what_follows(machine: Machine, option: str, words: str) -> None:
    unsure(machine, option)
    facts = gather(machine.host)
    (line,) = [line for line in status_lines(facts) if line.startswith("until")]
    assert line.endswith(words)
    left = {"hold": 86_400.0, "extend": 43_200.0 - LATE_S}[option]
    assert facts["seconds_left"] == pytest.approx(left, abs=30)


# --- boot


def test_a_run_of_an_earlier_boot_ends_before_the_engine_starts(machine: Machine) -> None:
    machine.run_canary()
    for path in (machine.paths.boot_mark, machine.paths.engine_env):
        path.unlink()
    notes = resume.decide(machine.host)
    assert "reboot" in notes[0] or "rebooted" in notes[0]
    record = machine.record()
    assert (record.state, record.trigger, record.outcome) == ("rolling_back", "reboot", "terminated")
    assert machine.events == [], "a blocking call of systemd before the engine would be a deadlock"


def test_a_run_of_this_boot_is_left_alone(machine: Machine) -> None:
    record = machine.run_canary()
    assert resume.decide(machine.host) == []
    assert machine.record() == record


@pytest.mark.parametrize("content", [None, b"{"])
def test_boot_without_a_usable_record(machine: Machine, content: bytes | None) -> None:
    if content is not None:
        machine.paths.record.write_bytes(content)
    notes = resume.decide(machine.host)
    assert bool(notes) == (content is not None)
    assert machine.events == []


# --- the engine's weights file changes during the run


@pytest.mark.parametrize(("after", "word"), [(b'{"xgb": 1.0}', "was changed"), (None, "was removed")])
def test_a_changed_weights_file_is_said_once(machine: Machine, after: bytes | None, word: str) -> None:
    machine.run_canary()
    original = machine.baseline_path.read_bytes()
    machine.baseline_path.unlink()
    if after is not None:
        machine.baseline_path.write_bytes(after)
    for _number in range(3):
        assert looked(machine) == []
    (entry,) = machine.ledger("baseline_drift")
    assert entry["reason"] == f"{machine.baseline_path} {word}"
    assert machine.record().drift
    assert machine.events == []
    machine.baseline_path.write_bytes(original)
    looked(machine)
    assert [one["reason"].split("weights.json ")[1] for one in machine.ledger("baseline_drift")] == [
        word,
        "is the saved baseline again",
    ]
    assert machine.record().drift == ""


def test_killed_between_ledger_and_record_tells_of_a_change_once(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.run_canary()
    original = machine.baseline_path.read_bytes()
    for number, content in enumerate((original + b" ", original), 1):
        machine.baseline_path.write_bytes(content)
        with monkeypatch.context() as patch:
            patch.setattr(watchdog, "save", no_space)
            with pytest.raises(OSError):
                looked(machine)
        looked(machine)
        assert len(machine.ledger("baseline_drift")) == number


def test_a_weights_file_that_is_a_pipe_hangs_nobody(machine: Machine) -> None:
    machine.run_canary()
    machine.baseline_path.unlink()
    os.mkfifo(machine.baseline_path)
    assert looked(machine) == []
    assert machine.record().drift == "unreadable"


def test_with_refuse_the_change_ends_the_run(make_machine: t.Callable[..., Machine]) -> None:
    machine = make_machine(baseline_drift="refuse")
    machine.run_canary()
    machine.baseline_path.write_text('{"xgb": 1.0}')
    looked(machine)
    record = machine.record()
    assert (record.state, record.trigger, record.outcome) == ("rolling_back", "baseline_changed", "terminated")
    assert machine.events == [STARTED]


# --- a human was called


def test_after_a_page_the_rollback_is_tried_now_and_then(machine: Machine) -> None:
    machine.run_canary()
    machine.fail("restart")
    looked(machine, verdict="violation", violations=(COLLAPSE,))
    for _number in range(8):
        page.one_try(machine.host)
    machine.events.clear()
    assert any("a human was called" in line for line in look(machine))
    assert machine.events == []
    machine.time.sleep(page.RETRY_PAGED_S)
    look(machine)
    assert machine.events == [STARTED]


# --- a process that was stopped under the lock

HOLDS = "import fcntl, os, sys; h = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT); fcntl.flock(h, fcntl.LOCK_EX); "


@pytest.mark.parametrize("how", ["stopped", "at work"])
def test_a_process_stopped_under_the_lock_blinds_nobody(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    machine.run_canary()
    machine.dropin.unlink()
    monkeypatch.setattr(watchdog, "_LOCK_WAIT_S", 0.2)
    then = "os.kill(os.getpid(), 19)" if how == "stopped" else "print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS + then, str(machine.paths.lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        try:
            if how == "stopped":
                os.waitid(os.P_PID, holder.pid, os.WSTOPPED)
            else:
                assert holder.stdout is not None
                holder.stdout.readline()
            code, notes = watchdog.run(machine.host)
            if how == "stopped":
                assert holder.wait(10) == -9
                assert f"process {holder.pid} was stopped while it held the lock, and was ended" in notes
                assert machine.record().trigger == "dropin_removed"
            else:
                assert holder.poll() is None, "who works under the lock is left alone"
                assert machine.record().state == "active"
                assert notes[0].startswith("left alone: ")
            assert code == 0
        finally:
            holder.kill()


# --- its own trouble


def test_an_error_of_its_own_is_loud(machine: Machine) -> None:
    machine.run_canary()
    machine.fail("show", SystemdError("Transport endpoint is not connected"))
    code, notes = watchdog.run(machine.host)
    assert code == 1
    assert "Transport endpoint" in notes[0]
    del machine.failing["show"]
    assert watchdog.run(machine.host) == (0, [])


def test_the_units_it_knows(machine: Machine) -> None:
    """A canary of an engine that is no longer in the settings is still guarded by its record."""
    machine.run_canary()
    other = machine.paths.dropin("other.service")
    host = type(machine.host)(
        settings=type(machine.host.settings).from_dict({"engine_unit": "other.service"}),
        paths=machine.paths,
        actor="tester",
    )
    machine.time.sleep(30)
    machine.write_verdict(verdict="violation", violations=(COLLAPSE,))
    watchdog.watch(host)
    outcome = rollback.roll_back(host, rollback.Finding("", ""))
    assert outcome.proof is not None
    assert outcome.proof.unit == UNIT
    assert not other.exists()
    machine.check_baseline()
