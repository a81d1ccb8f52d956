# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever a reader is given, it keeps its promises: the fuzzer's targets (tests/fuzz), driven by structure."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "plugins" / "module_utils"), str(ROOT / "tests" / "fuzz")]
from targets import TARGETS  # noqa: E402

from helpers.hostile import NAMES  # noqa: E402
from helpers.samples import BASELINE, COLLAPSE, make_record, make_verdict  # noqa: E402
from qsc.judge.cutover import StreamId  # noqa: E402 - the fuzzer imports the core as the host does
from qsc.judge.decisions import ACTIONS, Dialect, parse  # noqa: E402

MODELS = ("xgb", "lgbm", "nhits", "patchtst")
odd_texts = st.text(max_size=12) | st.sampled_from(list(NAMES.values()))
odd_numbers = st.sampled_from(["1e400", "-1e400", "NaN", "-Infinity", "-0.0", "9" * 5000, "1e-400", "true", '"1e5"'])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | odd_texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(odd_texts, inner, max_size=4),
    max_leaves=8,
)


class Raw:
    """A text that stands in JSON as it is, whatever it is."""

    def __init__(self, text):
        self.text = text


def rendered(value):
    """JSON text of a value, with every Raw as it is."""
    if isinstance(value, Raw):
        return value.text
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(name)}:{rendered(item)}" for name, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(rendered(item) for item in value) + "]"
    return json.dumps(value)


raws = odd_numbers.map(Raw)
votes = st.fixed_dictionaries(
    {"action": st.sampled_from(ACTIONS) | json_values, "confidence": st.floats(0, 1) | json_values | raws},
    optional={"shadow": st.booleans() | json_values, "inactive": st.booleans() | json_values, "model": odd_texts},
)
numbers = st.floats(0, 600) | st.integers(0, 9)
breakdowns = st.dictionaries(st.sampled_from([*MODELS, "xgboost", "fallback"]) | odd_texts, votes | json_values | raws)


@given(breakdowns | json_values | raws, st.booleans())
def test_any_breakdown(breakdown, as_text):
    text = rendered({"model_breakdown": json.dumps(rendered(breakdown)) if as_text else breakdown})
    TARGETS["decision"](text.encode("utf-8", "surrogatepass"))


@given(st.lists(breakdowns, max_size=6))
def test_any_breakdowns_in_figures_and_pages(told):
    lines = [rendered({"model_breakdown": item}).encode("utf-8", "surrogatepass") for item in told]
    TARGETS["reports"](b"\n".join(lines))


@given(
    st.dictionaries(
        st.sampled_from(MODELS),
        st.fixed_dictionaries(
            {"action": st.sampled_from(ACTIONS), "confidence": st.floats(0, 600) | st.integers(0, 9)}
        ),
        min_size=1,
    )
)
def test_a_well_formed_decision_is_read_as_it_was_written(breakdown):
    text = json.dumps({"model_breakdown": breakdown}).encode()
    found = parse(StreamId(1, 0), [(b"payload", text)], Dialect())
    assert found.blockers == ()
    assert {name: vote.action for name, vote in found.votes.items()} == {
        name: said["action"] for name, said in breakdown.items()
    }
    for name, said in breakdown.items():
        number = said["confidence"]
        assert found.votes[name].confidence == (number if number <= 1 else 1 / (1 + math.exp(-number)))
        assert found.votes[name].normalized == (number > 1)


BAD = ["NaN", "Infinity", "-Infinity", "1e400", "true", "false", "null", "-1e-300", "-5", '"0.5"', "[0.5]", "{}"]


@given(st.sampled_from(BAD), st.sampled_from(ACTIONS), st.sampled_from(MODELS))
def test_a_bad_confidence_is_always_a_blocker(number, action, model):
    text = rendered({"model_breakdown": {model: {"action": action, "confidence": Raw(number)}}})
    found = parse(StreamId(1, 0), [(b"payload", text.encode())], Dialect())
    assert [(blocker.code, blocker.model) for blocker in found.blockers] == [("invalid_confidence", model)]
    assert not found.votes


STATE = {
    "schema": 1, "canary_id": "id", "checks_done": 1, "checks_judged": 1, "checks_missed": 0, "missed_in_a_row": 0,
    "max_missed_in_a_row": 0, "complete": True, "incumbents": ["xgb flat_predictions"],
    "latched": {
        "verdict": "violation", "status": "NO-GO", "message": "m", "events": 3, "violations": [asdict(COLLAPSE)],
    },
    "progress": {"cursor": "1-0", "entries_added": 5, "first_id": "1-0", "last_id": None, "last_seen_ms": 7},
}  # fmt: skip
SAMPLES = {
    "verdict": make_verdict(verdict="violation", violations=(COLLAPSE,)).to_dict(),
    "run_state": STATE,
    "progress": STATE["progress"],
    "records": make_record(violations=[asdict(COLLAPSE)]).to_dict(),
    "acknowledgement": {"pid": 2**31, "sha256": "d" * 64},
    "baseline": BASELINE,
    "published": {"weights": BASELINE},
    "watchdog_memory": {"last": 4990.0, "settling_since": 0.0},
    "settings": {"engine_unit": "a.service", "interval_s": 30.0, "match": {"source": "a"}, "limits": {"min_std": 0.05}},
    "ledger": {"action": "canary_activated", "canary_weight": 0.1, "violations": ["x"], "trigger": "manual"},
}


@pytest.mark.parametrize("name", SAMPLES)
@given(data=st.data())
def test_a_state_file_with_anything_in_any_place(name, data):
    """One or two values of a good file, at any depth, become something else, or are gone."""
    spoilt = json.loads(json.dumps(SAMPLES[name]))
    for _number in range(data.draw(st.integers(1, 2))):
        place = spoilt
        while True:
            key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
            inner = place[key]
            if not isinstance(inner, (dict, list)) or not inner or data.draw(st.booleans()):
                break
            place = inner
        if isinstance(place, dict) and len(place) > 1 and data.draw(st.booleans()):
            del place[key]
        else:
            place[key] = data.draw(json_values | raws)
    TARGETS[name](rendered(spoilt).encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize("name", TARGETS)
@given(st.binary(max_size=80))
def test_any_bytes(name, data):
    TARGETS[name](data)
