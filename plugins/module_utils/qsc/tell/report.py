# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""Reports for people: the gate's and the monitor's figures, each beside its limit, as Markdown and for a terminal.

Everything here takes the plain data of ``to_dict()``. Names and messages come from telemetry and may be hostile: they
reach Markdown quoted and a terminal without control characters.
"""

from __future__ import annotations

import typing as t

from ..verdict import Verdict, about, printable
from .impact import (
    comparison_lines,
    comparison_section,
    exposure_line,
    exposure_section,
    flips_line,
    flips_section,
    impact_lines,
    impact_section,
)
from .markup import Data, figure, text

_ACTIONS = ("BUY", "SELL", "HOLD")


class Plain(t.Protocol):
    """Something that gives its data, such as the gate's result."""

    def to_dict(self) -> dict[str, t.Any]:
        """Its data."""


def gate_result(result: Plain) -> dict[str, t.Any]:
    """The gate's data with its ``report`` (Markdown) and ``report_lines`` (terminal)."""
    data = result.to_dict()
    return {**data, "report": gate_report(data), "report_lines": gate_lines(data)}


def gate_word(gate: Data) -> str:
    """What the gate's exit code says."""
    return {0: "PASS", 3: "COLLECTED, NOT ELIGIBLE"}.get(gate["exit_code"], "FAIL")


def gate_report(gate: Data) -> str:
    """The gate's report as Markdown. Headings are plain words, so that a program may find them."""
    window, cutover = gate["window"], gate["cutover"]
    lines = [
        "# Quality gate report",
        "",
        f"**Result: {gate_word(gate)}** (exit code {gate['exit_code']}, mode {gate['mode']})",
        "",
    ]
    if gate["reason"]:
        lines += [f"{text(gate['reason'], 2000)}.", "", text(gate["remedy"]), ""]
    lines += [
        "## Telemetry",
        "",
        f"- Judged at: {gate['checked_at']}",
        f"- Stream: {text(gate['stream'])}",
        f"- Cutover: {cutover['time']} (decisions after {cutover['id']})",
        f"- Decisions: {gate['events']} (at least {gate['min_events']})",
        f"- Window: {window['first_id'] or 'empty'} to {window['last_id'] or 'empty'}"
        + (", TRUNCATED" if window["truncated"] else ""),
        f"- Cadence: {_cadence(gate['cadence'])}",
        f"- Clock of Redis minus this host's: {gate['clock_skew_s']:+.3f} s",
        *[f"- Warning: {text(item)}" for item in gate["warnings"]],
        *[
            f"- Ignored, not a model: {text(name)} ({count} decisions)"
            for name, count in sorted(gate["ignored"].items())
        ],
        "",
    ]
    lines += ["## Models", "", *_table(gate["models"], gate["limits"], gate.get("before_cutover")), ""]
    lines += ["## Ensemble", "", *_ensemble(gate["ensemble"], gate["limits"]), ""]
    lines += _certainty(gate)
    lines += impact_section(gate.get("impact")) + comparison_section(gate.get("comparison"))
    lines += ["## Violations", "", *_violations(gate["violations"]), ""]
    shown = [
        {**item, "subject": f"{item['subject']} (not required)"}
        for model in gate["models"].values()
        for item in model["violations"]
        if item not in gate["violations"]
    ]
    if shown:
        lines += ["## Shown only", "", *_violations(shown), ""]
    return "\n".join(lines)


def scoreboard(check: Data) -> str:
    """The monitor's page as Markdown."""
    window = check["window"]
    weight = "" if check["weight"] is None else f" at {100 * check['weight']:g} %"
    lines = [
        "# Canary scoreboard",
        "",
        f"**Status: {check['status']}** (verdict {check['verdict']})",
        "",
        f"{text(check['message'], 2000)}.",
        "",
        f"- Canary: {text(check['model'])}{weight}",
        f"- Stream: {text(check['stream'])}, decisions after {check['since']}",
        f"- Decisions: {check['events']} (judged from {check['min_events']} on)",
        f"- Window: {window['first_id'] or 'empty'} to {window['last_id'] or 'empty'}"
        + (", TRUNCATED" if window["truncated"] else ""),
        f"- Newest decision: {figure(check['lag_s'], 0, ' s')} ago (limit {check['stale_after_s']:g} s)",
        "",
        "## Models",
        "",
        *_table(check["models"], check["limits"]),
        "",
    ]
    if check["ensemble"]:
        lines += ["## Ensemble", "", *_ensemble(check["ensemble"], check["limits"]), ""]
    lines += _certainty(check)
    lines += flips_section(check.get("impact")) + exposure_section(check.get("exposure"))
    lines += comparison_section(check.get("comparison"))
    lines += _own_checks(check.get("own_checks", []))
    lines += ["## Violations", "", *_violations(check["violations"]), ""]
    lines += ["## Other models", "", *_violations(check["incumbent_violations"]), ""]
    return "\n".join(lines)


