# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""Arm before fire: refuse what can be refused, arm the way back, and only then let an operator restart the engine.

``preflight`` changes nothing. ``arm`` writes the record (a lease with a deadline), the weights and the engine's
environment file, and starts the monitor: from here a killed controller, a lost connection or a reboot ends at baseline
by itself. ``activate`` proves the effect and takes the record to ``active``.
"""

from __future__ import annotations

import math
import os
import typing as t
from dataclasses import dataclass, replace
from pathlib import Path

from .. import agent, freeze
from ..errors import BadInput, LeaseLost, NotProven, NotYet, QscError, Refused
from ..files import digest_bytes, digest_file, read_bounded, timestamp, write_atomic
from ..record import ACTIVE, ARMING, Record, check_lease, load, save, transition
from ..settings import same_share
from ..steps import reached
from ..verdict import printable
from . import artifacts, checks, effect, folders, history, hooks, page, rollback, rollout_state, stepback, systemd
from .host import Host, new_canary_id, rollback_command
from .weights import WeightsPlan, checked_baseline, parse_baseline, plan_weights, step_after, weights_bytes

GATE_VALID_S = 900.0
"""A gate's answer is about the telemetry of its moment: after this it must be asked again."""


@dataclass(frozen=True)
class Request:
    """What an operator asks for. ``gate`` is the result of the quality gate, empty in a preflight before it;
    ``rollout``: it is the first step of a rollout, which a pause stops."""

    model: str
    weight: float
    baseline: t.Mapping[str, float] | None = None
    baseline_path: str = ""
    gate: t.Mapping[str, t.Any] | None = None
    acknowledge: str = ""
    rollout: bool = False


@dataclass(frozen=True)
class Plan:
    """What an activation will do. ``action`` is ``activate``, or ``already_active`` when there is nothing to do.

    A promotion has ``raise``, ``promote`` and ``already_promoted`` beside them.
    """

    action: str
    weights: WeightsPlan
    baseline_bytes: bytes
    record: Record | None
    engine: systemd.UnitFacts


def preflight(host: Host, request: Request) -> Plan:
    """Everything that can be refused, refused; nothing changed. Raises BadInput or Refused."""
    systemd.check_booted()
    baseline_bytes = read_baseline(request)
    known = tuple((request.gate or {}).get("models") or ()) if request.gate else (request.model,)
    source = request.baseline_path or "baseline"
    weights = plan_weights(parse_baseline(baseline_bytes, source), request.model, request.weight, known=known)
    engine = check_engine(host)
    record = load(host.paths.record)
    if record is not None and record.in_flight:
        return _already_in_flight(host, record, weights, baseline_bytes, engine)
    _check_leftovers(host)
    check_host(host)
    history.check(host, request.model, request.acknowledge)
    check_freeze(host)
    if request.rollout:
        _check_first_step(host, weights)
        rollout_state.check_paused(host)
    if request.gate is not None:
        check_gate(host, request.gate, request.model, engine)
        check_can_be_counted(host, request.gate)
    return Plan("activate", weights, baseline_bytes, record, engine)


def _check_first_step(host: Host, weights: WeightsPlan) -> None:
    """A rollout begins with its first step, whatever weight somebody has asked for beside it."""
    first = step_after(host.settings.steps, 0.0, weights.baseline.get(weights.model, 0.0))
    if first is not None and not same_share(first, weights.weight):
        raise Refused(
            f"weight={weights.weight:g} is not the first step of the rollout, {first:g}",
            remedy="Leave it out (qsc_canary_weight), or use playbooks/activate.yml for a share of its own.",
        )


