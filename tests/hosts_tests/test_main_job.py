# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The main job on a healthy stream: checked, activated, proven, repeated, and ended by the logged command."""

from __future__ import annotations

import json

import pytest

from helpers.plays import (
    BASELINE,
    BASELINE_FILE,
    CANARY_WEIGHTS,
    DROPIN,
    Host,
    await_state,
    enough_telemetry,
    entries,
    fingerprint,
    ledger,
    play,
    process_variables,
    record,
)

SPECIFIED = (
    "timestamp", "action", "canary_model", "canary_weight", "weights", "cutover_ts", "quality_gate_events",
    "monitoring_duration_hours", "rollback_cmd", "baseline_weights_file",
)  # fmt: skip


def test_check_and_diff_show_the_dropin_and_change_nothing(host: Host) -> None:
    before = fingerprint(host)
    done = play("activate", host, options=("--check", "--diff"), model="patchtst")
    assert done.rc == 0, done.output
    assert "+EnvironmentFile=-/run/qsc_canary/engine.env" in done.output
    assert "patchtst 0.1" in done.output
    assert fingerprint(host) == before
    assert host.run("systemctl is-active qsc-monitor.timer", check=False).stdout.strip() == "inactive"


@pytest.mark.slow
def test_dry_run_shows_gate_and_weights_and_changes_nothing(host: Host) -> None:
    before, logged = fingerprint(host), len(ledger(host))
    done = play("activate", host, model="patchtst", dry_run=True)
    assert done.rc == 0, done.output
    assert "lowers patchtst from 20 % to 10 %" in done.flat()
    assert fingerprint(host) == before
    assert len(ledger(host)) == logged


@pytest.mark.slow
def test_collection_is_never_eligible(host: Host) -> None:
    before = fingerprint(host)
    done = play("activate", host, model="patchtst", mode="collection")
    assert done.rc == 0, done.output
    assert "ollected, not eligible" in done.flat()
    assert fingerprint(host) == before


def test_a_healthy_canary_is_activated_proven_and_ended_by_the_logged_command(host: Host) -> None:
    done = play("activate", host, model="patchtst")
    assert done.rc == 0, done.output
    now = record(host)
    assert (now["state"], now["model"], now["weight"]) == ("active", "patchtst", 0.1)

    # the process holds the weights, and says so
    variables = process_variables(host)
    assert variables["QSC_CANARY_MODEL"] == "patchtst"
    assert variables["QSC_CANARY_TRAFFIC"] == "0.10"
    weights_file = variables["QSC_CANARY_WEIGHTS"]
    assert json.loads(host.read(weights_file)) == CANARY_WEIGHTS
    acknowledged = json.loads(host.read(variables["QSC_CANARY_ACK"]))
    assert acknowledged["pid"] == int(host.output("systemctl show -P MainPID quantum-ai_engine.service"))
    assert acknowledged["sha256"] == host.output(f"sha256sum {weights_file}").split()[0]

    # the person at the terminal sees without -v what was judged, what changed, until when, and the way back
    text = done.flat()
    for words in (
        "lowers patchtst from 20 % to 10 %",
        "28.1250 %",
        "33.7500 %",
        "the engine acknowledged these weights",
        f"way back: /usr/local/bin/qsc rollback --id {now['id']}",
        "monitored every 3 s until 20",
        "agreement",
        "55",
        "80",
    ):
        assert words in text, (words, done.output)

    # the ledger entry
    [entry] = [entry for entry in entries(host, now["id"]) if entry["action"] == "canary_activated"]
    assert not [name for name in SPECIFIED if name not in entry]
    assert entry["weights"] == CANARY_WEIGHTS
    assert entry["canary_weight"] == 0.1
    assert entry["quality_gate_events"] >= 200
    assert entry["cutover_ts"].endswith("Z")
    assert json.loads(host.read(entry["baseline_weights_file"])) == BASELINE

    # a second run proves again and changes nothing
    before = fingerprint(host)
    again = play("activate", host, model="patchtst")
    assert again.rc == 0, again.output
    assert again.changed == 0, again.output
    assert fingerprint(host) == before

    # another canary is refused, naming the one in flight and the way back
    other = play("activate", host, model="nhits")
    assert other.rc != 0
    assert f"canary {now['id']} is in flight (patchtst at 10 %, active)" in other.flat()
    assert f"/usr/local/bin/qsc rollback --id {now['id']}" in other.flat()
    assert fingerprint(host) == before

    # the logged command, pasted into a root shell, restores the baseline
    shell = host.ssh(entry["rollback_cmd"], timeout=60)
    assert "baseline restored" in shell.stdout
    assert process_variables(host) == {}
    assert not host.exists(DROPIN)
    assert record(host)["state"] == "rolled_back"
    executed = [entry for entry in entries(host, now["id"]) if entry["action"] == "rollback_executed"]
    assert len(executed) == 1
    assert (executed[0]["trigger"], executed[0]["violations"]) == ("manual", [])

    # and the play afterwards changes nothing
    enough_telemetry(host)
    before = fingerprint(host)
    rollback = play("rollback", host)
    assert rollback.rc == 0, rollback.output
    assert rollback.changed == 0, rollback.output
    assert fingerprint(host) == before
    assert len([entry for entry in entries(host, now["id"]) if entry["action"] == "rollback_executed"]) == 1


