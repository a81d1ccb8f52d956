# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""One connection to Redis: a command in, its raw reply out, every byte counted before it is kept.

Two ways. hiredis' parser on a socket, which a process can afford every 30 s: its import takes a tenth of
redis-py's, which is more than half of a check. redis-py itself where hiredis is missing, and for TLS. Both are imported
when a connection is made, not before, and both speak RESP2.
"""

from __future__ import annotations

import socket
import time
import typing as t

from ..errors import TelemetryError
from .connection import Connection
from .decisions import MOST_BYTES

PAGE = 1000
"""Entries of one reply at most."""
MOST_REPLY = PAGE * MOST_BYTES
"""Bytes: a page full of the largest entries that are decoded. A parser would take any size into memory first."""
_CHUNK = 1 << 16

MISSING_LIBRARY = "the Python library redis is not installed"
MISSING_LIBRARY_REMEDY = "Install python3-redis (Debian, Ubuntu, Fedora) or run: pip install redis"


class WireError(Exception):
    """No connection, or it broke: a later try may succeed."""


class TimedOut(WireError):
    """Nothing arrived for as long as anybody waits. ``handshake``: not even the answer to TLS."""

    def __init__(self, text: str, *, handshake: bool = False) -> None:
        super().__init__(text)
        self.handshake = handshake


class Denied(Exception):
    """The login was refused."""


class Answered(Exception):
    """The server answered the command with an error."""


class TooMuch(Exception):
    """More bytes than the meter allows."""


class Meter:
    """Counts bytes as they arrive: those of one reply, and all of them; and ends what trickles past ``until``."""

    def __init__(self, budget: int) -> None:
        self.until = float("inf")
        self._reply = 0
        self._left = budget
        self._budget = budget

    def begin(self) -> None:
        """The next reply begins."""
        self._reply = 0

    def take(self, count: int) -> None:
        """Note what was received. Raises TooMuch, and TimedOut when the time is over (monotonic clock, s)."""
        self._reply += count
        self._left -= count
        if self._reply > MOST_REPLY:
            raise TooMuch(f"one reply has more than {MOST_REPLY} bytes")
        if self._left < 0:
            raise TooMuch(f"more than {self._budget} bytes would have to be read")
        if time.monotonic() > self.until:
            raise TimedOut("the reply did not end")


class Wire(t.Protocol):
    """One connection, made at the first call and again after it broke."""

    def call(self, *command: t.Any) -> t.Any:
        """The raw reply. Raises WireError, TimedOut, Denied, Answered, TooMuch."""

    def close(self) -> None:
        """Give the connection back."""


def wire_to(connection: Connection, meter: Meter) -> Wire:
    """The quickest way there is. Raises TelemetryError where none is installed."""
    if not connection.tls:
        try:
            return _Hiredis(connection, meter)
        except ImportError:
            pass
    try:
        return _RedisPy(connection, meter)
    except ImportError as error:
        raise TelemetryError(MISSING_LIBRARY, remedy=MISSING_LIBRARY_REMEDY) from error


_NOT_NOW = ("LOADING", "READONLY", "ERR max number of clients reached")
"""What a server says that starts, was demoted, or serves too many."""


def _is_denied(text: str) -> bool:
    return any(word in text for word in ("NOAUTH", "WRONGPASS", "invalid username-password", "invalid password"))


class _Hiredis:
    """A socket, and hiredis to read what arrives."""

    def __init__(self, connection: Connection, meter: Meter) -> None:
        import hiredis

        self._library: t.Any = hiredis
        self._connection = connection
        self._meter = meter
        self._socket: socket.socket | None = None
        self._reader: t.Any = None

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def call(self, *command: t.Any) -> t.Any:
        try:
            if self._socket is None:
                self._connect()
            reply = self._ask(*command)
        except (WireError, TooMuch, Denied):
            self.close()
            raise
        except socket.timeout as error:
            self.close()
            raise TimedOut(str(error)) from error
        except (OSError, ValueError, self._library.HiredisError) as error:  # ValueError: a name that can be none
            self.close()  # what was read of a reply is worth nothing
            raise WireError(getattr(error, "strerror", None) or str(error)) from error
        if isinstance(reply, self._library.ReplyError):
            raise self._refusal(str(reply))
        return reply

    def _refusal(self, text: str) -> Exception:
        """What an error reply means; a server that cannot now may the next time."""
        if text.startswith(_NOT_NOW):
            self.close()
            return WireError(text)
        return (Denied if _is_denied(text) else Answered)(text)

    def _connect(self) -> None:
        connection = self._connection
        if connection.login_unix_socket:
            plain = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._socket = plain
            plain.settimeout(connection.timeout_s)
            plain.connect(connection.login_unix_socket)
        else:
            place = (connection.login_host, connection.login_port)
            self._socket = socket.create_connection(place, connection.timeout_s)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = self._library.Reader()
        if connection.login_user:
            self._greet("AUTH", connection.login_user, connection.login_password)
        elif connection.login_password:
            self._greet("AUTH", connection.login_password)
        if connection.db:
            self._greet("SELECT", connection.db)

    def _greet(self, *command: t.Any) -> None:
        self._meter.begin()
        reply = self._ask(*command)
        if isinstance(reply, self._library.ReplyError):
            self.close()  # or the next call would go on without the login, or on another database
            found = self._refusal(str(reply))
            raise Denied(str(reply)) if command[0] == "AUTH" and isinstance(found, Answered) else found

    def _ask(self, *command: t.Any) -> t.Any:
        connected = self._socket
        if connected is None:
            raise WireError("there is no connection")
        connected.sendall(_packed(command))
        while True:
            reply = self._reader.gets()
            if reply is not False:  # in RESP2 only what is not there yet is False
                if self._reader.gets() is not False:
                    raise WireError("more answers than questions came")  # the next one would be taken for another's
                return reply
            data = connected.recv(_CHUNK)
            if not data:
                raise WireError("the server closed the connection")
            self._meter.take(len(data))
            self._reader.feed(data)


def _packed(command: t.Sequence[t.Any]) -> bytes:
    parts = [str(item).encode() for item in command]
    return b"".join([b"*%d\r\n" % len(parts), *(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)])


class _RedisPy:
    """redis-py (3.5 to 8), made to decode nothing and not to try again by itself."""

    def __init__(self, connection: Connection, meter: Meter) -> None:
        import redis

        self._errors: t.Any = redis.exceptions
        self._client = _client(redis, connection, meter)

    def close(self) -> None:
        self._client.close()

    def call(self, *command: t.Any) -> t.Any:
        errors = self._errors
        try:
            return self._client.execute_command(*command)
        except errors.TimeoutError as error:
            raise _timed_out(error) from error
        except errors.AuthenticationError as error:
            raise Denied(str(error)) from error
        except (errors.BusyLoadingError, errors.ReadOnlyError, errors.ConnectionError) as error:
            broken: Exception = error
        except errors.ResponseError as error:
            raise (Denied if _is_denied(str(error)) else Answered)(str(error)) from error
        except (OSError, ValueError, errors.RedisError) as error:
            broken = error
        if isinstance(broken.__cause__ or broken.__context__, socket.timeout):  # wrapped in a ConnectionError
            raise _timed_out(broken) from broken
        raise (Denied if _is_denied(str(broken)) else WireError)(str(broken)) from broken


def _timed_out(error: Exception) -> TimedOut:
    return TimedOut(str(error), handshake="handshake" in f"{error} {error.__cause__ or error.__context__}")


class _MeteredSocket:
    """A socket whose every received byte is counted before redis-py keeps it."""

    def __init__(self, plain: t.Any, meter: Meter) -> None:
        self._plain = plain
        self._meter = meter

    def __getattr__(self, name: str) -> t.Any:
        return getattr(self._plain, name)

    def recv(self, *arguments: t.Any) -> bytes:
        data: bytes = self._plain.recv(*arguments)
        self._meter.take(len(data))
        return data

    def recv_into(self, *arguments: t.Any) -> int:
        count: int = self._plain.recv_into(*arguments)
        self._meter.take(count)
        return count


def _metered(kind: t.Any, meter: Meter) -> t.Any:
    """A connection class of redis-py's whose sockets are metered."""

    class Metered(kind):  # type: ignore[misc]
        def _connect(self) -> t.Any:
            return _MeteredSocket(super()._connect(), meter)

    return Metered


