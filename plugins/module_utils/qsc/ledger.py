# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""The ledger: what happened on this host, in a chain of lines that shows every line that was changed or taken away.

Each line carries the SHA-256 of the line before it. An anchor in another folder knows the newest line, so that lines
missing at the end are seen too. Line first, then anchor: a crash in between is made good by the next entry. What finds
no room on the disk waits in /run and stops nothing.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import json
import os
import pwd
import re
import typing as t
import zlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from . import __version__
from .files import (
    STATE_LIMIT,
    digest_bytes,
    digest_file,
    fsync_folder,
    parse_json,
    read_bounded,
    remove,
    timestamp,
    try_io,
    write_atomic,
    write_json,
)
from .settings import Paths
from .verdict import printable

ROTATE_BYTES = 8 << 20
"""Bytes: a file of the ledger that would grow beyond this is put aside."""
KEPT_FILES = 9
"""Files put aside that are kept, beside the current one."""
PENDING_BYTES = STATE_LIMIT
"""Bytes of entries that may wait in /run: it is memory."""
_CUT_CHARACTERS = 4000
_BLOCK = 1 << 16
_HIGHEST = 1 << 62
"""No sequence of ours is as high."""
_ASIDE = re.compile(r"[.-][0-9][0-9-]*(\.gz)?")
"""How the name of a file put aside goes on: ours (.1), and logrotate's (.1.gz, -20260110)."""

Entry = dict[str, t.Any]


@dataclass(frozen=True)
class Anchor:
    """The newest line (its sequence and digest), the first sequence that must be there, entries owed since a crash."""

    sequence: int = 0
    digest: str = ""
    first: int = 1
    owed: t.Sequence[Entry] = ()

    @classmethod
    def load(cls, path: Path) -> Anchor | None:
        """The anchor; None when there is none, or nothing that can be one. Raises OSError."""
        try:
            raw = parse_json(read_bounded(path))
            anchor = cls(int(raw["sequence"]), str(raw["digest"]), int(raw["first"]), tuple(raw["owed"]))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        sound = 0 <= anchor.sequence < _HIGHEST and all(isinstance(entry, dict) and _id(entry) for entry in anchor.owed)
        return anchor if sound else None


@dataclass(frozen=True)
class Verification:
    """What ``verify`` found: how many entries are there, which sequences, what is wrong, what is worth knowing."""

    entries: int
    first: int
    last: int
    problems: t.Sequence[str]
    notes: t.Sequence[str]


def acting_user() -> str:
    """Who this process acts for on this host: its user, and who became that user by sudo."""
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        user = str(os.geteuid())
    before = printable(os.environ.get("SUDO_USER", ""), 64)
    return f"{user} by sudo of {before}" if before and before != user else user


