#!/usr/bin/python

# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: qsc_rollout
short_description: Tell the next step of a staged rollout, and pause, resume, approve or abort it
version_added: 0.1.0
description:
  - "V(decided) says which step a host takes next, or what it waits for and until when. It takes none, and changes nothing."
  - The steps themselves are those of M(qsc.canary.qsc_canary); the role's entry point C(rollout) takes them.
  - "V(paused), V(resumed) and V(approved) are kept on the host in C(/var/lib/qsc_canary/rollout.json), and in the ledger."
  - "V(aborted) restores the baseline and proves it. The model is rolled out again only when that run is acknowledged."
author:
  - The qsc.canary authors (@qsc-canary)
extends_documentation_fragment:
  - qsc.canary.host
attributes:
  check_mode:
    support: full
    description: Tells what would be changed, or undone.
  diff_mode:
    support: full
    description: Returns the pause and the approvals before and after, or what is undone.
options:
  state:
    description: What to do.
    type: str
    choices: [decided, paused, resumed, approved, aborted]
    required: true
  model:
    description: The model to roll out. Without one a rollout goes on, and none is begun.
    type: str
    default: ""
  acknowledge:
    description: The id of this model's last run, where that one has stopped the rollout, or was promoted.
    type: str
    default: ""
  baseline:
    description: The weights the engine runs without the canary. Exclusive with O(baseline_path).
    type: dict
  baseline_path:
    description: The file the engine reads its weights from. Exclusive with O(baseline).
    type: path
  confirm_full:
    description: Confirms that all other models get weight 0.
    type: bool
    default: false
  promoted_weights:
    description: The weights that become the engine's own after the last step. The canary's weights when left out.
    type: dict
  max_verdict_age_s:
    description: Seconds since the run was found safe after which it is neither raised nor promoted.
    type: float
  share:
    description: The share of the step that is approved. Needed for O(state=approved).
    type: float
  reason:
    description: Why, for the ledger. Needed for O(state=paused).
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: What comes next on this host?
  qsc.canary.qsc_rollout:
    state: decided
    agent_digest: "{{ lookup('qsc.canary.agent_digest') }}"
  register: next_step

- name: Take no further step
  qsc.canary.qsc_rollout:
    state: paused
    reason: earnings week

- name: Allow the step to 50 %
  qsc.canary.qsc_rollout:
    state: approved
    share: 0.5
"""

RETURN = r"""
decision:
  description:
    - The C(action), one of V(activate), V(raise), V(promote), V(wait), V(done) and V(stopped).
    - "Its C(sentence), the C(remedy), and C(until) and C(until_time): when what is waited for ends by itself, 0 where it
      does not."
    - The C(model), its C(canary_id), the next C(share), and step C(number) of C(of).
  type: dict
  returned: O(state=decided)
rollout:
  description: Whether the rollout is C(paused), by whom, when and why, and the C(approvals).
  type: dict
  returned: O(state=decided), O(state=paused), O(state=resumed) or O(state=approved)
record:
  description: The record after the rollback.
  type: dict
  returned: O(state=aborted), not in check mode
proof:
  description: The process facts that prove the baseline.
  type: dict
  returned: O(state=aborted), not in check mode
summary:
  description: The same in lines for a terminal.
  type: list
  elements: str
  returned: success
"""

import functools
import json
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.qsc.canary.plugins.module_utils._guard import (
    HOST_SPEC,
    make_host,
    rolled_back_result,
    would_roll_back,
)
from ansible_collections.qsc.canary.plugins.module_utils._result import run_module
from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard import promotion, reconcile, rollout_state
from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard.host import Host


def decided(module: AnsibleModule, host: Host) -> dict[str, t.Any]:
    """The next step, or why there is none; changes nothing."""
    params = module.params
    names = ("model", "acknowledge", "baseline", "confirm_full", "promoted_weights")
    decision = reconcile.decided(
        host,
        reconcile.Request(
            **{name: params[name] for name in names},
            baseline_path=params["baseline_path"] or "",
            max_age_s=params["max_verdict_age_s"],
        ),
    )
    state = rollout_state.read(host)
    paused = [state.paused.line()] if state.paused is not None else []
    return {
        "changed": False,
        "decision": decision.to_dict(),
        "rollout": state.to_dict(),
        "summary": [decision.line(), *paused],
    }


def paused(module: AnsibleModule, host: Host) -> dict[str, t.Any]:
    """No step from now on."""
    return _told(rollout_state.pause(host, module.params["reason"], dry_run=module.check_mode))


def resumed(module: AnsibleModule, host: Host) -> dict[str, t.Any]:
    """Steps again."""
    return _told(rollout_state.resume(host, dry_run=module.check_mode))


def approved(module: AnsibleModule, host: Host) -> dict[str, t.Any]:
    """The next step may be taken."""
    next_step = functools.partial(promotion.next_step, host.settings.steps)
    return _told(rollout_state.approve(host, module.params["share"], next_step, dry_run=module.check_mode))


def _told(told: rollout_state.Told) -> dict[str, t.Any]:
    before, after, sentence = told
    shown = [json.dumps(state.to_dict(), indent=1, sort_keys=True) + "\n" for state in (before, after)]
    return {
        "changed": before != after,
        "rollout": after.to_dict(),
        "summary": [sentence],
        "diff": {"before": shown[0], "after": shown[1]},
    }


def aborted(module: AnsibleModule, host: Host) -> dict[str, t.Any]:
    """Restore and prove the baseline, or tell what would be undone."""
    if module.check_mode:
        return would_roll_back(host)
    outcome = reconcile.abort(host, module.params["reason"])
    return rolled_back_result(outcome)


STATES: t.Mapping[str, t.Callable[[AnsibleModule, Host], dict[str, t.Any]]] = {
    "decided": decided,
    "paused": paused,
    "resumed": resumed,
    "approved": approved,
    "aborted": aborted,
}


def act(module: AnsibleModule) -> dict[str, t.Any]:
    """One question, or one word of an operator."""
    return STATES[module.params["state"]](module, make_host(module))


def main() -> t.NoReturn:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": list(STATES), "required": True},
            **HOST_SPEC,
            "model": {"type": "str", "default": ""},
            "acknowledge": {"type": "str", "default": ""},
            "baseline": {"type": "dict"},
            "baseline_path": {"type": "path"},
            "confirm_full": {"type": "bool", "default": False},
            "promoted_weights": {"type": "dict"},
            "max_verdict_age_s": {"type": "float"},
            "share": {"type": "float"},
            "reason": {"type": "str", "default": ""},
        },
        required_if=[("state", "approved", ("share",))],
        mutually_exclusive=[("baseline", "baseline_path")],
        supports_check_mode=True,
    )
    run_module(module, act)


if __name__ == "__main__":
    main()