def _client(redis: t.Any, connection: Connection, meter: Meter) -> t.Any:
    options: dict[str, t.Any] = {
        "db": connection.db,
        "username": connection.login_user or None,
        "password": connection.login_password or None,
        "socket_timeout": connection.timeout_s,
        "socket_connect_timeout": connection.timeout_s,
    }
    if connection.login_unix_socket:
        options["unix_socket_path"] = connection.login_unix_socket
    else:
        options.update(host=connection.login_host, port=connection.login_port)
        if connection.tls:
            options.update(_tls_options(connection))
    try:
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError:  # redis-py 3.5 does not try again by itself
        pass
    else:
        options["retry"] = Retry(NoBackoff(), 0)
    if int(redis.__version__.split(".")[0]) >= 5:
        options["protocol"] = 2
    client = redis.Redis(**options)
    client.connection_pool.connection_class = _metered(client.connection_pool.connection_class, meter)
    for command in ("XINFO STREAM", "XINFO", "XREVRANGE", "XREAD", "TIME"):
        # The raw reply: redis-py's own form costs twice the time and loses a field that stands twice in an entry.
        client.set_response_callback(command, _raw)
    return client


def _tls_options(connection: Connection) -> dict[str, t.Any]:
    from . import tls  # here: OpenSSL takes longer to load than all else of a check without it

    tls.check_files(connection)
    return {
        "ssl": True,
        "ssl_cert_reqs": "required" if connection.validate_certs else "none",
        "ssl_check_hostname": connection.validate_certs,
        "ssl_ca_certs": connection.ca_certs or None,
        "ssl_certfile": connection.client_cert_file or None,
        "ssl_keyfile": connection.client_key_file or None,
    }


def _raw(reply: t.Any, **_options: t.Any) -> t.Any:
    return reply
