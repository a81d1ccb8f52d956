# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""Where an operator wants it so, a violation of a raised canary leads to the step before instead of the baseline.

It is a detour of a rollback, tried once: the record already says ``rolling_back``, so that whatever is cut off or fails
on the way ends at the baseline. Only a violation that the monitor found leads here; an engine that fell over, a monitor
that fell silent, a run that was not certain or has spent its budget, or an operator's rollback never does. The run of
the step before is a fresh one, watched from its first second.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace

from ..errors import RecordUnreadable, Refused
from ..files import digest_bytes, read_bounded, read_json, write_atomic, write_json
from ..record import ARMING, ROLLING_BACK, Record, begun_anew, parse, save
from ..steps import reached
from ..verdict import EXPOSURE_BUDGET, MONITOR_VIOLATION
from . import effect, hooks, systemd
from .host import Host, how_it_ended, new_canary_id, rollback_command

BASELINE, PREVIOUS_STEP = "baseline", "previous_step"
_STREAM_ID = re.compile(r"\d{1,20}-\d{1,20}")
_TRIED = "tried"


def keep(host: Host, record: Record) -> None:
    """Keep the run that is about to be raised, with its drop-in: what a step back leads to."""
    dropin = read_bounded(host.paths.dropin(record.engine_unit))
    if digest_bytes(dropin) != record.dropin_digest:
        raise Refused(f"the drop-in of canary {record.id} was changed", remedy="See: qsc status")
    reached("arm.previous")
    write_json(host.paths.previous, {"record": record.to_dict(), "dropin": dropin.decode()})


def wanted(host: Host, record: Record) -> bool:
    """Whether this rollback leads to the step before.

    Never once the way to the baseline has begun: a reboot took the environment file, or an earlier try took it away
    and could not write that into the record.
    """
    begun = not (host.paths.engine_env.exists() and host.paths.dropin(record.engine_unit).exists())
    return (
        record.state == ROLLING_BACK
        and not begun
        and record.rollback_to == PREVIOUS_STEP
        and bool(record.raised_from)
        and record.trigger == MONITOR_VIOLATION
        and not any(item.get("code") == EXPOSURE_BUDGET for item in record.violations)
        and not record.step_back
    )


def _previous(host: Host, record: Record) -> tuple[Record, bytes]:
    raw = read_json(host.paths.previous)
    if not isinstance(raw, dict) or not isinstance(raw.get("dropin"), str):
        raise RecordUnreadable(f"{host.paths.previous} is not a run that was kept")
    kept, dropin = parse(raw.get("record")), raw["dropin"].encode()
    if kept.id != record.raised_from or digest_bytes(dropin) != kept.dropin_digest:
        raise RecordUnreadable(f"{host.paths.previous} is not the run {record.raised_from} that was raised")
    return kept, dropin


def _fresh(host: Host, record: Record, kept: Record, engine: systemd.UnitFacts) -> Record:
    """A new run at the share of the one that was kept, judged and watched as that one was."""
    now, boot = host.clock.wall(), host.clock.boot()
    run = begun_anew(
        kept,
        id=new_canary_id(kept.model, now),
        state=ARMING,
        owner=os.urandom(16).hex(),
        generation=1,
        boot_id=host.clock.boot_id(),
        armed_at=now,
        armed_boot=boot,
        arming_deadline_boot=boot + (record.arming_deadline_boot - record.armed_boot),
        engine_before=engine.to_dict(),
        stepped_back_from=record.id,
    )
    # the last decision that was judged: this side reads no stream, and the marker has to be one of its IDs
    last_id = str(record.judged.get("last_id", ""))
    if not _STREAM_ID.fullmatch(last_id):
        raise Refused(f"the last decision that was judged is not known: {last_id!r:.40}")
    return replace(run, since={"id": last_id, "entries_added": None})


def step_back(host: Host, record: Record, notes: list[str]) -> tuple[Record, systemd.Proof]:
    """Take up the step before, proven and logged; the caller holds the lock. Raises QscError or OSError, and the
    caller then goes on to the baseline, over whatever was written here."""
    reached("stepback.latch")
    save(host.paths.record, replace(record, step_back=_TRIED, generation=record.generation + 1))
    kept, dropin = _previous(host, record)
    unit = kept.engine_unit
    before = systemd.show(unit)
    run = _fresh(host, record, kept, before)
    reached("stepback.files")
    write_atomic(host.paths.weights, host.weights_bytes(run))
    effect.prepare_ack(host, before)
    write_atomic(host.paths.dropin(unit), dropin)
    write_atomic(host.paths.engine_env, host.engine_env_bytes(run))
    systemd.daemon_reload()
    opened = hooks.before_rollback(host, hooks.about_run(record, "rollback"), notes)
    reached("stepback.restart")
    systemd.reset_failed(unit)
    systemd.restart(unit, timeout_s=systemd.RESTART_TIMEOUT_S)
    reached("stepback.prove")
    proof, effective = effect.prove(host, run)
    hooks.after_rollback(host, opened, notes)
    systemd.start(host.guards.monitor_timer)
    run = effect.commit(host, run, proof, effective, dropin_digest=kept.dropin_digest)
    reached("stepback.ledger")
    host.log(
        "stepped_back",
        record,
        **how_it_ended(record),
        from_weight=record.weight,
        to_weight=run.weight,
        to_canary_id=run.id,
        weights=dict(run.weights),
        proof=proof.to_dict(),
        notes=list(notes),
        rollback_cmd=rollback_command(run.id),
        **effect.delivered(run),
    )
    reached("stepback.record")
    save(host.paths.record, run)
    return run, proof
