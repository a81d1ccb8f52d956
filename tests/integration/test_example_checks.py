# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples of own checks, each against the real thing, set up as by an operator: constants changed, no more."""

from __future__ import annotations

import http.server
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import typing as t
import urllib.request
from pathlib import Path

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge import programs
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.answers import Answer, answer_of
from ansible_collections.qsc.canary.plugins.module_utils.qsc.own_checks import Program
from helpers.redis_server import RedisServer

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "checks"
LONG_S = 60.0
ACTIVATED_AT = 1_768_000_000.0


def ask(folder: Path, name: str, **constants: t.Any) -> Answer:
    """Run an example with these constants, under the Python of the tests, the way the monitor does."""
    text = (EXAMPLES / name).read_text()
    for constant, value in constants.items():
        text, changed = re.subn(
            rf"^{constant} = .*$", lambda _found, to=f"{constant} = {value!r}": to, text, flags=re.M
        )
        assert changed == 1, constant
    path = folder / name
    path.write_text(text.replace("#!/usr/bin/python3 -I", f"#!{sys.executable}", 1).replace("PosixPath(", "Path("))
    path.chmod(0o755)
    question = json.dumps({"activated_at": ACTIVATED_AT, "model": "patchtst"}).encode()
    [ran] = programs.run([Program(name, path, True)], question, LONG_S)
    return answer_of(ran)


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.iterdir()))
def test_each_is_an_executable_of_the_hosts_python(name: str) -> None:
    path = EXAMPLES / name
    assert path.read_text().startswith("#!/usr/bin/python3 -I\n")
    assert path.stat().st_mode & 0o111 == 0o111


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.iterdir()))
def test_a_mistake_in_one_is_no_violation(tmp_path: Path, name: str) -> None:
    text = (EXAMPLES / name).read_text()
    path = tmp_path / name
    path.write_text(
        text.replace("def main() -> int:", "def main() -> int:\n    return int('x')\n\n\ndef other() -> int:")
    )
    done = subprocess.run([sys.executable, path], input=b"?", capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (70, b"ValueError: invalid literal for int() with base 10: 'x'\n")


# Drawdown from a file


@pytest.mark.parametrize(
    ("lines", "word", "value"),
    [
        ([(-60, 500), (0, 100), (1, 110), (2, 107.8)], "ok", 2.0),
        ([(0, 100), (1, 110), (2, 104.5), (3, 200)], "violation", 5.0),
        ([(-60, 100), (-30, 50)], "no data", None),
        ([(0, 100)], "no data", None),
        ([], "no data", None),
    ],
)
def test_drawdown(tmp_path: Path, lines: list[tuple[float, float]], word: str, value: float | None) -> None:
    file = tmp_path / "equity.csv"
    file.write_text("".join(f"{ACTIVATED_AT + at},{equity}\n" for at, equity in lines))
    found = ask(tmp_path, "drawdown.py", FILE=file)
    assert (found.word, found.limit if value else None) == (word, 3.0 if value else None)
    assert found.value == pytest.approx(value)
    if value:
        assert found.message == f"drawdown {value:.2f} %"


def test_drawdown_without_its_file_or_with_another(tmp_path: Path) -> None:
    assert ask(tmp_path, "drawdown.py", FILE=tmp_path / "none").word == "no data"
    (tmp_path / "equity.csv").write_text("time,equity\n")
    found = ask(tmp_path, "drawdown.py", FILE=tmp_path / "equity.csv")
    assert (found.word, found.message[:20]) == ("failed", "ended with status 70")


# The share of rejected orders


def orders(server: RedisServer, good: int, rejected: int, ago_s: float = 0) -> None:
    client = server.client()
    begin = int(1000 * (time.time() - ago_s)) - good - rejected
    for number in range(good + rejected):
        status = "rejected" if number < rejected else "filled"
        client.xadd("trading:stream:orders", {"status": status}, id=f"{begin + number}-0")


@pytest.mark.parametrize(
    ("good", "rejected", "word", "value"),
    [(95, 5, "ok", 5.0), (80, 20, "violation", 20.0), (10, 9, "no data", None), (0, 0, "no data", None)],
)
def test_order_rejects(
    tmp_path: Path, redis_server: RedisServer, good: int, rejected: int, word: str, value: float | None
) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"connection": redis_server.options()}))
    orders(redis_server, 0, 100, ago_s=3600)  # those of an hour ago count no more
    orders(redis_server, good, rejected)
    found = ask(tmp_path, "order_rejects.py", CONFIG=config)
    assert (found.word, found.value) == (word, value)


