# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What each mode must lead to: the expectations of every test that makes the reference engine ill.

For the canary ``patchtst`` among the four models of quantum-ai_engine, judged with the default limits on 200 decisions
or more, all made under the mode. Codes of other models than the canary are not listed.
"""

from __future__ import annotations

CANARY = "patchtst"


def _codes(*codes: str) -> frozenset[str]:
    return frozenset(codes)


# A rule of the canary itself.
OWN: dict[str, frozenset[str]] = {
    "action_collapse": _codes("action_collapse"),
    "sell_collapse": _codes("action_collapse"),
    "hold_collapse": _codes("action_collapse"),
    "one_action": _codes("action_collapse"),
    "dead_zone": _codes("action_collapse", "dead_zone"),
    "flat_predictions": _codes("flat_predictions"),
    "narrow_range": _codes("narrow_range"),
    "constant_output": _codes("flat_predictions", "narrow_range", "constant_output"),
    "constant_middle": _codes("narrow_range", "constant_output"),
    "nan_confidence": _codes("invalid_confidence"),
    "infinite_confidence": _codes("invalid_confidence"),
    "negative_confidence": _codes("invalid_confidence"),
    "text_confidence": _codes("invalid_confidence"),
    "bool_confidence": _codes("invalid_confidence"),
    "null_confidence": _codes("invalid_confidence"),
    "lower_case_action": _codes("invalid_action"),
    "unknown_action": _codes("invalid_action"),
    "null_action": _codes("invalid_action"),
    "fallback_source": _codes("not_really_running"),
    "insufficient_history": _codes("not_really_running"),
    "no_breakdown": _codes("invalid_payload"),
    "broken_payload": _codes("invalid_payload"),
    "duplicate_key": _codes("invalid_payload"),
}

# The canary keeps its own rules; the ensemble, its presence or the stream does not.
AROUND: dict[str, frozenset[str]] = {
    "agreement_low": _codes("agreement_out_of_range"),
    "agreement_high": _codes("agreement_out_of_range"),
    "hard_disagree": _codes("hard_disagree"),
    "canary_absent": _codes("canary_missing"),
    "canary_half_absent": _codes("canary_missing"),
    "canary_shadow": _codes("canary_missing"),
    "canary_inactive": _codes("canary_missing"),
    # For a running monitor only: these say nothing about a window of decisions.
    "silent": _codes("stale_telemetry"),
    "vanished": _codes("stale_telemetry"),
    "wrong_type": _codes("stale_telemetry"),
    "truncation": _codes("truncated_telemetry"),
}
MONITOR_ONLY = frozenset({"silent", "vanished", "wrong_type", "truncation"})

# Odd, and allowed (``long_names`` needs the aliases xgboost: xgb and lightgbm: lgbm).
ALLOWED: dict[str, frozenset[str]] = {
    name: _codes()
    for name in (
        "healthy", "some_fallback", "logits", "mixed_kinds", "pseudo_model", "long_names", "breakdown_field",
        "republish",
    )
}  # fmt: skip

# mode -> the codes of a gate or monitor for the canary and the ensemble, without the two derived ones.
CODES: dict[str, frozenset[str]] = {**OWN, **AROUND, **ALLOWED}

# Derived codes. gate_failed: a gate over the canary alone would fail on it, by a rule of the canary's own votes.
# no_go: the scoreboard says NO-GO, as for everything but the ensemble's rules (those alone make it WAIT).
GATE_FAILED = frozenset(mode for mode in OWN if CODES[mode] != {"invalid_payload"})
NO_GO = frozenset(
    mode for mode in CODES if CODES[mode] and not CODES[mode] & {"agreement_out_of_range", "hard_disagree"}
)
DERIVED = frozenset({"gate_failed", "no_go"})


def expected(mode: str) -> frozenset[str]:
    """Return the codes of a monitor together with the derived ones."""
    found = CODES[mode]
    if mode in GATE_FAILED:
        found |= {"gate_failed"}
    if mode in NO_GO:
        found |= {"no_go"}
    return found


# Every mode that must end a running canary, for tests on hosts: the engine shows it from its start under the canary on,
# the four of MONITOR_ONLY some seconds later (see the order `after`), once the activation had its decisions.
MODES_ON_HOSTS = tuple(mode for mode in CODES if CODES[mode])
