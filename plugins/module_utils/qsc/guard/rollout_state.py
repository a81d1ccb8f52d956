# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""What operators said about the rollout of this host: paused, and which steps they approved.

One file of root. A file that cannot be read is an error wherever a step is taken: it never counts as not paused, nor as
an approval. No guard of a run reads it.
"""

from __future__ import annotations

import typing as t
from dataclasses import asdict, dataclass, replace

from ..errors import BadInput, NotYet, QscError, RecordUnreadable
from ..files import read_json, timestamp, write_json
from ..record import ACTIVE, Record, load
from ..settings import same_share
from ..verdict import printable
from .host import Host

_MOST_APPROVALS = 100
_LAST_MOMENT = 1e11
_CUT = 300


@dataclass(frozen=True)
class Paused:
    """Who paused the rollout, when (wall s), and why."""

    by: str
    at: float
    reason: str

    def line(self) -> str:
        """In one sentence without its end."""
        return f"paused since {timestamp(self.at)} by {self.by}" + (f": {self.reason}" if self.reason else "")


@dataclass(frozen=True)
class Approval:
    """Who approved the step to this share after that run, and when (wall s)."""

    canary_id: str
    step: float
    by: str
    at: float


@dataclass(frozen=True)
class State:
    """The file's content."""

    paused: Paused | None = None
    approvals: tuple[Approval, ...] = ()

    def to_dict(self) -> dict[str, t.Any]:
        """As JSON-ready data."""
        return asdict(self)

    def approved(self, canary_id: str, step: float) -> bool:
        """Whether somebody approved this very step after this very run."""
        return any(item.canary_id == canary_id and same_share(item.step, step) for item in self.approvals)


def read(host: Host) -> State:
    """The state of this host. Raises RecordUnreadable, naming the file, for all that this version did not write."""
    path = host.paths.rollout
    try:
        return _parse(read_json(path))
    except FileNotFoundError:
        return State()
    except (QscError, KeyError, TypeError, ValueError) as error:
        why = error.message if isinstance(error, QscError) else f"{path} is not the state of a rollout: {error!r:.200}"
        raise RecordUnreadable(
            printable(why),
            remedy=f"No step is taken until it is gone: rm {path}; then pause and approve again what is meant.",
        ) from error


def _parse(raw: t.Any) -> State:
    paused, approvals = raw["paused"], raw["approvals"]
    if not isinstance(approvals, list) or len(approvals) > _MOST_APPROVALS:
        raise ValueError("approvals: not a short list")
    return State(
        Paused(_text(paused, "by"), _number(paused, "at", _LAST_MOMENT), _text(paused, "reason"))
        if paused is not None
        else None,
        tuple(
            Approval(_text(i, "canary_id"), _number(i, "step", 1.0), _text(i, "by"), _number(i, "at", _LAST_MOMENT))
            for i in approvals
        ),
    )


def _text(raw: t.Any, key: str) -> str:
    value = raw[key]
    if not isinstance(value, str):
        raise ValueError(f"{key}: not text")
    return printable(value, _CUT)


def _number(raw: t.Any, key: str, most: float) -> float:
    value = raw[key]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:
        raise ValueError(f"{key}: not a number from 0 to {most:g}")
    return float(value)


# --- what stops a step


def check_paused(host: Host, *, until: float = 0.0) -> None:
    """Raise NotYet while the rollout is paused, RecordUnreadable where that cannot be told."""
    paused = read(host).paused
    if paused is not None:
        raise NotYet(
            f"the rollout of this host is {paused.line()}",
            remedy="To go on: playbooks/rollout.yml -e rollout=resume, or on the host: qsc rollout resume",
            until=until,
        )


