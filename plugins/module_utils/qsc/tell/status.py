# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""The state of a host in lines for a terminal."""

from __future__ import annotations

import typing as t

from ..verdict import printable
from .drill import drill_line


def status_lines(facts: t.Mapping[str, t.Any]) -> list[str]:
    """One screen: what runs, what is judged, what guards it, and the way back."""
    lines = [f"engine    {_engine(facts)}", f"canary    {_canary(facts)}"]
    record, verdict = facts.get("record"), facts.get("verdict")
    if record and facts.get("in_flight"):
        lines.append(f"weights   {weights_line(record['weights'])}")
        lines.append(f"baseline  {weights_line(record['baseline'])}")
    if facts.get("step"):
        lines.append(f"step      {_step(facts['step'])}")
    if verdict and facts.get("in_flight"):
        lines.append(f"verdict   {verdict['verdict']}, status {verdict['status']}: {printable(verdict['message'])}")
        lines.append(
            f"checks    {verdict['checks_done']} done, {verdict['checks_judged']} judged, "
            f"{verdict['checks_missed']} missed; {verdict['events']} decisions"
        )
    if facts.get("deadline"):
        left = facts.get("seconds_left")
        left_text = f" ({_duration(left)} left)" if left is not None else ""
        lines.append(f"until     {facts['deadline']}{left_text}{_then(record or {})}")
    lines.append("guards    " + ", ".join(f"{unit} {state}" for unit, state in facts.get("guards", {}).items()))
    lines.append(f"proof     {_proof(facts.get('proof') or {})}")
    if facts.get("drift"):
        lines.append(f"drift     {printable(facts['drift'])}")
    if facts.get("hook"):
        lines.append(f"hook      {printable(facts['hook'])}")
    if facts.get("frozen"):
        lines.append(f"frozen    by {facts['frozen']}: no activation; a rollback always")
    lines.extend(f"rollout   {printable(text)}" for text in facts.get("held_back", ()))
    if facts.get("page"):
        lines.append(f"PAGE      {printable(facts['page'])}")
    drill = facts.get("drill")
    lines.append(f"drill     {drill['timestamp']} {drill_line(drill)}" if drill else "drill     none yet: qsc drill")
    if facts.get("rollback_cmd"):
        lines.append(f"way back  {facts['rollback_cmd']}")
    lines.extend(f"problem   {printable(problem)}" for problem in facts.get("problems", ()))
    return lines


def weights_line(weights: t.Mapping[str, float]) -> str:
    """{model: share} as "xgb 28.125 %, ..."."""
    return ", ".join(f"{name} {100 * value:g} %" for name, value in weights.items())


def ledger_line(entry: t.Mapping[str, t.Any]) -> str:
    """One ledger entry in one line; one that no version of ours wrote is shown as it is."""
    try:
        text = _told(entry)
    except (TypeError, ValueError, OverflowError):
        text = str(dict(entry))
    return printable(text, 2000)


def _told(entry: t.Mapping[str, t.Any]) -> str:
    text = f"{entry.get('timestamp', '?')}  {entry.get('action', '?'):<22}  {entry.get('canary_model', '')}"
    if entry.get("action") == "canary_activated":
        text += f" at {100 * entry.get('canary_weight', 0):g} %; way back: {entry.get('rollback_cmd', '')}"
    elif entry.get("action") == "canary_promoted_step":
        text += f" from {100 * entry.get('from_weight', 0):g} % to {100 * entry.get('to_weight', 0):g} %"
        text += f"; way back: {entry.get('rollback_cmd', '')}"
    elif entry.get("action") == "promoted":
        text += f": {weights_line(entry.get('weights') or {})} in {entry.get('file', '')}"
    elif entry.get("action") == "rollback_executed":
        why = "; ".join(entry.get("violations") or ()) or entry.get("reason", "")
        text += f" {entry.get('outcome', '')} ({entry.get('trigger', '')})" + (f": {why}" if why else "")
    elif entry.get("action") == "stepped_back":
        why = "; ".join(entry.get("violations") or ()) or entry.get("reason", "")
        text += f" from {100 * entry.get('from_weight', 0):g} % to {100 * entry.get('to_weight', 0):g} %"
        text += f" ({entry.get('canary_id', '')} {entry.get('outcome', '')}): {why}"
        text += f"; way back: {entry.get('rollback_cmd', '')}"
    elif entry.get("action") == "hook_run":
        text += f" {entry.get('hook', '')} for {entry.get('event', '')}: {entry.get('program', '')}"
        text += f", status {entry.get('exit_status', '?')} after {entry.get('seconds', 0):g} s"
        text += f": {entry['said']}" if entry.get("said") else ""
    elif entry.get("action") == "monitoring_completed":
        text += f" {entry.get('result', '')} after {entry.get('checks_performed', '?')} checks"
        text += f": {entry['reason']}" if entry.get("reason") else ""
    elif entry.get("action") == "rollout_approved":
        text += f" the step from {100 * entry.get('from_weight', 0):g} % to {100 * entry.get('to_weight', 0):g} %"
    elif entry.get("action") == "drill_completed":
        text += f" {drill_line(entry)}"
    elif entry.get("reason"):
        text += f" {entry['reason']}"
    if isinstance(entry.get("downtime_s"), float) and entry["downtime_s"]:
        text += f"; the engine was down for {entry['downtime_s']:g} s"
    if "sequence" not in entry:
        text += " (waits for room on the disk)"
    return text


def _engine(facts: t.Mapping[str, t.Any]) -> str:
    engine = facts.get("engine") or {}
    state = f"{engine.get('active_state', '?')}/{engine.get('sub_state', '?')}"
    restarts = engine.get("n_restarts", 0)
    return f"{engine.get('unit', '?')} {state}, pid {engine.get('main_pid', 0)}, {restarts} restarts by itself"


def _canary(facts: t.Mapping[str, t.Any]) -> str:
    record = facts.get("record")
    if not record:
        return "none yet"
    text = f"{record['id']}: {record['model']} at {100 * record['weight']:g} %, {record['state']}"
    if record["outcome"]:
        text += f", {record['outcome']}"
    if record.get("stepped_back_from"):
        text += f", since {record['stepped_back_from']} was violated"
    if record["trigger"]:
        text += f" ({record['trigger']}: {printable(record['reason'])})"
    return text


def _step(step: t.Mapping[str, t.Any]) -> str:
    """How far the canary is on its way to all of the weight."""
    after = f"{100 * step['next']:g} % is next" if step["next"] else "the last one"
    return f"{step['number']} of {step['of']}; {after}"


def _then(record: t.Mapping[str, t.Any]) -> str:
    """What happens at that moment, where it is not the end of the watch."""
    if record.get("state") != "active":
        return ""
    if record.get("outcome") == "safe":
        return ", then back to the baseline unless it was promoted"
    if record.get("outcome") == "inconclusive":
        return ", then back to the baseline: an inconclusive run is never promoted"
    return ", extended: it was not certain at its deadline" if record.get("extended") else ""


def _proof(proof: t.Mapping[str, t.Any]) -> str:
    if proof.get("state") in ("baseline", "canary"):
        return f"pid {proof.get('main_pid')} runs the {proof['state']}"
    return f"not shown: {printable(str(proof.get('reason', '')))}"


def _duration(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min {whole % 60:02d} s"
