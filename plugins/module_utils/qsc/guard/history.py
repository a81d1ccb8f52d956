# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""What the ledger says of a model's earlier runs: nobody retries a bad model by accident, or over and over again."""

from __future__ import annotations

import calendar
import time
import typing as t

from ..errors import Refused
from .host import Host

Entry = t.Mapping[str, t.Any]


def check(host: Host, model: str, acknowledge: str) -> None:
    """Raise Refused where an operator has to acknowledge the model's last run first."""
    settings = host.settings
    objection = find_objection(
        host.ledger.entries(),
        model,
        acknowledge,
        now=host.clock.wall(),
        most=settings.breaker_rollbacks,
        window_s=settings.breaker_window_s,
    )
    if objection is not None:
        raise objection


def find_objection(
    entries: t.Sequence[Entry], model: str, acknowledge: str, *, now: float, most: int, window_s: float
) -> Refused | None:
    """Why the model may not be activated without ``acknowledge`` being the id of its last run, or None. Pure.

    Its last run was violated, or (the loop breaker, off where ``most`` is 0) so many of its runs were rolled back
    within ``window_s`` that another one is not likely to end otherwise. An acknowledged activation starts
    the count anew.
    """
    last: Entry | None = None
    count = 0
    for entry in reversed(entries):
        if entry.get("canary_model") != model:
            continue
        if entry.get("action") == "canary_activated":
            if last is None or entry.get("acknowledged"):
                break
        elif _led_to(entry, last):
            last, count = entry, count + 1
        elif entry.get("action") == "rollback_executed" and entry.get("outcome"):  # without one it ended no run
            last = last or entry
            # the same clock wrote them: an entry of the future counts, a clock that was put back hides none
            counts = entry.get("trigger") not in ("manual", "aborted") and entry.get("outcome") != "safe"
            count += counts and now - _wall(entry) <= window_s
    if last is None or acknowledge == str(last.get("canary_id", "")):
        return None
    last_id = str(last.get("canary_id", ""))
    remedy = f"When you know why, activate with: -e acknowledge={last_id}"
    if last.get("outcome") == "violated":
        violations = "; ".join(last.get("violations") or ())
        return Refused(f"the last run of {model} ({last_id}) was violated: {violations}", remedy=remedy)
    if most and count >= most:
        why = f"{last.get('trigger', '')}: {last.get('reason', '')}"
        return Refused(
            f"{model} was rolled back {count} times within {window_s / 3600:g} h, the limit is {most}; "
            f"last ({last_id}): {why}",
            remedy=remedy,
        )
    return None


def last_run(newest_first: t.Iterable[Entry], model: str) -> Entry | None:
    """The entry that tells how the model's last run ended, or, where none does, of its beginning; None where it never
    ran. Pure.

    Where that run was one that a violation had led back to, and was not violated itself, the entry of that violation:
    ``find_objection`` wants that one acknowledged.
    """
    last: Entry | None = None
    for entry in newest_first:
        if entry.get("canary_model") != model or not entry.get("canary_id"):
            continue
        action = entry.get("action")
        if action in ("promoted", "canary_activated") or (action == "canary_promoted_step" and last is None):
            return last or entry
        if _led_to(entry, last):
            last = entry
        elif action == "rollback_executed" and entry.get("outcome"):
            last = last or entry
    return last


def _led_to(entry: Entry, last: Entry | None) -> bool:
    """Whether this is the violation that led back to the last run, which was not violated itself. One that led to an
    earlier run has had its acknowledgement since."""
    if entry.get("action") != "stepped_back":
        return False
    if last is None:
        return True
    return last.get("canary_id") == entry.get("to_canary_id") and last.get("outcome") != "violated"


def _wall(entry: Entry) -> float:
    """Wall s of an entry; one whose time cannot be read is of now, so that it counts."""
    try:
        return float(calendar.timegm(time.strptime(str(entry.get("timestamp"))[:19], "%Y-%m-%dT%H:%M:%S")))
    except ValueError:
        return float("inf")
