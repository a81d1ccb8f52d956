# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way back: its order, that it can be repeated, and that nothing stops it before a proven baseline.

A stand-in in memory takes systemd's place here; the real thing is tested on the test hosts.
"""

from __future__ import annotations

import errno
import json
import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc import files, ledger
from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import (
    Busy,
    NotProven,
    Refused,
    SystemdError,
)
from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard import rollback, watchdog
from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard.host import Host
from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard.rollback import Finding
from ansible_collections.qsc.canary.plugins.module_utils.qsc.ledger import Ledger
from ansible_collections.qsc.canary.plugins.module_utils.qsc.record import Record
from helpers.machine import Machine
from helpers.samples import BASELINE, COLLAPSE, UNIT, make_record

JUDGED = {"events": 400, "first_id": "1-0", "last_id": "2-0"}


def end(machine: Machine, trigger: str = "manual", reason: str = "", canary_id: str = "") -> rollback.Outcome:
    return rollback.roll_back(machine.host, rollback.Finding(trigger, reason), canary_id=canary_id)


def violated(machine: Machine) -> rollback.Outcome:
    finding = rollback.Finding("qsc_monitor_violation", COLLAPSE.message, "violated", (COLLAPSE,), JUDGED)
    return rollback.roll_back(machine.host, finding)


def no_space(*_arguments: object, **_options: object) -> t.NoReturn:
    raise OSError(errno.ENOSPC, "No space left on device")


def read_only(*names: str) -> t.Callable[[Path], bool]:
    """files.remove on a host where files of these names cannot be removed."""
    real = files.remove

    def remove(path: Path) -> bool:
        if path.name in names:
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        return real(path)

    return remove


def test_from_canary_to_proven_baseline(machine: Machine) -> None:
    before = machine.run_canary()
    assert machine.runs_canary
    outcome = violated(machine)
    machine.check_baseline()
    assert (outcome.changed, outcome.restarted) == (True, True)
    record = machine.record()
    assert outcome.record is not None
    assert (record.state, record.outcome, record.trigger) == ("rolled_back", "violated", "qsc_monitor_violation")
    assert record.generation > before.generation
    assert outcome.proof is not None
    assert (outcome.proof.main_pid, dict(outcome.proof.environment)) == (machine.engine.pid, {})
    assert record.proof["main_pid"] == machine.engine.pid
    (entry,) = machine.ledger("rollback_executed")
    wanted = {
        "canary_id": before.id,
        "canary_model": "patchtst",
        "violations": [COLLAPSE.message],
        "codes": ["action_collapse"],
        "trigger": "qsc_monitor_violation",
        "outcome": "violated",
        "actor": "tester",
        "weights": BASELINE,
        "judged": JUDGED,
    }
    assert {name: entry[name] for name in wanted} == wanted
    assert entry["measured"] == [vars(COLLAPSE)]
    text = "\n".join(outcome.lines())
    assert before.id in text
    assert "violated" in text
    assert COLLAPSE.message in text
    assert f"pid {machine.engine.pid}" in text


def test_order(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lets the engine run canary weights goes first; failures are forgotten before the restart, or systemd refuses
    it; the ledger is written before the record that ends the retries."""
    machine.run_canary()
    machine.engine.start_limit_hit = True
    real_remove, real_append, real_save = files.remove, Ledger.append, rollback.save

    def remove(path: Path) -> bool:
        found = real_remove(path)
        if found:
            machine.events.append(f"remove {path.name}")
        return found

    def append(log: Ledger, action: str, fields: t.Mapping[str, t.Any], *, wall: float) -> dict[str, t.Any]:
        machine.events.append(f"ledger {action}")
        return real_append(log, action, fields, wall=wall)

    def save(path: Path, record: Record) -> None:
        machine.events.append(f"record {record.state}")
        real_save(path, record)

    monkeypatch.setattr(rollback, "remove", remove)
    monkeypatch.setattr(Ledger, "append", append)
    monkeypatch.setattr(rollback, "save", save)
    violated(machine)
    assert machine.events == [
        "record rolling_back",
        "remove engine.env",
        "remove qsc_canary.conf",
        "stop qsc-monitor.timer",
        "daemon-reload",
        f"reset-failed {UNIT}",
        f"restart {UNIT}",
        "ledger rollback_executed",
        "record rolled_back",
    ]


