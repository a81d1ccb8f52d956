# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulator behind docs/error-rates.md tells the truth, and judges as the judge itself does."""

from __future__ import annotations

import numpy as np
import pytest
from calibrate import policies, short
from calibrate.ensemble import CANARY, MODELS, Ensemble, Model, together
from calibrate.generate import SYMBOLS, Stage, Telemetry, generate, latent, regular
from calibrate.minutes import blocks, frame_of, minutes, observations
from calibrate.policies import INCONCLUSIVE, LOOK_S, LOOKS, ROLLED_BACK, SAFE, WINDOW, Columns
from calibrate.rates import SEQUENTIAL as SEQUENTIAL_POLICY
from calibrate.rates import STRICT, Tally, interval, targets, verdict
from calibrate.run import measure
from calibrate.scenarios import ALWAYS, SCENARIOS, TRAFFIC, Cell, Scenario, Traffic

from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge import rules, sequential
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.buckets import MINUTE_MS, Stretch
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.check import Moment
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.claims import claims_of
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.cutover import StreamId
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.decisions import ACTIONS, Decision, Vote
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.fold import Fold
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.frame import blocks_of
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.options import SEQUENTIAL, MonitorOptions
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.summary import (
    ensemble_figures,
    model_figures,
    summarise,
)

PATCHTST = MODELS[CANARY]
SINCE = StreamId(1_800_000_000_000, 0)
PLAIN = Ensemble((Model(0.4, 0.1, -0.3), Model(0.3, 0.2, 0.9), Model(0.45, 0.05, 0.5), Model(0.2, 0.15, 0.8)))
"""Not one of the scenarios: these take a while to solve."""
STRAY = Ensemble((Model(0.4, 0.1, 0.3), Model(0.3, 0.2, 0.9), Model(0.2, 0.05, 0.5), Model(0.16, 0.15, 0.8)), 0.055)
COLLAPSED = Ensemble((*PLAIN.models[:CANARY], Model(0.005, 0.005, 0.8)), 0.08)
CONSTANT = Ensemble(PLAIN.models, 0.0)
FLAT = Ensemble(PLAIN.models, 0.03)
RUNS = [
    (PLAIN, PLAIN, 0.1, 0.0), (PLAIN, PLAIN, 1.0, 600.0), (STRAY, STRAY, 0.1, 60.0), (STRAY, STRAY, 1.0, 600.0),
    (PLAIN, COLLAPSED, 0.1, 0.0), (PLAIN, CONSTANT, 1.0, 60.0), (PLAIN, FLAT, 1.0, 0.0), (PLAIN, CONSTANT, None, 60.0),
    (COLLAPSED, COLLAPSED, 1.0, 0.0), (STRAY, STRAY, None, 60.0),
]  # fmt: skip


def run_of(before, after, rate, tau, seed=1):
    random = np.random.default_rng(seed)
    times = Traffic(rate, tau).times(random)
    same = (Stage(ALWAYS, before),) if before is after else (Stage(ALWAYS, before), Stage(9000.0, after))
    rows = generate(random, times, tau, same)
    return rows.part(rows.ms < 0), rows.part(rows.ms >= 0)


def decisions(rows: Telemetry):
    return [
        Decision(
            StreamId(SINCE.ms + ms, 0),
            {
                name: Vote(ACTIONS[action], confidence if place == CANARY else 0.5, False, "", False, False)
                for place, (name, action) in enumerate(zip(MODELS, actions))
            },
            (),
        )
        for ms, actions, confidence in zip(rows.ms.tolist(), rows.actions.T.tolist(), rows.confidence.tolist())
    ]


# What is generated


@pytest.mark.parametrize("ensemble", [PLAIN, STRAY])
def test_the_true_values_are_those_of_a_large_sample(ensemble):
    n = 400_000
    rows = generate(np.random.default_rng(7), np.arange(n) * 1.0, 0.0, [Stage(ALWAYS, ensemble)])
    truth = ensemble.truth
    p10, p90 = np.percentile(rows.confidence, (10, 90))
    measured = {
        "max_share": max(np.bincount(rows.canary, minlength=3)) / n,
        "agreement": rows.largest.mean() / len(MODELS),
        "hard": rows.hard.mean(),
        "std": rows.confidence.std(),
        "range": p90 - p10,
    }
    assert measured == pytest.approx(truth, abs=4 * 0.5 / n**0.5)
    assert together(ensemble.models) == (truth["agreement"], truth["hard"])


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda item: f"{item.name}, {item.when}")
def test_a_scenario_is_true_of_what_its_name_says(scenario: Scenario):
    truth = scenario.ensemble.truth
    for name, value in scenario.values:
        if name != "quarrel":
            assert truth[{"hold": "max_share"}.get(name, name)] == pytest.approx(value, abs=1e-4)
    figures = {
        "action_collapse": truth["max_share"] <= 0.70,
        "agreement_out_of_range": 0.55 <= truth["agreement"] <= 0.80,
        "hard_disagree": truth["hard"] <= 0.20,
        "flat_predictions": truth["std"] >= 0.05,
        "constant_output": truth["std"] >= 0.01,
    }
    violated = {code for code, kept in figures.items() if not kept} - {"dead_zone"}
    assert (scenario.rule in violated) if scenario.rule else not violated
    assert violated <= {scenario.rule, "flat_predictions"}


