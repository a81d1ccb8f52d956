# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recordings: what is read, and every file that is none."""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import BadInput, QscError
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge import recording as module
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.cutover import StreamId, parse_cutover
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.decisions import Dialect
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.recording import EVERYTHING, Range, from_file
from helpers.recorded import BEGIN_MS, DIALECT, lines, record
from helpers.telemetry import entry, healthy


def load(path: Path, part: Range = EVERYTHING, **options: t.Any) -> module.Recording:
    return from_file(str(path), DIALECT, part, **options)


def test_a_file_is_read_in_order_under_ids_of_its_own(tmp_path: Path) -> None:
    rows = [json.dumps({"ms": BEGIN_MS + ms, "fields": entry(healthy(ms))}) for ms in (0, 0, 5, 5, 5, 9)]
    found = load(record(tmp_path, [*rows, "", "  "]))
    assert [str(item.id) for item in found.decisions] == [
        f"{BEGIN_MS + ms}-{seq}" for ms, seq in ((0, 0), (0, 1), (5, 0), (5, 1), (5, 2), (9, 0))
    ]
    assert (found.first_ms, found.last_ms) == (BEGIN_MS, BEGIN_MS + 9)
    assert set(found.models()) == {"xgb", "lgbm", "nhits", "patchtst"}


def test_a_link_to_a_file_is_followed(tmp_path: Path) -> None:
    os.symlink(record(tmp_path, lines(3)), tmp_path / "link")
    assert len(load(tmp_path / "link").decisions) == 3


def test_since_and_until_cut_a_part_out(tmp_path: Path) -> None:
    rows = [json.dumps({"ms": BEGIN_MS + 1000 * i, "fields": entry(healthy(i))}) for i in range(10)]
    path = record(tmp_path, rows)
    part = Range(parse_cutover(str(BEGIN_MS + 2000), None).after, parse_cutover(str(BEGIN_MS + 5000), None).after)
    assert [item.id.ms - BEGIN_MS for item in load(path, part).decisions] == [3000, 4000, 5000]


def test_match_selects_entries(tmp_path: Path) -> None:
    rows = [
        json.dumps({"ms": BEGIN_MS + i, "fields": {**entry(healthy(i)), "source": f"engine{i % 2}"}}) for i in range(10)
    ]
    path = record(tmp_path, rows)
    assert len(load(path, match={"source": "engine1"}).decisions) == 5
    with pytest.raises(BadInput, match="holds no decision from the beginning"):
        load(path, match={"source": "engine2"})


def test_what_no_decision_can_be_read_from_is_a_blocker_not_an_error(tmp_path: Path) -> None:
    path = record(tmp_path, [json.dumps({"ms": BEGIN_MS, "fields": {"payload": "{"}})])
    assert [item.code for item in load(path).decisions[0].blockers] == ["invalid_payload"]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("{", "line 3 is not JSON"),
        ("\x80", "line 3 is not JSON"),
        ("[" * 100_000, "line 3 is not JSON"),
        ("[]", "line 3 is not an object with ms and fields"),
        ('{"ms": 1768000000000}', "line 3 is not an object with ms and fields"),
        ('{"ms": "1768000000000", "fields": {}}', "line 3 has ms='1768000000000', which is no epoch in milliseconds"),
        ('{"ms": 1768000000, "fields": {}}', "line 3 has ms=1768000000, which is no epoch"),
        ('{"ms": true, "fields": {}}', "line 3 has ms=True"),
        ('{"ms": 1768000000000.5, "fields": {}}', "line 3 has ms=1768000000000.5"),
        ('{"ms": 1768999999999, "fields": []}', "line 3 has fields that are not"),
        ('{"ms": 1768999999999, "fields": {"payload": {}}}', "line 3 has fields that are not"),
        ('{"ms": 1700000000000, "fields": {}}', "line 3 goes back in time, from 2026-01-09T"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, what: str) -> None:
    path = tmp_path / "telemetry.jsonl"
    path.write_bytes("\n".join([*lines(2), line]).encode("latin-1"))
    with pytest.raises(BadInput, match="line 3") as caught:
        load(path)
    assert what in str(caught.value)
    assert f"file='{path}'" in str(caught.value)
    assert caught.value.remedy


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n\n")
    os.mkfifo(tmp_path / "fifo")
    for name, what in (
        ("nothing", "does not exist"),
        ("fifo", "cannot be read: not a regular file"),
        (".", "cannot be read"),
        ("empty", "holds no decision from the beginning"),
        ("x\0y", "cannot be read"),
    ):
        with pytest.raises(QscError) as caught:
            from_file(f"{tmp_path}/{name}", DIALECT, EVERYTHING)
        assert what in str(caught.value)
        assert caught.value.remedy


def test_an_empty_range_names_itself(tmp_path: Path) -> None:
    path = record(tmp_path, lines(5))
    with pytest.raises(BadInput, match=r"holds no decision after 2033-05-18T03:33:20.000Z until 2033-05-18T03:33:21"):
        load(path, Range(StreamId(2_000_000_000_000, 0), StreamId(2_000_000_001_000, 0)))


def test_bounds_in_bytes_and_in_decisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = record(tmp_path, lines(30))
    monkeypatch.setattr(module, "MOST_DECISIONS", 29)
    with pytest.raises(BadInput, match="holds more than 29 decisions"):
        load(path)
    monkeypatch.setattr(module, "MOST_FILE_BYTES", 1 << 10)
    with pytest.raises(BadInput, match="is larger than 0 MiB"):
        load(path)


def test_a_model_that_never_votes_is_refused_with_the_names_there_are(tmp_path: Path) -> None:
    path = record(tmp_path, lines(5))
    with pytest.raises(
        BadInput, match=r"model='tft' never votes in the file .*; known are: lgbm, nhits, patchtst, xgb"
    ):
        load(path).require("tft", DIALECT)
    renamed = Dialect.of({"xgb": "boosted"}, ())
    with pytest.raises(BadInput, match="The aliases call it 'boosted'"):
        from_file(str(path), renamed, EVERYTHING).require("xgb", renamed)
