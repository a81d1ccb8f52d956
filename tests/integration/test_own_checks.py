# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The monitor with own checks: what they are asked, what they end, and that none of them ends the monitor."""

from __future__ import annotations

import json
import os
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc import own_checks
from ansible_collections.qsc.canary.plugins.module_utils.qsc.files import Clock
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.connection import Connection
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.monitor import check_now, run_unit
from ansible_collections.qsc.canary.plugins.module_utils.qsc.record import Record, save
from ansible_collections.qsc.canary.plugins.module_utils.qsc.settings import Paths
from ansible_collections.qsc.canary.plugins.module_utils.qsc.tell.figures import Figures
from ansible_collections.qsc.canary.plugins.module_utils.qsc.tell.follow import check_lines
from ansible_collections.qsc.canary.plugins.module_utils.qsc.tell.watch import own_words, tree
from ansible_collections.qsc.canary.plugins.module_utils.qsc.verdict import Verdict
from helpers.redis_server import RedisServer
from helpers.samples import BASELINE, CANARY, make_record
from helpers.scenes import scene
from helpers.telemetry import STREAM, now_ms, publish


class Unit:
    """A host with a healthy canary whose monitor has own checks to run."""

    def __init__(self, folder: Path, server: RedisServer) -> None:
        self.paths = Paths(prefix=folder)
        for made in (self.paths.monitor_folder, self.paths.run, self.paths.checks, self.paths.wanted_checks):
            made.mkdir(parents=True, mode=0o755)
        self.server, self.clock = server, Clock(self.paths.boot_mark)
        publish(server.client(), 20, start_ms=now_ms() - 7_500_000)
        info = server.client().xinfo_stream(STREAM)
        self.since = {"id": info["last-generated-id"], "entries_added": info["entries-added"]}
        publish(server.client(), 250, start_ms=now_ms() - 125_000, step_ms=500)

    def record(self, policy: str = "strict", **changes: t.Any) -> Record:
        judging = {"stream": STREAM, "match": {}, "stale_after": 3600.0, "max_wait": 7200.0, "policy": policy}
        found = make_record(
            **{
                "since": self.since, "judging": judging, "check_timeout_s": 5.0, "boot_id": self.clock.boot_id(),
                "activated_boot": max(1.0, self.clock.boot() - 1800), "activated_at": now_ms() / 1000 - 1800, **changes,
            }
        )  # fmt: skip
        save(self.paths.record, found)
        return found

    def put(self, script: str, name: str = "pnl", *, wanted: bool = False, mode: int = 0o755) -> Path:
        path = (self.paths.wanted_checks if wanted else self.paths.checks) / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(mode)
        return path

    def run(self, **options: t.Any) -> tuple[int, list[str]]:
        return run_unit(self.paths, lambda: Connection.from_dict({**self.server.options(), **options}))

    @property
    def verdict(self) -> Verdict:
        """As the guard reads it."""
        return Verdict.from_hostile(self.paths.verdict.read_bytes())

    @property
    def figures(self) -> Figures:
        """As ``qsc status --watch`` reads it."""
        return Figures.from_hostile(self.paths.figures.read_bytes())


