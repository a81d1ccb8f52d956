# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The policy sequential on telemetry in a real Redis: what is new is folded, what is certain is said."""

from __future__ import annotations

import math
import re

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import BadInput
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge import sequential
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.check import Progress, check
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.connection import Connection
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.cutover import StreamId
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.options import MonitorOptions
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.stream import StreamReader
from helpers.telemetry import STREAM, healthy, now_ms, publish, vote

CANARY = "patchtst"
HOURS = 3_600_000


class Watch:
    """A canary under watch since eight hours ago: telemetry of the time before it, a marker, and checks."""

    def __init__(self, server, **options):
        self.server = server
        self.client = server.client()
        self.options = {"stale_after": 86_400, "max_wait": 86_400, "policy": "sequential", **options}
        self.progress = None
        self.begin_ms = now_ms() - 8 * HOURS
        publish(self.client, 1500, start_ms=self.begin_ms - 3_000_000, step_ms=2000)
        self.mark()
        self.at_ms = self.begin_ms

    def mark(self):
        info = self.client.xinfo_stream(STREAM)
        self.since = {"id": info["last-generated-id"], "entries_added": info["entries-added"]}

    def after(self, count, step_ms=1000, spoil=None, **more):
        ids = publish(self.client, count, start_ms=self.at_ms + step_ms, step_ms=step_ms, spoil=spoil, **more)
        self.at_ms += count * step_ms
        return ids

    def check(self, **options):
        raw = {**self.options, "entries_added": self.since["entries_added"], **options}
        found = MonitorOptions.from_dict(raw, model=CANARY, since=StreamId.parse(self.since["id"]))
        elapsed_s = max(0.0, (self.at_ms - self.begin_ms) / 1000)
        with StreamReader(Connection.from_dict(self.server.options()), STREAM, raw.get("match")) as reader:
            result, self.progress = check(reader, found, self.progress, elapsed_s)
            self.scanned = reader.scanned
        self.progress = Progress.from_dict(self.progress.to_dict())  # as it survives between two processes
        return result


@pytest.fixture
def watch(redis_server):
    return Watch(redis_server)


def codes(result):
    return [(item.subject, item.code) for item in result.violations]


def states(result):
    return {item["rule"]: item["state"] for item in result.claims}


def spoilt(**changes):
    return lambda _i, said: said[CANARY].update(**changes)


def test_a_healthy_run_waits_is_judged_and_ends_certain(watch):
    watch.after(150)
    result = watch.check()
    assert (result.verdict, result.status) == ("waiting", "WAIT")
    assert result.message.startswith("150 of 200 decisions")
    watch.after(150)
    result = watch.check()
    assert (result.verdict, result.status, result.judged) == ("ok", "WAIT", True)
    assert "0 of 8 rules are kept for certain" in result.message
    watch.after(4000, step_ms=2000)
    result = watch.check()
    assert (result.verdict, result.status, codes(result)) == ("ok", "GO", [])
    assert set(states(result).values()) == {"kept"}
    assert result.complete


def test_a_check_reads_only_what_is_new(watch):
    watch.after(5000)
    watch.check()
    assert watch.scanned == 5000
    watch.after(30)
    result = watch.check()
    assert watch.scanned == 30
    assert result.events == 5030
    watch.check()
    assert watch.scanned == 0


def test_a_share_beyond_its_limit_is_a_violation_when_that_is_certain(watch):
    def eighty(i, said):
        said[CANARY].update(action="BUY" if i % 5 else "SELL")

    first = None
    for number in range(60):
        watch.after(60, spoil=eighty)
        result = watch.check()
        if result.verdict == "violation":
            first = number + 1
            break
    assert first is not None
    assert first > 4  # 80 % of the first 200 decisions are beyond the limit, but not certain to be
    assert codes(result)[0] == (CANARY, "action_collapse")
    assert {code for _subject, code in codes(result)} >= {"gate_failed", "no_go"}
    found = result.violations[0]
    assert found.measured == pytest.approx(80.0, abs=1)
    assert found.limit == 70.0
    assert re.match(r"Action collapse: BUY=(79.9|80.0)% \(>70%\), certain ", found.message)
    assert "of canaries that keep the rule 1 in 160 would look so" in found.message


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"action": "HOLD"}, "action_collapse"),
        ({"confidence": 0.61}, "constant_output"),
        ({"model": "patchtst_fallback_rules"}, "not_really_running"),
    ],
)
def test_what_is_gross_ends_the_run_at_once(watch, changes, code):
    watch.after(2000)
    assert watch.check().verdict == "ok"
    minutes = 0
    while minutes < 30:
        minutes += 1
        watch.after(60, spoil=spoilt(**changes))
        result = watch.check()
        if result.verdict == "violation":
            break
    assert (CANARY, code) in codes(result)
    assert minutes <= 12  # within two checks of ten minutes in which it was so


