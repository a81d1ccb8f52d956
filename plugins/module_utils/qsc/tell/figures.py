# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""The figures of the last check for programs: each rule with value and limit. Pure.

The unprivileged monitor writes them beside its scoreboard; ``qsc status --watch`` parses them as if an attacker had.
They show, they decide nothing: no guard reads them, and a page that is missing or damaged is only said to be so.
"""

from __future__ import annotations

import json
import math
import typing as t
from dataclasses import asdict, dataclass

from ..errors import RecordUnreadable
from ..verdict import choice_in, count_in, printable, text_in

Data = t.Mapping[str, t.Any]

SCHEMA = 1
LIMIT = 1 << 16
"""Bytes: a larger page is not one."""
MOST, LEAST = "most", "least"
POLICIES = ("strict", "sequential")
STATES = ("", "kept", "violated", "open", "suspended")
"""Of a rule under the policy ``sequential``; "" where nothing is said about certainty."""
UNITS = ("%", "s", "USD", "")
_MOST_RULES = 32
_NAME = 24
OWN_WORDS = ("ok", "violation", "no data", "failed")
_OWN_NAME = 48
_LARGEST = 1e9
"""No figure comes near, and each still fits on a line."""
_ACTIONS = ("BUY", "SELL", "HOLD")
_FLIPS = "flip share"
_CLAIM_NAMES = {"std": "conf_std", "range": "p90-p10", "hard_disagree": "hard disagreement", "flips": _FLIPS}
_SPREADS = ("std", "range")


@dataclass(frozen=True)
class Rule:
    """One rule: ``value`` must be at ``side`` (most, least) ``limit``, both in ``unit``; with what is certain of it:
    ``state``, the interval ``low`` to ``high``, over so many ``buckets``."""

    name: str
    unit: str
    side: str
    value: float | None
    limit: float
    low: float | None = None
    high: float | None = None
    state: str = ""
    buckets: int = 0


@dataclass(frozen=True)
class Own:
    """What one of the operator's own checks said: a word, a sentence, and a figure and a limit where it gave them."""

    name: str
    required: bool
    word: str
    message: str
    value: float | None = None
    limit: float | None = None


@dataclass(frozen=True)
class Figures:
    """The figures of one check of one run. ``checked_at``: wall s; ``judged``: whether the rules were applied;
    ``bucket_s``: s of one observation, 0 under ``strict``; ``own``: what the operator's own checks said."""

    canary_id: str
    checked_at: float
    policy: str
    judged: bool
    events: int
    min_events: int
    bucket_s: float
    rules: tuple[Rule, ...]
    own: tuple[Own, ...] = ()

    def to_dict(self) -> dict[str, t.Any]:
        """As JSON-ready data; ``own`` is left out where there are none."""
        data = {"schema": SCHEMA, **asdict(self), "rules": [asdict(rule) for rule in self.rules]}
        data["own"] = [asdict(item) for item in self.own]
        return data if self.own else {name: value for name, value in data.items() if name != "own"}

    @classmethod
    def from_hostile(cls, data: bytes) -> Figures:
        """Parse what a compromised monitor may have written: every type, range and length is checked.

        Raises RecordUnreadable; never anything else.
        """
        try:
            if len(data) > LIMIT:
                raise ValueError(f"larger than {LIMIT} bytes")
            raw = json.loads(data)
            if not isinstance(raw, dict) or raw.get("schema") != SCHEMA:
                raise ValueError(f"not figures of schema {SCHEMA}")
            found, own = raw["rules"], raw.get("own", [])
            for name, items in (("rules", found), ("own", own)):
                if not isinstance(items, list) or len(items) > _MOST_RULES:
                    raise ValueError(f"{name}: not a short list")
            return cls(
                canary_id=text_in(raw, "canary_id"),
                checked_at=_number(raw, "checked_at", 0.0, 1e11),
                policy=choice_in(raw, "policy", POLICIES),
                judged=raw["judged"] is True,
                events=count_in(raw, "events"),
                min_events=count_in(raw, "min_events"),
                bucket_s=_number(raw, "bucket_s", 0.0),
                rules=tuple(_rule(item) for item in found),
                own=tuple(_own(item) for item in own),
            )
        except (KeyError, TypeError, ValueError, RecursionError, OverflowError) as error:
            raise RecordUnreadable(f"the monitor's figures cannot be used: {printable(str(error), 200)}") from error


def _rule(raw: t.Any) -> Rule:
    if not isinstance(raw, dict):
        raise ValueError("rule: not an object")
    return Rule(
        name=printable(text_in(raw, "name"), _NAME),
        unit=choice_in(raw, "unit", UNITS),
        side=choice_in(raw, "side", (MOST, LEAST)),
        value=_optional(raw, "value"),
        limit=_number(raw, "limit"),
        low=_optional(raw, "low"),
        high=_optional(raw, "high"),
        state=choice_in(raw, "state", STATES),
        buckets=count_in(raw, "buckets"),
    )


