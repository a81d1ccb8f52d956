# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fuzz the readers of hostile data, guided by coverage; the last line is `N executions, S seconds, M findings`.

    tests/fuzz/run.py --seconds 60                every target for so long, one after the other
    tests/fuzz/run.py --seconds 60 --only decision,verdict

A finding is a broken promise, an undocumented exception, more than 5 s, or more than 1 GB. Its input is kept in
build/fuzz/findings/TARGET/: when it is mended, move it to tests/fuzz/corpus/TARGET/, where the normal suite replays it.
Exit code: 0 only when every target ran and nothing was found.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BUILD = ROOT / "build" / "fuzz"
LIMITS = ("-timeout=5", "-rss_limit_mb=1024", "-max_len=40000", "-print_final_stats=1", "-verbosity=1")


def child(name: str, options: list[str]) -> None:
    """Fuzz one target in this process; libFuzzer ends it."""
    import atheris

    sys.path[:0] = [str(ROOT / "plugins" / "module_utils"), str(HERE)]
    with atheris.instrument_imports(include=["qsc", "json"]):
        from targets import TARGETS

    atheris.Setup([sys.argv[0], *options], TARGETS[name])
    atheris.Fuzz()


def names() -> list[str]:
    """The targets, without importing what they test."""
    return sorted(folder.name for folder in (HERE / "corpus").iterdir() if folder.is_dir())


def fuzz(name: str, seconds: int) -> tuple[int, int]:
    """Fuzz one target; returns executions and findings."""
    grown, findings = BUILD / "corpus" / name, BUILD / "findings" / name
    for folder in (grown, findings):
        folder.mkdir(parents=True, exist_ok=True)
    before = set(findings.iterdir())
    command = [
        sys.executable, str(Path(__file__).resolve()), "--child", name, f"-max_total_time={seconds}", *LIMITS,
        f"-artifact_prefix={findings}/", f"-dict={HERE / 'words.dict'}", str(grown), str(HERE / "corpus" / name),
    ]  # fmt: skip
    log = BUILD / f"{name}.log"
    with open(log, "wb") as output:
        code = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False).returncode
    text = log.read_text(errors="replace")
    counted = re.findall(r"number_of_executed_units: *(\d+)", text) or re.findall(r"^#(\d+)", text, re.MULTILINE)[-1:]
    found = len(set(findings.iterdir()) - before)
    if code and not found:
        found = 1  # it did not even run: the log says why
    print(f"{name}: {counted[-1] if counted else 0} executions, {seconds} s, {found} findings ({log})", flush=True)
    return int(counted[-1]) if counted else 0, found


def main() -> int:
    """Fuzz what is asked for."""
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], sys.argv[3:])
        return 0
    parser = argparse.ArgumentParser(description="Fuzz the readers of hostile data.")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default 60)")
    parser.add_argument("--only", default="", metavar="TARGET,...")
    options = parser.parse_args()
    wanted = [name for name in options.only.split(",") if name] or names()
    unknown = sorted(set(wanted) - set(names()))
    if unknown:
        parser.error(f"no such target: {', '.join(unknown)} (there are {', '.join(names())})")
    begin = time.monotonic()
    outcomes = [fuzz(name, options.seconds) for name in wanted]
    executions, findings = (sum(numbers) for numbers in zip(*outcomes))
    print(f"{executions} executions, {time.monotonic() - begin:.0f} seconds, {findings} findings", flush=True)
    return 0 if executions and not findings else 1


if __name__ == "__main__":
    raise SystemExit(main())
