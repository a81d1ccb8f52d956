# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From 10 % over 25 and 100 % to the engine's own weights, and back from 25 % to the baseline of before all of it."""

from __future__ import annotations

import json
import signal
import typing as t

import pytest

from helpers.plays import (
    BASELINE,
    BASELINE_FILE,
    CANARY_WEIGHTS,
    DROPIN,
    Host,
    Play,
    RunningPlay,
    await_state,
    enough_telemetry,
    entries,
    fingerprint,
    play,
    process_variables,
    record,
)

from .conftest import reset

STEPS: dict[str, t.Any] = {
    "qsc_canary_steps": [0.1, 0.25, 1.0],
    "qsc_canary_monitor_hours": 45 / 3600,
    # plays keep a machine busy for minutes here: a pause of the engine meanwhile is not what is shown
    "qsc_canary_stale_after": 30,
    "qsc_canary_limits": {"start_grace": 30},
}
QUARTER = {"xgb": 0.234375, "lgbm": 0.234375, "nhits": 0.28125, "patchtst": 0.25}
ALL = {"xgb": 0.0, "lgbm": 0.0, "nhits": 0.0, "patchtst": 1.0}


def _promote(host: Host, *options: str, **extra: t.Any) -> Play:
    return play("promote", host, options=options, **{**STEPS, **extra})


def _refused(host: Host, *words: str, **extra: t.Any) -> None:
    """Refused with these words, and nothing changed on the host."""
    before = fingerprint(host, everything=True)
    done = _promote(host, **extra)
    assert done.rc != 0, done.output
    for word in words:
        assert word in done.flat(), (word, done.output)
    assert fingerprint(host, everything=True) == before


def _safe_at_ten(host: Host, **extra: t.Any) -> dict[str, t.Any]:
    done = play("activate", host, model="patchtst", **{**STEPS, **extra})
    assert done.rc == 0, done.output
    return await_state(host, "active", outcome="safe", timeout=90)


def _weights(host: Host) -> dict[str, float]:
    """The weights that the engine's process has loaded, as its environment names them and as it says itself."""
    says: dict[str, float] = json.loads(host.engine("status"))["weights"]
    path = process_variables(host).get("QSC_CANARY_WEIGHTS", BASELINE_FILE)
    assert json.loads(host.read(path)) == says
    return says


