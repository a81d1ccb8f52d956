#!/usr/bin/python

# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: qsc_canary_info
short_description: Tell what canary a host runs and what guards it
version_added: 0.1.0
description:
  - Gathers the record, the last check, the engine's process facts, the guards and the ledger's end. Changes nothing.
  - May wait for the monitor's next check before.
author:
  - The qsc.canary authors (@qsc-canary)
extends_documentation_fragment:
  - qsc.canary.host
attributes:
  check_mode:
    support: full
    description: This action does not modify state.
  diff_mode:
    support: N/A
    description: This action does not modify state.
options:
  tail:
    description: How many ledger entries to return.
    type: int
    default: 5
  wait_checks:
    description:
      - Wait until the monitor has made this many checks of the run, done or missed, or the run is over.
      - V(0) does not wait.
    type: int
    default: 0
  canary_id:
    description: The run to wait for; empty takes the newest one.
    type: str
    default: ""
  timeout_s:
    description: Seconds to wait at most. That they are over is no error; RV(followed.reached) tells.
    type: float
    default: 300
"""

EXAMPLES = r"""
- name: Look at the canary
  qsc.canary.qsc_canary_info:
  register: canary

- name: Show it
  ansible.builtin.debug:
    msg: "{{ canary.summary }}"

- name: Wait for the monitor's third check of this run
  qsc.canary.qsc_canary_info:
    wait_checks: 3
  register: canary
"""

RETURN = r"""
record:
  description: The record of the newest run, null when there never was one.
  type: dict
  returned: success
in_flight:
  description: Whether a run has neither ended at baseline nor been promoted.
  type: bool
  returned: success
agent:
  description: Whether the agent is installed, its digest, and the digest this collection carries.
  type: dict
  returned: success
engine:
  description: What systemd says of the engine; C(started_ms) is its last start in ms since 1970.
  type: dict
  returned: success
dropin:
  description: Path, presence and SHA-256 of the engine's drop-in.
  type: dict
  returned: success
guards:
  description: The state of the units that guard the run.
  type: dict
  returned: success
verdict:
  description: The monitor's last verdict on this run, null when there is none.
  type: dict
  returned: success
proof:
  description: What the engine's process runs, V(canary), V(baseline) or V(unproven), with the process facts.
  type: dict
  returned: success
deadline:
  description: When the present state ends by itself, UTC.
  type: str
  returned: success
seconds_left:
  description: Seconds left of the monitored time.
  type: float
  returned: success
ledger_tail:
  description: The newest ledger entries, oldest first.
  type: list
  elements: dict
  returned: success
drill:
  description: The ledger entry of the last drill, null when there was none.
  type: dict
  returned: success
rollback_cmd:
  description: What ends the run when pasted into a root shell on the host; empty when none is in flight.
  type: str
  returned: success
page:
  description: Why a human is needed, empty when none is. It stays until C(qsc acknowledge) on the host.
  type: str
  returned: success
frozen:
  description: The file that freezes this host, empty when there is none.
  type: str
  returned: success
held_back:
  description: What an operator has set before the next step of a rollout, a pause, a freeze window or a missing approval.
  type: list
  elements: str
  returned: success
drift:
  description: What became of the engine's weights file during the run, empty when nothing.
  type: str
  returned: success
ended:
  description:
    - What the run came to, V(safe) (or promoted), V(violated), V(undecided), V(none) where there is no run to tell of, V(paged)
      where a human is needed. Empty while it goes on.
  type: str
  returned: success
problems:
  description: What could not be read.
  type: list
  elements: str
  returned: success
followed:
  description: What came of waiting for the run.
  type: dict
  returned: O(wait_checks) above 0
  contains:
    canary_id:
      description: The run.
      type: str
      returned: always
    checks:
      description: The checks the monitor has made of it, done or missed.
      type: int
      returned: always
    ended:
      description: Whether it is over.
      type: bool
      returned: always
    ending:
      description: Whether something is about to end it.
      type: bool
      returned: always
    reached:
      description: Whether what was waited for happened within O(timeout_s).
      type: bool
      returned: always
    end:
      description: How the run ended, or is about to, and what the engine runs now, in a sentence; empty while nothing ends it.
      type: str
      returned: always
    check:
      description: The last check in lines for a terminal, each rule with its value and limit where it was judged.
      type: list
      elements: str
      returned: always
    ahead:
      description: What comes next, until when, and the way back, in lines for a terminal; empty when the run is over.
      type: list
      elements: str
      returned: always
summary:
  description: The same in lines for a terminal.
  type: list
  elements: str
  returned: success
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.qsc.canary.plugins.module_utils._guard import HOST_SPEC, make_host
from ansible_collections.qsc.canary.plugins.module_utils._result import run_module
from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import BadInput
from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard import status
from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard.host import Host
from ansible_collections.qsc.canary.plugins.module_utils.qsc.tell import follow, watch
from ansible_collections.qsc.canary.plugins.module_utils.qsc.tell.status import status_lines

ENDS: t.Mapping[int, str] = {
    watch.SAFE: "safe", watch.VIOLATED: "violated", watch.UNDECIDED: "undecided", watch.ERROR: "none", watch.PAGED: "paged",
}  # fmt: skip
_LONGEST_WAIT_S = 86_400.0


def act(module: AnsibleModule) -> dict[str, t.Any]:
    """Gather, and change nothing."""
    host = make_host(module)
    waited = _wait(module, host) if module.params["wait_checks"] > 0 else {}
    facts = status.gather(host, tail=module.params["tail"])
    end = watch.end_state(facts)
    ended = "" if end is None else ENDS[end]
    return {"changed": False, "summary": status_lines(facts), "ended": ended, **facts, **waited}


def _wait(module: AnsibleModule, host: Host) -> dict[str, t.Any]:
    """Wait for the checks, and tell of the last one."""
    wanted, timeout_s = module.params["wait_checks"], module.params["timeout_s"]
    if not 0 <= timeout_s <= _LONGEST_WAIT_S:
        raise BadInput(f"timeout_s={timeout_s:g}", remedy=f"Give seconds from 0 to {_LONGEST_WAIT_S:g}.")
    found = status.await_checks(host, checks=wanted, timeout_s=timeout_s, canary_id=module.params["canary_id"])
    facts = follow.with_figures_of_the_check(status.live(host), host.paths)
    return {
        "followed": {
            "canary_id": found.canary_id,
            "checks": found.checks,
            "ended": found.ended,
            "ending": found.ending,
            "reached": found.reached(wanted),
            **follow.told(facts, found.canary_id, over=found.ended or found.ending),
        }
    }


def main() -> t.NoReturn:
    module = AnsibleModule(
        argument_spec={
            **HOST_SPEC,
            "tail": {"type": "int", "default": 5},
            "wait_checks": {"type": "int", "default": 0},
            "canary_id": {"type": "str", "default": ""},
            "timeout_s": {"type": "float", "default": 300},
        },
        supports_check_mode=True,
    )
    run_module(module, act)


if __name__ == "__main__":
    main()