@pytest.mark.parametrize(("rate", "tau"), [(10.0, 60.0), (1.0, 600.0), (0.1, 60.0)])
def test_a_symbol_remembers_for_tau_and_symbols_know_nothing_of_each_other(rate, tau):
    step = SYMBOLS / rate
    values = latent(np.random.default_rng(3), np.arange(400_000) / rate, tau)[:, 0].reshape(-1, SYMBOLS)
    lag = max(1, round(tau / step))
    error = 6 * (2 * tau / step + 1) ** 0.5 / len(values) ** 0.5
    one, later = values[:-lag, 0], values[lag:, 0]
    assert np.corrcoef(one, later)[0, 1] == pytest.approx(np.exp(-lag * step / tau), abs=error)
    assert np.corrcoef(values[:, 0], values[:, 1])[0, 1] == pytest.approx(0, abs=error)
    assert values.std() == pytest.approx(1, abs=error)


def test_bursts_have_the_recorded_cadence():
    times = Traffic(None, 60.0).times(np.random.default_rng(5))
    gaps = np.diff(times)
    within = gaps < 30
    sizes = np.diff(np.flatnonzero(np.append(True, ~within)))
    assert 60 * len(times) / (times[-1] - times[0]) == pytest.approx(1.0, abs=0.1)
    assert np.median(gaps[~within]) == pytest.approx(302, abs=10)
    assert set(sizes) <= set(range(2, 15))


def test_uneven_times_have_the_same_memory_as_even_ones():
    times = regular(1.0, 0)
    uneven = times + 1e-3 * np.arange(len(times)) % 0.5
    even = latent(np.random.default_rng(1), times, 60.0)
    stepped = latent(np.random.default_rng(1), uneven, 60.0)
    assert np.abs(even - stepped).max() < 0.1


# The fast path is the judge's path


@pytest.mark.parametrize("rate", [1.0, None])
def test_blocks_are_the_judges_own(rate):
    history, _after = run_of(PLAIN, PLAIN, rate, 60.0)
    mine, centre = blocks(history)
    real, real_centre = blocks_of(observations(history))
    assert centre == pytest.approx(real_centre, abs=1e-12)
    assert (mine.decisions, mine.span_s) == (real.decisions, real.span_s)
    assert list(mine.means) == list(real.means)
    for name, row in real.means.items():
        assert mine.means[name] == pytest.approx(row, abs=1e-9)


