# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""An operator's commands around a restart of the engine: pause entries, flatten positions, and go on after it.

What was paused is taken up again, whatever happens in between: a mark on the disk says that the post-restart hook is
due, and the watchdog runs it where the play that owed it was killed. A hook that fails stops an activation or a
promotion, with nothing changed; it never stops a rollback.
"""

from __future__ import annotations

import contextlib
import math
import os
import shlex
import stat
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from .. import own_checks
from ..errors import BadInput, QscError, Refused, SystemdError
from ..files import read_json, remove, timestamp, try_io, write_atomic, write_json
from ..record import ACTIVE, Record
from ..steps import reached
from ..verdict import printable
from . import systemd
from .host import Host, traffic

PRE, POST, RELOAD = "pre_restart", "post_restart", "reload"
HOOKS = (PRE, POST, RELOAD)
MOST_TRIES = 20
"""Looks of the watchdog that try a post-restart hook which fails; after that a human has to."""
_PLAY_S = 60.0
"""s beyond the hook's own that a play may take from one hook to the other, the time in which the run is armed aside."""


@dataclass(frozen=True)
class About:
    """What a hook is told of: the event (activate, raise, promote or rollback), the canary and its share."""

    event: str
    canary_id: str = ""
    model: str = ""
    weight: float = 0.0

    def environment(self, hook: str) -> dict[str, str]:
        """Its variables."""
        return {
            "QSC_CANARY_HOOK": hook,
            "QSC_CANARY_EVENT": self.event,
            "QSC_CANARY_ID": self.canary_id,
            "QSC_CANARY_MODEL": self.model,
            "QSC_CANARY_TRAFFIC": traffic(self.weight),
        }


@dataclass(frozen=True)
class Due:
    """A post-restart hook that has to run, since when, and how often it was tried in vain."""

    about: About
    command: str
    timeout_s: float
    opened_at: float
    opened_boot: float
    boot_id: str
    tries: int = 0


def about_run(record: Record, event: str) -> About:
    """What a hook is told of a run."""
    return About(event, record.id, record.model, record.weight)


def command_of(host: Host, hook: str) -> str:
    """The command of a hook, "" where there is none."""
    settings = host.settings
    return {PRE: settings.pre_restart, POST: settings.post_restart, RELOAD: settings.reload_command}[hook]


def check(host: Host) -> None:
    """Refuse commands that cannot run, or that others than root could change: they run as root."""
    commands = {hook: shlex.split(command_of(host, hook)) for hook in HOOKS}
    for hook, words in commands.items():
        if words:
            _check_program(f"qsc_canary_{hook}{'_command' if hook == RELOAD else ''}", Path(words[0]))
    if any(commands.values()) and not Path("/run/dbus/system_bus_socket").exists():
        raise Refused("hooks run through the system bus, which this host has not", remedy="Run: apt-get install dbus")


def _check_program(option: str, path: Path) -> None:
    try:
        status = path.stat()
    except OSError as error:
        raise BadInput(
            f"{option}={path} cannot be run on this host: {error.strerror}", remedy="Name an installed program."
        ) from error
    if not stat.S_ISREG(status.st_mode) or not os.access(path, os.X_OK):
        raise BadInput(f"{option}={path} is not an executable file", remedy=f"Run: chmod 0755 {path}")
    place = own_checks.open_place(path)[0]
    if place is not None:
        raise Refused(
            f"{option}: {place} can be changed by others than root, and would run as root",
            remedy=own_checks.repair(place),
        )


def before_restart(host: Host, about: About, *, locked: bool = False) -> systemd.Ran | None:
    """Run the pre-restart hook of an operator's step. Raises Refused when it fails; what it did is then undone by the
    post-restart hook, and nothing else was changed. ``locked``: the caller holds the host's lock."""
    reached("hook.before")
    _open(host, about)
    if not command_of(host, PRE):
        return None
    ran = _run(host, PRE, command_of(host, PRE), about, host.settings.hook_timeout_s, locked=locked)
    _open(host, about)  # a rollback or another play may have closed it while this hook ran
    if ran.exit_status != 0:
        undone = after_restart(host, locked=locked)
        told = "" if undone is None else f"; the post-restart hook then {_how(undone, host.settings.hook_timeout_s)}"
        raise Refused(
            f"the pre-restart hook {_how(ran, host.settings.hook_timeout_s)}{told}",
            remedy="The engine was left alone. Mend the hook, or leave it out (qsc_canary_pre_restart).",
        )
    return ran


