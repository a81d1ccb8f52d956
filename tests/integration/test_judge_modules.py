# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The judge's modules, run for real against a real Redis: what works, and every input that cannot."""

from __future__ import annotations

import json
import subprocess
import threading
import time

import pytest

from helpers.redis_server import free_port
from helpers.run_module import run_module
from helpers.telemetry import STREAM, entry, healthy, now_ms, publish

GATE = "qsc_quality_gate"
CHECK = "qsc_monitor_check"
MARKER = "qsc_stream_marker"
WEIGHTS = "qsc_published_weights"


@pytest.fixture
def telemetry(redis_server):
    """300 healthy decisions that end now."""
    publish(redis_server.client(), 300, start_ms=now_ms() - 300_000)
    return redis_server


def ago(seconds):
    return str(now_ms() - int(1000 * seconds))


# The gate


def test_the_gate_passes(telemetry):
    result = run_module(GATE, fresh=True, cutover=ago(400), models=["patchtst"], **telemetry.options())
    assert (result["failed"], result["changed"], result["passed"], result["exit_code"]) == (False, False, True, 0)
    assert result["events"] == 300
    assert result["report"].startswith("# Quality gate report")


def test_the_gate_refuses_and_fails_unless_told_not_to(redis_server):
    publish(
        redis_server.client(),
        300,
        start_ms=now_ms() - 300_000,
        spoil=lambda _i, said: said["nhits"].update(action="HOLD"),
    )
    result = run_module(GATE, cutover=ago(400), **redis_server.options())
    assert (result["failed"], result["passed"], result["exit_code"]) == (True, False, 2)
    assert "nhits: Action collapse: HOLD=100.0% (>70%)" in result["msg"]
    assert result["models"]["nhits"]["status"] == "fail"
    quiet = run_module(GATE, cutover=ago(400), fail_on_violation=False, **redis_server.options())
    assert (quiet["failed"], quiet["passed"], quiet["exit_code"]) == (False, False, 2)
    assert quiet["reason"] in result["msg"]


def test_the_gate_gives_the_same_answer_in_check_mode(telemetry):
    one = run_module(GATE, cutover=ago(400), check=True, **telemetry.options())
    assert one["passed"]
    assert one["changed"] is False


def test_a_collection_is_complete_without_failing(telemetry):
    result = run_module(GATE, cutover=ago(400), mode="collection", **telemetry.options())
    assert (result["failed"], result["passed"], result["exit_code"]) == (False, False, 3)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"cutover": "2026-01-10T05:43:15"}, ["cutover='2026-01-10T05:43:15'", "no offset", "Append Z"]),
        ({"cutover": "2126-01-10T05:43:15Z"}, ["cutover='2126-01-10T05:43:15Z'", "in the future"]),
        ({"cutover": "yesterday"}, ["cutover='yesterday'", "cannot be read", "epoch in milliseconds"]),
        ({"cutover": ""}, ["cutover=''", "is not a moment"]),
        ({"limits": {"max_action_share": 170}}, ["max_action_share=170", "from 0 to 100"]),
        ({"limits": {"min_std": "nan"}}, ["min_std=nan", "out of range"]),
        ({"limits": {"max_hold": 80}}, ["max_hold", "max_hold_share"]),
        ({"limits": {"min_agreement": 90}}, ["min_agreement=90 is above max_agreement=80"]),
        ({"min_events": 0}, ["min_events=0", "out of range"]),
        ({"max_events": 100}, ["max_events=100 is below min_events=200"]),
        ({"models": ["tft"]}, ["'tft' has no telemetry", "lgbm, nhits, patchtst, xgb"]),
        ({"models": ["a b"]}, ["models='a b' is not a model's name"]),
        ({"mode": "canery"}, ["mode", "canary, collection"]),
        ({"stream": "nothing"}, ["the stream 'nothing' does not exist"]),
        ({"stream": "text"}, ["'text'", "is not a stream"]),
        ({"stream": ""}, ["stream=''"]),
        ({"db": 7}, ["does not exist", "(db 7)"]),
        ({"login_port": 70_000}, ["login_port=70000", "out of range"]),
        ({"timeout_s": 0}, ["timeout_s=0.0", "out of range"]),
        ({"weight": 2}, ["weight=2.0", "out of range"]),
        ({"stale_after": "never"}, ["stale_after='never'", "auto"]),
    ],
    ids=str,
)
def test_the_gate_refuses_an_input_it_cannot_mean(telemetry, options, says):
    telemetry.client().set("text", "x")
    result = run_module(GATE, **{"cutover": ago(400), **telemetry.options(), **options})
    assert result["failed"]
    for text in says:
        assert text in result["msg"]
    if "Unsupported parameters" not in result["msg"] and "must be one of" not in result["msg"]:
        assert (result["passed"], result["exit_code"]) == (False, 2)
        assert result["remedy"]


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ("no json", "invalid_payload"),
        ("{}", "invalid_payload"),
        ('{"model_breakdown": {}}', "invalid_payload"),
        ('{"model_breakdown": {"xgb": {}, "xgb": {}}}', "invalid_payload"),
        ('{"model_breakdown": {"xgb": {"action": "SHORT", "confidence": 0.5}}}', "invalid_action"),
        ('{"model_breakdown": {"xgb": {"action": "buy", "confidence": 0.5}}}', "invalid_action"),
        ('{"model_breakdown": {"xgb": {"action": "BUY", "confidence": NaN}}}', "invalid_confidence"),
        ('{"model_breakdown": {"xgb": {"action": "BUY", "confidence": Infinity}}}', "invalid_confidence"),
        ('{"model_breakdown": {"xgb": {"action": "BUY", "confidence": -0.1}}}', "invalid_confidence"),
        ('{"model_breakdown": {"xgb": {"action": "BUY", "confidence": "0.9"}}}', "invalid_confidence"),
        ('{"model_breakdown": {"xgb": {"action": "BUY", "confidence": true}}}', "invalid_confidence"),
    ],
)
def test_one_entry_that_cannot_be_read_refuses(telemetry, payload, code):
    telemetry.client().xadd(STREAM, {"event_type": "trade.intent", "payload": payload})
    result = run_module(GATE, cutover=ago(400), fail_on_violation=False, **telemetry.options())
    assert result["exit_code"] == 2
    assert [item["code"] for item in result["blockers"]] == [code]
    assert [item["code"] for item in result["violations"]] == [code]


