#!/usr/bin/python

# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: qsc_gate_report
short_description: Keep the answer of the quality gate on the host
version_added: 0.1.0
description:
  - Saves the gate's report as C(/var/lib/qsc_canary/gate_latest.md).
  - When the gate did not pass, appends a C(gate_refused) entry to the ledger, with every violation.
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
    description: The report is not shown as a diff; it holds new figures at every run.
options:
  model:
    description: The model the gate was asked about.
    type: str
    required: true
  gate:
    description: The result of M(qsc.canary.qsc_quality_gate).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Keep the gate's answer
  qsc.canary.qsc_gate_report:
    model: patchtst
    gate: "{{ gate }}"
"""

RETURN = r"""
path:
  description: Where the report stands.
  type: str
  returned: success
refused:
  description: Whether a C(gate_refused) entry was written.
  type: bool
  returned: success
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.qsc.canary.plugins.module_utils._guard import HOST_SPEC, make_host
from ansible_collections.qsc.canary.plugins.module_utils._result import run_module
from ansible_collections.qsc.canary.plugins.module_utils.qsc.files import write_atomic
from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard.activation import cutover_text
from ansible_collections.qsc.canary.plugins.module_utils.qsc.verdict import printable


def act(module: AnsibleModule) -> dict[str, t.Any]:
    """Save the report; log a refusal. A report is news at every run, not a change of the host's configuration."""
    gate, host = module.params["gate"], make_host(module)
    refused = gate.get("passed") is not True and gate.get("mode") != "collection"
    if not module.check_mode:
        with host.lock():
            write_atomic(host.paths.gate_report, str(gate.get("report") or gate.get("reason") or "").encode())
            if refused:
                host.ledger.append("gate_refused", _entry(module), wall=host.clock.wall())
    return {"changed": False, "path": str(host.paths.gate_report), "refused": refused}


def _entry(module: AnsibleModule) -> dict[str, t.Any]:
    gate = module.params["gate"]
    violations = [
        f"{name}: {violation.get('message', '')}"
        for name, model in sorted((gate.get("models") or {}).items())
        for violation in model.get("violations", ())
    ]
    violations += [item.get("message", "") for item in (gate.get("ensemble") or {}).get("violations", ())]
    violations += [
        item.get("message", str(item)) if isinstance(item, dict) else str(item) for item in gate.get("blockers") or ()
    ]
    return {
        "canary_model": module.params["model"],
        "reason": printable(str(gate.get("reason") or "the gate did not pass")),
        "violations": [printable(text) for text in violations[:50]],
        "quality_gate_events": gate.get("events"),
        "cutover_ts": cutover_text(gate),
        "quality_gate_window": gate.get("window"),
    }


def main() -> t.NoReturn:
    module = AnsibleModule(
        argument_spec={
            **HOST_SPEC,
            "model": {"type": "str", "required": True},
            "gate": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    run_module(module, act)


if __name__ == "__main__":
    main()
