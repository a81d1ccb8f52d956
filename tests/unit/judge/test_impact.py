# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a share changes in the ensemble's actions: equal to brute force, bounded, and shown."""

from __future__ import annotations

import json
import typing as t

import numpy as np
import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import BadInput
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.cutover import ZERO, StreamId
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.decisions import (
    ACTIONS,
    Decision,
    Dialect,
    Vote,
    parse,
)
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.impact import (
    MOST_SYMBOLS,
    OTHERS,
    SHOWN_SYMBOLS,
    Change,
    Impact,
    Tally,
    weights_at,
    weights_of,
)
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.options import GateOptions, MonitorOptions
from ansible_collections.qsc.canary.plugins.module_utils.qsc.tell.impact import (
    flips,
    flips_section,
    impact_lines,
    impact_section,
)
from helpers.telemetry import entry, healthy

MODELS = ("xgb", "lgbm", "nhits", "patchtst")
BASELINE = {"xgb": 0.25, "lgbm": 0.25, "nhits": 0.3, "patchtst": 0.2}
CANARY = "patchtst"
SYMBOLS = ("BTC", "ETH", "SOL")


class Simulated(t.NamedTuple):
    """Decisions as arrays [decision, model]: action 0 to 2 or -1 (no vote), confidence; and a symbol each."""

    actions: t.Any
    confidences: t.Any
    symbols: t.Any


def simulated(count: int, seed: int) -> Simulated:
    """Votes that agree more often than not, some missing, and coarse confidences, so that many scores tie."""
    dice = np.random.default_rng(seed)
    mood = dice.integers(0, 3, count)
    actions = np.where(dice.random((count, 4)) < 0.5, mood[:, None], dice.integers(0, 3, (count, 4)))
    actions[dice.random((count, 4)) < 0.05] = -1
    return Simulated(actions, dice.integers(0, 11, (count, 4)) / 10, dice.integers(0, 3, count))


def decisions(told: Simulated) -> t.Iterator[Decision]:
    for number, (actions, confidences) in enumerate(zip(told.actions.tolist(), told.confidences.tolist())):
        votes = {
            name: Vote(ACTIONS[action], confidence, False, "", False, False)
            for name, action, confidence in zip(MODELS, actions, confidences)
            if action >= 0
        }
        yield Decision(StreamId(number + 1, 0), votes, (), symbol=SYMBOLS[told.symbols[number]])


def brute_force(told: Simulated, weights: t.Any, *, weighted: bool) -> t.Any:
    """The action of each decision, in whole tenths of millionths: exact, and nothing of the collection's."""
    units = np.rint(np.array(weights) * 1e7).astype(np.int64)
    tenths = np.rint(told.confidences * 10).astype(np.int64) if weighted else np.ones_like(told.actions)
    scores = np.stack([((told.actions == k) * units * tenths).sum(axis=1) for k in range(3)], axis=1)
    top = scores.max(axis=1)
    alone = (scores == top[:, None]).sum(axis=1) == 1
    return np.where(alone & (top > 0), scores.argmax(axis=1), ACTIONS.index("HOLD"))


@pytest.mark.parametrize("vote", ["confidence_weighted", "weight_only"])
def test_the_flips_of_a_hundred_thousand_decisions_equal_brute_force(vote):
    told = simulated(100_000, 7)
    found = Impact(CANARY, BASELINE, vote, 0.1)
    for item in decisions(told):
        found.add(item)
    voted = (told.actions >= 0).any(axis=1)
    before = brute_force(told, [BASELINE[name] for name in MODELS], weighted=vote == "confidence_weighted")
    for share, tally in found.tallies.items():
        # other units than the collection's: of the 0.8 the three others share 25, 25 and 30
        rest = [(1 - share) * part / 80 for part in (25, 25, 30)]
        after = brute_force(told, [*rest, share], weighted=vote == "confidence_weighted")
        flip = voted & (before != after)
        assert (tally.compared, tally.flipped) == (voted.sum(), flip.sum())
        for one in range(3):
            for two in range(3):
                count = (flip & (before == one) & (after == two)).sum()
                assert tally.directions[(ACTIONS[one], ACTIONS[two])] == count
        for number, symbol in enumerate(SYMBOLS):
            assert tally.symbol_flips[symbol] == (flip & (told.symbols == number)).sum()
            assert tally.symbols[symbol] == (voted & (told.symbols == number)).sum()
        assert share == 0.2 or tally.flipped > 500, "or the test would compare nothing"
        assert (tally.first_id, tally.last_id) == (StreamId(int(voted.argmax()) + 1, 0), StreamId(100_000, 0))


