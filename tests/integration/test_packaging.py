# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks resolve in a plain clone and after `ansible-galaxy collection install`, wherever they are called."""

from __future__ import annotations

import os
import subprocess
import tarfile
from pathlib import Path

import pytest
import yaml

from tools.checkout import copy_checkout

ROOT = Path(__file__).resolve().parent.parent.parent
PLAYBOOKS = sorted(path.stem for path in (ROOT / "playbooks").glob("*.yml"))


def run(
    command: list[str], folder: Path, environment: dict[str, str], *, expect: int = 0
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**environment, "ANSIBLE_NOCOLOR": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == expect, f"{' '.join(command)}\n{done.stdout}"
    return done


@pytest.fixture(scope="module")
def environment(clean_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Nobody's home: no collection, configuration or plugin of the user can help."""
    return {**clean_environment, "HOME": str(tmp_path_factory.mktemp("home"))}


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `git clone` of the next commit would give, in a folder of any name."""
    target = tmp_path_factory.mktemp("clones") / "some-clone"
    copy_checkout(target, root=ROOT)
    return target


@pytest.fixture(scope="module")
def tarball(clone: Path, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    run(["ansible-galaxy", "collection", "build", "--output-path", str(folder)], clone, environment)
    version = yaml.safe_load((clone / "galaxy.yml").read_text())["version"]
    return folder / f"qsc-canary-{version}.tar.gz"


@pytest.fixture(scope="module")
def installed(tarball: Path, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of collections that holds ours and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    install = ["ansible-galaxy", "collection", "install", "--offline", "--force", "-p", str(folder), str(tarball)]
    run(install, folder, environment)
    return folder


def test_there_are_playbooks() -> None:
    assert {"activate", "gate", "install", "rollback", "status"} <= set(PLAYBOOKS)


def test_the_playbooks_of_a_clone(clone: Path, environment: dict[str, str]) -> None:
    names = [f"playbooks/{name}.yml" for name in PLAYBOOKS]
    checked = run(["ansible-playbook", "--syntax-check", *names], clone, environment).stdout
    assert [name for name in names if f"playbook: {name}" not in checked] == []


def test_a_playbook_of_a_clone_from_other_folders(clone: Path, environment: dict[str, str]) -> None:
    run(["ansible-playbook", "--syntax-check", "activate.yml"], clone / "playbooks", environment)
    run(["ansible-playbook", "--syntax-check", str(clone / "playbooks/activate.yml")], Path("/"), environment)


def test_the_playbooks_of_the_installed_collection(installed: Path, environment: dict[str, str]) -> None:
    names = [f"qsc.canary.{name}" for name in PLAYBOOKS]
    found = {**environment, "ANSIBLE_COLLECTIONS_PATH": str(installed)}
    checked = run(["ansible-playbook", "--syntax-check", *names], installed, found).stdout
    folder = installed / "ansible_collections/qsc/canary/playbooks"
    assert [name for name in PLAYBOOKS if f"playbook: {folder}/{name}.yml" not in checked] == []


def test_the_installed_collection_is_intact(installed: Path, environment: dict[str, str]) -> None:
    found = {**environment, "ANSIBLE_COLLECTIONS_PATH": str(installed)}
    verify = ["ansible-galaxy", "collection", "verify", "--offline", "qsc.canary"]
    assert "Successfully verified" in run(verify, installed, found).stdout


@pytest.mark.parametrize("place", ["clone", "installed"])
def test_every_module_is_documented(
    clone: Path, installed: Path, environment: dict[str, str], place: str, tmp_path: Path
) -> None:
    found = dict(environment)
    if place == "installed":
        found["ANSIBLE_COLLECTIONS_PATH"] = str(installed)
    modules = yaml.safe_load((clone / "meta/runtime.yml").read_text())["action_groups"]["canary"]
    folder = clone if place == "clone" else tmp_path
    listed = run(["ansible-doc", "-t", "module", *(f"qsc.canary.{name}" for name in modules)], folder, found).stdout
    assert [name for name in modules if f"MODULE qsc.canary.{name}" not in listed] == []
    assert "was not found" not in listed


def test_the_tarball_holds_the_project_and_no_rubbish(tarball: Path) -> None:
    with tarfile.open(tarball) as archive:
        names = archive.getnames()
    wanted = ["README.md", "LICENSE", "meta/runtime.yml", "plugins/module_utils/qsc/files.py", "playbooks/activate.yml"]
    assert [name for name in wanted if name not in names] == []
    rubbish = (".venv", "build", "playbooks/collections", ".git", ".mypy_cache", ".pytest_cache")
    assert [name for name in names if name.startswith(tuple(f"{folder}/" for folder in rubbish))] == []
    assert [name for name in names if "__pycache__" in name or name.endswith((".pyc", ".tar.gz"))] == []


def test_the_links_of_a_clone_lead_to_the_checkout(clone: Path) -> None:
    links = clone / "playbooks/collections/ansible_collections/qsc/canary"
    for name in ("plugins", "roles", "meta"):
        assert os.path.realpath(links / name) == os.path.realpath(clone / name)
        assert not os.readlink(links / name).startswith("/")
