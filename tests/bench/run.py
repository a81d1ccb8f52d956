# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What gate and monitor cost, as ratios within one run on a real Redis; writes docs/performance.md.

    tests/bench/run.py                  up to 100,000 decisions, some minutes
    tests/bench/run.py --million        1,000,000 as well: some 1.5 GB in Redis, and several times that in the reference
    tests/bench/run.py --no-page        print only

Times are of whole processes, start of Python and reading of Redis among them; every figure is the median of several
processes, those that are compared taken in turn. It measures and asserts nothing but that each process did its work:
machines are noisy, and a bound that holds on one is no test on another.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
import typing as t
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "playbooks" / "collections")]

from ansible_collections.qsc.canary.plugins.module_utils.qsc import agent  # noqa: E402
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.impact import weights_at  # noqa: E402
from ansible_collections.qsc.canary.plugins.module_utils.qsc.record import save  # noqa: E402
from ansible_collections.qsc.canary.plugins.module_utils.qsc.settings import Paths  # noqa: E402
from helpers.redis_server import RedisServer  # noqa: E402
from helpers.samples import BASELINE, make_record  # noqa: E402
from helpers.telemetry import entry, healthy  # noqa: E402

HERE = Path(__file__).resolve().parent
PAGE = ROOT / "docs" / "performance.md"
JUDGED = 2_000
STEP_MS = 1_000
NEW = 300
"""Decisions between two checks: an engine of ten a second."""
PADDING = {
    "atr_value": 412.5, "volatility_factor": 1.0, "exchange_divergence": 0.0002, "funding_rate": 0.0001, "leverage": 3,
    "regime": "trend", "entry_price": 64123.5, "position_size_usd": 1000, "notes": "x" * 420,
}  # fmt: skip
"""What the payload of a real decision holds besides, and as many bytes."""


class Cost(t.NamedTuple):
    """Of one process: wall and processor time in ms, the most memory it held in MiB."""

    wall_ms: float
    cpu_ms: float
    rss_mib: float


class Gate(t.NamedTuple):
    """What a gate costs, and for how many ms its longest command keeps Redis busy."""

    cost: Cost
    longest_ms: float


LAUNCHER = """\
import json, os, sys, time
begin = time.monotonic()
pid = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ)
_pid, status, usage = os.wait4(pid, 0)
seconds = time.monotonic() - begin
with open(sys.argv[1], "w") as file:
    json.dump([os.waitstatus_to_exitcode(status), seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss], file)
"""
"""Linux counts the memory of who starts a process as that process's own: so it is a small one."""


def measured(command: t.Sequence[str], environment: t.Mapping[str, str]) -> Cost:
    """Run a process to its end. Raises RuntimeError when it did not do its work."""
    with tempfile.TemporaryFile() as output, tempfile.NamedTemporaryFile("r") as told:
        launched = [sys.executable, "-I", "-S", "-c", LAUNCHER, told.name, *command]
        subprocess.run(launched, stdout=output, stderr=subprocess.STDOUT, env=dict(environment), check=True)
        code, wall_s, cpu_s, rss_kib = json.load(told)
        if code:
            output.seek(0)
            raise RuntimeError(f"{' '.join(command)} ended with {code}: {output.read()[-2000:]!r}")
    return Cost(1000 * wall_s, 1000 * cpu_s, rss_kib / 1024)


def median(costs: t.Sequence[Cost]) -> Cost:
    return Cost(*(statistics.median(values) for values in zip(*costs)))


