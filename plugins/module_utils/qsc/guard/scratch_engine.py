# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""Stands in for the engine in a drill: takes its weights as an engine should, acknowledges them, and decides nothing.

Runs as an unprivileged user. See docs/engine.md for what an engine has to do.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import typing as t
from pathlib import Path

from ..files import digest_bytes, read_bounded, write_json
from ..settings import ENVIRONMENT


def run(baseline: Path) -> t.NoReturn:
    """Load the weights named in the environment, else ``baseline``; say so, and stay until systemd ends it."""
    path = os.environ.get(ENVIRONMENT["weights"])
    data = read_bounded(Path(path) if path else baseline)
    json.loads(data)
    acknowledgement = os.environ.get(ENVIRONMENT["ack"])
    if path and acknowledgement:
        write_json(Path(acknowledgement), {"pid": os.getpid(), "sha256": digest_bytes(data)})
    _tell_systemd("READY=1")
    while True:
        signal.pause()


def _tell_systemd(message: str) -> None:
    """sd_notify(3): the unit is only active once its weights are loaded, so that its downtime can be measured."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address.startswith("@"):
        address = "\0" + address[1:]
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(message.encode(), address)
