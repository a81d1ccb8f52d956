# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Decisions become stream entries here, and modes that concern the stream or the payload do their harm here."""

from __future__ import annotations

import itertools
import json
import time
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .votes import Decision, Market, ensemble

Fields = dict[str, str]
MUTE = ("silent", "vanished", "wrong_type")  # publish nothing


def timestamp(ms: int | None = None) -> str:
    """Return a time (default: now) in ISO form with its offset."""
    seconds = time.time() if ms is None else ms / 1000
    return datetime.fromtimestamp(seconds, tz=timezone.utc).isoformat()


def payload(decision: Decision, weights: Mapping[str, float], show: Mapping[str, float] | None) -> dict[str, Any]:
    """Return the event's content; ``show`` puts the weights in use into ``ensemble_weights``."""
    voted = ensemble(decision.breakdown, weights)
    content: dict[str, Any] = {
        "symbol": decision.symbol,
        "side": voted["side"],
        "confidence": voted["confidence"],
        "position_size_usd": round(200 + 1800 * voted["confidence"], 2),
        "leverage": 3,
        "entry_price": round(decision.price, 4),
        "timestamp": timestamp(),
        "model": "ensemble",
        "consensus_count": voted["consensus_count"],
        "total_models": voted["total_models"],
        "model_breakdown": decision.breakdown,
        "atr_value": round(decision.price * 0.008, 6),
        "volatility_factor": 1.0,
        "exchange_divergence": 0.0002,
        "funding_rate": 0.0001,
        "regime": decision.regime,
    }
    if show is not None:
        content["ensemble_weights"] = dict(show)
    return content


def fields(content: dict[str, Any], source: str, count: int, mode: str, canary: str, own_field: bool = False) -> Fields:
    """Return the entry's fields. ``own_field``: the breakdown in a field beside the payload, as older publishers do."""
    extra: Fields = {}
    if own_field or mode == "breakdown_field":
        extra["model_breakdown"] = json.dumps(content.pop("model_breakdown"))
    tenth = count % 10 == 0
    if mode == "no_breakdown" and tenth:
        content.pop("model_breakdown", None)
        extra.pop("model_breakdown", None)
    text = json.dumps(content)
    if mode == "broken_payload" and tenth:
        text = text[: len(text) // 2]
    if mode == "duplicate_key" and tenth:
        again = '"model_breakdown": {' + json.dumps(canary) + ': {"action": "BUY", "confidence": 0.99}, '
        text = text.replace('"model_breakdown": {', again, 1)
    return {
        "event_type": "trade.intent",
        "payload": text,
        "timestamp": timestamp(),
        "source": source,
        "trace_id": str(uuid.uuid4()),
        "correlation_id": str(uuid.uuid4()),
        **extra,
    }


def recorded(path: str) -> Iterator[Fields]:
    """Return the entries of a recorded file for ever, one after the other."""
    lines = [json.loads(line)["fields"] for line in Path(path).read_text().splitlines() if line.strip()]
    return itertools.cycle(lines)


class Publisher:
    """Writes decisions to the stream, in the way that the present mode asks for."""

    def __init__(self, redis: Any, stream: str, market: Market, name: str, own_field: bool = False) -> None:
        self._redis = redis
        self._stream = stream
        self._name = name
        self._own_field = own_field
        self._replay: Iterator[Fields] | None = None
        self.market = market
        self.count = 0

    def entries(self, number: int, weights: Mapping[str, float], orders: Mapping[str, Any]) -> list[Fields]:
        """Return the fields of the next decisions."""
        mode = self.market.mode
        if mode == "replay":
            if self._replay is None:
                self._replay = recorded(orders["replay_file"])
            return list(itertools.islice(self._replay, number))
        self._replay = None
        made = []
        for _ in range(number):
            content = payload(self.market.decide(), weights, orders.get("show"))
            source = orders["source"] or self._name
            made.append(fields(content, source, self.count, mode, self.market.canary, self._own_field))
            self.count += 1
            if mode == "republish":
                made.append(made[-1])
        return made

    def publish(self, number: int, weights: Mapping[str, float], orders: Mapping[str, Any]) -> None:
        """Publish decisions, or do the harm that the mode asks for instead. Redis' errors go to the caller."""
        mode = self.market.mode
        kind = self._redis.type(self._stream) if mode in MUTE or self.count == 0 else b"stream"
        if mode in MUTE:
            if mode == "vanished" and kind != b"none":
                self._redis.delete(self._stream)
            if mode == "wrong_type" and kind != b"string":
                self._redis.delete(self._stream)
                self._redis.set(self._stream, "not a stream")
            self.count = 0  # look at the key's type again when publishing goes on
            return
        if kind not in (b"stream", b"none"):
            self._redis.delete(self._stream)
        while number > 0:
            part = min(number, 500)
            pipe = self._redis.pipeline(transaction=False)
            for entry in self.entries(part, weights, orders):
                pipe.xadd(self._stream, entry, maxlen=int(orders["maxlen"]), approximate=True)
            if mode == "truncation":
                pipe.xtrim(self._stream, maxlen=3, approximate=False)
            pipe.execute()
            number -= part
