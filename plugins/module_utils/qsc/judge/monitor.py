# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""The monitor unit's whole job: one check, its verdict, its state, its scoreboard. Writes in its own folder only."""

from __future__ import annotations

import json
import typing as t
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from .. import own_checks
from ..errors import RecordUnreadable, TelemetryError
from ..files import Clock, read_json, write_atomic, write_json
from ..record import ACTIVE, ARMING, Record, load
from ..settings import Paths
from ..steps import reached
from ..verdict import STATUSES, Verdict, Violation, choice_in, count_in, printable, text_in, violation_of
from . import checklog, rules
from .answers import OK, Answer, Ran, answer_of, counted, violations_of, words_of
from .check import ENDING, MOST_BYTES, VIOLATION, WAITING, CheckResult, Progress, check, with_own
from .connection import Connection
from .cutover import StreamId
from .options import MonitorOptions
from .stream import StreamReader

SCHEMA = 1
EXIT_OK, EXIT_VIOLATION, EXIT_TRANSIENT = 0, 1, 75
TRANSIENT = "transient"
_MOST_VIOLATIONS = 50

Scoreboard = t.Callable[[t.Mapping[str, t.Any]], str]


@dataclass(frozen=True)
class RunState:
    """What the monitor remembers of one canary between two checks. ``latched`` is the verdict that ended the run;
    ``silent``: how often in a row each of the operator's own checks had no answer."""

    canary_id: str
    checks_done: int = 0
    checks_judged: int = 0
    checks_missed: int = 0
    missed_in_a_row: int = 0
    max_missed_in_a_row: int = 0
    complete: bool = True
    progress: Progress | None = None
    latched: t.Mapping[str, t.Any] | None = None
    incumbents: tuple[str, ...] = ()
    silent: t.Mapping[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, t.Any]:
        """As JSON-ready data."""
        data = {name: getattr(self, name) for name in (*_COUNTERS, "canary_id", "complete", "latched")}
        progress = self.progress.to_dict() if self.progress else None
        more = {"progress": progress, "incumbents": list(self.incumbents), "silent": dict(self.silent)}
        return {"schema": SCHEMA, **data, **more}

    @classmethod
    def load(cls, path: Path, canary_id: str) -> RunState:
        """The state of this canary; a fresh one when there is none or when it is another's. Raises RecordUnreadable:
        a state that cannot be read may have held a violation."""
        try:
            raw = read_json(path)
        except FileNotFoundError:
            return cls(canary_id)
        try:
            if raw["schema"] != SCHEMA:
                raise ValueError(f"schema {raw['schema']!r:.20}")
            if raw["canary_id"] != canary_id:
                return cls(canary_id)
            counters = {name: count_in(raw, name) for name in _COUNTERS}
            progress = None if raw["progress"] is None else Progress.from_dict(raw["progress"])
            latched = None if raw["latched"] is None else _latched(raw["latched"])
            return cls(
                canary_id,
                **counters,
                complete=raw["complete"] is True,
                progress=progress,
                latched=latched,
                incumbents=tuple(str(item) for item in raw["incumbents"]),
                silent=_silent(raw.get("silent") or {}),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise RecordUnreadable(f"{path} is not a state of the monitor: {error!r:.80}") from error

    def missed(self) -> RunState:
        """After a check that could not be made."""
        row = self.missed_in_a_row + 1
        return replace(
            self,
            checks_missed=self.checks_missed + 1,
            missed_in_a_row=row,
            max_missed_in_a_row=max(row, self.max_missed_in_a_row),
        )

    def latch(self, found: t.Mapping[str, t.Any]) -> RunState:
        """After a verdict: one that ends the run is kept, the first of them."""
        if self.latched is not None or found["verdict"] not in ENDING:
            return self
        return replace(self, latched={name: found[name] for name in _LATCHED})

    def done(self, result: CheckResult, progress: Progress) -> RunState:
        """After a check. What ends a run latches: nothing later takes it back."""
        return replace(
            self.latch(found_of(result)),
            checks_done=self.checks_done + 1,
            checks_judged=self.checks_judged + result.judged,
            missed_in_a_row=0,
            complete=self.complete and result.complete,
            progress=progress,
            incumbents=tuple(sorted({*self.incumbents, *_names(result)})[:200]),
        )


_LATCHED = ("verdict", "status", "message", "violations", "events")


def _silent(raw: t.Any) -> dict[str, int]:
    """Counts by name. Raises ValueError, KeyError or TypeError."""
    if not isinstance(raw, dict) or len(raw) > 4 * own_checks.MOST:
        raise ValueError("silent: not a few counts")
    return {str(name): count_in(raw, name) for name in raw}


def _latched(raw: t.Any) -> dict[str, t.Any]:
    """The latched verdict of a state file. Raises ValueError, KeyError or TypeError."""
    return {
        "verdict": choice_in(raw, "verdict", ENDING),
        "status": choice_in(raw, "status", STATUSES),
        "message": text_in(raw, "message"),
        "violations": [asdict(violation_of(item)) for item in raw["violations"]],
        "events": count_in(raw, "events"),
    }


_COUNTERS = ("checks_done", "checks_judged", "checks_missed", "missed_in_a_row", "max_missed_in_a_row")


def _names(result: CheckResult) -> list[str]:
    return [f"{item.subject} {item.code}" for item in result.incumbent_violations]


def run_unit(
    paths: Paths,
    connect: t.Callable[[], Connection],
    *,
    clock: Clock | None = None,
    scoreboard: Scoreboard | None = None,
) -> tuple[int, list[str]]:
    """Check the canary of this host once, and write what was found; returns the exit code and lines for the journal.

    The code is 0 (ok, waiting, nothing to watch), 1 (violation or inconclusive: the run must end), 75 (the telemetry
    could not be read: a missed check). ``connect`` is called only when there is something to read; ``scoreboard``
    makes the Markdown page of ``CheckResult.to_dict()``. Raises RecordUnreadable, BadInput, OSError: the unit then
    fails, which rolls back.
    """
    clock = clock or Clock(paths.boot_mark)
    record = load(paths.record)
    if record is None or record.state not in (ARMING, ACTIVE):
        return EXIT_OK, ["no canary in flight"]
    if record.state == ARMING:
        _write(paths, _verdict(clock, RunState(record.id), _ARMING), RunState(record.id))
        return EXIT_OK, [_ARMING["message"]]
    before = RunState.load(paths.monitor_state, record.id)
    answers = _ask(paths, record, before)
    checked = _check(record, before, connect, clock, answers)
    found, state, result = checked.found, checked.state, checked.result
    verdict = _verdict(clock, state, found)
    _write(paths, verdict, state)
    lines = [f"{found['verdict']}: {printable(found['message'], 2000)}"]
    lines += [f"own check {item.name}: {words_of(item)}" for item in answers if item.word != OK]
    lines += _log(paths, record, before, checked, verdict)
    lines += [
        f"incumbent_violation: {name} (shown only: not the canary)"
        for name in sorted({*state.incumbents} - {*before.incumbents})
    ]
    if result is not None:
        lines += _show(paths, scoreboard or _default_scoreboard(), result, verdict)
    if state.latched is not None:
        return EXIT_VIOLATION, lines
    return (EXIT_TRANSIENT if found["verdict"] == TRANSIENT else EXIT_OK), lines


def _ask(paths: Paths, record: Record, state: RunState) -> list[Answer]:
    """What the operator's own checks say; they end before the next check has to begin."""
    if record.check_timeout_s <= 0 or state.latched is not None:
        return []
    found = own_checks.programs(paths, record.own_checks)
    if not found:
        return []
    from . import programs  # here: a run without own checks starts none

    question = json.dumps(_question(record)).encode() + b"\n"
    ran: list[Ran] = programs.run(found, question, min(record.check_timeout_s, record.interval_s / 2))
    return counted([answer_of(item) for item in ran], state.silent)


def _question(record: Record) -> dict[str, t.Any]:
    """What an own check is told on its standard input."""
    return {
        "schema": SCHEMA,
        "canary_id": record.id,
        "model": record.model,
        "weight": record.weight,
        "weights": dict(record.weights),
        "baseline": dict(record.baseline),
        "since": record.since.get("id"),
        "activated_at": record.activated_at,
        "stream": _stream(record),
        "interval_s": record.interval_s,
    }


def check_now(paths: Paths, connection: Connection, *, clock: Clock | None = None) -> Verdict | None:
    """What a check would find at this moment, writing nothing; None when no canary is in flight. The operator's own
    checks are left out: they run in the monitor's sandbox alone.

    Raises RecordUnreadable and BadInput; telemetry that cannot be read gives the verdict ``transient``.
    """
    clock = clock or Clock(paths.boot_mark)
    record = load(paths.record)
    if record is None or record.state not in (ARMING, ACTIVE):
        return None
    if record.state == ARMING:
        return _verdict(clock, RunState(record.id), _ARMING)
    checked = _check(record, RunState.load(paths.monitor_state, record.id), lambda: connection, clock)
    return _verdict(clock, checked.state, checked.found)


class Checked(t.NamedTuple):
    """One check of an active canary: what is to be said, the state after it, the result if one was reached, what the
    operator's own checks answered, and what it saw (``witness``) at which moment of the run."""

    found: t.Mapping[str, t.Any]
    state: RunState
    result: CheckResult | None = None
    answers: t.Sequence[Answer] = ()
    witness: checklog.Witness | None = None
    elapsed_s: float = 0.0
    watched_s: float = 0.0


def _check(
    record: Record,
    state: RunState,
    connect: t.Callable[[], Connection],
    clock: Clock,
    answers: t.Sequence[Answer] = (),
) -> Checked:
    if state.latched is not None:
        return Checked(state.latched, state)
    state = replace(state, silent={item.name: item.silent for item in answers if item.silent})
    options, stream = _options(record), _stream(record)
    reached("check.read")
    try:
        connection = connect()
        budget_s = 3 * connection.timeout_s  # a check must end before the next one, and before its unit's time-out
        match = record.judging.get("match")
        with StreamReader(connection, stream, match, budget_s=budget_s, budget_bytes=MOST_BYTES) as reader:
            witness = checklog.Witness(reader, options.since)
            elapsed_s, watched_s = _elapsed_s(record, clock), _watched_s(record, clock)
            result, progress = check(witness, options, state.progress, elapsed_s, watched_s)
    except TelemetryError as error:
        found = _said(TRANSIENT, rules.WAIT, str(error))
        own = violations_of(answers)
        if own:  # they do not need the telemetry
            said = "; ".join(item.message for item in own)
            found.update(verdict=VIOLATION, status=rules.NO_GO_STATUS, message=said)
            found.update(violations=[asdict(item) for item in own])
        return Checked(found, state.missed().latch(found), answers=answers)
    result = with_own(result, answers)
    state = state.done(result, progress)
    return Checked(found_of(result), state, result, answers, witness, elapsed_s, watched_s)


def _said(verdict: str, status: str, message: str) -> dict[str, t.Any]:
    return {"verdict": verdict, "status": status, "message": message, "violations": [], "events": 0}


_ARMING = _said(WAITING, rules.WAIT, "arming: waits for the activation")


def _options(record: Record) -> MonitorOptions:
    """The judging options that were frozen when the run was armed, and its own marker."""
    return MonitorOptions.from_dict(_judging(record), model=record.model, since=_since(record))


def _judging(record: Record) -> dict[str, t.Any]:
    own = {
        "weight": record.weight,
        "weights": dict(record.weights),
        "baseline": dict(record.baseline),
        "entries_added": record.since.get("entries_added"),
        "duration_s": record.duration_s,
    }
    return {**record.judging, **own}


def _since(record: Record) -> StreamId:
    try:
        return StreamId.parse(record.since["id"])
    except (KeyError, TypeError, ValueError) as error:
        raise RecordUnreadable(f"the record's marker is {record.since!r:.80}", remedy="Run: qsc rollback") from error


def header_of(record: Record) -> dict[str, t.Any]:
    """By what the checks of this run are judged, for their log. Raises RecordUnreadable."""
    return checklog.header_of(record.id, record.model, _stream(record), _since(record), _judging(record))


def _stream(record: Record) -> str:
    stream = record.judging.get("stream")
    if not isinstance(stream, str) or not stream:
        raise RecordUnreadable(f"the record's stream is {stream!r:.80}", remedy="Run: qsc rollback")
    return stream


def _elapsed_s(record: Record, clock: Clock) -> float:
    """Since the activation: by boot time within one boot, by the wall clock across a reboot."""
    if record.activated_boot > 0 and _boot_id(clock) == record.boot_id:
        return max(0.0, clock.boot() - record.activated_boot)
    return max(0.0, clock.wall() - record.activated_at)


def _watched_s(record: Record, clock: Clock) -> float:
    """Since the watch began in this boot: after a reboot the engine has the grace of a start again."""
    if record.watched_boot > 0 and _boot_id(clock) == record.boot_id:
        return max(0.0, clock.boot() - record.watched_boot)
    return _elapsed_s(record, clock)


def _boot_id(clock: Clock) -> str:
    return clock.boot_id(create=False)


def found_of(result: CheckResult) -> dict[str, t.Any]:
    """What is to be said of a result."""
    return {
        "verdict": result.verdict,
        "status": result.status,
        "message": result.message,
        "violations": [asdict(item) for item in result.violations[:_MOST_VIOLATIONS]],
        "events": result.events,
        "first_id": str(result.first_id or ""),
        "last_id": str(result.last_id or ""),
        "lag_s": result.lag_s,
    }


def spoken(found: t.Mapping[str, t.Any]) -> tuple[tuple[Violation, ...], str]:
    """The violations and the message of what was found, fit for a terminal."""
    violations = tuple(
        Violation(**{**item, "subject": printable(item["subject"]), "message": printable(item["message"])})
        for item in found["violations"]
    )
    return violations, printable(found["message"])


def _verdict(clock: Clock, state: RunState, found: t.Mapping[str, t.Any]) -> Verdict:
    violations, message = spoken(found)
    return Verdict(
        canary_id=state.canary_id,
        checked_at=clock.wall(),
        checked_boot=clock.boot(),
        boot_id=_boot_id(clock),
        **{name: getattr(state, name) for name in _COUNTERS},
        verdict=found["verdict"],
        status=found["status"],
        events=found["events"],
        first_id=found.get("first_id", ""),
        last_id=found.get("last_id", ""),
        lag_s=found.get("lag_s"),
        complete=state.complete,
        violations=violations,
        message=message,
    )


def _write(paths: Paths, verdict: Verdict, state: RunState) -> None:
    """State first: a latch must not be lost between the two."""
    reached("check.state")
    write_json(paths.monitor_state, state.to_dict(), compact=True)
    reached("check.verdict")
    write_json(paths.verdict, verdict.to_dict())


def _log(paths: Paths, record: Record, before: RunState, checked: Checked, verdict: Verdict) -> list[str]:
    """Append the check to the run's log. It may fail: it is evidence, and decides nothing."""
    result = checked.result
    inputs = None if checked.witness is None else checklog.Inputs.of(checked.witness)
    if before.latched is not None:
        took = checklog.LATCHED
    elif result is None:
        took = checklog.MISSED
    else:
        took = checklog.UNREADABLE if inputs is None else checklog.JUDGED
    limits = (0.0, 0.0) if result is None else (result.stale_after_s, result.max_wait_s)
    number = before.checks_done + before.checks_missed + (before.latched is None)
    try:
        line = checklog.Line(
            number,
            verdict.checked_at,
            verdict.checked_boot,
            verdict.boot_id,
            took,
            checked.elapsed_s,
            checked.watched_s,
            before.progress,
            inputs,
            checklog.Said.of(verdict, *limits),
            tuple(checked.answers),
        )
        checklog.append(paths, header_of(record), line)
    except (OSError, ValueError, TypeError, RecordUnreadable) as error:
        return [f"the check could not be logged: {error!r:.200}"]
    return []


def _default_scoreboard() -> Scoreboard:
    from ..tell.report import scoreboard  # here: nothing but this page needs it

    return scoreboard


def _show(paths: Paths, scoreboard: Scoreboard, result: CheckResult, verdict: Verdict) -> list[str]:
    """Write the scoreboard and the figures beside it. Either may fail: they show, they do not decide."""
    from ..tell.figures import figures_of

    reached("check.scoreboard")
    data = result.to_dict()

    def page() -> None:
        write_atomic(paths.scoreboard, scoreboard(data).encode("utf-8", "replace"))

    def figures() -> None:
        found = figures_of(data, canary_id=verdict.canary_id, checked_at=verdict.checked_at)
        write_json(paths.figures, found.to_dict(), compact=True)

    folder, problems = paths.scoreboard.parent, []
    for name, write in (("scoreboard", page), ("page of figures", figures)):
        try:
            folder.mkdir(exist_ok=True)
            folder.chmod(0o755)  # for everybody to read, whatever the umask
            write()
        except (OSError, ValueError, KeyError, TypeError) as error:
            problems.append(f"the {name} could not be written: {error!r:.200}")
    return problems
