# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of the operator's programs may be run: what others than root can change never is."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc import own_checks
from ansible_collections.qsc.canary.plugins.module_utils.qsc.own_checks import MOST, programs, why_not
from ansible_collections.qsc.canary.plugins.module_utils.qsc.settings import DrillPaths, Paths

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")


@pytest.fixture(autouse=True)
def _our_files_are_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_checks, "TRUSTED_UID", os.geteuid())


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    made = Paths(tmp_path)
    made.checks.mkdir(parents=True, mode=0o755)
    made.wanted_checks.mkdir(mode=0o755)
    return made


def put(folder: Path, name: str = "pnl", mode: int = 0o755) -> Path:
    path = folder / name
    path.write_text("#!/bin/sh\nexit 0\n")
    path.chmod(mode)
    return path


def problems(paths: Paths) -> dict[str, str]:
    return {program.name: program.problem for program in programs(paths)}


def test_both_folders_are_listed_by_name(paths: Paths) -> None:
    put(paths.checks, "b"), put(paths.checks, "a"), put(paths.wanted_checks, "c"), put(paths.checks, ".old", 0o666)
    found = programs(paths)
    assert [(item.name, item.required, item.problem) for item in found] == [
        ("a", True, ""), ("b", True, ""), ("c", False, ""),
    ]  # fmt: skip


def test_without_folders_there_are_none(tmp_path: Path) -> None:
    assert programs(Paths(tmp_path)) == []


def test_a_drill_asks_none(paths: Paths) -> None:
    put(paths.checks)
    assert programs(DrillPaths(paths.prefix)) == []


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777])
def test_a_program_that_others_can_write_is_not_run(paths: Paths, mode: int) -> None:
    path = put(paths.checks, mode=mode)
    [found] = programs(paths)
    assert found.problem == f"can be changed by others than root: {path} is writable for others"
    assert found.remedy == f"Run: chown root:root {path} && chmod go-w {path}"


@needs_root
def test_a_program_of_another_user_is_not_run(paths: Paths) -> None:
    os.chown(put(paths.checks), 4242, 0)
    assert problems(paths)["pnl"].endswith("pnl is of user 4242")


@pytest.mark.parametrize("mode", [0o775, 0o777])
def test_a_folder_that_others_can_write_taints_its_programs(paths: Paths, mode: int) -> None:
    put(paths.checks)
    paths.checks.chmod(mode)
    assert "checks.d is writable for others" in problems(paths)["pnl"]


def test_a_link_is_followed_and_all_on_its_way_is_looked_at(paths: Paths, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir(mode=0o755)
    target = put(tools, "real")
    (paths.checks / "pnl").symlink_to("../../../tools/real")
    assert problems(paths) == {"pnl": ""}
    tools.chmod(0o777)
    assert "tools is writable for others" in problems(paths)["pnl"]
    tools.chmod(0o755)
    target.chmod(0o777)
    assert "real is writable for others" in problems(paths)["pnl"]


@needs_root
def test_a_link_through_the_folder_of_a_user_is_not_followed(paths: Paths, tmp_path: Path) -> None:
    """The target is root's, but who owns the folder in between decides where the link leads."""
    real = put(tmp_path, "real")
    between = tmp_path / "between"
    between.mkdir(mode=0o755)
    os.chown(between, 4242, 4242)
    (between / "link").symlink_to(real)
    (paths.checks / "pnl").symlink_to(between / "link")
    assert "between is of user 4242" in problems(paths)["pnl"]


BAD: t.Mapping[str, tuple[t.Callable[[Path], object], str]] = {
    "a folder": (lambda path: path.mkdir(), "is not a regular file"),
    "a fifo": (os.mkfifo, "is not a regular file"),
    "a link to nothing": (lambda path: path.symlink_to("/nonexistent"), "cannot be read: No such file or directory"),
    "a link to itself": (lambda path: path.symlink_to(path), "cannot be read: too many links"),
    "not executable": (lambda path: put(path.parent, path.name, 0o644), "is not executable for everybody"),
    "executable for root alone": (lambda path: put(path.parent, path.name, 0o700), "is not executable for everybody"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_program_is_not_run(paths: Paths, case: str) -> None:
    make, problem = BAD[case]
    make(paths.checks / "pnl")
    [found] = programs(paths)
    assert (found.problem, bool(found.remedy)) == (problem, True)


@pytest.mark.parametrize("name", ["pnl~", "a b", "x" * 49, "-x", "\x1b[2J"])
def test_odd_names_are_not_run(paths: Paths, name: str) -> None:
    put(paths.checks, name)
    assert problems(paths)[name] == "has no plain name"
    assert why_not(paths.checks / name)[1]


def test_no_more_than_a_few_are_run(paths: Paths) -> None:
    for number in range(MOST + 20):
        put(paths.checks, f"c{number:02}")
    found = programs(paths)
    assert len(found) == MOST + 1
    assert [item.problem for item in found[:MOST]] == [""] * MOST
    assert found[MOST].problem == f"is one of {MOST + 20} programs, at most {MOST} are run"


def test_one_that_was_there_when_the_run_began_is_still_asked_for(paths: Paths) -> None:
    put(paths.checks, "kept"), put(paths.wanted_checks, "moved")
    found = {item.name: item for item in programs(paths, ["kept", "gone", "moved"]) if item.required}
    assert {name: item.problem for name, item in found.items()} == {
        "kept": "", "gone": "was removed during the run", "moved": "was removed during the run",
    }  # fmt: skip
