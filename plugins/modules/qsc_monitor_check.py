#!/usr/bin/python

# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: qsc_monitor_check
short_description: Judge a canary on its own decisions, once
version_added: 0.1.0
description:
  - Makes the same check as the monitor of a host, on the newest decisions after a marker.
  - The canary, the ensemble and the stream are judged. What the other models do is shown and never counts.
  - Reads telemetry; writes nothing but O(state_path).
author:
  - The qsc.canary authors (@qsc-canary)
extends_documentation_fragment:
  - qsc.canary.attributes
  - qsc.canary.attributes.telemetry_group
  - qsc.canary.redis
  - qsc.canary.telemetry
  - qsc.canary.telemetry.judging
attributes:
  check_mode:
    support: full
    details:
      - In check mode O(state_path) is not written.
  diff_mode:
    support: none
    details:
      - The state is no configuration.
options:
  model:
    description: The canary.
    type: str
    required: true
  since:
    description:
      - The marker, decisions after it are the canary's. A stream ID as M(qsc.canary.qsc_stream_marker) returns it, or a
        moment as in a cutover.
    type: str
    required: true
  entries_added:
    description: The count of the marker; with it telemetry that was trimmed before it was read is noticed at once.
    type: int
  weight:
    description: The canary's weight. At 1.0 an ensemble of fewer than two voters is not held against it.
    type: float
  baseline:
    description:
      - The weights of the ensemble before the canary, by model. With O(weight) they tell RV(impact).
    type: dict
  reference:
    description:
      - The time before the cutover, as M(qsc.canary.qsc_quality_gate) returns it, for the drift in RV(comparison).
      - By default at most 1000 decisions before O(since).
    type: dict
  exposure_budget:
    description:
      - End the run when the positions (C(position_size_usd)) of all decisions since the marker that the canary's weight
        has flipped come to so many USD; V(0) is no budget. See RV(exposure).
      - Needs O(baseline) and O(weight). With O(state_path) what was counted before is remembered.
    type: float
    default: 0
  policy:
    description:
      - With V(strict) any rule that is violated in the newest O(window_events) decisions, O(min_events) or more, is a
        violation.
      - With V(sequential) a rule must be violated for certain, in all decisions since the marker; what is gross
        still is one at once. RV(status) is V(GO) only when every rule is certain to be kept. See RV(claims).
    type: str
    choices: [strict, sequential]
    default: strict
  duration_s:
    description: How long the run is to last, in seconds; what may be spent on errors is spread over it.
    type: float
    default: 21600
  frame:
    description:
      - What was learnt of the time before the cutover, as M(qsc.canary.qsc_quality_gate) returns it, for the policy
        V(sequential).
      - By default it is learnt from the decisions before O(since) at the first check.
    type: dict
  min_events:
    description: Decisions from which on the figures are judged.
    type: int
    default: 200
  window_events:
    description: Judge the newest so many decisions after the marker.
    type: int
    default: 2000
  stale_after:
    description: Seconds without a new decision that are a violation; V(auto) takes them from the decisions before O(since).
    type: str
    default: auto
  max_wait:
    description: Seconds after which a canary without O(min_events) decisions is V(inconclusive); V(auto) as above.
    type: str
    default: auto
  state_path:
    description:
      - A file in which the check remembers how far it has read, so that the next one notices trimmed telemetry.
      - Without it every check stands alone.
    type: path
  fail_on_violation:
    description: Whether the task fails when the verdict is V(violation) or V(terminated). Errors always fail it.
    type: bool
    default: true
seealso:
  - module: qsc.canary.qsc_quality_gate
  - module: qsc.canary.qsc_stream_marker
"""

EXAMPLES = r"""
- name: Check the canary since its marker
  qsc.canary.qsc_monitor_check:
    model: patchtst
    since: "{{ marked.marker.id }}"
    entries_added: "{{ marked.marker.entries_added }}"
    fail_on_violation: false
  register: check

- name: Show the scoreboard
  ansible.builtin.debug:
    msg: "{{ check.scoreboard.splitlines() }}"
"""

RETURN = r"""
verdict:
  description:
    - V(ok), V(waiting) for decisions, V(violation), V(inconclusive) when it waited too long, or V(terminated) when
      O(exposure_budget) is spent.
  type: str
  returned: when telemetry was read
status:
  description: V(GO), V(WAIT) or V(NO-GO).
  type: str
  returned: when telemetry was read
exit_code:
  description: V(0) ok, V(1) violation or terminated, V(2) error, V(4) waiting or inconclusive.
  type: int
  returned: always
message:
  description: The verdict in a sentence.
  type: str
  returned: when telemetry was read
violations:
  description: What ends the run, each with C(code), C(subject), C(measured), C(limit) and C(message).
  type: list
  elements: dict
  returned: when telemetry was read
incumbent_violations:
  description: What other models do, in the same form; never a reason to roll back.
  type: list
  elements: dict
  returned: when telemetry was read
events:
  description: Decisions looked at.
  type: int
  returned: when telemetry was read
window:
  description: The first and the last of them, C(first_id) and C(last_id), and whether any was lost, C(truncated).
  type: dict
  returned: when telemetry was read
lag_s:
  description: Seconds since the newest decision.
  type: float
  returned: when telemetry was read
elapsed_s:
  description: Seconds since the marker.
  type: float
  returned: when telemetry was read
stale_after_s:
  description: The stale limit that was applied.
  type: float
  returned: when telemetry was read
max_wait_s:
  description: The longest wait that was applied.
  type: float
  returned: when telemetry was read
models:
  description: The figures of each model, as M(qsc.canary.qsc_quality_gate) returns them; the canary first.
  type: dict
  returned: when telemetry was read
