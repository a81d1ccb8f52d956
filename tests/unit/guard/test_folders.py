# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way to a folder of somebody else: walked safely, then held."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass
from pathlib import Path

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import Refused
from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard.folders import pinned, set_aside

USER, OTHER = 12345, 23456
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="folders of other users need root")


def make(root: Path, name: str, *, user: int = 0, mode: int = 0o755, link: str = "") -> None:
    path = root / name
    if link:
        path.symlink_to(link)
        os.chown(path, user, user, follow_symlinks=False)
        return
    path.mkdir()
    os.chown(path, user, user)
    path.chmod(mode)


@dataclass(frozen=True)
class Way:
    """Folders and links to make, and why the way to ``a/b`` is refused; "" when it is safe."""

    makes: tuple[tuple[str, dict[str, t.Any]], ...]
    refused: str = ""


WAYS = {
    "root's": Way((("a", {}), ("a/b", {}))),
    "the user's from the first on": Way((("a", {"user": USER}), ("a/b", {"user": USER}))),
    "the user's in root's": Way((("a", {}), ("a/b", {"user": USER}))),
    "root's link": Way((("c", {"user": USER}), ("a", {}), ("a/b", {"link": "../c"}))),
    "the user's link to the user's own": Way(
        (("a", {"user": USER}), ("a/c", {"user": USER}), ("a/b", {"user": USER, "link": "c"}))
    ),
    "a sticky folder for everybody": Way((("a", {"mode": 0o1777}), ("a/b", {"user": USER}))),
    "root's folder in the user's": Way((("a", {"user": USER}), ("a/b", {})), "'b' on the way is of user 0"),
    "another's folder in the user's": Way(
        (("a", {"user": USER}), ("a/b", {"user": OTHER})), f"of user {OTHER}, in the hands of user {USER}"
    ),
    "the user's link to root's": Way((("c", {}), ("a", {}), ("a/b", {"user": USER, "link": "../c"})), "in the hands"),
    "the user's absolute link": Way(
        (("a", {}), ("a/b", {"user": USER, "link": "/etc"})),
        f"'/' on the way is of user 0, in the hands of user {USER}",
    ),
    "a folder for everybody": Way((("a", {}), ("a/b", {"mode": 0o777})), "'b' on the way is writable for everybody"),
    "a parent for everybody": Way((("a", {"mode": 0o777}), ("a/b", {})), "'a' on the way is writable for everybody"),
}


@pytest.mark.parametrize("name", WAYS)
def test_the_way_is_safe_or_refused_with_the_step_that_is_not(tmp_path: Path, name: str) -> None:
    way = WAYS[name]
    for path, options in way.makes:
        make(tmp_path, path, **options)
    target = tmp_path / "a" / "b"
    if not way.refused:
        with pinned(target) as folder:
            assert folder.stat().st_ino == target.stat().st_ino
        return
    with pytest.raises(Refused) as caught, pinned(target):
        pass
    assert way.refused in caught.value.message
    assert str(target) in caught.value.message
    assert caught.value.remedy


def test_what_is_held_stays_the_same_folder(tmp_path: Path) -> None:
    make(tmp_path, "a")
    make(tmp_path, "elsewhere")
    with pinned(tmp_path / "a") as folder:
        (tmp_path / "a").rename(tmp_path / "b")
        (tmp_path / "a").symlink_to("elsewhere")
        (folder / "file").write_text("x")
    assert (tmp_path / "b" / "file").read_text() == "x"
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("what", ["loop", "file", "missing"])
def test_no_way_is_an_error_of_the_system(tmp_path: Path, what: str) -> None:
    if what == "loop":
        (tmp_path / "a").symlink_to("a")
    elif what == "file":
        (tmp_path / "a").write_text("x")
    handles = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match=r"symbolic|directory"), pinned(tmp_path / "a"):
        pass
    assert len(os.listdir("/proc/self/fd")) == handles


def test_a_file_set_aside_is_never_gone_from_its_place(tmp_path: Path) -> None:
    path, aside = tmp_path / "file", tmp_path / "aside"
    path.write_text("x")
    for _again in range(2):  # a try that was cut off is repeated
        set_aside(path, aside)
        assert path.stat().st_ino == aside.stat().st_ino
    path.unlink()
    path.mkdir()
    set_aside(path, tmp_path / "folder")
    assert (tmp_path / "folder").is_dir()
    assert not path.exists()
