# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's facts in every state `qsc status --watch` can meet, as `guard.status.live` and the command give them."""

from __future__ import annotations

import math
import typing as t

from ansible_collections.qsc.canary.plugins.module_utils.qsc.files import timestamp
from ansible_collections.qsc.canary.plugins.module_utils.qsc.tell.figures import Figures, Rule

from .samples import UNIT, make_record, make_verdict

Facts = dict[str, t.Any]
ELAPSED_S = 10_080.0
"""s since the activation in every scene: 2 h 48 min of 6 h."""
VIOLATION = {
    "code": "action_collapse",
    "subject": "patchtst",
    "measured": 78.3,
    "limit": 70.0,
    "message": "Action collapse: HOLD=78.3% (>70%)",
}


def _strict_rules() -> tuple[Rule, ...]:
    return (
        Rule("BUY", "%", "most", 23.3, 70.0),
        Rule("SELL", "%", "most", 23.2, 70.0),
        Rule("HOLD", "%", "most", 53.5, 70.0),
        Rule("conf_std", "", "least", 0.1524, 0.05),
        Rule("p90-p10", "", "least", 0.3923, 0.12),
        Rule("coverage", "%", "least", 100.0, 80.0),
        Rule("fallback", "%", "most", 0.0, 20.0),
        Rule("agreement", "%", "least", 68.0, 55.0),
        Rule("agreement", "%", "most", 68.0, 80.0),
        Rule("hard disagreement", "%", "most", 5.8, 20.0),
        Rule("newest decision", "s", "most", 2.0, 200.0),
    )


def _sequential_rules() -> tuple[Rule, ...]:
    return (
        Rule("BUY", "%", "most", 23.3, 70.0, 12.1, 34.5, "kept", 18),
        Rule("SELL", "%", "most", 23.2, 70.0, 11.9, 34.5, "kept", 18),
        Rule("HOLD", "%", "most", 63.5, 70.0, 51.0, 76.0, "open", 18),
        Rule("conf_std", "", "least", 0.1524, 0.05, 0.09, 0.2, "kept", 18),
        Rule("p90-p10", "", "least", 0.3923, 0.12, 0.2, 0.55, "kept", 18),
        Rule("agreement", "%", "least", 57.0, 55.0, 46.1, 67.9, "suspended", 18),
        Rule("agreement", "%", "most", 57.0, 80.0, 46.1, 67.9, "suspended", 18),
        Rule("hard disagreement", "%", "most", 5.8, 20.0, 1.2, 10.4, "kept", 18),
        Rule("newest decision", "s", "most", 2.0, 200.0),
    )


def _figures(record: t.Any, checked_at: float, **changes: t.Any) -> Facts:
    values: Facts = {
        "canary_id": record.id,
        "checked_at": checked_at,
        "policy": "strict",
        "judged": True,
        "events": 2000,
        "min_events": 200,
        "bucket_s": 0.0,
        "rules": _strict_rules(),
    }
    return Figures(**{**values, **changes}).to_dict()


def scene(
    record: Facts | None = None,
    verdict: Facts | None = None,
    figures: Facts | None = None,
    age_s: float = 12.0,
    **changes: t.Any,
) -> Facts:
    """A host 2 h 48 min into a run, all well, whose last check was ``age_s`` ago; each part may be changed."""
    run = make_record(**(record or {}))
    boot, wall = run.activated_boot + ELAPSED_S, run.activated_at + ELAPSED_S
    done = int(ELAPSED_S / run.interval_s)
    said = make_verdict(
        **{
            "checked_at": wall - age_s,
            "checked_boot": boot - age_s,
            "checks_done": done,
            "checks_judged": done - 6,
            "events": 2000,
            "message": "2000 decisions judged, nothing against patchtst",
            **(verdict or {}),
        }
    )
    expected = int(run.duration_s / run.interval_s)
    held = run.held
    length = run.hold_s if held else run.deadline_s
    left = max(0.0, length - (boot - (run.concluded_boot if held else run.activated_boot)))
    facts: Facts = {
        "host": "prod-7",
        "clock": {"wall": wall, "boot": boot, "boot_id": run.boot_id},
        "record": run.to_dict(),
        "in_flight": run.in_flight,
        "verdict": said.to_dict(),
        "figures": _figures(run, said.checked_at, **(figures or {})),
        "engine": {"unit": UNIT, "active_state": "active", "sub_state": "running", "main_pid": 4321, "n_restarts": 0},
        "proof": {"state": "canary" if run.live else "baseline", "reason": "", "main_pid": 4321},
        "guards": {
            "qsc-watchdog.timer": "active",
            "qsc-monitor.timer": "active" if run.live else "inactive",
            "qsc-rollback.service": "inactive",
        },
        "deadline": timestamp(wall + left) if run.state == "active" else "",
        "seconds_left": left if run.state == "active" else None,
        "rollback_cmd": f"/usr/local/bin/qsc rollback --id {run.id}" if run.in_flight else "",
        "watching": {
            "expected": expected,
            "needed": math.ceil(0.95 * expected),
            "due": done if run.state == "active" else 0,
            "missed_limit": 4,
            "silence_limit_s": 155.0,
        },
        "page": "",
        "frozen": "",
        "held_back": [],
        "drift": "",
        "problems": [],
    }
    return {**facts, **changes}


