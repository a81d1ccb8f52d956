# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The engine's user and a monitor that was taken over, against root: no right gained, no way back blocked."""

from __future__ import annotations

import json
import typing as t

import pytest

from helpers.plays import BASELINE, Host, await_state, play, process_variables, record

FOLDER = "/home/quantum"
"""A folder of the engine's user; the weights file lies one further down."""
WEIGHTS = f"{FOLDER}/conf/weights.json"
PATIENT = {"qsc_canary_arming_timeout_seconds": 180, "qsc_canary_stale_after": 60}
"""What is tried here has nothing to do with how fast the machine of the tests is."""
MONITOR = "/var/lib/qsc_canary/monitor"


@pytest.fixture
def active(host: Host) -> t.Iterator[Host]:
    """A canary whose weights file lies in folders of the engine's user."""
    host.run(f"install -d -o quantum -g quantum {FOLDER} {FOLDER}/conf")
    host.write(WEIGHTS, json.dumps(BASELINE))
    host.run(f"chown quantum: {WEIGHTS}")
    try:
        done = play("activate", host, model="patchtst", qsc_canary_baseline_path=WEIGHTS, **PATIENT)
        assert done.rc == 0, done.output
        yield host
    finally:
        host.run(f"qsc rollback; rm -rf {FOLDER}", timeout=120)


def as_user(host: Host, user: str, script: str) -> None:
    host.run(f"setpriv --reuid={user} --regid={user} --clear-groups sh -eu", stdin=script)


LOOK = f"""
import glob, os, sys
while True:
    for path in glob.glob("{FOLDER}/conf/*") + glob.glob("{FOLDER}/conf/.*"):
        try:
            status = os.lstat(path)
        except OSError:
            continue
        if status.st_uid == 0 and status.st_mode & 0o7000:
            os.makedirs("/tmp/qsc-caught/now", exist_ok=True)
"""


@pytest.mark.slow
def test_a_setuid_program_in_place_of_the_weights_file_never_becomes_roots(active: Host) -> None:
    host, now = active, record(active)
    as_user(host, "quantum", f"rm {WEIGHTS}; cp /usr/bin/id {WEIGHTS}; chmod 6755 {WEIGHTS}; rm -rf /tmp/qsc-caught")
    host.run("cat > /run/qsc-look.py", stdin=LOOK)
    host.run("systemd-run -q --uid=quantum --unit=qsc-look /usr/bin/python3 /run/qsc-look.py")
    try:
        host.ssh("qsc rollback", timeout=90)  # by hand: without the unit's sandbox, which would refuse setuid bits
    finally:
        host.run("systemctl stop qsc-look.service; rm -f /run/qsc-look.py")
    assert not host.exists("/tmp/qsc-caught")
    assert json.loads(host.read(WEIGHTS)) == BASELINE
    assert host.output(f"stat -c '%U %a' {WEIGHTS}") == "quantum 755"
    assert host.output(f"stat -c '%U %a' {WEIGHTS}.{now['id']}.changed") == "quantum 6755"


def test_neither_a_fifo_for_a_verdict_nor_a_link_for_the_folder_keeps_the_host_from_its_baseline(active: Host) -> None:
    host, now = active, record(active)
    host.run("systemctl stop qsc-monitor.timer qsc-monitor.service")  # nothing of it writes the verdict again
    as_user(host, "quantum", f"mv {FOLDER}/conf {FOLDER}/away; ln -s conf {FOLDER}/conf")
    secret = "/etc/qsc_canary/redis-password"
    as_user(
        host,
        "qsc-canary",
        f"cd {MONITOR}; rm -f verdict.json; mkfifo verdict.json; rm -rf reports; mkdir reports;"
        f"ln -s {secret} reports/scoreboard_latest.md",
    )
    try:
        shown = host.ssh("qsc scoreboard", check=False)
        assert (shown.returncode, shown.stdout) == (2, "")
        ended = await_state(host, "rolled_back", timeout=60)
        assert ended["id"] == now["id"]
        assert ended["trigger"] in ("verdict_unreadable", "timer_stopped")
        assert process_variables(host) == {}
        result = host.output("systemctl show -P Result qsc-rollback.service")
        assert result == "success"
    finally:
        host.run(f"rm -rf {MONITOR}/verdict.json {MONITOR}/reports")


@pytest.mark.slow
def test_a_fifo_in_place_of_the_weights_file_is_set_aside_by_the_unit(active: Host) -> None:
    """In the unit's sandbox, in a home folder, which is closed to it otherwise."""
    host, now = active, record(active)
    as_user(host, "quantum", f"rm {WEIGHTS}; mkfifo {WEIGHTS}")
    host.run("systemctl start qsc-rollback.service", timeout=90)
    assert record(host)["state"] == "rolled_back"
    assert json.loads(host.read(WEIGHTS)) == BASELINE
    assert host.output(f"stat -c '%F' {WEIGHTS}.{now['id']}.changed") == "fifo"


@pytest.mark.slow
def test_a_weights_file_on_an_unsafe_way_is_refused_before_anything_happens(host: Host) -> None:
    host.run(f"install -d -m 0777 {FOLDER} {FOLDER}/conf")
    host.write(WEIGHTS, json.dumps(BASELINE))
    try:
        done = play("activate", host, model="patchtst", qsc_canary_baseline_path=WEIGHTS)
    finally:
        host.run(f"rm -rf {FOLDER}")
    assert done.rc != 0
    assert f"the folder {FOLDER}/conf is not safe: 'quantum' on the way is writable for everybody" in done.flat()
