# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an own check's status and output mean, and when silence ends the run."""

from __future__ import annotations

import json
import typing as t

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge import rules
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.answers import (
    Answer,
    Ran,
    answer_of,
    counted,
    violations_of,
)
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.check import CheckResult, with_own
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.cutover import StreamId
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.options import MonitorOptions
from ansible_collections.qsc.canary.plugins.module_utils.qsc.verdict import Violation


def said(status: int | None = 0, output: bytes = b"", **more: t.Any) -> Answer:
    return answer_of(Ran("pnl", True, status, output, **more))


@pytest.mark.parametrize(
    ("status", "word"), [(0, "ok"), (1, "violation"), (75, "no data"), (2, "failed"), (-9, "failed"), (127, "failed")]
)
def test_the_exit_status_is_the_answer(status: int, word: str) -> None:
    assert said(status).word == word


def test_a_program_that_was_not_run_has_failed() -> None:
    assert said(None, problem="not run: it is writable") == Answer("pnl", True, "failed", "not run: it is writable")


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (b"", ""),
        (b"one\ntwo\n\n", "two"),
        (b"two", "two"),
        (b"\xff\xfe\x00", "\ufffd\ufffd\ufffd"),
        (b"a\x1b[2Jb\x07", "a\ufffd[2Jb\ufffd"),
        (b"[1, 2]", "[1, 2]"),
        (b"5", "5"),
        (b"[" * 4000, "[" * 299 + "\u2026"),
        (b'{"message": 5}', ""),
    ],
)
def test_the_last_line_is_the_message(output: bytes, message: str) -> None:
    found = said(1, output)
    assert (found.message, found.value, found.limit) == (message, None, None)
    assert found.message.isprintable() and len(found.message) <= 300


def test_json_gives_the_figure() -> None:
    line = json.dumps({"value": 4.25, "limit": 3, "message": "drawdown 4.25 %"}).encode()
    found = said(1, b"reading ...\n" + line + b"\n")
    assert (found.message, found.value, found.limit) == ("drawdown 4.25 %", 4.25, 3.0)
    [violation] = violations_of([found])
    assert violation == Violation("own_check:pnl", "pnl", 4.25, 3.0, "Own check pnl: drawdown 4.25 % (4.25, limit 3)")


@pytest.mark.parametrize(
    "value", ["NaN", "Infinity", "-Infinity", "1e999", "true", '"5"', "null", "[]", "9" * 400, "1e16"]
)
def test_a_figure_that_is_no_number_is_none(value: str) -> None:
    assert said(0, f'{{"value": {value}, "limit": {value}}}'.encode()).value is None


def test_what_it_complained_of_is_shown_where_it_says_nothing() -> None:
    assert said(2, errors=b"Traceback\nKeyError: 'x'\n").message == "ended with status 2: KeyError: 'x'"
    assert said(-9).message == "was ended by signal 9"
    assert said(1, b"a reason", errors=b"a warning").message == "a reason"


def test_silence_is_counted_and_ends_the_run_after_four_checks() -> None:
    silent: dict[str, int] = {}
    for number in range(1, 7):
        word = 75 if number % 2 else 3
        [answer] = counted([said(word)], silent)
        assert answer.silent == number
        silent = {answer.name: answer.silent}
        found = violations_of([answer])
        assert bool(found) == (number > 4)
    assert (found[0].code, found[0].measured, found[0].limit) == ("own_check_silent:pnl", 6.0, 4.0)
    assert counted([said(0)], silent)[0].silent == 0, "one answer is enough"


def test_one_that_is_only_wanted_never_ends_a_run() -> None:
    [answer] = counted([answer_of(Ran("pnl", False, 1, b"bad"))], {"pnl": 100})
    assert (answer.word, answer.silent) == ("violation", 0)
    assert violations_of([answer]) == []
    [answer] = counted([answer_of(Ran("pnl", False, None, problem="hangs"))], {"pnl": 100})
    assert answer.silent == 0
    assert violations_of([answer]) == []


OPTIONS = MonitorOptions.from_dict({}, model="patchtst", since=StreamId.parse("0-0"))
COLLAPSE = Violation(rules.ACTION_COLLAPSE, "patchtst", 78.3, 70.0, "Action collapse: HOLD=78.3% (>70%)")


def result(verdict: str = "ok", status: str = "GO", **more: t.Any) -> CheckResult:
    more = {"message": "250 decisions judged", "violations": (), **more}
    return CheckResult(OPTIONS, "stream", verdict, status, **more)


def test_without_own_checks_nothing_changes() -> None:
    assert with_own(result(), []) == result()


def test_an_ok_changes_no_verdict() -> None:
    found = with_own(result(), [said(0, b"fine")])
    assert (found.verdict, found.status, found.message) == ("ok", "GO", "250 decisions judged")
    assert [item["message"] for item in found.own_checks] == ["fine"]


@pytest.mark.parametrize("verdict", ["ok", "waiting", "inconclusive"])
def test_a_violation_ends_the_run_whatever_the_telemetry_says(verdict: str) -> None:
    found = with_own(result(verdict, "WAIT"), [said(1, b"drawdown")])
    assert (found.verdict, found.status, found.message) == ("violation", "NO-GO", "Own check pnl: drawdown")
    assert [item.code for item in found.violations] == ["own_check:pnl", "no_go"]


def test_a_violation_stands_beside_those_of_the_telemetry() -> None:
    before = (COLLAPSE, *rules.derived([COLLAPSE], "patchtst", "NO-GO"))
    found = with_own(result("violation", "NO-GO", message=COLLAPSE.message, violations=before), [said(1, b"drawdown")])
    assert [item.code for item in found.violations] == ["own_check:pnl", "action_collapse", "gate_failed", "no_go"]
    assert found.message == "Action collapse: HOLD=78.3% (>70%); Own check pnl: drawdown"


def test_without_an_answer_of_a_required_check_nothing_is_certain() -> None:
    found = with_own(result(), [said(75, b"no trades yet")])
    assert (found.verdict, found.status) == ("ok", "WAIT")
    assert found.message.endswith("; own check pnl has no answer (no data: no trades yet)")
    wanted = with_own(result(), [answer_of(Ran("pnl", False, 75))])
    assert (wanted.verdict, wanted.status) == ("ok", "GO")
