# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run this collection's playbooks against test hosts the way an operator does, and look at what they left behind."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

from .terminal import Terminal

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "hosts"))

from qsc_hosts.errors import HostsError  # noqa: E402
from qsc_hosts.inventory import inventory as inventory_text  # noqa: E402
from qsc_hosts.machine import PATIENCE, Host, wait_until  # noqa: E402

UNIT = "quantum-ai_engine.service"
DROPIN = f"/etc/systemd/system/{UNIT}.d/qsc_canary.conf"
BASELINE_FILE = "/etc/quantum/model_weights.json"
BASELINE = {"xgb": 0.25, "lgbm": 0.25, "nhits": 0.30, "patchtst": 0.20}
CANARY_WEIGHTS = {"xgb": 0.28125, "lgbm": 0.28125, "nhits": 0.3375, "patchtst": 0.1}
RATE = 60
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
"""Tests run side by side; each worker has hosts of its own."""

# Durations and the window are shortened by variables alone; everything else is the default of the collection.
FAST: dict[str, t.Any] = {
    "qsc_canary_baseline_path": BASELINE_FILE,
    "qsc_canary_interval_seconds": 3,
    "qsc_canary_monitor_hours": 600 / 3600,
    "qsc_canary_stability_seconds": 1,
    "qsc_canary_arming_timeout_seconds": 180,  # a busy machine; who waits for its end asks for less
    "qsc_canary_stale_after": 10,
    "qsc_canary_limits": {"start_grace": 10},
    "qsc_canary_required_checks": 0.6,
    "qsc_canary_breaker_rollbacks": 0,
    "qsc_canary_window_events": 400,  # at 60 a second the window of 2,000 would cost more than all else of a check
}


@dataclass(frozen=True)
class Play:
    """What an ansible-playbook run came to."""

    rc: int
    output: str
    seconds: float

    @property
    def changed(self) -> int:
        """The number of changed tasks over all hosts, by the recap."""
        return sum(int(number) for number in re.findall(r"changed=(\d+)", self.output))

    def flat(self) -> str:
        """The output without the line breaks and quotes that YAML puts into long texts."""
        return re.sub(r"\s+", " ", self.output.replace("\\n", " ")).replace("''", "'")


def _command(playbook: str, extra: t.Mapping[str, t.Any], inventory: str, options: t.Sequence[str]) -> list[str]:
    program = str(ROOT / ".venv" / "bin" / "ansible-playbook")
    return [program, "-i", inventory, f"playbooks/{playbook}.yml", "-e", json.dumps(dict(extra)), *options]


def environment(**more: str) -> dict[str, str]:
    """Nobody's ansible settings but this checkout's."""
    keep = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "QSC_"))}
    keep.update({"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", "LC_ALL": "C.UTF-8"})
    keep["PATH"] = f"{ROOT / '.venv' / 'bin'}{os.pathsep}{keep.get('PATH', os.defpath)}"
    # one connection a host for the whole suite, and modules through it without a temporary file
    keep.update({"ANSIBLE_PIPELINING": "1", **more})
    return keep


def write_inventory(hosts: t.Sequence[Host]) -> str:
    """A temporary inventory file with the hosts in group qsc_engines."""
    handle, path = tempfile.mkstemp(prefix="qsc-inventory-", suffix=".json")
    with os.fdopen(handle, "w") as stream:
        stream.write(inventory_text(list(hosts)))
    return path


def play(
    playbook: str,
    *hosts: Host,
    options: t.Sequence[str] = (),
    env: t.Mapping[str, str] | None = None,
    timeout: float = 240,
    fast: bool = True,
    **extra: t.Any,
) -> Play:
    """Run a playbook to its end.

    An activation acknowledges what earlier tests did to this model on purpose, unless ``acknowledge`` is given.
    """
    if playbook in ("activate", "quickstart") and len(hosts) == 1 and "acknowledge" not in extra:
        extra = {**extra, **last_violated(hosts[0])}
    inventory = write_inventory(hosts)
    begin = time.monotonic()
    try:
        done = subprocess.run(
            _command(playbook, {**(FAST if fast else {}), **extra}, inventory, options),
            cwd=ROOT,
            env=environment(**(env or {})),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout * PATIENCE,
            check=False,
        )
    finally:
        os.unlink(inventory)
    return Play(done.returncode, done.stdout, time.monotonic() - begin)


@contextlib.contextmanager
def at_a_terminal(playbook: str, host: Host, **extra: t.Any) -> t.Iterator[Terminal]:
    """A playbook on a terminal, with whatever earlier tests did to this model on purpose acknowledged."""
    inventory = write_inventory([host])
    command = _command(playbook, {**FAST, **last_violated(host), **extra}, inventory, ())
    try:
        with Terminal(command, cwd=ROOT, env=environment(TERM="xterm"), patience=PATIENCE) as terminal:
            yield terminal
    finally:
        os.unlink(inventory)


