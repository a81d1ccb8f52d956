# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""How to reach Redis: the connection options, checked once. Pure."""

from __future__ import annotations

import math
import typing as t
from dataclasses import dataclass, field, fields

from ..errors import BadInput
from ..verdict import printable


@dataclass(frozen=True)
class Connection:
    """How to reach Redis. ``timeout_s`` bounds every single operation on the socket."""

    login_host: str = "localhost"
    login_port: int = 6379
    login_user: str = ""
    login_password: str = field(default="", repr=False)
    login_unix_socket: str = ""
    db: int = 0
    tls: bool = False
    validate_certs: bool = True
    ca_certs: str = ""
    client_cert_file: str = ""
    client_key_file: str = ""
    timeout_s: float = 5.0

    @classmethod
    def from_dict(cls, raw: t.Mapping[str, t.Any], *, password: str | None = None) -> Connection:
        """Check and take connection options; those left out (or None) keep their defaults. Raises BadInput."""
        kinds = {item.name: item.default for item in fields(cls)}
        values: dict[str, t.Any] = {}
        for name, value in raw.items():
            if name not in kinds:
                raise BadInput(f"unknown connection option {str(name)!r:.80}", remedy=f"Known are: {', '.join(kinds)}.")
            if value is not None:
                values[name] = _option(name, value, kinds[name])
        if password is not None:
            values["login_password"] = password
        return cls(**values)

    @property
    def place(self) -> str:
        """Where Redis is, for messages."""
        where = self.login_unix_socket or f"{self.login_host}:{self.login_port}"
        return f"{where} (db {self.db})"


def _option(name: str, value: t.Any, default: t.Any) -> t.Any:
    secret = name == "login_password"
    shown = "(hidden)" if secret else printable(repr(value), 80)
    if isinstance(default, bool):
        good = isinstance(value, bool)
    elif isinstance(default, (int, float)):
        good = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    else:
        good = isinstance(value, str) and "\0" not in value
    if not good:
        raise BadInput(f"{name}={shown} is not {_KINDS[type(default)]}", remedy="See the connection options.")
    low, high = _BOUNDS.get(name, (-math.inf, math.inf))
    if not isinstance(value, str) and not low <= value <= high:
        raise BadInput(f"{name}={shown} is out of range", remedy=f"Use a number from {low:g} to {high:g}.")
    return value


_KINDS: t.Mapping[type, str] = {bool: "true or false", int: "a number", float: "a number", str: "text"}
_BOUNDS = {"login_port": (1, 65535), "db": (0, 1 << 20), "timeout_s": (0.05, 60.0)}
