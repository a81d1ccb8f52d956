# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ledger: no line goes unseen, no entry is lost or doubled, and no disk stops who appends."""

from __future__ import annotations

import errno
import functools
import gzip
import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc import __version__, ledger
from ansible_collections.qsc.canary.plugins.module_utils.qsc.ledger import Ledger, verify
from ansible_collections.qsc.canary.plugins.module_utils.qsc.settings import Paths

FEW = 1000
"""Bytes: a file of two entries or so, to see rotation at work."""


def no_space(*_arguments: object, **_options: object) -> t.NoReturn:
    raise OSError(errno.ENOSPC, "No space left on device")


def make(prefix: Path, **changes: t.Any) -> Ledger:
    paths = Paths(prefix)
    for folder in (paths.ledger.parent, paths.state, paths.run, paths.config.parent):
        folder.mkdir(parents=True, exist_ok=True)
    log = Ledger.at(paths, "tester")
    return Ledger(**{**{name: getattr(log, name) for name in log.__dataclass_fields__}, **changes})


@pytest.fixture
def log(tmp_path: Path) -> Ledger:
    return make(tmp_path)


@pytest.fixture
def small(tmp_path: Path) -> Ledger:
    """A ledger that rotates after every second entry and keeps three files."""
    return make(tmp_path, limit=FEW, keep=3)


def fill(log: Ledger, count: int, begin: int = 0) -> list[ledger.Entry]:
    return [
        log.append("look", {"canary_id": f"c{number}"}, wall=1000.0 + number) for number in range(begin, begin + count)
    ]


def numbers(log: Ledger) -> list[int]:
    return [int(entry["canary_id"][1:]) for entry in log.entries() if entry.get("action") == "look"]


def files_of(log: Ledger) -> list[Path]:
    return sorted(path for path in log.path.parent.iterdir())


def lines_of(log: Ledger) -> list[bytes]:
    return log.path.read_bytes().splitlines()


def whole(log: Ledger, entries: int) -> list[str]:
    """Assert that nothing is wrong and return the notes."""
    found = verify(log)
    assert found.problems == []
    assert found.entries == entries
    return list(found.notes)


# --- what an entry holds


def test_an_empty_ledger(log: Ledger) -> None:
    assert (log.entries(), log.tail(5), log.find("x", "y")) == ([], [], None)
    assert whole(log, 0) == []


def test_what_every_entry_carries(log: Ledger) -> None:
    assert log.append("look", {}, wall=1_768_023_795.123)["settings_digest"] == ""
    log.config.write_bytes(b"{}\n")
    entry = log.append("look", {"canary_id": "c1"}, wall=1_768_023_795.123)
    first, second = lines_of(log)
    assert json.loads(second) == entry
    assert len(entry.pop("entry_id")) == 16
    assert entry == {
        "timestamp": "2026-01-10T05:43:15.123Z",
        "action": "look",
        "canary_id": "c1",
        "actor": "tester",
        "host": os.uname().nodename,
        "version": __version__,
        "settings_digest": hashlib.sha256(b"{}\n").hexdigest(),
        "sequence": 2,
        "previous": hashlib.sha256(first).hexdigest(),
    }
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o644


def test_settings_that_cannot_be_read_stop_no_entry(log: Ledger) -> None:
    log.config.symlink_to("elsewhere")
    assert log.append("look", {}, wall=0.0)["settings_digest"] == ""


def test_sequence_and_chain(log: Ledger) -> None:
    fill(log, 5)
    lines = lines_of(log)
    entries = [json.loads(line) for line in lines]
    assert entries == log.entries()
    assert [entry["sequence"] for entry in entries] == [1, 2, 3, 4, 5]
    assert [entry["previous"] for entry in entries] == ["", *(hashlib.sha256(line).hexdigest() for line in lines[:-1])]
    assert [entry["canary_id"] for entry in log.tail(2)] == ["c3", "c4"]
    assert len(log.tail(50)) == 5
    assert log.tail(0) == []
    assert whole(log, 5) == []


