# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bad input through ansible-playbook: one clear sentence, a non-zero result, and nothing changed at the engine."""

from __future__ import annotations

import datetime
import typing as t
from dataclasses import dataclass, field

import pytest
from qsc_hosts import image
from qsc_hosts.machine import authorized_keys
from qsc_hosts.setup import CHECKOUT, LABEL, podman

from helpers.forms import cases
from helpers.plays import UNIT, WORKER, Host, fingerprint, play, wait_until

STREAM = "quantum:stream:trade.intent"
SECRET = "not-the-password-5b1c"


def _soon() -> str:
    return (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Case:
    """What is wrong, and the sentence that says so. ``before`` and ``after`` are shell commands on the host."""

    sentence: str
    extra: t.Mapping[str, t.Any] = field(default_factory=dict)
    before: str = ""
    after: str = ""
    mode: str = ""
    options: tuple[str, ...] = ()
    env: t.Mapping[str, str] = field(default_factory=dict)


def _file(text: str) -> dict[str, str]:
    return {
        "before": f"printf '%s' '{text}' > /etc/quantum/bad.json",
        "after": "rm /etc/quantum/bad.json",
    }


_BAD_FILE = {"qsc_canary_baseline_path": "/etc/quantum/bad.json"}
_OTHER_REDIS = "redis-server --port 6391 --requirepass right --daemonize yes --save '' >/dev/null"
# a play without a password keeps the credential of the one before
_OTHER_GONE = (
    "redis-cli -p 6391 -a right --no-auth-warning shutdown nosave; truncate -s 0 /etc/qsc_canary/redis-password"
)

CASES: dict[str, Case] = {
    "unknown model": Case(
        "models: 'nosuch' has no telemetry since the cutover; known are: lgbm, nhits, patchtst, xgb",
        {"model": "nosuch"},
    ),
    "model with tricks in its name": Case(
        "ExecStart=/bin/sh' is not a model's name", {"model": "a b\nExecStart=/bin/sh"}
    ),
    "no model": Case("Name the model to activate, such as -e model=patchtst.", {"model": ""}),
    "weight 0": Case("qsc_canary_weight must be above 0 and at most 1, such as 0.10; it is 0.", {"weight": "0"}),
    "weight 1.2": Case("qsc_canary_weight must be above 0 and at most 1, such as 0.10; it is 1.2.", {"weight": "1.2"}),
    "weight NaN": Case("qsc_canary_weight must be above 0 and at most 1, such as 0.10; it is nan.", {"weight": "nan"}),
    "weight of the baseline": Case("weight=0.2 is already the baseline weight of patchtst", {"weight": "0.20"}),
    "baseline missing": Case(
        "The weights the engine runs are not known: name the file it reads them from in qsc_canary_baseline_path, "
        "or give them in qsc_canary_baseline.",
        {"qsc_canary_baseline_path": ""},
    ),
    "baseline file missing": Case(
        "baseline_path=/etc/quantum/none.json does not exist", {"qsc_canary_baseline_path": "/etc/quantum/none.json"}
    ),
    "baseline file empty": Case("/etc/quantum/bad.json is empty", _BAD_FILE, **_file("")),
    "baseline not JSON": Case("/etc/quantum/bad.json is not JSON", _BAD_FILE, **_file("xgb: 0.5")),
    "baseline not summing to 1": Case(
        "/etc/quantum/bad.json: the weights sum to 0.900000, not 1", _BAD_FILE, **_file('{"xgb": 0.5, "patchtst": 0.4}')
    ),
    "baseline negative": Case(
        "/etc/quantum/bad.json: xgb=-0.1 is not a weight", _BAD_FILE, **_file('{"xgb": -0.1, "patchtst": 1.1}')
    ),
    "baseline twice": Case(
        "Give qsc_canary_baseline or qsc_canary_baseline_path, not both.",
        {"qsc_canary_baseline": {"xgb": 0.5, "patchtst": 0.5}},
    ),
    "the only model": Case(
        "model='patchtst' is the only model with weight", _BAD_FILE, **_file('{"xgb": 0, "patchtst": 1}')
    ),
    "cutover without offset": Case("cutover='2026-01-10T05:43:15' has no offset", {"cutover": "2026-01-10T05:43:15"}),
    "cutover in the future": Case("s in the future (now: ", {"cutover": _soon()}),
    "cutover unparsable": Case("cutover='yesterday' cannot be read", {"cutover": "yesterday"}),
    "cutover in seconds": Case("looks like seconds, not milliseconds", {"cutover": "1768023795"}),
    "cutover before trimmed entries": Case(
        "Truncated telemetry: ",
        {"cutover": "2026-01-10T05:43:15Z"},
        before=f"redis-cli XTRIM {STREAM} MAXLEN 500",
    ),
    "stream missing": Case(
        "the stream 'no:such' does not exist on Redis at localhost:6379 (db 0)", {"qsc_canary_stream": "no:such"}
    ),
    "stream of another type": Case(
        "'a:text' on Redis at localhost:6379 (db 0) is not a stream",
        {"qsc_canary_stream": "a:text"},
        before="redis-cli SET a:text x",
        after="redis-cli DEL a:text",
    ),
    "stream empty": Case(
        "Too little telemetry: 0 decisions since the cutover, 200 are needed",
        {"qsc_canary_stream": "an:empty"},
        before="redis-cli XGROUP CREATE an:empty g '$' MKSTREAM",
        after="redis-cli DEL an:empty",
    ),
    "payload not JSON": Case("payload is not JSON", mode="broken_payload"),
    "no breakdown": Case("payload has no model_breakdown", mode="no_breakdown"),
    "duplicate keys": Case("payload has the key 'patchtst' twice in one object", mode="duplicate_key"),
    "unknown action": Case("action is 'STRONG_BUY', not one of BUY, SELL, HOLD", mode="unknown_action"),
    "lower-case action": Case("not one of BUY, SELL, HOLD", mode="lower_case_action"),
    "confidence NaN": Case("confidence is nan", mode="nan_confidence"),
    "confidence negative": Case("confidence is -0.2", mode="negative_confidence"),
    "confidence text": Case("confidence is '0.61'", mode="text_confidence"),
    "Redis down": Case("Redis at localhost:6390 (db 0) cannot be reached", {"qsc_canary_redis_port": 6390}),
    "wrong password": Case(
        "Redis at localhost:6391 (db 0) refuses the login of user 'default'",
        {"qsc_canary_redis_port": 6391},
        before=_OTHER_REDIS,
        after=_OTHER_GONE,
        env={"QSC_REDIS_PASSWORD": SECRET},
    ),
    "TLS where there is none": Case("Redis at localhost:6379 (db 0)", {"qsc_canary_redis_tls": True}),
    "engine unit missing": Case(
        "engine_unit=none.service does not exist on this host (not-found)", {"qsc_canary_engine_unit": "none.service"}
    ),
    "engine unit misspelt": Case(
        "qsc_canary_engine_unit must be the full name of a service", {"qsc_canary_engine_unit": "../engine"}
    ),
    "engine stopped": Case(
        f"engine_unit={UNIT} is not running (inactive/dead)",
        before=f"systemctl stop {UNIT}",
        after=f"systemctl start {UNIT}",
    ),
    "a limit out of range": Case(
        "limits: max_action_share=170.0 is out of range. Use a number from 0 to 100 percent.",
        {"qsc_canary_limits": {"max_action_share": 170}},
    ),
    "an unknown limit": Case("max_share", {"qsc_canary_limits": {"max_share": 60}}),
    "redis library missing": Case(
        "Install python3-redis",
        {"qsc_canary_manage_packages": False},
        before="cd /usr/lib/python3/dist-packages && mv redis redis.away && mv hiredis hiredis.away",
        after="cd /usr/lib/python3/dist-packages && mv redis.away redis && mv hiredis.away hiredis",
    ),
    "stream too slow": Case("the stream is too slow to judge a run of", {"qsc_canary_monitor_hours": 4 / 3600}),
    "no host by group": Case("No host matched nosuch", {"qsc_canary_hosts": "nosuch"}),
    "no host by limit": Case(
        "Specified inventory, host pattern and/or --limit leaves us with no hosts to target",
        options=("--limit", "nosuch"),
    ),
}


# One for each place that refuses: role, the host's preflight, the gate's options, its stream, its decisions, Ansible.
FAST = (
    "unknown model", "weight NaN", "baseline not JSON", "cutover unparsable", "stream of another type",
    "confidence NaN", "wrong password", "engine unit missing", "redis library missing",
)  # fmt: skip


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", cases(CASES, FAST))
def test_bad_input_is_refused_with_one_sentence(host: Host, name: str) -> None:
    case = CASES[name]
    if case.mode:
        host.engine("mode", case.mode)
        host.engine("wait", "20")
    if case.before:
        host.run(case.before)
    try:
        before = fingerprint(host)
        done = play("activate", host, options=case.options, env=case.env, **{"model": "patchtst", **case.extra})
        after = fingerprint(host)
    finally:
        if case.after:
            host.run(case.after)
        if "XTRIM" in case.before:
            host.run(f"systemctl restart {UNIT}")  # what is left lies before the next cutover
    assert done.rc != 0, done.output
    assert case.sentence in done.flat(), done.output
    assert after == before
    assert "Traceback" not in done.output
    assert SECRET not in done.output


@pytest.fixture
def host_without_systemd() -> t.Iterator[Host]:
    """A machine with ssh whose first process is not systemd."""
    name = f"plain-{WORKER}"
    plain = Host(name, 0)
    podman("rm", "--force", "--time", "0", "--ignore", plain.container)
    podman(
        "run", "--detach", "--name", plain.container,
        "--label", f"{LABEL}={CHECKOUT}", "--label", f"{LABEL}.name={name}",
        "--publish", "127.0.0.1::22", "--volume", f"{authorized_keys()}:/etc/ssh/qsc-test-authorized-keys:ro",
        image.tag(), "/bin/sh", "-c", "mkdir -p /run/sshd && exec /usr/sbin/sshd -D",
    )  # fmt: skip
    try:
        port = int(podman("port", plain.container, "22/tcp").stdout.strip().rsplit(":", 1)[1])
        host = Host(name, port)
        wait_until("ssh answers", lambda: host.ssh("true", check=False).returncode == 0, 30)
        yield host
    finally:
        podman("rm", "--force", "--time", "0", "--ignore", plain.container)


def test_a_host_that_was_not_booted_with_systemd(host_without_systemd: Host) -> None:
    done = play("activate", host_without_systemd, model="patchtst")
    assert done.rc != 0
    assert "this host was not booted with systemd" in done.flat(), done.output
    assert not host_without_systemd.exists("/var/lib/qsc_canary")