def read_baseline(request: Request) -> bytes:
    """The engine's own weights as they stand on the host. Raises BadInput."""
    if request.baseline is not None and request.baseline_path:
        raise BadInput("both baseline and baseline_path are given", remedy="Give one of them.")
    if request.baseline is not None:
        return weights_bytes(checked_baseline(dict(request.baseline)))
    if not request.baseline_path:
        raise BadInput(
            "the baseline is missing: neither baseline nor baseline_path is given",
            remedy="Set qsc_canary_baseline_path to the weights file the engine reads, or qsc_canary_baseline inline.",
        )
    path = Path(request.baseline_path)
    real = Path(os.path.realpath(path.parent))
    if real.parts[:2] != path.parent.parts[:2]:  # the guards may write below the first folder of the path alone
        raise BadInput(f"baseline_path={path} leads by a link to {real}", remedy=f"Name it there: {real / path.name}")
    try:
        with folders.pinned(path.parent) as folder:  # the rollback has to write there
            return read_bounded(folder / path.name)
    except FileNotFoundError:
        raise BadInput(
            f"baseline_path={request.baseline_path} does not exist",
            remedy="Set qsc_canary_baseline_path to the weights file the engine reads, or qsc_canary_baseline inline.",
        ) from None
    except OSError as error:
        raise BadInput(
            f"baseline_path={request.baseline_path} cannot be read: {error.strerror}",
            remedy="Name a regular file, not a link.",
        ) from error


def check_engine(host: Host) -> systemd.UnitFacts:
    """The engine as it runs. Raises Refused where it does not."""
    unit = host.settings.engine_unit
    facts = systemd.show(unit)
    if facts.load_state == "masked":
        raise Refused(f"engine_unit={unit} is masked", remedy=f"Run: systemctl unmask {unit}")
    if facts.load_state != "loaded":
        raise Refused(
            f"engine_unit={unit} does not exist on this host ({facts.load_state})",
            remedy="Set qsc_canary_engine_unit to the service that runs the ensemble.",
        )
    if not facts.running:
        raise Refused(
            f"engine_unit={unit} is not running ({facts.active_state}/{facts.sub_state})",
            remedy=f"Start it and let it decide: systemctl start {unit}",
        )
    return facts


def _already_in_flight(
    host: Host, record: Record, weights: WeightsPlan, baseline_bytes: bytes, engine: systemd.UnitFacts
) -> Plan:
    """The same run again is proven again and changes nothing; any other is refused with the way back."""
    same = record.model == weights.model and abs(record.weight - weights.weight) < 1e-9
    if record.state != ACTIVE or not same:
        raise Refused(
            f"canary {record.id} is in flight ({record.model} at {100 * record.weight:g} %, {record.state})",
            remedy=f"One model at a time. End that run first: {rollback_command(record.id)}",
        )
    return already_active(host, record, baseline_bytes, engine)


def already_active(host: Host, record: Record, baseline_bytes: bytes, engine: systemd.UnitFacts) -> Plan:
    """The plan where the run that is wanted is the one that runs: proven again, nothing changed."""
    prove_now(host, record)
    frozen = WeightsPlan(record.model, record.weight, dict(record.baseline), dict(record.weights))
    return Plan("already_active", frozen, baseline_bytes, record, engine)


def prove_now(host: Host, record: Record) -> None:
    """Refuse where the engine does not run this canary as it is."""
    try:
        effect.shown(host, record, timeout_s=5.0)
    except NotProven as error:
        raise Refused(
            f"canary {record.id} is active but not proven: {error}",
            remedy=f"The watchdog is about to end it; or end it yourself: {rollback_command(record.id)}",
        ) from error


def check_host(host: Host) -> None:
    """What this host has against any step towards a canary: a page, and programs or files that cannot be right. Raises
    BadInput or Refused."""
    page.check(host)
    hooks.check(host)
    checks.check(host)
    artifacts.check(host)


def _check_leftovers(host: Host) -> None:
    for path in (host.paths.dropin(host.settings.engine_unit), host.paths.engine_env):
        if path.exists():
            raise Refused(f"{path} exists although no canary is in flight", remedy="Clean up first: qsc rollback")


def check_freeze(host: Host, *, ends_at: float = 0.0) -> None:
    """An operator's file and the freeze windows stop every step towards the canary; they never stop a rollback.

    ``ends_at``: when the run in flight goes back by itself, where there is one. Raises NotYet, or BadInput for a window
    in a zone that this host does not know.
    """
    path = host.paths.freeze
    if path.exists() or path.is_symlink():
        try:
            why = printable(read_bounded(path, 1 << 16).decode("utf-8", "replace").strip(), 200)
        except OSError:
            why = ""
        raise NotYet(
            f"this host is frozen by {path}" + (f": {why}" if why else ""),
            remedy=f"When the freeze is over: rm {path}",
            until=ends_at,
        )
    found = freeze.frozen(host.settings.freeze_windows, host.clock.wall())
    if found is not None:
        raise NotYet(
            f"this host is frozen {frozen_line(found)}",
            remedy="Wait for its end; a rollback is never stopped.",
            until=found.until or ends_at,
        )