class Bench:
    """A Redis, the agent's files, and what was measured."""

    def __init__(self, folder: Path, server: RedisServer) -> None:
        self.server, self.client = server, server.client()
        self.agent = folder / "agent"
        for name, data in agent.sources().items():
            path = self.agent / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        if not compileall.compile_dir(self.agent, quiet=2):
            raise RuntimeError("the agent could not be compiled")
        self.folder = folder
        self.environment = {**os.environ, "QSC_AGENT": str(self.agent)}
        self.bytes = 0

    def fill(self, stream: str, count: int, end_ms: int) -> str:
        """``count`` decisions up to ``end_ms``, a second apart; returns the ID before the first of them."""
        start_ms = end_ms - (count - 1) * STEP_MS
        dice = random.Random(count)
        pipe = self.client.pipeline(transaction=False)
        for i in range(count):
            said = healthy(i)
            for vote in said.values():
                vote["confidence"] = min(1.0, max(0.0, vote["confidence"] + dice.uniform(-0.02, 0.02)))
            pipe.xadd(stream, entry(said, serial=i, **PADDING), id=f"{start_ms + i * STEP_MS}-0")
            if i % 5000 == 4999:
                pipe.execute()
        pipe.execute()
        one = self.client.xrevrange(stream, count=1)[0][1]
        self.bytes = sum(len(name) + len(value) for name, value in one.items())
        return f"{start_ms - 1}-0"

    def say(self, text: str) -> None:
        print(f"bench | {text}", flush=True)

    def gates(self, count: int, times: int) -> dict[str, Gate]:
        """The gate and the plain way over the newest ``JUDGED`` of ``count`` decisions, in turn."""
        stream = f"bench:{count}"
        self.say(f"gate over {count:,} decisions: filling the stream")
        cutover = self.fill(stream, count, int(time.time() * 1000))
        port = str(self.server.port)
        ways = {
            "ours": [sys.executable, "-I", str(HERE / "ours.py"), "gate", port, stream, cutover, str(JUDGED)],
            "plain": [sys.executable, "-I", str(HERE / "reference.py"), port, stream, cutover, str(JUDGED)],
        }
        found: dict[str, list[Cost]] = {name: [] for name in ways}
        for number in range(times):
            for name, command in ways.items():
                found[name].append(measured(command, self.environment))
                self.say(f"gate over {count:,}, {number + 1} of {times}, {name}: {found[name][-1].wall_ms:,.0f} ms")
        gates = {name: Gate(median(found[name]), self._longest_ms(command)) for name, command in ways.items()}
        self.client.delete(stream)
        return gates

    def _longest_ms(self, command: t.Sequence[str]) -> float:
        """ms for which the longest command of a process kept Redis busy, of those that read a stream."""
        self.client.config_set("slowlog-max-len", 100_000)
        self.client.config_set("slowlog-log-slower-than", 0)
        self.client.slowlog_reset()
        measured(command, self.environment)
        self.client.config_set("slowlog-log-slower-than", -1)
        entries = self.client.slowlog_get(100_000)
        return max(item["duration"] for item in entries if item["command"][:1] in (b"X", "X")) / 1000

    def checks(self, policy: str, before: int, times: int) -> Cost:
        """A check of ``NEW`` new decisions, in a run of which ``before`` were judged already."""
        prefix = self.folder / f"host-{policy}-{before}"
        paths = Paths(prefix=prefix)
        for needed in (paths.monitor_folder, paths.run):
            needed.mkdir(parents=True)
        stream = f"bench:check:{policy}:{before}"
        now_ms = int(time.time() * 1000)
        total = before + NEW * (times + 1)
        self.fill(stream, 500, now_ms - (total + 60) * STEP_MS)
        info = self.client.xinfo_stream(stream)
        begin_s = now_ms / 1000 - total
        record = make_record(
            since={"id": info["last-generated-id"], "entries_added": info["entries-added"]},
            judging={"stream": stream, "match": {}, "policy": policy, "stale_after": 600_000.0,
                     "max_wait": 600_000.0, "exposure_budget": 1e12},
            boot_id="kernel/mark", activated_boot=1000.0, activated_at=begin_s, duration_s=float(total + 3600),
            baseline=BASELINE, weights=weights_at(BASELINE, "patchtst", 0.1),
        )  # fmt: skip
        save(paths.record, record)
        command = [sys.executable, "-I", str(HERE / "ours.py"), "check", str(self.server.port), str(prefix)]
        self.fill(stream, before, now_ms - NEW * (times + 1) * STEP_MS)
        boot = 2000.0 + before
        for _catching_up in range(1 + before // 20_000):
            measured([*command, str(boot)], self.environment)
        found = []
        for number in range(times):
            boot += NEW
            self.fill(stream, NEW, now_ms - NEW * (times - number) * STEP_MS)
            found.append(measured([*command, str(boot)], self.environment))
        verdict = json.loads(paths.verdict.read_bytes())
        wanted = before + NEW * times if policy == "sequential" else min(JUDGED, before + NEW * times)
        if verdict["events"] != wanted or verdict["verdict"] != "ok":
            raise RuntimeError(f"{policy}: {verdict['verdict']} over {verdict['events']}, not {wanted}: {verdict}")
        self.client.delete(stream)
        cost = median(found)
        self.say(f"check under {policy} after {before:,} decisions: {cost.cpu_ms:.0f} ms CPU, {cost.rss_mib:.0f} MiB")
        return cost


def floor(times: int) -> dict[str, Cost]:
    """What a process costs that does nothing, and one that only imports the client."""
    return {
        what: median([measured([sys.executable, "-I", "-c", code], os.environ) for _number in range(times)])
        for what, code in (("python", "pass"), ("import redis", "import redis"), ("import numpy", "import numpy"))
    }


GATE_TEXT = f"""\
## The gate

It judges the newest {JUDGED:,} of the decisions since the cutover. *Plain* is one `XRANGE` of everything, redis-py,
json and numpy, without most of the rules: the way that this collection replaces.

| decisions since the cutover | | wall ms | CPU ms | MiB | longest command in Redis, ms |
|---|---|---|---|---|---|"""
CHECK_TEXT = f"""
## A check of the monitor

The unit's whole work: {NEW} new decisions, verdict, state, log, scoreboard and figures, with an exposure budget. It
must not cost more the longer a canary has run.

| policy | decisions before | wall ms | CPU ms | MiB |
|---|---|---|---|---|"""


def page(
    bench: Bench,
    gates: t.Mapping[int, t.Mapping[str, Gate]],
    checks: t.Mapping[tuple[str, int], Cost],
    base: t.Mapping[str, Cost],
) -> str:
    """The whole page."""
    machine = f"{os.cpu_count()} processors, Python {platform.python_version()}"
    redis = f"Redis {bench.client.info('server')['redis_version']} on loopback"
    entries = f"entries of {bench.bytes:,} bytes with four models"
    lines = [
        "# What it costs",
        "",
        "Made by `make bench`. Compare ratios within one table only: the machine is shared and noisy.",
        "",
        f"{machine}, {redis}, {entries}. Whole processes, medians.",
        "",
        *GATE_TEXT.splitlines(),
    ]
    for count, ways in gates.items():
        lines += [
            f"| {count:,} | {name} | {_cells(gate.cost)} | {gate.longest_ms:.1f} |" for name, gate in ways.items()
        ]
    lines += ["", "| plain / ours | wall | CPU | memory | longest command |", "|---|---|---|---|---|"]
    for count, ways in gates.items():
        ours, plain = ways["ours"], ways["plain"]
        ratios = [one / other for one, other in zip(plain.cost, ours.cost)] + [plain.longest_ms / ours.longest_ms]
        lines.append(f"| {count:,} | {' | '.join(f'{ratio:.1f}' for ratio in ratios)} |")
    lines += CHECK_TEXT.splitlines()
    lines += [f"| {policy} | {before:,} | {_cells(cost)} |" for (policy, before), cost in checks.items()]
    lines += ["", "The floor of any process here:", "", "| | wall ms | CPU ms |", "|---|---|---|"]
    lines += [f"| {what} | {cost.wall_ms:,.0f} | {cost.cpu_ms:,.0f} |" for what, cost in base.items()]
    return "\n".join([*lines, ""])


def _cells(cost: Cost) -> str:
    return f"{cost.wall_ms:,.0f} | {cost.cpu_ms:,.0f} | {cost.rss_mib:,.0f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--million", action="store_true")
    parser.add_argument("--no-page", action="store_true")
    parser.add_argument("--times", type=int, default=5)
    options = parser.parse_args()
    counts = [JUDGED, 10_000, 100_000, *([1_000_000] if options.million else [])]
    with tempfile.TemporaryDirectory(prefix="qsc-bench-") as name:
        folder = Path(name)
        with RedisServer.started(folder / "redis", config={"save": '""'}) as server:
            bench = Bench(folder, server)
            base = floor(options.times)
            gates = {count: bench.gates(count, options.times if count < 1e6 else 1) for count in counts}
            checks = {
                (policy, before): bench.checks(policy, before, options.times)
                for policy in ("strict", "sequential")
                for before in (JUDGED, 20_000, 100_000)
            }
            text = page(bench, gates, checks, base)
    print(text)
    if not options.no_page:
        PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
