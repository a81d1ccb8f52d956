# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""Restore the baseline and prove it. The same code for the host's unit, the operator's command and the module.

The order matters: first everything that lets the engine run canary weights goes away, then the engine is restarted,
then it is proven. Book-keeping that fails (a full disk) never stops these steps; it makes the run end in an error, so
that the unit tries again until the record says what the host is.
"""

from __future__ import annotations

import os
import stat
import time
import typing as t
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..errors import NotProven, QscError, RecordUnreadable, Refused, SystemdError
from ..files import digest_bytes, read_bounded, remove, timestamp, try_io, write_atomic
from ..record import PROMOTING, ROLLING_BACK, Record, drift_text, load, save, transition
from ..steps import reached
from ..verdict import EXPOSURE_BUDGET, MONITOR_VIOLATION, Verdict, Violation, printable
from . import folders, hooks, stepback, systemd
from .host import Host, how_it_ended, subject

_START_WAIT_S = 200.0
"""s: an engine that is on its way up by itself is waited for, not started over again."""


@dataclass(frozen=True)
class Finding:
    """Why a run must end: the trigger's code, a sentence, the outcome it means, and what the monitor had judged."""

    trigger: str
    reason: str
    outcome: str = ""
    violations: tuple[Violation, ...] = ()
    judged: t.Mapping[str, t.Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What a rollback did. ``proof`` is None only where the engine does not run and nothing was there to undo;
    ``seconds``: from the call, a wait for another process' lock included, to the proof."""

    changed: bool
    restarted: bool
    record: Record | None
    proof: systemd.Proof | None
    seconds: float
    notes: tuple[str, ...]

    def lines(self) -> list[str]:
        """For a terminal."""
        lines = []
        if self.record is not None and self.record.stepped_back_from and self.record.live:
            share = f"{self.record.model} at {100 * self.record.weight:g} %"
            return [
                f"canary {self.record.stepped_back_from} ended, the step before goes on as {self.record.id}: {share}",
                f"proven in {self.seconds:.1f} s, watched until {timestamp(self.record.ends_at)}",
                *self.notes,
            ]
        if self.record is not None and self.changed:
            why = self.record.trigger + (f": {self.record.reason}" if self.record.reason else "")
            lines.append(f"canary {self.record.id} ended: {self.record.outcome} ({why})")
            lines.extend(f"  {item['message']}" for item in self.record.violations)
        lines.append("baseline restored" if self.changed else "already at baseline, nothing changed")
        if self.proof is not None:
            lines.append(
                f"proven: {self.proof.unit} pid {self.proof.main_pid} runs without canary variables "
                f"({self.seconds:.1f} s, {'restarted' if self.restarted else 'no restart needed'})"
            )
            if self.changed:
                lines.append(f"seconds to baseline: {self.seconds:.1f}, from the command to the proof")
        else:
            lines.append("the engine does not run")
        lines.extend(self.notes)
        return lines


def verdict_of(host: Host, record: Record) -> Verdict | None:
    """The monitor's verdict on this run, None when there is none. Raises RecordUnreadable on a hostile one."""
    try:
        data = read_bounded(host.paths.verdict)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RecordUnreadable(f"the monitor's verdict cannot be read: {error}") from error
    verdict = Verdict.from_hostile(data)
    return verdict if verdict.canary_id == record.id else None


def of_verdict(verdict: Verdict) -> Finding | None:
    """What the monitor's verdict says of the run: it must end, or None."""
    seen = {
        "events": verdict.events,
        "first_id": verdict.first_id,
        "last_id": verdict.last_id,
        "checked_at": timestamp(verdict.checked_at),
        "checks_done": verdict.checks_done,
    }
    if verdict.verdict == "violation":
        return Finding(MONITOR_VIOLATION, verdict.message, "violated", verdict.violations, seen)
    if verdict.verdict == "inconclusive":
        return Finding("inconclusive", verdict.message, "inconclusive", (), seen)
    if verdict.verdict == "terminated":
        return Finding(EXPOSURE_BUDGET, verdict.message, "terminated", (), seen)
    return None


def judged(host: Host, record: Record) -> Finding | None:
    """The same of the verdict that lies on this host. Raises RecordUnreadable on a hostile one."""
    verdict = verdict_of(host, record)
    return of_verdict(verdict) if verdict is not None else None


def trigger_of_unit(host: Host) -> Finding:
    """Why the rollback unit was started, from the verdict, the monitor's result and the engine's own state.

    Never raises: a missing reason stops no rollback.
    """
    try:
        return _trigger(host)
    except Exception as error:  # noqa: BLE001 - whatever a hostile file or a broken host makes of the question
        return Finding("unknown", f"the reason could not be found: {type(error).__name__}: {error}")


def _trigger(host: Host) -> Finding:
    try:
        record = load(host.paths.record)
    except RecordUnreadable as error:
        return Finding("record_unreadable", error.message)
    if record is None or not record.live:
        return Finding("", "")
    try:
        found = judged(host, record)
    except RecordUnreadable as error:
        return Finding("verdict_unreadable", error.message)
    if found is not None:
        return found
    monitor = host.guards.monitor_service
    try:
        facts = systemd.show(monitor)
    except SystemdError as error:
        return Finding("monitor_failed", f"{monitor}: {error}")  # a missing reason stops no rollback
    if facts.active_state == "failed":
        return Finding("monitor_failed", f"{monitor}: result {facts.result}, exit status {facts.exit_status}")
    engine = systemd.show(record.engine_unit)
    if engine.n_restarts > 0:
        return Finding("engine_restarted", f"{engine.unit} was restarted by systemd {engine.n_restarts} times")
    if not engine.running:
        state = f"{engine.active_state}/{engine.sub_state}"
        return Finding("engine_down", f"{engine.unit} is {state}, result {engine.result}, status {engine.exit_status}")
    if record.state == PROMOTING:
        return Finding("promotion_interrupted", "the promotion was cut off before its end")
    return Finding("manual", f"{host.actor or 'somebody'} started the rollback unit")


def roll_back(host: Host, why: Finding | t.Callable[[Host], Finding], *, canary_id: str = "") -> Outcome:
    """Restore the baseline of this host and prove it; idempotent. ``why`` is asked under the lock if it is a question.

    Raises Refused when ``canary_id`` is not the run in flight, NotProven or SystemdError while the baseline cannot be
    shown; the record then stays ``rolling_back`` and the host goes on trying.
    """
    called = time.monotonic()
    with host.lock(wait_s=60.0):
        notes: list[str] = []
        finding = why if isinstance(why, Finding) else why(host)
        existed = host.paths.record.exists()
        record = _load(host, notes)
        if canary_id and record is not None and record.id != canary_id and record.in_flight:
            raise Refused(
                f"canary {canary_id} is over; in flight is {record.id} ({record.model})",
                remedy=f"To end that one run: qsc rollback --id {record.id}",
            )
        if record is not None and record.in_flight:
            if record.state == ROLLING_BACK and finding.trigger not in ("", record.trigger):
                notes.append(f"asked for meanwhile: {finding.trigger}: {printable(finding.reason)}")
            record = _begin(host, record, finding, notes)
        # whoever else asks wants the baseline, also where the host was about to go to the step before
        asked_by_host = finding.trigger in ("", MONITOR_VIOLATION)
        if record is not None and asked_by_host and stepback.wanted(host, record):
            stepped = _step_back(host, record, called, notes)
            if stepped is not None:
                return stepped
        removed, kept = _disarm(host, record, notes)
        file_restored, stuck = _restore_file(host, record, notes)
        left = kept or stuck
        reached("back.reload")
        systemd.daemon_reload()
        # an engine that was reloaded holds the canary's weights where no fact about its process shows them
        force = file_restored or host.paths.restart_due.exists() or _was_reloaded(record)
        proof, restarted = _restore(host, record, removed=removed, force=force, notes=notes)
        seconds = round(time.monotonic() - called, 3)
        if restarted:
            remove(host.paths.restart_due)
        if left is not None:
            raise left  # the engine runs no canary, but the run does not end while a part of it lies here
        changed = removed or restarted
        if record is not None and record.state == ROLLING_BACK:
            record = _finish(host, record, proof, notes, restarted=restarted)
            changed = True
        elif changed:
            lost = existed and record is None
            _log_without_run(host, finding, record, proof, rolled_back=restarted or lost)
        return Outcome(changed, restarted, record, proof, seconds, tuple(notes))


def _was_reloaded(record: Record | None) -> bool:
    in_flight = record is not None and record.state == ROLLING_BACK
    return record is not None and in_flight and record.delivery == "reload" and record.activated_at > 0


def _log_without_run(
    host: Host, finding: Finding, record: Record | None, proof: systemd.Proof | None, *, rolled_back: bool
) -> None:
    """The entry where no run was in flight: a rollback only if the engine was taken back, or a run's record was lost.

    Files that changed nothing (the drop-in of a play that went on after its run had ended) are an orphan: the run they
    belong to has its own entry, and a second one would tell of a rollback that never was.
    """
    host.ledger.append(
        "rollback_executed" if rolled_back else "orphan_removed",
        {
            "canary_id": "",
            "canary_model": record.model if record else "",
            "violations": [],
            "trigger": finding.trigger or "orphan",
            "reason": finding.reason or "canary configuration without a live record was removed",
            "last_canary_id": record.id if record else "",
            "proof": proof.to_dict() if proof else None,
        },
        wall=host.clock.wall(),
    )


def outcome_of(record: Record, violations: t.Sequence[object], wanted: str) -> str:
    """How a run ended: a violation always counts; a run that was concluded safe stays safe when it is merely ended."""
    if violations:
        return "violated"
    return wanted or record.outcome or "terminated"


def begin(host: Host, record: Record, finding: Finding) -> Record:
    """The record on its way to baseline, latched. The caller holds the lock and saves it."""
    if record.state == ROLLING_BACK:
        return record
    if not finding.violations:
        finding = _with_violation(host, record, finding)
    return transition(
        record,
        "roll_back",
        trigger=finding.trigger or "manual",
        reason=printable(finding.reason),
        violations=[vars(violation) for violation in finding.violations],
        violated_at=host.clock.wall() if finding.violations else 0.0,
        outcome=outcome_of(record, finding.violations, finding.outcome),
        judged=dict(finding.judged),
    )


def _with_violation(host: Host, record: Record, finding: Finding) -> Finding:
    """A violation the monitor has latched counts, whatever else ended the run first."""
    try:
        found = judged(host, record)
    except RecordUnreadable:
        return finding
    if found is None or not found.violations:
        return finding
    return replace(finding, outcome=found.outcome, violations=found.violations, judged=found.judged)


def _begin(host: Host, record: Record, finding: Finding, notes: list[str]) -> Record:
    record = begin(host, record, finding)
    reached("back.latch")
    problem = try_io("the record could not be written", lambda: save(host.paths.record, record))
    if problem:
        notes.append(problem)
    return record


def _load(host: Host, notes: list[str]) -> Record | None:
    """The record; an unreadable one is put aside, because a rollback must not depend on it."""
    try:
        return load(host.paths.record)
    except RecordUnreadable as error:
        aside = host.paths.record.with_name(f"record.json.unreadable-{int(host.clock.wall())}")
        notes.append(f"{error.message}; kept as {aside.name}")
        problem = try_io("it could not be put aside", lambda: os.replace(host.paths.record, aside))
        if problem:
            notes.append(problem)
        return None


def _units(host: Host, record: Record | None) -> list[str]:
    units = [host.settings.engine_unit]
    if record is not None and record.engine_unit not in units:
        units.insert(0, record.engine_unit)
    return units


def _disarm(host: Host, record: Record | None, notes: list[str]) -> tuple[bool, OSError | None]:
    """Take away all that lets the engine run canary weights: (something was there, what could not be removed).

    Either of environment file and drop-in is inert without the other, so one that cannot be removed (a read-only /etc)
    does not stop the way back. Raises OSError when both stay: a restart would come up as canary.
    """
    # the environment file first: without it a restart by anybody comes up at baseline
    reached("back.environment")
    found, kept = _remove(host.paths.engine_env, notes)
    left = kept
    reached("back.dropin")
    for unit in _units(host, record):
        was_there, problem = _remove(host.paths.dropin(unit), notes)
        if problem is not None and kept is not None:
            raise kept
        found, left = found or was_there, left or problem
    if record.state == ROLLING_BACK if record is not None else found:  # a lost record must not leave the timer behind
        reached("back.timer")
        timer = host.guards.monitor_timer
        stuck = try_io(f"{timer} could not be stopped", lambda: systemd.stop(timer))
        if stuck:
            notes.append(stuck)
    return found, left


def _remove(path: Path, notes: list[str]) -> tuple[bool, OSError | None]:
    try:
        return remove(path), None
    except OSError as error:
        notes.append(f"{path} could not be removed: {error}")
        return True, error


def _restore_file(host: Host, record: Record | None, notes: list[str]) -> tuple[bool, OSError | Refused | None]:
    """Put the saved baseline back where the engine's weights file was changed during the run: (done, what must be
    tried again).

    Other hands' changes are left where they cannot be undone. Weights of a promotion that was cut off are a part of the
    canary: they go, whatever the option says.
    """
    if record is None or record.state != ROLLING_BACK or not record.baseline_path:
        return False, None
    reached("back.weights_file")
    if record.baseline_drift == "keep" and not record.promoted:
        if record.drift:
            notes.append(f"{record.baseline_path} {drift_text(record.drift)} during the run: left as it is")
        return False, None
    try:
        return _replace_changed(host, record, Path(record.baseline_path), notes), None
    except (OSError, Refused) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        notes.append(f"{record.baseline_path} could not be restored: {reason}")
        return False, error if record.promoted else None


def _replace_changed(host: Host, record: Record, path: Path, notes: list[str]) -> bool:
    """Its folder may be the engine's own: whatever is found there gives its owner no right that he had not before."""
    saved = read_bounded(host.paths.baseline)
    if digest_bytes(saved) != record.baseline_digest:
        raise OSError(f"{host.paths.baseline} is not the snapshot of this run")
    with folders.pinned(path.parent) as folder:
        place = folder / path.name
        mode, owner = 0o644, (0, 0)
        try:
            status = place.lstat()
        except FileNotFoundError:
            notes.append(f"{path} was removed during the run: restored")
        else:
            if _holds(place, saved):
                # restored by a try that was cut off before the restart: the engine may still run what it loaded before
                return host.paths.restart_due.exists()
            if stat.S_ISREG(status.st_mode):
                mode, owner = status.st_mode & 0o777, (status.st_uid, status.st_gid)
            aside = f"{path.name}.{record.id}.changed"
            lost = try_io("it could not be kept", lambda: folders.set_aside(place, folder / aside))
            kept = lost or f"the changed file is {path.with_name(aside)}"
            notes.append(f"{path} was changed during the run: restored, {kept}")
        write_atomic(host.paths.restart_due, record.id.encode())
        write_atomic(place, saved, mode=mode, owner=owner)
    return True


def _holds(path: Path, wanted: bytes) -> bool:
    """Whether this is a plain file with this content; a link, a folder, a fifo or a huge file is not."""
    try:
        return read_bounded(path) == wanted
    except OSError:
        return False


def _restore(
    host: Host, record: Record | None, *, removed: bool, force: bool, notes: list[str]
) -> tuple[systemd.Proof | None, bool]:
    """Prove the baseline; restart the engine only where it cannot be proven as it runs, or has loaded another file."""
    source = subject(host, record)
    unit, names, stability_s = source.engine_unit, tuple(source.environment.values()), source.stability_s
    in_flight = record is not None and record.state == ROLLING_BACK
    before = systemd.show(unit)
    # at boot, or after a try of ours that was cut off: it is on its way up at baseline, and must not be started over
    starting = before.active_state == "activating" and before.n_restarts == 0 and not removed
    if (before.running or starting) and not force:
        try:
            stable = stability_s if in_flight else 0.0
            proof = systemd.prove(
                unit, expected={}, names=names, stability_s=stable, timeout_s=_START_WAIT_S if starting else 2.0
            )
        except NotProven:
            pass
        else:
            if in_flight:
                hooks.after_rollback(host, hooks.left_open(host, notes), notes)
            return proof, False
    if not in_flight and not removed and not before.running:
        return None, False  # an operator's stopped engine is not started by a rollback that has nothing to undo
    opened = hooks.before_rollback(host, _about(record), notes)
    reached("back.restart")
    systemd.reset_failed(unit)
    systemd.restart(unit, timeout_s=systemd.RESTART_TIMEOUT_S)
    reached("back.prove")
    proof = systemd.prove(
        unit, expected={}, names=names, not_invocation=before.invocation_id, stability_s=stability_s, timeout_s=20.0
    )
    hooks.after_rollback(host, opened, notes)
    return proof, True


def _about(record: Record | None) -> hooks.About:
    return hooks.About("rollback") if record is None else hooks.about_run(record, "rollback")


def pending(host: Host) -> list[str]:
    """What a rollback would undo now, for check mode; empty when the host is at baseline."""
    found = []
    record = None
    try:
        record = load(host.paths.record)
    except RecordUnreadable as error:
        found.append(f"put the record aside ({error.message})")
    if record is not None and record.in_flight:
        found.append(f"end canary {record.id} ({record.model} at {100 * record.weight:g} %, {record.state})")
    for path in [host.paths.engine_env, *(host.paths.dropin(unit) for unit in _units(host, record))]:
        if path.exists() or path.is_symlink():
            found.append(f"remove {path}")
    unit = subject(host, record).engine_unit
    facts = systemd.show(unit)
    environment = subject(host, record).environment
    if facts.running and host.paths.restart_due.exists():
        found.append(f"restart {unit}")
    elif facts.running:
        try:
            systemd.prove(unit, expected={}, names=tuple(environment.values()), timeout_s=2.0)
        except NotProven:
            found.append(f"restart {unit}")
    return found


def _step_back(host: Host, record: Record, called: float, notes: list[str]) -> Outcome | None:
    """The run of the step before, proven; None where that cannot be had: then it is the baseline, as ever."""
    try:
        run, proof = stepback.step_back(host, record, notes)
    except (OSError, QscError) as error:
        notes.append(f"the step before could not be taken up again: {error}")
        return None
    return Outcome(True, True, run, proof, round(time.monotonic() - called, 3), tuple(notes))


def _finish(host: Host, record: Record, proof: systemd.Proof | None, notes: list[str], *, restarted: bool) -> Record:
    """Ledger first, then the record: a kill in between repeats the step, and the entry is found again."""
    now = host.clock.wall()
    reached("back.ledger")
    if host.ledger.find("rollback_executed", record.id) is None:
        entry = host.log(
            "rollback_executed",
            record,
            **how_it_ended(record),
            weights=dict(record.baseline),
            proof=proof.to_dict() if proof else None,
            downtime_s=systemd.known_downtime_s(record.engine_unit) if restarted else 0.0,
            notes=list(notes),
        )
        if "sequence" not in entry:
            notes.append(f"the ledger cannot be written: the entry waits in {host.paths.ledger_pending}")
    reached("back.record")
    record = transition(record, "proven", rolled_back_at=now, proof=proof.to_dict() if proof else {})
    save(host.paths.record, record)
    return record
