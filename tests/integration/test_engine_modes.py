# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The monitor on what the reference engine publishes: every mode gives exactly the codes of its table."""

from __future__ import annotations

import time
import typing as t

import pytest
from engine import modes
from engine.orders import CONTROL
from engine.publishing import Publisher
from engine.quantum import MODELS
from engine.votes import Market

from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.check import CheckResult, check
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.connection import Connection
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.cutover import ZERO
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.options import MonitorOptions
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.stream import StreamReader

if t.TYPE_CHECKING:
    from helpers.redis_server import RedisServer

STREAM = "engine:modes"
WEIGHTS = {"xgb": 0.25, "lgbm": 0.25, "nhits": 0.3, "patchtst": 0.2}


def judged(server: RedisServer, mode: str, *, harm: bool = False, stale_after: float = 30) -> CheckResult:
    """The result of a second check, over 440 decisions of the last 44 s, the newest one 2 s ago.

    ``harm``: the decisions are healthy, and the engine does to the stream what the mode says between the checks.
    """
    client = server.client()
    market = Market(7, MODELS, modes.CANARY)
    publisher = Publisher(client, STREAM, market, "integration-test")
    options = MonitorOptions.from_dict(
        {
            "entries_added": 0,
            "limits": {"start_grace": 5},
            "aliases": {"xgboost": "xgb", "lightgbm": "lgbm"},
            "stale_after": stale_after,
            "max_wait": 3600,
        },
        model=modes.CANARY,
        since=ZERO,
    )
    market.set_mode("healthy" if harm else mode)
    entries = publisher.entries(440, WEIGHTS, dict(CONTROL))
    ms = int(time.time() * 1000) - 2000 - 100 * len(entries)
    progress = None
    for number, entry in enumerate(entries, 1):
        client.xadd(STREAM, entry, id=f"{ms + 100 * number}-0")
        if number in (220, len(entries)):
            if harm and number > 220:
                market.set_mode(mode)
                publisher.publish(6, WEIGHTS, dict(CONTROL))
            with StreamReader(Connection.from_dict(server.options()), STREAM) as reader:
                result, progress = check(reader, options, progress, number / 10)
    return result


@pytest.mark.parametrize("mode", sorted(set(modes.CODES) - modes.MONITOR_ONLY))
def test_a_mode_gives_its_codes(redis_server: RedisServer, mode: str) -> None:
    found = judged(redis_server, mode)
    assert {item.code for item in found.violations} == modes.expected(mode), found.violations
    assert found.verdict == ("violation" if modes.CODES[mode] else "ok")


@pytest.mark.parametrize("mode", ["vanished", "wrong_type", "truncation"])
def test_harm_to_the_stream_under_a_running_monitor(redis_server: RedisServer, mode: str) -> None:
    found = judged(redis_server, mode, harm=True)
    assert {item.code for item in found.violations} == modes.expected(mode), found.violations


def test_an_engine_that_falls_silent(redis_server: RedisServer) -> None:
    found = judged(redis_server, "silent", harm=True, stale_after=1)
    assert {item.code for item in found.violations} == modes.expected("silent"), found.violations
