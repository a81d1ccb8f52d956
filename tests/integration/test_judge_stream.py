# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading a stream of a real Redis: what comes back, at which cost, and what is said when it does not."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import sys
import threading
import time

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import BadInput, TelemetryError
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge import wire
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.connection import Connection
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.cutover import ZERO, StreamId
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.stream import StreamGone, StreamReader
from helpers.redis_server import free_port
from helpers.telemetry import STREAM, publish


@pytest.fixture(autouse=True, params=["hiredis", "redis-py"])
def each_wire(request, monkeypatch):
    """Every test with both ways to Redis: the quick one, and the one of hosts without hiredis."""

    def missing(*_arguments):
        raise ImportError

    if request.param == "redis-py":
        monkeypatch.setattr(wire, "_Hiredis", missing)


READER = "on >pw ~quantum:* resetchannels -@all +xinfo +xrevrange +xread +time"


def reader(server, match=None, **options):
    budget_s = options.pop("budget_s", 60.0)
    return StreamReader(Connection.from_dict({**server.options(), **options}), STREAM, match, budget_s=budget_s)


def ids(entries):
    return [str(entry.id) for entry in entries]


def calls(server):
    """How often each command was called since the counters were reset."""
    return {name[8:]: stats["calls"] for name, stats in server.client().info("commandstats").items()}


def test_the_newest_entries_come_newest_first_over_all_pages(redis_server):
    added = publish(redis_server.client(), 2500, start_ms=1000)
    with reader(redis_server) as stream:
        assert ids(stream.newest(0)) == added[::-1]
        assert ids(stream.newest(1500)) == added[:-1501:-1]
        assert ids(stream.newest(5)) == added[:-6:-1]


def test_entries_up_to_the_marker_are_left_out(redis_server):
    added = publish(redis_server.client(), 50, start_ms=1000)
    with reader(redis_server) as stream:
        assert ids(stream.newest(0, StreamId.parse(added[39]))) == added[:39:-1]
        assert ids(stream.newest(0, ZERO, StreamId.parse(added[9]))) == added[9::-1]
        assert ids(stream.newest(0, StreamId.parse(added[-1]))) == []


def test_the_newest_of_a_window_are_judged_not_the_oldest(redis_server):
    """A limit after a cutover keeps the newest decisions; the original kept the oldest."""
    added = publish(redis_server.client(), 3000, start_ms=1000)
    with reader(redis_server) as stream:
        assert ids(stream.newest(200, StreamId.parse(added[99]))) == added[:-201:-1]


def test_no_call_asks_for_more_than_a_page_and_nothing_reads_the_whole_stream(redis_server):
    client = redis_server.client()
    publish(client, 3500, start_ms=1000)
    client.config_resetstat()
    client.config_set("slowlog-log-slower-than", 0)
    client.slowlog_reset()
    with reader(redis_server) as stream:
        assert len(list(stream.newest(0))) == 3500
        assert len(list(stream.newest(150))) == 150
    counts = [int(found) for found in re.findall(r"XREVRANGE \S+ \S+ \S+ COUNT (\d+)", _slowlog(client))]
    client.config_set("slowlog-log-slower-than", 10_000)
    assert counts
    assert max(counts) <= 1000
    assert 150 in counts
    found = calls(redis_server)
    assert found["xrevrange"] == 5
    assert "xrange" not in found
    assert "keys" not in found


def _slowlog(client):
    rows = client.slowlog_get(128)
    return "\n".join(row["command"] if isinstance(row["command"], str) else row["command"].decode() for row in rows)


def test_match_selects_the_entries_of_one_engine(redis_server):
    client = redis_server.client()
    mine = publish(client, 20, start_ms=1000, source="host1")
    publish(client, 20, start_ms=100_000, source="host2")
    publish(client, 20, start_ms=200_000)
    with reader(redis_server, {"source": "host1"}) as stream:
        assert ids(stream.newest(0)) == mine[::-1]
        assert ids(stream.newest(3)) == mine[:-4:-1]
    with reader(redis_server, {"source": "host1", "event_type": "other"}) as stream:
        assert ids(stream.newest(0)) == []


def test_a_field_that_stands_twice_is_seen_twice(redis_server):
    redis_server.client().execute_command("XADD", STREAM, "5-1", "payload", "one", "payload", "two")
    with reader(redis_server) as stream:
        (entry,) = stream.newest(0)
    assert entry.fields == [(b"payload", b"one"), (b"payload", b"two")]


