# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""A rollback that cannot be proven: try again with growing pauses, then stop hammering and call a human.

A page stays until somebody acknowledges it, also when a later try succeeds. While it is open no activation is taken,
and the watchdog tries again only now and then.
"""

from __future__ import annotations

import time
import typing as t

from ..errors import BadInput, QscError, RecordUnreadable, Refused
from ..files import read_json, remove, timestamp, try_io, write_json
from ..record import load
from ..verdict import printable
from .host import Host
from .rollback import roll_back, trigger_of_unit

EXIT_RETRY, EXIT_PAGED = 1, 5
"""Exit codes of the rollback unit: systemd starts it again after 1, and leaves it failed after 5."""
RETRY_PAGED_S = 600.0
_LONGEST_PAUSE_S = 60.0


def one_try(host: Host) -> tuple[int, list[str]]:
    """One try of the rollback unit: (exit code, lines for the journal). A failed one waits before it returns."""
    try:
        lines = roll_back(host, trigger_of_unit).lines()
    except (QscError, OSError) as error:
        return _failed(host, str(error))
    except Exception as error:  # noqa: BLE001 - a defect of ours must call a human too, not fail in silence for ever
        return _failed(host, f"{type(error).__name__}: {error}")
    try_io("tries", lambda: remove(host.paths.rollback_tries))
    return 0, lines


def _failed(host: Host, why: str) -> tuple[int, list[str]]:
    tries = _counted(host)[0] + 1
    counted = {"tries": tries, "last_boot": host.clock.boot()}
    problem = try_io("the try could not be counted", lambda: write_json(host.paths.rollback_tries, counted))
    lines = [f"try {tries} failed: {why}", *([problem] if problem else [])]
    if tries >= host.settings.page_after:
        return EXIT_PAGED, [*lines, *_call(host, tries, why)]
    pause = min(2.0**tries, _LONGEST_PAUSE_S)
    time.sleep(pause)
    return EXIT_RETRY, [*lines, f"tried again after {pause:g} s"]


def _counted(host: Host) -> tuple[int, float]:
    """The tries so far and the boot time of the last one; without a count that can be used no try, long ago."""
    try:
        raw = read_json(host.paths.rollback_tries)
        return int(raw["tries"]), float(raw["last_boot"])
    except (OSError, QscError, KeyError, TypeError, ValueError, OverflowError):
        return 0, -RETRY_PAGED_S


def _call(host: Host, tries: int, why: str) -> list[str]:
    """Open the page once; say it every time, at the journal's highest priority."""
    unit, canary = host.settings.engine_unit, ""
    try:
        record = load(host.paths.record)
        if record is not None:
            unit, canary = record.engine_unit, record.id
    except (RecordUnreadable, OSError):
        pass  # the page is about that, too: its reason says so
    text = f"the baseline of {unit} is not proven after {tries} tries: {printable(why)}"
    notes = []
    if current(host) is None:
        opened = {"at": host.clock.wall(), "canary_id": canary, "unit": unit, "tries": tries, "reason": text}
        problem = try_io("the page could not be kept", lambda: write_json(host.paths.page, opened))
        if problem:  # a full disk may be the very reason
            notes.append(problem)
            problem = try_io("the page could not be kept in /run", lambda: write_json(host.paths.page_in_run, opened))
            notes += [problem] if problem else []
        entry = {"canary_id": canary, "reason": text, "tries": tries}
        problem = try_io("the page could not be logged", lambda: _log(host, entry))
        notes += [problem] if problem else []
    # <0> is sd-daemon(3)'s mark of an emergency: journald shows it on every terminal
    return [*notes, f"<0>qsc.canary needs a human: {text}. See: qsc status. When you know why: qsc acknowledge"]


def _log(host: Host, entry: t.Mapping[str, t.Any]) -> None:
    with host.lock(wait_s=10.0):
        host.ledger.append("paged", entry, wall=host.clock.wall())


def current(host: Host) -> dict[str, t.Any] | None:
    """The open page of this host, None when there is none. A page that cannot be read is a page."""
    for path in (host.paths.page, host.paths.page_in_run):
        try:
            raw = read_json(path)
            at = float(raw["at"])
            if not 0 <= at < 1e11:
                raise ValueError("at is not a time")
            return {"at": at, "reason": printable(str(raw["reason"])), "tries": int(raw["tries"])}
        except FileNotFoundError:
            continue
        except (OSError, QscError, KeyError, TypeError, ValueError, OverflowError) as error:
            return {"at": 0.0, "reason": f"{path} cannot be read: {printable(str(error))}", "tries": 0}
    return None


def line(opened: t.Mapping[str, t.Any]) -> str:
    """The open page in one sentence, for people."""
    return f"{_needed(opened)}. When you know why: qsc acknowledge"


def _needed(opened: t.Mapping[str, t.Any]) -> str:
    since = f" since {timestamp(opened['at'])}" if opened["at"] else ""
    return f"a human is needed{since}: {opened['reason']}"


def quiet(host: Host) -> bool:
    """True while the last try of an open page is so young that another one would only hammer at the engine."""
    if current(host) is None:
        return False
    return 0 <= host.clock.boot() - _counted(host)[1] < RETRY_PAGED_S


def check(host: Host) -> None:
    """Raise Refused while a page is open."""
    opened = current(host)
    if opened is not None:
        raise Refused(_needed(opened), remedy="When you know why, on that host: qsc acknowledge")


def acknowledge(host: Host, reason: str) -> str:
    """Close the page, and let the host try as often as before; returns what was acknowledged. Raises BadInput."""
    with host.lock(wait_s=60.0):
        opened = current(host)
        if opened is None:
            raise BadInput("there is nothing to acknowledge on this host", remedy="See: qsc status")
        entry = {"canary_id": "", "reason": reason, "acknowledged": opened["reason"]}
        host.ledger.append("page_acknowledged", entry, wall=host.clock.wall())
        for path in (host.paths.rollback_tries, host.paths.page, host.paths.page_in_run):
            remove(path)
    return str(opened["reason"])
