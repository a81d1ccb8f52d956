# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Freeze windows: what is refused, and when they hold, against a walk over every minute of the days around a change."""

from __future__ import annotations

import functools
import typing as t
import zoneinfo
from datetime import date, datetime, time, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ansible_collections.qsc.canary.plugins.module_utils.qsc import freeze
from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import BadInput
from ansible_collections.qsc.canary.plugins.module_utils.qsc.freeze import DAYS, checked_windows, frozen, told

BERLIN = "Europe/Berlin"
NIGHT = {"from": "22:00", "to": "06:00", "timezone": BERLIN}
DATES = {"from_date": "2026-12-24", "to_date": "2026-12-26", "timezone": BERLIN}


def at(text: str) -> float:
    """A moment in UTC as s since 1970."""
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp()


def utc(moment: float) -> str:
    return datetime.fromtimestamp(moment, timezone.utc).strftime("%Y-%m-%d %H:%M")


def held(window: dict[str, t.Any], begin: str, end: str) -> list[str]:
    """The spans in which a window holds between two moments, walked minute by minute."""
    windows, spans, start = checked_windows([window]), [], ""
    for minute in range(int(at(begin)), int(at(end)) + 60, 60):
        now = frozen(windows, minute)
        if now is not None and not start:
            start = utc(minute)
        if now is None and start:
            spans.append(f"{start} to {utc(minute)}")
            start = ""
    return spans


# --- by example


def test_a_window_over_midnight() -> None:
    assert held({**NIGHT, "days": ["fri"]}, "2026-01-08", "2026-01-12") == ["2026-01-09 21:00 to 2026-01-10 05:00"]


def test_dates_are_whole_days_of_the_zone() -> None:
    assert held(DATES, "2026-12-22", "2026-12-28") == ["2026-12-23 23:00 to 2026-12-26 23:00"]


def test_an_equal_beginning_and_end_is_a_whole_day() -> None:
    day = {"days": ["sun"], "from": "00:00", "to": "00:00", "timezone": BERLIN}
    assert held(day, "2026-03-27", "2026-03-31") == ["2026-03-28 23:00 to 2026-03-29 22:00"], "23 h"
    assert held(day, "2026-10-23", "2026-10-27") == ["2026-10-24 22:00 to 2026-10-25 23:00"], "25 h"


# On 2026-03-29 Berlin's clock goes from 02:00 to 03:00 (01:00 UTC), on 2026-10-25 from 03:00 back to 02:00 (01:00 UTC).
NIGHTS = [
    ("spring", "02:30", "03:30", ["2026-03-29 01:00 to 2026-03-29 01:30"]),
    ("spring", "02:00", "03:00", []),
    ("spring", "01:30", "02:30", ["2026-03-29 00:30 to 2026-03-29 01:00"]),
    ("spring", "22:00", "06:00", ["2026-03-28 21:00 to 2026-03-29 04:00"]),
    ("autumn", "02:30", "03:30", ["2026-10-25 00:30 to 2026-10-25 02:30"]),
    ("autumn", "02:00", "03:00", ["2026-10-25 00:00 to 2026-10-25 02:00"]),
    ("autumn", "02:10", "02:20", ["2026-10-25 00:10 to 2026-10-25 01:20"]),
    ("autumn", "01:00", "02:00", ["2026-10-24 23:00 to 2026-10-25 00:00"]),
    ("autumn", "22:00", "02:30", ["2026-10-24 20:00 to 2026-10-25 01:30"]),
    ("autumn", "22:00", "06:00", ["2026-10-24 20:00 to 2026-10-25 05:00"]),
]


@pytest.mark.parametrize(("night", "begin", "end", "spans"), NIGHTS, ids=str)
def test_the_nights_of_a_change(night: str, begin: str, end: str, spans: list[str]) -> None:
    """One piece, from the first time the clock shows the beginning to the last time it shows less than the end."""
    day = "sat" if begin == "22:00" else "sun"
    days = ("2026-03-28 12:00", "2026-03-30 12:00") if night == "spring" else ("2026-10-24 12:00", "2026-10-26 12:00")
    assert held({"days": [day], "from": begin, "to": end, "timezone": BERLIN}, *days) == spans


def test_the_end_of_what_follows_without_a_gap() -> None:
    windows = checked_windows(
        [DATES, {"from": "00:00", "to": "08:00", "timezone": "Europe/Paris"}, {**NIGHT, "to": "23:30"}]
    )
    now = frozen(windows, at("2026-12-25 12:00"))
    assert now is not None
    assert (now.window, utc(now.until)) == ("2026-12-24 to 2026-12-26 Europe/Berlin", "2026-12-27 07:00")


def test_of_windows_that_hold_together_the_one_is_named_that_ends_last() -> None:
    short = {"from": "00:00", "to": "08:00", "timezone": "Europe/Paris"}
    for windows in ([DATES, short], [short, DATES]):
        now = frozen(checked_windows(windows), at("2026-12-25 05:00"))
        assert now is not None and now.window == "2026-12-24 to 2026-12-26 Europe/Berlin"


