# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The backtest says of a run what the monitor says of it: check by check against a real Redis; and its two modules."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.check import Progress, check
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.connection import Connection
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.cutover import ZERO, StreamId
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.decisions import Dialect
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.options import POLICIES, MonitorOptions
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.recording import EVERYTHING, from_stream
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.replay import Replay
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.stream import StreamReader
from helpers.recorded import BEGIN_MS, CANARY, lines, record
from helpers.run_module import run_module
from helpers.samples import BASELINE
from helpers.telemetry import STREAM

INTERVAL_MS = 120_000
OPTIONS = {"min_events": 100, "window_events": 250, "duration_s": 3600, "weight": 0.1}
WEIGHTS = {"baseline": BASELINE, "weight": 0.6, "limits": {"flip_share_max": 0.25}}


class AsOf(StreamReader):
    """A reader for which it is some moment of the past."""

    now_ms = 0

    def server_ms(self):
        return self.now_ms


def ill(i, said):
    """Ill from the 750th decision on."""
    if i > 750:
        said[CANARY].update(action="BUY")


@pytest.fixture(params=[None, ill], ids=["healthy", "ill"])
def rows(request):
    return [json.loads(line) for line in lines(1400, spoil=request.param)]


def add(client, rows):
    pipe = client.pipeline(transaction=False)
    for row in rows:
        pipe.xadd(STREAM, row["fields"], id=f"{row['ms']}-*")
    pipe.execute()


def plain(result):
    """What a check says, but for the name of the stream and for what is only shown."""
    shown = ("stream", "impact", "comparison")
    return {name: value for name, value in result.to_dict().items() if name not in shown}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("place", [300, 612])
def test_every_check_of_a_run_says_what_the_monitor_says(redis_server, rows, policy, place):
    client = redis_server.client()
    connection = Connection.from_dict(redis_server.options())
    start_ms = rows[place]["ms"]
    add(client, [row for row in rows if row["ms"] <= start_ms])
    info = client.xinfo_stream(STREAM)
    since = StreamId.parse(info["last-generated-id"])
    asked = {**OPTIONS, **WEIGHTS}
    raw = {**asked, "policy": policy, "entries_added": info["entries-added"]}
    options = MonitorOptions.from_dict(raw, model=CANARY, since=since)
    said, progress, read = [], None, start_ms
    for now_ms in range(start_ms, start_ms + 3_600_001, INTERVAL_MS):
        add(client, [row for row in rows if read < row["ms"] <= now_ms])
        read = now_ms
        with AsOf(connection, STREAM) as reader:
            reader.now_ms = now_ms
            result, progress = check(reader, options, progress, (now_ms - start_ms) / 1000)
        progress = Progress.from_dict(progress.to_dict())
        said.append(plain(result))
        if result.verdict == "violation":
            break
    add(client, [row for row in rows if row["ms"] > read])
    with StreamReader(connection, STREAM) as reader:
        recorded = from_stream(reader, Dialect.of({}, ("fallback",)), EVERYTHING)
    replayed = []
    monitor = MonitorOptions.from_dict(asked, model=CANARY, since=ZERO)
    replay = Replay(recorded.decisions, monitor, INTERVAL_MS / 1000)
    outcome = replay.follow(start_ms, policy, None, 0, lambda result: replayed.append(plain(result)))
    assert replayed == said
    assert (outcome.result == "rolled_back") == (said[-1]["verdict"] == "violation")
    assert outcome.result != "cut_off"
    assert policy != "strict" or any("flip_share" in str(item["violations"]) for item in said)


# The modules


def test_the_module_on_a_stream_and_on_a_file_of_it(redis_server, tmp_path):
    rows = lines(900)
    add(redis_server.client(), [json.loads(row) for row in rows])
    asked = {"model": CANARY, **OPTIONS, "degradation": ["standard"], "starts": 4, "seed": 7}
    result = run_module("qsc_backtest", fresh=True, **asked, **redis_server.options())
    assert (result["failed"], result["changed"]) == (False, False), result
    assert [item["policy"] for item in result["policies"]] == ["strict", "sequential"]
    assert [len(item["degradations"]) for item in result["policies"]] == [4, 4]
    assert result["report"].startswith("# Backtest")
    assert ET.fromstring(result["plot"]).tag.endswith("svg")
    path = record(tmp_path, rows)
    again = run_module("qsc_backtest", **asked, file=str(path), login_host="nowhere.invalid")
    assert again["policies"] == result["policies"]
    checked = run_module("qsc_backtest", check=True, **asked, **redis_server.options())
    assert checked["policies"] == result["policies"]
    one = run_module("qsc_backtest", **{**asked, "policy": ["strict"]}, **redis_server.options())
    assert one["policies"] == result["policies"][:1]


def test_the_plan_of_a_stream(redis_server):
    add(redis_server.client(), [json.loads(row) for row in lines(900)])
    result = run_module("qsc_plan", fresh=True, model=CANARY, **OPTIONS, **redis_server.options())
    assert (result["failed"], result["changed"]) == (False, False), result
    assert result["first_judgement_s"] == pytest.approx(600, rel=0.15)
    assert result["backtest"]["policies"][0]["rollback"]["count"] == 0
    assert "runs" not in result["backtest"]["policies"][0]
    assert any(line.startswith("sees ") for line in result["report_lines"])
    later = run_module("qsc_plan", model=CANARY, cutover=str(BEGIN_MS + 5_000_000), **OPTIONS, **redis_server.options())
    assert later["decisions"] < result["decisions"]
    assert later["backtest"] is None
    assert "too few for one start" in later["backtest_reason"]


@pytest.mark.parametrize("module", ["qsc_backtest", "qsc_plan"])
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": "tft"}, "model='tft' never votes in the stream quantum:stream:trade.intent; known are: lgbm, nhits"),
        ({"model": "a b"}, "is not a model's name"),
        ({"file": "/nonexistent/x.jsonl"}, "does not exist"),
        ({"file": "/etc"}, "cannot be read"),
        ({"stream": "other"}, "the stream 'other' does not exist"),
        ({"match": {"source": "x"}}, "holds no decision"),
        ({"limits": {"min_std": 2}}, "limits: min_std=2.0 is out of range"),
        ({"starts": 0}, "starts=0 is out of range"),
        ({"duration_s": -1}, "duration_s=-1.0 is out of range"),
        ({"policy": ["lenient"]}, "value of policy must be one or more of: strict, sequential"),
    ],
)
def test_bad_input_is_named(redis_server, module, options, said):
    add(redis_server.client(), [json.loads(row) for row in lines(200)])
    result = run_module(module, **{"model": CANARY, **options, **redis_server.options()})
    assert result["failed"]
    assert said in result["msg"]
