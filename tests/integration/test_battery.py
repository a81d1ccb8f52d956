# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The battery's stream in memory answers as a real Redis does."""

from __future__ import annotations

from battery.fixtures import EVENTS, FIXTURES
from battery.judges import Case, MemoryReader

from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.connection import Connection
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.cutover import ZERO
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.stream import StreamReader
from helpers.redis_server import RedisServer
from helpers.telemetry import STREAM


def test_the_reader_in_memory_reads_what_redis_holds(redis_server: RedisServer) -> None:
    [fixture] = [one for one in FIXTURES if one.name == "NaN once"]
    case = Case.of(fixture.telemetry())
    pipe = redis_server.client().pipeline(transaction=False)
    for _ms, (entry_id, flat) in case.rows:
        pipe.xadd(STREAM, dict(zip(flat[::2], flat[1::2])), id=entry_id)
    pipe.execute()
    memory = MemoryReader(case, hours=6)
    with StreamReader(Connection.from_dict(redis_server.options()), STREAM) as real:
        info = real.info()
        assert memory.info() == info
        for limit, after, until in (
            (0, memory.marker, info.last_generated_id),
            (2000, memory.marker, info.last_generated_id),
            (1000, ZERO, memory.marker),
        ):
            found = list(memory.newest(limit, after, until))
            assert found == list(real.newest(limit, after, until))
            assert len(found) == (limit or EVENTS)
        last = info.last_generated_id
        for after in (ZERO, memory.marker.previous(), memory.marker, last.previous(), last, last.next()):
            for count in (1, 1000):
                command = ("XREAD", "COUNT", count, "STREAMS", STREAM, str(after))
                assert memory._call(*command) == real._call(*command)
        for after, until, most, wanted in (
            (ZERO, last, 20_000, 2 * EVENTS),
            (memory.marker, last, 20_000, EVENTS),
            (memory.marker, last, 1500, 1500),
            (ZERO, memory.marker, 20_000, EVENTS),
            (last, last.next(), 20_000, 0),
        ):
            found = list(memory.oldest(after, until, most))
            assert found == list(real.oldest(after, until, most))
            assert len(found) == wanted
            assert (memory.scanned, memory.reached) == (real.scanned, real.reached)
    assert memory.now_ms - memory.info().last_generated_id.ms == 1000
    assert memory.server_ms() == memory.now_ms
