# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Build the image of execution-environment.yml, on the base of the test hosts: no registry is needed."""

from __future__ import annotations

import os
import re
import subprocess
import typing as t
from dataclasses import dataclass
from pathlib import Path

from qsc_hosts.image import base_tag
from qsc_hosts.image import build as build_host_image
from qsc_hosts.setup import environment, podman

from helpers.plays import ROOT
from tools.checkout import copy_checkout

TAG = "localhost/qsc-test-ee:built"
_CA = "/run/build-ca.pem"


@dataclass(frozen=True)
class Image:
    """The image and how large it is."""

    name: str
    megabytes: float


def build(folder: Path) -> Image:
    """Build it as docs/awx.md says, from a clone in ``folder``. Takes one to two minutes."""
    build_host_image()  # its base is there afterwards
    clone = folder / "clone"
    copy_checkout(clone)
    tools = ROOT / ".venv" / "bin"
    _run([str(tools / "ansible-galaxy"), "collection", "build", "--force"], clone)
    command = [
        str(tools / "ansible-builder"), "build", "--verbosity", "1", "--context", str(folder / "context"), "--tag", TAG,
        "--build-arg", f"EE_BASE_IMAGE={base_tag()}",
    ]  # fmt: skip
    mounts = _authorities(folder)
    if mounts:
        command += ["--extra-build-cli-args", mounts]
    _run(command, clone)
    size = int(podman("image", "inspect", "--format", "{{.Size}}", TAG).stdout)
    return Image(TAG, size / 1e6)


def remove() -> None:
    """Take the image away."""
    podman("rmi", "--force", TAG, check=False)


def _authorities(folder: Path) -> str:
    """A machine may trust authorities of its own; pip in the build has to as well. The image keeps nothing of it."""
    certificates = next((os.environ[name] for name in ("PIP_CERT", "SSL_CERT_FILE") if os.environ.get(name)), "")
    if not certificates or not Path(certificates).is_file():
        return ""
    conf = folder / "pip.conf"
    conf.write_text(f"[global]\ncert = {_CA}\n")
    return f"--volume {conf}:/etc/pip.conf:ro --volume {certificates}:{_CA}:ro"


def _run(command: t.Sequence[str], folder: Path) -> None:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**environment(), "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
        check=False,
    )
    tail = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)[-4000:]
    assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}:\n{tail}"