def test_before_enough_decisions_the_early_trip_works(watch):
    watch.after(29, step_ms=30_000, spoil=spoilt(action="HOLD"))
    assert watch.check().verdict == "waiting"
    watch.after(1, step_ms=30_000, spoil=spoilt(action="HOLD"))
    result = watch.check()
    assert (result.verdict, codes(result)[0]) == ("violation", (CANARY, "action_collapse"))


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (spoilt(confidence=math.nan), (CANARY, "invalid_confidence")),
        (spoilt(action="hold"), (CANARY, "invalid_action")),
        (lambda _i, _said: {"payload": "{"}, ("stream", "invalid_payload")),
    ],
)
def test_a_blocker_ends_the_run_at_once_and_for_good(watch, spoil, expected):
    watch.after(500)
    watch.check()
    watch.after(1, spoil=spoil)
    watch.after(10)
    assert expected in codes(watch.check())
    watch.after(500)
    assert expected in codes(watch.check())


def test_a_canary_that_falls_silent_is_missing_however_good_its_past(watch):
    watch.after(5000)
    watch.check()
    watch.after(20, spoil=lambda _i, said: said.pop(CANARY) and None)
    assert (CANARY, "canary_missing") in codes(watch.check())


def test_a_canary_in_shadow_is_missing(watch):
    watch.after(300, spoil=spoilt(shadow=True))
    result = watch.check()
    assert (CANARY, "canary_missing") in codes(result)
    assert "shadow" in result.message


def test_half_of_the_decisions_without_it_is_missing(watch):
    watch.after(2000)
    watch.check()
    watch.after(700, spoil=lambda i, said: said.pop(CANARY) and None if i % 2 else None)
    assert (CANARY, "canary_missing") in codes(watch.check())


def test_too_few_voters_are_a_violation_unless_it_stands_alone(redis_server):
    def only(_i, said):
        return {CANARY: said[CANARY]}

    watch = Watch(redis_server)
    watch.after(1000, spoil=only)
    assert ("ensemble", "agreement_out_of_range") in codes(watch.check(weight=0.1))
    watch.progress = None
    result = watch.check(weight=1.0)
    assert result.verdict == "ok"
    assert not any("agreement" in rule for rule in states(result))


def test_stale_telemetry_is_a_violation(watch):
    watch.after(500)
    assert ("stream", "stale_telemetry") in codes(watch.check(stale_after=600))


def test_an_entry_that_was_trimmed_unread_is_noticed_and_one_that_was_read_is_not(watch):
    watch.after(1000)
    watch.check()
    watch.client.xtrim(STREAM, maxlen=10, approximate=False)
    watch.after(100)
    assert watch.check().verdict == "ok"
    watch.after(100)
    watch.client.xtrim(STREAM, maxlen=99, approximate=False)
    result = watch.check()
    assert codes(result)[0] == ("stream", "truncated_telemetry")
    assert not result.complete


def test_an_entry_that_was_deleted_unread_is_noticed(watch):
    watch.after(300)
    watch.check()
    ids = watch.after(100)
    watch.client.xdel(STREAM, ids[50])
    assert codes(watch.check())[0] == ("stream", "truncated_telemetry")


def test_before_redis_7_the_oldest_entry_must_tell(watch, monkeypatch):
    """Redis counts what was added since 7.0: without that, an entry from before must still be there."""
    plain = StreamReader.info

    def without_counts(self):
        found = plain(self)
        return type(found)(found.length, found.first_id, found.last_id, found.last_generated_id, None, None)

    monkeypatch.setattr(StreamReader, "info", without_counts)
    watch.since["entries_added"] = None
    watch.after(500)
    assert watch.check().verdict == "ok"
    watch.after(100)
    assert watch.check().verdict == "ok"
    watch.after(100)
    watch.client.xtrim(STREAM, maxlen=100, approximate=False)
    assert codes(watch.check())[0] == ("stream", "truncated_telemetry")


def test_a_lost_state_is_rebuilt_from_the_stream(watch):
    watch.after(3000)
    watch.check()
    watch.after(500)
    watch.check()
    kept = watch.progress
    watch.progress = None
    result = watch.check()
    assert result.verdict == "ok"
    assert watch.progress.fold == kept.fold
    assert watch.progress.seen == kept.seen


