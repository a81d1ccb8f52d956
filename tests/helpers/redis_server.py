# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Redis server for one test: own folder, free loopback port, unix socket; optional password, ACL users, TLS.

with RedisServer.started(tmp_path, password="geheim") as server:
    server.client().xadd("s", {"payload": "{}"})
    run_module(**server.options())
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
import typing as t
from pathlib import Path

import redis

START_TIMEOUT_S = 15.0


class RedisServerError(RuntimeError):
    """The test's own Redis could not be started or stopped."""


def free_port() -> int:
    """A loopback TCP port that nothing listens on at this moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_certificates(folder: Path) -> dict[str, str]:
    """A throw-away authority, a certificate for 127.0.0.1 and localhost, and what must be refused beside it.

    Returns paths: ca, cert, key (also of expired and elsewhere), expired, elsewhere (a certificate for another host),
    client, client_key, other_ca (an authority that did not sign cert), other_client, other_client_key (signed by it).
    """
    folder.mkdir(parents=True, exist_ok=True)

    def path(name: str) -> str:
        return str(folder / f"{name}.pem")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]

    def sign(name: str, *, key: str, authority: str, hosts: str = "DNS:localhost,IP:127.0.0.1", days: int = 2) -> None:
        request, extensions = folder / f"{key}.csr", folder / "extensions.cnf"
        if not request.exists():
            openssl("req", "-new", *new_key, "-subj", "/CN=localhost", "-keyout", path(key), "-out", str(request))
        extensions.write_text(f"subjectAltName={hosts}\n")
        openssl(
            *("x509", "-req", "-days", str(days), "-in", str(request), "-CA", path(authority)),
            *("-CAkey", path(f"{authority}_key"), "-CAcreateserial", "-extfile", str(extensions), "-out", path(name)),
        )

    for authority in ("ca", "other_ca"):
        names = ["-subj", f"/CN=qsc test {authority}", "-keyout", path(f"{authority}_key"), "-out", path(authority)]
        openssl("req", "-x509", *new_key, "-days", "2", *names)
    sign("cert", key="key", authority="ca")
    sign("expired", key="key", authority="ca", days=-1)
    sign("elsewhere", key="key", authority="ca", hosts="DNS:redis.elsewhere.example")
    sign("client", key="client_key", authority="ca")
    sign("other_client", key="other_client_key", authority="other_ca")
    return {file.stem: str(file) for file in folder.glob("*.pem")}


class RedisServer:
    """One redis-server process.

    password: `requirepass`.  users: ACL rules by user name, e.g. {"reader": "on >pw ~* +@read +ping"}.
    tls: serve TLS on the port instead of plain TCP (the unix socket stays plain), with the certificate ``certificate``
    of make_certificates.
    config: further lines of redis.conf, e.g. {"maxmemory": "2mb"}.
    """

    def __init__(
        self,
        folder: Path,
        *,
        password: str = "",
        users: dict[str, str] | None = None,
        tls: bool = False,
        certificate: str = "cert",
        config: dict[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.password = password
        self.users = dict(users or {})
        self.tls = tls
        self.certificate = certificate
        self.config = dict(config or {})
        self.host = "127.0.0.1"
        self.port = 0
        # A unix socket's path may have at most 107 bytes, and pytest's temporary folders can be longer.
        self.unix_socket = str(folder / "redis.sock")
        self.certificates: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    @contextlib.contextmanager
    def started(cls, folder: Path, **options: t.Any) -> t.Iterator[RedisServer]:
        """A running server that is stopped at the end of the block."""
        server = cls(folder, **options)
        server.start()
        try:
            yield server
        finally:
            server.stop()

    @property
    def pid(self) -> int:
        """The server's process id; an error when it does not run."""
        if self._process is None:
            raise RedisServerError("this Redis server is not running")
        return self._process.pid

    def start(self) -> None:
        """Start (or start again on the same port with the data that was saved) and wait until it answers."""
        program = shutil.which("redis-server")
        if program is None:
            raise RedisServerError("redis-server is not installed: apt-get install redis-server")
        self.folder.mkdir(parents=True, exist_ok=True)
        if len(self.unix_socket.encode()) > 100:
            raise RedisServerError(f"the folder is too deep for a unix socket: {self.unix_socket}")
        if self.tls and not self.certificates:
            self.certificates = make_certificates(self.folder / "tls")
        attempts = 1 if self.port else 5
        for attempt in range(attempts):
            port = self.port or free_port()
            if self._try_start(program, port):
                self.port = port
                return
            if attempt + 1 < attempts and "in use" in self.log():
                continue  # somebody took the free port in between
            raise RedisServerError(f"redis-server did not start: {self.log()[-2000:]}")

    def stop(self) -> None:
        """End the server (SIGTERM; saves when RDB saving is configured). No error when it is gone already."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        self._process = None

    def kill(self) -> None:
        """SIGKILL: connections break at once, nothing is saved."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def freeze(self) -> None:
        """SIGSTOP: the port still accepts connections, nothing is ever answered."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT after `freeze`."""
        os.kill(self.pid, signal.SIGCONT)

    def client(self, **overrides: t.Any) -> redis.Redis:
        """An administrator's client over the unix socket, answers as str."""
        options: dict[str, t.Any] = {
            "unix_socket_path": self.unix_socket,
            "decode_responses": True,
            "socket_timeout": 10,
            "retry": None,
        }
        if self.password:
            options["password"] = self.password
        options.update(overrides)
        return redis.Redis(**options)

    def options(self) -> dict[str, t.Any]:
        """The collection's connection options (`login_host` ...) that reach this server over TCP."""
        found: dict[str, t.Any] = {"login_host": self.host, "login_port": self.port, "tls": self.tls}
        if self.password:
            found["login_password"] = self.password
        if self.tls:
            found["ca_certs"] = self.certificates["ca"]
        return found

    def log(self) -> str:
        """What the server has written so far."""
        path = self.folder / "redis.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _write_config(self, port: int) -> Path:
        lines = {
            "bind": "127.0.0.1",
            "port": "0" if self.tls else str(port),
            "unixsocket": self.unix_socket,
            "unixsocketperm": "777",
            "dir": str(self.folder),
            "save": '""',
            "appendonly": "no",
            "daemonize": "no",
        }
        if self.password:
            lines["requirepass"] = self.password
        if self.tls:
            lines.update(
                {
                    "tls-port": str(port),
                    "tls-cert-file": self.certificates[self.certificate],
                    "tls-key-file": self.certificates["key"],
                    "tls-ca-cert-file": self.certificates["ca"],
                    "tls-auth-clients": "optional",
                }
            )
        lines.update(self.config)
        text = [f"{name} {value}" for name, value in lines.items()]
        text += [f"user {name} {rules}" for name, rules in self.users.items()]
        path = self.folder / "redis.conf"
        path.write_text("\n".join(text) + "\n")
        return path

    def _try_start(self, program: str, port: int) -> bool:
        config = self._write_config(port)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.unix_socket)
        with open(self.folder / "redis.log", "wb") as log:
            process = subprocess.Popen(
                [program, str(config)], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if process.poll() is not None:
                return False
            try:
                with self.client(socket_timeout=1) as client:
                    client.ping()
                self._process = process
                return True
            except redis.exceptions.BusyLoadingError:
                pass
            except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError):
                pass
            time.sleep(0.01)  # polling the condition "it answers"; bounded by the deadline
        process.kill()
        process.wait(10)
        return False
