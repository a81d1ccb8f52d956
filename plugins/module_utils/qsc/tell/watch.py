# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""The live tree of ``qsc status --watch``: facts and columns in, lines out. Pure.

The facts are those of ``guard.status.live``, with ``figures`` (the data of ``figures.Figures``) or ``figures_problem``.
No line is wider than the columns; without ``colour`` no line holds an escape code.
"""

from __future__ import annotations

import math
import typing as t
import unicodedata

from ..verdict import printable

Facts = t.Mapping[str, t.Any]
Segment = tuple[str, str]
"""A text and its style."""

SAFE, VIOLATED, ERROR, UNDECIDED, PAGED = 0, 1, 2, 4, 5
"""What a run came to, as an exit code."""

PLAIN, DIM, BOLD, GOOD, WARN, BAD = "", "2", "1", "32", "33", "31"
"""Styles as parameters of SGR (ECMA-48)."""
_BRANCH, _TRUNK, _LAST = "├── ", "│   ", "└── "
_LABEL = 11
_MOST_LINES = 4
"""Lines of one text that comes from outside."""
_WIDEST_BAR = 60
_ASCII = str.maketrans({"├": "|", "└": "`", "│": "|", "─": "-", "█": "#", "░": ".", "●": "*", "○": "o", "✓": "+",
                        "≤": "<", "≥": ">", "…": "~", "\N{REPLACEMENT CHARACTER}": "?"})  # fmt: skip


def tree(facts: Facts, columns: int, *, colour: bool = False, ascii_only: bool = False) -> list[str]:
    """The whole view, at most ``columns`` wide; the most needed first, so that a low terminal cuts off the rules."""
    view = _View(max(1, columns))
    _head(view, facts)
    record = facts.get("record")
    if not record:
        view.item("canary", ("none yet", DIM))
        _foot(view, facts, {})
    else:
        view.line([("└── ", DIM), (f"{record['id']}  ", BOLD), _state_word(facts, record)])
        view.indent = "    "
        _run(view, facts, record)
        _foot(view, facts, record)
        _rules(view, facts)
        _own(view, facts)
    view.close()
    return [_rendered(line, view.columns, colour=colour, ascii_only=ascii_only) for line in view.lines]


class _View:
    """Lines of segments, and how to add to them."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.indent = ""
        self.lines: list[list[Segment]] = []

    def line(self, segments: t.Sequence[Segment]) -> None:
        self.lines.append([(self.indent, DIM), *segments])

    def item(self, label: str, *segments: Segment) -> None:
        """A child of the run, on one line."""
        self.line([(_BRANCH, DIM), (f"{label:<{_LABEL}}", DIM), *segments])

    def more(self, *segments: Segment) -> None:
        """One more line of the child before."""
        self.line([(_TRUNK, DIM), (" " * _LABEL, PLAIN), *segments])

    def close(self) -> None:
        """The last child is the last one: nothing hangs below it."""
        for line in reversed(self.lines):
            branch = line[1][0]
            if branch in (_BRANCH, _TRUNK):
                line[1] = (_LAST if branch == _BRANCH else " " * len(_TRUNK), DIM)
            if branch == _BRANCH:
                return

    def told(self, label: str, text: str, style: str = PLAIN, *, most: int = _MOST_LINES) -> None:
        """A child of the run in words, on as many lines as it takes, ``most`` at most."""
        for number, part in enumerate(_wrapped(text, self.room, most)):
            if number:
                self.more((part, style))
            else:
                self.item(label, (part, style))

    @property
    def room(self) -> int:
        """Cells behind a label."""
        return self.columns - len(self.indent) - 4 - _LABEL


# The parts of the view


def _head(view: _View, facts: Facts) -> None:
    engine, proof = facts.get("engine") or {}, facts.get("proof") or {}
    running = engine.get("active_state") == "active"
    view.line([(printable(str(facts.get("host", "")), 64), BOLD), (f"  {_moment(facts)}", DIM)])
    shown = proof.get("state") in ("baseline", "canary")
    state = f"{engine.get('active_state', '?')}/{engine.get('sub_state', '?')}"
    view.line(
        [
            (f"{printable(str(engine.get('unit', '?')), 80)}  ", BOLD),
            (f"● {state}", GOOD if running else BAD),
            (f", pid {engine.get('main_pid', 0)}", PLAIN),
            (f" runs the {proof['state']}" if shown else ", not shown:", PLAIN if shown else WARN),
        ]
    )
    if not shown:
        for part in _wrapped(printable(str(proof.get("reason", ""))), view.columns - 2, _MOST_LINES):
            view.line([("  ", PLAIN), (part, WARN)])
    if facts.get("page"):
        for part in _wrapped(f"PAGE  {printable(facts['page'], 1000)}", view.columns, 6):
            view.line([(part, BAD)])


