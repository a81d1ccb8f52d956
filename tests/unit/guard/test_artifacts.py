# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model that is retrained in mid-run is another model: the run ends at the baseline, whatever it was found to be."""

from __future__ import annotations

import hashlib
import os
import typing as t
from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc import own_checks
from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import RecordUnreadable, Refused
from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard import activation, artifacts, rollback, watchdog
from ansible_collections.qsc.canary.plugins.module_utils.qsc.record import parse
from helpers.machine import Machine

CONTENT = b"weights of a network" * 1000


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "patchtst.pt"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def told(machine: Machine, model: Path) -> Machine:
    """A host that knows the file its model is loaded from."""
    return knowing(machine, model)


def knowing(machine: Machine, *paths: Path, **settings: t.Any) -> Machine:
    named = [str(path) for path in paths]
    machine.host = replace(machine.host, settings=replace(machine.host.settings, model_artifacts=named, **settings))
    return machine


def look(machine: Machine) -> list[str]:
    machine.time.sleep(30)
    machine.write_verdict()
    return watchdog.watch(machine.host)


def test_the_record_holds_the_digest_of_before_the_restart(told: Machine, model: Path) -> None:
    record = told.run_canary()
    [item] = record.artifacts
    assert (item["path"], item["sha256"]) == (str(model), hashlib.sha256(CONTENT).hexdigest())
    for _number in range(3):
        assert look(told) == []
    assert parse(told.record().to_dict()).artifacts


def _renamed(path: Path) -> None:
    other = path.with_suffix(".new")
    other.write_bytes(CONTENT[::-1])
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.replace(path)


def _same_times(path: Path) -> None:
    before = path.stat()
    path.write_bytes(CONTENT[::-1])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES: t.Mapping[str, t.Callable[[Path], object]] = {
    "retrained": lambda path: path.write_bytes(b"another network"),
    "of the same size": lambda path: path.write_bytes(CONTENT[::-1]),
    "replaced by a rename": _renamed,
    "of the same size and time": _same_times,
    "removed": lambda path: path.unlink(),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a fifo": lambda path: (path.unlink(), os.mkfifo(path)),
}


@pytest.mark.parametrize("outcome", ["", "safe"])
@pytest.mark.parametrize("case", CHANGES)
def test_a_change_ends_the_run_at_the_baseline(told: Machine, model: Path, case: str, outcome: str) -> None:
    told.run_canary()
    if outcome:
        told.make_safe()
    CHANGES[case](model)
    notes = look(told)
    assert told.events == ["start qsc-rollback.service"]
    record = told.record()
    assert (record.state, record.trigger, record.outcome) == ("rolling_back", "model_changed", "inconclusive")
    assert record.reason.startswith(f"patchtst's file {model} ")
    assert any(record.reason in note for note in notes)
    rollback.roll_back(told.host, rollback.trigger_of_unit)
    assert told.record().state == "rolled_back"
    assert not told.runs_canary


def test_the_reason_says_when(told: Machine, model: Path) -> None:
    told.run_canary()
    model.write_bytes(b"another")
    os.utime(model, (0, 0))  # a tool that keeps times: when it came to its place counts
    look(told)
    changed = artifacts.timestamp(model.stat().st_ctime)
    assert told.record().reason == f"patchtst's file {model} changed at {changed}: this is another model"


def test_hold_and_extend_do_not_keep_it(machine: Machine, model: Path) -> None:
    told = knowing(machine, model, inconclusive="hold")
    told.run_canary()
    model.write_bytes(b"another")
    look(told)
    assert (told.record().state, told.record().outcome) == ("rolling_back", "inconclusive")


def test_a_violation_counts_before_it(told: Machine, model: Path) -> None:
    from helpers.samples import COLLAPSE

    told.run_canary()
    model.write_bytes(b"another")
    told.time.sleep(30)
    told.write_verdict(verdict="violation", status="NO-GO", violations=(COLLAPSE,), message="HOLD=78.3%")
    watchdog.watch(told.host)
    assert (told.record().trigger, told.record().outcome) == ("qsc_monitor_violation", "violated")


