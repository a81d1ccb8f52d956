# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real systemd hosts for tests: podman containers with ssh, Redis and the reference engines.

    from qsc_hosts import session
    with session("mytest", count=2) as hosts:
        hosts[0].run("systemctl is-active quantum-ai_engine")

Standard library only. Nothing is installed: what is missing is named (see ``missing``).
"""

from __future__ import annotations

from .errors import HostsError
from .fleet import clean, down, existing, get, session, up
from .image import build
from .inventory import inventory
from .machine import Host
from .setup import missing

__all__ = ["Host", "HostsError", "build", "clean", "down", "existing", "get", "inventory", "missing", "session", "up"]
