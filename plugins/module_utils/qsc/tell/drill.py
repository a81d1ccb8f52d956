# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""What a drill came to, in lines for a terminal."""

from __future__ import annotations

import typing as t

from ..verdict import printable

STEPS: t.Mapping[str, str] = {
    "prepare": "make the scratch folders and units",
    "guards": "put the guards' units of this host under scratch names",
    "engine": "start the scratch engine and prove its baseline",
    "arm": "arm the way back",
    "canary": "write the drop-in, restart, and prove the canary",
    "noticed": "notice what is wrong and start the rollback",
    "baseline": "restore the baseline and prove it",
    "clean": "remove everything of the drill",
    "ledger": "log the drill in the ledger of this host",
}
"""The steps by the last part of their name; a part before it is the way back that was being rehearsed."""

WAYS: t.Mapping[str, str] = {
    "monitor": "the monitor finds a violation",
    "watchdog": "the watchdog finds no monitor",
}
_FIGURES = ("canary_proven_s", "canary_downtime_s", "baseline_proven_s", "baseline_downtime_s")
_HEADS = ("canary", "down", "baseline", "down")
_LEGEND = "canary, baseline: until proven; down: without an engine while it restarts"


def drill_lines(report: t.Mapping[str, t.Any]) -> list[str]:
    """The verdict, the measured seconds of each way back, and what failed first; short enough for a play's output."""
    verdict = "PASSED" if report["passed"] else "FAILED"
    lines = [f"drill {verdict} in {report['seconds']:.1f} s on a scratch unit"]
    if report["rounds"]:
        width = max(map(len, WAYS.values()))
        lines.append(" " * width + "".join(f"{name:>10}" for name in _HEADS))
        lines.extend(f"{WAYS.get(item['way'], item['way']):<{width}}" + _figures(item) for item in report["rounds"])
        lines.append(_LEGEND)
    if not report["passed"]:
        way, _dot, step = report["failed_step"].rpartition(".")
        where = f" ({WAYS.get(way, way)})" if way else ""
        lines.append(f"first failed step: {report['failed_step']}{where}: {STEPS.get(step, step)}")
        lines.append(printable(report["reason"], 2000))
    if report["found"]:
        lines.append(f"removed what an earlier drill had left: {len(report['found'])} files and folders")
    return lines


def drill_line(entry: t.Mapping[str, t.Any]) -> str:
    """A ledger entry of a drill in one line."""
    if entry.get("result") != "passed":
        return f"FAILED at {entry.get('failed_step', '?')}: {printable(str(entry.get('reason', '')), 300)}"
    back = max((item["baseline_proven_s"] for item in entry.get("rounds") or ()), default=0.0)
    return f"passed, the baseline was proven {back:.1f} s after the finding"


def _figures(item: t.Mapping[str, t.Any]) -> str:
    return "".join(f"{item[name]:>8.2f} s" for name in _FIGURES)
