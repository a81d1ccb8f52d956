# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The phases of `make test`: what each one runs, in which lane, for how long at most."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS = ROOT / "build" / "test"
PYTHON = str(ROOT / ".venv" / "bin" / "python")


@dataclass(frozen=True)
class Phase:
    """One phase.

    lane: phases of one lane run one after the other, lanes run side by side, those of ``EARLY`` before the others.
    missing: what there should be to run and is not: always a failure.  command: empty when nothing at all is there.
    junit: where pytest writes its report; None for programs that end with `N passed, N failed, N skipped`.
    """

    name: str
    lane: str
    command: tuple[str, ...]
    limit_s: int
    missing: str = ""
    junit: Path | None = None
    full_only: bool = False


UNIT, CHECKS, ON_HOSTS = "unit", "checks", "hosts"
EARLY = (UNIT, CHECKS)
"""The lanes that end before the others begin: each keeps a processor busy, and test hosts need more than is left."""
HOSTS = 2
"""Test hosts side by side, each with a worker of its own. A host that has to share its processor with more falls behind
its timers, and a run of which half of the checks are missing is rightly none that is safe."""


def _pytest(
    name: str, lane: str, folders: t.Sequence[str], limit_s: int, *, full: bool, each_test: bool, workers: int = 0
) -> Phase:
    present = [folder for folder in folders if any((ROOT / folder).rglob("test_*.py"))]
    absent = [folder for folder in folders if folder not in present]
    junit = RESULTS / f"{name}.xml"
    command = [PYTHON, "-m", "pytest", *present, f"--junitxml={junit}", "--tb=short", "--color=no", "--durations=12"]
    # Phases run side by side: each has a cache of its own.
    command += ["-o", f"cache_dir={ROOT / '.pytest_cache' / name}"]
    if each_test:
        command.append("-v")
    if workers:
        command += ["-n", str(workers), "--dist", "worksteal"]
    if not full:
        command += ["-m", "not slow"]
    missing = f"no tests in {', '.join(absent)}" if absent else ""
    return Phase(name, lane, tuple(command) if present else (), limit_s, missing, junit)


def _program(name: str, lane: str, path: str, limit_s: int, *arguments: str, full_only: bool = False) -> Phase:
    if not (ROOT / path).is_file():
        return Phase(name, lane, (), limit_s, f"there is no {path}", full_only=full_only)
    return Phase(name, lane, (PYTHON, path, *arguments), limit_s, full_only=full_only)


def all_phases(*, full: bool) -> list[Phase]:
    """Every phase in the order of its lane."""
    more = ("--full",) if full else ()
    molecule = _program("molecule", CHECKS, "tests/tools/molecule_all.py", 2400)
    if not any((ROOT / "molecule").glob("*/molecule.yml")):
        molecule = replace(molecule, command=(), missing="there is no molecule scenario")
    return [
        _program("lint", CHECKS, "tests/tools/lint.py", 900),
        _pytest("unit", UNIT, ["tests/unit", "tests/property"], 2400, full=full, each_test=False),
        _pytest("integration", CHECKS, ["tests/integration"], 1200, full=full, each_test=False),
        _pytest("awx", CHECKS, ["tests/awx"], 900, full=full, each_test=False),
        _program("sanity", CHECKS, "tests/tools/sanity.py", 900),
        _program("pythons", CHECKS, "tests/tools/pythons.py", 1800, full_only=True),
        # the quick cases of the matrix; the full form runs all of it as a phase of its own
        _pytest(
            "hosts",
            ON_HOSTS,
            ["tests/hosts_tests"] if full else ["tests/hosts_tests", "tests/resilience"],
            7200 if full else 3600,
            full=full,
            each_test=True,
            workers=HOSTS,
        ),
        replace(
            _pytest("resilience", ON_HOSTS, ["tests/resilience"], 5400, full=True, each_test=True, workers=HOSTS),
            full_only=True,
        ),
        _program("defects", UNIT, "tests/defects/run.py", 3600, *more),
        molecule,
    ]
