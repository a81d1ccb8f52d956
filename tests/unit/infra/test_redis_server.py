# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tests' own Redis: password, ACL and TLS really are in force, or tests of refusals would prove nothing."""

from __future__ import annotations

import typing as t

import pytest
import redis

from helpers.redis_server import RedisServer

Start = t.Callable[..., RedisServer]


def tcp(server: RedisServer, **more: t.Any) -> redis.Redis:
    return redis.Redis(host=server.host, port=server.port, socket_timeout=5, decode_responses=True, retry=None, **more)


def test_the_shared_server_is_empty_and_reachable_both_ways(redis_server: RedisServer) -> None:
    assert redis_server.client().dbsize() == 0
    redis_server.client().set("a", "1")
    assert tcp(redis_server).get("a") == "1"


def test_the_shared_server_was_emptied(redis_server: RedisServer) -> None:
    assert redis_server.client().dbsize() == 0


def test_password(start_redis: Start) -> None:
    server = start_redis(password="geheim")
    with pytest.raises(redis.exceptions.AuthenticationError):
        tcp(server).ping()
    assert tcp(server, password="geheim").ping()


def test_users(start_redis: Start) -> None:
    server = start_redis(users={"reader": "on >pw ~* +@read +ping"})
    assert tcp(server, username="reader", password="pw").ping()
    with pytest.raises(redis.exceptions.NoPermissionError):
        tcp(server, username="reader", password="pw").set("a", "1")


def test_tls(start_redis: Start) -> None:
    server = start_redis(tls=True)
    good = tcp(server, ssl=True, ssl_ca_certs=server.certificates["ca"])
    assert good.ping()
    with pytest.raises(redis.exceptions.ConnectionError):
        tcp(server, ssl=True, ssl_ca_certs=server.certificates["other_ca"]).ping()
    with pytest.raises(redis.exceptions.ConnectionError):
        tcp(server).ping()


def test_restart_keeps_the_port(start_redis: Start) -> None:
    server = start_redis()
    port = server.port
    server.kill()
    with pytest.raises(redis.exceptions.ConnectionError):
        tcp(server).ping()
    server.start()
    assert server.port == port
    assert tcp(server).ping()


def test_a_frozen_server_accepts_and_never_answers(start_redis: Start) -> None:
    server = start_redis()
    server.freeze()
    with pytest.raises(redis.exceptions.TimeoutError):
        redis.Redis(host=server.host, port=server.port, socket_timeout=0.2, retry=None).ping()
    server.thaw()
    assert tcp(server).ping()
