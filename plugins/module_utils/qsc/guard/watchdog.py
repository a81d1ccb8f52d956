# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""The host guards itself: every period root looks at record, heartbeat, engine and files, and ends what is not right.

``diagnose`` is pure: facts in, the first thing that is wrong out. Silence counts against the canary.
"""

from __future__ import annotations

import json
import math
import os
import signal
import typing as t
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import Busy, NotProven, QscError, RecordUnreadable, SystemdError
from ..files import digest_file, is_stopped, lock_holder, read_bounded, timestamp, try_io, write_atomic
from ..record import ACTIVE, ARMING, PROMOTING, ROLLING_BACK, Record, drift_text, load, save, transition
from ..steps import reached
from ..verdict import HALF_JUDGED, MISSED_LIMIT, Verdict
from . import artifacts, effect, hooks, page, resume, rollback, systemd
from .host import Host
from .rollback import Finding

_LOCK_WAIT_S = 10.0
_SETTLING_S = 60.0
"""s: how long a deliberate restart of the engine may take before it counts as down."""


@dataclass(frozen=True)
class Facts:
    """What one look at the host found; times in s."""

    record: Record
    verdict: Verdict | None
    verdict_error: str
    engine: systemd.UnitFacts
    dropin_digest: str | None
    environment_intact: bool
    weights_intact: bool
    monitor_timer: str
    boot_id: str
    boot: float
    wall: float
    late: bool
    settling_s: float
    drift: str = ""
    another_model: str = ""

    @property
    def elapsed_boot(self) -> float:
        """s of boot time since the activation."""
        return self.boot - self.record.activated_boot

    @property
    def elapsed_wall(self) -> float:
        """s of wall time since the activation."""
        return self.wall - self.record.activated_at


def _rebooted(facts: Facts) -> Finding | None:
    if facts.boot_id != facts.record.boot_id:
        return Finding("reboot", "the host was rebooted during the run")
    return None


def _arming_expired(facts: Facts) -> Finding | None:
    if facts.record.state == ARMING and facts.boot > facts.record.arming_deadline_boot:
        return Finding("arming_expired", "the activation was not completed by its deadline")
    return None


def _promotion_interrupted(facts: Facts) -> Finding | None:
    # a promotion holds the lock to its end: whoever finds this state under the lock has outlived it
    del facts
    return Finding("promotion_interrupted", "the promotion was cut off before its end")


def _judged_bad(facts: Facts) -> Finding | None:
    return rollback.of_verdict(facts.verdict) if facts.verdict is not None else None


def _verdict_unreadable(facts: Facts) -> Finding | None:
    return Finding("verdict_unreadable", facts.verdict_error) if facts.verdict_error else None


def _engine_masked(facts: Facts) -> Finding | None:
    if facts.engine.load_state != "loaded":
        return Finding("engine_masked", f"{facts.engine.unit} is {facts.engine.load_state}")
    return None


def _engine_restarted(facts: Facts) -> Finding | None:
    if facts.engine.n_restarts > 0:
        return Finding(
            "engine_restarted",
            f"{facts.engine.unit} failed and was restarted by systemd {facts.engine.n_restarts} times "
            f"(result {facts.engine.result}, exit status {facts.engine.exit_status})",
        )
    return None


def _engine_down(facts: Facts) -> Finding | None:
    engine = facts.engine
    if resume.on_its_way(facts.record, engine, facts.boot):
        return None
    settling = engine.active_state in ("activating", "deactivating", "reloading") and facts.settling_s < _SETTLING_S
    if not engine.running and not settling:
        return Finding("engine_down", f"{engine.unit} is {engine.active_state}/{engine.sub_state}")
    return None


def _dropin_changed(facts: Facts) -> Finding | None:
    if facts.dropin_digest is None:
        return Finding("dropin_removed", "the engine's drop-in was removed by hand")
    if facts.dropin_digest != facts.record.dropin_digest:
        return Finding("dropin_changed", "the engine's drop-in was changed by hand")
    return None


def _configuration_changed(facts: Facts) -> Finding | None:
    if not facts.environment_intact:
        return Finding("environment_changed", "the engine's environment file was changed or removed by hand")
    if not facts.weights_intact:
        return Finding("weights_changed", "the canary's weights file was changed or removed by hand")
    return None


def _baseline_changed(facts: Facts) -> Finding | None:
    if facts.drift and facts.record.baseline_drift == "refuse":
        return Finding("baseline_changed", f"{facts.record.baseline_path} {drift_text(facts.drift)} during the run")
    return None


def _model_changed(facts: Facts) -> Finding | None:
    if facts.another_model:
        return Finding("model_changed", facts.another_model, "inconclusive")
    return None


def _monitor_stopped(facts: Facts) -> Finding | None:
    if facts.monitor_timer != "active":
        return Finding("timer_stopped", f"the monitor's timer is {facts.monitor_timer}: nobody judges the canary")
    return None


def _telemetry_lost(facts: Facts) -> Finding | None:
    if facts.verdict is not None and facts.verdict.missed_in_a_row > MISSED_LIMIT:
        return Finding(
            "telemetry_lost",
            f"{facts.verdict.missed_in_a_row} checks in a row could not read the telemetry ({facts.verdict.message})",
        )
    return None


def silence_limit(record: Record) -> float:
    """s of silence of the monitor that end a run: more than 4 checks missed, and the time of one check."""
    return (MISSED_LIMIT + 1) * record.interval_s + 5.0


def expected_checks(record: Record) -> int:
    """The checks of a whole run."""
    return max(1, int(record.duration_s / record.interval_s + 1e-9))


def _monitor_silent(facts: Facts) -> Finding | None:
    begin = max(facts.record.activated_boot, facts.record.watched_boot)
    beat = facts.verdict.checked_boot if facts.verdict is not None else begin
    if beat > facts.boot + 1:
        return Finding("monitor_silent", "the monitor's heartbeat lies in the future")
    silent = facts.boot - max(beat, begin)
    # after a pause of the whole machine the watchdog may run before the monitor: one period of grace when it is late
    if silent > silence_limit(facts.record) and not facts.late:
        return Finding(
            "monitor_silent", f"no check for {silent:.0f} s, the limit is {silence_limit(facts.record):.0f} s"
        )
    return None


def _hold_expired(facts: Facts) -> Finding | None:
    record = facts.record
    if record.held and facts.boot - record.concluded_boot > record.hold_s:
        what = "not promoted" if record.outcome == "safe" else "not ended"
        return Finding(
            "hold_expired",
            f"{record.outcome}, and {what} within {record.hold_s / 3600:g} h of its conclusion",
            record.outcome,
        )
    return None


def _not_safe_at_deadline(facts: Facts) -> Finding | None:
    record = facts.record
    if record.held or facts.elapsed_boot < record.deadline_s:
        return None
    reasons = reasons_not_safe(facts)
    if not reasons or facts.elapsed_boot < record.deadline_s + 2 * record.interval_s:
        return None  # the last check may be due just now
    if may_stay(facts):
        return None
    return Finding("inconclusive", "; ".join(reasons), "inconclusive")


def may_stay(facts: Facts) -> bool:
    """Whether a run that is not safe at its deadline need not end there: it was watched as it should be, nothing is
    against it, only certainty is missing, and its operator wants to go on. A run that was not judged never stays."""
    record = facts.record
    wanted = record.inconclusive == "hold" or (record.inconclusive == "extend" and not record.extended)
    return wanted and not _unwatched(facts) and bool(_uncertain(facts))


_Predicates = t.Sequence[t.Callable[[Facts], t.Optional[Finding]]]
_WHILE_ARMING: _Predicates = (_rebooted, _arming_expired)
_WHILE_PROMOTING: _Predicates = (_rebooted, _promotion_interrupted)
_WHILE_ACTIVE: _Predicates = (
    _rebooted, _judged_bad, _verdict_unreadable, _engine_masked, _engine_restarted, _engine_down, _dropin_changed,
    _configuration_changed, _baseline_changed, _model_changed, _monitor_stopped, _telemetry_lost, _monitor_silent,
    _hold_expired, _not_safe_at_deadline,
)  # fmt: skip


def diagnose(facts: Facts) -> Finding | None:
    """The first reason to end the run, or None. Pure."""
    for predicate in {ARMING: _WHILE_ARMING, PROMOTING: _WHILE_PROMOTING}.get(facts.record.state, _WHILE_ACTIVE):
        finding = predicate(facts)
        if finding is not None:
            return finding
    return None


def reasons_not_safe(facts: Facts) -> list[str]:
    """Why the run cannot be called safe; empty when it can. A run that was never judged is never safe."""
    return [*_unwatched(facts), *_uncertain(facts)]


def _uncertain(facts: Facts) -> list[str]:
    """What the last verdict lacks: it has nothing against the canary, but is not certain of it."""
    verdict = facts.verdict
    if verdict is None or verdict.verdict != "ok" or verdict.status != "WAIT":
        return []
    return [f"the last verdict is ok with status WAIT: {verdict.message}"]


def _unwatched(facts: Facts) -> list[str]:
    """What the watching lacks, or speaks against the canary."""
    record, verdict = facts.record, facts.verdict
    reasons = []
    if facts.elapsed_boot < record.duration_s or facts.elapsed_wall < record.duration_s:
        reasons.append(
            f"the run has lasted {min(facts.elapsed_boot, facts.elapsed_wall):.0f} of {record.duration_s:.0f} s"
        )
    if record.latched:
        reasons.append("a violation was recorded")
    if verdict is None:
        return [*reasons, "the run was never judged"]
    expected = expected_checks(record)
    if verdict.checks_done < record.required_checks * expected:
        reasons.append(
            f"{verdict.checks_done} of {expected} checks were done, {100 * record.required_checks:g} % are needed"
        )
    if verdict.max_missed_in_a_row > MISSED_LIMIT:
        reasons.append(f"{verdict.max_missed_in_a_row} checks were missed in a row")
    if verdict.checks_judged < HALF_JUDGED * expected:
        reasons.append(f"{verdict.checks_judged} of {expected} checks could judge, half are needed")
    if verdict.verdict != "ok" or verdict.status not in ("GO", "WAIT"):
        reasons.append(f"the last verdict is {verdict.verdict} with status {verdict.status}")
    if verdict.events < record.min_events:
        reasons.append(f"{verdict.events} decisions were judged, {record.min_events} are needed")
    if not verdict.complete:
        reasons.append("the telemetry has gaps")
    return reasons


def watch(host: Host) -> list[str]:
    """One look, and what follows from it. Returns what was done, as sentences for the journal."""
    with host.lock(wait_s=_LOCK_WAIT_S):
        # entries that wait for room on the disk; while there is none, nothing stops
        try_io("ledger", lambda: host.ledger.flush(wall=host.clock.wall()))
        try:
            record = load(host.paths.record)
        except RecordUnreadable as error:
            return _start_rollback(host, f"record unreadable: {error.message}", again=True)
        if record is None or not record.in_flight:
            return _remove_orphans(host, record)
        if record.state == ROLLING_BACK:
            return _start_rollback(host, f"canary {record.id} is rolling back: {record.trigger}", again=True)
        reached("watch.look")
        resume.start_monitor(host, record)
        facts = _facts(host, record)
        finding = diagnose(facts)
        if finding is None and record.state == ACTIVE:
            record = _note_drift(host, facts)
            finding, record = _follow_restart(host, facts, record)
        if finding is None:
            return _conclude(host, facts, record)
        record = rollback.begin(host, record, finding)
        reached("watch.latch")
        problem = try_io("the record could not be written", lambda: save(host.paths.record, record))
    notes = _start_rollback(host, f"canary {record.id}: {finding.trigger}: {finding.reason}")
    return [*notes, problem] if problem else notes


def _start_rollback(host: Host, why: str, *, again: bool = False) -> list[str]:
    """Start the rollback unit. ``again``: it may have been tried in vain until a human was called."""
    if again and page.quiet(host):
        return [why, "a human was called; tried again later"]
    reached("watch.start")
    systemd.start(host.guards.rollback_service, block=False)
    return [why, f"started {host.guards.rollback_service}"]


def _remove_orphans(host: Host, record: Record | None) -> list[str]:
    units = {host.settings.engine_unit, *([record.engine_unit] if record is not None else [])}
    paths = [host.paths.engine_env, *(host.paths.dropin(unit) for unit in sorted(units))]
    orphans = [path for path in paths if path.exists() or path.is_symlink()]
    if not orphans:
        return []
    return _start_rollback(host, f"{', '.join(map(str, orphans))} without a live record", again=True)


def _facts(host: Host, record: Record) -> Facts:
    facts = facts_now(host, record, remember=True)
    late, settling_s = _remember(host, record, facts.boot, facts.engine)
    return replace(facts, late=late, settling_s=settling_s)


def facts_now(host: Host, record: Record, *, remember: bool = False) -> Facts:
    """What one look finds that remembers no other. It writes nothing, unless it may ``remember`` which of the model's
    files it need not read again."""
    verdict, verdict_error = None, ""
    try:
        verdict = rollback.verdict_of(host, record)
    except RecordUnreadable as error:
        verdict_error = error.message
    if verdict is not None and verdict.boot_id != record.boot_id:
        verdict = None  # a heartbeat of another boot is no heartbeat
    boot = host.clock.boot()
    engine = systemd.show(record.engine_unit)
    return Facts(
        record=record,
        verdict=verdict,
        verdict_error=verdict_error,
        engine=engine,
        dropin_digest=_digest(host.paths.dropin(record.engine_unit)),
        environment_intact=_equal(host, "engine_env", host.engine_env_bytes(record)),
        weights_intact=_equal(host, "weights", host.weights_bytes(record)),
        monitor_timer=systemd.show(host.guards.monitor_timer).active_state,
        boot_id=host.clock.boot_id(),
        boot=boot,
        wall=host.clock.wall(),
        late=False,
        settling_s=0.0,
        drift=drift_of(record),
        another_model=artifacts.look(host, record, remember=remember) if record.state == ACTIVE else "",
    )


def drift_of(record: Record) -> str:
    """What the engine's own weights file became since it was saved as the baseline; "" where it is the same."""
    if not record.baseline_path or record.state != ACTIVE:
        return ""
    try:
        digest = digest_file(Path(record.baseline_path))
    except OSError:
        return "unreadable"
    if digest is None:
        return "removed"
    return "" if digest == record.baseline_digest else digest


