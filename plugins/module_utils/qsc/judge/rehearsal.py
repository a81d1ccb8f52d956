# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""The monitor in a drill: its own code, but it reads no telemetry, and finds a violation where the drill wants one."""

from __future__ import annotations

import typing as t
from dataclasses import asdict, replace

from ..errors import TelemetryError
from ..files import read_bounded, write_json
from ..record import ACTIVE, Record, load
from ..settings import DrillPaths
from ..verdict import Violation
from . import monitor, rules
from .check import VIOLATION
from .connection import Connection

PLANTED = Violation("action_collapse", "canary", 100.0, 70.0, "Planted by a drill: HOLD=100.0% (>70%)")


def run_unit(paths: DrillPaths) -> tuple[int, list[str]]:
    """One check of the drill's canary; returns what :func:`monitor.run_unit` returns."""
    record = load(paths.record)
    if record is not None and record.state == ACTIVE and _asked(paths, record):
        found: dict[str, t.Any] = {
            "verdict": VIOLATION,
            "status": rules.NO_GO_STATUS,
            "message": PLANTED.message,
            "violations": [asdict(PLANTED)],
            "events": record.min_events,
        }
        write_json(paths.monitor_state, replace(monitor.RunState(record.id), latched=found).to_dict())
    return monitor.run_unit(paths, _no_telemetry)


def _asked(paths: DrillPaths, record: Record) -> bool:
    try:
        return read_bounded(paths.violation).decode("ascii", "replace") == record.id
    except FileNotFoundError:
        return False


def _no_telemetry() -> Connection:
    raise TelemetryError("a drill reads no telemetry", transient=True)
