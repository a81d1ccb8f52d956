# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How little the units may do: measured by systemd itself, and every right they keep is one they need."""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import dataclass

import pytest

from helpers.plays import ROOT, Host

MOST = {"monitor": 0.9, "watchdog": 1.2, "rollback": 1.5, "resume": 0.5}
"""The highest exposure level of each unit, by `systemd-analyze security`."""
UNKNOWN_TO_252 = re.compile(r"qsc-rollback\.service:\d+: Unknown key '(RestartSteps|RestartMaxDelaySec)' in section")
ENGINE_FOLDER = "/srv/probe"


@pytest.fixture(scope="module")
def analyzed(installed_host: Host) -> dict[str, list[dict[str, t.Any]]]:
    """What systemd says of each unit, directive by directive."""
    script = "".join(f"systemd-analyze security --json=short qsc-{unit}.service; echo;" for unit in MOST)
    lines = [line for line in installed_host.output(script).splitlines() if line]
    return dict(zip(MOST, map(json.loads, lines)))


@pytest.mark.parametrize("unit", MOST)
def test_the_exposure_is_low(installed_host: Host, unit: str, record_property: t.Callable[[str, t.Any], None]) -> None:
    done = installed_host.run(
        f"systemd-analyze security --no-pager --threshold={MOST[unit] * 10:.0f} qsc-{unit}.service", check=False
    )
    score = done.stdout.strip().splitlines()[-1]
    record_property(f"qsc-{unit} exposure", score)
    print(score)
    assert done.returncode == 0, done.stdout


def test_the_documentation_names_all_that_is_open(analyzed: dict[str, list[dict[str, t.Any]]]) -> None:
    open_now = {
        (unit, item["name"])
        for unit, items in analyzed.items()
        for item in items
        if not item["set"] and float(item["exposure"] or 0) > 0
    }
    assert open_now == _documented()


def _documented() -> set[tuple[str, str]]:
    """(unit, directive) of the table in docs/security.md."""
    rows = re.findall(r"^\| `([A-Z][^`]*=[^`]*)` \| ([a-z, ]+) \| [^|]{20,} \|$", _security(), re.MULTILINE)
    return {(unit, name.replace("\\|", "|")) for name, units in rows for unit in units.split(", ")}


def _security() -> str:
    return (ROOT / "docs" / "security.md").read_text()


def test_the_documentation_tells_the_scores(analyzed: dict[str, list[dict[str, t.Any]]]) -> None:
    assert analyzed
    told = dict(re.findall(r"^\| `qsc-([a-z]+)` \| .* \| (\d\.\d) \|$", _security(), re.MULTILINE))
    assert {unit: float(score) for unit, score in told.items()} == MOST


def test_systemd_finds_nothing_wrong_in_the_units(installed_host: Host) -> None:
    done = installed_host.run("systemd-analyze verify /etc/systemd/system/qsc-* 2>&1")
    assert [line for line in done.stdout.splitlines() if line and not UNKNOWN_TO_252.search(line)] == []


# --- every right that is left open is needed

ENVIRON = "import sys; open(f'/proc/{sys.argv[1]}/environ', 'rb').read()"
ACKNOWLEDGEMENT = f"open('{ENGINE_FOLDER}/file').read()"
WRITE = f"import os; open('{ENGINE_FOLDER}/new', 'x').close(); os.unlink('{ENGINE_FOLDER}/new')"
GIVE = f"import os; os.chown('{ENGINE_FOLDER}/roots', 12345, 12345)"
SYSTEMD = "import subprocess; subprocess.run(['systemctl', 'daemon-reload'], check=True)"
BOOT_ID = "open('/proc/sys/kernel/random/boot_id').read()"
REDIS = "import socket; socket.create_connection(('127.0.0.1', 6379), 3).close()"
SOCKET = "import socket; socket.socket(socket.AF_UNIX).connect('/run/redis/redis.sock')"
GROUPS = f"open('{ENGINE_FOLDER}-group').read()"
BEHIND_A_SOCKET = "\n".join(
    (
        "PrivateNetwork=yes",
        "RestrictAddressFamilies=none",
        "RestrictAddressFamilies=AF_UNIX",
        "SupplementaryGroups=redis",
    )
)
DROPIN = "open('/etc/systemd/system/qsc-probe-write', 'w').close()"
RUN_CODE = "pass"


@dataclass(frozen=True)
class Need:
    """``probe`` works in the sandbox of ``unit`` and no longer once ``directive`` is added to it.

    ``settings``: what other settings of the role make of the sandbox.
    """

    unit: str
    directive: str
    probe: str
    settings: str = ""


