# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""A backtest and a plan for people: lines for a terminal, Markdown for a page.

Everything here takes the plain data of ``to_dict()``.
"""

from __future__ import annotations

import typing as t

from ..verdict import about, printable
from .impact import impact_lines
from .markup import Data, text
from .plot import svg
from .report import frame_text

_SPREADS = ("std", "range")


class Plain(t.Protocol):
    """Something that gives its data."""

    def to_dict(self) -> dict[str, t.Any]:
        """Its data."""


def backtest_result(found: Plain) -> dict[str, t.Any]:
    """The data with its ``report`` (Markdown), ``report_lines`` (terminal) and ``plot`` (SVG)."""
    data = found.to_dict()
    return {**data, "report": backtest_report(data), "report_lines": backtest_lines(data), "plot": svg(data)}


def plan_result(found: Plain) -> dict[str, t.Any]:
    """The data with its ``report_lines``."""
    data = found.to_dict()
    return {**data, "report_lines": plan_lines(data)}


def backtest_lines(data: Data) -> list[str]:
    """For a terminal."""
    lines = [
        f"backtest  {data['model']} on {data['decisions']} decisions of {printable(data['source'], 200)}",
        f"          {data['since']} to {data['until']} ({about(data['span_s'])})",
        f"          {_starts(data)}; a run is {about(data['duration_s'])}, a check every {data['interval_s']:g} s",
        f"gate      its rules let {data['model']} pass at {data['gate_passed']} of the starts",
        "",
        *_columns(_outcomes(data)),
    ]
    lines += [f"why       {printable(line)}" for line in _why(data)]
    rows = _seen(data)
    if len(rows) > 1:
        lines += ["", *_columns(rows)]
    return [*lines, "", *[f"note      {note}" for note in _notes(data)]]


def backtest_report(data: Data) -> str:
    """As Markdown."""
    lines = [
        "# Backtest",
        "",
        f"- Model: {text(data['model'], 64)}",
        f"- Telemetry: {data['decisions']} decisions of {text(data['source'], 200)}",
        f"- From {data['since']} to {data['until']}",
        f"- Runs: {_starts(data)}; {about(data['duration_s'])} each, a check every {data['interval_s']:g} s",
        f"- Judged from {data['min_events']} decisions on",
        f"- The gate's rules let it pass at {data['gate_passed']} of the starts",
        "",
        "## Outcomes",
        "",
        *_table(_outcomes(data)),
        "",
        "## Why",
        "",
        *([f"- {text(line)}" for line in _why(data)] or ["- Nothing was rolled back."]),
        "",
    ]
    rows = _seen(data)
    if len(rows) > 1:
        lines += ["## Planted degradations", "", *_table(rows), ""]
    return "\n".join([*lines, "## Notes", "", *[f"- {note}" for note in _notes(data)], ""])


def _starts(data: Data) -> str:
    return f"{data['starts']} start{'' if data['starts'] == 1 else 's'}, one every {about(data['every_s'])}"


def _outcomes(data: Data) -> list[list[str]]:
    rows = [["policy", "rolled back", "95 %", "gate passed", "when (median)", "safe", "inconclusive", "cut off"]]
    for item in data["policies"]:
        found, passed = item["rollback"], item["rollback_passed"]
        when = "-"
        if item["median_s"] is not None:
            when = f"{about(item['median_s'])}, decision {item['median_decisions']:.0f}"
        rows.append(
            [
                item["policy"],
                f"{found['count']} of {found['of']}, {_percent(found['share'])}",
                _interval(found),
                f"{passed['count']} of {passed['of']}",
                when,
                str(item["safe"]),
                str(item["inconclusive"]),
                str(item["cut_off"]),
            ]
        )
    return rows


def _why(data: Data) -> list[str]:
    """What ended the runs: the first rule of each."""
    lines = []
    for item in data["policies"]:
        for what, found in (("rolled back", item["first_rules"]), ("inconclusive", item["inconclusive_for"])):
            if found:
                lines.append(f"{item['policy']} {what}: {_listed(found)}")
    return lines


def _seen(data: Data) -> list[list[str]]:
    rows = [["policy", "degradation", "from", "seen", "95 %", "delay: median", "delay: 95 %", "rolled back anyway"]]
    for policy in data["policies"]:
        for item in policy["degradations"]:
            found, delay = item["detected"], item["delay_s"]
            rows.append(
                [
                    policy["policy"],
                    printable(item["degradation"], 60),
                    about(item["after_s"]),
                    f"{found['count']} of {found['of']}" if found["of"] else "no run left",
                    _interval(found) if found["of"] else "-",
                    "-" if delay["median"] is None else about(delay["median"]),
                    "-" if delay["p95"] is None else about(delay["p95"]),
                    f"{item['anyway']} of {item['alive']}",
                ]
            )
    return rows


def _notes(data: Data) -> list[str]:
    runs = ", ".join(f"{item['rollback']['runs']:.1f} ({item['policy']})" for item in data["policies"])
    overlap = (
        "the starts overlap and say less than their number: the intervals are those of as many runs as fit one after "
        f"the other, {runs}"
    )
    notes = [overlap, "gate passed: rolled back, of the starts at which the gate would have let the model pass"]
    if any(item["cut_off"] for item in data["policies"]):
        notes.append("cut off: the recording ends before the run does, nothing being against it until then")
    if any(item["degradations"] for item in data["policies"]):
        notes.append(
            f"seed {data['seed']}; seen: rolled back, of the runs that had not ended when the degradation began"
        )
    else:
        notes.append("what a policy would catch: plant the degradation standard")
    return notes


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"


def _interval(found: Data) -> str:
    return f"{100 * found['low']:.0f} to {100 * found['high']:.0f} %"


def _listed(rules: Data) -> str:
    return ", ".join(f"{rule} {count}" for rule, count in rules.items())


def _columns(rows: t.Sequence[t.Sequence[str]]) -> list[str]:
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def _table(rows: t.Sequence[t.Sequence[str]]) -> list[str]:
    head, *rest = [[text(cell, 200) for cell in row] for row in rows]
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rest)]


# The plan


def plan_lines(data: Data) -> list[str]:
    """For a terminal, and for a play's dry run."""
    cadence, frame = data["cadence"], data["frame"]
    first = data["first_judgement_s"]
    whose = f"{data['decisions']} decisions of {printable(data['source'], 200)}"
    rate = f"{60 * cadence['rate_per_s']:.2f} decisions a minute, stale after {about(cadence['stale_after_s'])}"
    lines = [
        f"plan      {data['model']}: {about(data['duration_s'])} under {data['policy']}, from {whose}",
        f"rate      {rate}, longest wait {about(cadence['max_wait_s'])}",
        f"holds     some {data['expected_decisions']:.0f} decisions",
        f"buckets   {frame_text(frame)}",
        f"judged    first after {about(first)}" if first is not None else "judged    no rate is known",
    ]
    lines += impact_lines(data["impact"])
    lines += [f"history   {line}" for line in _history(data)]
    lines += [f"sees      {line}" for line in _reach(data)]
    return [*lines, *[f"warning   {printable(item)}" for item in data["notes"]]]


