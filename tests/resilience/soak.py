# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""24 hours of healthy telemetry, 60 times as fast, with Redis falling over at random and three reboots: make soak.

The run must end safe, without a single rollback, with files and memory that do not grow. Writes docs/soak.md; the last
line is `N passed, M failed, 0 skipped`.
"""

from __future__ import annotations

import json
import random
import sys
import time
import typing as t
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "hosts"), str(ROOT / "playbooks" / "collections")]

from qsc_hosts import fleet  # noqa: E402
from resilience import harness  # noqa: E402

from helpers.plays import Host, ledger, play, process_variables, quick_engine, record  # noqa: E402

SEED = 20260110
CHECKS = 2880
REBOOTS = 3
BLIPS: t.Mapping[str, str] = {
    "restarted": "systemctl restart redis-server",
    "frozen for 1 s": "systemctl kill -s STOP redis-server; sleep 1; systemctl kill -s CONT redis-server",
    "every connection closed": "redis-cli client kill type normal",
}
UNIT = """[Unit]
Description=The soak's monitor and watchdog
After=quantum-ai_engine.service redis-server.service
[Service]
ExecStart=/usr/bin/python3 -I /opt/qsc-fault/soak.py
[Install]
WantedBy=multi-user.target
"""


def prepare(host: Host) -> None:
    """The agent by its playbook; the monitor's own unit rests, its work is done by the soak."""
    done = play(
        "install", host, qsc_canary_on_reboot="resume", qsc_canary_redis_timeout=0.5, qsc_canary_stability_seconds=0.5
    )
    assert done.rc == 0, done.output
    host.copy_to(str(ROOT / "tests/resilience/on_host"), harness.FOLDER)
    host.write(f"{harness.FOLDER}/dropin.conf", harness.dropin())
    host.write("/etc/systemd/system/qsc-soak.service", UNIT)
    host.run("mkdir -p /etc/systemd/system/qsc-monitor.service.d")
    host.write(
        "/etc/systemd/system/qsc-monitor.service.d/soak.conf", "[Service]\nExecStart=\nExecStart=/usr/bin/true\n"
    )
    host.run("systemctl daemon-reload; systemctl enable qsc-soak.service")
    quick_engine(host)
    host.engine("set", "rate=360")


def checks_done(host: Host) -> int:
    """How many checks of the run were done so far."""
    text = host.run("cat /var/lib/qsc_canary/monitor/verdict.json 2>/dev/null || echo {}").stdout
    return int(json.loads(text).get("checks_done", 0))


def soak(host: Host) -> dict[str, int]:
    """Blips at random and reboots at even distances until the run is over; returns what was done."""
    order = random.Random(SEED)
    done = dict.fromkeys([*BLIPS, "rebooted"], 0)
    end = time.monotonic() + 2 * CHECKS * 0.5
    while record(host)["state"] == "active" and record(host)["outcome"] == "" and time.monotonic() < end:
        time.sleep(order.uniform(15, 45))
        count = checks_done(host)
        print(f"{count} of {CHECKS} checks, {record(host)['state']}, {done}", flush=True)
        if done["rebooted"] < REBOOTS and count >= CHECKS * (done["rebooted"] + 1) / (REBOOTS + 1):
            host.reboot()
            done["rebooted"] += 1
            continue
        name = order.choice(list(BLIPS))
        host.run(BLIPS[name])
        done[name] += 1
    return done


def judge(host: Host, done: t.Mapping[str, int]) -> list[tuple[str, bool, str]]:
    """What must hold: (what, whether it does, what was seen)."""
    run, notes = record(host), [json.loads(line) for line in host.read("/var/log/qsc-soak.jsonl").splitlines()]
    actions = [entry["action"] for entry in ledger(host) if entry.get("canary_id") == run["id"]]
    lives = [index for index, note in enumerate(notes) if note["count"] == 1]
    last = notes[lives[-1] :]
    verify = host.run("qsc log --verify", check=False)
    sizes = [sum(note["bytes"].values()) for note in notes[1:]]
    verdict = json.loads(host.read("/var/lib/qsc_canary/monitor/verdict.json"))
    how = f"{run['state']} {run['outcome']} {run['trigger']} {run['reason']}".strip()
    missed = f"{verdict['checks_missed']} missed, at most {verdict['max_missed_in_a_row']} in a row"
    return [
        ("the run is safe", run["outcome"] == "safe", how),
        ("no rollback", "rollback_executed" not in actions, ", ".join(actions)),
        ("checks", verdict["checks_done"] >= 0.95 * CHECKS, f"{verdict['checks_done']} done, {missed}"),
        ("three reboots", done["rebooted"] == REBOOTS and run["resumed"] == REBOOTS, f"{run['resumed']} resumed"),
        ("Redis fell over", min(done[name] for name in BLIPS) >= 3, ", ".join(f"{n} {w}" for w, n in done.items())),
        ("the canary still runs", process_variables(host).get("QSC_CANARY_MODEL") == run["model"], run["model"]),
        ("memory does not grow", last[-1]["rss_kb"] <= 1.1 * last[min(1, len(last) - 1)]["rss_kb"],
         f"{last[min(1, len(last) - 1)]['rss_kb']} kB, at the end {last[-1]['rss_kb']} kB"),
        ("no descriptor is left open", last[-1]["descriptors"] <= last[0]["descriptors"] + 1,
         f"{last[0]['descriptors']}, at the end {last[-1]['descriptors']}"),
        ("no file is left over", notes[-1]["files"] <= notes[1]["files"] + 2,
         f"{notes[1]['files']}, at the end {notes[-1]['files']}"),
        ("files are bounded", max(sizes) <= 2 * sizes[0] + 65536, f"{sizes[0]} bytes, at most {max(sizes)}"),
        ("the ledger is whole", verify.returncode == 0, (verify.stdout + verify.stderr).strip()),
    ]  # fmt: skip


def page(found: t.Sequence[tuple[str, bool, str]], minutes: float) -> str:
    """docs/soak.md."""
    rows = "\n".join(f"| {what} | {'yes' if good else 'NO'} | {seen} |" for what, good, seen in found)
    return (
        "# A day with a Redis that falls over and a host that reboots\n\n"
        f"24 hours of healthy telemetry, 60 times as fast: {CHECKS} checks and looks of the watchdog, one every 0.5 s\n"
        "instead of every 30 s, on a real host under `qsc_canary_on_reboot: resume`. Made by `make soak` "
        f"(seed {SEED}, {minutes:.0f} min).\n\n| what must hold | holds | seen |\n|---|---|---|\n{rows}\n"
    )


def main() -> int:
    begin = time.monotonic()
    with fleet.session("soak", 1) as [host]:
        prepare(host)
        host.run(f"python3 -I {harness.FOLDER}/soak.py activate", timeout=120)
        host.run("systemctl start qsc-soak.service")
        done = soak(host)
        found = judge(host, done)
    for what, good, seen in found:
        print(f"{'ok' if good else 'FAILED':<7}{what}: {seen}")
    (ROOT / "docs" / "soak.md").write_text(page(found, (time.monotonic() - begin) / 60))
    failed = sum(not good for _what, good, _seen in found)
    print(f"{len(found) - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
