# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""A safe canary is raised to its next share; after the last one its weights become the engine's own.

A raise is an activation with another beginning: it takes a run that is safe, and keeps that run's baseline as the way
back. Until it is proven the host's arming deadline ends it there. A promotion writes the engine's own weights file; cut
off anywhere it is found as ``promoting`` by the watchdog, which ends it at the baseline.
"""

from __future__ import annotations

import stat
import typing as t
from dataclasses import dataclass
from pathlib import Path

from ..errors import NotProven, NotYet, QscError, Refused
from ..files import digest_bytes, read_bounded, remove, timestamp, try_io, write_atomic
from ..record import ACTIVE, ARMING, PROMOTED, Record, drift_text, load, save, transition
from ..steps import reached
from ..verdict import about, printable
from . import activation, folders, hooks, rollback, rollout_state, systemd, watchdog
from .activation import Plan
from .host import Host, rollback_command
from .weights import SAME, WeightsPlan, checked_baseline, parse_baseline, plan_weights, step_after, weights_bytes

RAISE, PROMOTE, ALREADY_PROMOTED = "raise", "promote", "already_promoted"
_FULL = "-e confirm_full=true"


@dataclass(frozen=True)
class Request:
    """What an operator asks for. ``model`` may be left out; ``gate`` is empty in a preflight before the gate.

    ``promoted_weights``: what the engine runs after the last step, the canary's weights unless given; ``max_age_s``: s
    since the run was found safe, at most the time it is held. ``acknowledge``: the id of the run whose violation led
    back to this step, where one did.
    """

    model: str = ""
    gate: t.Mapping[str, t.Any] | None = None
    confirm_full: bool = False
    acknowledge: str = ""
    promoted_weights: t.Mapping[str, float] | None = None
    max_age_s: float | None = None


def next_step(steps: t.Sequence[float], record: Record) -> float | None:
    """The share after the run's own, None after the last one. A share the model has anyway is no step."""
    return step_after(steps, record.weight, record.baseline.get(record.model, 0.0))


def step_of(steps: t.Sequence[float], record: Record) -> dict[str, t.Any]:
    """Where a run stands: {"number": steps reached, "of": all, "next": share or None}."""
    number = sum(step <= record.weight + SAME for step in steps)
    return {"number": number, "of": len(steps), "next": next_step(steps, record)}


def preflight(host: Host, request: Request) -> Plan:
    """Everything that can be refused, refused; nothing changed. Raises BadInput or Refused."""
    record = load(host.paths.record)
    if record is None or not (record.in_flight or record.state == PROMOTED):
        raise _no_canary(record)
    _check_model(record, request.model)
    if record.state == PROMOTED:
        return _already_promoted(host, record)
    _check_state(record)
    engine = activation.check_engine(host)
    if record.raised_from and not record.outcome and not record.latched:
        return activation.already_active(host, record, _snapshot(host, record), engine)
    _check_outcome(record)
    _check_acknowledged(record, request)
    activation.check_host(host)
    _check_still_safe(host, record, request)
    activation.prove_now(host, record)
    saved = _snapshot(host, record)
    baseline = parse_baseline(saved, "the saved baseline")
    step = next_step(host.settings.steps, record)
    if step is None:
        plan = Plan(PROMOTE, _promoted(record, baseline, request), saved, record, engine)
    else:
        weights = plan_weights(baseline, record.model, step, known=(record.model,))
        plan = Plan(RAISE, weights, saved, record, engine)
    check_full(record.model, plan.weights.weight, request.confirm_full, until=record.ends_at)
    activation.check_freeze(host, ends_at=record.ends_at)
    rollout_state.check_paused(host, until=record.ends_at)
    if step is not None:
        rollout_state.check_approved(host, record, step)
    if request.gate is not None:
        _check_gate(host, request.gate, record, engine)
        if plan.action == RAISE:
            activation.check_can_be_counted(host, request.gate)
    return plan


def check_full(model: str, share: float, confirmed: bool, *, until: float = 0.0) -> None:
    """Raise NotYet where the other models would lose all of their weight and nobody has said that this is meant."""
    if share > 1 - SAME and not confirmed:
        raise NotYet(
            f"100 % for {model}: all other models get weight 0",
            remedy=f"If that is meant, confirm it: {_FULL}",
            until=until,
        )


