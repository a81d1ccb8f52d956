# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""What the canary's weight changes, and the canary beside the others, for people. Takes the plain data of the judge.

Names come from telemetry and may be hostile: see ``report``.
"""

from __future__ import annotations

import typing as t

from ..verdict import about, printable
from .markup import Data, figure, text

_MOST_NAMED = 3
_WORDS = {"confidence": "mean confidence"}
_COLUMNS = (
    "model", "coverage", "agrees with the majority of the others", "kappa", "agrees with the canary", "kappa",
    "confidence of the canary minus its own", "only one is with the rest: canary, it", "e-value",
)  # fmt: skip


def impact_lines(impact: Data | None) -> list[str]:
    """What the shares would change, for a terminal."""
    if not impact:
        return []
    shares = impact["shares"]
    asked = next((row for row in shares if row["share"] == impact["weight"]), None)
    lines = [f"impact    {sentence}" for sentence in _asked(impact, asked)]
    curve = ", ".join(f"{100 * row['share']:g} %: {percent(row['flip_share'])}" for row in shares)
    return [*lines, f"impact    flips by share: {curve}"]


def flips_line(impact: Data | None) -> list[str]:
    """What the weights in force change, for a terminal."""
    return [f"flips     {flips(impact)}"] if impact else []


def exposure_line(found: Data | None) -> list[str]:
    """What is spent of the canary's budget, for a terminal."""
    return [f"exposure  {exposure(found)}"] if found else []


def exposure_section(found: Data | None) -> list[str]:
    """The same as Markdown."""
    return [f"- Exposure: {exposure(found)}", ""] if found else []


def exposure(found: Data) -> str:
    """What is spent of the budget, in a sentence."""
    said = f"{found['usd']:,.2f} of {found['budget_usd']:,.2f} USD, {found['flipped']} flips in the whole run"
    return said + (f", {found['unsized']} of them without a position size" if found["unsized"] else "")


def flips(impact: Data) -> str:
    """The flips in a sentence: how many, in which direction, and where most of them are."""
    n, flipped = impact["decisions"], impact["flipped"]
    if not n:
        return "no decision with a vote"
    found = f"{percent(impact['flip_share'])} of the ensemble's decisions are not the baseline's ({flipped} of {n})"
    if not flipped:
        return found
    ways = [f"{row['from']} to {row['to']} {row['count']}" for row in _most(impact["directions"], "count")]
    where = [f"{name_of(row)} {row['flipped']} of {row['decisions']}" for row in _most(impact["symbols"], "flipped")]
    return f"{found}: {', '.join(ways)}; most in {', '.join(where)}{_positions(impact)}"


def _positions(impact: Data) -> str:
    """The size of the positions that flip, where any is known."""
    sized = impact["flipped"] - impact["unsized"]
    if not sized:
        return ""
    of = "" if sized == impact["flipped"] else f" (known of {sized})"
    return f"; positions of {impact['exposure_usd']:,.0f} USD{of}"


def _asked(impact: Data, asked: Data | None) -> list[str]:
    told = impact["reproduced"]
    found = []
    if asked is not None:
        found.append(f"at {100 * asked['share']:g} %: {flips(asked)}")
    if told["decisions"]:
        same = percent(told["same"] / told["decisions"])
        found.append(
            f"votes as {impact['vote']}: at the baseline that is what the engine did in {same} of {told['decisions']}"
        )
    return found


def _most(rows: t.Sequence[Data], key: str) -> list[Data]:
    return sorted((row for row in rows if row[key]), key=lambda row: -int(row[key]))[:_MOST_NAMED]


def name_of(row: Data) -> str:
    """The name of a symbol."""
    return printable(row["symbol"], 32) or "no symbol"


def percent(share: float | None, digits: int = 1) -> str:
    """A fraction in percent."""
    return "unknown" if share is None else f"{100 * share:.{digits}f} %"


def impact_section(impact: Data | None) -> list[str]:
    """What the shares would change, as Markdown."""
    if not impact:
        return []
    lines = [
        "## What the weight changes",
        "",
        f"{impact['decisions']} decisions, {impact['first_id']} to {impact['last_id']}, voted as {impact['vote']}.",
        "",
        "| share | flips | of the decisions | directions | most in |",
        "|---|---|---|---|---|",
    ]
    for row in impact["shares"]:
        mark = " (asked for)" if row["share"] == impact["weight"] else ""
        lines.append(f"| {100 * row['share']:g} %{mark} | {_row(row)} |")
    return [*lines, "", *[f"- {text(item)}" for item in _asked(impact, None)], ""]


def flips_section(impact: Data | None) -> list[str]:
    """What the weights in force change, as Markdown."""
    if not impact:
        return []
    lines = ["## What the weight changes", "", f"- Now: {text(flips(impact))} (voted as {impact['vote']})"]
    if impact["decisions"]:
        lines += [f"- Compared: {impact['first_id']} to {impact['last_id']}", ""]
        lines += ["| symbol | decisions | flips | % |", "|---|---|---|---|"]
        lines += [
            f"| {text(name_of(row))} | {row['decisions']} | {row['flipped']} | {percent(row['flip_share'])} |"
            for row in impact["symbols"]
        ]
    return [*lines, ""]


