# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The monitor unit's job: record in; verdict, state, scoreboard and exit code out."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import BadInput, RecordUnreadable
from ansible_collections.qsc.canary.plugins.module_utils.qsc.files import Clock
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.connection import Connection
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.monitor import check_now, run_unit
from ansible_collections.qsc.canary.plugins.module_utils.qsc.record import save
from ansible_collections.qsc.canary.plugins.module_utils.qsc.settings import Paths
from ansible_collections.qsc.canary.plugins.module_utils.qsc.tell.figures import Figures
from ansible_collections.qsc.canary.plugins.module_utils.qsc.verdict import Verdict
from helpers.samples import make_record
from helpers.telemetry import STREAM, now_ms, publish

CANARY = "patchtst"
BOOT_ID = "kernel/mark"


@dataclass(frozen=True)
class StillClock(Clock):
    """Boot time that a test sets; the rest is real."""

    now_boot: float = 5000.0
    this_boot: str = BOOT_ID

    def boot(self):
        return self.now_boot

    def boot_id(self, *, create=True):  # noqa: ARG002 (the clock's signature)
        return self.this_boot


class Unit:
    """A host with a record, as far as the monitor sees one."""

    def __init__(self, folder, server):
        self.paths = Paths(prefix=folder)
        self.paths.monitor_folder.mkdir(parents=True)
        self.paths.run.mkdir(parents=True)
        self.server = server
        self.client = server.client()
        publish(self.client, 300, start_ms=now_ms() - 7_500_000)
        info = self.client.xinfo_stream(STREAM)
        self.since = {"id": info["last-generated-id"], "entries_added": info["entries-added"]}
        self.scoreboard = None

    def record(self, **changes):
        judging = {"stream": STREAM, "match": {}, "stale_after": 120.0, "max_wait": 3600.0, "weights_field": ""}
        judging.update(changes.pop("judging", {}))
        changes = {
            "since": self.since, "judging": judging, "boot_id": BOOT_ID, "activated_boot": 3200.0,
            "activated_at": now_ms() / 1000 - 1800, **changes,
        }  # fmt: skip
        found = make_record(**changes)
        save(self.paths.record, found)
        return found

    def run(self, boot=5000.0, boot_id=BOOT_ID, **options):
        clock = StillClock(self.paths.boot_mark, boot, boot_id)
        return run_unit(
            self.paths,
            lambda: Connection.from_dict({**self.server.options(), **options}),
            clock=clock,
            scoreboard=self.scoreboard,
        )

    def publish(self, count, spoil=None, ago_ms=0):
        publish(self.client, count, start_ms=now_ms() - ago_ms - (count - 1) * 1000, spoil=spoil)

    @property
    def verdict(self):
        """The verdict as the guard reads it."""
        return Verdict.from_hostile(self.paths.verdict.read_bytes())

    def files(self):
        return sorted(
            str(path.relative_to(self.paths.prefix)) for path in self.paths.prefix.rglob("*") if path.is_file()
        )


@pytest.fixture
def unit(tmp_path, redis_server):
    return Unit(tmp_path, redis_server)


def sequential(**judging):
    return {"judging": {"policy": "sequential", **judging}}


def test_under_the_policy_sequential_the_state_goes_from_check_to_check(unit):
    unit.record(**sequential())
    unit.publish(150, ago_ms=110_000)
    code, _lines = unit.run()
    assert (code, unit.verdict.verdict) == (0, "waiting")
    unit.publish(100)
    code, lines = unit.run(5030.0)
    assert code == 0
    assert lines[0].startswith("ok: 250 decisions, nothing against patchtst; 0 of 8 rules are kept for certain")
    assert (unit.verdict.status, unit.verdict.checks_judged, unit.verdict.complete) == ("WAIT", 1, True)
    page = unit.paths.scoreboard.read_text()
    assert "## Certainty" in page
    assert "- BUY at most 70 %: not certain yet" in page or "- BUY at most 70 %: no bucket yet" in page
    state = json.loads(unit.paths.monitor_state.read_text())
    assert state["progress"]["fold"]["summary"]["events"] == 250


def test_under_the_policy_sequential_what_is_gross_latches(unit):
    unit.record(**sequential())
    unit.publish(650, spoil=collapse, ago_ms=300_000)
    assert unit.run()[0] == 1
    assert unit.verdict.violations[0].code == "stale_telemetry"
    assert "action_collapse" in [item.code for item in unit.verdict.violations]
    unit.publish(250)
    assert unit.run(5030.0)[0] == 1