class RunningPlay:
    """A playbook that runs beside the test and can be killed or frozen, with all its children."""

    def __init__(self, playbook: str, *hosts: Host, env: t.Mapping[str, str] | None = None, **extra: t.Any) -> None:
        self._inventory = write_inventory(hosts)
        self._log = tempfile.NamedTemporaryFile("w+", prefix="qsc-play-", suffix=".log")  # noqa: SIM115 - closed in end()
        # an own connection: the shared one would be killed along with this play
        own = {"ANSIBLE_SSH_CONTROL_PATH_DIR": tempfile.mkdtemp(prefix="qsc-cp-")}
        self.process = subprocess.Popen(
            _command(playbook, {**FAST, **last_violated(hosts[0]), **extra}, self._inventory, ()),
            cwd=ROOT,
            env=environment(PYTHONUNBUFFERED="1", **own, **(env or {})),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def output(self) -> str:
        """What it printed so far."""
        return Path(self._log.name).read_text()

    def wait_for(self, text: str, timeout: float = 90) -> None:
        """Wait until it has printed ``text``."""

        def seen() -> bool:
            if text in self.output():
                return True
            if self.process.poll() is not None:
                raise AssertionError(f"the play ended before {text!r}:\n{self.output()}")
            return False

        wait_until(f"the play prints {text!r}", seen, timeout, 0.02)

    def signal(self, number: int) -> None:
        """Send a signal to the controller and all its workers and connections."""
        os.killpg(self.process.pid, number)

    def end(self, timeout: float = 120) -> Play:
        """Wait for its end."""
        try:
            self.process.wait(timeout * PATIENCE)
        finally:
            if self.process.poll() is None:
                self.signal(signal.SIGKILL)
            output = self.output()
            self._log.close()
            os.unlink(self._inventory)
        return Play(self.process.returncode, output, 0.0)


def record(host: Host) -> dict[str, t.Any]:
    """The canary's record, {} when there never was one."""
    text = host.run("cat /var/lib/qsc_canary/record.json 2>/dev/null || echo {}").stdout
    found: dict[str, t.Any] = json.loads(text)
    return found


def ledger(host: Host) -> list[dict[str, t.Any]]:
    """All ledger entries."""
    text = host.run("cat /var/log/qsc_canary/qsc_canary.jsonl 2>/dev/null || true").stdout
    return [json.loads(line) for line in text.splitlines()]


def entries(host: Host, canary_id: str) -> list[dict[str, t.Any]]:
    """The ledger entries of one run."""
    return [entry for entry in ledger(host) if entry.get("canary_id") == canary_id]


def last_violated(host: Host) -> dict[str, str]:
    """{"acknowledge": id} of the newest violated run, {} when there is none."""
    ended = [entry["canary_id"] for entry in ledger(host) if entry.get("outcome") == "violated"]
    return {"acknowledge": ended[-1]} if ended else {}


def await_state(host: Host, *states: str, timeout: float = 60, outcome: str = "") -> dict[str, t.Any]:
    """Wait for a state of the record; says what was seen when it does not come."""
    file = "/var/lib/qsc_canary/record.json"
    condition = f"""grep -qE '^ "state": "({"|".join(states)})"' {file} && grep -qE '^ "outcome": "{outcome}' {file}"""
    try:
        host.wait(f"the record is {' or '.join(states)} {outcome}", condition, timeout=timeout)
    except HostsError as error:
        status = host.run("qsc status; tail -n 3 /var/lib/qsc_canary/monitor/verdict.json", check=False)
        journal = host.run("journalctl -n 60 --no-pager -o cat -u 'qsc-*'", check=False).stdout
        raise AssertionError(f"{error}; seen: {status.stdout}{status.stderr}\n{journal}") from error
    return record(host)


def process_variables(host: Host, unit: str = UNIT) -> dict[str, str]:
    """The canary's variables in the environment of the engine's main process."""
    text = host.run(f"tr '\\0' '\\n' < /proc/$(systemctl show -P MainPID {unit})/environ").stdout
    pairs = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    return {name: value for name, value in pairs.items() if "CANARY" in name}


def fingerprint(host: Host, unit: str = UNIT, *, everything: bool = False) -> dict[str, str]:
    """What must be equal before and after a refusal: engine process, unit, drop-in, weights, record, and /etc.

    Without ``everything`` the collection's own settings and units are left out: other settings are installed by design.
    """
    own = "" if everything else "! -path '/etc/qsc_canary/*' ! -name 'qsc-*'"
    facts = "MainPID,NRestarts,ActiveEnterTimestamp,InvocationID,FragmentPath,DropInPaths,UnitFileState"
    state = "/var/lib/qsc_canary"
    script = f"""
        systemctl show {unit} -p {facts}
        cd /etc
        echo "etc=$(find /etc -xdev -type f ! -path '/etc/quantum/control.json' {own} -print0 \\
            | sort -z | xargs -0 sha256sum | sha256sum)"
        echo "weights=$(sha256sum {BASELINE_FILE} {state}/weights.json {state}/baseline.json 2>/dev/null | sha256sum)"
        echo "record=$(sha256sum {state}/record.json 2>/dev/null)"
        echo "run=$(ls /run/qsc_canary 2>/dev/null | grep -v -e lock -e watchdog.json -e boot_id | sort | tr '\\n' ' ')"
        echo "timer=$(systemctl is-active qsc-monitor.timer)"
    """
    return dict(line.split("=", 1) for line in host.run(script).stdout.splitlines() if "=" in line)


def enough_telemetry(host: Host, count: int = 220, unit: str = UNIT, timeout: float = 60) -> None:
    """Wait until the engine has published ``count`` decisions since its last start."""
    engine = "orbit" if unit.startswith("orbit") else "quantum"
    stream = "orbit:decisions" if engine == "orbit" else "quantum:stream:trade.intent"
    script = f"""
        start=$(( $(date -d "$(systemctl show -P ActiveEnterTimestamp {unit})" +%s) + 1 ))000
        test "$(redis-cli --raw XRANGE {stream} "$start" + COUNT {count} | grep -c '^payload$')" -ge {count}
    """
    host.wait(f"{count} decisions since the start of {unit}", script, timeout=timeout)


def quick_engine(host: Host, **control: t.Any) -> None:
    """Make the reference engine healthy, quick, and long enough up to be judged."""
    host.engine("mode", "healthy")
    host.engine("set", f"rate={RATE}", *(f"{name}={value}" for name, value in control.items()))
    enough_telemetry(host)
