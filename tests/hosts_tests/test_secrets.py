# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One run as the documented Redis user over TLS with a client's certificate, and the password is where it belongs.

All plays run at -vvv --diff, with a spy that looks into every process all the time.
"""

from __future__ import annotations

import base64
import json
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from helpers.plays import UNIT, Host, Play, enough_telemetry, entries, play, process_variables, record
from helpers.redis_acl import USER, documented
from helpers.redis_server import make_certificates

from .conftest import reset

SECRET, WRONG = "Vq7r2mXw9LkT4sZd", "Hj3bNc8yPf6gRt1K"
CREDENTIAL = "/etc/qsc_canary/redis-password"
TLS = "/etc/qsc-test-tls"
LOUD = ("-vvv", "--diff")
UNITS = "qsc-monitor.service qsc-monitor.timer qsc-watchdog.service qsc-rollback.service qsc-resume.service " + UNIT
OPTIONS = {
    # what is tried here has nothing to do with how fast the machine of the tests is
    "qsc_canary_arming_timeout_seconds": 180,
    "qsc_canary_stale_after": 60,
    "qsc_canary_redis_port": 6380,
    "qsc_canary_redis_user": USER,
    "qsc_canary_redis_tls": True,
    "qsc_canary_redis_ca_certs": f"{TLS}/ca.pem",
    "qsc_canary_redis_client_cert_file": f"{TLS}/client.pem",
    "qsc_canary_redis_client_key_file": f"{TLS}/client_key.pem",
}

pytestmark = pytest.mark.timeout(900)  # the story is told before the first test

SPY = """
import glob, json, os, pathlib, stat, time
words = [word.encode() for word in json.loads(pathlib.Path("/run/qsc-spy/words").read_text())]
found, credential = set(), set()
while not os.path.exists("/run/qsc-spy/stop"):
    for path in glob.glob("/proc/[0-9]*/cmdline") + glob.glob("/proc/[0-9]*/environ"):
        try:
            text = open(path, "rb").read()
        except OSError:
            continue
        if any(word in text for word in words):
            found.add(path + " " + text[:200].decode(errors="replace"))
    for name in ("redis-password", "redis-client-key"):
        for path in ("/run/credentials/qsc-monitor.service", "/run/credentials/qsc-monitor.service/" + name):
            try:
                status = os.lstat(path)
            except OSError:
                continue
            credential.add(os.path.basename(path) + " %o" % (status.st_mode & 0o007))
    time.sleep(0.05)
pathlib.Path("/run/qsc-spy/out").write_text(json.dumps([sorted(found), sorted(credential)]))
"""


@dataclass
class Story:
    """What the plays printed, what the host's command printed, and what the spy saw."""

    host: Host
    canary: dict[str, t.Any] = field(default_factory=dict)
    plays: dict[str, Play] = field(default_factory=dict)
    shown: dict[str, str] = field(default_factory=dict)
    processes: list[str] = field(default_factory=list)
    credentials: list[str] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)


def _words() -> list[str]:
    """The secrets, and what base64 makes of them at the beginning of a text."""
    encoded = [base64.b64encode(word.encode()).decode().rstrip("=")[:-1] for word in (SECRET, WRONG)]
    return [SECRET, WRONG, *encoded]


def _open_redis(host: Host, folder: Path) -> None:
    """The host's own Redis also speaks TLS to clients with a certificate, and knows the documented user."""
    paths = make_certificates(folder)
    host.run(f"install -d {TLS}")
    for name in ("ca", "cert", "key", "client", "client_key"):
        host.run(f"cat > {TLS}/{name}.pem", stdin=Path(paths[name]).read_text())
    host.run(f"chmod 0644 {TLS}/*; chown redis {TLS}/key.pem; chmod 0600 {TLS}/key.pem {TLS}/client_key.pem")
    host.run(
        f"redis-cli CONFIG SET tls-cert-file {TLS}/cert.pem tls-key-file {TLS}/key.pem tls-ca-cert-file {TLS}/ca.pem "
        "tls-auth-clients yes tls-port 6380 | grep -qx OK"
    )
    rules = " ".join(documented(SECRET))
    host.run("redis-cli | grep -c OK | grep -qx 2", stdin=f"ACL SETUSER {USER} {rules}\nACL LOG RESET\n")


