# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever stands in place of any value of an archive, a replay gives an answer or refuses it (tests/fuzz)."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "plugins" / "module_utils"), str(ROOT / "tests" / "fuzz")]
from targets import TARGETS  # noqa: E402

from qsc.judge.archive import line_of, parse  # noqa: E402 - the fuzzer imports the core as the host does
from qsc.judge.cutover import StreamId  # noqa: E402
from qsc.judge.stream import Entry  # noqa: E402

CORPUS = ROOT / "tests" / "fuzz" / "corpus" / "evidence"
LEFT = json.dumps(
    {
        "left": {
            "length": 0, "first_id": None, "last_id": None, "last_generated_id": "0-0", "entries_added": None,
            "max_deleted_id": None,
        }
    }
).encode()  # fmt: skip
odd = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(0, 1 << 62), st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0, -1, 1e-300, 1e15, "", "0-0", "9" * 40, "18446744073709551615-18446744073709551615", [], {}]),
    st.text(max_size=5),
)  # fmt: skip


def places(value, path=()):
    """The way to every value within a value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def put(value, path, other):
    """A value with another one at the end of a way."""
    if not path:
        return other
    copy = value.copy()
    copy[path[0]] = put(value[path[0]], path[1:], other)
    return copy


@pytest.mark.parametrize("policy", ["strict", "sequential"])
@settings(max_examples=300)
@given(data=st.data())
def test_any_value_may_be_anything(policy, data):
    parts = (CORPUS / policy).read_bytes()[1:].split(b"\0")
    number = data.draw(st.sampled_from([0, 0, 0, 1, 2, 3]))
    lines = parts[number].split(b"\n") if number < 2 else [parts[number]]
    place = data.draw(st.integers(0, len(lines) - 1))
    value = json.loads(lines[place])
    for _time in range(data.draw(st.integers(1, 2))):
        value = put(value, data.draw(st.sampled_from(list(places(value)))), data.draw(odd))
    lines[place] = json.dumps(value).encode()
    parts[number] = b"\n".join(lines)
    TARGETS["evidence"](b"\x01" + b"\0".join(parts))


fields = st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=60)), max_size=5)
ids = st.builds(StreamId, st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 64) - 1))


@given(st.lists(st.builds(Entry, ids, fields), max_size=8, unique_by=lambda entry: entry.id))
def test_an_entry_comes_back_as_it_was(entries):
    """Also names that stand twice, and bytes that are no text."""
    entries.sort()
    found = parse(b"".join(map(line_of, entries)), LEFT)
    assert list(found.entries) == entries
