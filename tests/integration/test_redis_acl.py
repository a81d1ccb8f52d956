# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Redis user that docs/redis-acl.md shows: all works as it, nothing else does, no command is too many."""

from __future__ import annotations

import re
import threading
import typing as t
from pathlib import Path

import pytest
import redis

from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import TelemetryError
from ansible_collections.qsc.canary.plugins.module_utils.qsc.files import Clock
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.connection import Connection
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.monitor import check_now, run_unit
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.stream import StreamReader
from ansible_collections.qsc.canary.plugins.module_utils.qsc.record import save
from ansible_collections.qsc.canary.plugins.module_utils.qsc.settings import Paths
from helpers.redis_acl import PASSWORD, USER, documented
from helpers.redis_server import RedisServer
from helpers.run_module import run_module
from helpers.samples import make_record
from helpers.telemetry import STREAM, now_ms, publish

COMMANDS = tuple(word[1:] for word in documented() if word.startswith("+"))


@pytest.fixture
def server(start_redis: t.Callable[..., RedisServer]) -> RedisServer:
    """A Redis with telemetry and the documented user."""
    made = start_redis()
    publish(made.client(), 300, start_ms=now_ms() - 7_500_000)
    made.client().execute_command("ACL", "SETUSER", USER, *documented())
    return made


def everything(server: RedisServer, folder: Path) -> list[str]:
    """Do all that reads Redis, as the user; what failed, in the words it failed with."""
    options = {**server.options(), "login_user": USER, "login_password": PASSWORD}
    modules: dict[str, dict[str, t.Any]] = {
        "qsc_quality_gate": {"cutover": "0-0", "fail_on_violation": False},
        "qsc_stream_marker": {},
        "qsc_published_weights": {"since": "0-0", "wait_s": 0.05, "field": "weights"},
        "qsc_monitor_check": {"model": "patchtst", "since": "0-0", "fail_on_violation": False},
    }
    failed = [
        result["msg"]
        for result in (run_module(name, stream=STREAM, **options, **more) for name, more in modules.items())
        if result["failed"]
    ]
    paths = Paths(prefix=folder)
    for needed in (paths.monitor_folder, paths.run):
        needed.mkdir(parents=True, exist_ok=True)
    clock = Clock(paths.boot_mark)
    judging = {"stream": STREAM, "match": {}, "stale_after": 86400.0, "max_wait": 86400.0, "weights_field": ""}
    begin = {"boot_id": clock.boot_id(), "activated_boot": clock.boot(), "since": {"id": "0-0", "entries_added": 0}}
    save(paths.record, make_record(judging=judging, **begin))
    connection = Connection.from_dict(options)
    _code, lines = run_unit(paths, lambda: connection, clock=clock)
    failed += [line for line in lines if line.startswith("transient")]
    verdict = check_now(paths, connection, clock=clock)
    assert verdict is not None
    return failed + ([verdict.message] if verdict.verdict == "transient" else [])


def test_all_works_as_this_user_and_sends_no_other_command(server: RedisServer, tmp_path: Path) -> None:
    seen: set[str] = set()
    watching, end = threading.Event(), "END-OF-TRACE"

    def watch() -> None:
        with server.client().monitor() as monitor:
            watching.set()
            for item in monitor.listen():
                words = str(item["command"]).split()
                if end in words:
                    return
                if item["client_type"] == "tcp":  # the administrator comes through the unix socket
                    seen.add("|".join(words[:2]).lower() if words[0].upper() == "XINFO" else words[0].lower())

    thread = threading.Thread(target=watch)
    thread.start()
    assert watching.wait(10)
    failed = everything(server, tmp_path)
    server.client().echo(end)
    thread.join(10)
    assert failed == []
    assert seen - {"auth"} == set(COMMANDS)
    assert server.client().acl_log() == []


@pytest.mark.parametrize("command", COMMANDS)
def test_one_command_less_fails(server: RedisServer, tmp_path: Path, command: str) -> None:
    server.client().execute_command("ACL", "SETUSER", USER, f"-{command}")
    failed = everything(server, tmp_path)
    assert failed
    for message in failed:
        assert f"does not let user {USER!r} read" in message
        assert command.split("|")[0] in message.lower()


REFUSED = {
    "XADD": (STREAM, "*", "a", "b"), "DEL": (STREAM,), "FLUSHALL": (), "KEYS": ("*",), "CONFIG": ("GET", "requirepass"),
    "XTRIM": (STREAM, "MAXLEN", "0"), "XDEL": (STREAM, "1-0"), "XGROUP": ("CREATE", STREAM, "g", "$"),
    "XRANGE": (STREAM, "-", "+"), "GET": ("other",), "SUBSCRIBE": ("channel",), "PUBLISH": ("channel", "x"),
    "EVAL": ("return 1", "0"), "ACL": ("LIST",), "MONITOR": (), "SHUTDOWN": ("NOSAVE",), "SCAN": ("0",), "INFO": (),
}  # fmt: skip


@pytest.mark.parametrize("command", REFUSED)
def test_anything_else_is_refused(server: RedisServer, command: str) -> None:
    client = server.client(username=USER, password=PASSWORD)
    with pytest.raises(redis.exceptions.NoPermissionError):
        client.execute_command(command, *REFUSED[command])
    assert server.client().xlen(STREAM) == 300


def test_another_stream_is_refused(server: RedisServer) -> None:
    publish(server.client(), 3, start_ms=1000, stream="other:stream")
    options = {**server.options(), "login_user": USER, "login_password": PASSWORD}
    with StreamReader(Connection.from_dict(options), "other:stream") as stream:
        for read in (stream.info, lambda: list(stream.newest(1)), lambda: list(stream.follow(0, 0.01))):
            with pytest.raises(TelemetryError, match="does not let user"):
                read()


def test_another_database_needs_select(server: RedisServer) -> None:
    publish(server.client(db=2), 3, start_ms=1000)
    options = {**server.options(), "login_user": USER, "login_password": PASSWORD, "db": 2, "stream": STREAM}
    refused = run_module("qsc_stream_marker", **options)
    assert refused["failed"]
    assert "select" in refused["msg"].lower()
    server.client().execute_command("ACL", "SETUSER", USER, "+select")
    assert not run_module("qsc_stream_marker", **options)["failed"]


def test_the_error_of_a_missing_right_shows_the_documented_rights(server: RedisServer) -> None:
    server.client().execute_command("ACL", "SETUSER", USER, "-time")
    options = {**server.options(), "login_user": USER, "login_password": PASSWORD, "stream": STREAM}
    remedy = run_module("qsc_stream_marker", **options)["remedy"]
    assert set(re.findall(r"\+([a-z|]+)", remedy)) == set(COMMANDS)
