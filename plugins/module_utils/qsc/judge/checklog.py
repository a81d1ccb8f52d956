# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""What every check of a run saw and said, one line of JSON a check: enough to judge it again (``rejudge``).

Written by the monitor beside its verdict; a line that is missing costs evidence, never a check.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import typing as t
from dataclasses import asdict, dataclass
from pathlib import Path

from ..files import parse_json
from ..settings import Paths
from ..verdict import STATUSES, VERDICTS, Verdict, Violation, choice_in, count_in, text_in, violation_of
from .answers import Answer, answer_in
from .check import Progress
from .cutover import ZERO, StreamId
from .evidence import finite
from .loss import StreamInfo
from .stream import Entry, Telemetry

SCHEMA = 1
JUDGED, MISSED, UNREADABLE, LATCHED = "judged", "missed", "unreadable", "latched"
"""How a check was made: by the judge; not at all; without a stream to judge; by repeating what ended the run."""
TOOK = (JUDGED, MISSED, UNREADABLE, LATCHED)
_PREFIX = "checks-"
KEPT_RUNS = 2
MOST_BYTES = 4 << 20
"""Bytes of one file of a run: some 4,000 checks. A run has at most two."""
MOST_LOG = 4 * MOST_BYTES
MOST_LINE = 1 << 17
MOST_LINES = 50_000


class Witness:
    """Stands between a check and its telemetry and notes what passes, until the check has asked for the time: from
    there on it decides."""

    def __init__(self, source: Telemetry, since: StreamId) -> None:
        self._source = source
        self._since = since
        self._total = hashlib.sha256()
        self.looks: list[StreamInfo] = []
        self.now_ms: int | None = None
        self.began: StreamId | None = None
        self.decisions = 0

    @property
    def stream(self) -> str:
        """Its name."""
        return self._source.stream

    @property
    def scanned(self) -> int:
        """How many entries of the stream the last ``oldest`` has read."""
        return self._source.scanned

    @property
    def reached(self) -> StreamId:
        """The last of them."""
        return self._source.reached

    @property
    def digest(self) -> str:
        """SHA-256 of the entries of the run that were read, with their names, values and order."""
        return self._total.hexdigest()

    def info(self) -> StreamInfo:
        """The state of the stream."""
        found = self._source.info()
        self.looks.append(found)
        return found

    def server_ms(self) -> int:
        """The clock of the stream."""
        self.now_ms = self._source.server_ms()
        return self.now_ms

    def newest(self, limit: int, after: StreamId = ZERO, until: StreamId | None = None) -> t.Iterator[Entry]:
        """The newest entries."""
        return self._noted(self._source.newest(limit, after, until))

    def oldest(self, after: StreamId, until: StreamId, most: int) -> t.Iterator[Entry]:
        """The oldest entries."""
        if self.now_ms is None:
            self.began = after
        return self._noted(self._source.oldest(after, until, most))

    def _noted(self, entries: t.Iterator[Entry]) -> t.Iterator[Entry]:
        for entry in entries:
            if self.now_ms is None and entry.id > self._since:
                self.decisions += 1
                self._total.update(_spelled(entry))
            yield entry


def _spelled(entry: Entry) -> bytes:
    """An entry in bytes that no other one has."""
    words = [str(entry.id).encode(), *(word for pair in entry.fields for word in pair)]
    return b"%d;%b" % (len(words), b"".join(b"%d:%b" % (len(word), word) for word in words))


@dataclass(frozen=True)
class Inputs:
    """What a check saw beside the decisions: the stream before and after it read, the clock of Redis, from where to
    where it read (``began``, ``scanned``, ``reached``: under the policy ``sequential``), and ``digest`` of the
    ``decisions`` it read."""

    before: StreamInfo
    after: StreamInfo
    now_ms: int
    began: StreamId | None
    scanned: int
    reached: StreamId
    decisions: int
    digest: str

    @classmethod
    def of(cls, seen: Witness) -> Inputs | None:
        """Of a check that came to the point where it judges, else None."""
        if seen.now_ms is None or len(seen.looks) < 2:
            return None
        before, after = seen.looks[:2]
        return cls(before, after, seen.now_ms, seen.began, seen.scanned, seen.reached, seen.decisions, seen.digest)

    def to_dict(self) -> dict[str, t.Any]:
        """As JSON-ready data; ``after`` only where it differs."""
        found: dict[str, t.Any] = {"before": info_to(self.before)}
        if self.after != self.before:
            found["after"] = info_to(self.after)
        if self.began is not None:
            found.update(began=str(self.began), scanned=self.scanned, reached=str(self.reached))
        return {**found, "now_ms": self.now_ms, "decisions": self.decisions, "digest": self.digest}

    @classmethod
    def from_dict(cls, raw: t.Any) -> Inputs:
        """Take what ``to_dict`` gave. Raises ValueError, KeyError or TypeError for anything else."""
        before = info_of(raw["before"])
        return cls(
            before,
            info_of(raw["after"]) if "after" in raw else before,
            count_in(raw, "now_ms"),
            id_in(raw, "began") if "began" in raw else None,
            count_in(raw, "scanned") if "began" in raw else 0,
            id_in(raw, "reached") if "began" in raw else ZERO,
            count_in(raw, "decisions"),
            text_in(raw, "digest"),
        )