def before_rollback(host: Host, about: About, notes: list[str]) -> Due | None:
    """The pre-restart hook of a rollback, once for each rollback. Never raises, and is bounded: nothing stops it."""
    reached("back.pre_hook")
    try:
        there = due(host)
        if there is not None and there.about.event == about.event and there.about.canary_id == about.canary_id:
            return there  # an earlier try of this rollback has run it
        opened = _open(host, about)
    except (OSError, QscError) as error:
        notes.append(f"the post-restart hook could not be noted: {error}")
        opened = _due_now(host, about)
    if command_of(host, PRE):
        notes += _tried(host, PRE, command_of(host, PRE), about, host.settings.hook_timeout_s, locked=True)
    return opened


def left_open(host: Host, notes: list[str]) -> Due | None:
    """What a killed play, or an earlier try of a rollback that needs no restart now, has left due. Never raises."""
    try:
        return due(host)
    except (OSError, QscError) as error:
        notes.append(f"the post-restart hook that is due could not be read: {error}")
        return None


def after_rollback(host: Host, opened: Due | None, notes: list[str]) -> None:
    """The post-restart hook of a rollback. Never raises; one that fails is tried again by the watchdog."""
    reached("back.post_hook")
    if opened is not None:
        notes += _close(host, opened, locked=True)


def after_restart(host: Host, *, locked: bool = False) -> systemd.Ran | None:
    """Run the post-restart hook that is due, None when none is. One that fails stays due."""
    opened = due(host)
    if opened is None:
        return None
    reached("hook.after")
    ran = _run(host, POST, opened.command, opened.about, opened.timeout_s, locked=locked)
    _settle(host, opened, ran.exit_status == 0)
    return ran


def run_reload(host: Host, about: About) -> systemd.Ran:
    """Let the engine load the canary's weights without a restart. Raises Refused when the command fails.

    From here the weights are in the engine's memory, where no fact about the process shows them: the way back is a
    restart, and the mark that says so comes first.
    """
    write_atomic(host.paths.restart_due, about.canary_id.encode())
    ran = _run(host, RELOAD, command_of(host, RELOAD), about, host.settings.hook_timeout_s, locked=False)
    if ran.exit_status != 0:
        raise Refused(f"qsc_canary_reload_command {_how(ran, host.settings.hook_timeout_s)}")
    return ran


def due(host: Host) -> Due | None:
    """The post-restart hook that is due. One that cannot be read is the settings' own, overdue."""
    try:
        raw = read_json(host.paths.hook_open)
        numbers = ("timeout_s", "opened_at", "opened_boot")
        found = {name: float(raw[name]) for name in numbers}
        if not all(math.isfinite(value) for value in found.values()):
            raise ValueError("not a time")
        about = About(**{**raw["about"], "weight": float(raw["about"]["weight"])})
        return Due(about, str(raw["command"]), boot_id=str(raw["boot_id"]), tries=int(raw["tries"]), **found)
    except FileNotFoundError:
        return None
    except (OSError, QscError, KeyError, TypeError, ValueError, OverflowError):
        if not command_of(host, POST):
            remove(host.paths.hook_open)
            return None
        return replace(_due_now(host, About("unknown")), boot_id="")


def _due_now(host: Host, about: About) -> Due:
    clock, settings = host.clock, host.settings
    command, timeout_s = command_of(host, POST), settings.hook_timeout_s
    return Due(about, command, timeout_s, clock.wall(), clock.boot(), clock.boot_id())


def _open(host: Host, about: About) -> Due | None:
    if not command_of(host, POST):
        return None
    opened = _due_now(host, about)
    write_json(host.paths.hook_open, asdict(opened))
    return opened


