# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run all molecule scenarios; end with `N passed, N failed, N skipped`, one count a scenario.

`molecule test --all` stops at the first scenario that fails. The ones behind it are then run by further calls, so
that one defect does not hide another.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
# A line of molecule's closing recap:  name  : actions=9  successful=8  disabled=0  skipped=1  missing=0  failed=0
RECAP = re.compile(r"^(?P<name>\S+)\s*: actions=(?P<actions>\d+)\s.*\bfailed=(?P<failed>\d+)")
ANSI = re.compile(r"\x1b\[[0-9;]*m")


def molecule(scenarios: list[str], environment: dict[str, str]) -> tuple[int, dict[str, int]]:
    """Test the scenarios in one call. Returns molecule's exit code and {scenario: failed actions} of those that ran."""
    command = ["molecule", "test", "--report", "--no-command-borders"]
    for name in scenarios:
        command += ["-s", name]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert process.stdout is not None
    ran: dict[str, int] = {}
    for raw in process.stdout:
        line = ANSI.sub("", raw)
        print(line, end="", flush=True)
        match = RECAP.match(line)
        if match:
            ran[match["name"]] = ran.get(match["name"], 0) + int(match["failed"])
    return process.wait(), ran


def main() -> int:
    """Run every scenario once, whatever becomes of the others."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    environment["PATH"] = f"{ROOT / '.venv' / 'bin'}{os.pathsep}{environment.get('PATH', os.defpath)}"
    scenarios = sorted(path.parent.name for path in (ROOT / "molecule").glob("*/molecule.yml"))
    left, failed = list(scenarios), []
    while left:
        code, ran = molecule(left, environment)
        done = [name for name in left if name in ran]
        bad = [name for name in done if ran[name]]
        if code != 0 and not bad:
            # It ended without telling which scenario failed: the first one that has no result.
            bad = [next((name for name in left if name not in ran), left[0])]
            done = sorted({*done, *bad})
        failed += bad
        left = [name for name in left if name not in done]
        if code == 0 and left:
            print(f"molecule succeeded without running: {', '.join(left)}")
            failed += left
            left = []
    for name in failed:
        print(f"FAILED {name}")
    print(f"{len(scenarios) - len(failed)} passed, {len(failed)} failed, 0 skipped")
    return 1 if failed or not scenarios else 0


if __name__ == "__main__":
    raise SystemExit(main())
