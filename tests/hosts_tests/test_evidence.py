# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Evidence of a real run that a violation ended: judged again on the controller, and without a secret."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc import bundle
from helpers.plays import ROOT, Host, await_state, entries, play, record

SECRET = "Wz5kQm8tYb2vLr9d"
CREDENTIAL = "/etc/qsc_canary/redis-password"


@pytest.fixture
def secured(host: Host) -> t.Iterator[Host]:
    """A host whose monitor needs a password."""
    host.run(
        f"redis-cli ACL SETUSER evidence on '>{SECRET}' '~*' +xinfo +xrevrange +xread +time +ping +client >/dev/null"
    )
    yield host
    host.run(f"redis-cli ACL DELUSER evidence >/dev/null; : > {CREDENTIAL}")


def replay(path: Path) -> tuple[int, dict[str, t.Any], str]:
    """`qsc replay` of the checkout, with this Python, as on a laptop."""
    command = [sys.executable, "-m", "qsc.command", "replay"]
    done = [
        subprocess.run(
            [*command, *options, str(path)],
            env={"PYTHONPATH": str(ROOT / "plugins" / "module_utils")},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        for options in ([], ["--json"])
    ]
    assert done[0].returncode == done[1].returncode, done
    return done[0].returncode, json.loads(done[1].stdout or "{}"), done[0].stdout + done[0].stderr


def test_a_run_that_was_violated_is_judged_again_elsewhere(secured: Host, tmp_path: Path) -> None:
    host = secured
    env = {"QSC_REDIS_PASSWORD": SECRET}
    done = play("activate", host, model="patchtst", env=env, qsc_canary_redis_user="evidence")
    assert done.rc == 0, done.output
    canary = str(record(host)["id"])
    log = f"/var/lib/qsc_canary/monitor/checks-{canary}.jsonl"
    host.wait("three checks", f'test $(grep -c \'"took":"judged"\' {log}) -ge 3', timeout=90)
    host.engine("mode", "lower_case_action")
    ended = await_state(host, "rolled_back", timeout=90)
    assert ended["trigger"] == "qsc_monitor_violation"

    written = json.loads(host.run(f"qsc evidence {canary} --output /root/evidence.tar.gz --json").stdout)
    assert host.run("stat -c '%U %a' /root/evidence.tar.gz").stdout.strip() == "root 600"
    path = tmp_path / "evidence.tar.gz"
    path.write_bytes(base64.b64decode(host.run("base64 -w0 /root/evidence.tar.gz; rm /root/evidence.tar.gz").stdout))
    code, told, shown = replay(path)
    assert (code, told["differences"], told["altered"], told["ledger"]) == (0, [], [], []), shown
    assert told["checks"] == written["checks"] >= 4
    assert told["recomputed"] >= 4
    assert told["verdicts"]["violation"] >= 1
    assert shown.startswith("EQUAL: ")
    [logged] = [entry for entry in entries(host, canary) if entry["action"] == "evidence_written"]
    assert logged["sha256"] == written["sha256"]

    found = bundle.read(path)
    wanted = {"checks.jsonl", "decisions.jsonl", "record.json", "ledger.jsonl", "config.json", "journal.jsonl"}
    assert wanted <= set(found.members)
    assert {"units/quantum-ai_engine.service.txt", "units/qsc-monitor.service.txt"} <= set(found.members)
    actions = [json.loads(line)["action"] for line in found.members["ledger.jsonl"].splitlines()]
    assert {"canary_activated", "rollback_executed"} <= set(actions)
    messages = [json.loads(line).get("MESSAGE") for line in found.members["journal.jsonl"].splitlines()]
    assert any("violation:" in str(message) for message in messages)
    everything = b"".join(found.members.values()) + json.dumps(found.manifest).encode()
    for form in (SECRET.encode(), base64.b64encode(SECRET.encode())):
        assert form not in everything

    line = found.members["decisions.jsonl"].split(b"\n")[-20]
    members = {
        **found.members,
        "decisions.jsonl": found.members["decisions.jsonl"].replace(
            line, line.replace(b"trade.intent", b"trade.intenT", 1)
        ),
    }
    assert members != found.members
    path.write_bytes(bundle.pack(members, {"absent": {}}))
    code, told, shown = replay(path)
    assert code == 1, shown
    assert "digest" in {item["name"] for item in told["differences"]}

    brought = play("evidence", host, dest=str(tmp_path / "brought"))
    assert brought.rc == 0, brought.output
    [archive] = (tmp_path / "brought").iterdir()
    assert canary in archive.name
    code, told, shown = replay(archive)
    assert (code, told["differences"]) == (0, []), shown
    assert host.run("ls /var/lib/qsc_canary").stdout.split().count("evidence.tar.gz") == 0
