# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whoever can write the stream can at worst cause a rollback: never an activation, a crash, an escape or an overrun."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from itertools import groupby
from pathlib import Path

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import BadInput
from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard.weights import checked_baseline, plan_weights
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.connection import Connection
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.gate import evaluate
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.monitor import run_unit
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.options import GateOptions
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.stream import StreamReader, StreamTooLarge
from ansible_collections.qsc.canary.plugins.module_utils.qsc.ledger import Ledger
from ansible_collections.qsc.canary.plugins.module_utils.qsc.record import save
from ansible_collections.qsc.canary.plugins.module_utils.qsc.settings import Paths
from ansible_collections.qsc.canary.plugins.module_utils.qsc.tell.report import gate_result, verdict_lines
from ansible_collections.qsc.canary.plugins.module_utils.qsc.tell.status import ledger_line, status_lines
from ansible_collections.qsc.canary.plugins.module_utils.qsc.verdict import Verdict
from helpers.hostile import ENTRIES, HARMLESS, NAMES, told
from helpers.run_module import run_module
from helpers.samples import BASELINE, make_record
from helpers.telemetry import STREAM, healthy, now_ms, publish, vote

ROOT = Path(__file__).resolve().parents[2]
CANARY = "patchtst"


class Host:
    """A host that watches a canary, as far as the judge sees one; its telemetry so far is healthy."""

    def __init__(self, folder, server, decisions=250):
        self.paths = Paths(prefix=folder)
        self.paths.monitor_folder.mkdir(parents=True)
        self.paths.run.mkdir(parents=True)
        self.server, self.client = server, server.client(decode_responses=False)
        publish(server.client(), 20, start_ms=now_ms() - 7_500_000)
        info = server.client().xinfo_stream(STREAM)
        judging = {"stream": STREAM, "match": {}, "stale_after": 120.0, "max_wait": 3600.0}
        self.record = make_record(
            since={"id": info["last-generated-id"], "entries_added": info["entries-added"]}, judging=judging,
            activated_boot=0.0, activated_at=now_ms() / 1000 - 1800,
        )  # fmt: skip
        save(self.paths.record, self.record)
        publish(server.client(), decisions, start_ms=now_ms() - decisions * 500, step_ms=500)

    def add(self, fields):
        self.client.xadd(STREAM, fields)

    def monitor(self):
        return run_unit(self.paths, lambda: Connection.from_dict(self.server.options()))

    @property
    def verdict(self):
        return Verdict.from_hostile(self.paths.verdict.read_bytes())

    def gate(self, **options):
        with StreamReader(Connection.from_dict(self.server.options()), STREAM) as reader:
            raw = {
                "cutover": self.record.since["id"],
                "models": [CANARY],
                "baseline": BASELINE,
                "weight": 0.1,
                **options,
            }
            return gate_result(evaluate(reader, GateOptions.from_dict(raw), time.time()))


@pytest.fixture
def host(tmp_path, redis_server):
    return Host(tmp_path, redis_server)


