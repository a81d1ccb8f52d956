# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The budget of a canary: every flipped position of the run counts once, to the cent, however checks split it."""

from __future__ import annotations

import json
import math
import random
import typing as t
from dataclasses import replace

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import BadInput, TelemetryError
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge import check as checks
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.answers import Answer
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.check import Progress, check, with_own
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.cutover import ZERO, StreamId
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.decisions import Decision, Dialect, parse
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.exposure import Exposure, Spending
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.frame import Frame
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.impact import Change, Impact, Tally, weights_at
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.loss import StreamInfo
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.options import MonitorOptions
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.stream import Entry, StreamTooLarge
from ansible_collections.qsc.canary.plugins.module_utils.qsc.tell.figures import figures_of
from ansible_collections.qsc.canary.plugins.module_utils.qsc.tell.impact import flips, impact_lines
from ansible_collections.qsc.canary.plugins.module_utils.qsc.tell.report import check_lines, scoreboard
from ansible_collections.qsc.canary.plugins.module_utils.qsc.verdict import VERDICTS
from helpers.samples import BASELINE
from helpers.telemetry import entry, vote

CANARY = "patchtst"
HEAVY = weights_at(BASELINE, CANARY, 0.6)
CHANGE = Change(CANARY, BASELINE, HEAVY)
DIALECT = Dialect()
POLICIES = ("strict", "sequential")


def entries(sizes: t.Sequence[t.Any], *, first_ms: int = 1000, flip: t.Callable[[int], bool] = lambda _i: True):
    """Decisions a second apart, with positions of ``sizes`` (... is none); the canary alone decides where ``flip``."""
    found = []
    for i, size in enumerate(sizes):
        # spread over the three actions, so that no other rule has anything against it
        others = ("BUY", "SELL", "HOLD")[i % 3]
        own = ("SELL", "HOLD", "BUY")[i % 3] if flip(i) else others
        said = {
            name: vote(own if name == CANARY else others, round(0.55 + 0.4 * ((i * 0.618 + 0.31 * place) % 1), 4))
            for place, name in enumerate(BASELINE)
        }
        said[CANARY]["confidence"] = round(0.8 + 0.2 * (i * 0.618 % 1), 4) if flip(i) else said[CANARY]["confidence"]
        fields = entry(said, **({} if size is ... else {"position_size_usd": size}))
        pairs = [(name.encode(), value.encode()) for name, value in fields.items()]
        found.append(Entry(StreamId(first_ms + 1000 * i, 0), pairs))
    return found


class Stream:
    """A stream in memory, whose clock stands at its newest entry."""

    stream = "memory"

    def __init__(self, found):
        self.found = list(found)
        self.scanned, self.reached = 0, ZERO
        self.fails = False

    def info(self):
        first, last = (self.found[0].id, self.found[-1].id) if self.found else (None, None)
        return StreamInfo(len(self.found), first, last, last or ZERO, len(self.found), None)

    def server_ms(self):
        return self.found[-1].id.ms

    def newest(self, limit, after=ZERO, until=None):
        inside = [item for item in self.found if item.id > after and (until is None or item.id <= until)]
        yield from (inside[-limit:] if limit else inside)[::-1]

    def oldest(self, after, until, most):
        if self.fails:
            raise TelemetryError("the connection broke")
        inside = [item for item in self.found if after < item.id <= until][:most]
        self.scanned, self.reached = len(inside), inside[-1].id if inside else after
        yield from inside


def options(policy: str = "strict", **more: t.Any) -> MonitorOptions:
    raw = {
        "policy": policy, "baseline": BASELINE, "weight": 0.6, "stale_after": 86_400, "max_wait": 86_400,
        "min_events": 50, "limits": {"max_agreement": 100, "min_agreement": 0, "max_hard_disagree": 100},
        "frame": Frame(bucket_s=60.0, buckets=360, rate_per_s=1.0).to_dict(), **more,
    }  # fmt: skip
    return MonitorOptions.from_dict(raw, model=CANARY, since=ZERO)


def told(size: t.Any) -> Decision:
    (found,) = entries([size])
    return parse(found.id, found.fields, DIALECT)


@pytest.mark.parametrize(
    ("size", "cents"),
    [
        (1000, 100_000), (1000.005, 100_000), (0.014, 1), (-250.5, 25_050), (0, 0), (1e300, 10**14), (10**300, 10**14),
        (math.inf, 10**14), (-math.inf, 10**14), (math.nan, None), ("1000", None), (True, None), (None, None),
        ([1000], None), (..., None),
    ],
)  # fmt: skip
def test_a_position_is_whole_cents_or_unknown(size, cents):
    found = told(size)
    assert (found.cents, found.blockers) == (cents, ())