def _history(data: Data) -> list[str]:
    tested = data["backtest"]
    if tested is None:
        return [f"no run could be replayed: {printable(data['backtest_reason'])}"]
    lines = []
    for item in tested["policies"]:
        found = item["rollback"]
        rest = f"{item['safe']} safe, {item['inconclusive']} inconclusive, {item['cut_off']} cut off"
        if item["cut_off"]:
            rest += " by now, so this is a lower bound"
        lines.append(
            f"{item['policy']} would have rolled back {found['count']} of {found['of']} canaries of the past "
            f"({_interval(found)}, as of {found['runs']:.1f} independent runs: the starts overlap); {rest}"
        )
    lines += [printable(line) for line in _why(tested)]
    return lines


def _reach(data: Data) -> list[str]:
    rate = f"{60 * data['cadence']['rate_per_s']:.1f} decisions a minute"
    return [
        "strict acts on every figure beyond its limit, once it is judged",
        f"sequential finds, at {rate} and with a chance of {100 * data['chance']:.0f} %; what is less passes unseen:",
        *[f"  {item['rule']}{_now(item)}: {_found(item, data)}" for item in data["reach"]],
    ]


def _now(item: Data) -> str:
    return "" if item["now"] is None else f" (now {_value(item, item['now'])})"


def _found(item: Data, data: Data) -> str:
    """What is found of one rule, and where it can be called kept."""
    if not item["learnt"]:
        return "not known, too little was learnt"
    side = "above" if "at most" in item["rule"] else "below"
    if item["seen"] is None:
        trip = data["limits"]["early_trip_share"]
        words = f"nothing short of {trip:g} %, which trips at once" if item["trips"] else "nothing at all"
    else:
        words = f"{side} {_value(item, item['seen'])}{_points(item, side)}"
        late = item["seen_late"]
        words += ", from half time on " + ("nothing" if late is None else f"{side} {_value(item, late)}")
    if item["kept"] is None:
        return words
    return f"{words}; certain to be kept {'up to' if side == 'above' else 'from'} {_value(item, item['kept'])}"


def _points(item: Data, side: str) -> str:
    if item["now"] is None or item["metric"] in _SPREADS:
        return ""
    points = 100 * (item["seen"] - item["now"]) * (1 if side == "above" else -1)
    return f", a {'rise' if side == 'above' else 'drop'} of {points:.0f} points" if points > 0 else ""


def _value(item: Data, value: float) -> str:
    return f"{value:.4f}" if item["metric"] in _SPREADS else f"{100 * value:.1f} %"
