# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""Freeze windows: the times in which no step towards the canary is taken. Pure; a moment is an argument.

A window goes by the clock on the wall of its zone. In the night of a change it is never torn apart: it begins when that
clock first shows its beginning, and ends when the clock shows a time before its end for the last time. A time that the
clock leaves out counts as the moment of the change.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

from .errors import BadInput

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Window = t.Mapping[str, t.Any]
"""{days, from, to, timezone}, or {from_date, to_date, timezone}; as ``checked_windows`` returns it."""

_MOST = 100
"""Windows of a host."""
_LONGEST_CHAIN = 400
"""Windows that follow each other without a gap: beyond this the freeze has no end worth naming."""
_FIRST_YEAR, _LAST_YEAR = 2000, 2200
_CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])", re.ASCII)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_ZONE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+/-]{0,63}", re.ASCII)
_WEEKLY, _DATED = ("from", "to"), ("from_date", "to_date")
_ONE_DAY = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Frozen:
    """A window that holds at a moment: in words with its zone, and when the last of those that follow it without a gap
    ends, in s since 1970; 0 where that is never."""

    window: str
    until: int


def checked_windows(value: t.Any) -> list[dict[str, t.Any]]:
    """Check the form of windows. Raises BadInput with option, value and remedy; zones are looked up by ``check_zones``,
    on the host that knows them."""
    if not isinstance(value, (list, tuple)) or len(value) > _MOST:
        raise BadInput(f"freeze_windows={value!r:.80} is not a list of windows", remedy=_FORM)
    return [_checked(item, f"freeze_windows[{number}]") for number, item in enumerate(value)]


_FORM = (
    "Give (qsc_canary_freeze_windows) {from: '22:00', to: '06:00', timezone: Europe/Berlin}, with days: [mon, tue] "
    "where it is not every day, or {from_date: '2026-12-24', to_date: '2026-12-26', timezone: Europe/Berlin}."
)


def _checked(item: t.Any, option: str) -> dict[str, t.Any]:
    if not isinstance(item, dict):
        raise BadInput(f"{option}={item!r:.80} is not a window", remedy=_FORM)
    names = _DATED if "from_date" in item or "to_date" in item else _WEEKLY
    known = {*names, "timezone", *(("days",) if names is _WEEKLY else ())}
    for key in item:
        if key not in known:
            raise BadInput(f"{option}: unknown option {str(key)!r:.40} beside {names[0]}", remedy=_FORM)
    for key in (*names, "timezone"):
        if key not in item:
            raise BadInput(f"{option}={item!r:.80} lacks {key}", remedy=_FORM)
    zone = item["timezone"]
    if not isinstance(zone, str) or not _ZONE.fullmatch(zone):
        raise BadInput(f"{option}: timezone={zone!r:.80} is not the name of a zone", remedy="Use one as Europe/Berlin.")
    if names is _DATED:
        first, last = (_date(item[key], f"{option}: {key}") for key in names)
        if last < first:
            raise BadInput(f"{option}: to_date={last} is before from_date={first}", remedy="Give the later date last.")
        return {"from_date": first.isoformat(), "to_date": last.isoformat(), "timezone": zone}
    days = item.get("days", DAYS)
    if not isinstance(days, (list, tuple)) or not days or not all(day in DAYS for day in days):
        raise BadInput(
            f"{option}: days={days!r:.80} are not days of the week", remedy=f"Use some of {', '.join(DAYS)}."
        )
    for key in names:
        _clock(item[key], f"{option}: {key}")
    return {"days": [day for day in DAYS if day in days], "from": item["from"], "to": item["to"], "timezone": zone}


def _clock(value: t.Any, option: str) -> time:
    found = _CLOCK.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        # YAML reads 22:00 without quotes as a number to the base of 60
        raise BadInput(f"{option}={value!r:.80} is not a time of the day", remedy="Write it in quotes: '22:00'.")
    return time(int(found.group(1)), int(found.group(2)))


def _date(value: t.Any, option: str) -> date:
    try:
        if isinstance(value, str) and _DATE.fullmatch(value):
            found = date.fromisoformat(value)
            if _FIRST_YEAR <= found.year <= _LAST_YEAR:
                return found
    except ValueError:
        pass
    raise BadInput(
        f"{option}={value!r:.80} is not a date of the years {_FIRST_YEAR} to {_LAST_YEAR}",
        remedy="Write it in quotes: '2026-12-24'.",
    )


