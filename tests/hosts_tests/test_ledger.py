# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ledger on a real host: a full disk, somebody's logrotate, and a hand that changes a figure."""

from __future__ import annotations

import json
import re
import typing as t

import pytest

from helpers.plays import Host, await_state, entries, ledger, play, process_variables, record

FOLDER = "/var/log/qsc_canary"
LEDGER = f"{FOLDER}/qsc_canary.jsonl"
PENDING = "/run/qsc_canary/ledger_pending.jsonl"


def verified(host: Host) -> str:
    """What ``qsc log --verify`` prints on a host whose ledger is whole."""
    done = host.run("qsc log --verify", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^[0-9]+ entr(y|ies) verified, sequence [0-9]+ to [0-9]+: ok$", done.stdout, re.MULTILINE)
    return done.stdout


def activated(host: Host) -> str:
    done = play("activate", host, model="patchtst", env={"USER": "alice"})
    assert done.rc == 0, done.output
    return str(record(host)["id"])


def logged(host: Host, canary_id: str) -> list[dict[str, t.Any]]:
    """The entries of one run in all files, by the host's own command."""
    found = [json.loads(line) for line in host.output("qsc log --json -n 0").splitlines()]
    return [entry for entry in found if entry.get("canary_id") == canary_id]


def rolled_back(host: Host) -> None:
    host.run("qsc rollback --reason 'a test of the ledger'", timeout=120)


def test_a_changed_figure_is_named(host: Host) -> None:
    canary = activated(host)
    rolled_back(host)
    verified(host)
    begun, ended = entries(host, canary)
    assert [begun["action"], ended["action"]] == ["canary_activated", "rollback_executed"]
    assert (begun["actor"], ended["actor"]) == ("root (ansible: alice)", "root")
    installed = host.output("sha256sum /etc/qsc_canary/config.json").split()[0]
    for entry in (begun, ended):
        assert entry["host"] == host.output("uname -n")
        assert entry["version"] == "0.1.0"
        assert entry["settings_digest"] == installed
    line = len(ledger(host)) - 1
    host.run(f"cp -p {LEDGER} {FOLDER}/kept")
    try:
        host.run(f"""sed -i '{line}s/"canary_weight": 0.1/"canary_weight": 0.2/' {LEDGER}""")
        done = host.run("qsc log --verify", check=False)
        assert done.returncode == 1
        place = f"qsc_canary.jsonl line {line} (sequence {begun['sequence']}, canary_activated): changed"
        assert done.stdout.startswith(place), done.stdout
        host.run(f"sed '$d' {FOLDER}/kept > {LEDGER}")
        done = host.run("qsc log --verify", check=False)
        assert done.returncode == 1
        assert f"sequence {ended['sequence']} is missing at the end" in done.stdout, done.stdout
    finally:
        host.run(f"mv {FOLDER}/kept {LEDGER}")
    verified(host)


def test_a_rollback_on_a_full_disk(host: Host) -> None:
    """The disk of the ledger is full when the monitor finds a violation: the host is proven at baseline, and the entry
    comes into the ledger once there is room."""
    canary = activated(host)
    # put aside first: the last page of the current file would have room for a line; what earlier tests logged must not
    # fill the disk by itself
    host.run(
        f"size=$(($(stat -c %s {LEDGER}) / 1024 + 64)) && "
        f"mv {LEDGER} /run/ledger.1 && mount -t tmpfs -o size=${{size}}k tmpfs {FOLDER} && "
        f"mv /run/ledger.1 {LEDGER}.1 && "
        f"! dd if=/dev/zero of={FOLDER}/filler bs=4k"
    )
    try:
        host.engine("mode", "dead_zone", "rate=300")
        ended = await_state(host, "rolled_back", timeout=90)
        assert (ended["id"], ended["trigger"]) == (canary, "qsc_monitor_violation")
        assert process_variables(host) == {}
        waiting = [json.loads(line) for line in host.read(PENDING).splitlines()]
        assert [(entry["action"], entry["canary_id"]) for entry in waiting] == [("rollback_executed", canary)]
        assert ledger(host) == [], "there was room"
        assert "(waits for room on the disk)" in host.output("qsc log -n 1")
        assert "already at baseline, nothing changed" in host.output("qsc rollback")
        host.run(f"rm {FOLDER}/filler")
        host.wait("the watchdog appends it", f"! test -e {PENDING}", timeout=90)
        (executed,) = ledger(host)
        assert (executed["action"], executed["timestamp"]) == ("rollback_executed", waiting[0]["timestamp"])
        assert [entry["action"] for entry in logged(host, canary)] == ["canary_activated", "rollback_executed"]
        verified(host)
    finally:
        host.run(f"cat {LEDGER}.1 {LEDGER} > /run/ledger; umount {FOLDER} && mv /run/ledger {LEDGER}")
    verified(host)


# As Debian's logrotate does it: `create` renames and makes a new file, `copytruncate` copies and truncates.
ROTATIONS = {
    "create": f"mv {LEDGER} {LEDGER}.1 && install -m 0640 /dev/null {LEDGER}",
    "nocreate": f"mv {LEDGER} {LEDGER}-20260110",
    "copytruncate": f"cp -p {LEDGER} {LEDGER}.1 && truncate -s 0 {LEDGER}",
    "compress": f"gzip -c {LEDGER} > {LEDGER}.1.gz && : > {LEDGER}",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "how", [how if how == "copytruncate" else pytest.param(how, marks=pytest.mark.slow) for how in ROTATIONS]
)
def test_an_external_rotation_during_a_run(host: Host, how: str) -> None:
    canary = activated(host)
    host.run(f"cp -p {LEDGER} {FOLDER}/kept")
    try:
        host.run(ROTATIONS[how])
        verified(host)
        assert canary in host.output("qsc log")
        rolled_back(host)
        (ended,) = ledger(host)
        assert (ended["action"], ended["canary_id"]) == ("rollback_executed", canary)
        verified(host)
    finally:
        # back into one file for the tests that follow
        host.run(f"cat {FOLDER}/kept {LEDGER} > {FOLDER}/all && rm {LEDGER}* {FOLDER}/kept && mv {FOLDER}/all {LEDGER}")
    verified(host)
