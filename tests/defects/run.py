# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plant each known defect in a copy of the checkout: its test must turn red, and be green without it.

The ten defects are those of the program this collection replaces; the others each take one guard of a host (G1 ...) or
one part of the policy sequential (S1 ...) away, every third of them unless --full is given. A test that stays green
with the defect it is there for would be worth nothing.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from defect import CORE, UNITS, Defect
from guards import GUARDS
from parts import PARTS

ROOT = Path(__file__).resolve().parent.parent.parent
COPY = ROOT / "build" / "defects"
STREAM_TESTS = "tests/integration/test_judge_stream.py"


DEFECTS = (
    Defect(
        "1", "the baseline is hard-coded, not read from the host",
        f"{CORE}/guard/activation.py",
        "return read_bounded(folder / path.name)",
        "return b'{\"xgb\": 0.25, \"lgbm\": 0.25, \"nhits\": 0.30, \"patchtst\": 0.20}'",
        ("tests/unit/guard/test_activation.py::test_a_baseline_file_that_is_none",),
    ),
    Defect(
        "2", "the engine ignores the canary's environment, and nobody asks for a proof",
        f"{CORE}/guard/effect.py",
        "problem = _await_acknowledgement(host, record, proof)",
        "problem = None",
        ("tests/unit/guard/test_activation.py::test_without_proof_nothing_is_committed",),
    ),
    Defect(
        "3a", "the monitor never finds the canary in the telemetry",
        f"{CORE}/judge/check.py",
        "vote = decision.votes.get(model)",
        'vote = decision.votes.get("### " + model)',
        ("tests/integration/test_judge_unit.py::test_a_healthy_canary_is_ok",),
    ),
    Defect(
        "3b", "a run in which no check could judge ends as safe",
        f"{CORE}/guard/watchdog.py",
        "if verdict.checks_judged < HALF_JUDGED * expected:",
        "if verdict.checks_judged < 0:",
        ("tests/unit/guard/test_diagnose.py::test_every_condition_alone_makes_it_not_safe",),
    ),
    Defect(
        "4", "the logged rollback command cannot work",
        f"{CORE}/guard/host.py",
        'return f"/usr/local/bin/qsc rollback --id {canary_id}"',
        'return f"python3 ops/model_safety/qsc_rollback.sh {canary_id}"',
        ("tests/unit/guard/test_way_back.py::test_the_logged_command_is_one_this_host_understands",),
    ),
    Defect(
        "5a", "a rollback is logged twice",
        f"{CORE}/guard/rollback.py",
        'if host.ledger.find("rollback_executed", record.id) is None:',
        "if record.id:",
        ("tests/unit/guard/test_rollback.py::test_killed_and_run_again",),
    ),
    Defect(
        "5b", "the monitor requires the engine, whose restart kills it in the middle of the rollback",
        f"{UNITS}/qsc-monitor.service.j2",
        "OnFailure=qsc-rollback.service",
        "OnFailure=qsc-rollback.service\nRequires={{ qsc_canary_engine_unit }}",
        ("tests/unit/guard/test_way_back.py::test_no_guard_falls_with_the_engine",),
    ),
    Defect(
        "6a", "the oldest decisions of the window are judged",
        f"{CORE}/judge/stream.py",
        'rows = self._call("XREVRANGE", self.stream, "+" if high is None else str(high), str(low), "COUNT", count)',
        'rows = self._call("XREVRANGE", self.stream, "+" if high is None else str(high), str(low))[-count:]',
        (STREAM_TESTS + "::test_the_newest_of_a_window_are_judged_not_the_oldest",),
    ),
    Defect(
        "6b", "the whole stream is read in one call",
        f"{CORE}/judge/wire.py",
        "PAGE = 1000\n",
        "PAGE = 1_000_000\n",
        (
            STREAM_TESTS + "::test_no_call_asks_for_more_than_a_page_and_nothing_reads_the_whole_stream",
        ),
    ),
    Defect(
        "7", "figures are rounded before they are judged",
        f"{CORE}/judge/rules.py",
        "    return not share <= limit\n",
        "    return not round(share, 1) <= limit\n",
        ("tests/integration/test_judge_gate.py::test_a_share_just_above_its_limit_fails",),
    ),
    Defect(
        "8", "lower-case actions pass",
        f"{CORE}/judge/decisions.py",
        "if not isinstance(action, str) or action not in ACTIONS:",
        "if not isinstance(action, str) or action.upper() not in ACTIONS:",
        ("tests/integration/test_judge_gate.py::test_lower_case_actions_never_pass",),
    ),
    Defect(
        "9", "the comparison with the time before the cutover holds decisions after it",
        f"{CORE}/judge/gate.py",
        "for entry in reader.newest(PAGE, ZERO, cutover.after):",
        "for entry in reader.newest(PAGE, ZERO):",
        ("tests/integration/test_judge_gate.py::test_the_comparison_before_the_cutover_holds_nothing_after_it",),
    ),
    Defect(
        "10", "the monitor judges decisions of the time before the canary",
        f"{CORE}/judge/check.py",
        "reader.newest(options.window_events, options.since, until)",
        "reader.newest(options.window_events, ZERO, until)",
        ("tests/integration/test_judge_check.py::test_telemetry_of_before_the_canary_is_not_the_canarys",),
    ),
)  # fmt: skip


def copy_checkout() -> None:
    """The files of the checkout, also those not committed yet, without what is ignored."""
    shutil.rmtree(COPY, ignore_errors=True)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    for name in listed.stdout.decode().split("\0"):
        source = ROOT / name
        if not name or not (source.is_symlink() or source.is_file()):
            continue
        target = COPY / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target, follow_symlinks=False)


def run_tests(tests: tuple[str, ...]) -> tuple[int, str]:
    """Run tests of the copy; returns pytest's exit code and its last lines."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--no-header", "--tb=line", *tests],
        cwd=COPY,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done.returncode, (done.stdout + done.stderr).strip()


def plant(defect: Defect) -> str:
    """Run the tests with the defect in place; returns "" when they turned red, else what was wrong."""
    path = COPY / defect.path
    sound = path.read_text()
    if sound.count(defect.old) != 1:
        return f"{defect.path} holds {sound.count(defect.old)} times: {defect.old!r}"
    path.write_text(sound.replace(defect.old, defect.new))
    try:
        code, output = run_tests(defect.tests)
    finally:
        path.write_text(sound)
    if code == 1 and re.search(r"\b\d+ failed", output):
        return ""
    return f"the test did not turn red (exit code {code}): {output[-1500:]}"


def main() -> int:
    taken_away = (*GUARDS, *PARTS)
    if "--full" not in sys.argv[1:]:  # `make defects` plants them all
        taken_away = taken_away[::3]
    planted = (*DEFECTS, *taken_away)
    copy_checkout()
    every = tuple(sorted({test for defect in planted for test in defect.tests}))
    code, output = run_tests(every)
    if code != 0:
        print(f"without any defect the tests are not green:\n{output[-4000:]}")
        print("0 passed, 1 failed, 0 skipped")
        return 1
    print(f"without a defect: {output.splitlines()[-1]}", flush=True)
    failed = 0
    for defect in planted:
        begin = time.monotonic()
        problem = plant(defect)
        failed += bool(problem)
        word = "NOT SEEN" if problem else "red"
        print(f"{word:<9}{defect.number:<4}{defect.title} ({time.monotonic() - begin:.1f} s)", flush=True)
        if problem:
            print(f"         {problem}")
    shutil.rmtree(COPY, ignore_errors=True)
    print(f"{len(planted) - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