def test_an_entry_that_cannot_be_read_has_no_position():
    assert parse(StreamId(1, 0), [(b"payload", b"{")], DIALECT).cents is None


def brute_force(found: t.Sequence[Entry]) -> tuple[int, int, int]:
    """(flips, flips without a size, cents), each decision by itself and with nothing of the collection's."""
    flipped = unsized = cents = 0
    for item in found:
        event = json.loads(dict(item.fields)[b"payload"])
        actions = []
        for weights in (BASELINE, HEAVY):
            scores = dict.fromkeys(("BUY", "SELL", "HOLD"), 0.0)
            for name, said in event["model_breakdown"].items():
                scores[said["action"]] += weights[name] * said["confidence"]
            actions.append(max(scores, key=lambda action: scores[action]))
        if actions[0] != actions[1]:
            flipped += 1
            unsized += "position_size_usd" not in event
            cents += round(100 * event.get("position_size_usd", 0))
    return flipped, unsized, cents


@pytest.mark.parametrize("policy", POLICIES)
def test_however_checks_split_the_run_every_position_counts_once(policy):
    dice = random.Random(5)
    sizes = [... if dice.random() < 0.1 else round(dice.uniform(1, 5000), 3) for _i in range(3000)]
    found = entries(sizes, flip=lambda i: i % 7 < 3)
    flipped, unsized, cents = brute_force(found)
    assert flipped > 1000 and unsized > 50
    asked = options(policy, exposure_budget=1e9, window_events=100)
    for seed in range(3):
        dice, stream, progress = random.Random(seed), Stream([]), None
        place = 0
        while place < len(found):
            place = min(len(found), place + dice.choice((1, 5, 90, 700)))
            stream.found = found[:place]
            result, progress = check(stream, asked, progress, float(place))
            progress = Progress.from_dict(json.loads(json.dumps(progress.to_dict())))
        counts = result.exposure
        assert (counts["flipped"], counts["unsized"], counts["usd"]) == (flipped, unsized, cents / 100)
        assert (counts["decisions"], counts["until"]) == (3000, str(found[-1].id))


@pytest.mark.parametrize("policy", POLICIES)
def test_the_run_ends_when_the_budget_is_spent_and_not_before(policy):
    found = entries([100.0] * 120)
    assert brute_force(found) == (120, 0, 120 * 10_000)
    asked = options(policy, exposure_budget=7000)
    before, progress = check(Stream(found[:69]), asked, None, 69.0)
    assert before.verdict == "ok" and before.exposure["usd"] == 6900.0
    after, progress = check(Stream(found[:70]), asked, progress, 70.0)
    assert (after.verdict, after.judged) == ("terminated", True)
    (found_there,) = after.violations
    assert (found_there.code, found_there.measured, found_there.limit) == ("exposure_budget", 7000.0, 7000.0)
    assert after.message == (
        "Exposure budget spent: the canary flipped 70 of 70 decisions, with positions of 7,000.00 USD "
        "(budget 7,000.00 USD)"
    )
    assert check(Stream(found[:70]), options(policy, exposure_budget=7000.01), None, 70.0)[0].verdict == "ok"
    assert check(Stream(found), options(policy), None, 120.0)[0].exposure is None


@pytest.mark.parametrize("policy", POLICIES)
def test_it_needs_no_minimum_of_decisions(policy):
    result, _progress = check(Stream(entries([5000.0] * 3)), options(policy, exposure_budget=10_000), None, 3.0)
    assert (result.verdict, result.status, result.judged) == ("terminated", "WAIT", False)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_violation_is_told_before_a_spent_budget(policy):
    found = entries([100.0] * 100)
    spoilt = Entry(StreamId(200_000, 0), [(b"payload", b"{")])
    result, progress = check(Stream([*found, spoilt]), options(policy, exposure_budget=5000), None, 100.0)
    assert (result.verdict, result.exposure["usd"]) == ("violation", 10_000.0)
    assert "Invalid payload" in result.message
    assert [item.code for item in result.violations][:2] == ["exposure_budget", "invalid_payload"]
    assert progress.exposure is not None and progress.exposure.spent(5000)


