# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evidence of monitored runs over a real Redis, and its replay: equal, and unequal for whatever was changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field, replace

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc import bundle, command, command_evidence
from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import BadInput, SystemdError
from ansible_collections.qsc.canary.plugins.module_utils.qsc.files import Clock
from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard import evidence, systemd
from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard.host import Host
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge import check, checklog
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.checklog import CheckLog
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.connection import Connection
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.frame import Frame
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.impact import weights_at
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.monitor import run_unit
from ansible_collections.qsc.canary.plugins.module_utils.qsc.record import save
from ansible_collections.qsc.canary.plugins.module_utils.qsc.settings import Paths, Settings
from ansible_collections.qsc.canary.plugins.module_utils.qsc.tell.evidence import evidence_lines, replay_lines
from helpers.samples import BASELINE, make_record
from helpers.telemetry import STREAM, entry, healthy, now_ms, publish

CANARY = "patchtst"
BOOT_ID = "kernel/mark"
SECRET = "tulip-7-horse"
FRAME = Frame(bucket_s=60.0, buckets=360, rate_per_s=1.0)
POLICIES = ("strict", "sequential")


@dataclass(frozen=True)
class StillClock(Clock):
    """Boot time that a test sets; the rest is real."""

    now_boot: float = 5000.0
    this_boot: str = field(default=BOOT_ID)

    def boot(self):
        return self.now_boot

    def boot_id(self, *, create=True):  # noqa: ARG002 (the clock's signature)
        return self.this_boot


class Run:
    """A monitored run: a record, a real stream, and checks one after the other."""

    def __init__(self, folder, server, policy="strict", **changes):
        self.folder, self.server = folder, server
        self.client = server.client()
        self.paths = Paths(prefix=folder / "host")
        for needed in (
            self.paths.monitor_folder, self.paths.run, self.paths.ledger.parent, self.paths.config.parent,
        ):  # fmt: skip
            needed.mkdir(parents=True)
        self.paths.config.write_text(json.dumps({"connection": {"login_port": server.port}}))
        publish(self.client, 300, start_ms=now_ms() - 7_500_000)
        info = self.client.xinfo_stream(STREAM)
        since = {"id": info["last-generated-id"], "entries_added": info["entries-added"]}
        judging = {
            "stream": STREAM, "match": {}, "stale_after": 86_400.0, "max_wait": 3600.0, "policy": policy,
            "frame": FRAME.to_dict(), "weights_field": "", **changes.pop("judging", {}),
        }  # fmt: skip
        self.record = make_record(
            since=since, judging=judging, boot_id=BOOT_ID, activated_boot=3200.0, armed_at=now_ms() / 1000 - 1900,
            activated_at=now_ms() / 1000 - 1800, **changes,
        )  # fmt: skip
        save(self.paths.record, self.record)
        self.host = Host(settings=Settings(), paths=self.paths, actor="a test")
        self.boot = 5000.0
        self.serial = 0
        self.next_ms = now_ms() - 7_200_000

    def publish(self, count, spoil=None, step_ms=200, **payload):
        """Go on publishing: healthy decisions that differ from one another."""
        pipe = self.client.pipeline(transaction=False)
        for _number in range(count):
            said = healthy(self.serial)
            if spoil:
                spoil(self.serial, said)
            pipe.xadd(STREAM, entry(said, serial=self.serial, **payload), id=f"{self.next_ms}-0")
            self.serial, self.next_ms = self.serial + 1, self.next_ms + step_ms
        pipe.execute()

    def check(self, **options):
        self.boot += 30
        clock = StillClock(self.paths.boot_mark, self.boot)
        connection = Connection.from_dict({**self.server.options(), **options})
        return run_unit(self.paths, lambda: connection, clock=clock, scoreboard=lambda _data: "a page")

    def checks(self, count, each=60, spoil=None, step_ms=200, **payload):
        codes = []
        for _number in range(count):
            self.publish(each, spoil, step_ms, **payload)
            codes.append(self.check()[0])
        return codes

    def log(self):
        return CheckLog.parse(checklog.paths_of(self.paths, self.record.id)[1].read_bytes())

    def write(self, name="evidence.tar.gz", **options):
        path = self.folder / name
        connection = Connection.from_dict(self.server.options())
        self.written = command_evidence.write(
            self.host, lambda: connection, canary_id=self.record.id, output=str(path), **options
        )
        return path

    def replay(self, path=None):
        return command_evidence.replay(str(path or self.write()))


