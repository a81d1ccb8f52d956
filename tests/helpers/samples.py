# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plain values the tests of the hall and of the guard start from; each call may change any field."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard.systemd import UnitFacts
from ansible_collections.qsc.canary.plugins.module_utils.qsc.record import ACTIVE, Record
from ansible_collections.qsc.canary.plugins.module_utils.qsc.settings import ENVIRONMENT
from ansible_collections.qsc.canary.plugins.module_utils.qsc.verdict import Verdict, Violation

UNIT = "quantum-ai_engine.service"
BASELINE = {"xgb": 0.25, "lgbm": 0.25, "nhits": 0.30, "patchtst": 0.20}
CANARY = {"xgb": 0.28125, "lgbm": 0.28125, "nhits": 0.3375, "patchtst": 0.1}
COLLAPSE = Violation("action_collapse", "patchtst", 78.3, 70.0, "Action collapse: HOLD=78.3% (>70%)")

_RECORD = Record(
    id="patchtst-20260110T054315Z-beef",
    state=ACTIVE,
    owner="0f" * 16,
    generation=2,
    model="patchtst",
    weight=0.1,
    weights=CANARY,
    baseline=BASELINE,
    engine_unit=UNIT,
    environment=ENVIRONMENT,
    boot_id="kernel/mark",
    armed_at=1_768_000_000.0,
    armed_boot=1_000.0,
    arming_deadline_boot=1_300.0,
    interval_s=30.0,
    duration_s=21_600.0,
    hold_s=86_400.0,
    required_checks=0.95,
    stability_s=10.0,
    min_events=200,
    dropin_digest="d" * 64,
    engine_before={"invocation_id": "old"},
    since={"id": "1768000000000-0", "entries_added": 5000},
    activated_at=1_768_000_100.0,
    activated_boot=1_100.0,
    engine={"invocation_id": "new", "main_pid": 4321},
    effective="acknowledged",
)

_VERDICT = Verdict(
    canary_id=_RECORD.id,
    checked_at=1_768_021_700.0,
    checked_boot=22_700.0,
    boot_id=_RECORD.boot_id,
    checks_done=720,
    checks_judged=700,
    checks_missed=0,
    missed_in_a_row=0,
    max_missed_in_a_row=0,
    verdict="ok",
    status="GO",
    events=400,
    first_id="1768000100000-0",
    last_id="1768021699000-0",
    lag_s=1.5,
    complete=True,
    violations=(),
    message="400 decisions, no violation",
)

_ENGINE = UnitFacts(
    unit=UNIT,
    load_state="loaded",
    active_state="active",
    sub_state="running",
    main_pid=4321,
    invocation_id="new",
    n_restarts=0,
    started_ms=1_768_000_050_000,
    unit_file_state="enabled",
    dropin_paths=(),
    user="",
    result="success",
    exit_status="0",
)


def make_record(**changes: t.Any) -> Record:
    """An active canary, monitored since boot time 1100 s."""
    return replace(_RECORD, **changes)


def make_verdict(**changes: t.Any) -> Verdict:
    """The verdict of the last of 720 checks: all is well."""
    return replace(_VERDICT, **changes)


def make_engine(**changes: t.Any) -> UnitFacts:
    """A running engine, in the invocation the canary was activated with."""
    return replace(_ENGINE, **changes)
