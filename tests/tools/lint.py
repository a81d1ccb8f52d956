# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run every linter (all of them, even when one complains) and end with `N passed, N failed, N skipped`.

lint.py             all
lint.py NAME...     only these
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import types
import typing as t
from concurrent.futures import ThreadPoolExecutor, as_completed

from checkout import ROOT, checkout_files

LIMIT_S = 600
# Two at a time suit a machine with two cores.
AT_ONCE = 2


def shell_scripts() -> list[str]:
    """Files whose first line names a shell, wherever they are."""
    found = []
    for name in checkout_files():
        path = ROOT / name
        if path.is_symlink() or not path.is_file():
            continue
        with open(path, "rb") as file:
            first = file.readline(80)
        if first.startswith((b"#!/bin/sh", b"#!/bin/bash", b"#!/usr/bin/env bash", b"#!/usr/bin/bash")):
            found.append(name)
    return found


class Check(t.NamedTuple):
    """One linter: its command, and what it needs in the environment."""

    name: str
    command: list[str]
    environment: t.Mapping[str, str] = types.MappingProxyType({})


def checks() -> list[Check]:
    """All linters, the slow ones first so that two at a time end together."""
    return [
        Check("ansible-lint", ["ansible-lint", "--offline", "--nocolor", "-q"]),
        Check(
            "antsibull-docs",
            ["antsibull-docs", "lint-collection-docs", "--plugin-docs", "--validate-collection-refs", "all", "."],
        ),
        Check("mypy", ["mypy", "--strict", "-p", "qsc"]),
        Check("ruff", ["ruff", "check", "--no-fix", "--output-format", "concise", "."]),
        Check(
            "import-linter",
            ["lint-imports", "--cache-dir", "build/import_linter"],
            {"PYTHONPATH": "plugins/module_utils"},
        ),
        Check("yamllint", ["yamllint", "--strict", "--format", "parsable", "."]),
        Check("antsibull-changelog", ["antsibull-changelog", "lint"]),
        Check("shellcheck", ["shellcheck", *shell_scripts()]),
    ]


def run(check: Check) -> tuple[Check, int, str, float]:
    """Run one linter. Returns it, its exit code, its output, and the seconds it took."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    environment["PATH"] = f"{ROOT / '.venv' / 'bin'}{os.pathsep}{environment.get('PATH', os.defpath)}"
    environment.update({"LC_ALL": "C.UTF-8", "NO_COLOR": "1"}, **check.environment)
    begin = time.monotonic()
    try:
        done = subprocess.run(
            check.command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=LIMIT_S,
            check=False,
        )
        code, output = done.returncode, done.stdout.decode(errors="replace")
    except FileNotFoundError:
        code, output = 127, f"{check.command[0]} is not installed: run `make venv`"
    except subprocess.TimeoutExpired as late:
        code, output = 124, f"{(late.stdout or b'').decode(errors='replace')}\nno end after {LIMIT_S} s"
    return check, code, output, time.monotonic() - begin


def main(names: list[str]) -> int:
    """Run the linters and print each one's complaints under its name."""
    wanted = [check for check in checks() if not names or check.name in names]
    unknown = sorted(set(names) - {check.name for check in wanted})
    if unknown:
        print(f"unknown linter: {', '.join(unknown)}")
        return 2
    failed = 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for done in as_completed([pool.submit(run, check) for check in wanted]):
            check, code, output, seconds = done.result()
            print(f"{'ok    ' if code == 0 else 'FAILED'} {check.name} ({seconds:.1f} s)", flush=True)
            if code != 0:
                failed += 1
                print("\n".join(f"    {line}" for line in output.strip().splitlines()), flush=True)
    print(f"{len(wanted) - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
