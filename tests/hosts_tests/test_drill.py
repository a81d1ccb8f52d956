# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A drill on a real host: passes where the way back works, names the first step where it does not, leaves nothing."""

from __future__ import annotations

import json
import typing as t

import pytest

from helpers.forms import cases
from helpers.plays import UNIT, Host, fingerprint, ledger, play, process_variables, record

LEFT = """
    ls -d /run/systemd/system/qsc-drill-*.service /run/systemd/system/qsc-drill-*.timer \\
        /etc/systemd/system/qsc-drill-* /run/qsc_canary/drill /var/lib/qsc_canary/drill /var/log/qsc_canary/drill
    systemctl list-units --all --plain --no-legend 'qsc-drill-*'
    pgrep -af '[r]un.py .*--drill'
"""
VERDICT = "/var/lib/qsc_canary/monitor/verdict.json"
AS_CANARY = "grep -q QSC_CANARY_MODEL /proc/$(systemctl show -P MainPID qsc-drill-engine.service)/environ"


def drill(host: Host) -> tuple[int, dict[str, t.Any]]:
    """Run one: exit code and result."""
    done = host.run("qsc drill --json", check=False, timeout=90)
    assert done.stdout, done.stderr
    found: dict[str, t.Any] = json.loads(done.stdout)
    return done.returncode, found


def left(host: Host) -> str:
    """What is left of a drill, "" when nothing is."""
    return host.run(f"({LEFT}) 2>/dev/null", check=False).stdout


def test_beside_a_canary_in_flight(host: Host, record_property: t.Callable[[str, object], None]) -> None:
    done = play("activate", host, model="patchtst")
    assert done.rc == 0, done.output
    before, run, lines = fingerprint(host, everything=True), record(host), ledger(host)
    done = play("drill", host)
    assert done.rc == 0, done.output
    assert done.changed == 0
    assert "drill PASSED" in done.output
    assert fingerprint(host, everything=True) == before
    assert record(host) == run
    assert run["state"] == "active"
    assert process_variables(host)["QSC_CANARY_MODEL"] == "patchtst"
    beat = json.loads(host.read(VERDICT))["checks_done"]
    host.wait("the monitor goes on", f"test $(sed -n 's/.*checks_done\": \\([0-9]*\\),/\\1/p' {VERDICT}) -gt {beat}")
    assert left(host) == ""

    [entry] = ledger(host)[len(lines) :]
    assert (entry["action"], entry["result"], entry["failed_step"]) == ("drill_completed", "passed", "")
    assert [item["way"] for item in entry["rounds"]] == ["monitor", "watchdog"]
    for item in entry["rounds"]:
        for name, seconds in item.items():
            if name != "way":
                assert 0 < seconds < 60, name
                record_property(f"drill: {item['way']} {name}", float(seconds))
    assert "passed, the baseline was proven" in host.output("qsc status")


OVERRIDE = "/etc/systemd/system/{unit}.d/by-hand.conf"
CONTROL = "/run/systemd/system.control"
EARLY = "/run/systemd/system/qsc-drill-engine.service.d"
RUN = "/run/qsc_canary/drill"
AGENT = "/usr/local/lib/qsc_canary"


def override(unit: str, text: str) -> tuple[str, str]:
    """A drop-in somebody gave a guard: (plant, undo)."""
    path = OVERRIDE.format(unit=unit)
    folder = path.rsplit("/", 1)[0]
    return f"mkdir -p {folder} && printf '{text}' > {path}; systemctl daemon-reload", f"rm -r {folder}"


# A rollback that says it is done, in an agent that is whole by its digest: nobody can tell it from its record.
LIAR = f"""
    set -e
    readlink {AGENT}/current > /run/agent-before
    cp -r {AGENT}/$(cat /run/agent-before) {AGENT}/copy
    cat >> {AGENT}/copy/qsc/guard/rollback.py <<'LIE'


def roll_back(host: Host, why: object, *, canary_id: str = "") -> Outcome:
    record = _begin(host, load(host.paths.record), why(host), [])
    return Outcome(True, True, _finish(host, record, None, [], restarted=True), None, 0.0, ())
LIE
    digest=$(cd {AGENT}/copy && python3 -c 'from qsc import agent; print(agent.digest())')
    mv {AGENT}/copy {AGENT}/$digest && ln -sfn $digest {AGENT}/current
"""

