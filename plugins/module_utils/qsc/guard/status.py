# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""What a host says of itself: record, engine, guards and proof, gathered without changing anything."""

from __future__ import annotations

import math
import os
import time
import typing as t
from dataclasses import dataclass

from .. import agent, freeze
from ..errors import BadInput, NotProven, QscError, RecordUnreadable, Refused, SystemdError
from ..files import digest_file, timestamp
from ..record import ACTIVE, ROLLING_BACK, Record, drift_text, load
from ..verdict import MISSED_LIMIT
from . import activation, effect, hooks, page, promotion, rollback, rollout_state, systemd, watchdog
from .host import MONITOR_TIMER, ROLLBACK_SERVICE, WATCHDOG_TIMER, Host, rollback_command, subject


def gather(host: Host, *, tail: int = 5) -> dict[str, t.Any]:
    """All facts of a host as JSON-ready data; what cannot be read stands in ``problems``."""
    facts = _look(host)
    return {**facts, "ledger_tail": host.ledger.tail(tail), "drill": host.ledger.find("drill_completed", "")}


def live(host: Host) -> dict[str, t.Any]:
    """What can be asked every few seconds: the facts without the ledger, which grows, but with the host's name and
    clocks, and what the watchdog expects of the checks of the run in flight."""
    facts = _look(host)
    clock = host.clock
    try:
        record = load(host.paths.record)
    except (OSError, RecordUnreadable):
        record = None  # ``problems`` says so
    return {
        **facts,
        "host": os.uname().nodename,
        "clock": {"wall": clock.wall(), "boot": clock.boot(), "boot_id": clock.boot_id(create=False)},
        "watching": _watching(record, clock.boot()) if record is not None else None,
        "steps": [*host.settings.steps],
    }


_POLL_S = 0.25
"""s between two looks at the monitor's verdict."""


@dataclass(frozen=True)
class Followed:
    """How far a run is: the ``checks`` that the monitor has made of it, done or missed, whether something is about to
    end it (``ending``), and whether it is over (``ended``): at its baseline, promoted, or followed by another run."""

    canary_id: str
    checks: int = 0
    ending: bool = False
    ended: bool = False

    def reached(self, checks: int) -> bool:
        """True when there is nothing more to wait for: so many checks were made and the run goes on, or it is over."""
        return self.ended or (self.checks >= checks and not self.ending)


def await_checks(host: Host, *, checks: int, timeout_s: float, canary_id: str = "") -> Followed:
    """Wait until the monitor has made so many checks of the run, or the run is over; at most ``timeout_s``.

    ``canary_id`` names the run; without it, the newest one. A run that is about to end is waited for until it is over.
    Raises Refused when there never was a run.
    """
    end = time.monotonic() + timeout_s
    while True:
        over = time.monotonic() >= end
        found = _follow(host, canary_id)
        if over or found.reached(checks):
            return found
        canary_id = found.canary_id
        time.sleep(min(_POLL_S, max(0.0, end - time.monotonic())))


def _follow(host: Host, canary_id: str) -> Followed:
    try:
        record = load(host.paths.record)
    except (OSError, RecordUnreadable):
        return Followed(canary_id, ending=True)  # the watchdog will not leave it like that
    if record is None and not canary_id:
        raise Refused("no canary ever ran on this host", remedy="Activate one: playbooks/quickstart.yml")
    if record is None or (canary_id and record.id != canary_id):
        return Followed(canary_id, ended=True)
    try:
        verdict = rollback.verdict_of(host, record)
    except RecordUnreadable:
        return Followed(record.id, ending=True, ended=not record.in_flight)
    judged_bad = verdict is not None and rollback.of_verdict(verdict) is not None
    return Followed(
        record.id,
        checks=verdict.checks_done + verdict.checks_missed if verdict is not None else 0,
        ending=record.state == ROLLING_BACK or judged_bad,
        ended=not record.in_flight,
    )


def _watching(record: Record, boot: float) -> dict[str, t.Any]:
    expected = watchdog.expected_checks(record)
    return {
        "expected": expected,
        "needed": math.ceil(record.required_checks * expected - 1e-9),
        "due": max(0, int((boot - record.activated_boot) / record.interval_s)) if record.state == ACTIVE else 0,
        "missed_limit": MISSED_LIMIT,
        "silence_limit_s": watchdog.silence_limit(record),
    }


