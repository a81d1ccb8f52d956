# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""The telemetry of one run, as far as its checks could see it, out of the stream and back out of an archive."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass

from ..errors import BadInput
from ..files import parse_json, read_bounded
from ..settings import Paths
from . import checklog
from .cadence import SAMPLE
from .checklog import CheckLog
from .cutover import ZERO, StreamId
from .frame import HISTORY
from .loss import StreamInfo
from .options import SEQUENTIAL, MonitorOptions
from .stream import Entry, StreamReader

MOST_ENTRIES = 200_000
MOST_BYTES = 128 << 20
"""Bytes of all decisions, as they are written."""


@dataclass(frozen=True)
class Archived:
    """Entries of a stream, oldest first, and how the stream was when they were read (None: there was none)."""

    entries: tuple[Entry, ...]
    left: StreamInfo | None


def log_bytes(paths: Paths, canary_id: str) -> bytes:
    """The log of a run's checks as it lies on the host. Raises BadInput when there is none."""
    found = b""
    try:
        files = checklog.paths_of(paths, canary_id)
    except ValueError as error:
        raise BadInput(str(error), remedy="See the ids with: qsc log") from None
    for path in files:
        try:
            found += read_bounded(path, 2 * checklog.MOST_BYTES) + b"\n"
        except FileNotFoundError:
            continue
    if not found:
        raise BadInput(
            f"{files[-1]} does not exist: no check of this run was logged, or newer runs have taken its place",
            remedy=f"The host keeps the checks of its newest {checklog.KEPT_RUNS} runs.",
        )
    return found


def options_of(log: CheckLog) -> MonitorOptions:
    """By what the checks of a log were judged. Raises BadInput."""
    try:
        since = StreamId.parse(log.header["since"])
    except ValueError as error:
        raise BadInput(f"the log of the checks has no marker: {error}", remedy="Give another archive.") from error
    try:
        return MonitorOptions.from_dict(log.header["options"], model=log.header["model"], since=since)
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
        raise BadInput(
            f"nobody can judge by the options of the log: {error!r:.120}", remedy="Give another archive."
        ) from error


def history(options: MonitorOptions) -> int:
    """How many decisions from before the marker a check looks at: none where the gate has frozen what they teach."""
    if options.policy == SEQUENTIAL and options.frame is None:
        return HISTORY
    return SAMPLE if options.stale_after is None or options.max_wait is None else 0


def gather(reader: StreamReader, log: CheckLog) -> tuple[bytes, dict[str, t.Any]]:
    """All entries that the checks of a log could have read, as JSON lines, and what is known about them.

    Raises TelemetryError, and BadInput when they are too many.
    """
    options = options_of(log)
    since, until = options.since, log.until or options.since
    reader.info()  # a stream that is gone is told from one that is empty
    lines, size = [], 0
    for entry in reader.oldest(since, until, MOST_ENTRIES + 1):
        lines.append(line_of(entry))
        size += len(lines[-1])
        if size > MOST_BYTES or reader.scanned > MOST_ENTRIES:
            raise BadInput(
                f"the decisions of this run have more than {MOST_BYTES >> 20} MiB or {MOST_ENTRIES} entries",
                remedy="Export them from Redis by hand (XRANGE); the rest of the evidence is written without them.",
            )
    scanned, judged = reader.scanned, len(lines)
    depth = history(options)
    before = [line_of(entry) for entry in reader.newest(depth, ZERO, since)][::-1] if depth else []
    left = reader.info()
    facts = {
        "stream": reader.stream,
        "since": str(since),
        "until": str(until),
        "read_at_ms": reader.server_ms(),
        "left": checklog.info_to(left),
        "decisions": judged,
        "before": len(before),
        "missing": _missing(log, options, left, scanned),
    }
    return b"".join([*before, *lines]), facts


def _missing(log: CheckLog, options: MonitorOptions, left: StreamInfo, scanned: int) -> dict[str, t.Any] | None:
    """Which entries of the run are not in the stream any more, and how many where Redis counts them."""
    lowest = whole_from(left, None)
    if lowest <= options.since.next() or log.until is None or log.until <= options.since:
        return None
    added = [line.inputs.before.entries_added for line in log.lines if line.inputs]
    begin, end = options.entries_added, max((count for count in added if count is not None), default=None)
    count = None if begin is None or end is None else max(0, end - begin - scanned)
    if count == 0:
        return None
    return {"after": str(options.since), "before": str(min(lowest, log.until.next())), "count": count}


def whole_from(left: StreamInfo | None, deleted_before: StreamId | None) -> StreamId:
    """From which ID on all is there that ever was, but for what had been deleted already up to ``deleted_before``."""
    if left is None:
        return StreamId((1 << 64) - 1, 0)
    lowest = left.first_id or left.last_generated_id.next()
    if left.max_deleted_id is not None and left.max_deleted_id != deleted_before:
        lowest = max(lowest, left.max_deleted_id.next())
    return lowest


def line_of(entry: Entry) -> bytes:
    """An entry as one line of JSON; bytes that are no text are kept as lone surrogates. ``pairs`` instead of ``fields``
    where a name stands twice."""
    pairs = [[word.decode("utf-8", "surrogateescape") for word in pair] for pair in entry.fields]
    fields = dict(t.cast("list[tuple[str, str]]", pairs))
    told: dict[str, t.Any] = {"fields": fields} if len(fields) == len(pairs) else {"pairs": pairs}
    return json.dumps({"id": str(entry.id), **told}, separators=(",", ":")).encode() + b"\n"


def parse(decisions: bytes, facts: bytes) -> Archived:
    """Take both out of an archive. Raises BadInput naming the line."""
    found: list[Entry] = []
    for number, line in enumerate(decisions.split(b"\n"), 1):
        if not line:
            continue
        try:
            entry = _entry(parse_json(line))
            if found and entry.id <= found[-1].id:
                raise ValueError("the IDs do not rise")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise BadInput(
                f"decisions.jsonl line {number} is not an entry of a stream: {error!r:.120}",
                remedy="Give an archive that qsc evidence has written.",
            ) from error
        found.append(entry)
        if len(found) > MOST_ENTRIES + HISTORY:
            raise BadInput(f"decisions.jsonl has more than {MOST_ENTRIES} entries", remedy="Give another archive.")
    try:
        left = checklog.info_of(parse_json(facts)["left"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadInput(f"telemetry.json cannot be used: {error!r:.120}", remedy="Give another archive.") from error
    return Archived(tuple(found), left)


def _entry(raw: t.Any) -> Entry:
    pairs = raw["pairs"] if "pairs" in raw else list(raw["fields"].items())
    return Entry(StreamId.parse(raw["id"]), [(_bytes(name), _bytes(value)) for name, value in pairs])


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
