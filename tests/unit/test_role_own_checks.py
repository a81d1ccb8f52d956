# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What own checks open in the monitor's unit, and what model files do for the guards: only where they are asked for."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

from helpers.local_play import evaluate

OWN: dict[str, t.Any] = {"qsc_canary_own_checks": True}
SOCKET: dict[str, t.Any] = {"qsc_canary_redis_unix_socket": "/run/redis/redis.sock"}
UNITS = ("qsc-monitor.service", "qsc-watchdog.service", "qsc-rollback.service")
CASES: dict[str, dict[str, t.Any]] = {
    "none": {},
    "own": OWN,
    "own, 60 s, every 30 s": {**OWN, "qsc_canary_check_timeout_seconds": 60},
    "network": {**OWN, "qsc_canary_check_allow": ["localhost", "10.0.0.7"]},
    "network without own checks": {"qsc_canary_check_allow": ["10.0.0.7"]},
    "socket": {**OWN, **SOCKET},
    "socket and network": {**OWN, **SOCKET, "qsc_canary_check_allow": ["10.0.0.7"]},
    "models": {"qsc_canary_model_artifacts": ["/srv/models/patchtst.pt"]},
    "models at home": {"qsc_canary_model_artifacts": ["/srv/x.pt", "/home/quant/patchtst.pt"]},
}


def lines(text: str, *names: str) -> list[str]:
    """The settings of these names, in order."""
    return [line for line in text.splitlines() if line.partition("=")[0] in names]


def test_the_units(root: Path, clean_environment: dict[str, str], tmp_path: Path) -> None:
    role = root / "roles/qsc_canary"
    texts = ", ".join(f"'{unit}': lookup('ansible.builtin.template', '{role}/templates/{unit}.j2')" for unit in UNITS)
    tasks = [
        {
            "ansible.builtin.copy": {
                "content": f"{{{{ {{{texts}}} | to_json }}}}",
                "dest": str(tmp_path / f"{number}.json"),
                "mode": "0600",
            },
            "vars": case,
        }
        for number, case in enumerate(CASES.values())
    ]
    files = [str(role / "defaults/main.yml"), str(role / "vars/main.yml")]
    evaluate(tmp_path, {"vars_files": files, "tasks": tasks}, clean_environment)
    rendered = [json.loads((tmp_path / f"{number}.json").read_text()) for number in range(len(CASES))]
    found = {(name, unit): rendered[number][unit] for number, name in enumerate(CASES) for unit in UNITS}
    monitor = {name: found[name, "qsc-monitor.service"] for name in CASES}

    bounds = ("TasksMax", "OOMPolicy", "TimeoutStartSec", "MemoryMax")
    assert lines(monitor["none"], *bounds) == ["TimeoutStartSec=30", "MemoryMax=256M", "TasksMax=8"]
    opened = ["TimeoutStartSec=45", "MemoryMax=512M", "TasksMax=128", "OOMPolicy=continue"]
    assert lines(monitor["own"], *bounds) == opened
    assert lines(monitor["own, 60 s, every 30 s"], "TimeoutStartSec") == ["TimeoutStartSec=55"]

    network = ("PrivateNetwork", "RestrictAddressFamilies", "IPAddressDeny", "IPAddressAllow")
    local = ["RestrictAddressFamilies=AF_INET AF_INET6", "IPAddressDeny=any", "IPAddressAllow=localhost"]
    for name in ("none", "own", "network without own checks", "models"):
        assert lines(monitor[name], *network) == local, name
    assert lines(monitor["network"], *network) == [
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6", "IPAddressDeny=any", "IPAddressAllow=localhost 10.0.0.7",
    ]  # fmt: skip
    assert lines(monitor["socket"], *network)[:2] == ["PrivateNetwork=yes", "RestrictAddressFamilies=AF_UNIX"]
    assert lines(monitor["socket and network"], *network) == [
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6", "IPAddressDeny=any", "IPAddressAllow=localhost 10.0.0.7",
    ]  # fmt: skip

    for unit in UNITS:
        assert lines(found["models", unit], "ProtectHome") == ["ProtectHome=yes"]
        assert lines(found["models at home", unit], "ProtectHome") == ["ProtectHome=read-only"]
    watchdog = {name: lines(found[name, "qsc-watchdog.service"], "TimeoutStartSec") for name in CASES}
    assert (watchdog["none"], watchdog["models"]) == (["TimeoutStartSec=70"], ["TimeoutStartSec=95"])
