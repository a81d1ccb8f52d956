# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where things stand, what is missing on this machine, and how podman is called."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .errors import HostsError

HOSTS = Path(__file__).resolve().parent.parent
TESTS = HOSTS.parent
ROOT = TESTS.parent
BUILD = ROOT / "build" / "hosts"

# Two checkouts of the project may run their tests on one machine: names and labels carry the checkout.
CHECKOUT = hashlib.sha256(str(ROOT).encode()).hexdigest()[:6]
LABEL = "qsc.canary.test-host"
IMAGE = "localhost/qsc-test-host"
BASE_IMAGE = "localhost/qsc-test-base"

_TOOLS = {
    "podman": "podman",
    "runc": "runc",
    "iptables": "iptables",
    "debootstrap": "debootstrap",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "tar": "tar",
}
_NETWORK_HELPERS = {"netavark": "netavark", "aardvark-dns": "aardvark-dns"}
_HELPER_FOLDERS = ("/usr/lib/podman", "/usr/libexec/podman", "/usr/local/libexec/podman", "/usr/local/lib/podman")

# Known to work with runc where cgroups are hybrid: crun does not run systemd there, and both limits are needed.
_HYBRID_CONF = """[engine]
runtime = "runc"
[engine.runtimes]
runc = ["/usr/sbin/runc", "/usr/bin/runc"]
[containers]
default_ulimits = ["nofile=1024:20000", "nproc=1024:1024"]
"""


def _path() -> str:
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])


def missing() -> list[str]:
    """Return the Debian packages (and conditions) that this machine lacks, in words; empty when all is there."""
    found = []
    packages = {package for tool, package in _TOOLS.items() if shutil.which(tool, path=_path()) is None}
    for tool, package in _NETWORK_HELPERS.items():
        folders = os.pathsep.join((*_HELPER_FOLDERS, _path()))
        if shutil.which(tool, path=folders) is None:
            packages.add(package)
    if packages:
        found.append("packages: apt-get install " + " ".join(sorted(packages)))
    if os.geteuid() != 0:
        found.append("rights: debootstrap and privileged systemd containers need root")
    return found


def require() -> None:
    """Raise with the complete list of what is missing."""
    lacking = missing()
    if lacking:
        raise HostsError("test hosts cannot be made here; missing " + "; ".join(lacking))


def cgroups_are_hybrid() -> bool:
    """True where /sys/fs/cgroup is a tmpfs with one mount per controller."""
    shown = subprocess.run(
        ["stat", "-fc", "%T", "/sys/fs/cgroup"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False
    )
    return shown.stdout.decode().strip() == "tmpfs"


def environment() -> dict[str, str]:
    """Return the environment for podman.

    QSC_CONTAINERS_CONF wins: a file's path is used as it is, an empty text leaves podman alone.
    """
    result = dict(os.environ, PATH=_path())
    chosen: str | None = os.environ.get("QSC_CONTAINERS_CONF")
    if chosen is None and cgroups_are_hybrid():
        BUILD.mkdir(parents=True, exist_ok=True)
        conf = BUILD / "containers.conf"
        if not conf.exists() or conf.read_text() != _HYBRID_CONF:
            handle, name = tempfile.mkstemp(dir=str(BUILD))
            with os.fdopen(handle, "w") as stream:
                stream.write(_HYBRID_CONF)
            os.replace(name, conf)
        chosen = str(conf)
    if chosen:
        result["CONTAINERS_CONF"] = chosen
    return result


def podman(*arguments: str, check: bool = True, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run podman; a failure becomes a HostsError with podman's own words."""
    try:
        done = subprocess.run(
            ["podman", *arguments],
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError:
        require()
        raise
    except subprocess.TimeoutExpired as error:
        raise HostsError(f"podman {arguments[0]} gave no answer within {timeout:.0f} s") from error
    if check and done.returncode != 0:
        raise HostsError(f"podman {' '.join(arguments)} ended with {done.returncode}: {done.stderr.strip()}")
    return done


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold an exclusive lock on ``path``; yields False when it is taken and ``wait`` is False.

    The kernel drops the lock with the process, so a killed test run leaves nothing to clear up.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True


def machine_lock(name: str) -> Path:
    """Return a lock's path that every checkout of this user on this machine shares."""
    return Path(tempfile.gettempdir()) / f"qsc-test-hosts-{os.geteuid()}-{name}.lock"
