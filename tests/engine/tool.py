# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""qsc-test-engine: tell a test host's engine, while it runs, how to behave. Run as root on the host."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import redis

from .orbit import ORBIT
from .orders import CONTROL, FAULTS, LATE, read, write_atomic
from .publishing import Publisher, timestamp
from .quantum import QUANTUM, Profile, load_weights
from .tampering import MODES
from .votes import Market

PROFILES = {"quantum": QUANTUM, "orbit": ORBIT}
WAIT_S = 30.0


class ToolError(Exception):
    """What was asked for cannot be done."""


class Tool:
    """The commands, for one engine."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.control_path = profile.folder / "control.json"
        self.faults_path = profile.folder / "faults.json"
        self.orders = read(self.control_path, CONTROL)
        self.redis = redis.Redis.from_url(self.orders["redis"] or profile.redis, socket_timeout=10)
        self.stream = self.orders["stream"] or profile.stream

    def status(self) -> dict[str, Any]:
        """Return what the engine says of itself, and what the stream holds."""
        path = self.profile.runtime / "status.json"
        shown: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        shown["orders"] = {key: value for key, value in self.orders.items() if value != CONTROL[key]}
        shown["faults"] = {k: v for k, v in read(self.faults_path, FAULTS).items() if v != FAULTS[k]}
        shown["stream"] = self.stream
        if self.redis.type(self.stream) == b"stream":
            info = self.redis.xinfo_stream(self.stream)
            shown["length"] = info["length"]
            shown["entries_added"] = info["entries-added"]
            shown["last_id"] = info["last-generated-id"].decode()
        return shown

    def order(self, changes: dict[str, Any]) -> None:
        """Change the control file; a running engine follows within about 0.1 s."""
        self.orders.update(changes)
        write_atomic(self.control_path, json.dumps(self.orders, indent=2))

    def wait(self, what: str, done: Any) -> None:
        """Wait for a condition with a bound."""
        until = time.monotonic() + WAIT_S
        while not done():
            if time.monotonic() > until:
                raise ToolError(f"{what}: not within {WAIT_S:.0f} s")
            time.sleep(0.02)

    def is_running(self) -> bool:
        """True when systemd has the engine up."""
        done = subprocess.run(["systemctl", "is-active", "--quiet", f"{self.profile.name}.service"], check=False)
        return done.returncode == 0

    def mode(self, name: str, changes: dict[str, Any]) -> None:
        """Set the mode, and wait until a running engine has taken it over."""
        if name not in MODES:
            raise ToolError(f"unknown mode {name!r}; known are {', '.join(MODES)}")
        self.order({"mode": name, **changes})
        when = self.orders["when"]
        if self.is_running() and not self.orders["after"]:
            canary = "canary" in self.status() and bool(self.status()["canary"])
            holds = name if when == "always" or (when == "canary") == canary else "healthy"
            if canary and self.orders["after"] is None and name in LATE:
                return
            self.wait(f"mode {holds}", lambda: self.status().get("mode") == holds)

    def added(self) -> int:
        """Return how many entries the stream has ever had."""
        if self.redis.type(self.stream) != b"stream":
            return 0
        return int(self.redis.xinfo_stream(self.stream)["entries-added"])

    def pulse(self, count: int) -> None:
        """Let the engine make so many decisions at once, beside its rate; wait until they are there."""
        before = self.added()
        self.order({"pulse": {"id": str(uuid.uuid4()), "count": count}})
        self.wait(f"{count} decisions", lambda: self.added() >= before + count)

    def wait_for(self, count: int) -> None:
        """Wait until the engine has made so many more decisions by itself."""
        before = self.added()
        self.wait(f"{count} decisions", lambda: self.added() >= before + count)

    def fill(self, count: int, seconds: float, mode: str, seed: int) -> None:
        """Replace the stream by a past: decisions spread evenly over the seconds before now, by their IDs.

        In one transaction, so that a running engine cannot write in between.
        """
        if mode not in MODES:
            raise ToolError(f"unknown mode {mode!r}")
        market = Market(seed, self.profile.models, self.orders["canary"])
        market.set_mode(mode)
        weights = load_weights(str(self.profile.configured), canary=False).values
        publisher = Publisher(self.redis, self.stream, market, self.profile.name, self.profile.own_field)
        made = publisher.entries(count, weights, self.orders)
        end = self._server_ms()
        pipe = self.redis.pipeline(transaction=True)
        pipe.delete(self.stream)
        for number, entry in enumerate(made):
            ms = int(end - seconds * 1000 * (len(made) - number) / len(made))
            entry["timestamp"] = timestamp(ms)
            pipe.xadd(self.stream, entry, id=f"{ms}-{number}")
        pipe.execute()

    def replay(self, path: str, ids: str) -> int:
        """Put a recorded file's entries into the stream: with their own times (replacing the stream), or as of now."""
        lines = [json.loads(line) for line in Path(path).read_text().splitlines() if line.strip()]
        pipe = self.redis.pipeline(transaction=True)
        if ids == "own":
            pipe.delete(self.stream)
        last, sequence = -1, 0
        for line in lines:
            sequence = sequence + 1 if line["ms"] == last else 0
            last = line["ms"]
            pipe.xadd(self.stream, line["fields"], id=f"{last}-{sequence}" if ids == "own" else "*")
        pipe.execute()
        return len(lines)

    def _server_ms(self) -> int:
        seconds, micro = self.redis.time()
        return int(seconds * 1000 + micro // 1000)


def _changes(words: list[str], known: dict[str, Any]) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or key not in known:
            raise ToolError(f"{word!r} is not KEY=VALUE; keys are {', '.join(known)}")
        try:
            changes[key] = json.loads(text)
        except ValueError:
            changes[key] = text
    return changes


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="qsc-test-engine", description=__doc__)
    parser.add_argument("--engine", choices=sorted(PROFILES), default="quantum")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("status", help="print the engine's state as JSON")
    commands.add_parser("modes", help="list the modes")
    one = commands.add_parser("mode", help="behave so from now on, over restarts too")
    one.add_argument("name")
    one.add_argument("changes", nargs="*", metavar="KEY=VALUE", help="orders, for example rate=200 when=canary")
    one = commands.add_parser("set", help="change orders: " + ", ".join(CONTROL))
    one.add_argument("changes", nargs="+", metavar="KEY=VALUE")
    one = commands.add_parser("faults", help="set the faults of the next starts (none: clear): " + ", ".join(FAULTS))
    one.add_argument("changes", nargs="*", metavar="KEY=VALUE")
    commands.add_parser("reset", help="no orders, no faults")
    one = commands.add_parser("pulse", help="so many decisions at once, by the engine")
    one.add_argument("count", type=int)
    one = commands.add_parser("wait", help="wait for so many decisions")
    one.add_argument("count", type=int)
    one = commands.add_parser("fill", help="replace the stream by so many decisions in the past")
    one.add_argument("count", type=int)
    one.add_argument("--seconds", type=float, default=600.0)
    one.add_argument("--mode", default="healthy")
    one.add_argument("--seed", type=int, default=1)
    one = commands.add_parser("replay", help="put a recorded file into the stream")
    one.add_argument("file")
    one.add_argument("--ids", choices=("own", "live"), default="own")
    return parser


