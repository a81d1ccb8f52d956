# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""What a run under ``sequential`` can see at all: the smallest departure it finds with a chance of 80 %. Pure.

From what was learnt before the run (how far the mean of a bucket strays, how many buckets a run holds) and from the
very thresholds of ``claims``. With n buckets, s the standard deviation of a bucket's mean at the limit c, z = .8416
(the 80 % quantile of the normal distribution), the figure must lie beyond the limit by

- the confidence sequence: min over t of s (r_t + z / sqrt(t)), ``BURN_IN_VIOLATED`` <= t <= n, r_t its radius;
- the change detector: |m1 - c| / 2 + v / |m1 - c| * (h + z sqrt(n) s |m1 - c| / v) / n, with m1 the change it looks
  for, h its threshold and v = max(s^2, |m1 - c|^2 / 25): n increments of mean d and standard deviation s |m1 - c| / v
  reach h with chance 80 %;

whichever is less. Both are the chance at one bucket, so the chance at any bucket is a little larger. A change that
begins at half time is left with n / 2 buckets and the change detector. To be called kept, a figure must lie within the
limit by s times the radius at the end.
"""

from __future__ import annotations

import math
import typing as t
from dataclasses import dataclass

from .claims import (
    ASYMPTOTIC_MARGIN,
    BURN_IN,
    BURN_IN_VIOLATED,
    DETECTORS,
    PROMOTION_ALPHA,
    RANGE,
    STD,
    Claim,
    Evidence,
    ends,
)
from .decisions import ACTIONS
from .evidence import ABOVE, asymptotic_radius
from .frame import Frame
from .wording import rule

CHANCE = 0.8
_Z80 = 0.8416212335729143


@dataclass(frozen=True)
class Reach:
    """Of one claim: its figure ``now``, where it ``seen`` and, from half time on, ``seen_late``, and within which value
    it can be called ``kept``; None where that cannot happen, or is not known."""

    claim: Claim
    now: float | None
    seen: float | None
    seen_late: float | None
    kept: float | None
    learnt: bool

    def to_dict(self) -> dict[str, t.Any]:
        """As JSON-ready data; shares as fractions."""
        return {
            "code": self.claim.code,
            "metric": self.claim.metric,
            "rule": rule(self.claim),
            "limit": self.claim.limit,
            "now": self.now,
            "seen": self.seen,
            "seen_late": self.seen_late,
            "kept": self.kept,
            "learnt": self.learnt,
            "trips": self.claim.metric in ACTIONS,
        }


def reach(claims: tuple[Claim, ...], frame: Frame) -> tuple[Reach, ...]:
    """What a run of this frame can see of each claim."""
    evidence = Evidence(claims, frame)
    return tuple(_reach(claim, evidence) for claim in claims)


def _reach(claim: Claim, evidence: Evidence) -> Reach:
    frame = evidence.frame
    now = _now(claim, frame)
    strays = evidence.strays(claim)
    if strays is None:
        return Reach(claim, now, None, None, None, False)
    found = [_by_change(claim, evidence, strays, frame.buckets), _by_interval(claim, evidence, strays)]
    seen = _value(claim, min((item for item in found if item is not None), default=None))
    late = _value(claim, _by_change(claim, evidence, strays, frame.buckets // 2))
    return Reach(claim, now, seen, late, _kept(claim, frame, strays), True)


def _now(claim: Claim, frame: Frame) -> float | None:
    if claim.metric == STD:
        variance = frame.means.get("variance")
        return None if variance is None else math.sqrt(variance)
    return frame.means.get(claim.metric)


def _by_change(claim: Claim, evidence: Evidence, strays: float, n: int) -> float | None:
    """How far beyond the limit, on the change detector's scale."""
    m0, m1 = ends(claim)
    step = abs(m1 - m0)
    if n < 1 or not step > 0:
        return None
    variance = max(strays * strays, step * step / 25)
    drift = (evidence.threshold + _Z80 * math.sqrt(n) * strays * step / variance) / n
    if drift > evidence.threshold / 3:  # an increment may not be larger: fewer than three buckets cannot find it
        return None
    return step / 2 + variance / step * drift


def _by_interval(claim: Claim, evidence: Evidence, strays: float) -> float | None:
    """How far beyond the limit, on the change detector's scale: that of the spreads is a logarithm."""
    if claim.metric == RANGE:
        return None  # its interval is wider than anything the change detector needs
    n, halves = evidence.frame.buckets, 2 if claim.metric == STD else 1
    alpha = evidence.alpha / DETECTORS / ASYMPTOTIC_MARGIN / halves
    optimal = max(1.0, n / 4)
    found = [
        strays * (asymptotic_radius(size, alpha, optimal) + _Z80 / math.sqrt(size))
        for size in range(BURN_IN_VIOLATED, n + 1)
    ]
    if not found:
        return None
    return math.log1p(min(found)) if claim.metric == STD else min(found)


def _value(claim: Claim, beyond: float | None) -> float | None:
    """The figure that lies so far beyond the limit; None where no figure does."""
    if beyond is None:
        return None
    if claim.metric in (STD, RANGE):
        return claim.limit * math.exp(-beyond / (2 if claim.metric == STD else 1))
    value = claim.limit + beyond if claim.side == ABOVE else claim.limit - beyond
    return value if 0.0 <= value <= 1.0 else None


def _kept(claim: Claim, frame: Frame, strays: float) -> float | None:
    if frame.buckets < BURN_IN or claim.metric == RANGE:
        return None
    halves = 2 if claim.metric == STD else 1
    off = strays * asymptotic_radius(frame.buckets, PROMOTION_ALPHA / ASYMPTOTIC_MARGIN / halves, frame.buckets)
    if claim.metric == STD:
        return claim.limit / math.sqrt(1 - off) if off < 1 else None
    value = claim.limit - off if claim.side == ABOVE else claim.limit + off
    return value if 0.0 <= value <= 1.0 else None
