# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""What the operator's own checks said: exit status and output in, an answer and its violations out. Pure.

Exit status 0 is ok, 1 a violation, 75 no data (as of the monitor itself, ``EX_TEMPFAIL`` of sysexits.h); all else is a
failed check, which counts as no data. A required check that says nothing for too long is a violation: silence counts
against the canary.
"""

from __future__ import annotations

import json
import math
import typing as t
from dataclasses import asdict, dataclass, replace

from ..verdict import MISSED_LIMIT, Violation, choice_in, count_in, printable, text_in

OK, VIOLATION, NO_DATA, FAILED = "ok", "violation", "no data", "failed"
WORDS = (OK, VIOLATION, NO_DATA, FAILED)
CODE, SILENT_CODE = "own_check", "own_check_silent"
MESSAGE = 300
"""Characters of a message."""
_OF_STATUS = {0: OK, 1: VIOLATION, 75: NO_DATA}
_LARGEST = 1e15


@dataclass(frozen=True)
class Ran:
    """How one program ended. ``status``: its exit status, below 0 the signal that ended it; ``problem``: why there is
    none; ``output`` and ``errors``: the end of what it printed."""

    name: str
    required: bool
    status: int | None = None
    output: bytes = b""
    errors: bytes = b""
    problem: str = ""


@dataclass(frozen=True)
class Answer:
    """What one check says. ``silent``: checks in a row without an answer, this one included."""

    name: str
    required: bool
    word: str
    message: str = ""
    value: float | None = None
    limit: float | None = None
    silent: int = 0

    def to_dict(self) -> dict[str, t.Any]:
        """As JSON-ready data."""
        return asdict(self)


def answer_in(raw: t.Any) -> Answer:
    """Take what ``to_dict`` gave. Raises ValueError, KeyError or TypeError for anything else."""
    return Answer(
        text_in(raw, "name"),
        raw["required"] is True,
        choice_in(raw, "word", WORDS),
        text_in(raw, "message"),
        _number(raw["value"]),
        _number(raw["limit"]),
        count_in(raw, "silent"),
    )


def answer_of(ran: Ran) -> Answer:
    """What a program says. It is the operator's own, what it prints may be anybody's: no byte of it breaks a check."""
    if ran.status is None:
        return Answer(ran.name, ran.required, FAILED, printable(ran.problem, MESSAGE))
    said, value, limit = _said(ran.output)
    said = said or _last_line(ran.errors)
    word = _OF_STATUS.get(ran.status, FAILED)
    if word == FAILED:
        how = f"ended with status {ran.status}" if ran.status >= 0 else f"was ended by signal {-ran.status}"
        said = f"{how}: {said}" if said else how
    return Answer(ran.name, ran.required, word, printable(said, MESSAGE), value, limit)


def _said(output: bytes) -> tuple[str, float | None, float | None]:
    """The message of the last line, and the figure beside its limit where the line is a JSON object."""
    line = _last_line(output)
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return line, None, None
    if not isinstance(found, dict):
        return line, None, None
    message = found.get("message", "")
    return message if isinstance(message, str) else "", _number(found.get("value")), _number(found.get("limit"))


def _last_line(output: bytes) -> str:
    lines = output.decode("utf-8", "replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _number(value: t.Any) -> float | None:
    good = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if good and -_LARGEST <= value <= _LARGEST and math.isfinite(value) else None


def counted(answers: t.Iterable[Answer], silent: t.Mapping[str, int]) -> list[Answer]:
    """The answers with how often in a row each required check was silent, from the counts of the check before."""
    return [
        replace(item, silent=silent.get(item.name, 0) + 1) if item.required and item.word in (NO_DATA, FAILED) else item
        for item in answers
    ]


def violations_of(answers: t.Iterable[Answer]) -> list[Violation]:
    """What ends the run: a required check that says so, or that says nothing for more than ``MISSED_LIMIT`` checks."""
    found = []
    for item in answers:
        if not item.required:
            continue
        if item.word == VIOLATION:
            text = f"Own check {item.name}: {item.message or 'violation'}{_figure(item)}"
            found.append(Violation(f"{CODE}:{item.name}", item.name, item.value, item.limit, text))
        elif item.silent > MISSED_LIMIT:
            text = f"Own check {item.name}: no answer in {item.silent} checks in a row ({words_of(item)})"
            limit = float(MISSED_LIMIT)
            found.append(Violation(f"{SILENT_CODE}:{item.name}", item.name, float(item.silent), limit, text))
    return found


def _figure(item: Answer) -> str:
    if item.value is None:
        return ""
    return f" ({item.value:g}" + (f", limit {item.limit:g})" if item.limit is not None else ")")


def words_of(item: Answer) -> str:
    """An answer in a few words."""
    return f"{item.word}: {item.message}" if item.message else item.word


def unanswered(answers: t.Iterable[Answer]) -> list[Answer]:
    """The required checks that have said nothing yet, or not now: a run is not certain to be well without them."""
    return [item for item in answers if item.required and item.word in (NO_DATA, FAILED)]