@pytest.fixture(autouse=True)
def _no_systemd(monkeypatch):
    """This is no host; tests/hosts_tests/test_evidence.py is."""

    def none(*_arguments, **_options):
        raise SystemdError("no systemd here")

    monkeypatch.setattr(systemd, "text", none)
    monkeypatch.setattr(systemd, "journal", none)


@pytest.fixture
def run(tmp_path, redis_server):
    return lambda policy="strict", **changes: Run(tmp_path, redis_server, policy, **changes)


def collapse(_i, said):
    said[CANARY].update(action="HOLD")


def repacked(path, name, change):
    """A copy of the archive in which a member was changed, with a manifest that says nothing of it."""
    found = bundle.read(path)
    facts = {key: value for key, value in found.manifest.items() if key not in ("members", "schema")}
    members = {**found.members, name: change(found.members[name])}
    other = path.with_name("changed.tar.gz")
    other.write_bytes(bundle.pack(members, facts))
    return other


def tampered(path, name, change):
    """The same, but with the manifest of before."""
    found = bundle.read(path)
    whole = bundle.pack({**found.members, name: change(found.members[name])}, {})
    other = path.with_name("tampered.tar.gz")
    members = dict(bundle.read(_put(other, whole)).members)
    manifest = json.dumps(found.manifest).encode()
    _put(other, _raw({**members, bundle.MANIFEST: manifest}))
    return other


def _put(path, data):
    path.write_bytes(data)
    return path


def _raw(members, **header):
    import gzip
    import io
    import tarfile

    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for key, value in header.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(data))
    return gzip.compress(target.getvalue())


@pytest.mark.parametrize("policy", POLICIES)
def test_a_healthy_run_is_equal(run, policy):
    one = run(policy)
    assert one.checks(8) == [0] * 8
    told = one.replay()
    assert told["differences"] == []
    assert (told["checks"], told["recomputed"], told["whole"]) == (8, 8, True)
    assert command_evidence.code_of(told) == 0
    assert replay_lines(told)[0].startswith(f"EQUAL: 8 of 8 checks of {one.record.id} ({policy})")
    assert set(told["verdicts"]) == {"waiting", "ok"}


@pytest.mark.parametrize("policy", POLICIES)
def test_a_violation_and_what_repeats_it_are_equal(run, policy):
    one = run(policy)
    assert one.checks(4, step_ms=3000) == [0] * 4
    codes = one.checks(14, spoil=collapse, step_ms=3000)
    assert (codes[0], codes[-1]) == (0, 1)
    told = one.replay()
    assert told["differences"] == []
    assert told["verdicts"]["violation"] >= 2
    assert told["taken_over"] == {"repeats what ended the run": told["verdicts"]["violation"] - 1}
    assert told["whole"]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("place", [10, 200, 470])
