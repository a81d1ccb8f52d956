# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Recorded real telemetry in a real Redis: the gate refuses, and nothing on the host is touched."""

from __future__ import annotations

import pytest

from helpers.plays import ROOT, Host, fingerprint, ledger, play

RECORDED = ROOT.parent / "shared" / "data" / "telemetry-2025-11-22.jsonl"


@pytest.mark.skipif(not RECORDED.exists(), reason="the recorded telemetry is not beside this checkout")
def test_two_collapsed_models_do_not_become_canaries(host: Host) -> None:
    host.copy_to(str(RECORDED), "/root/recorded.jsonl")
    host.run("redis-cli DEL recorded; systemctl stop orbit-ensemble.service")
    host.engine("set", "stream=recorded", unit="orbit")
    assert host.engine("replay", "/root/recorded.jsonl", "--ids", "own", unit="orbit") == "510 entries"
    settings = {
        "qsc_canary_stream": "recorded",
        "qsc_canary_aliases": {"xgboost": "xgb", "lightgbm": "lgbm"},
    }
    assert play("install", host, **settings).rc == 0
    before, logged = fingerprint(host, everything=True), len(ledger(host))
    try:
        done = play("activate", host, model="patchtst", cutover="2025-11-22T00:00:00Z", **settings)
        assert done.rc != 0
        text = done.flat()
        for words in (
            "HOLD=82.4% (>70%)",
            "Hard disagreement: 31.2% (>20%)",
            "nhits",
            "patchtst",
            "gate FAIL 510 decisions",
        ):
            assert words in text, (words, done.output)
        assert fingerprint(host, everything=True) == before
        refused = ledger(host)[logged:]
        assert [entry["action"] for entry in refused] == ["gate_refused"]
        assert refused[0]["quality_gate_events"] == 510
    finally:
        host.run("redis-cli DEL recorded; rm -f /root/recorded.jsonl")
        host.engine("reset", unit="orbit")
        assert play("install", host).rc == 0
