# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Several hosts: up, down, found again, cleaned away."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from . import image, owner
from .errors import HostsError
from .machine import Host, authorized_keys
from .setup import BASE_IMAGE, BUILD, CHECKOUT, IMAGE, LABEL, locked, machine_lock, podman, require

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
_MINE = f"label={LABEL}={CHECKOUT}"


def names(name: str, count: int | None = None) -> list[str]:
    """Return the hosts' names: NAME itself, or NAME-1 to NAME-count."""
    made = [name] if count is None else [f"{name}-{number}" for number in range(1, count + 1)]
    for each in made:
        if not _NAME.fullmatch(each):
            raise HostsError(f"{each!r} is no host name: small letters, digits and hyphens, at most 40")
    return made


def existing() -> list[Host]:
    """Return the hosts of this checkout that run, by name."""
    shown = podman("ps", "--filter", _MINE, "--format", "json").stdout
    hosts = []
    for entry in json.loads(shown or "[]"):
        port = next((p["host_port"] for p in entry.get("Ports") or [] if p["container_port"] == 22), 0)
        hosts.append(Host(entry["Labels"][f"{LABEL}.name"], port))
    return sorted(hosts, key=lambda host: host.name)


def get(name: str) -> Host:
    """Return one running host."""
    for host in existing():
        if host.name == name:
            return host
    raise HostsError(f"no host {name!r} is up; up are: {', '.join(h.name for h in existing()) or 'none'}")


def _owners() -> dict[str, str]:
    """Return {name: owner's mark} of all hosts, running or not."""
    shown = podman("ps", "--all", "--filter", _MINE, "--format", "json").stdout
    labels = [entry["Labels"] for entry in json.loads(shown or "[]")]
    return {each[f"{LABEL}.name"]: each.get(f"{LABEL}.owner", "") for each in labels}


def _start(name: str, tag: str, keys: str, mark: str) -> Host:
    # The port is podman's choice: asking the kernel for a free one first would leave a gap for somebody else.
    container = Host(name, 0).container
    podman(
        "run", "--detach", "--name", container, "--hostname", f"qsc-test-{name}",
        "--label", f"{LABEL}={CHECKOUT}", "--label", f"{LABEL}.name={name}",
        "--label", f"{LABEL}.owner={mark}",
        "--systemd=always", "--privileged", "--stop-signal", "SIGRTMIN+3",
        "--publish", "127.0.0.1::22", "--volume", f"{keys}:/etc/ssh/qsc-test-authorized-keys:ro",
        tag, "/sbin/init",
    )  # fmt: skip
    shown = podman("port", container, "22/tcp").stdout.strip()
    host = Host(name, int(shown.rsplit(":", 1)[1]))
    host.wait_booted()
    return host


def up(wanted: Sequence[str], *, replace: bool = False, mark: str = "", suite: str = image.SUITE) -> list[Host]:
    """Start hosts of these names, several at once, and wait until each has booted.

    ``mark``: the owner's (see owner.py). A name that is taken is an error, as another run may be using the host, unless
    its owner is gone or ``replace`` is true.
    """
    require()
    for name in wanted:
        names(name)
    tag = image.build(suite)
    keys = authorized_keys()
    with locked(BUILD / "hosts.lock"):
        there = _owners()
        taken = sorted(set(wanted) & set(there))
        in_use = [name for name in taken if owner.is_alive(there[name])]
        if in_use and not replace:
            raise HostsError(
                f"already there: {', '.join(in_use)}. Another test run may be using them;"
                f" if not: python3 tests/hosts/hosts.py down {' '.join(in_use)}"
            )
        _remove(taken)
        with ThreadPoolExecutor(max_workers=max(1, len(wanted))) as pool:
            started = [pool.submit(_start, name, tag, keys, mark) for name in wanted]
        try:
            return [one.result() for one in started]
        except BaseException:
            _remove(wanted)
            raise


def _remove(gone: Sequence[str]) -> None:
    if gone:
        containers = [Host(name, 0).container for name in gone]
        podman("rm", "--force", "--volumes", "--time", "0", "--ignore", *containers)


def down(gone: Sequence[str] | None = None) -> list[str]:
    """Remove hosts of this checkout (all without names); return the names that were there."""
    there = sorted(_owners())
    chosen = there if gone is None else [name for name in gone if name in there]
    _remove(chosen)
    return chosen


@contextlib.contextmanager
def session(name: str, count: int = 1, *, suite: str = image.SUITE) -> Iterator[list[Host]]:
    """Give hosts NAME-1 .. NAME-count to this process and take them away afterwards.

    Remains of a killed run are replaced; while another run holds hosts of this name, this one is refused.
    """
    wanted = names(name, count)
    hosts = up(wanted, mark=owner.identity(os.getpid()), suite=suite)
    try:
        yield hosts
    finally:
        down(wanted)


def clean() -> list[str]:
    """Remove this checkout's hosts and files, and every test-host image that nobody uses; return what went."""
    gone = [f"host {name}" for name in down()]
    with locked(machine_lock("build")):
        there = podman("images", "--format", "{{.Repository}}:{{.Tag}}").stdout.split()
        used = set(podman("ps", "--all", "--format", "{{.Image}}").stdout.split())
        hosts = [name for name in there if name.startswith(IMAGE + ":")]
        unused = [name for name in hosts if name not in used]
        if set(hosts) == set(unused):
            # Only then: podman takes the name off a base although other checkouts' images stand on it.
            unused += [name for name in there if name.startswith(BASE_IMAGE + ":")]
        gone += [f"image {name}" for name in unused if podman("rmi", name, check=False).returncode == 0]
        # Who waits for this lock at this moment goes on with the file that has lost its name, at worst beside another
        # build of the same image.
        machine_lock("build").unlink()
    if BUILD.exists():
        shutil.rmtree(str(BUILD))
        gone.append(f"folder {BUILD}")
    return gone
