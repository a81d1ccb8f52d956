# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Commands around a restart, on a real host: they succeed, fail, hang, and are owed by a play that was killed."""

from __future__ import annotations

import json
import signal
import typing as t

import pytest

from helpers.plays import (
    BASELINE,
    CANARY_WEIGHTS,
    DROPIN,
    Host,
    RunningPlay,
    await_state,
    entries,
    fingerprint,
    ledger,
    play,
    process_variables,
    record,
)

PAUSE, GO_ON, LOG = "/usr/local/bin/qsc-test-pause", "/usr/local/bin/qsc-test-go-on", "/run/qsc-test-hooks"
HOOKS: dict[str, t.Any] = {
    "qsc_canary_pre_restart": f"{PAUSE} 'all entries' $HOME",
    "qsc_canary_post_restart": GO_ON,
    "qsc_canary_hook_timeout_seconds": 4,
    # plays keep a machine busy for minutes here: a pause of the engine meanwhile is not what is shown
    "qsc_canary_stale_after": 30,
    "qsc_canary_limits": {"start_grace": 30},
}
ENGINE = "systemctl show -P MainPID quantum-ai_engine.service"
WRITES = f"""#!/bin/sh
echo "$QSC_CANARY_HOOK $QSC_CANARY_EVENT $QSC_CANARY_MODEL $QSC_CANARY_TRAFFIC $({ENGINE}) $*" >> {LOG}
"""


def _program(host: Host, path: str, then: str = "") -> None:
    host.write(path, WRITES + then)
    host.run(f"chown root:root {path}; chmod 0755 {path}")


@pytest.fixture
def hooked(host: Host) -> Host:
    """A host with two programs that write down that they ran."""
    host.run(f"rm -f {LOG}")
    _program(host, PAUSE)
    _program(host, GO_ON)
    return host


def _ran(host: Host) -> list[list[str]]:
    """[hook, event, model, share, pid of the engine, arguments] of each run."""
    text = host.run(f"cat {LOG} 2>/dev/null || true").stdout
    return [line.split(" ", 5) for line in text.splitlines()]


def _pid(host: Host) -> str:
    return host.output(ENGINE)


def test_they_stand_around_each_restart(hooked: Host) -> None:
    before = _pid(hooked)
    shown = play("activate", hooked, options=("--check",), model="patchtst", **HOOKS)
    assert shown.rc == 0, shown.output
    assert _ran(hooked) == []
    done = play("activate", hooked, model="patchtst", **HOOKS)
    assert done.rc == 0, done.output
    canary = _pid(hooked)
    assert _ran(hooked) == [
        ["pre_restart", "activate", "patchtst", "0.10", before, "all entries $HOME"],
        ["post_restart", "activate", "patchtst", "0.10", canary, ""],
    ]
    [entry] = [entry for entry in entries(hooked, record(hooked)["id"]) if entry["action"] == "canary_activated"]
    assert entry["delivery"] == "restart" and 0 < entry["downtime_s"] < 20
    assert f"the restart took {entry['downtime_s']:g} s" in done.flat()
    again = play("activate", hooked, model="patchtst", **HOOKS)
    assert (again.rc, again.changed) == (0, 0), again.output
    assert len(_ran(hooked)) == 2
    hooked.run("qsc rollback --reason 'a test'")
    ran = _ran(hooked)[2:]
    assert [(line[0], line[1], line[4]) for line in ran] == [
        ("pre_restart", "rollback", canary), ("post_restart", "rollback", _pid(hooked)),
    ]  # fmt: skip
    [entry] = [entry for entry in entries(hooked, record(hooked)["id"]) if entry["action"] == "rollback_executed"]
    assert 0 < entry["downtime_s"] < 20
    told = [entry for entry in ledger(hooked) if entry["action"] == "hook_run"][-4:]
    assert [entry["exit_status"] for entry in told] == [0, 0, 0, 0]
    assert "all entries" not in json.dumps(told)
    hooked.run("qsc rollback")
    assert len(_ran(hooked)) == 4, "nothing is restarted, nothing is paused"


@pytest.mark.parametrize(
    ("then", "words"),
    [
        ("echo no exchange; exit 3\n", "the pre-restart hook failed with status 3 (no exchange)"),
        pytest.param(
            "sleep 600 &\nsleep 601\n",
            "the pre-restart hook did not end within 4 s and was stopped",
            marks=pytest.mark.slow,
        ),
    ],
    ids=["fails", "hangs"],
)
def test_a_pre_restart_hook_that_does_not_succeed_stops_the_activation(hooked: Host, then: str, words: str) -> None:
    _program(hooked, PAUSE, then)
    before = fingerprint(hooked)
    done = play("activate", hooked, model="patchtst", **HOOKS)
    assert done.rc != 0, done.output
    assert words in done.flat()
    assert "the post-restart hook then succeeded" in done.flat()
    assert fingerprint(hooked) == before
    assert [line[0] for line in _ran(hooked)] == ["pre_restart", "post_restart"]
    assert hooked.run("pgrep -f 'sleep 60[01]'", check=False).returncode == 1, "its children are gone with it"


