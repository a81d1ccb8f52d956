# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate on telemetry in a real Redis."""

from __future__ import annotations

import json
import time

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import BadInput, Refused
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.connection import Connection
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.gate import evaluate
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.options import GateOptions
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.stream import StreamGone, StreamReader
from ansible_collections.qsc.canary.plugins.module_utils.qsc.tell.report import gate_result
from helpers.redis_server import free_port
from helpers.telemetry import STREAM, entry, healthy, now_ms, publish, vote


@pytest.fixture
def judge(redis_server):
    """Judge what is in the stream, with the start of the telemetry as the cutover unless told otherwise."""

    def run(now=None, match=None, **options):
        options.setdefault("cutover", "1-0")
        connection = Connection.from_dict(redis_server.options())
        with StreamReader(connection, STREAM, match) as reader:
            result = evaluate(reader, GateOptions.from_dict(options), time.time() if now is None else now)
        return gate_result(result)

    return run


def from_on(first, spoil):
    """Spoil from one decision on."""
    return lambda i, said: spoil(i, said) if i >= first else None


def start(count, step_ms=1000):
    """The time at which ``count`` decisions must begin to end now."""
    return now_ms() - count * step_ms


def codes(gate):
    return [(item["subject"], item["code"]) for item in gate["violations"]]


def test_a_healthy_ensemble_passes(redis_server, judge):
    publish(redis_server.client(), 300, start_ms=start(300))
    gate = judge(models=["patchtst"])
    assert gate["violations"] == []
    assert (gate["passed"], gate["exit_code"], gate["reason"], gate["remedy"]) == (True, 0, "", "")
    assert gate["events"] == 300
    assert gate["warnings"] == []
    assert gate["window"]["truncated"] is False
    assert {model["status"] for model in gate["models"].values()} == {"pass"}
    assert gate["cadence"]["rate_per_s"] == pytest.approx(1.0)
    assert gate["cadence"]["decisions"] == 200
    json.dumps(gate, allow_nan=False)


def test_the_gate_changes_nothing(redis_server, judge):
    client = redis_server.client()
    publish(client, 300, start_ms=start(300))
    before = client.info("persistence")["rdb_changes_since_last_save"]
    judge()
    assert client.info("persistence")["rdb_changes_since_last_save"] == before


@pytest.mark.parametrize(("count", "code"), [(199, 2), (200, 0)])
def test_two_hundred_decisions_are_needed(redis_server, judge, count, code):
    publish(redis_server.client(), count, start_ms=start(count))
    gate = judge()
    assert gate["exit_code"] == code
    if code:
        assert f"{count} decisions since the cutover, 200 are needed" in gate["reason"]
        assert "about 1 s more" in gate["remedy"]


@pytest.mark.parametrize(("count", "code"), [(99, 2), (100, 3), (500, 3)])
def test_a_collection_is_complete_and_never_passes(redis_server, judge, count, code):
    publish(redis_server.client(), count, start_ms=start(count))
    gate = judge(mode="collection")
    assert gate["exit_code"] == code
    assert gate["passed"] is False


def test_a_collection_of_bad_telemetry_fails(redis_server, judge):
    publish(redis_server.client(), 150, start_ms=start(150), spoil=lambda _i, said: said["nhits"].update(action="HOLD"))
    assert judge(mode="collection")["exit_code"] == 2


def test_decisions_before_the_cutover_are_not_judged(redis_server, judge):
    """The engine was bad until its restart; what it did before says nothing about now, and is shown apart."""
    client = redis_server.client()
    publish(client, 400, start_ms=start(1000), spoil=lambda _i, said: said["nhits"].update(action="HOLD"))
    cutover = start(600) - 1
    publish(client, 300, start_ms=start(600))
    gate = judge(cutover=str(cutover))
    assert gate["passed"]
    assert gate["events"] == 300
    assert gate["before_cutover"]["events"] == 400
    assert gate["before_cutover"]["models"]["nhits"]["actions"]["HOLD"]["percent"] == 100.0
    assert gate["models"]["nhits"]["actions"]["HOLD"]["percent"] < 70


def test_the_comparison_before_the_cutover_holds_nothing_after_it(redis_server, judge):
    added = publish(redis_server.client(), 500, start_ms=start(500))
    gate = judge(cutover=added[249])
    assert gate["events"] == 250
    assert gate["before_cutover"]["events"] == 250
    assert gate["before_cutover"]["last_id"] == added[249]
    assert gate["window"]["first_id"] == added[250]


def test_a_decision_in_the_millisecond_of_the_cutover_does_not_count(redis_server, judge):
    added = publish(redis_server.client(), 201, start_ms=start(201))
    assert judge(cutover=added[0].split("-")[0])["events"] == 200
    assert judge(cutover=added[0])["events"] == 200


