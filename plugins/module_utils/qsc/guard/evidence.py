# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""What a host itself can tell about a run: files, ledger, units, journal. Changes nothing and reads no telemetry.

What the monitor wrote is taken as bytes, whatever it holds.
"""

from __future__ import annotations

import json
import re
import sys
import typing as t
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from .. import __version__, agent
from ..errors import QscError
from ..files import parse_json, read_bounded, timestamp
from ..record import Record, load
from ..settings import Settings
from . import systemd
from .host import MONITOR_SERVICE, MONITOR_TIMER, ROLLBACK_SERVICE, WATCHDOG_TIMER, Host

UNITS = (MONITOR_SERVICE, MONITOR_TIMER, "qsc-watchdog.service", WATCHDOG_TIMER, ROLLBACK_SERVICE, "qsc-resume.service")
MOST_LEDGER_BYTES = 8 << 20
MOST_JOURNAL_BYTES = 32 << 20
JOURNAL_LINES = 50_000
JOURNAL_MARGIN_S = 120.0
"""s of the journal before a run was armed and after it ended."""
HIDDEN = b"(hidden)"
LEAST_SECRET = 4
"""A shorter password would be found in any text."""
_ASSIGNED = re.compile(r"^(\s*(?:Environment|SetCredential|SetCredentialEncrypted|PassEnvironment)\s*=\s*)(.*)$")
_NAMED = re.compile(r"([A-Za-z_][A-Za-z0-9_.-]*)[=:]")


@dataclass
class Gathered:
    """Parts of the evidence by name, why others are not there, and the record where it is of this run."""

    members: dict[str, bytes] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    record: Record | None = None

    def take(self, name: str, action: t.Callable[[], bytes]) -> None:
        """Add a part, or why it cannot be had."""
        try:
            self.members[name] = action()
        except FileNotFoundError:
            self.absent[name] = "it does not exist on the host"
        except (OSError, QscError, ValueError) as error:
            self.absent[name] = str(error)


def gather(host: Host, canary_id: str, *, journal: bool = True) -> Gathered:
    """All of it."""
    found = Gathered()
    paths = host.paths
    found.take("record.json", lambda: _record(host, canary_id, found))
    found.take("config.json", lambda: _settings(paths.config))
    found.take("ledger.jsonl", lambda: _ledger(host, canary_id))
    found.take("gate_latest.md", lambda: read_bounded(paths.gate_report))
    if found.record is not None:
        for name, path in (
            ("verdict.json", paths.verdict),
            ("scoreboard.md", paths.scoreboard),
            ("scoreboard.json", paths.figures),
            ("weights.json", paths.weights),
            ("baseline.json", paths.baseline),
        ):
            found.take(name, lambda path=path: read_bounded(path))  # type: ignore[misc]
    unit = found.record.engine_unit if found.record is not None else host.settings.engine_unit
    for name in (unit, *UNITS):
        found.take(f"units/{_plain(name)}.txt", lambda name=name: redacted(systemd.text(name)).encode())  # type: ignore[misc]
    if not journal:
        found.absent["journal.jsonl"] = "left out on request"
    elif found.record is None:
        found.absent["journal.jsonl"] = "the time of the run is not known without its record"
    else:
        _journal(host, found, found.record, (unit, *UNITS))
    return found


def facts(host: Host, canary_id: str, found: Gathered) -> dict[str, t.Any]:
    """What the manifest says beside the parts."""
    return {
        "canary_id": canary_id,
        "model": found.record.model if found.record is not None else "",
        "written_at": timestamp(host.clock.wall()),
        "written_by": host.actor,
        "versions": {
            "collection": __version__,
            "agent": host.wanted_agent,
            "installed_agent": agent.installed_digest(host.paths),
            "python": sys.version.split()[0],
        },
        "absent": dict(sorted(found.absent.items())),
    }


def _record(host: Host, canary_id: str, found: Gathered) -> bytes:
    record = load(host.paths.record)
    if record is None:
        raise FileNotFoundError
    if record.id != canary_id:
        raise QscError(f"the host keeps the record of its newest run alone, and that is {record.id}")
    found.record = record
    return _json(record.to_dict())


def _settings(path: Path) -> bytes:
    """The settings as they stand in their file, when they hold nothing but settings: a password is none."""
    data = read_bounded(path)
    Settings.from_dict(parse_json(data))
    return data


def _ledger(host: Host, canary_id: str) -> bytes:
    lines = host.ledger.slice(lambda entry: entry.get("canary_id") == canary_id)
    if not lines:
        raise QscError("no entry is about this run")
    data = b"".join(line + b"\n" for line in lines)
    if len(data) > MOST_LEDGER_BYTES:
        raise QscError(f"the entries of this run and those between them have more than {MOST_LEDGER_BYTES >> 20} MiB")
    return data


def _journal(host: Host, found: Gathered, record: Record, units: t.Sequence[str]) -> None:
    ended = record.rolled_back_at or record.promoted_at
    now = host.clock.wall()
    since, until = record.armed_at - JOURNAL_MARGIN_S, min(now, ended + JOURNAL_MARGIN_S) if ended else now
    try:
        data, more = systemd.journal(
            units, since=since, until=until, lines=JOURNAL_LINES, most_bytes=MOST_JOURNAL_BYTES
        )  # fmt: skip
    except QscError as error:
        found.absent["journal.jsonl"] = str(error)
        return
    found.members["journal.jsonl"] = data
    if more:
        found.absent["the newest lines of journal.jsonl"] = f"it has more than {MOST_JOURNAL_BYTES >> 20} MiB"
    if not data:
        found.absent["lines of journal.jsonl"] = "the journal holds none of the run's time"


def redacted(text: str) -> str:
    """A unit without the values of its variables and credentials: only their names are evidence."""
    lines = []
    continued = False
    for line in text.split("\n"):
        match = _ASSIGNED.match(line)
        if continued:
            lines.append("# (hidden: it goes on from the line before)")
        elif match:
            names = " ".join(f"{name}=(hidden)" for name in _NAMED.findall(match.group(2)))
            lines.append(match.group(1) + names)
        else:
            lines.append(line)
        continued = (continued or match is not None) and line.endswith("\\")
    return "\n".join(lines)


def hide(members: t.Mapping[str, bytes], secret: str) -> tuple[dict[str, bytes], list[str]]:
    """The parts without the password, in any of the forms a text may give it, and in which of them it was."""
    if len(secret) < LEAST_SECRET:
        return dict(members), []
    forms = {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], quote(secret, safe="")}
    found, hidden = {}, []
    for name, data in members.items():
        clean = data
        for form in sorted(forms, key=len, reverse=True):
            clean = clean.replace(form.encode(), HIDDEN)
        found[name] = clean
        if clean != data:
            hidden.append(name)
    return found, sorted(hidden)


def _plain(unit: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.@:-]", "_", unit)


def _json(value: t.Any) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"
