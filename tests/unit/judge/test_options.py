# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options, connections and cadences: what cannot be meant is refused before anything is read."""

from __future__ import annotations

import math

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import BadInput
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.cadence import Cadence
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.connection import Connection
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.cutover import StreamId
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.options import GateOptions, MonitorOptions, seconds
from ansible_collections.qsc.canary.plugins.module_utils.qsc.verdict import about

SINCE = StreamId(5, 0)


def test_the_gates_floor_depends_on_the_mode():
    assert GateOptions.from_dict({"cutover": "x"}).min_events == 200
    assert GateOptions.from_dict({"cutover": "x", "mode": "collection"}).min_events == 100
    assert GateOptions.from_dict({"cutover": "x", "min_events": 5}).min_events == 5


def test_none_means_default():
    none = dict.fromkeys(("mode", "min_events", "max_events", "weight", "limits", "aliases", "stale_after"))
    assert GateOptions.from_dict({"cutover": "x", **none}) == GateOptions.from_dict({"cutover": "x"})
    assert GateOptions.from_dict({"cutover": "x"}).dialect.ignore == {"fallback"}


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ({"mode": "canery"}, "mode='canery' is unknown"),
        ({"min_events": 0}, "min_events=0 is out of range"),
        ({"min_events": True}, "min_events=True is out of range"),
        ({"min_events": 1.5}, "min_events=1.5 is out of range"),
        ({"max_events": -1}, "max_events=-1 is out of range"),
        ({"max_events": 199}, "max_events=199 is below min_events=200"),
        ({"weight": 1.5}, "weight=1.5 is out of range"),
        ({"weight": math.nan}, "weight=nan is out of range"),
        ({"stale_after": "soon"}, "stale_after='soon' is not a time"),
        ({"stale_after": 0}, "stale_after=0 is out of range"),
        ({"models": ["a b"]}, "models='a b' is not a model's name"),
        ({"limits": {"min_std": 9}}, "min_std=9 is out of range"),
        ({"aliases": {"a": 5}}, "is not a name"),
    ],
)
def test_options_of_the_gate_that_cannot_be_meant(raw, says):
    with pytest.raises(BadInput) as caught:
        GateOptions.from_dict({"cutover": "x", **raw})
    assert says in caught.value.message
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ({"window_events": 199}, "window_events=199 is below min_events=200"),
        ({"min_events": 0}, "min_events=0 is out of range"),
        ({"policy": "lenient"}, "policy='lenient' is unknown"),
        ({"weight": -0.1}, "weight=-0.1 is out of range"),
        ({"max_wait": "long"}, "max_wait='long' is not a time"),
        ({"max_wait": math.inf}, "max_wait=inf is out of range"),
    ],
)
def test_options_of_the_monitor_that_cannot_be_meant(raw, says):
    with pytest.raises(BadInput) as caught:
        MonitorOptions.from_dict(raw, model="patchtst", since=SINCE)
    assert says in caught.value.message


def test_the_monitor_takes_the_judging_options_of_a_record_as_they_are():
    judging = {
        "stream": "s", "match": {}, "aliases": {"xgboost": "xgb"}, "ignore_models": ["fallback"],
        "limits": {"min_std": 0.06},
        "min_events": 50, "window_events": 500, "stale_after": 300.0, "max_wait": None, "weights_field": "",
    }  # fmt: skip
    options = MonitorOptions.from_dict(judging, model="patchtst", since=SINCE)
    assert (options.min_events, options.window_events) == (50, 500)
    assert (options.stale_after, options.max_wait) == (300.0, None)
    assert options.limits.min_std == 0.06
    assert options.dialect.aliases == {"xgboost": "xgb"}


@pytest.mark.parametrize(("value", "wanted"), [(None, None), ("auto", None), ("", None), (5, 5.0), ("300", 300.0)])
def test_a_time_limit_is_auto_or_seconds(value, wanted):
    assert seconds("max_wait", value) == wanted


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ({"login_port": 0}, "login_port=0 is out of range"),
        ({"login_port": "6379"}, "login_port='6379' is not a number"),
        ({"db": -1}, "db=-1 is out of range"),
        ({"tls": "yes"}, "tls='yes' is not true or false"),
        ({"timeout_s": 0}, "timeout_s=0 is out of range"),
        ({"timeout_s": math.nan}, "timeout_s=nan is not a number"),
        ({"login_host": 5}, "login_host=5 is not text"),
        ({"host": "x"}, "unknown connection option 'host'"),
    ],
)
def test_connection_options_that_cannot_be_meant(raw, says):
    with pytest.raises(BadInput) as caught:
        Connection.from_dict(raw)
    assert says in caught.value.message


def test_a_password_is_shown_nowhere():
    connection = Connection.from_dict({"login_host": "h"}, password="geheim")
    assert connection.login_password == "geheim"
    assert "geheim" not in repr(connection)
    with pytest.raises(BadInput) as caught:
        Connection.from_dict({"login_password": 12345})
    assert "12345" not in str(caught.value)


def ids(*milliseconds):
    return [StreamId(ms, 0) for ms in milliseconds]


def test_a_cadence_is_rate_and_largest_gap():
    found = Cadence.of(ids(0, 10_000, 310_000, 320_000))
    assert found.rate_per_s == pytest.approx(3 / 320)
    assert found.largest_gap_s == 300.0
    assert found.stale_after_s == 900.0


def test_a_cadence_does_not_depend_on_the_order():
    assert Cadence.of(ids(5000, 0, 1000)) == Cadence.of(ids(0, 1000, 5000))


@pytest.mark.parametrize(("gap_ms", "stale"), [(100, 120.0), (40_000, 120.0), (41_000, 123.0), (700_000, 1800.0)])
def test_the_stale_limit_is_three_gaps_within_its_bounds(gap_ms, stale):
    assert Cadence.of(ids(0, gap_ms)).stale_after_s == stale


def test_of_too_few_decisions_nothing_is_known():
    for found in (Cadence.of([]), Cadence.of(ids(5))):
        assert found.rate_per_s == 0.0
        assert found.stale_after_s == 120.0
        assert found.max_wait_s(200) == 3600.0


def test_many_decisions_in_one_millisecond_divide_by_nothing():
    assert math.isfinite(Cadence.of(ids(7, 7, 7)).rate_per_s)


def test_the_longest_wait_is_half_as_long_again_as_it_should_take():
    assert Cadence.of(ids(0, 1000)).max_wait_s(200) == 3600.0
    assert Cadence.of(ids(0, 60_000)).max_wait_s(200) == pytest.approx(1.5 * 200 * 60)


@pytest.mark.parametrize(
    ("value", "text"), [(5, "5 s"), (600, "10 min"), (9000, "2.5 h"), (math.inf, "an unknown time")]
)
def test_durations_for_people(value, text):
    assert about(value) == text


@pytest.mark.parametrize("added", ["5", -1, True, 5.0, 1 << 63])
def test_a_count_of_entries_that_is_none_is_refused(added):
    with pytest.raises(BadInput, match="entries_added="):
        MonitorOptions.from_dict({"entries_added": added}, model="m", since=StreamId(1, 0))
