# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Own checks and the model's files on a real host: in the real sandbox, under the real timers, to the real rollback."""

from __future__ import annotations

import time
import typing as t

import pytest

from helpers.plays import BASELINE, Host, await_state, entries, fingerprint, play, process_variables, record

FOLDER, WANTED = "/etc/qsc_canary/checks.d", "/etc/qsc_canary/wanted.d"
MODEL = "/srv/models/patchtst.pt"
OWN: t.Mapping[str, t.Any] = {
    "qsc_canary_own_checks": True,
    "qsc_canary_check_timeout_seconds": 60,  # of which half of the interval is used
    "qsc_canary_check_allow": ["localhost"],
    "qsc_canary_model_artifacts": [MODEL],
    # a busy machine may pause the engine for a while: that is not what is shown here
    "qsc_canary_stale_after": 30,
    "qsc_canary_limits": {"start_grace": 30},
}
VERDICT = "/var/lib/qsc_canary/monitor/verdict.json"


@pytest.fixture
def host_with_checks(host: Host) -> t.Iterator[Host]:
    """A host with the folders and a model's file; none of them is left there."""
    host.run(f"mkdir -p {FOLDER} {WANTED} /srv/models; echo weights > {MODEL}")
    yield host
    host.run(f"rm -rf {FOLDER} {WANTED} /srv/models")


def _put(host: Host, script: str, name: str = "pnl", folder: str = FOLDER, mode: str = "0755") -> None:
    path = f"{folder}/{name}"
    host.write(f"{path}.new", f"#!/bin/sh\n{script}\n")
    host.run(f"chown root:root {path}.new; chmod {mode} {path}.new; mv {path}.new {path}")


def _checks(host: Host) -> int:
    return int(host.output(f"""grep -oE '"checks_done": [0-9]+' {VERDICT} | grep -oE '[0-9]+'"""))


def test_a_hang_holds_up_nothing_and_a_violation_rolls_back(
    host_with_checks: Host, record_property: t.Callable[[str, object], None]
) -> None:
    host = host_with_checks
    _put(host, "exec sleep 600", "hangs", WANTED)
    _put(host, "for n in $(seq 300); do sleep 600 & done 2>/dev/null; exit 0", "forks", WANTED)
    _put(host, 'id -un > /tmp/who 2>&1; cat >/dev/null; echo \'{"value": 1.5, "limit": 3, "message": "drawdown"}\'')
    _put(host, "redis-cli ping >/dev/null && exit 0; exit 3", "network")
    done = play("activate", host, model="patchtst", **OWN)
    assert done.rc == 0, done.output
    assert record(host)["own_checks"] == ["network", "pnl"]

    host.wait("two checks were made", f"""grep -qE '"checks_done": ([2-9]|[1-9][0-9])' {VERDICT}""", timeout=60)
    first, begin = _checks(host), time.monotonic()
    host.wait(
        "six more",
        f"""grep -qE '"checks_done": ({"|".join(map(str, range(first + 6, first + 40)))})' {VERDICT}""",
        timeout=90,
    )
    per_check = (time.monotonic() - begin) / 6
    record_property("seconds from check to check, with one that hangs (interval 3)", per_check)
    assert per_check < 20, "one that hangs does not push the next one away"
    seen = host.output(f"""grep -oE '"(missed_in_a_row|checks_missed)": [0-9]+' {VERDICT} | sort""").split("\n")
    assert seen == ['"checks_missed": 0', '"missed_in_a_row": 0']
    page = host.output("qsc scoreboard")
    assert "| pnl | ok | 1.5 | 3 | drawdown |" in page
    assert "| network | ok |" in page, "the option opens the way to Redis' port for its own client"
    assert "did not end within 1.5 s and was stopped" in page
    # between two checks: while one runs, so does what it forks
    host.wait("what it forked is gone", "test $(pgrep -x sleep -u qsc-canary | wc -l) -eq 0", timeout=60)

    _put(host, 'echo \'{"value": 4.25, "limit": 3, "message": "drawdown 4.25 %"}\'; exit 1')
    changed = time.time()
    ended = await_state(host, "rolled_back", timeout=60)
    record_property("seconds from an own check's violation to a proven baseline", ended["rolled_back_at"] - changed)
    assert (ended["outcome"], ended["trigger"]) == ("violated", "qsc_monitor_violation")
    assert process_variables(host) == {}
    [entry] = [entry for entry in entries(host, ended["id"]) if entry["action"] == "rollback_executed"]
    assert entry["codes"] == ["own_check:pnl", "no_go"]
    assert entry["violations"][0] == "Own check pnl: drawdown 4.25 % (4.25, limit 3)"
    assert (entry["measured"][0]["measured"], entry["measured"][0]["limit"]) == (4.25, 3.0)


def test_one_that_others_may_write_is_refused(host_with_checks: Host) -> None:
    host = host_with_checks
    _put(host, "exit 0", mode="0757")
    before = fingerprint(host)
    done = play("activate", host, model="patchtst", **OWN)
    assert done.rc != 0
    assert f"the own check {FOLDER}/pnl can be changed by others than root" in done.flat()
    assert f"chmod go-w {FOLDER}/pnl" in done.flat()
    assert fingerprint(host) == before


def test_a_spent_exposure_budget_ends_the_run_as_terminated(
    host: Host, record_property: t.Callable[[str, object], None]
) -> None:
    """The engine is healthy and stays so: only what the canary moves counts."""
    quick = {name: OWN[name] for name in ("qsc_canary_stale_after", "qsc_canary_limits")}
    done = play("activate", host, model="patchtst", **quick, qsc_canary_exposure_budget=60_000)
    assert done.rc == 0, done.output
    assert "; positions of " in done.flat()
    page = host.output("qsc status")
    assert record(host)["judging"]["exposure_budget"] == 60_000.0, page
    ended = await_state(host, "rolled_back", timeout=180)
    assert (ended["outcome"], ended["trigger"], ended["violations"]) == ("terminated", "exposure_budget", [])
    assert ended["reason"].startswith("Exposure budget spent: the canary flipped ")
    assert ended["reason"].endswith("(budget 60,000.00 USD)")
    assert process_variables(host) == {}
    [entry] = [entry for entry in entries(host, ended["id"]) if entry["action"] == "rollback_executed"]
    assert (entry["outcome"], entry["weights"]) == ("terminated", BASELINE)
    spent = float(ended["reason"].partition("positions of ")[2].partition(" USD")[0].replace(",", ""))
    assert 60_000 <= spent < 120_000, "it ended with the check that counted it"


@pytest.mark.slow
def test_a_model_that_is_retrained_ends_the_run_as_inconclusive(host_with_checks: Host) -> None:
    host = host_with_checks
    done = play("activate", host, model="patchtst", **OWN, qsc_canary_inconclusive="hold")
    assert done.rc == 0, done.output
    host.run(f"touch {MODEL}")
    host.wait("it was read again", "grep -q seen /run/qsc_canary/artifacts.json", timeout=30)
    assert record(host)["state"] == "active", "the same content is the same model"
    host.run(f"echo another > {MODEL}")
    ended = await_state(host, "rolled_back", timeout=60)
    assert (ended["outcome"], ended["trigger"]) == ("inconclusive", "model_changed")
    assert ended["reason"].startswith(f"patchtst's file {MODEL} changed at 20")
    assert ended["reason"].endswith("Z: this is another model")
    assert process_variables(host) == {}
    [entry] = [entry for entry in entries(host, ended["id"]) if entry["action"] == "rollback_executed"]
    assert entry["weights"] == BASELINE