def test_twice(machine: Machine) -> None:
    machine.run_canary()
    violated(machine)
    machine.events.clear()
    pid, before = machine.engine.pid, machine.files()
    again = end(machine, "manual", reason="to be sure")
    assert (again.changed, again.restarted) == (False, False)
    assert machine.engine.pid == pid
    assert not [event for event in machine.events if event.startswith(("restart", "reset-failed"))]
    assert machine.files() == before, "the second run wrote something"
    assert again.lines()[0] == "already at baseline, nothing changed"
    assert machine.record().trigger == "qsc_monitor_violation"


def test_a_host_that_never_ran_a_canary(machine: Machine) -> None:
    before = machine.files()
    outcome = end(machine, "manual")
    assert (outcome.changed, outcome.restarted, outcome.record) == (False, False, None)
    assert outcome.proof is not None
    assert machine.files() == before


def test_an_armed_engine_that_was_never_restarted_keeps_running(machine: Machine) -> None:
    machine.arm()
    pid = machine.engine.pid
    outcome = end(machine, "arming_expired", reason="too late")
    assert (outcome.changed, outcome.restarted) == (True, False)
    assert machine.engine.pid == pid
    machine.check_baseline()
    assert machine.record().outcome == "terminated"


class Killed(BaseException):
    """Stands for SIGKILL: no code of the rollback may handle it."""


def killed(*_arguments: object, **_options: object) -> t.NoReturn:
    raise Killed


KILL_POINTS: t.Mapping[str, tuple[object, str]] = {
    "before the first record": (rollback, "save"),
    "in the removal": (rollback, "_disarm"),
    "in the file's restoration": (rollback, "_restore_file"),
    "before the reload": (rollback.systemd, "daemon_reload"),
    "before reset-failed": (rollback.systemd, "reset_failed"),
    "before the restart": (rollback.systemd, "restart"),
    "in the proof": (rollback.systemd, "prove"),
    "before the ledger": (Ledger, "append"),
    "between ledger and record": (rollback, "transition"),
}


