#!/usr/bin/env python3
# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""make demo: the main job on a real host with systemd and Redis, with the engine's telemetry made by the project.

Only durations are shortened, by variables: 60 s of monitoring instead of 6 h, a check every 5 s instead of every 30 s.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "hosts")]

from qsc_hosts import fleet  # noqa: E402
from qsc_hosts.errors import HostsError  # noqa: E402

from helpers.plays import (  # noqa: E402
    BASELINE_FILE,
    DROPIN,
    Host,
    await_state,
    enough_telemetry,
    environment,
    record,
    write_inventory,
)

MONITORED_S = 60
SETTINGS = {
    "qsc_canary_baseline_path": BASELINE_FILE,
    "qsc_canary_interval_seconds": 5,
    "qsc_canary_monitor_hours": MONITORED_S / 3600,
    "qsc_canary_stability_seconds": 2,
    "qsc_canary_limits": {"start_grace": 10},
    "qsc_canary_required_checks": 0.9,
}


class DemoError(Exception):
    """Something did not go as the demo says."""


class Demo:
    """The steps, and the seconds each took."""

    def __init__(self) -> None:
        self.times: list[tuple[str, float]] = []
        self.inventory = ""

    def title(self, text: str) -> None:
        print(f"\n\033[1m=== {text}\033[0m" if sys.stdout.isatty() else f"\n=== {text}", flush=True)

    def timed(self, what: str, begin: float) -> None:
        self.times.append((what, time.monotonic() - begin))

    def play(self, name: str, **extra: object) -> None:
        """Run a playbook in the foreground: the output is what an operator sees."""
        short = " ".join(f"-e {key}={value}" for key, value in extra.items())
        print(f"$ ansible-playbook playbooks/{name}.yml {short}", flush=True)
        begin = time.monotonic()
        done = subprocess.run(
            [
                str(ROOT / ".venv/bin/ansible-playbook"), "-i", self.inventory, f"playbooks/{name}.yml",
                "-e", json.dumps({**SETTINGS, **extra}),
            ],
            cwd=ROOT,
            env=environment(ANSIBLE_DISPLAY_SKIPPED_HOSTS="0"),
            stdin=subprocess.DEVNULL,
            check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise DemoError(f"playbooks/{name}.yml ended with {done.returncode}")
        self.timed(f"playbooks/{name}.yml {short}", begin)

    def shell(self, host: Host, command: str) -> str:
        """Run a command on the host and show it."""
        print(f"{host.name}# {command}", flush=True)
        text = host.ssh(command, check=False).stdout
        print(text, flush=True)
        return text

    def run(self) -> None:
        begin = time.monotonic()
        self.title("1. A host of its own: Debian 12, systemd, Redis, an engine that decides 20 times a second")
        with fleet.session("demo", 1) as [host]:
            self.inventory = write_inventory([host])
            self.timed("host up", begin)
            begin = time.monotonic()
            enough_telemetry(host)
            self.timed("200 decisions published", begin)
            self.first_run(host)
            self.second_run(host)
            self.title("7. What happened, as the host's ledger tells it")
            self.shell(host, "qsc log")
        os.unlink(self.inventory)
        self.table()

    def first_run(self, host: Host) -> None:
        self.title("2. Activate patchtst as a canary: gate, weights, arm, restart, proof")
        self.play("activate", model="patchtst")
        begin = time.monotonic()
        self.title(f"3. The host watches it by itself, for {MONITORED_S} s (6 h in production)")
        self.await_safe(host)
        self.timed("monitored until the verdict: safe", begin)
        self.shell(host, "qsc status")
        self.shell(host, "head -n 14 /var/lib/qsc_canary/monitor/reports/scoreboard_latest.md")
        self.title("4. The operator ends the safe run")
        self.play("rollback")

    def await_safe(self, host: Host) -> None:
        shown = 0.0
        end = time.monotonic() + MONITORED_S + 60
        while True:
            now = record(host)
            if now["state"] != "active":
                raise DemoError(f"the healthy run ended: {now['trigger']}: {now['reason']}")
            if now["outcome"] == "safe":
                return
            if time.monotonic() > end:
                raise DemoError("no verdict in time; see qsc status above")
            if time.monotonic() - shown > 10:
                self.shell(host, "qsc status")
                shown = time.monotonic()
            time.sleep(1)  # between two looks; the condition is awaited above

    def second_run(self, host: Host) -> None:
        self.title("5. Activate it again; this time the model collapses to HOLD")
        enough_telemetry(host)
        self.play("activate", model="patchtst")
        canary = record(host)["id"]
        begin = time.monotonic()
        host.engine("mode", "dead_zone", "rate=200")
        print("the canary now says HOLD in 96 % of its decisions; nobody touches the host any more", flush=True)
        await_state(host, "rolled_back", timeout=90)
        self.timed("model turns bad -> baseline proven, by the host alone", begin)
        ended = record(host)
        if ended["id"] != canary or ended["trigger"] != "qsc_monitor_violation" or host.exists(DROPIN):
            raise DemoError(f"unexpected end: {ended['trigger']}: {ended['reason']}")
        seconds = ended["rolled_back_at"] - ended["violated_at"]
        self.times.append(("of that: violation recorded -> baseline proven", seconds))
        self.title("6. The host has restored the baseline and proven it")
        self.shell(host, "qsc status")

    def table(self) -> None:
        self.title("Times")
        for what, seconds in self.times:
            print(f"{seconds:8.1f} s  {what}")
        print("demo passed: gate, activation, proof, monitoring, safe verdict, violation, rollback without a human")


def main() -> int:
    try:
        Demo().run()
    except (DemoError, HostsError, OSError) as error:
        print(f"demo FAILED: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
