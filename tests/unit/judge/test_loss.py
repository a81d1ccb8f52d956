# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be missing from the telemetry: never silently."""

from __future__ import annotations

import dataclasses

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import Refused
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.cutover import ZERO, StreamId
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.loss import (
    Seen,
    StreamInfo,
    clock_skew,
    lost_between,
    lost_entries,
)


def at(ms):
    return None if ms is None else StreamId(ms, 0)


def info(first=100, last=200, length=50, added=50, deleted=0, generated=None):
    return StreamInfo(length, at(first), at(last), at(generated or last), added, at(deleted))


@pytest.mark.parametrize(
    ("stream", "after", "lost"),
    [
        (info(), 100, ""),  # the entry at the cutover is still there
        (info(), 150, ""),
        (info(), 99, ""),  # young: nothing was ever trimmed
        (info(added=51), 100, ""),
        (info(added=51), 99, "1 were trimmed"),
        (info(added=None, deleted=None), 100, ""),
        (info(added=None, deleted=None), 99, "does not count"),
        (info(deleted=150), 100, "150-0 of the window was deleted"),
        (info(deleted=100), 100, ""),
        (info(first=None, last=None, length=0, added=0, generated=1), 99, ""),
        (info(first=None, last=None, length=0, added=7, generated=200), 99, "7 were trimmed"),
    ],
)
def test_since_a_cutover(stream, after, lost):
    found = lost_entries(stream, at(after))
    assert lost in found
    assert bool(found) is bool(lost)


SEEN = Seen(StreamId(200, 0), 50, StreamId(100, 0))


@pytest.mark.parametrize(
    ("stream", "seen", "lost"),
    [
        (info(), SEEN, ""),  # nothing new
        (info(first=150, last=300, length=50, added=90), SEEN, ""),  # old ones trimmed, all 40 new ones there
        (info(first=201, last=300, length=40, added=90), SEEN, ""),  # exactly the new ones are left
        (info(first=210, last=300, length=39, added=90), SEEN, "40 entries were added since the last check, only 39"),
        (info(first=1, last=10, length=5, added=5), SEEN, "was replaced"),
        (info(first=1, last=10, length=5, added=None, deleted=None), SEEN, "was replaced"),
        (info(last=300, added=20), SEEN, "counts fewer"),
        (info(last=300, added=90, deleted=250), SEEN, "deleted before it was read"),
        (info(last=300, added=90, deleted=150), SEEN, ""),
        (info(last=300, length=90, added=None, deleted=None), SEEN, ""),
        (info(first=150, last=300, added=None, deleted=None), SEEN, ""),
        (info(first=210, last=300, added=None, deleted=None), SEEN, "does not count"),
        (info(first=None, last=None, length=0, added=None, deleted=None, generated=300), SEEN, "emptied"),
        (info(first=None, last=None, length=0, added=None, deleted=None, generated=200), SEEN, ""),
        (info(first=None, last=None, length=0, added=55, generated=300), SEEN, "only 0 are left"),
        (info(first=210, last=300, added=60, length=60), dataclasses.replace(SEEN, entries_added=None), ""),
        (
            info(first=210, last=300, added=61, length=60),
            dataclasses.replace(SEEN, entries_added=None),
            "1 were trimmed",
        ),
        (info(added=None, deleted=None), Seen(ZERO, None), "does not count"),
        (info(), Seen(ZERO, 0), ""),
    ],
)
def test_between_two_checks(stream, seen, lost):
    found = lost_between(seen, stream)
    assert lost in found
    assert bool(found) is bool(lost)


@pytest.mark.parametrize(("skew", "warned"), [(0.0, False), (2.0, False), (-2.1, True), (2.1, True), (29.9, True)])
def test_a_skew_of_the_clocks_is_told(skew, warned):
    found, warnings = clock_skew(int((1000 + skew) * 1000), 1000.0)
    assert found == pytest.approx(skew, abs=2e-3)
    assert bool(warnings) is warned


@pytest.mark.parametrize("skew", [30.1, -30.1, 3600])
def test_a_large_skew_is_refused(skew):
    with pytest.raises(Refused, match="apart") as caught:
        clock_skew(int((100_000 + skew) * 1000), 100_000.0)
    assert "Synchronise" in caught.value.remedy
