# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A controller that is killed or frozen after arming: the host returns to its baseline with no further command."""

from __future__ import annotations

import signal

import pytest

from helpers.forms import cases
from helpers.plays import (
    DROPIN,
    UNIT,
    Host,
    RunningPlay,
    await_state,
    entries,
    play,
    process_variables,
    record,
)

TASKS_AFTER_ARMING = ("Write the drop-in", "Restart the engine", "Mark the stream", "Prove the effect")


GONE = f"! test -e {DROPIN} && ! test -e /run/qsc_canary/engine.env"


@pytest.mark.parametrize("task", cases(TASKS_AFTER_ARMING, ("Restart the engine",)))
def test_a_killed_controller_ends_at_baseline(host: Host, task: str) -> None:
    running = RunningPlay("activate", host, model="patchtst", qsc_canary_arming_timeout_seconds=30)
    running.wait_for(f"TASK [qsc.canary.qsc_canary : {task}]")
    running.signal(signal.SIGKILL)
    running.end()
    canary = record(host)["id"]
    ended = await_state(host, "rolled_back", "active", timeout=60)
    if ended["state"] == "active":
        # the last step was already on the host when the controller died: committed, proven and monitored
        assert task == "Prove the effect"
        assert process_variables(host)["QSC_CANARY_MODEL"] == "patchtst"
        assert host.output("systemctl is-active qsc-monitor.timer") == "active"
        return
    assert (ended["id"], ended["trigger"], ended["outcome"]) == (canary, "arming_expired", "terminated")
    host.wait("drop-in and environment are gone", GONE, timeout=15)
    assert process_variables(host) == {}
    assert [entry["action"] for entry in entries(host, canary)] == ["rollback_executed"]


def test_a_play_frozen_past_the_deadline_cannot_activate(host: Host) -> None:
    running = RunningPlay("activate", host, model="patchtst", qsc_canary_arming_timeout_seconds=25)
    running.wait_for("TASK [qsc.canary.qsc_canary : Write the drop-in]")
    running.signal(signal.SIGSTOP)
    canary = record(host)["id"]
    ended = await_state(host, "rolled_back", timeout=60)
    assert ended["trigger"] == "arming_expired"
    running.signal(signal.SIGCONT)
    done = running.end()
    assert done.rc != 0, done.output
    assert "the host has moved on" in done.flat() or "was armed until" in done.flat(), done.output
    assert record(host)["state"] == "rolled_back"
    host.wait("drop-in and environment are gone", GONE, timeout=30)
    assert process_variables(host) == {}
    # whether the drop-in was written before the freeze or after it: the run was rolled back once
    assert [entry["action"] for entry in entries(host, canary)] == ["rollback_executed"]


@pytest.mark.slow
def test_an_inert_dropin_of_a_dead_play_is_removed(host: Host) -> None:
    """A play that is killed after it was frozen past its deadline leaves a drop-in that does nothing, and goes away."""
    host.run(f"mkdir -p {DROPIN.rsplit('/', 1)[0]}")
    host.write(DROPIN, "[Service]\nEnvironmentFile=-/run/qsc_canary/engine.env\n")
    host.run(f"systemctl daemon-reload; systemctl restart {UNIT}")
    assert process_variables(host) == {}
    host.wait("the watchdog removes the orphan", GONE, timeout=30)
    assert process_variables(host) == {}


def test_two_plays_at_once(host: Host) -> None:
    """One wins, the other is refused, and the host is proven at the winner's weights."""
    first = RunningPlay("activate", host, model="patchtst")
    second = RunningPlay("activate", host, model="nhits")
    results = [first.end(), second.end()]
    assert sorted(done.rc == 0 for done in results) == [False, True], "\n".join(done.output for done in results)
    loser = next(done for done in results if done.rc != 0)
    assert "is in flight" in loser.flat(), loser.output
    now = record(host)
    assert now["state"] == "active"
    assert process_variables(host)["QSC_CANARY_MODEL"] == now["model"]


@pytest.mark.parametrize("how", cases(["reboot", "power_cut"], ["power_cut"]))
def test_a_reboot_comes_up_at_baseline(host: Host, how: str) -> None:
    done = play("activate", host, model="patchtst")
    assert done.rc == 0, done.output
    canary = record(host)["id"]
    getattr(host, how)()
    assert process_variables(host) == {}
    ended = await_state(host, "rolled_back", timeout=60)
    assert (ended["id"], ended["trigger"], ended["outcome"]) == (canary, "reboot", "terminated")
    host.run(GONE)
    assert len([entry for entry in entries(host, canary) if entry["action"] == "rollback_executed"]) == 1