def test_order_rejects_with_the_monitors_credential(
    tmp_path: Path, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config.json"
    given = {"connection": {**redis_server.options(), "login_user": "checks"}}
    given["connection"].pop("login_password", None)
    config.write_text(json.dumps(given))
    client = redis_server.client()
    client.execute_command(
        "ACL", "SETUSER", "checks", "reset", "on", ">hunter2", "%R~trading:stream:orders", "+xrevrange"
    )
    orders(redis_server, 100, 1)
    assert ask(tmp_path, "order_rejects.py", CONFIG=config).word == "no data"
    (tmp_path / "redis-password").write_text("hunter2")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert ask(tmp_path, "order_rejects.py", CONFIG=config).word == "ok"


# An HTTP endpoint


@pytest.mark.parametrize(("code", "word"), [(200, "ok"), (503, "violation"), (404, "violation")])
def test_health(tmp_path: Path, code: int, word: str) -> None:
    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(code)
            self.end_headers()

        def log_message(self, *arguments: t.Any) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        found = ask(tmp_path, "health.py", URL=f"http://127.0.0.1:{server.server_port}/health")
        server.shutdown()
        thread.join()
    assert found.word == word
    assert f"says {code}" in found.message


def test_health_of_what_does_not_answer(tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        assert ask(tmp_path, "health.py", URL=f"http://127.0.0.1:{port}/").word == "no data"
        nobody.listen()  # takes the connection, and says nothing
        assert ask(tmp_path, "health.py", URL=f"http://127.0.0.1:{port}/", LIMIT_S=0.3).word == "no data"


# Prometheus


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[str]:
    """A real one that watches itself; Debian's package `prometheus`, or QSC_PROMETHEUS names the program."""
    program = os.environ.get("QSC_PROMETHEUS") or shutil.which("prometheus")
    if not program:
        pytest.skip("there is no prometheus here (Debian's package prometheus, or QSC_PROMETHEUS)")
    folder = tmp_path_factory.mktemp("prometheus")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    scrape = {"job_name": "itself", "static_configs": [{"targets": [address]}], "scrape_interval": "1s"}
    (folder / "config.yml").write_text(json.dumps({"scrape_configs": [scrape]}))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [program, f"--config.file={folder / 'config.yml'}", f"--storage.tsdb.path={folder / 'data'}",
             f"--web.listen-address={address}"],
            stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while not _scraped(f"http://{address}"):
            assert process.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.1)
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(30)


def _scraped(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/api/v1/query?query=up", timeout=5) as answer:
            return bool(json.load(answer)["data"]["result"])
    except OSError:
        return False


@pytest.mark.parametrize(
    ("query", "word", "value"),
    [
        ("sum(up)", "violation", 1.0),
        ("1 - avg(up)", "ok", 0.0),
        ("1", "failed", None),  # a scalar is no vector of one number
        ("vector(0.04)", "ok", 0.04),
        ("sum(prometheus_http_requests_total) * 0", "ok", 0.0),
        ("no_such_metric", "no data", None),
        ('vector(1) or label_replace(vector(2), "another", "one", "", "")', "no data", None),  # two numbers
        ("vector(0) / vector(0)", "no data", None),
        ("not a query (", "no data", None),
    ],
)
def test_promql(tmp_path: Path, prometheus: str, query: str, word: str, value: float | None) -> None:
    found = ask(tmp_path, "promql.py", PROMETHEUS=prometheus, QUERY=query)
    assert (found.word, found.value) == (word, value), found


def test_promql_without_prometheus(tmp_path: Path) -> None:
    assert ask(tmp_path, "promql.py", PROMETHEUS="http://127.0.0.1:1").word == "no data"