def test_the_baseline_itself_flips_nothing():
    told = simulated(2000, 1)
    found = Impact(CANARY, BASELINE, "confidence_weighted", 0.2)
    for item in decisions(told):
        found.add(item)
    assert found.asked is not None
    assert (found.asked.flipped, found.asked.share) == (0, 0.0)
    assert found.tallies[0.5].flipped > 100


def test_what_was_added_and_dropped_again_leaves_what_was_never_added():
    told = list(decisions(simulated(600, 3)))
    change = Change(CANARY, BASELINE, weights_at(BASELINE, CANARY, 0.6))
    whole, part = Tally(change), Tally(change)
    outcomes = [whole.add(item) for item in told]
    for outcome in outcomes[:200]:
        whole.drop(outcome)
    for item in told[200:]:
        part.add(item)
    assert (whole.compared, whole.flipped, +whole.directions) == (part.compared, part.flipped, +part.directions)
    assert whole.to_dict() == part.to_dict()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.5, 1.0])
def test_the_others_keep_their_proportion(share):
    found = weights_at(BASELINE, CANARY, share)
    assert found[CANARY] == share
    assert sum(found.values()) == pytest.approx(1)
    assert found["xgb"] * 0.3 == pytest.approx(found["nhits"] * 0.25)
    assert weights_at({"only": 1.0}, "only", 0.5) == {"only": 0.5}
    assert weights_at({"xgb": 1.0}, "new", 0.25) == {"xgb": 0.75, "new": 0.25}


def test_a_canary_in_shadow_votes_at_its_share_and_not_at_the_baseline():
    votes = {
        "xgb": Vote("BUY", 0.5, False, "", False, False),
        CANARY: Vote("SELL", 0.9, False, "", False, True),
        "nhits": Vote("SELL", 0.9, False, "", False, True),
    }
    decision = Decision(StreamId(1, 0), votes, ())
    assert Change(CANARY, BASELINE, weights_at(BASELINE, CANARY, 0.5)).outcome(decision) == ("BUY", "SELL", "", None)
    assert Change(CANARY, BASELINE, weights_at(BASELINE, CANARY, 0.05)).outcome(decision) == ("BUY", "BUY", "", None)


def test_a_decision_nobody_votes_in_is_not_compared():
    tally = Tally(Change(CANARY, BASELINE, weights_at(BASELINE, CANARY, 0.5)))
    assert tally.add(Decision(StreamId(1, 0), {}, ())) is None
    assert (tally.compared, tally.share, tally.first_id) == (0, None, None)
    assert tally.to_dict()["flip_share"] is None
    assert flips(tally.page()) == "no decision with a vote"


def told_by(payload: dict[str, t.Any]) -> Decision:
    fields = [(name.encode(), value.encode()) for name, value in entry(healthy(0), **payload).items()]
    return parse(StreamId(1, 0), fields, Dialect())


@pytest.mark.parametrize(
    ("payload", "symbol", "side"),
    [
        ({"symbol": "BTCUSDC", "side": "SELL"}, "BTCUSDC", "SELL"),
        ({"symbol": "x" * 33, "side": "buy"}, "", ""),
        ({"symbol": "a\nb", "side": None}, "", ""),
        ({"symbol": ["BTC"], "side": ["BUY"]}, "", ""),
        ({"symbol": {"a": 1}, "side": float("nan")}, "", ""),
    ],
)
def test_symbol_and_side_are_taken_only_where_they_can_be_shown(payload, symbol, side):
    found = told_by(payload)
    assert (found.symbol, found.side) == (symbol, side)
    assert not found.blockers and len(found.votes) == 4


def test_the_symbols_of_a_hostile_stream_stay_few():
    impact = Impact(CANARY, BASELINE, "weight_only", 0.1)
    votes = told_by({}).votes
    for i in range(5000):
        impact.add(Decision(StreamId(i + 1, 0), votes, (), symbol=f"s{i}"))
    data = impact.to_dict()
    for row in data["shares"]:
        assert len(row["symbols"]) == SHOWN_SYMBOLS + 1
        assert row["symbols"][-1] == {
            "symbol": OTHERS, "decisions": 5000 - SHOWN_SYMBOLS, "flipped": row["symbols"][-1]["flipped"],
            "flip_share": row["symbols"][-1]["flip_share"],
        }  # fmt: skip
    assert all(len(tally.symbols) <= MOST_SYMBOLS + 1 for tally in impact.tallies.values())
    assert len(json.dumps(data)) < 20_000