def _no_canary(record: Record | None) -> Refused:
    if record is None:
        return Refused(
            "no canary is in flight on this host, and none ever was",
            remedy="Activate one: playbooks/activate.yml -e model=NAME",
        )
    why = f"{record.outcome or 'terminated'} ({record.trigger}: {printable(record.reason, 300)})"
    return Refused(
        f"no canary is in flight on this host: the last one, {record.id}, ended {why}",
        remedy=f"Only a safe canary is promoted. Activate again: playbooks/activate.yml -e model={record.model}",
    )


def _named(record: Record) -> str:
    return f"canary {record.id} ({record.model} at {100 * record.weight:g} %)"


def _check_model(record: Record, model: str) -> None:
    if model and model != record.model:
        what = "was promoted" if record.state == PROMOTED else f"is in flight, {record.state}"
        raise Refused(
            f"model={printable(model, 80)} is not the canary of this host: {_named(record)} {what}",
            remedy=f"Promote that one: -e model={record.model}",
        )


def _check_state(record: Record) -> None:
    if record.state == ARMING:
        raise NotYet(
            f"{_named(record)} is being armed, until {timestamp(record.ends_at)}",
            remedy="Wait for that play to end; see: qsc status",
            until=record.ends_at,
        )
    if record.state != ACTIVE:
        why = f"{record.trigger}: {printable(record.reason, 300)}" if record.trigger else record.state
        raise Refused(
            f"{_named(record)} is on its way back to the baseline ({why})",
            remedy="It cannot be promoted any more; see: qsc status",
        )


def _check_outcome(record: Record) -> None:
    if record.latched:
        told = "; ".join(str(item["message"]) for item in record.violations)
        raise Refused(f"{_named(record)} is violated: {told}", remedy="It is never promoted; see: qsc status")
    if record.outcome == "inconclusive":
        raise Refused(
            f"{_named(record)} is inconclusive ({printable(record.reason, 300)}), held until "
            f"{timestamp(record.ends_at)}",
            remedy=f"It is never promoted. End it, and try again: {rollback_command(record.id)}",
        )
    if record.outcome != "safe":
        raise NotYet(
            f"{_named(record)} is not safe yet: it is watched until {timestamp(record.ends_at)}",
            remedy="Promote it after that, when qsc status calls it safe.",
            until=record.ends_at,
        )


def _check_acknowledged(record: Record, request: Request) -> None:
    """A step that was violated is not tried again by accident."""
    if record.stepped_back_from and request.acknowledge != record.stepped_back_from:
        raise Refused(
            f"{_named(record)} runs again since the step after it was violated ({record.stepped_back_from})",
            remedy=f"When you know why, promote with: -e acknowledge={record.stepped_back_from}",
        )


def _check_still_safe(host: Host, record: Record, request: Request) -> None:
    """The conclusion is not too old, and nothing that the host has seen since speaks against it."""
    age = max(host.clock.wall() - record.concluded_at, host.clock.boot() - record.concluded_boot)
    limit = min(record.hold_s, record.hold_s if request.max_age_s is None else request.max_age_s)
    if not age <= limit:
        raise Refused(
            f"the verdict on {_named(record)} is stale: safe since {timestamp(record.concluded_at)}, {about(age)} ago, "
            f"at most {about(limit)} are accepted (qsc_canary_max_verdict_age_hours)",
            remedy=f"A fresh run can tell: {rollback_command(record.id)}, then playbooks/activate.yml",
        )
    facts = watchdog.facts_now(host, record)
    finding = watchdog.diagnose(facts)
    if finding is not None:
        raise Refused(
            f"{_named(record)} is about to be ended by its host ({finding.trigger}: {printable(finding.reason, 300)})",
            remedy="It cannot be promoted any more; see: qsc status",
        )
    reasons = watchdog.reasons_not_safe(facts)
    if reasons:
        raise NotYet(
            f"{_named(record)} was found safe, but now: {printable('; '.join(reasons), 300)}",
            remedy="Wait for the next check; see: qsc status",
            until=record.ends_at,
        )