def check_zones(windows: t.Sequence[Window]) -> None:
    """Raise BadInput where this host does not know a zone: a freeze that cannot be told must not be taken for none."""
    for window in windows:
        _zone(window["timezone"])


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return timezone.utc  # needs no data
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:  # unknown; unusable data; a folder of zones, such as Europe
        raise BadInput(
            f"freeze_windows: timezone={name} is not known on this host",
            remedy="Install the package tzdata on it, or correct the name (such as Europe/Berlin).",
        ) from error


def frozen(windows: t.Sequence[Window], now: float) -> Frozen | None:
    """The window that holds at ``now`` (s since 1970), with its end; None where there is none. Raises BadInput."""
    moment = _EPOCH + timedelta(seconds=now)
    found = _holding(windows, moment)
    if found is None:
        return None
    window, end = found
    for _number in range(_LONGEST_CHAIN):
        after = _holding(windows, end)
        if after is None:
            return Frozen(told(window), round((end - _EPOCH).total_seconds()))
        end = after[1]
    return Frozen(told(window), 0)


def told(window: Window) -> str:
    """A window in words: mon to fri 22:00 to 06:00 Europe/Berlin."""
    if "from_date" in window:
        return f"{window['from_date']} to {window['to_date']} {window['timezone']}"
    days = tuple(window["days"])
    first, last = DAYS.index(days[0]), DAYS.index(days[-1])
    in_a_row = len(days) > 2 and days == DAYS[first : last + 1]
    named = "every day" if days == DAYS else f"{days[0]} to {days[-1]}" if in_a_row else ", ".join(days)
    return f"{named} {window['from']} to {window['to']} {window['timezone']}"


def _holding(windows: t.Sequence[Window], moment: datetime) -> tuple[Window, datetime] | None:
    """The window that ends last of those that hold at this moment, and its end."""
    found: tuple[Window, datetime] | None = None
    for window in windows:
        for begin, end in _spans(window, moment):
            if begin <= moment < end and (found is None or end > found[1]):
                found = window, end
    return found


def _spans(window: Window, moment: datetime) -> t.Iterator[tuple[datetime, datetime]]:
    """(begin, end) in UTC of the window's occurrences around this moment."""
    zone = _zone(window["timezone"])
    if "from_date" in window:
        first, last = date.fromisoformat(window["from_date"]), date.fromisoformat(window["to_date"])
        yield _begin(datetime.combine(first, time()), zone), _end(datetime.combine(last + _ONE_DAY, time()), zone)
        return
    start, stop = _clock(window["from"], "from"), _clock(window["to"], "to")
    # a window of the day before may still hold, and where the clock is put back over midnight one of the day after
    today = moment.astimezone(zone).date()
    for number in (-1, 0, 1):
        day = today + timedelta(days=number)
        if DAYS[day.weekday()] in window["days"]:
            end = day if stop > start else day + _ONE_DAY
            yield _begin(datetime.combine(day, start), zone), _end(datetime.combine(end, stop), zone)


def _begin(local: datetime, zone: tzinfo) -> datetime:
    """The first moment at which the clock of the zone shows ``local`` or later."""
    first, second = _moments(local, zone)
    return _change(second, first, zone) if second < first else first


def _end(local: datetime, zone: tzinfo) -> datetime:
    """The moment from which on the clock of the zone never again shows a time before ``local``."""
    first, second = _moments(local, zone)
    if second < first:
        return _change(second, first, zone)
    shown = (second - timedelta(seconds=1)).astimezone(zone).replace(tzinfo=None)
    return second if shown < local else first


def _moments(local: datetime, zone: tzinfo) -> tuple[datetime, datetime]:
    """The two moments of a time that the clock shows twice; the same one twice where it shows it once; where the clock
    leaves it out, the first lies after the change and the second before it (PEP 495)."""
    first, second = (local.replace(tzinfo=zone, fold=fold).astimezone(timezone.utc) for fold in (0, 1))
    return first, second


def _change(before: datetime, after: datetime, zone: tzinfo) -> datetime:
    """The moment in (before, after] at which the offset of the zone changes, to the second."""
    offset = before.astimezone(zone).utcoffset()
    while after - before > timedelta(seconds=1):
        middle = before + timedelta(seconds=(after - before) // timedelta(seconds=2))
        if middle.astimezone(zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return after