@pytest.mark.parametrize("name", ["a | b", "**c**", "<script>", "[x](y)", "`z`", "_u_"])
def test_the_markup_of_a_symbol_reaches_no_page_and_its_text_every_line(name):
    votes = {"xgb": Vote("BUY", 0.5, False, "", False, False), CANARY: Vote("SELL", 0.9, False, "", False, False)}
    impact = Impact(CANARY, BASELINE, "weight_only", 0.6)
    tally = impact.asked
    impact.add(told_by({"symbol": name})._replace(votes=votes))
    assert tally is not None and tally.flipped == 1
    for line in (*impact_section(impact.to_dict()), *flips_section(tally.page())):
        assert name not in line
    assert f"most in {name} 1 of 1" in impact_lines(impact.to_dict())[0]


def test_what_the_engine_published_tells_whether_it_votes_so():
    impact = Impact(CANARY, BASELINE, "weight_only", 0.1)
    votes = {"xgb": Vote("BUY", 0.5, False, "", False, False)}
    for number, side in enumerate(("BUY", "BUY", "SELL", "")):
        impact.add(Decision(StreamId(number + 1, 0), votes, (), side=side))
    assert impact.to_dict()["reproduced"] == {"decisions": 3, "same": 2}
    assert "that is what the engine did in 66.7 % of 3" in "\n".join(impact_lines(impact.to_dict()))


def test_the_lines_and_the_page_tell_share_direction_and_symbol():
    told = Simulated(np.array([[0, 0, 0, 1], [0, 0, 0, 0]]), np.full((2, 4), 0.5), np.array([0, 1]))
    impact = Impact(CANARY, BASELINE, "confidence_weighted", 0.6)
    for item in decisions(told):
        impact.add(item)
    lines = impact_lines(impact.to_dict())
    assert lines[0] == (
        "impact    at 60 %: 50.0 % of the ensemble's decisions are not the baseline's (1 of 2): BUY to SELL 1; "
        "most in BTC 1 of 1"
    )
    assert lines[-1] == (
        "impact    flips by share: 0 %: 0.0 %, 10 %: 0.0 %, 25 %: 0.0 %, 50 %: 50.0 %, 60 %: 50.0 %, 100 %: 50.0 %"
    )
    page = impact_section(impact.to_dict())
    assert "| 60 % (asked for) | 1 | 50.0 % | BUY to SELL 1 | BTC 1 |" in page
    assert impact_lines(None) == impact_section(None) == []


@pytest.mark.parametrize(
    "raw", [[], "x", {"a": "0.5"}, {"a": True}, {"a": -0.1}, {"a": 1.1}, {"a": float("nan")}, {5: 0.5}, {"": 0.5},
            {"a": 10**400}, {f"m{i}": 0.0 for i in range(257)}]
)  # fmt: skip
def test_weights_that_are_none_are_refused(raw):
    with pytest.raises(BadInput, match="baseline") as caught:
        weights_of("baseline", raw)
    assert caught.value.remedy


def test_the_options_know_what_changes_only_with_baseline_and_weight():
    def made(**raw: t.Any) -> MonitorOptions:
        return MonitorOptions.from_dict(raw, model=CANARY, since=ZERO)

    assert made().change is None
    assert made(baseline=BASELINE).change is None
    assert made(weight=0.1).change is None
    found = made(baseline=BASELINE, weight=0.1).change
    assert found is not None and found.weights[CANARY] == 0.1
    exact = {**BASELINE, CANARY: 0.19}
    assert made(baseline=BASELINE, weight=0.1, weights=exact, vote="weight_only").change == Change(
        CANARY, BASELINE, exact, "weight_only"
    )
    for raw in ({}, {"baseline": BASELINE}, {"weight": 0.1}):
        with pytest.raises(BadInput, match=r"flip_share_max=0\.2 cannot be judged"):
            made(limits={"flip_share_max": 0.2}, **raw)
    assert GateOptions.from_dict({"limits": {"flip_share_max": 0.2}}).baseline == {}
    with pytest.raises(BadInput, match="vote='x'"):
        made(vote="x")
