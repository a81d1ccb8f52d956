#!/usr/bin/python

# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: qsc_evidence
short_description: Write all that is known of a run into one archive
version_added: 0.1.0
description:
  - Writes one archive on the host that holds what was judged, by what, and what was said and done about it.
    C(qsc replay FILE) judges every check of it again, without a host.
  - The ledger gets an entry C(evidence_written) with the digest of the archive.
  - Redis is asked with the credential that lies on the host.
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
    description: An archive is not shown as a diff.
options:
  canary_id:
    description: The run; empty takes the newest one.
    type: str
    default: ""
  path:
    description: Where the archive goes, on the host. Its folder must exist; a file that is there is replaced.
    type: path
    required: true
  journal:
    description: Whether the journal of engine and guards is part of it. The engine's is as the engine writes it.
    type: bool
    default: true
seealso:
  - module: qsc.canary.qsc_canary_info
"""

EXAMPLES = r"""
- name: Write the evidence of the newest run
  qsc.canary.qsc_evidence:
    path: /root/evidence.tar.gz
  register: evidence

- name: Bring it to the controller
  ansible.builtin.fetch:
    src: "{{ evidence.path }}"
    dest: evidence/
"""

RETURN = r"""
path:
  description: Where the archive is.
  type: str
  returned: success
canary_id:
  description: The run.
  type: str
  returned: when it was written
bytes:
  description: Its size.
  type: int
  returned: when it was written
sha256:
  description: Its digest, which the ledger holds as well.
  type: str
  returned: when it was written
checks:
  description: Checks in the log of the run.
  type: int
  returned: when it was written
decisions:
  description: Decisions of the run in it.
  type: int
  returned: when it was written
missing:
  description: Which entries of the run the stream did not hold any more, null when none.
  type: dict
  returned: when it was written
absent:
  description: By name, what could not be had, and why.
  type: dict
  returned: when it was written
hidden:
  description: In which parts the password was found and hidden.
  type: list
  elements: str
  returned: when it was written
summary:
  description: The same in lines for a terminal.
  type: list
  elements: str
  returned: when it was written
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.qsc.canary.plugins.module_utils._guard import HOST_SPEC, make_host
from ansible_collections.qsc.canary.plugins.module_utils._result import run_module
from ansible_collections.qsc.canary.plugins.module_utils.qsc import command_evidence
from ansible_collections.qsc.canary.plugins.module_utils.qsc.credentials import connection
from ansible_collections.qsc.canary.plugins.module_utils.qsc.tell.evidence import evidence_lines


def act(module: AnsibleModule) -> dict[str, t.Any]:
    """Write it. It is a new file at every run: the journal goes on."""
    host, path = make_host(module), module.params["path"]
    if module.check_mode:
        return {"changed": True, "path": path}
    written = command_evidence.write(
        host,
        lambda: connection(host.settings, host.paths),
        canary_id=module.params["canary_id"],
        output=path,
        journal=module.params["journal"],
    )
    return {"changed": True, "summary": evidence_lines(written), **written}


def main() -> t.NoReturn:
    module = AnsibleModule(
        argument_spec={
            **HOST_SPEC,
            "canary_id": {"type": "str", "default": ""},
            "path": {"type": "path", "required": True},
            "journal": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    run_module(module, act)


if __name__ == "__main__":
    main()
