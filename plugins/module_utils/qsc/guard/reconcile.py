# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""Looks at a host for the next step of a rollout; takes none. The steps are those of activation and promotion."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from ..errors import Refused
from ..files import timestamp
from ..record import PROMOTED, Record, load
from . import activation, history, page, promotion, rollback, rollout, rollout_state
from .host import Host
from .rollout import Answer, Decision, Ended, Facts
from .weights import parse_baseline, step_after


@dataclass(frozen=True)
class Request:
    """What an operator wants rolled out, and with which confirmations; as in activation and promotion."""

    model: str = ""
    acknowledge: str = ""
    baseline: t.Mapping[str, float] | None = None
    baseline_path: str = ""
    confirm_full: bool = False
    promoted_weights: t.Mapping[str, float] | None = None
    max_age_s: float | None = None


def decided(host: Host, request: Request) -> Decision:
    """The next step of this host, or why there is none. Changes nothing.

    Raises BadInput for options that cannot be right, RecordUnreadable where the state of the host cannot be read.
    """
    rollout_state.read(host)
    record = load(host.paths.record)
    model = request.model
    opened = page.current(host)
    step = promotion.step_of(host.settings.steps, record) if record is not None and record.live else {}
    facts = Facts(
        record=record,
        model=model,
        acknowledge=request.acknowledge,
        ended=_ended(host, record, model),
        page=page.line(opened) if opened is not None else "",
        number=step.get("number", 0),
        steps=len(host.settings.steps),
    )
    decision = rollout.decide(facts, lambda: _ask(host, request, record))
    return replace(decision, share=step["next"]) if step and decision.share is None else decision


def _ask(host: Host, request: Request, record: Record | None) -> Answer:
    """Would the host take the step now, by the preflight that stands before it?"""
    if record is not None and record.in_flight:
        share = promotion.next_step(host.settings.steps, record)
        wanted = promotion.Request(
            request.model,
            confirm_full=request.confirm_full,
            acknowledge=request.acknowledge,
            promoted_weights=request.promoted_weights,
            max_age_s=request.max_age_s,
        )
        try:
            plan = promotion.preflight(host, wanted)
        except Refused as refusal:
            return Answer(share=share, refusal=refusal)
        return Answer(plan.action, share)
    first = activation.Request(
        request.model,
        _first_step(host, request),
        baseline=request.baseline,
        baseline_path=request.baseline_path,
        acknowledge=request.acknowledge,
        rollout=True,
    )
    try:
        plan = activation.preflight(host, first)
        promotion.check_full(first.model, first.weight, request.confirm_full)
    except Refused as refusal:
        return Answer(share=first.weight, refusal=refusal)
    return Answer(plan.action, first.weight)


def _first_step(host: Host, request: Request) -> float:
    """The first share that is not the model's own in the baseline."""
    asked = activation.Request(request.model, 0.0, baseline=request.baseline, baseline_path=request.baseline_path)
    own = parse_baseline(activation.read_baseline(asked), request.baseline_path or "baseline").get(request.model, 0.0)
    steps = host.settings.steps
    first = step_after(steps, 0.0, own)
    return steps[0] if first is None else first  # the preflight refuses it, and says why


def _ended(host: Host, record: Record | None, model: str) -> Ended | None:
    """The last run of this model (of any, without one), where it is over; the record knows best."""
    known = record if record is not None and model in ("", record.model) else None
    if known is not None and known.in_flight:
        return None
    if known is not None and known.state == PROMOTED:
        return Ended(known.id, PROMOTED, at=timestamp(known.promoted_at))
    named = model or (known.model if known is not None else "")
    entry = history.last_run(host.ledger.newest_first(), named) if named else None
    if known is not None and (entry is None or entry.get("action") != "stepped_back"):
        why = ": ".join(text for text in (known.trigger, known.reason) if text)
        return Ended(known.id, known.outcome or "terminated", why, timestamp(known.rolled_back_at))
    if entry is None:
        return None
    canary, at = str(entry.get("canary_id", "")), str(entry.get("timestamp", ""))
    if entry.get("action") == "promoted":
        return Ended(canary, PROMOTED, at=at)
    if entry.get("action") in ("rollback_executed", "stepped_back"):
        why = ": ".join(str(entry[name]) for name in ("trigger", "reason") if entry.get(name))
        return Ended(canary, str(entry.get("outcome")), why, at)
    return Ended(canary, "terminated", "its record was lost")


def abort(host: Host, reason: str) -> rollback.Outcome:
    """Back to the baseline, and no further: the model is rolled out again only when this run is acknowledged.

    As a rollback it needs nothing but the record; raises what that raises.
    """
    return rollback.roll_back(host, rollback.Finding("aborted", reason or "the rollout was aborted by an operator"))
