# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the make targets do before and after the tests: install what is missing or say so, and leave nothing behind."""

from __future__ import annotations

import shutil
import subprocess
import typing as t
from pathlib import Path

import pytest

from tools.checkout import copy_checkout

COREUTILS = ["cat", "chmod", "date", "dirname", "find", "id", "rm", "sed", "sh", "sort", "tr"]


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A PATH of our own with the plain tools; a test adds stand-ins for those that touch the system."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in COREUTILS:
        found = shutil.which(name)
        assert found
        (folder / name).symlink_to(found)
    return folder


def stand_in(programs: Path, name: str, text: str) -> None:
    path = programs / name
    path.unlink(missing_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def bootstrap(root: Path, programs: Path, tmp_path: Path) -> t.Callable[..., subprocess.CompletedProcess[str]]:
    """Run tests/tools/bootstrap on a list with `there` and `gone`, of which only `there` is installed."""
    (tmp_path / "list.txt").write_text("# a comment\nthere\ngone   # why\n\n")
    stand_in(programs, "dpkg-query", 'for last; do :; done; [ "$last" = there ] && printf installed || exit 1')
    stand_in(programs, "apt-get", f'echo "$*" >>{tmp_path}/apt')

    def run(**environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(root / "tests/tools/bootstrap"), str(tmp_path / "list.txt")],
            env={"PATH": str(programs), "QSC_POLICY_FILE": str(tmp_path / "policy-rc.d"), **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_root_installs_only_what_is_missing(
    bootstrap: t.Callable[..., subprocess.CompletedProcess[str]], programs: Path, tmp_path: Path
) -> None:
    stand_in(programs, "id", "echo 0")
    # While packages are installed, their services are kept from starting (policy-rc.d).
    kept = f"case $* in *install*) test -x {tmp_path}/policy-rc.d ;; esac"
    stand_in(programs, "apt-get", f'echo "$*" >>{tmp_path}/apt; {kept}')
    done = bootstrap()
    assert done.returncode == 0, done.stderr
    calls = (tmp_path / "apt").read_text().splitlines()
    assert calls[-1].endswith("install -y --no-install-recommends gone")
    assert len(calls) == 2
    assert not (tmp_path / "policy-rc.d").exists()


def test_another_user_is_told_what_to_do(
    bootstrap: t.Callable[..., subprocess.CompletedProcess[str]], programs: Path, tmp_path: Path
) -> None:
    stand_in(programs, "id", "echo 1000")
    done = bootstrap()
    assert done.returncode == 1
    assert "Missing Debian packages: gone\n" in done.stderr
    assert "sudo apt-get install --no-install-recommends gone" in done.stderr
    assert not (tmp_path / "apt").exists()


def test_without_apt_it_says_what_is_needed(
    bootstrap: t.Callable[..., subprocess.CompletedProcess[str]], programs: Path
) -> None:
    (programs / "apt-get").unlink()
    done = bootstrap()
    assert done.returncode == 1
    assert "not a Debian-like system" in done.stderr
    assert "gone there" in done.stderr
    assert bootstrap(QSC_SKIP_PACKAGES="1").returncode == 0


def test_a_failing_apt_is_an_error(
    bootstrap: t.Callable[..., subprocess.CompletedProcess[str]], programs: Path, tmp_path: Path
) -> None:
    stand_in(programs, "id", "echo 0")
    stand_in(programs, "apt-get", "exit 100")
    done = bootstrap()
    assert done.returncode == 1
    assert "apt-get could not install: gone" in done.stderr
    assert not (tmp_path / "policy-rc.d").exists()


def test_clean_leaves_what_git_knows_and_nothing_else(tmp_path: Path, programs: Path) -> None:
    checkout = tmp_path / "checkout"
    copy_checkout(checkout)
    before = sorted(path for path in checkout.rglob("*") if ".git" not in path.parts)
    rubbish = [".venv/bin/x", "build/home/x", "build/test/x.log", ".ansible/x", ".mypy_cache/x", ".pytest_cache/unit/x"]
    rubbish += ["plugins/__pycache__/x.pyc", "tests/unit/__pycache__/x.pyc", "playbooks/collections/.mypy_cache/x"]
    rubbish += ["qsc-canary-9.9.9.tar.gz", ".hypothesis/x", ".import_linter_cache/x", ".ruff_cache/x"]
    for name in rubbish:
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text("x")
    # No podman on this PATH: the test hosts of this machine may be in use.
    done = subprocess.run(
        [str(checkout / "tests/tools/clean")], env={"PATH": str(programs)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert sorted(path for path in checkout.rglob("*") if ".git" not in path.parts) == before
    assert (checkout / "playbooks/collections/ansible_collections/qsc/canary/plugins").is_symlink()