def _run(words: list[str] | None) -> None:
    arguments = _parser().parse_args(words)
    tool = Tool(PROFILES[arguments.engine])
    command = arguments.command
    if command == "status":
        print(json.dumps(tool.status(), indent=2, sort_keys=True))
    elif command == "modes":
        for mode in MODES.values():
            print(f"{mode.name:22} {mode.text}")
    elif command == "mode":
        tool.mode(arguments.name, _changes(arguments.changes, CONTROL))
    elif command == "set":
        tool.order(_changes(arguments.changes, CONTROL))
    elif command == "faults":
        write_atomic(tool.faults_path, json.dumps(_changes(arguments.changes, FAULTS)))
        (tool.profile.state / "deaths").unlink(missing_ok=True)
    elif command == "reset":
        tool.control_path.unlink(missing_ok=True)
        tool.faults_path.unlink(missing_ok=True)
        (tool.profile.state / "deaths").unlink(missing_ok=True)
    elif command == "pulse":
        tool.pulse(arguments.count)
    elif command == "wait":
        tool.wait_for(arguments.count)
    elif command == "fill":
        tool.fill(arguments.count, arguments.seconds, arguments.mode, arguments.seed)
    elif command == "replay":
        print(f"{tool.replay(arguments.file, arguments.ids)} entries")


def main(words: list[str] | None = None) -> int:
    """Run one command; an error is one line and exit code 2."""
    try:
        _run(words)
    except (ToolError, OSError, ValueError, redis.RedisError) as error:
        print(f"qsc-test-engine: {error}", file=sys.stderr)
        return 2
    return 0