NEEDS = (
    *(Need(unit, "CapabilityBoundingSet=~CAP_SYS_PTRACE", ENVIRON) for unit in ("watchdog", "rollback")),
    *(Need(unit, "PrivateUsers=yes", ENVIRON) for unit in ("watchdog", "rollback")),
    *(Need(unit, "RestrictAddressFamilies=none", SYSTEMD) for unit in ("watchdog", "rollback")),
    *(Need(unit, "User=nobody", DROPIN) for unit in ("watchdog", "rollback", "resume")),
    *(Need(unit, "ProcSubset=pid", BOOT_ID) for unit in MOST),
    *(Need(unit, "RootDirectory=/var/lib/qsc_canary", RUN_CODE) for unit in MOST),
    Need("watchdog", "CapabilityBoundingSet=~CAP_DAC_READ_SEARCH", ACKNOWLEDGEMENT),
    Need("rollback", "CapabilityBoundingSet=~CAP_DAC_OVERRIDE", WRITE),
    Need("rollback", "CapabilityBoundingSet=~CAP_CHOWN", GIVE),
    Need("rollback", "SystemCallFilter=~@chown", GIVE),
    Need("monitor", "PrivateNetwork=yes", REDIS),
    Need("monitor", "RestrictAddressFamilies=~AF_INET AF_INET6", REDIS),
    Need("monitor", "IPAddressAllow=", REDIS),
    Need("monitor", "RestrictAddressFamilies=~AF_UNIX", SOCKET, BEHIND_A_SOCKET),
    Need("monitor", "SupplementaryGroups=", GROUPS, BEHIND_A_SOCKET),
)
NOT_OURS = ("ExecStart", "OnFailure", "Restart", "RemainAfterExit", "SuccessExitStatus", "Before", "After", "WantedBy")


def test_every_right_that_is_open_is_needed(installed_host: Host) -> None:
    """One probe unit with each unit's own sandbox, and one with the directive that would take the right away."""
    host = installed_host
    pid = host.output("systemctl show -P MainPID quantum-ai_engine.service")
    host.run(f"install -d -o quantum -m 0700 {ENGINE_FOLDER} && touch {ENGINE_FOLDER}/file {ENGINE_FOLDER}/roots")
    host.run(f"install -g redis -m 0640 /dev/null {ENGINE_FOLDER}-group")
    texts = {unit: _sandbox(host.output(f"systemctl cat qsc-{unit}.service")) for unit in MOST}
    files = {}
    for number, need in enumerate(NEEDS):
        files[f"{number}.py"] = need.probe
        for name, more in (("with", ""), ("without", need.directive)):
            run = f"ExecStart=/usr/bin/python3 -I /run/qsc-probe/{number}.py {pid}"
            files[f"qsc-probe-{number}-{name}.service"] = f"{texts[need.unit]}\n{run}\n{need.settings}\n{more}\n"
    script = f"""
import json, os, pathlib, subprocess
os.makedirs("/run/qsc-probe", exist_ok=True)
found = {{}}
files = {files!r}
for name, text in files.items():
    folder = "/run/qsc-probe" if name.endswith(".py") else "/run/systemd/system"
    pathlib.Path(folder, name).write_text(text)
subprocess.run(["systemctl", "daemon-reload"], check=True)
for name in files:
    if name.endswith(".service"):
        found[name] = subprocess.run(["systemctl", "start", name], stderr=subprocess.DEVNULL).returncode
        os.unlink("/run/systemd/system/" + name)
subprocess.run(["systemctl", "daemon-reload"], check=True)
subprocess.run("systemctl reset-failed 'qsc-probe-*'", shell=True)
print(json.dumps(found))
"""
    try:
        found = json.loads(host.run("python3 -", stdin=script, timeout=120).stdout)
    finally:
        host.run(f"rm -rf {ENGINE_FOLDER} {ENGINE_FOLDER}-group /run/qsc-probe /etc/systemd/system/qsc-probe-write")
    for number, need in enumerate(NEEDS):
        assert found[f"qsc-probe-{number}-with.service"] == 0, f"does not work at all: {need}"
        assert found[f"qsc-probe-{number}-without.service"] != 0, f"is open and not needed: {need}"


def _sandbox(text: str) -> str:
    """The unit with nothing but its sandbox; what the rollback may write gets the engine's folder of this test."""
    lines = [line for line in text.splitlines() if not line.startswith((*NOT_OURS, "#", "[Install]"))]
    return "\n".join([*lines, "Restart=no", "TimeoutStartSec=20", "ReadWritePaths=-/srv"])
