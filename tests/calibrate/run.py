# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`make calibrate`: run every cell, both policies side by side, and write docs/error-rates.md and .json.

    tests/calibrate/run.py --runs 300            the table
    tests/calibrate/run.py --short               a few cells, under a minute; writes nothing; exit code 1 when a rate is
                                                 grossly off
    tests/calibrate/run.py --only 'share 65,tau 60 s' --runs 20       print some cells

A run's seed follows from its cell's name and its number, so any single run can be repeated.
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

from calibrate.minutes import frame_of  # noqa: E402
from calibrate.policies import Columns, sequential, strict  # noqa: E402
from calibrate.scenarios import Cell, cells  # noqa: E402

STRICT, SEQUENTIAL = "strict", "sequential"
RAW = ROOT / "build" / "calibrate"


def one(cell: Cell, run: int) -> dict[str, t.Any]:
    """One run of a cell under both policies."""
    history, after = cell.telemetry(run)
    frame = frame_of(history)
    columns = Columns(after)
    found: dict[str, t.Any] = {"run": run, "bucket_s": frame.bucket_s, "buckets": frame.buckets, "tau_s": frame.tau_s}
    for policy, outcome in ((STRICT, strict(columns)), (SEQUENTIAL, sequential(columns, frame))):
        found[policy] = [outcome.result, outcome.at_s, list(outcome.by)]
    return found


def some(cell: Cell, begin: int, end: int) -> list[dict[str, t.Any]]:
    """Several runs of a cell."""
    return [one(cell, run) for run in range(begin, end)]


Each = t.Callable[[str, t.Sequence[t.Mapping[str, t.Any]]], None]


def _nothing(_name: str, _rows: t.Sequence[t.Mapping[str, t.Any]]) -> None:
    return None


def measure(wanted: t.Sequence[Cell], runs: int, *, processes: int = 2, each: Each = _nothing) -> dict[str, list[dict[str, t.Any]]]:
    """Every run of every cell: {name of the cell: [what became of each run]}."""
    for cell in wanted:
        cell.scenario.stages  # noqa: B018 - solved once, before the processes are made
    found: dict[str, list[dict[str, t.Any]]] = {}
    begin = time.monotonic()
    with ProcessPoolExecutor(processes, initializer=os.nice, initargs=(10,)) as pool:
        step = 20
        work = {
            cell.name: [pool.submit(some, cell, start, min(start + step, runs)) for start in range(0, runs, step)]
            for cell in wanted
        }
        for number, (name, parts) in enumerate(work.items(), 1):
            found[name] = [row for part in parts for row in part.result()]
            each(name, found[name])
            print(f"[{time.monotonic() - begin:5.0f} s] {number}/{len(work)} {name}", file=sys.stderr, flush=True)
    return found


def main() -> int:
    """Parse the options, run, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--only", default="")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    RAW.mkdir(parents=True, exist_ok=True)
    with open(RAW / "runs.jsonl", "w", encoding="utf-8") as raw:

        def keep(name: str, rows: t.Sequence[t.Mapping[str, t.Any]]) -> None:
            raw.write(json.dumps({"cell": name, "runs": rows}) + "\n")
            raw.flush()

        measure(cells(options.only), options.runs, processes=options.processes, each=keep)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
