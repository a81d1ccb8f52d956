# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the monitor and the watchdog of this host twice a second, in one process that would show any leak.

    soak.py activate   arm and activate a canary whose times are shortened; reboots let it go on
    soak.py            look and check until the run is over; started by a unit, again after every boot

What a unit starts every 30 s is called here every 0.5 s: the same functions on the same host, only closer together.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
import typing as t
from pathlib import Path

sys.path[:0] = ["/opt/qsc-fault", os.path.realpath("/usr/local/lib/qsc_canary/current")]

PERIOD_S = 0.5
CHECKS = 2880
NOTES = Path("/var/log/qsc-soak.jsonl")
FOLDERS = ("/var/lib/qsc_canary", "/run/qsc_canary", "/var/log/qsc_canary")


def activate() -> int:
    """A canary under the specified rules; `resume` after a reboot; 24 h at a check every 30 s are 24 min here."""
    import case

    settings = {
        "interval_s": PERIOD_S, "duration_s": PERIOD_S * CHECKS, "stability_s": 0.5, "on_reboot": "resume",
        "stale_after": 15.0, "max_wait": 300.0, "limits": {"start_grace": 20.0},
    }  # fmt: skip
    return case.activate({"settings": settings})


def measured() -> dict[str, t.Any]:
    """What must not grow: memory (kB) and open files of this process, number and bytes of files on the host."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    files = [path for folder in FOLDERS for path in Path(folder).rglob("*") if path.is_file()]
    return {
        "rss_kb": int(status["VmRSS"].split()[0]),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "files": len(files),
        "bytes": {folder: sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
                  for folder in FOLDERS},
    }  # fmt: skip


def run() -> int:
    """Until the run is safe, or no longer in flight."""
    from qsc.guard import watchdog
    from qsc.guard.host import Host
    from qsc.judge import monitor
    from qsc.judge.connection import Connection
    from qsc.record import load
    from qsc.settings import Paths, Settings

    paths = Paths()
    settings = dataclasses.replace(Settings.load(paths.config), interval_s=PERIOD_S)
    host = Host(settings=settings, paths=paths, actor="soak")
    connection = Connection.from_dict({**settings.connection, "timeout_s": 0.5}, password="")
    count, due = 0, time.monotonic()
    while True:
        code, lines = monitor.run_unit(paths, lambda: connection)
        looked = watchdog.run(host)
        record = load(paths.record)
        count += 1
        over = record is None or record.state != "active" or record.outcome != ""
        if count % 100 == 1 or code not in (0, 75) or looked != (0, []) or over:
            with open(NOTES, "a", encoding="utf-8") as stream:
                said = {"count": count, "code": code, "lines": lines, "watchdog": looked, "over": over, **measured()}
                stream.write(json.dumps(said) + "\n")
        if over:
            return 0
        due = max(due + PERIOD_S, time.monotonic() - 5 * PERIOD_S)
        time.sleep(max(0.0, due - time.monotonic()))


if __name__ == "__main__":
    raise SystemExit(activate() if sys.argv[1:] == ["activate"] else run())
