# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The canary beside the others: equal to tables made by hand and to a slow reckoning of its own, bounded, and shown."""

from __future__ import annotations

import json
import math
import random
import typing as t
from collections import Counter

import numpy as np
import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.compare import comparison
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.cutover import StreamId
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.decisions import ACTIONS, Decision, Vote
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.frame import Frame
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.table import MOST_COMPARED, MOST_ROWS, table_of
from ansible_collections.qsc.canary.plugins.module_utils.qsc.tell.impact import comparison_lines, comparison_section

BEGIN_MS = 1_768_000_020_000  # a bucket of a minute begins here
MINUTE = Frame(bucket_s=60.0, buckets=40)
WORDS = {"B": "BUY", "S": "SELL", "H": "HOLD"}


def ballot(said: str, confidence: float = 0.5) -> Vote:
    """``b`` and the like: a shadow vote."""
    return Vote(WORDS[said.upper()], confidence, False, "", False, said.islower())


def decision(
    number: int, said: str, *, step_ms: int = 1000, symbol: str = "", sure: t.Sequence[float] = ()
) -> Decision:
    """Votes of a (the canary), b, c, d in a word such as ``BSH.``."""
    sure = sure or [0.5] * 4
    votes = {name: ballot(word, sure[k]) for k, (name, word) in enumerate(zip("abcd", said)) if word != "."}
    return Decision(StreamId(BEGIN_MS + number * step_ms, 0), votes, (), symbol=symbol)


def compared(told: t.Sequence[Decision], **more: t.Any) -> dict[str, t.Any]:
    found = comparison(table_of(told, "a"), **{"frame": MINUTE, **more})
    assert found is not None
    return found


def test_agreement_with_the_majority_of_the_others_by_hand():
    # the others of a: SS, HB (a tie), BB, H, nobody
    found = compared([decision(k, said) for k, said in enumerate(("BSS.", "BHB.", "BBB.", "H.H.", "S..."))])
    canary = found["canary"]
    assert (canary["votes"], canary["coverage"], canary["decisions"]) == (5, 1.0, 4)
    assert canary["agreement"] == (0 + 0.5 + 1 + 1) / 4
    # the table (canary, majority): BS 1, BH .5, BB 1.5, HH 1; by chance 3/4 * 1.5/4 + 0 + 1/4 * 1.5/4
    by_chance = (3 * 1.5 + 1 * 1.5) / 16
    assert canary["kappa"] == pytest.approx((2.5 / 4 - by_chance) / (1 - by_chance))
    b, c = found["incumbents"]["b"], found["incumbents"]["c"]
    assert (b["votes"], b["coverage"], c["coverage"]) == (3, 0.6, 0.8)
    assert b["agreement"] == (0.5 + 0 + 1) / 3  # its others: BS (a tie), BB, BB
    assert b["same"] == {"decisions": 3, "agreement": 1 / 3, "kappa": pytest.approx(0.0)}
    assert "d" not in found["incumbents"]


def test_a_model_in_shadow_is_measured_and_is_nobodys_majority():
    found = compared([decision(k, said) for k, said in enumerate(("Bss.", "Bsb.", "BHss", "bHHb"))])
    assert found["canary"]["decisions"] == 2, "in the first two nobody else votes"
    assert found["canary"]["agreement"] == 0.0
    assert found["incumbents"]["c"]["votes"] == 4
    assert found["incumbents"]["d"]["agreement"] == 0.0
    assert found["incumbents"]["b"]["agreement"] == pytest.approx(1 / 4)  # its others: B, B, B, H


def test_where_chance_alone_agrees_there_is_no_kappa():
    found = compared([decision(k, "BBBB") for k in range(5)])
    assert (found["canary"]["agreement"], found["canary"]["kappa"]) == (1.0, None)
    assert "kappa unknown" in "\n".join(comparison_lines(found))


def slow(told: t.Sequence[Decision], name: str) -> tuple[float, float]:
    """Agreement and kappa once more, decision by decision, with numpy."""
    table = np.zeros((3, 3))
    for item in told:
        others = Counter(vote.action for other, vote in item.votes.items() if other != name and not vote.shadow)
        if name not in item.votes or not others:
            continue
        first = [action for action, count in others.items() if count == max(others.values())]
        for action in first:
            table[ACTIONS.index(item.votes[name].action), ACTIONS.index(action)] += 1 / len(first)
    table /= table.sum()
    chance = float(table.sum(axis=0) @ table.sum(axis=1))
    return float(np.trace(table)), (float(np.trace(table)) - chance) / (1 - chance)


def rough(count: int, seed: int, step_ms: int = 1000) -> list[Decision]:
    dice = random.Random(seed)
    return [
        decision(
            k,
            "".join(dice.choice("BBSHHbsh.") for _number in range(4)),
            step_ms=step_ms,
            symbol=dice.choice(("BTC", "ETH", "")),
            sure=[dice.random() for _number in range(4)],
        )
        for k in range(count)
    ]


@pytest.mark.parametrize("seed", range(3))
def test_agreement_equals_a_slow_reckoning(seed):
    told = rough(700, seed)
    found = compared(told)
    for name, model in {"a": found["canary"], **found["incumbents"]}.items():
        assert (model["agreement"], model["kappa"]) == pytest.approx(slow(told, name))


def test_the_order_in_which_decisions_are_read_does_not_matter():
    told = rough(300, 9)
    assert compared(told) == compared(told[::-1])