def frozen_line(found: freeze.Frozen) -> str:
    """The window that holds, and its end, for a sentence."""
    until = f"until {timestamp(found.until)[:19]}Z" if found.until else "without an end in sight"
    return f"{until} by the window {found.window} (qsc_canary_freeze_windows)"


def check_guards(host: Host) -> None:
    """The guards that must be up before anything is armed. Raises Refused."""
    installed, wanted = agent.installed_digest(host.paths), host.wanted_agent
    if not wanted:
        raise Refused(
            "which agent this host has to run was not told",
            remedy="Give agent_digest: \"{{ lookup('qsc.canary.agent_digest') }}\"",
        )
    if installed != wanted:
        raise Refused(
            f"the agent on this host is {installed or 'missing'}, this collection carries {wanted}",
            remedy="Install it: ansible-playbook playbooks/install.yml",
        )
    guards = host.guards
    if systemd.show(guards.watchdog_timer).active_state != "active":
        raise Refused(
            f"{guards.watchdog_timer} is not running", remedy="Install: ansible-playbook playbooks/install.yml"
        )
    for unit in (guards.monitor_timer, guards.rollback_service):
        state = systemd.show(unit).load_state
        if state != "loaded":
            raise Refused(f"{unit} is {state}", remedy="Install: ansible-playbook playbooks/install.yml")


def check_gate(host: Host, gate: t.Mapping[str, t.Any], model: str, engine: systemd.UnitFacts) -> None:
    """The gate's answer must be a pass, of this model, of now. Raises Refused."""
    if gate.get("passed") is not True or gate.get("exit_code") != 0 or gate.get("mode") != "canary":
        raise Refused("the quality gate did not pass", remedy="No activation without a passing gate.")
    events = gate.get("events")
    if isinstance(events, bool) or not isinstance(events, int) or events < host.settings.min_events:
        raise Refused(f"the gate judged {events!r} decisions, at least {host.settings.min_events} are needed")
    if model not in (gate.get("models") or {}):
        raise Refused(f"the gate did not judge {model}", remedy="Judge it: playbooks/gate.yml")
    judged_at = gate.get("judged_at")
    now = host.clock.wall()
    if (
        isinstance(judged_at, bool)
        or not isinstance(judged_at, (int, float))
        or not -60 <= now - judged_at <= GATE_VALID_S
    ):
        raise Refused("the gate's answer is not of now", remedy="Ask the gate again: playbooks/gate.yml")
    if engine.started_ms - 1000 > judged_at * 1000:
        raise Refused(
            f"{engine.unit} was restarted after the gate had judged it", remedy="Ask the gate again: playbooks/gate.yml"
        )
    _check_can_be_judged(host, gate)


def check_can_be_counted(host: Host, gate: t.Mapping[str, t.Any]) -> None:
    """A budget that nothing would ever be counted against guards nothing. Raises Refused."""
    budget = host.settings.exposure_budget
    sized = (gate.get("impact") or {}).get("sized")
    if budget > 0 and (isinstance(sized, bool) or not isinstance(sized, int) or sized < 1):
        raise Refused(
            f"exposure_budget={budget:g}: none of the decisions that the gate judged tells its position_size_usd",
            remedy="Let the engine publish it, or set qsc_canary_exposure_budget to 0.",
        )


def _check_can_be_judged(host: Host, gate: t.Mapping[str, t.Any]) -> None:
    """A run that would end with too few decisions is refused before it starts."""
    cadence = gate.get("cadence") or {}
    rate = cadence.get("rate_per_s")
    need = 2 * host.settings.min_events
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not rate > 0:
        raise Refused("the rate of decisions is not known", remedy="The stream needs decisions to judge.")
    expected = rate * host.settings.duration_s
    if not expected >= need:
        hours = host.settings.duration_s / 3600
        raise Refused(
            f"the stream is too slow to judge a run of {hours:.2f} h: {rate * 60:.2f} decisions a minute give "
            f"{expected:.0f}, at least {need} are needed",
            remedy=f"Set qsc_canary_monitor_hours to {math.ceil(need / rate / 360) / 10:g} or more.",
        )


