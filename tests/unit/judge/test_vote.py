# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One action of many votes: ties, missing votes, HOLD and zero weights are defined."""

from __future__ import annotations

import itertools

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import BadInput
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.decisions import Vote
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.vote import (
    VOTES,
    ballots_of,
    confidence_weighted,
    vote_named,
    weight_only,
)

W = {"a": 0.25, "b": 0.25, "c": 0.3, "d": 0.2}


@pytest.mark.parametrize(
    ("ballots", "weights", "action"),
    [
        pytest.param(
            [("a", "BUY", 0.9), ("b", "SELL", 0.5), ("c", "SELL", 0.2)], W, "BUY", id="weight times confidence"
        ),
        pytest.param([("a", "BUY", 0.5), ("b", "SELL", 0.5)], W, "HOLD", id="tie"),
        pytest.param([("a", "HOLD", 0.5), ("b", "SELL", 0.5)], W, "HOLD", id="tie with HOLD"),
        pytest.param(
            [("a", "BUY", 1.0), ("b", "BUY", 1.0), ("c", "SELL", 1.0)],
            {"a": 0.1, "b": 0.2, "c": 0.3},
            "HOLD",
            id="tie but for rounding",
        ),
        pytest.param([("a", "BUY", 0.6), ("b", "HOLD", 0.5), ("c", "HOLD", 0.2)], W, "HOLD", id="HOLD is an action"),
        pytest.param([("d", "SELL", 0.1)], W, "SELL", id="whoever is missing leaves its weight unused"),
        pytest.param([], W, "HOLD", id="nobody"),
        pytest.param([("a", "BUY", 0.9)], {"b": 1.0}, "HOLD", id="nobody with weight"),
        pytest.param([("a", "BUY", 0.9), ("b", "SELL", 0.1)], {"a": 0.0, "b": 1.0}, "SELL", id="zero weight"),
        pytest.param([("x", "BUY", 0.9), ("b", "SELL", 0.1)], W, "SELL", id="not in the weights"),
        pytest.param([("a", "BUY", 0.0)], W, "HOLD", id="not sure at all"),
        pytest.param([("a", "BUY", 0.5)], {"a": 5e-324}, "HOLD", id="the smallest number"),
    ],
)
def test_confidence_weighted(ballots, weights, action):
    for order in itertools.permutations(ballots):
        assert confidence_weighted(order, weights) == action


@pytest.mark.parametrize(
    ("ballots", "action"),
    [
        ([("a", "BUY", 0.01), ("b", "SELL", 0.9), ("c", "BUY", 0.01)], "BUY"),
        ([("a", "BUY", 0.9), ("b", "SELL", 0.1)], "HOLD"),
        ([("a", "BUY", 0.1), ("b", "BUY", 0.1), ("c", "SELL", 0.9), ("d", "SELL", 0.9)], "HOLD"),  # .5 each
        ([], "HOLD"),
    ],
)
def test_weight_only(ballots, action):
    assert weight_only(ballots, W) == action


def test_shadow_votes_do_not_count_but_for_the_canary_that_is_taken_out_of_it():
    votes = {
        "a": Vote("BUY", 0.5, False, "", False, False),
        "b": Vote("SELL", 0.6, False, "", False, True),
        "c": Vote("HOLD", 0.7, False, "", False, True),
    }
    assert ballots_of(votes) == [("a", "BUY", 0.5)]
    assert ballots_of(votes, "c") == [("a", "BUY", 0.5), ("c", "HOLD", 0.7)]


def test_a_vote_is_chosen_by_name():
    assert set(VOTES) == {"confidence_weighted", "weight_only"}
    for name in ("median", None, 5, ["weight_only"]):
        with pytest.raises(BadInput, match="vote=") as caught:
            vote_named(name)
        assert "confidence_weighted" in caught.value.remedy
