# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""What is told of a run check by check: each one as it happens, what comes after it, and how the run ended."""

from __future__ import annotations

import time
import typing as t

from ..errors import RecordUnreadable
from ..files import read_bounded, timestamp
from ..settings import Paths
from ..verdict import printable
from .figures import LIMIT, Figures
from .watch import own_words, rule_words, upcoming

Facts = t.Mapping[str, t.Any]
"""Those of ``guard.status.live``, with ``figures`` where the monitor has written any of this run."""

WAY_BACK = 'qsc rollback --reason "..."'
_POLL_S = 0.1
_FIGURES_WAIT_S = 3.0
"""s: the monitor writes its figures right after its verdict."""
_ROOM = 100


def with_figures(facts: Facts, paths: Paths) -> dict[str, t.Any]:
    """The facts with the monitor's figures of this run; what is wrong with those is shown and changes nothing."""
    record = facts["record"]
    try:
        figures = Figures.from_hostile(read_bounded(paths.figures, LIMIT))
    except FileNotFoundError:
        return {**facts}
    except (OSError, RecordUnreadable) as error:
        return {**facts, "figures_problem": printable(str(error))}
    ours = record is not None and figures.canary_id == record["id"]
    return {**facts, "figures": figures.to_dict()} if ours else {**facts}


def with_figures_of_the_check(facts: Facts, paths: Paths) -> dict[str, t.Any]:
    """The same with the figures of this very check, waited for where they are still to come; without any others."""
    verdict = facts.get("verdict")
    end = time.monotonic() + _FIGURES_WAIT_S
    while True:
        found = with_figures(facts, paths)
        figures = found.get("figures")
        if figures and verdict and figures["checked_at"] == verdict["checked_at"]:
            return found
        if not verdict or verdict["verdict"] == "transient" or time.monotonic() >= end:
            found.pop("figures", None)
            return found
        time.sleep(_POLL_S)


def told(facts: Facts, canary_id: str, *, over: bool) -> dict[str, t.Any]:
    """{"check", "ahead", "end"} of a run: its last check, what comes next, and how it ended where it is ``over``."""
    record = facts.get("record")
    ours = record is not None and record["id"] == canary_id
    return {
        "check": check_lines(facts) if ours else [],
        "ahead": ahead_lines(facts) if ours and facts["in_flight"] else [],
        "end": end_line(facts, canary_id) if over else "",
    }


def check_lines(facts: Facts) -> list[str]:
    """The last check: its verdict, what was counted, and each rule's value where it was judged; [] without one."""
    verdict = facts.get("verdict")
    if not verdict:
        return []
    lines = [
        f"check {verdict['checks_done'] + verdict['checks_missed']} at {timestamp(verdict['checked_at'])}",
        f"  {_outcome(verdict)}",
        *(f"  {printable(item['message'])}" for item in verdict["violations"][1:]),
    ]
    figures = facts.get("figures")
    if figures and figures["judged"]:
        lines += _packed([rule_words(rule) for rule in figures["rules"]])
    if figures and figures.get("own"):
        lines += _packed([own_words(item) for item in figures["own"]])
    return lines


def _outcome(verdict: Facts) -> str:
    if verdict["verdict"] == "transient":
        return f"missed, {verdict['missed_in_a_row']} in a row: {printable(verdict['message'])}"
    first = verdict["violations"][0]["message"] if verdict["violations"] else verdict["message"]
    return f"{verdict['verdict']}, status {verdict['status']}: {printable(first)}"


def _packed(words: t.Sequence[str]) -> list[str]:
    """As many of the words on a line as there is room for."""
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + 2 + len(word) <= _ROOM:
            lines[-1] += f"  {word}"
        else:
            lines.append(f"  {word}")
    return lines


def ahead_lines(facts: Facts) -> list[str]:
    """What comes after the checks that were shown: the next thing, until when, and the way back as the last line."""
    record = facts["record"]
    return [
        f"next      {upcoming(facts)}",
        f"until     {facts['deadline']}, a check every {record['interval_s']:g} s; any violation restores the baseline",
        "watch it  qsc status --watch",
        "way back  on the host as root, nothing else is needed; it says the seconds to the baseline",
        WAY_BACK,
    ]


def end_line(facts: Facts, canary_id: str) -> str:
    """How the run came to its end, and what the engine runs now; for one sentence of a play."""
    record, proof = facts.get("record"), facts.get("proof") or {}
    if not record or record["id"] != canary_id:
        return f"The record of canary {canary_id} is gone: {_ran(proof)}."
    why = f" ({record['trigger']}: {printable(record['reason'])})" if record["trigger"] else ""
    if record["state"] == "promoted":
        return f"Canary {canary_id} was promoted meanwhile: {_ran(proof)}."
    if record["state"] != "rolled_back":
        ending = record["state"] == "rolling_back"
        state = "is on its way back to the baseline, which is NOT PROVEN yet" if ending else f"is {record['state']}"
        return f"Canary {canary_id} {state}{why}: {_ran(proof)}. The host goes on by itself; see: qsc status"
    back = "BACK AT THE BASELINE" if proof.get("state") == "baseline" else "THE BASELINE IS NOT SHOWN"
    return f"Canary {canary_id} ended {record['outcome']}{why}. {back}: {_ran(proof)}."


def _ran(proof: Facts) -> str:
    if proof.get("state") in ("baseline", "canary"):
        return f"pid {proof.get('main_pid')} runs the {proof['state']}"
    return f"what the engine runs is not shown, {printable(str(proof.get('reason', '')))}"