@dataclass(frozen=True)
class Ledger:
    """The append-only JSONL log of a host. Who appends holds the host's lock."""

    path: Path
    anchor: Path
    pending: Path
    config: Path
    actor: str = ""
    limit: int = ROTATE_BYTES
    keep: int = KEPT_FILES

    @classmethod
    def at(cls, paths: Paths, actor: str = "") -> Ledger:
        """The ledger of a host."""
        return cls(paths.ledger, paths.ledger_anchor, paths.ledger_pending, paths.config, actor)

    # --- writing

    def append(self, action: str, fields: t.Mapping[str, t.Any], *, wall: float) -> Entry:
        """Append one entry, durably, and return it; without a ``sequence`` while it waits for room on the disk.

        Raises ValueError for what is not JSON, OSError when it can neither be written nor wait.
        """
        entry = self._entry(action, fields, wall)
        _line(entry)
        try:
            return self._write([*self.waiting(), entry], wall)
        except OSError as error:
            self._wait(entry, error)
            return entry

    def flush(self, *, wall: float) -> int:
        """Append what waits and return how many entries that were. Raises OSError while there is no room."""
        waiting = self.waiting()
        if waiting:
            self._write(waiting, wall)
        return len(waiting)

    def _entry(self, action: str, fields: t.Mapping[str, t.Any], wall: float) -> Entry:
        try:
            settings_digest = digest_file(self.config) or ""
        except OSError:
            settings_digest = ""
        return {
            "timestamp": timestamp(wall),
            "action": action,
            **fields,
            "actor": self.actor,
            "host": os.uname().nodename,
            "version": __version__,
            "settings_digest": settings_digest,
            "entry_id": os.urandom(8).hex(),
        }

    def _write(self, entries: t.Sequence[Entry], wall: float) -> Entry:
        """Append entries in order, each exactly once, after what a crash has left over; returns the last one."""
        anchor = self._mended(wall)
        todo = [*anchor.owed, *entries]
        if len(todo) > 1:
            # a try before this one may have been cut off, or may have run out of room, behind some of them
            written = {_id(entry) for _line, entry in self._logged()}
            todo = [entry for entry in todo if _id(entry) not in written]
            anchor = replace(anchor, owed=tuple(entry for entry in anchor.owed if entry in todo))
        last = entries[-1]
        for entry in todo:
            last, anchor = self._put(entry, anchor)
        if self.pending.exists():
            try_io("what waited", lambda: remove(self.pending))  # no entry is appended a second time
        return last

    def _put(self, entry: Entry, anchor: Anchor) -> tuple[Entry, Anchor]:
        entry = {**entry, "sequence": anchor.sequence + 1, "previous": anchor.digest}
        line = _line(entry)
        if self._size() and self._size() + len(line) > self.limit:
            anchor = self._rotate(anchor)
        new = not self.path.exists()
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            if new:
                os.fchmod(handle, 0o644)  # whatever the umask of the unit that wrote first
            size = os.fstat(handle).st_size
            try:
                _write_all(handle, line)
                os.fsync(handle)
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(handle, size)  # a full disk leaves no part of a line
                raise
        finally:
            os.close(handle)
        if new:
            fsync_folder(self.path.parent)
        owed = tuple(item for item in anchor.owed if _id(item) != _id(entry))
        anchor = replace(anchor, sequence=entry["sequence"], digest=digest_bytes(line[:-1]), owed=owed)
        # the line is there: an anchor that lags behind is caught up by the next one
        try_io("anchor", lambda: self._save(anchor))
        return entry, anchor

    def _size(self) -> int:
        try:
            return self.path.lstat().st_size
        except FileNotFoundError:
            return 0

    def _save(self, anchor: Anchor) -> None:
        write_json(self.anchor, asdict(anchor))

    def _rotate(self, anchor: Anchor) -> Anchor:
        """Put the current file aside as .1; the chain goes on in a new one. The oldest file goes when all are used."""
        aside = [self.path.with_name(f"{self.path.name}.{number}") for number in range(1, self.keep + 1)]
        free = next((number for number, path in enumerate(aside) if not path.exists()), None)
        if free is None:
            gone = next((entry for _line, entry in self._logged([aside[-1]])), None)
            if gone is not None:
                # before the file goes: lines that are there longer than they must be are no harm
                anchor = replace(anchor, first=max(anchor.first, gone["sequence"] + 1))
                self._save(anchor)
            free = self.keep - 1
        for number in range(free, 0, -1):
            os.replace(aside[number - 1], aside[number])
        os.replace(self.path, aside[0])
        fsync_folder(self.path.parent)
        return anchor

    # --- after a crash, a full disk, or somebody else's hand

    def _mended(self, wall: float) -> Anchor:
        """Where the chain goes on. A torn last line is closed or cut off first; what is cut off is owed to the ledger.

        What the anchor says wins over a file that says otherwise: the chain then shows that lines are not what they
        were. Only lines that follow the anchored one are taken in.
        """
        anchor = Anchor.load(self.anchor)
        newest = self._newest()
        line, torn = (b"", b"") if newest is None else _ends(newest)
        if anchor is None:
            anchor = self._new_anchor(wall)
        if newest is not None and torn:
            whole = torn.rstrip(b"\0")
            if _follows(whole, anchor):
                _cut(newest, len(torn) - len(whole), b"\n")
                line = whole
            else:
                cut = {
                    "reason": "the last line was torn: it was cut off",
                    "cut_bytes": len(torn),
                    "cut_sha256": digest_bytes(torn),
                    "cut_text": printable(whole.decode(errors="replace"), _CUT_CHARACTERS),
                }
                anchor = replace(anchor, owed=(*anchor.owed, self._entry("ledger_repaired", cut, wall)))
                self._save(anchor)  # before it is cut off, or a crash would hide it
                _cut(newest, len(torn))
        entry = _linked(line)
        if entry is not None and entry["sequence"] > anchor.sequence and self._goes_on_from(anchor):
            return replace(anchor, sequence=entry["sequence"], digest=digest_bytes(line))
        return anchor

    def _new_anchor(self, wall: float) -> Anchor:
        """The anchor of a new ledger, or of one whose anchor was lost: then the ledger says so."""
        line, newest = next(iter(self._logged()), (b"", None))
        if newest is None:
            anchor = Anchor()
        else:
            oldest = next(entry for _line, entry in self._logged(oldest=True))
            lost = {"reason": "the anchor was missing or unreadable: lines removed before this entry cannot be seen"}
            owed = (self._entry("ledger_anchored", lost, wall),)
            anchor = Anchor(newest["sequence"], digest_bytes(line), oldest["sequence"], owed)
        self._save(anchor)
        return anchor

    def _goes_on_from(self, anchor: Anchor) -> bool:
        for line, entry in self._logged():
            if entry["sequence"] == anchor.sequence + 1:
                return _follows(line, anchor)
            if entry["sequence"] <= anchor.sequence:
                break
        return False

    def _wait(self, entry: Entry, error: OSError) -> None:
        """Let an entry wait in /run. Raises OSError when it cannot."""
        data = b"".join(map(_line, [*self.waiting(), entry]))
        if len(data) > PENDING_BYTES:
            raise OSError(errno.ENOSPC, f"more than {PENDING_BYTES} bytes wait already ({error})", str(self.pending))
        write_atomic(self.pending, data)

    # --- reading

    def newest_first(self) -> t.Iterator[Entry]:
        """All readable entries, the newest first: those that wait, then those of all files. Raises OSError."""
        waiting = self.waiting()
        yield from reversed(waiting)
        seen = {_id(entry) for entry in waiting}
        for path in reversed(self._files()):
            for line in reversed(_lines(path)):
                entry = _parsed(line)
                if entry is not None and _id(entry) not in seen:
                    yield entry

    def entries(self) -> list[Entry]:
        """All readable entries, oldest first. A torn line is left out."""
        return list(self.newest_first())[::-1]

    def tail(self, count: int) -> list[Entry]:
        """The newest ``count`` entries, oldest first."""
        found: list[Entry] = []
        for entry in self.newest_first():
            if len(found) >= count:
                break
            found.append(entry)
        return found[::-1]

    def find(self, action: str, canary_id: str) -> Entry | None:
        """The newest entry of that action for that canary, if any; one that waits counts."""
        for entry in self.newest_first():
            if entry.get("action") == action and entry.get("canary_id") == canary_id:
                return entry
        return None

    def slice(self, wanted: t.Callable[[Entry], bool]) -> list[bytes]:
        """The lines, as they are, from the first entry that is wanted to the last one, and the one after it, which
        holds the digest of that: so all links between them can be followed. Raises OSError."""
        lines = list(self._logged(oldest=True))
        places = [place for place, (_line_of, entry) in enumerate(lines) if wanted(entry)]
        return [line for line, _entry in lines[places[0] : places[-1] + 2]] if places else []

    def waiting(self) -> list[Entry]:
        """The entries that wait for room on the disk, oldest first. Raises OSError."""
        try:
            data = read_bounded(self.pending, PENDING_BYTES)
        except FileNotFoundError:
            return []
        return [entry for entry in map(_parsed, data.split(b"\n")) if entry is not None and _id(entry)]

    def _files(self) -> list[Path]:
        """All files of the ledger, the oldest first, whoever put them aside and by whatever name."""
        found = []
        with contextlib.suppress(FileNotFoundError), os.scandir(self.path.parent) as folder:
            for item in folder:
                rest = item.name[len(self.path.name) :]
                if item.name.startswith(self.path.name) and _ASIDE.fullmatch(rest):
                    found.append(self.path.with_name(item.name))
        if len(found) > 1:
            found.sort(key=_first_sequence)
        return [*found, self.path] if self.path.exists() or self.path.is_symlink() else found

    def _newest(self) -> Path | None:
        """The file with the newest lines: the current one, unless it was put aside just now."""
        return next((path for path in reversed(self._files()) if path.stat().st_size), None)

    def _logged(
        self, files: t.Sequence[Path] | None = None, *, oldest: bool = False
    ) -> t.Iterator[tuple[bytes, Entry]]:
        """The lines that are part of the chain and their entries, newest first unless ``oldest``."""
        step = 1 if oldest else -1
        for path in (self._files() if files is None else files)[::step]:
            for line in _lines(path)[::step]:
                entry = _linked(line)
                if entry is not None:
                    yield line, entry

    def _state(self) -> object:
        """Changes whenever somebody appends."""
        files = [(path.name, status.st_ino, status.st_size) for path in self._files() for status in (path.stat(),)]
        return files, digest_file(self.anchor)


