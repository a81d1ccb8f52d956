# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Make docs/resilience.md of a complete run's results; the last line is `N cases, M lost`.

A case is lost when the host did not end proven within its bound, or when it was not run at all.
Exit code: 0 only when no case is lost.
"""

from __future__ import annotations

import json
import statistics
import sys
import typing as t
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "playbooks" / "collections")]

from resilience import matrix  # noqa: E402

PHASES: t.Mapping[str, str] = {
    "arm": "`arm.previous` is a step of a raise: a safe canary at 10 % is about to go to 25 %.",
    "hook": "An operator's commands around the restart of an activation. A play that is killed at `hook.after` has\n"
    "left entries paused: the watchdog goes on for it.",
    "stepback": "A canary at 25 % is violated, under `qsc_canary_rollback_to: previous_step`. Whatever is cut off\n"
    "once the step back has begun ends at the baseline; committed is the fresh run of the step before, with one\n"
    "`stepped_back` in the ledger.",
    "promote": "A safe canary at its last step becomes the engine's own. Cut off after the record says `promoting`,\n"
    "and before it says `promoted`, it ends at the baseline of before the first step.",
}
"""What has to be known of a phase."""
RESULTS = ROOT / "build" / "resilience"
PAGE = ROOT / "docs" / "resilience.md"

HEAD = """\
# What was broken on purpose, and where the host ended

Every step of the table `plugins/module_utils/qsc/steps.py` times every fault, on real hosts with systemd. The process
that takes the step waits directly before it; there the fault happens, once. A host passes when it ends, within the
bound, in one of three states, and stays there:

- **baseline**: the engine runs without a canary variable, there is no drop-in and no environment file, also not in
  systemd's memory, the record is not in flight, the monitor's timer is stopped and the watchdog's runs;
- **committed**: the record says active, at 10 %, the engine's process has exactly the canary's variables and
  acknowledged the weights, both timers run, and the monitor's verdict is newer than the fault;
- **promoted**: as baseline, and the engine's own weights file holds the promoted weights.

The ledger then has exactly one `rollback_executed` of the run, or one `canary_activated` and no rollback, or one
`promoted`, and no entry twice; a second `qsc rollback` changes nothing. "either" means that more than one end is right
at that step: which one comes depends on who was first.

Every case runs with hooks around each restart: what the pre-restart hook paused must go on at the end of every case,
whoever was killed in between, and that changes nothing of where the host ended.

Made by `make resilience`. Times are in seconds from the fault to the end state, with a check and a look of the watchdog
every 3 s (30 s unless told otherwise) and an arming deadline of 5 to 15 s, which a killed activation waits for. A fault
that goes on ends after the time in the column "ended", or with the case; a boot is part of the time.
"""


def results() -> dict[str, dict[str, t.Any]]:
    """What the run wrote, by case."""
    found = [json.loads(path.read_text()) for path in RESULTS.glob("*.json")]
    return {f"{one['step']} x {one['fault']}": one for one in found}


def lost(found: t.Mapping[str, t.Any] | None) -> str:
    """Why a case is lost, "" when it is not."""
    if found is None:
        return "not run"
    if not found["reached"]:
        return "the step was not reached"
    return str(found["wrong"])


def page(cases: t.Sequence[matrix.Case], found: t.Mapping[str, dict[str, t.Any]]) -> str:
    """The whole page."""
    good = [(case, found[case.name]) for case in cases if not lost(found.get(case.name))]
    missing = [case for case in cases if lost(found.get(case.name))]
    parts = [HEAD, f"**{len(cases)} cases, {len(missing)} lost.**\n"]
    groups = (
        (
            "a process killed, frozen or disturbed, or a file damaged",
            lambda case: case.kind not in ("hold", "boot_kill"),
        ),
        ("power cut or reboot", lambda case: case.kind in ("hold", "boot_kill")),
    )
    rows = []
    for title, chosen in groups:
        for end in ("baseline", "committed", "promoted"):
            seconds = [float(told["seconds"]) for case, told in good if chosen(case) and told["end"] == end]
            if seconds:
                rows.append(
                    f"| {title} | {end} | {len(seconds)} | {statistics.median(seconds):.1f} | {max(seconds):.1f} |"
                )
    parts.append("| fault | end | cases | median s | maximum s |\n|---|---|---|---|---|\n" + "\n".join(rows) + "\n")
    for phase in dict.fromkeys(step.phase for step in matrix.STEPS):
        parts.append(f"## {phase}\n")
        if phase in PHASES:
            parts.append(f"{PHASES[phase]}\n")
        parts.append(
            "| step | fault | ended | end state | s | bound s | trigger in the ledger |\n|---|---|---|---|---|---|---|"
        )
        parts[-1] += "".join(_row(case, found.get(case.name)) for case in cases if case.step.partition(".")[0] == phase)
        parts[-1] += "\n"
    parts.append("## Cases that stand elsewhere\n")
    parts.append("\n".join(f"- {fault}: `{where}`" for fault, where in matrix.BY_REFERENCE.items()) + "\n")
    parts.append("## Why there is no case\n")
    parts.append("| cells | reason |\n|---|---|")
    told = sorted(matrix.reasons().items(), key=lambda item: (-len(item[1]), item[0]))
    parts[-1] += "".join(f"\n| {len(cells)} | {reason} |" for reason, cells in told) + "\n"
    return "\n".join(parts)


def _row(case: matrix.Case, found: dict[str, t.Any] | None) -> str:
    why = lost(found)
    if why or found is None:
        return f"\n| `{case.step}` | {case.fault} | | LOST: {why} | | {case.within_s:g} | |"
    wanted = " (either)" if case.end == matrix.EITHER else ""
    ended = {"": "", "engine": "once the engine was back"}.get(case.undo_when, f"after {case.undo_when} s")
    return (
        f"\n| `{case.step}` | {case.fault} | {ended} | {found['end']}{wanted} | {found['seconds']:.1f} "
        f"| {case.within_s:g} | {found.get('trigger') or ''} |"
    )


def main() -> int:
    """Write the page and say how many are lost."""
    cases, found = matrix.cases(), results()
    PAGE.write_text(page(cases, found))
    missing = [(case.name, why) for case in cases for why in [lost(found.get(case.name))] if why]
    for name, why in missing:
        print(f"LOST {name}: {why}")
    print(f"{len(cases)} cases, {len(missing)} lost")
    return 1 if missing else 0


if __name__ == "__main__":
    raise SystemExit(main())