def gate_lines(gate: Data | Plain) -> list[str]:
    """The gate's answer for a terminal: one line a model, each figure beside its limit."""
    data = gate if isinstance(gate, t.Mapping) else gate.to_dict()
    limits = data["limits"]
    lines = [
        (
            f"gate      {gate_word(data)}  {data['events']} decisions (>= {data['min_events']}) "
            f"since {data['cutover']['time']}"
        )
    ]
    lines += [_model_line(name, model, limits) for name, model in data["models"].items()]
    lines.append(_ensemble_line(data["ensemble"], limits))
    lines.append(f"cadence   {_cadence(data['cadence'])}")
    lines += _frame_lines(data)
    lines += impact_lines(data.get("impact")) + comparison_lines(data.get("comparison"))
    lines += [f"warning   {printable(item)}" for item in data["warnings"]]
    lines += [
        f"against   {printable(item['subject'], 64)}: {printable(item['message'])}" for item in data["violations"]
    ]
    if data["remedy"]:
        lines.append(f"remedy    {printable(data['remedy'])}")
    return lines


def check_lines(check: Data) -> list[str]:
    """A check's answer for a terminal, with the figures."""
    lines = [
        f"check     {check['verdict']}, status {check['status']}: {printable(check['message'])}",
        *[_model_line(name, model, check["limits"]) for name, model in check["models"].items()],
    ]
    if check["ensemble"]:
        lines.append(_ensemble_line(check["ensemble"], check["limits"]))
    lines += flips_line(check.get("impact")) + exposure_line(check.get("exposure"))
    lines += comparison_lines(check.get("comparison"))
    return [*lines, *_frame_lines(check), *[f"certain   {item['sentence']}" for item in check.get("claims", ())]]


def verdict_lines(verdict: Verdict) -> list[str]:
    """A verdict for a terminal."""
    lines = [
        f"verdict   {verdict.verdict}, status {verdict.status}: {printable(verdict.message)}",
        f"decisions {verdict.events}" + (f", {verdict.first_id} to {verdict.last_id}" if verdict.last_id else ""),
        f"checks    {verdict.checks_done} done, {verdict.checks_judged} judged, {verdict.checks_missed} missed",
    ]
    if verdict.lag_s is not None:
        lines.append(f"lag       {verdict.lag_s:.0f} s")
    return lines + [
        f"against   {printable(item.subject, 64)}: {printable(item.message)}" for item in verdict.violations
    ]


def _model_line(name: str, model: Data, limits: Data) -> str:
    actions, confidence = model["actions"], model["confidence"]
    shares = " ".join(f"{action} {figure(actions[action]['percent'])}" for action in _ACTIONS)
    word = model.get("status", "")
    notes = [word] if word else []
    if model["shadow"]:
        notes.append(f"{model['shadow']} shadow")
    if model["fallback"]["percent"]:
        notes.append(f"{figure(model['fallback']['percent'])} % fallback (<= {limits['max_fallback_share']:g})")
    return (
        f"{printable(name, 20):<9} {shares} % (<= {limits['max_action_share']:g})  "
        f"std {figure(confidence['std'], 4)} (>= {limits['min_std']:g})  "
        f"p90-p10 {figure(confidence['range'], 4)} (>= {limits['min_range']:g})  "
        f"coverage {figure(model['coverage'])} %" + (f"  [{', '.join(notes)}]" if notes else "")
    )


def _ensemble_line(ensemble: Data, limits: Data) -> str:
    return (
        f"ensemble  agreement {figure(ensemble['agreement'])} % "
        f"({limits['min_agreement']:g} to {limits['max_agreement']:g})  "
        f"hard disagreement {figure(ensemble['hard_disagree'])} % (<= {limits['max_hard_disagree']:g})"
    )