def test_the_state_of_the_stream_is_one_look(redis_server):
    client = redis_server.client()
    added = publish(client, 30, start_ms=1000)
    client.xtrim(STREAM, maxlen=20, approximate=False)
    client.xdel(STREAM, added[25])
    with reader(redis_server) as stream:
        info = stream.info()
        assert (info.length, info.entries_added) == (19, 30)
        assert (str(info.first_id), str(info.last_id)) == (added[10], added[29])
        assert str(info.last_generated_id) == added[29]
        assert str(info.max_deleted_id) == added[25]
        client.xtrim(STREAM, maxlen=0, approximate=False)
        info = stream.info()
        assert (info.length, info.first_id, info.last_id) == (0, None, None)
        assert str(info.last_generated_id) == added[29]


def test_the_clock_is_the_servers(redis_server):
    with reader(redis_server) as stream:
        assert abs(stream.server_ms() / 1000 - time.time()) < 2


def test_following_ends_when_the_time_is_over(redis_server):
    added = publish(redis_server.client(), 5, start_ms=1000)
    with reader(redis_server) as stream:
        assert ids(stream.follow(StreamId.parse(added[1]), 0.2)) == added[2:]


def test_following_sees_what_arrives_meanwhile(redis_server):
    client = redis_server.client()
    publish(client, 1, start_ms=1000)
    with reader(redis_server) as stream:
        following = stream.follow(ZERO, 20.0)
        assert str(next(following).id) == "1000-0"
        client.xadd(STREAM, {"a": "b"}, id="2000-0")
        assert str(next(following).id) == "2000-0"


def test_the_unix_socket_is_enough(start_redis):
    server = start_redis(password="geheim")
    publish(server.client(), 3, start_ms=1000)
    options = {"login_unix_socket": server.unix_socket, "login_port": free_port(), "login_password": "geheim"}
    with StreamReader(Connection.from_dict(options), STREAM) as stream:
        assert stream.info().length == 3


def test_an_acl_user_needs_four_commands_and_no_more(start_redis):
    server = start_redis(users={"reader": READER})
    publish(server.client(), 3, start_ms=1000)
    with reader(server, login_user="reader", login_password="pw") as stream:
        assert stream.info().length == 3
        assert len(list(stream.newest(0))) == 3
        assert list(stream.follow(StreamId(10**6, 0), 0.05)) == []
        assert stream.server_ms()


def test_tls_is_spoken_and_the_certificate_is_checked(start_redis):
    server = start_redis(tls=True)
    publish(server.client(), 3, start_ms=1000)
    with reader(server) as stream:
        assert stream.info().length == 3
    with (
        pytest.raises(TelemetryError, match="an authority that ca_certs=") as caught,
        reader(server, ca_certs=server.certificates["other_ca"]) as stream,
    ):
        stream.info()
    assert caught.value.transient is False
    with reader(server, ca_certs="", validate_certs=False) as stream:
        assert stream.info().length == 3


def failing(server, call=StreamReader.info, stream=STREAM, **options):
    """The error of a call, and how long it took."""
    begin = time.monotonic()
    connection = Connection.from_dict({**server.options(), **options})
    with pytest.raises(TelemetryError) as caught, StreamReader(connection, stream) as found:
        call(found)
    assert caught.value.remedy
    return caught.value, time.monotonic() - begin


def test_a_server_that_is_down_is_transient(start_redis):
    server = start_redis()
    server.stop()
    error, seconds = failing(server)
    assert "cannot be reached" in error.message
    assert f"127.0.0.1:{server.port}" in error.message
    assert error.transient
    assert seconds < 5


def test_a_server_that_hangs_is_waited_for_once(start_redis):
    server = start_redis()
    publish(server.client(), 3, start_ms=1000)
    server.freeze()
    error, seconds = failing(server, timeout_s=0.4)
    server.thaw()
    assert "did not answer XINFO within 0.4 s" in error.message
    assert error.transient
    assert 0.3 < seconds < 2


def test_a_server_that_hangs_in_the_middle_of_reading_is_noticed(start_redis):
    server = start_redis()
    publish(server.client(), 1500, start_ms=1000)
    with reader(server, timeout_s=0.4) as stream:
        entries = stream.newest(0)
        next(entries)
        server.freeze()
        with pytest.raises(TelemetryError, match="did not answer XREVRANGE"):
            list(entries)
        server.thaw()


