# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The matrix as data: every step of the table times every fault is a Case, or a reason why there is none.

``STEPS`` is the code's own table. A step says here how a host is brought to it (``WAYS``) and what it touches
(``TOUCHES``); a fault says which steps it concerns. A step that is missing here fails the unit tests.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field, replace

from ansible_collections.qsc.canary.plugins.module_utils.qsc.steps import BOOT, MODULE, MONITOR, PLAY, STEPS, Step

BASELINE, COMMITTED, PROMOTED, EITHER = "baseline", "committed", "promoted", "either"
STATE, LOG, ETC = "/var/lib/qsc_canary", "/var/log/qsc_canary", "/etc/systemd/system"
UNIT = "quantum-ai_engine.service"
DROPIN = f"{ETC}/{UNIT}.d/qsc_canary.conf"


@dataclass(frozen=True)
class Way:
    """How a host comes to a step, and where it must end when the process is killed there.

    way: activate (the step is one of an activation) | active (a canary runs) | raised (it runs at its second step)
    | baseline | boot (a canary ran before it)
    ready: what must be true on the host before the fault may happen; trigger: what leads to the step;
    process: which process is started for it. Settings and extras go to the driver as they are.
    """

    way: str
    killed: str
    ready: str = ""
    trigger: str = ""
    process: str = ""
    extra: t.Mapping[str, t.Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """One cell: what is done at the step, the state the host must end in, and the time it has for it (s)."""

    step: str
    fault: str
    kind: str
    end: str
    within_s: float
    command: str = ""
    undo: str = ""
    undo_when: str = ""
    extra: t.Mapping[str, t.Any] = field(default_factory=dict)
    fast: bool = False

    @property
    def name(self) -> str:
        """Its name in reports."""
        return f"{self.step or 'at rest'} x {self.fault}"


Cell = t.Union[Case, str]
"""A case, or the reason why there is none."""

_DROPIN_EDITED = f"echo '# by hand' >> {DROPIN}"
_SAFE: t.Mapping[str, t.Any] = {
    # checks are made every 3 s and wanted every 6 s: on a busy machine some come late
    "settings": {"duration_s": 12.0, "interval_s": 6.0, "min_events": 100, "required_checks": 0.5},
    "reach_s": 60,
}
_ROLLBACK = "systemctl start --no-block qsc-rollback.service"
_RESUME = {"settings": {"on_reboot": "resume"}}
_DRIFT = "echo >> /etc/quantum/model_weights.json"
_NEXT = {"code": "/opt/qsc-fault/next"}

_PROMOTE = {"settings": {**_SAFE["settings"], "steps": [0.1]}, "reach_s": 60}
_RAISE = {"settings": {**_SAFE["settings"], "steps": [0.1, 0.25]}, "reach_s": 60}
_CONCLUDED = f"""grep -q '"outcome": "safe"' {STATE}/record.json"""


def _promote() -> Way:
    """A run that is safe at its last step; whatever cuts its promotion off ends at the baseline of before."""
    return Way("active", BASELINE, ready=_CONCLUDED, process="promote", extra=_PROMOTE)


_VIOLATION = "qsc-test-engine --engine quantum mode dead_zone rate=60"
_HEAL = "qsc-test-engine --engine quantum mode healthy rate=300"


def _stepback(killed: str) -> Way:
    """A violation at the second step, whose share was to blame: the engine is healthy again as soon as it is left.

    Many decisions a second then make good for the few bad ones after the last check, which count against the new run.
    """
    extra = {**_RAISE, "raised": {"duration_s": 600.0}, "meanwhile": {"back.latch": _HEAL}}
    return Way("raised", killed, ready=_CONCLUDED, trigger=_VIOLATION, extra=extra)


def _back() -> Way:
    return Way("active", BASELINE, trigger=_ROLLBACK)


def _upgrade(**extra: t.Any) -> Way:
    return Way("active", COMMITTED, process="install", extra={**_NEXT, **extra})


WAYS: t.Mapping[str, Way] = {
    **{step.name: Way("activate", BASELINE) for step in STEPS if step.by in (MODULE, PLAY)},
    **{step.name: Way("active", BASELINE) for step in STEPS if step.by == MONITOR},
    "hook.after": Way("activate", COMMITTED),
    "arm.previous": Way("active", COMMITTED, ready=_CONCLUDED, process="raise", extra=_RAISE),
    "watch.look": Way("active", COMMITTED),
    "watch.latch": Way("active", BASELINE, trigger=_DROPIN_EDITED),
    "watch.start": Way("active", BASELINE, trigger=_DROPIN_EDITED),
    "reprove.ledger": Way("active", COMMITTED, trigger=f"systemctl restart {UNIT}"),
    "reprove.record": Way("active", COMMITTED, trigger=f"systemctl restart {UNIT}"),
    "conclude.ledger": Way("active", COMMITTED, extra=_SAFE),
    "conclude.record": Way("active", COMMITTED, extra=_SAFE),
    "back.latch": _back(),
    "back.environment": _back(),
    "back.dropin": _back(),
    "back.timer": _back(),
    "back.weights_file": _back(),
    "back.reload": _back(),
    "back.pre_hook": _back(),
    "back.restart": _back(),
    "back.prove": _back(),
    "back.post_hook": _back(),
    "back.ledger": _back(),
    "back.record": _back(),
    "stepback.latch": _stepback(COMMITTED),  # not begun: the next try is the first
    **{f"stepback.{what}": _stepback(BASELINE) for what in ("files", "restart", "prove", "ledger", "record")},
    "boot.record": Way("boot", BASELINE),
    "boot.resume": Way("boot", BASELINE, extra=_RESUME),
    "boot.environment": Way("boot", BASELINE, extra=_RESUME),
    "drift.ledger": Way("active", COMMITTED, trigger=_DRIFT),
    "drift.record": Way("active", COMMITTED, trigger=_DRIFT),
    "promote.record": replace(_promote(), killed=COMMITTED),
    **{f"promote.{what}": _promote() for what in ("file", "disarm", "restart", "prove", "timer", "ledger", "commit")},
    "upgrade.credential": _upgrade(password="of-another-day"),
    "upgrade.code": _upgrade(),
    "upgrade.switch": _upgrade(),
    "upgrade.settings": Way("baseline", BASELINE, process="install", extra={"new_settings": {"hold_s": 86399.0}}),
    "upgrade.units": _upgrade(new_unit=True),
    "upgrade.reload": _upgrade(new_unit=True),
    "upgrade.guards": Way(
        "active", COMMITTED, process="install", trigger="systemctl disable -q qsc-watchdog.timer", extra=_NEXT
    ),
}
"""How a host is brought to each step. A step of an activation that is killed ends at baseline."""

TOUCHES: t.Mapping[str, frozenset[str]] = {
    name: frozenset(words.split())
    for name, words in {
        "arm.previous": "state",
        "arm.record": "state",
        "arm.snapshot": "state",
        "arm.weights": "state",
        "arm.monitor": "systemd",
        "arm.environment": "",
        "fire.dropin": "etc",
        "fire.restart": "systemd engine",
        "fire.marker": "redis",
        "hook.before": "state systemd",
        "hook.after": "state systemd",
        "prove.effect": "engine systemd",
        "commit.ledger": "log",
        "commit.record": "state",
        "check.read": "redis",
        "check.state": "state",
        "check.verdict": "state",
        "check.scoreboard": "state",
        "watch.look": "systemd",
        "watch.latch": "state",
        "watch.start": "systemd",
        "reprove.ledger": "log",
        "reprove.record": "state",
        "conclude.ledger": "log",
        "conclude.record": "state",
        "back.latch": "state",
        "back.environment": "",
        "back.dropin": "etc",
        "back.timer": "systemd",
        "back.weights_file": "",
        "back.reload": "systemd",
        "back.pre_hook": "state systemd",
        "back.restart": "systemd engine",
        "back.prove": "engine systemd",
        "back.post_hook": "state systemd",
        "back.ledger": "log",
        "back.record": "state",
        "stepback.latch": "state",
        "stepback.files": "state etc",
        "stepback.restart": "systemd engine",
        "stepback.prove": "engine systemd",
        "stepback.ledger": "log",
        "stepback.record": "state",
        "boot.record": "state",
        "boot.resume": "state",
        "boot.environment": "",
        "drift.ledger": "log",
        "drift.record": "state",
        "promote.record": "state",
        "promote.file": "",
        "promote.disarm": "etc",
        "promote.restart": "systemd engine",
        "promote.prove": "engine systemd",
        "promote.timer": "systemd",
        "promote.ledger": "log",
        "promote.commit": "state",
        "upgrade.credential": "",
        "upgrade.code": "",
        "upgrade.switch": "",
        "upgrade.settings": "",
        "upgrade.units": "etc",
        "upgrade.reload": "systemd",
        "upgrade.guards": "systemd",
    }.items()
}
"""What each step works with: state and log (its folders below /var), etc, systemd, the engine, redis."""

_FREEZES = (
    "fire.dropin", "fire.restart", "fire.marker", "prove.effect", "arm.record", "arm.environment", "commit.ledger",
    "commit.record", "check.read", "watch.look", "watch.start", "back.latch", "back.restart", "back.record",
    "upgrade.switch", "promote.file", "promote.restart",
)  # fmt: skip
"""Steps at which the process is frozen: each step without the lock, first and last step under it, one of each unit."""


def _process_faults(step: Step, fault: str) -> Cell:
    """kill, freeze, power_cut, reboot: what befalls the process that takes the step."""
    way = WAYS[step.name]
    boot = way.way == "boot"
    if fault == "kill":
        return _case(step, fault, "boot_kill" if boot else "kill", way.killed, 60)
    if boot:
        return "the boot is the fault: a second one decides again, from the same record"
    if fault in ("power_cut", "reboot"):
        if fault == "reboot" and step.name not in ("fire.restart", "watch.look", "back.restart", "upgrade.switch"):
            return "an orderly reboot loses no more than a power cut: that one stands at this step"
        return _case(step, fault, "hold", BASELINE, 60, extra={"how": fault})
    if step.name not in _FREEZES:
        return "the process holds the same lock, or none, as at another of its steps, which is frozen"
    frozen_s = {"arm": 8.0, "fire": 11.0, "prove": 18.0, "commit": 18.0}.get(step.phase, 4.0)
    end = {"activate": EITHER, "back.latch": BASELINE}.get(way.way, way.killed)
    if step.name == "check.read" or step.phase == "promote":
        end = EITHER  # what took long is done, unless the watchdog was first
    return _case(step, fault, "freeze", end, 60, extra={"frozen_s": frozen_s})


def _case(
    step: Step | None, fault: str, kind: str, end: str, within_s: float, *, command: str = "", undo: str = "",
    undo_when: str = "", extra: t.Mapping[str, t.Any] | None = None,
) -> Case:  # fmt: skip
    way = WAYS[step.name] if step else Way("active", end)
    order = {"way": way.way, "ready": way.ready, "trigger": way.trigger, "process": way.process, **way.extra}
    name = step.name if step else ""
    order.update(extra or {})
    return Case(
        name, fault, kind, end, within_s, command, undo, undo_when, order, fast=f"{name} x {fault}" in FAST
    )  # fmt: skip


def _full(folder: str) -> tuple[str, str]:
    """A folder without a byte left, and the room given back."""
    fill = (
        f"cp -a {folder} /run/qsc-fault/kept && mount -t tmpfs -o size=64k,mode=755 none {folder} && "
        f"cp -a /run/qsc-fault/kept/. {folder}/ && rm -rf /run/qsc-fault/kept && "
        f"dd if=/dev/zero of={folder}/filler bs=1k count=64 status=none; "
        f"dd if=/dev/zero of={folder}/filler2 bs=1 count=4096 status=none; true"
    )
    return fill, f"rm -f {folder}/filler {folder}/filler2"


def _readonly(folder: str) -> tuple[str, str]:
    other = "/run/qsc-fault/ro"
    bind = (
        f"mkdir -p {other} && mount --bind {folder} {other} && mount --make-private {other} && "
        f"mount -o remount,ro,bind {other} && mount --bind {other} {folder} && umount {other}"
    )
    return bind, f"umount -l {folder}"


_RESOURCES: t.Mapping[str, tuple[str, tuple[str, str], str]] = {
    "disk_full_state": ("state", _full(STATE), "does not write below " + STATE),
    "disk_full_log": ("log", _full(LOG), "does not write below " + LOG),
    "var_readonly": ("state log", _readonly("/var"), "does not write below /var"),
    "etc_readonly": ("etc", _readonly("/etc"), "does not write below /etc"),
    "reexec": ("systemd", ("systemctl daemon-reexec", ""), "does not ask systemd for anything"),
}
"""Fault -> (what a step must touch to be concerned, (what is done, what undoes it), why not otherwise)."""


def _resource_fault(step: Step, fault: str) -> Cell:
    wanted, (command, undo), why = _RESOURCES[fault]
    if not TOUCHES[step.name] & set(wanted.split()):
        return f"the step {why}"
    if step.by == BOOT:
        return "nothing can be done to a host before its boot decision; without one it is the killed case"
    end = COMMITTED if fault == "reexec" and step.by != MONITOR and WAYS[step.name].way == "activate" else EITHER
    if fault == "reexec" and WAYS[step.name].way == "active":
        end = PROMOTED if step.phase == "promote" else WAYS[step.name].killed
    if fault == "reexec" and WAYS[step.name].way == "raised":
        end = COMMITTED
    return _case(step, fault, "shell", end, 60, command=command, undo=undo, undo_when="4" if undo else "")


FILES: t.Mapping[str, tuple[str, str]] = {
    "record": (f"{STATE}/record.json", "watch.look"),
    "monitor_state": (f"{STATE}/monitor/state.json", "check.read"),
    "verdict": (f"{STATE}/monitor/verdict.json", "watch.look"),
    "config": ("/etc/qsc_canary/config.json", "watch.look"),
    "watchdog_memory": ("/run/qsc_canary/watchdog.json", "watch.look"),
    "environment_file": ("/run/qsc_canary/engine.env", "watch.look"),
    "weights_file": (f"{STATE}/weights.json", "watch.look"),
}
"""Every file the guards read: where it stands, and the step at which it is damaged."""

DAMAGES: t.Mapping[str, str] = {
    "truncated": 'truncate -s "$(( $(stat -c %s {path}) / 2 ))" {path}',
    "empty": ": > {path}",
    "garbage": "head -c 300 /dev/urandom > {path}",
    "older": """sed -i 's/"schema": 1/"schema": 0/; $ a {older}' {path}""",
    "newer": """sed -i 's/"schema": 1/"schema": 9/; $ a {newer}' {path}""",
}
_NO_SCHEMA = ("config", "watchdog_memory", "environment_file", "weights_file")


def _file_fault(step: Step, fault: str) -> Cell:
    name, _dot, damage = fault.partition(".")
    path, where = FILES[name]
    if name in _NO_SCHEMA and damage in ("older", "newer"):
        return f"{path} carries no schema: settings are taken by name, the others are compared as a whole"
    if step.name != where:
        return f"{path} is damaged at {where}: it is read whole at every look, wherever the damage came from"
    command = DAMAGES[damage].replace("{path}", path).replace("; $ a {older}", "").replace("; $ a {newer}", "")
    undo, extra = "", {}
    end = BASELINE
    if name == "config":
        command, undo = (
            f"cp -a {path} /run/qsc-fault/config.json; {command}",
            f"cp -a /run/qsc-fault/config.json {path}",
        )
    if name == "watchdog_memory":
        end = COMMITTED  # written anew at every look
    if name in ("monitor_state", "verdict"):
        end = EITHER  # a check that was under way may replace the file before anybody reads it
    if name == "record":
        extra["lost_record"] = True
    return _case(step, fault, "shell", end, 60, command=command, undo=undo, undo_when="4" if undo else "", extra=extra)


_MEMORY = "/run/systemd/system/qsc-monitor.service.d"
_CONTROL = "/run/systemd/system.control"
_RESTART = f"/run/systemd/system/{UNIT}.d"


def _monitor_dropin(text: str) -> tuple[str, str]:
    return (
        f"mkdir -p {_MEMORY}; printf '{text}' > {_MEMORY}/zz-fault.conf; systemctl daemon-reload",
        f"rm -rf {_MEMORY}; systemctl daemon-reload; systemctl reset-failed qsc-monitor.service",
    )


def _restart_policy(policy: str) -> str:
    return (
        f"mkdir -p {_RESTART}; printf '[Service]\\nRestart={policy}\\nRestartSec=100ms\\n' > {_RESTART}/policy.conf; "
        "systemctl daemon-reload"
    )


_POLICY_UNDO = f"rm -rf {_RESTART}; systemctl daemon-reload"
_ENGINE_UNDO = f"qsc-test-engine --engine quantum faults; {_POLICY_UNDO}"


@dataclass(frozen=True)
class Single:
    """A fault of one place: at which step it happens ("" = while a canary runs), what is done, what must come of it."""

    step: str
    command: str
    end: str
    undo: str = ""
    undo_when: str = ""
    within_s: float = 60
    extra: t.Mapping[str, t.Any] = field(default_factory=dict)


_STOP, _CONT = "systemctl kill -s STOP redis-server.service", "systemctl kill -s CONT redis-server.service"
_AUTH = "redis-cli CONFIG SET requirepass other >/dev/null"
_NO_AUTH = (
    "redis-cli -a other --no-auth-warning CONFIG SET requirepass '' >/dev/null; systemctl restart quantum-ai_engine"
)
_SLOW = "redis-cli CLIENT PAUSE 120000 ALL >/dev/null"
_RESTARTED_EMPTY = (
    "systemctl stop redis-server; rm -f /var/lib/redis/*.rdb /var/lib/redis/*.aof; systemctl start redis-server"
)
_FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
_MASK = f"mkdir -p {_CONTROL}; ln -s /dev/null {_CONTROL}/{UNIT}; systemctl daemon-reload"
_UNMASK = f"rm -f {_CONTROL}/{UNIT}; systemctl daemon-reload"
_IGNORE = f"qsc-test-engine --engine quantum faults ignore_sigterm=true; systemctl restart {UNIT}"
_DEAF = {"before": _IGNORE}
_DEAF_LATER = {"trigger": f"{_IGNORE}; {_ROLLBACK}"}
_DEAF_UNDO = f"{_ENGINE_UNDO}; systemctl restart {UNIT}"
_JOURNAL = (
    "systemctl stop systemd-journald.socket systemd-journald-dev-log.socket systemd-journald-audit.socket "
    "systemd-journald.service"
)
_NO_JOURNAL = "systemctl start systemd-journald.socket systemd-journald-dev-log.socket systemd-journald.service"
_NO_CLOCK = "rm -rf /run/systemd/system/qsc-*.service.d; systemctl daemon-reload; systemctl reset-failed 'qsc-*'"


def _clock(jump: str) -> str:
    """The wall clock of all our units, and of nobody else, jumps; boot time goes on as it is."""
    text = f"[Service]\\nEnvironment=LD_PRELOAD={_FAKETIME} FAKETIME={jump} FAKETIME_DONT_FAKE_MONOTONIC=1\\n"
    folder = "/run/systemd/system/qsc-$unit.service.d"
    write = f"mkdir -p {folder}; printf '{text}' > {folder}/fault.conf"
    return f"for unit in monitor watchdog rollback; do {write}; done; systemctl daemon-reload"


SINGLES: t.Mapping[str, t.Sequence[Single]] = {
    "power_cut_resume": (
        # a Redis on the same host may have lost its newest entries: telemetry with a gap ends the run
        Single("watch.look", "", EITHER, extra={**_RESUME, "how": "power_cut", "kind": "hold"}),
        Single("check.verdict", "", EITHER, extra={**_RESUME, "how": "power_cut", "kind": "hold"}),
        Single("commit.record", "", BASELINE, extra={**_RESUME, "how": "power_cut", "kind": "hold"}),
        Single("back.latch", "", EITHER, extra={**_RESUME, "how": "power_cut", "kind": "hold"}),
        Single("back.record", "", BASELINE, extra={**_RESUME, "how": "power_cut", "kind": "hold"}),
    ),
    "reboot_resume": (Single("watch.look", "", COMMITTED, extra={**_RESUME, "how": "reboot", "kind": "hold"}),),
    "redis_stopped": (
        Single("check.read", "systemctl stop redis-server", BASELINE, "systemctl start redis-server"),
        Single("fire.marker", "systemctl stop redis-server", BASELINE, "systemctl start redis-server"),
    ),
    "redis_hanging": (
        Single("check.read", _STOP, BASELINE, _CONT),
        Single("fire.marker", _STOP, BASELINE, _CONT),
    ),
    "redis_empty": (
        Single("check.read", _RESTARTED_EMPTY, EITHER),
        Single("fire.marker", _RESTARTED_EMPTY, EITHER),
    ),
    "redis_slow": (Single("check.read", _SLOW, BASELINE, "systemctl restart redis-server"),),
    "redis_auth": (
        Single("check.read", _AUTH, BASELINE, _NO_AUTH),
        Single("fire.marker", _AUTH, BASELINE, _NO_AUTH),
    ),
    "twice": (Single("arm.record", "true", COMMITTED, extra={"plays": 2}),),
    "engine_ignores_sigterm": (
        Single("back.restart", "true", BASELINE, _DEAF_UNDO, extra=_DEAF_LATER),
        Single("fire.restart", "true", EITHER, _DEAF_UNDO, extra=_DEAF),
    ),
    "engine_dies_at_start": (
        Single(
            "fire.restart",
            "qsc-test-engine --engine quantum faults die_with_canary=true; " + _restart_policy("always"),
            BASELINE, _ENGINE_UNDO,
        ),
    ),
    "engine_dies_later": (
        Single(
            "fire.restart",
            "qsc-test-engine --engine quantum faults die_after=3 die_when=canary",
            BASELINE, _ENGINE_UNDO, extra={"trigger_is": ["engine_restarted", "engine_down", "restart_not_proven"]},
        ),
    ),
    **{
        f"engine_flaps_{policy.replace('-', '_')}": (
            Single(
                "fire.restart",
                "qsc-test-engine --engine quantum faults die_after=0.3 die_when=canary; " + _restart_policy(policy),
                BASELINE, _ENGINE_UNDO,
            ),
        )
        for policy in ("always", "on-failure", "no")
    },
    "engine_killed": (
        Single("check.read", f"systemctl kill -s KILL {UNIT}", BASELINE),
        Single("watch.look", f"systemctl kill -s KILL {UNIT}", BASELINE),
        Single("prove.effect", f"systemctl kill -s KILL {UNIT}", BASELINE),
        Single("back.prove", f"systemctl kill -s KILL {UNIT}", BASELINE),
    ),
    "engine_stopped": (
        Single("watch.look", f"systemctl stop {UNIT}", BASELINE, extra={"trigger_is": ["engine_down"]}),
        Single("prove.effect", f"systemctl stop {UNIT}", BASELINE),
    ),
    "dropin_edited": (
        Single("watch.look", _DROPIN_EDITED, BASELINE, extra={"trigger_is": ["dropin_changed"]}),
        Single("fire.marker", f"rm {DROPIN}; ln -s /dev/null {DROPIN}", EITHER),
        Single("back.reload", f"echo '[Service]' > {DROPIN}", BASELINE),
    ),
    "dropin_deleted": (
        Single("watch.look", f"rm {DROPIN}", BASELINE, extra={"trigger_is": ["dropin_removed"]}),
        Single("prove.effect", f"rm {DROPIN}", BASELINE),
        Single("back.environment", f"rm {DROPIN}", BASELINE),
    ),
    "masked": (
        Single("watch.look", _MASK, BASELINE, _UNMASK, "4", extra={"trigger_is": ["engine_masked"]}),
        Single("back.restart", _MASK, BASELINE, _UNMASK, "4"),
    ),
    "timers_stopped": (
        Single("watch.look", "systemctl stop qsc-monitor.timer", BASELINE, extra={"trigger_is": ["timer_stopped"]}),
        Single("check.read", "systemctl stop qsc-watchdog.timer", COMMITTED),
        Single("prove.effect", "systemctl stop qsc-monitor.timer", BASELINE),
        Single("check.verdict", "systemctl stop qsc-watchdog.timer qsc-monitor.timer", BASELINE),
    ),
    "timers_disabled": (
        Single("check.read", "systemctl disable -q --now qsc-watchdog.timer", COMMITTED,
               "systemctl enable -q --now qsc-watchdog.timer"),
        Single("prove.effect", "systemctl disable -q --now qsc-watchdog.timer", EITHER,
               "systemctl enable -q --now qsc-watchdog.timer"),
    ),
    "monitor_hung": (
        Single("watch.look", *_monitor_dropin("[Service]\\nExecStart=\\nExecStart=/bin/sleep 60\\n")[:1], BASELINE,
               _monitor_dropin("")[1], extra={"trigger_is": ["monitor_silent", "monitor_failed", "manual"]}),
    ),
    "monitor_memory": (
        Single("watch.look", *_monitor_dropin("[Service]\\nLimitAS=12M\\n")[:1], BASELINE, _monitor_dropin("")[1],
               extra={"trigger_is": ["monitor_failed"]}),
    ),
    "monitor_condition": (
        Single("watch.look", *_monitor_dropin("[Unit]\\nConditionPathExists=/nowhere\\n")[:1], BASELINE,
               _monitor_dropin("")[1], extra={"trigger_is": ["monitor_silent"]}),
    ),
    "journald_down": (
        Single("back.latch", _JOURNAL, BASELINE, _NO_JOURNAL),
        Single("watch.start", _JOURNAL, BASELINE, _NO_JOURNAL),
        Single("watch.look", _JOURNAL, EITHER, _NO_JOURNAL),
        Single("check.read", _JOURNAL, EITHER, _NO_JOURNAL),
    ),
    "clock_jump": (
        Single("watch.look", _clock("-3d"), EITHER, _NO_CLOCK),
        Single("check.read", _clock("+3d"), EITHER, _NO_CLOCK),
        Single("back.latch", _clock("+3d"), BASELINE, _NO_CLOCK),
    ),
}  # fmt: skip
"""Faults that concern single places, and the cases of each."""

BY_REFERENCE: t.Mapping[str, str] = {
    "controller_killed": "tests/hosts_tests/test_cut_off.py::test_a_killed_controller_ends_at_baseline",
    "controller_frozen": "tests/hosts_tests/test_cut_off.py::test_a_play_frozen_past_the_deadline_cannot_activate",
    "fsync_order": "tests/unit/hall/test_files.py::test_order_on_disk",
    "clock_injected": "tests/unit/guard/test_diagnose.py::test_grace_is_for_silence_only",
}
"""Faults whose cases stand in other files: the fault, and where."""

PROCESS_FAULTS = ("kill", "freeze", "power_cut", "reboot")
FILE_FAULTS = tuple(f"{name}.{damage}" for name in FILES for damage in DAMAGES)
FAULTS: t.Sequence[str] = (*PROCESS_FAULTS, *_RESOURCES, *FILE_FAULTS, *SINGLES, *BY_REFERENCE)

FAST = {
    "arm.environment x kill", "fire.restart x kill", "commit.record x kill", "check.read x kill", "watch.look x kill",
    "watch.start x kill", "back.environment x kill", "back.pre_hook x kill", "back.restart x kill",
    "back.record x kill", "watch.look x record.garbage", "back.latch x disk_full_state", "upgrade.switch x kill",
}  # fmt: skip
"""The cases of every run; the others belong to the full form."""


def cell(step: Step, fault: str) -> Cell:
    """What the matrix says of a step and a fault. Raises KeyError for a step the tables above do not know."""
    if step.name not in WAYS or step.name not in TOUCHES:
        raise KeyError(f"{step.name}: say in WAYS how a host comes there, and in TOUCHES what it works with")
    if fault in PROCESS_FAULTS:
        found = _process_faults(step, fault)
    elif fault in _RESOURCES:
        found = _resource_fault(step, fault)
    elif fault in FILE_FAULTS:
        found = _file_fault(step, fault)
    elif fault in SINGLES:
        found = _single(step, fault)
    else:
        found = _reference(step, fault)
    return found


def _single(step: Step, fault: str) -> Cell:
    for single in SINGLES[fault]:
        if single.step == step.name:
            kind = str(single.extra.get("kind", "shell"))
            return _case(
                step, fault, kind, single.end, single.within_s, command=single.command, undo=single.undo,
                undo_when=single.undo_when, extra=single.extra,
            )  # fmt: skip
    places = ", ".join(single.step for single in SINGLES[fault])
    return f"happens outside of the process, whatever step it takes: shown at {places}"


def _reference(step: Step, fault: str) -> str:
    if fault.startswith("controller") and step.by not in (PLAY, MODULE):
        return "no controller has a part in it"
    return f"see {BY_REFERENCE[fault]}"


def cases() -> list[Case]:
    """All real cases, by step."""
    return [entry for step in STEPS for fault in FAULTS for entry in [cell(step, fault)] if isinstance(entry, Case)]


def reasons() -> dict[str, list[str]]:
    """Why there is no case: {reason: cells}."""
    told: dict[str, list[str]] = {}
    for step in STEPS:
        for fault in FAULTS:
            entry = cell(step, fault)
            if isinstance(entry, str):
                told.setdefault(entry, []).append(f"{step.name} x {fault}")
    return told
