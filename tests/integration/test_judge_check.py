# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One check of a canary on telemetry in a real Redis."""

from __future__ import annotations

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import TelemetryError
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.check import Progress, check
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.connection import Connection
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.cutover import StreamId
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.loss import Seen
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.options import MonitorOptions
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.stream import StreamReader
from helpers.telemetry import STREAM, healthy, now_ms, publish, vote

CANARY = "patchtst"


class Watch:
    """A canary under watch: telemetry of the time before it, a marker, and checks."""

    def __init__(self, server, **options):
        self.server = server
        self.client = server.client()
        self.options = {"stale_after": 120, "max_wait": 3600, **options}
        self.progress = None
        self.since = None

    def mark(self):
        info = self.client.xinfo_stream(STREAM)
        self.since = {"id": info["last-generated-id"], "entries_added": info["entries-added"]}

    def before(self, count=300, step_ms=1000, **more):
        """Healthy telemetry of before, ending two hours ago; then the marker."""
        publish(self.client, count, start_ms=now_ms() - 7_200_000 - count * step_ms, step_ms=step_ms, **more)
        self.mark()

    def after(self, count, step_ms=1000, ago_ms=0, spoil=None):
        return publish(
            self.client, count, start_ms=now_ms() - ago_ms - (count - 1) * step_ms, step_ms=step_ms, spoil=spoil
        )

    def check(self, elapsed_s=None, **options):
        raw = {**self.options, "entries_added": self.since["entries_added"], **options}
        found = MonitorOptions.from_dict(raw, model=CANARY, since=StreamId.parse(self.since["id"]))
        with StreamReader(Connection.from_dict(self.server.options()), STREAM) as reader:
            result, self.progress = check(reader, found, self.progress, 1800.0 if elapsed_s is None else elapsed_s)
        self.progress = Progress.from_dict(self.progress.to_dict())  # as it survives between two processes
        return result


@pytest.fixture
def watch(redis_server):
    found = Watch(redis_server)
    found.before()
    return found


def codes(result):
    return [(item.subject, item.code) for item in result.violations]


def spoilt(**changes):
    return lambda _i, said: said[CANARY].update(**changes)


def test_a_healthy_canary_is_ok_and_go(watch):
    watch.after(250)
    result = watch.check()
    assert (result.verdict, result.status, codes(result)) == ("ok", "GO", [])
    assert result.events == 250
    assert result.judged
    assert result.complete
    assert 0 <= result.lag_s < 10


def test_before_enough_decisions_it_waits_and_says_how_long(watch):
    watch.after(57)
    result = watch.check(elapsed_s=600.0)
    assert (result.verdict, result.status) == ("waiting", "WAIT")
    assert result.message == "57 of 200 decisions, about 25 min at this rate"
    assert not result.judged


def test_telemetry_of_before_the_canary_is_not_the_canarys(redis_server):
    """The original's window mixed it in: a collapsed canary hid behind a healthy past, or the other way round."""
    watch = Watch(redis_server)
    watch.before(1500)
    watch.after(250, spoil=spoilt(action="HOLD"))
    result = watch.check()
    assert result.events == 250
    assert (CANARY, "action_collapse") in codes(result)
    fresh = Watch(redis_server)
    fresh.client.delete(STREAM)
    fresh.before(1500, spoil=spoilt(action="HOLD"))
    fresh.after(250)
    assert fresh.check().verdict == "ok"


def test_the_newest_window_is_judged(watch):
    watch.after(600, spoil=lambda i, said: said[CANARY].update(action="HOLD") if i >= 350 else None)
    assert watch.check(window_events=2000).verdict == "ok"
    watch.progress = None
    result = watch.check(window_events=250)
    assert result.events == 250
    assert (CANARY, "action_collapse") in codes(result)


def test_the_canarys_own_rules_bring_the_derived_codes(watch):
    watch.after(250, spoil=spoilt(action="HOLD"))
    result = watch.check()
    assert (result.verdict, result.status) == ("violation", "NO-GO")
    assert {code for _subject, code in codes(result)} >= {"action_collapse", "dead_zone", "gate_failed", "no_go"}


def test_the_ensemble_triggers_but_is_not_the_canarys_own_rule(watch):
    watch.after(
        250, spoil=lambda i, said: [said[name].update(action=("BUY", "SELL", "HOLD")[i % 3]) for name in said] and None
    )
    result = watch.check()
    assert (result.verdict, result.status) == ("violation", "WAIT")
    assert codes(result) == [("ensemble", "agreement_out_of_range")]


def test_other_models_are_shown_and_never_a_reason(watch):
    watch.after(250, spoil=lambda _i, said: said["nhits"].update(confidence=0.5))
    result = watch.check()
    assert (result.verdict, result.status) == ("ok", "GO")
    assert ("nhits", "constant_output") in [(item.subject, item.code) for item in result.incumbent_violations]


