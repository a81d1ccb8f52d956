# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real host whose stream somebody floods while a canary is monitored: it ends at a proven baseline, within bounds."""

from __future__ import annotations

import base64
import json
import typing as t

import pytest

from helpers.hostile import ENTRIES, NAMES, Fields, told
from helpers.plays import DROPIN, Host, await_state, entries, play, process_variables, record
from helpers.telemetry import STREAM, healthy, vote

FOLDER = "/run/systemd/system/qsc-monitor.service.d"
FLOOD = """
import base64, json, redis, sys
pipe = redis.Redis().pipeline()
for times, fields in json.load(sys.stdin):
    fields = {base64.b64decode(name): base64.b64decode(value) for name, value in fields}
    for _ in range(times):
        pipe.xadd(%r, fields)
print(json.dumps([entry.decode() for entry in pipe.execute()]))
"""


def flood(host: Host, *kinds: tuple[int, Fields]) -> list[str]:
    """Add entries on the host, each so many times, in one step for whoever reads; returns their IDs."""
    rows = [
        (times, [[base64.b64encode(part).decode() for part in pair] for pair in fields.items()])
        for times, fields in kinds
    ]
    host.write("/run/flood.json", json.dumps(rows))
    script = FLOOD % STREAM
    host.write("/run/flood.py", script)
    found: list[str] = json.loads(host.run("python3 /run/flood.py < /run/flood.json", timeout=60).stdout)
    return found


def remove(host: Host, ids: t.Sequence[str]) -> None:
    for start in range(0, len(ids), 500):
        host.run(f"redis-cli XDEL {STREAM} {' '.join(ids[start : start + 500])}")


def test_a_flooded_stream_ends_in_a_proven_rollback_within_the_bounds(host: Host) -> None:
    done = play("activate", host, model="patchtst")
    assert done.rc == 0, done.output
    canary = record(host)["id"]
    bounds = host.output("systemctl show qsc-monitor.service -p LimitDATA -p MemoryMax -p TasksMax -p LimitFSIZE")
    assert sorted(bounds.split()) == ["LimitDATA=268435456", "LimitFSIZE=8388608", "MemoryMax=268435456", "TasksMax=8"]
    names = {name[:200]: vote("HOLD") for name in NAMES.values()}
    small = [fields for fields in ENTRIES.values() if sum(map(len, fields.values())) < 200_000 and len(fields) < 9000]
    small = [fields for fields in small if max(map(len, fields)) < 1000]
    ids: list[str] = []
    try:
        ids = flood(
            host,
            (200, told({**healthy(0), **names})),
            *((20, fields) for fields in small),
            (300, {f"{i:03x}".encode(): b"ab" for i in range(900)}),
            (1, ENTRIES["10 MB"]),
        )
        ended = await_state(host, "rolled_back", timeout=60)
        # the check came to its end within its bounds: it judged, it was not killed
        assert (ended["id"], ended["outcome"]) == (canary, "violated")
        assert ended["trigger"] == "qsc_monitor_violation", ended["reason"]
    finally:
        remove(host, ids)
    assert process_variables(host) == {}
    assert not host.exists(DROPIN)
    [executed] = [entry for entry in entries(host, canary) if entry["action"] == "rollback_executed"]
    assert executed["violations"]
    assert executed["proof"]["environment"] == {}
    # what a person reads, and what the journal keeps
    for command in ("qsc status", "qsc log", "journalctl -o cat --no-pager -n 200 -u 'qsc-*'"):
        shown = host.run(command, check=False).stdout
        assert all(line.isprintable() for line in shown.splitlines()), shown
    page = host.run("qsc scoreboard").stdout
    assert "<script>" not in page


@pytest.mark.slow
def test_a_monitor_that_hits_its_memory_bound_ends_the_run(host: Host) -> None:
    done = play("activate", host, model="patchtst")
    assert done.rc == 0, done.output
    canary = record(host)["id"]
    ids: list[str] = []
    try:
        host.run(
            f"mkdir -p {FOLDER}; printf '[Service]\\nLimitDATA=36M\\n' > {FOLDER}/small.conf; systemctl daemon-reload"
        )
        ids = flood(host, (700, {f"{i:03x}".encode(): b"ab" for i in range(900)}))
        ended = await_state(host, "rolled_back", timeout=60)
        assert ended["id"] == canary
        # "manual": the timer, every 3 s here, started the next check before the rollback asked who had failed
        assert ended["trigger"] in ("monitor_failed", "manual"), ended["reason"]
        assert ended["outcome"] == "terminated"
    finally:
        host.run(f"rm -rf {FOLDER}; systemctl daemon-reload; systemctl reset-failed qsc-monitor.service", check=False)
        remove(host, ids)
    assert "MemoryError" in host.run("journalctl -o cat --no-pager -n 100 -u qsc-monitor.service").stdout
    assert process_variables(host) == {}
    assert not host.exists(DROPIN)