def test_a_stream_without_entries_is_too_little_telemetry(redis_server):
    client = redis_server.client()
    client.xadd(STREAM, {"a": "b"})
    client.xtrim(STREAM, maxlen=0)
    result = run_module(GATE, cutover=ago(400), **redis_server.options())
    assert result["failed"]
    assert "Too little telemetry: 0 decisions since the cutover, 200 are needed" in result["msg"]


def test_a_cutover_before_trimmed_entries_refuses_and_a_young_stream_does_not(telemetry):
    client = telemetry.client()
    assert run_module(GATE, cutover=ago(4000), **telemetry.options())["passed"]
    client.xtrim(STREAM, maxlen=250, approximate=False)
    result = run_module(GATE, cutover=ago(4000), **telemetry.options())
    assert [item["code"] for item in result["violations"]] == ["truncated_telemetry"]
    assert "50 were trimmed" in result["msg"]


# What every module says of a Redis it cannot use

OPTIONS = {
    GATE: {"cutover": "1-0"},
    CHECK: {"model": "patchtst", "since": "1-0"},
    MARKER: {},
    WEIGHTS: {"field": "weights", "since": "1-0", "wait_s": 0},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_redis_that_is_down(name):
    result = run_module(name, login_port=free_port(), **OPTIONS[name])
    assert result["failed"]
    assert "cannot be reached" in result["msg"]
    assert "Start Redis there" in result["remedy"]
    if name in (GATE, CHECK):
        assert result["exit_code"] == 2


@pytest.mark.parametrize("name", OPTIONS)
def test_a_redis_that_hangs(start_redis, name):
    server = start_redis()
    publish(server.client(), 3, start_ms=1000)
    server.freeze()
    begin = time.monotonic()
    result = run_module(name, timeout_s=0.5, **server.options(), **OPTIONS[name])
    server.thaw()
    assert result["failed"]
    assert "within 0.5 s" in result["msg"]
    assert time.monotonic() - begin < 10


@pytest.mark.parametrize("name", OPTIONS)
def test_a_wrong_password(start_redis, name):
    server = start_redis(password="geheim", users={"reader": "on >pw ~* -@all +xinfo +xrevrange +xread +time"})
    publish(server.client(), 300, start_ms=now_ms() - 300_000)
    result = run_module(name, **{**server.options(), "login_password": "falsch", **OPTIONS[name]})
    assert result["failed"]
    assert "refuses the login of user 'default'" in result["msg"]
    assert "falsch" not in json.dumps(result)
    good = {**server.options(), "login_user": "reader", "login_password": "pw", "fail_on_violation": False}
    if name not in (GATE, CHECK):
        del good["fail_on_violation"]
    assert not run_module(name, **{**good, **OPTIONS[name]})["failed"]


@pytest.mark.parametrize("name", OPTIONS)
def test_a_host_without_a_library_for_redis(name):
    result = run_module(
        name, before="import sys; sys.modules['redis'] = sys.modules['hiredis'] = None", **OPTIONS[name]
    )
    assert result["failed"]
    assert "python3-redis" in result["msg"]
    assert "redis" in result["msg"]


def test_the_unix_socket(start_redis):
    server = start_redis(password="geheim")
    publish(server.client(), 300, start_ms=now_ms() - 300_000)
    result = run_module(MARKER, login_unix_socket=server.unix_socket, login_password="geheim", login_port=1)
    assert not result["failed"]


# The marker


def test_the_marker_is_the_end_of_the_stream(telemetry):
    result = run_module(MARKER, **telemetry.options())
    info = telemetry.client().xinfo_stream(STREAM)
    assert result["marker"] == {"id": info["last-generated-id"], "entries_added": 300}
    assert (result["changed"], result["length"]) == (False, 300)
    assert abs(result["clock_skew_s"]) < 2


def test_the_marker_of_a_missing_stream_is_an_error(redis_server):
    result = run_module(MARKER, **redis_server.options())
    assert result["failed"]
    assert "does not exist" in result["msg"]


# The check


def test_the_check_judges_what_came_after_the_marker(telemetry, tmp_path):
    client = telemetry.client()
    client.delete(STREAM)
    publish(client, 300, start_ms=now_ms() - 900_000)
    marker = run_module(MARKER, **telemetry.options())["marker"]
    options = {
        "model": "patchtst", "since": marker["id"], "entries_added": marker["entries_added"],
        "state_path": str(tmp_path / "state.json"), **telemetry.options(),
    }  # fmt: skip
    publish(client, 250, start_ms=now_ms() - 250_000)
    result = run_module(CHECK, check=True, **options)
    assert (result["failed"], result["verdict"], result["status"], result["exit_code"]) == (False, "ok", "GO", 0)
    assert result["events"] == 250
    assert "**Status: GO**" in result["scoreboard"]
    assert any("patchtst" in line for line in result["report_lines"])
    assert not (tmp_path / "state.json").exists(), "check mode writes nothing"
    assert run_module(CHECK, **options)["verdict"] == "ok"
    publish(client, 50, start_ms=now_ms(), step_ms=1, spoil=lambda _i, said: said["patchtst"].update(confidence=-1))
    client.xtrim(STREAM, maxlen=40, approximate=False)
    result = run_module(CHECK, **options)
    assert (result["failed"], result["verdict"], result["exit_code"]) == (True, "violation", 1)
    assert {item["code"] for item in result["violations"]} >= {"truncated_telemetry", "invalid_confidence", "no_go"}
    assert run_module(CHECK, fail_on_violation=False, **options)["failed"] is False


def test_the_check_under_the_policy_sequential_goes_on_from_its_state(telemetry, tmp_path):
    client = telemetry.client()
    client.delete(STREAM)
    publish(client, 900, start_ms=now_ms() - 5_000_000)
    gate = run_module(GATE, cutover=ago(5100), models=["patchtst"], policy="sequential", **telemetry.options())
    assert (gate["passed"], gate["policy"], gate["frame"]["decisions"]) == (True, "sequential", 900)
    assert {item["metric"] for item in gate["claims"]} >= {"BUY", "std", "range", "agreement", "hard_disagree"}
    assert any(line.startswith("buckets   one observation is 3 min") for line in gate["report_lines"])
    assert "## Certainty" in gate["report"]
    marker = run_module(MARKER, **telemetry.options())["marker"]
    options = {
        "model": "patchtst", "since": marker["id"], "entries_added": marker["entries_added"], "policy": "sequential",
        "frame": gate["frame"], "stale_after": "90000", "state_path": str(tmp_path / "state.json"),
        **telemetry.options(),
    }  # fmt: skip
    publish(client, 3000, start_ms=now_ms() - 3_600_000)
    result = run_module(CHECK, **options)
    assert (result["verdict"], result["status"], result["exit_code"]) == ("ok", "GO", 0)
    assert result["frame"] == gate["frame"]
    assert {item["state"] for item in result["claims"]} == {"kept"}
    assert all(item["low"] <= item["value"] <= item["high"] for item in result["claims"])
    client.xtrim(STREAM, maxlen=10, approximate=False)  # what was read is not needed any more
    publish(client, 50, start_ms=now_ms() - 60_000)
    assert run_module(CHECK, **options)["events"] == 3050
    assert run_module(CHECK, **{**options, "state_path": None})["verdict"] == "violation"


def test_a_strict_gate_learns_nothing(telemetry):
    result = run_module(GATE, cutover=ago(600), models=["patchtst"], **telemetry.options())
    assert (result["policy"], result["frame"], result["claims"]) == ("strict", None, [])
    assert "## Certainty" not in result["report"]


def test_the_check_waits(telemetry):
    result = run_module(CHECK, model="patchtst", since=ago(60), **telemetry.options())
    assert (result["failed"], result["verdict"], result["exit_code"]) == (False, "waiting", 4)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"since": "2026-01-10T05:43:15"}, "since='2026-01-10T05:43:15' has no offset"),
        ({"since": "2126-01-10T05:43:15Z"}, "in the future"),
        ({"window_events": 10}, "window_events=10 is below min_events=200"),
        ({"model": "../etc"}, "model='../etc' is not a model's name"),
        ({"policy": "lenient"}, "policy"),
        ({"state_path": "/dev/null"}, "/dev/null"),
    ],
)
def test_the_check_refuses_an_input_it_cannot_mean(telemetry, options, says):
    result = run_module(CHECK, **{"model": "patchtst", "since": ago(60), **telemetry.options(), **options})
    assert result["failed"]
    assert says in result["msg"]