def _own(raw: t.Any) -> Own:
    if not isinstance(raw, dict):
        raise ValueError("own: not an object")
    return Own(
        name=printable(text_in(raw, "name"), _OWN_NAME),
        required=raw["required"] is True,
        word=choice_in(raw, "word", OWN_WORDS),
        message=text_in(raw, "message"),
        value=_optional(raw, "value"),
        limit=_optional(raw, "limit"),
    )


def _number(raw: Data, key: str, low: float = -_LARGEST, high: float = _LARGEST) -> float:
    value = raw[key]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:  # NaN fails as well
        raise ValueError(f"{key}: not a number from {low:g} to {high:g}")
    return float(value)


def _optional(raw: Data, key: str) -> float | None:
    return None if raw[key] is None else _number(raw, key)


def figures_of(check: Data, *, canary_id: str, checked_at: float) -> Figures:
    """The figures of a check, from the data of ``CheckResult.to_dict()``. Raises KeyError for other data."""
    frame = check["frame"]
    rules = _claims(check) if check["policy"] == "sequential" else _limits(check)
    if check["impact"] and not any(rule.name == _FLIPS for rule in rules):
        limit = 100 * check["limits"]["flip_share_max"]
        rules.append(Rule(_FLIPS, "%", MOST, _known(check["impact"]["flip_share"], 100.0), limit))
    exposure = check["exposure"]
    if exposure:
        rules.append(Rule("exposure USD", "USD", MOST, _known(exposure["usd"]), min(exposure["budget_usd"], _LARGEST)))
    if check["stale_after_s"] > 0:  # 0: the stream could not be read at all
        rules.append(Rule("newest decision", "s", MOST, _known(check["lag_s"]), check["stale_after_s"]))
    return Figures(
        canary_id=canary_id,
        checked_at=checked_at,
        policy=check["policy"],
        judged=check["verdict"] in ("ok", "violation", "terminated") and check["events"] >= check["min_events"],
        events=check["events"],
        min_events=check["min_events"],
        bucket_s=float(frame["bucket_s"]) if frame else 0.0,
        rules=tuple(rules),
        own=tuple(_own_of(item) for item in check.get("own_checks", [])[:_MOST_RULES]),
    )


def _own_of(item: Data) -> Own:
    figures = {name: _known(item[name]) for name in ("value", "limit")}
    return Own(item["name"], item["required"], item["word"], item["message"], **figures)


def _limits(check: Data) -> list[Rule]:
    """What ``strict`` compares: the canary's and the ensemble's figures with their limits, in percent."""
    limits, model, ensemble = check["limits"], check["models"].get(check["model"]), check["ensemble"]
    rules = []
    if model is not None:
        most = {**dict.fromkeys(_ACTIONS, limits["max_action_share"])}
        most["HOLD"] = min(limits["max_action_share"], limits["max_hold_share"])
        confidence = model["confidence"]
        rules += [Rule(name, "%", MOST, _known(model["actions"][name]["percent"]), most[name]) for name in _ACTIONS]
        rules += [
            Rule("conf_std", "", LEAST, _known(confidence["std"]), limits["min_std"]),
            Rule("p90-p10", "", LEAST, _known(confidence["range"]), limits["min_range"]),
            Rule("coverage", "%", LEAST, _known(model["coverage"]), limits["min_coverage"]),
            Rule("fallback", "%", MOST, _known(model["fallback"]["percent"]), limits["max_fallback_share"]),
        ]
    if ensemble and not (check["weight"] == 1 and not ensemble["decisions"]):  # none is left to agree with
        agreement = _known(ensemble["agreement"])
        rules += [
            Rule("agreement", "%", LEAST, agreement, limits["min_agreement"]),
            Rule("agreement", "%", MOST, agreement, limits["max_agreement"]),
            Rule("hard disagreement", "%", MOST, _known(ensemble["hard_disagree"]), limits["max_hard_disagree"]),
        ]
    return rules


def _claims(check: Data) -> list[Rule]:
    """What ``sequential`` must be certain of. Claims have shares as fractions, a page has percent."""
    rules = []
    for item in check["claims"]:
        spread = item["metric"] in _SPREADS
        scale = 1.0 if spread else 100.0
        rules.append(
            Rule(
                name=_CLAIM_NAMES.get(item["metric"], item["metric"]),
                unit="" if spread else "%",
                side=MOST if item["side"] == "above" else LEAST,
                value=_known(item["value"], scale),
                limit=scale * item["limit"],
                low=_known(item["low"], scale),
                high=_known(item["high"], scale),
                state=item["state"],
                buckets=item["buckets"],
            )
        )
    return rules


def _known(value: float | None, scale: float = 1.0) -> float | None:
    """The figure in the page's unit; None when it is unknown or not one that can be shown."""
    return None if value is None or not math.isfinite(value) or abs(scale * value) > _LARGEST else scale * value