@pytest.mark.timeout(600)
def test_the_weights_of_the_last_step_become_the_engine_s_own(host: Host) -> None:
    """The first step is the last one here; the way over all of them is shown in the full form."""
    one = {**STEPS, "qsc_canary_steps": [0.1]}
    done = play("activate", host, model="patchtst", **one)
    assert done.rc == 0, done.output
    safe = await_state(host, "active", outcome="safe", timeout=90)
    try:
        done = play("promote", host, **one)
        assert done.rc == 0, done.output
        ended = record(host)
        assert (ended["state"], ended["outcome"], ended["id"]) == ("promoted", "safe", safe["id"])
        assert process_variables(host) == {}
        assert _weights(host) == CANARY_WEIGHTS == json.loads(host.read(BASELINE_FILE))
        assert not host.exists(DROPIN)
        before = fingerprint(host)
        again = play("promote", host, **one)
        assert (again.rc, again.changed) == (0, 0), again.output
        assert fingerprint(host) == before
        [entry] = [entry for entry in entries(host, safe["id"]) if entry["action"] == "promoted"]
        assert 0 < entry["downtime_s"] < 20
    finally:
        host.write(BASELINE_FILE, json.dumps(BASELINE))
        host.run(f"rm -f {BASELINE_FILE}.*.before; systemctl restart quantum-ai_engine.service")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_from_the_first_step_to_the_engine_s_own_weights(host: Host) -> None:
    _refused(host, "no canary is in flight on this host")
    done = play("activate", host, model="patchtst", **STEPS)
    assert done.rc == 0, done.output
    _refused(host, "patchtst at 10 %", "is not safe yet: it is watched until 20")
    first = await_state(host, "active", outcome="safe", timeout=90)
    _refused(host, "model=nhits is not the canary of this host", "-e model=patchtst", model="nhits")
    _refused(host, "is stale: safe since 20", qsc_canary_max_verdict_age_hours=0)

    before = fingerprint(host)
    shown = _promote(host, "--check", "--diff")
    assert shown.rc == 0, shown.output
    assert "patchtst at 0.25; weights" in shown.output
    assert "raised from 10 % to 25 %" in shown.flat()
    assert fingerprint(host) == before

    raised = _promote(host)
    assert raised.rc == 0, raised.output
    now = record(host)
    assert (now["state"], now["raised_from"], now["outcome"]) == ("active", first["id"], "")
    assert _weights(host) == QUARTER
    assert process_variables(host)["QSC_CANARY_TRAFFIC"] == "0.25"
    assert now["gate"]["cutover"]["id"] == first["since"]["id"]
    assert now["since"]["id"] != first["since"]["id"]
    [entry] = [entry for entry in entries(host, now["id"]) if entry["action"] == "canary_promoted_step"]
    assert (entry["from_weight"], entry["to_weight"], entry["weights"]) == (0.1, 0.25, QUARTER)
    assert f"way back: {entry['rollback_cmd']}" in raised.flat()
    assert "step      2 of 3; 100 % is next" in host.run("qsc status").stdout

    again = _promote(host)
    assert (again.rc, again.changed) == (0, 0), again.output
    assert f"canary {now['id']} is active and proven: nothing changed" in again.flat()
    assert "watched until 20" in again.flat()
    assert record(host)["id"] == now["id"]

    await_state(host, "active", outcome="safe", timeout=90)
    _refused(host, "100 % for patchtst: all other models get weight 0", "-e confirm_full=true")
    full = _promote(host, confirm_full=True)
    assert full.rc == 0, full.output
    assert "all other models get weight 0" in full.flat()
    assert _weights(host) == ALL
    assert json.loads(host.read("/var/lib/qsc_canary/baseline.json")) == BASELINE
    last = await_state(host, "active", outcome="safe", timeout=90)
    assert last["raised_from"] == now["id"]

    before = fingerprint(host)
    shown = _promote(host, "--check", "--diff", confirm_full=True)
    assert shown.rc == 0, shown.output
    assert "+xgb 0 %, lgbm 0 %, nhits 0 %, patchtst 100 %" in shown.output
    assert fingerprint(host) == before
    try:
        done = _promote(host, confirm_full=True)
        assert done.rc == 0, done.output
        ended = record(host)
        assert (ended["state"], ended["outcome"], ended["id"]) == ("promoted", "safe", last["id"])
        assert process_variables(host) == {}
        assert _weights(host) == ALL == json.loads(host.read(BASELINE_FILE))
        assert not host.exists(DROPIN)
        assert not host.exists("/run/qsc_canary/engine.env")
        assert host.output("systemctl is-active qsc-monitor.timer; true") == "inactive"
        assert "runs the baseline" in host.run("qsc status").stdout
        [entry] = [entry for entry in entries(host, last["id"]) if entry["action"] == "promoted"]
        before = fingerprint(host)
        again = _promote(host, confirm_full=True)
        assert (again.rc, again.changed) == (0, 0), again.output
        assert "was promoted at 20" in again.flat()
        assert fingerprint(host) == before
        assert not [item for item in entries(host, last["id"]) if item["action"] == "rollback_executed"]
        # the logged command, pasted into a root shell, takes it back
        host.ssh(entry["rollback_cmd"])
        host.wait("the engine runs the baseline", "qsc-test-engine --engine quantum status | grep -q '\"xgb\": 0.25'")
        assert _weights(host) == BASELINE
    finally:
        host.write(BASELINE_FILE, json.dumps(BASELINE))
        host.run(f"rm -f {BASELINE_FILE}.*.before; systemctl restart quantum-ai_engine.service")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_violation_at_a_later_step_returns_to_the_baseline_of_before_the_first(host: Host) -> None:
    _safe_at_ten(host)
    done = _promote(host)
    assert done.rc == 0, done.output
    assert _weights(host) == QUARTER
    canary = record(host)["id"]
    host.engine("mode", "dead_zone", "rate=300")
    ended = await_state(host, "rolled_back", timeout=90)
    assert (ended["id"], ended["outcome"], ended["trigger"]) == (canary, "violated", "qsc_monitor_violation")
    assert process_variables(host) == {}
    assert not host.exists(DROPIN)
    assert _weights(host) == BASELINE
    _refused(host, "no canary is in flight", f"the last one, {canary}, ended violated (qsc_monitor_violation")