def test_one_byte_of_a_decision_is_found_and_the_check_named(run, policy, place):
    """Also one that changes no verdict: the digest of what each check read tells it."""
    one = run(policy)
    one.checks(8)
    path = one.write()

    def change(data):
        lines = data.split(b"\n")
        assert b"patchtst_net" in lines[place]
        lines[place] = lines[place].replace(b"patchtst_net", b"patchtst_nEt")
        return b"\n".join(lines)

    told = one.replay(repacked(path, "decisions.jsonl", change))
    numbers = [item["number"] for item in told["differences"] if item["name"] == "digest"]
    first = place // 60 + 1
    assert numbers[0] == first
    assert numbers == (list(range(first, 9)) if policy == "strict" else [first])
    assert command_evidence.code_of(told) == 1
    assert replay_lines(told)[0].startswith("DIFFERS")
    assert told["altered"] == []
    also = one.replay(tampered(path, "decisions.jsonl", change))
    assert also["altered"] == ["decisions.jsonl"]
    assert also["differences"] == told["differences"]
    assert "MANIFEST.json: decisions.jsonl is not the file it was written of" in replay_lines(also)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_decision_that_decides_changes_the_verdict(run, policy):
    one = run(policy)
    one.checks(8)

    def change(data):
        return data.replace(b'\\"action\\": \\"HOLD\\"', b'\\"action\\": \\"hOLD\\"', 1)

    told = one.replay(repacked(one.write(), "decisions.jsonl", change))
    [verdict] = [item for item in told["differences"] if item["name"] == "verdict" and item["number"] == 1]
    assert (verdict["recorded"], verdict["recomputed"]) == ("waiting", "violation")


@pytest.mark.parametrize("policy", POLICIES)
def test_a_verdict_that_was_made_up_is_found(run, policy):
    one = run(policy)
    one.checks(8)
    path = repacked(one.write(), "checks.jsonl", lambda data: data.replace(b'"status":"WAIT"', b'"status":"GO"', 1))
    [item] = one.replay(path)["differences"]
    assert (item["number"], item["name"], item["recorded"]) == (1, "status", "GO")


@pytest.mark.parametrize("policy", POLICIES)
def test_a_decision_that_was_taken_out_is_found(run, policy):
    one = run(policy)
    one.checks(5)
    path = repacked(one.write(), "decisions.jsonl", lambda data: b"\n".join(data.split(b"\n")[1:]))
    assert [item["name"] for item in one.replay(path)["differences"]][:3] == ["decisions", "digest", "message"]


@pytest.mark.parametrize("policy", POLICIES)
def test_missed_checks_are_taken_over_and_counted(tmp_path, start_redis, policy):
    server = start_redis()
    one = Run(tmp_path, server, policy)
    one.checks(3)
    server.freeze()
    assert [one.check(timeout_s=0.2)[0] for _number in range(2)] == [75, 75]
    server.thaw()
    one.checks(3)
    told = one.replay()
    assert told["differences"] == []
    assert (told["checks"], told["recomputed"], told["taken_over"]) == (8, 6, {"telemetry not read": 2})
    assert told["whole"]


def test_strict_says_which_checks_cannot_be_judged_again(run):
    one = run(judging={"window_events": 200})
    one.checks(8)
    one.client.xtrim(STREAM, minid=f"{one.next_ms - 61 * 200 * 5}-0", approximate=False)
    told = one.replay()
    assert told["differences"] == []
    assert command_evidence.code_of(told) == 4
    assert {int(number) for number in told["impossible"]} == {1, 2, 3, 4, 5, 6}
    assert told["recomputed"] == 2
    lines = replay_lines(told)
    assert lines[0].startswith("NOT ALL: 2 of 8 checks")
    assert any(line.startswith("cannot be recomputed: check") for line in lines)
    missing = one.written["missing"]
    assert missing["count"] == 175
    assert f"trimmed before it was written: 175 entries after {one.record.since['id']}" in "\n".join(
        evidence_lines(one.written)
    )


def test_sequential_needs_everything_since_the_marker(run):
    one = run("sequential")
    one.checks(8)
    one.client.xtrim(STREAM, maxlen=300, approximate=False)
    told = one.replay()
    assert (told["recomputed"], len(told["impossible"]), told["differences"]) == (0, 8, [])
    assert command_evidence.code_of(told) == 4


def test_telemetry_that_was_lost_while_it_ran_is_judged_again_as_lost(run):
    """The window of then is what the stream still held then."""
    one = run()
    one.checks(4)
    one.publish(300)
    one.client.xtrim(STREAM, maxlen=100, approximate=False)
    assert one.check()[0] == 1
    told = one.replay()
    assert told["differences"] == []
    assert told["verdicts"]["violation"] == 1
    assert 5 not in {int(number) for number in told["impossible"]}