@pytest.fixture(scope="module")
def story(installed_host: Host, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Story]:
    """A refused activation with a wrong password; gate, activation, checks, status and rollback with the right one."""
    host, told = installed_host, Story(installed_host)
    reset(host)  # the tests of another file were here before
    enough_telemetry(host)
    _open_redis(host, tmp_path_factory.mktemp("tls"))
    host.run("install -d -m 0700 /run/qsc-spy; cat > /run/qsc-spy/words", stdin=json.dumps(_words()))
    host.run("cat > /run/qsc-spy/spy.py", stdin=SPY)
    host.run("systemd-run -q --unit=qsc-spy /usr/bin/python3 /run/qsc-spy/spy.py")

    def go(name: str, password: str = SECRET) -> None:
        env = {"QSC_REDIS_PASSWORD": password}
        label = name if password == SECRET else f"{name} refused"
        told.plays[label] = play(name, host, options=LOUD, env=env, timeout=400, model="patchtst", **OPTIONS)

    try:
        go("activate", WRONG)
        go("activate")
        told.canary = record(host)
        verdict = "/var/lib/qsc_canary/monitor/verdict.json"
        host.wait("two judged checks", f"grep -qE '\"checks_judged\": ([2-9]|[1-9][0-9])' {verdict}", timeout=40)
        told.variables = process_variables(host)
        for words in ("status", "status --json", "check --json", "gate --json --model patchtst", "scoreboard"):
            done = host.ssh(f"qsc {words}", check=False)
            told.shown[words] = f"{done.returncode} {done.stdout}{done.stderr}"
        go("gate")
        go("status")
        go("rollback")
        told.shown["log"] = host.ssh("qsc log -n 0 --json").stdout
        host.run("touch /run/qsc-spy/stop")
        host.wait("the spy's word", "test -s /run/qsc-spy/out", timeout=20)
        told.processes, told.credentials = json.loads(host.read("/run/qsc-spy/out"))
        yield told
    finally:
        host.run("touch /run/qsc-spy/stop; qsc rollback", timeout=90)
        host.run(f"rm -rf /run/qsc-spy {TLS}; truncate -s 0 {CREDENTIAL}")
        host.run(f"redis-cli CONFIG SET tls-port 0; redis-cli ACL DELUSER {USER}")


def test_the_whole_run_works_as_the_documented_user(story: Story) -> None:
    """Gate, activation, checks, `qsc check`, `qsc gate` and rollback, with Redis refusing everything else."""
    for name in ("gate", "activate", "status", "rollback"):
        assert story.plays[name].rc == 0, story.plays[name].output
    assert story.canary["state"] == "active"
    assert story.variables["QSC_CANARY_MODEL"] == "patchtst"
    assert record(story.host)["state"] == "rolled_back"
    assert process_variables(story.host) == {}
    assert [entry["action"] for entry in entries(story.host, story.canary["id"])] == [
        "canary_activated",
        "rollback_executed",
    ]
    assert story.shown["check --json"].startswith("0 "), story.shown["check --json"]
    assert story.shown["gate --json --model patchtst"].startswith("0 "), story.shown["gate --json --model patchtst"]
    denied = story.host.output("redis-cli ACL LOG")
    assert "command" not in denied.replace("\n", " ").split(), denied


def test_a_wrong_password_is_refused_in_one_sentence(story: Story) -> None:
    refused = story.plays["activate refused"]
    assert refused.rc != 0
    assert f"refuses the login of user '{USER}'" in refused.flat()


def test_no_output_of_a_play_holds_a_secret(story: Story) -> None:
    for name, done in story.plays.items():
        for word in _words():
            assert word not in done.output, f"{name} shows {word}"


def test_nothing_the_host_shows_holds_a_secret(story: Story) -> None:
    host = story.host
    shown = {
        **story.shown,
        "units": host.output(f"systemctl cat {UNITS}"),
        "properties": host.output(f"systemctl show {UNITS}"),
        "journal": host.run("journalctl --no-pager -o export | LC_ALL=C tr -d '\\200-\\377'", timeout=60).stdout,
    }
    assert "qsc-monitor.service" in shown["journal"]
    for name, text in shown.items():
        assert not [word for word in _words() if word in text], name


def test_no_process_had_a_secret_in_its_arguments_or_environment(story: Story) -> None:
    assert story.processes == []


def test_the_credential_file_alone_holds_the_secret(story: Story) -> None:
    host = story.host
    patterns = " ".join(f"-e {word}" for word in _words())
    folders = "/etc /home /opt /root /run /srv /tmp /usr/local /var"
    found = host.run(f"grep -rlsF --devices=skip {patterns} {folders} --exclude-dir=qsc-spy", check=False, timeout=120)
    assert found.stdout.split() == [CREDENTIAL]
    assert host.read(CREDENTIAL) == SECRET
    owners = host.output(f"stat -c '%U:%G %a' {CREDENTIAL} /etc/qsc_canary")
    assert owners.splitlines() == ["root:root 600", "root:root 755"]
    ledger = host.read("/var/log/qsc_canary/qsc_canary.jsonl")
    assert story.canary["id"] in ledger  # what was searched is what was written


def test_the_monitor_gets_password_and_key_as_credentials(story: Story) -> None:
    """Its user can read neither file; that its checks worked shows that it got them from systemd."""
    host = story.host
    for path in (CREDENTIAL, f"{TLS}/client_key.pem"):
        assert host.run(f"setpriv --reuid=qsc-canary --clear-groups cat {path}", check=False).returncode != 0
    unit = host.output("systemctl cat qsc-monitor.service").splitlines()
    assert f"LoadCredential=redis-password:{CREDENTIAL}" in unit
    assert f"LoadCredential=redis-client-key:{TLS}/client_key.pem" in unit
    assert story.credentials == ["qsc-monitor.service 0", "redis-client-key 0", "redis-password 0"]
