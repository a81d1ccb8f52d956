# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs that end safe, and runs that must not."""

from __future__ import annotations

import pytest

from helpers.plays import Host, await_state, enough_telemetry, entries, play, process_variables, record

SHORT = 45 / 3600
SPECIFIED = ("timestamp", "action", "canary_model", "duration_hours", "checks_performed", "violations", "result")


def _activate(host: Host, **extra: object) -> str:
    done = play("activate", host, model="patchtst", **{"qsc_canary_monitor_hours": SHORT, **extra})
    assert done.rc == 0, done.output
    return str(record(host)["id"])


def test_a_healthy_run_is_safe_and_still_watched(host: Host) -> None:
    canary = _activate(host)
    safe = await_state(host, "active", outcome="safe", timeout=60)
    assert safe["id"] == canary
    [entry] = [entry for entry in entries(host, canary) if entry["action"] == "monitoring_completed"]
    assert not [name for name in SPECIFIED if name not in entry]
    assert (entry["result"], entry["violations"]) == ("safe", None)
    assert entry["checks_performed"] >= 0.6 * 15
    assert entry["first_id"] and entry["last_id"]
    assert process_variables(host)["QSC_CANARY_MODEL"] == "patchtst"
    # safe is a verdict, not the end of watching
    host.engine("mode", "dead_zone", "rate=300")
    ended = await_state(host, "rolled_back", timeout=60)
    assert (ended["outcome"], ended["trigger"]) == ("violated", "qsc_monitor_violation")
    assert process_variables(host) == {}
    # whoever tries this model again has to know of it
    enough_telemetry(host)
    refused = play("activate", host, model="patchtst", acknowledge="")
    assert refused.rc != 0
    assert f"the last run of patchtst ({canary}) was violated: Action collapse: HOLD=" in refused.flat(), refused.output
    assert f"-e acknowledge={canary}" in refused.flat()


@pytest.mark.slow
def test_a_safe_run_that_nobody_promotes_goes_back(host: Host) -> None:
    _activate(host, qsc_canary_hold_hours=4 / 3600)
    ended = await_state(host, "rolled_back", timeout=90)
    assert (ended["outcome"], ended["trigger"]) == ("safe", "hold_expired")


def test_missing_checks_are_not_safe(host: Host) -> None:
    """The monitor's timer is slowed down by hand: nothing is wrong with the canary, but nobody looked often enough."""
    folder = "/run/systemd/system/qsc-monitor.timer.d"
    canary = _activate(host, qsc_canary_required_checks=0.95)
    try:
        host.run(
            f"mkdir -p {folder}; printf '[Timer]\\nOnUnitActiveSec=\\nOnUnitActiveSec=9s\\n' > {folder}/slow.conf; "
            "systemctl daemon-reload; systemctl restart qsc-monitor.timer"
        )
        ended = await_state(host, "rolled_back", timeout=60)
        assert (ended["id"], ended["outcome"], ended["trigger"]) == (canary, "inconclusive", "inconclusive")
        assert "checks were done" in ended["reason"]
    finally:
        host.run(f"rm -rf {folder}; systemctl daemon-reload")


PATIENT = {"qsc_canary_stale_after": 600, "qsc_canary_limits": {"start_grace": 600}}


@pytest.mark.slow
def test_a_run_that_was_never_judged_is_not_safe(host: Host) -> None:
    """The canary says nothing at all, and every limit that would notice is wide open: nothing judged is not safe."""
    host.engine("mode", "silent", "when=canary", "after=0")
    canary = _activate(host, **PATIENT)
    ended = await_state(host, "rolled_back", timeout=120)
    assert (ended["id"], ended["outcome"], ended["trigger"]) == (canary, "inconclusive", "inconclusive")
    assert "0 of 15 checks could judge" in ended["reason"]
    assert not [entry for entry in entries(host, canary) if entry["action"] == "monitoring_completed"]


@pytest.mark.slow
def test_too_few_decisions_are_not_safe(host: Host) -> None:
    host.engine("mode", "silent", "when=canary", "after=1")
    canary = _activate(host, **PATIENT)
    ended = await_state(host, "rolled_back", timeout=120)
    assert (ended["id"], ended["outcome"], ended["trigger"]) == (canary, "inconclusive", "inconclusive")
    assert "decisions were judged, 200 are needed" in ended["reason"]


@pytest.mark.slow
def test_waiting_too_long_is_inconclusive(host: Host) -> None:
    host.engine("mode", "silent", "when=canary", "after=1")
    canary = _activate(host, qsc_canary_max_wait=6, qsc_canary_monitor_hours=1, **PATIENT)
    ended = await_state(host, "rolled_back", timeout=90)
    assert (ended["id"], ended["outcome"], ended["trigger"]) == (canary, "inconclusive", "inconclusive")
    assert "of 200 decisions after" in ended["reason"]


@pytest.mark.slow
def test_status_wait_is_not_safe(host: Host) -> None:
    """No rule is violated, but hard disagreement is not below its limit either: that is WAIT, and WAIT is not GO."""
    host.engine("mode", "agreement_low")
    host.run("systemctl restart quantum-ai_engine.service")
    enough_telemetry(host)
    limits = {"start_grace": 10, "min_agreement": 30, "max_hard_disagree": 0}
    canary = _activate(host, qsc_canary_limits=limits)
    ended = await_state(host, "rolled_back", timeout=90)
    assert (ended["id"], ended["outcome"]) == (canary, "inconclusive")
    assert "status WAIT" in ended["reason"]
