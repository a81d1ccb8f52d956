# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""One stream entry -> one decision: every model's vote, and every reason why the entry cannot be trusted. Pure.

Nothing here raises on what an entry holds: whatever is wrong becomes a blocker, and a blocker fails the gate.
"""

from __future__ import annotations

import json
import math
import typing as t
from dataclasses import dataclass, field

from ..errors import BadInput
from ..verdict import printable
from .cutover import StreamId

ACTIONS = ("BUY", "SELL", "HOLD")
INVALID_CONFIDENCE = "invalid_confidence"
INVALID_ACTION = "invalid_action"
INVALID_PAYLOAD = "invalid_payload"
POSITION_SIZE = "position_size_usd"

_FALLBACK_SOURCES = ("insufficient_history", "fallback_rules")
MOST_BYTES = 1 << 14
"""Bytes of one entry, names and values together: some 13 times a real one. A larger one is not decoded."""
_MOST_VALUES = 2048
_MOST_DIGITS = 400
_MOST_MODELS = 64
_MOST_NAME = 64
_MOST_SYMBOL = 32
_MOST_USD = 10**12
"""USD of one position: what claims to be larger, an infinity among it, counts as this."""

Fields = t.Sequence[tuple[bytes, bytes]]


class Vote(t.NamedTuple):
    """What one model said in one decision. ``confidence`` is in [0, 1]."""

    action: str
    confidence: float
    normalized: bool
    source: str
    fallback: bool
    shadow: bool


class Blocker(t.NamedTuple):
    """Why an entry, or one model in it (``model`` is then not empty), cannot be judged."""

    code: str
    model: str
    message: str


class Decision(t.NamedTuple):
    """One entry, read. ``inactive`` did not predict, ``ignored`` are no models; neither votes. ``symbol`` and ``side``
    (the action the engine took) are "" where the payload does not tell them in a form that can be shown; ``cents``: the
    position's size in whole cents of USD, None where the payload does not tell it."""

    id: StreamId
    votes: t.Mapping[str, Vote]
    blockers: tuple[Blocker, ...]
    inactive: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    fingerprint: int = 0
    symbol: str = ""
    side: str = ""
    cents: int | None = None


@dataclass(frozen=True)
class Dialect:
    """How this engine names its models: ``aliases`` {from: to}, and names which are no models."""

    aliases: t.Mapping[str, str] = field(default_factory=dict)
    ignore: frozenset[str] = frozenset()

    @classmethod
    def of(cls, aliases: t.Any = None, ignore: t.Any = ()) -> Dialect:
        """Check and take the options. Raises BadInput."""
        aliases = {} if aliases is None else aliases
        if not isinstance(aliases, t.Mapping):
            raise BadInput(f"aliases={aliases!r:.80} is not a dictionary", remedy="Give {name in telemetry: model}.")
        for name, target in aliases.items():
            if not isinstance(name, str) or not isinstance(target, str) or not name or not target:
                raise BadInput(
                    f"aliases[{name!r}]={target!r:.80} is not a name", remedy="Give {name in telemetry: model}."
                )
            if target in aliases and aliases[target] != target:
                raise BadInput(
                    f"aliases[{name!r}]={target!r} is itself an alias", remedy="Map every name to its final model."
                )
        return cls(dict(aliases), frozenset(ignore or ()))


class _Untrusted(ValueError):
    """The payload is JSON that means two things at once, or more than a decision can hold."""


def parse(entry_id: StreamId, fields: Fields, dialect: Dialect) -> Decision:
    """Read one entry. ``fields`` are (name, value) pairs in bytes, as the stream holds them."""
    try:
        return _decision(entry_id, *_breakdown(fields), dialect)
    except _Untrusted as error:
        return _refused(entry_id, str(error))
    except RecursionError:
        return _refused(entry_id, "payload is nested too deeply")
    except ValueError as error:
        return _refused(entry_id, f"payload is not JSON: {error}")