def _row(row: Data) -> str:
    ways = ", ".join(f"{item['from']} to {item['to']} {item['count']}" for item in _most(row["directions"], "count"))
    where = ", ".join(f"{text(name_of(item))} {item['flipped']}" for item in _most(row["symbols"], "flipped"))
    return f"{row['flipped']} | {percent(row['flip_share'])} | {ways or '-'} | {where or '-'}"


# Beside the others


def comparison_lines(found: Data | None) -> list[str]:
    """The canary beside the others, for a terminal."""
    if not found:
        return []
    canary = found["canary"]
    agree = [f"{printable(name, 20)} {_agreement(model)}" for name, model in found["incumbents"].items()]
    beside = ", ".join(agree) or "no other votes"
    lines = [
        f"beside    agrees with the majority of the others: {_agreement(canary)}; {beside}",
        f"beside    confidence against the mean of the others: {_difference(canary['difference'])}",
    ]
    drift = found["drift"]
    if drift["reason"]:
        return [*lines, f"beside    no drift is shown: {drift['reason']}"]
    return [*lines, *[f"drift     {sentence}" for sentence in _drift(found)]]


def _agreement(model: Data) -> str:
    return f"{percent(model['agreement'])} (kappa {figure(model['kappa'], 2)})"


def _difference(found: Data) -> str:
    if found["mean"] is None:
        return "unknown, no bucket is full"
    if found["low"] is None:
        return f"{found['mean']:+.4f}, no interval yet ({found['buckets']} buckets)"
    return f"{found['mean']:+.4f} ({found['low']:+.4f} to {found['high']:+.4f}, {found['buckets']} buckets)"


def _drift(found: Data) -> list[str]:
    """What changed since the time before, and whose change it is."""
    shift = found["drift"]["shift"]
    if shift is None:
        return ["nobody to compare the canary's change with"]
    market = [_moved(name, row["market"]) for name, row in shift.items() if row["market_moved"]]
    own = [_moved(name, row["own"]) for name, row in shift.items() if row["canary_moved"]]
    shared = f"the market's, in all other models: {', '.join(market)}" if market else "none that the others share"
    alone = f"the canary's own: {', '.join(own)}" if own else "none of the canary's own"
    return [f"since before the cutover: {shared}; {alone}"]


def _moved(name: str, by: float) -> str:
    return f"mean confidence {by:+.4f}" if name == "confidence" else f"{name} {100 * by:+.1f} points"


def comparison_section(found: Data | None) -> list[str]:
    """The canary beside the others on the same decisions, as Markdown. It shows, it decides nothing."""
    if not found:
        return []
    lines = [
        "## Beside the other models",
        "",
        f"{found['decisions']} decisions, the same for all; means of {about(found['bucket_s'])}. Shown only.",
        "",
        f"| {' | '.join(_COLUMNS)} |",
        "|" + "---|" * len(_COLUMNS),
    ]
    canary = found["canary"]
    lines.append(
        f"| {text(found['model'], 64)} | {percent(canary['coverage'])} | {percent(canary['agreement'])} | "
        f"{figure(canary['kappa'], 2)} | - | - | {_difference(canary['difference'])} (mean of the others) | - | - |"
    )
    for name, model in found["incumbents"].items():
        pair, one = model["same"], model["mcnemar"]
        word = f"{one['e_value']:.3g}" + (" CERTAIN" if one["certain"] else "")
        lines.append(
            f"| {text(name, 64)} | {percent(model['coverage'])} | {percent(model['agreement'])} | "
            f"{figure(model['kappa'], 2)} | {percent(pair['agreement'])} | {figure(pair['kappa'], 2)} | "
            f"{_difference(model['difference'])} | {one['canary']}, {one['incumbent']} | {word} |"
        )
    return [*lines, "", *_drift_section(found), *_symbol_section(found), ""]


def _drift_section(found: Data) -> list[str]:
    drift = found["drift"]
    if drift["reason"]:
        return [f"- Drift: none is shown, {drift['reason']}", ""]
    periods = drift["before"]["periods"]
    lines = [
        f"- Drift: {item}; the newest {drift['decisions']} decisions against {periods} equal periods before"
        for item in _drift(found)
    ]
    for name, model in drift["models"].items():
        parts = [
            f"{what} {row['divergence']:.4f} bits (band {row['band']:.4f}{', BEYOND' if row['beyond'] else ''})"
            for what, row in model.items()
        ]
        lines.append(f"- {text(name, 64)}: {', '.join(parts)}")
    if drift["shift"] is not None:
        lines += ["", "| shift | canary | market | its band | canary's own | its band |", "|---|---|---|---|---|---|"]
        keys = ("canary", "market", "market_band", "own", "own_band")
        for name, row in drift["shift"].items():
            lines.append(f"| {_WORDS.get(name, name)} | {' | '.join(f'{row[key]:+.4f}' for key in keys)} |")
    return [*lines, ""]


def _symbol_section(found: Data) -> list[str]:
    lines = [
        "| symbol | decisions | coverage | BUY % | SELL % | HOLD % | mean | std | agreement |",
        "|" + "---|" * 9,
    ]
    for row in found["symbols"]:
        shares = " | ".join(percent(row["shares"][action]) for action in ("BUY", "SELL", "HOLD"))
        lines.append(
            f"| {text(name_of(row))} | {row['decisions']} | {percent(row['coverage'])} | {shares} | "
            f"{figure(row['mean'], 4)} | {figure(row['std'], 4)} | {percent(row['agreement'])} |"
        )
    return lines
