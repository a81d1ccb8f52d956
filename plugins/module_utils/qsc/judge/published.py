# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""The weights an engine says it uses, where it publishes them in its decisions."""

from __future__ import annotations

import math
import typing as t
from dataclasses import dataclass

from ..errors import BadInput, TelemetryError
from ..settings import MODEL_NAME
from ..verdict import printable
from .cutover import StreamId
from .decisions import Fields, payload_of
from .stream import StreamReader


@dataclass(frozen=True)
class Published:
    """The first decision after the marker that told: ``weights`` {model: share} and its ``id``. Both None while none
    of the ``decisions`` seen did."""

    weights: dict[str, float] | None
    id: StreamId | None
    decisions: int


def published_weights(
    reader: StreamReader,
    name: str,
    since: StreamId,
    wait_s: float,
    *,
    aliases: t.Mapping[str, str] | None = None,
) -> Published:
    """Wait at most ``wait_s`` seconds for a decision after ``since`` whose payload field ``name`` holds weights.

    Raises TelemetryError when Redis cannot be read or the field does not hold weights, BadInput for an empty name.
    """
    if not name:
        raise BadInput("field='' is empty", remedy="Name the payload field in which the engine publishes its weights.")
    decisions = 0
    for entry in reader.follow(since, wait_s):
        decisions += 1
        weights = weights_in(entry.fields, name, entry.id, aliases or {})
        if weights is not None:
            return Published(weights, entry.id, decisions)
    return Published(None, None, decisions)


def weights_in(fields: Fields, name: str, entry_id: StreamId, aliases: t.Mapping[str, str]) -> dict[str, float] | None:
    """The weights of one entry, or None when it tells none. Raises TelemetryError when they are no weights."""
    value = _value(fields, name)
    return None if value is None else _weights(value, name, entry_id, aliases)


def _value(fields: Fields, name: str) -> t.Any:
    """The field's value; None for an entry without it, or one that cannot be read: the gate judges those."""
    payload = payload_of(fields)
    value = payload.get(name) if payload else None
    if isinstance(value, str):
        parsed = payload_of([(b"payload", value.encode("utf-8", "replace"))])
        return value if parsed is None else parsed
    return value


def _weights(value: t.Any, name: str, entry_id: StreamId, aliases: t.Mapping[str, str]) -> dict[str, float]:
    weights: dict[str, float] = {}
    if isinstance(value, dict) and value:
        for model, share in value.items():
            good = isinstance(share, (int, float)) and not isinstance(share, bool) and 0 <= share <= 1
            model = aliases.get(model, model)
            if not good or not math.isfinite(share) or model in weights or not MODEL_NAME.fullmatch(model):
                break
            weights[model] = float(share)
        else:
            return weights
    raise TelemetryError(
        f"decision {entry_id}: the field {name!r} holds {printable(repr(value), 80)}, which are no weights",
        remedy="The engine must publish {model: share}, each share from 0 to 1.",
    )