def test_a_run_that_cannot_be_judged_ends_for_that():
    asked = options(exposure_budget=1, max_wait=60)
    assert check(Stream(entries([100.0] * 3)), asked, None, 61.0)[0].verdict == "inconclusive"


@pytest.mark.parametrize("most", [1, 7, 100])
def test_strict_catches_up_with_a_long_past_in_parts(monkeypatch, most):
    """A monitor that lost its memory must not fail on all that came since the marker, and counts nothing twice."""
    monkeypatch.setattr(checks, "MOST_COUNTED", most)
    found = entries([100.0] * 250)
    asked = options(exposure_budget=1e6, window_events=50)
    progress, seen = None, []
    for _number in range(260):
        result, progress = check(Stream(found), asked, progress, 250.0)
        seen.append(result.exposure["usd"])
        if progress.exposure.cursor == found[-1].id:
            break
    assert seen[-1] == 25_000.0
    assert seen[:-1] == [100.0 * most * number for number in range(1, len(seen))]
    assert len(seen) == 200 // most + 1


def test_a_check_whose_counting_fails_is_missed_and_counts_nothing():
    """More is new than the window of strict holds: what is older is read for the budget alone."""
    found = entries([100.0] * 150)
    asked = options(exposure_budget=1e6, window_events=50)
    _result, progress = check(Stream(found[:30]), asked, None, 30.0)
    broken = Stream(found)
    broken.fails = True
    with pytest.raises(TelemetryError):
        check(broken, asked, progress, 150.0)
    result, _progress = check(Stream(found), asked, progress, 150.0)
    assert (result.events, result.exposure["usd"]) == (50, 15_000.0)


def test_what_is_only_shown_and_cannot_be_read_costs_no_count():
    """The budget is counted where sequential reads what is new; what it shows is read last."""
    found = entries([100.0] * 60)
    stream = Stream(found)

    def too_much(*_arguments: t.Any) -> t.Any:
        raise StreamTooLarge("more than 67108864 bytes would have to be read")

    stream.newest = too_much
    result, progress = check(stream, options("sequential", exposure_budget=1e6), None, 60.0)
    assert (result.verdict, result.impact, result.exposure["usd"]) == ("ok", None, 6000.0)
    assert progress.exposure is not None and progress.exposure.cents == 600_000


def test_what_sequential_forgot_is_not_counted_again():
    """Its memory is of no use, the stream is folded anew from the marker; what was spent stays as it was counted."""
    found = entries([100.0] * 200)
    asked = options("sequential", exposure_budget=1e6)
    _result, progress = check(Stream(found[:100]), asked, None, 100.0)
    result, after = check(Stream(found), asked, replace(progress, fold={"of": "no use"}), 200.0)
    assert (result.events, result.exposure["usd"]) == (200, 20_000.0)
    assert after.exposure == Exposure(found[-1].id, 200, 200, 0, 2_000_000)


def test_nothing_new_is_nothing_counted():
    (item,) = entries([100.0], first_ms=5)
    before = Exposure(StreamId(5, 0), 3, 2, 1, 70)
    spending = Spending(CHANGE, before)
    spending.add(parse(item.id, item.fields, DIALECT))
    assert spending.until(StreamId(5, 0)) == spending.until(StreamId(4, 9)) == before


@pytest.mark.parametrize("policy", POLICIES)
def test_without_a_count_everything_since_the_marker_is_counted_or_missed(policy):
    """The checks before knew of no budget: what they saw counts as well, and where it is gone that is said."""
    found = entries([100.0] * 300)
    _result, progress = check(Stream(found[:200]), options(policy), None, 200.0)
    asked = options(policy, exposure_budget=50_000, entries_added=0)
    assert check(Stream(found), asked, progress, 300.0)[0].exposure["usd"] == 30_000.0
    trimmed = Stream(found[200:])
    trimmed.info = lambda: replace(Stream(found).info(), first_id=found[200].id, length=100)
    result, _progress = check(trimmed, asked, progress, 300.0)
    assert result.verdict == "violation" and "Truncated telemetry" in result.message


def test_sums_stay_what_a_state_file_holds():
    spending = Spending(CHANGE, Exposure(ZERO))
    for item in entries([math.inf] * 200):
        spending.add(parse(item.id, item.fields, DIALECT))
    found = spending.until(StreamId(200_000, 0))
    assert Exposure.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    assert found.spent(1e12)


