# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""Points in the stream: entry IDs, and the moment after which telemetry counts. Pure."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from ..errors import BadInput

_MOST = (1 << 64) - 1
_ID = re.compile(r"([0-9]{1,20})-([0-9]{1,20})")
_DIGITS = re.compile(r"[0-9]+")
_ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?\s?(Z|z|[+-]\d\d(?::?\d\d)?)?",
    re.ASCII,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_FORMS = (
    "Use 2026-01-10T05:43:15Z (with Z or an offset), the epoch in milliseconds, or a stream ID such as 1768023795000-0."
)
CLOCK_TOLERANCE_MS = 2_000
"""A cutover this far ahead of the clock is a difference between clocks, not a mistake."""


class StreamId(t.NamedTuple):
    """The ID of a stream entry. Compares as the pair of integers it is, never as text."""

    ms: int
    seq: int

    def __str__(self) -> str:
        return f"{self.ms}-{self.seq}"

    @classmethod
    def parse(cls, text: str | bytes) -> StreamId:
        """Take ``<ms>-<seq>``; raises ValueError for anything else."""
        if isinstance(text, bytes):
            text = text.decode("ascii", "replace")
        found = _ID.fullmatch(text)
        if found is None:
            raise ValueError(f"not a stream ID: {text[:60]!r}")
        ms, seq = int(found.group(1)), int(found.group(2))
        if ms > _MOST or seq > _MOST:
            raise ValueError(f"not a stream ID: {text[:60]!r}")
        return cls(ms, seq)

    def next(self) -> StreamId:
        """The smallest ID after this one."""
        return StreamId(self.ms, self.seq + 1) if self.seq < _MOST else StreamId(self.ms + 1, 0)

    def previous(self) -> StreamId:
        """The greatest ID before this one; of 0-0 itself."""
        if self.seq:
            return StreamId(self.ms, self.seq - 1)
        return StreamId(self.ms - 1, _MOST) if self.ms else self


ZERO = StreamId(0, 0)


@dataclass(frozen=True)
class Cutover:
    """A cutover: decisions whose ID is GREATER than ``after`` count; ``text`` is the moment in UTC, for people."""

    after: StreamId
    text: str


def utc(ms: int) -> str:
    """Milliseconds since 1970 as RFC 3339 in UTC with Z."""
    try:
        moment = _EPOCH + timedelta(milliseconds=ms)
    except OverflowError:
        return f"{ms} ms"
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1000:03d}Z"


def parse_cutover(value: t.Any, now_ms: int | None, *, option: str = "cutover") -> Cutover:
    """Take a cutover from an option.

    A time means strictly after that millisecond: a decision in the same millisecond as the engine's start was
    made by the process before it. ``now_ms`` is the present in ms; with None the form alone is checked. Raises BadInput
    naming option, value, remedy.
    """
    text = str(value).strip() if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
    if not text:
        raise BadInput(f"{option}={value!r:.80} is not a moment", remedy=_FORMS)
    if _ID.fullmatch(text):
        try:
            after = StreamId.parse(text)
        except ValueError:
            raise BadInput(f"{option}={text!r:.80} is not a stream ID", remedy=_FORMS) from None
    elif _DIGITS.fullmatch(text):
        after = StreamId(_epoch_ms(text, option), _MOST)
    else:
        after = StreamId(_iso_ms(text, option), _MOST)
    if now_ms is not None and after.ms > now_ms + CLOCK_TOLERANCE_MS:
        raise BadInput(
            f"{option}={text!r:.80} is {(after.ms - now_ms) / 1000:.0f} s in the future (now: {utc(now_ms)})",
            remedy="Give a moment in the past, normally the engine's last start.",
        )
    return Cutover(after, utc(after.ms))


def _epoch_ms(text: str, option: str) -> int:
    ms = int(text) if len(text) <= 15 else -1
    if 10**8 <= ms < 10**11:
        raise BadInput(f"{option}={text} looks like seconds, not milliseconds", remedy=f"Give milliseconds: {text}000.")
    if not 10**11 <= ms < 10**14:
        raise BadInput(f"{option}={text[:80]} is not an epoch in milliseconds", remedy=_FORMS)
    return ms


def _iso_ms(text: str, option: str) -> int:
    found = _ISO.fullmatch(text)
    if found is None:
        raise BadInput(f"{option}={text!r:.80} cannot be read", remedy=_FORMS)
    if found.group(8) is None:
        raise BadInput(
            f"{option}={text!r:.80} has no offset: it may mean any of 38 moments",
            remedy="Append Z for UTC, or the offset: 2026-01-10T05:43:15Z, 2026-01-10T06:43:15+01:00.",
        )
    try:
        year, month, day, hour, minute, second = (int(found.group(i) or 0) for i in range(1, 7))
        whole = datetime(year, month, day, hour, minute, second, tzinfo=_offset(found.group(8))) - _EPOCH
    except (ValueError, OverflowError) as error:
        raise BadInput(f"{option}={text!r:.80} is not a moment: {error}", remedy=_FORMS) from error
    ms = (whole.days * 86_400 + whole.seconds) * 1000 + int((found.group(7) or "0").ljust(3, "0")[:3])
    if ms < 0:
        raise BadInput(f"{option}={text!r:.80} is before 1970", remedy=_FORMS)
    return ms


def _offset(text: str) -> timezone:
    if text in ("Z", "z"):
        return timezone.utc
    digits = text[1:].replace(":", "").ljust(4, "0")
    if int(digits[2:]) > 59:
        raise ValueError(f"offset {text} has more than 59 minutes")
    minutes = int(digits[:2]) * 60 + int(digits[2:])
    return timezone(timedelta(minutes=-minutes if text[0] == "-" else minutes))
