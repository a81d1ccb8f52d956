# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""No proof, no activation: engines that do not do what the drop-in says end at a proven baseline, with the reason."""

from __future__ import annotations

import pytest

from helpers.forms import cases
from helpers.plays import DROPIN, Host, entries, play, process_variables, record

CASES = {
    "ignores its environment": (["ignore_environment=true"], "the engine wrote no acknowledgement"),
    "acknowledges other weights": (["ack=wrong_sha256"], "the engine loaded other weights"),
    "acknowledges as another process": (["ack=wrong_pid"], "the acknowledgement is of process"),
    "writes garbage": (["ack=garbage"], "the acknowledgement cannot be read"),
    "dies at start": (["die_with_canary=true"], "quantum-ai_engine.service"),
}


@pytest.mark.parametrize("name", cases(CASES, ("ignores its environment",)))
def test_an_engine_without_proof_is_not_activated(host: Host, name: str) -> None:
    faults, reason = CASES[name]
    host.engine("faults", *faults)
    done = play("activate", host, model="patchtst", qsc_canary_arming_timeout_seconds=40)
    assert done.rc != 0
    text = done.flat()
    assert reason in text, done.output
    assert "baseline" in text
    ended = record(host)
    assert (ended["state"], ended["trigger"], ended["outcome"]) == ("rolled_back", "activation_failed", "terminated")
    assert reason in ended["reason"] or name == "dies at start"
    assert process_variables(host) == {}
    assert not host.exists(DROPIN)
    actions = [entry["action"] for entry in entries(host, ended["id"])]
    assert actions == ["rollback_executed"]


@pytest.mark.slow
def test_an_unproven_engine_can_be_accepted_and_is_shown(host: Host) -> None:
    host.engine("faults", "ack=none")
    done = play(
        "activate", host, model="patchtst", qsc_canary_accept_unproven=True, qsc_canary_arming_timeout_seconds=40
    )
    assert done.rc == 0, done.output
    assert "NOT PROVEN" in done.output
    assert record(host)["effective"] == "unproven"


@pytest.mark.slow
def test_published_weights_are_a_proof(host: Host) -> None:
    host.engine("faults", "ack=none")
    host.engine("set", "publish_weights=true")
    done = play("activate", host, model="patchtst", qsc_canary_weights_field="ensemble_weights")
    assert done.rc == 0, done.output
    assert record(host)["effective"] == "published"


@pytest.mark.slow
def test_published_baseline_weights_are_a_proof_of_the_contrary(host: Host) -> None:
    host.engine("faults", "publish_own_weights=true", "ignore_environment=true")
    host.engine("set", "publish_weights=true")
    done = play("activate", host, model="patchtst", qsc_canary_weights_field="ensemble_weights")
    assert done.rc != 0
    assert "the engine publishes other weights" in done.flat(), done.output
    assert record(host)["state"] == "rolled_back"
