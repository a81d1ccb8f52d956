# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host tool's own decisions; what it does with podman is tested on real hosts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parent.parent.parent / "hosts"
sys.path.insert(0, str(TOOL))

from qsc_hosts import HostsError, fleet, image, inventory, owner, setup  # noqa: E402
from qsc_hosts.machine import Host  # noqa: E402


def tool(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(TOOL / "hosts.py"), *words],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def lacking(*names: str) -> t.Callable[..., str | None]:
    """A stand-in for shutil.which on a machine without some programs."""

    def which(name: str, **_: t.Any) -> str | None:
        return None if name in names or not names else f"/bin/{name}"

    return which


def test_what_is_missing_is_named_and_nothing_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup.shutil, "which", lacking())
    monkeypatch.setattr(setup.os, "geteuid", lambda: 1000)
    packages, rights = setup.missing()
    wanted = set((TOOL / "packages.txt").read_text().split())
    # Only for the tests themselves; tar comes with every Debian.
    assert set(packages.partition("install ")[2].split()) - {"tar"} == wanted - {"redis-tools"}
    assert "root" in rights
    with pytest.raises(HostsError, match="missing packages: apt-get install aardvark-dns"):
        setup.require()


def test_one_missing_tool_is_named_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup.shutil, "which", lacking("debootstrap"))
    monkeypatch.setattr(setup.os, "geteuid", lambda: 0)
    assert setup.missing() == ["packages: apt-get install debootstrap"]


@pytest.mark.parametrize(
    ("hybrid", "override", "expected"),
    [
        (True, None, "written"),
        (False, None, None),
        (True, "/etc/own.conf", "/etc/own.conf"),
        (False, "/etc/own.conf", "/etc/own.conf"),
        (True, "", None),
    ],
)
def test_podman_is_configured_on_hybrid_cgroups_only_and_a_person_can_override(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, hybrid: bool, override: str | None, expected: str | None
) -> None:
    monkeypatch.setattr(setup, "BUILD", tmp_path)
    monkeypatch.setattr(setup, "cgroups_are_hybrid", lambda: hybrid)
    monkeypatch.delenv("CONTAINERS_CONF", raising=False)
    monkeypatch.delenv("QSC_CONTAINERS_CONF", raising=False)
    if override is not None:
        monkeypatch.setenv("QSC_CONTAINERS_CONF", override)
    chosen = setup.environment().get("CONTAINERS_CONF")
    if expected == "written":
        assert chosen is not None
        assert 'runtime = "runc"' in Path(chosen).read_text()
    else:
        assert chosen == expected
        assert not (tmp_path / "containers.conf").exists()


@pytest.mark.parametrize(("kind", "hybrid"), [("tmpfs", True), ("cgroup2fs", False)])
def test_cgroups_are_told_apart_by_their_file_system(monkeypatch: pytest.MonkeyPatch, kind: str, hybrid: bool) -> None:
    def run(*words: t.Any, **options: t.Any) -> subprocess.CompletedProcess[bytes]:
        return subprocess.CompletedProcess(words, 0, stdout=f"{kind}\n".encode())

    monkeypatch.setattr(setup.subprocess, "run", run)
    assert setup.cgroups_are_hybrid() is hybrid


def test_another_recipe_is_another_image(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("hosts/image", "engine"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setattr(image, "TESTS", tmp_path)
    monkeypatch.setattr(image, "_RECIPE", tmp_path / "hosts" / "image")
    monkeypatch.setattr(image, "_ENGINE", tmp_path / "engine")
    packages = tmp_path / "hosts" / "image" / "packages-bookworm.txt"
    packages.write_text("dbus\nsystemd\n")
    (tmp_path / "engine" / "a.py").write_text("1\n")
    first, base = image.tag(), image.base_tag()
    assert image.tag() == first
    (tmp_path / "engine" / "__pycache__").mkdir()
    (tmp_path / "engine" / "__pycache__" / "a.pyc").write_text("compiled")
    assert image.tag() == first
    (tmp_path / "engine" / "a.py").write_text("2\n")
    assert image.tag() != first
    assert image.base_tag() == base
    packages.write_text("dbus\nsystemd\nstrace\n")
    assert image.base_tag() != base


def test_host_names() -> None:
    assert fleet.names("a") == ["a"]
    assert fleet.names("a", 2) == ["a-1", "a-2"]
    for bad in ("", "-a", "a-", "A", "a_b", "a.b", "x" * 41, "a;reboot"):
        with pytest.raises(HostsError, match="is no host name"):
            fleet.names(bad)


def test_containers_carry_the_prefix_and_the_checkout() -> None:
    assert Host("web", 2222).container == f"qsc-test-{setup.CHECKOUT}-web"


def test_the_inventory_is_for_the_group_of_engines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # the package carries a function of the same name as this module
    module = sys.modules["qsc_hosts.inventory"]
    monkeypatch.setattr(module, "key", lambda: tmp_path / "key")
    found = json.loads(inventory([Host("a", 1), Host("b", 2)]))["qsc_engines"]["hosts"]
    assert {name: values["ansible_port"] for name, values in found.items()} == {"a": 1, "b": 2}
    assert {values["ansible_host"] for values in found.values()} == {"127.0.0.1"}


def test_an_owner_is_a_process_that_lives() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        mark = owner.identity(process.pid)
        assert owner.is_alive(mark)
        process.kill()
    assert not owner.is_alive(mark)


def test_a_later_process_of_the_same_number_is_not_the_owner() -> None:
    pid, started = owner.identity(os.getpid()).split(":")
    assert owner.is_alive(f"{pid}:{started}")
    assert not owner.is_alive(f"{pid}:{int(started) - 1}")
    assert owner.is_alive(""), "a person's host belongs to nobody's process"


def test_an_owner_is_found_among_the_ancestors(tmp_path: Path) -> None:
    program = tmp_path / "some-runner"
    program.write_text(f"#!/bin/sh\n{sys.executable} -c 'import sys; sys.path.insert(0, \"{TOOL}\")\n"
                       "from qsc_hosts import owner\n"
                       "print(owner.ancestor(\"some-runner\"))'\ntrue\n")  # fmt: skip
    program.chmod(0o755)
    shown = subprocess.run([str(program)], capture_output=True, text=True, check=True).stdout
    assert shown.strip().partition(":")[0].isdigit()
    with pytest.raises(HostsError, match="no ancestor"):
        owner.ancestor("some-runner")


def test_a_lock_that_is_taken_is_told(tmp_path: Path) -> None:
    with setup.locked(tmp_path / "lock") as mine:
        assert mine
        with setup.locked(tmp_path / "lock", wait=False) as second:
            assert not second
    with setup.locked(tmp_path / "lock", wait=False) as third:
        assert third


def test_wrong_words_are_an_error_and_one_line() -> None:
    done = tool("down")
    assert done.returncode == 2
    assert done.stderr.strip() == "hosts.py: name the hosts to remove, or say --all"
