# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""What the host runs: this very package. Its digest tells whether a host and a collection speak of the same code."""

from __future__ import annotations

import hashlib
import os
import pkgutil
import typing as t
from pathlib import Path

from .errors import QscError
from .files import read_bounded
from .settings import Paths

FILES = (
    "__init__.py",
    "agent.py",
    "arguments.py",
    "bundle.py",
    "command.py",
    "command_evidence.py",
    "command_rollout.py",
    "credentials.py",
    "errors.py",
    "files.py",
    "freeze.py",
    "guard/__init__.py",
    "guard/activation.py",
    "guard/artifacts.py",
    "guard/checks.py",
    "guard/drill.py",
    "guard/effect.py",
    "guard/evidence.py",
    "guard/folders.py",
    "guard/history.py",
    "guard/hooks.py",
    "guard/host.py",
    "guard/install.py",
    "guard/installed.py",
    "guard/page.py",
    "guard/promotion.py",
    "guard/reconcile.py",
    "guard/resume.py",
    "guard/rollback.py",
    "guard/rollout.py",
    "guard/rollout_state.py",
    "guard/scratch_engine.py",
    "guard/status.py",
    "guard/stepback.py",
    "guard/systemd.py",
    "guard/units.py",
    "guard/watchdog.py",
    "guard/weights.py",
    "judge/__init__.py",
    "judge/answers.py",
    "judge/archive.py",
    "judge/backtest.py",
    "judge/buckets.py",
    "judge/cadence.py",
    "judge/check.py",
    "judge/checklog.py",
    "judge/claims.py",
    "judge/compare.py",
    "judge/connection.py",
    "judge/cutover.py",
    "judge/decisions.py",
    "judge/drift.py",
    "judge/evidence.py",
    "judge/exposure.py",
    "judge/fold.py",
    "judge/frame.py",
    "judge/gate.py",
    "judge/impact.py",
    "judge/loss.py",
    "judge/monitor.py",
    "judge/options.py",
    "judge/plan.py",
    "judge/planted.py",
    "judge/power.py",
    "judge/programs.py",
    "judge/published.py",
    "judge/recording.py",
    "judge/rehearsal.py",
    "judge/rejudge.py",
    "judge/replay.py",
    "judge/rules.py",
    "judge/sequential.py",
    "judge/sketch.py",
    "judge/sliding.py",
    "judge/stream.py",
    "judge/summary.py",
    "judge/table.py",
    "judge/tls.py",
    "judge/vote.py",
    "judge/wire.py",
    "judge/wording.py",
    "ledger.py",
    "own_checks.py",
    "record.py",
    "settings.py",
    "steps.py",
    "tell/__init__.py",
    "tell/backtest.py",
    "tell/drill.py",
    "tell/evidence.py",
    "tell/figures.py",
    "tell/follow.py",
    "tell/impact.py",
    "tell/live.py",
    "tell/markup.py",
    "tell/plot.py",
    "tell/report.py",
    "tell/status.py",
    "tell/watch.py",
    "verdict.py",
)
"""Every file of the package: a module carries them in an archive that cannot be listed."""

LAUNCHER = """#!/usr/bin/python3 -I
# Starts the command of qsc.canary from the folder this file really stands in, so that an upgrade, which moves a link,
# never changes the code under a running check.
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

from qsc.command import main  # noqa: E402

raise SystemExit(main())
"""


def sources() -> dict[str, bytes]:
    """The package as {path: bytes}, wherever it was loaded from."""
    package = __package__ or "qsc"
    found = {"run.py": LAUNCHER.encode()}
    for name in FILES:
        try:
            data = pkgutil.get_data(package, name)
        except OSError:
            data = None
        if data is None:
            raise QscError(f"{package} does not carry {name}", remedy="Install the collection again.")
        found[f"qsc/{name}"] = data
    return found


def digest() -> str:
    """The identity of the code: 16 hexadecimal digits of the SHA-256 over all names and contents."""
    return _digest(sources())


def digest_in(folder: Path) -> str:
    """The same of the code that stands in a folder of the host, "" where a file of it is missing or cannot be read."""
    names = ("run.py", *(f"qsc/{name}" for name in FILES))
    try:
        return _digest({name: read_bounded(folder / name) for name in names})  # never through a link, or from a fifo
    except (OSError, QscError):
        return ""


def _digest(files: t.Mapping[str, bytes]) -> str:
    total = hashlib.sha256()
    for name, data in sorted(files.items()):
        total.update(f"{name}\0{len(data)}\0".encode())
        total.update(data)
    return total.hexdigest()[:16]


def installed_digest(paths: Paths) -> str:
    """The identity of the agent this host runs, "" when there is none."""
    try:
        return os.path.basename(os.readlink(paths.agent_root / "current"))
    except OSError:
        return ""