def _snapshot(host: Host, record: Record) -> bytes:
    """The baseline of before the first step. Raises Refused where it is not the one that was saved."""
    try:
        saved = read_bounded(host.paths.baseline)
    except OSError as error:
        raise Refused(f"the saved baseline cannot be read: {error}", remedy=_end(record)) from error
    if digest_bytes(saved) != record.baseline_digest:
        raise Refused(f"{host.paths.baseline} is not the baseline that was saved", remedy=_end(record))
    return saved


def _end(record: Record) -> str:
    return f"End the run: {rollback_command(record.id)}"


def _check_gate(host: Host, gate: t.Mapping[str, t.Any], record: Record, engine: systemd.UnitFacts) -> None:
    activation.check_gate(host, gate, record.model, engine)
    cutover = gate.get("cutover")
    found = cutover.get("id") if isinstance(cutover, dict) else None
    if found != record.since.get("id"):
        raise Refused(
            f"the gate judged the telemetry after {printable(str(found), 80)}, this step began at "
            f"{record.since.get('id')}",
            remedy="Ask the gate with the marker of this step as the cutover, as playbooks/promote.yml does.",
        )


def _promoted(record: Record, baseline: t.Mapping[str, float], request: Request) -> WeightsPlan:
    """The weights that become the engine's own, in the order of its file. Raises BadInput or Refused."""
    weights = dict(record.weights)
    if request.promoted_weights:
        weights = checked_baseline(dict(request.promoted_weights), "promoted_weights")
    order = [*(name for name in baseline if name in weights), *(name for name in weights if name not in baseline)]
    weights = {name: weights[name] for name in order}
    share = weights.get(record.model, 0.0)
    if share <= 0:
        raise Refused(
            f"promoted_weights: {record.model} has no weight in them",
            remedy=f"A promotion keeps the canary. Without it: {rollback_command(record.id)}",
        )
    if not record.baseline_path:
        line = ", ".join(f"{name} {value:g}" for name, value in weights.items())
        raise Refused(
            f"{_named(record)} has reached the last step, and the file of the engine's own weights is not known",
            remedy=f"Give the engine these weights as its own ({line}), then restart it without the canary: "
            f"{rollback_command(record.id)}",
        )
    drift = watchdog.drift_of(record)
    if drift:
        raise Refused(
            f"{record.baseline_path} {drift_text(drift)} during the run: a promotion would overwrite that",
            remedy="Put the saved baseline back first: cp /var/lib/qsc_canary/baseline.json " + record.baseline_path,
        )
    return WeightsPlan(record.model, share, dict(baseline), weights)


def _already_promoted(host: Host, record: Record) -> Plan:
    try:
        systemd.prove(record.engine_unit, expected={}, names=tuple(record.environment.values()), timeout_s=5.0)
    except NotProven as error:
        raise Refused(f"{_named(record)} was promoted, but now: {error}", remedy="See: qsc status") from error
    share = record.promoted.get(record.model, 0.0)
    weights = WeightsPlan(record.model, share, dict(record.baseline), dict(record.promoted))
    return Plan(ALREADY_PROMOTED, weights, b"", record, activation.check_engine(host))


def raise_step(host: Host, request: Request) -> tuple[Plan, Record]:
    """Arm the next step, as an activation is armed; the engine runs the step before until it is restarted.

    Raises BadInput or Refused: with nothing changed, or with the way back taken.
    """
    if request.gate is None:
        raise Refused("the gate's answer is missing", remedy="No promotion without a passing gate.")
    with host.lock():
        plan = preflight(host, request)
        if plan.record is not None and plan.action == "already_active":
            return plan, plan.record
        if plan.action != RAISE:
            raise Refused("there is no step to raise it to", remedy="Promote it: playbooks/promote.yml")
        model, weight = plan.weights.model, plan.weights.weight
        of = activation.Request(model, weight, gate=request.gate, acknowledge=request.acknowledge)
        record = activation.new_record(host, of, plan)
        cause = activation.take(host, plan, record)
    if cause is not None:
        raise activation.go_back(host, record, "arming_failed", f"the next step could not be armed: {cause}") from cause
    return plan, record


