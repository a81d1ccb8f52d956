# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Telemetry for tests of the judge: decisions as an engine publishes them, healthy unless a test spoils them."""

from __future__ import annotations

import json
import time
import typing as t

STREAM = "quantum:stream:trade.intent"
MODELS = ("xgb", "lgbm", "nhits", "patchtst")
# Agreement over one round: (3 + 3 + 2 + 3 + 2) / 20 = 65 %; nobody buys while another sells.
_ROUND = ("BBBH", "HHHS", "SSHH", "HSSS", "BHBH")
_ACTIONS = {"B": "BUY", "S": "SELL", "H": "HOLD"}

Breakdown = dict[str, t.Any]


def vote(action: str = "HOLD", confidence: t.Any = 0.5, source: str = "net", **more: t.Any) -> dict[str, t.Any]:
    """One model's entry in a breakdown."""
    return {"action": action, "confidence": confidence, "model": source, **more}


def healthy(i: int, models: t.Sequence[str] = MODELS) -> Breakdown:
    """The i-th decision of an ensemble that passes every rule: the models take turns, confidences spread evenly."""
    actions = _ROUND[i % len(_ROUND)]
    return {
        name: vote(
            _ACTIONS[actions[(place + i // len(_ROUND)) % len(actions)]],
            round(0.2 + 0.7 * ((i * 0.6180339887 + place * 0.31) % 1), 6),
            f"{name}_net",
        )
        for place, name in enumerate(models)
    }


def entry(breakdown: t.Any, **payload: t.Any) -> dict[str, str]:
    """The fields of a stream entry."""
    event = {"symbol": "BTCUSDC", "side": "BUY", "model": "ensemble", "model_breakdown": breakdown, **payload}
    return {"event_type": "trade.intent", "payload": json.dumps(event)}


def now_ms() -> int:
    return int(time.time() * 1000)


def publish(
    client: t.Any,
    count: int,
    *,
    start_ms: int,
    step_ms: int = 1000,
    spoil: t.Callable[[int, Breakdown], t.Any] | None = None,
    stream: str = STREAM,
    **fields: str,
) -> list[str]:
    """Add ``count`` healthy decisions from ``start_ms`` on, every ``step_ms``; returns their IDs.

    ``spoil(i, breakdown)`` may change the breakdown in place, or return what is to be published instead: another
    breakdown, or a dictionary with ``payload`` to give the entry's fields themselves.
    """
    pipe = client.pipeline(transaction=False)
    for i in range(count):
        breakdown: t.Any = healthy(i)
        said = spoil(i, breakdown) if spoil else None
        if said is not None:
            breakdown = said
        raw = isinstance(breakdown, dict) and ("payload" in breakdown or "model_breakdown" in breakdown)
        pipe.xadd(
            stream, {**(breakdown if raw else entry(breakdown, serial=i)), **fields}, id=f"{start_ms + i * step_ms}-0"
        )
    return list(pipe.execute())