def test_a_lost_state_of_the_policy_sequential_is_never_health(unit):
    unit.record(**sequential())
    unit.publish(400)
    assert unit.run()[0] == 0
    unit.client.xtrim(STREAM, maxlen=100, approximate=False)
    unit.paths.monitor_state.unlink()
    code, _lines = unit.run(5030.0)
    assert code == 1
    assert unit.verdict.violations[0].code == "truncated_telemetry"


def test_an_unknown_policy_fails_the_check_and_so_rolls_back(unit):
    unit.record(judging={"policy": "lenient"})
    unit.publish(300)
    with pytest.raises(BadInput, match=r"policy='lenient' is unknown\. Use strict or sequential"):
        unit.run()


def collapse(_i, said):
    said[CANARY].update(action="HOLD")


def test_without_a_canary_there_is_nothing_to_do(unit):
    assert unit.run() == (0, ["no canary in flight"])
    for state in ("rolled_back", "rolling_back", "promoted"):
        unit.record(state=state)
        assert unit.run(login_port=1)[0] == 0
    assert unit.files() == ["var/lib/qsc_canary/record.json"]


def test_while_arming_it_beats_and_waits_without_reading(unit):
    found = unit.record(state="arming", since={}, activated_boot=0.0)
    code, lines = unit.run(login_port=1)
    assert (code, lines) == (0, ["arming: waits for the activation"])
    assert (unit.verdict.canary_id, unit.verdict.verdict, unit.verdict.checked_boot) == (found.id, "waiting", 5000.0)
    assert unit.verdict.boot_id == BOOT_ID
    assert unit.verdict.checks_done == 0


def test_a_healthy_canary_is_ok(unit):
    unit.record()
    unit.publish(250)
    code, lines = unit.run()
    assert code == 0
    assert lines == ["ok: 250 decisions judged, nothing against patchtst"]
    verdict = unit.verdict
    assert (verdict.verdict, verdict.status, verdict.events) == ("ok", "GO", 250)
    assert (verdict.checks_done, verdict.checks_judged, verdict.checks_missed) == (1, 1, 0)
    assert verdict.complete
    assert verdict.violations == ()
    assert unit.run()[0] == 0
    assert (unit.verdict.checks_done, unit.verdict.checks_judged) == (2, 2)


def test_the_scoreboard_is_written_for_people_and_for_programs(unit):
    """The original's monitor looked for headings that start with an icon, and found no canary in any report."""
    unit.record()
    unit.publish(250)
    unit.run()
    page = unit.paths.scoreboard.read_text()
    assert page.startswith("# Canary scoreboard\n")
    assert "**Status: GO** (verdict ok)" in page
    assert re.search(r"^\| patchtst \| 250 \| 100\.0 \|", page, re.MULTILINE)
    assert all(line[2:].isascii() for line in page.splitlines() if line.startswith("#"))


def test_waiting_is_not_judging(unit):
    unit.record()
    unit.publish(57)
    assert unit.run()[0] == 0
    assert (unit.verdict.verdict, unit.verdict.checks_done, unit.verdict.checks_judged) == ("waiting", 1, 0)


def test_a_violation_exits_with_one_and_latches(unit):
    unit.record()
    unit.publish(250, spoil=collapse)
    assert unit.run()[0] == 1
    first = unit.verdict
    assert {item.code for item in first.violations} >= {"action_collapse", "gate_failed", "no_go"}
    unit.client.delete(STREAM)
    publish(unit.client, 300, start_ms=now_ms() - 7_500_000)
    unit.publish(400)
    code, lines = unit.run()
    assert code == 1
    assert unit.verdict.violations == first.violations
    assert unit.verdict.verdict == "violation"
    assert "Action collapse" in lines[0]


def test_a_latched_violation_needs_no_redis(unit):
    unit.record()
    unit.publish(250, spoil=collapse)
    unit.run()
    assert unit.run(boot=5030.0, login_port=1)[0] == 1
    assert unit.verdict.checked_boot == 5030.0


