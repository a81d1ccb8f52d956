#!/usr/bin/python

# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: qsc_stream_marker
short_description: Mark the present end of a telemetry stream
version_added: 0.1.0
description:
  - Returns the last ID of a stream and how many entries were ever added to it.
  - A marker says which decisions came later without comparing clocks, and by its count whether any of them was trimmed.
author:
  - The qsc.canary authors (@qsc-canary)
extends_documentation_fragment:
  - qsc.canary.attributes
  - qsc.canary.attributes.read_only
  - qsc.canary.attributes.telemetry_group
  - qsc.canary.redis
options:
  stream:
    description: The key of the Redis stream that holds the engine's decisions.
    type: str
    default: "quantum:stream:trade.intent"
seealso:
  - module: qsc.canary.qsc_monitor_check
  - module: qsc.canary.qsc_canary
"""

EXAMPLES = r"""
- name: Mark the end of the stream right after the restart
  qsc.canary.qsc_stream_marker:
    stream: quantum:stream:trade.intent
  register: marked

- name: Prove the effect
  qsc.canary.qsc_canary:
    state: active
    lease: "{{ armed.lease }}"
    marker: "{{ marked.marker }}"
"""

RETURN = r"""
marker:
  description: The end of the stream.
  type: dict
  returned: success
  contains:
    id:
      description: The ID that was generated last; decisions after it are new.
      type: str
      returned: always
      sample: 1768023795000-0
    entries_added:
      description: Entries ever added; null before Redis 7.
      type: int
      returned: always
length:
  description: Entries in the stream now.
  type: int
  returned: success
clock_skew_s:
  description: The clock of Redis minus the clock of the host. Beyond 30 seconds the module fails.
  type: float
  returned: success
warnings:
  description: What should be known of the clocks.
  type: list
  elements: str
  returned: success
"""

import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.qsc.canary.plugins.module_utils._redis import run_telemetry, telemetry_spec
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.loss import clock_skew
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.stream import StreamReader


def mark(_module: AnsibleModule, reader: StreamReader) -> dict[str, t.Any]:
    """Look once: ID and count must belong together."""
    info = reader.info()
    skew_s, warnings = clock_skew(reader.server_ms(), time.time())
    return {
        "marker": {"id": str(info.last_generated_id), "entries_added": info.entries_added},
        "length": info.length,
        "clock_skew_s": skew_s,
        "warnings": warnings,
    }


def main() -> t.NoReturn:
    spec = telemetry_spec()
    del spec["match"]  # the end of a stream is the same for all that share it
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    run_telemetry(module, mark)


if __name__ == "__main__":
    main()