def test_a_freeze_without_end() -> None:
    always = checked_windows([{"from": "00:00", "to": "00:00", "timezone": "UTC"}])
    assert frozen(always, at("2026-01-01")) == freeze.Frozen("every day 00:00 to 00:00 UTC", 0)
    assert frozen([], at("2026-01-01")) is None


@pytest.mark.parametrize(
    ("days", "words"),
    [
        (DAYS, "every day 22:00"),
        (["fri", "mon", "tue", "wed", "thu"], "mon to fri 22:00"),
        (["sun", "sat"], "sat, sun 22:00"),
        (["mon", "wed", "fri"], "mon, wed, fri 22:00"),
        (["tue"], "tue 22:00"),
    ],
)
def test_in_words(days: t.Sequence[str], words: str) -> None:
    [window] = checked_windows([{**NIGHT, "days": list(days)}])
    assert told(window) == f"{words} to 06:00 Europe/Berlin"


# --- against a walk over the minutes

# Each with a date near which its clock does something odd.
ZONES = {
    "Europe/Berlin": [date(2026, 3, 29), date(2026, 10, 25)],
    "America/New_York": [date(2026, 3, 8), date(2026, 11, 1)],
    "Australia/Lord_Howe": [date(2026, 4, 5), date(2026, 10, 4)],  # by half an hour
    "America/Sao_Paulo": [date(2018, 11, 4), date(2018, 2, 18)],  # at midnight
    "Pacific/Apia": [date(2011, 12, 30)],  # a day that never was
    "America/St_Johns": [date(2010, 11, 7), date(2010, 3, 14)],  # from 00:01 back to 23:01 of the day before
    "Asia/Kathmandu": [date(2026, 1, 1)],
    "Africa/Casablanca": [date(2026, 2, 15), date(2026, 3, 22)],
    "UTC": [date(2026, 1, 1)],
}


@functools.lru_cache(maxsize=32)
def clock_of(zone: str, first: datetime, minutes: int) -> list[datetime]:
    """What the clock of the zone shows in each minute."""
    there = zoneinfo.ZoneInfo(zone)
    return [(first + timedelta(minutes=n)).astimezone(there).replace(tzinfo=None) for n in range(minutes)]