def close_overdue(host: Host, record: Record | None) -> list[str]:
    """The watchdog's part: a post-restart hook whose play or rollback did not come to it is run now."""
    opened = due(host)
    if opened is None or opened.tries >= MOST_TRIES:
        return []
    restarting = record is not None and record.in_flight and record.state != ACTIVE
    waited_s = host.clock.boot() - opened.opened_boot
    rebooted = opened.boot_id != host.clock.boot_id()
    late = rebooted or not 0 <= waited_s <= _PLAY_S + opened.timeout_s or opened.tries > 0
    if restarting or not late:
        return []
    return _close(host, opened, locked=False) or ["the post-restart hook that was due has run"]


def line(opened: Due) -> str:
    """What is wrong with a hook that is due, for people; "" while its restart is under way."""
    if not opened.tries:
        return ""
    return (
        f"the post-restart hook ({_program(opened.command)}) has failed {opened.tries} times since "
        f"{timestamp(opened.opened_at)}: what was paused may still be paused. See: qsc log"
    )


def _close(host: Host, opened: Due, *, locked: bool) -> list[str]:
    told = _tried(host, POST, opened.command, opened.about, opened.timeout_s, locked=locked)
    problem = try_io("the post-restart hook could not be noted", lambda: _settle(host, opened, not told))
    return [*told, problem] if problem else told


def _settle(host: Host, opened: Due, done: bool) -> None:
    there = due(host)
    if there is not None and there != opened and opened.boot_id:
        return  # opened anew while this hook ran: what was paused after that is not undone yet
    if done:
        remove(host.paths.hook_open)
    else:
        write_json(host.paths.hook_open, asdict(replace(opened, tries=opened.tries + 1)))


def _tried(host: Host, hook: str, command: str, about: About, timeout_s: float, *, locked: bool) -> list[str]:
    """Run a hook that may stop nothing; what went wrong, as sentences."""
    try:
        ran = _run(host, hook, command, about, timeout_s, locked=locked)
    except Exception as error:  # noqa: BLE001 - whatever it is, a rollback goes on
        return [f"the {hook.replace('_', '-')} hook could not be run: {error}"]
    return [] if ran.exit_status == 0 else [f"the {hook.replace('_', '-')} hook {_how(ran, timeout_s)}"]


def _run(host: Host, hook: str, command: str, about: About, timeout_s: float, *, locked: bool) -> systemd.Ran:
    """Run one hook and log how it ended; its arguments are the operator's own and are not logged."""
    try:
        ran = systemd.run_command(
            shlex.split(command),
            name=f"qsc-hook-{hook.replace('_', '-')}-{os.urandom(4).hex()}",
            environment=about.environment(hook),
            timeout_s=timeout_s,
        )
    except (SystemdError, ValueError) as error:
        ran = systemd.Ran(-1, 0.0, False, str(error))
    entry = {
        "canary_id": about.canary_id,
        "canary_model": about.model,
        "hook": hook,
        "event": about.event,
        "program": _program(command),
        "exit_status": ran.exit_status,
        "timed_out": ran.timed_out,
        "seconds": ran.seconds,
        **({} if ran.exit_status == 0 else {"said": _said(ran)}),
    }
    with contextlib.nullcontext() if locked else host.lock(wait_s=60.0):
        host.ledger.append("hook_run", entry, wall=host.clock.wall())
    return ran


def _program(command: str) -> str:
    return printable(command.split()[0] if command.split() else "", 200)


def failed(ran: systemd.Ran, host: Host) -> str:
    """What a failed post-restart hook of a play means; "" when it succeeded."""
    if ran.exit_status == 0:
        return ""
    return (
        f"the post-restart hook {_how(ran, host.settings.hook_timeout_s)}: what was paused may still be paused. "
        "The watchdog runs it again at each of its looks; see qsc status"
    )


def _how(ran: systemd.Ran, timeout_s: float) -> str:
    """How a hook ended, for a sentence."""
    if ran.timed_out:
        end = f"did not end within {timeout_s:g} s and was stopped"
    elif ran.exit_status == 0:
        end = "succeeded"
    else:
        end = f"failed with status {ran.exit_status}"
    said = "" if ran.exit_status == 0 else _said(ran)
    return f"{end} ({said})" if said else end


def _said(ran: systemd.Ran) -> str:
    """The last line that a hook printed."""
    return printable((ran.output.splitlines() or [""])[-1], 300)