def test_a_state_that_is_none_is_refused(telemetry, tmp_path):
    path = tmp_path / "state.json"
    path.write_text("{}")
    result = run_module(CHECK, model="patchtst", since=ago(60), state_path=str(path), **telemetry.options())
    assert result["failed"]
    assert "is not a state of this module" in result["msg"]


# Published weights


def test_the_weights_of_the_first_decision_after_the_marker_that_tells(telemetry):
    client = telemetry.client()
    marker = run_module(MARKER, **telemetry.options())["marker"]["id"]
    client.xadd(STREAM, entry(healthy(0)))
    told = client.xadd(STREAM, entry(healthy(0), weights={"xgboost": 0.9, "patchtst": 0.1}))
    client.xadd(STREAM, entry(healthy(0), weights={"xgb": 1.0}))
    result = run_module(WEIGHTS, field="weights", since=marker, aliases={"xgboost": "xgb"}, **telemetry.options())
    assert result["weights"] == {"xgb": 0.9, "patchtst": 0.1}
    assert (result["id"], result["decisions"], result["changed"]) == (told, 2, False)


def test_weights_as_json_text_are_read(telemetry):
    client = telemetry.client()
    marker = run_module(MARKER, **telemetry.options())["marker"]["id"]
    client.xadd(STREAM, entry(healthy(0), weights=json.dumps({"xgb": 1})))
    assert run_module(WEIGHTS, field="weights", since=marker, **telemetry.options())["weights"] == {"xgb": 1.0}


