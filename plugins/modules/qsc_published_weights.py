#!/usr/bin/python

# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: qsc_published_weights
short_description: Wait for the weights an engine publishes
version_added: 0.1.0
description:
  - Waits for a decision after a marker whose payload holds the weights the engine uses, and returns them.
  - Finding none within the time is not an error; RV(weights) is then null.
author:
  - The qsc.canary authors (@qsc-canary)
extends_documentation_fragment:
  - qsc.canary.attributes
  - qsc.canary.attributes.read_only
  - qsc.canary.attributes.telemetry_group
  - qsc.canary.redis
  - qsc.canary.telemetry
options:
  field:
    description: The payload field that holds the weights, an object of models and their shares, or the same as JSON text.
    type: str
    required: true
  since:
    description: The marker, a stream ID as M(qsc.canary.qsc_stream_marker) returns it, or a moment as in a cutover.
    type: str
    required: true
  wait_s:
    description: How many seconds to wait for such a decision.
    type: float
    default: 120.0
  aliases:
    description: Names of models in the telemetry, and the names they are to be known by.
    type: dict
    default: {}
seealso:
  - module: qsc.canary.qsc_canary
"""

EXAMPLES = r"""
- name: Wait for the weights the restarted engine uses
  qsc.canary.qsc_published_weights:
    field: weights
    since: "{{ marked.marker.id }}"
    wait_s: 60
  register: published
"""

RETURN = r"""
weights:
  description: The weights {model, share}; null when no decision told within the time.
  type: dict
  returned: success
  sample: {"lgbm": 0.28125, "nhits": 0.3375, "patchtst": 0.1, "xgb": 0.28125}
id:
  description: The decision that told; null when none did.
  type: str
  returned: success
decisions:
  description: Decisions looked at.
  type: int
  returned: success
"""

import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.qsc.canary.plugins.module_utils._redis import run_telemetry, telemetry_spec
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.cutover import parse_cutover
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.options import number
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.published import published_weights
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.stream import StreamReader


def wait(module: AnsibleModule, reader: StreamReader) -> dict[str, t.Any]:
    """Wait for the first decision that tells."""
    wait_s = number("wait_s", module.params["wait_s"], 0, 3600)
    since = parse_cutover(module.params["since"], max(int(time.time() * 1000), reader.server_ms()), option="since")
    found = published_weights(reader, module.params["field"], since.after, wait_s, aliases=module.params["aliases"])
    return {
        "weights": found.weights,
        "id": str(found.id) if found.id else None,
        "decisions": found.decisions,
    }


def main() -> t.NoReturn:
    module = AnsibleModule(
        argument_spec=telemetry_spec(
            field={"type": "str", "required": True},
            since={"type": "str", "required": True},
            wait_s={"type": "float", "default": 120.0},
            aliases={"type": "dict", "default": {}},
        ),
        supports_check_mode=True,
    )
    run_telemetry(module, wait)


if __name__ == "__main__":
    main()
