# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One generated run: the decisions before and after a cutover, as columns of numbers.

Symbols take turns. Each symbol has its own latent values (a common factor, one for each model, one for the canary's
confidence), each a stationary Gaussian process whose correlation over dt seconds is exp(-dt / tau). A degradation
changes what is made of the latent values, never the values themselves: the market goes on.
"""

from __future__ import annotations

import math
import typing as t
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.signal import lfilter

from .ensemble import CANARY, MEAN, MODELS, Ensemble

SYMBOLS = 10
RUN_S = 6 * 3600.0
HISTORY_S = 6 * 3600.0
BURST_S = 302.0
"""The recorded cadence: bursts this far apart, of 2 to 14 decisions, 1.0 decision a minute on average."""
_BURST_EXTRA = (12, 0.25)
"""A burst holds 2 decisions and a binomial number of this many more, each with this chance."""

Array = np.ndarray[t.Any, t.Any]


@dataclass(frozen=True)
class Stage:
    """What the ensemble is from a moment on (s since the cutover; the history is before 0)."""

    from_s: float
    ensemble: Ensemble


@dataclass(frozen=True)
class Telemetry:
    """Decisions in order. ``ms`` since the cutover (the history is before 0); ``actions`` 0 BUY, 1 SELL, 2 HOLD, a row
    for each model; ``confidence`` of the canary."""

    ms: Array
    actions: Array
    confidence: Array

    def __len__(self) -> int:
        return len(self.ms)

    def part(self, keep: Array | slice) -> Telemetry:
        """Some of the decisions."""
        return Telemetry(self.ms[keep], self.actions[:, keep], self.confidence[keep])

    @property
    def canary(self) -> Array:
        """The canary's actions."""
        return np.asarray(self.actions[CANARY])

    @cached_property
    def largest(self) -> Array:
        """Of each decision: votes of the largest group, as a count."""
        return np.asarray(np.stack([_votes(self.actions == action) for action in range(3)]).max(axis=0))

    @cached_property
    def hard(self) -> Array:
        """Of each decision: a BUY and a SELL are in it."""
        return np.asarray((_votes(self.actions == 0) > 0) & (_votes(self.actions == 1) > 0))


def _votes(which: Array) -> Array:
    return np.asarray(which.sum(axis=0, dtype=np.int8))


def regular(rate_per_s: float, most: int) -> Array:
    """Times (s since the cutover) of decisions at equal distances: of the history the newest ``most``."""
    step = 1.0 / rate_per_s
    before = min(most, round(HISTORY_S * rate_per_s))
    return (np.arange(-before, round(RUN_S * rate_per_s)) + 0.5) * step


def bursts(random: np.random.Generator, most: int) -> Array:
    """Times (s since the cutover) of decisions in bursts, a second or less apart within one."""
    starts = np.arange(-HISTORY_S + random.uniform(0, BURST_S), RUN_S, BURST_S)
    sizes = 2 + random.binomial(*_BURST_EXTRA, size=len(starts))
    within = np.concatenate([np.arange(size) for size in sizes])
    times = np.repeat(starts + random.uniform(-5, 5, len(starts)), sizes) + within * 0.5
    times = np.sort(times[times < RUN_S])
    return times[max(0, int(np.searchsorted(times, 0.0)) - most) :]


def latent(random: np.random.Generator, times: Array, tau_s: float) -> Array:
    """Standard normal latent values, one row a decision: the common factor, each model's own, the confidence's.

    Times at equal distances go through a filter; others step by step.
    """
    columns = 2 + len(MODELS)
    rows = -(-len(times) // SYMBOLS)
    noise = random.standard_normal((rows, SYMBOLS * columns), dtype=np.float32)
    if tau_s > 0 and rows > 1:
        padded = np.concatenate([times, np.full(rows * SYMBOLS - len(times), times[-1])]).reshape(rows, SYMBOLS)
        steps = np.exp(-np.diff(padded, axis=0) / tau_s).astype(np.float32)
        if np.ptp(steps[:-1]) < 1e-4:
            keep = float(steps[0, 0])
            noise[1:] *= math.sqrt(1 - keep * keep)
            noise = lfilter([np.float32(1)], np.array([1, -keep], dtype=np.float32), noise, axis=0)
        else:
            for row in range(1, rows):
                keeps = np.repeat(steps[row - 1], columns)
                noise[row] = keeps * noise[row - 1] + np.sqrt(1 - keeps * keeps) * noise[row]
    return noise.reshape(rows * SYMBOLS, columns)[: len(times)]


def generate(random: np.random.Generator, times: Array, tau_s: float, stages: t.Sequence[Stage]) -> Telemetry:
    """The decisions at some times. ``stages`` in order; the first one holds from the beginning of the history."""
    values = latent(random, times, tau_s)
    actions = np.full((len(MODELS), len(times)), 2, dtype=np.int8)
    confidence = np.empty(len(times))
    ends = [*(float(np.searchsorted(times, stage.from_s)) for stage in stages[1:]), len(times)]
    begin = 0
    for stage, end in zip(stages, ends):
        here = slice(begin, int(end))
        begin = int(end)
        for place, model in enumerate(stage.ensemble.models):
            low, high = model.thresholds
            value = np.float32(model.loading) * values[here, 0]
            value += np.float32(math.sqrt(1 - model.loading**2)) * values[here, 1 + place]
            actions[place, here][value > high] = 0
            actions[place, here][value < low] = 1
        confidence[here] = np.clip(MEAN + stage.ensemble.std * values[here, -1].astype(float), 0.0, 1.0)
    return Telemetry(np.floor(times * 1000).astype(np.int64), actions, confidence)
