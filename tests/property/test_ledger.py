# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever is done to one line of any ledger is found, and nothing is found in one that nobody has touched."""

from __future__ import annotations

import dataclasses
import tempfile
import typing as t
from pathlib import Path
from unittest import mock

from hypothesis import assume, given
from hypothesis import strategies as st

from ansible_collections.qsc.canary.plugins.module_utils.qsc import ledger
from ansible_collections.qsc.canary.plugins.module_utils.qsc.ledger import Ledger, verify

# What may happen to a ledger that nobody touches; each is harmless, in any order.
EVENTS = st.lists(
    st.sampled_from(
        ["append", "append", "append", "append", "torn", "nul", "full", "behind", "rename", "copytruncate"]
    ),
    min_size=1,
    max_size=16,
)
TEXT = st.text(max_size=30)


def no_space(*_arguments: object) -> t.NoReturn:
    raise OSError(28, "No space left on device")


class World:
    """A ledger below a temporary folder, and what was appended to it."""

    def __init__(self, folder: Path, limit: int) -> None:
        names = ("qsc_canary.jsonl", "anchor.json", "pending.jsonl", "config.json")
        (folder / "log").mkdir()
        self.log = Ledger(folder / "log" / names[0], *(folder / name for name in names[1:]), limit=limit, keep=3)
        self.appended = 0
        self.renamed = 0

    def append(self, text: str) -> None:
        self.log.append("look", {"number": self.appended, "text": text}, wall=float(self.appended))
        self.appended += 1

    def event(self, name: str, text: str) -> None:
        path = self.log.path
        if name == "append":
            self.append(text)
        elif name == "full":
            with mock.patch.object(ledger, "_write_all", no_space):
                self.append(text)
        elif name == "behind":  # killed between the line and the anchor, or before what waited was removed
            with mock.patch.object(ledger, "try_io", lambda *_arguments: None):
                self.append(text)
        elif not path.exists() or not path.stat().st_size:
            return
        elif name in ("torn", "nul"):
            tail = path.read_bytes()[:7] + text.replace("\n", "").encode() if name == "torn" else b"\0" * 9
            with open(path, "ab") as stream:
                stream.write(tail)
        else:
            self.renamed += 1
            aside = path.with_name(f"{path.name}-{self.renamed}")
            aside.write_bytes(path.read_bytes())
            if name == "rename":
                path.unlink()
            else:
                path.write_bytes(b"")

    def live(self, events: t.Sequence[str], texts: t.Sequence[str]) -> None:
        for number, event in enumerate(events):
            self.event(event, texts[number % len(texts)])
        self.append("the last one: what was torn is repaired, what waits comes in")


Given = tuple[list[str], list[str], int]
LEDGERS = st.tuples(EVENTS, st.lists(TEXT, min_size=1, max_size=4), st.sampled_from([700, 1500, 100_000]))


@given(LEDGERS)
def test_nothing_is_found_where_nothing_was_done(given_ledger: Given) -> None:
    events, texts, limit = given_ledger
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), limit)
        world.live(events, texts)
        found = verify(world.log)
        assert found.problems == []
        held = [entry["number"] for entry in world.log.entries() if entry["action"] == "look"]
        assert held[-1] == world.appended - 1
        assert sorted(set(held)) == held, "not in order, or twice"
        if not any("rotation" in note for note in found.notes):
            assert held == list(range(world.appended)), "an entry was lost"
        repairs = [entry for entry in world.log.entries() if entry["action"] == "ledger_repaired"]
        assert len([note for note in found.notes if "torn line" in note]) == len(repairs)


@given(LEDGERS, st.data())
def test_whatever_is_done_to_a_line_is_found(given_ledger: Given, data: st.DataObject) -> None:
    events, texts, limit = given_ledger
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), limit)
        world.live(events, texts)
        files = [path for path in world.log._files() if path.stat().st_size]
        path = data.draw(st.sampled_from(files))
        lines = path.read_bytes().splitlines(keepends=True)
        number = data.draw(st.integers(0, len(lines) - 1))
        how = data.draw(st.sampled_from(["edit", "remove", "swap", "truncate", "repeat", "insert"]))
        line = lines[number]
        if how == "edit":
            place = data.draw(st.integers(0, len(line) - 1))
            byte = bytes([data.draw(st.integers(0, 255))])
            assume(byte != line[place : place + 1])
            lines[number] = line[:place] + byte + line[place + 1 :]
        elif how == "remove":
            del lines[number]
        elif how == "swap":
            other = data.draw(st.integers(0, len(lines) - 1))
            assume(other != number)
            lines[number], lines[other] = lines[other], line
        elif how == "truncate":
            lines[number] = line[: data.draw(st.integers(0, len(line) - 1))]
            if data.draw(st.booleans()):
                del lines[number + 1 :]
        elif how == "repeat":
            lines.insert(number, line)
        else:
            lines.insert(number, data.draw(st.sampled_from([b"\n", b"{}\n", b"\0\n"])))
        path.write_bytes(b"".join(lines))
        assert verify(world.log).problems, f"{how} of line {number + 1} of {path.name}"
        if how != "truncate" and path.read_bytes().endswith(b"\n"):
            # but for rotation, which takes the oldest file away
            world.log = dataclasses.replace(world.log, keep=50)
            world.append("whoever appends next hides nothing")
            assert verify(world.log).problems, f"{how} of line {number + 1} of {path.name}, hidden by the next entry"
