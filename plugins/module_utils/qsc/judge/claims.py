# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""The policy ``sequential``: when is a rule violated for certain, and when is it kept for certain? Pure.

Each rule is a claim about a long-run figure. Three detectors share what may be spent on calling a kept rule violated:
the exact betting process, the asymptotic confidence sequence (from ``BURN_IN`` buckets on), the change detector. A run
is safe only when every claim is certain to be kept (intersection-union: each at the full ``PROMOTION_ALPHA``).
"""

from __future__ import annotations

import math
import typing as t
from dataclasses import dataclass, field

from . import rules
from .buckets import GRID, Stretch
from .decisions import ACTIONS
from .evidence import ABOVE, BELOW, Betting, Cusum, Series, asymptotic_radius, count_of, finite, gaussian_ratio
from .frame import Frame
from .rules import Limits

ROLLBACK_ALPHA = 0.05
"""The chance that any of a run's claims is called violated when all of them just hold, all looks together."""
PROMOTION_ALPHA = 0.05
"""The chance that a run is called safe when a claim just does not hold."""
BURN_IN, BURN_IN_VIOLATED = 10, 20
"""Buckets before the asymptotic confidence sequence calls a claim kept, and violated: far out in its tail it errs on
few buckets more often still."""
ASYMPTOTIC_MARGIN = 3.0
"""On few buckets the asymptotic sequence errs up to 2.8 times as often as it says: it is given a third."""
DETECTORS = 3
SHIFT = 0.10
"""The change the detector looks for: this share beyond the limit,"""
TWO_AGAINST_TWO = 0.5
"""Agreement is never lower while the votes split two ways; where they split three ways, there is a BUY and a SELL."""
FACTOR = 0.8
"""or the limit of a spread times this."""
_LEAST_STEPS = 5
"""Buckets from which the run's own steps tell how far a mean strays."""
_MOST_MISSING = 4.0
"""Where more of the spread lies between buckets than this tells of, no single bucket says anything about it."""
_FEWEST = 3
"""Buckets that a change needs at least, however far they are off."""
_LARGEST_MEAN = 50.0
"""Of the logarithm of a variance: the least that is taken is that of 1e-8."""
_ROUNDING = 1e-9
"""What lies on its limit is kept, whichever way the last digit of a sum of thirds or fifths was rounded."""

KEPT, VIOLATED, OPEN, SUSPENDED = "kept", "violated", "open", "suspended"
EXACT, LONG_RUN, CHANGE = "exact", "long run", "change"
"""The detectors: betting, asymptotic confidence sequence, cumulative sum."""
AGREEMENT_METRIC, HARD_METRIC, FLIP_METRIC = "agreement", "hard_disagree", "flips"
STD, RANGE = "std", "range"


class Claim(t.NamedTuple):
    """One rule as a hypothesis: ``metric`` must not lie ``side`` the ``limit`` (a share, or a spread of confidence)."""

    code: str
    metric: str
    side: str
    limit: float

    @property
    def name(self) -> str:
        """What tells it from the others."""
        return f"{self.metric} {self.side} {self.limit:g}"


def claims_of(limits: Limits, *, alone: bool = False) -> tuple[Claim, ...]:
    """The claims of the limits; without those of the ensemble for a canary that stands ``alone``. A limit that nothing
    can violate makes none."""
    found = []
    for action in ACTIONS:
        code, limit = rules.ACTION_COLLAPSE, limits.max_action_share
        if action == "HOLD" and limits.max_hold_share < limit:
            code, limit = rules.DEAD_ZONE, limits.max_hold_share
        found.append(Claim(code, action, ABOVE, limit / 100))
    found.append(Claim(rules.FLAT, STD, BELOW, limits.min_std))
    found.append(Claim(rules.NARROW, RANGE, BELOW, limits.min_range))
    if not alone:
        found.append(Claim(rules.AGREEMENT, AGREEMENT_METRIC, BELOW, limits.min_agreement / 100))
        found.append(Claim(rules.AGREEMENT, AGREEMENT_METRIC, ABOVE, limits.max_agreement / 100))
        found.append(Claim(rules.HARD_DISAGREE, HARD_METRIC, ABOVE, limits.max_hard_disagree / 100))
    found.append(Claim(rules.FLIPS, FLIP_METRIC, ABOVE, limits.flip_share_max))
    return tuple(item for item in found if (item.limit > 0 if item.side == BELOW else item.limit < 1))


