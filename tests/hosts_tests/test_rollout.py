# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One playbook, run again and again: from nothing over 10 % to 25 %, a step at a time, and what holds it back."""

from __future__ import annotations

import json
import typing as t

import pytest

from helpers.plays import BASELINE, DROPIN, Host, Play, await_state, entries, fingerprint, ledger, play, record

STATE = "/var/lib/qsc_canary/rollout.json"
SETTINGS: dict[str, t.Any] = {
    "qsc_canary_steps": [0.1, 0.25, 1.0],
    "qsc_canary_approvals": [0.25],
    "qsc_canary_monitor_hours": 40 / 3600,
    "qsc_canary_stale_after": 30,
    "qsc_canary_limits": {"start_grace": 30},
}
FROZEN = {
    "qsc_canary_freeze_windows": [
        {"from_date": "2020-01-01", "to_date": "2199-12-31", "timezone": "America/New_York"},
        {"days": ["mon"], "from": "22:00", "to": "06:00", "timezone": "Europe/Berlin"},
    ]
}


def _rollout(host: Host, playbook: str = "rollout", **extra: t.Any) -> Play:
    return play(playbook, host, **{**SETTINGS, **extra})


def _leaves_alone(host: Host, rc: int, *words: str, playbook: str = "rollout", **extra: t.Any) -> Play:
    """It ends with this code (2: any but 0) and these words, and nothing was changed on the host.

    An activation installs before it asks the host: only that may differ.
    """
    everything = playbook != "activate"
    before, lines = fingerprint(host, everything=everything), ledger(host)
    done = _rollout(host, playbook, **extra)
    assert (done.rc == 0) == (rc == 0), done.output
    assert rc or done.changed == 0, done.output
    for word in words:
        assert word in done.flat(), (word, done.output)
    assert fingerprint(host, everything=everything) == before
    assert ledger(host) == lines
    return done


def _weights(host: Host) -> dict[str, float]:
    found: dict[str, float] = json.loads(host.engine("status"))["weights"]
    return found


def _last(host: Host) -> dict[str, str]:
    """What acknowledges whatever earlier tests left on the host."""
    ended = [item["canary_id"] for item in ledger(host) if item.get("outcome") and item.get("canary_id")]
    return {"acknowledge": ended[-1]} if ended else {}


@pytest.mark.timeout(900)
def test_a_step_at_a_time_and_what_holds_it_back(host: Host) -> None:
    host.run(f"rm -f {STATE}")
    last = _last(host)
    _leaves_alone(host, 0, "done: nothing to do: no canary is in flight on this host, and no model is named")
    for playbook, rc in (("rollout", 0), ("activate", 2)):
        words = "this host is frozen until 2200-01-01T05:00:00Z by the window 2020-01-01 to 2199-12-31 America/New_York"
        _leaves_alone(host, rc, words, playbook=playbook, model="patchtst", **last, **FROZEN)

    first = _rollout(host, model="patchtst", **last)
    assert first.rc == 0, first.output
    ten = record(host)
    assert (ten["state"], ten["weight"]) == ("active", 0.1)
    _leaves_alone(host, 0, "waiting: canary", "is watched and not safe yet (until 20", model="patchtst")

    paused = _rollout(host, rollout="pause", reason="earnings week")
    assert (paused.rc, paused.changed) == (0, 1), paused.output
    assert "nothing changed" in host.ssh("sudo qsc rollout pause --reason again", user="deploy").stdout
    await_state(host, "active", outcome="safe", timeout=60)
    _leaves_alone(host, 0, "waiting: the rollout of this host is paused since 20", "earnings week", "(until 20")
    _leaves_alone(host, 2, "the rollout of this host is paused since 20", playbook="promote")
    assert "Held back: paused since" in " ".join(host.run("qsc status --watch").stdout.split())
    assert "resumed; it was paused since" in host.ssh("sudo qsc rollout resume", user="deploy").stdout

    _leaves_alone(host, 0, "waiting: the step to 25 % needs an approval", "-e rollout=approve -e approve=0.25")
    _leaves_alone(host, 2, "the step to 25 % needs an approval", "qsc rollout approve 0.25", playbook="promote")
    shown = host.run("qsc rollout", check=False)
    assert (shown.returncode, "needs an approval" in shown.stdout) == (4, True), shown.stdout
    host.ssh("sudo qsc rollout approve 0.25", user="deploy")
    _leaves_alone(host, 0, "this host is frozen until 2200-01-01T05:00:00Z", **FROZEN)
    _leaves_alone(host, 2, "this host is frozen until 2200-01-01T05:00:00Z", playbook="promote", **FROZEN)
    _leaves_alone(host, 2, "STOPPED: the verdict on canary", "is stale: safe", qsc_canary_max_verdict_age_hours=0)

    raised = _rollout(host, model="patchtst")
    assert raised.rc == 0, raised.output
    quarter = record(host)
    assert (quarter["weight"], quarter["raised_from"]) == (0.25, ten["id"])
    assert _weights(host)["patchtst"] == 0.25
    actions = [item["action"] for item in entries(host, ten["id"]) if item["action"].startswith("rollout_")]
    assert actions == ["rollout_paused", "rollout_resumed", "rollout_approved"]
    assert {item["actor"] for item in entries(host, ten["id"]) if item["action"] in actions[1:]} == {
        "root by sudo of deploy"
    }
    assert not [item for item in entries(host, quarter["id"]) if item["action"].startswith("rollout_")]
    _leaves_alone(host, 0, "waiting: canary", f"{quarter['id']} (patchtst at 25 %) is watched and not safe yet")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_stops_it_until_somebody_acknowledges(host: Host) -> None:
    host.run(f"rm -f {STATE}")
    done = _rollout(host, model="patchtst", **_last(host))
    assert done.rc == 0, done.output
    canary = record(host)["id"]
    aborted = _rollout(host, rollout="abort", reason="odd fills")
    assert (aborted.rc, aborted.changed) == (0, 1), aborted.output
    assert _weights(host) == BASELINE
    assert not host.exists(DROPIN)
    [entry] = [item for item in entries(host, canary) if item["action"] == "rollback_executed"]
    assert (entry["trigger"], entry["reason"]) == ("aborted", "odd fills")
    assert _rollout(host, rollout="abort").changed == 0
    anew = f"-e acknowledge={canary}"
    _leaves_alone(host, 2, f"STOPPED: the last run of patchtst, {canary}, ended terminated", anew, model="patchtst")
    _leaves_alone(host, 2, "acknowledge=some is not that run", model="patchtst", acknowledge="some")

    again = _rollout(host, model="patchtst", acknowledge=canary)
    assert again.rc == 0, again.output
    second = record(host)["id"]
    host.engine("mode", "dead_zone", "rate=300")
    ended = await_state(host, "rolled_back", timeout=90)
    assert (ended["id"], ended["outcome"]) == (second, "violated")
    _leaves_alone(host, 2, f"{second}, ended violated", model="patchtst", acknowledge=canary)