def _run(view: _View, facts: Facts, record: Facts) -> None:
    model, share = record["model"], record["weight"]
    at_baseline = record["baseline"].get(model)
    baseline = "not in the baseline" if at_baseline is None else f"baseline {_percent(at_baseline)}"
    view.item(
        "share",
        (f"{printable(model, 64)} ", BOLD),
        (f"{_percent(share)} ", PLAIN),
        *_bar(share, min(20, max(0, view.room - 44))),
        (f" {baseline}", DIM),
    )
    steps = _steps(facts, record)
    if steps:
        view.item("steps", *_step_bar(steps, share, promoted=record["state"] == "promoted"))
    _time(view, facts, record)
    _checks(view, facts, record)
    _last_verdict(view, facts)
    if record["trigger"]:
        view.told("ended by", f"{record['trigger']}: {printable(record['reason'])}", BAD if _latched(record) else WARN)
    elif record["reason"]:
        view.told("outcome", printable(record["reason"]), WARN)
    if record["rolled_back_at"] and record["violated_at"]:
        view.item("way took", (f"{span(record['rolled_back_at'] - record['violated_at'])} to the baseline", PLAIN))


def _time(view: _View, facts: Facts, record: Facts) -> None:
    """The time of the phase the run is in: of the activation, the watch or the hold."""
    whole, left = _phase_s(facts, record)
    if not whole or left is None:
        return
    gone = min(whole, max(0.0, whole - left))
    text = f" {span(left)} left of {span(whole)}"
    note = ", extended" if record["extended"] and not record["outcome"] else ""
    note += ", resumed after a reboot" if record["resumed"] and record["state"] == "active" else ""
    view.item(
        _PHASES.get(record["outcome"], "time") if record["state"] == "active" else "arming",
        *_bar(gone / whole, max(0, min(_WIDEST_BAR, view.room - len(text) - len(note)))),
        (text + note, PLAIN),
    )


_PHASES = {"safe": "held", "inconclusive": "held"}


def _checks(view: _View, facts: Facts, record: Facts) -> None:
    verdict, watching = facts.get("verdict"), facts.get("watching") or {}
    if not verdict:
        return
    behind = record["state"] == "active" and watching.get("due", 0) - verdict["checks_done"] > 2
    missed = verdict["checks_missed"]
    segments: list[Segment] = [(f"done {verdict['checks_done']}", PLAIN)]
    if watching.get("due"):
        segments.append((f" of {watching['due']}", WARN if behind else PLAIN))
    segments.append((f", judged {verdict['checks_judged']}, ", PLAIN))
    row = verdict["missed_in_a_row"]
    segments.append((f"missed {missed}" + (f" ({row} in a row)" if row else ""), WARN if missed else PLAIN))
    if watching.get("expected"):
        whole = f"; safe needs {watching['needed']} of {watching['expected']}"
        fits = sum(_cells(text) for text, _style in segments) + len(whole) <= view.room
        segments += [(whole, DIM)] if fits else []
    view.item("checks", *segments)


_VERDICT_STYLES = {
    "ok": GOOD,
    "violation": BAD,
    "inconclusive": WARN,
    "terminated": WARN,
    "transient": WARN,
    "waiting": PLAIN,
}


def _last_verdict(view: _View, facts: Facts) -> None:
    verdict = facts.get("verdict")
    if not verdict:
        if facts.get("in_flight"):
            view.item("verdict", ("none yet", DIM))
        return
    age = age_s(facts)
    style = _VERDICT_STYLES.get(verdict["verdict"], PLAIN)
    segments: list[Segment] = [(f"● {verdict['verdict']}", style), (f", status {verdict['status']}", PLAIN)]
    if age is not None:
        segments.append((f", {span(age)} ago", BAD if facts.get("in_flight") and _is_late(facts) else PLAIN))
    segments.append((f", {verdict['events']} decisions", DIM))
    view.item("verdict", *segments)
    # the rules tell the rest of an ok, and all of it fits into 80 x 24
    for part in _wrapped(printable(verdict["message"]), view.room, 2 if verdict["verdict"] == "ok" else _MOST_LINES):
        view.more((part, DIM))