def info_to(info: StreamInfo) -> dict[str, t.Any]:
    """As JSON-ready data."""
    return {name: str(value) if isinstance(value, StreamId) else value for name, value in vars(info).items()}


def info_of(raw: t.Any) -> StreamInfo:
    """Take what ``info_to`` gave. Raises ValueError, KeyError or TypeError for anything else."""
    return StreamInfo(
        count_in(raw, "length"),
        None if raw["first_id"] is None else id_in(raw, "first_id"),
        None if raw["last_id"] is None else id_in(raw, "last_id"),
        id_in(raw, "last_generated_id"),
        None if raw["entries_added"] is None else count_in(raw, "entries_added"),
        None if raw["max_deleted_id"] is None else id_in(raw, "max_deleted_id"),
    )


def id_in(raw: dict[str, t.Any], key: str) -> StreamId:
    """The ID of an entry. Raises ValueError or KeyError."""
    return StreamId.parse(text_in(raw, key))


@dataclass(frozen=True)
class Said:
    """What a check said, in the words of the verdict; the limits of patience that held are 0 where none were asked."""

    verdict: str
    status: str
    message: str
    violations: tuple[Violation, ...]
    events: int
    first_id: str
    last_id: str
    lag_s: float | None
    complete: bool
    stale_after_s: float = 0.0
    max_wait_s: float = 0.0

    @classmethod
    def of(cls, verdict: Verdict, stale_after_s: float = 0.0, max_wait_s: float = 0.0) -> Said:
        """What a verdict says."""
        names = ("verdict", "status", "message", "violations", "events", "first_id", "last_id", "lag_s", "complete")
        return cls(
            **{name: getattr(verdict, name) for name in names}, stale_after_s=stale_after_s, max_wait_s=max_wait_s
        )

    @classmethod
    def from_dict(cls, raw: t.Any) -> Said:
        """Take it from JSON data. Raises ValueError, KeyError or TypeError for anything else."""
        return cls(
            choice_in(raw, "verdict", VERDICTS),
            choice_in(raw, "status", STATUSES),
            text_in(raw, "message"),
            tuple(violation_of(item) for item in raw["violations"]),
            count_in(raw, "events"),
            text_in(raw, "first_id"),
            text_in(raw, "last_id"),
            None if raw["lag_s"] is None else finite(raw["lag_s"]),
            raw["complete"] is True,
            finite(raw["stale_after_s"]),
            finite(raw["max_wait_s"]),
        )


@dataclass(frozen=True)
class Line:
    """One check: its ``number`` in the run (done and missed together), when, how it was made (``took``), s since the
    activation and since the watch began, how far the check before it had read (``start``; without its fold), what it
    saw (None where it came to nothing), what it said, and what the operator's own checks answered."""

    number: int
    checked_at: float
    checked_boot: float
    boot_id: str
    took: str
    elapsed_s: float
    watched_s: float
    start: Progress | None
    inputs: Inputs | None
    said: Said
    answers: tuple[Answer, ...] = ()

    def to_dict(self) -> dict[str, t.Any]:
        """As JSON-ready data."""
        names = ("number", "checked_at", "checked_boot", "boot_id", "took", "elapsed_s", "watched_s")
        start = None if self.start is None else {**self.start.to_dict(), "fold": None}
        return {
            **{name: getattr(self, name) for name in names},
            "start": start,
            "inputs": None if self.inputs is None else self.inputs.to_dict(),
            "said": asdict(self.said),
            **({"answers": [item.to_dict() for item in self.answers]} if self.answers else {}),
        }

    @classmethod
    def from_dict(cls, raw: t.Any) -> Line:
        """Take what ``to_dict`` gave. Raises ValueError, KeyError or TypeError for anything else."""
        return cls(
            count_in(raw, "number"),
            finite(raw["checked_at"]),
            finite(raw["checked_boot"]),
            text_in(raw, "boot_id"),
            choice_in(raw, "took", TOOK),
            finite(raw["elapsed_s"]),
            finite(raw["watched_s"]),
            None if raw["start"] is None else Progress.from_dict({**raw["start"], "fold": None}),
            None if raw["inputs"] is None else Inputs.from_dict(raw["inputs"]),
            Said.from_dict(raw["said"]),
            tuple(answer_in(item) for item in raw.get("answers", ())),
        )


