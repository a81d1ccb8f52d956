# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The monitor's figures for programs: what is written of a check, and how root reads what may be an attacker's."""

from __future__ import annotations

import json
import typing as t

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import RecordUnreadable
from ansible_collections.qsc.canary.plugins.module_utils.qsc.tell.figures import LIMIT, Figures, Rule, figures_of
from helpers.scenes import scene

PAGE: dict[str, t.Any] = scene()["figures"]
SEQUENTIAL: dict[str, t.Any] = {
    **PAGE, "policy": "sequential", "bucket_s": 560.0,
    "rules": [{**PAGE["rules"][0], "low": 10.0, "high": 40.0, "state": "kept", "buckets": 18}],
}  # fmt: skip


OWN: dict[str, t.Any] = {
    "name": "pnl", "required": True, "word": "ok", "message": "drawdown", "value": 1.5, "limit": None,
}  # fmt: skip


def own(**changes: t.Any) -> dict[str, t.Any]:
    return {**PAGE, "own": [{**OWN, **changes}]}


def parse(raw: t.Any) -> Figures:
    return Figures.from_hostile(raw if isinstance(raw, bytes) else json.dumps(raw).encode())


@pytest.mark.parametrize("page", [PAGE, SEQUENTIAL, own(), own(required=False, word="no data", value=None)])
def test_it_survives_its_own_form(page: dict[str, t.Any]) -> None:
    found = parse(page)
    assert found.to_dict() == json.loads(json.dumps(page))
    assert parse(found.to_dict()) == found


def rule(**changes: t.Any) -> dict[str, t.Any]:
    return {**PAGE, "rules": [{**PAGE["rules"][0], **changes}]}