ALL_STEPS = {"qsc_canary_steps": [0.1, 0.25, 0.5, 1.0], "confirm_full": True}
HALF = {"xgb": 0.15625, "lgbm": 0.15625, "nhits": 0.1875, "patchtst": 0.5}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_step_of_the_default_and_a_violation_at_each(host: Host) -> None:
    """10 -> 25 -> 50 -> 100 %, the weights read from the process at each; after each way up a violation, and back."""
    for depth in (1, 2, 3):
        reset(host)  # restarts the engine: what it said when it was bad is not the gate's to judge
        host.engine("mode", "healthy", "rate=60")
        enough_telemetry(host)
        done = play("activate", host, model="patchtst", **{**STEPS, **ALL_STEPS})
        assert done.rc == 0, done.output
        ups = [QUARTER, HALF, ALL][:depth]
        for wanted in ups:
            await_state(host, "active", outcome="safe", timeout=120)
            done = _promote(host, **ALL_STEPS)
            assert done.rc == 0, done.output
            assert _weights(host) == wanted
            assert process_variables(host)["QSC_CANARY_TRAFFIC"] == f"{wanted['patchtst']:.2f}"
            if wanted is not ups[-1]:  # not where the violation is next: a slow play would outlast the run
                again = _promote(host, **ALL_STEPS)
                assert (again.rc, again.changed) == (0, 0), again.output
        host.engine("mode", "dead_zone", "rate=300")
        ended = await_state(host, "rolled_back", timeout=90)
        assert (ended["outcome"], ended["weight"]) == ("violated", wanted["patchtst"])
        assert process_variables(host) == {}
        assert _weights(host) == BASELINE


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_violation_leads_to_the_step_before_where_that_is_wanted(host: Host) -> None:
    """25 % back to a fresh run at 10 %, proven and watched; a second violation, and the baseline."""
    previous = {"qsc_canary_rollback_to": "previous_step"}
    done = play("activate", host, model="patchtst", **STEPS, **previous)
    assert done.rc == 0, done.output
    first = await_state(host, "active", outcome="safe", timeout=90)
    done = _promote(host, **previous)
    assert done.rc == 0, done.output
    quarter = record(host)
    assert _weights(host) == QUARTER
    host.engine("mode", "dead_zone", "rate=60")  # some seconds pass until the model is found as bad at 10 %
    host.wait(
        "the step before", """grep -q '"stepped_back_from": "patch' /var/lib/qsc_canary/record.json""", timeout=90
    )
    back = record(host)
    assert (back["state"], back["weight"], back["stepped_back_from"]) == ("active", 0.1, quarter["id"])
    assert back["id"] not in (first["id"], quarter["id"])
    assert _weights(host) == CANARY_WEIGHTS
    assert process_variables(host)["QSC_CANARY_TRAFFIC"] == "0.10"
    [entry] = [entry for entry in entries(host, quarter["id"]) if entry["action"] == "stepped_back"]
    assert (entry["to_canary_id"], entry["outcome"], entry["to_weight"]) == (back["id"], "violated", 0.1)
    ended = await_state(host, "rolled_back", timeout=90)  # the model is as bad at 10 %
    assert (ended["id"], ended["outcome"]) == (back["id"], "violated")
    assert process_variables(host) == {}
    assert _weights(host) == BASELINE
    refused = play("activate", host, model="patchtst", acknowledge="", **STEPS)
    assert refused.rc != 0 and f"acknowledge={back['id']}" in refused.flat()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_controller_that_is_killed_while_it_raises(host: Host) -> None:
    """The engine runs the step before, nobody comes to restart it: the arming deadline ends it at the baseline."""
    soon = {"qsc_canary_arming_timeout_seconds": 40}
    first = _safe_at_ten(host, **soon)
    running = RunningPlay("promote", host, **{**STEPS, **soon})
    running.wait_for("TASK [qsc.canary.qsc_canary : Restart the engine]", timeout=180)
    running.signal(signal.SIGKILL)
    running.end()
    ended = await_state(host, "rolled_back", timeout=120)
    assert (ended["raised_from"], ended["trigger"]) == (first["id"], "arming_expired")
    assert process_variables(host) == {}
    assert _weights(host) == BASELINE