@pytest.fixture
def unit(tmp_path: Path, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Unit:
    monkeypatch.setattr(own_checks, "TRUSTED_UID", os.geteuid())
    return Unit(tmp_path, redis_server)


POLICIES = pytest.mark.parametrize("policy", ["strict", "sequential"])


@POLICIES
def test_what_a_check_is_asked(unit: Unit, policy: str, tmp_path: Path) -> None:
    record = unit.record(policy)
    unit.put(f"cat > {tmp_path / 'question'}")
    assert unit.run()[0] == 0
    assert json.loads((tmp_path / "question").read_text()) == {
        "schema": 1, "canary_id": record.id, "model": "patchtst", "weight": 0.1, "weights": CANARY,
        "baseline": BASELINE, "since": unit.since["id"], "activated_at": record.activated_at, "stream": STREAM,
        "interval_s": 30.0,
    }  # fmt: skip


@POLICIES
def test_a_violation_of_a_required_check_ends_the_run(unit: Unit, policy: str) -> None:
    unit.record(policy)
    unit.put("exit 0")
    assert unit.run()[0] == 0
    unit.put("""echo '{"value": 4.2, "limit": 3, "message": "drawdown 4.2 %"}'; exit 1""")
    code, lines = unit.run()
    assert code == 1
    assert lines[0] == "violation: Own check pnl: drawdown 4.2 % (4.2, limit 3)"
    assert [item.code for item in unit.verdict.violations] == ["own_check:pnl", "no_go"]
    assert (unit.verdict.violations[0].measured, unit.verdict.violations[0].limit) == (4.2, 3.0)
    unit.put("exit 0")
    assert unit.run()[0] == 1, "a violation latches"
    assert unit.verdict.violations[0].code == "own_check:pnl"


def test_before_there_are_enough_decisions_too(unit: Unit) -> None:
    unit.record(
        min_events=1000, judging={"stream": STREAM, "min_events": 1000, "max_wait": 7200.0, "stale_after": 3600.0}
    )
    assert unit.run()[0] == 0
    assert unit.verdict.verdict == "waiting"
    unit.put("exit 1")
    assert unit.run()[0] == 1
    assert unit.verdict.violations[0].message == "Own check pnl: violation"


def test_a_check_needs_no_telemetry_to_end_a_run(unit: Unit) -> None:
    unit.record()
    unit.put("exit 0")
    assert unit.run(login_port=1)[0] == 75
    unit.put("echo orders rejected; exit 1")
    assert unit.run(login_port=1)[0] == 1
    assert unit.verdict.message == "Own check pnl: orders rejected"
    assert unit.run()[0] == 1, "it latches"


@POLICIES
def test_a_wanted_check_is_shown_and_ends_nothing(unit: Unit, policy: str) -> None:
    unit.record(policy)
    unit.run()
    before = unit.verdict.status
    unit.put('echo \'{"value": 7, "message": "odd"}\'; exit 1', wanted=True)
    for _number in range(7):
        code, lines = unit.run()
        assert code == 0
    assert (unit.verdict.verdict, unit.verdict.status) == ("ok", before)
    assert "own check pnl: violation: odd" in lines
    assert "| pnl | violation (shown only) | 7 |  | odd |" in unit.paths.scoreboard.read_text()
    [own] = unit.figures.own
    assert (own.required, own.word, own.value, own.message) == (False, "violation", 7.0, "odd")


SILENT = {
    "no data": "exit 75",
    "a failure": "exit 3",
    "killed": "kill -9 $$",
    "a hang": "sleep 600",
}


@pytest.mark.parametrize("case", SILENT)
def test_a_required_check_that_stays_silent_ends_the_run(unit: Unit, case: str) -> None:
    unit.record(check_timeout_s=0.3)
    unit.put(SILENT[case])
    for number in range(1, 5):
        assert unit.run()[0] == 0
        assert (unit.verdict.verdict, unit.verdict.status, unit.verdict.checks_done) == ("ok", "WAIT", number)
        assert "; own check pnl has no answer" in unit.verdict.message
    assert unit.run()[0] == 1
    [first, *_more] = unit.verdict.violations
    assert (first.code, first.measured, first.limit) == ("own_check_silent:pnl", 5.0, 4.0)


def test_one_answer_begins_the_count_anew(unit: Unit) -> None:
    unit.record()
    for script in ("exit 75", "exit 75", "exit 75", "exit 75", "exit 0", "exit 75", "exit 75", "exit 75", "exit 75"):
        unit.put(script)
        assert unit.run()[0] == 0
    assert json.loads(unit.paths.monitor_state.read_text())["silent"] == {"pnl": 4}


def test_the_count_goes_on_while_the_telemetry_is_lost(unit: Unit) -> None:
    unit.record()
    unit.put("exit 75")
    assert [unit.run(login_port=1)[0] for _number in range(5)] == [75, 75, 75, 75, 1]


def test_the_state_of_an_older_version_is_taken(unit: Unit) -> None:
    unit.record()
    unit.put("exit 75")
    assert unit.run()[0] == 0
    state = json.loads(unit.paths.monitor_state.read_text())
    del state["silent"]
    unit.paths.monitor_state.write_text(json.dumps(state))
    assert unit.run()[0] == 0
    assert unit.verdict.checks_done == 2


def test_one_that_others_may_write_is_not_run(unit: Unit, tmp_path: Path) -> None:
    unit.record()
    unit.put(f"touch {tmp_path / 'ran'}", mode=0o777)
    code, lines = unit.run()
    assert code == 0
    assert any("own check pnl: failed: not run: it can be changed by others than root" in line for line in lines)
    assert not (tmp_path / "ran").exists()


def test_one_that_was_there_at_the_start_must_not_vanish(unit: Unit) -> None:
    unit.record(own_checks=("pnl",))
    assert [unit.run()[0] for _number in range(5)] == [0, 0, 0, 0, 1]
    assert "was removed during the run" in unit.verdict.message


def test_a_run_that_was_told_of_none_runs_none(unit: Unit, tmp_path: Path) -> None:
    unit.record(check_timeout_s=0.0)
    unit.put(f"touch {tmp_path / 'ran'}; exit 1")
    code, lines = unit.run()
    assert (code, [line for line in lines if "own check" in line], unit.figures.own) == (0, [], ())
    assert not (tmp_path / "ran").exists()


def test_a_hang_takes_half_of_the_interval_at_most(unit: Unit) -> None:
    unit.record(interval_s=1.0, check_timeout_s=600.0)
    unit.put("sleep 600")
    begin = time.monotonic()
    assert unit.run()[0] == 0
    assert time.monotonic() - begin < 60
    assert "did not end within 0.5 s" in unit.verdict.message


def test_a_check_now_runs_none_of_them(unit: Unit, tmp_path: Path) -> None:
    """It may be root who asks, outside of the monitor's sandbox."""
    unit.record()
    unit.put(f"touch {tmp_path / 'ran'}; exit 1")
    verdict = check_now(unit.paths, Connection.from_dict(unit.server.options()))
    assert verdict is not None and verdict.verdict == "ok"
    assert not (tmp_path / "ran").exists()


HOSTILE = {
    "binary": "head -c 3000 /dev/urandom; exit 1",
    "a terminal's commands": "printf '\\033[2J\\033]0;owned\\007\\r\\n'; exit 1",
    "a page's markup": "echo '| <b>x</b> `y` | **z** |'; exit 1",
    "huge": "head -c 900000 /dev/zero | tr '\\0' 'x'; exit 1",
    "a flood": "cat /dev/zero",
    "deep JSON": "head -c 4000 /dev/zero | tr '\\0' '['; exit 1",
    "huge figures": 'echo \'{"value": 1e14, "limit": -1e14}\'; exit 1',
    "no figures": 'echo \'{"value": NaN, "limit": 1e999, "message": [1]}\'; exit 1',
    "children": "for n in 1 2 3 4 5; do sleep 600 & done; exit 1",
}


@pytest.mark.parametrize("case", HOSTILE)
def test_no_output_breaks_the_monitor(unit: Unit, case: str) -> None:
    unit.record()
    unit.put(HOSTILE[case], wanted=True)
    unit.put("exit 0", "good")
    code, lines = unit.run()
    assert (code, unit.verdict.verdict) == (0, "ok")
    assert all(line.isprintable() for line in lines)
    assert all(line.isprintable() for line in unit.paths.scoreboard.read_text().split("\n"))
    assert unit.figures.own[0].word == "ok"
    assert all(item.message.isprintable() and len(item.message) <= 300 for item in unit.figures.own)
    unit.put(HOSTILE[case])
    unit.run()
    assert unit.verdict.checks_done == 2, "and as a required one it ends the run or is counted, and no more"


def test_they_are_on_the_live_page(unit: Unit) -> None:
    unit.record()
    unit.put("""echo '{"value": 1.2, "limit": 3, "message": "drawdown"}'""")
    unit.put("echo slow; exit 75", "odd", wanted=True)
    unit.run()
    facts = {**scene(), "figures": unit.figures.to_dict()}
    lines = tree(facts, 120)
    assert any("own checks" in line and "1 of 2 ok" in line for line in lines)
    [line] = [line for line in lines if "drawdown" in line]
    assert line.split() == ["pnl", "1.2", "3", "ok", "drawdown"]
    assert any("slow (shown only)" in line for line in lines)
    assert all(len(line) <= 60 for line in tree(facts, 60))
    told = " ".join(check_lines(facts))
    assert own_words(facts["figures"]["own"][0]) == "own check pnl ok 1.2 (limit 3)"
    assert "own check pnl ok 1.2 (limit 3)" in told
