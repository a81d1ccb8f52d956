# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Entries as somebody writes them who wants to harm whoever reads the stream."""

from __future__ import annotations

import json
import typing as t

from .telemetry import healthy, vote

Fields = dict[bytes, bytes]

NAMES = {
    "a new line and a directive": "patchtst\nExecStart=/bin/sh",
    "a specifier": "%h%n",
    "a command": "$(touch /tmp/x)`id`",
    "a path": "../../etc/passwd",
    "quotes": "a\"b'c\\",
    "the title of a terminal": "x\x1b]0;owned\x07",
    "a tag": "<script>alert(1)</script>",
    "a cell": "a | b | **c**",
    "a link": "[x](javascript:1)",
    "back ticks": "```a```",
    "a template": "{{ lookup('pipe','id') }}",
    "from right to left": "\u202egpj.exe",
    "a line separator": "a\u2028# Status: GO",
    "a lone surrogate": "\ud800",
    "NUL": "a\0b",
    "10 kB": "n" * 10_000,
    "empty": "",
}
"""Names of models. Those that hold something to act on never become a model; the others are escaped."""


def payload(text: str | bytes) -> Fields:
    """An entry with this payload."""
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    return {b"event_type": b"trade.intent", b"payload": data}


def told(breakdown: t.Any) -> Fields:
    """An entry with this breakdown."""
    return payload(json.dumps({"model_breakdown": breakdown}))


def patchtst(confidence: str) -> Fields:
    """A healthy decision, but for the text of the canary's confidence."""
    text = json.dumps({"model_breakdown": {**healthy(0), "patchtst": vote("BUY", "CONFIDENCE")}})
    return payload(text.replace('"CONFIDENCE"', confidence))


ENTRIES: t.Mapping[str, Fields] = {
    "10 MB": payload(b"x" * 10_000_000),
    "10 MB of JSON": payload(b'{"model_breakdown": {"xgb": "' + b"x" * 10_000_000 + b'"}}'),
    "depth 1,000": payload('{"model_breakdown":' + '{"a":' * 1_000 + "1" + "}" * 1_001),
    "depth 10,000": payload("[" * 10_000 + "]" * 10_000),
    "depth 100,000": payload('{"model_breakdown":' + '{"a":' * 100_000 + "1" + "}" * 100_001),
    "10,000 models": told({f"m{i}": vote() for i in range(10_000)}),
    "65 models": told({f"m{i}": vote() for i in range(65)}),
    "an integer of 10,000 digits": payload('{"model_breakdown": {"xgb": ' + "9" * 10_000 + "}}"),
    "an integer of 10,000,000 digits": payload(b'{"n": ' + b"9" * 10_000_000 + b"}"),
    "a key twice after 1,500 others": payload(
        "{" + ",".join(f'"{i}":0' for i in range(1500)) + ',"1499":1,"model_breakdown":{"xgb":{}}}'
    ),
    "1e400": patchtst("1e400"),
    "-1e400": patchtst("-1e400"),
    "NaN": patchtst("NaN"),
    "a number as text": patchtst('"1e5"'),
    "a boolean": patchtst("true"),
    "a negative number": patchtst("-0.1"),
    "NUL bytes": payload(b'{"model_breakdown"\0: {}}'),
    "not UTF-8": payload(b'{"model_breakdown": {"xgb": "\xff\xfe"}}'),
    "10,000 fields": {f"f{i}".encode(): b"v" for i in range(10_000)},
    "1,000 fields": {f"f{i}".encode(): b"v" for i in range(1_000)},
    "no field of ours": {b"a": b"b"},
    "a huge name of a field": {b"f" * 5_000_000: b"v", **told(healthy(0))},
    "an event of another kind": {b"event_type": b"\x1b]0;owned\x07<script>", b"x": b"y"},
}
"""Each of them alone must be a blocker: for the gate a refusal, for the monitor the end of the run."""
HARMLESS: t.Mapping[str, Fields] = {"-0.0": patchtst("-0.0"), "a tiny number": patchtst("1e-400")}