def arm(host: Host, request: Request) -> tuple[Plan, Record]:
    """Arm the way back: record, weights, environment file, monitor. Raises BadInput or Refused with nothing changed."""
    if request.gate is None:
        raise Refused("the gate's answer is missing", remedy="No activation without a passing gate.")
    with host.lock():
        plan = preflight(host, request)
        if plan.action == "already_active" and plan.record is not None:
            return plan, plan.record
        record = new_record(host, request, plan)
        cause = take(host, plan, record)
    if cause is not None:
        raise go_back(host, record, "arming_failed", f"the canary could not be armed: {cause}") from cause
    return plan, record


def take(host: Host, plan: Plan, record: Record) -> OSError | QscError | None:
    """Arm this record, under the lock; returns what went wrong once it was written. Raises with nothing changed.

    Where a run is raised the snapshot stays: the way back leads to the baseline of before the first step.
    """
    check_guards(host)
    if record.rollback_to == stepback.PREVIOUS_STEP and record.raised_from and plan.record is not None:
        stepback.keep(host, plan.record)
    reached("arm.record")
    save(host.paths.record, record)
    try:
        if not record.raised_from:
            reached("arm.snapshot")
            write_atomic(host.paths.baseline, plan.baseline_bytes)
        reached("arm.weights")
        write_atomic(host.paths.weights, host.weights_bytes(record))
        reached("arm.monitor")
        effect.prepare_ack(host, plan.engine)
        systemd.start(host.guards.monitor_timer)
        systemd.reset_failed(record.engine_unit)
        reached("arm.environment")
        write_atomic(host.paths.engine_env, host.engine_env_bytes(record))
    except (OSError, QscError) as error:
        return error
    return None


def go_back(host: Host, record: Record, trigger: str, why: str) -> Refused:
    """Take back an operator's step that failed in the middle; returns the error that says so."""
    remedy = "The host is at baseline."
    try:
        rollback.roll_back(host, rollback.Finding(trigger, why), canary_id=record.id)
    except (OSError, QscError) as error:
        remedy = f"The baseline is not proven yet ({error}); the host goes on trying."
    return Refused(why, remedy=remedy)


def new_record(host: Host, request: Request, plan: Plan) -> Record:
    """The record of a run that is about to be armed, if the table lets it begin."""
    settings, gate = host.settings, request.gate or {}
    raised = plan.record if plan.action == "raise" else None
    # a raised run is about the very model that was found safe, not about what its files have become since
    files = raised.artifacts if raised is not None else artifacts.taken(settings.model_artifacts)
    now, boot = host.clock.wall(), host.clock.boot()
    cadence = gate.get("cadence") or {}
    judging = settings.judging()
    judging["stale_after"] = settings.stale_after or float(cadence.get("stale_after_s") or 120.0)
    judging["max_wait"] = settings.max_wait or max(3600.0, 1.5 * settings.min_events / float(cadence["rate_per_s"]))
    judging.update({name: gate[name] for name in ("frame", "reference") if gate.get(name)})
    record = Record(
        id=new_canary_id(plan.weights.model, now),
        state=ARMING,
        owner=os.urandom(16).hex(),
        generation=1,
        model=plan.weights.model,
        weight=plan.weights.weight,
        weights=dict(plan.weights.weights),
        baseline=dict(plan.weights.baseline),
        engine_unit=settings.engine_unit,
        environment=dict(settings.environment),
        boot_id=host.clock.boot_id(),
        armed_at=now,
        armed_boot=boot,
        arming_deadline_boot=boot + settings.arming_timeout_s,
        interval_s=settings.interval_s,
        duration_s=settings.duration_s,
        hold_s=settings.hold_s,
        required_checks=settings.required_checks,
        stability_s=settings.stability_s,
        min_events=settings.min_events,
        accept_unproven=settings.accept_unproven,
        judging=judging,
        gate={key: gate.get(key) for key in ("cutover", "events", "window", "cadence", "judged_at")},
        baseline_path=raised.baseline_path if raised is not None else request.baseline_path,
        baseline_digest=digest_bytes(plan.baseline_bytes),
        engine_before=plan.engine.to_dict(),
        acknowledged=request.acknowledge or (raised.acknowledged if raised is not None else ""),
        on_reboot=settings.on_reboot,
        baseline_drift=settings.baseline_drift,
        inconclusive=settings.inconclusive,
        max_duration_s=settings.max_duration_s if settings.inconclusive == "extend" else 0.0,
        drift=raised.drift if raised is not None else "",
        raised_from=raised.id if raised is not None else "",
        raised_weight=raised.weight if raised is not None else 0.0,
        delivery="reload" if settings.reload_command else "restart",
        rollback_to=settings.rollback_to,
        own_checks=checks.check(host),
        check_timeout_s=settings.check_timeout_s if settings.own_checks else 0.0,
        artifacts=files,
    )
    if raised is not None:
        transition(raised, "raise")
    elif plan.record is not None:  # the table decides whether a new run may begin
        transition(replace(plan.record, violations=(), outcome=""), "arm")
    return record


