# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""quantum-ai_engine: the engine of the specification. Type=simple, Restart=always, four models.

What it owes to a canary is the first function; the rest is an engine like any other, with orders and faults for tests.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import redis

from .orders import FAULTS, Control, read, write_atomic
from .publishing import Publisher
from .votes import Market

RELOADED = Path("/run/qsc_canary/engine.env")
"""Where the variables of a canary stand for an engine that is told to reload."""
MODELS = ("xgb", "lgbm", "nhits", "patchtst")


class Weights(NamedTuple):
    """The weights an engine runs, and where they came from."""

    values: dict[str, float]
    path: str
    sha256: str
    canary: bool


class Profile(NamedTuple):
    """All that differs between two engines of this kind."""

    name: str
    models: tuple[str, ...]
    environment: dict[str, str]
    configured: Path
    folder: Path
    runtime: Path
    state: Path
    redis: str
    stream: str
    own_field: bool


QUANTUM = Profile(
    name="quantum-ai_engine",
    models=MODELS,
    environment={
        "weights": "QSC_CANARY_WEIGHTS",
        "model": "QSC_CANARY_MODEL",
        "traffic": "QSC_CANARY_TRAFFIC",
        "ack": "QSC_CANARY_ACK",
    },
    configured=Path("/etc/quantum/model_weights.json"),
    folder=Path("/etc/quantum"),
    runtime=Path("/run/quantum"),
    state=Path("/var/lib/quantum"),
    redis="unix:///run/redis/redis.sock",
    stream="quantum:stream:trade.intent",
    own_field=False,
)


def load_weights(path: str, canary: bool) -> Weights:
    """Read a weights file: {model: number}, no negative one. Raises OSError, ValueError."""
    raw = Path(path).read_bytes()
    content = json.loads(raw.decode())
    if not isinstance(content, dict):
        raise ValueError("not an object")
    values = {str(model): float(weight) for model, weight in content.items()}
    if not values or not all(weight >= 0 for weight in values.values()):
        raise ValueError("no weights, or a negative one")
    return Weights(values, path, hashlib.sha256(raw).hexdigest(), canary)


def choose_weights(profile: Profile, environment: dict[str, str], faults: dict[str, Any]) -> Weights:
    """Take the canary's weights when the environment names them and they are sound, else the configured ones."""
    path = environment.get(profile.environment["weights"])
    if path and not faults["ignore_environment"]:
        try:
            return load_weights(path, canary=True)
        except (OSError, ValueError) as error:
            # An engine that trades must not stop for a canary: no acknowledgement is what gives it away.
            say(f"canary weights {path} not usable, going on with my own: {error}")
    return load_weights(str(profile.configured), canary=False)


def acknowledge(profile: Profile, weights: Weights, environment: dict[str, str], faults: dict[str, Any]) -> None:
    """Tell what was loaded, if somebody asks for it by naming a file."""
    path = environment.get(profile.environment["ack"])
    if not path or not weights.canary or faults["ack"] == "none":
        return
    content: dict[str, Any] = {"pid": os.getpid(), "sha256": weights.sha256, "weights": weights.values}
    if faults["ack"] == "wrong_sha256":
        content["sha256"] = hashlib.sha256(b"other weights").hexdigest()
    elif faults["ack"] == "wrong_pid":
        content["pid"] = 1
    text = "{" if faults["ack"] == "garbage" else json.dumps(content)
    try:
        write_atomic(Path(path), text)
    except OSError as error:
        say(f"cannot acknowledge in {path}: {error}")


