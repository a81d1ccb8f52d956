# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The image of a test host: built from Debian's packages, cached by a digest of its recipe."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from .errors import HostsError
from .setup import BASE_IMAGE, BUILD, HOSTS, IMAGE, LABEL, TESTS, environment, locked, machine_lock, podman, require

SUITE = "bookworm"
MIRROR = "http://deb.debian.org/debian"
_RECIPE = HOSTS / "image"
_ENGINE = TESTS / "engine"


def say(text: str) -> None:
    """Tell a person what goes on; results go to standard output, progress never does."""
    print(text, file=sys.stderr, flush=True)


def packages(suite: str = SUITE) -> list[str]:
    """Return the Debian packages of the base."""
    return (_RECIPE / f"packages-{suite}.txt").read_text().split()


def _recipe_files() -> list[Path]:
    found = [path for path in _RECIPE.rglob("*") if path.is_file()]
    found += [path for path in _ENGINE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return sorted(found)


def _digest(parts: Iterable[bytes]) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(len(part).to_bytes(8, "big") + part)
    return total.hexdigest()[:12]


def base_tag(suite: str = SUITE) -> str:
    """Return the name of the base image, which depends on the packages alone."""
    return f"{BASE_IMAGE}:{suite}-{_digest([suite.encode(), MIRROR.encode(), *(p.encode() for p in packages(suite))])}"


def tag(suite: str = SUITE) -> str:
    """Return the name of the host image: another recipe is another name."""
    parts = [base_tag(suite).encode()]
    for path in _recipe_files():
        parts += [str(path.relative_to(TESTS)).encode(), path.read_bytes()]
    return f"{IMAGE}:{suite}-{_digest(parts)}"


def exists(name: str) -> bool:
    """True when podman has the image."""
    return podman("image", "exists", name, check=False).returncode == 0


def _run_shown(title: str, command: Sequence[str], log: Path) -> None:
    """Run a long command with its output in ``log`` and a sign of life every few seconds."""
    started = shown = time.monotonic()
    last = ""
    with (
        open(log, "a") as out,
        subprocess.Popen(
            list(command),
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            universal_newlines=True,
            errors="replace",
        ) as process,
    ):
        if process.stdout is None:
            raise HostsError(f"{title}: no output to read")
        for line in process.stdout:
            out.write(line)
            last = line.strip() or last
            now = time.monotonic()
            if now - shown >= 5:
                say(f"  {title} [{now - started:4.0f} s] {last[:100]}")
                shown = now
        code = process.wait()
    if code != 0:
        raise HostsError(f"{title} ended with {code} ({last}); the whole output: {log}")
    say(f"  {title}: {time.monotonic() - started:.0f} s")


def _build_base(suite: str, log: Path) -> None:
    # Beside the build folder's other files, as the temporary folder may be small or mounted without device files.
    folder = Path(tempfile.mkdtemp(prefix="rootfs-", dir=str(BUILD)))
    archive = folder / "rootfs.tar"
    rootfs = folder / "rootfs"
    try:
        chosen = ",".join(packages(suite))
        _run_shown(
            "debootstrap",
            ["debootstrap", "--variant=minbase", f"--include={chosen}", suite, str(rootfs), MIRROR],
            log,
        )
        for cached in (rootfs / "var/cache/apt/archives").glob("*.deb"):
            cached.unlink()
        _run_shown("pack", ["tar", "-C", str(rootfs), "-cf", str(archive), "."], log)
        _run_shown(
            "import",
            ["podman", "import", "--change", f"LABEL {LABEL}=base", str(archive), base_tag(suite)],
            log,
        )
    finally:
        shutil.rmtree(str(folder), ignore_errors=True)


def build(suite: str = SUITE, *, force: bool = False) -> str:
    """Make sure the image of the present recipe exists and return its name."""
    require()
    name = tag(suite)
    if not force and exists(name):
        return name
    BUILD.mkdir(parents=True, exist_ok=True)
    log = BUILD / "build.log"
    with locked(machine_lock("build"), wait=False) as mine:
        if not mine:
            say("another build of the test-host image is running; waiting for it")
    with locked(machine_lock("build")):
        if not force and exists(name):
            return name
        say(f"building {name} (output: {os.path.relpath(str(log))})")
        log.write_text("")
        if force or not exists(base_tag(suite)):
            _build_base(suite, log)
        _run_shown(
            "layers",
            [
                "podman", "build", "--layers=false", "--format", "docker", "--build-arg", f"BASE={base_tag(suite)}",
                "--label", f"{LABEL}=image", "--tag", name, "--ignorefile", str(_RECIPE / "containerignore"),
                "--file", str(_RECIPE / "Containerfile"), str(TESTS),
            ],
            log,
        )  # fmt: skip
    return name
