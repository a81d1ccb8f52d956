# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host says of itself: complete, unchanged by asking, and never silent about what it could not read."""

from __future__ import annotations

import json
import typing as t

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import SystemdError
from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard import rollback, status
from ansible_collections.qsc.canary.plugins.module_utils.qsc.tell.status import ledger_line, status_lines
from helpers.machine import DIGEST, Machine
from helpers.samples import COLLAPSE, UNIT


def gather(machine: Machine) -> dict[str, t.Any]:
    before = machine.files()
    facts = status.gather(machine.host)
    assert machine.files() == before
    assert machine.events == []
    json.dumps(facts, allow_nan=False)
    return facts


def text(machine: Machine) -> str:
    return "\n".join(status_lines(gather(machine)))


def test_before_any_canary(machine: Machine) -> None:
    facts = gather(machine)
    assert (facts["record"], facts["in_flight"], facts["verdict"], facts["problems"]) == (None, False, None, [])
    assert facts["proof"]["state"] == "baseline"
    assert facts["agent"] == {"installed": True, "digest": DIGEST, "wanted": DIGEST}
    assert (facts["deadline"], facts["seconds_left"], facts["rollback_cmd"]) == ("", None, "")
    assert "canary    none yet" in text(machine)


def test_armed(machine: Machine) -> None:
    record = machine.arm()
    machine.events.clear()
    facts = gather(machine)
    assert facts["in_flight"]
    assert facts["deadline"] == "2026-01-10T06:48:20.000Z", "300 s after 06:43:20"
    assert facts["rollback_cmd"] == f"/usr/local/bin/qsc rollback --id {record.id}"
    assert facts["proof"]["state"] == "baseline"


def test_active(machine: Machine) -> None:
    record = machine.run_canary()
    machine.time.sleep(600)
    facts = gather(machine)
    assert facts["proof"]["state"] == "canary"
    assert facts["proof"]["main_pid"] == machine.engine.pid
    assert facts["seconds_left"] == 21_000.0
    assert facts["dropin"]["present"]
    assert facts["dropin"]["sha256"] == record.dropin_digest
    assert facts["verdict"]["events"] == 400
    shown = text(machine)
    for part in (record.id, "patchtst at 10 %", "xgb 28.125 %", "nhits 30 %", "5 h 50 min 00 s left", "verdict   ok",
                 f"way back  /usr/local/bin/qsc rollback --id {record.id}", "runs the canary", "720 done"):  # fmt: skip
        assert part in shown


def test_rolled_back(machine: Machine) -> None:
    machine.run_canary()
    rollback.roll_back(machine.host, rollback.Finding("qsc_monitor_violation", "HOLD", "violated", (COLLAPSE,)))
    machine.events.clear()
    facts = gather(machine)
    assert (facts["in_flight"], facts["rollback_cmd"], facts["proof"]["state"]) == (False, "", "baseline")
    assert "rolled_back, violated (qsc_monitor_violation: HOLD)" in text(machine)


def test_neither_canary_nor_baseline_is_shown(machine: Machine) -> None:
    machine.run_canary()
    machine.engine.environment.pop("QSC_CANARY_TRAFFIC")
    assert gather(machine)["proof"]["state"] == "unproven"
    assert "not shown" in text(machine)
    machine.stop_engine()
    assert gather(machine)["proof"]["state"] == "unproven"


@pytest.mark.parametrize("case", ["record", "verdict", "systemd", "drop-in a link"])
def test_what_cannot_be_read_is_a_problem_not_a_failure(machine: Machine, case: str) -> None:
    machine.run_canary()
    if case == "record":
        machine.paths.record.write_text("{")
    elif case == "verdict":
        machine.paths.verdict.write_bytes(b'{"message": "\x1b[2J')
    elif case == "systemd":
        machine.fail("show", SystemdError("no answer"))
    else:
        machine.dropin.unlink()
        machine.dropin.symlink_to("/etc/shadow")
    facts = gather(machine)
    assert facts["problems"]
    assert "problem   " in text(machine)
    assert "\x1b" not in text(machine)


def test_without_an_agent(machine: Machine) -> None:
    (machine.paths.agent_root / "current").unlink()
    assert gather(machine)["agent"] == {"installed": False, "digest": "", "wanted": DIGEST}


def test_guards(machine: Machine) -> None:
    machine.units.pop("qsc-rollback.service")
    machine.units["qsc-monitor.timer"].load_state = "masked"
    assert gather(machine)["guards"] == {
        "qsc-watchdog.timer": "active",
        "qsc-monitor.timer": "masked",
        "qsc-rollback.service": "not-found",
    }


@pytest.mark.parametrize("finding", [rollback.Finding("manual", "why"), rollback.Finding("x", "y", "", (COLLAPSE,))])
def test_the_ledger_in_lines(machine: Machine, finding: rollback.Finding) -> None:
    record = machine.run_canary()
    rollback.roll_back(machine.host, finding)
    lines = [ledger_line(entry) for entry in machine.ledger()]
    assert f"qsc rollback --id {record.id}" in lines[0]
    assert (COLLAPSE.message if finding.violations else "why") in lines[1]
    assert all(line.isprintable() for line in lines)


def test_an_entry_that_waits_says_so() -> None:
    entry = {"action": "orphan_removed", "reason": "why", "sequence": 1}
    assert ledger_line(entry).endswith("why")
    del entry["sequence"]
    assert ledger_line(entry).endswith("why (waits for room on the disk)")


def test_the_deadline_of_a_safe_run_is_the_end_of_its_hold(machine: Machine) -> None:
    from dataclasses import replace

    from ansible_collections.qsc.canary.plugins.module_utils.qsc.record import save

    record = machine.run_canary()
    save(machine.paths.record, replace(record, outcome="safe", concluded_at=0.0))
    facts = gather(machine)
    assert (facts["deadline"], facts["seconds_left"]) == ("1970-01-02T00:00:00.000Z", 86_400.0 - machine.time.boot)
    assert UNIT in facts["engine"]["unit"]