def _digest(path: Path) -> str | None:
    """The digest of a file, None when it is gone, and of no file at all when it is a link or the like."""
    try:
        return digest_file(path)
    except OSError:
        return ""


def _equal(host: Host, name: str, wanted: bytes) -> bool:
    try:
        return read_bounded(getattr(host.paths, name)) == wanted
    except OSError:
        return False


def _remember(host: Host, record: Record, boot: float, engine: systemd.UnitFacts) -> tuple[bool, float]:
    """Whether this look is late itself, and for how long the engine has been between two states."""
    last, since = remembered(host.paths.watchdog_state, boot) or (boot, 0.0)
    settling_since = 0.0 if engine.running else (since or boot)
    memory = {"last": boot, "settling_since": settling_since}
    if try_io("memory", lambda: write_atomic(host.paths.watchdog_state, json.dumps(memory).encode())):
        return False, math.inf  # without a memory nothing is forgiven, and nothing overlooked
    return boot - last > 2 * record.interval_s, boot - settling_since if settling_since else 0.0


def remembered(path: Path, boot: float) -> tuple[float, float] | None:
    """The boot times of the last look and of the engine's last settling (0: none); None when they are not usable."""
    try:
        memory = json.loads(read_bounded(path))
        last, since = float(memory["last"]), float(memory["settling_since"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    return (last, since) if 0 <= last <= boot and 0 <= since <= boot else None


def _note_drift(host: Host, facts: Facts) -> Record:
    """Say once that the engine's weights file changed: the rollback restores it, or keeps it, as the run was told."""
    record = facts.record
    if facts.drift == record.drift:
        return record
    record = transition(record, "drift", drift=facts.drift)
    what = drift_text(facts.drift) if facts.drift else "is the saved baseline again"
    reached("drift.ledger")
    told = host.ledger.find("baseline_drift", record.id)
    if (told or {}).get("sha256", "") != facts.drift:  # else a look was cut off between ledger and record
        host.log(
            "baseline_drift",
            record,
            reason=f"{record.baseline_path} {what}",
            sha256=facts.drift,
            then=record.baseline_drift,
        )
    reached("drift.record")
    save(host.paths.record, record)
    return record


def _follow_restart(host: Host, facts: Facts, record: Record) -> tuple[Finding | None, Record]:
    """A new invocation without a failure is somebody's deliberate restart, or a boot: prove the effect again."""
    engine = facts.engine
    if not engine.running or engine.invocation_id == record.engine.get("invocation_id"):
        return None, record
    try:
        # another process has read the environment file at its start, whatever the one before was told by a reload
        record = replace(record, delivery="restart")
        proof, effective = effect.prove(host, record)
    except (NotProven, SystemdError) as error:
        return Finding("restart_not_proven", f"the engine was restarted, and now: {error}"), record
    record = transition(
        record,
        "reprove",
        engine={"invocation_id": proof.invocation_id, "main_pid": proof.main_pid},
        effective=effective,
        proof=proof.to_dict(),
        resuming=False,
    )
    reached("reprove.ledger")
    told = host.ledger.find("engine_restart_proven", record.id)
    if told is None or (told.get("proof") or {}).get("invocation_id") != proof.invocation_id:  # a look was cut off here
        how = effect.delivered(record)
        host.log("engine_restart_proven", record, proof=proof.to_dict(), effective=effective, **how)
    reached("reprove.record")
    save(host.paths.record, record)
    return None, record


def _conclude(host: Host, facts: Facts, record: Record) -> list[str]:
    """At the deadline: safe, when every condition holds; or, where only certainty is missing, what the operator wants
    then. Watching goes on until promoted or rolled back."""
    verdict = facts.verdict
    if record.state != ACTIVE or record.held or verdict is None:
        return []
    reasons = reasons_not_safe(replace(facts, record=record))
    if not reasons:
        return _concluded(host, facts, record, verdict, "safe", "")
    late = facts.elapsed_boot >= record.deadline_s + 2 * record.interval_s
    if not late or not may_stay(replace(facts, record=record)):
        return []
    if record.inconclusive == "extend":
        return _extended(host, record, "; ".join(reasons))
    return _concluded(host, facts, record, verdict, "inconclusive", "; ".join(reasons))


def _concluded(host: Host, facts: Facts, record: Record, verdict: Verdict, outcome: str, reason: str) -> list[str]:
    changes = {"outcome": outcome, "concluded_at": facts.wall, "concluded_boot": facts.boot, "reason": reason}
    record = transition(record, f"conclude_{outcome}", **changes)
    reached("conclude.ledger")
    if host.ledger.find("monitoring_completed", record.id) is None:
        host.log(
            "monitoring_completed",
            record,
            duration_hours=facts.elapsed_boot / 3600 if record.extended else record.duration_s / 3600,
            checks_performed=verdict.checks_done,
            checks_judged=verdict.checks_judged,
            checks_missed=verdict.checks_missed,
            events=verdict.events,
            first_id=verdict.first_id,
            last_id=verdict.last_id,
            violations=None,
            result=outcome,
            **({"reason": reason} if reason else {}),
        )
    reached("conclude.record")
    save(host.paths.record, record)
    return [f"canary {record.id}: {outcome} after {verdict.checks_done} checks; still watched"]


def _extended(host: Host, record: Record, reason: str) -> list[str]:
    record = transition(record, "extend", extended=True)
    until = timestamp(record.activated_at + record.max_duration_s)
    reached("conclude.ledger")
    if host.ledger.find("monitoring_extended", record.id) is None:
        host.log("monitoring_extended", record, reason=reason, until=until)
    reached("conclude.record")
    save(host.paths.record, record)
    return [f"canary {record.id}: not certain yet, watched until {until}: {reason}"]


def _free_lock(host: Host) -> list[str]:
    """End a process that was stopped while it held the lock: until it went on, no guard could do anything.

    Whatever it was about to do, it may be killed there: every step ends proven after that.
    """
    pid = lock_holder(host.paths.lock)
    if pid is None or not is_stopped(pid):
        return []
    os.kill(pid, signal.SIGKILL)
    return [f"process {pid} was stopped while it held the lock, and was ended"]


def _close_hook(host: Host) -> list[str]:
    """What was paused for a restart goes on, also where the play was killed that had to say so."""
    try:
        return hooks.close_overdue(host, load(host.paths.record))
    except (OSError, QscError) as error:
        return [f"the post-restart hook: {error}"]


def _watch_in_turn(host: Host) -> list[str]:
    try:
        return watch(host)
    except Busy:
        ended = _free_lock(host)
        if not ended:
            raise
        return [*ended, *watch(host)]


def run(host: Host) -> tuple[int, list[str]]:
    """The watchdog unit's whole job: (exit code, sentences). An error of its own is loud, and tried again."""
    try:
        return 0, [*_watch_in_turn(host), *_close_hook(host)]
    except Busy as error:
        return 0, [f"left alone: {error.message}"]  # a rollback or an activation is at work; the next look follows
    except (OSError, QscError) as error:
        return 1, [f"the watchdog failed: {error}"]
    except Exception as error:  # noqa: BLE001 - a watchdog that cannot think must not leave the canary unwatched
        return 1, [
            f"the watchdog failed: {type(error).__name__}: {error}",
            *_start_rollback(host, "nobody guards the canary"),
        ]