def test_a_violation_of_one_canary_does_not_follow_the_next(unit):
    unit.record()
    unit.publish(250, spoil=collapse)
    assert unit.run()[0] == 1
    unit.record(id="patchtst-20260111T000000Z-cafe")
    unit.client.delete(STREAM)
    publish(unit.client, 1, start_ms=now_ms() - 7_500_000)
    info = unit.client.xinfo_stream(STREAM)
    unit.since = {"id": info["last-generated-id"], "entries_added": info["entries-added"]}
    unit.record(id="patchtst-20260111T000000Z-cafe")
    unit.publish(250)
    assert unit.run()[0] == 0
    assert unit.verdict.checks_done == 1


def test_too_long_without_enough_decisions_ends_the_run(unit):
    unit.record()
    unit.publish(57)
    assert unit.run(boot=3200.0 + 3601)[0] == 1
    assert unit.verdict.verdict == "inconclusive"
    publish(unit.client, 250, start_ms=now_ms(), step_ms=1)
    assert unit.run(boot=3200.0 + 3700)[0] == 1
    assert unit.verdict.verdict == "inconclusive"


def test_a_check_that_could_not_be_made_is_missed_not_safe(tmp_path, start_redis):
    """In the original 720 failed checks ended as safe to promote."""
    server = start_redis()
    unit = Unit(tmp_path, server)
    unit.record()
    unit.publish(250)
    assert unit.run()[0] == 0
    server.freeze()
    for missed in (1, 2, 3):
        code, lines = unit.run(timeout_s=0.2)
        assert code == 75
        assert "did not answer" in lines[0]
        verdict = unit.verdict
        assert verdict.verdict == "transient"
        assert (verdict.checks_done, verdict.checks_missed, verdict.missed_in_a_row) == (1, missed, missed)
    server.thaw()
    assert unit.run()[0] == 0
    verdict = unit.verdict
    assert (verdict.checks_missed, verdict.missed_in_a_row, verdict.max_missed_in_a_row) == (3, 0, 3)


@pytest.mark.parametrize("options", [{"login_port": 1}, {"login_password": "falsch", "login_user": "nobody"}])
def test_a_redis_that_refuses_is_a_missed_check(unit, options):
    unit.record()
    assert unit.run(**options)[0] == 75


def test_a_stream_that_vanished_is_a_violation(unit):
    unit.record()
    unit.client.delete(STREAM)
    assert unit.run()[0] == 1
    assert unit.verdict.violations[0].code == "stale_telemetry"
    assert unit.verdict.complete is False


def test_lost_telemetry_stays_incomplete(unit):
    unit.record()
    unit.publish(300)
    unit.client.xtrim(STREAM, maxlen=100, approximate=False)
    assert unit.run()[0] == 1
    assert unit.verdict.complete is False


def test_the_marker_is_the_records(unit):
    """What the engine said before its restart is not the canary's."""
    unit.publish(250, spoil=collapse, ago_ms=600_000)
    info = unit.client.xinfo_stream(STREAM)
    unit.since = {"id": info["last-generated-id"], "entries_added": info["entries-added"]}
    unit.record()
    unit.publish(250)
    assert unit.run()[0] == 0


def test_the_frozen_options_are_applied(unit):
    unit.record(judging={"min_events": 50, "limits": {"max_action_share": 10.0}})
    unit.publish(60)
    assert unit.run()[0] == 1
    assert unit.verdict.violations[0].limit == 10.0


def test_match_and_aliases_are_the_records(unit):
    unit.record(judging={"match": {"source": "here"}, "aliases": {"pt": CANARY}})

    def rename(_i, said):
        said["pt"] = said.pop(CANARY)

    publish(unit.client, 250, start_ms=now_ms() - 250_000, source="here", spoil=rename)
    publish(unit.client, 5, start_ms=now_ms() + 5, step_ms=1, source="there", spoil=lambda _i, _said: {"payload": "?"})
    assert unit.run()[0] == 0
    assert unit.verdict.events == 250


def test_after_a_reboot_the_wall_clock_counts(unit):
    unit.record(activated_at=now_ms() / 1000 - 60)
    unit.client.delete(STREAM)
    unit.client.xadd(STREAM, {"a": "b"}, id=unit.since["id"])
    unit.client.execute_command("XSETID", STREAM, unit.since["id"], "ENTRIESADDED", 300, "MAXDELETEDID", "0-0")
    assert unit.run(boot=3200.0 + 500, boot_id="kernel/another")[0] == 0
    assert unit.run(boot=3200.0 + 130, boot_id=BOOT_ID)[0] == 1


