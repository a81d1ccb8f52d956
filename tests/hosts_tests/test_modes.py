# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every way to go bad, on a monitored canary: the host alone goes back, with exactly these codes.

The engine is ill only while it runs the canary (``when=canary``), so it is healthy for the gate, and so that the
baseline it comes back to is healthy too. No controller takes part after the activation.
"""

from __future__ import annotations

import statistics
import threading
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest
from engine.modes import MODES_ON_HOSTS, expected

from helpers.plays import (
    UNIT,
    Host,
    await_state,
    entries,
    fingerprint,
    ledger,
    play,
    process_variables,
    quick_engine,
    record,
)

# What a person sees of a violation: the measured value beside its limit.
NEEDS_MEASURED = {
    "action_collapse", "dead_zone", "flat_predictions", "narrow_range", "constant_output", "agreement_out_of_range",
    "hard_disagree", "not_really_running",
}  # fmt: skip


@dataclass
class Run:
    """What one mode came to."""

    mode: str
    activated: bool = False
    output: str = ""
    ended: dict[str, t.Any] = field(default_factory=dict)
    logged: list[dict[str, t.Any]] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)
    second_changed: int = -1
    unchanged: bool = False
    seconds: float = 0.0
    error: str = ""


def _one(host: Host, mode: str) -> Run:
    run = Run(mode)
    host.engine("reset")
    quick_engine(host)
    # the last run of this model was violated on purpose: an operator would say so
    violated = [entry["canary_id"] for entry in ledger(host) if entry.get("outcome") == "violated"]
    host.engine("mode", mode, "when=canary")
    done = play("activate", host, model="patchtst", acknowledge=violated[-1] if violated else "")
    run.output = done.output
    if done.rc != 0 and record(host).get("trigger") == "qsc_monitor_violation":
        run.error = "the violation came before the activation was complete"
    if done.rc != 0:
        return run
    run.activated = True
    canary = record(host)["id"]
    run.ended = await_state(host, "rolled_back", timeout=90)
    run.variables = process_variables(host)
    run.logged = entries(host, canary)
    host.engine("reset")
    before = fingerprint(host)
    again = play("rollback", host)
    run.second_changed = again.changed if again.rc == 0 else -1
    run.unchanged = fingerprint(host) == before
    run.seconds = run.ended["rolled_back_at"] - _visible(run)
    return run


def _visible(run: Run) -> float:
    """When the violation could first be seen: the ID of the newest decision the verdict rests on, else the check."""
    return float(run.ended.get("violated_at") or run.ended["rolled_back_at"])


@pytest.fixture(scope="module")
def runs(fleet_of_hosts: list[Host]) -> t.Iterator[dict[str, Run]]:
    """All modes, side by side on the hosts."""
    waiting = list(MODES_ON_HOSTS)
    found: dict[str, Run] = {}
    lock = threading.Lock()

    def work(host: Host) -> None:
        while True:
            with lock:
                if not waiting:
                    return
                mode = waiting.pop(0)
            begin = time.monotonic()
            try:
                found[mode] = _one(host, mode)
            except Exception as error:  # noqa: BLE001 - reported by this mode's own test
                found[mode] = Run(mode, error=f"{type(error).__name__}: {error}")
            print(f"{mode}: {time.monotonic() - begin:.0f} s", flush=True)

    with ThreadPoolExecutor(len(fleet_of_hosts)) as pool:
        for job in [pool.submit(work, host) for host in fleet_of_hosts]:
            job.result()
    yield found


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("mode", MODES_ON_HOSTS)
def test_a_bad_canary_ends_at_a_proven_baseline(runs: dict[str, Run], mode: str) -> None:
    run = runs[mode]
    assert run.activated, (run.error, run.output)
    assert not run.error
    assert (run.ended["state"], run.ended["outcome"]) == ("rolled_back", "violated")
    assert run.ended["trigger"] == "qsc_monitor_violation"
    [entry] = [entry for entry in run.logged if entry["action"] == "rollback_executed"]
    assert set(entry["codes"]) == set(expected(mode))
    for item in entry["measured"]:
        if item["code"] in NEEDS_MEASURED:
            assert isinstance(item["measured"], (int, float)), item
            assert isinstance(item["limit"], (int, float)), item
    assert entry["violations"]
    assert all(isinstance(text, str) and text for text in entry["violations"])
    assert entry["proof"]["unit"] == UNIT
    assert run.variables == {}
    assert run.second_changed == 0
    assert run.unchanged


def test_every_code_of_the_domain_occurs() -> None:
    wanted = {
        "action_collapse", "dead_zone", "flat_predictions", "narrow_range", "constant_output", "invalid_confidence",
        "invalid_action", "gate_failed", "no_go", "agreement_out_of_range", "hard_disagree", "canary_missing",
        "not_really_running", "stale_telemetry", "truncated_telemetry",
    }  # fmt: skip
    assert wanted <= {code for mode in MODES_ON_HOSTS for code in expected(mode)}


def test_seconds_from_the_violation_to_the_proven_baseline(
    runs: dict[str, Run], record_property: t.Callable[[str, object], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """Printed, not judged: speed is measured, never asserted."""
    seconds = [run.seconds for run in runs.values() if run.ended]
    assert seconds
    text = (
        f"violation recorded to proven baseline over {len(seconds)} runs: median {statistics.median(seconds):.2f} s, "
        f"maximum {max(seconds):.2f} s"
    )
    record_property("seconds_to_baseline", text)
    with capsys.disabled():
        print(f"\n{text}")