def test_max_events_judges_the_newest(redis_server, judge):
    """After a cutover the original judged the oldest 2,000: a model that had collapsed since then passed."""
    publish(redis_server.client(), 700, start_ms=start(700), spoil=from_on(450, collapse))
    gate = judge(max_events=250)
    assert gate["events"] == 250
    assert ("nhits", "action_collapse") in codes(gate)


def collapse(i, said):
    said["nhits"].update(action="HOLD")


def flat(i, said):
    said["nhits"].update(confidence=0.5 + 0.04 * (i % 2))


def shift(i, said):
    for place, name in enumerate(said):
        said[name].update(action="BUY" if place < 2 or i % 3 else "SELL")


@pytest.mark.parametrize(
    ("spoil", "wanted"),
    [
        (collapse, {("nhits", "action_collapse"), ("nhits", "dead_zone")}),
        (flat, {("nhits", "flat_predictions"), ("nhits", "narrow_range")}),
        (
            lambda _i, said: said["nhits"].update(confidence=0.5),
            {("nhits", "flat_predictions"), ("nhits", "narrow_range"), ("nhits", "constant_output")},
        ),
        (lambda _i, said: said["nhits"].update(model="nhits_fallback_rules"), {("nhits", "not_really_running")}),
        (
            lambda i, said: [said[name].update(action=("BUY", "SELL", "HOLD")[i % 3]) for name in said] and None,
            {("ensemble", "agreement_out_of_range")},
        ),
        (
            lambda i, said: (
                said.update(nhits=vote("BUY", said["nhits"]["confidence"]), xgb=vote("SELL", said["xgb"]["confidence"]))
                if i % 2
                else None
            ),
            {("ensemble", "hard_disagree")},
        ),
    ],
    ids=["collapse", "flat", "constant", "fallback", "agreement", "disagreement"],
)
def test_each_fault_is_found_in_the_stream(redis_server, judge, spoil, wanted):
    publish(redis_server.client(), 300, start_ms=start(300), spoil=spoil)
    gate = judge()
    assert wanted <= set(codes(gate))
    assert gate["exit_code"] == 2


@pytest.mark.parametrize(
    ("spoil", "code", "subject"),
    [
        (lambda _i, said: said["nhits"].update(confidence=float("nan")), "invalid_confidence", "nhits"),
        (lambda _i, said: said["nhits"].update(confidence=-0.2), "invalid_confidence", "nhits"),
        (lambda _i, said: said["nhits"].update(confidence="0.7"), "invalid_confidence", "nhits"),
        (lambda _i, said: said["nhits"].update(action="buy"), "invalid_action", "nhits"),
        (lambda _i, said: said["nhits"].update(action="SHORT"), "invalid_action", "nhits"),
        (lambda _i, _said: {"payload": "not json"}, "invalid_payload", "stream"),
        (lambda _i, _said: {"payload": "{}"}, "invalid_payload", "stream"),
        (lambda _i, _said: {"payload": '{"model_breakdown": {"a": {}, "a": {}}}'}, "invalid_payload", "stream"),
    ],
)
def test_one_blocker_in_three_hundred_decisions_fails_the_gate(redis_server, judge, spoil, code, subject):
    publish(redis_server.client(), 300, start_ms=start(300), spoil=lambda i, said: spoil(i, said) if i == 150 else None)
    gate = judge()
    assert codes(gate) == [(subject, code)]
    assert gate["exit_code"] == 2
    (blocker,) = gate["blockers"]
    assert blocker["measured"] == 1.0


def test_a_blocker_fails_the_gate_even_of_a_model_that_is_not_required(redis_server, judge):
    publish(
        redis_server.client(),
        300,
        start_ms=start(300),
        spoil=lambda i, said: said["nhits"].update(action="buy") if i == 9 else None,
    )
    gate = judge(models=["patchtst"], require=["patchtst"])
    assert codes(gate) == [("nhits", "invalid_action")]


def test_lower_case_actions_never_pass(redis_server, judge):
    """The original counted 0/0/0 % and passed."""

    def lower(i, said):
        for name in said:
            said[name]["action"] = said[name]["action"].lower()

    publish(redis_server.client(), 300, start_ms=start(300), spoil=lower)
    gate = judge()
    assert gate["exit_code"] == 2
    assert {code for _subject, code in codes(gate)} >= {"invalid_action"}


def test_a_share_just_above_its_limit_fails(redis_server, judge):
    """70.04 % is not 70.0 %: figures are judged as they were measured."""
    n = 2500
    publish(
        redis_server.client(),
        n,
        start_ms=start(n),
        spoil=lambda i, said: said["nhits"].update(action="HOLD" if i < 1751 else ("BUY", "SELL")[i % 2]),
    )
    gate = judge(require_ensemble=False)
    assert gate["models"]["nhits"]["actions"]["HOLD"]["percent"] == pytest.approx(70.04)
    assert codes(gate) == [("nhits", "action_collapse")]
    assert "HOLD=70.04% (>70%)" in gate["violations"][0]["message"]


