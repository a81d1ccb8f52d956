# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every rule at its limit, on both sides of it, and with a figure that is unknown."""

from __future__ import annotations

import dataclasses
import math

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import BadInput
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge import rules
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.cutover import StreamId
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.rules import Limits
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.summary import (
    EnsembleFigures,
    FirstBlocker,
    ModelFigures,
    Summary,
)
from ansible_collections.qsc.canary.plugins.module_utils.qsc.verdict import Violation

LIMITS = Limits()
NAN = math.nan


def model(buy=40.0, sell=20.0, hold=40.0, **changes):
    """A model inside every limit, with changes."""
    base = ModelFigures(
        name="nhits", samples=500, shadow=0, inactive=0, coverage=100.0, voting_coverage=100.0, counts={},
        shares={"BUY": buy, "SELL": sell, "HOLD": hold}, mean=0.5, std=0.1, p10=0.3, p90=0.6, range=0.3, normalized=0,
        fallback={}, fallback_share=0.0, invalid={},
    )  # fmt: skip
    return dataclasses.replace(base, **changes)


def ensemble(agreement=65.0, hard=10.0, events=500, decisions=500):
    return EnsembleFigures(events, decisions, agreement, hard, {})


def codes(found):
    return [item.code for item in found]


def test_a_model_inside_every_limit_is_not_violated():
    assert rules.judge_model(model(), LIMITS) == []
    assert rules.judge_ensemble(ensemble(), LIMITS) == []


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"buy": 70.0}, []),
        ({"buy": 70.04}, ["action_collapse"]),
        ({"buy": math.nextafter(70.0, 71)}, ["action_collapse"]),
        ({"sell": 70.5}, ["action_collapse"]),
        ({"hold": 78.3}, ["action_collapse"]),
        ({"hold": 85.0}, ["action_collapse"]),
        ({"hold": 85.01}, ["action_collapse", "dead_zone"]),
        ({"std": 0.05}, []),
        ({"std": 0.04999}, ["flat_predictions"]),
        ({"range": 0.12}, []),
        ({"range": 0.1199}, ["narrow_range"]),
        ({"std": 0.01}, ["flat_predictions"]),
        ({"std": 0.0099}, ["flat_predictions", "constant_output"]),
        ({"range": 0.001}, ["narrow_range"]),
        ({"range": 0.0009}, ["narrow_range", "constant_output"]),
        ({"range": -0.0009}, ["narrow_range", "constant_output"]),
        ({"range": -0.5}, ["narrow_range"]),
        ({"fallback_share": 20.0}, []),
        ({"fallback_share": 20.1}, ["not_really_running"]),
    ],
)
def test_the_rules_of_a_model(changes, wanted):
    assert codes(rules.judge_model(model(**changes), LIMITS)) == wanted


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"buy": NAN}, ["action_collapse"]),
        ({"hold": NAN}, ["action_collapse", "dead_zone"]),
        ({"std": NAN}, ["flat_predictions", "constant_output"]),
        ({"range": NAN}, ["narrow_range", "constant_output"]),
        ({"fallback_share": NAN}, ["not_really_running"]),
    ],
)
def test_an_unknown_figure_violates_and_is_shown_as_unknown(changes, wanted):
    found = rules.judge_model(model(**changes), LIMITS)
    assert codes(found) == wanted
    for item in found:
        assert item.measured is None
        assert "unknown" in item.message


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"agreement": 55.0}, []),
        ({"agreement": 54.999}, ["agreement_out_of_range"]),
        ({"agreement": 80.0}, []),
        ({"agreement": 80.001}, ["agreement_out_of_range"]),
        ({"agreement": NAN}, ["agreement_out_of_range"]),
        ({"hard": 20.0}, []),
        ({"hard": 20.001}, ["hard_disagree"]),
        ({"hard": NAN}, ["hard_disagree"]),
        ({"decisions": 400}, []),
        ({"decisions": 399}, ["agreement_out_of_range"]),
        ({"decisions": 0, "events": 0}, ["agreement_out_of_range"]),
    ],
)
def test_the_rules_of_the_ensemble(changes, wanted):
    assert codes(rules.judge_ensemble(ensemble(**changes), LIMITS)) == wanted


def test_an_ensemble_of_one_voter_is_only_allowed_to_a_canary_with_all_the_weight():
    lonely = ensemble(decisions=0, agreement=NAN, hard=NAN)
    assert "not applicable" in rules.judge_ensemble(lonely, LIMITS)[0].message
    assert codes(rules.judge_ensemble(lonely, LIMITS, weight=0.5)) == ["agreement_out_of_range"]
    assert rules.judge_ensemble(lonely, LIMITS, weight=1.0) == []
    assert codes(rules.judge_ensemble(ensemble(agreement=90.0), LIMITS, weight=1.0)) == ["agreement_out_of_range"]


