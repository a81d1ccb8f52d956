# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the unit tests under every Python from 3.9 on that is found here: hosts bring their own.

Only the interpreters themselves count, not the shims of a version manager, which fail for a version not in use.
Ends with `N passed, N failed, N skipped`. Virtual environments are kept in build/pythons.

    pythons.py           all found, except the one of .venv, which `make test` uses anyway
    pythons.py 3.9       only this one
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from counting import Counts, from_junit

ROOT = Path(__file__).resolve().parent.parent.parent
ENVIRONMENTS = ROOT / "build" / "pythons"
# Not pinned: each Python gets the newest release that still runs on it.
PACKAGES = ["ansible-core", "hypothesis", "numpy", "pytest", "pytest-timeout", "redis", "hiredis", "PyYAML"]
FOLDERS = ["tests/unit", "tests/property"]
# These test the tools of .venv and the texts, not code that runs on hosts.
NOT_FOR_HOSTS = ["infra", "test_role_arguments.py", "test_texts.py", "test_metadata.py"]
QUESTION = "import sys; print('%d.%d' % sys.version_info[:2]); import ensurepip, venv"


def interpreters() -> dict[str, str]:
    """Path of one working interpreter for each version from 3.9 on, {"3.9": "/usr/bin/python3.9"}."""
    folders = [Path(name) for name in os.environ.get("PATH", os.defpath).split(os.pathsep) if name]
    folders = [folder for folder in folders if folder.name != "shims"]
    folders += sorted((Path.home() / ".pyenv" / "versions").glob("3.*/bin"))
    found: dict[str, str] = {}
    for folder in folders:
        for path in sorted(folder.glob("python3*")):
            match = re.fullmatch(r"python3\.(\d+)", path.name)
            if not match or int(match[1]) < 9 or f"3.{match[1]}" in found:
                continue
            asked = subprocess.run([str(path), "-I", "-c", QUESTION], capture_output=True, text=True, check=False)
            if asked.returncode == 0 and asked.stdout.strip() == f"3.{match[1]}":
                found[f"3.{match[1]}"] = str(path)
    return found


def prepare(version: str, interpreter: str) -> Path:
    """A virtual environment with what the unit tests need. Returns its interpreter."""
    folder = ENVIRONMENTS / version
    python = folder / "bin" / "python"
    if not (folder / ".ready").exists():
        subprocess.run([interpreter, "-m", "venv", "--clear", str(folder)], check=True)
        install = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", *PACKAGES]
        done = subprocess.run(install, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode != 0:
            raise OSError(done.stdout[-2000:])
        (folder / ".ready").touch()
    return python


def test(version: str, interpreter: str) -> Counts:
    """Run the unit tests under one Python."""
    print(f"Python {version}: {interpreter}", flush=True)
    counts = Counts()
    try:
        python = prepare(version, interpreter)
    except (OSError, subprocess.CalledProcessError) as error:
        counts.failed.append(f"no virtual environment: {error}")
        return counts
    junit = ENVIRONMENTS / f"{version}.xml"
    junit.unlink(missing_ok=True)
    folders = [folder for folder in FOLDERS if (ROOT / folder).is_dir()]
    command = [str(python), "-m", "pytest", *folders, f"--junitxml={junit}", "--tb=short", "--color=no", "-q"]
    command += [f"--ignore=tests/unit/{path}" for path in NOT_FOR_HOSTS]
    command += ["-m", "not slow", "-o", f"cache_dir={ENVIRONMENTS / version / 'cache'}"]
    code = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, check=False).returncode
    counts = from_junit(junit)
    if code != 0 and not counts.failed:
        counts.failed.append(f"exit code {code} without a failed test")
    return counts


def main(wanted: list[str]) -> int:
    """Test under each Python and sum up."""
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    found = interpreters()
    unknown = [version for version in wanted if version not in found]
    if unknown:
        print(f"FAILED no Python {', '.join(unknown)} here")
        print(f"0 passed, {len(unknown)} failed, 0 skipped")
        return 1
    chosen = wanted or [version for version in found if version != own]
    passed, failed, skipped = 0, [], []
    for version in sorted(chosen, key=lambda text: int(text.split(".")[1])):
        counts = test(version, found[version])
        passed += counts.passed
        failed += [f"Python {version}: {name}" for name in counts.failed]
        skipped += [f"Python {version}: {name}" for name in counts.skipped]
    if not chosen:
        skipped.append(f"other Pythons: there is only {own} here")
    for word, names in (("FAILED", failed), ("SKIPPED", skipped)):
        for name in names:
            print(f"{word} {name}")
    print(f"{passed} passed, {len(failed)} failed, {len(skipped)} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