@pytest.mark.parametrize("policy", POLICIES)
def test_lines_that_are_missing_are_told(run, policy):
    one = run(policy)
    one.checks(8)

    def without(data):
        return b"\n".join(line for line in data.split(b"\n") if b'{"number":4,' not in line)

    told = one.replay(repacked(one.write(), "checks.jsonl", without))
    assert (told["differences"], told["gaps"], told["recomputed"]) == ([], [[4, 4]], 7)
    assert command_evidence.code_of(told) == 4
    assert "not in the log: check 4" in replay_lines(told)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_line_that_was_cut_off_costs_only_itself(run, policy):
    one = run(policy)
    one.checks(2)
    path = checklog.paths_of(one.paths, one.record.id)[1]
    path.write_bytes(path.read_bytes()[:-20])
    one.checks(2)
    told = one.replay()
    assert (told["recomputed"], told["gaps"], told["differences"]) == (3, [[2, 2]], [])
    assert "1 lines of the log were cut off" in told["notes"]


def test_a_memory_that_was_lost_is_told(run):
    one = run("sequential")
    one.checks(4)
    one.paths.monitor_state.unlink()
    one.checks(2)
    told = one.replay()
    assert (told["recomputed"], told["differences"]) == (6, [])
    assert any("the monitor's memory was lost" in note for note in told["notes"])


def test_a_stream_that_vanished_is_taken_over(run):
    one = run()
    one.checks(4)
    one.client.delete(STREAM)
    assert one.check()[0] == 1
    path = one.write()
    assert "decisions.jsonl" in one.written["absent"]
    told = one.replay(path)
    assert told["taken_over"] == {"no stream to judge": 1}
    assert (told["recomputed"], len(told["impossible"])) == (0, 4)
    assert command_evidence.code_of(told) == 4


def test_a_frame_and_patience_that_nobody_has_frozen_are_learnt_again(run):
    one = run("sequential", judging={"frame": None, "stale_after": None, "max_wait": None})
    one.next_ms = now_ms() - 60_000
    assert one.checks(4) == [0] * 4
    assert b"patchtst" in bundle.read(one.write()).members["decisions.jsonl"]
    assert json.loads(bundle.read(one.write()).members["telemetry.json"])["before"] == 300
    told = one.replay()
    assert (told["recomputed"], told["differences"]) == (4, [])


def test_only_the_decisions_of_this_host_are_kept(run):
    one = run(judging={"match": {"event_type": "trade.intent"}})
    one.client.xadd(STREAM, {"event_type": "other", "payload": "{}"}, id=f"{one.next_ms - 1}-0")
    one.checks(4)
    found = bundle.read(one.write())
    assert b"other" not in found.members["decisions.jsonl"]
    assert one.replay()["differences"] == []


def test_what_a_field_twice_and_bytes_hold_survives(run):
    one = run()
    one.publish(30)
    raw = ["payload", b"\xff\x00{", "payload", "{}"]
    one.client.execute_command("XADD", STREAM, f"{one.next_ms}-0", *raw)
    assert one.check()[0] == 1
    told = one.replay()
    assert (told["recomputed"], told["differences"]) == (1, [])


def test_the_record_must_say_the_same(run):
    one = run()
    one.checks(4)
    path = one.write()

    def lenient(data):
        return data.replace(b'"max_wait": 3600.0', b'"max_wait": 9600.0')

    [item] = one.replay(repacked(path, "record.json", lenient))["differences"]
    assert (item["number"], item["name"]) == (0, "options.max_wait")


def test_the_violations_that_ended_the_run_are_those_of_the_checks(run):
    one = run()
    one.checks(4)
    assert one.checks(1, each=250, spoil=collapse) == [1]
    said = [vars(item) for item in one.log().lines[-1].said.violations]
    ended = {"trigger": "qsc_monitor_violation", "outcome": "violated", "state": "rolled_back"}
    save(one.paths.record, replace(one.record, violations=said, **ended))
    assert one.replay()["differences"] == []
    other = [{**said[0], "measured": 99.0}, *said[1:]]
    save(one.paths.record, replace(one.record, violations=other, **ended))
    [item] = one.replay()["differences"]
    assert (item["number"], item["name"]) == (0, "violations that ended it")


