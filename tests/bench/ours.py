# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One gate, or one check of the monitor's unit, as a host runs it: the agent's files, in a process of their own.

usage: ours.py gate PORT STREAM CUTOVER NEWEST     the gate with its report, exit code 0 for a pass
       ours.py check PORT PREFIX BOOT              what the monitor's unit does at boot time BOOT, on files below PREFIX
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, os.environ["QSC_AGENT"])


def gate(port: str, stream: str, cutover: str, newest: str) -> int:
    import time

    from qsc.judge.connection import Connection
    from qsc.judge.gate import evaluate
    from qsc.judge.options import GateOptions
    from qsc.judge.stream import StreamReader
    from qsc.tell.report import gate_lines

    options = GateOptions.from_dict({"cutover": cutover, "models": ["patchtst"], "max_events": int(newest)})
    connection = Connection.from_dict({"login_port": int(port)})
    with StreamReader(connection, stream, budget_s=600.0, budget_bytes=1 << 40) as reader:
        result = evaluate(reader, options, now=time.time())
    print("\n".join(gate_lines(result)))
    return int(result.exit_code)


def check(port: str, prefix: str, boot: str) -> int:
    from dataclasses import dataclass

    from qsc.files import Clock
    from qsc.judge.connection import Connection
    from qsc.judge.monitor import run_unit
    from qsc.settings import Paths

    @dataclass(frozen=True)
    class Still(Clock):
        def boot(self) -> float:
            return float(boot)

        def boot_id(self, *, create: bool = True) -> str:  # noqa: ARG002 (the clock's signature)
            return "kernel/mark"

    paths = Paths(prefix=Path(prefix))
    code, lines = run_unit(paths, lambda: Connection.from_dict({"login_port": int(port)}), clock=Still(paths.boot_mark))
    print("\n".join(lines))
    return code


if __name__ == "__main__":
    raise SystemExit({"gate": gate, "check": check}[sys.argv[1]](*sys.argv[2:]))