@pytest.mark.parametrize("budget", [1e-9, 0.004, 0.01])
def test_no_budget_is_spent_before_anything_is(budget):
    assert not Exposure(ZERO).spent(budget)
    assert Exposure(ZERO, cents=1).spent(budget)


def test_an_own_check_that_is_violated_is_told_before_a_spent_budget():
    result, _progress = check(Stream(entries([100.0] * 60)), options(exposure_budget=1), None, 60.0)
    assert result.verdict == "terminated"
    answer = Answer("pnl", True, "violation", "drawdown 3 %")
    both = with_own(result, [answer])
    assert (both.verdict, both.status) == ("violation", "NO-GO")
    assert {"own_check:pnl", "exposure_budget"} < {item.code for item in both.violations}
    assert both.message.startswith("Exposure budget spent: ")


@pytest.mark.parametrize(
    "change",
    [
        {"cents": -1}, {"cents": 1.5}, {"cents": True}, {"flipped": "1"}, {"cursor": "x"}, {"cursor": None},
        {"unsized": None}, {"decisions": 1 << 60},
    ],
)  # fmt: skip
def test_a_state_that_is_none_is_refused(change):
    _result, progress = check(Stream(entries([1.0] * 3)), options(exposure_budget=10), None, 3.0)
    raw = progress.to_dict()
    assert Progress.from_dict(raw) == progress
    raw["exposure"] = {**raw["exposure"], **change}
    with pytest.raises((ValueError, KeyError, TypeError)):
        Progress.from_dict(raw)


def test_the_state_of_a_run_without_a_budget_is_as_ever():
    _result, progress = check(Stream(entries([1.0] * 3)), options(), None, 3.0)
    assert "exposure" not in progress.to_dict()
    assert Progress.from_dict(progress.to_dict()) == progress


@pytest.mark.parametrize("value", [-1, math.nan, math.inf, 2e12, "5000", True, [5000]])
def test_a_budget_that_is_none_is_refused(value):
    with pytest.raises(BadInput, match="exposure_budget=") as caught:
        options(exposure_budget=value)
    assert "0 to 1e+12" in caught.value.remedy


def test_a_budget_needs_the_weights_of_before():
    with pytest.raises(BadInput, match="exposure_budget=5000 cannot be counted") as caught:
        MonitorOptions.from_dict({"exposure_budget": 5000, "weight": 0.1}, model=CANARY, since=ZERO)
    assert "baseline and weight" in caught.value.remedy
    assert options(exposure_budget=0).exposure_budget is None


def test_every_verdict_that_ends_a_run_is_known():
    assert set(checks.ENDING) < set(VERDICTS)


def test_people_see_what_is_spent():
    found = entries([100.0] * 59 + [...])
    result, _progress = check(Stream(found), options(exposure_budget=8000), None, 60.0)
    data = result.to_dict()
    said = "5,900.00 of 8,000.00 USD, 60 flips in the whole run, 1 of them without a position size"
    assert f"exposure  {said}" in check_lines(data)
    assert f"- Exposure: {said}" in scoreboard(data).splitlines()
    assert "; positions of 5,900 USD (known of 59)" in flips(data["impact"])
    (row,) = [rule for rule in figures_of(data, canary_id="c", checked_at=1.0).rules if rule.name == "exposure USD"]
    assert (row.unit, row.side, row.value, row.limit) == ("USD", "most", 5900.0, 8000.0)
    without = check(Stream(found), options(), None, 60.0)[0].to_dict()
    assert without["exposure"] is None and not any("exposure" in line for line in check_lines(without))


def test_a_gate_tells_what_the_positions_of_the_flips_were():
    impact = Impact(CANARY, BASELINE, "confidence_weighted", 0.6)
    for item in entries([250.0] * 10 + [...] * 2):
        impact.add(parse(item.id, item.fields, DIALECT))
    data = impact.to_dict()
    assert data["sized"] == 10
    (row,) = [row for row in data["shares"] if row["share"] == 0.6]
    assert (row["exposure_usd"], row["unsized"], row["flipped"]) == (2500.0, 2, 12)
    assert impact_lines(data)[0].endswith("; positions of 2,500 USD (known of 10)")


def test_positions_that_leave_a_window_are_taken_out_to_the_cent():
    tally = Tally(CHANGE)
    outcomes = [tally.add(told(size)) for size in (0.1, 0.2, 0.3, ..., 1e12)]
    for outcome in outcomes:
        tally.drop(outcome)
    assert (tally.cents, tally.unsized, tally.flipped) == (0, 0, 0)