@pytest.mark.parametrize("point", KILL_POINTS)
def test_killed_and_run_again(machine: Machine, monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    record = machine.run_canary()
    owner, name = KILL_POINTS[point]
    with monkeypatch.context() as patch:
        if point == "between ledger and record":
            real = rollback.transition

            def at_the_end(before: Record, event: str, **changes: t.Any) -> Record:
                return killed() if event == "proven" else real(before, event, **changes)

            patch.setattr(owner, name, at_the_end)
        else:
            patch.setattr(owner, name, killed)
        with pytest.raises(Killed):
            violated(machine)
    violated(machine)
    machine.check_baseline()
    assert machine.record().state == "rolled_back"
    assert machine.record().violations
    entries = machine.ledger("rollback_executed")
    assert [entry["canary_id"] for entry in entries] == [record.id], "logged twice, or not at all"


def test_the_environment_file_goes_first(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever restarts the engine while a rollback is stuck gets the baseline."""
    machine.run_canary()
    with monkeypatch.context() as patch:
        patch.setattr(rollback.systemd, "daemon_reload", killed)
        with pytest.raises(Killed):
            violated(machine)
    machine.start_engine()
    assert not machine.runs_canary


def test_the_first_violation_is_kept_when_an_operator_comes_second(machine: Machine) -> None:
    machine.run_canary()
    machine.fail("restart")
    with pytest.raises(SystemdError):
        violated(machine)
    assert machine.record().state == "rolling_back"
    del machine.failing["restart"]
    outcome = end(machine, reason="an operator")
    assert outcome.record is not None
    assert (outcome.record.trigger, outcome.record.outcome) == ("qsc_monitor_violation", "violated")
    (entry,) = machine.ledger("rollback_executed")
    assert (entry["trigger"], entry["violations"]) == ("qsc_monitor_violation", [COLLAPSE.message])


def test_an_engine_that_does_not_come_up_is_no_baseline(machine: Machine) -> None:
    machine.run_canary()

    def die() -> None:
        machine.time.at(0.9, lambda: machine.stop_engine(active="failed", sub="failed"))

    machine.failing["restart"] = die
    with pytest.raises(NotProven):
        violated(machine)
    assert machine.record().state == "rolling_back"
    assert machine.ledger("rollback_executed") == []
    machine.failing.clear()
    violated(machine)
    machine.check_baseline()


def test_an_engine_that_keeps_the_canary_is_no_baseline(machine: Machine) -> None:
    """For example variables that somebody copied into the unit itself."""
    record = machine.run_canary()
    machine.leaked = machine.host.engine_environment(record)
    with pytest.raises(NotProven, match="expected was no canary variables"):
        violated(machine)
    assert machine.record().state == "rolling_back"


def test_a_stopped_engine_with_a_canary_is_started_at_baseline(machine: Machine) -> None:
    machine.run_canary()
    machine.stop_engine()
    outcome = violated(machine)
    assert outcome.restarted
    machine.check_baseline()


def test_a_stopped_engine_without_a_canary_stays_stopped(machine: Machine) -> None:
    machine.stop_engine()
    outcome = end(machine, "manual")
    assert (outcome.changed, outcome.restarted, outcome.proof) == (False, False, None)
    assert machine.engine.active_state == "inactive"
    assert "the engine does not run" in outcome.lines()


# --- whose run


def test_another_runs_id_is_refused(machine: Machine) -> None:
    record = machine.run_canary()
    before, pid = machine.files(), machine.engine.pid
    with pytest.raises(Refused, match=record.id) as caught:
        end(machine, "manual", canary_id="patchtst-older")
    assert caught.value.remedy == f"To end that one run: qsc rollback --id {record.id}"
    assert machine.files() == before
    assert machine.engine.pid == pid


def test_the_id_of_this_run(machine: Machine) -> None:
    record = machine.run_canary()
    end(machine, "manual", canary_id=record.id)
    machine.check_baseline()


def test_the_id_of_a_run_that_is_over_changes_nothing(machine: Machine) -> None:
    machine.run_canary()
    violated(machine)
    outcome = end(machine, "manual", canary_id="patchtst-older")
    assert not outcome.changed


@pytest.mark.parametrize(
    ("before", "violations", "wanted", "outcome"),
    [
        ("", (), "", "terminated"),
        ("", (), "inconclusive", "inconclusive"),
        ("", (COLLAPSE,), "", "violated"),
        ("safe", (), "", "safe"),
        ("safe", (COLLAPSE,), "", "violated"),
        ("safe", (COLLAPSE,), "inconclusive", "violated"),
    ],
)
def test_outcome(before: str, violations: tuple[t.Any, ...], wanted: str, outcome: str) -> None:
    assert rollback.outcome_of(make_record(outcome=before), violations, wanted) == outcome


# --- damaged book-keeping


@pytest.mark.parametrize("content", [b"", b"{", b"null", b'{"schema": 99}', b"\xff"])
def test_an_unreadable_record_is_put_aside_and_the_baseline_restored(machine: Machine, content: bytes) -> None:
    machine.run_canary()
    machine.paths.record.write_bytes(content)
    outcome = end(machine, "record_unreadable", reason="damaged")
    assert not machine.runs_canary
    assert not machine.paths.engine_env.exists()
    assert not machine.dropin.exists()
    assert (outcome.changed, outcome.restarted) == (True, True)
    assert not machine.paths.record.exists()
    (aside,) = machine.paths.state.glob("record.json.unreadable-*")
    assert aside.read_bytes() == content
    assert any(aside.name in note for note in outcome.notes)
    (entry,) = machine.ledger("rollback_executed")
    assert entry["trigger"] == "record_unreadable"
    assert machine.units["qsc-monitor.timer"].active_state == "inactive"  # nothing is left to judge
    assert not end(machine, "manual").changed


@pytest.mark.parametrize("where", ["save", "ledger and /run"])
def test_a_full_disk_stops_no_restart_but_is_an_error(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    record = machine.run_canary()
    with monkeypatch.context() as patch:
        if where == "save":
            patch.setattr(rollback, "save", no_space)
        else:
            patch.setattr(Ledger, "append", no_space)
        with pytest.raises(OSError, match="No space"):
            violated(machine)
        machine.check_baseline()  # first the engine, then the books
        with pytest.raises(OSError, match="No space"):
            violated(machine)
    assert machine.record().in_flight, "an ended record would end the retries"
    pid = machine.engine.pid
    violated(machine)
    assert machine.engine.pid == pid, "a repeated rollback needs no second restart"
    assert machine.record().state == "rolled_back"
    assert [entry["canary_id"] for entry in machine.ledger("rollback_executed")] == [record.id]


def test_a_full_disk_of_the_ledger_ends_the_run_and_the_entry_waits(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = machine.run_canary()
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "_write_all", no_space)
        outcome = violated(machine)
        machine.check_baseline()
        assert machine.record().state == "rolled_back"
        assert any(str(machine.paths.ledger_pending) in note for note in outcome.notes)
        (entry,) = machine.ledger("rollback_executed")
        assert "sequence" not in entry
        watchdog.watch(machine.host)
        assert machine.paths.ledger_pending.exists(), "there is still no room"
        machine.time.sleep(3600)
    watchdog.watch(machine.host)
    assert not machine.paths.ledger_pending.exists()
    (after,) = machine.ledger("rollback_executed")
    assert (after["canary_id"], after["sequence"], after["timestamp"]) == (record.id, 2, entry["timestamp"])
    assert ledger.verify(machine.host.ledger).problems == []


def test_a_full_disk_everywhere_logs_once(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record cannot be written either: the rollback is tried again, and finds the entry that waits."""
    machine.run_canary()
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "_write_all", no_space)
        patch.setattr(rollback, "save", no_space)
        for _try in range(3):
            with pytest.raises(OSError, match="No space"):
                violated(machine)
            machine.check_baseline()
    violated(machine)
    assert machine.record().state == "rolled_back"
    watchdog.watch(machine.host)
    assert [entry["sequence"] for entry in machine.ledger("rollback_executed")] == [2]


@pytest.mark.parametrize("name", ["engine.env", "qsc_canary.conf"])
def test_one_file_that_cannot_be_removed_stops_no_restart_but_is_an_error(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A read-only /etc: without its environment file the drop-in is inert, so the restart still ends at baseline."""
    machine.run_canary()
    with monkeypatch.context() as patch:
        patch.setattr(rollback, "remove", read_only(name))
        for _try in range(2):
            with pytest.raises(OSError, match="Read-only"):
                violated(machine)
            assert not machine.runs_canary
            assert machine.record().in_flight, "an ended record would end the retries"
    assert len([event for event in machine.events if event.startswith("restart")]) == 1, "no flapping while it retries"
    violated(machine)
    machine.check_baseline()


def test_when_both_files_stay_the_engine_is_not_restarted_into_the_canary(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.run_canary()
    with monkeypatch.context() as patch:
        patch.setattr(rollback, "remove", read_only("engine.env", "qsc_canary.conf"))
        with pytest.raises(OSError, match="Read-only"):
            violated(machine)
    assert not [event for event in machine.events if event.startswith("restart")]
    assert machine.record().state == "rolling_back"
    violated(machine)
    machine.check_baseline()


def test_a_monitor_that_cannot_be_stopped_stops_nothing(machine: Machine) -> None:
    machine.run_canary()
    machine.fail("stop")
    outcome = violated(machine)
    assert not machine.runs_canary
    assert any("qsc-monitor.timer could not be stopped" in note for note in outcome.notes)


# --- the engine's own weights file


@pytest.mark.skipif(os.geteuid() != 0, reason="giving files back to root needs root")
@pytest.mark.parametrize("what", ["changed", "removed", "emptied"])
def test_the_engines_weights_file_is_restored(machine: Machine, what: str) -> None:
    record = machine.run_canary()
    path, original = machine.baseline_path, machine.baseline_path.read_bytes()
    path.chmod(0o640)
    changed = {"changed": b'{"xgb": 1.0}', "emptied": b""}.get(what)
    if changed is None:
        path.unlink()
    else:
        path.write_bytes(changed)
    outcome = violated(machine)
    assert path.read_bytes() == original
    aside = path.with_name(f"{path.name}.{record.id}.changed")
    if changed is None:
        assert not aside.exists()
        assert any("was removed during the run" in note for note in outcome.notes)
    else:
        assert aside.read_bytes() == changed
        assert {path.stat().st_mode & 0o777, aside.stat().st_mode & 0o777} == {0o640}
        assert any(str(aside) in note for note in outcome.notes)
    assert (machine.ledger("rollback_executed")[0]["notes"]) == list(outcome.notes)


def test_with_keep_the_changed_file_stays(make_machine: t.Callable[..., Machine]) -> None:
    machine = make_machine(baseline_drift="keep")
    machine.run_canary()
    machine.baseline_path.write_text('{"xgb": 1.0}')
    machine.time.sleep(30)
    machine.write_verdict()
    assert watchdog.watch(machine.host) == []
    outcome = violated(machine)
    machine.check_baseline()
    assert machine.baseline_path.read_text() == '{"xgb": 1.0}'
    assert f"{machine.baseline_path} was changed during the run: left as it is" in outcome.notes


def test_an_unchanged_file_is_left_alone(machine: Machine) -> None:
    machine.run_canary()
    before = machine.baseline_path.stat()
    violated(machine)
    after = machine.baseline_path.stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_an_engine_that_loaded_the_changed_file_is_restarted(machine: Machine) -> None:
    """It runs without the canary's variables, so its process alone would look like the baseline."""
    machine.arm()
    machine.baseline_path.write_text('{"xgb": 1.0}')
    machine.start_engine()
    pid = machine.engine.pid
    outcome = end(machine, "arming_expired")
    assert outcome.restarted
    assert machine.engine.pid != pid


def test_the_process_of_before_the_restart_is_no_proof(machine: Machine) -> None:
    """It runs without the canary's variables, but with the weights of the changed file."""
    machine.arm()
    machine.baseline_path.write_text('{"xgb": 1.0}')
    machine.obeys = False
    with pytest.raises(NotProven, match="still the process of before the restart"):
        end(machine, "arming_expired")
    assert machine.record().state == "rolling_back"


def test_a_snapshot_that_was_tampered_with_is_not_restored(machine: Machine) -> None:
    machine.run_canary()
    machine.paths.baseline.write_text('{"patchtst": 1.0}')
    machine.baseline_path.write_text('{"xgb": 1.0}')
    outcome = violated(machine)
    assert machine.baseline_path.read_text() == '{"xgb": 1.0}'
    assert any("is not the snapshot of this run" in note for note in outcome.notes)
    machine.check_baseline()


@pytest.mark.parametrize("what", ["link", "fifo", "folder", "huge"])
def test_what_stands_in_place_of_the_file_is_neither_followed_nor_waited_for(machine: Machine, what: str) -> None:
    """A link's target would be read into a file others can read; a fifo would hang; and the baseline comes back."""
    record = machine.run_canary()
    path, original = machine.baseline_path, machine.baseline_path.read_bytes()
    secret = machine.paths.prefix / "secret"
    secret.write_text("secret")
    path.unlink()
    if what == "link":
        path.symlink_to(secret)
    elif what == "fifo":
        os.mkfifo(path)
    elif what == "folder":
        (path / "below").mkdir(parents=True)
    else:
        path.write_bytes(b" " * (1 << 21))
    before = path.lstat()
    outcome = violated(machine)
    machine.check_baseline()
    assert path.read_bytes() == original
    assert secret.read_text() == "secret"
    aside = path.with_name(f"{path.name}.{record.id}.changed")
    assert (aside.lstat().st_ino, aside.lstat().st_mode) == (before.st_ino, before.st_mode)
    assert any(str(aside) in note for note in outcome.notes)


@pytest.mark.skipif(os.geteuid() != 0, reason="files of another user need root")
def test_a_setuid_file_in_its_place_makes_nothing_of_roots(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """At no moment is there a file of root with the content and the rights its last owner chose."""
    machine.run_canary()
    path, original = machine.baseline_path, machine.baseline_path.read_bytes()
    path.write_bytes(b"#!/bin/sh")
    os.chown(path, 12345, 12345)
    path.chmod(0o6755)
    seen = []
    replace_real = os.replace

    def replace_seen(source: t.Any, target: t.Any, **options: t.Any) -> None:
        status = os.lstat(source)
        seen.append((Path(target).name, status.st_uid, status.st_mode & 0o7000))
        replace_real(source, target, **options)

    monkeypatch.setattr(os, "replace", replace_seen)
    violated(machine)
    assert path.read_bytes() == original
    assert (path.stat().st_uid, path.stat().st_mode & 0o7777) == (12345, 0o755)
    assert [entry for entry in seen if entry[0].startswith(path.name)] == [(path.name, 12345, 0)]


@pytest.mark.skipif(os.geteuid() != 0, reason="folders of another user need root")
def test_a_folder_swapped_for_a_link_leads_root_nowhere(machine: Machine) -> None:
    machine.run_canary()
    folder = machine.baseline_path.parent
    elsewhere = machine.paths.prefix / "elsewhere"
    elsewhere.mkdir()
    folder.rename(folder.with_name("away"))
    folder.symlink_to(elsewhere)
    os.chown(folder, 12345, 12345, follow_symlinks=False)
    outcome = violated(machine)
    machine.check_baseline()
    assert list(elsewhere.iterdir()) == []
    assert any("could not be restored: the folder" in note and "user 12345" in note for note in outcome.notes)


# --- orphans


@pytest.mark.parametrize("orphan", ["dropin", "environment", "both"])
def test_configuration_without_a_run(machine: Machine, orphan: str) -> None:
    if orphan in ("dropin", "both"):
        machine.write_dropin()
    if orphan in ("environment", "both"):
        machine.paths.engine_env.write_text("QSC_CANARY_MODEL=patchtst\nQSC_CANARY_WEIGHTS=/w\n")
    machine.start_engine()
    assert machine.runs_canary == (orphan == "both")
    outcome = end(machine, "orphan")
    assert not machine.runs_canary
    assert outcome.changed
    assert outcome.restarted == (orphan == "both")
    (entry,) = machine.ledger()
    action = "rollback_executed" if orphan == "both" else "orphan_removed"
    assert (entry["action"], entry["trigger"], entry["violations"]) == (action, "orphan", [])


def test_the_dropin_of_a_play_that_came_too_late_is_no_second_rollback(machine: Machine) -> None:
    """A play frozen past its deadline goes on: its drop-in is inert, and the run already has its entry."""
    record = machine.arm()
    rollback.roll_back(machine.host, rollback.Finding("arming_expired", "", "terminated"))
    machine.write_dropin()
    machine.start_engine()
    outcome = rollback.roll_back(
        machine.host, rollback.Finding("activation_failed", "Prove the effect"), canary_id=record.id
    )
    assert (outcome.changed, outcome.restarted) == (True, False)
    machine.check_baseline()
    assert [entry["canary_id"] for entry in machine.ledger("rollback_executed")] == [record.id]
    (entry,) = machine.ledger("orphan_removed")
    assert (entry["last_canary_id"], entry["trigger"]) == (record.id, "activation_failed")


def test_a_lost_record_is_a_rollback_even_without_a_restart(machine: Machine) -> None:
    machine.arm()
    machine.paths.record.write_text("{")
    outcome = end(machine, "record_unreadable")
    assert (outcome.changed, outcome.restarted) == (True, False)
    (entry,) = machine.ledger("rollback_executed")
    assert entry["trigger"] == "record_unreadable"


# --- check mode


def test_pending_tells_and_changes_nothing(machine: Machine) -> None:
    assert rollback.pending(machine.host) == []
    record = machine.run_canary()
    before = machine.files()
    found = rollback.pending(machine.host)
    assert found == [
        f"end canary {record.id} (patchtst at 10 %, active)",
        f"remove {machine.paths.engine_env}",
        f"remove {machine.dropin}",
        f"restart {UNIT}",
    ]
    assert machine.files() == before
    assert machine.events == []
    violated(machine)
    assert rollback.pending(machine.host) == []


# --- why the unit was started


def test_trigger_without_a_run(machine: Machine) -> None:
    assert rollback.trigger_of_unit(machine.host) == rollback.Finding("", "")


def test_trigger_violation(machine: Machine) -> None:
    machine.run_canary()
    machine.write_verdict(verdict="violation", status="NO-GO", violations=(COLLAPSE,), message="HOLD")
    finding = rollback.trigger_of_unit(machine.host)
    assert (finding.trigger, finding.reason, finding.outcome) == ("qsc_monitor_violation", "HOLD", "violated")
    assert finding.violations == (COLLAPSE,)
    assert (finding.judged["events"], finding.judged["first_id"]) == (400, "1768000100000-0")


def test_trigger_inconclusive(machine: Machine) -> None:
    machine.run_canary()
    machine.write_verdict(verdict="inconclusive", status="WAIT", message="too slow")
    finding = rollback.trigger_of_unit(machine.host)
    assert (finding.trigger, finding.reason, finding.outcome) == ("inconclusive", "too slow", "inconclusive")


def test_trigger_of_a_spent_budget(machine: Machine) -> None:
    """The canary did nothing wrong: the run is terminated, not violated."""
    machine.run_canary()
    machine.write_verdict(verdict="terminated", status="GO", message="Exposure budget spent: 7,000 USD")
    done = rollback.roll_back(machine.host, rollback.trigger_of_unit)
    assert done.record is not None
    assert (done.record.trigger, done.record.outcome) == ("exposure_budget", "terminated")
    assert (done.record.reason, done.record.violations) == ("Exposure budget spent: 7,000 USD", [])
    assert done.record.judged["events"] == 400


def test_trigger_monitor_failed(machine: Machine) -> None:
    machine.run_canary()
    unit = machine.units["qsc-monitor.service"]
    unit.active_state, unit.result, unit.exit_status = "failed", "timeout", "15"
    finding = rollback.trigger_of_unit(machine.host)
    assert (finding.trigger, finding.violations) == ("monitor_failed", ())
    assert "result timeout" in finding.reason


def test_trigger_manual(machine: Machine) -> None:
    machine.run_canary()
    assert rollback.trigger_of_unit(machine.host).trigger == "manual"


@pytest.mark.parametrize("content", [b"{", b"[" * 5000, b"\x00"])
def test_trigger_hostile_verdict(machine: Machine, content: bytes) -> None:
    machine.run_canary()
    machine.paths.verdict.write_bytes(content)
    assert rollback.trigger_of_unit(machine.host).trigger == "verdict_unreadable"


def test_trigger_unreadable_record(machine: Machine) -> None:
    machine.paths.record.write_text("{")
    assert rollback.trigger_of_unit(machine.host).trigger == "record_unreadable"


def test_a_verdict_of_another_run_is_no_verdict(machine: Machine) -> None:
    record = machine.run_canary()
    machine.write_verdict(canary_id="patchtst-older", verdict="violation", violations=(COLLAPSE,))
    assert rollback.verdict_of(machine.host, record) is None
    assert rollback.trigger_of_unit(machine.host).trigger == "manual"


def test_systemd_not_answering_hides_no_reason_to_roll_back(machine: Machine) -> None:
    """The unit must go on to its work even when the reason cannot be found out."""
    machine.run_canary()
    machine.fail("show")
    assert rollback.trigger_of_unit(machine.host).trigger == "monitor_failed"


def test_a_verdict_behind_a_link_is_not_followed(machine: Machine) -> None:
    machine.run_canary()
    machine.paths.verdict.unlink()
    os.symlink("/etc/shadow", machine.paths.verdict)
    finding = rollback.trigger_of_unit(machine.host)
    assert finding.trigger == "verdict_unreadable"
    assert "root:" not in finding.reason


def test_the_ledger_entry_is_json_of_one_line(machine: Machine) -> None:
    machine.run_canary()
    end(machine, "manual", reason="two\nlines \x1b[31m")
    (entry,) = machine.ledger("rollback_executed")
    assert entry["reason"].isprintable()
    lines = machine.paths.ledger.read_bytes().splitlines()
    assert all(json.loads(line)["sequence"] == number for number, line in enumerate(lines, 1))


def test_a_verdict_of_no_possible_time_stops_nothing(machine: Machine) -> None:
    """A compromised monitor may write any number: neither the rollback nor the watchdog may fall over it."""
    machine.run_canary()
    machine.write_verdict(checked_at=1e300)
    finding = rollback.trigger_of_unit(machine.host)
    assert finding.trigger == "verdict_unreadable"
    code, _lines = watchdog.run(machine.host)
    assert code == 0
    assert machine.record().trigger == "verdict_unreadable"


def test_whatever_goes_wrong_with_the_reason_it_stops_no_rollback(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.run_canary()

    def broken(*_arguments: object) -> t.NoReturn:
        raise ZeroDivisionError("of the test")

    monkeypatch.setattr(rollback, "verdict_of", broken)
    finding = rollback.trigger_of_unit(machine.host)
    assert (finding.trigger, "of the test" in finding.reason) == ("unknown", True)


def test_a_watchdog_that_cannot_think_starts_the_rollback(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.run_canary()

    def broken(_facts: object) -> t.NoReturn:
        raise ZeroDivisionError("of the test")

    monkeypatch.setattr(watchdog, "diagnose", broken)
    code, lines = watchdog.run(machine.host)
    assert code == 1
    assert any("of the test" in line for line in lines)
    assert [event for event in machine.events if "qsc-rollback.service" in event]


def test_a_violation_the_monitor_latched_counts_whoever_ends_the_run(machine: Machine) -> None:
    machine.run_canary()
    machine.write_verdict(verdict="violation", status="NO-GO", violations=(COLLAPSE,))
    rollback.roll_back(machine.host, Finding("manual", "an operator was quicker"))
    ended = machine.record()
    assert (ended.trigger, ended.outcome) == ("manual", "violated")
    assert [item["code"] for item in ended.violations] == [COLLAPSE.code]


def test_the_reason_is_asked_under_the_lock(machine: Machine) -> None:
    machine.run_canary()
    seen: list[bool] = []

    def why(host: Host) -> Finding:
        with pytest.raises(Busy), host.lock(wait_s=0.0):
            seen.append(False)
        seen.append(True)
        return Finding("manual", "asked")

    rollback.roll_back(machine.host, why)
    assert seen == [True]


def test_a_crashed_engine_is_not_an_operators_act(machine: Machine) -> None:
    machine.run_canary()
    machine.engine.n_restarts = 2
    assert rollback.trigger_of_unit(machine.host).trigger == "engine_restarted"


def cut_off(*_arguments: object, **_options: object) -> t.NoReturn:
    raise KeyboardInterrupt


def test_a_rollback_cut_off_after_the_file_restarts_the_engine(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine came up at a changed baseline file; the file is restored, and then somebody kills the rollback."""
    machine.arm()
    machine.baseline_path.write_text('{"xgb": 1.0}')
    machine.start_engine()
    with monkeypatch.context() as patch:
        patch.setattr(rollback, "_restore", cut_off)
        with pytest.raises(KeyboardInterrupt):
            rollback.roll_back(machine.host, Finding("reboot", ""))
    pid = machine.engine.pid
    outcome = rollback.roll_back(machine.host, Finding("reboot", ""))
    assert outcome.restarted
    assert machine.engine.pid != pid
    assert not machine.paths.restart_due.exists()
