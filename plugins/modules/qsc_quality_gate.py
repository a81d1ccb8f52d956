#!/usr/bin/python

# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: qsc_quality_gate
short_description: Judge the telemetry of an ensemble before a canary
version_added: 0.1.0
description:
  - Reads the decisions after a cutover from a Redis stream and holds every voting model and the ensemble against limits.
  - Missing proof is a refusal. Too few decisions, trimmed telemetry, a confidence that is not a number or a payload that
    cannot be read all fail the gate.
  - Changes nothing, ever.
author:
  - The qsc.canary authors (@qsc-canary)
extends_documentation_fragment:
  - qsc.canary.attributes
  - qsc.canary.attributes.read_only
  - qsc.canary.attributes.telemetry_group
  - qsc.canary.redis
  - qsc.canary.telemetry
  - qsc.canary.telemetry.judging
options:
  cutover:
    description:
      - The moment after which telemetry counts, normally the engine's last start.
      - A time with Z or an offset, the epoch in milliseconds, or a stream ID. Decisions of that very millisecond (or
        that very ID) do not count.
    type: str
    required: true
  mode:
    description:
      - With V(canary) a pass allows an activation.
      - With V(collection) fewer decisions are asked for, and RV(passed) is never true.
    type: str
    choices: [canary, collection]
    default: canary
  min_events:
    description: Decisions that are needed; by default 200 in mode V(canary) and 100 in mode V(collection).
    type: int
  max_events:
    description: Judge only the newest so many decisions after the cutover; V(0) judges all.
    type: int
    default: 0
  models:
    description:
      - Models that are to be the canary. Each must have telemetry, in at least C(min_coverage) percent of the decisions,
        and is judged even while it is marked shadow.
    type: list
    elements: str
    default: []
  require:
    description: Models whose violations refuse; V(all) for every voting model. Those in O(models) always do.
    type: list
    elements: str
    default: [all]
  require_ensemble:
    description:
      - Whether violations of the ensemble refuse.
      - An ensemble that breaks its rules before any canary would have a canary rolled back whatever it does.
    type: bool
    default: true
  stale_after:
    description: The stale limit in seconds to report in RV(cadence), or V(auto).
    type: str
    default: auto
  weight:
    description:
      - The weight the canary is to have. At 1.0 an ensemble of fewer than two voters is not held against it.
    type: float
  baseline:
    description:
      - The weights of the ensemble before the canary, by model. With one model in O(models) RV(impact) then tells
        what its share would change.
    type: dict
  policy:
    description:
      - The policy of the run that is to follow. The gate's own answer is that of V(strict) under both, what is not
        proven does not pass. With V(sequential) and one model in O(models) it also learns what such a run needs to know
        of the time before it, RV(frame), and tells how certain its figures are, RV(claims).
    type: str
    choices: [strict, sequential]
    default: strict
  duration_s:
    description: How long that run is to last, in seconds.
    type: float
    default: 21600
  fail_on_violation:
    description: Whether the task fails when the gate refuses. Errors always fail it.
    type: bool
    default: true
seealso:
  - module: qsc.canary.qsc_monitor_check
  - module: qsc.canary.qsc_gate_report
"""

EXAMPLES = r"""
- name: Judge the telemetry since the engine's last start
  qsc.canary.qsc_quality_gate:
    cutover: "2026-01-10T05:43:15Z"
    models: [patchtst]
    aliases:
      xgboost: xgb
      lightgbm: lgbm

- name: Look without failing, at a Redis with TLS and an ACL user
  qsc.canary.qsc_quality_gate:
    cutover: "1768023795000"
    mode: collection
    login_host: redis.example.org
    login_user: qsc
    login_password: "{{ lookup('ansible.builtin.env', 'QSC_REDIS_PASSWORD') }}"
    tls: true
    fail_on_violation: false
  register: gate

- name: Show each figure beside its limit
  ansible.builtin.debug:
    var: gate.report_lines
"""

RETURN = r"""
passed:
  description: Whether an activation is allowed.
  type: bool
  returned: always
exit_code:
  description: V(0) pass, V(2) fail or error, V(3) collection complete.
  type: int
  returned: always
mode:
  description: The mode that was asked for.
  type: str
  returned: when telemetry was read
reason:
  description: Why the gate refuses; empty when it does not.
  type: str
  returned: always
remedy:
  description: What to do about it; empty when there is nothing to do.
  type: str
  returned: always
stream:
  description: The stream that was read.
  type: str
  returned: when telemetry was read
checked_at:
  description: When, in UTC.
  type: str
  returned: when telemetry was read
judged_at:
  description: When, in seconds since 1970.
  type: float
  returned: when telemetry was read
cutover:
  description: The cutover as understood, RV(cutover.id) and RV(cutover.time); decisions after the ID counted.
  type: dict
  returned: when telemetry was read
  contains:
    id:
      description: The last stream ID that does not count.
      type: str
      returned: always
    time:
      description: The same moment in UTC.
      type: str
      returned: always
events:
  description: Decisions judged.
  type: int
  returned: when telemetry was read
  sample: 342
min_events:
  description: Decisions needed.
  type: int
  returned: when telemetry was read
window:
  description: What was judged, from RV(window.first_id) to RV(window.last_id).
  type: dict
  returned: when telemetry was read
  contains:
    first_id:
      description: The oldest decision judged; empty when there was none.
      type: str
      returned: always
    last_id:
      description: The newest decision judged.
      type: str
      returned: always
    truncated:
      description: Whether decisions after the cutover may have been trimmed before they were read.
      type: bool
      returned: always
