# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether somebody can be asked, by the rule of ansible.builtin.pause itself."""

from __future__ import annotations

DOCUMENTATION = r"""
name: terminal
short_description: Tell whether a question can be asked at the controller
version_added: 0.1.0
author:
  - The qsc.canary authors (@qsc-canary)
description:
  - Returns V(true) where M(ansible.builtin.pause) would wait for an answer, and V(false) where it would only warn and go on,
    as without a terminal or in the background.
  - A task that asks can so be refused before anything is done.
options:
  _terms:
    description: Lines to show at the terminal, where there is one.
    type: list
    elements: str
    required: true
seealso:
  - module: ansible.builtin.pause
"""

EXAMPLES = r"""
- name: Refuse where nobody can be asked
  ansible.builtin.assert:
    that: lookup('qsc.canary.terminal', 'You will be asked before anything changes.')
"""

RETURN = r"""
_raw:
  description: Whether a question can be asked.
  type: list
  elements: bool
"""

import typing as t

from ansible.errors import AnsiblePromptInterrupt, AnsiblePromptNoninteractive
from ansible.plugins.lookup import LookupBase
from ansible.utils.display import Display


class LookupModule(LookupBase):
    def run(self, terms: list[str], variables: dict[str, t.Any] | None = None, **kwargs: t.Any) -> list[bool]:
        """[whether there is a terminal]. A worker has none itself: the controller's main process looks."""
        try:
            Display().prompt_until("\n".join(map(str, terms)), seconds=0)
        except AnsiblePromptNoninteractive:
            return [False]
        except AnsiblePromptInterrupt:
            return [True]
        return [True]
