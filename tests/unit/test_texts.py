# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the texts promise is there, and nothing in the project depends on the machine it was written on."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import yaml

from tools.checkout import checkout_files

# Written in pieces, or this file would be its own finding.
MACHINE_PATHS = re.compile("|".join(("/" + "work/", "/root/" + r"\.pyenv", "/tmp/" + "qsc/", "/opt/" + "pypi")))
HEADER = "SPDX-License-Identifier: "


@pytest.fixture(scope="module")
def texts(root: Path) -> dict[str, str]:
    """Every text file of the project by its relative path."""
    found = {}
    for name in checkout_files(root):
        path = root / name
        if path.is_symlink() or not path.is_file():
            continue
        try:
            found[name] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
    assert "README.md" in found
    return found


@pytest.fixture(scope="module")
def readme(root: Path) -> str:
    return (root / "README.md").read_text()


@pytest.mark.parametrize(
    "command",
    ["make demo", "make test", "playbooks/quickstart.yml", "playbooks/activate.yml", "playbooks/rollback.yml"],
)
def test_the_readme_shows_the_commands(readme: str, command: str) -> None:
    assert command in readme


def test_no_file_names_a_path_of_a_developer_s_machine(texts: dict[str, str]) -> None:
    found = [
        f"{name}:{number}: {line.strip()[:80]}"
        for name, text in texts.items()
        for number, line in enumerate(text.splitlines(), 1)
        if MACHINE_PATHS.search(line)
    ]
    assert found == []


def test_the_readme_names_every_module(root: Path, readme: str) -> None:
    modules = sorted(path.stem for path in (root / "plugins/modules").glob("*.py") if path.stem != "__init__")
    assert modules
    assert [name for name in modules if f"qsc.canary.{name}" not in readme] == []


def test_the_readme_names_only_what_exists(root: Path, readme: str) -> None:
    playbooks = set(re.findall(r"playbooks/(\w+)\.yml", readme))
    assert [name for name in playbooks if not (root / f"playbooks/{name}.yml").is_file()] == []
    modules = set(re.findall(r"qsc\.canary\.(qsc_\w+)", readme)) - {"qsc_canary"}
    assert [name for name in modules if not (root / f"plugins/modules/{name}.py").is_file()] == []
    targets = set(re.findall(r"\bmake ([a-z-]+)\b", readme))
    makefile = (root / "Makefile").read_text()
    assert [name for name in targets if not re.search(rf"^{name}:", makefile, re.MULTILINE)] == []


def test_the_readme_names_only_variables_of_the_role(root: Path, readme: str) -> None:
    defaults = yaml.safe_load((root / "roles/qsc_canary/defaults/main.yml").read_text())
    named = set(re.findall(r"\bqsc_canary_\w+", readme)) - {"qsc_canary_info", "qsc_canary_hosts"}
    assert sorted(name for name in named if name not in defaults) == []


def test_links_between_the_texts_lead_somewhere(root: Path, texts: dict[str, str]) -> None:
    broken = []
    for name, text in texts.items():
        if not name.endswith(".md"):
            continue
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
            if "://" not in target and not (root / name).parent.joinpath(target).exists():
                broken.append(f"{name}: {target}")
    assert broken == []


def test_code_carries_its_licence(texts: dict[str, str]) -> None:
    missing = []
    for name, text in texts.items():
        if not name.endswith((".py", ".sh")) or not text.strip():
            continue
        core = name.startswith("plugins/module_utils/")
        wanted = HEADER + ("BSD-2-Clause" if core else "GPL-3.0-or-later")
        if wanted not in "\n".join(text.splitlines()[:12]):
            missing.append(name)
    assert missing == []


def test_the_docs_name_every_action_of_the_ledger(root: Path) -> None:
    actions: set[str] = set()
    for path in (*(root / "plugins/module_utils/qsc").rglob("*.py"), *(root / "plugins/modules").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            if ast.unparse(node.func) in ("host.log", "host.ledger.append", "real.ledger.append", "self._entry"):
                first = node.args[0]
                parts = [first.body, first.orelse] if isinstance(first, ast.IfExp) else [first]
                actions |= {str(part.value) for part in parts if isinstance(part, ast.Constant)}
    assert {"canary_activated", "rollback_executed", "orphan_removed", "ledger_repaired", "paged"} <= actions
    docs = (root / "docs/how-it-works.md").read_text()
    assert [action for action in sorted(actions) if f"`{action}`" not in docs] == []