def test_only_required_models_refuse(redis_server, judge):
    publish(redis_server.client(), 300, start_ms=start(300), spoil=flat)
    gate = judge(models=["patchtst"], require=["xgb"])
    assert gate["passed"]
    assert gate["models"]["nhits"]["status"] == "fail"
    assert gate["models"]["nhits"]["required"] is False
    assert "nhits (not required)" in gate["report"]
    assert judge(require=["nhits"])["exit_code"] == 2
    assert judge(models=["nhits"], require=["xgb"])["exit_code"] == 2


def test_the_ensemble_can_be_left_out_and_its_failure_is_explained(redis_server, judge):
    publish(
        redis_server.client(),
        300,
        start_ms=start(300),
        spoil=lambda i, said: [said[name].update(action=("BUY", "SELL", "HOLD")[i % 3]) for name in said] and None,
    )
    gate = judge()
    assert codes(gate) == [("ensemble", "agreement_out_of_range")]
    assert "before any canary" in gate["remedy"]
    assert judge(require_ensemble=False)["passed"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"models": ["tft"]}, "'tft' has no telemetry since the cutover; known are: lgbm, nhits, patchtst, xgb"),
        ({"require": ["tft"]}, "require: 'tft' has no telemetry"),
        ({"models": ["xgboost"], "aliases": {"xgboost": "xgb"}}, "'xgboost' has no telemetry"),
        ({"models": ["fallback"]}, "'fallback' has no telemetry"),
    ],
)
def test_an_unknown_model_is_an_error_that_names_the_known_ones(redis_server, judge, options, says):
    publish(redis_server.client(), 300, start_ms=start(300), spoil=lambda _i, said: said.update(fallback=vote()))
    with pytest.raises(BadInput) as caught:
        judge(**options)
    assert says in caught.value.message
    if "aliases" in options:
        assert "'xgb'" in caught.value.remedy


def test_a_candidate_in_too_few_decisions_is_missing(redis_server, judge):
    publish(
        redis_server.client(),
        400,
        start_ms=start(400),
        spoil=lambda i, said: said.pop("nhits") and None if i % 2 else None,
    )
    assert codes(judge(models=["nhits"])) == [("nhits", "canary_missing")]
    assert judge(models=["patchtst"])["passed"]


def test_a_shadow_model_is_measured_and_may_be_the_candidate(redis_server, judge):
    def shadow(i, said):
        said["tft"] = vote("HOLD", 0.5, shadow=True)

    publish(redis_server.client(), 300, start_ms=start(300), spoil=shadow)
    gate = judge()
    assert gate["passed"]
    assert gate["models"]["tft"]["status"] == "shadow"
    assert gate["models"]["tft"]["violations"]
    assert ("tft", "action_collapse") in codes(judge(models=["tft"]))


def test_one_voter_is_no_ensemble_unless_it_has_all_the_weight(redis_server, judge):
    publish(redis_server.client(), 300, start_ms=start(300), spoil=lambda _i, said: {"xgb": said["xgb"]})
    assert codes(judge()) == [("ensemble", "agreement_out_of_range")]
    assert judge(weight=1.0)["passed"]


def test_a_young_stream_is_complete(redis_server, judge):
    publish(redis_server.client(), 250, start_ms=start(250))
    assert judge(cutover=str(start(300)))["passed"]


def test_a_cutover_before_trimmed_entries_refuses(redis_server, judge):
    client = redis_server.client()
    added = publish(client, 500, start_ms=start(500))
    client.xtrim(STREAM, maxlen=300, approximate=False)
    gate = judge(cutover=added[100])
    assert codes(gate) == [("stream", "truncated_telemetry")]
    assert gate["window"]["truncated"] is True
    assert "later cutover" in gate["remedy"]
    assert judge(cutover=added[200])["passed"]
    assert judge(cutover=added[100], max_events=250)["passed"], "a window that is full lost nothing"


def test_an_entry_deleted_from_the_window_refuses(redis_server, judge):
    client = redis_server.client()
    added = publish(client, 500, start_ms=start(500))
    client.xdel(STREAM, added[400])
    assert codes(judge(cutover=added[100])) == [("stream", "truncated_telemetry")]
    assert judge(cutover=added[100], max_events=0, min_events=50)["exit_code"] == 2
    assert judge(cutover=added[400], min_events=50)["passed"]