def _line(entry: Entry) -> bytes:
    return json.dumps(entry, allow_nan=False).encode() + b"\n"


def _id(entry: Entry) -> str:
    value = entry.get("entry_id")
    return value if isinstance(value, str) else ""


def _parsed(line: bytes) -> Entry | None:
    try:
        entry = parse_json(line)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None


def _linked(line: bytes) -> Entry | None:
    """The entry of a line that can be part of the chain, else None."""
    entry = _parsed(line)
    if entry is None or isinstance(entry.get("sequence"), bool) or not isinstance(entry.get("sequence"), int):
        return None
    return entry if 0 < entry["sequence"] < _HIGHEST and isinstance(entry.get("previous"), str) else None


def _follows(line: bytes, anchor: Anchor) -> bool:
    """Whether a line is the anchored one, or the one right after it."""
    entry = _linked(line)
    if entry is None:
        return False
    is_it = entry["sequence"] == anchor.sequence and digest_bytes(line) == anchor.digest
    return is_it or (entry["sequence"] == anchor.sequence + 1 and entry["previous"] == anchor.digest)


def _read(path: Path) -> bytes:
    """A file of the ledger, through logrotate's compression; b"" when it is gone. Raises OSError."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return b""
    with os.fdopen(handle, "rb") as stream:
        data = stream.read()
    if path.suffix != ".gz":
        return data
    try:
        return gzip.decompress(data)
    except (EOFError, OSError, zlib.error) as error:
        raise OSError(errno.EIO, f"cannot be decompressed: {error}", str(path)) from error


def _lines(path: Path) -> list[bytes]:
    """The lines of a file; none of a damaged archive: that is for ``verify`` to tell, and stops no rollback."""
    try:
        data = _read(path)
    except OSError:
        if path.suffix != ".gz":
            raise
        return []
    return [line for line in data.split(b"\n") if line]


def _first_sequence(path: Path) -> int:
    """The first sequence in a file; files in the order of the chain need no names to tell it."""
    if path.suffix != ".gz":
        with contextlib.suppress(FileNotFoundError), open(path, "rb") as stream:
            entry = _linked(stream.readline())
            if entry is not None:
                return int(entry["sequence"])
    found = next((entry for entry in map(_linked, _lines(path)) if entry is not None), None)
    return int(found["sequence"]) if found is not None else 0


def _ends(path: Path) -> tuple[bytes, bytes]:
    """The last line with a line's end, and what stands behind it; the cost does not grow with the file."""
    if path.suffix == ".gz":
        lines = _lines(path)
        return (lines[-1] if lines else b""), b""  # what was compressed is not mended
    with open(path, "rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        block = _BLOCK
        while True:
            start = max(0, size - block)
            stream.seek(start)
            lines = stream.read().split(b"\n")
            if start == 0 or len(lines) > 2:
                return (lines[-2] if len(lines) > 1 else b""), lines[-1]
            block *= 4


def _write_all(handle: int, data: bytes) -> None:
    while data:
        data = data[os.write(handle, data) :]


def _cut(path: Path, count: int, end: bytes = b"") -> None:
    """Take the last ``count`` bytes off a file and put ``end`` there, durably."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.ftruncate(handle, os.fstat(handle).st_size - count)
        _write_all(handle, end)
        os.fsync(handle)
    finally:
        os.close(handle)


def broken_links(lines: t.Sequence[bytes]) -> list[str]:
    """What is wrong with lines that followed one another in a ledger, as sentences."""
    found: list[str] = []
    before: tuple[int, str] | None = None
    for number, line in enumerate(lines, 1):
        entry = _linked(line)
        if entry is None:
            found.append(f"line {number} is not an entry of the ledger")
            before = None
            continue
        if before is not None and (entry["sequence"], entry["previous"]) != before:
            found.append(f"line {number} (sequence {entry['sequence']}) does not follow the line before it")
        before = entry["sequence"] + 1, digest_bytes(line)
    return found


# --- verification


def verify(ledger: Ledger) -> Verification:
    """Walk all files from the oldest line to the anchor and name every line that is not as it was. Raises OSError."""
    for _try in range(5):
        try:
            before = ledger._state()
            found = _Walk(ledger).result()
            if ledger._state() == before:
                return found
        except FileNotFoundError:
            pass
        # somebody appends, or puts a file aside, just now
    return _Walk(ledger).result()


class _Walk:
    """One walk along the chain."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._anchor = Anchor.load(ledger.anchor)
        self._problems: list[str] = []
        self._notes: list[str] = []
        self._entries = self._first = self._last = 0
        self._place, self._digest = "", ""
        files = [path for path in ledger._files() if path.stat().st_size]
        for path in files:
            self._file(path, newest=path == files[-1])
        self._end()

    def result(self) -> Verification:
        return Verification(self._entries, self._first, self._last, self._problems, self._notes)

    def _file(self, path: Path, *, newest: bool) -> None:
        lines = _read(path).split(b"\n")
        torn = lines.pop()
        for number, line in enumerate(lines, 1):
            self._line(f"{path.name} line {number}", line)
        if torn:
            remedy = "the next entry repairs it" if newest else "it was put aside so"
            self._problems.append(
                f"{path.name} line {len(lines) + 1}: torn, {len(torn)} bytes without a line's end; {remedy}"
            )

    def _line(self, place: str, line: bytes) -> None:
        entry = _linked(line)
        if entry is None:
            self._problems.append(f"{place}: {'not an entry of the ledger' if line else 'an empty line'}")
            return
        sequence, digest = entry["sequence"], digest_bytes(line)
        place = f"{place} (sequence {sequence}, {printable(str(entry.get('action')), 40)})"
        self._entries += 1
        if not self._first:
            self._begin(place, entry)
        elif sequence <= self._last:
            self._problems.append(f"{place}: repeated or out of order, it stands behind sequence {self._last}")
        elif sequence > self._last + 1:
            self._gap(place, self._last + 1, sequence - 1)
        elif entry["previous"] != self._digest:
            self._problems.append(f"{self._place}: changed, its SHA-256 is not the one that the next line holds")
        anchor = self._anchor
        if anchor is not None and sequence == anchor.sequence and digest != anchor.digest:
            self._problems.append(f"{place}: changed, its SHA-256 is not the one that the anchor holds")
        if entry.get("action") == "ledger_repaired":
            count = printable(str(entry.get("cut_bytes")), 20)
            self._notes.append(f"{place}: {count} bytes of a torn line were cut off and are kept here")
        elif entry.get("action") == "ledger_anchored":
            self._notes.append(f"{place}: {printable(str(entry.get('reason')))}")
        self._place, self._last, self._digest = place, sequence, digest

    def _begin(self, place: str, entry: Entry) -> None:
        self._first = entry["sequence"]
        if self._first > 1:
            self._gap(place, 1, self._first - 1)
        elif entry["previous"]:
            self._problems.append(f"{place}: changed, the first line holds the SHA-256 of another one")

    def _gap(self, place: str, low: int, high: int) -> None:
        kept = self._anchor.first if self._anchor is not None else 1
        if high < kept:
            self._notes.append(f"sequences {low} to {high} went by rotation: verified from sequence {high + 1} on")
        else:
            self._problems.append(f"{place}: {_missing(max(low, kept), high)} before it")

    def _end(self) -> None:
        anchor, waiting = self._anchor, len(self._ledger.waiting())
        if waiting:
            self._notes.append(f"for room on the disk wait in {self._ledger.pending}: {waiting}")
        if anchor is None:
            if self._entries:
                self._problems.append(
                    f"{self._ledger.anchor}: missing or unreadable, lines removed at the end cannot be seen"
                )
        elif self._last < anchor.sequence:
            self._problems.append(f"{self._ledger.path.name}: {_missing(self._last + 1, anchor.sequence)} at the end")
        elif self._last > anchor.sequence:
            self._notes.append(f"the anchor is at sequence {anchor.sequence}: the next entry takes it on")


def _missing(first: int, last: int) -> str:
    return f"sequence {first} is missing" if first == last else f"sequences {first} to {last} are missing"
