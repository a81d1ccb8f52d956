# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run `ansible-test sanity` of the ansible-core in .venv on a copy of the checkout.

ansible-test wants the checkout below ansible_collections/qsc/canary, so a copy (with what is not committed) is made
in build/sanity. Its own virtual environments are kept in build/home, so that a second run is quick and nothing is
written to the user's home. Ends with `N passed, N failed, N skipped`, counting sanity tests.

    sanity.py                 all
    sanity.py --test NAME     options of ansible-test sanity
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from xml.etree import ElementTree

from checkout import ROOT, copy_checkout

COPY = ROOT / "build" / "sanity" / "ansible_collections" / "qsc" / "canary"
HOME = ROOT / "build" / "home"
LIMIT_S = 900
# What pip says while ansible-test builds its environments.
PIP = re.compile(
    r"\s*(Collecting|Requirement already|Using cached|Downloading|Installing collected|Looking in|Processing|"
    r"Successfully installed|━)"
)
# ansible-test bootstraps pip by a script it fetches from a host of its own, unless the script is in its cache.
GET_PIP = "import ensurepip\nensurepip.bootstrap(default_pip=True)\n"


def prepare_home() -> dict[str, str]:
    """A home folder of our own with pip's bootstrap in place. Returns the environment for ansible-test."""
    cache = HOME / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    for name in ("get_pip_24_2.py", "get_pip_25_2.py"):  # ansible-core 2.18 and 2.19, 2.20 and 2.21
        (cache / name).write_text(GET_PIP)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    environment["HOME"] = str(HOME)
    environment["PATH"] = f"{ROOT / '.venv' / 'bin'}{os.pathsep}{environment.get('PATH', os.defpath)}"
    environment["LC_ALL"] = "C.UTF-8"
    return environment


def results() -> tuple[int, list[str], list[str]]:
    """Counts from ansible-test's own reports: passed, names of the failed, names and reasons of the skipped."""
    passed = 0
    failed: list[str] = []
    skipped: list[str] = []
    for path in sorted((COPY / "tests" / "output" / "junit").glob("*.xml")):
        for case in ElementTree.parse(path).getroot().iter("testcase"):
            if case.find("failure") is not None or case.find("error") is not None:
                failed.append(str(case.get("name")))
            elif (skip := case.find("skipped")) is not None:
                reason = skip.get("message") or skip.text or "no reason given"
                # Not a test left out: the collection has no file of the kind it looks at (PowerShell, for one).
                if reason != "No tests applicable.":
                    skipped.append(f"{case.get('name')}: {reason}")
            else:
                passed += 1
    return passed, failed, skipped


def main(options: list[str]) -> int:
    """Copy, run, count."""
    copy_checkout(COPY)
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    command = ["ansible-test", "sanity", "--local", "--python", python, "--junit", "--color", "no", *options]
    print(f"{' '.join(command)}   (in a copy of the checkout)", flush=True)
    process = subprocess.Popen(
        command,
        cwd=COPY,
        env=prepare_home(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert process.stdout is not None
    for line in process.stdout:
        # The paths of its findings are the copy's; they are the checkout's as well.
        if not PIP.match(line):
            print(line, end="", flush=True)
    code = process.wait(LIMIT_S)
    passed, failed, skipped = results()
    if code != 0 and not failed:
        failed.append(f"ansible-test ended with exit code {code}")
    for line in failed:
        print(f"FAILED {line}")
    for line in skipped:
        print(f"SKIPPED {line}")
    print(f"{passed} passed, {len(failed)} failed, {len(skipped)} skipped")
    return 0 if code == 0 and passed and not failed else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
