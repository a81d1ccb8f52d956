# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Brings a host to a step, lets the fault happen there, and tells where it ended. on_host/case.py does the work."""

from __future__ import annotations

import json
import subprocess
import time
import typing as t

import jinja2
from qsc_hosts.errors import HostsError
from qsc_hosts.setup import environment as podman_environment

from helpers.plays import ROOT, UNIT, Host, play, quick_engine

from .matrix import COMMITTED, Case

FOLDER = "/opt/qsc-fault"
SETTINGS: dict[str, t.Any] = {
    "qsc_canary_interval_seconds": 3,
    "qsc_canary_stability_seconds": 0.5,
    "qsc_canary_arming_timeout_seconds": 10,
    "qsc_canary_redis_timeout": 0.3,
    "qsc_canary_breaker_rollbacks": 0,
    "qsc_canary_on_reboot": "resume",  # the units have the rights for it; whether a run goes on is each case's
    "qsc_canary_rollback_to": "previous_step",  # the same
    "qsc_canary_pre_restart": f"/usr/bin/touch {FOLDER}/paused",
    "qsc_canary_post_restart": f"/usr/bin/rm -f {FOLDER}/paused",
    "qsc_canary_hook_timeout_seconds": 5,
}
"""Short times, set by variables alone; everything else is the default of the tests."""
UNITS = ("monitor", "watchdog", "rollback", "resume")


def prepare(host: Host) -> None:
    """Install the agent by the playbook, then let its units start through the launcher."""
    done = play("install", host, **SETTINGS)
    assert done.rc == 0, done.output
    host.copy_to(str(ROOT / "tests/resilience/on_host"), FOLDER)
    host.write(f"{FOLDER}/dropin.conf", dropin())
    host.write(f"{FOLDER}/dropin-raised.conf", dropin(0.25))
    # the code of another day: the same, but for a comment
    host.run(
        f"cp -rL /usr/local/lib/qsc_canary/current {FOLDER}/next; "
        f"echo '# of another day' >> {FOLDER}/next/qsc/errors.py; rm -rf $(find {FOLDER}/next -name __pycache__)"
    )
    host.run(
        f"mkdir {FOLDER}/saved; cp -a /etc/qsc_canary/* /etc/quantum/model_weights.json {FOLDER}/saved/; "
        f"cp -a /etc/systemd/system/qsc-rollback.service {FOLDER}/saved/; "
        f"readlink /usr/local/lib/qsc_canary/current > {FOLDER}/saved/digest"
    )
    for unit in UNITS:
        folder = f"/etc/systemd/system/qsc-{unit}.service.d"
        host.run(f"mkdir -p {folder}")
        host.write(
            f"{folder}/launcher.conf",
            "[Service]\nRestrictAddressFamilies=AF_UNIX\n"  # the line to who listens for the steps
            f"ExecStart=\nExecStart=/usr/bin/python3 -I {FOLDER}/launch.py unit {unit}\n",
        )
    host.run("systemctl daemon-reload")
    quick_engine(host)
    host.engine("set", "rate=20")
    host.run(f"cp -a /etc/quantum/control.json {FOLDER}/saved/")


def dropin(weight: float = 0.1) -> str:
    """The role's drop-in for the canary of the cases, at that share."""
    folder = ROOT / "roles/qsc_canary/templates"
    template = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), autoescape=False, trim_blocks=True
    ).from_string((folder / "qsc_canary.conf.j2").read_text())
    return template.render(
        qsc_canary_engine_unit=UNIT,
        _qsc_canary_armed={"plan": {"model": "patchtst", "weight": weight, "weights": {"patchtst": weight}}},
    )


def run(host: Host, case: Case) -> dict[str, t.Any]:
    """One case on one host; returns what the host said, with the seconds of the whole case."""
    order = {
        "step": case.step, "kind": case.kind, "fault": case.command, "end": case.end, "within_s": case.within_s,
        "undo": case.undo, "undo_when": case.undo_when,
        **case.extra,
    }  # fmt: skip
    order["settings"] = {
        "arming_timeout_s": _deadline_s(case),
        "duration_s": 600.0,
        "on_reboot": "rollback",
        **dict(order.get("settings") or {}),
    }
    begin = time.monotonic()
    if case.kind == "hold":
        found = _cut_off(host, case, order)
    elif case.kind == "boot_kill":
        found = _killed_at_boot(host, case, order)
    else:
        found = _said(host, "run", order)
    return {**found, "whole_s": round(time.monotonic() - begin, 1)}


def _deadline_s(case: Case) -> float:
    """A case that waits for the deadline has a short one; every other has the time that a busy machine takes."""
    phases = {"arm": 5.0, "fire": 8.0, "prove": 15.0, "commit": 15.0}
    short = phases.get(case.step.partition(".")[0], 60.0) if case.extra["way"] == "activate" else 60.0
    if case.kind in ("kill", "freeze"):
        return short
    return 60.0 if case.end == COMMITTED else max(15.0, short)


def _said(host: Host, what: str, order: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    done = host.run(
        f'python3 -I {FOLDER}/case.py {what} "$(cat)"', check=False, timeout=240, stdin=json.dumps(dict(order))
    )
    lines = done.stdout.strip().splitlines()
    try:
        found: dict[str, t.Any] = json.loads(lines[-1])
    except (IndexError, ValueError):
        return {"reached": False, "end": "not reached", "seconds": 0.0, "why": f"{done.stdout}{done.stderr}"[-2000:]}
    return found


def _cut_off(host: Host, case: Case, order: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The process waits at the step while the host goes down with it."""
    command = ["podman", "exec", host.container, "python3", "-I", f"{FOLDER}/case.py", "run", json.dumps(dict(order))]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=podman_environment(),
    ) as running:  # fmt: skip
        assert running.stdout is not None
        said = ""
        for line in running.stdout:
            said += line
            if line.startswith("HELD"):
                break
        if "HELD" not in said:
            running.kill()
            return {"reached": False, "end": "not reached", "seconds": 0.0, "why": said[-2000:]}
        begin = time.monotonic()
        _boot_again(host, str(case.extra["how"]))
        booted_s = time.monotonic() - begin
        running.kill()
    found = _said(host, "after", order)
    found["seconds"] = round(booted_s + float(found["seconds"]), 2)
    return found


def _boot_again(host: Host, how: str) -> None:
    """Cut the host off; a guard that failed at the boot, as it may by design, is no reason to stop the case."""
    try:
        getattr(host, how)()
    except HostsError as error:
        if "booted with failed units: qsc-" not in str(error):
            raise


def _killed_at_boot(host: Host, case: Case, order: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """A canary runs, the power is cut, and the boot decision is killed at its step."""
    before = _said(host, "run", {**order, "way": "active", "step": "", "kind": "none", "end": "committed"})
    if before["end"] != "committed":
        return before
    host.write(f"{FOLDER}/boot.json", json.dumps({"step": case.step}))
    begin = time.monotonic()
    _boot_again(host, "power_cut")
    booted_s = time.monotonic() - begin
    died = host.run(f"test -e /run/qsc_canary/died-at-{case.step}", check=False).returncode == 0
    found = _said(host, "after", order)
    host.run(f"rm -f {FOLDER}/boot.json")
    if not died:
        return {**found, "reached": False, "why": f"nobody came to {case.step} at the boot"}
    found["seconds"] = round(booted_s + float(found["seconds"]), 2)
    return found