def test_the_ledgers_links_can_be_followed(run):
    one = run()
    one.checks(2)
    for action, canary in (("before", "x"), ("begins", one.record.id), ("between", "y"), ("ends", one.record.id),
                           ("after", "x"), ("later", "x")):  # fmt: skip
        one.host.ledger.append(action, {"canary_id": canary}, wall=1.0)
    path = one.write()
    lines = bundle.read(path).members["ledger.jsonl"].splitlines()
    assert [json.loads(line)["action"] for line in lines] == ["begins", "between", "ends", "after"]
    assert one.replay(path)["ledger"] == []
    other = repacked(path, "ledger.jsonl", lambda data: data.replace(b'"between"', b'"betwixt"'))
    told = one.replay(other)
    assert told["ledger"] == ["line 3 (sequence 4) does not follow the line before it"]
    assert command_evidence.code_of(told) == 1
    assert "same verdicts, but the archive is not as it was written" in replay_lines(told)[0]
    logged = one.host.ledger.tail(1)[0]
    assert (logged["action"], logged["canary_id"]) == ("evidence_written", one.record.id)
    assert logged["sha256"] == one.written["sha256"]


def test_the_same_run_gives_the_same_bytes(run, monkeypatch):
    one = run()
    one.checks(2)
    monkeypatch.setattr(evidence, "timestamp", lambda _wall: "now")
    first = one.write("a.tar.gz", journal=False)
    members = bundle.read(first).members
    assert list(members) == sorted(members)
    facts = {key: value for key, value in bundle.read(first).manifest.items() if key not in ("members", "schema")}
    assert bundle.pack(dict(reversed(list(members.items()))), facts) == first.read_bytes()


def test_no_password_is_in_it(tmp_path, start_redis):
    server = start_redis(password=SECRET)
    one = Run(tmp_path, server)
    one.paths.password.write_text(SECRET + "\n")
    one.checks(2)
    one.host.ledger.append("note", {"canary_id": one.record.id, "reason": f"the password is {SECRET}"}, wall=1.0)
    found = bundle.read(one.write())
    everything = b"".join(found.members.values()) + json.dumps(found.manifest).encode()
    assert SECRET.encode() not in everything
    assert found.manifest["hidden"] == ["ledger.jsonl"]
    assert b"(hidden)" in found.members["ledger.jsonl"]


def test_settings_with_a_password_are_left_out(run):
    one = run()
    one.checks(1)
    one.paths.config.write_text(json.dumps({"connection": {"login_password": SECRET}}))
    found = bundle.read(one.write())
    assert "config.json" not in found.members
    assert "login_password" in found.manifest["absent"]["config.json"]
    assert SECRET not in json.dumps(found.manifest)


def test_units_keep_names_of_variables_and_no_values():
    text = '[Service]\nEnvironment=A=one "B=two three" \\\n  C=four\nExecStart=/bin/x\nSetCredential=key:five\n'
    shown = evidence.redacted(text)
    assert not any(word in shown for word in ("one", "two", "three", "four", "five"))
    assert "Environment=A=(hidden) B=(hidden)" in shown
    assert "ExecStart=/bin/x" in shown


def test_an_unknown_run_is_refused(run):
    one = run()
    one.checks(1)
    one.record = replace(one.record, id="patchtst-20990101T000000Z-0000")
    with pytest.raises(BadInput, match="nothing is known here of a run"):
        one.write()
    one.record = replace(one.record, id="../../etc/passwd")
    with pytest.raises(BadInput, match="nothing is known here of a run"):
        one.write()


def test_two_runs_are_kept(run):
    one = run()
    names = []
    for number in range(4):
        one.record = replace(one.record, id=f"patchtst-20260111T00000{number}Z-cafe")
        save(one.paths.record, one.record)
        one.checks(1)
        path = checklog.paths_of(one.paths, one.record.id)[1]
        os.utime(path, (number, number))
        names.append(path.name)
    assert sorted(path.name for path in one.paths.monitor_folder.glob("checks-*")) == names[2:]


