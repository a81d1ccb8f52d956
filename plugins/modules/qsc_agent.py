#!/usr/bin/python

# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: qsc_agent
short_description: Install the agent with which a host guards its canary
version_added: 0.1.0
description:
  - Puts the very code of this collection on the host, byte-compiled, in a folder named by its digest, and switches to it by
    one rename, so that an upgrade never breaks a running check.
  - Writes the settings and the credential file, and makes the folders of state, ledger and runtime.
  - The user of the monitor and the units are the role's business.
author:
  - The qsc.canary authors (@qsc-canary)
attributes:
  check_mode:
    support: full
    description: Can run in C(check_mode) and return what would be changed without changing the target.
  diff_mode:
    support: full
    description: Returns what changes in sentences; a password is compared, never shown.
options:
  state:
    description:
      - V(present) installs what differs.
      - V(absent) removes agent, settings and state, and keeps the ledger; it is refused while a canary is in flight.
    type: str
    choices: [present, absent]
    default: present
  settings:
    description: The settings of the host, as the role makes them from its variables. Needed for V(present).
    type: dict
  redis_password:
    description:
      - The password of the telemetry's Redis, kept as a file for systemd's LoadCredential.
      - Without it the one that is on the host is kept; an empty one removes it.
    type: str
  units:
    description:
      - The unit files of the guards, their text by name, as the role's templates make them. V(tmpfiles.conf) among them is
        the folder in C(/run).
      - With them systemd is reloaded, and the guards are enabled and started.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Install the agent
  qsc.canary.qsc_agent:
    settings:
      engine_unit: quantum-ai_engine.service
      baseline_path: /etc/quantum/model_weights.json
    redis_password: "{{ vault_redis_password }}"
"""

RETURN = r"""
digest:
  description: The digest of the code this collection carries.
  type: str
  returned: success
changes:
  description: What was (or would be) changed, in sentences.
  type: list
  elements: str
  returned: success
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.qsc.canary.plugins.module_utils._result import run_module
from ansible_collections.qsc.canary.plugins.module_utils.qsc import agent, command
from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard import install, installed, systemd, units
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge import published
from ansible_collections.qsc.canary.plugins.module_utils.qsc.settings import Paths, Settings

WHOLE = (command.SUBCOMMANDS, published.__name__)
"""What imports the whole package, with the installation and the units: a module carries what it imports, and this one
has to carry all that the host is to run. The other modules are the faster for carrying less."""


def act(module: AnsibleModule) -> dict[str, t.Any]:
    """Install or remove what differs."""
    paths = Paths()
    if module.params["state"] == "absent":
        changes = install.uninstall(paths, dry_run=module.check_mode)
    else:
        systemd.check_booted()
        settings, password = Settings.from_dict(module.params["settings"]), module.params["redis_password"]
        action = installed.plan if module.check_mode else install.install
        changes = action(settings, password, paths)
    diff = [{"before": "", "after": "".join(f"{change}\n" for change in changes)}]
    if module.params["state"] == "present" and module.params["units"]:
        files, guards = _units(module, paths)
        changes = [*changes, *(f"unit {change.path}" for change in files), *guards]
        diff += [
            {"before_header": str(one.path), "after_header": str(one.path), "before": one.before, "after": one.after}
            for one in files
        ]
    return {"changed": bool(changes), "changes": changes, "digest": agent.digest(), "diff": diff}


def _units(module: AnsibleModule, paths: Paths) -> tuple[list[units.Change], list[str]]:
    texts = module.params["units"]
    if module.check_mode:
        return units.plan(texts, paths), units.guards_down()
    return units.install(texts, paths)


def main() -> t.NoReturn:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "settings": {"type": "dict"},
            "redis_password": {"type": "str", "no_log": True},
            "units": {"type": "dict", "default": {}},
        },
        required_if=[("state", "present", ("settings",))],
        supports_check_mode=True,
    )
    run_module(module, act)


if __name__ == "__main__":
    main()
