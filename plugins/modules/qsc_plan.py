#!/usr/bin/python

# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: qsc_plan
short_description: Say what the run of a canary would be before it begins
version_added: 0.1.0
description:
  - Tells when a run would first be judged, how many decisions and buckets it would hold, how often each policy would have
    rolled back a canary of this host's own past, and the smallest degradation the run can find at all.
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
  - qsc.canary.replay
options:
  cutover:
    description: Look at the decisions after this only, as in M(qsc.canary.qsc_quality_gate); by default at all there are.
    type: str
  run_policy:
    description: The policy of the run that is planned, to be shown.
    type: str
    choices: [strict, sequential]
    default: strict
seealso:
  - module: qsc.canary.qsc_backtest
  - module: qsc.canary.qsc_quality_gate
"""

EXAMPLES = r"""
- name: What would a run of patchtst be?
  qsc.canary.qsc_plan:
    model: patchtst
  register: plan

- name: Show it
  ansible.builtin.debug:
    msg: "{{ plan.report_lines }}"
"""

RETURN = r"""
model:
  description: The model.
  type: str
  returned: success
source:
  description: Where the decisions come from.
  type: str
  returned: success
decisions:
  description: Decisions that were looked at.
  type: int
  returned: success
duration_s:
  description: Seconds of the run.
  type: float
  returned: success
interval_s:
  description: Seconds between two checks.
  type: float
  returned: success
min_events:
  description: Decisions from which on the figures are judged.
  type: int
  returned: success
policy:
  description: The policy of the run.
  type: str
  returned: success
limits:
  description: The limits that hold.
  type: dict
  returned: success
cadence:
  description: How often decisions come, over the newest 200, and the limits of patience, as M(qsc.canary.qsc_quality_gate) returns it.
  type: dict
  returned: success
first_judgement_s:
  description: Seconds until there are O(min_events) decisions at this rate; null when no rate is known.
  type: float
  returned: success
expected_decisions:
  description: Decisions the run will hold at this rate.
  type: float
  returned: success
expected_buckets:
  description: Buckets it will hold under V(sequential).
  type: int
  returned: success
frame:
  description: What was learnt, as M(qsc.canary.qsc_quality_gate) returns it.
  type: dict
  returned: success
chance:
  description: The chance with which what stands in RV(reach) is found.
  type: float
  returned: success
reach:
  description:
    - For each rule what a run under V(sequential) finds. C(now) is the figure today, C(seen) the nearest one beyond its
      C(limit) that is found with RV(chance), C(seen_late) the same of a change at half time, C(kept) the value within
      which the rule can be called kept. Null where that cannot happen, or where C(learnt) is false.
  type: list
  elements: dict
  returned: success
backtest:
  description: The past of this host replayed, as M(qsc.canary.qsc_backtest) returns it but for the single runs; null when too short.
  type: dict
  returned: success
backtest_reason:
  description: Why nothing was replayed; empty when it was.
  type: str
  returned: success
impact:
  description:
    - What each share of the canary changes in the actions of the ensemble, from the votes and confidences as they were
      published, which do not depend on the weights. Null without O(baseline), over at most the newest 10000 decisions.
    - C(shares) holds one entry for 0, 10, 25, 50, 100 percent and O(weight), with C(share), C(weights), C(decisions),
      C(flipped), C(flip_share) (a fraction), C(exposure_usd) (the positions of the flips), C(unsized) (flips that tell none),
      C(directions) (C(from), C(to), C(count)) and C(symbols).
    - C(reproduced) tells in how many C(decisions) the engine published its own action, and in how many of them the vote at
      the baseline's weights is the C(same). C(sized) is how many tell the size of their position.
  type: dict
  returned: success
notes:
  description: What speaks against such a run, whatever the model does.
  type: list
  elements: str
  returned: success
report_lines:
  description: The answer in lines for a terminal.
  type: list
  elements: str
  returned: success
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.qsc.canary.plugins.module_utils._redis import run_telemetry
from ansible_collections.qsc.canary.plugins.module_utils._replay import recorded, replay_spec
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.backtest import BacktestOptions
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.plan import plan
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.stream import StreamReader
from ansible_collections.qsc.canary.plugins.module_utils.qsc.tell.backtest import plan_result


def answer(module: AnsibleModule, reader: StreamReader) -> dict[str, t.Any]:
    """The plan. What speaks against it is part of the answer, no warning of the task."""
    asked = BacktestOptions.from_dict({**module.params, "since": module.params["cutover"]})
    return plan_result(plan(recorded(module, reader, asked), asked))


def main() -> t.NoReturn:
    module = AnsibleModule(
        argument_spec=replay_spec(
            cutover={"type": "str"},
            run_policy={"type": "str", "choices": ["strict", "sequential"], "default": "strict"},
        ),
        supports_check_mode=True,
    )
    run_telemetry(module, answer)


if __name__ == "__main__":
    main()
