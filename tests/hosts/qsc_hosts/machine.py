# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One test host: commands, files, reboots, power cuts."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from .errors import HostsError
from .setup import BUILD, CHECKOUT, environment, locked, podman

BOOT_TIMEOUT_S = 60.0
PATIENCE = 3
"""Every time-out here is for a quiet machine, and is stretched by so much: what is awaited is a condition, and a
deadline only ends what will never come."""


def key() -> Path:
    """Return the private key of this checkout, made at the first call; the public one has ``.pub`` behind it."""
    private = BUILD / "id_ed25519"
    with locked(BUILD / "key.lock"):
        if not private.exists():
            made = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "qsc-test", "-f", str(private)]
            subprocess.run(made, check=True, stdin=subprocess.DEVNULL)
    return private


def wait_until(what: str, condition: Callable[[], bool], timeout_s: float, pause_s: float = 0.05) -> float:
    """Wait for a condition and return the seconds it took; a HostsError says what never came true."""
    timeout_s *= PATIENCE
    started = time.monotonic()
    while True:
        if condition():
            return time.monotonic() - started
        if time.monotonic() - started > timeout_s:
            raise HostsError(f"{what} did not come true within {timeout_s:.0f} s")
        time.sleep(pause_s)


@dataclass(frozen=True)
class Host:
    """A running host. ``name`` is the inventory's name; ``port`` is its ssh port on 127.0.0.1."""

    name: str
    port: int

    @property
    def container(self) -> str:
        """Podman's name of it."""
        return f"qsc-test-{CHECKOUT}-{self.name}"

    def ssh_command(self, user: str = "root") -> list[str]:
        """Return the ssh command line up to and with the destination."""
        return [
            "ssh", "-i", str(key()), "-p", str(self.port), "-o", "StrictHostKeyChecking=no",
            "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "BatchMode=yes",
            "-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=10", f"{user}@127.0.0.1",
        ]  # fmt: skip

    def run(
        self, command: str, *, check: bool = True, timeout: float = 60, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell command as root inside the host (through podman: it works while sshd does not)."""
        done = self._podman_exec(["sh", "-c", command], timeout * PATIENCE, stdin)
        if check and done.returncode != 0:
            raise HostsError(
                f"{self.name}: {command!r} ended with {done.returncode}: {(done.stderr or done.stdout).strip()}"
            )
        return done

    def output(self, command: str, *, timeout: float = 60) -> str:
        """Return the standard output of a command that must succeed, without the last line's end."""
        return self.run(command, timeout=timeout).stdout.rstrip("\n")

    def ssh(
        self, command: str, *, check: bool = True, timeout: float = 60, user: str = "root"
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell command by ssh, the way an operator does."""
        done = subprocess.run(
            [*self.ssh_command(user), command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout * PATIENCE,
            check=False,
        )
        if check and done.returncode != 0:
            raise HostsError(f"{self.name}: ssh {command!r} ended with {done.returncode}: {done.stderr.strip()}")
        return done

    def write(self, path: str, text: str, mode: str = "0644") -> None:
        """Write a file on the host, by rename."""
        quoted = shlex.quote(path)
        self.run(f"cat > {quoted}.new && chmod {mode} {quoted}.new && mv {quoted}.new {quoted}", stdin=text)

    def read(self, path: str) -> str:
        """Return a file's text."""
        return self.run(f"cat {shlex.quote(path)}").stdout

    def exists(self, path: str) -> bool:
        """True when the path is there (a dangling link is)."""
        quoted = shlex.quote(path)
        return self.run(f"test -e {quoted} || test -L {quoted}", check=False).returncode == 0

    def copy_to(self, source: str, path: str) -> None:
        """Copy a file or folder of this machine to the host."""
        podman("cp", source, f"{self.container}:{path}")

    def wait(self, what: str, command: str, *, timeout: float = 30) -> float:
        """Wait until a shell command succeeds on the host, which asks itself again and again; return the seconds."""
        started, wait_s = time.monotonic(), timeout * PATIENCE
        loop = f"""
            end=$(( $(date +%s) + {wait_s:.0f} ))
            until {{ {command}
            }} >/dev/null 2>&1; do
                [ "$(date +%s)" -lt "$end" ] || exit 75
                sleep 0.2
            done
        """
        done = self.run(loop, check=False, timeout=timeout + 30)
        if done.returncode != 0:
            problem = f" ({done.stderr.strip()})" if done.stderr.strip() else ""
            raise HostsError(f"{self.name}: {what} did not come true within {wait_s:.0f} s{problem}")
        return time.monotonic() - started

    def engine(self, *arguments: str, unit: str = "quantum") -> str:
        """Call the engines' control tool, for example ``engine("mode", "dead_zone")``."""
        words = " ".join(shlex.quote(word) for word in arguments)
        return self.output(f"qsc-test-engine --engine {unit} {words}")

    def reboot(self) -> None:
        """Shut down in order and boot again: /run is empty, /etc and /var survive."""
        podman("restart", "--time", "30", self.container)
        self.wait_booted()

    def power_cut(self) -> None:
        """Kill every process at once and boot again."""
        podman("kill", "--signal", "KILL", self.container)
        podman("wait", self.container, check=False, timeout=30)
        podman("start", self.container)
        self.wait_booted()

    def freeze(self) -> None:
        """Stop time for all processes of the host."""
        podman("pause", self.container)

    def thaw(self) -> None:
        """Go on after ``freeze``."""
        podman("unpause", self.container)

    def wait_booted(self, timeout_s: float = BOOT_TIMEOUT_S) -> float:
        """Wait until systemd has finished its boot and ssh answers; return the seconds."""
        timeout_s *= PATIENCE
        started = time.monotonic()
        # A question to systemd that waits is one process; asking again and again would slow the boot down.
        while True:
            left = timeout_s - (time.monotonic() - started)
            if left <= 0:
                raise HostsError(f"{self.name} did not finish its boot within {timeout_s:.0f} s")
            try:
                shown = self._podman_exec(["systemctl", "is-system-running", "--wait"], left, None)
            except HostsError:
                continue
            state = shown.stdout.strip()
            if state == "running":
                break
            if state in ("degraded", "maintenance"):
                failed = self.run("systemctl --failed --no-legend --plain", check=False).stdout.strip()
                raise HostsError(f"{self.name} booted with failed units: {failed}")
            time.sleep(0.1)
        wait_until(f"{self.name}: ssh on port {self.port}", self._ssh_answers, max(5.0, left))
        return time.monotonic() - started

    def _ssh_answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.settimeout(1)
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def _podman_exec(self, command: list[str], timeout: float, stdin: str | None) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                ["podman", "exec", *(["-i"] if stdin is not None else []), self.container, *command],
                env=environment(),
                input=stdin if stdin is not None else "",
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise HostsError(f"{self.name}: {' '.join(command)!r} gave no answer within {timeout:.0f} s") from error


def authorized_keys() -> str:
    """Return the path of the public key that every host of this checkout lets in."""
    return os.fspath(key()) + ".pub"
