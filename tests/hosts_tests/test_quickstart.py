# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The first canary of a person at a terminal: asked once, shown check by check, told when it goes wrong."""

from __future__ import annotations

import re
import typing as t

import pytest

from helpers.plays import (
    FAST,
    Host,
    at_a_terminal,
    enough_telemetry,
    entries,
    fingerprint,
    ledger,
    play,
    process_variables,
    record,
)
from helpers.terminal import CTRL_C

PROMPT = "anything else leaves the engine alone:"
WAY_BACK = 'qsc rollback --reason "..."'
# What is shown here has nothing to do with how fast the machine of the tests is.
INTERVAL_S = FAST["qsc_canary_interval_seconds"]
CALM: dict[str, t.Any] = {
    "model": "patchtst",
    "qsc_canary_stale_after": 30,
    "qsc_canary_limits": {"start_grace": 30},
}


def _printed(output: str) -> list[int]:
    """The numbers of the checks that were shown, in order."""
    return [int(number) for number in re.findall(r"- check (\d+) at 20", output)]


@pytest.mark.slow
def test_without_a_terminal_nothing_is_changed(host: Host) -> None:
    before = fingerprint(host)
    alone = play("quickstart", host, **CALM)
    assert alone.rc == 2, alone.output
    assert "There is no terminal to ask at." in alone.flat()
    assert "-e confirm=yes" in alone.flat()
    assert "Judge the telemetry" not in alone.output
    assert fingerprint(host) == before

    checked = play("quickstart", host, options=("--check",), **CALM)
    assert checked.rc == 0, checked.output
    assert "Check mode: nothing was asked." in checked.flat()
    assert PROMPT not in checked.output
    assert fingerprint(host) == before


@pytest.mark.parametrize("keys", ["no\r", pytest.param(CTRL_C, marks=pytest.mark.slow)])
def test_without_a_yes_nothing_is_changed(host: Host, keys: str) -> None:
    before, logged = fingerprint(host), len(ledger(host))
    with at_a_terminal("quickstart", host, **CALM) as terminal:
        terminal.answer(PROMPT, keys, 240)
        if keys == CTRL_C:
            terminal.answer("'A' to abort", "a")
        assert terminal.end() == 2, terminal.output
    assert ("patchtst is not activated" in terminal.output) == (keys != CTRL_C)
    assert "Arm the way back" not in terminal.output
    assert fingerprint(host) == before
    assert len(ledger(host)) == logged


def test_a_yes_activates_and_shows_the_first_checks_as_they_happen(host: Host) -> None:
    with at_a_terminal("quickstart", host, **CALM) as terminal:
        terminal.wait_for(f"{host.name}: activate patchtst at 10 % of the weight?", 240)
        for shown in ("gate      PASS", "the canary lowers patchtst from 20 % to 10 %", "plan      patchtst"):
            assert shown in terminal.output, "the plan comes before the question"
        assert process_variables(host) == {}
        terminal.answer(PROMPT, "yes\r")
        assert terminal.end(180) == 0, terminal.output
    output = terminal.output
    assert output.count("gate      PASS") == 1
    assert output.count(PROMPT) == 1

    # each check is shown once, when it happens: an interval after the one before, not all of them at the end
    numbers = _printed(output)
    assert numbers == sorted(set(numbers)), numbers
    assert numbers[0] <= 2
    assert numbers[-1] >= 5
    assert len(numbers) >= 3, "a slow machine may be late for one of them"
    first, last = (terminal.seconds_of(f"- check {number} at 20") for number in (numbers[0], numbers[-1]))
    assert last - first > 0.6 * INTERVAL_S * (numbers[-1] - numbers[0]), (first, last, numbers)
    judged = output[output.index(f"- check {numbers[-1]} at") :]
    assert re.search(r"ok, status GO: \d+ decisions judged", judged)
    for rule in (r"HOLD [\d.]+ % \(<= 70 %\)", r"conf_std\s+[\d.]+ \(>= 0.05\)", r"agreement [\d.]+ % \(<= 80 %\)"):
        assert re.search(rule, " ".join(judged.split())), rule

    now = record(host)
    assert now["state"] == "active"
    lines = [line.strip() for line in output[: output.index("PLAY RECAP")].splitlines() if line.strip()]
    assert lines[-1] == f"- {WAY_BACK}"
    assert re.search(r"- next      safe in \d+ min", judged)
    assert "- until     20" in judged

    # the same canary again: no question, nothing changed, its checks shown
    before = fingerprint(host)
    again = play("quickstart", host, confirm="yes", **CALM)
    assert (again.rc, again.changed) == (0, 0), again.output
    assert f"canary {now['id']} is active and proven: nothing changed" in again.flat()
    assert "Ask for a yes" not in again.output
    [number] = _printed(again.output)
    assert number >= 5
    assert fingerprint(host) == before

    # what the last line says works as it stands
    shell = host.ssh(WAY_BACK, timeout=60)
    assert re.search(r"seconds to baseline: \d+\.\d, from the command to the proof", shell.stdout), shell.stdout
    assert process_variables(host) == {}
    [ended] = [entry for entry in entries(host, now["id"]) if entry["action"] == "rollback_executed"]
    assert (ended["trigger"], ended["reason"]) == ("manual", "...")


@pytest.mark.slow
def test_a_run_that_ends_meanwhile_fails_the_play_with_the_reason(host: Host) -> None:
    enough_telemetry(host)
    host.engine("mode", "dead_zone", "when=canary", "rate=100")
    done = play("quickstart", host, confirm="yes", **CALM)
    assert done.rc == 2, done.output
    now = record(host)
    assert (now["state"], now["outcome"]) == ("rolled_back", "violated")
    text = done.flat()
    assert f"Canary {now['id']} ended violated (qsc_monitor_violation: " in text
    assert "violation, status NO-GO" in text
    pid = host.output("systemctl show -P MainPID quantum-ai_engine.service")
    assert f"BACK AT THE BASELINE: pid {pid} runs the baseline." in text
    assert WAY_BACK not in done.output
    assert process_variables(host) == {}
