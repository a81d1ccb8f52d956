# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every way to go bad, on a monitored canary: the host alone goes back, with exactly these codes.

The engine is ill only while it runs the canary (``when=canary``), so it is healthy for the gate, and so that the
baseline it comes back to is healthy too. No controller takes part after the activation.
"""

from __future__ import annotations

import typing as t

import pytest
from engine.modes import MODES_ON_HOSTS, expected

from helpers.forms import cases
from helpers.plays import UNIT, Host, await_state, entries, fingerprint, play, process_variables, record

# A rule that is violated, a decision that cannot be read, a stream that says nothing.
FAST = ("action_collapse", "nan_confidence", "silent")

# What a person sees of a violation: the measured value beside its limit.
NEEDS_MEASURED = {
    "action_collapse", "dead_zone", "flat_predictions", "narrow_range", "constant_output", "agreement_out_of_range",
    "hard_disagree", "not_really_running",
}  # fmt: skip
STREAM = "quantum:stream:trade.intent"


def _visible_at(host: Host, since: str, number: int) -> float:
    """When the decision that first showed the violation was published, by its ID: the ``number``th after the marker."""
    found = host.output(
        f"redis-cli --raw XRANGE {STREAM} '({since}' + COUNT {number} | grep -E '^[0-9]+-[0-9]+$' | tail -1"
    )
    return int(found.split("-")[0]) / 1000


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mode", cases(MODES_ON_HOSTS, FAST))
def test_a_bad_canary_ends_at_a_proven_baseline(
    host: Host, mode: str, record_property: t.Callable[[str, object], None]
) -> None:
    host.engine("mode", mode, "when=canary")
    done = play("activate", host, model="patchtst")
    assert done.rc == 0, done.output
    canary = record(host)["id"]

    ended = await_state(host, "rolled_back", timeout=120)
    assert ended["id"] == canary
    assert (ended["outcome"], ended["trigger"]) == ("violated", "qsc_monitor_violation")
    assert process_variables(host) == {}

    [entry] = [entry for entry in entries(host, canary) if entry["action"] == "rollback_executed"]
    assert set(entry["codes"]) == set(expected(mode)), entry["violations"]
    for item in entry["measured"]:
        if item["code"] in NEEDS_MEASURED:
            assert isinstance(item["measured"], (int, float)), item
            assert isinstance(item["limit"], (int, float)), item
    assert entry["violations"]
    assert all(isinstance(text, str) and text for text in entry["violations"])
    assert entry["proof"]["unit"] == UNIT
    assert entry["judged"]["checked_at"].endswith("Z")

    host.engine("reset")
    before = fingerprint(host)
    again = play("rollback", host)
    assert (again.rc, again.changed) == (0, 0), again.output
    assert fingerprint(host) == before

    record_property("violation recorded to proven baseline", ended["rolled_back_at"] - ended["violated_at"])
    if set(entry["codes"]) & NEEDS_MEASURED:
        visible = _visible_at(host, ended["since"]["id"], 200)
        record_property("200th bad decision published to proven baseline", ended["rolled_back_at"] - visible)


def test_every_code_of_the_domain_occurs() -> None:
    wanted = {
        "action_collapse", "dead_zone", "flat_predictions", "narrow_range", "constant_output", "invalid_confidence",
        "invalid_action", "gate_failed", "no_go", "agreement_out_of_range", "hard_disagree", "canary_missing",
        "not_really_running", "stale_telemetry", "truncated_telemetry",
    }  # fmt: skip
    assert wanted <= {code for mode in MODES_ON_HOSTS for code in expected(mode)}
