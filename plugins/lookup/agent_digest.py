# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which agent a host has to run to be under this collection."""

from __future__ import annotations

DOCUMENTATION = r"""
name: agent_digest
short_description: Tell which agent a host has to run
version_added: 0.1.0
author:
  - The qsc.canary authors (@qsc-canary)
description:
  - Returns the digest of the code that M(qsc.canary.qsc_agent) of this very collection installs.
  - A module that starts or raises a canary compares it with what the host runs. A controller that was upgraded and a host
    that was not would otherwise disagree on how a run is judged and ended.
options: {}
seealso:
  - module: qsc.canary.qsc_agent
"""

EXAMPLES = r"""
- name: Refuse a host that runs another agent
  ansible.builtin.assert:
    that: lookup('qsc.canary.agent_digest') == info.agent.digest
"""

RETURN = r"""
_raw:
  description: The digest, 16 hexadecimal digits.
  type: list
  elements: str
"""

import typing as t

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

from ansible_collections.qsc.canary.plugins.module_utils.qsc import agent
from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import QscError


class LookupModule(LookupBase):
    def run(self, terms: list[str], variables: dict[str, t.Any] | None = None, **kwargs: t.Any) -> list[str]:
        """[the digest], of the files beside this one."""
        try:
            return [agent.digest()]
        except QscError as error:
            raise AnsibleLookupError(str(error)) from error