def test_a_log_that_is_full_goes_on_in_a_new_file(run, monkeypatch):
    one = run()
    monkeypatch.setattr(checklog, "MOST_BYTES", 6000)
    one.checks(20, each=12)
    older, newer = checklog.paths_of(one.paths, one.record.id)
    assert 0 < older.stat().st_size <= 6000
    assert 0 < newer.stat().st_size <= 6000
    told = one.replay()
    [[low, high]] = told["gaps"]
    assert low == 1
    assert (told["recomputed"], told["differences"]) == (20 - high, [])


def test_a_log_that_cannot_be_written_costs_no_check(run):
    one = run()
    checklog.paths_of(one.paths, one.record.id)[1].mkdir()
    one.publish(250)
    code, lines = one.check()
    assert code == 0
    assert "the check could not be logged" in lines[-1]
    assert one.paths.verdict.exists()


def test_the_command_needs_no_host(run, root, clean_environment):
    """On a laptop: the checkout's package, any Python, no root, no Redis."""
    one = run()
    one.checks(4)
    path = one.write()
    environment = {**clean_environment, "PYTHONPATH": str(root / "plugins/module_utils")}

    def replay(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "qsc.command", "replay", *arguments], env=environment, capture_output=True,
            text=True, cwd="/", check=False, timeout=60,
        )  # fmt: skip

    done = replay(str(path))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("EQUAL: 4 of 4 checks")
    told = json.loads(replay("--json", str(path)).stdout)
    assert (told["recomputed"], told["differences"]) == (4, [])
    assert replay("/etc/hostname").returncode == 2
    assert replay("/nowhere").returncode == 2


def test_the_subcommand_says_what_it_wrote(run, monkeypatch, capsys):
    one = run()
    one.checks(2)
    monkeypatch.setattr(command, "_guard_host", lambda: one.host)
    monkeypatch.setattr(command, "_connection", lambda *_given: Connection.from_dict(one.server.options()))
    monkeypatch.chdir(one.folder)
    assert command.main(["evidence"]) == 0
    path = one.folder / f"qsc-evidence-{one.record.id}.tar.gz"
    assert path.stat().st_mode & 0o777 == 0o600
    assert f"2 checks, 120 decisions of {one.record.id}" in capsys.readouterr().out
    assert command.main(["replay", str(path)]) == 0
    assert command.main(["evidence", "--output", "/nowhere/x"]) == 2


@pytest.mark.parametrize("policy", POLICIES)
def test_what_one_check_left_is_what_the_next_one_found(run, policy):
    """Another moment at which the newest decision was first seen would excuse silence."""
    one = run(policy)
    one.checks(3)

    def later(data):
        lines = data.split(b"\n")
        seen = json.loads(lines[2])["start"]["last_seen_ms"]
        lines[2] = lines[2].replace(b'"last_seen_ms":%d' % seen, b'"last_seen_ms":%d' % (seen + 1))
        return b"\n".join(lines)

    found = one.replay(repacked(one.write(), "checks.jsonl", later))["differences"]
    assert [(item["number"], item["name"]) for item in found] == [(2, "start")]


def own_check(one, script):
    folder = one.paths.checks
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    path = folder / "pnl"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.mark.skipif(os.geteuid() != 0, reason="own checks are root's files")
@pytest.mark.parametrize("policy", ["strict", "sequential"])
def test_what_own_checks_answered_is_taken_over_and_judged_with(run, policy):
    one = run(policy, check_timeout_s=5.0)
    own_check(one, 'echo \'{"value": 1, "limit": 5, "message": "loss 1 %"}\'')
    assert one.checks(3) == [0] * 3
    own_check(one, "exit 75")
    assert one.checks(2) == [0] * 2
    own_check(one, 'echo \'{"value": 7, "limit": 5, "message": "loss 7 %"}\'; exit 1')
    assert one.checks(1) == [1]
    assert one.check()[0] == 1, "the verdict is latched"
    said = one.log().lines[5].said
    assert (said.verdict, said.violations[0].code) == ("violation", "own_check:pnl")
    path = one.write()
    found = one.replay(path)
    assert (found["differences"], found["recomputed"]) == ([], 6)
    changed = repacked(path, "checks.jsonl", lambda data: data.replace(b'"value":7.0', b'"value":8.0'))
    assert changed.read_bytes() != path.read_bytes()
    assert {item["number"] for item in one.replay(changed)["differences"]} >= {6}


