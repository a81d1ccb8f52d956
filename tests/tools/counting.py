# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Count what a phase did: from pytest's junit report, or from a program's closing line."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

CLOSING_LINE = re.compile(r"(\d+) passed, (\d+) failed, (\d+) skipped")


@dataclass
class Counts:
    """What ran. failed and skipped hold names; skipped ones with their reason."""

    passed: int = 0
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """All that was counted."""
        return self.passed + len(self.failed) + len(self.skipped)


def from_junit(path: Path) -> Counts:
    """Counts of pytest's report. A test that fails and then fails again in its teardown is one failed test.

    An unreadable or absent report is a failure of its own: a killed pytest must not look like an empty one.
    """
    counts = Counts()
    try:
        cases = list(ElementTree.parse(path).getroot().iter("testcase"))
    except (OSError, ElementTree.ParseError) as error:
        counts.failed.append(f"no readable report of pytest: {error}")
        return counts
    outcome: dict[str, str] = {}
    for case in cases:
        name = f"{case.get('classname', '')}::{case.get('name', '')}"
        skip = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            outcome[name] = "failed"
        elif skip is not None:
            outcome.setdefault(name, f"skipped: {skip.get('message') or skip.text or 'no reason given'}")
        else:
            outcome.setdefault(name, "passed")
    for name, how in outcome.items():
        if how == "passed":
            counts.passed += 1
        elif how == "failed":
            counts.failed.append(name)
        else:
            counts.skipped.append(f"{name}: {how[len('skipped: ') :]}")
    return counts


def from_output(lines: list[str]) -> Counts:
    """Counts of a program's own lines: the last closing line, and its lines `FAILED name`, `SKIPPED name: reason`.

    A program without a closing line has not reached its end: that is one failure.
    """
    counts = Counts()
    closing = [match for match in map(CLOSING_LINE.fullmatch, (line.strip() for line in lines)) if match]
    if not closing:
        counts.failed.append("ended without a line `N passed, N failed, N skipped`")
        return counts
    passed, failed, skipped = (int(number) for number in closing[-1].groups())
    counts.passed = passed
    for word, number, names in (("FAILED ", failed, counts.failed), ("SKIPPED ", skipped, counts.skipped)):
        named = [line.strip()[len(word) :].strip() for line in lines if line.startswith(word)]
        names.extend(named[:number])
        names.extend(["(see its log)"] * (number - len(names)))
    return counts
