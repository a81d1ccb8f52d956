# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A canary judged as Netflix' Kayenta does: Mann-Whitney on each metric, then a score over all of them.

Follows the documented behaviour of NetflixACAJudge-v1.0; no code is taken:

- "How canary judgment works", https://spinnaker.io/docs/guides/user/canary/judge: the steps, NODATA, NaN removed by
  default, a confidence interval of 98 % around the shift between canary and baseline, High and Low;
- https://github.com/spinnaker/kayenta (a69573b), docs/canary-config.md: the defaults of a metric: ``direction`` either,
  ``nanStrategy`` remove, ``effectSize`` meanRatio with 1 allowed in both directions, outliers kept, not critical;
- the same, kayenta-judge: tolerance .25. A metric is High when the whole interval lies above a quarter of the
  Hodges-Lehmann estimate's size, Low when it lies below minus a quarter of it, and the effect size says the same: the
  ratio of the means (left out where a mean is 0) or, as ``measure`` cles, the probability that a value of the canary is
  the larger one. Equal data pass. Constants on both sides get a little noise, which is left out here: two different
  constants are as far apart without it. A run of which half of the metrics have no data fails.

The interval holds the shifts that a two-sided test with ties and continuity corrected does not refuse, found by a root
search to 1e-4 as in Kayenta (and in R's wilcox.test). A shift below that is the search's own noise and taken as 0;
Kayenta compares the noise, so that on actions, where most shifts are 0, its word may also be chance.

A run passes only when every metric does: of two metrics one that is High or Low halves the score, and 50 is below the
usual marginal threshold, 75.
"""

from __future__ import annotations

import typing as t

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

CONFIDENCE = 0.98
TOLERANCE = 0.25
PRECISION = 1e-4
NODATA_SHARE = 0.5
MEAN_RATIO, CLES = "meanRatio", "cles"
PASS, HIGH, LOW, NODATA = "Pass", "High", "Low", "Nodata"

Values = npt.NDArray[np.float64]


class Metric(t.NamedTuple):
    """What became of one metric. ``p``: of the two-sided Mann-Whitney test, None where none was made; ``shift``: the
    Hodges-Lehmann estimate between the bounds of its interval."""

    label: str
    p: float | None = None
    shift: tuple[float, float, float] | None = None


def classify(before: t.Sequence[float], after: t.Sequence[float], measure: str = MEAN_RATIO) -> Metric:
    """One metric of the canary. NaN stands for a value that is none; ``measure`` is the effect size's."""
    control, experiment = (np.asarray(values, dtype=float) for values in (before, after))
    control, experiment = (values[~np.isnan(values)] for values in (control, experiment))
    if not control.size or not experiment.size:
        return Metric(NODATA)
    if np.array_equal(np.sort(control), np.sort(experiment)) or np.unique(np.append(control, experiment)).size == 1:
        return Metric(PASS)
    p = float(stats.mannwhitneyu(experiment, control, method="asymptotic").pvalue)
    low, middle, high = found = shift(control, experiment)
    effect, none = (_cles(control, experiment), 0.5) if measure == CLES else (_mean_ratio(control, experiment), 1.0)
    bound = TOLERANCE * abs(middle)
    if low > bound and not effect < none:
        return Metric(HIGH, p, found)
    if high < -bound and not effect > none:
        return Metric(LOW, p, found)
    return Metric(PASS, p, found)


def failed(metrics: t.Sequence[Metric]) -> bool:
    """True when the run as a whole does not pass."""
    labels = [metric.label for metric in metrics]
    return HIGH in labels or LOW in labels or labels.count(NODATA) >= NODATA_SHARE * len(labels)


def shift(control: Values, experiment: Values) -> tuple[float, float, float]:
    """(lower bound, Hodges-Lehmann estimate, upper bound) of how far the experiment lies above the control."""
    least, most = float(experiment.min() - control.max()), float(experiment.max() - control.min())
    quantile = float(stats.norm.ppf(0.5 + CONFIDENCE / 2))

    def root(level: float) -> float:
        def beyond(by: float) -> float:
            return _z(control, experiment - by) - level

        if beyond(least) <= 0:
            return least
        if beyond(most) >= 0:
            return most
        return float(optimize.brentq(beyond, least, most, xtol=PRECISION / 2))

    low, middle, high = (root(level) for level in (quantile, 0.0, -quantile))
    return _known(low), _known(middle), _known(high)


def _known(value: float) -> float:
    return 0.0 if abs(value) <= PRECISION else value


def _z(control: Values, experiment: Values) -> float:
    """The standardised rank sum of the experiment, with ties and continuity corrected."""
    n, m = experiment.size, control.size
    pooled = np.concatenate([experiment, control])
    above = float(stats.rankdata(pooled)[:n].sum()) - n * (n + 1) / 2 - n * m / 2
    _values, ties = np.unique(pooled, return_counts=True)
    tied = float((ties.astype(float) ** 3 - ties).sum()) / ((n + m) * (n + m - 1))
    return float((above - 0.5 * np.sign(above)) / np.sqrt(n * m / 12 * (n + m + 1 - tied)))


def _mean_ratio(control: Values, experiment: Values) -> float:
    base, other = float(control.mean()), float(experiment.mean())
    return other / base if base and other else float("nan")


def _cles(control: Values, experiment: Values) -> float:
    u = float(stats.mannwhitneyu(experiment, control, method="asymptotic").statistic)
    return u / (control.size * experiment.size)
