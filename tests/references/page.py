# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Make docs/reference-checks.md of the reference values and the collection's own figures."""

from __future__ import annotations

import math
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "playbooks" / "collections")]

from references.ours import BOUNDS, cases, differences  # noqa: E402

PAGE = ROOT / "docs" / "reference-checks.md"
LEAST = 1e-12
"""Differences below it depend on the processor's and the C library's last digits."""

HEAD = """\
# The statistics, checked against others

The formulas of the policy `sequential` (`plugins/module_utils/qsc/judge/evidence.py`, `frame.py`) and of the comparison
with the other models (`compare.py`, `drift.py`) are written with the standard library alone. Here is what they were
checked against, and how far they are apart at most: absolutely for figures below 1, relatively above.

The reference values lie in `tests/unit/judge/reference_values.json`, with the formula of their inputs, and `make test`
compares the code with them. The packages themselves are not needed for that; `tests/references/README.md` says how to
compute the values again. This page is made by `tests/references/page.py`, and a test fails when it is out of date.

| formula | checked against | cases | values | largest difference |
|---|---|---|---|---|
"""

TITLES = {
    "betting": "betting mixture e-process, log E",
    "empirical_bernstein": "empirical-Bernstein confidence sequence, both ends",
    "radius": "asymptotic confidence sequence, one-sided radius",
    "radius_bounds": "the same radius, between two bounds",
    "cusum": "cumulative sum and its highest value",
    "series": "mean, standard deviation, lag-1 correlation, step variance",
    "correlation_sum": "sum of correlations of the integrated correlation time",
    "kappa": "agreement and Cohen's kappa",
    "jensen_shannon": "Jensen-Shannon divergence of two histograms, bits",
}
HOW = {
    ("betting", "confseq"): "`diversified_betting_mart` with the 24 constant bets",
    ("betting", "expectation"): "`ProductMerger` over time, `ArithmeticMeanMerger` over the bets",
    ("betting", "mpmath"): "the formula at 50 digits",
    ("empirical_bernstein", "confseq"): "`predmix_lower_cs` on y and 1 - y, with the paper's estimator of the mean",
    ("radius", "mpmath"): "the paper's formula at 50 digits: no package has the one-sided form",
    ("radius_bounds", "confseq"): "`normal_mixture_bound` one-sided (exact, below) and two-sided (above), same mixture",
    ("radius_bounds", "expectation"): "`normal_mixture_bound`, likewise",
    ("cusum", "expectation"): "`ConformalCUSUM` on the likelihood ratios, floor 1",
    ("cusum", "mpmath"): "the largest sum of any stretch that ends now, at 50 digits",
    ("series", "statsmodels"): "`DescrStatsW`, `acf`, `durbin_watson`",
    ("correlation_sum", "statsmodels"): "`acf`, added up to the first below .05",
    ("kappa", "statsmodels"): "`cohens_kappa`",
    ("jensen_shannon", "scipy"): "`jensenshannon` squared, base 2",
}

TAIL = """
savvi 0.3.1 was looked at too: it has sequential tests of counts and of regressions, none of the formulas above. The
two-sided form of confseq's empirical Bernstein (`predmix_empbern_twosided_cs`) measures distances from a mean without
the paper's first guess of 1/2, so its first values differ; its general form is used instead. The radius of the
asymptotic sequence is the paper's closed form, which lies above the exact bound of the same mixture by construction:
that is why the packages enclose it and do not equal it. That the processes keep the error rates they promise is shown
by simulation, in `tests/unit/judge`.
"""


def rounded_up(difference: float) -> str:
    """A difference as a power of ten that it does not exceed."""
    if difference <= LEAST:
        return f"below {LEAST:.0e}"
    return f"below {10.0 ** math.ceil(math.log10(difference)):.0e}"


def page() -> str:
    """The whole page."""
    rows = []
    found = cases()
    for formula, by in sorted(
        {(case["formula"], case["by"]) for case in found}, key=lambda one: (list(TITLES).index(one[0]), one[1])
    ):
        chosen = [case for case in found if (case["formula"], case["by"]) == (formula, by)]
        far = [one for case in chosen for one in differences(case)]
        largest = (
            ("0 (never beyond)" if max(far) == 0 else rounded_up(max(far)))
            if formula in BOUNDS
            else rounded_up(max(far))
        )
        how = f"{by}: {HOW[formula, by.split()[0]]}"
        rows.append(f"| {TITLES[formula]} | {how} | {len(chosen)} | {len(far)} | {largest} |")
    return HEAD + "\n".join(rows) + "\n" + TAIL


if __name__ == "__main__":
    PAGE.write_text(page())
    print(PAGE)