def test_find_gives_the_newest_of_that_run(log: Ledger) -> None:
    for number, (action, run) in enumerate([("a", "x"), ("a", "y"), ("b", "x"), ("a", "x"), ("a", "y")]):
        log.append(action, {"canary_id": run, "number": number}, wall=0.0)
    found = log.find("a", "x")
    assert found is not None
    assert found["number"] == 3
    assert log.find("b", "y") is None
    assert log.find("c", "x") is None


@pytest.mark.parametrize("length", [10, 65_000, 65_536, 70_000, 300_000, 1_200_000])
def test_the_last_line_however_long(log: Ledger, length: int) -> None:
    log.append("first", {}, wall=0.0)
    log.append("long", {"text": "x" * length}, wall=0.0)
    last = lines_of(log)[-1]
    entry = log.append("next", {}, wall=0.0)
    assert (entry["sequence"], entry["previous"]) == (3, hashlib.sha256(last).hexdigest())
    log.anchor.unlink()
    assert log.append("without an anchor", {}, wall=0.0)["sequence"] == 5


def test_appending_costs_the_same_in_a_long_ledger(log: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(log, 1)
    monkeypatch.setattr(ledger, "_lines", no_space)  # whoever reads all of it fails here
    assert log.append("next", {}, wall=0.0)["sequence"] == 2


def test_the_ledger_is_append_only_json(log: Ledger) -> None:
    with pytest.raises(ValueError):
        log.append("nan", {"value": float("nan")}, wall=0.0)
    assert not log.path.exists()
    assert not log.pending.exists()


def test_the_ledger_follows_no_link(log: Ledger) -> None:
    other = log.path.parent / "other"
    other.write_text("")
    log.path.symlink_to("other")
    assert "sequence" not in log.append("through a link", {}, wall=0.0)
    assert other.read_text() == ""
    log.path.unlink()
    log.flush(wall=0.0)
    assert [entry["sequence"] for entry in log.entries()] == [1]


def test_order_on_disk(log: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line is on the disk before the anchor says so; a new file's name is on the disk as well."""
    log.append("first", {}, wall=0.0)
    steps: list[str] = []
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(handle: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        steps.append(f"fsync {'anchor' if path.name.startswith('.ledger_anchor') else path.name}")
        real_fsync(handle)

    def replace(source: t.Any, target: t.Any) -> None:
        steps.append(f"rename to {Path(target).name}")
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    log.append("second", {}, wall=0.0)
    anchored = ["fsync anchor", "rename to ledger_anchor.json", "fsync qsc_canary"]
    assert steps == ["fsync qsc_canary.jsonl", *anchored]
    steps.clear()
    log.path.unlink()
    log.append("third", {}, wall=0.0)
    assert steps == ["fsync qsc_canary.jsonl", "fsync qsc_canary", *anchored]


# --- what verify finds


def damaged(log: Ledger, change: t.Callable[[list[bytes]], list[bytes]]) -> list[str]:
    """The problems after a change of the lines."""
    log.path.write_bytes(b"".join(line + b"\n" for line in change(lines_of(log))))
    return list(verify(log).problems)


def edit(number: int, old: bytes, new: bytes) -> t.Callable[[list[bytes]], list[bytes]]:
    def change(lines: list[bytes]) -> list[bytes]:
        assert old in lines[number]
        return [*lines[:number], lines[number].replace(old, new), *lines[number + 1 :]]

    return change


DAMAGES: t.Mapping[str, tuple[t.Callable[[list[bytes]], list[bytes]], str]] = {
    "first edited": (edit(0, b'"c0"', b'"c9"'), "line 1 (sequence 1, look): changed"),
    "one edited": (edit(2, b'"c2"', b'"c9"'), "line 3 (sequence 3, look): changed"),
    "last edited": (edit(4, b'"c4"', b'"c9"'), "line 5 (sequence 5, look): changed, its SHA-256"),
    "a space more": (edit(2, b'"c2"', b'"c2" '), "line 3 (sequence 3, look): changed"),
    "first of the chain": (edit(0, b'"previous": ""', b'"previous": "0"'), "line 1 (sequence 1, look): changed"),
    "sequence edited": (edit(2, b'"sequence": 3', b'"sequence": 4'), "line 3 (sequence 4, look): sequence 3 is"),
    "no number": (edit(2, b'"sequence": 3', b'"sequence": true'), "line 3: not an entry"),
    "no entry": (edit(2, b"{", b"["), "line 3: not an entry of the ledger"),
    "first removed": (lambda lines: lines[1:], "line 1 (sequence 2, look): sequence 1 is missing before it"),
    "one removed": (lambda lines: [*lines[:2], *lines[3:]], "line 3 (sequence 4, look): sequence 3 is"),
    "last removed": (lambda lines: lines[:-1], "sequence 5 is missing at the end"),
    "three removed": (lambda lines: lines[:2], "sequences 3 to 5 are missing at the end"),
    "all removed": (lambda _lines: [], "sequences 1 to 5 are missing at the end"),
    "two swapped": (lambda lines: [*lines[:2], lines[3], lines[2], lines[4]], "line 4 (sequence 3, look): repeated"),
    "one twice": (lambda lines: [*lines[:3], *lines[2:]], "line 4 (sequence 3, look): repeated or out of order"),
    "an empty line": (lambda lines: [*lines[:3], b"", *lines[3:]], "line 4: an empty line"),
    "an empty line at the end": (lambda lines: [*lines, b""], "line 6: an empty line"),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGES)
def test_what_was_done_to_the_lines(log: Ledger, case: str) -> None:
    change, sentence = DAMAGES[case]
    fill(log, 5)
    problems = damaged(log, change)
    assert any(sentence in problem for problem in problems), problems
    before = log.path.read_bytes()
    # whoever appends next hides nothing
    fill(log, 2, begin=5)
    assert log.path.read_bytes().startswith(before)
    after = verify(log).problems
    assert after, f"hidden by the next entry: {problems}"


def test_a_removed_file(log: Ledger) -> None:
    fill(log, 3)
    log.path.unlink()
    assert verify(log).problems == ["qsc_canary.jsonl: sequences 1 to 3 are missing at the end"]
    assert fill(log, 1, begin=3)[0]["sequence"] == 4
    (problem,) = verify(log).problems
    assert problem == "qsc_canary.jsonl line 1 (sequence 4, look): sequences 1 to 3 are missing before it"


def test_a_lost_anchor_is_told_for_ever(log: Ledger) -> None:
    fill(log, 3)
    for content in (None, b"{", b'{"sequence": 3, "digest": "", "first": 1, "owed": [5]}'):
        log.anchor.unlink() if content is None else log.anchor.write_bytes(content)
        assert any("missing or unreadable" in problem for problem in verify(log).problems)
        fill(log, 1, begin=3)
    notes = whole(log, 3 + 3 * 2)
    assert len([note for note in notes if "the anchor was missing or unreadable" in note]) == 3


def test_a_line_behind_the_anchor_that_does_not_follow_is_not_taken_in(log: Ledger) -> None:
    """The newest line is replaced by two others, so that the file ends behind the anchor."""
    fill(log, 3)
    good = log.path.read_bytes(), log.anchor.read_bytes()
    lines = lines_of(log)
    log.path.write_bytes(b"\n".join(lines[:2]) + b"\n")
    log.anchor.unlink()
    fill(log, 2, begin=7)  # a forged history, whole in itself
    log.anchor.write_bytes(good[1])
    assert verify(log).problems
    assert fill(log, 1)[0]["sequence"] == 4
    assert verify(log).problems


# --- crashes

TORN = (
    b'{"timestamp": "2026-01',
    b"\x00\x00\x00",
    b'{"timestamp": "20\x00\x00\x00',
    b"\xff\xfe",
    b'{"sequence": "many"}',
    b"5",
)


@pytest.mark.parametrize("torn", TORN)
def test_a_torn_last_line_is_repaired_with_a_note(log: Ledger, torn: bytes) -> None:
    fill(log, 2)
    good = log.path.read_bytes()
    log.path.write_bytes(good + torn)
    assert verify(log).problems == [
        f"qsc_canary.jsonl line 3: torn, {len(torn)} bytes without a line's end; the next entry repairs it"
    ]
    assert numbers(log) == [0, 1]
    fill(log, 1, begin=2)
    assert log.path.read_bytes().startswith(good + b"{")
    repaired = json.loads(lines_of(log)[2])
    assert (repaired["action"], repaired["sequence"], repaired["cut_bytes"]) == ("ledger_repaired", 3, len(torn))
    assert repaired["cut_sha256"] == hashlib.sha256(torn).hexdigest()
    assert repaired["cut_text"] == torn.rstrip(b"\0").decode(errors="replace")
    assert numbers(log) == [0, 1, 2]
    (note,) = whole(log, 4)
    assert note.endswith(
        f"(sequence 3, ledger_repaired): {len(torn)} bytes of a torn line were cut off and are kept here"
    )


def test_what_was_cut_off_is_bounded_and_printable(log: Ledger) -> None:
    fill(log, 1)
    with open(log.path, "ab") as stream:
        stream.write(b"\x1b[2J" + b"x" * 100_000)
    fill(log, 1, begin=1)
    text = log.entries()[1]["cut_text"]
    assert len(text) <= 4000
    assert text.isprintable()


def test_a_last_line_without_its_end_is_closed(log: Ledger) -> None:
    """The entry is whole, so who wrote it finds it and writes it no second time."""
    fill(log, 3)
    log.path.write_bytes(log.path.read_bytes()[:-1])
    assert log.find("look", "c2") is not None
    assert any("torn" in problem for problem in verify(log).problems)
    fill(log, 1, begin=3)
    assert whole(log, 4) == []


def test_a_shortened_last_line_is_no_crash(log: Ledger) -> None:
    """The anchor knows that this line was whole: the repair keeps what is left, and does not call it well."""
    fill(log, 3)
    os.truncate(log.path, log.path.stat().st_size - 10)
    fill(log, 1, begin=3)
    (problem,) = verify(log).problems
    assert problem.endswith("(sequence 4, ledger_repaired): sequence 3 is missing before it")


CALLS = ("write", "replace", "fsync", "ftruncate", "unlink", "fchmod")


def killed_at(step: int, action: t.Callable[[], object], *, after: bool) -> bool:
    """Do something in a child that is killed at its n-th call of the file layer; False when it came to its end."""
    child = os.fork()
    if child == 0:
        left = step

        def hook(real: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
            def call(*arguments: t.Any, **options: t.Any) -> t.Any:
                nonlocal left
                left -= 1
                if left == 0:
                    if after:
                        real(*arguments, **options)
                    elif real.__name__ == "write":
                        real(arguments[0], arguments[1][: len(arguments[1]) // 2])  # a part of a line
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*arguments, **options)

            return call

        try:
            for name in CALLS:
                setattr(os, name, hook(getattr(os, name)))
            action()
        finally:
            os._exit(0)
    _pid, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def prepare_plain(_log: Ledger) -> None:
    return


def prepare_torn(log: Ledger) -> None:
    with open(log.path, "ab") as stream:
        stream.write(b'{"torn": ')


def prepare_waiting(log: Ledger) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledger, "_write_all", no_space)
        fill(log, 2, begin=100)


def prepare_full(log: Ledger, files: int = 1) -> None:
    """So many files, and no room for another entry in the current one."""
    number = len(numbers(log))
    while len(files_of(log)) < files or log.path.stat().st_size < log.limit - 300:
        fill(log, 1, begin=number)
        number += 1


def prepare_full_and_torn(log: Ledger) -> None:
    prepare_full(log)
    prepare_torn(log)


PREPARED: t.Mapping[str, tuple[t.Callable[[Ledger], None], int]] = {
    "new": (prepare_plain, 0),
    "plain": (prepare_plain, 1),
    "rotation": (prepare_full, 0),
    "rotation that drops a file": (functools.partial(prepare_full, files=6), 0),
    "torn": (prepare_torn, 1),
    "torn, and rotation": (prepare_full_and_torn, 0),
    "waiting": (prepare_waiting, 1),
    "waiting and torn": (lambda log: (prepare_waiting(log), prepare_torn(log))[0], 3),
}


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("case", PREPARED)
def test_killed_anywhere(tmp_path: Path, case: str, after: bool) -> None:
    """Killed before (a write: half-way) or after every call of the file layer, and tried again as its callers do."""
    prepare, count = PREPARED[case]
    kept = make(tmp_path / "kept", limit=FEW, keep=5)
    fill(kept, count)
    prepare(kept)
    step, dropped = 0, [0]
    while True:
        step += 1
        assert step < 200
        shutil.rmtree(tmp_path / "try", ignore_errors=True)
        shutil.copytree(tmp_path / "kept", tmp_path / "try", symlinks=True)
        log = make(tmp_path / "try", limit=FEW, keep=5)
        before = numbers(log)
        if not killed_at(step, functools.partial(fill, log, 1, 500), after=after):
            break
        if log.find("look", "c500") is None:
            fill(log, 1, begin=500)
        fill(log, 1, begin=501)
        found = verify(log)
        assert found.problems == [], f"killed at step {step}"
        after_all = numbers(log)
        assert after_all[-2:] == [500, 501], f"killed at step {step}"
        assert len(set(after_all)) == len(after_all), f"logged twice, killed at step {step}"
        dropped = before[: before.index(after_all[0])] if before else []
        assert after_all[: len(before) - len(dropped)] == before[len(dropped) :], f"lost, killed at step {step}"
        if prepare is prepare_torn:
            assert any(entry.get("cut_text") == '{"torn": ' for entry in log.entries()), (
                f"hidden, killed at step {step}"
            )
        assert not log.pending.exists()
        assert json.loads(log.anchor.read_bytes())["owed"] == []
        assert not [entry for entry in log.entries() if entry["action"] == "ledger_anchored"], "the anchor was there"
    assert step > 5
    assert ("drops" in case) == bool(dropped), "the oldest file went, or had to stay"


# --- rotation


def test_rotation_keeps_the_chain_and_drops_the_oldest(small: Ledger) -> None:
    fill(small, 4)
    assert len(files_of(small)) > 1
    assert whole(small, 4) == []
    fill(small, 30, begin=4)
    names = [path.name for path in files_of(small)]
    assert names == ["qsc_canary.jsonl", *(f"qsc_canary.jsonl.{number}" for number in (1, 2, 3))]
    assert all(path.stat().st_size <= FEW for path in files_of(small))
    held = numbers(small)
    assert held == list(range(held[0], 34))
    (note,) = whole(small, len(held))
    assert note == f"sequences 1 to {held[0]} went by rotation: verified from sequence {held[0] + 1} on"
    assert small.find("look", "c33") == small.entries()[-1]
    assert small.find("look", f"c{held[0]}") is not None
    assert [entry["canary_id"] for entry in small.tail(3)] == ["c31", "c32", "c33"]


def test_the_limits() -> None:
    assert (ledger.ROTATE_BYTES, ledger.KEPT_FILES) == (8 * 1024 * 1024, 9)


@pytest.mark.parametrize("name", ["qsc_canary.jsonl.3", "qsc_canary.jsonl.2", "qsc_canary.jsonl.1", "qsc_canary.jsonl"])
def test_a_file_taken_away_after_rotation(small: Ledger, name: str) -> None:
    fill(small, 30)
    small.path.with_name(name).unlink()
    assert any("missing" in problem for problem in verify(small).problems)


def test_the_first_line_taken_away_after_rotation(small: Ledger) -> None:
    fill(small, 30)
    oldest = small.path.with_name("qsc_canary.jsonl.3")
    oldest.write_bytes(oldest.read_bytes().split(b"\n", 1)[1])
    (problem,) = verify(small).problems
    assert problem.endswith("is missing before it")


# --- somebody else's rotation


def rename_create(log: Ledger) -> None:
    os.rename(log.path, log.path.with_name(f"{log.path.name}.1"))
    log.path.touch(0o640)


def rename_only(log: Ledger) -> None:
    os.rename(log.path, log.path.with_name(f"{log.path.name}-20260110"))


def copytruncate(log: Ledger) -> None:
    shutil.copy(log.path, log.path.with_name(f"{log.path.name}.1"))
    os.truncate(log.path, 0)


def compress(log: Ledger) -> None:
    aside = log.path.with_name(f"{log.path.name}.1.gz")
    aside.write_bytes(gzip.compress(log.path.read_bytes()))
    log.path.unlink()


EXTERNAL = (rename_create, rename_only, copytruncate, compress)


@pytest.mark.parametrize("rotate", EXTERNAL)
def test_an_external_rotation_breaks_nothing(log: Ledger, rotate: t.Callable[[Ledger], None]) -> None:
    fill(log, 3)
    rotate(log)
    assert whole(log, 3) == []
    assert log.find("look", "c2") is not None
    assert [entry["canary_id"] for entry in log.tail(2)] == ["c1", "c2"]
    (entry,) = fill(log, 1, begin=3)
    assert entry["sequence"] == 4
    assert numbers(log) == [0, 1, 2, 3]
    assert whole(log, 4) == []


@pytest.mark.parametrize("rotate", EXTERNAL)
def test_an_external_rotation_of_a_ledger_whose_anchor_lags(log: Ledger, rotate: t.Callable[[Ledger], None]) -> None:
    fill(log, 2)
    anchor = log.anchor.read_bytes()
    fill(log, 2, begin=2)
    log.anchor.write_bytes(anchor)
    (note,) = whole(log, 4)
    assert note == "the anchor is at sequence 2: the next entry takes it on"
    rotate(log)
    fill(log, 1, begin=4)
    assert whole(log, 5) == []


def test_a_torn_line_that_was_put_aside(log: Ledger) -> None:
    fill(log, 2)
    prepare_torn(log)
    rename_create(log)
    fill(log, 1, begin=2)
    assert len(whole(log, 4)) == 1
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o640, "the mode that logrotate was told"


def test_dates_in_names_do_not_disturb_ours(small: Ledger) -> None:
    fill(small, 2)
    rename_only(small)
    fill(small, 20, begin=2)
    held = numbers(small)
    assert held[:2] == [0, 1]
    assert held[2:] == list(range(held[2], 22))
    assert len(held) < 22, "ours of the middle went, the dated one stays"
    (note,) = whole(small, len(held))
    assert note == f"sequences 3 to {held[2]} went by rotation: verified from sequence {held[2] + 1} on"


def test_a_copy_by_an_editor_is_no_part_of_the_ledger(log: Ledger) -> None:
    fill(log, 2)
    for name in ("~", ".bak", ".swp", ".1~", ".orig"):
        shutil.copy(log.path, log.path.with_name(log.path.name + name))
    assert whole(log, 2) == []


@pytest.mark.parametrize("damage", [lambda data: data[:-12], lambda data: b"x" + data, lambda _data: b"\x1f\x8b"])
def test_a_damaged_archive_is_an_error_and_stops_no_entry(log: Ledger, damage: t.Callable[[bytes], bytes]) -> None:
    fill(log, 2)
    compress(log)
    aside = log.path.with_name("qsc_canary.jsonl.1.gz")
    aside.write_bytes(damage(aside.read_bytes()))
    assert log.find("look", "c5") is None
    assert [entry["sequence"] for entry in fill(log, 2, begin=2)] == [3, 4]
    with pytest.raises(OSError, match=r"cannot be decompressed.*jsonl\.1\.gz"):
        verify(log)


# --- no room on the disk


def test_an_entry_waits_and_comes_in_once(log: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(log, 1)
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "_write_all", no_space)
        waiting = fill(log, 2, begin=1)
        with pytest.raises(OSError, match="No space"):
            log.flush(wall=5000.0)
    assert not [entry for entry in waiting if "sequence" in entry]
    assert numbers(log) == [0, 1, 2]
    found = log.find("look", "c2")
    assert found is not None, "a retried rollback would log twice"
    (note,) = whole(log, 1)
    assert note == f"for room on the disk wait in {log.pending}: 2"
    fill(log, 1, begin=3)
    entries = log.entries()
    assert [entry["sequence"] for entry in entries] == [1, 2, 3, 4]
    assert [entry["canary_id"] for entry in entries] == ["c0", "c1", "c2", "c3"]
    assert [entry["timestamp"] for entry in entries[1:3]] == [entry["timestamp"] for entry in waiting]
    assert not log.pending.exists()
    assert whole(log, 4) == []
    assert log.flush(wall=0.0) == 0


def test_what_was_appended_before_the_room_ended_is_not_appended_again(
    log: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, left = ledger._write_all, 0

    def some_space(handle: int, data: bytes) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            os.write(handle, data[:20])
            no_space()
        real(handle, data)

    monkeypatch.setattr(ledger, "_write_all", some_space)
    fill(log, 4)
    left = 2
    fill(log, 1, begin=4)
    assert len(lines_of(log)) == 2, "a part of a line was left"
    assert sorted(numbers(log)) == [0, 1, 2, 3, 4]
    left = 100
    assert log.flush(wall=0.0) == 5
    assert numbers(log) == [0, 1, 2, 3, 4]
    assert whole(log, 5) == []


def test_an_anchor_that_cannot_be_written_stops_nothing(log: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(log, 1)
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "write_json", no_space)
        assert [entry["sequence"] for entry in fill(log, 3, begin=1)] == [2, 3, 4]
    assert whole(log, 4) == ["the anchor is at sequence 1: the next entry takes it on"]
    fill(log, 1, begin=4)
    assert whole(log, 5) == []


def test_without_run_the_error_is_raised(log: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "_write_all", no_space)
    monkeypatch.setattr(ledger, "write_atomic", no_space)
    with pytest.raises(OSError, match="No space"):
        fill(log, 1)


def test_what_waits_is_bounded(log: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "_write_all", no_space)
    log.append("large", {"text": "x" * 600_000}, wall=0.0)
    with pytest.raises(OSError, match="wait already") as caught:
        log.append("large", {"text": "x" * 600_000}, wall=0.0)
    assert caught.value.errno == errno.ENOSPC
    assert len(log.waiting()) == 1


def test_what_waits_is_not_forgotten_when_it_cannot_be_read(log: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "_write_all", no_space)
        fill(log, 1)
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "read_bounded", no_space)
        with pytest.raises(OSError, match="No space"):
            fill(log, 1, begin=1)
    fill(log, 1, begin=2)
    assert numbers(log) == [0, 2]


def test_damage_in_what_waits_stops_nothing(log: Ledger) -> None:
    log.pending.write_bytes(b'{"torn\n[]\n{"no": "id"}\n\xff\n')
    fill(log, 1)
    assert whole(log, 1) == []


def test_a_real_full_disk(small_disk: Path, tmp_path: Path) -> None:
    log = make(tmp_path, path=small_disk / "qsc_canary.jsonl")
    fill(log, 1)
    filler = small_disk / "filler"
    with open(filler, "wb", buffering=0) as stream, pytest.raises(OSError):
        while True:
            stream.write(b"x" * 4096)
    # the rest of the last page is room for a line or so
    while "sequence" in fill(log, 1, begin=len(numbers(log)))[0]:
        pass
    count = len(numbers(log))
    fill(log, 2, begin=count)
    assert numbers(log) == list(range(count + 2))
    assert verify(log).problems == []
    filler.unlink()
    assert log.flush(wall=0.0) == 3
    assert whole(log, count + 2) == []


def test_a_real_read_only_disk(small_disk: Path, tmp_path: Path) -> None:
    log = make(tmp_path, path=small_disk / "qsc_canary.jsonl")
    fill(log, 1)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    fill(log, 2, begin=1)
    assert numbers(log) == [0, 1, 2]
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    fill(log, 1, begin=3)
    assert numbers(log) == [0, 1, 2, 3]
    assert whole(log, 4) == []


# --- who acts


@pytest.mark.parametrize(
    ("before", "text"),
    [
        (None, "root"),
        ("alice", "root by sudo of alice"),
        ("root", "root"),
        ("a\x1bb", "root by sudo of a\N{REPLACEMENT CHARACTER}b"),
    ],
)
def test_the_acting_user(monkeypatch: pytest.MonkeyPatch, before: str | None, text: str) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("USER", "mallory")  # says nothing
    monkeypatch.delenv("SUDO_USER", raising=False)
    if before is not None:
        monkeypatch.setenv("SUDO_USER", before)
    assert ledger.acting_user() == text


def test_a_user_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_USER", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 4_000_000)
    assert ledger.acting_user() == "4000000"
