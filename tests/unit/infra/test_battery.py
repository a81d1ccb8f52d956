# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The battery of broken models: what our judges say of each, that the page says so too, and the Mann-Whitney judge."""

from __future__ import annotations

import typing as t
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from battery import judges, kayenta, report
from battery.fixtures import CANARY, FIXTURES, SEEDS, Fixture, confidences
from scipy import stats

from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge import check
from helpers import plain_rules
from helpers.telemetry import entry

Findings = dict[str, dict[str, judges.Finding]]
OURS = ("our gate", report.STRICT)
NOTHING: frozenset[str] = frozenset()
SPREAD = frozenset({"flat_predictions", "narrow_range", "constant_output"})
# fixture -> the rules of the gate, and those of the monitor under `strict` where it has others.
CAUGHT: dict[str, tuple[frozenset[str], ...]] = {
    "identical": (NOTHING,),
    "unchanged": (NOTHING,),
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
# fixture -> the rules under `sequential`, or the status with which a canary ends that it does not catch.
SEQUENTIAL: dict[str, frozenset[str] | str] = {
    "identical": "GO",
    "unchanged": "GO",
    "another model": "GO",
    "constant": frozenset({"action_collapse", "constant_output"}),
    "constant at the median": frozenset({"constant_output"}),
    "narrow": frozenset({"flat_predictions"}),
    "wide": "GO",
    "surer": "GO",
    "one symbol": "GO",
    "one busy symbol": frozenset({"hard_disagree"}),
    "one number": "GO",
    "0 to 100": frozenset({"constant_output"}),
    "mixed scales": "GO",
    "lower case": frozenset({"invalid_action", "canary_missing"}),
    "half missing": frozenset({"canary_missing"}),
    "fallback": frozenset({"not_really_running"}),
    "NaN once": frozenset({"invalid_confidence"}),
    "shifted": "WAIT",
    "silent": frozenset({"canary_missing"}),
    "copycat": "WAIT",
}


def named(name: str) -> Fixture:
    return next(fixture for fixture in FIXTURES if fixture.name == name)


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
    assert {finding.status for finding in strict.values()} == {"", "GO"}


def test_sequential_catches_what_it_caught_and_promotes_what_it_promoted(found: Findings) -> None:
    sequential = {name: by[report.SEQUENTIAL] for name, by in found.items()}
    assert {
        name: frozenset(finding.rules) if finding.caught else finding.status for name, finding in sequential.items()
    } == SEQUENTIAL
    for finding in sequential.values():
        assert finding.caught == bool(finding.rules) == (not finding.status)


def test_the_page_says_what_comes_out(found: Findings, root: Path) -> None:
    assert (root / "docs/degenerate-models.md").read_text() == report.page(found, report.kept()), "run: make battery"


def test_what_is_kept_of_other_seeds_is_of_these_fixtures_and_judges() -> None:
    kept = report.kept()
    for part in kept:
        assert list(part) == [fixture.name for fixture in FIXTURES]
        for by in part.values():
            assert list(by) == [column.name for column in judges.COLUMNS]
            assert all(set(seeds) <= set(SEEDS) for seeds in by.values())
    for name, by in kept.waits.items():
        assert all(not set(seeds) & set(kept.caught[name][column]) for column, seeds in by.items())
        assert not any(seeds for column, seeds in by.items() if column != report.SEQUENTIAL)


@pytest.mark.parametrize(("name", "seed"), [("copycat", 6), ("copycat", 8), ("one busy symbol", 1), ("shifted", 1)])
def test_what_is_kept_of_other_seeds_comes_out(name: str, seed: int) -> None:
    """A few of them; the slow test makes them all again."""
    found = judges.judge_one(named(name), seed)
    kept = report.kept()
    assert {column: (finding.caught, finding.status == "WAIT") for column, finding in found.items()} == {
        column: (seed in seeds, seed in kept.waits[name][column]) for column, seeds in kept.caught[name].items()
    }


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_all_that_is_kept_of_other_seeds_comes_out() -> None:
    assert report.over_seeds() == report.kept()


@pytest.mark.slow
def test_shuffled_decisions_give_no_false_alarm() -> None:
    """What the page says of a model that goes on: it is the order of the decisions that brings the false alarms."""
    wrong = 0
    for seed in range(1, 41):
        made = [one for part in named(report.UNCHANGED).telemetry(seed) for one in confidences(part)]
        mixed = np.random.default_rng(seed).permutation(made)
        wrong += kayenta.classify(mixed[: len(mixed) // 2], mixed[len(mixed) // 2 :]).label != kayenta.PASS
    assert wrong == 0


def test_nothing_is_explained_that_did_not_come_out() -> None:
    told = {(title, name) for title, names in report.WHY.items() for name in names}
    assert told == {(title, one.name) for one in FIXTURES for title in report.headings(one, report.kept())}


def test_a_finding_without_words_is_refused(found: Findings) -> None:
    kept = report.kept()
    with pytest.raises(KeyError, match="wide"):
        report.page(found, kept._replace(caught={**kept.caught, "wide": kept.caught["narrow"]}))


@pytest.mark.parametrize("name", ["identical", "one busy symbol", "shifted"])
def test_before_the_cutover_all_is_well(name: str) -> None:
    """By the plain rules, which know nothing of the collection: what is caught is what the fixture did."""
    before = [entry(made.breakdown) for made in named(name).telemetry().before]
    assert plain_rules.codes(before, CANARY) == set()


def test_the_same_decisions_come_each_time() -> None:
    assert named("one number").telemetry() == named("one number").telemetry()


def test_a_policy_is_a_line() -> None:
    """The monitor looks as often as it is told, and the first violation counts."""
    case = judges.Case.of(named("unchanged").telemetry())
    assert judges.monitor("strict", looks=(0.5, 1.0))(case) == judges.Finding(False, (), "", "GO")
    ill = judges.Case.of(named("constant").telemetry())
    seen = judges.monitor("strict", looks=(0.5, 6.0))(ill)  # 180 decisions: too few but for the early trip
    assert set(seen.rules) == {"action_collapse", "constant_output"}


def test_sequential_says_what_it_is_not_certain_of(found: Findings) -> None:
    case = judges.Case.of(named("unchanged").telemetry())
    early = judges.monitor("sequential", looks=(1.0,))(case)
    assert (early.caught, early.status) == (False, "WAIT")
    assert early.told.count("not certain yet") == 8
    assert found["unchanged"][report.SEQUENTIAL] == judges.Finding(False, (), "", "GO")


def test_a_look_goes_on_where_the_one_before_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    handed: list[t.Any] = []

    def spy(reader: t.Any, options: t.Any, progress: t.Any, elapsed_s: float) -> t.Any:
        found = check.check(reader, options, progress, elapsed_s)
        handed.append((elapsed_s / 60, reader.scanned, progress, found[1]))
        return found

    monkeypatch.setattr(judges, "check", spy)
    judges.monitor("sequential", judges.LOOKS)(judges.Case.of(named("unchanged").telemetry()))
    minutes, scanned, before, after = zip(*handed)
    assert minutes == pytest.approx(range(30, 361, 10))
    assert scanned == (180, *[60] * 33)
    assert before == (None, *after[:-1])


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