def activate(
    host: Host,
    *,
    canary_id: str,
    owner: str,
    generation: int,
    since: t.Mapping[str, t.Any],
    published: t.Mapping[str, float] | None = None,
) -> tuple[Record, systemd.Proof]:
    """Prove the effect of the engine's restart and commit the run. Raises LeaseLost or NotProven."""
    lease = {"canary_id": canary_id, "owner": owner, "generation": generation}
    record = _held(host, lease)
    reached("prove.effect")
    proof, effective = effect.prove(host, record, published)
    with host.lock():
        record = _held(host, lease)
        check_guards(host)
        timer = host.guards.monitor_timer
        monitor = systemd.show(timer).active_state
        if monitor != "active":
            raise Refused(f"{timer} is {monitor}: nobody would watch the canary", remedy="Activate again.")
        dropin = digest_file(host.paths.dropin(record.engine_unit))
        if dropin is None:
            raise NotProven(f"{host.paths.dropin(record.engine_unit)} is not there")
        record = effect.commit(host, record, proof, effective, since=dict(since), dropin_digest=dropin)
        reached("commit.ledger")
        _log_activation(host, record, proof)
        reached("commit.record")
        save(host.paths.record, record)
    return record, proof


def _held(host: Host, lease: t.Mapping[str, t.Any]) -> Record:
    record = check_lease(load(host.paths.record), **lease)
    late = host.clock.boot() - record.arming_deadline_boot
    if record.state == ARMING and (late > 0 or record.boot_id != host.clock.boot_id()):
        until = timestamp(record.armed_at + record.arming_deadline_boot - record.armed_boot)
        raise LeaseLost(
            f"canary {record.id} was armed until {until}, that is {max(late, 0):.0f} s ago",
            remedy="The host answers for its baseline; see it with: qsc status",
        )
    return record


def cutover_text(gate: t.Mapping[str, t.Any]) -> str:
    """The moment after which the gate's telemetry counted, in UTC."""
    cutover = gate.get("cutover")
    return str(cutover.get("time", "")) if isinstance(cutover, dict) else str(cutover or "")


def _log_activation(host: Host, record: Record, proof: systemd.Proof) -> None:
    if host.ledger.find("canary_promoted_step" if record.raised_from else "canary_activated", record.id) is not None:
        return
    raised = {
        "from_canary_id": record.raised_from,
        "from_weight": record.raised_weight,
        "to_weight": record.weight,
    }
    host.log(
        "canary_promoted_step" if record.raised_from else "canary_activated",
        record,
        **(raised if record.raised_from else {}),
        canary_weight=record.weight,
        weights=dict(record.weights),
        baseline_weights=dict(record.baseline),
        cutover_ts=cutover_text(record.gate),
        quality_gate_events=record.gate.get("events"),
        quality_gate_window=record.gate.get("window"),
        since=dict(record.since),
        monitoring_duration_hours=record.duration_s / 3600,
        rollback_cmd=rollback_command(record.id),
        baseline_weights_file=str(host.paths.baseline),
        effective=record.effective,
        proof=proof.to_dict(),
        acknowledged=record.acknowledged,
        **effect.delivered(record),
    )