@pytest.mark.slow
def test_a_changed_baseline_file_is_restored_and_kept_aside(host: Host) -> None:
    """The snapshot is of the REAL baseline: other weights than the documentation's example."""
    real = {"xgb": 0.4, "lgbm": 0.3, "nhits": 0.2, "patchtst": 0.1}
    original = host.read(BASELINE_FILE)
    host.write(BASELINE_FILE, json.dumps(real))
    host.run("systemctl restart quantum-ai_engine.service")
    try:
        enough_telemetry(host)
        done = play("activate", host, model="patchtst", weight=0.25)
        assert done.rc == 0, done.output
        assert "raises patchtst from 10 % to 25 %" in done.flat()
        now = record(host)
        assert now["baseline"] == real
        host.write(BASELINE_FILE, json.dumps(BASELINE))
        shell = host.ssh("qsc rollback", timeout=60)
        assert "was changed during the run: restored" in shell.stdout
        assert json.loads(host.read(BASELINE_FILE)) == real
        assert json.loads(host.read(f"{BASELINE_FILE}.{now['id']}.changed")) == BASELINE
        status = json.loads(host.engine("status"))
        assert status["weights"] == real
    finally:
        host.write(BASELINE_FILE, original)
        host.run(f"rm -f {BASELINE_FILE}.*.changed; systemctl restart quantum-ai_engine.service")


def test_the_second_engine_with_its_own_names(host: Host) -> None:
    """Other unit, environment names, user, type and stream: nothing is wired to the first engine."""
    host.run("systemctl start orbit-ensemble.service")
    host.engine("set", "rate=60", unit="orbit")
    extra = {
        "qsc_canary_engine_unit": "orbit-ensemble.service",
        "qsc_canary_stream": "orbit:decisions",
        "qsc_canary_baseline_path": "/srv/orbit/weights.json",
        "qsc_canary_environment": {
            "weights": "ORBIT_CANARY_WEIGHTS",
            "model": "ORBIT_CANARY_MODEL",
            "traffic": "ORBIT_CANARY_SHARE",
            "ack": "ORBIT_CANARY_ACK",
        },
    }
    first = fingerprint(host)
    try:
        enough_telemetry(host, unit="orbit-ensemble.service")
        done = play("activate", host, model="tft", weight=0.2, **extra)
        assert done.rc == 0, done.output
        variables = process_variables(host, "orbit-ensemble.service")
        assert variables["ORBIT_CANARY_MODEL"] == "tft"
        assert sorted(variables) == sorted(extra["qsc_canary_environment"].values())
        now = record(host)
        host.engine("mode", "dead_zone", "canary=tft", "rate=200", unit="orbit")
        ended = await_state(host, "rolled_back", timeout=60)
        assert (ended["id"], ended["trigger"]) == (now["id"], "qsc_monitor_violation")
        assert process_variables(host, "orbit-ensemble.service") == {}
    finally:
        host.run("qsc rollback; systemctl stop orbit-ensemble.service", timeout=90)
        done = play("install", host)
        assert done.rc == 0, done.output
    same = ("MainPID", "InvocationID", "NRestarts")
    after = fingerprint(host)
    assert {name: after[name] for name in same} == {name: first[name] for name in same}


@pytest.mark.parametrize("name", ["status", "gate"])
def test_plays_that_only_look(host: Host, name: str) -> None:
    before = fingerprint(host)
    done = play(name, host, model="patchtst")
    assert done.rc == 0, done.output
    assert fingerprint(host) == before
