# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The watchdog on a real host: whatever is done to a monitored canary, the host ends at a proven baseline."""

from __future__ import annotations

import pytest

from helpers.forms import cases
from helpers.plays import DROPIN, UNIT, Host, await_state, entries, play, process_variables, record

MASK = "/run/systemd/system.control"  # a unit whose file stands in /etc cannot be masked there

CASES = {
    "engine_restarted": f"systemctl kill -s KILL {UNIT}",
    "engine_down": f"systemctl stop {UNIT}",
    "engine_masked": f"mkdir -p {MASK}; ln -s /dev/null {MASK}/{UNIT}; systemctl daemon-reload",
    "dropin_removed": f"rm {DROPIN}",
    "dropin_changed": f"echo '# by hand' >> {DROPIN}",
    "environment_changed": "echo 'QSC_CANARY_TRAFFIC=0.90' >> /run/qsc_canary/engine.env",
    "weights_changed": "echo '{}' > /var/lib/qsc_canary/weights.json",
    "timer_stopped": "systemctl stop qsc-monitor.timer",
    "verdict_unreadable": "systemctl stop qsc-monitor.service; "
    "mv /var/lib/qsc_canary/monitor /var/lib/qsc_canary/aside; mkdir -p /var/lib/qsc_canary/monitor/verdict.json",
    "telemetry_lost": "systemctl kill -s STOP redis-server.service",
    "record_unreadable": "echo '{' > /var/lib/qsc_canary/record.json",
}
UNDO = {
    "engine_masked": f"rm {MASK}/{UNIT}; systemctl daemon-reload",
    "verdict_unreadable": "cd /var/lib/qsc_canary && rm -rf monitor && mv aside monitor",
    "telemetry_lost": "systemctl kill -s CONT redis-server.service",
}


FAST = ("engine_down", "weights_changed", "telemetry_lost")


@pytest.mark.parametrize("trigger", cases(CASES, FAST))
def test_what_is_wrong_ends_the_run(host: Host, trigger: str) -> None:
    done = play("activate", host, model="patchtst", qsc_canary_redis_timeout=0.5)
    assert done.rc == 0, done.output
    canary = record(host)["id"]
    try:
        host.run(CASES[trigger])
        if trigger == "engine_masked":
            # a masked unit cannot be proven again: the run is on its way back, and ends when the mask is gone
            await_state(host, "rolling_back", "rolled_back", timeout=60)
            host.run(UNDO[trigger])
        if trigger == "record_unreadable":
            host.wait("the canary is gone", f"! test -e {DROPIN} && ! test -e /run/qsc_canary/engine.env", timeout=60)
            told = 'grep -q \'"trigger": "record_unreadable"\' /var/log/qsc_canary/qsc_canary.jsonl'
            host.wait("the ledger tells it", told, timeout=60)
            [entry] = [entry for entry in entries(host, "") if entry["trigger"] == "record_unreadable"]
            assert entry["proof"]["unit"] == UNIT
        else:
            ended = await_state(host, "rolled_back", timeout=90)
            assert (ended["id"], ended["outcome"]) == (canary, "terminated")
            assert ended["trigger"] == trigger, ended["reason"]
            executed = [entry for entry in entries(host, canary) if entry["action"] == "rollback_executed"]
            assert len(executed) == 1
    finally:
        host.run(UNDO.get(trigger, "true"))
    assert process_variables(host) == {}
    assert not host.exists(DROPIN)


def test_a_deliberate_restart_is_proven_again(host: Host) -> None:
    done = play("activate", host, model="patchtst")
    assert done.rc == 0, done.output
    before = record(host)
    host.run(f"systemctl restart {UNIT}")
    host.wait("the restart is proven", "grep -q engine_restart_proven /var/log/qsc_canary/qsc_canary.jsonl", timeout=60)
    now = record(host)
    assert (now["state"], now["id"]) == ("active", before["id"])
    assert now["engine"]["invocation_id"] != before["engine"]["invocation_id"]
    assert process_variables(host)["QSC_CANARY_MODEL"] == "patchtst"


@pytest.mark.slow
def test_a_silent_monitor_ends_the_run(host: Host) -> None:
    """A monitor that hangs in every check, timer running: count heartbeats, not failures."""
    folder = "/run/systemd/system/qsc-monitor.service.d"
    done = play("activate", host, model="patchtst")
    assert done.rc == 0, done.output
    try:
        host.run(
            f"mkdir -p {folder}; printf '[Unit]\\nConditionPathExists=/nowhere\\n' > {folder}/skip.conf; "
            "systemctl daemon-reload"
        )
        ended = await_state(host, "rolled_back", timeout=60)
        assert ended["trigger"] == "monitor_silent", ended["reason"]
    finally:
        host.run(f"rm -rf {folder}; systemctl daemon-reload")
    assert process_variables(host) == {}


def test_a_failing_monitor_ends_the_run_at_once(host: Host) -> None:
    """A monitor that cannot even start is a failure: OnFailure fires the rollback."""
    folder = "/run/systemd/system/qsc-monitor.service.d"
    done = play("activate", host, model="patchtst")
    assert done.rc == 0, done.output
    try:
        text = "[Service]\\nExecStart=\\nExecStart=/bin/sh -c 'exit 9'\\n"
        host.run(f'mkdir -p {folder}; printf "{text}" > {folder}/bad.conf; systemctl daemon-reload')
        ended = await_state(host, "rolled_back", timeout=60)
        assert ended["trigger"] == "monitor_failed", ended["reason"]
        assert "exit status 9" in ended["reason"]
    finally:
        host.run(f"rm -rf {folder}; systemctl daemon-reload; systemctl reset-failed qsc-monitor.service")
    assert process_variables(host) == {}
