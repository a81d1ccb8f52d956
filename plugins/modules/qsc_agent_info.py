#!/usr/bin/python
# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: qsc_agent_info
short_description: Tell whether a host is as an installation would leave it
version_added: 0.1.0
description:
  - Compares the agent, settings, credential and units of a host with what M(qsc.canary.qsc_agent) would install, and looks
    for the monitor's user and the Python libraries.
  - Carries none of the code that it compares. A play that finds the host up to date so saves the installation, the most
    expensive task of all.
  - Changes nothing, ever.
author:
  - The qsc.canary authors (@qsc-canary)
extends_documentation_fragment:
  - qsc.canary.attributes
  - qsc.canary.attributes.read_only
options:
  settings:
    description: As of M(qsc.canary.qsc_agent).
    type: dict
    required: true
  redis_password:
    description: As of M(qsc.canary.qsc_agent); compared, never shown.
    type: str
  units:
    description: As of M(qsc.canary.qsc_agent).
    type: dict
    default: {}
  agent_digest:
    description: The digest of the agent that the host has to run, P(qsc.canary.agent_digest#lookup) of the controller.
    type: str
    required: true
  user:
    description: A user that has to be there, without a shell and a home.
    type: str
    default: ""
  libraries:
    description: Libraries that the host's own Python, C(/usr/bin/python3), has to have.
    type: list
    elements: str
    default: []
seealso:
  - module: qsc.canary.qsc_agent
"""

EXAMPLES = r"""
- name: Ask whether the host is up to date
  qsc.canary.qsc_agent_info:
    settings:
      engine_unit: quantum-ai_engine.service
      baseline_path: /etc/quantum/model_weights.json
    agent_digest: "{{ lookup('qsc.canary.agent_digest') }}"
    libraries: [redis, hiredis]
  register: host

- name: Show what an installation would change
  ansible.builtin.debug:
    var: host.changes
"""

RETURN = r"""
current:
  description: Whether an installation would change nothing.
  type: bool
  returned: success
changes:
  description: What it would change, in sentences.
  type: list
  elements: str
  returned: success
"""

import os
import pwd
import sys
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.qsc.canary.plugins.module_utils._result import has_library, run_module
from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import BadInput
from ansible_collections.qsc.canary.plugins.module_utils.qsc.freeze import check_zones
from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard import installed, systemd, units
from ansible_collections.qsc.canary.plugins.module_utils.qsc.settings import Paths, Settings

HOST_PYTHON = "/usr/bin/python3"
NOBODY = ("/usr/sbin/nologin", "/nonexistent")
"""Shell and home of the monitor's user, as the role makes it."""


def act(module: AnsibleModule) -> dict[str, t.Any]:
    """Compare, and change nothing."""
    systemd.check_booted()
    given, paths = module.params, Paths()
    settings = Settings.from_dict(given["settings"])
    changes = [f"library {name}" for name in given["libraries"] if not _can_import(name)]
    try:
        check_zones(settings.freeze_windows)
    except BadInput as error:
        changes.append(error.message)  # the package of the zones may be missing: that is the installation's to find out
    if not changes:
        changes += installed.plan(settings, given["redis_password"], paths, given["agent_digest"])
        changes += units.differ(given["units"], paths) if given["units"] else []
    if given["user"] and not _is_there(given["user"]):
        changes.append(f"user {given['user']}")
    return {"changed": False, "current": not changes, "changes": changes}


def _can_import(name: str) -> bool:
    """Whether the Python of the units has a library; another one cannot tell."""
    return os.path.realpath(sys.executable) == os.path.realpath(HOST_PYTHON) and has_library(name)


def _is_there(user: str) -> bool:
    try:
        found = pwd.getpwnam(user)
    except KeyError:
        return False
    return (found.pw_shell, found.pw_dir) == NOBODY


def main() -> t.NoReturn:
    module = AnsibleModule(
        argument_spec={
            "settings": {"type": "dict", "required": True},
            "redis_password": {"type": "str", "no_log": True},
            "units": {"type": "dict", "default": {}},
            "agent_digest": {"type": "str", "required": True},
            "user": {"type": "str", "default": ""},
            "libraries": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    run_module(module, act)


if __name__ == "__main__":
    main()
