# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From columns of numbers to what the judge works on, fast: blocks of the history, minutes of the run.

Equal to the judge's own ``blocks_of`` and ``Stretch.add``, which take one decision at a time: a test compares them.
"""

from __future__ import annotations

import typing as t

import numpy as np

from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.buckets import GRID, MINUTE_MS, Observation, Stretch
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.decisions import ACTIONS
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.frame import BLOCK_S, Blocks, Frame, learn

from .ensemble import MODELS
from .generate import RUN_S, Array, Telemetry

VOTERS = len(MODELS)


def bins_of(confidence: Array) -> Array:
    """``buckets.bin_of`` of many."""
    return np.clip(np.ceil(confidence * GRID - 1e-9), 0, GRID).astype(np.int64)


def observations(rows: Telemetry) -> list[Observation]:
    """The same, one decision at a time (slow)."""
    columns = zip(rows.ms.tolist(), rows.canary.tolist(), rows.confidence.tolist(), rows.largest, rows.hard)
    return [
        Observation(ms, ACTIONS[action], confidence, False, False, int(most) / VOTERS, bool(hard))
        for ms, action, confidence, most, hard in columns
    ]


def blocks(rows: Telemetry) -> tuple[Blocks, float]:
    """``frame.blocks_of``."""
    centre = float(rows.confidence.mean())
    places = (rows.ms - rows.ms[0]) // int(1000 * BLOCK_S)
    _kept, places = np.unique(places, return_inverse=True)
    counts = np.bincount(places)

    def mean(values: Array) -> list[float]:
        return list((np.bincount(places, weights=values) / counts).tolist())

    off = rows.confidence - centre
    found = Blocks(len(rows), float(rows.ms[-1] - rows.ms[0]) / 1000)
    for place, action in enumerate(ACTIONS):
        found.means[action] = mean(rows.canary == place)
    found.means["agreement"] = mean(rows.largest / VOTERS)
    found.means["hard_disagree"] = mean(rows.hard)
    found.means["confidence"] = mean(off)
    found.means["variance"] = mean(off * off)
    return found, centre


def frame_of(history: Telemetry) -> Frame:
    """What production learns before the cutover."""
    found, centre = blocks(history)
    return learn(found, centre, RUN_S)


def minutes(rows: Telemetry, centre: float) -> list[Stretch]:
    """The minutes of a run that hold a decision, in order."""
    places = rows.ms // MINUTE_MS
    starts = np.flatnonzero(np.diff(places, prepend=-1))
    ends = np.append(starts[1:], len(rows))

    def total(values: Array) -> list[t.Any]:
        return list(np.add.reduceat(values, starts).tolist())

    off = rows.confidence - centre
    actions = np.stack([np.add.reduceat((rows.canary == place).astype(np.int64), starts) for place in range(3)], axis=1)
    d1, d2 = total(off), total(off * off)
    agreement, hard = total(rows.largest / VOTERS), total(rows.hard.astype(np.int64))
    found = bins_of(rows.confidence)
    first, last = rows.ms[starts].tolist(), rows.ms[ends - 1].tolist()
    stretches = []
    for k, (start, end) in enumerate(zip(starts.tolist(), ends.tolist())):
        values, times = np.unique(found[start:end], return_counts=True)
        stretches.append(
            Stretch(
                first_ms=first[k],
                last_ms=last[k],
                decisions=end - start,
                counts=actions[k].tolist(),
                voting=end - start,
                d1=d1[k],
                d2=d2[k],
                bins=dict(zip(values.tolist(), times.tolist())),
                voted=end - start,
                agreement=agreement[k],
                hard=hard[k],
            )
        )
    return stretches
