# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runner behind `make test` cannot be green by accident: nothing ran, a crash, a time-out, a skipped test."""

from __future__ import annotations

import re
import sys
import typing as t
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent.parent.parent
# Own folders of this test alone: the runner is a program and imports its parts from tests/tools.
sys.path[:0] = [str(TESTS), str(TESTS / "tools")]
import counting  # noqa: E402
import molecule_all  # noqa: E402
import run as runner  # noqa: E402
from phases import EARLY, Phase, all_phases  # noqa: E402

CLOSING = re.compile(r"\d+ passed, \d+ failed, \d+ skipped")


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> t.Callable[..., tuple[int, str]]:
    """Run phases and report; returns the exit code and all that was printed."""
    monkeypatch.setattr(runner, "RESULTS", tmp_path)

    def do(*phases: Phase) -> tuple[int, str]:
        work = runner.Runner(list(phases), full=False)
        work.run()
        code = runner.report([work.outcomes[phase.name] for phase in phases], 1.0)
        return code, capfd.readouterr().out

    return do


def program(name: str, source: str, *, lane: str = "work", limit_s: int = 30, missing: str = "") -> Phase:
    return Phase(name, lane, (sys.executable, "-c", source), limit_s, missing)


def pytest_phase(folder: Path, source: str) -> Phase:
    (folder / "test_it.py").write_text(source)
    junit = folder / "it.xml"
    command = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(folder), f"--junitxml={junit}")
    return Phase("it", "work", (*command, "-c", "/dev/null", f"--rootdir={folder}"), 60, "", junit)


def closing(output: str) -> str:
    last = output.rstrip("\n").splitlines()[-1]
    assert CLOSING.fullmatch(last), last
    return last


def test_all_green(run: t.Callable[..., tuple[int, str]]) -> None:
    code, output = run(
        program("a", "print('3 passed, 0 failed, 0 skipped')"),
        program("b", "print('1 passed, 0 failed, 0 skipped')", lane="hosts"),
    )
    assert (code, closing(output)) == (0, "4 passed, 0 failed, 0 skipped")
    assert "Total time: " in output.rstrip("\n").splitlines()[-2]


def test_what_is_early_ends_before_the_other_lanes_begin(run: t.Callable[..., tuple[int, str]]) -> None:
    green = "print('1 passed, 0 failed, 0 skipped')"
    _code, output = run(
        program("b", green, lane="hosts"),
        program("a", f"import time; time.sleep(0.3); {green}", lane=EARLY[0]),
        program("c", green, lane="beside"),
    )
    told = re.findall(r"\] (\w) \| (BEGIN|END)", output)
    assert told[:2] == [("a", "BEGIN"), ("a", "END")]
    assert {name for name, _word in told[2:4]} <= {"b", "c"}
    assert len(told) == 6


def test_a_failed_phase_does_not_stop_the_next_one(run: t.Callable[..., tuple[int, str]]) -> None:
    code, output = run(
        program("a", "print('FAILED thing one'); print('1 passed, 1 failed, 0 skipped'); raise SystemExit(1)"),
        program("b", "print('2 passed, 0 failed, 0 skipped')"),
    )
    assert (code, closing(output)) == (1, "3 passed, 1 failed, 0 skipped")
    assert "FAILED a: thing one" in output


@pytest.mark.parametrize(
    ("source", "why"),
    [
        pytest.param("print('0 passed, 0 failed, 0 skipped')", "no test ran", id="nothing-ran"),
        pytest.param("print('hello')", "ended without a line", id="no-closing-line"),
        pytest.param("print('5 passed, 0 failed, 0 skipped'); raise SystemExit(3)", "exit code 3", id="exit-code"),
        pytest.param("print('5 passed, 0 failed, 0 skipped', flush=True); import os; os.abort()", "-6", id="killed"),
    ],
)
def test_a_phase_that_looks_green_and_is_not(run: t.Callable[..., tuple[int, str]], source: str, why: str) -> None:
    code, output = run(program("a", source))
    assert code == 1
    assert closing(output).split(", ")[1] == "1 failed"
    assert why in output


