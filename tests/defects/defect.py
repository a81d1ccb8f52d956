# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a planted defect is."""

from __future__ import annotations

from dataclasses import dataclass

CORE = "plugins/module_utils/qsc"
UNITS = "roles/qsc_canary/templates"


@dataclass(frozen=True)
class Defect:
    """One defect: where it is planted (``old`` must stand there exactly once) and the tests that must see it."""

    number: str
    title: str
    path: str
    old: str
    new: str
    tests: tuple[str, ...]
