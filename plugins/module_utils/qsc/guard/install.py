# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""Puts the agent on a host and takes it away: code, settings, credential, folders. Switched by one rename."""

from __future__ import annotations

import compileall
import os
import shutil
import stat
from pathlib import Path

from .. import agent
from ..errors import QscError, Refused
from ..files import fsync_folder, remove, write_atomic
from ..ledger import Ledger
from ..record import load
from ..settings import Paths, Settings
from ..steps import reached
from . import drill, installed


def install(settings: Settings, password: str | None, paths: Paths) -> list[str]:
    """Install what differs and return it as sentences. Raises BadInput or OSError."""
    changes = installed.plan(settings, password, paths)
    if not changes:
        return []
    for folder in (*installed.folders(paths, settings), paths.config.parent, paths.agent_root, paths.command.parent):
        if not folder.is_dir():
            folder.mkdir(parents=True)
            folder.chmod(0o755)  # whatever the umask: the monitor's user must reach the code
    for folder in installed.open_to_others(paths, settings):
        os.chown(folder, os.geteuid(), os.getegid())
        folder.chmod(0o755)
    # the credential first: an agent must never start with the settings of one Redis and the password of another
    if not installed.credential_kept(paths, password):
        reached("upgrade.credential")
        write_atomic(paths.password, installed.wanted_password(paths, password), mode=0o600)
    # code before settings: new code reads old settings by its defaults, old code may not know a new one
    _install_code(paths)
    if installed.content(paths.config) != installed.config_bytes(settings):
        reached("upgrade.settings")
        write_atomic(paths.config, installed.config_bytes(settings))
    if installed.link_of(paths.command) != installed.command_target(paths):
        _link(paths.command, installed.command_target(paths))
    return changes


def uninstall(paths: Paths, *, dry_run: bool = False) -> list[str]:
    """Remove agent, settings and state; the ledger stays, with its anchor. Raises Refused while a canary is in flight,
    or entries of the ledger wait in /run for room on the disk."""
    record = load(paths.record)
    if record is not None and record.in_flight:
        raise Refused(
            f"canary {record.id} is in flight ({record.state})", remedy="Roll back first: playbooks/rollback.yml"
        )
    waiting = len(Ledger.at(paths).waiting())
    if waiting:
        raise Refused(
            f"for room on the disk of {paths.ledger} wait in {paths.ledger_pending}: {waiting}",
            remedy="Make room: the watchdog appends them at its next look.",
        )
    dropins = _empty_dropin_folder(paths)
    found = [
        path
        for path in (paths.command, paths.agent_root, paths.config.parent, *_state(paths), paths.run, *dropins)
        if path.is_symlink() or path.exists()
    ]
    if not dry_run:
        drill.clean_up(paths)  # while there is an agent that can
        for path in found:
            if path.is_symlink() or path.is_file():
                remove(path)
            elif path in dropins:
                path.rmdir()
            else:
                shutil.rmtree(path)
    return [f"removed {path}" for path in found]


def _state(paths: Paths) -> list[Path]:
    """The state to remove: all of its folder but the ledger's anchor."""
    if not paths.ledger_anchor.exists():
        return [paths.state]
    return sorted(path for path in paths.state.iterdir() if path != paths.ledger_anchor)


def _empty_dropin_folder(paths: Paths) -> list[Path]:
    """The engine's drop-in folder where the installation made it and nobody else uses it."""
    try:
        folder = paths.dropin(Settings.load(paths.config).engine_unit).parent
        return [folder] if not any(folder.iterdir()) else []
    except (OSError, QscError):
        return []


def _link(path: Path, target: str) -> None:
    """Make ``path`` a link to ``target`` by one rename."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    remove(temporary)
    os.symlink(target, temporary)
    os.replace(temporary, path)
    fsync_folder(path.parent)


def _install_code(paths: Paths) -> None:
    wanted = agent.digest()
    folder = paths.agent_root / wanted
    if agent.digest_in(folder) != wanted:
        reached("upgrade.code")
        fresh = paths.agent_root / f".new-{os.getpid()}"
        shutil.rmtree(fresh, ignore_errors=True)
        for name, data in agent.sources().items():
            path = fresh / name
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            with open(path, "wb") as stream:
                os.fchmod(stream.fileno(), 0o755 if name == "run.py" else 0o644)
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())  # a host that loses power now must not come up with empty guards
        compileall.compile_dir(str(fresh), quiet=1, stripdir=str(fresh), prependdir=str(folder))
        for child in (fresh, *(path for path in fresh.rglob("*") if path.is_dir())):
            child.chmod(0o755)
            fsync_folder(child)
        if folder.exists():
            old = paths.agent_root / f".old-{os.getpid()}"
            os.replace(folder, old)
            os.replace(fresh, folder)
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.replace(fresh, folder)
        fsync_folder(paths.agent_root)
    before = agent.installed_digest(paths)
    if before != wanted:
        reached("upgrade.switch")
        _link(paths.agent_root / "current", wanted)
        _forget_others(paths.agent_root, {wanted, before})


def _forget_others(root: Path, kept: set[str]) -> None:
    """Keep the current agent and the one before, from which a check may still be running."""
    for path in root.iterdir():
        if path.name not in kept and stat.S_ISDIR(path.lstat().st_mode):
            shutil.rmtree(path, ignore_errors=True)