def test_the_difference_of_confidence_is_paired_and_its_interval_holds_at_all_looks():
    told = rough(1500, 4)
    found = compared(told)["incumbents"]["c"]["difference"]
    buckets: dict[int, list[float]] = {}
    for item in told:
        if "a" in item.votes and "c" in item.votes:
            off = item.votes["a"].confidence - item.votes["c"].confidence
            buckets.setdefault(item.id.ms // 60_000, []).append(off)
    means = np.array([np.mean(row) for row in buckets.values()])
    n, alpha = len(means), 0.05 / 2 / 3
    spend = -2 * math.log(2 * alpha)
    rho2 = (spend + math.log(spend) + 1) / 40
    radius = np.std(means) * math.sqrt(
        2 * (n * rho2 + 1) / (n * n * rho2) * math.log(1 + math.sqrt(n * rho2 + 1) / (2 * alpha))
    )
    assert n == found["buckets"] == 25
    assert found["decisions"] == sum(len(row) for row in buckets.values())
    assert found["mean"] == pytest.approx(means.mean())
    assert (found["low"], found["high"]) == pytest.approx((means.mean() - radius, means.mean() + radius))


def test_the_difference_to_all_others_is_to_the_mean_of_those_that_vote():
    told = [decision(k, "BHs.", sure=(0.9, 0.5, 0.1, 0.0)) for k in range(60)]
    found = compared(told)
    assert found["canary"]["difference"]["mean"] == pytest.approx(0.4)
    assert found["incumbents"]["c"]["difference"]["mean"] == pytest.approx(0.8)
    assert found["canary"]["difference"]["low"] is None, "no interval of one bucket"


def test_a_bucket_with_few_decisions_takes_the_next_one_in():
    slowly = [decision(k, "BH..", step_ms=10_000) for k in range(100)]  # 6 a minute
    assert compared(slowly)["canary"]["difference"]["buckets"] == 3
    assert compared(slowly[:29])["canary"]["difference"] == {
        "mean": None, "low": None, "high": None, "decisions": 0, "buckets": 0,
    }  # fmt: skip


def test_who_is_with_the_rest_where_only_one_of_two_is():
    # rest of a and b: c and d. Both B: a is with them, b is not; a tie of the rest and a vote missing say nothing.
    told = [decision(k, ("BSBB", "SBBB", "BSBS", ".SBB", "BBBB")[k % 5]) for k in range(600)]
    found = compared(told)["incumbents"]["b"]["mcnemar"]
    assert (found["canary"], found["incumbent"], found["buckets"]) == (120, 120, 10)
    assert found["e_value"] == pytest.approx(1.0) and not found["certain"]
    other = compared([decision(k, "BSBB" if k % 5 else "SBBB") for k in range(600)])["incumbents"]["b"]["mcnemar"]
    assert (other["canary"], other["incumbent"], other["buckets"]) == (480, 120, 10)
    bets = [0.75 / 0.5 * 2 ** (-j / 3) for j in range(24)]
    wanted = np.mean([np.mean([(1 + sign * bet * 0.3) ** 10 for bet in bets]) for sign in (1, -1)])
    assert other["e_value"] == pytest.approx(float(wanted))


def test_one_that_is_always_with_the_rest_is_certain_in_time():
    found = compared([decision(k, "SBBB") for k in range(60 * 12)])["incumbents"]["b"]["mcnemar"]
    assert found["certain"] and found["e_value"] > 20
    page = "\n".join(comparison_section(compared([decision(k, "SBBB") for k in range(60 * 12)])))
    assert "| 0, 720 |" in page and "CERTAIN" in page


def test_one_symbol_that_carries_it_is_seen():
    told = [decision(k, "HBBB" if k % 4 == 0 else "BBBB", symbol="BTC" if k % 4 == 0 else "ETH") for k in range(400)]
    rows = {row["symbol"]: row for row in compared(told)["symbols"]}
    assert rows["BTC"]["shares"] == {"BUY": 0.0, "SELL": 0.0, "HOLD": 1.0}
    assert (rows["BTC"]["agreement"], rows["ETH"]["agreement"], rows["ETH"]["decisions"]) == (0.0, 1.0, 300)
    assert list(rows) == ["ETH", "BTC"]


def test_nothing_read_is_nothing_compared():
    assert comparison(table_of([], "a")) is None
    assert comparison_lines(None) == comparison_section(None) == []
    alone = compared([decision(k, "B...") for k in range(40)])
    assert (alone["incumbents"], alone["canary"]["agreement"]) == ({}, None)
    json.dumps(alone, allow_nan=False)
    assert comparison_lines(alone) and comparison_section(alone)
    absent = compared([decision(k, ".BBB") for k in range(40)])
    assert (absent["canary"]["votes"], absent["canary"]["agreement"]) == (0, None)
    json.dumps(absent, allow_nan=False)


def test_whoever_writes_the_stream_does_not_decide_how_much_is_kept_or_crowd_the_baseline_out():
    def hostile(number: int) -> Decision:
        votes = {f"m{number}x{k}": Vote("BUY", 1.0, False, "", False, False) for k in range(60)}
        votes.update({name: Vote("SELL", 0.5, False, "", False, False) for name in ("zeta", "a")})
        return Decision(StreamId((1 << 64) - 2 - MOST_ROWS - 50 + number, 0), votes, (), symbol=f"s{number}")

    table = table_of((hostile(number) for number in range(MOST_ROWS + 50)), "a", ["zeta"])
    assert (len(table), len(table.names)) == (MOST_ROWS, 1 + MOST_COMPARED)
    found = comparison(table)
    assert found is not None
    assert found["incumbents"]["zeta"]["votes"] == MOST_ROWS
    assert len(json.dumps(found, allow_nan=False)) < 20_000
    assert len("\n".join(comparison_section(found))) < 20_000
