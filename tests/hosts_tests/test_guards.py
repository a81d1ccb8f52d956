# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Guards that outlive a reboot, a rollback in vain, a freeze, a model that comes back, and a changed baseline."""

from __future__ import annotations

import json

import pytest
from qsc_hosts.errors import HostsError

from helpers.plays import (
    BASELINE_FILE,
    DROPIN,
    UNIT,
    Host,
    await_state,
    entries,
    fingerprint,
    ledger,
    play,
    process_variables,
    record,
)


def activate(host: Host, **extra: object) -> str:
    done = play("activate", host, model="patchtst", **extra)
    assert done.rc == 0, done.output
    return str(record(host)["id"])


def test_a_run_goes_on_after_a_reboot(host: Host) -> None:
    canary = activate(
        host, qsc_canary_on_reboot="resume", qsc_canary_stale_after=60, qsc_canary_limits={"start_grace": 60}
    )
    before = record(host)
    host.wait("a first check", "grep -q '\"checks_done\": [1-9]' /var/lib/qsc_canary/monitor/verdict.json", timeout=30)
    host.reboot()
    host.wait("the run is proven again", "grep -q '\"resuming\": false' /var/lib/qsc_canary/record.json", timeout=60)
    now = record(host)
    assert (now["id"], now["state"], now["resumed"]) == (canary, "active", 1)
    assert now["boot_id"] != before["boot_id"]
    assert process_variables(host)["QSC_CANARY_MODEL"] == "patchtst"
    assert host.output("systemctl is-active qsc-monitor.timer") == "active"
    boot = now["boot_id"].split("/")[1]
    host.wait("checks of this boot", f"grep -q {boot} /var/lib/qsc_canary/monitor/verdict.json", timeout=30)
    assert [entry["action"] for entry in entries(host, canary)] == [
        "canary_activated",
        "run_resumed",
        "engine_restart_proven",
    ]
    # and it is guarded as before
    host.engine("mode", "dead_zone", "rate=300")
    ended = await_state(host, "rolled_back", timeout=90)
    assert (ended["id"], ended["trigger"]) == (canary, "qsc_monitor_violation")
    assert process_variables(host) == {}


@pytest.mark.slow
def test_what_was_changed_while_the_host_was_down_does_not_go_on(host: Host) -> None:
    canary = activate(host, qsc_canary_on_reboot="resume")
    host.wait("a first check", "grep -q '\"checks_done\": [1-9]' /var/lib/qsc_canary/monitor/verdict.json", timeout=30)
    host.run("echo '{\"patchtst\": 1.0}' > /var/lib/qsc_canary/weights.json")
    host.power_cut()
    ended = await_state(host, "rolled_back", timeout=60)
    assert process_variables(host) == {}
    assert ended["id"] == canary
    assert ended["trigger"] in ("reboot", "weights_changed"), ended["reason"]  # whoever looks first
    assert len([one for one in entries(host, canary) if one["action"] == "rollback_executed"]) == 1


def test_a_rollback_in_vain_calls_a_human_and_waits_for_one(host: Host) -> None:
    canary = activate(host, qsc_canary_page_after_tries=2)
    broken = f"/run/systemd/system/{UNIT}.d"
    host.run(f"mkdir -p {broken}; printf '[Service]\\nExecStartPre=/bin/false\\n' > {broken}/broken.conf")
    try:
        host.run("systemctl daemon-reload; systemctl start --no-block qsc-rollback.service")
        host.wait("a page", "test -e /var/lib/qsc_canary/page.json", timeout=60)
    except HostsError as error:
        seen = host.run("qsc status; journalctl -n 40 --no-pager -o cat -u 'qsc-*'", check=False).stdout
        raise AssertionError(f"{error}; seen: {seen}") from error
    finally:
        host.run(f"rm -rf {broken}; systemctl daemon-reload")
    host.wait("the unit stays failed", "systemctl is-failed -q qsc-rollback.service", timeout=15)
    status = host.run("qsc status", check=False)
    assert status.returncode == 5
    assert "PAGE      a human is needed since" in status.stdout
    emergency = host.output("journalctl -b -o cat -p emerg -u qsc-rollback.service")
    assert f"qsc.canary needs a human: the baseline of {UNIT} is not proven after 2 tries" in emergency
    refused = play("activate", host, model="nhits")
    assert refused.rc != 0
    # the cause is mended; the host tries again once a human has said so
    host.run("qsc acknowledge --reason 'the engine was broken'")
    ended = await_state(host, "rolled_back", timeout=60)
    assert ended["id"] == canary
    assert process_variables(host) == {}
    assert host.run("qsc status", check=False).returncode == 0
    assert [one["action"] for one in ledger(host) if one["action"].startswith("page")][-2:] == [
        "paged",
        "page_acknowledged",
    ]


def test_a_frozen_host_takes_no_canary(host: Host) -> None:
    host.run("echo 'quarter end' > /etc/qsc_canary/freeze")
    try:
        before = fingerprint(host)
        done = play("activate", host, model="patchtst")
        assert done.rc != 0
        assert "this host is frozen by /etc/qsc_canary/freeze: quarter end" in done.flat(), done.output
        assert fingerprint(host) == before
        assert play("rollback", host).rc == 0
    finally:
        host.run("rm -f /etc/qsc_canary/freeze")


@pytest.mark.slow
def test_a_model_that_always_comes_back_is_refused(host: Host) -> None:
    extra = {"qsc_canary_breaker_rollbacks": 1, "qsc_canary_breaker_hours": 24}
    host.engine("faults", "ack=garbage")
    failed = play("activate", host, model="nhits", qsc_canary_arming_timeout_seconds=20)
    assert failed.rc != 0
    last = record(host)["id"]
    host.engine("reset")
    host.run(f"systemctl restart {UNIT}")
    refused = play("activate", host, model="nhits", acknowledge="", **extra)
    assert refused.rc != 0
    assert "within 24 h, the limit is 1" in refused.flat(), refused.output
    assert f"-e acknowledge={last}" in refused.flat()


@pytest.mark.slow
def test_with_refuse_a_changed_baseline_ends_the_run(host: Host) -> None:
    canary = activate(host, qsc_canary_baseline_drift="refuse")
    original = host.read(BASELINE_FILE)
    try:
        host.write(BASELINE_FILE, json.dumps({"xgb": 0.5, "patchtst": 0.5}))
        ended = await_state(host, "rolled_back", timeout=60)
        assert (ended["id"], ended["trigger"]) == (canary, "baseline_changed")
        assert host.read(BASELINE_FILE) == original, "the saved content is put back"
    finally:
        host.write(BASELINE_FILE, original)
        host.run(f"rm -f {BASELINE_FILE}.*.changed")


def test_a_process_stopped_under_the_lock_blinds_nobody(host: Host) -> None:
    canary = activate(host)
    hold = (
        "import fcntl, os; h = os.open('/run/qsc_canary/lock', os.O_RDWR); fcntl.flock(h, 2); os.kill(os.getpid(), 19)"
    )
    host.run(f'setsid /usr/bin/python3 -c "{hold}" >/dev/null 2>&1 &')
    host.wait("the lock is held", "! flock -n /run/qsc_canary/lock true", timeout=10)
    host.run(f"rm {DROPIN}")
    ended = await_state(host, "rolled_back", timeout=60)
    assert (ended["id"], ended["trigger"]) == (canary, "dropin_removed")
    assert "was stopped while it held the lock" in host.output(
        "journalctl -b -o cat -u qsc-watchdog.service | tail -50"
    )
    assert process_variables(host) == {}
