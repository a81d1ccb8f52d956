# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""orbit-ensemble: another house's engine. Type=notify, five models, other names for everything, a sandboxed unit.

It publishes the breakdown in an entry field of its own, talks to Redis over TCP, and reports to systemd.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

from .quantum import Engine, Profile, say

ORBIT = Profile(
    name="orbit-ensemble",
    models=("xgb", "lgbm", "nhits", "patchtst", "tft"),
    environment={
        "weights": "ORBIT_CANARY_WEIGHTS",
        "model": "ORBIT_CANARY_MODEL",
        "traffic": "ORBIT_CANARY_SHARE",
        "ack": "ORBIT_CANARY_ACK",
    },
    configured=Path("/srv/orbit/weights.json"),
    folder=Path("/srv/orbit"),
    runtime=Path("/run/orbit"),
    state=Path("/var/lib/orbit"),
    redis="redis://127.0.0.1:6379/0",
    stream="orbit:decisions",
    own_field=True,
)


def notify(state: str) -> None:
    """Tell systemd, by the datagram of sd_notify(3); without systemd nothing happens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.sendto(state.encode(), address)


def main() -> None:
    """Run the engine; it is ready once its weights are loaded and acknowledged."""
    engine = Engine(ORBIT, dict(os.environ))
    engine.start()
    notify(f"READY=1\nSTATUS=voting with {len(engine.weights.values)} models\nMAINPID={os.getpid()}")
    say("ready")
    engine.run()
