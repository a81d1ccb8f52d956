# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""Redis as a host reaches it: its settings, and the secrets that are none of them."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

from .files import read_bounded
from .settings import Paths, Settings

if t.TYPE_CHECKING:
    from .judge.connection import Connection

CLIENT_KEY = "redis-client-key"
"""The name of the monitor's credential with the key to the client's certificate: the key itself stays root's."""


def password_in(path: Path) -> str:
    """The password of a file, "" where there is none. Raises OSError, UnicodeDecodeError."""
    try:
        return read_bounded(path, 1 << 16).decode()
    except FileNotFoundError:
        return ""


def connection(settings: Settings, paths: Paths) -> Connection:
    """How to reach Redis: the settings, with password and key of systemd's credentials or, for root, of their files."""
    from .judge.connection import Connection

    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    password = password_in(Path(folder) / paths.password.name if folder else paths.password)
    key = Path(folder) / CLIENT_KEY if folder else None
    own = {"client_key_file": str(key)} if key is not None and key.exists() else {}
    return Connection.from_dict({**settings.connection, **own}, password=password)
