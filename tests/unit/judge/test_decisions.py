# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading one stream entry: every case becomes votes or a blocker, nothing raises."""

from __future__ import annotations

import json
import math

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import BadInput
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.cutover import StreamId
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.decisions import (
    Dialect,
    normalized,
    parse,
    payload_of,
    sigmoid,
)
from helpers.telemetry import entry, healthy, vote

ID = StreamId(1, 0)
PLAIN = Dialect.of({}, ["fallback"])


def pairs(fields):
    return [(name.encode(), value.encode("utf-8", "surrogatepass")) for name, value in fields.items()]


def read(breakdown, dialect=PLAIN, **payload):
    return parse(ID, pairs(entry(breakdown, **payload)), dialect)


def raw(payload, dialect=PLAIN, **more):
    fields = {"event_type": "trade.intent", "payload": payload, **more}
    return parse(ID, pairs({name: value for name, value in fields.items() if value is not None}), dialect)


def codes(decision):
    return [(blocker.code, blocker.model) for blocker in decision.blockers]


def test_a_healthy_decision_gives_one_vote_a_model():
    decision = read(healthy(0))
    assert decision.blockers == ()
    assert {name: said.action for name, said in decision.votes.items()} == {
        "xgb": "BUY", "lgbm": "BUY", "nhits": "BUY", "patchtst": "HOLD",
    }  # fmt: skip
    assert decision.votes["xgb"].confidence == healthy(0)["xgb"]["confidence"]
    assert not decision.votes["xgb"].shadow
    assert not decision.votes["xgb"].fallback


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (vote(confidence=float("nan")), "invalid_confidence"),
        (vote(confidence=float("inf")), "invalid_confidence"),
        (vote(confidence=float("-inf")), "invalid_confidence"),
        (vote(confidence=-0.1), "invalid_confidence"),
        (vote(confidence=-1e-12), "invalid_confidence"),
        (vote(confidence=True), "invalid_confidence"),
        (vote(confidence=False), "invalid_confidence"),
        (vote(confidence="0.7"), "invalid_confidence"),
        (vote(confidence=None), "invalid_confidence"),
        (vote(confidence=[0.5]), "invalid_confidence"),
        (vote(confidence={}), "invalid_confidence"),
        (vote(confidence=10**399), "invalid_confidence"),
        ({"action": "BUY"}, "invalid_confidence"),
        (vote("buy"), "invalid_action"),
        (vote("Hold"), "invalid_action"),
        (vote(" BUY"), "invalid_action"),
        (vote(""), "invalid_action"),
        (vote("SHORT"), "invalid_action"),
        (vote(None), "invalid_action"),
        (vote(1), "invalid_action"),
        (vote(["BUY"]), "invalid_action"),
        ({"confidence": 0.5}, "invalid_action"),
        ("BUY", "invalid_payload"),
        (None, "invalid_payload"),
        (0.5, "invalid_payload"),
        ([], "invalid_payload"),
        (vote(shadow="false"), "invalid_payload"),
        (vote(inactive="true"), "invalid_payload"),
        (vote(inactive=1), "invalid_payload"),
    ],
)
def test_what_a_model_says_wrongly_is_a_blocker_that_names_it(said, code):
    decision = read({**healthy(0), "nhits": said})
    assert (code, "nhits") in codes(decision)
    assert "nhits" not in decision.votes
    assert set(decision.votes) == {"xgb", "lgbm", "patchtst"}


def test_action_and_confidence_are_both_reported():
    assert codes(read({"xgb": vote("buy", -1)})) == [("invalid_action", "xgb"), ("invalid_confidence", "xgb")]