def _foot(view: _View, facts: Facts, record: Facts) -> None:
    """What comes next and what stands by."""
    state, style = _next(facts, record)
    view.told("next", state, style)
    back = str(facts.get("rollback_cmd") or "").rpartition("/")[2]
    if back:  # never cut: it is there to be copied
        view.item("way back", (f"sudo {back}" if _cells(back) + 5 <= view.room else "sudo qsc rollback", PLAIN))
    guards: list[Segment] = []
    for unit, state in (facts.get("guards") or {}).items():
        name = unit.partition(".")[0].replace("qsc-", "")
        guards += [(f"{'●' if state == 'active' else '○'} {name} ", _guard_style(name, state, record))]
        guards += [(f"{printable(str(state), 40)}  ", DIM)]
    view.item("guards", *guards)
    if facts.get("drift"):
        view.told("drift", printable(facts["drift"]), WARN)
    if facts.get("hook"):
        view.told("hook", printable(facts["hook"]), WARN)
    if facts.get("frozen"):
        view.told("frozen", f"by {facts['frozen']}: no activation; a rollback always", WARN)
    if record.get("outcome") != "safe" or record.get("state") != "active":  # else it is what comes next
        for text in facts.get("held_back") or ():
            view.told("rollout", printable(text), WARN)
    for problem in facts.get("problems") or ():
        view.told("problem", printable(problem), BAD)


def _guard_style(name: str, state: str, record: Facts) -> str:
    if name == "rollback":
        return BAD if state == "failed" else PLAIN
    needed = name == "watchdog" or record.get("state") in ("arming", "active")
    return GOOD if state == "active" else BAD if needed else DIM


def _rules(view: _View, facts: Facts) -> None:
    figures = facts.get("figures")
    if not figures:
        why = facts.get("figures_problem") or "the monitor has shown no figures of this run yet"
        view.told("rules", printable(why), DIM)
        return
    sequential = figures["policy"] == "sequential"
    words = str(figures["policy"])
    if not figures["judged"]:
        words += f", not judged yet: {figures['events']} of {figures['min_events']} decisions"
    elif sequential:
        kept, claims = sum(rule["state"] == "kept" for rule in figures["rules"]), _claims_of(figures)
        words += f", {kept} of {len(claims)} kept for certain, buckets of {span(figures['bucket_s'])}"
    verdict = facts.get("verdict")
    if verdict and abs(verdict["checked_at"] - figures["checked_at"]) > 1:
        words += f"; figures {span(abs(verdict['checked_at'] - figures['checked_at']))} older than the verdict"
    view.told("rules", words, DIM)
    room = view.columns - len(view.indent)
    heads = f"{'':<{_NAME}}{'value':>9}{'limit':>9}{'distance':>11}"
    view.line([(heads + (f"  {'state':<10}{'interval':<16}" if sequential else ""), DIM)])
    for rule in figures["rules"]:
        view.line(_rule_segments(rule, room, sequential=sequential, judged=figures["judged"]))


_OWN_STYLES = {"ok": GOOD, "violation": BAD, "no data": WARN, "failed": WARN}


def _own(view: _View, facts: Facts) -> None:
    """What the operator's own checks said, on a line each."""
    own = (facts.get("figures") or {}).get("own")
    if not own:
        return
    good = sum(item["word"] == "ok" for item in own)
    view.item("own checks", (f"{good} of {len(own)} ok", DIM))
    for item in own:
        style = _OWN_STYLES.get(item["word"], PLAIN) if item["required"] else DIM
        figure = "" if item["value"] is None else f"{item['value']:g}"
        limit = "" if item["limit"] is None else f"{item['limit']:g}"
        said = item["message"] + ("" if item["required"] else " (shown only)")
        view.line(
            [
                (_padded(item["name"], _NAME), PLAIN),
                (f"{figure:>9}{limit:>9}  ", style),
                (f"{item['word']:<11}", style),
                (printable(said, 300), DIM),
            ]
        )


def own_words(item: Facts) -> str:
    """An own check in a sentence."""
    figure = "" if item["value"] is None else f" {item['value']:g}"
    limit = "" if item["limit"] is None else f" (limit {item['limit']:g})"
    return f"own check {item['name']} {item['word']}{figure}{limit}"


