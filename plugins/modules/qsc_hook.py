#!/usr/bin/python

# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: qsc_hook
short_description: Run an operator's command around the restart of an engine
version_added: 0.1.0
description:
  - Runs the command that the settings name, as a service of its own, as root and without a shell. It is stopped with all of its
    children when its time is up.
  - "V(pre_restart): when it fails, the V(post_restart) command is run and the module fails. A mark on the host says that the
    V(post_restart) command is due."
  - "V(post_restart): runs where it is due. The host's watchdog runs it where a play was killed in between."
  - "V(reload): lets the engine load the canary's weights without a restart."
  - Every run is an entry C(hook_run) in the ledger, without the command's arguments.
author:
  - The qsc.canary authors (@qsc-canary)
extends_documentation_fragment:
  - qsc.canary.host
attributes:
  check_mode:
    support: full
    description: Can run in C(check_mode) and return what would be changed without changing the target.
  diff_mode:
    support: none
    description: What a command changes is not known.
options:
  hook:
    description: Which of the commands.
    type: str
    choices: [pre_restart, post_restart, reload]
    required: true
  event:
    description: What the restart is for; the command finds it in E(QSC_CANARY_EVENT).
    type: str
    default: activate
  canary_id:
    description: The run, where it is armed; E(QSC_CANARY_ID).
    type: str
    default: ""
  model:
    description: The canary; E(QSC_CANARY_MODEL).
    type: str
    default: ""
  weight:
    description: Its share of the ensemble's weight; E(QSC_CANARY_TRAFFIC).
    type: float
    default: 0.0
"""

EXAMPLES = r"""
- name: Pause entries before the engine is restarted
  qsc.canary.qsc_hook:
    hook: pre_restart
    model: patchtst
    weight: 0.1
"""

RETURN = r"""
ran:
  description: Whether a command was run; without one nothing is done.
  type: bool
  returned: success
seconds:
  description: How long it took.
  type: float
  returned: when a command was run
output:
  description: The end of what it printed.
  type: str
  returned: when a command was run
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.qsc.canary.plugins.module_utils._guard import HOST_SPEC, make_host
from ansible_collections.qsc.canary.plugins.module_utils._result import run_module
from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import Refused
from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard import hooks, systemd


def act(module: AnsibleModule) -> dict[str, t.Any]:
    """Run one hook."""
    host, params = make_host(module), module.params
    hook = params["hook"]
    if module.check_mode:
        hooks.check(host)
        wanted = bool(hooks.command_of(host, hook))
        return {"changed": wanted, "ran": False}
    about = hooks.About(params["event"], params["canary_id"], params["model"], params["weight"])
    ran: systemd.Ran | None
    if hook == hooks.PRE:
        hooks.check(host)
        ran = hooks.before_restart(host, about)
    elif hook == hooks.RELOAD:
        ran = hooks.run_reload(host, about)
    else:
        ran = hooks.after_restart(host)
        problem = hooks.failed(ran, host) if ran is not None else ""
        if problem:
            raise Refused(problem)
    if ran is None:
        return {"changed": False, "ran": False}
    return {"changed": True, "ran": True, "seconds": ran.seconds, "output": ran.output}


def main() -> t.NoReturn:
    module = AnsibleModule(
        argument_spec={
            "hook": {"type": "str", "choices": list(hooks.HOOKS), "required": True},
            **HOST_SPEC,
            "event": {"type": "str", "default": "activate"},
            "canary_id": {"type": "str", "default": ""},
            "model": {"type": "str", "default": ""},
            "weight": {"type": "float", "default": 0.0},
        },
        supports_check_mode=True,
    )
    run_module(module, act)


if __name__ == "__main__":
    main()