@pytest.mark.parametrize(
    ("spoil", "wanted"),
    [
        (spoilt(confidence=-1), [(CANARY, "invalid_confidence"), (CANARY, "gate_failed"), (CANARY, "no_go")]),
        (spoilt(action="hold"), [(CANARY, "invalid_action"), (CANARY, "gate_failed"), (CANARY, "no_go")]),
        (lambda _i, _said: {"payload": "?"}, [("stream", "invalid_payload"), (CANARY, "no_go")]),
    ],
)
def test_a_blocker_counts_from_the_first_decision(watch, spoil, wanted):
    watch.after(1, spoil=spoil)
    result = watch.check(elapsed_s=1.0)
    assert result.verdict == "violation"
    assert codes(result) == wanted


def test_a_blocker_of_another_model_is_shown_only(watch):
    watch.after(5, spoil=lambda _i, said: said["nhits"].update(action="buy"))
    result = watch.check()
    assert result.verdict == "waiting"
    assert [item.code for item in result.incumbent_violations] == ["invalid_action"]


@pytest.mark.parametrize(("count", "missing"), [(19, False), (20, True)])
def test_a_missing_canary_is_noticed_from_twenty_decisions_on(watch, count, missing):
    watch.after(count, step_ms=10_000, spoil=lambda _i, said: {"xgb": said["xgb"], "lgbm": said["lgbm"]})
    # The decisions of the first two minutes fall into the grace of the start.
    assert ((CANARY, "canary_missing") in codes(watch.check(limits={"start_grace": 0}))) is missing


def test_the_start_has_a_grace(watch):
    watch.after(100, step_ms=500, spoil=lambda _i, said: {"xgb": said["xgb"], "lgbm": said["lgbm"]})
    assert watch.check(elapsed_s=119.0).verdict == "waiting"
    assert watch.check(elapsed_s=121.0, limits={"start_grace": 30}).verdict == "violation"


def test_decisions_without_the_canary_in_its_grace_are_not_held_against_it_later(watch):
    watch.after(300, step_ms=1000, spoil=lambda i, said: said.pop(CANARY) and None if i < 100 else None)
    assert watch.check().verdict == "ok"
    assert codes(watch.check(limits={"start_grace": 0})) == [(CANARY, "canary_missing"), (CANARY, "no_go")]


@pytest.mark.parametrize(("every", "verdict"), [(5, "ok"), (4, "violation")])
def test_coverage_below_its_limit_is_missing(watch, every, verdict):
    watch.after(300, spoil=lambda i, said: said.pop(CANARY) and None if i % every == every - 1 else None)
    assert watch.check().verdict == verdict


def test_a_long_good_past_does_not_hide_that_it_fell_silent(watch):
    watch.after(500, spoil=lambda i, said: said.pop(CANARY) and None if i >= 480 else None)
    result = watch.check()
    assert codes(result) == [(CANARY, "canary_missing"), (CANARY, "no_go")]
    assert "newest 20" in result.message


def test_a_canary_still_in_shadow_is_missing(watch):
    watch.after(50, step_ms=10_000, spoil=spoilt(shadow=True))
    result = watch.check()
    assert (CANARY, "canary_missing") in codes(result)
    assert "shadow" in result.message


def test_silence_is_a_violation(watch):
    watch.after(50, ago_ms=130_000)
    result = watch.check()
    assert codes(result) == [("stream", "stale_telemetry"), (CANARY, "no_go")]
    assert result.lag_s == pytest.approx(130, abs=5)


def test_silence_from_the_start_is_a_violation_once_it_is_long(watch):
    assert watch.check(elapsed_s=119.0, stale_after=10).verdict == "waiting", "the grace of the start"
    assert watch.check(elapsed_s=121.0, stale_after=10).verdict == "violation"
    assert watch.check(elapsed_s=100.0).verdict == "waiting"
    assert codes(watch.check(elapsed_s=121.0)) == [("stream", "stale_telemetry"), (CANARY, "no_go")]
    watch.progress = None
    assert watch.check(elapsed_s=500.0, stale_after=900).verdict == "waiting"


def test_a_publisher_whose_clock_runs_ahead_cannot_hide_its_silence(watch):
    watch.after(50, ago_ms=-86_400_000)
    assert watch.check().verdict == "waiting"
    seen = watch.progress
    watch.progress = Progress(seen.seen, seen.last_id, seen.last_seen_ms - 200_000)
    assert ("stream", "stale_telemetry") in codes(watch.check())


def test_a_stream_that_vanished_is_a_violation_not_a_retry(watch):
    watch.after(50)
    watch.client.delete(STREAM)
    result = watch.check()
    assert codes(result) == [("stream", "stale_telemetry"), (CANARY, "no_go")]
    assert "does not exist" in result.message
    assert result.complete is False
    watch.client.set(STREAM, "text")
    assert "is not a stream" in watch.check().message


def test_a_server_that_does_not_answer_is_no_verdict(start_redis):
    watch = Watch(start_redis())
    watch.before()
    watch.server.stop()
    with pytest.raises(TelemetryError) as caught:
        watch.check()
    assert caught.value.transient