def _claims_of(figures: Facts) -> list[Facts]:
    return [rule for rule in figures["rules"] if rule["state"]]


_NAME = 18
_STATE_STYLES = {"kept": GOOD, "violated": BAD, "suspended": WARN, "open": PLAIN}


def _rule_segments(rule: Facts, room: int, *, sequential: bool, judged: bool) -> list[Segment]:
    distance, used = _distance(rule)
    style = DIM if not judged and rule["unit"] != "s" else _nearness_style(used)
    if rule["state"]:
        style = _STATE_STYLES.get(rule["state"], PLAIN)
    sign = "≤" if rule["side"] == "most" else "≥"
    segments: list[Segment] = [
        (_padded(rule["name"], _NAME), PLAIN),
        (f"{_figure(rule['value'], rule['unit']):>9}", style),
        (f"{sign + ' ' + _limit(rule):>9}", DIM),
        (f"{_distance_text(distance, rule['unit']):>11}", style),
    ]
    width = _NAME + 29
    if sequential:
        interval = ""
        if rule["low"] is not None and rule["high"] is not None and rule["state"]:
            interval = f"{_bare(rule['low'], rule['unit'])} to {_bare(rule['high'], rule['unit'])}"
        segments += [(f"  {rule['state']:<10}", style), (f"{interval:<16}", PLAIN)]
        width += 28
        if room - width >= 14:
            segments.append((f"{rule['buckets']:>6} buckets" if rule["state"] else " " * 14, DIM))
        width += 14
    cells = min(30, room - width - 3)
    if used is not None and cells >= 10:
        segments += [("  ", PLAIN), *_bar(used, cells, style)]
    return segments


def _distance(rule: Facts) -> tuple[float | None, float | None]:
    """How far the value may still go until its limit (< 0: beyond it), and how much of the way is gone (1: all)."""
    value, limit = rule["value"], rule["limit"]
    if value is None:
        return None, None
    if rule["side"] == "most":
        return limit - value, value / limit if limit > 0 else (1.0 if value > 0 else 0.0)
    return value - limit, limit / value if value > 0 else 1.0


def _nearness_style(used: float | None) -> str:
    if used is None:
        return WARN
    return BAD if used > 1 else WARN if used > 0.9 else GOOD


def rule_words(rule: Facts) -> str:
    """A rule in a sentence: HOLD 53.5 % (<= 70 %); what is certain of it where that counts."""
    sign = "<=" if rule["side"] == "most" else ">="
    state = f", {rule['state']}" if rule["state"] else ""
    return f"{rule['name']} {_figure(rule['value'], rule['unit'])} ({sign} {_limit(rule)}{state})"


# What comes next


def upcoming(facts: Facts) -> str:
    """The next thing that happens by itself, in words."""
    return _next(facts, facts.get("record") or {})[0]


def _next(facts: Facts, record: Facts) -> tuple[str, str]:
    """The next thing that happens by itself, in words, with its style."""
    state = record.get("state", "")
    if not record:
        return "nothing: a canary is started with playbooks/activate.yml", PLAIN
    if facts.get("page"):
        return "tried again every 10 minutes; when you know why it failed: qsc acknowledge", BAD
    if state == "rolling_back":
        return "goes back to the baseline now, until that is proven", WARN
    if state == "promoted":
        return f"nothing: {printable(record['model'], 64)} is part of the baseline", GOOD
    if state == "rolled_back":
        if _latched(record):
            return f"nothing: the baseline runs; anew only with -e acknowledge={record['id']}", PLAIN
        return "nothing: the baseline runs", PLAIN
    if (facts.get("guards") or {}).get("qsc-watchdog.timer", "active") != "active":
        return "nothing by itself: the watchdog does not run. Run: systemctl start qsc-watchdog.timer", BAD
    if state == "arming":
        return f"goes back to the baseline at {_deadline(facts)} unless the activation is completed", PLAIN
    return _next_of_active(facts, record)


