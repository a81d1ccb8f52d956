# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run everything that must be green; the last line is `N passed, N failed, N skipped`.

    tests/run.py                      the fast form (make test)
    tests/run.py --full               with slow cases, more examples, every Python found (make test-full)
    tests/run.py --only unit,hosts    some phases
    tests/run.py --list               the phases

Every phase runs, also when another one fails. Two lanes run side by side, each of which keeps a processor busy; then
come the tests on hosts. The whole output of a phase is in build/test/PHASE.log.
Exit code: 0 only when something ran and all of it passed.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "tools"))

from counting import Counts, from_junit, from_output
from phases import EARLY, RESULTS, ROOT, Phase, all_phases


@dataclass
class Outcome:
    """What became of one phase."""

    phase: Phase
    seconds: float = 0.0
    counts: Counts = field(default_factory=Counts)
    note: str = ""


class Runner:
    """Runs the phases, lane by lane, and prints what they say with the phase's name in front."""

    def __init__(self, phases: list[Phase], *, full: bool) -> None:
        self.phases = phases
        self.full = full
        self.begin = time.monotonic()
        self.outcomes: dict[str, Outcome] = {}
        self._running: dict[str, subprocess.Popen[str]] = {}
        self._lock = threading.Lock()
        self._stopping = False
        self._width = max((len(phase.name) for phase in phases), default=0)

    def say(self, who: str, text: str) -> None:
        """One line of live output."""
        with self._lock:
            print(f"[{time.monotonic() - self.begin:5.0f} s] {who:<{self._width}} | {text}", flush=True)

    def run(self) -> None:
        """Run all lanes to their end; an interrupt ends what runs and still reports."""
        for stage in stages(self.phases):
            threads = [threading.Thread(target=self._lane, args=(lane,), daemon=True) for lane in stage]
            for thread in threads:
                thread.start()
            try:
                for thread in threads:
                    while thread.is_alive():
                        thread.join(0.5)
            except KeyboardInterrupt:
                self._stopping = True
                self.say("run", "interrupted: ending what runs")
                for process in list(self._running.values()):
                    end_group(process)
                for thread in threads:
                    thread.join(30)

    def _lane(self, phases: list[Phase]) -> None:
        for phase in phases:
            outcome = Outcome(phase)
            self.outcomes[phase.name] = outcome
            if self._stopping:
                outcome.counts.failed.append("not run: interrupted")
                outcome.note = "not run"
                continue
            begin = time.monotonic()
            try:
                self._phase(phase, outcome)
            except Exception as error:  # noqa: BLE001 - a broken phase must not take its lane along
                outcome.counts.failed.append(f"the phase could not be run: {error!r}")
            outcome.seconds = time.monotonic() - begin
            counts = outcome.counts
            self.say(
                phase.name,
                f"END after {outcome.seconds:.0f} s: {counts.passed} passed, {len(counts.failed)} failed, "
                f"{len(counts.skipped)} skipped {outcome.note}",
            )

    def _phase(self, phase: Phase, outcome: Outcome) -> None:
        if not phase.command:
            outcome.counts.failed.append(phase.missing)
            self.say(phase.name, f"nothing to run: {phase.missing}")
            return
        environment = dict(os.environ, PYTHONUNBUFFERED="1", LC_ALL="C.UTF-8", NO_COLOR="1")
        environment["PATH"] = f"{ROOT / '.venv' / 'bin'}{os.pathsep}{environment.get('PATH', os.defpath)}"
        environment["QSC_TEST_FULL"] = "1" if self.full else ""
        if phase.junit:
            phase.junit.unlink(missing_ok=True)
        self.say(phase.name, "BEGIN")
        process = subprocess.Popen(
            phase.command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # its own process group, so that a phase past its limit ends with its children
        )
        self._running[phase.name] = process
        late = threading.Timer(phase.limit_s, end_group, (process,))
        begin = time.monotonic()
        late.start()
        lines = []
        assert process.stdout is not None
        with open(RESULTS / f"{phase.name}.log", "w", encoding="utf-8") as log:
            for line in process.stdout:
                log.write(line)
                log.flush()
                lines.append(line.rstrip("\n"))
                self.say(phase.name, lines[-1])
        code = process.wait()
        late.cancel()
        self._running.pop(phase.name, None)
        outcome.counts = from_junit(phase.junit) if phase.junit else from_output(lines)
        if phase.missing:
            outcome.counts.failed.append(phase.missing)
        if time.monotonic() - begin >= phase.limit_s:
            outcome.counts.failed.append(f"ended by force: not done after {phase.limit_s} s")
        elif code != 0 and not outcome.counts.failed:
            outcome.counts.failed.append(f"exit code {code} without a failed test")
        if outcome.counts.total == 0:
            outcome.counts.failed.append("no test ran")