HOSTILE: t.Mapping[str, t.Any] = {
    "empty": b"",
    "no JSON": b"{",
    "binary": b"\x80\xff",
    "a list": [],
    "null": None,
    "too large": json.dumps(PAGE).encode() + b" " * LIMIT,
    "nested": b"[" * 60_000,
    "another schema": {**PAGE, "schema": 2},
    "no rules": {name: value for name, value in PAGE.items() if name != "rules"},
    "rules of another form": {**PAGE, "rules": {}},
    "too many rules": {**PAGE, "rules": PAGE["rules"][:1] * 33},
    "a rule of another form": {**PAGE, "rules": ["BUY"]},
    "another policy": {**PAGE, "policy": "lenient"},
    "a policy that is a list": {**PAGE, "policy": []},
    "an infinite moment": json.dumps(PAGE).replace('"checked_at": 1768010168.0', '"checked_at": 1e999').encode(),
    "a moment of no clock": {**PAGE, "checked_at": 1e12},
    "events below 0": {**PAGE, "events": -1},
    "events as text": {**PAGE, "events": "200"},
    "events true": {**PAGE, "events": True},
    "a huge integer": json.dumps(rule()).replace("23.3", "9" * 400).encode(),
    "more digits than Python reads": json.dumps(rule()).replace("23.3", "9" * 5000).encode(),
    "NaN": json.dumps(rule()).replace("23.3", "NaN").encode(),
    "a value too large": rule(value=1e10),
    "a value that is text": rule(value="23"),
    "a limit that is missing": rule(limit=None),
    "a limit true": rule(limit=True),
    "another side": rule(side="above"),
    "another unit": rule(unit="\x1b[2J"),
    "another state": rule(state="safe"),
    "a name that is none": rule(name=5),
    "buckets below 0": rule(buckets=-1),
    "a bound that is infinite": rule(low=-1e300),
    "own checks of another form": {**PAGE, "own": {}},
    "too many own checks": {**PAGE, "own": [OWN] * 33},
    "an own check of another form": {**PAGE, "own": ["pnl"]},
    "an own check without a name": own(name=None),
    "another word": own(word="fine"),
    "a word that is a list": own(word=["ok"]),
    "a message that is none": own(message=None),
    "a figure of an own check that is text": own(value="1"),
    "a limit of an own check that is true": own(limit=True),
    "bucket_s below 0": {**PAGE, "bucket_s": -1.0},
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_page_is_refused_in_one_sentence(case: str) -> None:
    with pytest.raises(RecordUnreadable, match="the monitor's figures cannot be used: ") as caught:
        parse(HOSTILE[case])
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 300


def test_texts_are_made_fit_for_a_terminal() -> None:
    found = parse({**rule(name="\x1b[2J" + "x" * 300), "canary_id": "\n" * 1000})
    assert found.rules[0].name.isprintable()
    assert len(found.rules[0].name) <= 24
    assert found.canary_id.isprintable()
    assert len(found.canary_id) <= 500


def check(**changes: t.Any) -> dict[str, t.Any]:
    """What `CheckResult.to_dict()` says of a healthy canary, as far as the page needs it."""
    limits = {
        "max_action_share": 70.0, "max_hold_share": 60.0, "min_std": 0.05, "min_range": 0.12, "min_coverage": 80.0,
        "max_fallback_share": 20.0, "min_agreement": 55.0, "max_agreement": 80.0, "max_hard_disagree": 20.0,
        "flip_share_max": 1.0,
    }  # fmt: skip
    model = {
        "actions": {name: {"count": 1, "percent": 30.0} for name in ("BUY", "SELL", "HOLD")},
        "confidence": {"std": 0.2, "range": None},
        "coverage": 99.0,
        "fallback": {"percent": 1.0},
    }
    return {
        "policy": "strict", "verdict": "ok", "events": 300, "min_events": 200, "model": "patchtst", "weight": 0.1,
        "models": {"patchtst": model}, "ensemble": {"decisions": 300, "agreement": 65.0, "hard_disagree": 3.0},
        "limits": limits, "lag_s": 1.5, "stale_after_s": 120.0, "claims": [], "frame": None, "impact": None,
        "exposure": None, **changes,
    }  # fmt: skip


def made(**changes: t.Any) -> Figures:
    found = figures_of(check(**changes), canary_id="x", checked_at=5.0)
    assert parse(found.to_dict()) == found, "what the monitor writes can be read"
    return found


def test_the_figures_of_a_strict_check() -> None:
    found = made()
    assert (found.judged, found.events, found.bucket_s) == (True, 300, 0.0)
    assert [(item.name, item.side, item.value, item.limit) for item in found.rules] == [
        ("BUY", "most", 30.0, 70.0), ("SELL", "most", 30.0, 70.0), ("HOLD", "most", 30.0, 60.0),
        ("conf_std", "least", 0.2, 0.05), ("p90-p10", "least", None, 0.12), ("coverage", "least", 99.0, 80.0),
        ("fallback", "most", 1.0, 20.0), ("agreement", "least", 65.0, 55.0), ("agreement", "most", 65.0, 80.0),
        ("hard disagreement", "most", 3.0, 20.0), ("newest decision", "most", 1.5, 120.0),
    ]  # fmt: skip


def test_what_is_not_judged_yet_is_said_so() -> None:
    assert not made(verdict="waiting", events=100).judged
    assert not made(verdict="violation", events=100).judged


def test_a_canary_with_all_the_weight_has_nobody_to_agree_with() -> None:
    alone = made(weight=1.0, ensemble={"decisions": 0, "agreement": None, "hard_disagree": None})
    assert "agreement" not in [item.name for item in alone.rules]
    assert "agreement" in [item.name for item in made(weight=1.0).rules]


def test_a_stream_that_could_not_be_read_has_no_figures() -> None:
    found = made(models={}, ensemble={}, stale_after_s=0.0, lag_s=None, verdict="violation", events=0)
    assert found.rules == ()


def test_the_figures_of_a_sequential_check() -> None:
    claim = {"metric": "BUY", "side": "above", "value": 0.3, "limit": 0.7, "low": 0.1, "high": 0.5, "state": "open",
             "buckets": 4}  # fmt: skip
    spread = {**claim, "metric": "std", "side": "below", "value": None, "limit": 0.05, "low": 0.0, "high": 0.5}
    found = made(policy="sequential", claims=[claim, spread], frame={"bucket_s": 60.0})
    assert found.bucket_s == 60.0
    assert found.rules == (
        Rule("BUY", "%", "most", 30.0, 70.0, 10.0, 50.0, "open", 4),
        Rule("conf_std", "", "least", None, 0.05, 0.0, 0.5, "open", 4),
        Rule("newest decision", "s", "most", 1.5, 120.0),
    )


def test_what_own_checks_said_is_printable() -> None:
    [found] = parse(own(name="x" * 60, message="a\x1b[2J", required="yes")).own
    assert (len(found.name), found.message, found.required) == (48, "a\ufffd[2J", False)
