# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of all tests.

Tests import the collection as `ansible_collections.qsc.canary...` and the helpers as `helpers...`
(`pythonpath` in pyproject.toml).
"""

from __future__ import annotations

import os
import shutil
import tempfile
import typing as t
from pathlib import Path

import hypothesis
import pytest

if t.TYPE_CHECKING:
    from helpers.redis_server import RedisServer

# `make test` takes few examples and always the same ones, so that it is green or red for everyone;
# `make test-full` takes many new ones. A test may ask for more by its own settings.
hypothesis.settings.register_profile("fast", max_examples=60, derandomize=True, deadline=None, database=None)
hypothesis.settings.register_profile("full", max_examples=600, deadline=None, database=None, print_blob=True)
hypothesis.settings.load_profile("full" if os.environ.get("QSC_TEST_FULL") else "fast")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def clean_environment() -> dict[str, str]:
    """An environment for subprocesses: the virtual environment first on PATH, nobody's ansible settings."""
    others = ("ANSIBLE_", "MOLECULE_", "QSC_", "MAKE", "MFLAGS")
    keep = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    keep.pop("PYTHONPATH", None)
    # The shims of a Python version manager fail for a version it has but does not use.
    path = [folder for folder in keep.get("PATH", os.defpath).split(os.pathsep) if not folder.endswith("/shims")]
    keep["PATH"] = os.pathsep.join([str(ROOT / ".venv" / "bin"), *path])
    keep["LC_ALL"] = "C.UTF-8"
    return keep


@pytest.fixture
def short_folder() -> t.Iterator[Path]:
    """A temporary folder with a short path: unix sockets allow 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="qsc-"))
    # Other users (an unprivileged monitor under test) must be able to reach what lies inside.
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def _shared_redis() -> t.Iterator[RedisServer]:
    from helpers.redis_server import RedisServer

    folder = Path(tempfile.mkdtemp(prefix="qsc-"))
    folder.chmod(0o755)
    try:
        with RedisServer.started(folder) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def redis_server(_shared_redis: RedisServer) -> RedisServer:
    """A real Redis without password, emptied for every test. Never stop or freeze this one: use `start_redis`."""
    _shared_redis.client().flushall()
    return _shared_redis


@pytest.fixture
def start_redis(short_folder: Path) -> t.Iterator[t.Callable[..., RedisServer]]:
    """Start an own Redis: start_redis(password=, users=, tls=, config=). Ends with the test."""
    from helpers.redis_server import RedisServer

    servers: list[RedisServer] = []

    def start(**options: t.Any) -> RedisServer:
        server = RedisServer(short_folder / f"r{len(servers)}", **options)
        server.start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()
