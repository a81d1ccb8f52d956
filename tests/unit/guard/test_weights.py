# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Weight math by example: the specification's case, what is refused, and what the operator reads."""

from __future__ import annotations

import json
import math
import typing as t

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import BadInput, Refused
from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard import weights as w
from helpers.samples import BASELINE, CANARY

CASES: tuple[tuple[dict[str, float], str, float, dict[str, float]], ...] = (
    (BASELINE, "patchtst", 0.10, CANARY),
    (BASELINE, "patchtst", 0.25, {"xgb": 0.234375, "lgbm": 0.234375, "nhits": 0.28125, "patchtst": 0.25}),
    (BASELINE, "patchtst", 1.0, {"xgb": 0.0, "lgbm": 0.0, "nhits": 0.0, "patchtst": 1.0}),
    ({"a": 0.5, "b": 0.5}, "a", 0.000001, {"a": 0.000001, "b": 0.999999}),
    ({"a": 1, "b": 0}, "b", 0.1, {"a": 0.9, "b": 0.1}),
    ({"c": 1 / 3, "b": 1 / 3, "a": 1 / 3}, "a", 0.1, {"c": 0.45, "b": 0.45, "a": 0.1}),
    ({"c": 0.2, "b": 0.2, "a": 0.2, "d": 0.4}, "d", 0.5, {"c": 0.166666, "b": 0.166667, "a": 0.166667, "d": 0.5}),
    ({"b": 0.4, "a": 0.6}, "new", 0.1, {"b": 0.36, "a": 0.54, "new": 0.1}),
)


@pytest.mark.parametrize(("baseline", "model", "weight", "wanted"), CASES)
def test_plan(baseline: dict[str, float], model: str, weight: float, wanted: dict[str, float]) -> None:
    plan = w.plan_weights(baseline, model, weight, known=("new",))
    assert dict(plan.weights) == wanted
    assert list(plan.weights) == list(wanted), "the order is the baseline's"
    assert plan.total == 1.0
    assert dict(plan.baseline) == baseline


@pytest.mark.parametrize(
    ("model", "weight", "direction", "sentence"),
    [
        ("patchtst", 0.10, "lowers", "the canary lowers patchtst from 20 % to 10 %"),
        ("patchtst", 0.25, "raises", "the canary raises patchtst from 20 % to 25 %"),
        ("tft", 0.10, "raises", "the canary raises tft from 0 % to 10 %"),
    ],
)
def test_direction_is_said(model: str, weight: float, direction: str, sentence: str) -> None:
    plan = w.plan_weights(BASELINE, model, weight, known=("tft",))
    assert plan.direction == direction
    assert sentence in plan.lines()
    assert ("so a rollback raises patchtst back to 20 %" in plan.lines()) == (direction == "lowers")


def test_deltas() -> None:
    plan = w.plan_weights(BASELINE, "patchtst", 0.10)
    assert plan.deltas == {"xgb": 0.03125, "lgbm": 0.03125, "nhits": 0.0375, "patchtst": -0.1}
    assert w.plan_weights(BASELINE, "tft", 0.10, known=("tft",)).deltas["tft"] == 0.1


@pytest.mark.parametrize(
    ("baseline", "model", "weight", "error", "word"),
    [
        (BASELINE, "tft", 0.1, BadInput, "neither in the baseline nor in the telemetry"),
        (BASELINE, "patchtst", 0.2, Refused, "already the baseline weight"),
        ({"a": 1 / 3, "b": 2 / 3}, "a", 0.333333, Refused, "already the baseline weight"),
        ({"a": 1.0}, "a", 0.1, Refused, "the only model with weight"),
        ({"a": 1.0, "b": 0.0}, "a", 0.1, Refused, "the only model with weight"),
        (BASELINE, "../x", 0.1, BadInput, "not a model's name"),
        (BASELINE, "patchtst", 0.0, BadInput, "weight=0.0"),
    ],
)
def test_no_canary(baseline: dict[str, float], model: str, weight: float, error: type[Exception], word: str) -> None:
    with pytest.raises(error, match=word) as caught:
        w.plan_weights(baseline, model, weight)
    assert caught.value.remedy  # type: ignore[attr-defined]


