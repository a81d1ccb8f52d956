# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""An archive of evidence: one tar.gz with a manifest. The same content gives the same bytes; whatever is read is
bounded, nothing is ever put on a disk, and a file that is not such an archive is refused."""

from __future__ import annotations

import gzip
import io
import json
import re
import tarfile
import typing as t
import zlib
from dataclasses import dataclass
from pathlib import Path

from .errors import BadInput
from .files import digest_bytes, parse_json
from .verdict import printable

SCHEMA = 1
MANIFEST = "MANIFEST.json"
MOST_BYTES = 192 << 20
"""Bytes of all members together."""
MOST_MEMBERS = 64
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@:\-]*(/[A-Za-z0-9_][A-Za-z0-9_.@:\-]*)?")
_BLOCK = 512
_REMEDY = "Give an archive that qsc evidence has written."


@dataclass(frozen=True)
class Bundle:
    """What an archive holds: its manifest, its members, and which of them are not as the manifest says."""

    manifest: t.Mapping[str, t.Any]
    members: t.Mapping[str, bytes]
    altered: tuple[str, ...] = ()


def pack(members: t.Mapping[str, bytes], facts: t.Mapping[str, t.Any]) -> bytes:
    """The archive of some members, and of a manifest with ``facts`` and every member's digest. Raises BadInput when
    it would be larger than one that is read."""
    size = sum(map(len, members.values()))
    if size > MOST_BYTES or len(members) >= MOST_MEMBERS:
        raise BadInput(
            f"the evidence has {size >> 20} MiB in {len(members)} parts, more than {MOST_BYTES >> 20} MiB in "
            f"{MOST_MEMBERS - 1}",
            remedy="Leave the journal out (--no-journal), or export a part of the stream by hand.",
        )
    digests = {name: {"bytes": len(data), "sha256": digest_bytes(data)} for name, data in sorted(members.items())}
    manifest = json.dumps({**facts, "schema": SCHEMA, "members": digests}, indent=1, sort_keys=True, allow_nan=False)
    everything = {**members, MANIFEST: manifest.encode() + b"\n"}
    target = io.BytesIO()
    zipped = gzip.GzipFile(fileobj=target, mode="wb", mtime=0, filename="")
    with zipped, tarfile.open(fileobj=zipped, mode="w|", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(everything):
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.mtime = len(everything[name]), 0o644, 0
            tar.addfile(info, io.BytesIO(everything[name]))
    return target.getvalue()


def read(path: Path) -> Bundle:
    """Read an archive. Raises BadInput for what is none, OSError when the file cannot be read."""
    try:
        with open(path, "rb") as plain, gzip.GzipFile(fileobj=plain) as stream:
            members = dict(_members(t.cast("t.IO[bytes]", stream)))
    except (EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError, ValueError, RecursionError) as error:
        raise _refused(path, str(error)) from error
    try:
        manifest = parse_json(members.pop(MANIFEST))
        told = {str(name): str(item["sha256"]) for name, item in manifest["members"].items()}
        if manifest["schema"] != SCHEMA:
            raise ValueError(f"schema {manifest['schema']!r:.20}, not {SCHEMA}")
    except KeyError as error:
        raise _refused(path, f"{error} is missing") from error
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        raise _refused(path, f"{MANIFEST}: {error}") from error
    found = {name: digest_bytes(data) for name, data in members.items()}
    altered = sorted(name for name in {*told, *found} if told.get(name) != found.get(name))
    return Bundle(manifest, members, tuple(altered))


def _refused(path: Path, why: str) -> BadInput:
    return BadInput(f"{str(path)!r:.200} is not an archive of evidence: {printable(why, 200)}", remedy=_REMEDY)


def _members(stream: t.IO[bytes]) -> t.Iterator[tuple[str, bytes]]:
    """Every member. Only plain files by plain names, as ``pack`` writes them; tarfile would follow headers of any size.
    Raises ValueError or tarfile.TarError."""
    left = MOST_BYTES + (1 << 20)
    seen: set[str] = set()
    while True:
        header = _exactly(stream, _BLOCK)
        if header.count(0) == _BLOCK:
            return
        info = tarfile.TarInfo.frombuf(header, "ascii", "strict")
        if info.type != tarfile.REGTYPE or not _NAME.fullmatch(info.name):
            raise ValueError(f"{info.name!r:.80} is not a plain file in it")
        if info.name in seen or len(seen) >= MOST_MEMBERS:
            raise ValueError(f"{info.name!r:.80} stands twice in it, or there are too many members")
        seen.add(info.name)
        left -= info.size
        if info.size < 0 or left < 0:
            raise ValueError(f"its members have more than {MOST_BYTES >> 20} MiB")
        data = _exactly(stream, info.size)
        _exactly(stream, -info.size % _BLOCK)
        yield info.name, data


def _exactly(stream: t.IO[bytes], count: int) -> bytes:
    parts, left = [], count
    while left:
        part = stream.read(min(left, 1 << 20))
        if not part:
            raise ValueError("it ends too early")
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def member(bundle: Bundle, name: str) -> bytes:
    """The bytes of a member. Raises BadInput, saying why it is absent where the archive knows."""
    found = bundle.members.get(name)
    if found is None:
        absent = bundle.manifest.get("absent")
        why = absent.get(name) if isinstance(absent, dict) else None
        raise BadInput(f"the archive has no {name}" + (f": {printable(str(why), 300)}" if why else ""), remedy=_REMEDY)
    return found