def none_yet() -> Facts:
    """Nothing ever ran here."""
    nothing = dict.fromkeys(("record", "verdict", "figures", "watching", "seconds_left"))
    guards = {"qsc-watchdog.timer": "active", "qsc-monitor.timer": "inactive", "qsc-rollback.service": "inactive"}
    return {
        **scene(),
        **nothing,
        "in_flight": False,
        "proof": {"state": "baseline", "reason": ""},
        "guards": guards,
        "deadline": "",
        "rollback_cmd": "",
    }


def arming() -> Facts:
    """Armed, the engine is on its way."""
    facts = scene({"state": "arming", "activated_at": 0.0, "activated_boot": 0.0, "effective": ""})
    clock = {**facts["clock"], "wall": 1_768_000_040.0, "boot": 1_040.0}
    return {
        **facts, "clock": clock, "verdict": None, "figures": None, "deadline": "2026-01-09T23:11:40.000Z",
        "seconds_left": None, "proof": {"state": "baseline", "reason": ""},
    }  # fmt: skip


_SEQUENTIAL = {"judging": {"policy": "sequential"}}
_SEQUENTIAL_FIGURES = {"policy": "sequential", "bucket_s": 560.0, "rules": _sequential_rules()}
_OPEN = {
    "status": "WAIT",
    "message": "2000 decisions, nothing against patchtst; 5 of 8 rules are kept for certain; HOLD at most 70 %: not "
    "certain yet, 63.5 % (51.0 % to 76.0 %) over 18 buckets of 9 min; and 2 more",
}
_ENDED = {
    "violations": (VIOLATION,), "outcome": "violated", "trigger": "qsc_monitor_violation",
    "reason": VIOLATION["message"], "violated_at": 1_768_000_100.0 + 10_050.0,
}  # fmt: skip
_HELD = {"concluded_at": 1_768_000_100.0 + 7_200.0, "concluded_boot": 1_100.0 + 7_200.0, "duration_s": 7_200.0}
_BAD_RULES = tuple(Rule("HOLD", "%", "most", 78.3, 70.0) if rule.name == "HOLD" else rule for rule in _strict_rules())
_PAGE = (
    f"a human is needed since 2026-01-10T02:10:00.000Z: the baseline of {UNIT} is not proven after 8 tries: "
    f"'systemctl --no-ask-password restart {UNIT}' failed: Job for {UNIT} failed. When you know why: qsc acknowledge"
)
_BAD = {"verdict": "violation", "status": "NO-GO", "message": VIOLATION["message"]}
_HOSTILE_RULE = Rule("\N{CJK UNIFIED IDEOGRAPH-4E00}" * 24, "%", "most", -1e9, 1e-9, -1e9, 1e9, "open", 2**52)
HOSTILE = "\N{CJK UNIFIED IDEOGRAPH-4E00}" * 300 + " \N{REPLACEMENT CHARACTER}[2J " + "x" * 180

