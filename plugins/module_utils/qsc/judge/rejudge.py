# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""Every check of a run made once more, by the monitor's own judges, from what was archived of it. Pure.

A check is a function of the decisions it read, of what it saw beside them (``checklog.Inputs``), of what the operator's
own checks answered and of what the check before it left. What none of that can give, a check that was missed for
example, is taken over and counted; so are those answers.
"""

from __future__ import annotations

import json
import math
import typing as t
from bisect import bisect_left, bisect_right
from collections import Counter
from dataclasses import asdict, dataclass, field, replace

from ..record import Record
from ..verdict import MONITOR_VIOLATION, Violation, violation_of
from . import archive, sequential
from .archive import Archived
from .check import ENDING, CheckResult, Progress, begin, check, with_own
from .checklog import JUDGED, LATCHED, MISSED, UNREADABLE, CheckLog, Inputs, Line, Said, Witness
from .cutover import ZERO, StreamId
from .decisions import parse
from .fold import Fold
from .frame import Frame
from .loss import StreamInfo
from .monitor import found_of, header_of, spoken
from .options import SEQUENTIAL, MonitorOptions
from .stream import Entry

TOLERANCE = 1e-9
"""Figures may differ by so much of themselves: the last digits of a logarithm are a platform's."""
_LATCHED_FIELDS = ("verdict", "status", "message", "violations", "events")

Tick = t.Callable[[int, int], None]


class Impossible(Exception):
    """What a check read is not all in the archive."""


@dataclass(frozen=True)
class Difference:
    """One field of one check that is not what was recorded; ``number`` 0: of the run as a whole."""

    number: int
    name: str
    recorded: t.Any
    recomputed: t.Any


@dataclass
class Answer:
    """What came of a replay. ``taken_over``: by reason, checks of which there is nothing to recompute; ``impossible``:
    by check, why it could not be recomputed although it was judged; ``gaps``: checks the log does not hold."""

    canary_id: str
    policy: str
    checks: int = 0
    recomputed: int = 0
    taken_over: Counter[str] = field(default_factory=Counter)
    impossible: dict[int, str] = field(default_factory=dict)
    gaps: list[tuple[int, int]] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    verdicts: Counter[str] = field(default_factory=Counter)
    latched: Said | None = None
    """What ended the run, as it was recomputed."""

    @property
    def whole(self) -> bool:
        """True when every judged check of the run was recomputed."""
        return bool(self.recomputed) and not self.impossible and not self.gaps

    def to_dict(self) -> dict[str, t.Any]:
        """As JSON-ready data."""
        differences = [asdict(item) for item in self.differences]
        return {
            **{name: getattr(self, name) for name in ("canary_id", "policy", "checks", "recomputed", "notes", "whole")},
            "taken_over": dict(self.taken_over),
            "impossible": {str(number): why for number, why in self.impossible.items()},
            "gaps": [list(gap) for gap in self.gaps],
            "verdicts": dict(self.verdicts),
            "differences": differences,
        }


