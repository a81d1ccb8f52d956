#!/usr/bin/python3 -I
# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An own check: the share of rejected orders among the newest of a Redis stream, in the Redis of the telemetry.

Its user needs the right to read that stream too: add %R~trading:stream:orders to the line in docs/redis-acl.md.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import redis

STREAM = "trading:stream:orders"
FIELD, REJECTED = "status", "rejected"
MINUTES = 10
AT_LEAST = 20
LIMIT_PERCENT = 10.0
CONFIG = Path("/etc/qsc_canary/config.json")


def connect() -> redis.Redis:
    """With the settings and the credential of the monitor."""
    given = json.loads(CONFIG.read_text())["connection"]
    credential = Path(os.environ.get("CREDENTIALS_DIRECTORY", "/nonexistent")) / "redis-password"
    password = credential.read_text().rstrip("\n") if credential.exists() else ""
    common = {
        "username": given.get("login_user"), "password": password or None, "db": given.get("db", 0),
        "socket_timeout": 3, "socket_connect_timeout": 3, "decode_responses": True,
    }  # fmt: skip
    if given.get("login_unix_socket"):
        return redis.Redis(unix_socket_path=given["login_unix_socket"], **common)
    if given.get("tls"):
        common.update(ssl=True, ssl_ca_certs=given.get("ca_certs"))
    return redis.Redis(host=given.get("login_host", "localhost"), port=given.get("login_port", 6379), **common)


def main() -> int:
    """Returns the exit status: 0 ok, 1 a violation, 75 no data."""
    since = max(json.load(sys.stdin)["activated_at"], time.time() - 60 * MINUTES)
    try:
        orders = connect().xrevrange(STREAM, "+", f"{int(1000 * since)}-0", count=1000)
    except redis.RedisError as error:
        print(f"{STREAM}: {error}")
        return 75
    if len(orders) < AT_LEAST:
        print(f"{len(orders)} orders, {AT_LEAST} are needed")
        return 75
    share = 100 * sum(order.get(FIELD) == REJECTED for _id, order in orders) / len(orders)
    said = f"{share:.1f} % of {len(orders)} orders rejected"
    print(json.dumps({"value": share, "limit": LIMIT_PERCENT, "message": said}))
    return 1 if share > LIMIT_PERCENT else 0


if __name__ == "__main__":
    try:
        status = main()
    except Exception as error:  # noqa: BLE001 - Python would end with 1, and a mistake in here must look like no violation
        print(f"{type(error).__name__}: {error}")
        status = 70
    sys.exit(status)
