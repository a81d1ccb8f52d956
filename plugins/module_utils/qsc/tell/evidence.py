# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""What was written as evidence, and what a replay of it came to, in lines for a terminal."""

from __future__ import annotations

import json
import typing as t

from ..verdict import printable

MOST_SHOWN = 20
"""Differences that are shown one by one."""
_WIDTH = 160


def evidence_lines(written: t.Mapping[str, t.Any]) -> list[str]:
    """Path, size and digest of an archive, and what is not in it."""
    lines = [f"{written['path']}: {written['bytes']} bytes, SHA-256 {written['sha256']}"]
    lines.append(f"{written['checks']} checks, {written['decisions']} decisions of {written['canary_id']}")
    missing = written.get("missing")
    if missing:
        count = "an unknown number of" if missing["count"] is None else str(missing["count"])
        lines.append(
            f"trimmed before it was written: {count} entries after {missing['after']} and before {missing['before']}"
        )
    lines += [f"absent: {name}: {printable(str(why), 300)}" for name, why in written["absent"].items()]
    lines += [f"the password was found in {name} and hidden" for name in written["hidden"]]
    return lines


def replay_lines(found: t.Mapping[str, t.Any]) -> list[str]:
    """The answer first; then every difference, and of what nothing can be said."""
    differences, impossible = found["differences"], found["impossible"]
    lines = [_headline(found)]
    lines += [
        f"{printable(str(item['name']), 60)} of {_check(item['number'])}: recorded {_value(item['recorded'])}, "
        f"recomputed {_value(item['recomputed'])}"
        for item in differences[:MOST_SHOWN]
    ]
    if len(differences) > MOST_SHOWN:
        lines.append(f"and {len(differences) - MOST_SHOWN} more differences")
    lines += [f"MANIFEST.json: {printable(name, 120)} is not the file it was written of" for name in found["altered"]]
    lines += [f"ledger.jsonl: {printable(text, 200)}" for text in found["ledger"]]
    for why in dict.fromkeys(impossible.values()):
        numbers = [int(number) for number, reason in impossible.items() if reason == why]
        lines.append(f"cannot be recomputed: {_ranges(numbers)}: {printable(why, 300)}")
    lines += [f"not in the log: {_written([gap])}" for gap in found["gaps"][:MOST_SHOWN]]
    if len(found["gaps"]) > MOST_SHOWN:
        lines.append(f"not in the log: {len(found['gaps']) - MOST_SHOWN} more gaps")
    lines += [f"taken over as recorded: {count} ({printable(why, 100)})" for why, count in found["taken_over"].items()]
    lines += [f"note: {printable(text, 300)}" for text in found["notes"]]
    return lines


def _headline(found: t.Mapping[str, t.Any]) -> str:
    run = printable(str(found["canary_id"]), 120)
    made = f"{found['recomputed']} of {found['checks']} checks of {run} ({found['policy']}) were judged again"
    if found["differences"]:
        numbers = sorted({item["number"] for item in found["differences"]})
        return f"DIFFERS: {made}, and differ in: {_ranges(numbers)}"
    if found["altered"] or found["ledger"]:
        return f"DIFFERS: {made} with the same verdicts, but the archive is not as it was written"
    if not found["whole"]:
        return f"NOT ALL: {made} with the same verdicts; the others cannot be judged again"
    return f"EQUAL: {made} with the same verdicts"


def _check(number: int) -> str:
    return f"check {number}" if number else "the run"


def _value(value: t.Any) -> str:
    return printable(json.dumps(value, ensure_ascii=False, default=str), _WIDTH)


def _ranges(numbers: t.Iterable[int]) -> str:
    """Numbers of checks in few words."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return _written(parts)


def _written(parts: t.Sequence[t.Sequence[int]]) -> str:
    shown = ", ".join(f"{low}" if low == high else f"{low} to {high}" for low, high in parts[:MOST_SHOWN])
    more = f" and {len(parts) - MOST_SHOWN} more" if len(parts) > MOST_SHOWN else ""
    if not parts:
        return "nothing"
    single = len(parts) == 1 and parts[0][0] == parts[0][1]
    return f"{'check' if single else 'checks'} {shown}{more}"