class _Source:
    """A stream as it was at one check, out of an archive."""

    def __init__(self, archived: Archived, stream: str) -> None:
        self.stream = stream
        self._archived = archived
        self._ids = [entry.id for entry in archived.entries]
        self._looks: list[StreamInfo] = []
        self._inputs: Inputs | None = None
        self.scanned = 0
        self.reached = ZERO

    def at(self, inputs: Inputs) -> None:
        """Go to a check."""
        self._inputs = inputs
        self._looks = [inputs.after, inputs.before]

    @property
    def _now(self) -> Inputs:
        if self._inputs is None:
            raise Impossible("nothing is known of what it saw")
        return self._inputs

    def info(self) -> StreamInfo:
        return self._looks.pop() if len(self._looks) > 1 else self._looks[0]

    def server_ms(self) -> int:
        return self._now.now_ms

    def newest(self, limit: int, after: StreamId = ZERO, until: StreamId | None = None) -> t.Iterator[Entry]:
        low, place = self._low(after), len(self._ids) if until is None else bisect_right(self._ids, until)
        found = 0
        while place and self._ids[place - 1] >= low:
            place -= 1
            yield self._archived.entries[place]
            found += 1
            if found == limit:
                return
        self._require(low)

    def oldest(self, after: StreamId, until: StreamId, most: int) -> t.Iterator[Entry]:
        seen = self._now
        low = self._low(after)
        self._require(low)
        if seen.scanned >= most:  # there was more than one check may read
            until = min(until, seen.reached)
        yield from self.between(low, until)
        self.scanned, self.reached = seen.scanned, seen.reached

    def between(self, low: StreamId, until: StreamId) -> t.Iterator[Entry]:
        """The entries with ``low`` <= id <= ``until``, oldest first."""
        for place in range(bisect_left(self._ids, low), len(self._ids)):
            if self._ids[place] > until:
                return
            yield self._archived.entries[place]

    def since(self, after: StreamId, until: StreamId) -> t.Iterator[Entry]:
        """All entries with ``after`` < id <= ``until``, oldest first, as they came."""
        low = after.next()
        if archive.whole_from(self._archived.left, self._now.before.max_deleted_id) > low:
            raise Impossible(f"not all entries after {after} are in the archive")
        return self.between(low, until)

    def _low(self, after: StreamId) -> StreamId:
        """The lowest ID that could have been read."""
        first = self._now.before.first_id
        return after.next() if first is None else max(after.next(), first)

    def _require(self, low: StreamId) -> None:
        """Raises Impossible unless everything from ``low`` on that was there is in the archive."""
        before, after = self._now.before, self._now.after
        whole = archive.whole_from(self._archived.left, before.max_deleted_id)
        if low < whole and before.first_id is not None:
            raise Impossible(f"entries from {low} on were trimmed or deleted before the archive was written")
        if before.first_id != after.first_id and after.first_id is not None and after.first_id > low:
            raise Impossible("the stream was trimmed while the check read it")


def rejudge(log: CheckLog, archived: Archived, tick: Tick | None = None) -> Answer:
    """Make every check of a log once more. Raises BadInput for options nobody can judge by."""
    options = archive.options_of(log)
    replay = _Replay(options, log, archived)
    for place, line in enumerate(log.lines):
        replay.line(line)
        if tick is not None:
            tick(place + 1, len(log.lines))
    if log.torn:
        replay.answer.notes.append(f"{log.torn} lines of the log were cut off")
    return replay.answer


def against(answer: Answer, log: CheckLog, record: Record) -> None:
    """Add what the record of the run says otherwise: by what was judged, and which violations ended it.

    Raises RecordUnreadable.
    """
    if record.id != log.canary_id:
        answer.differences.append(Difference(0, "canary_id", record.id, log.canary_id))
        return
    wanted = json.loads(json.dumps(header_of(record)))
    for name in sorted({*wanted["options"], *log.header["options"]}):
        told, used = wanted["options"].get(name), log.header["options"].get(name)
        if told != used:
            answer.differences.append(Difference(0, f"options.{name}", told, used))
    for name in ("model", "stream", "since"):
        if wanted[name] != log.header[name]:
            answer.differences.append(Difference(0, name, wanted[name], log.header[name]))
    if record.trigger != MONITOR_VIOLATION or not record.violations:
        return
    recorded = tuple(violation_of(dict(item)) for item in record.violations)
    if answer.latched is not None and not same(recorded, answer.latched.violations):
        ended = _shown(answer.latched.violations)
        answer.differences.append(Difference(0, "violations that ended it", _shown(recorded), ended))


