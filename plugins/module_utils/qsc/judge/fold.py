# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""Everything a run under the policy ``sequential`` remembers, folded decision by decision into bounded state. Pure.

What is remembered depends on the decisions alone, never on when a check came: however they are split into checks, and
also when all are folded again, the state is the same.
"""

from __future__ import annotations

import typing as t
from collections import Counter
from dataclasses import dataclass, field

from .buckets import LEAST_VOTES, MINUTE_MS, Stretch, observe
from .claims import Claim, Evidence, Reading
from .cutover import StreamId
from .decisions import ACTIONS, Decision
from .evidence import count_of
from .frame import Frame
from .impact import Change
from .sketch import Sketch
from .summary import FirstBlocker, ModelSummary, Summary

RECENT_DECISIONS, RECENT_S = 200, 600.0
"""The newest minutes that together hold so many decisions and so much time: what an immediate trip looks at."""
OPEN_S = 30.0
"""Of that time what the minute that has not ended yet is left to give: ten minutes of one decision a second span 599 s,
and would keep an eleventh."""
_COUNTERS = ("first_ms", "first_vote_ms", "last_vote_ms", "silent")


@dataclass
class Minutes:
    """Minutes in order become evidence, bucket by bucket; the newest ones stay for the immediate trips."""

    evidence: Evidence
    alone: bool = False
    bucket: Stretch = field(default_factory=Stretch)
    number: int = -1
    recent: list[Stretch] = field(default_factory=list)

    def take(self, index: int, minute: Stretch) -> None:
        """The minute ``index`` since the marker has ended and held ``minute``, at least one decision."""
        length = int(self.evidence.frame.bucket_s) // 60
        if index // length != self.number and self._enough():
            self._close()
        self.number = index // length
        self.bucket.take(minute)
        if (index + 1) % length == 0 and self._enough():
            self._close()
        self.recent.append(minute)
        while len(self.recent) > 1 and _fills(self.recent[1:]):
            del self.recent[0]

    def _enough(self) -> bool:
        return self.bucket.votes >= LEAST_VOTES and (self.alone or self.bucket.voted >= LEAST_VOTES)

    def _close(self) -> None:
        self.evidence.add(self.bucket)
        self.bucket = Stretch()

    def window(self, minute: Stretch | None = None) -> Stretch:
        """The newest minutes together, and the one that has not ended yet."""
        window = Stretch()
        for one in (*self.recent, *([minute] if minute is not None and minute.decisions else [])):
            window.take(one)
        return window


def _fills(minutes: t.Sequence[Stretch]) -> bool:
    """Whether these minutes are enough for an immediate trip."""
    span_ms = minutes[-1].last_ms - minutes[0].first_ms
    return span_ms >= 1000 * (RECENT_S - OPEN_S) and sum(one.decisions for one in minutes) >= RECENT_DECISIONS


@dataclass
class Fold:
    """The state. ``silent``: newest decisions in a row without a vote of the canary that counts; the times in ms are 0
    as long as there is none; ``change``: the canary's weights and the baseline's, where they are known."""

    model: str
    since: StreamId
    grace_s: float
    minutes: Minutes
    summary: Summary = field(default_factory=lambda: Summary(bounded=True))
    minute: Stretch = field(default_factory=Stretch)
    index: int = -1
    first_ms: int = 0
    first_vote_ms: int = 0
    last_vote_ms: int = 0
    silent: int = 0
    change: Change | None = None
    _window: tuple[int, Stretch] = field(default_factory=lambda: (-1, Stretch()), init=False, repr=False, compare=False)
    _readings: tuple[int, list[Reading]] = field(
        default_factory=lambda: (-1, []), init=False, repr=False, compare=False
    )

    @classmethod
    def new(
        cls,
        model: str,
        since: StreamId,
        frame: Frame,
        claims: tuple[Claim, ...],
        *,
        alone: bool,
        grace_s: float,
        change: Change | None = None,
    ) -> Fold:
        """Nothing folded yet."""
        return cls(model, since, grace_s, Minutes(Evidence(claims, frame), alone), change=change)

    @property
    def evidence(self) -> Evidence:
        """What the claims have been put to."""
        return self.minutes.evidence

    def add(self, decision: Decision) -> None:
        """One more decision; their order is that of the stream."""
        self.summary.add(decision)
        item = observe(decision, self.model, self.change)
        voting = item.action is not None and not item.shadow
        self.first_ms = self.first_ms or item.ms
        self.silent = 0 if voting else self.silent + 1
        if item.action is not None:
            self.first_vote_ms = self.first_vote_ms or item.ms
            self.last_vote_ms = item.ms
        elif not self.first_vote_ms and item.ms < self.first_ms + 1000 * self.grace_s:
            self.silent = 0
            return  # the engine has just started: its decisions without the canary say nothing about it
        index = (item.ms - self.since.ms) // MINUTE_MS
        if index != self.index:
            self._end_minute()
            self.index = index
        self.minute.add(item, self.evidence.frame.centre)

    def _end_minute(self) -> None:
        if self.minute.decisions:
            self.minutes.take(self.index, self.minute)
            self.minute = Stretch()

    def window(self) -> Stretch:
        """The newest minutes, see ``RECENT_S``; it changes with a decision only."""
        if self._window[0] != self.summary.events:
            self._window = self.summary.events, self.minutes.window(self.minute)
        return self._window[1]

    def readings(self) -> list[Reading]:
        """What is known of each claim; it changes with a bucket only."""
        if self._readings[0] != self.evidence.buckets:
            self._readings = self.evidence.buckets, self.evidence.read()
        return self._readings[1]

    def to_dict(self) -> dict[str, t.Any]:
        """As JSON-ready data."""
        return {
            "since": str(self.since),
            "model": self.model,
            "frame": self.evidence.frame.to_dict(),
            "evidence": self.evidence.to_dict(),
            "bucket": self.minutes.bucket.to_dict(),
            "number": self.minutes.number,
            "recent": [one.to_dict() for one in self.minutes.recent],
            "minute": self.minute.to_dict(),
            "index": self.index,
            "summary": _summary_to(self.summary),
            **{name: getattr(self, name) for name in _COUNTERS},
        }

    @classmethod
    def from_dict(
        cls,
        raw: t.Any,
        *,
        model: str,
        since: StreamId,
        claims: tuple[Claim, ...],
        alone: bool,
        grace_s: float,
        change: Change | None = None,
    ) -> Fold:
        """Take what ``to_dict`` gave for the same run. Raises ValueError, KeyError or TypeError for anything else."""
        if raw["model"] != model or raw["since"] != str(since):
            raise ValueError("the state of another run")
        frame = Frame.from_dict(raw["frame"])
        evidence = Evidence.from_dict(raw["evidence"], claims, frame)
        recent = [Stretch.from_dict(one) for one in raw["recent"]]
        if len(recent) > RECENT_DECISIONS + RECENT_S / 60 + 1:
            raise ValueError("more minutes than are kept")
        minutes = Minutes(evidence, alone, Stretch.from_dict(raw["bucket"]), _place(raw["number"]), recent)
        return cls(
            model,
            since,
            grace_s,
            minutes,
            _summary_of(raw["summary"]),
            Stretch.from_dict(raw["minute"]),
            _place(raw["index"]),
            **{name: count_of(raw[name]) for name in _COUNTERS},
            change=change,
        )


def _place(value: t.Any) -> int:
    """A count, or -1 for none."""
    return -1 if value == -1 and not isinstance(value, bool) else count_of(value)


def _summary_to(summary: Summary) -> dict[str, t.Any]:
    return {
        "events": summary.events,
        "first_id": str(summary.first_id or ""),
        "last_id": str(summary.last_id or ""),
        "models": {name: _model_to(model) for name, model in summary.models.items()},
        "agreement": [[voters, top, count] for (voters, top), count in sorted(summary.agreement.items())],
        "hard": summary.hard,
        "ignored": dict(summary.ignored),
        "blockers": [[*key, item.times, str(item.id), item.message] for key, item in sorted(summary.blockers.items())],
    }


def _summary_of(raw: t.Any) -> Summary:
    return Summary(
        events=count_of(raw["events"]),
        first_id=StreamId.parse(raw["first_id"]) if raw["first_id"] else None,
        last_id=StreamId.parse(raw["last_id"]) if raw["last_id"] else None,
        models={str(name): _model_of(model) for name, model in raw["models"].items()},
        agreement=Counter({(_at_least_1(voters), count_of(top)): count_of(n) for voters, top, n in raw["agreement"]}),
        hard=count_of(raw["hard"]),
        ignored=_counter(raw["ignored"]),
        blockers={
            (str(code), str(model)): FirstBlocker(count_of(times), StreamId.parse(where), str(message))
            for code, model, times, where, message in raw["blockers"]
        },
        bounded=True,
    )


_PLAIN = ("shadow", "inactive", "normalized")
_COUNTED = ("counts", "fallback", "invalid")


def _model_to(model: ModelSummary) -> dict[str, t.Any]:
    sketch = model.values
    if not isinstance(sketch, Sketch):
        raise ValueError("not a bounded summary")
    counted = {name: dict(getattr(model, name)) for name in _COUNTED}
    return {"values": sketch.to_list(), **{name: getattr(model, name) for name in _PLAIN}, **counted}


def _model_of(raw: t.Any) -> ModelSummary:
    counts = _counter(raw["counts"])
    sketch = Sketch.from_list(raw["values"])
    if not set(counts) <= set(ACTIONS) or sum(counts.values()) != len(sketch):
        raise ValueError("votes and confidences do not belong together")
    return ModelSummary(
        counts=counts,
        values=sketch,
        fallback=_counter(raw["fallback"]),
        invalid=_counter(raw["invalid"]),
        **{name: count_of(raw[name]) for name in _PLAIN},
    )


def _counter(raw: t.Any) -> Counter[str]:
    return Counter({str(name): count_of(count) for name, count in raw.items()})


def _at_least_1(value: t.Any) -> int:
    if not count_of(value):
        raise ValueError("no voters")
    return count_of(value)