def test_entries_trimmed_before_they_were_read_are_a_violation(watch):
    watch.after(300, step_ms=100, ago_ms=20_000)
    assert watch.check().complete
    watch.after(150, step_ms=100)
    watch.client.xtrim(STREAM, maxlen=100, approximate=False)
    result = watch.check()
    assert codes(result) == [("stream", "truncated_telemetry"), (CANARY, "no_go")]
    assert not result.complete
    assert "150 entries were added since the last check, only 100 are left" in result.message


def test_entries_trimmed_before_the_first_check_are_noticed_by_the_marker(watch):
    watch.after(300)
    watch.client.xtrim(STREAM, maxlen=299, approximate=False)
    assert ("stream", "truncated_telemetry") in codes(watch.check())


def test_trimming_what_was_read_is_no_loss(watch):
    watch.after(300, step_ms=100, ago_ms=20_000)
    watch.check()
    watch.after(120, step_ms=100)
    watch.client.xtrim(STREAM, maxlen=250, approximate=False)
    result = watch.check()
    assert result.complete
    assert result.verdict == "ok"


def test_a_stream_made_anew_is_noticed(watch):
    watch.after(300)
    watch.check()
    watch.client.delete(STREAM)
    watch.after(250)
    assert ("stream", "truncated_telemetry") in codes(watch.check())


def test_the_early_trip_needs_neither_many_decisions_nor_less_than_ten_minutes(watch):
    watch.after(40, step_ms=20_000, spoil=spoilt(action="SELL"))
    result = watch.check()
    assert (CANARY, "action_collapse") in codes(result)
    assert "SELL=100.0%" in result.message
    quick = Watch(watch.server)
    quick.client.delete(STREAM)
    quick.before()
    quick.after(40, step_ms=1000, spoil=spoilt(action="SELL"))
    assert quick.check().verdict == "waiting"


def test_waiting_too_long_is_inconclusive(watch):
    watch.after(57, step_ms=10_000)
    assert watch.check(elapsed_s=3599.0).verdict == "waiting"
    result = watch.check(elapsed_s=3601.0)
    assert result.verdict == "inconclusive"
    assert "57 of 200 decisions after 60 min" in result.message


def test_auto_limits_come_from_the_time_before_the_marker(redis_server):
    """Decisions in bursts five minutes apart: a fixed limit of two minutes would call most checks stale."""
    watch = Watch(redis_server, stale_after=None, max_wait=None)
    now = now_ms()
    for burst in range(40):
        publish(watch.client, 5, start_ms=now - 20_000_000 + burst * 302_000, step_ms=10)
    watch.mark()
    watch.after(5, step_ms=10, ago_ms=250_000)
    result = watch.check()
    assert result.stale_after_s == pytest.approx(3 * 301.96, abs=0.1)
    assert result.max_wait_s > 3600
    assert result.verdict == "waiting"


def test_a_canary_with_all_the_weight_may_be_alone(watch):
    watch.after(250, spoil=lambda _i, said: {CANARY: said[CANARY]})
    assert codes(watch.check(weight=0.1)) == [("ensemble", "agreement_out_of_range")]
    result = watch.check(weight=1.0)
    assert (result.verdict, result.status) == ("ok", "GO")


def test_hard_disagreement_at_its_limit_is_neither_go_nor_a_violation(watch):
    def at_the_limit(i, said):
        if i % 5 == 0:
            said["xgb"]["action"], said["nhits"]["action"] = "BUY", "SELL"

    watch.after(250, spoil=at_the_limit)
    result = watch.check()
    assert result.ensemble.hard_disagree == 20.0
    assert (result.verdict, result.status) == ("ok", "WAIT")


def test_progress_is_what_to_dict_gave():
    one = Progress(Seen(StreamId(5, 1), 7, StreamId(1, 0)), StreamId(4, 0), 99)
    assert Progress.from_dict(one.to_dict()) == one
    two = Progress(Seen(StreamId(5, 1), None))
    assert Progress.from_dict(two.to_dict()) == two


def test_a_check_costs_the_same_however_long_the_canary_runs(watch):
    """The window bounds what is read."""
    watch.after(5000, step_ms=100)
    watch.client.config_resetstat()
    result = watch.check(window_events=500)
    assert result.events == 500
    found = watch.client.info("commandstats")
    assert found["cmdstat_xrevrange"]["calls"] == 1


def test_names_the_engine_uses_are_mapped(watch):
    def rename(_i, said):
        said["patchtst_v3"] = said.pop(CANARY)
        said["fallback"] = vote("SELL", 0.9)

    watch.after(250, spoil=rename)
    assert (CANARY, "canary_missing") in codes(watch.check())
    result = watch.check(aliases={"patchtst_v3": CANARY})
    assert result.verdict == "ok"
    assert result.ignored == {"fallback": 250}
    assert healthy(0).keys() == {"xgb", "lgbm", "nhits", "patchtst"}
