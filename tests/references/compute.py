# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compute reference values with other people's packages: `compute.py confseq|expectation|statsmodels|mpmath|scipy`.

Needs one of them, nothing of the collection: README.md beside this file says how to install each. Replaces that
package's values in tests/unit/judge/reference_values.json.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from inputs import histograms, pairs, series

VALUES = Path(__file__).resolve().parent.parent / "unit" / "judge" / "reference_values.json"
BETS = 24

PLAIN = [
    {"input": "plain", "arguments": {"n": 400, "low": 0.0, "width": 1.0}},
    {"input": "plain", "arguments": {"n": 360, "low": 0.55, "width": 0.3}},
    {"input": "plain", "arguments": {"n": 60, "low": 0.0, "width": 0.25}},
    {"input": "plain", "arguments": {"n": 12, "low": 0.97, "width": 0.03}},
]
WAVES = [
    {"input": "wave", "arguments": {"n": 300, "keep": 0.0}},
    {"input": "wave", "arguments": {"n": 300, "keep": 0.5}},
    {"input": "wave", "arguments": {"n": 720, "keep": 0.9}},
]
LIMITS = [(0.5, "above"), (0.7, "above"), (0.2, "above"), (0.97, "above"), (0.55, "below"), (0.05, "below")]


def looks(n: int) -> list[int]:
    """After how many observations a value is noted."""
    return sorted({1, 2, 3, 10, n // 2, n})


def room(m: float, side: str) -> float:
    """The largest distance below (above) the limit."""
    return m if side == "above" else 1 - m


def grid(m: float, side: str) -> list[float]:
    """The bets, largest first."""
    return [0.75 / room(m, side) * 2 ** (-j / 3) for j in range(BETS)]


def by_confseq() -> list[dict]:
    """Betting, empirical Bernstein, the mixture bounds that enclose the asymptotic radius."""
    import numpy as np
    from confseq.betting import diversified_betting_mart
    from confseq.betting_strategies import lambda_predmix_eb
    from confseq.predmix import predmix_lower_cs

    found = []
    for given in PLAIN:
        x = np.array(series(given))
        at = looks(len(x))
        for m, side in LIMITS:
            fixed = [lambda x, _m, bet=bet: np.repeat(bet, len(x)) for bet in grid(m, side)]
            mart = diversified_betting_mart(
                x, m, lambdas_fns_positive=fixed, theta=1 if side == "above" else 0, trunc_scale=0.75
            )
            # beyond that its products have lost digits to the smallest floats
            kept = [n for n in at if 1e-250 < mart[n - 1] < 1e250]
            values = [float(np.log(mart[n - 1])) for n in kept]
            found.append({"formula": "betting", **given, "m": m, "side": side, "after": kept, "values": values})
        for alpha in (0.05, 0.001):

            def lower(x: np.ndarray, alpha: float = alpha) -> np.ndarray:
                # The package's own two-sided form measures the distance from the mean without a first guess; the
                # paper's estimator has one of 1/2: given to the package's general form.
                before = np.append(0.5, (0.5 + np.cumsum(x))[:-1] / np.arange(2, len(x) + 1))
                return predmix_lower_cs(
                    x,
                    v=(x - before) ** 2,
                    lambdas_fn=lambda y: lambda_predmix_eb(y, truncation=0.5, alpha=alpha / 2),
                    psi_fn=lambda bets: -np.log(1 - bets) - bets,
                    alpha=alpha / 2,
                )

            low, high = lower(x), 1 - lower(1 - x)
            values = [[float(low[n - 1]), float(high[n - 1])] for n in at]
            found.append({"formula": "empirical_bernstein", **given, "alpha": alpha, "after": at, "values": values})
    return found + mixture_bounds("confseq.boundaries")


def mixture_bounds(module: str) -> list[dict]:
    """The radius of the asymptotic sequence lies between the exact bound of the one-sided normal mixture and that of
    the two-sided one (at the same chance and the same mixture); both packages solve for the former numerically."""
    import importlib
    import math

    import numpy as np

    boundaries = importlib.import_module(module)

    def mixture(v_opt: float, alpha_opt: float) -> float:
        """The rho of the package's mixture, from what it says at s = 0."""
        log = float(boundaries.normal_log_mixture(np.array([0.0]), np.array([1.0]), v_opt, alpha_opt, False)[0])
        return 1 / (math.exp(-2 * log) - 1)

    found = []
    for alpha, optimal in ((0.05 / 3, 18), (0.05 / 72, 90), (1e-4, 360)):
        spend = -2 * math.log(2 * alpha)
        wanted = optimal / (spend + math.log(spend) + 1)  # the packages' rho is 1 / rho^2 of the paper
        at = [1, 10, 18, 90, 360, 5000]
        v = np.array(at, dtype=float)
        two_v_opt = wanted / mixture(1.0, alpha)
        two = boundaries.normal_mixture_bound(v, alpha, two_v_opt, alpha, False) / v
        one_v_opt = wanted / mixture(1.0, 2 * alpha)  # a one-sided mixture is tuned for twice the chance
        one = boundaries.normal_mixture_bound(v, alpha, one_v_opt, alpha, True) / v
        values = [[float(low), float(high)] for low, high in zip(one, two)]
        found.append({"formula": "radius_bounds", "alpha": alpha, "optimal": optimal, "after": at, "values": values})
    return found


def by_expectation() -> list[dict]:
    """Betting by its mergers of e-values, Page's sum by its CUSUM of e-values, the mixture bounds."""
    import numpy as np
    from expectation.conformal.cusum import ConformalCUSUM
    from expectation.modules.merging import ArithmeticMeanMerger, ProductMerger

    found = []
    for given in PLAIN:
        x = np.array(series(given))
        at = looks(len(x))
        for m, side in LIMITS:
            sign = 1 if side == "above" else -1
            values, kept = [], []
            for n in at:
                products = [ProductMerger().merge(1 + sign * bet * (x[:n] - m)) for bet in grid(m, side)]
                log = ArithmeticMeanMerger(BETS).merge(np.array([one.merged_e_value for one in products]))
                if -575 < log.log_merged_e_value < 575:
                    kept.append(n)
                    values.append(log.log_merged_e_value)
            found.append({"formula": "betting", **given, "m": m, "side": side, "after": kept, "values": values})
        for m0, m1, variance in ((0.7, 0.8, 0.01), (0.5, 0.4, 0.02), (0.2, 0.3, 0.005)):
            # Its statistic starts at 0 and is floored: with a floor of 1 and one empty step it is Page's.
            page = ConformalCUSUM(threshold=float("inf"), min_value=1.0)
            page.update(1.0)
            noted = []
            for y in x:
                ratio = np.exp(-((y - m1) ** 2) / (2 * variance) + (y - m0) ** 2 / (2 * variance))
                with np.errstate(divide="ignore"):  # after an overflow, which is left out below
                    noted.append(float(np.log(page.update(float(ratio)).statistic)))
            values = [[noted[n - 1], max(noted[:n])] for n in at]
            kept = [n for n, (_value, highest) in zip(at, values) if highest < 600]
            found.append(
                {
                    "formula": "cusum",
                    **given,
                    "m0": m0,
                    "m1": m1,
                    "variance": variance,
                    "after": kept,
                    "values": values[: len(kept)],
                }
            )
    return found + mixture_bounds("expectation.modules.boundaries")


def by_statsmodels() -> list[dict]:
    """Moments, the correlation of neighbours, the integrated correlation time, Cohen's kappa."""
    import numpy as np
    from statsmodels.stats.inter_rater import cohens_kappa
    from statsmodels.stats.stattools import durbin_watson
    from statsmodels.stats.weightstats import DescrStatsW
    from statsmodels.tsa.stattools import acf

    found = []
    for given in PLAIN + WAVES:
        x = np.array(series(given))
        told = DescrStatsW(x)
        r = acf(x, nlags=len(x) - 1, fft=False, adjusted=False)
        # von Neumann's ratio is the statistic of Durbin and Watson of the distances from the mean
        steps = float(durbin_watson(x - told.mean) * told.var * len(x)) / (2 * (len(x) - 1))
        values = [float(told.mean), float(told.std), float(r[1]), steps]
        found.append({"formula": "series", **given, "after": [len(x)], "values": [values]})
        small = np.nonzero(r[1 : len(x) // 2] < 0.05)[0]
        end = 1 + int(small[0]) if len(small) else len(x) // 2
        found.append({"formula": "correlation_sum", **given, "after": [len(x)], "values": [float(r[1:end].sum())]})
    for given in PLAIN[:3]:
        for keep in (0.0, 0.2, 0.6, 0.99):
            table = np.zeros((3, 3))
            for one, other in pairs(series(given), keep):
                table[one, other] += 1
            values = [float(np.trace(table) / table.sum()), float(cohens_kappa(table, return_results=False))]
            if not np.isnan(values).any():
                found.append({"formula": "kappa", **given, "keep": keep, "after": [1], "values": [values]})
    return found


def by_scipy() -> list[dict]:
    """The divergence of two histograms: scipy's distance is its root."""
    from scipy.spatial.distance import jensenshannon

    found = []
    for given in PLAIN:
        for bins in (3, 10):
            one, other = histograms(series(given), bins)
            values = [float(jensenshannon(one, other, base=2)) ** 2]
            found.append({"formula": "jensen_shannon", **given, "bins": bins, "after": [1], "values": values})
    return found


def by_mpmath() -> list[dict]:
    """At 50 digits, from the papers' formulas: the asymptotic radius, betting and Page's sum as the largest of all
    sums of a stretch."""
    import mpmath as mp

    mp.mp.dps = 50
    found = []
    for alpha, optimal in ((0.05 / 3, 18), (0.05 / 3, 360), (0.05 / 72, 4.5), (0.05 / 72, 90), (1e-4, 360)):
        a, at = mp.mpf(alpha), [1, 2, 10, 18, 90, 360, 5000]
        spend = -2 * mp.log(2 * a)
        rho = mp.sqrt((spend + mp.log(spend) + 1) / mp.mpf(optimal))
        values = [
            float(mp.sqrt(2 * (n * rho**2 + 1) / (n**2 * rho**2) * mp.log(1 + mp.sqrt(n * rho**2 + 1) / (2 * a))))
            for n in at
        ]
        found.append({"formula": "radius", "alpha": alpha, "optimal": optimal, "after": at, "values": values})
    for given in PLAIN:
        x = [mp.mpf(y) for y in series(given)]
        at = looks(len(x))
        for m, side in LIMITS:
            sign, m_ = (1 if side == "above" else -1), mp.mpf(m)
            largest = mp.mpf(3) / 4 / (m_ if side == "above" else 1 - m_)
            bets = [largest * mp.mpf(2) ** (-mp.mpf(j) / 3) for j in range(BETS)]
            values = [
                float(mp.log(mp.fsum(mp.fprod(1 + sign * bet * (y - m_) for y in x[:n]) for bet in bets) / BETS))
                for n in at
            ]
            found.append({"formula": "betting", **given, "m": m, "side": side, "after": at, "values": values})
        for m0, m1, variance in ((0.7, 0.8, 0.01), (0.2, 0.3, 0.005)):
            logs = [((y - mp.mpf(m0)) ** 2 - (y - mp.mpf(m1)) ** 2) / (2 * mp.mpf(variance)) for y in x]
            values = []
            for n in at:
                sums = [mp.mpf(0)]
                for log in logs[:n]:
                    sums.append(sums[-1] + log)
                ends = [sums[end] - min(sums[: end + 1]) for end in range(n + 1)]
                values.append([float(ends[-1]), float(max(ends))])
            found.append(
                {"formula": "cusum", **given, "m0": m0, "m1": m1, "variance": variance, "after": at, "values": values}
            )
    return found


PACKAGES = {
    "confseq": by_confseq,
    "expectation": by_expectation,
    "statsmodels": by_statsmodels,
    "mpmath": by_mpmath,
    "scipy": by_scipy,
}


def main() -> None:
    """Replace one package's values."""
    package = sys.argv[1]
    label = f"{package} {version(package)}"
    kept = []
    if VALUES.is_file():
        kept = [case for case in json.loads(VALUES.read_text()) if not case["by"].startswith(f"{package} ")]
    fresh = [{"by": label, **case} for case in PACKAGES[package]()]
    cases = sorted(kept + fresh, key=lambda case: (case["formula"], case["by"]))
    rows = ",\n".join(json.dumps(case, allow_nan=False) for case in cases)
    VALUES.write_text(f"[\n{rows}\n]\n")
    print(f"{len(fresh)} cases of {label}")


if __name__ == "__main__":
    main()