@dataclass(frozen=True)
class CheckLog:
    """The checks of one run: ``header`` says by what they are judged, ``torn`` counts the lines that are none."""

    header: t.Mapping[str, t.Any]
    lines: tuple[Line, ...]
    torn: int = 0

    @property
    def canary_id(self) -> str:
        """The run."""
        return str(self.header["canary_id"])

    @property
    def until(self) -> StreamId | None:
        """The last entry that any check could have read."""
        return max((line.inputs.before.last_generated_id for line in self.lines if line.inputs), default=None)

    @classmethod
    def parse(cls, data: bytes) -> CheckLog:
        """Read the lines of one run. A line that was cut off is counted; raises ValueError for a log without a header
        that fits, or with a line that is none."""
        if len(data) > MOST_LOG:
            raise ValueError(f"{len(data)} bytes, more than {MOST_LOG}")
        header: t.Mapping[str, t.Any] | None = None
        lines: list[Line] = []
        torn = 0
        for place, text in enumerate(data.split(b"\n"), 1):
            if not text:
                continue
            try:
                raw = parse_json(text)
            except (ValueError, RecursionError):
                torn += 1
                continue
            try:
                if "header" in raw:
                    found = _header_of(raw["header"])
                    if header is not None and found != header:
                        raise ValueError("another header than the first one")
                    header = found
                else:
                    lines.append(Line.from_dict(raw))
            except (ValueError, KeyError, TypeError, OverflowError) as error:
                raise ValueError(f"line {place} is not a check: {error!r:.120}") from error
            if len(lines) > MOST_LINES:
                raise ValueError(f"more than {MOST_LINES} checks")
        if header is None:
            raise ValueError("the line that says by what the checks were judged is missing")
        return cls(header, tuple(lines), torn)


def _header_of(raw: t.Any) -> dict[str, t.Any]:
    if count_in(raw, "schema") != SCHEMA:
        raise ValueError(f"schema {raw['schema']}, not {SCHEMA}")
    if not isinstance(raw["options"], dict):
        raise ValueError("options: not an object")
    texts = {name: text_in(raw, name) for name in ("canary_id", "model", "stream", "since")}
    return {"schema": SCHEMA, **texts, "options": raw["options"]}


def header_of(
    canary_id: str, model: str, stream: str, since: StreamId, options: t.Mapping[str, t.Any]
) -> dict[str, t.Any]:
    """What the checks of a run are judged by; ``options`` as ``MonitorOptions.from_dict`` takes them."""
    texts = {"canary_id": canary_id, "model": model, "stream": stream, "since": str(since)}
    return {"schema": SCHEMA, **texts, "options": dict(options)}


def paths_of(paths: Paths, canary_id: str) -> tuple[Path, Path]:
    """The older and the newer file of a run. Raises ValueError for an id that is no plain name."""
    if not canary_id or "/" in canary_id or canary_id.startswith(".") or not canary_id.isprintable():
        raise ValueError(f"{canary_id!r:.80} is not the id of a run")
    # no folder of its own: that could be a link, and root reads here
    path = paths.monitor_folder / f"{_PREFIX}{canary_id}.jsonl"
    return path.with_name(f"{path.name}.1"), path


def append(paths: Paths, header: t.Mapping[str, t.Any], line: Line) -> None:
    """One more line, in one write. Raises OSError or ValueError; what is there already stays whole."""
    older, path = paths_of(paths, str(header["canary_id"]))
    data = _json(line.to_dict())
    if len(data) > MOST_LINE:
        raise ValueError(f"a line of {len(data)} bytes")
    with contextlib.suppress(FileNotFoundError):
        if path.lstat().st_size + len(data) > MOST_BYTES:
            os.replace(path, older)
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        size = os.fstat(handle).st_size
        if not size:
            data = _json({"header": dict(header)}) + data
            os.fchmod(handle, 0o644)  # for everybody to read, whatever the umask
        elif os.pread(handle, 1, size - 1) != b"\n":
            data = b"\n" + data  # a check before this one was killed while it wrote
        if os.write(handle, data) != len(data):
            raise OSError("only a part of a line could be written")
    finally:
        os.close(handle)
    if not size:
        _prune(paths, keep=path.name)


def _json(value: t.Any) -> bytes:
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def _prune(paths: Paths, keep: str) -> None:
    """Remove the logs of all runs but the newest ones."""
    files = paths.monitor_folder.glob(f"{_PREFIX}*.jsonl")
    found = sorted(
        (path for path in files if path.name != keep),
        key=lambda path: path.lstat().st_mtime,
        reverse=True,
    )
    for path in found[KEPT_RUNS - 1 :]:
        path.unlink(missing_ok=True)
        path.with_name(f"{path.name}.1").unlink(missing_ok=True)
