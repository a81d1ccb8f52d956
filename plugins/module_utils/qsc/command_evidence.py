# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""``qsc evidence`` and ``qsc replay``: guard and judge each give their part, neither knows of the other."""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

from . import bundle
from .credentials import password_in
from .errors import BadInput, QscError, RecordUnreadable
from .files import digest_bytes, parse_json, write_atomic
from .record import load, parse

if t.TYPE_CHECKING:
    from .guard.host import Host
    from .judge.connection import Connection

EQUAL, DIFFERS, NOT_ALL = 0, 1, 4

Tick = t.Callable[[int, int], None]


def write(
    host: Host,
    connect: t.Callable[[], Connection],
    *,
    canary_id: str = "",
    output: str = "",
    journal: bool = True,
) -> dict[str, t.Any]:
    """Write the archive of a run (the newest one without ``canary_id``), log it, and return what is in it.

    Raises BadInput, OSError. What cannot be had is absent in it, with the reason.
    """
    from .guard import evidence

    canary_id = canary_id or _newest(host)
    path = Path(output or f"qsc-evidence-{canary_id}.tar.gz").absolute()
    if path.is_dir() or not path.parent.is_dir():
        raise BadInput(f"--output {output!r:.200} is not a file in a folder that exists", remedy="Name a file.")
    found = evidence.gather(host, canary_id, journal=journal)
    telemetry = _telemetry(host, connect, canary_id, found)
    if found.record is None and not {"ledger.jsonl", "checks.jsonl"} & set(found.members):
        raise BadInput(f"nothing is known here of a run {canary_id!r:.80}", remedy="See the ids with: qsc log")
    members, hidden = evidence.hide(found.members, _password(host))
    data = bundle.pack(members, {**evidence.facts(host, canary_id, found), "hidden": hidden})
    write_atomic(path, data, mode=0o600)
    written = {
        "canary_id": canary_id,
        "path": str(path),
        "bytes": len(data),
        "sha256": digest_bytes(data),
        "checks": found.members.get("checks.jsonl", b"").count(b'\n{"number":'),
        "decisions": telemetry.get("decisions", 0),
        "missing": telemetry.get("missing"),
        "absent": found.absent,
        "hidden": hidden,
    }
    entry = {name: written[name] for name in ("canary_id", "path", "bytes", "sha256", "decisions")}
    with host.lock():
        host.ledger.append("evidence_written", entry, wall=host.clock.wall())
    return written


def _newest(host: Host) -> str:
    record = load(host.paths.record)
    if record is None:
        raise BadInput("no canary ever ran on this host", remedy="Activate one: playbooks/quickstart.yml")
    return record.id


def _password(host: Host) -> str:
    try:
        return password_in(host.paths.password).strip("\n")
    except UnicodeDecodeError:
        return ""


def _telemetry(host: Host, connect: t.Callable[[], Connection], canary_id: str, found: t.Any) -> dict[str, t.Any]:
    """Add the log of the checks and what they could read; what cannot be read is absent."""
    from .judge import archive
    from .judge.checklog import CheckLog
    from .judge.stream import StreamReader

    found.take("checks.jsonl", lambda: archive.log_bytes(host.paths, canary_id))
    if "checks.jsonl" not in found.members:
        found.absent["decisions.jsonl"] = "without the log of the checks nobody knows what they read"
        return {}
    try:
        log = CheckLog.parse(found.members["checks.jsonl"])
        if log.canary_id != canary_id:
            raise ValueError(f"it is of another run, {log.canary_id}")
        # the log is the monitor's, who may say anything: what is read is what the record names
        judging = found.record.judging if found.record is not None else log.header["options"]
        with StreamReader(connect(), str(judging.get("stream")), judging.get("match")) as reader:
            decisions, facts = archive.gather(reader, log)
    except (QscError, OSError, ValueError, AttributeError) as error:
        found.absent["decisions.jsonl"] = str(error)
        return {}
    found.members["decisions.jsonl"] = decisions
    found.members["telemetry.json"] = json.dumps(facts, indent=1, sort_keys=True).encode() + b"\n"
    return facts


def replay(path: str, tick: Tick | None = None) -> dict[str, t.Any]:
    """Judge every check of an archive again, and return what came of it. Raises BadInput for what is no archive."""
    from .judge import archive, rejudge
    from .judge.checklog import CheckLog
    from .ledger import broken_links

    try:
        found = bundle.read(Path(path))
    except OSError as error:
        raise BadInput(f"{path!r:.200} cannot be read: {error.strerror or error}", remedy="Name an archive.") from error
    try:
        log = CheckLog.parse(bundle.member(found, "checks.jsonl"))
    except ValueError as error:
        raise BadInput(f"checks.jsonl: {error}", remedy="Give an archive that qsc evidence has written.") from error
    archived = archive.Archived((), None)
    if "decisions.jsonl" in found.members:
        archived = archive.parse(found.members["decisions.jsonl"], bundle.member(found, "telemetry.json"))
    answer = rejudge.rejudge(log, archived, tick)
    notes = [f"absent in the archive: {name}: {why}" for name, why in _absent(found).items()]
    try:
        if "record.json" in found.members:
            rejudge.against(answer, log, parse(parse_json(found.members["record.json"])))
    except (RecordUnreadable, ValueError, RecursionError) as error:
        raise BadInput(f"record.json: {error}", remedy="Give an archive that qsc evidence has written.") from error
    lines = [line for line in found.members.get("ledger.jsonl", b"").split(b"\n") if line]
    told = answer.to_dict()
    return {
        **told,
        "notes": [*told["notes"], *notes],
        "altered": list(found.altered),
        "ledger": broken_links(lines),
    }


def _absent(found: bundle.Bundle) -> dict[str, str]:
    absent = found.manifest.get("absent")
    return {str(name): str(why) for name, why in absent.items()} if isinstance(absent, dict) else {}


def code_of(told: t.Mapping[str, t.Any]) -> int:
    """The exit code of a replay."""
    if told["differences"] or told["altered"] or told["ledger"]:
        return DIFFERS
    return EQUAL if told["whole"] else NOT_ALL


def needs_root() -> None:
    """Raises BadInput: journal, password and ledger are root's."""
    if os.geteuid() != 0:
        raise BadInput("evidence needs root", remedy="Run: sudo qsc evidence")
