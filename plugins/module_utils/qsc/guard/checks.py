# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""The operator's own checks before an activation: what the monitor would not run is refused, with nothing changed."""

from __future__ import annotations

from .. import own_checks
from ..errors import Refused
from .host import Host


def check(host: Host) -> list[str]:
    """The names of the required checks. Raises Refused naming the program and what to do."""
    found = own_checks.programs(host.paths)
    if found and not host.settings.own_checks:
        raise Refused(
            f"{found[0].path} is an own check, but the monitor of this host is not told to run any",
            remedy="Set qsc_canary_own_checks: true and install, or move the programs away.",
        )
    for program in found:
        if program.problem:
            raise Refused(f"the own check {program.path} {program.problem}", remedy=program.remedy)
    return [program.name for program in found if program.required]