def _next_of_active(facts: Facts, record: Facts) -> tuple[str, str]:
    ending = _is_ending(facts)
    if ending:
        return f"goes back to the baseline now: {ending}", BAD
    left, deadline = facts.get("seconds_left"), _deadline(facts)
    if record["outcome"] == "safe":
        further = [step for step in _steps(facts, record) if step > record["weight"] + 1e-9]
        to = f" to {_percent(min(further))}" if further else ""
        held = "; ".join(printable(text) for text in facts.get("held_back") or ())
        style = WARN if held else GOOD
        held = f". Held back: {held}" if held else ""
        return f"goes back to the baseline at {deadline} (in {span(left)}) unless it is promoted{to}{held}", style
    if record["outcome"] == "inconclusive":
        return f"goes back to the baseline at {deadline} (in {span(left)}): it can never be promoted", WARN
    verdict = facts.get("verdict")
    if _is_late(facts):
        limit = (facts.get("watching") or {}).get("silence_limit_s", 0.0)
        return f"goes back to the baseline in {span(limit - (age_s(facts) or 0.0))} unless the monitor checks", BAD
    if verdict is None:
        return "the monitor's first check", PLAIN
    lost = _cannot_be_safe(facts, record)
    if lost:
        return f"goes back to the baseline at {deadline} (in {span(left)}), inconclusive: {lost}", WARN
    soon = f"in {span(left)}" if left else "at the watchdog's next look"
    if record["extended"]:
        return (
            f"safe as soon as every rule is certain; else back to the baseline at {deadline} (in {span(left)})",
            PLAIN,
        )
    if verdict["verdict"] == "ok" and verdict["status"] == "GO":
        return f"safe {soon} if nothing happens", GOOD
    if verdict["verdict"] == "ok":
        certain = "every rule is certain to be kept" if _policy(record) == "sequential" else "the status is GO"
        return f"{soon}: safe if {certain} by then, else {_otherwise(record)}", PLAIN
    if verdict["verdict"] == "transient":
        return f"the telemetry is tried again in {span(record['interval_s'])}; safe {soon} or later", WARN
    return f"judged from {record['min_events']} decisions on, safe {soon} or later", PLAIN


_ENDING = {
    "violation": "the monitor found a violation",
    "inconclusive": "too little could be judged",
    "terminated": "its exposure budget is spent",
}


def _is_ending(facts: Facts) -> str:
    """Why the watchdog ends the run at its next look, "" where nothing says so."""
    verdict, watching = facts.get("verdict"), facts.get("watching") or {}
    if verdict is not None and verdict["verdict"] in _ENDING:
        return _ENDING[verdict["verdict"]]
    if verdict is not None and verdict["missed_in_a_row"] > watching.get("missed_limit", math.inf):
        return f"{verdict['missed_in_a_row']} checks in a row could not read the telemetry"
    if any(problem.startswith("the monitor's verdict") for problem in facts.get("problems") or ()):
        return "the monitor's verdict cannot be read"
    timer = (facts.get("guards") or {}).get("qsc-monitor.timer", "active")
    if timer != "active":
        return f"the monitor's timer is {printable(str(timer), 40)}"
    age = age_s(facts)
    if age is not None and age > watching.get("silence_limit_s", math.inf):
        return f"the monitor has been silent for {span(age)}"
    return ""


def _is_late(facts: Facts) -> bool:
    """True when a check is overdue."""
    record, age = facts.get("record"), age_s(facts)
    return record is not None and record["state"] == "active" and age is not None and age > 2 * record["interval_s"] + 5


def _cannot_be_safe(facts: Facts, record: Facts) -> str:
    """What already keeps the run from being safe at its deadline, "" when nothing does."""
    verdict, watching = facts["verdict"], facts.get("watching") or {}
    if not verdict["complete"]:
        return "the telemetry has gaps"
    if verdict["max_missed_in_a_row"] > watching.get("missed_limit", math.inf):
        return f"{verdict['max_missed_in_a_row']} checks were missed in a row"
    still = max(0.0, facts.get("seconds_left") or 0.0) / record["interval_s"] + 2
    needed = watching.get("needed", 0)
    if verdict["checks_done"] + still < needed:
        return f"{verdict['checks_done']} checks were done, {needed} are needed"
    return ""


def _otherwise(record: Facts) -> str:
    if record["inconclusive"] == "hold":
        return f"held for {span(record['hold_s'])}, then back to the baseline"
    if record["inconclusive"] == "extend":
        return f"judged on, {span(record['max_duration_s'])} in all"
    return "back to the baseline"


# The end of a run


