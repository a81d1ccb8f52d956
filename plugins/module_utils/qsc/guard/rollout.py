# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""What a staged rollout does next on a host: facts in, one decision out. Pure; ``reconcile`` gathers the facts.

A decision is at most one step. Whether the host would take it is not decided here but by the preflights of activation
and promotion: ``standing`` says all that the record alone tells, ``answered`` what their answer means.
"""

from __future__ import annotations

import typing as t
from dataclasses import asdict, dataclass

from ..errors import NotYet, Refused
from ..files import timestamp
from ..record import ACTIVE, ARMING, PROMOTED, PROMOTING, ROLLING_BACK, Record
from ..verdict import printable

ACTIVATE, RAISE, PROMOTE, WAIT, DONE, STOPPED = "activate", "raise", "promote", "wait", "done", "stopped"
STEPS = (ACTIVATE, RAISE, PROMOTE)
"""The actions that change something."""


@dataclass(frozen=True)
class Ended:
    """How a model's last run ended: ``how`` is promoted, or an outcome; ``why`` the trigger and the reason."""

    canary_id: str
    how: str
    why: str = ""
    at: str = ""


@dataclass(frozen=True)
class Facts:
    """What a decision is made from. ``model``: the one to roll out, "" for the one in flight; ``ended``: its last run,
    where that is not in flight; ``page``: why a human is called already; ``number`` of ``steps`` are reached."""

    record: Record | None
    model: str = ""
    acknowledge: str = ""
    ended: Ended | None = None
    page: str = ""
    number: int = 0
    steps: int = 0


@dataclass(frozen=True)
class Answer:
    """What a preflight said: the action it would take and its share, or why not."""

    action: str = ""
    share: float | None = None
    refusal: Refused | None = None


@dataclass(frozen=True)
class Decision:
    """One of activate, raise, promote, wait, done, stopped, and a sentence. ``until``: when what is waited for comes to
    its end by itself, in s since 1970, 0 where it does not; ``share``: the next one; step ``number`` of ``of`` is
    reached."""

    action: str
    sentence: str
    remedy: str = ""
    until: float = 0.0
    model: str = ""
    canary_id: str = ""
    share: float | None = None
    number: int = 0
    of: int = 0

    def line(self) -> str:
        """The decision for a terminal."""
        moment = f" (until {timestamp(self.until)})" if self.action == WAIT and self.until else ""
        remedy = f". {self.remedy}" if self.remedy else ""
        return f"{_WORDS[self.action]}: {self.sentence}{moment}{remedy}"

    def to_dict(self) -> dict[str, t.Any]:
        """As JSON-ready data."""
        return {**asdict(self), "until_time": timestamp(self.until) if self.until else ""}


_WORDS = {
    ACTIVATE: "next",
    RAISE: "next",
    PROMOTE: "next",
    WAIT: "waiting",
    DONE: "done",
    STOPPED: "STOPPED",
}


def decide(facts: Facts, ask: t.Callable[[], Answer]) -> Decision:
    """The next step, or why there is none; ``ask`` is called only where the record leaves a step open."""
    known = standing(facts)
    return known if known is not None else answered(facts, ask())


def standing(facts: Facts) -> Decision | None:
    """What the record alone decides; None where a step may be due, and the host has to be asked."""
    record = facts.record
    if facts.page:
        return _of(facts, STOPPED, facts.page)
    if record is None or not record.in_flight:
        return _begins(facts)
    if facts.model not in ("", record.model):
        why = f"one model at a time: {_named(record)} is in flight, {record.state}"
        return _of(facts, WAIT, f"{why}; {facts.model} waits", until=record.ends_at)
    if record.state == ARMING:
        return _of(facts, WAIT, f"{_named(record)} is being armed", until=record.ends_at)
    if record.state == PROMOTING:
        return _of(facts, WAIT, f"{_named(record)} is being promoted")
    if record.state == ROLLING_BACK:
        why = f"{record.trigger}: {printable(record.reason, 300)}"
        return _of(facts, WAIT, f"{_named(record)} is on its way back to the baseline ({why})")
    if record.state == ACTIVE and not record.latched and not record.outcome:
        return _of(facts, WAIT, f"{_named(record)} is watched and not safe yet", until=record.ends_at)
    return None


def _begins(facts: Facts) -> Decision | None:
    """No run is in flight: whether one of this model may be begun."""
    ended = facts.ended
    if not facts.model:
        last = f"; the last one, {ended.canary_id}, {_how(ended)}" if ended is not None else ""
        return _of(
            facts,
            DONE,
            f"nothing to do: no canary is in flight on this host, and no model is named{last}",
            remedy="To begin a rollout: -e model=NAME",
        )
    if ended is None or facts.acknowledge == ended.canary_id:
        return None
    anew = f"-e acknowledge={ended.canary_id}"
    if ended.how == PROMOTED:
        return _of(
            facts, DONE, f"canary {ended.canary_id} {_how(ended)}", remedy=f"To roll {facts.model} out anew: {anew}"
        )
    told = f"the last run of {facts.model}, {ended.canary_id}, {_how(ended)}"
    if facts.acknowledge:
        told += f"; acknowledge={printable(facts.acknowledge, 80)} is not that run"
    return _of(facts, STOPPED, told, remedy=f"When you know why, begin anew with: {anew}")


def _how(ended: Ended) -> str:
    at = f" at {ended.at}" if ended.at else ""
    if ended.how == PROMOTED:
        return f"was promoted{at}"
    return f"ended {ended.how}{at}" + (f" ({printable(ended.why, 300)})" if ended.why else "")


def answered(facts: Facts, answer: Answer) -> Decision:
    """What the answer of the host's own preflight means for the rollout."""
    refusal = answer.refusal
    if isinstance(refusal, NotYet):
        return _of(facts, WAIT, refusal.message, remedy=refusal.remedy, until=refusal.until, share=answer.share)
    if refusal is not None:
        return _of(facts, STOPPED, refusal.message, remedy=refusal.remedy, share=answer.share)
    record = facts.record
    share = f"{100 * (answer.share or 0.0):g} %"
    if answer.action == ACTIVATE:
        return _of(facts, ACTIVATE, f"{facts.model} is activated at {share}, the first step", share=answer.share)
    if record is not None and answer.action == RAISE:
        return _of(facts, RAISE, f"{_named(record)} is safe and raised to {share}", share=answer.share)
    if record is not None and answer.action == PROMOTE:
        told = f"{_named(record)} is safe after the last step: its weights become the engine's own"
        return _of(facts, PROMOTE, told)
    # somebody else was quicker: what the host looks like now is told by the next run
    return _of(facts, WAIT, "the host has moved on meanwhile")


def _named(record: Record) -> str:
    return f"canary {record.id} ({record.model} at {100 * record.weight:g} %)"


def _of(facts: Facts, action: str, sentence: str, **more: t.Any) -> Decision:
    record = facts.record if facts.record is not None and facts.record.in_flight else None
    return Decision(
        action,
        sentence,
        model=facts.model or (record.model if record is not None else ""),
        canary_id=record.id if record is not None else "",
        number=facts.number,
        of=facts.steps,
        **more,
    )