def texts(value):
    """Every text in some data, keys too."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from (str(name), *texts(item))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from texts(item)
    elif isinstance(value, str):
        yield value


def page_is_inert(page):
    """No line of a Markdown page holds markup that somebody else put there."""
    for is_table, lines in groupby(page.split("\n"), key=lambda line: line.startswith("|")):
        rows = list(lines)
        assert not is_table or len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1, rows
    for line in page.split("\n"):
        assert line.isprintable(), line
        ours = line.replace("**", "") if line.startswith("**") else line
        ours = re.sub(r"^#+ |[(,] ?[<>]= [0-9.]+|<= [0-9.]+", "", ours)
        assert not re.search(r"(?<!\\)[<>`*\[\]]", ours), line


@pytest.mark.parametrize("case", ENTRIES)
def test_one_hostile_entry_refuses_the_gate_and_ends_the_run(host, case):
    assert host.gate()["passed"]
    assert host.monitor()[0] == 0
    host.add(ENTRIES[case])
    gate = host.gate()
    assert (gate["passed"], gate["exit_code"]) == (False, 2)
    assert gate["blockers"]
    assert all(text.isprintable() for text in texts({**gate, "report": ""}))
    page_is_inert(gate["report"])
    code, lines = host.monitor()
    assert code == 1
    assert host.verdict.verdict == "violation"
    assert host.verdict.violations
    assert all(line.isprintable() and len(line) < 2100 for line in lines)
    page_is_inert(host.paths.scoreboard.read_text())
    assert len(host.paths.scoreboard.read_text()) < 20_000


@pytest.mark.parametrize("case", HARMLESS)
def test_odd_numbers_that_are_numbers_are_judged(host, case):
    host.add(HARMLESS[case])
    assert host.gate()["passed"]
    assert host.monitor()[0] == 0


def test_a_field_that_stands_twice_ends_the_run(host):
    host.client.execute_command("XADD", STREAM, "*", "payload", "{}", "payload", "{}")
    assert host.gate()["exit_code"] == 2
    assert host.monitor()[0] == 1


def test_hostile_names_reach_nothing_unescaped(tmp_path, redis_server):
    """In every decision: what cannot be shown becomes a blocker, the rest is measured and shown escaped."""
    host = Host(tmp_path, redis_server, decisions=0)
    names = [name for name in NAMES.values() if name]
    for i in range(210):
        said = {name: vote("HOLD", 0.5, source=name[:30] + "_fallback_rules") for name in names}
        host.client.xadd(STREAM, {b"payload": json.dumps({"model_breakdown": {**healthy(i), **said}}).encode()})
    options = {"cutover": host.record.since["id"], "fail_on_violation": False, **redis_server.options()}
    gate = run_module("qsc_quality_gate", stream=STREAM, models=[CANARY], baseline=BASELINE, weight=0.1, **options)
    assert (gate["passed"], gate["exit_code"]) == (False, 2)
    assert NAMES["a cell"] in gate["models"]
    assert not {NAMES["the title of a terminal"], NAMES["from right to left"], NAMES["10 kB"]} & set(gate["models"])
    assert all(text.isprintable() for text in texts({**gate, "report": "", "invocation": {}}))
    page_is_inert(gate["report"])
    assert "\\<script\\>" in gate["report"]

    code, lines = host.monitor()
    assert code == 1
    verdict = host.verdict
    ledger = Ledger(*(tmp_path / name for name in ("ledger.jsonl", "anchor.json", "pending.jsonl", "config.json")))
    ledger.append(
        "rollback_executed",
        {"trigger": "qsc_monitor_violation", "violations": [item.message for item in verdict.violations]},
        wall=1.0,
    )
    status = status_lines({"in_flight": True, "record": host.record.to_dict(), "verdict": verdict.to_dict()})
    told_lines = [*lines, *status, *verdict_lines(verdict), *gate["report_lines"], ledger_line(ledger.tail(1)[0])]
    for line in told_lines:
        assert line.isprintable(), line
    page_is_inert(host.paths.scoreboard.read_text())


@pytest.mark.parametrize("case", NAMES)
def test_a_hostile_name_never_becomes_a_canary_or_a_weight(case):
    """What reaches the drop-in, a path or a variable: the model's name, and those of the weights."""
    name = NAMES[case]
    with pytest.raises(BadInput) as error:
        plan_weights({"xgb": 0.5, "lgbm": 0.5}, name, 0.1, known=[name])
    assert str(error.value).isprintable()
    with pytest.raises(BadInput) as error:
        checked_baseline({"xgb": 0.5, name: 0.5})
    assert str(error.value).isprintable()
    with pytest.raises(BadInput):
        GateOptions.from_dict({"models": [name]})


def test_new_names_in_every_decision_cost_no_more_than_a_bound(host):
    for i in range(200):
        host.add(told({f"m{64 * i + k}": vote(source=f"s{i}_{k}_fallback_rules") for k in range(64)}))
    for i in range(200):
        host.add(told({**healthy(i), CANARY: vote(source=f"{'s' * 40}{i}_fallback_rules")}))
    gate = host.gate()
    assert gate["exit_code"] == 2
    assert len(gate["models"]) <= 256
    assert any("more than 256 different models" in item["message"] for item in gate["blockers"])
    assert len(gate["models"][CANARY]["fallback"]["sources"]) <= 17
    assert len(gate["report"]) < 200_000
    assert host.monitor()[0] == 1
    assert len(host.paths.scoreboard.read_text()) < 200_000
    with pytest.raises(BadInput) as error:
        host.gate(models=["nobody"])
    assert len(str(error.value)) < 500


