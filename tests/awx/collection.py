# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The real awx.awx collection, out of the package `ansible`: no Galaxy is needed. It is kept below build/."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import typing as t
import zipfile
from pathlib import Path

from qsc_hosts.setup import locked

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGE = "ansible==11.13.0"
"""The newest one whose ansible-core still has Python 3.11; it holds awx.awx 24.6.1."""
FOLDER = ROOT / "build" / "awx" / PACKAGE


def collections() -> Path:
    """A folder of collections with awx.awx in it, made at the first call."""
    with locked(FOLDER.parent / "lock"):
        if not FOLDER.exists():
            _make()
    return FOLDER


def _make() -> None:
    with tempfile.TemporaryDirectory(dir=FOLDER.parent) as name:
        folder = Path(name)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", name, PACKAGE]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        wheels = list(folder.glob("ansible-*.whl"))
        if done.returncode != 0 or not wheels:
            raise AssertionError(
                f"The collection awx.awx could not be had: `pip download {PACKAGE}` failed; is the index reached?"
                f" Nothing was tested against the real modules.\n{done.stderr.strip()}"
            )
        with zipfile.ZipFile(wheels[0]) as wheel:
            wheel.extractall(folder, [one for one in wheel.namelist() if one.startswith("ansible_collections/awx/")])
        made = folder / "made"
        made.mkdir()
        shutil.move(str(folder / "ansible_collections"), str(made))
        os.rename(made, FOLDER)


def module_options(modules: t.Sequence[str], environment: t.Mapping[str, str]) -> dict[str, dict[str, t.Any]]:
    """{module: its options} of awx.awx, as ansible-doc tells them."""
    command = ["ansible-doc", "-t", "module", "-j", *(f"awx.awx.{name}" for name in modules)]
    done = subprocess.run(
        command,
        env={**environment, "ANSIBLE_COLLECTIONS_PATH": str(collections())},
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=True,
    )
    told = json.loads(done.stdout)
    return {name: told[f"awx.awx.{name}"]["doc"]["options"] for name in modules}