def test_only_what_differs_is_read_again_and_only_once(
    told: Machine, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told.run_canary()
    read: list[str] = []
    digest = artifacts._digest

    def counting(path: str, end: float) -> t.Any:
        read.append(path)
        return digest(path, end)

    monkeypatch.setattr(artifacts, "_digest", counting)
    look(told), look(told)
    assert read == []
    model.touch()
    look(told), look(told), look(told)
    assert read == [str(model)]
    assert told.record().state == "active"
    artifacts.look(told.host, told.record())
    told.paths.artifacts_seen.write_bytes(b"{")  # a damaged note is none
    look(told)
    assert (read, told.record().state) == ([str(model)] * 2, "active")


def test_looking_alone_writes_nothing(told: Machine, model: Path) -> None:
    record = told.run_canary()
    model.touch()
    watchdog.facts_now(told.host, record)
    assert not told.paths.artifacts_seen.exists()


def test_a_note_of_another_run_is_none(told: Machine, model: Path) -> None:
    told.run_canary()
    model.touch()
    look(told)
    note = told.paths.artifacts_seen.read_text().replace(told.record().id, "patchtst-of-before")
    told.paths.artifacts_seen.write_text(note)
    assert artifacts._remembered(told.host, told.record()) == {}


def test_what_cannot_be_read_in_time_is_refused_and_ends_a_run(
    told: Machine, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told.run_canary()
    monkeypatch.setattr(artifacts, "READING_S", -1.0)
    with pytest.raises(Refused, match="it takes longer than -1 s"):
        artifacts.taken([str(model)])
    model.touch()
    look(told)
    assert told.record().trigger == "model_changed"


def test_a_file_that_is_being_written_is_refused(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fstat, calls = os.fstat, []

    def growing(handle: int) -> os.stat_result:
        calls.append(handle)
        if len(calls) == 2:
            model.write_bytes(CONTENT + b"more")
        return fstat(handle)

    monkeypatch.setattr(artifacts.os, "fstat", growing)
    with pytest.raises(Refused, match="it is being written"):
        artifacts.taken([str(model)])


MISSING: t.Mapping[str, tuple[t.Callable[[Path], object], str]] = {
    "missing": (lambda path: path.unlink(), "cannot be read: No such file or directory"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "is a folder"),
    "a fifo": (lambda path: (path.unlink(), os.mkfifo(path)), "is not a regular file"),
}


@pytest.mark.parametrize("case", MISSING)
def test_without_the_file_there_is_no_activation(told: Machine, model: Path, case: str) -> None:
    change, words = MISSING[case]
    change(model)
    before = told.files()
    for attempt in (activation.preflight, activation.arm):
        with pytest.raises(Refused, match=f"model_artifacts: {model} {words}") as caught:
            attempt(told.host, told.request())
        assert caught.value.remedy
    assert told.files() == before


def test_a_raised_run_is_about_the_same_model(told: Machine, model: Path) -> None:
    """What was found safe is raised; what came since is not."""
    told.run_canary()
    safe = told.make_safe()
    plan = activation.Plan("raise", activation.plan_weights(dict(safe.baseline), "patchtst", 0.25), b"", safe, None)  # type: ignore[arg-type]
    model.write_bytes(b"another")
    found = activation.new_record(told.host, told.request(), replace(plan, engine=watchdog.systemd.show("x")))
    assert list(found.artifacts) == list(safe.artifacts)


@pytest.mark.parametrize("items", [["x"], [{"path": "/x"}], [{"path": "/x", "sha256": "a", "seen": [1]}], [{}]])
def test_a_damaged_record_is_unreadable(told: Machine, items: t.Any) -> None:
    told.run_canary()
    with pytest.raises(RecordUnreadable, match="artifacts"):
        parse({**told.record().to_dict(), "artifacts": items})


# Own checks: the root's part


@pytest.fixture
def checked(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A host with an own check of each kind."""
    monkeypatch.setattr(own_checks, "TRUSTED_UID", os.geteuid())
    for folder, name in ((machine.paths.checks, "pnl"), (machine.paths.wanted_checks, "odd")):
        folder.mkdir(parents=True, mode=0o755)
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    return knowing(machine, own_checks=True, check_timeout_s=3.0)


def test_the_run_knows_its_required_checks(checked: Machine) -> None:
    record = checked.run_canary()
    assert (list(record.own_checks), record.check_timeout_s) == (["pnl"], 3.0)


def test_without_own_checks_no_run_runs_any(machine: Machine) -> None:
    record = machine.run_canary()
    assert (list(record.own_checks), record.check_timeout_s) == ([], 0.0)


def refused(machine: Machine, *words: str) -> None:
    before = machine.files()
    for attempt in (activation.preflight, activation.arm):
        with pytest.raises(Refused) as caught:
            attempt(machine.host, machine.request())
        assert all(word in str(caught.value) for word in words), str(caught.value)
    assert machine.files() == before


@pytest.mark.parametrize("folder", ["checks", "wanted_checks"])
def test_one_that_others_can_change_is_refused(checked: Machine, folder: str) -> None:
    [path] = getattr(checked.paths, folder).iterdir()
    path.chmod(0o775)
    refused(checked, f"the own check {path} can be changed by others than root", f"chmod go-w {path}")


def test_a_monitor_that_was_not_told_of_them_is_refused(checked: Machine) -> None:
    refused(knowing(checked, own_checks=False), "pnl is an own check", "qsc_canary_own_checks: true")