@pytest.mark.parametrize("rate", [1.0, None])
def test_minutes_are_the_judges_own(rate):
    _history, after = run_of(PLAIN, CONSTANT, rate, 60.0)
    real: dict[int, Stretch] = {}
    for item in observations(after):
        real.setdefault(item.ms // MINUTE_MS, Stretch()).add(item, 0.58)
    mine = minutes(after, 0.58)
    assert len(mine) == len(real)
    for one, other in zip(mine, real.values()):
        for name, value in vars(other).items():
            assert getattr(one, name) == (pytest.approx(value, abs=1e-9) if isinstance(value, float) else value)


@pytest.mark.parametrize("case", range(len(RUNS)))
def test_strict_is_the_point_rules_on_the_newest_decisions(case):
    """At every look, or, for the range, at those up to the first violation: with the judge's own rules."""
    _history, after = run_of(*RUNS[case])
    columns = Columns(after)
    mine = policies.strict_violations(columns)
    early = policies.early_trip(columns)
    every = decisions(after)
    outcome = policies.strict(columns)
    codes = (rules.ACTION_COLLAPSE, rules.DEAD_ZONE, rules.FLAT, rules.AGREEMENT, rules.HARD_DISAGREE, rules.NARROW)
    first = None
    # every look around the end of the run, and some of the others
    last = round(outcome.at_s / LOOK_S)
    for look in sorted({*range(0, LOOKS, 24), *range(last - 3, min(last + 3, LOOKS))}):
        seen = int(columns.seen[look])
        assert seen == sum(one.id.ms < SINCE.ms + 1000 * LOOK_S * (look + 1) for one in every)
        summary = summarise(every[max(0, seen - WINDOW) : seen])
        if not summary.events:
            continue
        canary = model_figures(PATCHTST, summary.models[PATCHTST], summary.events)
        if seen >= 200:
            found = rules.judge_model(canary, policies.LIMITS)
            found += rules.judge_ensemble(ensemble_figures(summary), policies.LIMITS)
            known = {item.code for item in found} - {rules.CONSTANT}
            so_far = {code for code in codes if mine[code][look]}
            assert (
                so_far == known if outcome.at_s > LOOK_S * look else so_far | {rules.NARROW} == known | {rules.NARROW}
            )
        else:
            found = rules.judge_early(canary, (every[seen - 1].id.ms - every[0].id.ms) / 1000, policies.LIMITS)
            assert bool(found) == (look in early)
        if found and first is None:
            first = look
    if first is None:
        assert outcome.result in (SAFE, INCONCLUSIVE)
    else:
        assert outcome.result == ROLLED_BACK
        assert outcome.at_s <= LOOK_S * (first + 1)


@pytest.mark.parametrize("case", range(len(RUNS)))
def test_sequential_is_the_check_of_the_monitor(case):
    """Decision by decision through the judge's own state and check, look by look."""
    history, after = run_of(*RUNS[case])
    frame = frame_of(history)
    outcome = policies.sequential(Columns(after), frame)
    options = MonitorOptions(PATCHTST, SINCE, policy=SEQUENTIAL, frame=frame)
    fold = Fold.new(PATCHTST, SINCE, frame, claims_of(options.limits), alone=False, grace_s=options.limits.start_grace)
    result, every = None, decisions(after)
    done = 0
    for look in range(LOOKS):
        now_s = LOOK_S * (look + 1)
        while done < len(every) and every[done].id.ms < SINCE.ms + 1000 * now_s:
            fold.add(every[done])
            done += 1
        result = sequential.result_of("s", options, fold, "", Moment(0.0, now_s, now_s, 1800.0, 21600.0))
        if result.violations:
            break
    if result.violations:
        assert outcome.result == ROLLED_BACK
        assert outcome.at_s == now_s
    else:
        assert outcome.result == (SAFE if result.status == rules.GO else INCONCLUSIVE)


def test_a_run_can_be_repeated_and_no_two_are_alike():
    cell = Cell(SCENARIOS[0], TRAFFIC[0])
    (_one, first), (_two, again), (_three, other) = cell.telemetry(0), cell.telemetry(0), cell.telemetry(1)
    assert np.array_equal(first.confidence, again.confidence)
    assert not np.array_equal(first.confidence, other.confidence)


# What is counted


@pytest.mark.parametrize(
    ("count", "n", "low", "high"),
    [(0, 300, 0.0, 0.012221), (1, 60, 0.000422, 0.089399), (300, 300, 0.987779, 1.0), (5, 10, 0.187086, 0.812914)],
)
def test_the_interval_is_clopper_and_pearsons(count, n, low, high):
    """At 0 of n the upper end is 1 - .025 ** (1 / n); 5 of 10 is in every table."""
    assert interval(count, n) == pytest.approx((low, high), abs=2e-6)


@pytest.mark.parametrize(
    ("count", "n", "limit", "most", "expected"),
    [
        (0, 400, 0.01, True, "met"), (0, 60, 0.01, True, "met, not certain"), (9, 60, 0.01, True, "not met"),
        (2, 60, 0.01, True, "not met, not certain"), (400, 400, 0.95, False, "met"), (30, 60, 0.95, False, "not met"),
    ],
)  # fmt: skip
def test_a_target_is_met_or_missed_only_where_the_interval_says_so(count, n, limit, most, expected):
    assert verdict(count, n, limit, most=most) == expected


def test_a_rollback_before_the_degradation_is_told_from_one_after_it():
    cell = Cell(next(one for one in SCENARIOS if (one.name, one.when) == ("share 85", "half time")), TRAFFIC[4])
    ends = [("rolled back", 9000.0, ("x",)), ("rolled back", 10830.0, ("y",)), ("rolled back", 12600.0, ("y",)),
            ("safe", 21600.0, ()), ("inconclusive", 21600.0, ("open: a", "open: b"))]  # fmt: skip
    item = Tally.of(cell, [{SEQUENTIAL_POLICY: end} for end in ends], SEQUENTIAL_POLICY)
    assert (item.rolled_back, item.before, item.safe, item.inconclusive) == (3, 1, 1, 1)
    assert item.minutes == (0.5, 30.0)
    assert (item.median, item.p95, item.within(11)) == (15.25, 30.0, 1)
    assert item.by == {"y": 2, "x": 1}
    lasting = next(one for one in targets([item]) if "90 min" in one.text)
    assert (lasting.count, lasting.n) == (2, 5)


def test_no_error_rate_is_grossly_off():
    """The short form of `make calibrate`; docs/error-rates.md has the rates themselves."""
    assert not short.grossly_off(measure(short.WANTED))


def test_a_rate_that_is_grossly_off_is_told():
    ends = {STRICT: ("safe", 21600.0, ()), SEQUENTIAL_POLICY: ("safe", 21600.0, ())}
    tallies = [
        Tally.of(cell, [ends] * runs, policy) for cell, runs in short.WANTED for policy in (STRICT, SEQUENTIAL_POLICY)
    ]
    told = short.grossly_off(tallies)
    missed = [bound for bound in short.BOUNDS if (bound.most < short.RUNS if bound.what == "safe" else bound.least > 0)]
    assert len(told) == len(missed)
