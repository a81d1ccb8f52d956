# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""Recorded telemetry: a range of a stream, or a file of JSON lines, as decisions in order."""

from __future__ import annotations

import errno
import json
import typing as t
from dataclasses import dataclass
from pathlib import Path

from ..errors import BadInput, TelemetryError
from ..files import read_bounded
from ..verdict import printable
from .cutover import ZERO, StreamId, utc
from .decisions import Decision, Dialect, Fields, parse
from .stream import StreamReader, selected, wanted_fields

MOST_FILE_BYTES = 1 << 28
"""Bytes of a file: some 200,000 real decisions."""
MOST_DECISIONS = 200_000
_LEAST_MS, _MOST_MS = 10**11, 10**14
_FORM = 'Each line is one entry of the stream: {"ms": 1768023795000, "fields": {"payload": "{...}"}}.'


@dataclass(frozen=True)
class Recording:
    """Decisions, oldest first, and where they come from."""

    source: str
    decisions: t.Sequence[Decision]

    @property
    def first_ms(self) -> int:
        return self.decisions[0].id.ms

    @property
    def last_ms(self) -> int:
        return self.decisions[-1].id.ms

    def models(self) -> dict[str, int]:
        """How many decisions each model voted in."""
        found: dict[str, int] = {}
        for decision in self.decisions:
            for name in decision.votes:
                found[name] = found.get(name, 0) + 1
        return found

    def require(self, model: str, dialect: Dialect) -> None:
        """Raises BadInput when the model never votes in it."""
        known = self.models()
        if model in known:
            return
        remedy = "Correct the name, or map the telemetry's name to it with aliases."
        alias = dialect.aliases.get(model)
        if alias is not None:
            remedy = f"The aliases call it {alias!r}: use that name."
        there = printable(", ".join(sorted(known)) or "none", 300)
        raise BadInput(f"model={model!r} never votes in {self.source}; known are: {there}", remedy=remedy)


@dataclass(frozen=True)
class Range:
    """The part of the telemetry that is meant: ``since`` < id <= ``until`` (None: to the end)."""

    since: StreamId = ZERO
    until: StreamId | None = None

    def holds(self, entry: StreamId) -> bool:
        """Whether an entry lies in it."""
        return entry > self.since and (self.until is None or entry <= self.until)

    @property
    def text(self) -> str:
        """For messages."""
        since = f"after {utc(self.since.ms)}" if self.since.ms else "from the beginning"
        return since + (f" until {utc(self.until.ms)}" if self.until else "")


EVERYTHING = Range()


def from_stream(reader: StreamReader, dialect: Dialect, part: Range) -> Recording:
    """What the stream still holds of a range. Raises TelemetryError, BadInput when it is empty or too long."""
    until = part.until or reader.info().last_generated_id
    found = [parse(entry.id, entry.fields, dialect) for entry in reader.newest(MOST_DECISIONS + 1, part.since, until)]
    return _recording(f"the stream {reader.stream}", found[::-1], part)


def from_file(path: str, dialect: Dialect, part: Range, match: t.Mapping[str, str] | None = None) -> Recording:
    """The entries of a file. Raises BadInput naming the file, or the line in it, TelemetryError when it cannot be read.

    IDs in the stream are made of each line's ``ms``, and its place among those of the same millisecond.
    """
    try:
        data = read_bounded(Path(path).resolve(), MOST_FILE_BYTES)
    except FileNotFoundError:
        raise BadInput(f"file={path!r:.200} does not exist", remedy="Name a file on this host.") from None
    except (OSError, ValueError, RuntimeError) as error:
        raise _unreadable(path, error) from error
    wanted, found = wanted_fields(match), []
    last = ZERO
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        ms, fields = _line(path, number, line)
        if ms < last.ms:
            raise _broken(path, number, f"goes back in time, from {utc(last.ms)} to {utc(ms)}", "Sort the lines by ms.")
        last = StreamId(ms, last.seq + 1 if ms == last.ms else 0)
        if part.holds(last) and selected(fields, wanted):
            found.append(parse(last, fields, dialect))
    return _recording(f"the file {printable(path, 200)}", found, part)


def _unreadable(path: str, error: Exception) -> BadInput | TelemetryError:
    shown = f"file={path!r:.200}"
    if isinstance(error, OSError) and error.errno == errno.EFBIG:
        return BadInput(
            f"{shown} is larger than {MOST_FILE_BYTES >> 20} MiB", remedy="Give a part of it: split it by lines."
        )
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return TelemetryError(f"{shown} cannot be read: {reason}", remedy="Name a file that may be read.")


def _broken(path: str, number: int, what: str, remedy: str = _FORM) -> BadInput:
    return BadInput(f"file={path!r:.200}: line {number} {what}", remedy=remedy)


def _line(path: str, number: int, line: bytes) -> tuple[int, Fields]:
    try:
        raw = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _broken(path, number, f"is not JSON: {printable(str(error), 120)}") from error
    if not isinstance(raw, dict) or "ms" not in raw or "fields" not in raw:
        raise _broken(path, number, "is not an object with ms and fields")
    ms, fields = raw["ms"], raw["fields"]
    if not isinstance(ms, int) or not _LEAST_MS <= ms < _MOST_MS:
        raise _broken(path, number, f"has ms={ms!r:.40}, which is no epoch in milliseconds")
    if not isinstance(fields, dict) or not all(isinstance(value, str) for value in fields.values()):
        raise _broken(path, number, "has fields that are not {name: text}")
    return ms, [_bytes(name, value) for name, value in fields.items()]


def _bytes(name: str, value: str) -> tuple[bytes, bytes]:
    return name.encode("utf-8", "surrogatepass"), value.encode("utf-8", "surrogatepass")


def _recording(source: str, decisions: list[Decision], part: Range) -> Recording:
    if not decisions:
        raise BadInput(
            f"{source} holds no decision {part.text}",
            remedy="Correct since and until, match, or the stream's name.",
        )
    if len(decisions) > MOST_DECISIONS:
        raise BadInput(f"{source} holds more than {MOST_DECISIONS} decisions {part.text}", remedy="Give a later since.")
    return Recording(source, decisions)
