# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`make calibrate`: run every cell, both policies side by side, and write docs/error-rates.md and .json.

    tests/calibrate/run.py --runs 300            the table
    tests/calibrate/run.py --short               a few cells, under a minute; writes nothing; exit code 1 when a rate is
                                                 grossly off
    tests/calibrate/run.py --only 'share 65,tau 60 s' --runs 20       measure and print some cells, write nothing

A run's seed follows from its cell's name and its number, so any single run can be repeated. What became of every run is
kept in build/calibrate/runs.jsonl as it is done.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import typing as t
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "playbooks" / "collections")]
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # the processes share the work, not the threads

from calibrate import short  # noqa: E402
from calibrate.minutes import frame_of  # noqa: E402
from calibrate.page import json_of, page_of, share, times  # noqa: E402
from calibrate.policies import Columns, sequential, strict  # noqa: E402
from calibrate.rates import POLICIES, SEQUENTIAL, STRICT, Rows, Tally  # noqa: E402
from calibrate.scenarios import Cell, cells  # noqa: E402

RAW = ROOT / "build" / "calibrate" / "runs.jsonl"
PAGE, DATA = ROOT / "docs" / "error-rates.md", ROOT / "docs" / "error-rates.json"
STEP = 20
"""Runs a process takes at a time."""

Each = t.Callable[[Cell, Rows], None]


def one(cell: Cell, run: int) -> dict[str, t.Any]:
    """One run of a cell under both policies."""
    history, after = cell.telemetry(run)
    frame = frame_of(history)
    columns = Columns(after)
    found: dict[str, t.Any] = {"run": run, "bucket_s": frame.bucket_s, "buckets": frame.buckets, "tau_s": frame.tau_s}
    for policy, outcome in ((STRICT, strict(columns)), (SEQUENTIAL, sequential(columns, frame))):
        found[policy] = (outcome.result, outcome.at_s, outcome.by)
    return found


def some(cell: Cell, begin: int, end: int) -> list[dict[str, t.Any]]:
    """Several runs of a cell."""
    return [one(cell, run) for run in range(begin, end)]


def measure(wanted: t.Sequence[tuple[Cell, int]], *, processes: int = 2, each: Each | None = None) -> list[Tally]:
    """So many runs of each cell, counted under both policies; ``each`` gets a cell's runs as soon as they are done."""
    for cell, _runs in wanted:
        cell.scenario.stages  # noqa: B018 - solved once, before the processes are made
    found: list[Tally] = []
    with ProcessPoolExecutor(processes, initializer=os.nice, initargs=(10,)) as pool:
        work = [
            (cell, [pool.submit(some, cell, start, min(start + STEP, runs)) for start in range(0, runs, STEP)])
            for cell, runs in wanted
        ]
        for cell, parts in work:
            rows = [row for part in parts for row in part.result()]
            found += [Tally.of(cell, rows, policy) for policy in POLICIES]
            if each:
                each(cell, rows)
    return found


def say(tallies: t.Iterable[Tally]) -> None:
    """Print what was counted, a line each."""
    for item in tallies:
        print(
            f"{item.cell.name:<52} {item.policy:<10} rolled back {share(item.rolled_back, item.runs):<22} "
            f"min {times(item):<14} safe {share(item.safe, item.runs, short=True):<5} "
            f"{dict(list(item.by.items())[:3])} {dict(list(item.held_up_by.items())[:3])}",
            flush=True,
        )


def full(options: argparse.Namespace) -> int:
    """Everything, or what was asked for; the page is written only of everything."""
    wanted = [(cell, options.runs) for cell in cells(options.only)]
    RAW.parent.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    with open(RAW, "w", encoding="utf-8") as raw:

        def keep(cell: Cell, rows: Rows) -> None:
            raw.write(json.dumps({"cell": cell.name, "runs": rows}) + "\n")
            raw.flush()
            print(f"[{time.monotonic() - begin:5.0f} s] {cell.name}", file=sys.stderr, flush=True)

        tallies = measure(wanted, processes=options.processes, each=keep)
    if options.only:
        say(tallies)
        return 0
    PAGE.write_text(page_of(tallies), encoding="utf-8")
    DATA.write_text(json.dumps(json_of(tallies), indent=1) + "\n", encoding="utf-8")
    print(f"{len(wanted)} cells, {options.runs} runs each: {PAGE.relative_to(ROOT)}, {DATA.relative_to(ROOT)}")
    return 0


def main() -> int:
    """Parse the options, run, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--only", default="", help="words that the name of a cell must hold, separated by commas")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    if not options.short:
        return full(options)
    tallies = measure(short.WANTED, processes=options.processes)
    say(tallies)
    off = short.grossly_off(tallies)
    print("".join(f"OFF {line}\n" for line in off) or "no rate is grossly off")
    return 1 if off else 0


if __name__ == "__main__":
    raise SystemExit(main())