ensemble:
  description: The figures of the ensemble.
  type: dict
  returned: when telemetry was read
claims:
  description:
    - Under the policy V(sequential) what is known of each rule, with C(rule), C(state) (V(kept), V(violated), V(open)
      or V(suspended)), C(value), C(limit) and the C(side) of it (V(above), V(below)) that is forbidden, the interval
      C(low) to C(high), C(decisions), C(buckets) and C(sentence).
    - C(alpha) is what the rule may spend on a false violation at all looks together, C(by) the detector that is certain.
  type: list
  elements: dict
  returned: when telemetry was read
frame:
  description: What was learnt of the time before the cutover, for that policy.
  type: dict
  returned: when telemetry was read
impact:
  description:
    - What the canary's weight changes in the actions of the ensemble, over the decisions that were judged (with
      V(sequential) the newest 1000). C(decisions), C(flipped), C(flip_share) (a fraction), C(exposure_usd), C(unsized),
      C(directions), C(symbols), C(first_id), C(last_id). Null without O(baseline) and O(weight).
  type: dict
  returned: when telemetry was read
exposure:
  description:
    - What of O(exposure_budget) is spent, with C(usd), C(budget_usd), C(decisions) since the marker, C(flipped) of them,
      C(unsized) flips without C(position_size_usd), and the stream ID C(until) which was counted. Null without a budget.
  type: dict
  returned: when telemetry was read
comparison:
  description:
    - The canary beside each other model on the same decisions. Shown only, it never decides.
    - C(canary) and each of C(incumbents) have C(coverage), C(agreement) with the majority of the others and its Cohen's
      C(kappa), the canary the C(difference) of its confidence from the mean of the others. Incumbents have C(same)
      (agreement with the canary), C(difference) from the canary, with an interval that holds at all looks, and C(mcnemar)
      (who is with the rest where only one of the two is, and the evidence that it is not half of the time).
    - C(symbols) has the canary by symbol. C(drift) compares with the time before the cutover, each figure beside what lies
      between equal periods of that time, and tells what all models share (C(market)) from what is the canary's C(own).
  type: dict
  returned: when telemetry was read
scoreboard:
  description: The page of the monitor, as Markdown.
  type: str
  returned: when telemetry was read
report_lines:
  description: The answer in lines for a terminal.
  type: list
  elements: str
  returned: when telemetry was read
"""

import time
import typing as t
from dataclasses import replace
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.qsc.canary.plugins.module_utils._redis import run_telemetry, telemetry_spec
from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import RecordUnreadable
from ansible_collections.qsc.canary.plugins.module_utils.qsc.files import read_json, write_json
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.check import (
    TERMINATED,
    VIOLATION,
    Progress,
    check,
    reference_before,
)
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.cutover import parse_cutover
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.options import MonitorOptions
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.stream import StreamReader
from ansible_collections.qsc.canary.plugins.module_utils.qsc.tell.report import check_lines, scoreboard

EXIT_CODES = {"ok": 0, VIOLATION: 1, TERMINATED: 1}
ERROR = 2
UNDECIDED = 4


def judge(module: AnsibleModule, reader: StreamReader) -> dict[str, t.Any]:
    """One check, from where the one before ended."""
    now = time.time()
    since = parse_cutover(module.params["since"], max(int(now * 1000), reader.server_ms()), option="since")
    options = MonitorOptions.from_dict(module.params, model=module.params["model"], since=since.after)
    if options.reference is None:
        options = replace(options, reference=reference_before(reader, options))
    path = Path(module.params["state_path"]) if module.params["state_path"] else None
    key = f"{options.model} {options.since}"
    result, progress = check(reader, options, _progress(path, key), max(0.0, now - since.after.ms / 1000))
    if path is not None and not module.check_mode:
        write_json(path, {"key": key, **progress.to_dict()})
    data = result.to_dict()
    data.update(
        scoreboard=scoreboard(data), report_lines=check_lines(data), exit_code=EXIT_CODES.get(result.verdict, UNDECIDED)
    )
    if result.verdict in (VIOLATION, TERMINATED) and module.params["fail_on_violation"]:
        data.update(failed=True, msg=f"{options.model}: {result.message}")
    return data


def _progress(path: Path | None, key: str) -> Progress | None:
    """What the check before left, unless it was of another canary."""
    if path is None:
        return None
    try:
        raw = read_json(path)
        return Progress.from_dict(raw) if raw["key"] == key else None
    except FileNotFoundError:
        return None
    except (KeyError, TypeError, ValueError) as error:
        raise RecordUnreadable(f"state_path={path} is not a state of this module", remedy="Remove it.") from error


def main() -> t.NoReturn:
    module = AnsibleModule(
        argument_spec=telemetry_spec(
            judging=True,
            model={"type": "str", "required": True},
            since={"type": "str", "required": True},
            entries_added={"type": "int"},
            weight={"type": "float"},
            baseline={"type": "dict"},
            reference={"type": "dict"},
            exposure_budget={"type": "float", "default": 0},
            policy={"type": "str", "choices": ["strict", "sequential"], "default": "strict"},
            duration_s={"type": "float", "default": 21600},
            frame={"type": "dict"},
            min_events={"type": "int", "default": 200},
            window_events={"type": "int", "default": 2000},
            stale_after={"type": "str", "default": "auto"},
            max_wait={"type": "str", "default": "auto"},
            state_path={"type": "path"},
            fail_on_violation={"type": "bool", "default": True},
        ),
        supports_check_mode=True,
    )
    run_telemetry(module, judge, exit_code=ERROR)


if __name__ == "__main__":
    main()