def test_weights_that_come_while_it_waits_are_seen(telemetry):
    marker = run_module(MARKER, **telemetry.options())["marker"]["id"]
    client = telemetry.client()

    def later():
        deadline = time.monotonic() + 20
        while not client.info("clients")["blocked_clients"] and time.monotonic() < deadline:
            time.sleep(0.01)  # until the module waits
        client.xadd(STREAM, entry(healthy(0), weights={"xgb": 1.0}))

    thread = threading.Thread(target=later)
    thread.start()
    result = run_module(WEIGHTS, field="weights", since=marker, wait_s=30, **telemetry.options())
    thread.join()
    assert result["weights"] == {"xgb": 1.0}


def test_no_weights_within_the_time_is_an_answer_not_an_error(telemetry):
    marker = run_module(MARKER, **telemetry.options())["marker"]["id"]
    telemetry.client().xadd(STREAM, entry(healthy(0)))
    result = run_module(WEIGHTS, field="weights", since=marker, wait_s=0.2, **telemetry.options())
    assert (result["failed"], result["weights"], result["id"], result["decisions"]) == (False, None, None, 1)


@pytest.mark.parametrize("value", ["much", 5, [], {}, {"xgb": "1"}, {"xgb": True}, {"xgb": 1.5}, {"xgb": -0.1}])
def test_what_is_no_weights_is_an_error(telemetry, value):
    marker = run_module(MARKER, **telemetry.options())["marker"]["id"]
    telemetry.client().xadd(STREAM, entry(healthy(0), weights=value))
    result = run_module(WEIGHTS, field="weights", since=marker, wait_s=1, **telemetry.options())
    assert result["failed"]
    assert "are no weights" in result["msg"]


# As a task


def test_ansible_runs_the_gate(telemetry, root, clean_environment):
    options = {"cutover": ago(400), "aliases": {"xgboost": "xgb"}, **telemetry.options()}
    done = subprocess.run(
        ["ansible", "localhost", "-c", "local", "-m", f"qsc.canary.{GATE}", "-a", json.dumps(options)],
        cwd=root,
        env={**clean_environment, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout[done.stdout.index("=>") + 2 :])
    assert result["passed"] is True
    assert result["events"] == 300