@pytest.mark.parametrize(
    ("own", "changes", "wanted"),
    [
        (True, {}, "NO-GO"),
        (False, {}, "GO"),
        (False, {"agreement": 55.0}, "GO"),
        (False, {"agreement": 80.0}, "GO"),
        (False, {"agreement": 54.9}, "WAIT"),
        (False, {"agreement": 80.1}, "WAIT"),
        (False, {"agreement": NAN}, "WAIT"),
        (False, {"hard": 19.99}, "GO"),
        (False, {"hard": 20.0}, "WAIT"),
        (False, {"hard": NAN}, "WAIT"),
        (False, {"decisions": 0}, "WAIT"),
    ],
)
def test_the_scoreboards_word(own, changes, wanted):
    assert rules.status(own, ensemble(**changes), LIMITS) == wanted


def test_a_canary_with_all_the_weight_can_be_go():
    assert rules.status(False, ensemble(decisions=0, agreement=NAN, hard=NAN), LIMITS, weight=1.0) == "GO"


@pytest.mark.parametrize(("coverage", "violated"), [(80.0, False), (79.9, True), (0.0, True), (NAN, True)])
def test_canary_missing(coverage, violated):
    assert codes(rules.judge_coverage("nhits", coverage, LIMITS)) == (["canary_missing"] if violated else [])


def test_a_canary_still_in_shadow_is_explained():
    assert "did not take it out of shadow" in rules.judge_coverage("nhits", 0.0, LIMITS, shadow=7)[0].message


@pytest.mark.parametrize(("lag", "violated"), [(120.0, False), (120.5, True), (NAN, True), (math.inf, True)])
def test_stale_telemetry(lag, violated):
    assert codes(rules.judge_lag(lag, 120.0)) == (["stale_telemetry"] if violated else [])


@pytest.mark.parametrize(
    ("changes", "span", "wanted"),
    [
        ({"buy": 97.1, "samples": 30}, 600.0, ["action_collapse"]),
        ({"buy": 97.0, "samples": 30}, 600.0, []),
        ({"buy": 99.0, "samples": 29}, 600.0, []),
        ({"buy": 99.0, "samples": 30}, 599.9, []),
        ({"std": 0.009, "samples": 30}, 600.0, ["constant_output"]),
        ({"std": 0.01, "samples": 30}, 600.0, []),
        ({"std": NAN, "samples": 30}, 600.0, ["constant_output"]),
        ({"buy": NAN, "samples": 30}, 600.0, ["action_collapse"]),
        ({"buy": 90.0, "samples": 199}, 6000.0, []),
    ],
)
def test_the_early_trip(changes, span, wanted):
    assert codes(rules.judge_early(model(**changes), span, LIMITS)) == wanted


def test_blockers_become_violations_of_the_model_or_of_the_stream():
    summary = Summary(
        blockers={
            ("invalid_confidence", "nhits"): FirstBlocker(3, StreamId(5, 0), "confidence is nan"),
            ("invalid_payload", ""): FirstBlocker(1, StreamId(6, 0), "not JSON"),
        }
    )
    found = rules.judge_blockers(summary)
    assert [(item.code, item.subject, item.measured, item.limit) for item in found] == [
        ("invalid_confidence", "nhits", 3.0, 0.0),
        ("invalid_payload", "stream", 1.0, 0.0),
    ]
    assert "first in 5-0: confidence is nan" in found[0].message


def test_derived_codes_accompany_the_canarys_own_rules():
    own = Violation("flat_predictions", "nhits", 0.01, 0.05, "")
    missing = Violation("canary_missing", "nhits", 0.0, 80.0, "")
    ensembles = Violation("hard_disagree", "ensemble", 30.0, 20.0, "")
    assert codes(rules.derived([own], "nhits", "NO-GO")) == ["gate_failed", "no_go"]
    assert codes(rules.derived([missing], "nhits", "NO-GO")) == ["no_go"]
    assert codes(rules.derived([ensembles], "nhits", "WAIT")) == []
    assert codes(rules.derived([], "nhits", "GO")) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hold": 78.3}, "Action collapse: HOLD=78.3% (>70%)"),
        ({"std": 0.0412}, "Flat predictions: conf_std=0.0412 (<0.05)"),
        ({"range": 0.05}, "Narrow range: p90-p10=0.0500 (<0.12)"),
        ({"hold": 70.04}, "Action collapse: HOLD=70.04% (>70%)"),
        ({"hold": 70.0000004}, "Action collapse: HOLD=70.0000004% (>70%)"),
    ],
)
def test_a_message_shows_the_figure_beside_the_limit_and_never_equal_to_it(changes, message):
    assert rules.judge_model(model(**changes), LIMITS)[0].message == message


def test_a_figure_is_judged_unrounded():
    """70.04 % is above 70 %, whatever a report rounds it to."""
    found = rules.judge_model(model(hold=70.04), LIMITS)
    assert codes(found) == ["action_collapse"]
    assert found[0].measured == 70.04