def alone(_i, said):
    """The canary alone decides, where it has most of the weight."""
    for name, item in said.items():
        item.update(action="BUY" if name == CANARY else "SELL", confidence=0.8)


HEAVY = {"weight": 0.6, "weights": weights_at(BASELINE, CANARY, 0.6)}


@pytest.mark.parametrize("policy", POLICIES)
def test_what_was_spent_of_a_budget_is_counted_again(run, policy):
    one = run(policy, judging={"exposure_budget": 10_050}, **HEAVY)
    assert one.checks(3, each=30, spoil=alone, position_size_usd=100.5) == [0] * 3
    assert one.checks(1, each=10, spoil=alone, position_size_usd=100.5) == [1]
    assert one.check()[0] == 1, "the verdict is latched"
    said = one.log().lines[3].said
    assert (said.verdict, [item.code for item in said.violations]) == ("terminated", ["exposure_budget"])
    assert "flipped 100 of 100 decisions, with positions of 10,050.00 USD (budget 10,050.00 USD)" in said.message
    path = one.write()
    found = one.replay(path)
    assert (found["differences"], found["recomputed"], found["whole"]) == ([], 4, True)

    def change(data):
        lines = data.split(b"\n")
        assert lines[45].count(b"100.5") == 1
        lines[45] = lines[45].replace(b"100.5", b"100.4")
        return b"\n".join(lines)

    told = one.replay(repacked(path, "decisions.jsonl", change))
    found = {(item["number"], item["name"]) for item in told["differences"]}
    assert {(2, "digest"), (3, "start")} <= found, "the check after it did not find what this one left"


def test_a_count_that_catches_up_in_parts_is_made_again(run, monkeypatch):
    monkeypatch.setattr(check, "MOST_COUNTED", 100)
    one = run("strict", judging={"exposure_budget": 1e6, "window_events": 200}, **HEAVY)
    assert one.checks(1, each=550, position_size_usd=100.5) == [0]
    assert one.checks(4, each=10, position_size_usd=100.5) == [0] * 4
    spent = [line.start.exposure.decisions for line in one.log().lines[1:]]
    assert spent == [100, 200, 300, 580], "100 before the window at a time, then all of it"
    found = one.replay()
    assert (found["differences"], found["recomputed"], found["whole"]) == ([], 5, True)


@pytest.mark.skipif(os.geteuid() != 0, reason="own checks are root's files")
def test_an_own_check_that_ends_a_run_without_telemetry(run):
    one = run(check_timeout_s=5.0)
    own_check(one, "true")
    assert one.checks(2) == [0] * 2
    own_check(one, "echo loss; exit 1")
    assert one.check(login_port=1)[0] == 1
    assert one.check()[0] == 1
    found = one.replay()
    assert found["differences"] == []
    assert found["taken_over"] == {"telemetry not read": 1, "repeats what ended the run": 1}


@pytest.mark.parametrize("name", ["checks", "verdict"])
def test_root_follows_no_link_of_the_monitor(run, name):
    """A monitor that was taken over may put anything in its folder; the archive must not carry a secret out."""
    one = run()
    one.checks(1)
    secret = one.folder / "shadow"
    secret.write_text(f'{{"header": "{SECRET}"}}')
    path = checklog.paths_of(one.paths, one.record.id)[1] if name == "checks" else one.paths.verdict
    path.unlink()
    path.symlink_to(secret)
    found = bundle.read(one.write())
    assert SECRET.encode() not in b"".join(found.members.values())
    assert any("Too many levels of symbolic links" in why for why in found.manifest["absent"].values())
