# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""Evidence that may be looked at after every observation: e-processes, confidence sequences, a change detector. Pure.

An observation is the mean over one bucket of time (module ``buckets``), never a single decision: decisions are
correlated. Everything here is bounded state, O(1) an observation, and goes to JSON and back without loss.

Sources: Waudby-Smith & Ramdas, "Estimating means of bounded random variables by betting" (JRSS-B 2023): ``Betting``,
``EmpiricalBernstein``; Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas, "Time-uniform central limit theory and asymptotic
confidence sequences" (Annals of Statistics 2024): ``asymptotic_radius``; Page, "Continuous inspection schemes"
(Biometrika 1954) and Shin, Ramdas & Rinaldo, "E-detectors" (2023): ``Cusum``; von Neumann (1941): ``Series.lag1``.
"""

from __future__ import annotations

import math
import typing as t
from dataclasses import dataclass, field

ABOVE, BELOW = "above", "below"
BETS = 24
"""Bets of the mixture, each a third of an octave below the one before."""
_LARGEST_BET = 0.75
"""Of the largest bet that cannot lose everything in one observation."""
_LEAST_ROOM = 1e-6
ENOUGH_STEPS = 8
"""Steps from one observation to the next of which the largest can be spared."""
_MOST_COUNTED = 1 << 53
_LARGEST = 1e15
"""No figure of a run comes near; the squares and products of such figures stay finite."""


def bets(m: float, side: str) -> tuple[float, ...]:
    """The bets against H0 ``E[Y | past] <= m`` (``above``) or ``>= m`` (``below``), Y and m in [0, 1].

    With nothing below (above) the limit no bet can lose: there they are large, not infinite.
    """
    room = max(_LEAST_ROOM, m if side == ABOVE else 1.0 - m)
    return tuple(_LARGEST_BET / room * 2.0 ** (-j / 3.0) for j in range(BETS))


@dataclass
class Betting:
    """The mixture e-process against H0 ``E[Y | past] <= m`` (``above``) or ``>= m`` (``below``).

    E_t = mean over j of prod_i (1 + l_j (Y_i - m)), the sign turned for ``below``. Under H0 the chance that E ever
    reaches 1/alpha is at most alpha (Ville's inequality), whatever the distribution and without independence.
    """

    m: float
    side: str = ABOVE
    n: int = 0
    logs: list[float] = field(default_factory=lambda: [0.0] * BETS)

    def add(self, y: float) -> None:
        """One more observation in [0, 1]. Raises ValueError for another."""
        _bounded(y)
        gain = y - self.m if self.side == ABOVE else self.m - y
        self.logs = [log + math.log1p(bet * gain) for log, bet in zip(self.logs, bets(self.m, self.side))]
        self.n += 1

    def merge(self, other: Betting) -> Betting:
        """Both together: the products of two stretches multiply. Raises ValueError when they test different things."""
        if (self.m, self.side) != (other.m, other.side):
            raise ValueError("two different hypotheses")
        return Betting(self.m, self.side, self.n + other.n, [a + b for a, b in zip(self.logs, other.logs)])

    @property
    def log_e(self) -> float:
        """log E_t; 0 before the first observation."""
        top = max(self.logs)
        return top + math.log(math.fsum(math.exp(log - top) for log in self.logs) / BETS)

    def to_list(self) -> list[float]:
        """As JSON-ready data: what was seen, not what is tested."""
        return [self.n, *self.logs]

    @classmethod
    def from_list(cls, raw: t.Any, m: float, side: str) -> Betting:
        """Take what ``to_list`` gave. Raises ValueError or TypeError."""
        n, *logs = raw
        if len(logs) != BETS:
            raise ValueError("not a betting process")
        return cls(m, side, count_of(n, _MOST_COUNTED), [finite(log) for log in logs])


@dataclass
class EmpiricalBernstein:
    """The predictable plug-in empirical-Bernstein confidence sequence for a mean of values in [0, 1], two-sided.

    The bet of an observation depends on all before it: two stretches cannot be merged, only continued.
    """

    alpha: float
    n: int = 0
    total: float = 0.0
    squares: float = 0.0
    bet_sum: float = 0.0
    bet_values: float = 0.0
    cost: float = 0.0

    def add(self, y: float) -> None:
        """One more observation in [0, 1]. Raises ValueError for another."""
        _bounded(y)
        number = self.n + 1
        mean_before = (0.5 + self.total) / number
        variance_before = (0.25 + self.squares) / number
        root = math.sqrt(2 * math.log(2 / self.alpha) / (variance_before * number * math.log1p(number)))
        bet = min(root, 0.5)
        self.bet_sum += bet
        self.bet_values += bet * y
        self.cost += (y - mean_before) ** 2 * (-math.log1p(-bet) - bet)
        self.n = number
        self.total += y
        self.squares += (y - (0.5 + self.total) / (number + 1)) ** 2

    def interval(self) -> tuple[float, float]:
        """(low, high), within [0, 1]; all of it before the first observation."""
        if not self.n:
            return 0.0, 1.0
        centre = self.bet_values / self.bet_sum
        radius = (math.log(2 / self.alpha) + self.cost) / self.bet_sum
        return max(0.0, centre - radius), min(1.0, centre + radius)

    def to_list(self) -> list[float]:
        """As JSON-ready data."""
        return [self.n, self.total, self.squares, self.bet_sum, self.bet_values, self.cost]

    @classmethod
    def from_list(cls, raw: t.Any, alpha: float) -> EmpiricalBernstein:
        """Take what ``to_list`` gave. Raises ValueError or TypeError."""
        n, *rest = raw
        if len(rest) != 5:
            raise ValueError("not a confidence sequence")
        found = cls(alpha, count_of(n, _MOST_COUNTED), *(finite(value) for value in rest))
        if min(found.squares, found.cost) < 0 or (found.bet_sum > 0) != (found.n > 0):
            raise ValueError("sums that no confidence sequence has")
        return found


@dataclass
class Series:
    """Moments of a sequence (Welford), and what tells whether neighbours resemble each other."""

    n: int = 0
    mean: float = 0.0
    m2: float = 0.0
    first: float = 0.0
    last: float = 0.0
    jumps: float = 0.0
    largest: float = 0.0

    def add(self, y: float) -> None:
        """One more observation, any finite number."""
        if self.n:
            jump = (y - self.last) ** 2
            self.jumps += jump
            self.largest = max(self.largest, jump)
        else:
            self.first = y
        self.n += 1
        delta = y - self.mean
        self.mean += delta / self.n
        self.m2 += delta * (y - self.mean)
        self.last = y

    def merge(self, later: Series) -> Series:
        """This stretch and the one after it (Chan, Golub & LeVeque 1979)."""
        if not self.n or not later.n:
            one = self if self.n else later
            return Series(one.n, one.mean, one.m2, one.first, one.last, one.jumps, one.largest)
        n = self.n + later.n
        delta = later.mean - self.mean
        return Series(
            n,
            self.mean + delta * later.n / n,
            self.m2 + later.m2 + delta * delta * self.n * later.n / n,
            self.first,
            later.last,
            self.jumps + later.jumps + (later.first - self.last) ** 2,
            max(self.largest, later.largest, (later.first - self.last) ** 2),
        )

    @property
    def std(self) -> float:
        """The population's standard deviation; NaN of nothing."""
        return math.sqrt(max(0.0, self.m2) / self.n) if self.n else math.nan

    @property
    def step_variance(self) -> float:
        """The variance as half the mean squared step from one to the next; of ``ENOUGH_STEPS`` or more the largest is
        left out, because a lasting shift is one step. What the largest of m steps takes along by chance, some
        2 log m - log log m of them (extreme values of chi-squared, one degree of freedom), is allowed for."""
        steps = self.n - 1
        if steps < ENOUGH_STEPS:
            return self.jumps / (2 * steps) if steps > 0 else math.nan
        taken = 2 * math.log(steps) - math.log(math.log(steps))
        return max(0.0, self.jumps - self.largest) / (2 * (steps - taken))

    @property
    def lag1(self) -> float:
        """The correlation of neighbours, from von Neumann's ratio; 0 where nothing varies."""
        if self.n < 3 or not self.m2 > 1e-12:
            return 0.0
        ends = (self.first - self.mean) ** 2 + (self.last - self.mean) ** 2
        return 1.0 - (self.jumps + ends) / (2 * self.m2)

    @property
    def correlated(self) -> bool:
        """True when neighbours resemble each other more than chance would have it: n counts for too much then.

        Three standard errors: a run asks this of some ten series, and each one alone keeps it from being safe.
        """
        return self.n > 0 and self.lag1 > max(0.25, 3 / math.sqrt(self.n))

    def to_list(self) -> list[float]:
        """As JSON-ready data."""
        return [self.n, self.mean, self.m2, self.first, self.last, self.jumps, self.largest]

    @classmethod
    def from_list(cls, raw: t.Any) -> Series:
        """Take what ``to_list`` gave. Raises ValueError or TypeError."""
        n, *rest = raw
        if len(rest) != 6:
            raise ValueError("not a series")
        found = cls(count_of(n, _MOST_COUNTED), *(finite(value) for value in rest))
        if min(found.m2, found.largest) < 0 or found.jumps < found.largest:
            raise ValueError("a sum of squares below 0, or below one of them")
        return found


def asymptotic_radius(n: int, alpha: float, optimal: float) -> float:
    """Half-width, in standard deviations, of the one-sided asymptotic confidence sequence after ``n`` observations.

    Tightest around ``optimal`` observations. mean - s * radius is a lower bound at all n together with chance
    1 - alpha, as n grows; on few observations it misses more often: callers pass a third of what they may spend.
    """
    if not n > 0:
        return math.inf
    spend = -2 * math.log(2 * alpha)
    rho2 = (spend + math.log(spend) + 1) / optimal
    grown = n * rho2 + 1
    return math.sqrt(2 * grown / (n * n * rho2) * math.log1p(math.sqrt(grown) / (2 * alpha)))


@dataclass
class Cusum:
    """Page's cumulative sum of log likelihood ratios: how well the newest stretch, wherever it began, fits the change.

    With exp(increment) an e-value under H0, the chance that it reaches ``log(n / alpha)`` within n observations is at
    most alpha: every stretch that may have begun is a test of its own. ``length``: increments since it was last 0.
    ``total``, ``best`` (the largest sum from the start) and ``n`` let two stretches be put together.
    """

    value: float = 0.0
    highest: float = 0.0
    total: float = 0.0
    best: float = 0.0
    length: int = 0
    n: int = 0

    def add(self, increment: float) -> None:
        """One more log likelihood ratio."""
        self.value = max(0.0, self.value + increment)
        self.highest = max(self.highest, self.value)
        self.total += increment
        self.best = max(self.best, self.total)
        self.length = self.length + 1 if self.value > 0 else 0
        self.n += 1

    def merge(self, later: Cusum) -> Cusum:
        """This stretch and the one after it: a sum that was carried into it larger than its own was never 0 there."""
        carried = self.value + later.total
        return Cusum(
            max(carried, later.value),
            max(self.highest, later.highest, self.value + later.best),
            self.total + later.total,
            max(self.best, self.total + later.best),
            later.length if later.value >= carried else self.length + later.n,
            self.n + later.n,
        )

    def to_list(self) -> list[float]:
        """As JSON-ready data."""
        return [self.n, self.length, self.value, self.highest, self.total, self.best]

    @classmethod
    def from_list(cls, raw: t.Any) -> Cusum:
        """Take what ``to_list`` gave. Raises ValueError or TypeError."""
        n, length, *rest = raw
        if len(rest) != 4:
            raise ValueError("not a cumulative sum")
        value, highest, total, best = (finite(number) for number in rest)
        found = cls(value, highest, total, best, count_of(length, _MOST_COUNTED), count_of(n, _MOST_COUNTED))
        if min(found.value, found.best) < 0 or found.highest < found.value or found.length > found.n:
            raise ValueError("not a cumulative sum that can be")
        return found


def gaussian_ratio(y: float, m0: float, m1: float, variance: float) -> float:
    """log of N(y; m1, variance) / N(y; m0, variance): an increment of ``Cusum``."""
    return (m1 - m0) / variance * (y - (m0 + m1) / 2)


def _bounded(y: float) -> None:
    if not 0.0 <= y <= 1.0:
        raise ValueError(f"{y!r} is not in [0, 1]")


def finite(value: t.Any) -> float:
    """A finite number of a state file, no larger than any sum of a run. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= _LARGEST:
        raise ValueError(f"{value!r:.40} is not a finite number")
    return float(value)


def count_of(value: t.Any, most: int = 1 << 62) -> int:
    """A count below ``most`` of a state file. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < most:
        raise ValueError(f"{value!r:.40} is not a count")
    return int(value)
