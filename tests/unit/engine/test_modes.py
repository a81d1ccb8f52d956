# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every mode of the reference engine breaks the rules it is meant to break, and no other."""

from __future__ import annotations

import typing as t

import pytest
from engine import modes
from engine.orders import CONTROL
from engine.publishing import Publisher
from engine.quantum import MODELS
from engine.tampering import MODES
from engine.votes import Market

from helpers import plain_rules

WEIGHTS = {"xgb": 0.25, "lgbm": 0.25, "nhits": 0.3, "patchtst": 0.2}
ALIASES = {"xgboost": "xgb", "lightgbm": "lgbm"}
IN_WINDOWS = sorted(set(modes.CODES) - modes.MONITOR_ONLY)


def entries(mode: str, count: int, seed: int, models: t.Sequence[str] = MODELS) -> list[dict[str, str]]:
    market = Market(seed, models, modes.CANARY)
    market.set_mode(mode)
    publisher = Publisher(None, "no-stream", market, "unit-test")
    return publisher.entries(count, WEIGHTS, dict(CONTROL))[:count]


@pytest.mark.parametrize("mode", IN_WINDOWS)
@pytest.mark.parametrize("count", [200, 2000])
def test_a_mode_yields_exactly_its_codes(mode: str, count: int) -> None:
    for seed in range(5 if count == 200 else 1):
        assert plain_rules.codes(entries(mode, count, seed), modes.CANARY, ALIASES) == modes.CODES[mode], seed


def test_every_mode_has_an_expectation() -> None:
    assert set(MODES) - {"replay"} == set(modes.CODES)


def test_every_code_of_the_domain_has_a_mode() -> None:
    named = set().union(*modes.CODES.values()) | modes.DERIVED
    assert named == {
        "action_collapse", "dead_zone", "flat_predictions", "narrow_range", "constant_output", "invalid_confidence",
        "invalid_action", "invalid_payload", "gate_failed", "no_go", "agreement_out_of_range", "hard_disagree",
        "canary_missing", "not_really_running", "stale_telemetry", "truncated_telemetry",
    }  # fmt: skip


def test_derived_codes_accompany_the_canarys_own_rules_only() -> None:
    assert modes.expected("dead_zone") == {"action_collapse", "dead_zone", "gate_failed", "no_go"}
    assert modes.expected("hard_disagree") == {"hard_disagree"}
    assert modes.expected("healthy") == set()


@pytest.mark.parametrize(
    ("mode", "past"),
    [
        ("action_collapse", 400),
        ("agreement_high", 600),
        ("hard_disagree", 800),
        ("canary_absent", 1500),
        ("flat_predictions", 80),  # a spread needs a window that is nearly all of the mode
    ],
)
def test_an_ill_engine_shows_after_a_healthy_past(mode: str, past: int) -> None:
    """The newest 2000 decisions, of which ``past`` are healthy ones."""
    market = Market(3, MODELS, modes.CANARY)
    publisher = Publisher(None, "no-stream", market, "unit-test")
    made = publisher.entries(past, WEIGHTS, dict(CONTROL))
    market.set_mode(mode)
    made += publisher.entries(2000 - past, WEIGHTS, dict(CONTROL))
    assert plain_rules.codes(made, modes.CANARY) == modes.CODES[mode]


def test_the_same_seed_gives_the_same_votes() -> None:
    first, second, other = (
        [plain_rules.breakdown(entry, {}) for entry in entries("healthy", 50, seed)] for seed in (1, 1, 2)
    )
    assert first == second != other


def test_another_model_can_be_the_ill_one() -> None:
    market = Market(1, MODELS, "xgb")
    market.set_mode("dead_zone")
    made = Publisher(None, "no-stream", market, "unit-test").entries(400, WEIGHTS, dict(CONTROL))
    assert plain_rules.codes(made, "xgb") == modes.CODES["dead_zone"]
    assert plain_rules.codes(made, "patchtst") == set()