_DEEP = '{"model_breakdown":' + '{"a":' * 2000 + "1" + "}" * 2001


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        ("", "not JSON"),
        ("not json", "not JSON"),
        ('{"model_breakdown": {', "not JSON"),
        ("[]", "not an object but list"),
        ("null", "not an object but NoneType"),
        ('"text"', "not an object but str"),
        ("{}", "no model_breakdown"),
        ('{"model_breakdown": null}', "no model_breakdown"),
        ('{"model_breakdown": []}', "not an object but list"),
        ('{"model_breakdown": {}}', "is empty"),
        ('{"model_breakdown": "{"}', "not JSON"),
        ('{"model_breakdown": {"xgb": {}, "xgb": {}}}', "'xgb' twice"),
        ('{"a": 1, "a": 2, "model_breakdown": {"xgb": {}}}', "'a' twice"),
        ('{"model_breakdown": {"xgb": {"action": "BUY", "action": "SELL", "confidence": 0.5}}}', "'action' twice"),
        ('{"n": ' + "9" * 5000 + ', "model_breakdown": {"xgb": {}}}', "number of 5000 digits"),
        (_DEEP, "nested too deeply"),
        ('{"pad": "' + "x" * (1 << 15) + '"}', "more than 16384"),
        ('{"pad": "' + "x" * 10_000_000 + '"}', "more than 16384"),
        ('{"pad": [' + "1," * 2048 + "1]}", "more than 2048 values"),
        ('{"pad": [' + "[]," * 1024 + "1]}", "more than 2048 values"),
        (json.dumps({"model_breakdown": {f"m{i}": vote() for i in range(65)}}), "names 65 models"),
        (None, "neither a payload nor a model_breakdown"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_read_is_a_blocker_of_the_decision(payload, says):
    decision = raw(payload)
    assert codes(decision) == [("invalid_payload", "")]
    assert says in decision.blockers[0].message
    assert decision.votes == {}


def test_bytes_that_are_no_utf8_are_a_blocker():
    assert codes(parse(ID, [(b"payload", b'{"model_breakdown": {"\xff": 1}}')], PLAIN)) == [("invalid_payload", "")]


def test_an_entry_of_another_kind_names_its_event_type_and_the_way_out():
    decision = raw('{"price": 1}', event_type="market.tick")
    assert "market.tick" in decision.blockers[0].message
    assert "match" in decision.blockers[0].message


def test_a_field_that_stands_twice_in_the_entry_is_a_blocker():
    fields = pairs(entry(healthy(0)))
    assert codes(parse(ID, [*fields, fields[1]], PLAIN)) == [("invalid_payload", "")]


def test_the_breakdown_of_older_publishers_is_accepted():
    own_field = {"payload": json.dumps({"symbol": "X"}), "model_breakdown": json.dumps(healthy(0))}
    assert set(parse(ID, pairs(own_field), PLAIN).votes) == set(healthy(0))
    alone = {"model_breakdown": json.dumps(healthy(0))}
    assert set(parse(ID, pairs(alone), PLAIN).votes) == set(healthy(0))
    as_text = {"payload": json.dumps({"model_breakdown": json.dumps(healthy(0))})}
    assert set(parse(ID, pairs(as_text), PLAIN).votes) == set(healthy(0))


def test_two_different_breakdowns_in_one_entry_are_a_blocker():
    assert codes(raw(entry(healthy(0))["payload"], model_breakdown=json.dumps(healthy(1)))) == [("invalid_payload", "")]
    assert codes(raw(entry(healthy(0))["payload"], model_breakdown=json.dumps(healthy(0)))) == []


def test_aliases_rename_and_nothing_is_guessed():
    dialect = Dialect.of({"xgboost": "xgb"}, [])
    assert set(read({"xgboost": vote(), "lightgbm": vote()}, dialect).votes) == {"xgb", "lightgbm"}


def test_two_names_for_one_model_in_one_decision_are_a_blocker():
    decision = read({"xgboost": vote("BUY"), "xgb": vote("SELL")}, Dialect.of({"xgboost": "xgb"}, []))
    assert codes(decision) == [("invalid_payload", "xgb")]
    assert decision.votes == {}


def test_a_model_that_is_ignored_is_counted_and_never_judged():
    decision = read({**healthy(0), "fallback": vote("panic", float("nan"))})
    assert decision.ignored == ("fallback",)
    assert decision.blockers == ()
    assert "fallback" not in decision.votes


def test_an_inactive_model_is_absent_whatever_else_it_says():
    decision = read({**healthy(0), "nhits": vote("none", None, inactive=True, reason="no history")})
    assert decision.inactive == ("nhits",)
    assert decision.blockers == ()
    assert "nhits" not in decision.votes


def test_a_shadow_model_is_measured():
    assert read({"xgb": vote(shadow=True)}).votes["xgb"].shadow


@pytest.mark.parametrize(
    ("source", "fallback"),
    [
        ("nhits_insufficient_history", True),
        ("xgb_fallback_rules", True),
        ("nhits", False),
        ("fallback_rules_v2", False),
        (None, False),
        (7, False),
    ],
)
def test_a_fallback_source_is_recognised(source, fallback):
    assert read({"nhits": vote(source=source)}).votes["nhits"].fallback is fallback


@pytest.mark.parametrize("name", ["", "x" * 65, "a\nb", "a\x1b[31m", "\u202ex"])
def test_a_name_that_is_none_is_a_blocker_without_reaching_a_terminal(name):
    decision = read({name: vote()})
    assert codes(decision) == [("invalid_payload", "")]
    assert decision.blockers[0].message.isprintable()


@pytest.mark.parametrize("value", [0, 0.0, 1, 1.0, 0.5, 1e-300])
def test_a_probability_stays_as_it_is(value):
    assert normalized(value) == (float(value), False)


@pytest.mark.parametrize("value", [1.0000001, 2, 2.5, 710.0, 1e308, 10**300])
def test_a_logit_goes_through_the_sigmoid(value):
    found = normalized(value)
    assert found is not None
    assert found[1] is True
    assert found[0] == pytest.approx(1 / (1 + math.exp(-float(value))))


@pytest.mark.parametrize("x", [-1000.0, -710.0, -1.0, 0.0, 1.0, 710.0, 1000.0])
def test_the_sigmoid_overflows_nowhere(x):
    assert 0.0 <= sigmoid(x) <= 1.0
    assert sigmoid(x) + sigmoid(-x) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("aliases", "says"),
    [
        ([], "not a dictionary"),
        ({"a": 1}, "is not a name"),
        ({"": "b"}, "is not a name"),
        ({"a": "b", "b": "c"}, "itself an alias"),
    ],
)
def test_aliases_that_cannot_be_meant_are_refused(aliases, says):
    with pytest.raises(BadInput, match=says):
        Dialect.of(aliases)


def test_the_payload_of_an_entry_that_cannot_be_trusted_is_none():
    assert payload_of(pairs(entry({"xgb": vote()})))["symbol"] == "BTCUSDC"
    for payload in ("x", "[]", '{"a": 1, "a": 2}', _DEEP):
        assert payload_of([(b"payload", payload.encode())]) is None
    assert payload_of([]) is None
