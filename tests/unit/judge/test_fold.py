# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run under the policy sequential remembers: the same however it is split, and no more after ten days."""

from __future__ import annotations

import json
import os
import random

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc.files import STATE_LIMIT
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.buckets import Stretch, observe
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.claims import claims_of
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.cutover import StreamId
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.decisions import Decision, Dialect, Vote, parse
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.fold import Fold
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.frame import Frame
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.impact import Change, weights_at
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.rules import Limits
from helpers.telemetry import entry, healthy

CANARY = "patchtst"
SINCE = StreamId(1_768_000_000_000, 7)
CLAIMS = claims_of(Limits(flip_share_max=0.2))
BASELINE = {"xgb": 0.25, "lgbm": 0.25, "nhits": 0.3, "patchtst": 0.2}
CHANGE = Change(CANARY, BASELINE, weights_at(BASELINE, CANARY, 0.6))
FRAME = Frame(bucket_s=120.0, buckets=100, means={"BUY": 0.25}, spreads={"BUY": 0.02})
FULL = bool(os.environ.get("QSC_TEST_FULL"))
DIALECT = Dialect.of({}, ["fallback"])


def new(frame=FRAME):
    return Fold.new(CANARY, SINCE, frame, CLAIMS, alone=False, grace_s=120.0, change=CHANGE)


def again(fold):
    """The fold as the next process has it."""
    raw = json.loads(json.dumps(fold.to_dict()))
    return Fold.from_dict(raw, model=CANARY, since=SINCE, claims=CLAIMS, alone=False, grace_s=120.0, change=CHANGE)


def folded(decisions, frame=FRAME):
    fold = new(frame)
    for item in decisions:
        fold.add(item)
    return fold


def decision(i, ms, breakdown=None):
    said = healthy(i) if breakdown is None else breakdown
    fields = [(name.encode(), value.encode()) for name, value in entry(said, serial=i).items()]
    return parse(StreamId(ms, 0), fields, DIALECT)


def rough(seed, count):
    """Decisions as they really come: gaps, bursts, a canary that is late, absent, in shadow, or says nonsense."""
    dice = random.Random(seed)
    ms, found = SINCE.ms, []
    for i in range(count):
        ms += dice.choice((0, 1, 400, 2000, 9000, 9000, 61_000, 300_000))
        said = healthy(dice.randrange(1000))
        kind = dice.random()
        if i < 4 or kind < 0.05:
            del said[CANARY]
        elif kind < 0.08:
            said[CANARY]["shadow"] = True
        elif kind < 0.1:
            said[CANARY]["confidence"] = dice.random() * 8
        elif kind < 0.11:
            said[CANARY]["action"] = "buy"
        elif kind < 0.13:
            said["fallback"] = said.pop("xgb")
        found.append(decision(i, ms, said))
    return found


@pytest.mark.timeout(600)
def test_however_it_is_split_into_checks_the_state_is_the_same():
    dice = random.Random(20260110)
    for number in range(10_000 if FULL else 400):
        if number % 100 == 0:
            decisions = rough(number, 240)
            whole = folded(decisions).to_dict()
            assert whole["evidence"]["buckets"] > 3
            assert whole["evidence"]["series"]["flips"][1] > 0
        cuts = sorted(dice.sample(range(len(decisions) + 1), dice.randrange(1, 6)))
        fold = new()
        for begin, end in zip([0, *cuts], [*cuts, len(decisions)]):
            for item in decisions[begin:end]:
                fold.add(item)
            fold = again(fold)
        assert fold.to_dict() == whole, f"split {number} at {cuts}"


def test_the_state_does_not_grow_with_the_run():
    """6 hours at one decision a second, and 60."""
    votes = [decision(i, 0).votes for i in range(1000)]
    fold, sizes = new(Frame()), {}
    for i in range(216_000):
        fold.add(Decision(StreamId(SINCE.ms + 1000 * (i + 1), 0), votes[i % 1000], ()))
        if i + 1 in (21_600, 216_000):
            sizes[i + 1] = len(json.dumps(fold.to_dict()))
    assert sizes[216_000] < 1.1 * sizes[21_600]


def test_the_largest_state_that_telemetry_can_cause_can_still_be_read():
    """100 decisions a second by as many models as there may be, no confidence twice."""
    fold, count = new(Frame()), 70_000
    for i in range(count):
        said = {f"model-{k:058d}": Vote("BUY", ((i * 61 + k) % 1001) / 1000, False, "", False, False) for k in range(3)}
        said[CANARY] = Vote("BUY", (i * 7919 % 1001) / 1000, False, "", False, False)
        said.update({f"model-{i % 63:058d}": Vote("SELL", (i % 1001) / 1000, False, "", False, False)})
        fold.add(Decision(StreamId(SINCE.ms + 10 * (i + 1), 0), said, ()))
    assert len(fold.summary.models) == 64
    assert len(json.dumps(fold.to_dict())) < STATE_LIMIT