def test_a_reader_has_one_budget_for_everything(redis_server):
    publish(redis_server.client(), 2500, start_ms=1000)
    with reader(redis_server, budget_s=0.05) as stream:
        entries = stream.newest(0)
        next(entries)
        time.sleep(0.06)  # the budget is what passes
        with pytest.raises(TelemetryError, match="too slow") as caught:
            list(entries)
    assert caught.value.transient


def test_a_connection_that_broke_is_made_again(start_redis):
    server = start_redis()
    publish(server.client(), 3, start_ms=1000)
    with reader(server) as stream:
        assert stream.info().length == 3
        server.client().client_kill_filter(_type="normal", skipme=True)
        assert stream.info().length == 3


class Stumbling:
    """A port that drops its first connections, then leads to the server: Redis in the moment of its restart."""

    def __init__(self, server, drops):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.dropped = 0
        threading.Thread(target=self._serve, args=(server, drops), daemon=True).start()

    def _serve(self, server, drops):
        while True:
            try:
                client, _peer = self.listener.accept()
            except OSError:
                return
            if self.dropped < drops:
                self.dropped += 1
                client.close()
                continue
            upstream = socket.create_connection((server.host, server.port))
            for one, two in ((client, upstream), (upstream, client)):
                threading.Thread(target=self._copy, args=(one, two), daemon=True).start()

    @staticmethod
    def _copy(one, two):
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                two.sendall(data)
            two.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize(("drops", "reached"), [(2, True), (3, False)])
def test_a_server_that_drops_connections_is_tried_three_times(redis_server, drops, reached):
    publish(redis_server.client(), 3, start_ms=1000)
    port = Stumbling(redis_server, drops)
    with reader(redis_server, login_port=port.port) as stream:
        if reached:
            assert stream.info().length == 3
        else:
            with pytest.raises(TelemetryError, match="cannot be reached") as caught:
                stream.info()
            assert caught.value.transient
    port.listener.close()
    assert port.dropped == drops


@contextlib.contextmanager
def answering(*answers):
    """A port that gives these answers, each to what was sent at once, a list bit by bit; yields its number."""
    listener = socket.create_server(("127.0.0.1", 0))
    done = threading.Event()

    def serve():
        while True:  # whoever comes again gets the same
            try:
                client, _peer = listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), client:
                for answer in answers:
                    client.recv(65536)
                    for part in answer if isinstance(answer, list) else [answer]:
                        client.sendall(part)
                        if isinstance(answer, list) and done.wait(0.05):
                            return

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        done.set()
        listener.close()


@pytest.mark.parametrize(
    ("answer", "says", "transient"),
    [
        (b"$5\r\nab", "cannot be reached", True),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "cannot be reached", True),
        (b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", "", None),
        (b"-LOADING Redis is loading the dataset in memory\r\n", "loading the dataset", True),
        (b"-NOAUTH Authentication required.\r\n", "refuses the login", False),
        (b"-ERR max number of clients reached\r\n", "max number of clients", True),
        (b"-ERR nobody knows\r\n", "nobody knows", False),
    ],
)
def test_what_answers_is_no_redis_or_does_not_want_to(answer, says, transient):
    # redis-py introduces itself, and takes a no for an answer
    greetings = 3 if answer.startswith(b"-ERR nobody") else 0
    with answering(*[answer] * (1 + greetings)) as port:
        stream = StreamReader(Connection.from_dict({"login_port": port, "timeout_s": 2.0}), STREAM)
        with stream, pytest.raises(TelemetryError) as caught:
            stream.info()
    assert says in caught.value.message
    if transient is not None:
        assert caught.value.transient is transient


def test_a_server_that_is_full_is_not_taken_for_one_that_denies():
    with answering(b"-ERR max number of clients reached\r\n") as port:
        connection = Connection.from_dict({"login_port": port, "login_password": "pw"})
        with StreamReader(connection, STREAM) as stream, pytest.raises(TelemetryError) as caught:
            stream.info()
    assert "cannot be reached" in caught.value.message
    assert caught.value.transient


def test_a_database_that_is_refused_is_never_another_one(start_redis):
    """Who goes on after the refusal must not be answered by the default database."""
    server = start_redis(config={"databases": "1"})
    publish(server.client(), 3, start_ms=1000)
    with reader(server, db=3) as stream:
        for _time in range(2):
            with pytest.raises(TelemetryError, match="out of range"):
                stream.info()


@pytest.mark.parametrize("each_wire", ["hiredis"], indirect=True)  # redis-py notices before its next question
def test_answers_that_nobody_asked_for_end_the_connection():
    with answering(b"+OK\r\n+OK\r\n") as port:
        stream = StreamReader(Connection.from_dict({"login_port": port}), STREAM)
        with stream, pytest.raises(TelemetryError, match="more answers than questions"):
            stream.info()


