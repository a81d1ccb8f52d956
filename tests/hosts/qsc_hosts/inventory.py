# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Ansible inventory of running hosts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from .machine import Host, key

GROUP = "qsc_engines"


def inventory(hosts: Sequence[Host], *, user: str = "root") -> str:
    """Return an inventory as JSON, which Ansible's yaml plugin reads from a .yml or .json file.

    Host key checking is off for these hosts alone: they are new at every run.
    """
    options = (
        "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o IdentitiesOnly=yes"
        " -o ControlMaster=auto -o ControlPersist=60s"
    )
    entries: dict[str, dict[str, Any]] = {
        host.name: {
            "ansible_host": "127.0.0.1",
            "ansible_port": host.port,
            "ansible_user": user,
            "ansible_ssh_private_key_file": str(key()),
            "ansible_ssh_common_args": options,
            "ansible_python_interpreter": "/usr/bin/python3",
        }
        for host in hosts
    }
    return json.dumps({GROUP: {"hosts": entries}}, indent=2) + "\n"
