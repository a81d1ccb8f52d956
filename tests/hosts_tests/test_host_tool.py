# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The test hosts are what the other tests take them for: real systemd, real boots, engines that keep the contract."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t

import pytest
from qsc_hosts import HostsError, fleet, inventory, owner, setup
from qsc_hosts.machine import Host

UNITS = {"quantum": "quantum-ai_engine.service", "orbit": "orbit-ensemble.service"}
VARIABLES = {
    "quantum": ("QSC_CANARY_WEIGHTS", "QSC_CANARY_ACK"),
    "orbit": ("ORBIT_CANARY_WEIGHTS", "ORBIT_CANARY_ACK"),
}


@pytest.fixture(scope="module")
def host() -> t.Iterator[Host]:
    """A host of this file's own: it is rebooted and cut off."""
    with fleet.session("tool") as hosts:
        yield hosts[0]


def test_it_is_a_host_with_systemd_redis_and_ssh(host: Host) -> None:
    assert host.output("systemctl is-system-running") == "running"
    assert host.output("systemctl --failed --no-legend") == ""
    assert host.output("redis-cli ping") == "PONG"
    assert host.output("redis-cli -s /run/redis/redis.sock ping") == "PONG"
    assert host.ssh("id -un").stdout.strip() == "root"
    assert host.ssh("sudo id -un", user="deploy").stdout.strip() == "root"
    host.run("python3 -c 'import redis, hiredis'; command -v faketime strace ip ps >/dev/null")


def test_redis_listens_inside_the_host_only(host: Host) -> None:
    listening = host.output("ss -Hltn 'sport = :6379'")
    assert [line.split()[3] for line in listening.splitlines()] == ["127.0.0.1:6379"]


def test_credentials_work_as_on_a_real_host(host: Host) -> None:
    host.write("/root/secret", "geheim", "0600")
    shown = host.output(
        "systemd-run --quiet --wait --pipe -p LoadCredential=word:/root/secret"
        " sh -c 'cat \"$CREDENTIALS_DIRECTORY/word\"'"
    )
    assert shown == "geheim"


def test_a_sandbox_really_shuts(host: Host) -> None:
    done = host.run("systemd-run --quiet --wait --pipe -p ProtectSystem=strict touch /usr/there", check=False)
    assert done.returncode != 0
    assert not host.exists("/usr/there")


@pytest.mark.parametrize("way", ["reboot", "power_cut"])
def test_after_a_boot_run_is_empty_and_etc_is_not(host: Host, way: str) -> None:
    host.run("touch /run/of-this-boot /etc/of-always")
    started = host.output("systemctl show --property=InvocationID --value quantum-ai_engine.service")
    getattr(host, way)()
    assert not host.exists("/run/of-this-boot")
    assert host.exists("/etc/of-always")
    assert host.ssh("true").returncode == 0
    assert host.output("systemctl show --property=InvocationID --value quantum-ai_engine.service") != started


def test_the_second_engine_waits_to_be_started(host: Host) -> None:
    host.run("systemctl stop orbit-ensemble.service")
    assert host.output("systemctl is-enabled orbit-ensemble.service || true") == "disabled"
    assert host.run("systemctl is-active orbit-ensemble.service", check=False).stdout.strip() == "inactive"
    host.run("systemctl start orbit-ensemble.service")
    host.engine("wait", "20", unit="orbit")
    assert set(json.loads(host.engine("status", unit="orbit"))["weights"]) == {
        "xgb",
        "lgbm",
        "nhits",
        "patchtst",
        "tft",
    }


@pytest.mark.parametrize("engine", ["quantum", "orbit"])
def test_an_engine_takes_the_weights_of_its_environment(host: Host, engine: str) -> None:
    """As a unit's drop-in gives them, also into the sandbox."""
    unit, (weights, ack) = UNITS[engine], VARIABLES[engine]
    host.run(f"mkdir -p /run/there && chown {engine} /run/there && mkdir -p /run/systemd/system/{unit}.d")
    host.write("/var/lib/canary.json", '{"xgb": 0.5, "patchtst": 0.5}')
    host.write(
        f"/run/systemd/system/{unit}.d/test.conf",
        f"[Service]\nEnvironment={weights}=/var/lib/canary.json {ack}=/run/there/ack.json\nReadWritePaths=/run/there\n",
    )
    host.run(f"systemctl daemon-reload && systemctl restart {unit}")
    host.engine("wait", "10", unit=engine)
    said = json.loads(host.read("/run/there/ack.json"))
    assert str(said["pid"]) == host.output(f"systemctl show --property=MainPID --value {unit}")
    assert said["sha256"] == host.output("sha256sum /var/lib/canary.json").split()[0]
    assert json.loads(host.engine("status", unit=engine))["weights"] == {"xgb": 0.5, "patchtst": 0.5}
    host.run(f"rm -r /run/systemd/system/{unit}.d /run/there && systemctl daemon-reload && systemctl restart {unit}")
    host.engine("wait", "10", unit=engine)
    assert not json.loads(host.engine("status", unit=engine))["canary"]


def test_the_control_tool(host: Host) -> None:
    host.engine("reset")
    host.engine("mode", "dead_zone", "rate=200")
    assert json.loads(host.engine("status"))["mode"] == "dead_zone"
    before = json.loads(host.engine("status"))["entries_added"]
    host.engine("pulse", "300")
    assert json.loads(host.engine("status"))["entries_added"] >= before + 300
    host.engine("set", "rate=0")
    host.engine("fill", "100", "--seconds", "1000")
    first, last = (host.output(f"redis-cli --raw {words}").split("\n")[0] for words in (
        "XRANGE quantum:stream:trade.intent - + COUNT 1", "XREVRANGE quantum:stream:trade.intent + - COUNT 1"
    ))  # fmt: skip
    assert 980_000 <= int(last.split("-")[0]) - int(first.split("-")[0]) <= 1_000_000
    host.write("/root/recorded.jsonl", '{"ms": 5, "fields": {"a": "1"}}\n{"ms": 5, "fields": {"a": "2"}}\n')
    host.engine("replay", "/root/recorded.jsonl")
    assert host.output("redis-cli --raw XRANGE quantum:stream:trade.intent - +").split() == [
        "5-0",
        "a",
        "1",
        "5-1",
        "a",
        "2",
    ]
    with pytest.raises(HostsError, match="unknown mode"):
        host.engine("mode", "cheerful")
    host.engine("reset")


def test_a_name_in_use_is_refused_and_that_of_a_dead_run_is_taken_over(host: Host) -> None:
    with pytest.raises(HostsError, match="already there: tool-1"):
        fleet.up(["tool-1"])
    with subprocess.Popen(["sleep", "60"]) as process:
        mark = owner.identity(process.pid)
        fleet.up(["tool-left"], mark=mark)
        with pytest.raises(HostsError, match="already there: tool-left"):
            fleet.up(["tool-left"])
        process.kill()
    first = fleet.get("tool-left").output("cat /etc/machine-id")
    assert fleet.up(["tool-left"])[0].output("cat /etc/machine-id") != first
    assert fleet.down(["tool-left"]) == ["tool-left"]


def test_ansible_reaches_it(host: Host) -> None:
    path = setup.BUILD / "inventory-of-a-test.json"
    path.write_text(inventory([host]))
    try:
        done = subprocess.run(
            [os.path.join(os.path.dirname(sys.executable), "ansible"), "-i", str(path), "qsc_engines", "-m", "ping"],
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        path.unlink()
    assert done.returncode == 0, done.stdout + done.stderr