def check_approved(host: Host, record: Record, step: float) -> None:
    """Raise NotYet where the step after this run needs an approval that nobody gave."""
    if needs_approval(host, read(host), record, step):
        raise NotYet(
            f"the step to {100 * step:g} % needs an approval (qsc_canary_approvals), of canary {record.id}",
            remedy=f"Approve it: playbooks/rollout.yml -e rollout=approve -e approve={step:g}, or on the host: "
            f"{approve_command(step)}",
            until=record.ends_at,
        )


def needs_approval(host: Host, state: State, record: Record, step: float) -> bool:
    """Whether the step after this run needs an approval that nobody gave."""
    named = any(same_share(step, share) for share in host.settings.approvals)
    return named and not state.approved(record.id, step)


def approve_command(step: float) -> str:
    """What approves the step when pasted into a root shell on the host."""
    return f"qsc rollout approve {step:g}"


# --- what operators say: each returns (before, after, a sentence); said twice it changes nothing


Told = tuple[State, State, str]


def pause(host: Host, reason: str, *, dry_run: bool = False) -> Told:
    """No step is taken from now on; the run that is active goes on, and so do its guards. Raises BadInput without a
    reason."""
    if not reason.strip():
        raise BadInput(f"reason={reason!r:.80} says nothing", remedy="Say why it is paused, for whoever comes next.")
    with host.lock():
        before = read(host)
        if before.paused is not None:
            return before, before, f"already {before.paused.line()}: nothing changed"
        paused = Paused(host.actor, host.clock.wall(), printable(reason, _CUT))
        after = replace(before, paused=paused)
        if not dry_run:
            _log(host, "rollout_paused", reason=paused.reason)
            write_json(host.paths.rollout, after.to_dict())
        return before, after, f"{paused.line()}: no step is taken; the run that is active goes on, watched"


def resume(host: Host, *, dry_run: bool = False) -> Told:
    """Steps are taken again."""
    with host.lock():
        before = read(host)
        if before.paused is None:
            return before, before, "not paused: nothing changed"
        after = replace(before, paused=None)
        if not dry_run:
            _log(host, "rollout_resumed", reason=f"was {before.paused.line()}")
            write_json(host.paths.rollout, after.to_dict())
        return before, after, f"resumed; it was {before.paused.line()}"


def approve(host: Host, step: float, next_step: t.Callable[[Record], float | None], *, dry_run: bool = False) -> Told:
    """The step of this share may be taken after the run in flight, as soon as that is safe. Approvals of other runs are
    dropped. Raises BadInput where no such step comes next."""
    with host.lock():
        before = read(host)
        record = load(host.paths.record)
        if record is None or record.state != ACTIVE or record.latched or record.outcome == "inconclusive":
            raise BadInput(
                f"approve={step:g}: there is no canary on this host that could be raised", remedy="See: qsc status"
            )
        wanted = next_step(record)
        if wanted is None or not same_share(step, wanted):
            comes = "no further step comes" if wanted is None else f"the next step is {wanted:g} ({100 * wanted:g} %)"
            raise BadInput(
                f"approve={step:g} is not the next step of canary {record.id} at {100 * record.weight:g} %: {comes}",
                remedy="Approve the next one, when it needs it." if wanted is None else f"Use {wanted:g}.",
            )
        if before.approved(record.id, wanted):
            return before, before, f"the step to {100 * wanted:g} % is already approved: nothing changed"
        given = Approval(record.id, wanted, host.actor, host.clock.wall())
        mine = tuple(item for item in before.approvals if item.canary_id == record.id)
        after = replace(before, approvals=(*mine, given))
        if not dry_run:
            host.log("rollout_approved", record, from_weight=record.weight, to_weight=wanted)
            write_json(host.paths.rollout, after.to_dict())
        return before, after, f"the step to {100 * wanted:g} % is approved, once canary {record.id} is safe"


def _log(host: Host, action: str, **fields: t.Any) -> None:
    record = load(host.paths.record)
    if record is not None and record.in_flight:
        host.log(action, record, **fields)
    else:
        host.ledger.append(action, {"canary_id": "", **fields}, wall=host.clock.wall())