def test_an_unknown_model_is_answered_with_the_known_ones() -> None:
    with pytest.raises(BadInput) as caught:
        w.plan_weights(BASELINE, "patchts", 0.1, known=("tft",))
    assert caught.value.remedy == "Known are: lgbm, nhits, patchtst, tft, xgb."


@pytest.mark.parametrize(
    ("value", "taken"), [(0.1, 0.1), (1, 1.0), (1e-6, 1e-6), (0.1 + 1e-9, 0.1), (0.30000000000000004, 0.3)]
)
def test_shares(value: float, taken: float) -> None:
    assert w.checked_weight(value) == taken
    assert isinstance(w.checked_weight(value), float)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"{}", "is empty"),
        (b"null", "is empty"),
        (b"[0.5, 0.5]", "is not an object"),
        (b'"xgb"', "is not an object"),
        (b'{"xgb": 0.5, "lgbm": 0.5', "is not JSON"),
        (b"\xff\xfe\x00", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"xgb": 0.5, "xgb": 0.5}', "a model is named twice"),
        (b'{"xgb": 0.5, "lgbm": 0.4}', "the weights sum to 0.900000, not 1"),
        (b'{"xgb": 0.5, "lgbm": 0.500002}', "sum to 1.000002"),
        (b'{"xgb": 1.5, "lgbm": -0.5}', "xgb=1.5 is not a weight"),
        (b'{"xgb": -0.1, "lgbm": 0.9}', "xgb=-0.1 is not a weight"),
        (b'{"xgb": NaN, "lgbm": 1.0}', "xgb=nan is not a weight"),
        (b'{"xgb": 1e999, "lgbm": 0.5}', "xgb=inf is not a weight"),
        (b'{"xgb": ' + b"9" * 400 + b"}", "is not a weight"),
        (b'{"xgb": true}', "xgb=True is not a weight"),
        (b'{"xgb": "1.0"}', "xgb='1.0' is not a weight"),
        (b'{"xgb": {"weight": 1.0}}', "is not a weight"),
        (b'{"../../etc": 1.0}', "is not a model's name"),
        (b'{"": 1.0}', "is not a model's name"),
    ],
    ids=lambda item: repr(item)[:40],
)
def test_a_bad_baseline_file(data: bytes, word: str) -> None:
    with pytest.raises(BadInput) as caught:
        w.parse_baseline(data, "/etc/weights.json")
    assert word in str(caught.value)
    assert "/etc/weights.json" in str(caught.value)


@pytest.mark.parametrize("total", [0.9999991, 1.0000009])
def test_a_baseline_within_rounding_of_one(total: float) -> None:
    baseline = w.parse_baseline(json.dumps({"a": total - 0.5, "b": 0.5}).encode(), "x")
    assert w.plan_weights(baseline, "a", 0.1).total == 1.0


def test_the_file_of_weights_does_not_depend_on_order() -> None:
    turned = dict(reversed(list(CANARY.items())))
    assert w.weights_bytes(CANARY) == w.weights_bytes(turned)
    assert json.loads(w.weights_bytes(CANARY)) == CANARY
    with pytest.raises(ValueError):
        w.weights_bytes({"a": math.nan})


@pytest.mark.parametrize("value", [{}, {"a": 1.0}, {"a": 0.25, "b": 0.75}])
def test_the_file_of_weights_is_a_baseline_again(value: t.Any) -> None:
    if value:
        assert w.parse_baseline(w.weights_bytes(value), "x") == value
    else:
        with pytest.raises(BadInput):
            w.parse_baseline(w.weights_bytes(value), "x")
