# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recordings for tests of the replay: generated telemetry as a file of JSON lines, and as decisions."""

from __future__ import annotations

import json
import random
import typing as t
from pathlib import Path

from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.cutover import ZERO
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.decisions import Decision, Dialect
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.options import MonitorOptions
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.recording import EVERYTHING, Recording, from_file
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.replay import Replay

from .telemetry import Breakdown, entry, healthy

BEGIN_MS = 1_768_000_000_000
CANARY = "patchtst"
DIALECT = Dialect.of({}, ("fallback",))

Spoil = t.Callable[[int, Breakdown], t.Any]


def lines(count: int, *, step_ms: int = 6000, seed: int = 1, spoil: Spoil | None = None) -> list[str]:
    """Healthy decisions in random order and at random times, some ``step_ms`` apart."""
    rng = random.Random(seed)
    ms, found = BEGIN_MS, []
    for i in range(count):
        ms += rng.randint(0, 2 * step_ms)
        breakdown: t.Any = healthy(rng.randrange(1_000_000))
        said = spoil(i, breakdown) if spoil else None
        found.append(json.dumps({"ms": ms, "fields": entry(breakdown if said is None else said, serial=i)}))
    return found


def record(folder: Path, rows: t.Sequence[str], name: str = "telemetry.jsonl") -> Path:
    """A file of these lines."""
    path = folder / name
    path.write_text("\n".join(rows) + "\n")
    return path


def recording(folder: Path, count: int, **options: t.Any) -> Recording:
    """A recording of so many decisions."""
    return from_file(str(record(folder, lines(count, **options))), DIALECT, EVERYTHING)


def replay(decisions: t.Sequence[Decision], interval_s: float = 30.0, **options: t.Any) -> Replay:
    """A replay under these options of the monitor."""
    raw = {"weight": 0.1, "duration_s": 7200, **options}
    return Replay(decisions, MonitorOptions.from_dict(raw, model=CANARY, since=ZERO), interval_s)
