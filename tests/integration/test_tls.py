# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""TLS against a real Redis, through a module: verified unless told otherwise; a refusal names what to correct."""

from __future__ import annotations

import subprocess
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from helpers.redis_server import RedisServer
from helpers.run_module import run_module

MARKER = "qsc_stream_marker"
CLIENT = {"client_cert_file": "{client}", "client_key_file": "{client_key}"}
FOREIGN = {"client_cert_file": "{other_client}", "client_key_file": "{other_client_key}"}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[dict[str, RedisServer]]:
    """One server of each kind, with a decision in the stream."""
    kinds: dict[str, dict[str, t.Any]] = {
        "good": {"tls": True},
        "expired": {"tls": True, "certificate": "expired"},
        "elsewhere": {"tls": True, "certificate": "elsewhere"},
        "mutual": {"tls": True, "config": {"tls-auth-clients": "yes"}},
        "plain": {},
    }
    made = {name: RedisServer(tmp_path_factory.mktemp(f"tls-{name}"), **options) for name, options in kinds.items()}
    try:
        for server in made.values():
            server.start()
            server.client().xadd("s", {"payload": "{}"})
        yield made
    finally:
        for server in made.values():
            server.stop()


@dataclass(frozen=True)
class Case:
    """Options on top of those that reach the server (``{name}``: a path) and what is said ("": good)."""

    server: str
    options: t.Mapping[str, t.Any] = field(default_factory=dict)
    message: str = ""
    remedy: str = ""


CASES = {
    "a known authority": Case("good"),
    "an unknown authority": Case(
        "good",
        {"ca_certs": "{other_ca}"},
        "the server's certificate is of an authority that ca_certs={other_ca} does not hold",
        "ca_certs",
    ),
    "no authority given": Case(
        "good", {"ca_certs": None}, "an authority that the authorities of the system do not hold", "ca_certs"
    ),
    "another host's certificate": Case(
        "elsewhere", {}, "the server's certificate is not for login_host=127.0.0.1", "login_host"
    ),
    "an expired certificate": Case("expired", {}, "the server's certificate has expired", "Renew"),
    "no TLS there": Case(
        "plain", {"tls": True, "timeout_s": 1.0}, "it hangs, or does not speak TLS on this port", "tls to false"
    ),
    "no TLS here": Case("good", {"tls": False}, "cannot be reached", "tls"),
    "unverified when asked, expired": Case("expired", {"validate_certs": False}),
    "unverified when asked, elsewhere": Case("elsewhere", {"validate_certs": False}),
    "unverified when asked, unknown": Case("good", {"validate_certs": False, "ca_certs": None}),
    "a client's certificate": Case("mutual", CLIENT),
    "no client's certificate": Case("mutual", {}, "it asks for a client's certificate", "client_cert_file"),
    "a client's certificate of another authority": Case(
        "mutual", FOREIGN, "the server refuses client_cert_file={other_client}", "an authority that the server trusts"
    ),
    "no such key": Case(
        "mutual",
        {**CLIENT, "client_key_file": "/nonexistent/key"},
        "client_key_file=/nonexistent/key cannot be read: No such file or directory",
        "Name a file",
    ),
    "a folder for a key": Case(
        "mutual", {**CLIENT, "client_key_file": "/etc"}, "client_key_file=/etc cannot be read: Is a directory", "a file"
    ),
    "another's key": Case(
        "mutual",
        {**CLIENT, "client_key_file": "{other_client_key}"},
        "client_key_file={other_client_key} is not the key to client_cert_file={client}",
        "belong together",
    ),
    "a key with a password": Case(
        "mutual", {**CLIENT, "client_key_file": "{locked}"}, "with an unencrypted key", "without a password"
    ),
    "a key alone": Case(
        "mutual", {"client_key_file": "{client_key}"}, "is given without client_cert_file", "Give both"
    ),
    "no such authority": Case("good", {"ca_certs": "/nonexistent/ca"}, "ca_certs=/nonexistent/ca cannot", "a file"),
    "no certificate in it": Case("good", {"ca_certs": "/etc/passwd"}, "ca_certs=/etc/passwd holds no", "PEM"),
}


@pytest.mark.parametrize("name", CASES)
def test_tls_is_verified_and_a_refusal_names_option_and_remedy(servers: dict[str, RedisServer], name: str) -> None:
    case = CASES[name]
    server = servers[case.server]
    paths = server.certificates or servers["good"].certificates
    if "{locked}" in case.options.values():
        paths = {**paths, "locked": _locked(paths["client_key"])}
    given = {
        key: value.format(**paths) if isinstance(value, str) else value for key, value in dict(case.options).items()
    }
    result = run_module(MARKER, stream="s", **{"timeout_s": 5.0, **server.options(), **given})
    if not case.message:
        assert not result["failed"], result
        assert result["marker"]["id"]
        return
    assert result["failed"]
    assert case.message.format(**paths) in result["msg"]
    assert case.remedy in result["remedy"]
    assert "Traceback" not in result["msg"] + str(result.get("exception", ""))
    assert result["msg"].count("\n") == 0


def _locked(key: str) -> str:
    target = Path(key).with_name("locked.key")
    subprocess.run(["openssl", "ec", "-in", key, "-aes256", "-passout", "pass:x", "-out", str(target)], check=True)
    return str(target)