def _look(host: Host) -> dict[str, t.Any]:
    problems: list[str] = []
    record = _attempt(problems, lambda: load(host.paths.record))
    unit = subject(host, record).engine_unit
    verdict = _attempt(problems, lambda: rollback.verdict_of(host, record)) if record is not None else None
    engine = _attempt(problems, lambda: systemd.show(unit))
    dropin = host.paths.dropin(unit)
    installed = agent.installed_digest(host.paths)
    return {
        "record": record.to_dict() if record is not None else None,
        "in_flight": record is not None and record.in_flight,
        "agent": {"installed": bool(installed), "digest": installed, "wanted": host.wanted_agent},
        "engine": engine.to_dict() if engine is not None else {"unit": unit},
        "dropin": {
            "path": str(dropin),
            "present": dropin.is_symlink() or dropin.exists(),
            "sha256": _attempt(problems, lambda: digest_file(dropin)) or "",
        },
        "guards": {unit: _state(unit) for unit in (WATCHDOG_TIMER, MONITOR_TIMER, ROLLBACK_SERVICE)},
        "verdict": verdict.to_dict() if verdict is not None else None,
        "proof": _proof(host, record, unit),
        "deadline": timestamp(record.ends_at) if record is not None and record.ends_at else "",
        "step": promotion.step_of(host.settings.steps, record) if record is not None and record.live else None,
        "seconds_left": _seconds_left(host, record),
        "rollback_cmd": rollback_command(record.id) if record is not None and record.in_flight else "",
        **_standing(host, record),
        "held_back": _held_back(problems, host, record),
        "problems": problems,
    }


def _standing(host: Host, record: Record | None) -> dict[str, t.Any]:
    """What stays until somebody does something about it."""
    opened, pending = page.current(host), hooks.due(host)
    drift = f"{record.baseline_path} {drift_text(record.drift)}" if record is not None and record.drift else ""
    return {
        "hook": hooks.line(pending) if pending is not None else "",
        "page": page.line(opened) if opened is not None else "",
        "frozen": str(host.paths.freeze) if host.paths.freeze.exists() else "",
        "drift": drift,
    }


def _held_back(problems: list[str], host: Host, record: Record | None) -> list[str]:
    """What an operator has set before the next step of a rollout."""
    found = []
    window = _attempt(problems, lambda: freeze.frozen(host.settings.freeze_windows, host.clock.wall()))
    if window is not None:
        found.append(f"frozen {activation.frozen_line(window)}")
    state = _attempt(problems, lambda: rollout_state.read(host))
    if state is None:
        return [*found, "no step is taken while that file cannot be read"]
    if state.paused is not None:
        found.append(state.paused.line())
    step = promotion.next_step(host.settings.steps, record) if record is not None and record.state == ACTIVE else None
    if record is not None and step is not None and rollout_state.needs_approval(host, state, record, step):
        found.append(f"the step to {100 * step:g} % needs an approval: {rollout_state.approve_command(step)}")
    return found


_Found = t.TypeVar("_Found")


def _attempt(problems: list[str], action: t.Callable[[], _Found]) -> _Found | None:
    try:
        return action()
    except (OSError, BadInput, RecordUnreadable, SystemdError) as error:
        problems.append(str(error))
        return None


def _state(unit: str) -> str:
    try:
        facts = systemd.show(unit)
    except SystemdError as error:
        return str(error)
    return facts.active_state if facts.load_state == "loaded" else facts.load_state


def _proof(host: Host, record: Record | None, unit: str) -> dict[str, t.Any]:
    """What the engine's process really runs now: canary, baseline, or neither shown."""
    names = tuple(subject(host, record).environment.values())
    questions: dict[str, t.Callable[[], systemd.Proof]] = {
        "baseline": lambda: systemd.prove(unit, expected={}, names=names, timeout_s=1.0)
    }
    if record is not None and record.in_flight:
        questions["canary"] = lambda: effect.shown(host, record, timeout_s=1.0)
        if host.paths.restart_due.exists():  # the process of before, with other weights in its memory
            del questions["baseline"]
    reason = ""
    for state, question in questions.items():
        try:
            proof = question()
        except (NotProven, QscError, OSError) as error:
            reason = str(error)
        else:
            return {"state": state, "reason": "", **proof.to_dict()}
    return {"state": "unproven", "reason": reason}


def _seconds_left(host: Host, record: Record | None) -> float | None:
    if record is None or record.state != ACTIVE:
        return None
    if record.held:
        return max(0.0, record.hold_s - (host.clock.boot() - record.concluded_boot))
    return max(0.0, record.deadline_s - (host.clock.boot() - record.activated_boot))