class _Replay:
    def __init__(self, options: MonitorOptions, log: CheckLog, archived: Archived) -> None:
        self.answer = Answer(log.canary_id, options.policy)
        self._options = options
        self._source = _Source(archived, str(log.header["stream"]))
        self._number = 0
        self._expected: Progress | None = None
        """What the check before left, None where that is not known."""
        self._fold: Progress | None = None
        """The newest state of the policy ``sequential`` that was recomputed."""
        self._complete = True

    def line(self, line: Line) -> None:
        """One check."""
        answer, number = self.answer, line.number
        if line.took != LATCHED and number != self._number + 1:
            if number > self._number + 1:
                answer.gaps.append((self._number + 1, number - 1))
            else:
                answer.notes.append(f"check {number} comes after check {self._number}: the monitor's memory was lost")
            self._expected = None
        self._number = max(number, 1) if line.took != LATCHED else max(number, self._number)
        answer.checks += 1
        answer.verdicts[line.said.verdict] += 1
        if line.took == JUDGED and line.inputs is not None:
            self._judged(line, line.inputs)
        elif line.took == LATCHED:
            self._latched(line)
        else:
            answer.taken_over["telemetry not read" if line.took == MISSED else "no stream to judge"] += 1
            if line.took == UNREADABLE:
                self._expected = line.start or begin(self._options)
                self._latch(line.said)
            else:
                self._expected = line.start
                self._latch(line.said)  # an own check may end a run whose telemetry cannot be read
        self._complete = line.said.complete

    def _judged(self, line: Line, inputs: Inputs) -> None:
        self._source.at(inputs)
        witness = Witness(self._source, self._options.since)
        try:
            start = self._start(line, inputs)
            result, progress = check(
                witness, self._options, start, line.elapsed_s, line.watched_s, shown=False
            )  # fmt: skip
        except Impossible as error:
            self.answer.impossible[line.number] = str(error)
            self._expected = None
            self._latch(line.said)
            return
        self.answer.recomputed += 1
        said = self._said(with_own(result, line.answers))
        self._compare(line.number, "decisions", inputs.decisions, witness.decisions)
        self._compare(line.number, "digest", inputs.digest, witness.digest)
        for name, recorded in vars(line.said).items():
            self._compare(line.number, name, recorded, getattr(said, name))
        if self._expected is not None and line.start is not None:
            self._compare(line.number, "start", _plain(line.start), _plain(self._expected))
        self._expected = progress
        self._fold = progress
        self._latch(said)

    def _start(self, line: Line, inputs: Inputs) -> Progress | None:
        """What the check before left, as this one found it; its fold made again where that was not recomputed."""
        start = line.start
        if start is None or self._options.policy != SEQUENTIAL:
            return start
        if inputs.began == self._options.since:
            return replace(start, fold=None)  # its memory was of no use: it read everything again
        known, cursor = self._fold, start.seen.cursor
        if known is not None and known.seen.cursor == cursor:
            return replace(start, fold=known.fold)
        return replace(start, fold=self._folded(cursor).to_dict())

    def _folded(self, cursor: StreamId) -> Fold:
        """All decisions up to a point: the state does not depend on how checks split them."""
        options = self._options
        frame: Frame | None = options.frame
        if frame is None:
            frame = sequential.learn_from(
                self._source, options.model, options.dialect, options.since, options.duration_s
            )  # fmt: skip
        fold = sequential.new_fold(options, frame)
        for entry in self._source.since(options.since, cursor):
            fold.add(parse(entry.id, entry.fields, options.dialect))
        return fold

    def _said(self, result: CheckResult) -> Said:
        found = found_of(result)
        violations, message = spoken(found)
        return Said(
            found["verdict"],
            found["status"],
            message,
            violations,
            found["events"],
            found["first_id"],
            found["last_id"],
            found["lag_s"],
            self._complete and result.complete,
            result.stale_after_s,
            result.max_wait_s,
        )

    def _latched(self, line: Line) -> None:
        if self.answer.latched is None:
            self.answer.taken_over["repeats a verdict that the log does not hold"] += 1
            return
        self.answer.taken_over["repeats what ended the run"] += 1
        for name in _LATCHED_FIELDS:
            self._compare(line.number, name, getattr(line.said, name), getattr(self.answer.latched, name))

    def _latch(self, said: Said) -> None:
        if self.answer.latched is None and said.verdict in ENDING:
            self.answer.latched = said

    def _compare(self, number: int, name: str, recorded: t.Any, recomputed: t.Any) -> None:
        if not same(recorded, recomputed):
            self.answer.differences.append(Difference(number, name, _shown(recorded), _shown(recomputed)))


def _plain(progress: Progress) -> dict[str, t.Any]:
    return {**progress.to_dict(), "fold": None}


def _shown(value: t.Any) -> t.Any:
    if isinstance(value, tuple):
        return [_shown(item) for item in value]
    return asdict(value) if isinstance(value, Violation) else value


def same(one: t.Any, other: t.Any) -> bool:
    """Equal, but for the last digits of a figure."""
    if isinstance(one, float) and isinstance(other, (int, float)) and not isinstance(other, bool):
        return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(same(*pair) for pair in zip(one, other))
    if isinstance(one, Violation) and isinstance(other, Violation):
        return all(same(value, getattr(other, name)) for name, value in vars(one).items())
    return bool(one == other)
