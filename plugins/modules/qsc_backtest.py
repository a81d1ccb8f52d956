#!/usr/bin/python

# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: qsc_backtest
short_description: Replay recorded telemetry as if canaries had run on it
version_added: 0.1.0
description:
  - Runs a canary of one model over recorded decisions from every possible start, check by check, with the monitor's own
    judges and without a look into the future, and tells how the runs end under each policy.
  - What is learnt before a run is learnt from the decisions before its start, as on a host.
  - A rollback of a recording that is known to be healthy is a false one. Planted degradations show what a policy finds,
    and how soon.
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
  since:
    description: Decisions after this count. A time with Z or an offset, the epoch in milliseconds, or a stream ID.
    type: str
  until:
    description: Decisions up to this count, in the same form.
    type: str
  degradation:
    description:
      - What is planted in the model's votes, in runs of its own. V(standard) stands for the four kinds with usual values.
      - V(collapse:HOLD:0.9) makes nine in ten votes HOLD, V(shrink:0.1) multiplies the spread of the confidence,
        V(dropout:0.5) takes every second vote away, V(constant) repeats the last vote for ever.
      - From 3600 seconds after the start on, or as C(@SECONDS) says at the end, such as V(constant@600).
    type: list
    elements: str
    default: []
  seed:
    description: The seed of what is planted; the same one gives the same result.
    type: int
    default: 0
seealso:
  - module: qsc.canary.qsc_plan
  - module: qsc.canary.qsc_monitor_check
"""

EXAMPLES = r"""
- name: How would canaries of patchtst have ended on the telemetry of this host?
  qsc.canary.qsc_backtest:
    model: patchtst
    degradation: [standard]
  register: tested

- name: Show the table
  ansible.builtin.debug:
    msg: "{{ tested.report_lines }}"

- name: Replay a file under one policy
  qsc.canary.qsc_backtest:
    model: xgb
    file: /var/tmp/telemetry.jsonl
    aliases:
      xgboost: xgb
    policy: [sequential]
"""

RETURN = r"""
source:
  description: Where the decisions come from.
  type: str
  returned: success
model:
  description: The model.
  type: str
  returned: success
weight:
  description: Its weight, where one was given.
  type: float
  returned: success
decisions:
  description: Decisions in the recording.
  type: int
  returned: success
since:
  description: The moment of the first one.
  type: str
  returned: success
until:
  description: The moment of the last one.
  type: str
  returned: success
span_s:
  description: Seconds between the two.
  type: float
  returned: success
starts:
  description: How many starts were replayed.
  type: int
  returned: success
every_s:
  description: Seconds between two of them.
  type: float
  returned: success
interval_s:
  description: Seconds between two checks.
  type: float
  returned: success
duration_s:
  description: Seconds of a run.
  type: float
  returned: success
min_events:
  description: Decisions from which on the figures are judged.
  type: int
  returned: success
window_events:
  description: Decisions in the window of V(strict).
  type: int
  returned: success
limits:
  description: The limits that were applied.
  type: dict
  returned: success
seed:
  description: The seed.
  type: int
  returned: success
gate_passed:
  description: At how many of the starts the gate's rules would have let the model pass.
  type: int
  returned: success
policies:
  description:
    - The result of each policy. C(rolled_back), C(safe), C(inconclusive) and C(cut_off) (the recording ends first) count
      the runs, C(rollback) and C(rollback_passed) (where the gate passes) hold C(count), C(of), C(share) and a 95 percent
      interval C(low) to C(high) of as many independent C(runs) as fit one after the other.
    - C(median_s) and C(median_decisions) tell when runs were rolled back, C(rules) and C(first_rules) by what,
      C(inconclusive_for) why others were inconclusive.
    - C(degradations) holds for each one C(alive) (runs it met), C(detected), C(delay_s) with C(median) and C(p95), and
      C(anyway) (of those, how many are rolled back without it). C(runs) holds every single run.
  type: list
  elements: dict
  returned: success
report:
  description: The answer as Markdown.
  type: str
  returned: success
report_lines:
  description: The answer in lines for a terminal.
  type: list
  elements: str
  returned: success
plot:
  description: Every run by its start, as SVG.
  type: str
  returned: success
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.qsc.canary.plugins.module_utils._redis import run_telemetry
from ansible_collections.qsc.canary.plugins.module_utils._replay import recorded, replay_spec
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.backtest import BacktestOptions, backtest
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.stream import StreamReader
from ansible_collections.qsc.canary.plugins.module_utils.qsc.tell.backtest import backtest_result


def replay(module: AnsibleModule, reader: StreamReader) -> dict[str, t.Any]:
    """All runs."""
    asked = BacktestOptions.from_dict(module.params)
    return backtest_result(backtest(recorded(module, reader, asked), asked))


def main() -> t.NoReturn:
    module = AnsibleModule(
        argument_spec=replay_spec(
            since={"type": "str"},
            until={"type": "str"},
            degradation={"type": "list", "elements": "str", "default": []},
            seed={"type": "int", "default": 0},
        ),
        supports_check_mode=True,
    )
    run_telemetry(module, replay)


if __name__ == "__main__":
    main()