def test_an_empty_stream_is_too_little_telemetry(redis_server, judge):
    client = redis_server.client()
    client.xadd(STREAM, {"a": "b"}, id="5-0")
    client.xdel(STREAM, "5-0")
    gate = judge(cutover="5-0")
    assert gate["exit_code"] == 2
    assert "0 decisions" in gate["reason"]
    assert "no rate is known" in gate["remedy"]
    assert gate["before_cutover"]["events"] == 0
    json.dumps(gate, allow_nan=False)


def test_a_missing_stream_is_an_error(judge):
    with pytest.raises(StreamGone):
        judge()


@pytest.mark.parametrize(("cutover", "says"), [("2026-01-10T05:43:15", "no offset"), ("gestern", "cannot be read")])
def test_a_bad_cutover_is_refused_before_redis_is_asked(cutover, says):
    nobody = Connection.from_dict({"login_host": "127.0.0.1", "login_port": free_port()})
    with StreamReader(nobody, STREAM) as reader, pytest.raises(BadInput, match=says):
        evaluate(reader, GateOptions.from_dict({"cutover": cutover}), time.time())


def test_a_cutover_in_the_future_is_refused(redis_server, judge):
    publish(redis_server.client(), 5, start_ms=start(5))
    with pytest.raises(BadInput, match="in the future"):
        judge(cutover=str(now_ms() + 3_600_000))


def test_clocks_apart_warn_and_then_refuse(redis_server, judge):
    publish(redis_server.client(), 300, start_ms=start(300))
    gate = judge(now=time.time() - 5)
    assert gate["passed"]
    assert any("clocks" in text for text in gate["warnings"])
    assert gate["clock_skew_s"] == pytest.approx(5, abs=1)
    with pytest.raises(Refused, match="clocks"):
        judge(now=time.time() - 40)


def test_old_telemetry_is_warned_about(redis_server, judge):
    publish(redis_server.client(), 300, start_ms=start(300) - 7_200_000)
    gate = judge()
    assert gate["passed"]
    assert any("2.0 h old" in text for text in gate["warnings"])


def test_match_judges_one_engine_of_a_shared_stream(redis_server, judge):
    client = redis_server.client()
    publish(client, 300, start_ms=start(300), source="good")
    publish(client, 1, start_ms=now_ms(), source="bad", spoil=lambda _i, _said: {"payload": "garbage"})
    assert judge(match={"source": "good"})["passed"]
    assert judge(match={"source": "bad"})["exit_code"] == 2
    assert judge()["exit_code"] == 2


def test_aliases_join_names_and_ignored_models_are_counted(redis_server, judge):
    def rename(i, said):
        said["xgboost"] = said.pop("xgb")
        if i % 4 == 0:
            said["fallback"] = vote("SELL", 0.9)

    publish(redis_server.client(), 300, start_ms=start(300), spoil=rename)
    gate = judge(aliases={"xgboost": "xgb"}, models=["xgb"])
    assert gate["passed"]
    assert set(gate["models"]) == {"xgb", "lgbm", "nhits", "patchtst"}
    assert gate["ignored"] == {"fallback": 75}


def test_a_hostile_name_reaches_the_report_quoted(redis_server, judge):
    def hostile(i, said):
        said["<script>|`x`"] = said.pop("nhits")

    publish(redis_server.client(), 300, start_ms=start(300), spoil=hostile)
    publish(redis_server.client(), 1, start_ms=now_ms(), spoil=lambda _i, _said: {"payload": "\x1b[31m \u202e"})
    gate = judge()
    assert "\\<script\\>\\|\\`x\\`" in gate["report"]
    for text in [*gate["report"].splitlines(), *gate["report_lines"], gate["reason"]]:
        assert text.isprintable(), text


def test_the_report_names_every_figure_beside_its_limit(redis_server, judge):
    publish(redis_server.client(), 300, start_ms=start(300), spoil=collapse)
    gate = judge()
    assert "## Models" in gate["report"]
    assert "| nhits | 300 |" in gate["report"]
    assert "HOLD % (<= 70, <= 85)" in gate["report"]
    text = "\n".join(gate["report_lines"])
    assert "FAIL" in text
    assert "HOLD 100.0 % (<= 70)" in text
    assert "against   nhits: Action collapse: HOLD=100.0% (>70%)" in text


def test_the_older_form_of_the_payload_is_judged_alike(redis_server, judge):
    def older(i, said):
        return {"payload": json.dumps({"symbol": "X", "serial": i}), "model_breakdown": json.dumps(said)}

    publish(redis_server.client(), 300, start_ms=start(300), spoil=older)
    assert judge()["passed"]


def test_repeated_decisions_are_told(redis_server, judge):
    client = redis_server.client()
    publish(client, 300, start_ms=start(301))
    client.xadd(STREAM, entry(healthy(299), serial=299))
    gate = judge()
    assert gate["repeated"] == 1
    assert any("published more than once" in text for text in gate["warnings"])