models:
  description:
    - The figures of each model, unrounded, by name. A figure that cannot be known is null.
    - C(samples), C(coverage) in percent, C(shadow), C(inactive), C(actions) with C(count) and C(percent) of each,
      C(confidence) with C(mean), C(std), C(p10), C(p90), C(range), C(normalized) (logits) and C(mixed), C(fallback) with
      C(percent) and C(sources), C(invalid), C(violations), C(status) (pass, fail, shadow, absent) and C(required).
  type: dict
  returned: when telemetry was read
ensemble:
  description:
    - C(agreement) and C(hard_disagree) in percent over C(decisions) with two voters or more, C(by_voters), C(violations).
  type: dict
  returned: when telemetry was read
violations:
  description: What refuses, each with C(code), C(subject), C(measured), C(limit) and C(message).
  type: list
  elements: dict
  returned: when telemetry was read
blockers:
  description: What could not be read, in the same form, one for each model and kind.
  type: list
  elements: dict
  returned: when telemetry was read
before_cutover:
  description: The figures of at most 1000 decisions up to the cutover, to compare with.
  type: dict
  returned: when telemetry was read
cadence:
  description:
    - How often decisions come, over the newest 200, C(rate_per_s), C(largest_gap_s), C(stale_after_s), C(max_wait_s).
  type: dict
  returned: when telemetry was read
ignored:
  description: Decisions that held each name of O(ignore_models).
  type: dict
  returned: when telemetry was read
repeated:
  description: Decisions whose content had been published before.
  type: int
  returned: when telemetry was read
limits:
  description: The limits that were applied.
  type: dict
  returned: when telemetry was read
clock_skew_s:
  description: The clock of Redis minus the clock of the host.
  type: float
  returned: when telemetry was read
warnings:
  description: What does not refuse but should be known.
  type: list
  elements: str
  returned: when telemetry was read
policy:
  description: The policy that was asked for.
  type: str
  returned: when telemetry was read
frame:
  description:
    - What was learnt of the time before the cutover, for the policy V(sequential). C(bucket_s) is the length of one
      observation, C(buckets) how many the run should hold, C(tau_s) how long decisions resemble each other, C(means)
      and C(spreads) the figures of the canary and how far the mean of a bucket strays.
  type: dict
  returned: when telemetry was read
claims:
  description: How certain the figures are, for that policy, as M(qsc.canary.qsc_monitor_check) returns it.
  type: list
  elements: dict
  returned: when telemetry was read
impact:
  description:
    - What each share of the canary changes in the actions of the ensemble, from the votes and confidences as they were
      published, which do not depend on the weights. Null without O(baseline) and one model in O(models).
    - C(shares) holds one entry for 0, 10, 25, 50, 100 percent and O(weight), with C(share), C(weights), C(decisions),
      C(flipped), C(flip_share) (a fraction), C(exposure_usd) (the positions of the flips), C(unsized) (flips that tell none),
      C(directions) (C(from), C(to), C(count)) and C(symbols).
    - C(reproduced) tells in how many C(decisions) the engine published its own action, and in how many of them the vote at
      the baseline's weights is the C(same). C(sized) is how many tell the size of their position.
  type: dict
  returned: when telemetry was read
comparison:
  description:
    - The one model in O(models) beside the others on the same decisions, as M(qsc.canary.qsc_monitor_check) returns it; its
      drift is the one against the decisions before the cutover.
  type: dict
  returned: when telemetry was read
reference:
  description: What the run that follows compares with, the judged decisions in equal periods.
  type: dict
  returned: when telemetry was read
report:
  description: The report as Markdown.
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

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.qsc.canary.plugins.module_utils._redis import run_telemetry, telemetry_spec
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.gate import FAILED, evaluate
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.options import GateOptions
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.stream import StreamReader
from ansible_collections.qsc.canary.plugins.module_utils.qsc.tell.report import gate_result


def judge(module: AnsibleModule, reader: StreamReader) -> dict[str, t.Any]:
    """Judge the stream; a refusal fails the task unless the caller wants to look at it first."""
    result = gate_result(evaluate(reader, GateOptions.from_dict(module.params), time.time()))
    if result["exit_code"] == FAILED and module.params["fail_on_violation"]:
        result.update(failed=True, msg=f"{result['reason']}. {result['remedy']}")
    return result


def main() -> t.NoReturn:
    module = AnsibleModule(
        argument_spec=telemetry_spec(
            judging=True,
            cutover={"type": "str", "required": True},
            mode={"type": "str", "choices": ["canary", "collection"], "default": "canary"},
            min_events={"type": "int"},
            max_events={"type": "int", "default": 0},
            models={"type": "list", "elements": "str", "default": []},
            require={"type": "list", "elements": "str", "default": ["all"]},
            require_ensemble={"type": "bool", "default": True},
            stale_after={"type": "str", "default": "auto"},
            weight={"type": "float"},
            baseline={"type": "dict"},
            policy={"type": "str", "choices": ["strict", "sequential"], "default": "strict"},
            duration_s={"type": "float", "default": 21600},
            fail_on_violation={"type": "bool", "default": True},
        ),
        supports_check_mode=True,
    )
    run_telemetry(module, judge, passed=False, exit_code=FAILED)


if __name__ == "__main__":
    main()
