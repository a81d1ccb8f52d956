# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Starts the agent that is installed on this host, listening for its steps: what a unit runs during a case.

Whoever listens on the socket decides what happens at the step: an answer lets it go on, a signal ends it. Without the
socket, as after a boot, the file ``boot.json`` names one step at which the process kills itself, once a boot.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys

FOLDER = "/opt/qsc-fault"
SOCKET = "/run/qsc-fault/socket"
CODE = "/usr/local/lib/qsc_canary/current"


def listen(name: str) -> None:
    """Say which step is about to be taken, and wait for the answer."""
    with socket.socket(socket.AF_UNIX) as line:
        try:
            line.connect(SOCKET)
        except OSError:
            at_boot(name)
            return
        line.sendall(json.dumps({"step": name, "pid": os.getpid()}).encode())
        line.recv(16)


def at_boot(name: str) -> None:
    """Die at the step that is named for this boot; the folder of the guards' own runtime remembers it."""
    try:
        with open(f"{FOLDER}/boot.json", encoding="utf-8") as stream:
            wanted = json.load(stream)["step"]
        if wanted == name:
            os.close(os.open(f"/run/qsc_canary/died-at-{name}", os.O_CREAT | os.O_EXCL, 0o600))
            os.kill(os.getpid(), signal.SIGKILL)
    except (OSError, ValueError, KeyError):
        return


def load(folder: str = CODE) -> None:
    """Put the agent of that folder on the path, and listen to it."""
    sys.path.insert(0, os.path.realpath(folder))
    from qsc import steps

    steps.listener = listen


if __name__ == "__main__":
    load()
    from qsc.command import main

    raise SystemExit(main())