def stages(phases: list[Phase]) -> list[list[list[Phase]]]:
    """The lanes that run side by side, stage after stage."""
    lanes: dict[str, list[Phase]] = {}
    for phase in phases:
        lanes.setdefault(phase.lane, []).append(phase)
    early = [lanes.pop(name) for name in EARLY if name in lanes]
    return [stage for stage in (early, list(lanes.values())) if stage]


def end_group(process: subprocess.Popen[str]) -> None:
    """End a phase with all its children: first politely, so that it can remove its hosts, then by force."""
    for number, wait_s in ((signal.SIGINT, 20), (signal.SIGTERM, 5), (signal.SIGKILL, 5)):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        try:
            process.wait(wait_s)
        except subprocess.TimeoutExpired:
            continue


def report(outcomes: list[Outcome], seconds: float) -> int:
    """Print what failed, what was skipped, a line a phase, the time, and the closing line. Returns the exit code."""
    passed = sum(outcome.counts.passed for outcome in outcomes)
    failed = [(outcome.phase.name, name) for outcome in outcomes for name in outcome.counts.failed]
    skipped = [(outcome.phase.name, name) for outcome in outcomes for name in outcome.counts.skipped]
    print()
    for title, names in (("SKIPPED", skipped), ("FAILED", failed)):
        for phase, name in names:
            print(f"{title} {phase}: {name}")
    print()
    for outcome in outcomes:
        counts = outcome.counts
        print(
            f"{'FAILED' if counts.failed else 'ok':<7}{outcome.phase.name:<12}{outcome.seconds:6.0f} s   "
            f"{counts.passed:5} passed {len(counts.failed):4} failed {len(counts.skipped):4} skipped"
        )
    print(f"Total time: {seconds:.0f} s")
    print(f"{passed} passed, {len(failed)} failed, {len(skipped)} skipped", flush=True)
    return 0 if passed and not failed else 1


def main() -> int:
    """Parse the options, run, report."""
    parser = argparse.ArgumentParser(description="Run everything that must be green.")
    parser.add_argument("--full", action="store_true", help="slow cases, more examples, every Python found")
    parser.add_argument("--only", default="", metavar="PHASE,...", help="only these phases")
    parser.add_argument("--list", action="store_true", help="name the phases and end")
    options = parser.parse_args()
    phases = all_phases(full=options.full)
    wanted = [name for name in options.only.split(",") if name]
    unknown = sorted(set(wanted) - {phase.name for phase in phases})
    if unknown:
        parser.error(f"no such phase: {', '.join(unknown)} (there are {', '.join(phase.name for phase in phases)})")
    # A phase of the full form can be asked for by name without --full.
    default = [phase for phase in phases if options.full or not phase.full_only]
    chosen = [phase for phase in phases if phase.name in wanted] if wanted else default
    if options.list:
        for phase in chosen:
            print(f"{phase.name:<12} {' '.join(phase.command) or phase.missing}")
        return 0
    RESULTS.mkdir(parents=True, exist_ok=True)
    runner = Runner(chosen, full=options.full)
    runner.run()
    not_run = Counts(failed=["not run"])
    outcomes = [runner.outcomes.get(phase.name) or Outcome(phase, counts=not_run) for phase in chosen]
    return report(outcomes, time.monotonic() - runner.begin)


if __name__ == "__main__":
    raise SystemExit(main())
