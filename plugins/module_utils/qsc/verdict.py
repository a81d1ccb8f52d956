# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""The monitor's verdict: written by the unprivileged monitor, parsed by the guard as hostile."""

from __future__ import annotations

import json
import math
import typing as t
from dataclasses import asdict, dataclass

from .errors import RecordUnreadable

SCHEMA = 1
VERDICTS = ("ok", "waiting", "violation", "inconclusive", "terminated", "transient")
STATUSES = ("GO", "WAIT", "NO-GO")
LIMIT = 1 << 18
"""Bytes: a larger verdict is not one."""
MISSED_LIMIT = 4
"""More checks missed in a row than this end the run."""
HALF_JUDGED = 0.5
"""A run of which a smaller share of its checks could judge is not safe: it was hardly watched."""
MONITOR_VIOLATION = "qsc_monitor_violation"
"""The trigger of a rollback that the monitor's verdict calls for."""
EXPOSURE_BUDGET = "exposure_budget"
"""The trigger where the budget is spent, and its code among the violations."""
_MOST_VIOLATIONS = 200
_LAST_MOMENT = 1e11


def printable(text: str, limit: int = 500) -> str:
    """``text`` without control characters (a terminal, a unit file or a log would act on them), cut to ``limit``."""
    clean = text[: limit + 1]
    if not clean.isprintable():
        clean = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in clean)
    return clean if len(clean) <= limit else clean[: limit - 1] + "\N{HORIZONTAL ELLIPSIS}"


def about(seconds: float) -> str:
    """A duration for people."""
    if not math.isfinite(seconds):
        return "an unknown time"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


@dataclass(frozen=True)
class Violation:
    """One violated rule: its code, whom it concerns, the unrounded figure, its limit, and a sentence."""

    code: str
    subject: str
    measured: float | None
    limit: float | None
    message: str


@dataclass(frozen=True)
class Verdict:
    """What one check found, with the counters of the run. ``checked_boot`` is the heartbeat, in s of boot time."""

    canary_id: str
    checked_at: float
    checked_boot: float
    boot_id: str
    checks_done: int
    checks_judged: int
    checks_missed: int
    missed_in_a_row: int
    max_missed_in_a_row: int
    verdict: str
    status: str
    events: int
    first_id: str
    last_id: str
    lag_s: float | None
    complete: bool
    violations: tuple[Violation, ...]
    message: str

    def to_dict(self) -> dict[str, t.Any]:
        """As JSON-ready data."""
        data = asdict(self)
        data["schema"] = SCHEMA
        data["violations"] = [asdict(violation) for violation in self.violations]
        return data

    @classmethod
    def from_hostile(cls, data: bytes) -> Verdict:
        """Parse what a compromised monitor may have written: every type, range and length is checked.

        Raises RecordUnreadable; never anything else.
        """
        try:
            if len(data) > LIMIT:
                raise ValueError(f"larger than {LIMIT} bytes")
            raw = json.loads(data)
            if not isinstance(raw, dict) or raw.get("schema") != SCHEMA:
                raise ValueError("not a verdict of schema 1")
            violations = raw["violations"]
            if not isinstance(violations, list) or len(violations) > _MOST_VIOLATIONS:
                raise ValueError("violations: not a short list")
            return cls(
                canary_id=text_in(raw, "canary_id"),
                checked_at=_moment(raw, "checked_at"),
                checked_boot=_moment(raw, "checked_boot"),
                boot_id=text_in(raw, "boot_id"),
                checks_done=count_in(raw, "checks_done"),
                checks_judged=count_in(raw, "checks_judged"),
                checks_missed=count_in(raw, "checks_missed"),
                missed_in_a_row=count_in(raw, "missed_in_a_row"),
                max_missed_in_a_row=count_in(raw, "max_missed_in_a_row"),
                verdict=choice_in(raw, "verdict", VERDICTS),
                status=choice_in(raw, "status", STATUSES),
                events=count_in(raw, "events"),
                first_id=text_in(raw, "first_id"),
                last_id=text_in(raw, "last_id"),
                lag_s=_optional_number(raw, "lag_s"),
                complete=raw.get("complete") is True,
                violations=tuple(violation_of(item) for item in violations),
                message=text_in(raw, "message"),
            )
        except (KeyError, TypeError, ValueError, RecursionError, OverflowError) as error:
            raise RecordUnreadable(f"the monitor's verdict cannot be used: {printable(str(error), 200)}") from error


def violation_of(raw: t.Any) -> Violation:
    """Take one violation from JSON data. Raises ValueError or KeyError."""
    if not isinstance(raw, dict):
        raise ValueError("violation: not an object")
    return Violation(
        code=text_in(raw, "code"),
        subject=text_in(raw, "subject"),
        measured=_optional_number(raw, "measured"),
        limit=_optional_number(raw, "limit"),
        message=text_in(raw, "message"),
    )


def text_in(raw: dict[str, t.Any], key: str) -> str:
    """A text, printable and short. Raises ValueError or KeyError."""
    value = raw[key]
    if not isinstance(value, str):
        raise ValueError(f"{key}: not text")
    return printable(value)


def choice_in(raw: dict[str, t.Any], key: str, choices: t.Sequence[str]) -> str:
    """One of the choices. Raises ValueError or KeyError."""
    value = raw[key]
    if value not in choices:
        raise ValueError(f"{key}: not one of {', '.join(choices)}")
    return str(value)


def _number(raw: dict[str, t.Any], key: str) -> float:
    value = raw[key]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{key}: not a finite number")
    return float(value)


def _moment(raw: dict[str, t.Any], key: str) -> float:
    """A time in s that every clock can show."""
    value = _number(raw, key)
    if not 0 <= value <= _LAST_MOMENT:
        raise ValueError(f"{key}: not a time")
    return value


def _optional_number(raw: dict[str, t.Any], key: str) -> float | None:
    return None if raw.get(key) is None else _number(raw, key)


def count_in(raw: dict[str, t.Any], key: str) -> int:
    """A count, as JSON can hold it exactly. Raises ValueError or KeyError."""
    value = raw[key]
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 53:
        raise ValueError(f"{key}: not a count")
    return int(value)
