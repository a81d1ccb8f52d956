# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The engine as a process: what it owes to a canary, its orders, its faults. Against a real Redis."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
from engine import modes
from engine.orders import CONTROL, Control, write_atomic

from helpers import plain_rules

if t.TYPE_CHECKING:
    from helpers.redis_server import RedisServer

TESTS = Path(__file__).resolve().parent.parent.parent
STREAM = "engine:test"
BASELINE = {"xgb": 0.25, "lgbm": 0.25, "nhits": 0.3, "patchtst": 0.2}
CANARY = {"xgb": 0.28125, "lgbm": 0.28125, "nhits": 0.3375, "patchtst": 0.1}
START = """
import os, sys
from pathlib import Path
from engine.quantum import QUANTUM, Engine
top = Path(sys.argv[1])
profile = QUANTUM._replace(configured=top / "own.json", folder=top, runtime=top, state=top)
engine = Engine(profile, dict(os.environ))
engine.start()
engine.run()
"""


class Running:
    """An engine process in a folder of its own."""

    def __init__(self, folder: Path, server: RedisServer) -> None:
        self.folder = folder
        self.client = server.client()
        options = server.options()
        self.orders: dict[str, t.Any] = {
            "redis": f"redis://{options['login_host']}:{options['login_port']}/0",
            "stream": STREAM,
            "rate": 400,
        }
        (folder / "own.json").write_text(json.dumps(BASELINE))
        self.process: subprocess.Popen[str] | None = None

    def start(self, canary: bool = False, faults: t.Mapping[str, t.Any] | None = None, **orders: t.Any) -> None:
        self.order(**orders)
        write_atomic(self.folder / "faults.json", json.dumps(dict(faults or {})))
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(TESTS)}
        if canary:
            (self.folder / "canary.json").write_text(json.dumps(CANARY))
            environment["QSC_CANARY_WEIGHTS"] = str(self.folder / "canary.json")
            environment["QSC_CANARY_MODEL"] = "patchtst"
            environment["QSC_CANARY_TRAFFIC"] = "0.10"
            environment["QSC_CANARY_ACK"] = str(self.folder / "ack.json")
        self.process = subprocess.Popen(
            [sys.executable, "-c", START, str(self.folder)], env=environment, stderr=subprocess.PIPE, text=True
        )

    def order(self, **orders: t.Any) -> None:
        self.orders.update(orders)
        write_atomic(self.folder / "control.json", json.dumps(self.orders))

    def decisions(self) -> int:
        return int(self.client.xinfo_stream(STREAM)["entries-added"]) if self.client.type(STREAM) == "stream" else 0

    def await_more(self, count: int) -> None:
        target = self.decisions() + count
        wait(lambda: self.decisions() >= target, f"{count} more decisions")

    def newest(self, count: int) -> list[dict[str, str]]:
        return [fields for _, fields in self.client.xrevrange(STREAM, count=count)]

    def status(self) -> dict[str, t.Any]:
        path = self.folder / "status.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()


def wait(condition: t.Callable[[], bool], what: str, timeout_s: float = 30) -> None:
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, what
        time.sleep(0.01)


@pytest.fixture
def engine(tmp_path: Path, redis_server: RedisServer) -> t.Iterator[Running]:
    running = Running(tmp_path, redis_server)
    yield running
    running.end()


def test_it_publishes_what_the_domain_says(engine: Running) -> None:
    engine.start()
    engine.await_more(220)
    for entry in engine.newest(3):
        assert set(entry) == {"event_type", "payload", "timestamp", "source", "trace_id", "correlation_id"}
        assert entry["event_type"] == "trade.intent"
        payload = json.loads(entry["payload"])
        assert set(payload) == {
            "symbol", "side", "confidence", "position_size_usd", "leverage", "entry_price", "timestamp", "model",
            "consensus_count", "total_models", "model_breakdown", "atr_value", "volatility_factor",
            "exchange_divergence", "funding_rate", "regime",
        }  # fmt: skip
        assert set(payload["model_breakdown"]) == set(BASELINE)
        assert 800 < len(entry["payload"]) < 1500
    assert plain_rules.codes(engine.newest(200), "patchtst") == set()


