# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One case on this host: bring it to the step, let the fault happen there, and watch where the host ends.

    case.py run JSON       the whole case; the last line printed is its result as JSON
    case.py after JSON     the end of a case whose host was cut off, after the boot
    case.py activate JSON  an activation by the functions that the modules call
    case.py raise JSON     the next step of a safe canary, the same way
    case.py promote JSON   a promotion at the last step, by the function that the module calls
    case.py install JSON   an installation that differs in code, credential, units or settings

Nothing here asks the agent what it did: process, files, systemd and ledger are read directly.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import typing as t
from pathlib import Path

sys.path.insert(0, "/opt/qsc-fault")

import launch

UNIT = "quantum-ai_engine.service"
DROPIN = Path(f"/etc/systemd/system/{UNIT}.d/qsc_canary.conf")
ENVIRONMENT = Path("/run/qsc_canary/engine.env")
STATE = Path("/var/lib/qsc_canary")
RECORD = STATE / "record.json"
OWN_WEIGHTS = Path("/etc/quantum/model_weights.json")
VERDICT = STATE / "monitor" / "verdict.json"
LEDGER = Path("/var/log/qsc_canary/qsc_canary.jsonl")
MEMORY = Path("/opt/qsc-fault/memory.json")
PAUSED = Path("/opt/qsc-fault/paused")
"""What the pre-restart hook of every case makes, and the post-restart hook removes."""
HOOK_OPEN = STATE / "hook_open.json"
IN_FLIGHT = ("arming", "active", "rolling_back")
MODEL = "patchtst"
HOLDS_S = 4.5
"""s: an end state must hold for more than one look of the watchdog."""
TENTH, QUARTER = 0.10, 0.25
UNPAUSED_S = 85.0
"""s: a play that was killed is given a minute and the hook's own time; then the watchdog goes on for it."""
TOLD_S = 10.0
"""s: what found no room in the ledger is there after some looks of the watchdog."""


def shell(command: str, *, check: bool = False, timeout: float = 60) -> int:
    """Run a shell command quietly."""
    done = subprocess.run(["sh", "-c", command], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=timeout, check=False)  # fmt: skip
    if check and done.returncode != 0:
        raise SystemExit(f"{command!r} ended with {done.returncode}: {done.stderr or done.stdout}")
    return done.returncode


def show_all(units: t.Sequence[str], *names: str) -> list[dict[str, str]]:
    """Properties of units, {} while systemd gives none."""
    done = subprocess.run(
        ["systemctl", "show", *units, f"--property={','.join(names)}"], capture_output=True, text=True, check=False
    )
    blocks = done.stdout.strip().split("\n\n")
    if len(blocks) != len(units):
        return [{} for _unit in units]
    return [dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in blocks]


def show(unit: str, *names: str) -> dict[str, str]:
    """Properties of one unit."""
    return show_all([unit], *names)[0]


def read_json(path: Path) -> t.Any:
    """Parsed content, None where there is no file, "unreadable" where it is no JSON."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return "unreadable"


def entries() -> list[dict[str, t.Any]]:
    """The ledger's readable entries."""
    with contextlib.suppress(FileNotFoundError):
        found = []
        for line in LEDGER.read_text().splitlines():
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return found
    return []