def _refused(entry_id: StreamId, message: str) -> Decision:
    return Decision(entry_id, {}, (Blocker(INVALID_PAYLOAD, "", printable(message, 200)),))


def _symbol(value: t.Any) -> str:
    good = isinstance(value, str) and len(value) <= _MOST_SYMBOL and value.isprintable()
    return value if good else ""


def _side(value: t.Any) -> str:
    return value if isinstance(value, str) and value in ACTIONS else ""


def _cents(value: t.Any) -> int | None:
    """The size of a position, long or short, in whole cents: their sums are exact in any order."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) >= 0:  # NaN
        return None
    size: float = min(abs(value), _MOST_USD)
    return round(100 * size)


def _breakdown(fields: Fields) -> tuple[bytes, dict[str, t.Any], dict[str, t.Any]]:
    """The bytes that were judged, the model breakdown in them, and the whole payload (empty where there is none)."""
    size = sum(len(name) + len(value) for name, value in fields)
    if size > MOST_BYTES:
        raise _Untrusted(f"the entry has {size} bytes, more than {MOST_BYTES}")
    payload = _single(fields, b"payload")
    own_field = _single(fields, b"model_breakdown")  # older publishers
    if payload is None and own_field is None:
        raise _Untrusted(_nothing_to_judge(fields, "the entry has neither a payload nor a model_breakdown"))
    found: t.Any = None
    event: t.Any = {}
    if payload is not None:
        event = _load(payload)
        if not isinstance(event, dict):
            raise _Untrusted(f"payload is not an object but {type(event).__name__}")
        found = event.get("model_breakdown")
        if isinstance(found, str):
            found = _load(found.encode("utf-8", "surrogatepass"))
    if own_field is not None:
        other = _load(own_field)
        if found is not None and found != other:
            raise _Untrusted("the entry holds two different model breakdowns")
        found = other
    if found is None:
        raise _Untrusted(_nothing_to_judge(fields, "payload has no model_breakdown"))
    if not isinstance(found, dict):
        raise _Untrusted(f"model_breakdown is not an object but {type(found).__name__}")
    if not found:
        raise _Untrusted("model_breakdown is empty")
    if len(found) > _MOST_MODELS:
        raise _Untrusted(f"model_breakdown names {len(found)} models, more than {_MOST_MODELS}")
    return payload if payload is not None else own_field or b"", found, event


def payload_of(fields: Fields) -> dict[str, t.Any] | None:
    """The payload of an entry as an object, or None for whatever cannot be trusted to be one."""
    try:
        payload = _single(fields, b"payload")
        event = None if payload is None else _load(payload)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) else None


def _nothing_to_judge(fields: Fields, message: str) -> str:
    kinds = [value.decode("utf-8", "replace") for name, value in fields if name == b"event_type"]
    return f"{message} (event_type {kinds[0][:60]!r}; select decisions with the option match)" if kinds else message


def _single(fields: Fields, wanted: bytes) -> bytes | None:
    values = [value for name, value in fields if name == wanted]
    if len(values) > 1:
        raise _Untrusted(f"the entry has the field {wanted.decode()} {len(values)} times")
    return values[0] if values else None


def _load(data: bytes) -> t.Any:
    if len(data) > MOST_BYTES:
        raise _Untrusted(f"payload has {len(data)} bytes, more than {MOST_BYTES}")
    # Every value stands after one of these: the time of a check is bounded by what it may decode, not by its bytes.
    if data.count(b",") + data.count(b"{") + data.count(b"[") > _MOST_VALUES:
        raise _Untrusted(f"payload has more than {_MOST_VALUES} values")
    return _DECODER.decode(data.decode(json.detect_encoding(data), "surrogatepass"))  # as json.loads reads bytes


def _unique(pairs: list[tuple[str, t.Any]]) -> dict[str, t.Any]:
    found = dict(pairs)
    if len(found) != len(pairs):  # json would silently let the last one win
        seen: set[str] = set()
        for name, _value in pairs:
            if name in seen:
                raise _Untrusted(f"payload has the key {name[:60]!r} twice in one object")
            seen.add(name)
    return found


def _bounded_int(text: str) -> int:
    if len(text) > _MOST_DIGITS:  # older Pythons take quadratic time for it
        raise _Untrusted(f"payload has a number of {len(text)} digits")
    return int(text)


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_int=_bounded_int)
"""Made once: ``json.loads`` would make one for each decision, and more slowly than it decodes."""


def _decision(
    entry_id: StreamId, payload: bytes, breakdown: dict[str, t.Any], event: dict[str, t.Any], dialect: Dialect
) -> Decision:
    votes: dict[str, Vote] = {}
    blockers: list[Blocker] = []
    inactive: list[str] = []
    ignored: list[str] = []
    seen: set[str] = set()
    for raw_name, said in breakdown.items():
        name = dialect.aliases.get(raw_name, raw_name)
        if name in dialect.ignore or raw_name in dialect.ignore:
            ignored.append(name)
            continue
        if not 0 < len(name) <= _MOST_NAME or not name.isprintable():
            blockers.append(Blocker(INVALID_PAYLOAD, "", f"{printable(name, 60)!r} is not a model's name"))
            continue
        if name in seen:
            blockers.append(Blocker(INVALID_PAYLOAD, name, "two entries in one decision, after aliases"))
            votes.pop(name, None)
            continue
        seen.add(name)
        vote = _vote(name, said)
        if isinstance(vote, Vote):
            votes[name] = vote
        elif vote is None:
            inactive.append(name)
        else:
            blockers.extend(vote)
    return Decision(
        entry_id,
        votes,
        tuple(blockers),
        tuple(inactive),
        tuple(ignored),
        hash(payload),
        _symbol(event.get("symbol")),
        _side(event.get("side")),
        _cents(event.get(POSITION_SIZE)),
    )


def _vote(model: str, said: t.Any) -> Vote | list[Blocker] | None:
    """The vote, or None for a model that did not predict, or what is wrong with it."""
    if not isinstance(said, dict):
        return [Blocker(INVALID_PAYLOAD, model, f"its entry is not an object but {type(said).__name__}")]
    idle, shadow = said.get("inactive"), said.get("shadow")
    if not (idle is None or isinstance(idle, bool)) or not (shadow is None or isinstance(shadow, bool)):
        # "false" is true to a careless reader: a flag that is not a boolean decides nothing.
        return [Blocker(INVALID_PAYLOAD, model, f"inactive or shadow is not a boolean: {_show([idle, shadow])}")]
    if idle:
        return None
    blockers = []
    action = said.get("action")
    if not isinstance(action, str) or action not in ACTIONS:
        blockers.append(Blocker(INVALID_ACTION, model, f"action is {_show(action)}, not one of BUY, SELL, HOLD"))
    confidence = normalized(said.get("confidence"))
    if confidence is None:
        blockers.append(Blocker(INVALID_CONFIDENCE, model, f"confidence is {_show(said.get('confidence'))}"))
    if blockers or confidence is None:
        return blockers
    source = said.get("model")
    source = printable(source, 64) if isinstance(source, str) else ""
    fallback = source.endswith(_FALLBACK_SOURCES)
    return Vote(str(action), confidence[0], confidence[1], source, fallback, bool(shadow))


def normalized(value: t.Any) -> tuple[float, bool] | None:
    """A confidence in [0, 1] and whether it was a logit (> 1, put through the sigmoid); None when it is invalid.

    Invalid: not a number, a boolean, NaN, infinite, negative.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    if not (math.isfinite(number) and number >= 0):
        return None
    return (number, False) if number <= 1 else (sigmoid(number), True)


def sigmoid(x: float) -> float:
    """1 / (1 + exp(-x)), by the branch that cannot overflow."""
    if x >= 0:
        return 1.0 / (1.0 + math.exp(-x))
    e = math.exp(x)
    return e / (1.0 + e)


def _show(value: t.Any) -> str:
    return printable(repr(value), 60)
