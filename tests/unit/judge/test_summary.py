# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Summaries and figures."""

from __future__ import annotations

import json
import math

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.cutover import StreamId
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.decisions import Dialect, parse
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.summary import (
    Summary,
    ensemble_figures,
    mean_std,
    model_figures,
    percentile,
    summarise,
)
from helpers.telemetry import MODELS, entry, healthy, vote

DIALECT = Dialect.of({}, ["fallback"])


def decision(i, breakdown, **payload):
    fields = [(name.encode(), value.encode()) for name, value in entry(breakdown, **payload).items()]
    return parse(StreamId(i, 0), fields, DIALECT)


def summary_of(*breakdowns):
    return summarise(decision(i + 1, breakdown, serial=i) for i, breakdown in enumerate(breakdowns))


def figures(summary, name="xgb"):
    return model_figures(name, summary.models[name], summary.events)


def test_shares_are_counted_and_unrounded():
    found = figures(summary_of({"xgb": vote("BUY")}, {"xgb": vote("SELL")}, {"xgb": vote("HOLD")}))
    assert found.counts == {"BUY": 1, "SELL": 1, "HOLD": 1}
    assert found.shares["BUY"] == 100 / 3
    assert found.samples == 3


def test_the_standard_deviation_is_the_populations():
    assert mean_std([0.0, 1.0]) == (0.5, 0.5)


def test_a_constant_has_no_spread():
    mean, std = mean_std([0.1] * 1000)
    assert mean == pytest.approx(0.1, abs=1e-15)
    assert std < 1e-15


def test_of_nothing_every_figure_is_unknown():
    found = model_figures("x", Summary()._model("x"), 0)
    for value in (found.mean, found.std, found.p10, found.p90, found.range, found.coverage, found.shares["BUY"]):
        assert math.isnan(value)
    assert "NaN" not in json.dumps(found.to_dict(), allow_nan=False)
    assert found.to_dict()["confidence"]["std"] is None


def test_percentiles_lie_between_the_closest_ranks():
    assert percentile([1.0, 2.0, 3.0, 4.0], 10) == pytest.approx(1.3)
    assert percentile([1.0, 2.0, 3.0, 4.0], 90) == pytest.approx(3.7)
    assert percentile([5.0], 90) == 5.0


def test_coverage_is_of_all_decisions_and_voting_coverage_leaves_shadow_votes_out():
    found = figures(
        summary_of({"xgb": vote()}, {"xgb": vote(shadow=True)}, {"lgbm": vote()}, {"xgb": vote(inactive=True)})
    )
    assert found.coverage == 50.0
    assert found.voting_coverage == 25.0
    assert found.shadow == 1
    assert found.inactive == 1


def test_a_vote_with_a_blocker_is_no_sample():
    summary = summary_of({"xgb": vote(confidence=-1)}, {"xgb": vote()})
    assert figures(summary).samples == 1
    assert figures(summary).invalid == {"invalid_confidence": 1}
    assert summary.blockers[("invalid_confidence", "xgb")].times == 1


def test_logits_are_counted_and_a_mix_is_told():
    summary = summary_of({"xgb": vote(confidence=2.0), "lgbm": vote(confidence=3)}, {"xgb": vote(confidence=0.5)})
    assert figures(summary).to_dict()["confidence"]["normalized"] == 1
    assert figures(summary).to_dict()["confidence"]["mixed"] is True
    assert figures(summary, "lgbm").to_dict()["confidence"]["mixed"] is False


def test_fallback_sources_are_counted_by_name():
    found = figures(summary_of(*[{"xgb": vote(source="xgb_insufficient_history")}] * 3, {"xgb": vote()}))
    assert found.fallback == {"xgb_insufficient_history": 3}
    assert found.fallback_share == 75.0


def votes(text):
    actions = {"B": "BUY", "S": "SELL", "H": "HOLD"}
    return {name: vote(actions[letter]) for name, letter in zip(MODELS, text)}


@pytest.mark.parametrize(
    ("decisions", "agreement", "hard"),
    [
        (["BBBB"], 100.0, 0.0),
        (["BBBH"], 75.0, 0.0),
        (["BBSS"], 50.0, 100.0),
        (["BSHH"], 50.0, 100.0),
        (["BBH"], 100 * 2 / 3, 0.0),
        (["BBBB", "BBSS"], 75.0, 50.0),
    ],
)
def test_agreement_and_hard_disagreement(decisions, agreement, hard):
    found = ensemble_figures(summary_of(*[votes(text) for text in decisions]))
    assert found.agreement == agreement
    assert found.hard_disagree == hard
    assert found.decisions == len(decisions)


def test_shadow_inactive_and_ignored_models_do_not_vote():
    spoiled = {
        **votes("BBB"),
        "patchtst": vote("SELL", shadow=True),
        "tft": vote("SELL", inactive=True),
        "fallback": vote("SELL"),
    }
    found = ensemble_figures(summary_of(spoiled))
    assert found.agreement == 100.0
    assert found.hard_disagree == 0.0


def test_every_part_of_a_summary_is_merged():
    spoiled = {"xgb": vote("BUY", 2.0, "x_fallback_rules"), "lgbm": vote("SELL", shadow=True), "nhits": vote("SELL")}
    spoiled.update(tft=vote(inactive=True), fallback=vote(), patchtst=vote("hold"))
    one = summarise([decision(1, spoiled, serial=1)])
    two = summarise([decision(2, spoiled, serial=2)])
    both, whole = one.merge(two), summary_of(spoiled, spoiled)
    assert ensemble_figures(both) == ensemble_figures(whole)
    assert both.hard == 2
    assert both.ignored == {"fallback": 2}
    assert both.blockers[("invalid_action", "patchtst")].times == 2
    assert (both.first_id, both.last_id, both.events) == (StreamId(1, 0), StreamId(2, 0), 2)
    assert len(both.fingerprints) == 2
    for name in whole.models:
        assert repr(figures(both, name)) == repr(figures(whole, name))


def test_a_single_voter_agrees_with_nobody():
    found = ensemble_figures(summary_of(votes("B"), votes("BB")))
    assert found.decisions == 1
    assert found.events == 2
    assert found.by_voters == {1: (1, 100.0), 2: (1, 100.0)}


def test_the_mean_agreement_is_exact():
    found = ensemble_figures(summary_of(*[votes("BBH")] * 3))
    assert found.agreement == pytest.approx(200 / 3, abs=0)


def test_the_same_decision_published_twice_is_counted():
    one, two = decision(1, healthy(0), serial=1), decision(2, healthy(0), serial=2)
    again = decision(3, healthy(0), serial=1)
    assert summarise([one, two, again]).repeated == 1
    assert summarise([one, two]).repeated == 0


def test_the_oldest_example_of_a_blocker_is_kept():
    summary = summarise(decision(i, {"xgb": vote(f"bad{i}")}) for i in (3, 1, 2))
    first = summary.blockers[("invalid_action", "xgb")]
    assert (first.times, first.id) == (3, StreamId(1, 0))
    assert "bad1" in first.message


def test_first_and_last_do_not_depend_on_the_order():
    summary = summarise(decision(i, healthy(i)) for i in (5, 2, 9))
    assert (summary.first_id, summary.last_id) == (StreamId(2, 0), StreamId(9, 0))