def end_state(facts: Facts, canary_id: str = "") -> int | None:
    """The exit code of a run that has come to its end, None while it has not. ``canary_id``: the run that was looked
    at first; when another one, or none, stands in its place, nobody can tell here what became of it."""
    record = facts.get("record")
    if facts.get("page"):
        return PAGED
    if not record:
        return None if facts.get("problems") else ERROR
    if canary_id and record["id"] != canary_id:
        return ERROR
    if record["state"] == "promoted":
        return SAFE
    if record["state"] == "active":
        return {"safe": SAFE, "inconclusive": UNDECIDED}.get(record["outcome"])
    if record["state"] == "rolled_back":
        return {"safe": SAFE, "violated": VIOLATED}.get(record["outcome"], UNDECIDED)
    return None


# Facts and words


def age_s(facts: Facts) -> float | None:
    """Seconds since the last check, or since the watch began where there was none yet; None when unknown."""
    record, verdict, clock = facts.get("record"), facts.get("verdict"), facts.get("clock") or {}
    if not record or not clock:
        return None
    if verdict and verdict["boot_id"] == clock.get("boot_id"):
        return max(0.0, float(clock["boot"] - verdict["checked_boot"]))
    if verdict:
        return max(0.0, float(clock["wall"] - verdict["checked_at"]))
    if record["state"] != "active":
        return None
    return max(0.0, float(clock["boot"] - max(record["activated_boot"], record["watched_boot"])))


def _phase_s(facts: Facts, record: Facts) -> tuple[float, float | None]:
    """(length, s left) of the phase the run is in; no length where none ends by the clock."""
    clock = facts.get("clock") or {}
    if record["state"] == "arming" and clock:
        left = record["arming_deadline_boot"] - clock["boot"]
        return record["arming_deadline_boot"] - record["armed_boot"], max(0.0, left)
    if record["state"] != "active":
        return 0.0, None
    left = facts.get("seconds_left")
    if record["outcome"] in ("safe", "inconclusive"):
        return record["hold_s"], left
    return record["max_duration_s"] if record["extended"] else record["duration_s"], left


def _steps(facts: Facts, record: Facts) -> list[float]:
    """The shares a canary goes through, where the record or the host knows them."""
    for source in (record, facts, facts.get("settings") or {}):
        for key in ("steps", "canary_steps"):
            found = source.get(key) if isinstance(source, t.Mapping) else None
            if isinstance(found, (list, tuple)) and 1 < len(found) <= 12:
                good = all(isinstance(item, (int, float)) and not isinstance(item, bool) for item in found)
                if good and all(0 < item <= 1 for item in found):
                    return [float(item) for item in found]
    return []


def _step_bar(steps: t.Sequence[float], share: float, *, promoted: bool) -> list[Segment]:
    segments: list[Segment] = []
    for step in steps:
        done = promoted or step < share - 1e-9
        here = not promoted and abs(step - share) <= 1e-9
        mark, style = ("✓", GOOD) if done else ("●", BOLD) if here else ("○", DIM)
        segments += [(" ── ", DIM)] if segments else []
        segments.append((f"{mark} {_percent(step)}", style))
    return segments


def _state_word(facts: Facts, record: Facts) -> Segment:
    state, outcome = record["state"], record["outcome"]
    verdict = facts.get("verdict")
    word = f"● {state.replace('_', ' ')}" + (f", {outcome}" if outcome else "")
    if _latched(record) or state == "rolling_back" or (verdict and verdict["verdict"] == "violation"):
        return word, BAD
    if outcome in ("inconclusive", "terminated"):
        return word, WARN
    return word, PLAIN if state == "arming" else GOOD


def _latched(record: Facts) -> bool:
    return bool(record["violations"]) or record["outcome"] == "violated"


def _policy(record: Facts) -> str:
    return str((record.get("judging") or {}).get("policy", "strict"))


def _moment(facts: Facts) -> str:
    wall = (facts.get("clock") or {}).get("wall")
    return "" if wall is None else _utc(wall)


def _utc(wall: float) -> str:
    """2026-01-10 06:43:20Z, by arithmetic: this file asks no clock."""
    days, seconds = divmod(int(wall), 86_400)
    z = days + 719_468  # Hinnant, "chrono-compatible low-level date algorithms": civil_from_days
    era, of_era = divmod(z, 146_097)
    year = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    month = (5 * of_year + 2) // 153
    day = of_year - (153 * month + 2) // 5 + 1
    month = month + 3 if month < 10 else month - 9
    year += 400 * era + (month <= 2)
    return f"{year:04d}-{month:02d}-{day:02d} {seconds // 3600:02d}:{seconds % 3600 // 60:02d}:{seconds % 60:02d}Z"