SCENES: t.Mapping[str, t.Callable[[], Facts]] = {
    "none": none_yet,
    "arming": arming,
    "waiting": lambda: scene(
        verdict={"verdict": "waiting", "status": "WAIT", "events": 120, "checks_judged": 0,
                 "message": "120 of 200 decisions, about 11 min at this rate"},
        figures={"judged": False, "events": 120},
    ),
    "not checked yet": lambda: {
        **scene(), "verdict": None, "figures": None, "seconds_left": 21_590.0, "deadline": "2026-01-10T05:08:20.000Z",
        "clock": {"wall": 1_768_000_110.0, "boot": 1_110.0, "boot_id": "kernel/mark"},
    },
    "strict": scene,
    "steps": lambda: scene({"weight": 0.25}, steps=[0.10, 0.25, 0.50, 1.00]),
    "sequential": lambda: scene(_SEQUENTIAL, _OPEN, _SEQUENTIAL_FIGURES),
    "extended": lambda: scene(
        {**_SEQUENTIAL, "extended": True, "inconclusive": "extend", "duration_s": 7_200.0, "max_duration_s": 14_400.0},
        _OPEN, _SEQUENTIAL_FIGURES,
    ),
    "safe": lambda: scene({**_HELD, "outcome": "safe"}),
    "safe with steps": lambda: scene({**_HELD, "outcome": "safe"}, steps=[0.10, 0.25, 0.50, 1.00]),
    "safe and held back": lambda: scene(
        {**_HELD, "outcome": "safe"}, steps=[0.10, 0.25, 0.50, 1.00],
        held_back=["paused since 2026-01-10T01:00:00.000Z by root: earnings week",
                   "the step to 25 % needs an approval: qsc rollout approve 0.25"],
    ),
    "paused": lambda: scene(held_back=["paused since 2026-01-10T01:00:00.000Z by root: earnings week"]),
    "inconclusive": lambda: scene(
        {**_HELD, **_SEQUENTIAL, "outcome": "inconclusive", "inconclusive": "hold",
         "reason": f"the last verdict is ok with status WAIT: {_OPEN['message']}"},
        _OPEN, _SEQUENTIAL_FIGURES,
    ),
    "violated": lambda: scene(verdict=_BAD, figures={"rules": _BAD_RULES}),
    "rolling back": lambda: scene({**_ENDED, "state": "rolling_back"}, _BAD, {"rules": _BAD_RULES}),
    "rolled back": lambda: scene(
        {**_ENDED, "state": "rolled_back", "rolled_back_at": 1_768_000_100.0 + 10_054.0},
        _BAD, {"rules": _BAD_RULES},
    ),
    "ended by hand": lambda: scene(
        {"state": "rolled_back", "outcome": "terminated", "trigger": "manual", "reason": "maintenance"}
    ),
    "promoted": lambda: scene({"state": "promoted", "outcome": "safe", "weight": 1.0}, steps=[0.10, 0.25, 0.50, 1.00]),
    "paged": lambda: scene(
        {**_ENDED, "state": "rolling_back"}, page=_PAGE,
        guards={"qsc-watchdog.timer": "active", "qsc-monitor.timer": "inactive", "qsc-rollback.service": "failed"},
        proof={"state": "unproven", "reason": "the process still has QSC_CANARY_MODEL"},
    ),
    "frozen": lambda: scene(
        frozen="/etc/qsc_canary/freeze", drift="/etc/quantum/model_weights.json was changed",
        record={"resumed": 1},
    ),
    "monitor late": lambda: scene(age_s=100.0),
    "monitor silent": lambda: scene(age_s=170.0),
    "telemetry away": lambda: scene(
        verdict={"verdict": "transient", "status": "WAIT", "checks_missed": 7, "missed_in_a_row": 3, "events": 0,
                 "message": "Redis at 10.0.0.5:6379 cannot be reached: timed out"}
    ),
    "unwatched": lambda: scene(
        guards={"qsc-watchdog.timer": "inactive", "qsc-monitor.timer": "active", "qsc-rollback.service": "inactive"}
    ),
    "hostile": lambda: scene(
        verdict={"message": HOSTILE},
        figures={"rules": (_HOSTILE_RULE,)},
        problems=[HOSTILE],
    ),
    "figures unreadable": lambda: {
        **scene(), "figures": None,
        "figures_problem": "the monitor's figures cannot be used: Expecting value: line 1 column 1 (char 0)",
    },
    "unreadable": lambda: {
        **none_yet(), "problems": ["/var/lib/qsc_canary/record.json cannot be read: Expecting value"],
    },
}  # fmt: skip