@pytest.mark.parametrize(
    ("flipped", "compared", "limit", "violated"),
    [
        (20, 100, 0.2, False), (21, 100, 0.2, True), (1, 100, 0.0, True), (0, 100, 0.0, False), (1, 3, 1 / 3, False),
        (7, 100, 0.07, False), (0, 0, 0.2, True), (100, 100, 1.0, False), (0, 0, 1.0, False),
    ],
)  # fmt: skip
def test_flips_are_held_against_their_limit_and_none_compared_is_a_violation(flipped, compared, limit, violated):
    found = rules.judge_flips("nhits", flipped, compared, Limits(flip_share_max=limit))
    assert codes(found) == (["flip_share"] if violated else [])


def test_a_flip_share_is_told_in_percent_and_is_the_canarys():
    (found,) = rules.judge_flips("nhits", 2001, 10_000, Limits(flip_share_max=0.2))
    assert (found.subject, found.measured, found.limit) == ("nhits", pytest.approx(20.01), 20.0)
    assert found.message == (
        "Flip share: 20.01% of the ensemble's decisions are not the baseline's (>20%), 2001 of 10000"
    )
    assert rules.FLIPS not in rules.MODEL_CODES, "no gate over the canary alone fails for it"


def test_every_code_is_listed_once():
    assert len(set(rules.CODES)) == len(rules.CODES)
    assert set(rules.CODES) >= rules.MODEL_CODES


def test_limits_keep_their_defaults_when_left_out_or_none():
    assert Limits.from_dict(None) == LIMITS
    assert Limits.from_dict({"min_std": None}) == LIMITS
    assert Limits.from_dict({"min_std": 0.07}) == dataclasses.replace(LIMITS, min_std=0.07)


def test_the_defaults_are_the_domains():
    assert dataclasses.asdict(LIMITS) == {
        "max_action_share": 70, "max_hold_share": 85, "min_std": 0.05, "min_range": 0.12, "constant_std": 0.01,
        "constant_range": 0.001, "min_agreement": 55, "max_agreement": 80, "max_hard_disagree": 20, "min_coverage": 80,
        "max_fallback_share": 20, "early_trip_share": 97, "early_trip_std": 0.01, "early_trip_events": 30,
        "early_trip_seconds": 600, "start_grace": 120, "flip_share_max": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ([], "not a dictionary"),
        ({"max_hold": 80}, "unknown limit 'max_hold'"),
        ({"min_std": "0.05"}, "min_std='0.05' is out of range"),
        ({"min_std": True}, "min_std=True is out of range"),
        ({"min_std": NAN}, "min_std=nan is out of range"),
        ({"min_std": -0.1}, "out of range"),
        ({"min_std": 0.6}, "out of range"),
        ({"max_action_share": 101}, "max_action_share=101 is out of range"),
        ({"max_action_share": math.inf}, "out of range"),
        ({"start_grace": 4000}, "out of range"),
        ({"early_trip_events": 1}, "out of range"),
        ({"min_agreement": 81}, "is above max_agreement"),
        ({"flip_share_max": 20}, "flip_share_max=20 is out of range"),
        ({"flip_share_max": NAN}, "flip_share_max=nan is out of range"),
    ],
)
def test_limits_that_cannot_be_meant_are_refused(raw, says):
    with pytest.raises(BadInput) as caught:
        Limits.from_dict(raw)
    assert says in caught.value.message
    assert caught.value.remedy


# start_grace is a matter of time: the check applies it, and is tested for it.
@pytest.mark.parametrize("name", [item.name for item in dataclasses.fields(Limits) if item.name != "start_grace"])
def test_every_limit_is_applied(name):
    """A limit that nothing reads would be a promise nobody keeps."""
    loose, tight = _extremes(name)
    assert _everything(Limits.from_dict(loose)) != _everything(Limits.from_dict(tight))


def _extremes(name):
    if name == "min_agreement":
        return {name: 0}, {name: 70, "max_agreement": 80}
    pairs = {
        "min_std": (0, 0.5), "min_range": (0, 1), "constant_std": (0, 0.5), "constant_range": (0, 1),
        "early_trip_std": (0, 0.5), "early_trip_events": (2, 1_000_000), "early_trip_seconds": (0, 86_400),
        "flip_share_max": (1, 0),
    }  # fmt: skip
    loose, tight = pairs.get(name, (100, 0))
    extra = {"early_trip_share": 0} if name in ("early_trip_events", "early_trip_seconds") else {}
    if name == "max_agreement":
        return {name: 100}, {name: 60, "min_agreement": 10}
    return {name: loose, **extra}, {name: tight, **extra}


def _everything(limits):
    one = model(buy=75.0, hold=90.0, fallback_share=50.0, samples=100)
    pair = ensemble(agreement=65.0, hard=30.0, decisions=300)
    found = [
        *rules.judge_model(one, limits),
        *rules.judge_ensemble(pair, limits),
        *rules.judge_early(one, 1000.0, limits),
    ]
    found += rules.judge_ensemble(ensemble(agreement=65.0, hard=30.0), limits)
    found += rules.judge_coverage("nhits", 50.0, limits)
    found += rules.judge_flips("nhits", 1, 2, limits)
    return [(item.code, item.subject, item.measured) for item in found]
