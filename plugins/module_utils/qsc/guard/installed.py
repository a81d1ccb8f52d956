# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""What of the agent is on a host, and what an installation would change. Changes nothing, and needs none of the code
that it compares."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

from .. import agent, freeze
from ..errors import BadInput, QscError, Refused
from ..files import read_bounded
from ..record import load
from ..settings import OPERATOR_KEYS, Paths, Settings


def plan(settings: Settings, password: str | None, paths: Paths, wanted: str = "") -> list[str]:
    """What an installation would change, as sentences; empty when nothing. The password is compared, never shown.

    Without a password (None) the one that is there is kept. ``wanted``: the digest of the agent, by default this one's.
    Raises BadInput, and Refused where a canary in flight forbids the change.
    """
    if password is not None and ("\n" in password or "\0" in password):
        raise BadInput("the Redis password contains a line end", remedy="Give a password of one line.")
    freeze.check_zones(settings.freeze_windows)
    _check_in_flight(settings, paths)
    changes = []
    wanted, found = wanted or agent.digest(), agent.installed_digest(paths)
    if wanted != found:
        changes.append(f"agent {found or 'none'} -> {wanted}")
    elif agent.digest_in(paths.agent_root / wanted) != wanted:
        changes.append(f"agent {wanted} was changed by hand: repaired")
    if link_of(paths.command) != command_target(paths):
        changes.append(f"command {paths.command}")
    if content(paths.config) != config_bytes(settings):
        changes.append(f"settings {paths.config}")
    if not credential_kept(paths, password):
        changes.append(f"credential {paths.password}")
    changes.extend(f"folder {folder}" for folder in folders(paths, settings) if not folder.is_dir())
    changes.extend(f"folder {folder} was open to others: repaired" for folder in open_to_others(paths, settings))
    return changes


def _check_in_flight(settings: Settings, paths: Paths) -> None:
    """The guards of a run keep the settings it was started with; its code and its credential may be renewed, and what
    tells only when and how far an operator goes on."""
    try:
        record = load(paths.record)
        same = _read_by_guards(Settings.load(paths.config)) == _read_by_guards(settings)
    except QscError:
        return  # what is damaged is repaired
    if record is not None and record.in_flight and not same:
        raise Refused(
            f"canary {record.id} is in flight ({record.model} at {100 * record.weight:g} %, {record.state}): "
            "the settings of its guards cannot change now",
            remedy="Use the settings it was started with, or end that run first: "
            f"/usr/local/bin/qsc rollback --id {record.id}",
        )


def _read_by_guards(settings: Settings) -> str:
    kept = {key: value for key, value in settings.to_dict().items() if key not in OPERATOR_KEYS}
    return json.dumps(kept, sort_keys=True)


def folders(paths: Paths, settings: Settings) -> tuple[Path, ...]:
    """The folders of an installation, but those of code and settings."""
    return (paths.state, paths.ledger.parent, paths.run, paths.dropin(settings.engine_unit).parent)


def open_to_others(paths: Paths, settings: Settings) -> list[Path]:
    """Folders in which somebody else could put files in place of ours."""
    ours = (*folders(paths, settings), paths.config.parent, paths.agent_root)
    return [
        folder
        for folder in ours
        if folder.is_dir() and (folder.stat().st_uid != os.geteuid() or folder.stat().st_mode & 0o022)
    ]


def config_bytes(settings: Settings) -> bytes:
    """The settings as they stand on the host."""
    return json.dumps(settings.to_dict(), indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"


def content(path: Path) -> bytes | None:
    """The content of a file, None where there is none."""
    try:
        return read_bounded(path)
    except FileNotFoundError:
        return None


def wanted_password(paths: Paths, password: str | None) -> bytes:
    """The credential as it has to be; without a password (None) as it is."""
    return (content(paths.password) or b"") if password is None else password.encode()


def credential_kept(paths: Paths, password: str | None) -> bool:
    """Whether the credential is the wanted one, and root's alone."""
    found = content(paths.password)
    if found is None or found != wanted_password(paths, password):
        return False
    status = paths.password.lstat()
    return stat.S_IMODE(status.st_mode) == 0o600 and status.st_uid == os.geteuid()


def command_target(paths: Paths) -> str:
    """Where the link of the command leads."""
    return os.path.relpath(paths.agent_root / "current" / "run.py", paths.command.parent)


def link_of(path: Path) -> str:
    """Where a link leads, "" where there is none."""
    try:
        return os.readlink(path)
    except OSError:
        return ""
