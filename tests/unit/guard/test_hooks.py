# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hooks around a restart: what one that fails stops and what it does not, and that what was paused goes on again.

The host is one in memory, and so is systemd-run; the real one is tested on the test hosts.
"""

from __future__ import annotations

import json
import os
import typing as t
from dataclasses import replace
from pathlib import Path

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc import steps
from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import BadInput, NotProven, Refused
from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard import (
    hooks,
    promotion,
    rollback,
    status,
    systemd,
    watchdog,
)  # fmt: skip
from ansible_collections.qsc.canary.plugins.module_utils.qsc.settings import Settings
from ansible_collections.qsc.canary.plugins.module_utils.qsc.tell.status import status_lines
from helpers.machine import Machine

PRE, POST, RELOAD = "/opt/pause", "/opt/go-on", "/opt/reload"
HOOKS = {"pre_restart": f"{PRE} 'all entries'", "post_restart": POST, "hook_timeout_s": 20.0}
ABOUT = hooks.About("activate", "", "patchtst", 0.1)
Make = t.Callable[..., Machine]


@pytest.fixture
def hooked(make_machine: Make, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(hooks, "check", lambda _host: None)
    return make_machine(**HOOKS)


def programs(machine: Machine) -> list[str]:
    return [program for program, _variables in machine.commands]


# --- an operator's step


def test_around_a_restart(hooked: Machine) -> None:
    assert hooks.before_restart(hooked.host, ABOUT) is not None
    assert hooked.paths.hook_open.exists()
    assert hooks.line(t.cast("hooks.Due", hooks.due(hooked.host))) == "", "while it is under way nothing is wrong"
    ran = hooks.after_restart(hooked.host)
    assert ran is not None and ran.exit_status == 0
    assert not hooked.paths.hook_open.exists()
    assert hooks.after_restart(hooked.host) is None, "nothing is due any more"
    assert programs(hooked) == [PRE, POST]
    assert hooked.commands[0][1] == {
        "QSC_CANARY_HOOK": "pre_restart", "QSC_CANARY_EVENT": "activate", "QSC_CANARY_ID": "",
        "QSC_CANARY_MODEL": "patchtst", "QSC_CANARY_TRAFFIC": "0.10",
    }  # fmt: skip
    told = hooked.ledger("hook_run")
    assert [(entry["hook"], entry["program"], entry["exit_status"]) for entry in told] == [
        ("pre_restart", PRE, 0), ("post_restart", POST, 0),
    ]  # fmt: skip
    assert "all entries" not in json.dumps(told), "arguments are the operator's own"


@pytest.mark.parametrize(
    ("ends", "words"), [(3, "failed with status 3 (no exchange)"), (124, "did not end within 20 s and was stopped")]
)
def test_a_pre_restart_hook_that_fails_stops_the_step_and_is_undone(hooked: Machine, ends: int, words: str) -> None:
    hooked.exit_status[PRE] = ends
    with pytest.raises(Refused) as failure:
        hooks.before_restart(hooked.host, ABOUT)
    assert f"the pre-restart hook {words}" in str(failure.value)
    assert "the post-restart hook then succeeded" in str(failure.value)
    assert "qsc_canary_pre_restart" in failure.value.remedy
    assert programs(hooked) == [PRE, POST]
    assert not hooked.paths.hook_open.exists()


def test_a_post_restart_hook_that_fails_stays_due_and_is_shown(hooked: Machine) -> None:
    hooks.before_restart(hooked.host, ABOUT)
    hooked.exit_status[POST] = 1
    ran = hooks.after_restart(hooked.host)
    assert ran is not None
    assert "what was paused may still be paused" in hooks.failed(ran, hooked.host)
    facts = status.gather(hooked.host)
    assert f"the post-restart hook ({POST}) has failed 1 times since 20" in facts["hook"]
    assert any(line.startswith("hook ") for line in status_lines(facts))
    assert watchdog.run(hooked.host)[0] == 0
    assert programs(hooked) == [PRE, POST, POST], "the watchdog tries it again"
    hooked.exit_status[POST] = 0
    assert "the post-restart hook that was due has run" in watchdog.run(hooked.host)[1]
    assert not hooked.paths.hook_open.exists()
    watchdog.run(hooked.host)
    assert len(hooked.commands) == 4


def test_the_watchdog_gives_up_on_a_hook_that_always_fails_but_goes_on_saying_so(hooked: Machine) -> None:
    hooks.before_restart(hooked.host, ABOUT)
    hooked.exit_status[POST] = 1
    hooks.after_restart(hooked.host)
    for _number in range(hooks.MOST_TRIES + 5):
        hooked.time.sleep(30)
        watchdog.run(hooked.host)
    assert programs(hooked).count(POST) == hooks.MOST_TRIES
    assert f"failed {hooks.MOST_TRIES} times" in status.gather(hooked.host)["hook"]


# --- who paused is killed


def test_what_a_killed_play_paused_goes_on(hooked: Machine) -> None:
    hooks.before_restart(hooked.host, ABOUT)
    hooked.time.sleep(75)
    watchdog.run(hooked.host)
    assert programs(hooked) == [PRE], "the play may still come to it"
    hooked.time.sleep(10)
    assert watchdog.run(hooked.host)[1] == ["the post-restart hook that was due has run"]
    assert programs(hooked) == [PRE, POST]


def test_nothing_goes_on_while_the_restart_is_still_to_come(hooked: Machine) -> None:
    hooks.before_restart(hooked.host, ABOUT)
    hooked.arm()
    hooked.time.sleep(200)
    watchdog.run(hooked.host)
    assert programs(hooked) == [PRE]


def test_a_reboot_in_between(hooked: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    hooks.before_restart(hooked.host, ABOUT)
    due = hooks.due(hooked.host)
    assert due is not None
    hooked.paths.hook_open.write_text(
        hooked.paths.hook_open.read_text().replace(due.boot_id, "00000000-0000-0000-0000-000000000000")
    )
    watchdog.run(hooked.host)
    assert programs(hooked) == [PRE, POST]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"about": 1}', '{"timeout_s": 1e999}'])
def test_a_mark_that_cannot_be_read_is_due(hooked: Machine, content: str) -> None:
    hooked.paths.hook_open.write_text(content)
    watchdog.run(hooked.host)
    assert programs(hooked) == [POST]
    assert not hooked.paths.hook_open.exists()


@pytest.mark.parametrize("during", [PRE, POST])
def test_a_play_that_pauses_while_another_step_ends_stays_due(
    hooked: Machine, monkeypatch: pytest.MonkeyPatch, during: str
) -> None:
    """The hooks of two plays, or of a play and a rollback, run into each other."""
    hooks.before_restart(hooked.host, ABOUT)
    run, other = systemd.run_command, []

    def meet(argv: t.Sequence[str], **options: t.Any) -> systemd.Ran:
        ran = run(argv, **options)
        if argv[0] == during and not other:
            other.append(during)
            (hooks.after_restart if during == PRE else lambda host: hooks.before_restart(host, ABOUT))(hooked.host)
        return ran

    monkeypatch.setattr(systemd, "run_command", meet)
    if during == PRE:  # the second play pauses, and the first one ends before that is over
        hooks.before_restart(hooked.host, ABOUT)
    else:  # the first play ends, and the second one pauses before that is over
        hooks.after_restart(hooked.host)
    assert hooked.paths.hook_open.exists(), "the second play is still to come to its end"
    hooks.after_restart(hooked.host)
    assert programs(hooked)[-1] == POST
    assert not hooked.paths.hook_open.exists()


# --- a rollback


def test_a_rollback_runs_them_too_after_the_way_to_the_canary_is_gone(hooked: Machine) -> None:
    hooked.run_canary()
    rollback.roll_back(hooked.host, rollback.Finding("manual", "test"))
    hooked.check_baseline()
    order = [event for event in hooked.events if event.startswith(("hook", "restart"))]
    assert order == [f"hook {PRE}", "restart quantum-ai_engine.service", f"hook {POST}"], "a restart without +env"
    assert hooked.commands[0][1]["QSC_CANARY_EVENT"] == "rollback"
    assert not hooked.paths.hook_open.exists()


@pytest.mark.parametrize("program", [PRE, POST])
@pytest.mark.parametrize("ends", [1, 124])
def test_no_hook_stops_a_rollback(hooked: Machine, program: str, ends: int) -> None:
    hooked.run_canary()
    hooked.exit_status[program] = ends
    outcome = rollback.roll_back(hooked.host, rollback.Finding("manual", "test"))
    hooked.check_baseline()
    assert hooked.record().state == "rolled_back"
    assert any("-restart hook" in note for note in outcome.notes)
    assert hooked.paths.hook_open.exists() == (program == POST)


def test_hooks_that_cannot_be_run_at_all_stop_no_rollback(hooked: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    hooked.run_canary()

    def broken(*_arguments: object, **_options: object) -> t.NoReturn:
        raise RuntimeError("nobody thought of this")

    monkeypatch.setattr(systemd, "run_command", broken)
    monkeypatch.setattr(hooks, "write_json", broken)
    with pytest.raises(RuntimeError):  # the mark: a defect of ours, which the unit tries again
        rollback.roll_back(hooked.host, rollback.Finding("manual", "test"))
    monkeypatch.setattr(hooks, "write_json", lambda *_arguments: None)
    rollback.roll_back(hooked.host, rollback.Finding("manual", "test"))
    hooked.check_baseline()


def test_a_full_disk_does_not_keep_the_post_restart_hook_from_running(
    hooked: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooked.run_canary()

    def full(*_arguments: object) -> t.NoReturn:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(hooks, "write_json", full)
    rollback.roll_back(hooked.host, rollback.Finding("manual", "test"))
    hooked.check_baseline()
    assert programs(hooked) == [PRE, POST]


def test_a_rollback_that_is_tried_again_pauses_once(hooked: Machine) -> None:
    hooked.run_canary()
    hooked.leaked = {"QSC_CANARY_MODEL": "patchtst"}
    for _number in range(2):
        with pytest.raises(NotProven):
            rollback.roll_back(hooked.host, rollback.Finding("manual", "test"))
    hooked.leaked = {}
    rollback.roll_back(hooked.host, rollback.Finding("manual", "test"))
    assert programs(hooked) == [PRE, POST]


def test_what_a_killed_play_paused_goes_on_with_the_rollback_that_ends_its_run(hooked: Machine) -> None:
    hooks.before_restart(hooked.host, ABOUT)
    hooked.arm()  # and killed before the restart: the engine has never left its baseline
    rollback.roll_back(hooked.host, rollback.Finding("arming_expired", "test"))
    hooked.check_baseline()
    assert programs(hooked) == [PRE, POST]
    assert not hooked.paths.hook_open.exists()


def test_a_rollback_that_was_killed_after_its_restart_closes_its_hook_with_the_next_try(
    hooked: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooked.run_canary()

    def killed(name: str) -> None:
        if name == "back.post_hook":
            raise KeyboardInterrupt

    monkeypatch.setattr(steps, "listener", killed)
    with pytest.raises(KeyboardInterrupt):
        rollback.roll_back(hooked.host, rollback.Finding("manual", "test"))
    monkeypatch.setattr(steps, "listener", None)
    assert programs(hooked) == [PRE]
    outcome = rollback.roll_back(hooked.host, rollback.Finding("manual", "test"))
    hooked.check_baseline()
    assert (outcome.restarted, programs(hooked)) == (False, [PRE, POST])


def test_a_mark_that_cannot_be_removed_stops_no_rollback(hooked: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    hooked.arm()
    hooked.paths.hook_open.write_text("{")
    host = replace(hooked.host, settings=replace(hooked.host.settings, post_restart=""))

    def readonly(_path: Path) -> t.NoReturn:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(hooks, "remove", readonly)
    outcome = rollback.roll_back(host, rollback.Finding("arming_expired", "test"))
    hooked.check_baseline()
    assert any("Read-only file system" in note for note in outcome.notes)


def test_nothing_to_restart_nothing_to_pause(hooked: Machine) -> None:
    rollback.roll_back(hooked.host, rollback.Finding("manual", "test"))
    assert hooked.commands == []


# --- a promotion


def test_a_promotion_is_not_begun_when_its_hook_fails(hooked: Machine) -> None:
    host = replace(hooked.host, settings=replace(hooked.host.settings, steps=(0.1,)))
    hooked.run_canary()
    safe = hooked.make_safe()
    hooked.exit_status[PRE] = 1
    before = hooked.engine.pid
    with pytest.raises(Refused, match="the pre-restart hook failed"):
        promotion.promote(host, hooked.promotion())
    assert (hooked.record(), hooked.engine.pid) == (safe, before)
    assert hooked.runs_canary
    hooked.exit_status.clear()
    hooked.commands.clear()
    promotion.promote(host, hooked.promotion())
    assert hooked.record().state == "promoted"
    assert programs(hooked) == [PRE, POST]


# --- what may be a hook


@pytest.mark.parametrize("option", ["pre_restart", "post_restart", "reload_command"])
@pytest.mark.parametrize(
    ("value", "words"), [("pause", "absolute path"), ("/opt/x 'y", "not a command"), ("a\nb", "line of text")]
)
def test_commands_that_are_none(option: str, value: str, words: str) -> None:
    with pytest.raises(BadInput, match=words) as failure:
        Settings.from_dict({option: value})
    assert failure.value.message.startswith(option)


def _program(folder: Path, mode: int = 0o755) -> Path:
    path = folder / "hook"
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return path


@pytest.mark.skipif(os.geteuid() != 0, reason="ownership by root is what is checked")
def test_what_others_can_change_does_not_run_as_root(make_machine: Make, tmp_path: Path) -> None:
    folder = tmp_path / "programs"
    folder.mkdir(mode=0o755)
    machine = make_machine(pre_restart=str(_program(folder)))

    def refuse(words: str, error: type[Exception] = Refused) -> None:
        with pytest.raises(error, match=words):
            hooks.check(machine.host)

    real = hooks.Path
    bus = real("/run/dbus/system_bus_socket").exists()
    if bus:
        hooks.check(machine.host)
    else:
        refuse("system bus")
    _program(folder, 0o775)
    refuse("can be changed by others than root")
    _program(folder)
    os.chown(folder / "hook", 65534, 0)
    refuse("can be changed by others than root")
    os.chown(folder / "hook", 0, 0)
    folder.chmod(0o777)
    refuse("can be changed by others than root")
    folder.chmod(0o755)
    _program(folder, 0o644)
    refuse("is not an executable file", BadInput)
    (folder / "hook").unlink()
    refuse("cannot be run on this host: No such file", BadInput)


# --- a reload


def reloaded(machine: Machine) -> None:
    """The engine takes the weights in the process that runs."""
    armed = machine.arm()
    machine.write_dropin()
    hooks.run_reload(machine.host, hooks.about_run(armed, "activate"))
    acknowledge(machine)
    machine.activate(armed)
    machine.write_verdict()
    machine.events.clear()


def acknowledge(machine: Machine) -> None:
    import hashlib

    digest = hashlib.sha256(machine.paths.weights.read_bytes()).hexdigest()
    machine.paths.ack.write_text(json.dumps({"pid": machine.engine.pid, "sha256": digest}))


@pytest.fixture
def reloading(make_machine: Make, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(hooks, "check", lambda _host: None)
    return make_machine(reload_command=RELOAD)


def test_a_reload_activates_without_a_restart_and_goes_back_by_one(reloading: Machine) -> None:
    process = reloading.engine.pid
    reloaded(reloading)
    assert (reloading.engine.pid, reloading.record().state, reloading.record().delivery) == (
        process,
        "active",
        "reload",
    )
    [entry] = reloading.ledger("canary_activated")
    assert (entry["delivery"], entry["downtime_s"]) == ("reload", 0.0)
    assert status.gather(reloading.host)["proof"]["state"] == "canary"
    watchdog.watch(reloading.host)
    assert reloading.record().state == "active"
    rollback.roll_back(reloading.host, rollback.Finding("manual", "test"))
    reloading.check_baseline()
    assert reloading.engine.pid != process, "what is in the memory of a process no fact about it shows"
    assert not reloading.paths.restart_due.exists()


def test_an_engine_that_does_not_acknowledge_a_reload_is_not_proven(reloading: Machine) -> None:
    host = replace(reloading.host, settings=replace(reloading.host.settings, accept_unproven=True))
    reloading.host = host
    armed = reloading.arm()
    reloading.write_dropin()
    hooks.run_reload(host, hooks.about_run(armed, "activate"))
    with pytest.raises(NotProven, match="no proof"):
        reloading.activate(armed)
    rollback.roll_back(host, rollback.Finding("activation_failed", "test"))
    reloading.check_baseline()


def test_a_reload_that_fails_is_taken_back_by_a_restart(reloading: Machine) -> None:
    process = reloading.engine.pid
    armed = reloading.arm()
    reloading.write_dropin()
    reloading.exit_status[RELOAD] = 1
    with pytest.raises(Refused, match="qsc_canary_reload_command failed with status 1"):
        hooks.run_reload(reloading.host, hooks.about_run(armed, "activate"))
    rollback.roll_back(reloading.host, rollback.Finding("activation_failed", "test"))
    assert reloading.engine.pid != process, "perhaps it has loaded them"


def test_an_engine_that_was_restarted_instead(reloading: Machine) -> None:
    armed = reloading.arm()
    reloading.write_dropin()
    reloading.start_engine()
    with pytest.raises(NotProven, match="was restarted while it was to be reloaded"):
        reloading.activate(armed)


def test_a_deliberate_restart_of_a_reloaded_engine_is_proven_by_its_process(reloading: Machine) -> None:
    reloaded(reloading)
    reloading.time.sleep(60)
    reloading.write_verdict()
    reloading.start_engine()
    watchdog.watch(reloading.host)
    assert (reloading.record().state, reloading.record().delivery) == ("active", "restart")
    assert reloading.runs_canary


def test_a_lost_record_of_a_reloaded_engine_is_no_proof_of_the_baseline(reloading: Machine) -> None:
    reloaded(reloading)
    process = reloading.engine.pid
    reloading.paths.record.write_text("{")
    assert "restart quantum-ai_engine.service" in rollback.pending(reloading.host)
    rollback.roll_back(reloading.host, rollback.Finding("record_unreadable", "test"))
    reloading.check_baseline()
    assert reloading.engine.pid != process