def test_a_program_that_cannot_be_started(run: t.Callable[..., tuple[int, str]]) -> None:
    code, output = run(Phase("a", "work", ("/nonexistent/program",), 10))
    assert code == 1
    assert "could not be run" in output


def test_a_phase_past_its_limit_is_ended(run: t.Callable[..., tuple[int, str]]) -> None:
    code, output = run(program("a", "import time; time.sleep(60)", limit_s=1))
    assert code == 1
    assert "ended by force: not done after 1 s" in output


def test_a_phase_without_files_fails(run: t.Callable[..., tuple[int, str]]) -> None:
    code, output = run(
        Phase("gone", "work", (), 10, "there is no tests/gone"), program("a", "print('1 passed, 0 failed, 0 skipped')")
    )
    assert (code, closing(output)) == (1, "1 passed, 1 failed, 0 skipped")
    assert "FAILED gone: there is no tests/gone" in output


def test_half_of_a_phase_missing_fails_and_runs_the_other_half(run: t.Callable[..., tuple[int, str]]) -> None:
    code, output = run(program("a", "print('1 passed, 0 failed, 0 skipped')", missing="no tests in tests/b"))
    assert (code, closing(output)) == (1, "1 passed, 1 failed, 0 skipped")


def test_pytest_s_results_are_counted_and_skips_are_named(
    run: t.Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    source = (
        "import pytest\n"
        "def test_good(): pass\n"
        "def test_bad(): assert False\n"
        "@pytest.fixture\ndef late():\n    yield\n    raise OSError\n"
        "def test_bad_twice(late): assert False\n"
        "@pytest.mark.skip(reason='no such file here')\ndef test_left_out(): pass\n"
        "@pytest.mark.xfail\ndef test_expected(): assert False\n"
    )
    code, output = run(pytest_phase(tmp_path, source))
    assert (code, closing(output)) == (1, "1 passed, 2 failed, 2 skipped")
    assert "SKIPPED it: test_it::test_left_out: no such file here" in output
    assert "SKIPPED it: test_it::test_expected" in output
    assert "FAILED it: test_it::test_bad\n" in output


@pytest.mark.parametrize(
    ("source", "why"),
    [
        pytest.param("def helper(): pass\n", "exit code 5 without a failed test", id="no-tests"),
        pytest.param("import nonexistent_module\n", "test_it", id="cannot-be-imported"),
        pytest.param("import os\ndef test_a(): os._exit(0)\n", "no readable report", id="exits-with-0-in-the-middle"),
    ],
)
def test_pytest_that_did_not_test(run: t.Callable[..., tuple[int, str]], tmp_path: Path, source: str, why: str) -> None:
    code, output = run(pytest_phase(tmp_path, source))
    assert code == 1
    assert why in output


def test_the_last_closing_line_counts_and_names_are_matched() -> None:
    lines = ["1 passed, 1 failed, 0 skipped", "FAILED x (0.1 s)", "SKIPPED y: z", "7 passed, 2 failed, 1 skipped"]
    counts = counting.from_output(lines)
    assert counts.passed == 7
    assert counts.failed == ["x (0.1 s)", "(see its log)"]
    assert counts.skipped == ["y: z"]


def test_every_phase_of_make_test_is_there() -> None:
    names = [phase.name for phase in all_phases(full=False) if not phase.full_only]
    assert names == ["lint", "unit", "integration", "awx", "sanity", "hosts", "defects", "molecule"]


def test_only_slow_cases_are_left_out_of_the_fast_form() -> None:
    fast = {phase.name: phase.command for phase in all_phases(full=False)}
    full = {phase.name: phase.command for phase in all_phases(full=True)}
    assert fast["unit"] == (*full["unit"], "-m", "not slow")


def test_molecule_s_recap_is_read() -> None:
    line = "default                   : actions=9  successful=8  disabled=0  skipped=1  missing=0  failed=0"
    match = molecule_all.RECAP.match(line)
    assert match and (match["name"], match["failed"]) == ("default", "0")
