# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The battery of broken models: what our judges say of each, that the page says so too, and the Mann-Whitney judge."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from battery import judges, kayenta, report
from battery.fixtures import CANARY, FIXTURES, Fixture
from scipy import stats

from helpers import plain_rules
from helpers.telemetry import entry

Findings = dict[str, dict[str, judges.Finding]]
OURS = ("our gate", "our monitor, `strict`")
NOTHING: frozenset[str] = frozenset()
SPREAD = frozenset({"flat_predictions", "narrow_range", "constant_output"})
# fixture -> the rules of the gate, and those of the monitor under `strict` where it has others.
CAUGHT: dict[str, tuple[frozenset[str], ...]] = {
    "identical": (NOTHING,),
    "another model": (NOTHING,),
    "constant": (SPREAD | {"action_collapse", "dead_zone"},),
    "constant at the median": (SPREAD,),
    "narrow": (SPREAD - {"constant_output"},),
    "wide": (NOTHING,),
    "surer": (NOTHING,),
    "one symbol": (NOTHING,),
    "one busy symbol": (frozenset({"action_collapse", "hard_disagree"}),),
    "one number": (NOTHING,),
    "0 to 100": (SPREAD,),
    "mixed scales": (NOTHING,),
    # without one valid vote every figure is unknown, which the gate takes for a violation
    "lower case": (
        SPREAD | {"invalid_action", "canary_missing", "action_collapse", "dead_zone", "not_really_running"},
        frozenset({"invalid_action", "canary_missing"}),
    ),
    "half missing": (frozenset({"canary_missing"}),),
    "fallback": (frozenset({"not_really_running"}),),
    "NaN once": (frozenset({"invalid_confidence"}),),
    "shifted": (NOTHING,),
    "silent": (frozenset({"refused"}), frozenset({"canary_missing"})),
    "copycat": (frozenset({"agreement_out_of_range"}),),
}


@pytest.fixture(scope="module")
def found() -> Findings:
    return judges.judge_all()


def test_our_judges_catch_what_they_caught(found: Findings) -> None:
    """Whoever changes a rule sees here which broken models it lets through or catches now."""
    gate, strict = ({name: by[column] for name, by in found.items()} for column in OURS)
    assert {name: frozenset(finding.rules) for name, finding in gate.items()} == {
        name: wanted[0] for name, wanted in CAUGHT.items()
    }
    assert {name: frozenset(finding.rules) for name, finding in strict.items()} == {
        name: wanted[-1] for name, wanted in CAUGHT.items()
    }
    for finding in (*gate.values(), *strict.values()):
        assert finding.caught == bool(finding.rules)


def test_the_page_says_what_comes_out(found: Findings, root: Path) -> None:
    assert (root / "docs/degenerate-models.md").read_text() == report.page(found), "run: make battery"


def test_nothing_is_explained_that_did_not_come_out(found: Findings) -> None:
    told = {(title, name) for title, names in report.WHY.items() for name in names}
    placed = {(report.heading(fixture, found[fixture.name]), fixture.name) for fixture in FIXTURES}
    assert told == {(title, name) for title, name in placed if title}


def test_a_finding_without_words_is_refused(found: Findings) -> None:
    changed = {**found, "wide": found["narrow"]}
    with pytest.raises(KeyError, match="wide"):
        report.page(changed)


@pytest.mark.parametrize("name", ["identical", "one busy symbol", "shifted"])
def test_before_the_cutover_all_is_well(name: str) -> None:
    """By the plain rules, which know nothing of the collection: what is caught is what the fixture did."""
    [fixture] = [one for one in FIXTURES if one.name == name]
    before = [entry(made.breakdown) for made in fixture.telemetry().before]
    assert plain_rules.codes(before, CANARY) == set()


def test_the_same_decisions_come_each_time() -> None:
    [fixture] = [one for one in FIXTURES if one.name == "one number"]
    assert fixture.telemetry() == fixture.telemetry()


def test_a_policy_is_a_line() -> None:
    """The monitor looks as often as it is told, and the first violation counts."""
    nothing = Fixture("healthy", "")
    case = judges.Case.of(nothing.telemetry())
    assert judges.monitor("strict", looks=(0.5, 1.0))(case) == judges.Finding(False, (), "")
    ill = judges.Case.of(next(one for one in FIXTURES if one.name == "constant").telemetry())
    seen = judges.monitor("strict", looks=(0.5, 6.0))(ill)  # 180 decisions: too few but for the early trip
    assert set(seen.rules) == {"action_collapse", "constant_output"}


# The Mann-Whitney judge.


def drawn(seed: int, mean: float, count: int) -> npt.NDArray[np.float64]:
    return np.random.default_rng(seed).normal(mean, 0.15, count)


PAST = drawn(1, 0.6, 300)


def test_the_shift_is_that_of_all_pairs() -> None:
    """Beside the definition: the median of all differences, and their order statistics at the normal quantile."""
    after = drawn(2, 0.68, 240)
    pairs = np.sort(np.subtract.outer(after, PAST).ravel())
    n, m = after.size, PAST.size
    reach = stats.norm.ppf(0.99) * np.sqrt(n * m * (n + m + 1) / 12)
    low, high = pairs[round(n * m / 2 - reach)], pairs[round(n * m / 2 + reach)]
    assert kayenta.shift(PAST, after) == pytest.approx((low, np.median(pairs), high), abs=2e-4)


@pytest.mark.parametrize(
    ("after", "label"),
    [
        (PAST, kayenta.PASS),
        (np.append(PAST, np.nan), kayenta.PASS),
        (PAST + 0.1, kayenta.HIGH),
        (PAST - 0.1, kayenta.LOW),
        (PAST + 0.005, kayenta.PASS),
        (0.6 + 2 * (PAST - 0.6), kayenta.PASS),
        (np.full(300, np.median(PAST)), kayenta.PASS),
        (np.full(300, np.nan), kayenta.NODATA),
        ([], kayenta.NODATA),
    ],
)
def test_a_metric_is_classified(after: list[float], label: str) -> None:
    assert kayenta.classify(list(PAST), list(after)).label == label


def test_the_tolerance_counts() -> None:
    """Certain to lie above 0, but not above a quarter of the estimate: that passes."""
    after = drawn(7, 0.635, 300)
    metric = kayenta.classify(list(PAST), list(after))
    low, middle, _high = metric.shift or (0.0, 0.0, 0.0)
    assert 0 < low < 0.25 * middle
    assert metric.p is not None and metric.p < 0.02
    assert metric.label == kayenta.PASS


def test_the_effect_size_must_agree_with_the_shift() -> None:
    """The ratio of means near 0 says nothing of a shift; cles does."""
    before, after = [-1.0] * 11 + [0.0] * 10 + [1.0] * 10, [1.0] * 31
    assert kayenta.classify(before, after).label == kayenta.PASS
    assert kayenta.classify(before, after, kayenta.CLES).label == kayenta.HIGH
    assert kayenta.classify(after, before, kayenta.CLES).label == kayenta.LOW


@pytest.mark.parametrize(
    ("labels", "bad"),
    [
        ((kayenta.PASS, kayenta.PASS), False),
        ((kayenta.PASS, kayenta.LOW), True),
        ((kayenta.HIGH, kayenta.PASS), True),
        ((kayenta.PASS, kayenta.NODATA), True),
        ((kayenta.PASS, kayenta.PASS, kayenta.NODATA), False),
    ],
)
def test_a_run_passes_only_with_every_metric(labels: tuple[str, ...], bad: bool) -> None:
    assert kayenta.failed([kayenta.Metric(label) for label in labels]) is bad