class Reading(t.NamedTuple):
    """What is known of one claim: ``value`` with the interval ``low`` to ``high`` of the chance 1 - ``PROMOTION_ALPHA``
    at all looks together, over ``buckets``; of a change that was found, ``value`` and ``buckets`` are those since it
    began. ``alpha``: what this claim may spend on a false violation; ``by``: the detector that is certain; ``e_value``:
    the exact evidence against the claim, where there is one."""

    claim: Claim
    state: str
    value: float
    low: float
    high: float
    buckets: int
    alpha: float
    by: str = ""
    e_value: float | None = None


_SERIES = (*ACTIONS, AGREEMENT_METRIC, HARD_METRIC, FLIP_METRIC, "y1", "y2", "log_variance", "log_range")
_SHARES = frozenset((*ACTIONS, AGREEMENT_METRIC, HARD_METRIC, FLIP_METRIC))


@dataclass
class Evidence:
    """All claims of a run, bucket by bucket. ``newest``: for each claim the sum of the figure over the buckets in which
    its change detector has been above 0; ``alarms``: once it has found a change, over how many buckets and their mean.
    """

    claims: tuple[Claim, ...]
    frame: Frame
    buckets: int = 0
    series: dict[str, Series] = field(default_factory=lambda: {name: Series() for name in _SERIES})
    grid: tuple[int, list[float], list[float]] = field(
        default_factory=lambda: (0, [0.0] * (GRID + 1), [0.0] * (GRID + 1))
    )
    betting: dict[str, Betting] = field(default_factory=dict)
    cusum: dict[str, Cusum] = field(default_factory=dict)
    newest: dict[str, float] = field(default_factory=dict)
    alarms: dict[str, tuple[int, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for claim in self.claims:
            self.cusum.setdefault(claim.name, Cusum())
            self.newest.setdefault(claim.name, 0.0)
            if claim.metric in _SHARES:
                self.betting.setdefault(claim.name, Betting(claim.limit, claim.side))

    def add(self, bucket: Stretch) -> None:
        """One more bucket. Metrics without a value in it (no vote, no two voters) are left as they are."""
        self.buckets += 1
        found = self._figures(bucket)
        for claim in self.claims:
            metric = _CHANGES.get(claim.metric, claim.metric)
            if metric not in found:
                continue
            self._follow_change(claim, metric, found[metric])
            if claim.name in self.betting:
                self.betting[claim.name].add(min(1.0, max(0.0, found[metric])))
        for name, value in found.items():
            self.series[name].add(value)
        if bucket.votes:
            self._add_grid(bucket)

    def _figures(self, bucket: Stretch) -> dict[str, float]:
        found = {}
        votes = bucket.votes
        if votes:
            found.update({action: count / votes for action, count in zip(ACTIONS, bucket.counts)})
            found["y1"], found["y2"] = bucket.d2 / votes, bucket.d1 / votes
            missing = self._missing()
            found["log_variance"] = math.log(max(bucket.within * missing, 1e-8))
            found["log_range"] = math.log(max(bucket.spread, 1.0 / GRID)) + math.log(missing) / 2
        if bucket.voted:
            found[AGREEMENT_METRIC] = bucket.agreement / bucket.voted
            found[HARD_METRIC] = bucket.hard / bucket.voted
        if bucket.compared:
            found[FLIP_METRIC] = bucket.flipped / bucket.compared
        return found

    def _missing(self) -> float:
        """The variance of the long run by that within a bucket: what lies between buckets no bucket shows."""
        between = self.frame.spreads.get("confidence", 0.0) ** 2
        whole = self.frame.means.get("variance", 0.0)
        if not whole > 0:
            return 1.0
        return whole / (whole - between) if whole > between + whole / _MOST_MISSING else _MOST_MISSING

    def _add_grid(self, bucket: Stretch) -> None:
        """The share of votes at or below each bin, as one more observation each (Welford)."""
        n, means, squares = self.grid
        n += 1
        below, votes, start = 0, bucket.votes, 0
        for place in [*sorted(bucket.bins), GRID + 1]:
            share = below / votes
            for k in range(start, place):
                off = share - means[k]
                means[k] += off / n
                squares[k] += off * (share - means[k])
            below += bucket.bins.get(place, 0)
            start = place
        self.grid = (n, means, squares)

    # The change detector

    def _follow_change(self, claim: Claim, metric: str, value: float) -> None:
        cusum = self.cusum[claim.name]
        cusum.add(self._increment(claim, metric, value))
        self.newest[claim.name] = self.newest[claim.name] + value if cusum.length else 0.0
        if claim.name not in self.alarms and cusum.value >= self.threshold * (1 - _ROUNDING):
            self.alarms[claim.name] = (cusum.length, self.newest[claim.name] / cusum.length)

    def _increment(self, claim: Claim, metric: str, value: float) -> float:
        m0, m1 = ends(claim)
        variance = self._variance(claim, metric, m0)
        if m0 == m1 or variance is None:
            return 0.0
        # a few buckets must agree, however far they are off; a smaller increment is still an e-value
        return min(gaussian_ratio(value, m0, m1, max(variance, (m1 - m0) ** 2 / 25)), self.threshold / _FEWEST)

    def _variance(self, claim: Claim, metric: str, m0: float) -> float | None:
        """Of a bucket's mean at the limit: what was learnt or what the run shows, the larger one; None: unknown."""
        learnt = self._learnt(claim, m0)
        if learnt is None and claim.metric in _CHANGES:
            return None  # how much of the spread lies between buckets is not known: one bucket's says nothing of it
        series = self.series[metric]
        shown = series.step_variance if series.n >= _LEAST_STEPS else None
        known = [value for value in (learnt, shown) if value is not None]
        return max(known) if known else None

    def _learnt(self, claim: Claim, m0: float) -> float | None:
        means, spreads = self.frame.means, self.frame.spreads
        if claim.metric in (STD, RANGE):
            if not means.get("variance", 0.0) > 0 or self._missing() >= _MOST_MISSING:
                return None
            ratio = spreads["variance"] / means["variance"]
            relative = ratio * ratio  # a power would raise where this is infinite
            return relative if claim.metric == STD else 0.4 * relative  # normal order statistics: .79 / n to 2 / n
        if claim.metric == AGREEMENT_METRIC:
            return spreads[AGREEMENT_METRIC] ** 2 if AGREEMENT_METRIC in spreads else None
        # A share strays as p (1 - p) has it, times what correlation adds: that factor is learnt, p is the limit's.
        names = [HARD_METRIC] if claim.metric == HARD_METRIC else list(ACTIONS)
        factors = self._factors(names) or self._factors(ACTIONS)
        return m0 * (1 - m0) * max(factors) if factors else None

    def strays(self, claim: Claim) -> float | None:
        """The standard deviation of a bucket's mean at the limit, as it was learnt and as the change detector sees it;
        None: unknown."""
        learnt = self._learnt(claim, ends(claim)[0])
        return None if learnt is None else math.sqrt(learnt)

    def _factors(self, names: t.Iterable[str]) -> list[float]:
        """Of each share that was learnt and lies off the ends: its variance by that of one independent decision."""
        pairs = [(self.frame.means[name], self.frame.spreads[name]) for name in names if name in self.frame.means]
        return [spread**2 / (mean * (1 - mean)) for mean, spread in pairs if 0.05 <= mean <= 0.95]

    # What may be spent

    @property
    def alpha(self) -> float:
        """What one claim may spend, all detectors together (Bonferroni)."""
        return ROLLBACK_ALPHA / max(1, len(self.claims))

    @property
    def threshold(self) -> float:
        """Of the change detector: each bucket of the run may be the first of the change."""
        return math.log(max(self.frame.buckets, self.buckets, 1) * DETECTORS / self.alpha)

    # What is certain

    def read(self) -> list[Reading]:
        """What is known of each claim now."""
        return [self._read(claim) for claim in self.claims]

    def _read(self, claim: Claim) -> Reading:
        if claim.metric == STD:
            value, low, high, worst, best, n = self._read_std()
        elif claim.metric == RANGE:
            value, low, high, worst, best, n = self._read_range()
        else:
            value, low, high, worst, best, n = self._read_mean(claim.metric)
        betting = self.betting.get(claim.name)
        e_value = math.exp(min(betting.log_e, 700.0)) if betting is not None else None
        suspended = any(self.series[name].correlated for name in _BEHIND.get(claim.metric, (claim.metric,)))
        by, state = "", OPEN
        limit = claim.limit
        if claim.name in self.alarms:
            by, state = CHANGE, VIOLATED
            n, mean = self.alarms[claim.name]
            value = math.exp(mean / _POWER[claim.metric]) if claim.metric in _POWER else mean
        elif suspended:  # neighbours that resemble each other: a lasting change has them too, so it was asked before
            state = SUSPENDED
        elif betting is not None and betting.log_e >= math.log(DETECTORS / self.alpha):
            by, state = EXACT, VIOLATED
        elif n >= BURN_IN:
            if (worst > limit + _ROUNDING) if claim.side == ABOVE else (best < limit - _ROUNDING):
                by, state = (LONG_RUN, VIOLATED) if n >= BURN_IN_VIOLATED else ("", OPEN)
            elif (high <= limit + _ROUNDING) if claim.side == ABOVE else (low >= limit - _ROUNDING):
                state = KEPT
        return Reading(claim, state, value, low, high, n, self.alpha, by, e_value)

    def _radii(self, n: int) -> tuple[float, float]:
        """In standard deviations: of the interval that is shown and allows promotion, and of the one for a rollback."""
        shown, spent = (self._radius(n, alpha, optimal) for alpha, optimal in self._spendings())
        return shown, spent

    def _spendings(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """(chance of an error, buckets at which the bound is tightest): of promotion, and of a rollback."""
        return (
            (PROMOTION_ALPHA / ASYMPTOTIC_MARGIN, self.frame.buckets),
            (self.alpha / DETECTORS / ASYMPTOTIC_MARGIN, max(1.0, self.frame.buckets / 4)),
        )

    def _radius(self, n: int, alpha: float, optimal: float) -> float:
        """Of a bound over ``n`` buckets, in standard deviations, with what they carry over to each other."""
        return self.frame.carried * asymptotic_radius(n, alpha, optimal)

    def _read_mean(self, metric: str) -> tuple[float, float, float, float, float, int]:
        series = self.series[metric]
        if not series.n:
            return math.nan, 0.0, 1.0, 0.0, 1.0, 0
        shown, spent = (radius * series.std for radius in self._radii(series.n))
        mean = series.mean
        return mean, max(0.0, mean - shown), min(1.0, mean + shown), mean - spent, mean + spent, series.n

    def _read_std(self) -> tuple[float, float, float, float, float, int]:
        """Var = E[Y1] - E[Y2]^2 with Y1 = (C - c)^2, Y2 = C - c: bounds of both, half of the chance for each."""
        y1, y2 = self.series["y1"], self.series["y2"]
        if not y1.n:
            return math.nan, 0.0, 0.5, 0.0, 0.5, 0
        value = math.sqrt(max(0.0, y1.mean - y2.mean**2))
        found = []
        for alpha, optimal in self._spendings():
            wide = self._radius(y1.n, alpha / 2, optimal) * y1.std
            off = self._radius(y1.n, alpha / 4, optimal) * y2.std
            nearest = max(0.0, abs(y2.mean) - off)
            low = math.sqrt(max(0.0, y1.mean - wide - (abs(y2.mean) + off) ** 2))
            found.append((low, math.sqrt(max(0.0, y1.mean + wide - nearest**2))))
        (low, high), (worst, best) = found
        return value, low, high, worst, best, y1.n

    def _read_range(self) -> tuple[float, float, float, float, float, int]:
        """p90 - p10 from bounds of the share of votes at or below each bin of .001.

        Each bound holds for one bin: the quantile's (that its upper bound reaches what is wanted) or the one before it
        (that its lower bound does not).
        """
        n, means, squares = self.grid
        if not n:
            return math.nan, 0.0, 1.0, 0.0, 1.0, 0
        stds = [math.sqrt(max(0.0, square) / n) for square in squares]
        value = (_first(means, 0.9) - _first(means, 0.1)) / GRID
        found = []
        for alpha, optimal in self._spendings():
            radius = self._radius(n, alpha / 4, optimal)
            lower = [mean - radius * std for mean, std in zip(means, stds)]
            upper = [mean + radius * std for mean, std in zip(means, stds)]
            narrow = (_first(upper, 0.9) - 1) - _after(lower, 0.1)
            wide = _after(lower, 0.9) - (_first(upper, 0.1) - 1)
            found.append((max(0.0, narrow / GRID), min(1.0, wide / GRID)))
        (low, high), (worst, best) = found
        return value, low, high, worst, best, n

    def to_dict(self) -> dict[str, t.Any]:
        """As JSON-ready data; the claims and the frame are the caller's to keep."""
        n, means, squares = self.grid
        return {
            "buckets": self.buckets,
            "series": {name: series.to_list() for name, series in self.series.items()},
            "grid": [n, _packed(means), _packed(squares)],
            "betting": {name: item.to_list() for name, item in self.betting.items()},
            "cusum": {name: item.to_list() for name, item in self.cusum.items()},
            "newest": dict(self.newest),
            "alarms": {name: list(item) for name, item in self.alarms.items()},
        }

    @classmethod
    def from_dict(cls, raw: t.Any, claims: tuple[Claim, ...], frame: Frame) -> Evidence:
        """Take what ``to_dict`` gave for these claims. Raises ValueError, KeyError or TypeError."""
        n, means, squares = raw["grid"]
        evidence = cls(
            claims,
            frame,
            buckets=count_of(raw["buckets"]),
            series={name: Series.from_list(raw["series"][name]) for name in _SERIES},
            grid=(count_of(n), _unpacked(means), _unpacked(squares)),
            cusum={claim.name: Cusum.from_list(raw["cusum"][claim.name]) for claim in claims},
            betting={
                claim.name: Betting.from_list(raw["betting"][claim.name], claim.limit, claim.side)
                for claim in claims
                if claim.metric in _SHARES
            },
            newest={claim.name: finite(raw["newest"][claim.name]) for claim in claims},
            alarms={claim.name: _alarm(raw["alarms"][claim.name]) for claim in claims if claim.name in raw["alarms"]},
        )
        if any(item.n > evidence.buckets for item in evidence.series.values()) or evidence.grid[0] > evidence.buckets:
            raise ValueError("more observations than buckets")
        return evidence


_CHANGES = {STD: "log_variance", RANGE: "log_range"}
"""What the change detector looks at for a claim about the spread: the logarithm, whose variance has no scale."""
_POWER = {STD: 2.0, RANGE: 1.0}
"""The logarithm of the variance is twice that of the standard deviation."""
_BEHIND = {STD: ("y1", "y2", "log_variance"), RANGE: ("log_range",)}
"""The series whose neighbours must not resemble each other."""


def ends(claim: Claim) -> tuple[float, float]:
    """The figure at the limit and after the change that is looked for, as the change detector sees them."""
    if claim.metric in (STD, RANGE):
        power = _POWER[claim.metric]
        return power * math.log(claim.limit), power * math.log(claim.limit * FACTOR)
    shifted = claim.limit + SHIFT if claim.side == ABOVE else claim.limit - SHIFT
    if claim.metric == AGREEMENT_METRIC and claim.side == BELOW and claim.limit > TWO_AGAINST_TWO:
        shifted = max(shifted, TWO_AGAINST_TWO)
    return claim.limit, min(1.0, max(0.0, shifted))


def _first(shares: t.Sequence[float], wanted: float) -> int:
    """The first bin whose share reaches what is wanted; the last one where none does."""
    return next((k for k, share in enumerate(shares) if share >= wanted), GRID)


def _alarm(raw: t.Any) -> tuple[int, float]:
    """Buckets since the change began and their mean, a share or a logarithm. Raises ValueError or TypeError."""
    n, mean = raw
    if not (count_of(n) > 0 and abs(finite(mean)) <= _LARGEST_MEAN):
        raise ValueError("not a change that was found")
    return count_of(n), finite(mean)


def _after(shares: t.Sequence[float], wanted: float) -> int:
    """The bin after the last one whose share does not reach what is wanted; the last one where none does."""
    last = next((k for k in range(GRID, -1, -1) if shares[k] < wanted), -1)
    return min(last + 1, GRID)


def _packed(row: t.Sequence[float]) -> list[list[float]]:
    """Runs of equal values as [times, value]: most of the grid is 0 or 1."""
    packed: list[list[float]] = []
    for value in row:
        if packed and packed[-1][1] == value:
            packed[-1][0] += 1
        else:
            packed.append([1, value])
    return packed


def _unpacked(packed: t.Any) -> list[float]:
    row: list[float] = []
    for times, value in packed:
        if count_of(times) > GRID + 1 or len(row) > GRID + 1:
            raise ValueError("a grid that is too long")
        row.extend([finite(value)] * times)
    if len(row) != GRID + 1:
        raise ValueError("not a grid")
    return row
