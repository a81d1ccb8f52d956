# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """What every module says of itself."""

    # Should be used by every module of the collection.
    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in C(check_mode)), when in diff mode.
  action_group:
    description: Use C(group/qsc.canary.canary) in C(module_defaults) to set defaults for this module.
    support: full
    membership:
      - qsc.canary.canary
"""

    # Should be used together with the standard fragment by modules that read and never change anything.
    READ_ONLY = r"""
options: {}
attributes:
  check_mode:
    support: full
    details:
      - This action does not modify state.
  diff_mode:
    support: N/A
    details:
      - This action does not modify state.
"""

    # Should be used instead of the group above by modules that take the connection options.
    TELEMETRY_GROUP = r"""
options: {}
attributes:
  action_group:
    description:
      - Use C(group/qsc.canary.telemetry) in C(module_defaults) to set the connection options once for all modules that
        read telemetry.
    support: full
    membership:
      - qsc.canary.canary
      - qsc.canary.telemetry
"""