def test_other_models_are_told_once(unit):
    unit.record()
    unit.publish(250, spoil=lambda _i, said: said["nhits"].update(confidence=0.5))
    code, lines = unit.run()
    assert code == 0
    assert "incumbent_violation: nhits constant_output (shown only: not the canary)" in lines
    assert unit.run()[1] == lines[:1]


def test_a_scoreboard_that_fails_is_in_nobodys_way(unit):
    unit.record()
    unit.publish(250)

    def broken(_check):
        raise KeyError("no such figure")

    unit.scoreboard = broken
    code, lines = unit.run()
    assert code == 0
    assert "the scoreboard could not be written" in lines[-1]
    assert unit.verdict.verdict == "ok"
    assert unit.paths.figures.exists(), "one page does not need the other"


def test_figures_that_fail_are_in_nobodys_way(unit):
    unit.record()
    unit.publish(250)
    unit.paths.figures.mkdir(parents=True)
    code, lines = unit.run()
    assert code == 0
    assert "the page of figures could not be written" in lines[-1]
    assert unit.verdict.verdict == "ok"
    assert unit.paths.scoreboard.exists()


@pytest.mark.parametrize("policy", ["strict", "sequential"])
def test_the_figures_beside_the_scoreboard(unit, policy):
    record = unit.record(judging={"policy": policy})
    unit.publish(250)
    unit.run()
    found = Figures.from_hostile(unit.paths.figures.read_bytes())
    assert (found.canary_id, found.checked_at) == (record.id, unit.verdict.checked_at)
    assert (found.policy, found.judged, found.events) == (policy, True, 250)
    names = [(rule.name, rule.side) for rule in found.rules]
    both = [("BUY", "most"), ("conf_std", "least"), ("agreement", "least"), ("agreement", "most")]
    assert set(both) <= set(names)
    assert names[-1] == ("newest decision", "most")
    assert {rule.state for rule in found.rules[:3]} == ({""} if policy == "strict" else {"open"})
    assert unit.paths.figures.stat().st_mode & 0o777 == 0o644


def test_the_figures_of_a_stream_that_is_gone(unit):
    unit.record()
    unit.client.delete(STREAM)
    assert unit.run()[0] == 1
    assert Figures.from_hostile(unit.paths.figures.read_bytes()).rules == ()


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"schema": 1}', '{"schema": 9}', "null", '{"schema": 1, "canary_id": %s}']
)
def test_a_state_that_cannot_be_read_fails_the_unit(unit, content):
    found = unit.record()
    unit.publish(250)
    unit.paths.monitor_state.write_text(content.replace("%s", json.dumps(found.id)))
    with pytest.raises(RecordUnreadable):
        unit.run()


def test_arming_begins_with_a_fresh_state(unit):
    found = unit.record(state="arming")
    unit.paths.monitor_state.write_text("garbage")
    assert unit.run()[0] == 0
    assert json.loads(unit.paths.monitor_state.read_text())["canary_id"] == found.id


@pytest.mark.parametrize("since", [{}, {"id": "x"}, {"id": 5}])
def test_a_record_without_a_marker_fails_the_unit(unit, since):
    unit.record(since=since)
    with pytest.raises(RecordUnreadable):
        unit.run()


def test_the_monitor_writes_in_its_own_folder_alone(unit):
    unit.record()
    unit.publish(250)
    before = set(unit.files())
    unit.run()
    new = set(unit.files()) - before
    assert new == {
        "var/lib/qsc_canary/monitor/checks-patchtst-20260110T054315Z-beef.jsonl",
        "var/lib/qsc_canary/monitor/state.json",
        "var/lib/qsc_canary/monitor/verdict.json",
        "var/lib/qsc_canary/monitor/reports/scoreboard_latest.md",
        "var/lib/qsc_canary/monitor/reports/scoreboard_latest.json",
    }


def test_checking_now_writes_nothing(unit):
    clock = StillClock(unit.paths.boot_mark)
    connection = Connection.from_dict(unit.server.options())
    assert check_now(unit.paths, connection, clock=clock) is None
    unit.record()
    unit.publish(250, spoil=collapse)
    before = unit.files()
    verdict = check_now(unit.paths, connection, clock=clock)
    assert verdict.verdict == "violation"
    assert unit.files() == before
    unit.record(state="arming")
    assert check_now(unit.paths, connection, clock=clock).verdict == "waiting"