def walked(window: dict[str, t.Any], first: datetime, minutes: int) -> set[int]:
    """The minutes (of UTC, since ``first``) in which a window holds: for each day that it begins on, all from the first
    to the last one in which the clock shows a time in it. Looks at every minute; knows nothing of folds and gaps."""
    shown = clock_of(window["timezone"], first, minutes)
    found: set[int] = set()
    if "from_date" in window:
        begins = [
            (datetime.fromisoformat(window["from_date"]), datetime.fromisoformat(window["to_date"]) + timedelta(1))
        ]
    else:
        start, stop = time.fromisoformat(window["from"]), time.fromisoformat(window["to"])
        days = [first.date() + timedelta(days=n) for n in range(-2, minutes // 1440 + 3)]
        begins = [
            (datetime.combine(day, start), datetime.combine(day + timedelta(days=stop <= start), stop))
            for day in days
            if DAYS[day.weekday()] in window["days"]
        ]
    for begin, end in begins:
        inside = [n for n, local in enumerate(shown) if begin <= local < end]
        if inside:
            found |= set(range(inside[0], inside[-1] + 1))
    return found


CLOCKS = st.builds("{:02d}:{:02d}".format, st.integers(0, 23), st.sampled_from([0, 1, 29, 30, 31, 59]))


@st.composite
def cases(draw: st.DrawFn) -> tuple[dict[str, t.Any], date]:
    zone = draw(st.sampled_from(sorted(ZONES)))
    day = draw(st.sampled_from(ZONES[zone]))
    if draw(st.integers(0, 3)) == 0:
        first = day + timedelta(days=draw(st.integers(-2, 2)))
        last = first + timedelta(days=draw(st.integers(0, 1)))
        return {"from_date": first.isoformat(), "to_date": last.isoformat(), "timezone": zone}, day
    days = draw(st.lists(st.sampled_from(DAYS), min_size=1, unique=True))
    return {"days": days, "from": draw(CLOCKS), "to": draw(CLOCKS), "timezone": zone}, day


@given(cases())
@example(({"days": ["sun"], "from": "02:30", "to": "03:30", "timezone": BERLIN}, date(2026, 3, 29)))
@example(({"days": ["sun"], "from": "02:10", "to": "02:20", "timezone": BERLIN}, date(2026, 10, 25)))
@example(({"days": list(DAYS), "from": "00:00", "to": "00:30", "timezone": "America/Sao_Paulo"}, date(2018, 11, 4)))
@example(({"days": list(DAYS), "from": "23:30", "to": "23:29", "timezone": "Pacific/Apia"}, date(2011, 12, 30)))
@example(({"days": ["sun"], "from": "00:00", "to": "06:00", "timezone": "America/St_Johns"}, date(2010, 11, 7)))
@example(({"from_date": "2011-12-30", "to_date": "2011-12-30", "timezone": "Pacific/Apia"}, date(2011, 12, 30)))
def test_every_minute_around_a_change(case: tuple[dict[str, t.Any], date]) -> None:
    window, day = case
    windows = checked_windows([window])
    # the walk needs days before and after: what holds there may reach into the middle, which is compared
    first = datetime.combine(day - timedelta(days=4), time(), timezone.utc)
    wanted = walked(windows[0], first, 8 * 1440)
    begin = int(first.timestamp())
    middle = range(3 * 1440, 5 * 1440)
    moments = [first + timedelta(minutes=n) for n in middle]
    found = {n for n, moment in zip(middle, moments) if freeze._holding(windows, moment) is not None}
    assert found == wanted & set(middle)
    for n in middle[::197]:
        now = frozen(windows, begin + 60 * n)
        assert (now is not None) == (n in found)
        if now is None or not now.until:
            continue
        end = (now.until - begin) // 60
        assert end > n, "the end lies ahead"
        assert set(range(n, min(end, middle.stop))) <= found, "frozen all the way"
        assert end not in found, "and not a minute longer"


# --- what is refused

BAD: t.Sequence[tuple[t.Any, str]] = [
    ("x", "is not a list of windows"),
    ({}, "is not a list of windows"),
    (None, "is not a list of windows"),
    ([NIGHT] * 101, "is not a list of windows"),
    (["22:00"], "[0]='22:00' is not a window"),
    ([NIGHT, {}], "[1]={} lacks from"),
    ([{"from": "22:00", "timezone": "UTC"}], "lacks to"),
    ([{"from": "22:00", "to": "06:00"}], "lacks timezone"),
    ([{**NIGHT, "day": ["mon"]}], "unknown option 'day'"),
    ([{**DATES, "from": "22:00"}], "unknown option 'from' beside from_date"),
    ([{**DATES, "days": ["mon"]}], "unknown option 'days'"),
    ([{"from_date": "2026-12-24", "timezone": "UTC"}], "lacks to_date"),
    ([{**NIGHT, "from": 1320}], "from=1320 is not a time of the day"),
    ([{**NIGHT, "to": "24:00"}], "to='24:00' is not a time"),
    ([{**NIGHT, "to": "6:00"}], "to='6:00' is not a time"),
    ([{**NIGHT, "to": "06:00\n"}], "is not a time"),
    ([{**NIGHT, "to": "٠٦:٠٠"}], "is not a time"),
    ([{**NIGHT, "days": []}], "days=[] are not days"),
    ([{**NIGHT, "days": "mon"}], "days='mon' are not days"),
    ([{**NIGHT, "days": ["monday"]}], "are not days of the week"),
    ([{**NIGHT, "days": [{}]}], "are not days of the week"),
    ([{**DATES, "to_date": "2026-12-23"}], "to_date=2026-12-23 is before from_date=2026-12-24"),
    ([{**DATES, "to_date": "2026-02-30"}], "is not a date"),
    ([{**DATES, "to_date": "9999-12-31"}], "is not a date of the years 2000 to 2200"),
    ([{**DATES, "to_date": 20261224}], "is not a date"),
    ([{**NIGHT, "timezone": ""}], "is not the name of a zone"),
    ([{**NIGHT, "timezone": "../../etc/passwd"}], "is not the name of a zone"),
    ([{**NIGHT, "timezone": "/etc/localtime"}], "is not the name of a zone"),
    ([{**NIGHT, "timezone": 1}], "is not the name of a zone"),
]


@pytest.mark.parametrize(("value", "words"), BAD, ids=lambda item: f"{item!r:.50}")
def test_bad_windows(value: t.Any, words: str) -> None:
    with pytest.raises(BadInput) as caught:
        checked_windows(value)
    assert "freeze_windows" in caught.value.message
    assert words in caught.value.message
    assert caught.value.remedy


def test_good_windows_are_kept_in_one_form() -> None:
    assert checked_windows([{**NIGHT, "days": ["sun", "mon"]}, NIGHT, DATES]) == [
        {**NIGHT, "days": ["mon", "sun"]},
        {**NIGHT, "days": list(DAYS)},
        DATES,
    ]


@pytest.mark.parametrize("zone", ["Europe/Berlim", "Europe", "europe//berlin", "A" * 64])
def test_a_zone_that_is_unknown_is_never_no_freeze(zone: str) -> None:
    windows = checked_windows([{**NIGHT, "timezone": zone}])
    for ask in (lambda: freeze.check_zones(windows), lambda: frozen(windows, at("2026-01-01 12:00"))):
        with pytest.raises(BadInput, match=f"timezone={zone} is not known on this host") as caught:
            ask()
        assert "tzdata" in caught.value.remedy


def test_a_host_without_time_zones() -> None:
    before = zoneinfo.TZPATH
    zoneinfo.reset_tzpath(to=[])
    zoneinfo.ZoneInfo.clear_cache()
    try:
        with pytest.raises(BadInput, match="timezone=Europe/Berlin is not known on this host"):
            frozen(checked_windows([NIGHT]), at("2026-01-01 12:00"))
        freeze.check_zones(checked_windows([{**NIGHT, "timezone": "UTC"}]))
    finally:
        zoneinfo.reset_tzpath(to=before)
        zoneinfo.ZoneInfo.clear_cache()
