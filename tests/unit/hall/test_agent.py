# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The package carries all of itself, and its digest tells any two versions apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc import agent
from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import QscError
from ansible_collections.qsc.canary.plugins.module_utils.qsc.settings import Paths


def on_disk(root: Path) -> set[str]:
    package = root / "plugins/module_utils/qsc"
    return {str(path.relative_to(package)) for path in package.rglob("*.py")}


def test_every_file_of_the_package_is_carried(root: Path) -> None:
    missing, gone = on_disk(root) - set(agent.FILES), set(agent.FILES) - on_disk(root)
    assert not missing, f"not in agent.FILES, so no host would get it: {', '.join(sorted(missing))}"
    assert not gone, f"in agent.FILES, but not in the package: {', '.join(sorted(gone))}"
    assert len(set(agent.FILES)) == len(agent.FILES)


def test_the_sources_are_the_files(root: Path) -> None:
    sources = agent.sources()
    package = root / "plugins/module_utils/qsc"
    assert {name: (package / name).read_bytes() for name in agent.FILES} == {
        name[len("qsc/") :]: data for name, data in sources.items() if name != "run.py"
    }
    assert sources["run.py"].startswith(b"#!/usr/bin/python3 -I\n")


def test_the_digest_is_stable_and_a_plain_name() -> None:
    digest = agent.digest()
    assert digest == agent.digest()
    assert len(digest) == 16
    assert int(digest, 16) >= 0


@pytest.mark.parametrize("name", ["run.py", *(f"qsc/{name}" for name in agent.FILES)])
def test_a_change_of_any_file_changes_the_digest(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    before, sources = agent.digest(), agent.sources()
    monkeypatch.setattr(agent, "sources", lambda: {**sources, name: sources[name] + b"\n"})
    assert agent.digest() != before


def test_moving_a_line_from_one_file_to_the_next_changes_the_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "sources", lambda: {"a": b"12", "b": b"3"})
    first = agent.digest()
    monkeypatch.setattr(agent, "sources", lambda: {"a": b"1", "b": b"23"})
    assert agent.digest() != first
    monkeypatch.setattr(agent, "sources", lambda: {"a": b"12", "c": b"3"})
    assert agent.digest() != first


def test_a_package_that_is_not_whole_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "FILES", (*agent.FILES, "judge/forgotten.py"))
    with pytest.raises(QscError, match=r"does not carry judge/forgotten\.py") as caught:
        agent.sources()
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("target", "digest"), [("0123", "0123"), ("/usr/local/lib/qsc_canary/0123", "0123"), (None, "")]
)
def test_the_installed_digest(tmp_path: Path, target: str | None, digest: str) -> None:
    paths = Paths(tmp_path)
    paths.agent_root.mkdir(parents=True)
    if target is not None:
        (paths.agent_root / "current").symlink_to(target)
    assert agent.installed_digest(paths) == digest
