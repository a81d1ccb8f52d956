# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""What may be missing from the telemetry, and whether two clocks can be compared. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import Refused
from .cutover import StreamId

SKEW_WARNING_S, SKEW_REFUSAL_S = 2.0, 30.0


@dataclass(frozen=True)
class StreamInfo:
    """One atomic look at a stream. ``first_id`` and ``last_id`` are None when it is empty; ``entries_added`` and
    ``max_deleted_id`` are None where Redis does not tell (before 7)."""

    length: int
    first_id: StreamId | None
    last_id: StreamId | None
    last_generated_id: StreamId
    entries_added: int | None
    max_deleted_id: StreamId | None


def lost_entries(info: StreamInfo, after: StreamId) -> str:
    """Why entries after ``after`` may be gone from the stream, or an empty text when none can be."""
    if info.max_deleted_id is not None and info.max_deleted_id > after:
        return f"entry {info.max_deleted_id} of the window was deleted"
    if info.first_id is not None and info.first_id <= after:
        return ""
    if info.entries_added is None:
        return "no entry from before the marker is left, and this Redis (before 7) does not count what was trimmed"
    gone = info.entries_added - info.length
    if gone > 0:
        return f"no entry from before the marker is left; {gone} were trimmed, perhaps some after it"
    return ""


@dataclass(frozen=True)
class Seen:
    """How far a monitor has read: all entries up to ``cursor``, when ``entries_added`` had been added in all.
    ``first_id`` was then the oldest entry (None: not known)."""

    cursor: StreamId
    entries_added: int | None
    first_id: StreamId | None = None


def lost_between(seen: Seen, info: StreamInfo) -> str:
    """Why entries that came after ``seen`` may have gone unread by the time of ``info``, or an empty text."""
    if info.last_generated_id < seen.cursor:
        return f"the stream was replaced: its last ID {info.last_generated_id} is before {seen.cursor}"
    if info.max_deleted_id is not None and info.max_deleted_id > seen.cursor:
        return f"entry {info.max_deleted_id} was deleted before it was read"
    if info.entries_added is not None and seen.entries_added is not None:
        new = info.entries_added - seen.entries_added
        if new < 0:
            return "the stream was replaced: it counts fewer entries than before"
        if new > info.length:
            return f"{new} entries were added since the last check, only {info.length} are left"
        return ""
    if info.first_id is None:
        return "" if info.last_generated_id == seen.cursor else "the stream was emptied"
    if info.first_id <= seen.cursor or info.first_id == seen.first_id:
        return ""  # the oldest entry is one that was there before: nothing newer was trimmed
    return lost_entries(info, seen.cursor)


def clock_skew(server_ms: int, now: float) -> tuple[float, list[str]]:
    """Redis' clock minus the host's, in s, and what to say about it. Raises Refused beyond 30 s."""
    skew = server_ms / 1000 - now
    if not abs(skew) <= SKEW_REFUSAL_S:
        raise Refused(
            f"the clocks of this host and of Redis are {skew:+.1f} s apart (limit {SKEW_REFUSAL_S:g} s)",
            remedy="Synchronise them (chrony, systemd-timesyncd): which decision came after the cutover is unknown.",
        )
    if abs(skew) > SKEW_WARNING_S:
        return skew, [f"the clocks of this host and of Redis are {skew:+.1f} s apart"]
    return skew, []