def say(text: str) -> None:
    """Write to the journal; a broken journal does not stop the engine."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


class Engine:
    """The running engine."""

    def __init__(self, profile: Profile, environment: dict[str, str]) -> None:
        self.profile = profile
        self.environment = environment
        self.faults = read(profile.folder / "faults.json", FAULTS)
        self.has_canary = bool(environment.get(profile.environment["weights"]))
        self.control = Control(profile.folder / "control.json")
        self.control.changed()
        self._started = time.monotonic()
        self._pulse = self._pulse_id()
        self._obeyed = ""
        self._reload_asked = False
        self._rng = random.Random()

    def _pulse_id(self) -> str | None:
        pulse = self.control.orders["pulse"]
        return str(pulse["id"]) if pulse else None

    def start(self) -> None:
        """All that comes before the first decision."""
        if self.faults["ignore_sigterm"]:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        else:
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        signal.signal(signal.SIGHUP, self._ask_for_reload)
        if self.faults["die_with_canary"] and self.has_canary:
            say("fault: I do not start under a canary")
            self.die()
        self.pause(self.faults["start_delay"])
        self.weights = choose_weights(self.profile, self.environment, self.faults)
        acknowledge(self.profile, self.weights, self.environment, self.faults)
        orders = self.control.orders
        # Another start is another market: the same decisions again would be duplicates.
        seed = random.Random(f"{orders['seed']}-{time.time_ns()}").getrandbits(48)
        self.publisher = Publisher(
            redis.Redis.from_url(orders["redis"] or self.profile.redis, socket_timeout=5),
            orders["stream"] or self.profile.stream,
            Market(seed, self.profile.models, orders["canary"]),
            self.profile.name,
            self.profile.own_field,
        )
        self.obey()
        say(f"weights {self.weights.values} from {self.weights.path}, seed {seed}")

    def _ask_for_reload(self, *_signal: object) -> None:
        self._reload_asked = True

    def reload(self) -> None:
        """Take the weights that the canary's environment file names now, or my own, without a restart."""
        self._reload_asked = False
        ours = set(self.profile.environment.values())
        self.environment = {name: value for name, value in self.environment.items() if name not in ours}
        with contextlib.suppress(OSError):
            lines = RELOADED.read_text().splitlines()
            self.environment.update(line.split("=", 1) for line in lines if line.partition("=")[0] in ours)
        self.has_canary = bool(self.environment.get(self.profile.environment["weights"]))
        self.weights = choose_weights(self.profile, self.environment, self.faults)
        acknowledge(self.profile, self.weights, self.environment, self.faults)
        self.obey()
        say(f"reloaded: weights {self.weights.values} from {self.weights.path}")

    def mode(self) -> str:
        """Return the mode that is ordered for this moment."""
        return self.control.mode(self.has_canary, time.monotonic() - self._started)

    def obey(self) -> None:
        """Take over new orders and say so in the status file."""
        orders = self.control.orders
        market = self.publisher.market
        if orders["canary"] != market.canary:
            self.publisher.market = market = Market(self._rng.getrandbits(48), self.profile.models, orders["canary"])
            self.publisher.count = 0
        self._obeyed = self.mode()
        try:
            market.set_mode(self._obeyed)
        except KeyError:
            say(f"unknown mode {orders['mode']!r}, going on as {market.mode}")
        status = {
            "pid": os.getpid(),
            "invocation_id": self.environment.get("INVOCATION_ID", ""),
            "mode": market.mode,
            "canary": self.weights.canary,
            "weights": self.weights.values,
            "weights_path": self.weights.path,
            "sha256": self.weights.sha256,
        }
        try:
            write_atomic(self.profile.runtime / "status.json", json.dumps(status))
        except OSError as error:
            say(f"no status file: {error}")

    def pause(self, seconds: float) -> None:
        """Sleep so long, and die in between if that is ordered."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.die_if_due()
            time.sleep(max(0.0, min(0.05, until - time.monotonic())))

    def die_if_due(self) -> None:
        """The fault die_after."""
        after = self.faults["die_after"]
        if after is None or time.monotonic() - self._started < after:
            return
        if self.faults["die_when"] == "canary" and not self.has_canary:
            return
        times = self.faults["die_times"]
        if times is not None:
            counter = self.profile.state / "deaths"
            died = int(counter.read_text()) if counter.exists() else 0
            if died >= times:
                return
            write_atomic(counter, str(died + 1))
        say(f"fault: I end {after} s after my start")
        self.die()

    def die(self) -> None:
        """End as the fault die_status says, without any cleaning up."""
        status = int(self.faults["die_status"])
        if status < 0:
            if -status != signal.SIGKILL:
                signal.signal(-status, signal.SIG_DFL)
            os.kill(os.getpid(), -status)
        os._exit(status)

    def publish(self, number: int) -> None:
        """Publish; a Redis that does not answer costs these decisions and no more."""
        orders = dict(self.control.orders)
        if orders["publish_weights"]:
            configured = load_weights(str(self.profile.configured), canary=False).values
            orders["show"] = configured if self.faults["publish_own_weights"] else self.weights.values
        try:
            self.publisher.publish(number, self.weights.values, orders)
        except (redis.RedisError, OSError, ValueError) as error:
            say(f"{number} decisions lost: {error}")
            time.sleep(0.2)

    def run(self) -> None:
        """Decide for ever."""
        self.pause(self.faults["silent_for"])
        due = time.monotonic()
        while True:
            self.die_if_due()
            if self._reload_asked:
                self.reload()
            if self.control.changed() or self.mode() != self._obeyed:
                self.obey()
                due = min(due, time.monotonic() + 0.1)
            orders = self.control.orders
            pulse = self._pulse_id()
            if pulse and pulse != self._pulse:
                self._pulse = pulse
                self.publish(int(orders["pulse"]["count"]))
            now = time.monotonic()
            rate, burst = float(orders["rate"]), max(1, int(orders["burst"]))
            if rate <= 0:
                due = now + 0.1
            elif now >= due:
                self.publish(burst)
                due = max(now - 1.0, due) + burst / rate * self._rng.uniform(0.7, 1.3)
            time.sleep(max(0.0, min(0.05, due - time.monotonic())))


def main() -> None:
    """Run the engine until a signal ends it."""
    engine = Engine(QUANTUM, dict(os.environ))
    engine.start()
    engine.run()