def test_without_a_canary_it_runs_its_own_weights_and_acknowledges_nothing(engine: Running) -> None:
    engine.start()
    engine.await_more(1)
    assert engine.status()["weights"] == BASELINE
    assert not (engine.folder / "ack.json").exists()


def test_a_canary_is_run_and_acknowledged(engine: Running) -> None:
    engine.start(canary=True)
    engine.await_more(1)
    assert engine.process is not None
    ack = json.loads((engine.folder / "ack.json").read_text())
    digest = hashlib.sha256((engine.folder / "canary.json").read_bytes()).hexdigest()
    assert ack == {"pid": engine.process.pid, "sha256": digest, "weights": CANARY}
    assert engine.status()["weights"] == CANARY


def test_unusable_canary_weights_are_not_acknowledged(engine: Running) -> None:
    engine.start(canary=True, faults={"start_delay": 1.0})
    (engine.folder / "canary.json").write_text('{"patchtst": -1}')
    engine.await_more(1)
    assert engine.status()["weights"] == BASELINE
    assert not (engine.folder / "ack.json").exists()


def test_it_ignores_the_environment_when_told_so(engine: Running) -> None:
    engine.start(canary=True, faults={"ignore_environment": True}, publish_weights=True)
    engine.await_more(1)
    assert engine.status()["weights"] == BASELINE
    assert not (engine.folder / "ack.json").exists()
    assert json.loads(engine.newest(1)[0]["payload"])["ensemble_weights"] == BASELINE


def test_it_publishes_the_weights_it_uses_when_told_so(engine: Running) -> None:
    engine.start(canary=True)
    engine.await_more(1)
    assert "ensemble_weights" not in json.loads(engine.newest(1)[0]["payload"])
    engine.order(publish_weights=True)
    wait(lambda: json.loads(engine.newest(1)[0]["payload"]).get("ensemble_weights") == CANARY, "weights")


@pytest.mark.parametrize(
    ("fault", "key"), [("wrong_sha256", "sha256"), ("wrong_pid", "pid"), ("none", None), ("garbage", None)]
)
def test_false_acknowledgements(engine: Running, fault: str, key: str | None) -> None:
    engine.start(canary=True, faults={"ack": fault})
    engine.await_more(1)
    assert engine.process is not None
    path = engine.folder / "ack.json"
    if key is None:
        assert not path.exists() if fault == "none" else path.read_text() == "{"
        return
    right = {
        "pid": engine.process.pid,
        "sha256": hashlib.sha256((engine.folder / "canary.json").read_bytes()).hexdigest(),
    }
    said = json.loads(path.read_text())
    assert {name for name in right if said[name] != right[name]} == {key}


def test_it_changes_its_ways_while_it_runs(engine: Running) -> None:
    engine.start()
    engine.await_more(220)
    engine.order(mode="dead_zone")
    wait(lambda: engine.status()["mode"] == "dead_zone", "the mode")
    engine.await_more(220)
    assert plain_rules.codes(engine.newest(200), "patchtst") == modes.CODES["dead_zone"]
    engine.order(mode="healthy")
    wait(lambda: engine.status()["mode"] == "healthy", "the mode")
    engine.await_more(220)
    assert plain_rules.codes(engine.newest(200), "patchtst") == set()


@pytest.mark.parametrize(("canary", "mode"), [(True, "dead_zone"), (False, "healthy")])
def test_a_mode_can_hold_under_the_canary_only(engine: Running, canary: bool, mode: str) -> None:
    engine.start(canary=canary, mode="dead_zone", when="canary")
    engine.await_more(1)
    assert engine.status()["mode"] == mode


def test_silence_of_a_canary_begins_some_time_after_its_start(engine: Running) -> None:
    engine.start(canary=True, mode="silent", after=1.5)
    engine.await_more(50)
    wait(lambda: engine.status()["mode"] == "silent", "the mode")
    before = engine.decisions()
    with pytest.raises(AssertionError):
        wait(lambda: engine.decisions() > before, "a decision", 0.5)


