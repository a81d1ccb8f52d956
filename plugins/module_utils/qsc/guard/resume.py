# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""At boot, before the engine starts: baseline, or the canary goes on. Edits files only.

The baseline is what happens by itself: the environment file lies in /run, which no reboot keeps. A run goes on only
where its operator asked for it and nothing speaks against it; the watchdog then proves the engine again.
"""

from __future__ import annotations

from ..errors import QscError, RecordUnreadable
from ..files import digest_file, read_bounded, write_atomic
from ..record import ACTIVE, PROMOTING, Record, load, save, transition
from ..steps import reached
from ..verdict import Verdict
from . import effect, rollback, systemd
from .host import Host

LONGEST_DOWN_S = 1800.0
"""s between the last check and the boot: after a longer absence nobody knows what the canary would do now."""
MOST_REBOOTS = 5
"""A host that reboots more often than this during one run is not a host to try a model on."""
GRACE_S = 120.0
"""s after the boot in which the engine may still be on its way up."""


def decide(host: Host) -> list[str]:
    """What a run of an earlier boot becomes, as sentences; nothing where there is none."""
    with host.lock(wait_s=5.0):
        try:
            record = load(host.paths.record)
        except RecordUnreadable as error:
            return [f"{error.message}: the engine starts at baseline, its environment file is gone"]
        if record is None or not record.live or record.boot_id == host.clock.boot_id():
            return []
        why = "the host was rebooted during the run"
        if record.on_reboot == "resume":
            against, verdict = objection(host, record)
            if verdict is not None and not against:
                try:
                    return _resume(host, record, verdict)
                except (OSError, QscError) as error:
                    against = str(error)
                    record = load(host.paths.record) or record
            why = f"{why} and cannot go on: {against}"
        record = rollback.begin(host, record, rollback.Finding("reboot", why))
        reached("boot.record")
        save(host.paths.record, record)
        return [f"canary {record.id}: {why}; the engine starts at baseline"]


def objection(host: Host, record: Record) -> tuple[str, Verdict | None]:
    """(what speaks against going on, or "", the last verdict)."""
    try:
        verdict = rollback.verdict_of(host, record)
    except RecordUnreadable as error:
        return error.message, None
    if record.state != ACTIVE:
        what = "promotion" if record.state == PROMOTING else "activation"
        return f"the {what} was not completed", verdict
    if record.latched:
        return "a violation was recorded", verdict
    if verdict is None:
        return "the run was never checked", None
    found = rollback.of_verdict(verdict)
    if found is not None:
        return found.reason, verdict
    down = host.clock.wall() - verdict.checked_at
    if not -60 <= down <= LONGEST_DOWN_S:
        return f"the last check was {down:.0f} s ago, at most {LONGEST_DOWN_S:.0f} s may lie between", verdict
    if record.resumed >= MOST_REBOOTS:
        return f"it was the reboot number {record.resumed + 1} of this run, {MOST_REBOOTS} are accepted", verdict
    return _changed(host, record), verdict


def _changed(host: Host, record: Record) -> str:
    try:
        if digest_file(host.paths.dropin(record.engine_unit)) != record.dropin_digest:
            return "the engine's drop-in was changed or removed"
        if read_bounded(host.paths.weights) != host.weights_bytes(record):
            return "the canary's weights file was changed"
        if digest_file(host.paths.baseline) != record.baseline_digest:
            return "the saved baseline was changed"
    except OSError as error:
        return str(error)
    return ""


def _resume(host: Host, record: Record, verdict: Verdict) -> list[str]:
    """The record first, the environment file last: whatever is cut off in between comes up at baseline, and ends."""
    boot, wall = host.clock.boot(), host.clock.wall()
    watched = watched_before(record, verdict)
    record = transition(
        record,
        "resume",
        boot_id=host.clock.boot_id(),
        resumed=record.resumed + 1,
        resuming=True,
        activated_boot=boot - watched,
        watched_boot=boot,
        # the time to promote goes on while the host is down
        concluded_boot=boot - max(0.0, wall - record.concluded_at) if record.held else 0.0,
    )
    reached("boot.resume")
    save(host.paths.record, record)
    effect.prepare_ack(host, systemd.show(record.engine_unit))
    host.log("run_resumed", record, resumed=record.resumed, watched_s=round(watched, 3))
    reached("boot.environment")
    write_atomic(host.paths.engine_env, host.engine_env_bytes(record))
    return [f"canary {record.id} goes on after a reboot, {watched:.0f} s of its run are watched so far"]


def watched_before(record: Record, verdict: Verdict) -> float:
    """s of the run that were watched before this boot: up to its last check; time without checks does not count."""
    known = max(0.0, record.watched_boot - record.activated_boot)
    if verdict.boot_id == record.boot_id:
        known = max(known, verdict.checked_boot - record.activated_boot)
    return min(known, max(0.0, verdict.checked_at - record.activated_at) + 60.0)


def start_monitor(host: Host, record: Record) -> None:
    """After a reboot the monitor's timer, which is not enabled, has to be started. Raises SystemdError."""
    if record.resuming and systemd.show(host.guards.monitor_timer).active_state != "active":
        systemd.start(host.guards.monitor_timer)


def on_its_way(record: Record, engine: systemd.UnitFacts, boot: float) -> bool:
    """True while the engine of a resumed run has not had its turn in this boot."""
    waiting = engine.active_state in ("inactive", "activating") and engine.result == "success"
    return record.resuming and waiting and boot - record.watched_boot < GRACE_S
