# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""The telemetry stream: what is asked of Redis, and what its answers and failures mean. The connection is ``wire``'s.

Nothing here writes. Every call is bounded: a page holds at most 1,000 entries, a reply ``MOST_REPLY`` bytes, a socket
operation takes at most ``timeout_s``; all operations of a reader together ``budget_s`` and ``budget_bytes``. Commands
used: XINFO STREAM, XREVRANGE, XREAD, TIME.
"""

from __future__ import annotations

import time
import typing as t

from ..errors import BadInput, TelemetryError
from ..verdict import printable
from .connection import Connection
from .cutover import ZERO, StreamId
from .decisions import Fields
from .loss import StreamInfo
from .wire import PAGE, Answered, Denied, Meter, TimedOut, TooMuch, Wire, WireError, wire_to

TRIES = 3
PAUSE_S = 0.1
BUDGET_S = 300.0
BUDGET_BYTES = 1 << 31
"""Bytes of all replies of one reader: more than a million real entries."""


class StreamGone(TelemetryError):
    """Redis answers, but there is no such stream: the key is missing or holds something else."""


class StreamTooLarge(TelemetryError):
    """The stream holds more bytes than anybody takes: nothing in it can be judged within bounds."""


class Entry(t.NamedTuple):
    """One entry as it stands in the stream."""

    id: StreamId
    fields: Fields


def wanted_fields(match: t.Mapping[str, str] | None) -> Fields:
    """The option ``match`` as pairs in bytes."""
    return [(str(name).encode(), str(value).encode()) for name, value in (match or {}).items()]


def selected(found: Fields, wanted: Fields) -> bool:
    """Whether an entry has all the fields it must have, and no second value of any."""
    for name, value in wanted:
        values = [other for field_name, other in found if field_name == name]
        if not values or any(other != value for other in values):
            return False
    return True


class Telemetry(t.Protocol):
    """What a check needs of a stream: a reader of Redis, or of what one has read (``rejudge``)."""

    @property
    def stream(self) -> str:
        """Its name."""

    @property
    def scanned(self) -> int:
        """How many entries of the stream the last ``oldest`` has read."""

    @property
    def reached(self) -> StreamId:
        """The last of them."""

    def info(self) -> StreamInfo:
        """The state of the stream."""

    def server_ms(self) -> int:
        """The clock of the stream, in ms since 1970."""

    def newest(self, limit: int, after: StreamId = ZERO, until: StreamId | None = None) -> t.Iterator[Entry]:
        """The newest ``limit`` (0 = all) entries with ``after`` < id <= ``until``, newest first."""

    def oldest(self, after: StreamId, until: StreamId, most: int) -> t.Iterator[Entry]:
        """The entries with ``after`` < id <= ``until``, oldest first, at most ``most`` of the stream."""


class StreamReader:
    """Reads one stream. ``match`` {field: value} selects entries, all of them must hold.

    Raises TelemetryError (``transient`` when a later try may succeed), StreamGone when there is no such stream,
    StreamTooLarge beyond the bounds in bytes.
    """

    def __init__(
        self,
        connection: Connection,
        stream: str,
        match: t.Mapping[str, str] | None = None,
        *,
        budget_s: float = BUDGET_S,
        budget_bytes: int = BUDGET_BYTES,
    ) -> None:
        if not isinstance(stream, str) or not stream:
            raise BadInput(f"stream={stream!r:.80} is not a key", remedy="Name the Redis stream of the decisions.")
        self.connection = connection
        self.stream = stream
        self._match = wanted_fields(match)
        self._budget_s = budget_s
        self._meter = Meter(budget_bytes)
        self._end: float | None = None
        self._wire: Wire | None = None
        self._begins: StreamId | None = None
        self.scanned = 0
        self.reached = ZERO

    def close(self) -> None:
        """Give the connection back."""
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    def __enter__(self) -> StreamReader:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def info(self) -> StreamInfo:
        """The state of the stream, in one atomic command."""
        raw = self._call("XINFO", "STREAM", self.stream)
        try:
            pairs = list(raw.items()) if isinstance(raw, dict) else list(zip(raw[::2], raw[1::2]))
            found = {_bytes(name): value for name, value in pairs}
            added, deleted = found.get(b"entries-added"), found.get(b"max-deleted-entry-id")
            # It may begin later by now, never earlier; in an empty stream nothing lies before what comes next either.
            self._begins = _entry_id(found[b"first-entry"])
            return StreamInfo(
                length=int(found[b"length"]),
                first_id=self._begins,
                last_id=_entry_id(found[b"last-entry"]),
                last_generated_id=StreamId.parse(_bytes(found[b"last-generated-id"])),
                entries_added=None if added is None else int(added),
                max_deleted_id=None if deleted is None else StreamId.parse(_bytes(deleted)),
            )
        except (KeyError, ValueError, TypeError) as error:
            raise TelemetryError(f"{self._where} answers XINFO STREAM in an unknown form: {error!r:.80}") from error

    def server_ms(self) -> int:
        """Redis' own clock, in ms since 1970."""
        seconds, micros = self._call("TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    def newest(self, limit: int, after: StreamId = ZERO, until: StreamId | None = None) -> t.Iterator[Entry]:
        """The newest ``limit`` (0 = all) entries with ``after`` < id <= ``until``, newest first, page by page."""
        found = 0
        low = after.next()
        high = until
        if high is not None and self._begins is not None and high < self._begins:
            return  # asked for what lies before its beginning Redis walks the whole stream
        while high is None or high >= low:
            count = PAGE if self._match or not limit else min(PAGE, limit - found)
            rows = self._call("XREVRANGE", self.stream, "+" if high is None else str(high), str(low), "COUNT", count)
            for row in rows:
                entry = entry_of(row)
                high = entry.id.previous()
                if self._selected(entry.fields):
                    yield entry
                    found += 1
                    if found == limit:
                        return
            if len(rows) < count:
                return

    def oldest(self, after: StreamId, until: StreamId, most: int) -> t.Iterator[Entry]:
        """The entries with ``after`` < id <= ``until``, oldest first, page by page, but at most ``most`` of the stream.

        ``scanned`` then tells how many of the stream were read, selected or not, and ``reached`` the last of them.
        """
        self.scanned, self.reached = 0, after
        while self.scanned < most and self.reached < until:
            count = min(PAGE, most - self.scanned)
            raw = self._call("XREAD", "COUNT", count, "STREAMS", self.stream, str(self.reached))
            streams = list(raw.items()) if isinstance(raw, dict) else list(raw or ())
            rows = [row for _name, entries in streams for row in entries]
            for row in rows:
                entry = entry_of(row)
                if entry.id > until:
                    return
                self.scanned += 1
                self.reached = entry.id
                if self._selected(entry.fields):
                    yield entry
            if len(rows) < count:
                return

    def follow(self, after: StreamId, wait_s: float) -> t.Iterator[Entry]:
        """Entries after ``after``, oldest first, also those that arrive within ``wait_s`` seconds."""
        end = time.monotonic() + wait_s
        self._end = end + self._budget_s
        while True:
            left = end - time.monotonic()
            # A block longer than the socket's time-out would look like a hanging server.
            block_ms = max(1, int(1000 * min(left, self.connection.timeout_s / 2, 1.0)))
            rows = self._call("XREAD", "COUNT", PAGE, "BLOCK", block_ms, "STREAMS", self.stream, str(after))
            streams = list(rows.items()) if isinstance(rows, dict) else list(rows or ())
            for _name, entries in streams:
                for row in entries:
                    entry = entry_of(row)
                    after = entry.id
                    if self._selected(entry.fields):
                        yield entry
            if time.monotonic() >= end:
                return

    def _selected(self, found: Fields) -> bool:
        return selected(found, self._match)

    @property
    def _where(self) -> str:
        return f"Redis at {self.connection.place}"

    def _call(self, *command: t.Any) -> t.Any:
        """One command, tried again when the connection broke; a time-out is not tried again, it was waited for."""
        if self._wire is None:
            self._wire = wire_to(self.connection, self._meter)
        if self._end is None:
            self._end = time.monotonic() + self._budget_s
        # What trickles in may take its socket's time-out once more, no longer.
        self._meter.until = self._end + self.connection.timeout_s
        for attempt in range(1, TRIES + 1):
            if time.monotonic() > self._end:
                raise TelemetryError(
                    f"{self._where} is too slow: {command[0]} was not done within {self._budget_s:g} s",
                    remedy="Look at its load, or give a later cutover or a smaller max_events.",
                    transient=True,
                )
            self._meter.begin()
            try:
                return self._wire.call(*command)
            except TooMuch as error:
                self.close()  # the rest of the reply is never read
                raise StreamTooLarge(
                    f"{self._where} answers {command[0]} of {self.stream!r} with too much: {error}",
                    remedy="Look at who writes the stream, and how large its entries are.",
                ) from error
            except TimedOut as error:
                raise self._slow(command[0], error) from error
            except Denied as error:
                raise self._denied(error) from error
            except Answered as error:
                raise self._answered(error) from error
            except WireError as error:
                broken = error
            if attempt < TRIES:
                time.sleep(PAUSE_S * attempt)  # a server that restarts refuses connections for a moment
        raise self._down(broken) from broken

    def _slow(self, command: str, error: TimedOut) -> TelemetryError:
        if error.handshake:
            from . import tls

            message, remedy = tls.silent(self.connection)
            return TelemetryError(f"{self._where}: {message}", remedy=remedy, transient=True)
        return TelemetryError(
            f"{self._where} did not answer {command} within {self.connection.timeout_s:g} s",
            remedy="It hangs or is overloaded: look at the server, or raise timeout_s.",
            transient=True,
        )

    def _down(self, error: Exception) -> TelemetryError:
        text = printable(str(error), 200)
        if self.connection.tls:
            from . import tls

            explained = tls.explain(text, self.connection)
            if explained is not None:
                return TelemetryError(f"{self._where}: {explained[0]}", remedy=explained[1])
        return TelemetryError(
            f"{self._where} cannot be reached: {text}",
            remedy="Start Redis there, or correct login_host, login_port, login_unix_socket or tls.",
            transient=True,
        )

    def _denied(self, error: Exception) -> TelemetryError:
        return TelemetryError(
            f"{self._where} refuses the login of user {self.connection.login_user or 'default'!r}: "
            f"{printable(str(error), 120)}",
            remedy="Correct login_user and login_password.",
        )

    def _answered(self, error: Exception) -> TelemetryError:
        text = printable(str(error), 200)
        if "no such key" in text:
            return StreamGone(
                f"the stream {self.stream!r} does not exist on {self._where}",
                remedy="Correct stream and db, or wait until the engine has published a decision.",
            )
        if "WRONGTYPE" in text or "wrong kind" in text:
            return StreamGone(f"{self.stream!r} on {self._where} is not a stream", remedy="Correct stream and db.")
        if "NOPERM" in text or "no permissions" in text:
            return TelemetryError(
                f"{self._where} does not let user {self.connection.login_user or 'default'!r} read "
                f"{self.stream!r}: {text}",
                remedy=f"Allow it: ACL SETUSER <user> %R~{self.stream} +xinfo|stream +xrevrange +xread +time",
            )
        return TelemetryError(f"{self._where} answers: {text}", transient="LOADING" in text or "BUSY" in text)


def _bytes(value: t.Any) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)


def _entry_id(row: t.Any) -> StreamId | None:
    return StreamId.parse(_bytes(row[0])) if row else None


def entry_of(row: t.Any) -> Entry:
    """One row of a reply. Raises ValueError for what is none."""
    entry_id, flat = row
    return Entry(StreamId.parse(_bytes(entry_id)), list(zip(flat[::2], flat[1::2])) if flat else [])