def test_hooks_that_fail_or_hang_stop_no_rollback(hooked: Host) -> None:
    done = play("activate", hooked, model="patchtst", **HOOKS)
    assert done.rc == 0, done.output
    _program(hooked, PAUSE, "sleep 600\n")
    _program(hooked, GO_ON, "exit 7\n")
    hooked.engine("mode", "dead_zone", "rate=300")
    ended = await_state(hooked, "rolled_back", timeout=60)
    assert (ended["outcome"], ended["trigger"]) == ("violated", "qsc_monitor_violation")
    assert process_variables(hooked) == {}
    [entry] = [entry for entry in entries(hooked, ended["id"]) if entry["action"] == "rollback_executed"]
    assert "the pre-restart hook did not end within 4 s and was stopped" in " ".join(entry["notes"])
    assert "the post-restart hook failed with status 7" in " ".join(entry["notes"])
    assert f"the post-restart hook ({GO_ON}) has failed" in hooked.run("qsc status", check=False).stdout
    _program(hooked, GO_ON)
    hooked.wait("the watchdog runs it again", "! test -e /var/lib/qsc_canary/hook_open.json", timeout=60)
    assert "has failed" not in hooked.run("qsc status", check=False).stdout


@pytest.mark.slow
def test_what_a_killed_play_has_paused_goes_on(hooked: Host) -> None:
    running = RunningPlay("activate", hooked, model="patchtst", **HOOKS, qsc_canary_arming_timeout_seconds=40)
    running.wait_for("TASK [qsc.canary.qsc_canary : Restart the engine]", timeout=180)
    running.signal(signal.SIGKILL)
    running.end()
    await_state(hooked, "rolled_back", timeout=90)
    hooked.wait("nothing is due any more", "! test -e /var/lib/qsc_canary/hook_open.json", timeout=90)
    assert _ran(hooked)[-1][0] == "post_restart"


@pytest.mark.slow
def test_a_program_that_others_can_change_is_refused(hooked: Host) -> None:
    hooked.run(f"chmod 0777 {PAUSE}")
    before = fingerprint(hooked)
    done = play("activate", hooked, model="patchtst", **HOOKS)
    assert done.rc != 0
    assert f"qsc_canary_pre_restart: {PAUSE} can be changed by others than root" in done.flat()
    assert f"Run: chown root:root {PAUSE} && chmod go-w {PAUSE}" in done.flat()
    assert fingerprint(hooked) == before


def test_an_engine_that_reloads_is_not_restarted_on_the_way_in(hooked: Host) -> None:
    before = _pid(hooked)
    command = "/usr/bin/systemctl kill -s HUP quantum-ai_engine.service"
    extra = {**HOOKS, "qsc_canary_reload_command": command}
    done = play("activate", hooked, model="patchtst", **extra)
    assert done.rc == 0, done.output
    assert _pid(hooked) == before
    assert _ran(hooked) == [], "hooks stand around a restart"
    assert json.loads(hooked.engine("status"))["weights"] == CANARY_WEIGHTS
    assert "runs the canary" in hooked.run("qsc status").stdout
    again = play("activate", hooked, model="patchtst", **extra)
    assert (again.rc, again.changed) == (0, 0), again.output
    canary = record(hooked)
    assert (canary["state"], canary["delivery"]) == ("active", "reload")
    hooked.engine("mode", "dead_zone", "rate=300")
    ended = await_state(hooked, "rolled_back", timeout=60)
    assert (ended["id"], ended["outcome"]) == (canary["id"], "violated")
    assert _pid(hooked) != before
    assert json.loads(hooked.engine("status"))["weights"] == BASELINE
    assert not hooked.exists(DROPIN)


@pytest.mark.slow
def test_an_engine_that_does_not_take_part_in_a_reload_goes_back(hooked: Host) -> None:
    before = _pid(hooked)
    done = play(
        "activate", hooked, model="patchtst", qsc_canary_reload_command="/usr/bin/true",
        qsc_canary_accept_unproven=True,
    )  # fmt: skip
    assert done.rc != 0
    assert "no proof that quantum-ai_engine.service uses the canary's weights" in done.flat()
    assert "BACK AT THE BASELINE" in done.flat()
    assert _pid(hooked) != before, "what it holds in its memory nobody knows"