def promote(host: Host, request: Request) -> tuple[Plan, Record, systemd.Proof | None]:
    """Make the promoted weights the engine's own and end the run, proven; no proof where that was done before.

    Raises BadInput or Refused: with nothing changed, or with the way back taken.
    """
    if request.gate is None:
        raise Refused("the gate's answer is missing", remedy="No promotion without a passing gate.")
    with host.lock():
        plan = preflight(host, request)
        if plan.record is not None and plan.action == ALREADY_PROMOTED:
            return plan, plan.record, None
        if plan.record is None or plan.action != PROMOTE:
            raise Refused("the last step is not reached, or not safe yet", remedy="See: qsc status")
        activation.check_guards(host)
        hooks.before_restart(host, hooks.about_run(plan.record, "promote"), locked=True)
        try:
            _check_still_safe(host, plan.record, request)  # the monitor went on while the hook ran
        except Refused:
            hooks.after_restart(host, locked=True)
            raise
        record = transition(plan.record, "promote", promoted=dict(plan.weights.weights))
        reached("promote.record")
        save(host.paths.record, record)
        try:
            record, proof = _promote(host, record)
        except (OSError, QscError) as error:
            cause: OSError | QscError = error
        else:
            # whatever fails of it is tried again by the watchdog, and shown: the canary is promoted
            try_io("the hook", lambda: hooks.after_restart(host, locked=True))
            return plan, record, proof
    why = f"the canary could not be promoted: {cause}"
    raise activation.go_back(host, record, "promotion_failed", why) from cause


def kept_name(record: Record) -> str:
    """Where the engine's weights of before the promotion are kept, beside the file."""
    return f"{record.baseline_path}.{record.id}.before"


def undo_command(record: Record) -> str:
    """What takes a promotion back when pasted into a root shell on the host."""
    return f"cp -p {kept_name(record)} {record.baseline_path} && systemctl restart {record.engine_unit}"


def _promote(host: Host, record: Record) -> tuple[Record, systemd.Proof]:
    """The file first: from the restart on the engine reads it. The record last: until then the watchdog goes back."""
    unit = record.engine_unit
    reached("promote.file")
    _write_own_weights(record)
    reached("promote.disarm")
    remove(host.paths.engine_env)
    remove(host.paths.dropin(unit))
    before = systemd.show(unit)
    reached("promote.restart")
    systemd.daemon_reload()
    systemd.reset_failed(unit)
    systemd.restart(unit, timeout_s=systemd.RESTART_TIMEOUT_S)
    reached("promote.prove")
    proof = systemd.prove(
        unit,
        expected={},
        names=tuple(record.environment.values()),
        not_invocation=before.invocation_id,
        stability_s=record.stability_s,
    )
    _check_not_ended(host, record)
    remove(host.paths.restart_due)
    reached("promote.timer")
    systemd.stop(host.guards.monitor_timer)
    now = host.clock.wall()
    reached("promote.ledger")
    if host.ledger.find("promoted", record.id) is None:
        host.log(
            "promoted",
            record,
            canary_weight=record.weight,
            weights=dict(record.promoted),
            baseline_weights=dict(record.baseline),
            file=record.baseline_path,
            file_before=kept_name(record),
            rollback_cmd=undo_command(record),
            proof=proof.to_dict(),
            downtime_s=systemd.known_downtime_s(unit),
        )
    reached("promote.commit")
    record = transition(record, "promoted", promoted_at=now, proof=proof.to_dict())
    save(host.paths.record, record)
    return record, proof


def _check_not_ended(host: Host, record: Record) -> None:
    """A check that had begun before the record said ``promoting`` may have ended the run meanwhile."""
    found = rollback.judged(host, record)
    if found is not None:
        raise Refused(f"the monitor ended it while it was promoted: {printable(found.reason, 300)}")


def _write_own_weights(record: Record) -> None:
    """The promoted weights into the engine's own file, the file of before beside it. Raises OSError or Refused."""
    path = Path(record.baseline_path)
    with folders.pinned(path.parent) as folder:
        place = folder / path.name
        if digest_bytes(read_bounded(place)) != record.baseline_digest:
            raise Refused(f"{path} was changed while it was promoted")
        status = place.lstat()
        folders.set_aside(place, folder / Path(kept_name(record)).name)
        mode, owner = stat.S_IMODE(status.st_mode) & 0o777, (status.st_uid, status.st_gid)
        write_atomic(place, weights_bytes(record.promoted), mode=mode, owner=owner)