def boot_clock() -> float:
    """s of boot time."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def variables(pid: int) -> dict[str, str] | None:
    """The canary's variables of a process, None while it cannot be read or is systemd's own."""
    try:
        raw = Path(f"/proc/{pid}/environ").read_bytes()
        if os.path.basename(os.readlink(f"/proc/{pid}/exe")).startswith("systemd"):
            return None
    except OSError:
        return None
    pairs = dict(item.split("=", 1) for item in raw.decode().split("\0") if "=" in item)
    return {key: value for key, value in pairs.items() if key.startswith("QSC_CANARY")}


def look(since: float, share: float = TENTH) -> tuple[str, str]:
    """("baseline" | "committed" | "promoted" | "between", what is seen).

    ``since``: boot time after which a verdict is new; ``share``: what a committed canary has.
    """
    engine, watch_timer, check_timer = show_all(
        (UNIT, "qsc-watchdog.timer", "qsc-monitor.timer"), "ActiveState", "SubState", "MainPID", "DropInPaths"
    )
    pid = int(engine.get("MainPID") or 0)
    running = engine.get("ActiveState") == "active" and engine.get("SubState") == "running" and pid > 0
    found = variables(pid) if running else None
    record = read_json(RECORD)
    state = record.get("state") if isinstance(record, dict) else record
    monitor, watchdog = check_timer.get("ActiveState"), watch_timer.get("ActiveState")
    seen = (
        f"engine {engine.get('ActiveState')}/{engine.get('SubState')} with {found}, drop-in "
        f"{DROPIN.exists()}/{'qsc_canary' in engine.get('DropInPaths', '')}, environment file {ENVIRONMENT.exists()}, "
        f"record {state}, monitor {monitor}, watchdog {watchdog}"
    )
    if found == {} and watchdog == "active" and state in (None, "rolled_back", "promoted"):
        clean = not DROPIN.exists() and not ENVIRONMENT.exists() and "qsc_canary" not in engine.get("DropInPaths", "")
        own = read_json(OWN_WEIGHTS)
        if clean and monitor != "active" and state == "promoted":
            return ("promoted" if own == record["promoted"] else "between"), f"{seen}, own weights {own}"
        if clean and monitor != "active" and (state is None or not record.get("promoted") or own == record["baseline"]):
            return "baseline", seen
        seen += f", own weights {own}"
    if found and state == "active" and watchdog == "active" and monitor == "active":
        wanted = {
            "QSC_CANARY_MODEL": MODEL, "QSC_CANARY_TRAFFIC": f"{share:.2f}",
            "QSC_CANARY_WEIGHTS": str(STATE / "weights.json"), "QSC_CANARY_ACK": "/run/qsc_canary/ack/ack.json",
        }  # fmt: skip
        verdict = read_json(VERDICT)
        ack = read_json(Path("/run/qsc_canary/ack/ack.json"))
        digest = hashlib.sha256((STATE / "weights.json").read_bytes()).hexdigest()
        loaded = isinstance(ack, dict) and ack.get("pid") == pid and ack.get("sha256") == digest
        fresh = (
            isinstance(verdict, dict)
            and verdict.get("canary_id") == record["id"]
            and float(verdict.get("checked_boot", 0)) > since
        )
        there = DROPIN.exists() and ENVIRONMENT.exists()
        if found == wanted and record["weight"] == share and loaded and fresh and there:
            return "committed", seen
        seen += f" at {record['weight']}, loaded {loaded}, verdict {'new' if fresh else 'old'}"
    return "between", seen


SAVED = "/opt/qsc-fault/saved"
AS_INSTALLED = f"""
    cmp -s {SAVED}/config.json /etc/qsc_canary/config.json || cp -a {SAVED}/config.json /etc/qsc_canary/
    cmp -s {SAVED}/redis-password /etc/qsc_canary/redis-password || cp -a {SAVED}/redis-password /etc/qsc_canary/
    cd /usr/local/lib/qsc_canary
    cmp -s {SAVED}/model_weights.json /etc/quantum/model_weights.json \\
        || cp -a {SAVED}/model_weights.json /etc/quantum/
    rm -f /etc/quantum/*.changed /etc/quantum/*.before
    if ! cmp -s {SAVED}/control.json /etc/quantum/control.json; then
        cp -a {SAVED}/control.json /etc/quantum/.control.new; mv /etc/quantum/.control.new /etc/quantum/control.json
    fi
    rm -f /run/qsc_canary/page* /run/qsc_canary/rollback_tries* {STATE}/page*
    if [ "$(readlink current)" != "$(cat {SAVED}/digest)" ]; then
        ln -sfn "$(cat {SAVED}/digest)" current
    fi
    for folder in * .new-* .old-*; do
        [ "$folder" = current ] || [ "$folder" = "$(cat {SAVED}/digest)" ] || rm -rf "$folder"
    done
    if ! cmp -s {SAVED}/qsc-rollback.service /etc/systemd/system/qsc-rollback.service; then
        cp -a {SAVED}/qsc-rollback.service /etc/systemd/system/; systemctl daemon-reload
    fi
    systemctl is-enabled -q qsc-watchdog.timer && systemctl is-active -q qsc-watchdog.timer \\
        || systemctl enable --now -q qsc-watchdog.timer
"""
"""Takes back what a case may have installed."""


class Line:
    """Answers the processes that say which step they are about to take; the fault happens at the wanted one, once."""

    def __init__(self, case: dict[str, t.Any]) -> None:
        self.case = case
        self.steps: list[str] = []
        self.fired = threading.Event()
        self.armed = threading.Event()
        self.boot_at = 0.0
        folder = Path(launch.SOCKET).parent
        folder.mkdir(exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(launch.SOCKET)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(launch.SOCKET)
        os.chmod(launch.SOCKET, 0o777)
        self._socket.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """From here on nobody waits for an answer."""
        os.unlink(launch.SOCKET)
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                line, _address = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(line,), daemon=True).start()

    def _answer(self, line: socket.socket) -> None:
        with line, contextlib.suppress(OSError, ValueError):
            said = json.loads(line.recv(4096))
            self.steps.append(said["step"])
            if self.armed.is_set() and said["step"] in self.case.get("meanwhile", {}):
                shell(self.case["meanwhile"][said["step"]], check=True)
            if self.armed.is_set() and said["step"] == self.case["step"] and not self.fired.is_set():
                self.fire(int(said["pid"]))
            line.sendall(b"go")

    def fire(self, pid: int = 0) -> None:
        """The fault, now."""
        self.boot_at = boot_clock()
        kind = self.case["kind"]
        if kind == "kill":
            os.kill(pid, signal.SIGKILL)
        elif kind == "freeze":
            os.kill(pid, signal.SIGSTOP)
            threading.Timer(self.case["frozen_s"], self._thaw, (pid,)).start()
        elif kind == "shell":
            shell(self.case["fault"])
        self.fired.set()
        if kind == "hold":  # the harness cuts the host off, with this process in it
            MEMORY.write_text(json.dumps({"steps": self.steps}))
            print(f"HELD {json.dumps(self.case['step'])}", flush=True)
            time.sleep(120)

    @staticmethod
    def _thaw(pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def reset() -> None:
    """A healthy engine at baseline, running guards, and an empty memory of everything else."""
    import qsc.files
    from qsc.guard.host import Host
    from qsc.guard.rollback import Finding, roll_back
    from qsc.settings import Settings

    shell(f"umount -l {STATE} {LEDGER.parent} /etc /var; {AS_INSTALLED}")
    host = Host(settings=Settings.load(Path("/etc/qsc_canary/config.json")), actor="between two cases")
    found = roll_back(host, Finding("manual", "between two cases"))
    if found.record is not None and found.record.live:  # a violation of the case before led to a step back
        roll_back(host, Finding("manual", "between two cases"))
    with host.lock():
        kept = (STATE / name for name in ("weights.json", "baseline.json", "previous.json"))
        for path in (RECORD, *kept, HOOK_OPEN, PAUSED, LEDGER, *STATE.glob("record.json.*")):
            qsc.files.remove(path)
        for path in (*LEDGER.parent.iterdir(), *STATE.glob("ledger_*"), *Path("/run/qsc_canary").glob("ledger_*")):
            path.unlink()
        shutil.rmtree(STATE / "monitor", ignore_errors=True)
    shell(
        "mkdir -p /run/qsc-fault; systemctl stop qsc-monitor.timer qsc-monitor.service qsc-rollback.service;"
        "systemctl reset-failed"
    )
    engine = show(UNIT, "NRestarts", "ActiveState")
    if engine.get("ActiveState") != "active" or engine.get("NRestarts") != "0":
        shell(f"systemctl reset-failed {UNIT}; systemctl restart {UNIT}", check=True)


def spawn(what: str, case: dict[str, t.Any]) -> subprocess.Popen[bytes]:
    """This program again, as a process of its own that can be killed or frozen at a step."""
    log = open("/run/qsc-fault/process.log", "ab")  # noqa: SIM115 - the child's
    words = ["/opt/qsc-fault/launch.py", what] if what == "rollback" else [__file__, what, json.dumps(case)]
    return subprocess.Popen([sys.executable, "-I", *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def await_true(what: str, condition: t.Callable[[], bool], seconds: float) -> None:
    """Wait, or end the case as one that was not reached."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            log = Path("/run/qsc-fault/process.log")
            tail = log.read_text()[-1500:] if log.exists() else ""
            raise NotReached(f"{what} did not come true within {seconds:g} s; {look(0)[1]}; {tail}")
        time.sleep(0.1)


class NotReached(Exception):
    """The case did not get as far as its fault."""


def go(case: dict[str, t.Any]) -> dict[str, t.Any]:
    """The case up to its end."""
    shell("rm -f /run/qsc-fault/process.log /opt/qsc-fault/boot.json")
    if case.get("before"):
        shell(case["before"], check=True)
    line = Line(case)
    processes: list[subprocess.Popen[bytes]] = []
    try:
        way = case["way"]
        if way == "activate":
            line.armed.set()
            processes += [spawn("activate", case) for _number in range(int(case.get("plays", 1)))]
        elif way != "baseline":
            done = spawn("activate", case)
            await_true("the activation ends", lambda: done.poll() is not None, 60)
            if done.returncode != 0 or look(0)[0] != "committed":
                raise NotReached(
                    f"the activation ended with {done.returncode}: {look(0)[1]}; "
                    + Path("/run/qsc-fault/process.log").read_text()[-1500:]
                )
        if way != "activate":
            if case.get("ready"):
                await_true("the host is ready", lambda: shell(case["ready"]) == 0, 40)
            if way == "raised":
                # refused where the last check came too late on a busy machine: asked again, as an operator would
                await_true("the raise is taken", lambda: spawn("raise", case).wait(60) == 0, 40)
                await_true("the second step is watched", lambda: look(0, QUARTER)[0] == "committed", 20)
            line.armed.set()
            if case.get("trigger"):
                shell(case["trigger"], check=True)
            if case.get("process"):
                processes.append(spawn(case["process"], case))
        if case["step"] and way != "boot":
            await_true(f"step {case['step']}", line.fired.is_set, case.get("reach_s", 40))
        else:
            line.fire()
        if case["kind"] == "hold":
            time.sleep(120)
        return ended(case, line, processes)
    except NotReached as error:
        return {"reached": False, "end": "not reached", "why": f"{error}; steps {line.steps}", "seconds": 0.0}
    finally:
        line.close()
        for process in processes:
            if process.poll() is None:
                process.kill()
        if case.get("undo") and not case.get("undo_when"):
            shell(case["undo"])


def ended(
    case: dict[str, t.Any], line: Line | None, processes: t.Sequence[subprocess.Popen[bytes]] = ()
) -> dict[str, t.Any]:
    """Wait for the end state, see that it holds, and read the ledger."""
    begin, since = time.monotonic(), boot_clock()
    if line is not None:
        since = line.boot_at
    engine_s = None
    if case.get("undo") and case.get("undo_when"):
        # the engine must be back although the fault goes on; only then the fault ends
        if case["undo_when"] == "engine":
            end = time.monotonic() + case["within_s"]
            while time.monotonic() < end:
                pid = int(show(UNIT, "MainPID").get("MainPID") or 0)
                if pid and variables(pid) == {} and not (DROPIN.exists() and ENVIRONMENT.exists()):
                    engine_s = round(boot_clock() - since, 1)
                    break
                time.sleep(0.2)
            else:
                return result(
                    case, line, "between", look(since)[1], time.monotonic() - begin, "not back under the fault"
                )
        else:
            time.sleep(float(case["undo_when"]))
        shell(case["undo"])
    wanted = ("baseline", "committed", "promoted") if case["end"] == "either" else (case["end"],)
    end = time.monotonic() + case["within_s"]
    state, seen = look(since)
    while True:
        if state in wanted and not any(process.poll() is None for process in processes):
            first = boot_clock() - since
            time.sleep(HOLDS_S if state == "committed" else 1.2)
            later, seen = look(since)
            if later == state:
                break
            state = later
        if time.monotonic() > end:
            return result(case, line, "between" if state == "between" else f"{state}, but", seen, boot_clock() - since,
                          f"not {' or '.join(wanted)} within {case['within_s']} s", engine_s)  # fmt: skip
        time.sleep(0.3)
        state, seen = look(since)
    wrong, end = story(case, state), time.monotonic() + TOLD_S
    while wrong and time.monotonic() < end:  # an entry may still wait for room on the disk
        time.sleep(0.5)
        wrong = story(case, state)
    wrong = wrong or still_paused(case, state)
    return result(case, line, state, seen, first, wrong or again(state), engine_s)


def still_paused(case: dict[str, t.Any], state: str) -> str:
    """What was paused for a restart goes on, whoever was killed in between, and that changes nothing else."""
    end, waited = time.monotonic() + UNPAUSED_S, False
    while PAUSED.exists() or HOOK_OPEN.exists():
        if time.monotonic() > end:
            return f"what was paused is still paused: {PAUSED.exists()}, {HOOK_OPEN.exists()}: {read_json(HOOK_OPEN)}"
        waited = True
        time.sleep(0.3)
    if waited and (look(0)[0] != state or story(case, state)):
        return f"going on changed something: {look(0)[1]}; {story(case, state)}"
    return ""


def result(
    case: dict[str, t.Any], line: Line | None, end: str, seen: str, seconds: float, wrong: str, engine_s: t.Any = None
) -> dict[str, t.Any]:
    """What the harness is told."""
    steps = line.steps if line is not None else []
    executed = [entry for entry in entries() if entry["action"] in ("rollback_executed", "stepped_back")]
    return {
        "reached": True, "end": end, "seen": seen, "seconds": round(seconds, 2), "wrong": wrong, "engine_s": engine_s,
        "trigger": str(executed[0].get("trigger")) if executed else "",
        "reason": str(executed[0].get("reason")) if executed else "",
        "steps": steps[-12:],
    }  # fmt: skip


def story(case: dict[str, t.Any], state: str) -> str:
    """What is wrong with the ledger; "" when nothing is."""
    told = entries()
    executed = [entry for entry in told if entry["action"] == "rollback_executed"]
    record = read_json(RECORD)
    canary = record["id"] if isinstance(record, dict) else ""
    keys = [
        (entry["action"], entry.get("canary_id"), (entry.get("proof") or {}).get("invocation_id"))
        for entry in told
        if entry["action"] != "hook_run"  # a hook may run twice
    ]
    if len(set(keys)) != len(keys):
        return f"an entry stands twice in the ledger: {[key[:2] for key in keys]}"
    if state == "promoted":
        named = [entry["action"] for entry in told if entry["action"] in ("promoted", "rollback_executed")]
        return "" if named == ["promoted"] else f"the ledger does not tell of a promotion: {named}"
    if state == "committed":
        activated = [entry for entry in told if entry["action"] == "canary_activated"]
        if executed or len(activated) != 1 or not stepped_to(case, told, canary):
            return f"the ledger does not tell of a running canary: {[entry['action'] for entry in told]}"
        return ""
    wanted = 1 if canary or case.get("lost_record") else 0
    if len(executed) != wanted or any(entry.get("canary_id") != canary for entry in executed):
        return f"{len(executed)} rollbacks in the ledger, {wanted} of {canary or 'a lost record'} wanted"
    if case.get("trigger_is") and executed and executed[0].get("trigger") not in case["trigger_is"]:
        return f"the trigger is {executed[0].get('trigger')}, not {' or '.join(case['trigger_is'])}"
    return ""


def stepped_to(case: dict[str, t.Any], told: t.Sequence[dict[str, t.Any]], canary: str) -> bool:
    """Whether a canary that was raised, violated and is committed now has stepped back once, to the run that runs."""
    if case["way"] != "raised":
        return True
    raised, stepped = (
        [entry for entry in told if entry["action"] == action] for action in ("canary_promoted_step", "stepped_back")
    )
    return (
        len(raised) == len(stepped) == 1
        and stepped[0]["to_canary_id"] == canary
        and stepped[0]["canary_id"] == raised[0]["canary_id"]
    )


def again(state: str) -> str:
    """What is wrong with the chain of the ledger, or with a second rollback: it must change nothing."""
    done = qsc("log", "--verify")
    if done.returncode != 0:
        return f"the ledger's chain: {done.stdout}{done.stderr}"
    if state != "baseline":
        return ""
    before = (show(UNIT, "InvocationID"), entries(), read_json(RECORD))
    done = qsc("rollback")
    if done.returncode != 0 or before != (show(UNIT, "InvocationID"), entries(), read_json(RECORD)):
        return f"a second rollback changed something: {done.stdout}{done.stderr}"
    return ""


def qsc(*words: str) -> subprocess.CompletedProcess[str]:
    """The command as it is installed."""
    return subprocess.run(
        ["/usr/local/bin/qsc", *words], capture_output=True, text=True, timeout=60, check=False
    )  # fmt: skip


def gate() -> dict[str, t.Any]:
    """What a gate that passed just now says."""
    return {
        "passed": True, "exit_code": 0, "mode": "canary", "events": 500, "judged_at": time.time(),
        "models": {"xgb": {}, "lgbm": {}, "nhits": {}, "patchtst": {}},
        "cadence": {"rate_per_s": 60.0, "stale_after_s": 120.0}, "cutover": {"time": "2026-01-10T05:43:15.000Z"},
    }  # fmt: skip


def driver(case: dict[str, t.Any]) -> t.Any:
    """The host as an operator's module sees it, with the settings of the case."""
    from qsc.guard.host import Host
    from qsc.settings import Paths, Settings

    paths = Paths()
    settings = dataclasses.replace(Settings.load(paths.config), **case.get("settings", {}))
    return Host(settings=settings, paths=paths, actor="driver")


def step_gate() -> dict[str, t.Any]:
    """What a gate says of the telemetry since the step that runs."""
    return {**gate(), "cutover": {"id": read_json(RECORD)["since"]["id"], "time": "2026-01-10T05:43:15.000Z"}}


def activate(case: dict[str, t.Any]) -> int:
    """The role's steps of an activation, by the functions that its modules call; its rescue too."""
    from qsc.guard import activation, hooks

    host = driver(case)
    request = activation.Request(MODEL, TENTH, baseline_path=str(OWN_WEIGHTS), gate=gate())
    about = hooks.About("activate", "", MODEL, TENTH)
    return between_hooks(host, about, lambda: activation.arm(host, request)[1], "dropin.conf")


def raise_step(case: dict[str, t.Any]) -> int:
    """The same of the next step of a canary that is safe."""
    from qsc.guard import hooks, promotion

    host = driver({"settings": {**case.get("settings", {}), **case.get("raised", {})}})
    request = promotion.Request(gate=step_gate())
    about = hooks.About("raise", "", MODEL, QUARTER)
    return between_hooks(host, about, lambda: promotion.raise_step(host, request)[1], "dropin-raised.conf")


def between_hooks(host: t.Any, about: t.Any, arm: t.Callable[[], t.Any], dropin: str) -> int:
    """An operator's step between its hooks, as the role takes it. Returns 2 when the step failed, 3 or 4 for a hook."""
    from qsc.errors import QscError
    from qsc.guard import hooks

    try:
        hooks.before_restart(host, about)
    except (OSError, QscError) as error:
        print(f"before: {error}", flush=True)
        return 3
    try:
        code = under_lease(host, arm(), dropin)
    except (OSError, QscError) as error:
        print(f"arm: {error}", flush=True)
        code = 2
    try:
        ran = hooks.after_restart(host)
        problem = hooks.failed(ran, host) if ran is not None else ""
    except (OSError, QscError) as error:
        problem = str(error)
    if problem:
        print(f"after: {problem}", flush=True)
    return 4 if problem else code


def under_lease(host: t.Any, record: t.Any, dropin: str) -> int:
    """Drop-in, restart, marker and proof of a run that is armed; the way back when one of them fails."""
    from qsc.errors import QscError
    from qsc.files import write_atomic
    from qsc.guard import activation, rollback, systemd
    from qsc.judge.connection import Connection
    from qsc.judge.stream import StreamReader

    settings = host.settings
    try:
        launch.listen("fire.dropin")
        write_atomic(DROPIN, Path(f"/opt/qsc-fault/{dropin}").read_bytes())
        launch.listen("fire.restart")
        systemd.daemon_reload()
        systemd.restart(UNIT)
        launch.listen("fire.marker")
        with StreamReader(Connection.from_dict(settings.connection, password=""), settings.stream, {}) as reader:
            info = reader.info()
        marker = {"id": str(info.last_generated_id), "entries_added": info.entries_added}
        activation.activate(
            host, canary_id=record.id, owner=record.owner, generation=record.generation, since=marker
        )  # fmt: skip
        return 0
    except (OSError, QscError) as error:
        print(f"activation: {error}", flush=True)
        try:
            rollback.roll_back(host, rollback.Finding("activation_failed", str(error)), canary_id=record.id)
        except (OSError, QscError) as failed:
            print(f"the way back: {failed}", flush=True)
        return 2


def promote(case: dict[str, t.Any]) -> int:
    """The last step of a promotion, by the function that the module calls."""
    from qsc.errors import QscError
    from qsc.guard import promotion

    try:
        promotion.promote(driver(case), promotion.Request(gate=step_gate()))
    except (OSError, QscError) as error:
        print(f"promotion: {error}", flush=True)
        return 2
    return 0


def install(case: dict[str, t.Any]) -> int:
    """Install what the case changes, the way the module does."""
    from qsc.guard import install as installation
    from qsc.guard import units
    from qsc.settings import Paths, Settings

    paths = Paths()
    settings = dataclasses.replace(Settings.load(paths.config), **case.get("new_settings", {}))
    installation.install(settings, case.get("password"), paths)
    texts = {path.name: path.read_text() for path in paths.units.glob("qsc-[mrw]*.*") if path.is_file()}
    if case.get("new_unit"):
        texts["qsc-rollback.service"] += "# of another version\n"
    units.install(texts, paths)
    return 0


def main() -> int:
    """One of the six."""
    what, case = sys.argv[1], json.loads(sys.argv[2])
    launch.load(case.get("code", launch.CODE) if what == "install" else launch.CODE)
    own = {"activate": activate, "raise": raise_step, "install": install, "promote": promote}
    if what in own:
        return own[what](case)
    with open("/run/qsc-fault.lock", "w") as lock:  # one case at a time
        fcntl.flock(lock, fcntl.LOCK_EX)
        if what == "after":
            found = ended(case, None)
        else:
            reset()
            found = go(case)
        print(json.dumps(found), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