def _deadline(facts: Facts) -> str:
    """2026-01-10T12:06:07.160Z as 2026-01-10 12:06:07Z."""
    text = str(facts.get("deadline", ""))
    return f"{text[:19].replace('T', ' ')}Z" if text else "its deadline"


def span(seconds: float | None) -> str:
    """A duration for people: 3 h 12 min, 4 min 05 s, 12 s."""
    if seconds is None or not math.isfinite(seconds):
        return "an unknown time"
    whole = max(0, int(seconds))
    if whole >= 48 * 3600:
        return f"{whole // 86_400} d {whole % 86_400 // 3600} h"
    if whole >= 3600:
        return f"{whole // 3600} h" + (f" {whole % 3600 // 60:02d} min" if whole % 3600 >= 60 else "")
    if whole >= 60:
        return f"{whole // 60} min" + (f" {whole % 60:02d} s" if whole % 60 else "")
    return f"{whole} s"


def _percent(share: float) -> str:
    return f"{round(100 * share, 3):g} %"


def _bare(value: float | None, unit: str) -> str:
    if value is None:
        return "unknown"
    if abs(value) >= 1e6:
        return f"{value:.1e}"
    return f"{value:.1f}" if unit == "%" else f"{value:.0f}" if unit in _WHOLE else f"{value:.4f}"


_WHOLE = ("s", "USD")
_UNIT_IN_NAME = ("", "USD")


def _figure(value: float | None, unit: str) -> str:
    return _bare(value, unit) + (f" {unit}" if unit not in _UNIT_IN_NAME and value is not None else "")


def _limit(rule: Facts) -> str:
    return f"{rule['limit']:g}" + (f" {rule['unit']}" if rule["unit"] not in _UNIT_IN_NAME else "")


def _distance_text(distance: float | None, unit: str) -> str:
    if distance is None:
        return "unknown"
    return _bare(distance, unit) if distance >= 0 else f"{_bare(-distance, unit)} over"


# Lines


def _bar(share: float, width: int, style: str = GOOD) -> list[Segment]:
    """A share in [0, 1] as a bar; more is a full one."""
    if width < 4:
        return []
    full = round(width * min(1.0, max(0.0, share)))
    return [("█" * full, style), ("░" * (width - full), DIM)]


def _cells(text: str) -> int:
    """The cells of a terminal a text takes."""
    return len(text) if text.isascii() else sum(map(_cell, text))


def _cell(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1


def _cut(text: str, room: int) -> str:
    """``text`` in at most ``room`` cells, with a mark where something is missing."""
    if _cells(text) <= room:
        return text
    kept, used = [], 0
    for char in text:
        used += _cell(char)
        if used > room - 1:
            break
        kept.append(char)
    return "".join(kept) + "…" if room > 0 else ""


def _padded(text: str, width: int) -> str:
    """``text`` in exactly ``width`` cells, the last of them empty."""
    text = _cut(text, width - 1)
    return text + " " * (width - _cells(text))


def _wrapped(text: str, room: int, most: int) -> list[str]:
    """``text`` in lines of at most ``room`` cells, broken between words, ``most`` of them at most."""
    room = max(8, room)
    lines, line = [], ""
    for word in text.split():
        longer = f"{line} {word}" if line else word
        if _cells(longer) <= room:
            line = longer
            continue
        if line:
            lines.append(line)
        line = _cut(word, room)
    lines.append(line)
    return lines if len(lines) <= most else [*lines[: most - 1], _cut(f"{lines[most - 1]} …", room)]


def _rendered(segments: t.Sequence[Segment], columns: int, *, colour: bool, ascii_only: bool) -> str:
    """One line, cut to the columns."""
    whole = sum(_cells(text) for text, _style in segments)
    parts, used = [], 0
    for text, style in segments:
        if used >= columns:
            break
        # the last cell is for the mark that something is missing
        room = columns - used
        shown = text if whole <= columns or _cells(text) < room else _cut(text + "  ", room)
        used += _cells(shown)
        if ascii_only:
            shown = shown.translate(_ASCII).encode("ascii", "replace").decode()
        parts.append(f"\x1b[{style}m{shown}\x1b[0m" if colour and style and shown.strip() else shown)
    return "".join(parts).rstrip()