DEFECTS: dict[str, tuple[str, str, str, str]] = {
    "the drop-in has no effect": (
        f"mkdir -p {CONTROL}/qsc-drill-engine.service.d && : > {CONTROL}/qsc-drill-engine.service.d/qsc_canary.conf",
        f"rm -r {CONTROL}/qsc-drill-engine.service.d",
        "monitor.canary",
        "runs with no canary variables",
    ),
    "the engine does not come up again": (
        f"mkdir -p {EARLY}; printf '[Service]\\nExecStartPre=/usr/bin/test ! -e {RUN}/engine.env\\n' > {EARLY}/x.conf",
        f"rm -r {EARLY}",
        "monitor.canary",
        "restart qsc-drill-engine.service' failed",
    ),
    "the drop-in cannot be written": (
        "mount --bind /etc/systemd/system /etc/systemd/system && mount -o remount,ro,bind /etc/systemd/system",
        "umount /etc/systemd/system",
        "prepare",
        "Read-only file system",
    ),
    "the rollback cannot read the engine's process": (
        *override("qsc-rollback.service", "[Service]\\nCapabilityBoundingSet=\\n"),
        "monitor.baseline",
        "qsc-drill-rollback.service: activating",
    ),
    "the rollback only says that it is done": (
        LIAR,
        f"rm -r {AGENT}/$(readlink {AGENT}/current); ln -sfn $(cat /run/agent-before) {AGENT}/current",
        "monitor.baseline",
        "still the process of before the restart",
    ),
    "nothing hears the monitor": (
        "sed -i.before /^OnFailure=/d /etc/systemd/system/qsc-monitor.service",
        "mv /etc/systemd/system/qsc-monitor.service.before /etc/systemd/system/qsc-monitor.service",
        "monitor.noticed",
        "nobody took the canary back",
    ),
    "the watchdog does not look": (
        *override("qsc-watchdog.service", "[Unit]\\nConditionPathExists=/nowhere\\n"),
        "watchdog.noticed",
        "nobody took the canary back",
    ),
}


# Each shows another first failed step; the two that take longest run in the full form.
FAST = ("the rollback only says that it is done",)


@pytest.mark.parametrize("defect", cases(DEFECTS, FAST))
def test_a_defect_is_found_and_named(host: Host, defect: str) -> None:
    plant, undo, step, reason = DEFECTS[defect]
    before, lines = fingerprint(host, everything=True), ledger(host)
    try:
        host.run(plant)
        code, result = drill(host)
        assert (code, result["passed"], result["failed_step"]) == (1, False, step), result
        assert reason in result["reason"]
        assert f"first failed step: {step}" in "\n".join(result["lines"])
    finally:
        host.run(f"{undo}; systemctl daemon-reload")
    assert left(host) == ""
    assert fingerprint(host, everything=True) == before
    [entry] = ledger(host)[len(lines) :]
    assert (entry["action"], entry["result"], entry["failed_step"]) == ("drill_completed", "failed", step)


@pytest.mark.slow
def test_a_failed_drill_fails_its_host(host: Host) -> None:
    try:
        host.run(f"mkdir -p {CONTROL}; ln -s /dev/null {CONTROL}/qsc-rollback.service; systemctl daemon-reload")
        done = play("drill", host)
    finally:
        host.run(f"rm {CONTROL}/qsc-rollback.service; systemctl daemon-reload")
    assert done.rc != 0, done.output
    assert "The drill failed at guards: qsc-rollback.service is masked" in done.flat(), done.output
    assert "drill FAILED" in done.output


def begin(host: Host) -> None:
    """A drill that has got as far as a canary."""
    host.run("systemctl reset-failed a-drill.service", check=False)
    host.run(
        "systemd-run -q --unit=a-drill --no-block -p StandardOutput=truncate:/run/a-drill /usr/local/bin/qsc drill"
    )
    host.wait("the scratch engine runs the canary", AS_CANARY)


@pytest.mark.slow
def test_ended_by_a_signal(host: Host) -> None:
    before = fingerprint(host, everything=True)
    begin(host)
    second = host.run("qsc drill", check=False)
    assert (second.returncode, second.stdout) == (2, "")
    assert "another drill is at work on this host" in second.stderr
    host.run("systemctl kill -s TERM a-drill.service")
    host.wait("it ends", "! systemctl is-active -q a-drill.service")
    assert host.output("systemctl show -P ExecMainStatus a-drill.service") == "2"
    assert left(host) == ""
    assert "ended by SIGTERM; everything of it is removed" in host.read("/run/a-drill")
    assert fingerprint(host, everything=True) == before


@pytest.mark.parametrize("then", cases(["the next drill", "the timer"], ["the timer"]))
def test_killed_in_the_middle(host: Host, then: str) -> None:
    """Nothing of it acts on the engine; what it left is removed by whoever comes first."""
    before = fingerprint(host)
    begin(host)
    host.run("systemctl kill -s KILL a-drill.service")
    host.wait("it is dead", "! systemctl is-active -q a-drill.service")
    own = {"etc": "the scratch engine's drop-in is there", "run": "and its folder"}
    assert {**fingerprint(host), **own} == {**before, **own}
    assert host.output("systemctl is-active qsc-drill-end.timer") == "active"
    if then == "the timer":
        host.run("systemctl start qsc-drill-end.service")
        assert fingerprint(host) == before
    else:
        host.run(f"systemctl stop {UNIT}")  # a drill needs no engine
        code, result = drill(host)
        assert (code, result["passed"]) == (0, True), result
        assert "/run/qsc_canary/drill" in result["found"]
        assert host.run(f"systemctl is-active {UNIT}", check=False).stdout.strip() == "inactive"
        host.run(f"systemctl start {UNIT}")
    assert left(host) == ""