def test_more_bytes_than_a_reply_may_have_are_refused_before_they_are_kept(host):
    for _number in range(20):
        host.add({b"payload": b"x" * 1_000_000})
    with pytest.raises(StreamTooLarge, match=r"XREVRANGE .* one reply has more than 16384000 bytes.* who writes"):
        host.gate()
    options = {"cutover": host.record.since["id"], **host.server.options()}
    refused = run_module("qsc_quality_gate", stream=STREAM, models=[CANARY], **options)
    assert refused["failed"]
    assert not refused.get("passed")
    assert "one reply has more than" in refused["msg"]
    code, lines = host.monitor()
    assert code == 1
    assert "violation: Invalid payload: Redis at" in lines[0]
    assert next((item.subject, item.code) for item in host.verdict.violations) == ("stream", "invalid_payload")
    assert host.verdict.checks_missed == 0


def test_what_lies_before_the_cutover_refuses_nobody(host):
    """The comparison is for people: an old flood must not keep a gate shut for as long as the stream holds it."""
    for _number in range(20):
        host.add({b"payload": b"x" * 1_000_000})
    last = host.server.client().xinfo_stream(STREAM)["last-generated-id"]
    for i in range(210):
        host.add(told(healthy(i)))
    gate = host.gate(cutover=last)
    assert gate["passed"], gate["reason"]
    assert gate["before_cutover"]["events"] == 0
    assert any("nothing is compared with before the cutover" in text for text in gate["warnings"])


def test_a_reader_stops_at_its_budget_of_bytes(host):
    connection = Connection.from_dict(host.server.options())
    with StreamReader(connection, STREAM, budget_bytes=50_000) as reader:
        with pytest.raises(StreamTooLarge, match="more than 50000 bytes would have to be read"):
            list(reader.newest(0))
        with pytest.raises(StreamTooLarge):
            reader.info()
    with StreamReader(connection, STREAM, budget_bytes=1_000_000) as reader:
        assert len(list(reader.newest(0))) == 270


CHECK = """
import json, resource, sys
from qsc.judge.check import MOST_BYTES, check
from qsc.judge.connection import Connection
from qsc.judge.cutover import StreamId
from qsc.judge.options import MonitorOptions
from qsc.judge.stream import StreamReader
limit, options, since, window = json.loads(sys.argv[1])
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
with StreamReader(Connection.from_dict(options), "quantum:stream:trade.intent", budget_bytes=MOST_BYTES) as reader:
    options = MonitorOptions.from_dict({"window_events": window}, model="patchtst", since=StreamId.parse(since))
    print(check(reader, options, None, 1800.0)[0].verdict)
"""


@pytest.mark.parametrize("kind", ["many small fields", "the largest window", "as many values as are decoded"])
def test_the_worst_telemetry_is_judged_within_the_memory_of_the_unit(tmp_path, redis_server, kind):
    """The bound is the unit's own; python's objects take ten times the bytes of the smallest fields."""
    unit = (ROOT / "roles/qsc_canary/templates/qsc-monitor.service.j2").read_text()
    found = re.search(r"^LimitDATA=(\d+)M$", unit, re.MULTILINE)
    assert found
    assert f"MemoryMax={found.group(1)}M" in unit
    limit = int(found.group(1)) << 20
    host = Host(tmp_path, redis_server, decisions=10_000 if kind == "the largest window" else 250)
    pipe = host.client.pipeline(transaction=False)
    spoilt = {
        "many small fields": {f"{i:03x}".encode(): b"ab" for i in range(900)},
        "as many values as are decoded": {
            b"payload": b'{"a": [' + b"{}," * 1000 + b'0], "model_breakdown": {"xgb": {"action": "BUY"}}}'
        },
    }
    for _number in range(1100 if kind in spoilt else 0):
        pipe.xadd(STREAM, spoilt[kind])
    pipe.execute()
    arguments = json.dumps([limit, host.server.options(), host.record.since["id"], 10_000])
    done = subprocess.run(
        [sys.executable, "-c", CHECK, arguments], capture_output=True, text=True, check=False, timeout=100,
        env={"PYTHONPATH": str(ROOT / "plugins" / "module_utils")},
    )  # fmt: skip
    assert done.stdout.strip() == ("violation" if kind in spoilt else "ok"), done.stderr