def test_a_corrupt_state_is_rebuilt_from_the_stream(watch):
    watch.after(3000)
    watch.check()
    kept = watch.progress.fold
    for broken in ({}, {**kept, "evidence": None}, {**kept, "since": "1-1"}):
        watch.progress = Progress(watch.progress.seen, watch.progress.last_id, watch.progress.last_seen_ms, broken)
        assert watch.check().verdict == "ok"
        assert watch.progress.fold == kept


def test_a_lost_state_that_cannot_be_rebuilt_is_never_health(watch):
    watch.after(3000)
    watch.check()
    watch.client.xtrim(STREAM, maxlen=1000, approximate=False)
    watch.after(100)
    watch.progress = None
    result = watch.check()
    assert codes(result)[0] == ("stream", "truncated_telemetry")
    assert result.status == "NO-GO"


def test_a_long_backlog_is_read_in_parts_and_nothing_is_certain_before_its_end(watch, monkeypatch):
    watch.after(5000)
    whole = watch.check()
    kept, watch.progress = watch.progress, None
    monkeypatch.setattr(sequential, "MOST_AT_ONCE", 2000)
    part = watch.check()
    assert (part.verdict, part.status, part.events) == ("ok", "WAIT", 2000)
    assert "catching up" in part.message
    watch.check()
    end = watch.check()
    assert (end.status, end.events) == (whole.status, 5000)
    assert watch.progress.fold == kept.fold


def test_in_parts_too_an_entry_that_was_trimmed_unread_is_noticed(watch, monkeypatch):
    monkeypatch.setattr(sequential, "MOST_AT_ONCE", 2000)
    watch.after(5000)
    assert watch.check().verdict == "ok"
    watch.client.xtrim(STREAM, maxlen=3000, approximate=False)
    assert watch.check().verdict == "ok"  # only what was read is gone
    watch.client.xtrim(STREAM, maxlen=999, approximate=False)
    assert codes(watch.check())[0] == ("stream", "truncated_telemetry")


def test_decisions_of_others_on_a_shared_stream_are_read_over_and_counted_as_read(redis_server):
    watch = Watch(redis_server)
    for _number in range(10):
        watch.after(30, source="here")
        watch.after(30, source="there", spoil=spoilt(confidence=-1))
    result = watch.check(match={"source": "here"})
    assert (result.verdict, result.events, result.complete) == ("ok", 300, True)
    assert watch.scanned == 600


def test_the_frame_is_learnt_before_the_marker_and_frozen(watch):
    watch.after(300)
    first = watch.check()
    assert first.frame["decisions"] == 1500
    watch.after(300, step_ms=10)
    assert watch.check().frame == first.frame
    given = {**first.frame, "bucket_s": 600.0}
    watch.progress = None
    assert watch.check(frame=given).frame["bucket_s"] == 600.0


def test_a_state_of_another_frame_is_not_gone_on_with(watch):
    watch.after(3000)
    first = watch.check()
    given = {**first.frame, "bucket_s": 600.0}
    result = watch.check(frame=given)
    assert result.frame["bucket_s"] == 600.0
    assert result.events == 3000


@pytest.mark.parametrize("frame", [{"bucket_s": 60}, {"x": 1}, "auto"])
def test_a_frame_that_no_gate_has_learnt_is_refused(frame):
    with pytest.raises(BadInput, match="frame="):
        MonitorOptions.from_dict({"policy": "sequential", "frame": frame}, model=CANARY, since=StreamId(1, 1))


def test_what_others_violate_is_shown_only(watch):
    watch.after(1000, spoil=lambda _i, said: said["xgb"].update(confidence=0.5))
    result = watch.check()
    assert result.verdict == "ok"
    assert ("xgb", "constant_output") in [(item.subject, item.code) for item in result.incumbent_violations]


def test_a_change_after_a_long_good_past_is_found(watch):
    """The cumulative figure stays within its limit: only the change detector can see it."""
    watch.after(5400, step_ms=2000)
    assert watch.check().status == "GO"
    found = None
    for minutes in range(1, 120):
        watch.after(30, step_ms=2000, spoil=lambda i, said: said[CANARY].update(action="BUY" if i % 8 else "SELL"))
        result = watch.check()
        if result.verdict == "violation":
            found = minutes
            break
    assert found is not None
    assert found <= 30
    assert "(change)" in result.message
    share = result.models[0].shares["BUY"]
    assert share < 70 < result.violations[0].measured


def test_nothing_of_a_vote_is_needed_to_go_on(watch):
    """A canary without any vote within the grace of the start."""
    watch.after(10, spoil=lambda _i, said: said.pop(CANARY) and None)
    assert watch.check().verdict == "waiting"
    watch.after(300, spoil=lambda _i, _said: {"xgb": vote(), "lgbm": healthy(1)["lgbm"]})
    assert (CANARY, "canary_missing") in codes(watch.check())