def test_the_decisions_of_the_start_without_the_canary_do_not_count():
    late = folded([decision(i, SINCE.ms + 10_000 * i, {"xgb": healthy(i)["xgb"]}) for i in range(1, 12)])
    assert late.window().decisions == 0
    assert late.silent == 0
    later = folded([decision(i, SINCE.ms + 10_000 * i, {"xgb": healthy(i)["xgb"]}) for i in range(1, 30)])
    assert later.window().decisions == 29 - 12  # from 120 s after the first one on
    assert later.silent == 29 - 12


def test_a_bucket_ends_with_its_last_minute_and_takes_more_while_it_is_small():
    fold = folded([decision(i, SINCE.ms + 1000 * i) for i in range(1, 119)])
    assert fold.evidence.buckets == 0
    fold.add(decision(0, SINCE.ms + 120_000))
    assert fold.evidence.buckets == 1
    slow = folded([decision(i, SINCE.ms + 10_000 * i) for i in range(1, 36)])  # 12 in a bucket of two minutes
    assert slow.evidence.buckets == 0
    slow.add(decision(0, SINCE.ms + 360_000))
    assert slow.evidence.buckets == 1


def test_the_window_of_the_immediate_trips_holds_enough_and_no_more_than_it_must():
    fast = folded([decision(i, SINCE.ms + 100 * i) for i in range(1, 20_000)])
    window = fast.window()
    assert 600_000 <= window.last_ms - window.first_ms < 720_000
    slow = folded([decision(i, SINCE.ms + 30_000 * i) for i in range(1, 1000)])
    assert 200 <= slow.window().decisions <= 204


def spoilt_states():
    fold = folded(rough(1, 120)).to_dict()

    def with_(path, value):
        raw = json.loads(json.dumps(fold))
        *way, last = path
        part = raw
        for step in way:
            part = part[step]
        part[last] = value
        return raw

    yield from [
        with_(["since"], "1-1"),
        with_(["model"], "xgb"),
        with_(["frame", "bucket_s"], 90.5),
        with_(["frame", "bucket_s"], 1e9),
        with_(["frame", "spreads"], {}),
        with_(["frame", "centre"], None),
        with_(["evidence", "buckets"], -1),
        with_(["evidence", "buckets"], 0),
        with_(["evidence", "series", "BUY"], [1, 2]),
        with_(["evidence", "series", "BUY", 1], float("nan")),
        with_(["evidence", "grid"], [3, [[1, 0.0]], [[1, 0.0]]]),
        with_(["evidence", "grid", 1], [[10**9, 0.0]]),
        with_(["evidence", "cusum"], {}),
        with_(["evidence", "betting"], []),
        with_(["bucket", "counts"], [1, 2]),
        with_(["bucket", "bins"], [[5000, 1]]),
        with_(["recent"], [fold["minute"]] * 500),
        with_(["minute", "d1"], "1"),
        with_(["index"], True),
        with_(["silent"], 1.5),
        with_(["summary", "events"], None),
        with_(["summary", "models", "xgb", "counts", "BUY"], 10**6),
        with_(["summary", "models", "xgb", "values"], []),
        with_(["summary", "agreement"], [[0, 0, 1]]),
        with_(["summary", "first_id"], "x"),
        {},
        {key: value for key, value in fold.items() if key != "number"},
    ]


@pytest.mark.parametrize("raw", list(spoilt_states()))
def test_a_state_that_cannot_be_right_is_refused(raw):
    with pytest.raises((ValueError, KeyError, TypeError, AttributeError)):
        Fold.from_dict(raw, model=CANARY, since=SINCE, claims=CLAIMS, alone=False, grace_s=120.0)


def test_an_observation_holds_what_the_ensemble_said():
    item = observe(decision(1, 5), CANARY)
    votes = [vote["action"] for vote in healthy(1).values()]
    assert item.agreement == max(votes.count(action) for action in votes) / 4
    assert item.hard == ("BUY" in votes and "SELL" in votes)
    alone = observe(decision(1, 5, {CANARY: healthy(1)[CANARY]}), CANARY)
    assert alone.agreement is None


def test_stretches_together_are_one_stretch():
    items = [observe(item, CANARY) for item in rough(5, 200)]
    whole, one, two = Stretch(), Stretch(), Stretch()
    for place, item in enumerate(items):
        whole.add(item, 0.5)
        (one if place < 77 else two).add(item, 0.5)
    one.take(two)
    assert one.bins == whole.bins
    assert (one.counts, one.voted, one.hard, one.decisions) == (whole.counts, whole.voted, whole.hard, whole.decisions)
    assert one.d2 == pytest.approx(whole.d2)
    assert (one.first_ms, one.last_ms) == (whole.first_ms, whole.last_ms)
