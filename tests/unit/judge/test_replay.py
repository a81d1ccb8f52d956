# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run over recorded decisions: the monitor's own judges, no look into the future, every way to end."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge import check, replay, sequential
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.check import CheckResult, Window
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.decisions import Decision
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.options import POLICIES, SEQUENTIAL, STRICT
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.planted import STANDARD, Degradation
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.recording import Recording
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.replay import (
    CUT_OFF,
    HARDLY_JUDGED,
    INCONCLUSIVE,
    ROLLED_BACK,
    SAFE,
    UNCERTAIN,
    WAITED,
)
from helpers import recorded

HEALTHY = {"min_events": 100, "window_events": 600}


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Four hours at ten decisions a minute."""
    return recorded.recording(tmp_path_factory.mktemp("recording"), 2400)


def start_of(recording: Recording, place: int) -> int:
    return recording.decisions[place].id.ms


def results(
    decisions: t.Sequence[Decision], start: int, policy: str, change: Degradation | None = None, **options: t.Any
) -> list[CheckResult]:
    found: list[CheckResult] = []
    recorded.replay(decisions, **{**HEALTHY, **options}).follow(start, policy, change, 0, found.append)
    return found


@pytest.mark.parametrize("policy", POLICIES)
def test_a_healthy_canary_is_safe_at_its_deadline(healthy: Recording, policy: str) -> None:
    outcome = recorded.replay(healthy.decisions, **HEALTHY).run(start_of(healthy, 600), policy)
    assert (outcome.result, outcome.at_s, outcome.rules) == (SAFE, 7200.0, ()), outcome.message
    assert 1000 < outcome.decisions < 1400


def spoil_everything(decision: Decision) -> Decision:
    """Every model of it buys with the same confidence."""
    votes = {name: vote._replace(action="BUY", confidence=0.5) for name, vote in decision.votes.items()}
    return decision._replace(votes=votes)


@pytest.mark.parametrize("policy", POLICIES)
def test_what_comes_after_a_check_never_changes_it(healthy: Recording, policy: str) -> None:
    start = start_of(healthy, 600)
    for cut in (650, 1000, 1500):
        cut_ms = healthy.decisions[cut].id.ms
        changed = [item if item.id.ms <= cut_ms else spoil_everything(item) for item in healthy.decisions]
        before = results(healthy.decisions, start, policy)
        after = results(changed, start, policy)
        same = int((cut_ms - start) / 30_000) + 1  # checks up to that moment
        assert [item.to_dict() for item in before[:same]] == [item.to_dict() for item in after[:same]]
        assert after[-1].verdict == check.VIOLATION  # and yet the change was a change


@pytest.mark.parametrize("policy", POLICIES)
def test_what_comes_after_the_start_teaches_the_run_nothing(healthy: Recording, policy: str) -> None:
    start = start_of(healthy, 600)
    changed = [item if item.id.ms <= start else spoil_everything(item) for item in healthy.decisions]
    one = recorded.replay(healthy.decisions, **HEALTHY).start(start)
    two = recorded.replay(changed, **HEALTHY).start(start)
    assert one == two
    assert one.place == 601
    assert one.frame.means


def test_strict_judges_the_window_the_monitor_would_read(healthy: Recording) -> None:
    start = start_of(healthy, 600)
    replayed = recorded.replay(healthy.decisions, **HEALTHY)
    options = replayed.options
    for number, result in enumerate(results(healthy.decisions, start, STRICT)):
        if number % 12:
            continue
        now_ms = start + 30_000 * number
        mine = [item for item in healthy.decisions if start < item.id.ms <= now_ms][-600:]
        window = Window()
        for decision in mine[::-1]:
            window.add(decision, options.model)
        lag_s = (now_ms - mine[-1].id.ms) / 1000 if mine else 0.0
        known = replayed.start(start)
        moment = check.Moment(lag_s, 30.0 * number, 30.0 * number, known.stale_after_s, known.max_wait_s)
        wanted = check.judge("", result.options, window, "", moment).to_dict()
        got = result.to_dict()
        if not mine:
            wanted["models"], got["models"] = {}, {}
        assert got == wanted


def test_sequential_does_not_depend_on_when_it_is_looked_at(healthy: Recording) -> None:
    start = start_of(healthy, 600)
    last = results(healthy.decisions, start, SEQUENTIAL)[-1]
    replayed = recorded.replay(healthy.decisions, **HEALTHY)
    fold = sequential.new_fold(last.options, replayed.start(start).frame)
    for decision in healthy.decisions:
        if start < decision.id.ms <= start + 7_200_000:
            fold.add(decision)
    moment = check.Moment(last.lag_s or 0.0, 7200.0, 7200.0, last.stale_after_s, last.max_wait_s)
    assert last.to_dict() == sequential.result_of("", last.options, fold, "", moment).to_dict()


@pytest.mark.parametrize("policy", POLICIES)
def test_silence_rolls_back_after_the_limit_of_the_time_before(healthy: Recording, policy: str) -> None:
    start = start_of(healthy, 600)
    silent_from = start + 1_200_000
    kept = [item for item in healthy.decisions if item.id.ms <= silent_from] + [healthy.decisions[-1]]
    outcome = recorded.replay(kept, **HEALTHY).run(start, policy)
    assert (outcome.result, outcome.rules) == (ROLLED_BACK, ("stale_telemetry (stream)",))
    assert 1200 + 120 - 30 <= outcome.at_s <= 1200 + 120 + 60


@pytest.mark.parametrize("policy", POLICIES)
def test_a_run_the_recording_does_not_cover_is_cut_off(healthy: Recording, policy: str) -> None:
    start = start_of(healthy, 2000)
    outcome = recorded.replay(healthy.decisions, **HEALTHY).run(start, policy)
    assert outcome.result == CUT_OFF
    assert outcome.at_s == (healthy.last_ms - start) / 1000
    assert 380 < outcome.decisions <= 399  # those after the last check were never seen


@pytest.mark.parametrize("policy", POLICIES)
def test_too_few_decisions_are_inconclusive_by_reason(healthy: Recording, policy: str) -> None:
    start = start_of(healthy, 600)
    replayed = recorded.replay(healthy.decisions, min_events=1400, window_events=2000, max_wait=3600)
    outcome = replayed.run(start, policy)
    assert (outcome.result, outcome.rules, outcome.at_s) == (INCONCLUSIVE, (WAITED,), 3630.0)
    late = recorded.replay(healthy.decisions, min_events=800, window_events=2000, max_wait=9000).run(start, policy)
    assert (late.result, late.rules[0]) == (INCONCLUSIVE, HARDLY_JUDGED)


def test_what_is_not_certain_is_inconclusive(healthy: Recording) -> None:
    outcome = recorded.replay(healthy.decisions, **{**HEALTHY, "duration_s": 1800}).run(
        start_of(healthy, 600), SEQUENTIAL
    )
    assert (outcome.result, outcome.rules) == (INCONCLUSIVE, (UNCERTAIN,))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("text", [f"{item}@1800" for item in STANDARD])
def test_what_is_planted_is_found_and_only_then(healthy: Recording, policy: str, text: str) -> None:
    start = start_of(healthy, 600)
    what = Degradation.parse(text)
    outcome = recorded.replay(healthy.decisions, **HEALTHY).run(start, policy, what)
    assert outcome.result == ROLLED_BACK, outcome.message
    assert outcome.at_s > 1800
    own = {"collapse": "action_collapse", "dropout": "canary_missing"}.get(what.kind)
    if own is not None:
        assert f"{own} ({recorded.CANARY})" in outcome.rules
    ill = [item.to_dict() for item in results(healthy.decisions, start, policy, what)]
    assert ill[:61] == [item.to_dict() for item in results(healthy.decisions, start, policy)[:61]]


def test_the_seed_decides_what_is_planted(healthy: Recording) -> None:
    what = Degradation.parse("dropout:0.25@0")
    one, again, other = (
        [
            recorded.replay(healthy.decisions, **HEALTHY).run(start_of(healthy, place), SEQUENTIAL, what, seed)
            for place in (400, 600, 800)
        ]
        for seed in (1, 1, 2)
    )
    assert one == again
    assert one != other


def test_outcomes_of_a_replay_do_not_depend_on_what_was_replayed_before(healthy: Recording) -> None:
    shared = recorded.replay(healthy.decisions, **HEALTHY)
    starts = [start_of(healthy, place) for place in (300, 600, 900)]
    together = [shared.run(start, STRICT) for start in starts]
    alone = [recorded.replay(healthy.decisions, **HEALTHY).run(start, STRICT) for start in starts]
    assert together == alone
    assert replay.ROLLED_BACK not in {item.result for item in together}


def test_patience_follows_from_the_newest_decisions_before_the_start_alone(healthy: Recording) -> None:
    hour_ms = 3_600_000
    early = [item._replace(id=item.id._replace(ms=item.id.ms - hour_ms)) for item in healthy.decisions[:300]]
    replayed = recorded.replay([*early, *healthy.decisions[300:]], **HEALTHY)
    # a gap of an hour at the 300th decision: 150 decisions later it is among the newest 200, 300 later it is not
    assert replayed.start(start_of(healthy, 450)).stale_after_s == 1800.0
    assert replayed.start(start_of(healthy, 600)).stale_after_s == 120.0
    assert replayed.start(start_of(healthy, 450)).max_wait_s > replayed.start(start_of(healthy, 600)).max_wait_s - 1
