# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """The options of a module that acts on a host: HOST_SPEC of module_utils/_guard.py."""

    DOCUMENTATION = r"""
options:
  settings:
    description:
      - The settings of the host, as the role makes them from its variables.
      - Without them the installed ones are taken, C(/etc/qsc_canary/config.json).
    type: dict
  actor:
    description: Who acts, for the ledger, for example a user of the controller or the number of a job.
    type: str
    default: ""
  agent_digest:
    description:
      - The digest of the agent that the host has to run, P(qsc.canary.agent_digest#lookup) of the controller.
      - With another one on the host, or without this option, no canary is started or raised. A rollback does not ask.
    type: str
    default: ""
"""