def test_a_pulse_is_done_once(engine: Running) -> None:
    engine.start(rate=0)
    wait(lambda: bool(engine.status()), "the start")
    engine.order(pulse={"id": "a", "count": 250})
    wait(lambda: engine.decisions() >= 250, "250 decisions")
    engine.order(pulse={"id": "a", "count": 250}, publish_weights=True)
    with pytest.raises(AssertionError):
        wait(lambda: engine.decisions() > 250, "another decision", 0.5)


def test_the_stream_is_trimmed_near_its_limit(engine: Running) -> None:
    engine.start(maxlen=500, rate=0)
    wait(lambda: bool(engine.status()), "the start")
    engine.order(pulse={"id": "a", "count": 3000})
    wait(lambda: engine.decisions() >= 3000, "3000 decisions")
    assert 500 <= engine.client.xlen(STREAM) < 700


@pytest.mark.parametrize(("mode", "kind"), [("vanished", "none"), ("wrong_type", "string")])
def test_it_harms_the_stream_and_comes_back(engine: Running, mode: str, kind: str) -> None:
    engine.start()
    engine.await_more(10)
    engine.order(mode=mode)
    wait(lambda: engine.client.type(STREAM) == kind, kind)
    engine.order(mode="healthy")
    wait(lambda: engine.client.type(STREAM) == "stream", "a stream again")


def test_truncation_leaves_nothing_to_read(engine: Running) -> None:
    engine.start(mode="truncation")
    engine.await_more(50)
    assert engine.client.xlen(STREAM) <= 3


def test_a_recorded_file_is_replayed(engine: Running) -> None:
    recorded = engine.folder / "recorded.jsonl"
    lines = [{"ms": 1, "fields": {"event_type": "trade.intent", "payload": f'{{"number": {n}}}'}} for n in range(3)]
    recorded.write_text("\n".join(json.dumps(line) for line in lines))
    engine.start(mode="replay", replay_file=str(recorded))
    engine.await_more(7)
    numbers = [json.loads(fields["payload"])["number"] for _, fields in engine.client.xrange(STREAM, count=7)]
    assert numbers == [0, 1, 2, 0, 1, 2, 0]


def test_a_redis_that_goes_away_costs_decisions_only(engine: Running, redis_server: RedisServer) -> None:
    engine.start()
    engine.await_more(5)
    engine.client.client_pause(300)
    engine.await_more(5)
    assert engine.process is not None
    assert engine.process.poll() is None


@pytest.mark.parametrize(
    ("faults", "canary", "status"),
    [
        ({"die_with_canary": True}, True, 1),
        ({"die_after": 0.3, "die_status": 7}, False, 7),
        ({"die_after": 0.3, "die_when": "canary", "die_status": 0}, True, 0),
        ({"die_after": 0.3, "die_status": -9}, False, -9),
    ],
)
def test_it_dies_when_told_so(engine: Running, faults: dict[str, t.Any], canary: bool, status: int) -> None:
    engine.start(canary=canary, faults=faults)
    assert engine.process is not None
    assert engine.process.wait(timeout=20) == status


def test_it_dies_only_so_often(engine: Running) -> None:
    for expected in (1, 1, None):
        engine.start(faults={"die_after": 0.2, "die_times": 2})
        assert engine.process is not None
        if expected is None:
            engine.await_more(200)
            assert engine.process.poll() is None
        else:
            assert engine.process.wait(timeout=20) == expected


@pytest.mark.parametrize(("ignore", "status"), [(False, 0), (True, None)])
def test_sigterm(engine: Running, ignore: bool, status: int | None) -> None:
    engine.start(faults={"ignore_sigterm": ignore})
    engine.await_more(1)
    assert engine.process is not None
    engine.process.send_signal(signal.SIGTERM)
    if ignore:
        engine.await_more(100)
        assert engine.process.poll() is None
    else:
        assert engine.process.wait(timeout=20) == status


def test_an_order_that_nobody_knows_changes_nothing(tmp_path: Path) -> None:
    control = Control(tmp_path / "control.json")
    assert control.changed()
    write_atomic(tmp_path / "control.json", json.dumps({"mood": "bad"}))
    assert not control.changed()
    assert control.orders == CONTROL