def frame_text(frame: Data) -> str:
    """What was learnt before the cutover, in words."""
    learnt = (
        f"learnt from {frame['decisions']} decisions in {about(frame['history_s'])}: "
        f"they resemble each other for {frame['tau_s']:.0f} s"
        if frame["means"]
        else f"{frame['decisions']} decisions before the cutover are too few to learn from"
    )
    return f"one observation is {about(frame['bucket_s'])}, some {frame['buckets']} in the run; {learnt}"


def _frame_lines(data: Data) -> list[str]:
    return [f"buckets   {frame_text(data['frame'])}"] if data.get("frame") else []


def _certainty(data: Data) -> list[str]:
    """What the policy ``sequential`` is certain of; nothing under the other one."""
    if not data.get("frame"):
        return []
    lines = ["## Certainty", "", f"- {frame_text(data['frame'])}"]
    lines += [f"- {text(item['sentence'])}" for item in data["claims"]]
    spent = [item["alpha"] for item in data["claims"]]
    if spent:
        lines.append(
            f"- A rule that is just kept is called violated in at most 1 of {1 / spent[0]:.0f} canaries, one that is "
            f"just not kept is called kept in at most 1 of {1 / data['claims'][0]['promotion_alpha']:.0f}."
        )
    return [*lines, ""]


def _cadence(cadence: Data) -> str:
    return (
        f"{60 * cadence['rate_per_s']:.2f} decisions a minute, largest gap {cadence['largest_gap_s']:.0f} s, "
        f"stale after {cadence['stale_after_s']:.0f} s"
    )


def _table(models: Data, limits: Data, before: Data | None = None) -> list[str]:
    if not models:
        return ["No model was found in the telemetry."]
    share = f"<= {limits['max_action_share']:g}"
    head = [
        "model", "samples", "coverage %", f"BUY % ({share})", f"SELL % ({share})",
        f"HOLD % ({share}, <= {limits['max_hold_share']:g})", "mean", f"std (>= {limits['min_std']:g})", "p10", "p90",
        f"p90-p10 (>= {limits['min_range']:g})", "logits", f"fallback % (<= {limits['max_fallback_share']:g})",
        "shadow", "result",
    ]  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, model in models.items():
        word = model.get("status") or ("fail" if model.get("violations") else "")
        lines.append(_row(text(name, 64), model, word))
        earlier = (before or {}).get("models", {}).get(name)
        if earlier:
            lines.append(_row("before the cutover", earlier, ""))
    return lines


def _row(name: str, model: Data, word: str) -> str:
    actions, confidence = model["actions"], model["confidence"]
    cells = [
        name,
        str(model["samples"]),
        figure(model["coverage"]),
        *[f"{figure(actions[action]['percent'], 2)} ({actions[action]['count']})" for action in _ACTIONS],
        *[figure(confidence[key], 4) for key in ("mean", "std", "p10", "p90", "range")],
        f"{confidence['normalized']}" + (" MIXED" if confidence["mixed"] else ""),
        figure(model["fallback"]["percent"]),
        str(model["shadow"]),
        word,
    ]
    return "| " + " | ".join(cells) + " |"


def _own_checks(own: t.Sequence[Data]) -> list[str]:
    """What the operator's own checks said; nothing where there are none."""
    if not own:
        return []
    lines = ["| own check | result | value | limit | message |", "|---|---|---|---|---|"]
    for item in own:
        shown = "" if item["required"] else " (shown only)"
        numbers = ["" if item[name] is None else f"{item[name]:g}" for name in ("value", "limit")]
        lines.append(
            f"| {text(item['name'], 64)} | {item['word']}{shown} | {numbers[0]} | {numbers[1]} | "
            f"{text(item['message'], 300)} |"
        )
    return ["## Own checks", "", *lines, ""]


def _ensemble(ensemble: Data, limits: Data) -> list[str]:
    lines = [
        (
            f"- Agreement: {figure(ensemble['agreement'], 2)} % "
            f"(limits {limits['min_agreement']:g} to {limits['max_agreement']:g} %)"
        ),
        f"- Hard disagreement: {figure(ensemble['hard_disagree'], 2)} % (limit {limits['max_hard_disagree']:g} %)",
        f"- Decisions with two voters or more: {ensemble['decisions']}",
    ]
    for voters, row in ensemble["by_voters"].items():
        lines.append(f"- With {voters} voters: {row['decisions']} decisions, agreement {figure(row['agreement'], 2)} %")
    return lines


def _violations(violations: t.Iterable[Data]) -> list[str]:
    return [f"- {text(item['code'])}, {text(item['subject'], 90)}: {text(item['message'])}" for item in violations] or [
        "None."
    ]
