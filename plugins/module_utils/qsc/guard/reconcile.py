# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""Looks at a host for the next step of a rollout; takes none. The steps are those of activation and promotion."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from ..errors import Refused
from ..files import timestamp
from ..record import PROMOTED, ROLLED_BACK, Record, load
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
            request.model, None, request.confirm_full, request.promoted_weights, request.max_age_s
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
    if record is not None and record.state in (PROMOTED, ROLLED_BACK) and model in ("", record.model):
        if record.state == PROMOTED:
            return Ended(record.id, PROMOTED, at=timestamp(record.promoted_at))
        why = ": ".join(text for text in (record.trigger, record.reason) if text)
        return Ended(record.id, record.outcome or "terminated", why, timestamp(record.rolled_back_at))
    if record is not None and record.in_flight and model in ("", record.model):
        return None
    entry = history.last_run(host.ledger.newest_first(), model) if model else None
    if entry is None:
        return None
    canary, at = str(entry.get("canary_id", "")), str(entry.get("timestamp", ""))
    if entry.get("action") == "promoted":
        return Ended(canary, PROMOTED, at=at)
    if entry.get("action") == "rollback_executed":
        why = ": ".join(str(entry[name]) for name in ("trigger", "reason") if entry.get(name))
        return Ended(canary, str(entry.get("outcome")), why, at)
    return Ended(canary, "terminated", "its record was lost")


def abort(host: Host, reason: str) -> rollback.Outcome:
    """Back to the baseline, and no further: the model is rolled out again only when this run is acknowledged.

    As a rollback it needs nothing but the record; raises what that raises.
    """
    return rollback.roll_back(host, rollback.Finding("aborted", reason or "the rollout was aborted by an operator"))