@pytest.mark.parametrize("name", ["a..b", "x" * 300, "no such host", ""])
def test_a_name_that_can_be_no_host_is_an_error(name):
    nowhere = StreamReader(Connection.from_dict({"login_host": name, "login_port": 1}), STREAM)
    with nowhere as stream, pytest.raises(TelemetryError, match="cannot be reached"):
        stream.info()


def test_a_reply_that_trickles_ends_with_the_budget():
    """Each byte comes within the socket's time-out; together they would take for ever."""
    with answering([b"$4000\r\n", *[b"x"] * 4000]) as port:
        connection = Connection.from_dict({"login_port": port, "timeout_s": 0.5})
        stream = StreamReader(connection, STREAM, budget_s=0.5)
        began = time.monotonic()
        with stream, pytest.raises(TelemetryError) as caught:
            stream.info()
    assert caught.value.transient
    assert time.monotonic() - began < 30, "it would have taken 200 s"


def test_a_login_that_redis_does_not_know_is_denied_before_anything_is_read():
    with answering(b"-WRONGPASS invalid username-password pair or user is disabled.\r\n") as port:
        connection = Connection.from_dict({"login_port": port, "login_user": "me", "login_password": "no"})
        with StreamReader(connection, STREAM) as stream, pytest.raises(TelemetryError) as caught:
            stream.info()
    assert "refuses the login of user 'me'" in caught.value.message
    assert caught.value.transient is False


def test_a_wrong_password_is_not_transient(start_redis):
    server = start_redis(password="geheim")
    for options in ({"login_password": "falsch"}, {"login_password": None}, {"login_user": "nobody"}):
        error, _seconds = failing(server, **options)
        assert "refuses the login" in error.message
        assert "falsch" not in str(error)
        assert "geheim" not in str(error)
        assert error.transient is False


def test_a_user_that_may_not_read_is_told_what_to_allow(start_redis):
    server = start_redis(users={"reader": "on >pw ~other:* resetchannels -@all +xinfo +xrevrange +time"})
    publish(server.client(), 3, start_ms=1000)
    error, _seconds = failing(server, login_user="reader", login_password="pw")
    assert "does not let user 'reader' read" in error.message
    assert "ACL SETUSER" in error.remedy


def test_a_stream_that_is_missing_or_none_is_gone(redis_server):
    redis_server.client().set("text", "x")
    for stream, says in (("nothing", "does not exist"), ("text", "is not a stream")):
        error, _seconds = failing(redis_server, stream=stream)
        assert isinstance(error, StreamGone)
        assert says in error.message
        assert error.transient is False


def test_another_database_holds_another_stream(redis_server):
    publish(redis_server.client(), 3, start_ms=1000)
    error, _seconds = failing(redis_server, db=3)
    assert "(db 3)" in error.message


@pytest.mark.parametrize("stream", ["", None, 5])
def test_a_stream_needs_a_name(stream):
    with pytest.raises(BadInput):
        StreamReader(Connection(), stream)


def test_redis_is_imported_only_when_it_is_needed(root):
    code = (
        "import sys\n"
        "from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge import gate, monitor, stream\n"
        "assert 'redis' not in sys.modules and 'hiredis' not in sys.modules\n"
    )
    path = str(root / "playbooks" / "collections")
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": path, "PATH": ""})


def test_a_host_without_the_library_is_told_which_package(root, redis_server):
    code = (
        "import sys\n"
        "sys.modules['redis'] = sys.modules['hiredis'] = None\n"
        "from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge import connection, stream\n"
        "stream.StreamReader(connection.Connection(), 's').info()\n"
    )
    path = str(root / "playbooks" / "collections")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={"PYTHONPATH": path, "PATH": ""}
    )
    assert "python3-redis" in done.stderr


def test_what_lies_before_the_beginning_is_not_asked_for(redis_server):
    """Redis would walk the whole stream to say that there is nothing: 34 ms for 100,000 entries."""
    publish(redis_server.client(), 5, start_ms=1000)
    with reader(redis_server) as stream:
        first = stream.info().first_id
        redis_server.client().config_resetstat()
        assert list(stream.newest(10, ZERO, first.previous())) == []
        assert "xrevrange" not in calls(redis_server)
        assert len(ids(stream.newest(10, ZERO, first))) == 1
