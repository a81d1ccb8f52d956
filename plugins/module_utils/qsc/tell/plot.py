# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""A backtest as a picture: when each start's run ended, and how. Plain SVG, no library is needed on a host."""

from __future__ import annotations

import typing as t
from datetime import datetime, timedelta, timezone
from html import escape

from .markup import Data

_COLOURS = {
    "rolled_back": ("#d55e00", "rolled back"),
    "inconclusive": ("#e6b800", "inconclusive"),
    "safe": ("#009e73", "safe"),
    "cut_off": ("#a9b4bd", "cut off by the end of the recording"),
}
"""Told apart by colour-blind people too (Okabe & Ito 2008)."""
_WIDTH, _LEFT, _RIGHT, _TOP, _PANEL, _GAP, _BOTTOM = 960, 70, 20, 74, 190, 46, 40
_FONT = "font-family='DejaVu Sans, Helvetica, Arial, sans-serif'"
_STEPS_S = (60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800)


def svg(data: Data) -> str:
    """The picture: one panel a policy; a bar a start, as high as its run was long."""
    policies = data["policies"]
    starts = [run["start_ms"] / 1000 for item in policies for run in item["runs"]]
    first, last = min(starts), max(starts) + data["every_s"]
    height = _TOP + len(policies) * (_PANEL + _GAP) + _BOTTOM - _GAP
    body = [_head(data), *_legend(), _text(_WIDTH - _RIGHT, height - 6, "start of the run, UTC", anchor="end")]
    for place, item in enumerate(policies):
        body += _panel(item, data, first, last, _TOP + place * (_PANEL + _GAP))
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{_WIDTH}' height='{height}' "
        f"viewBox='0 0 {_WIDTH} {height}' {_FONT} font-size='12' fill='#222'>\n"
        f"<rect width='100%' height='100%' fill='#fff'/>\n" + "\n".join(body) + "\n</svg>\n"
    )


def _head(data: Data) -> str:
    title = f"Canary runs of {data['model']}, by their start: how long until they ended"
    return _text(_LEFT, 24, title, size=15, weight="bold")


def _legend() -> list[str]:
    found, x = [], float(_LEFT)
    for colour, label in _COLOURS.values():
        found += [f"<rect x='{x:g}' y='37' width='11' height='11' fill='{colour}'/>", _text(x + 16, 47, label)]
        x += 34 + 7.0 * len(label)
    return found


def _panel(item: Data, data: Data, first: float, last: float, top: float) -> list[str]:
    wide, bottom = _WIDTH - _LEFT - _RIGHT, top + _PANEL
    longest = float(data["duration_s"])

    def x_of(moment: float) -> float:
        return _LEFT + wide * (moment - first) / (last - first)

    def y_of(seconds: float) -> float:
        return bottom - (_PANEL - 22) * min(1.0, seconds / longest)

    rollback = item["rollback"]
    counts = f"{rollback['count']} of {rollback['of']} rolled back, {item['safe']} safe, "
    counts += f"{item['inconclusive']} inconclusive, {item['cut_off']} cut off"
    found = [_text(_LEFT, top + 10, f"{item['policy']}: {counts}", weight="bold")]
    unit, name = (3600.0, "h") if longest >= 7200 else (60.0, "min")
    step = _step(longest, 4)
    for number in range(int(longest / step + 1e-9) + 1):
        y = y_of(number * step)
        found.append(f"<line x1='{_LEFT}' y1='{y:.1f}' x2='{_WIDTH - _RIGHT}' y2='{y:.1f}' stroke='#ddd'/>")
        found.append(_text(_LEFT - 8, y + 4, f"{number * step / unit:g} {name}", anchor="end"))
    thick = max(0.6, wide * data["every_s"] / (last - first) * 0.86)
    for run in item["runs"]:
        colour, label = _COLOURS[run["result"]]
        y = min(y_of(run["at_s"]), bottom - 1.5)
        rules = f", {', '.join(run['rules'])}" if run["rules"] else ""
        tip = f"{_clock(run['start_ms'] / 1000, '%Y-%m-%d %H:%M')}: {label} after {run['at_s'] / 60:.0f} min{rules}"
        found.append(
            f"<rect x='{x_of(run['start_ms'] / 1000):.2f}' y='{y:.1f}' width='{thick:.2f}' height='{bottom - y:.1f}' "
            f"fill='{colour}'><title>{_safe(tip)}</title></rect>"
        )
    found.append(f"<line x1='{_LEFT}' y1='{bottom}' x2='{_WIDTH - _RIGHT}' y2='{bottom}' stroke='#444'/>")
    return [*found, *_moments(first, last, x_of, bottom)]


def _moments(first: float, last: float, x_of: t.Callable[[float], float], bottom: float) -> list[str]:
    step = _step(last - first, 8)
    form = "%m-%d %H:%M" if last - first > 64_800 else "%H:%M"
    found, moment = [], (int(first) // step + 1) * step
    while moment <= last:
        x = x_of(moment)
        found.append(f"<line x1='{x:.1f}' y1='{bottom}' x2='{x:.1f}' y2='{bottom + 4}' stroke='#444'/>")
        found.append(_text(x, bottom + 17, _clock(moment, form), anchor="middle"))
        moment += step
    return found


def _step(span: float, most: int) -> int:
    """The smallest round step of which at most ``most`` fit into ``span`` s."""
    return next((step for step in _STEPS_S if span / step <= most), int(span / most) + 1)


def _clock(moment: float, form: str) -> str:
    """UTC."""
    return (datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=moment)).strftime(form)


def _text(x: float, y: float, words: str, *, size: int = 12, weight: str = "normal", anchor: str = "start") -> str:
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' font-size='{size}' font-weight='{weight}' "
        f"text-anchor='{anchor}'>{_safe(words)}</text>"
    )


def _safe(words: str) -> str:
    """Text of an element; names come from telemetry, and XML cannot hold control characters."""
    return escape("".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in words))
