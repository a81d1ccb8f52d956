# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cutovers and stream IDs."""

from __future__ import annotations

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import BadInput
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.cutover import ZERO, StreamId, parse_cutover, utc

NOW_MS = 1_768_100_000_000
MOST = (1 << 64) - 1


@pytest.mark.parametrize(
    ("value", "ms", "seq"),
    [
        ("2026-01-10T05:43:15Z", 1_768_023_795_000, MOST),
        ("2026-01-10 05:43:15+00:00", 1_768_023_795_000, MOST),
        ("2026-01-10T06:43:15+01:00", 1_768_023_795_000, MOST),
        ("2026-01-10T00:13:15-0530", 1_768_023_795_000, MOST),
        ("2026-01-10t05:43:15.250z", 1_768_023_795_250, MOST),
        ("2026-01-10T05:43:15.250999999Z", 1_768_023_795_250, MOST),
        ("2026-01-10T05:43Z", 1_768_023_780_000, MOST),
        ("1768023795000", 1_768_023_795_000, MOST),
        (1_768_023_795_000, 1_768_023_795_000, MOST),
        ("1768023795000-7", 1_768_023_795_000, 7),
        ("0-0", 0, 0),
    ],
)
def test_a_cutover_is_read_in_every_form(value, ms, seq):
    assert parse_cutover(value, NOW_MS).after == StreamId(ms, seq)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("", "is not a moment"),
        (None, "is not a moment"),
        (True, "is not a moment"),
        ("yesterday", "cannot be read"),
        ("2026-01-10", "cannot be read"),
        ("2026-13-10T05:43:15Z", "is not a moment"),
        ("2026-01-10T25:43:15Z", "is not a moment"),
        ("2026-01-10T05:43:15+25:00", "is not a moment"),
        ("2026-01-10T05:43:15+01:75", "is not a moment"),
        ("1969-12-31T23:59:59Z", "before 1970"),
        ("0001-01-01T00:00:00+14:00", "before 1970"),
        ("2026-01-10T05:43:15", "has no offset"),
        ("1768023795", "looks like seconds"),
        ("17680", "is not an epoch"),
        ("9" * 5000, "is not an epoch"),
        ("99999999999999999999-0", "is not a stream ID"),
        ("２０２６-01-10T05:43:15Z", "cannot be read"),
        ("2026-01-12T05:43:15Z", "in the future"),
        (str(NOW_MS + 60_000), "60 s in the future"),
        (f"{NOW_MS + 60_000}-0", "in the future"),
    ],
)
def test_a_bad_cutover_is_refused_with_option_value_and_remedy(value, says):
    with pytest.raises(BadInput) as caught:
        parse_cutover(value, NOW_MS, option="since")
    assert says in caught.value.message
    assert caught.value.message.startswith("since=")
    assert caught.value.remedy


def test_a_small_difference_between_clocks_is_not_the_future():
    assert parse_cutover(str(NOW_MS + 1500), NOW_MS).after.ms == NOW_MS + 1500


def test_ids_compare_as_pairs_of_integers_not_as_text():
    assert StreamId.parse("9-10") > StreamId.parse("9-9")
    assert StreamId.parse("10-0") > StreamId.parse(b"9-99")


@pytest.mark.parametrize(
    "text", ["", "5", "5-", "-5", "a-b", "5-5-5", " 5-5", "18446744073709551616-0", "1-99999999999999999999"]
)
def test_what_is_no_id_is_refused(text):
    with pytest.raises(ValueError):
        StreamId.parse(text)


def test_next_and_previous_step_over_the_end_of_a_millisecond():
    assert StreamId(5, MOST).next() == StreamId(6, 0)
    assert StreamId(6, 0).previous() == StreamId(5, MOST)
    assert StreamId(5, 3).next().previous() == StreamId(5, 3)
    assert ZERO.previous() == ZERO


def test_times_are_shown_in_utc_with_z():
    assert utc(1_768_023_795_007) == "2026-01-10T05:43:15.007Z"
    assert utc(MOST) == f"{MOST} ms"
