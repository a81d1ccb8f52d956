# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""The votes of some decisions in columns: little memory, whoever writes them. Pure."""

from __future__ import annotations

import typing as t
from array import array

from .decisions import ACTIONS, Decision
from .impact import MOST_SYMBOLS, OTHERS

MOST_ROWS = 10_000
"""Decisions that are compared at most: the largest window."""
MOST_COMPARED = 16
"""Models beside the canary; those of the baseline first, so that names in the stream cannot crowd them out."""
WIDTH = 1 + MOST_COMPARED
SHADOW = 4
"""Added to the code of an action that does not count in the ensemble; 0 is no vote."""
CODES = {action: code for code, action in enumerate(ACTIONS, 1)}


class Table:
    """The votes of some decisions in columns, at most ``MOST_ROWS``, so that they take little memory; column 0 is the
    canary's. Rows come in the order of the stream or against it."""

    def __init__(self, model: str, known_models: t.Iterable[str] = ()) -> None:
        self.names = [model, *sorted(name for name in known_models if name != model)][:WIDTH]
        self._places = {name: place for place, name in enumerate(self.names)}
        self._symbols: dict[str, int] = {OTHERS: 0}
        self.times: array[int] = array("Q")
        self.symbols = array("H")
        self.actions = bytearray()
        self.confidences = array("d")

    def __len__(self) -> int:
        return len(self.times)

    def add(self, decision: Decision) -> None:
        """One more decision; beyond the bound it is left out."""
        if len(self.times) >= MOST_ROWS:
            return
        actions, confidences = bytearray(WIDTH), [0.0] * WIDTH
        for name, vote in decision.votes.items():
            place = self._places.get(name)
            if place is None:
                if len(self.names) >= WIDTH:
                    continue
                place = self._places[name] = len(self.names)
                self.names.append(name)
            actions[place] = CODES[vote.action] + (SHADOW if vote.shadow else 0)
            confidences[place] = vote.confidence
        self.times.append(decision.id.ms)
        self.symbols.append(self._symbol(decision.symbol))
        self.actions += actions
        self.confidences.extend(confidences)

    def _symbol(self, name: str) -> int:
        found = self._symbols.get(name)
        if found is None:
            found = len(self._symbols) if len(self._symbols) <= MOST_SYMBOLS else 0
            if found:
                self._symbols[name] = found
        return found

    @property
    def symbol_names(self) -> list[str]:
        """By their number."""
        return list(self._symbols)

    def rows(self) -> t.Iterator[tuple[int, int, bytes, array[float]]]:
        """(ms, symbol, actions, confidences) of each decision, oldest first."""
        numbers: t.Iterable[int] = range(len(self.times))
        if len(self.times) > 1 and self.times[0] > self.times[-1]:
            numbers = reversed(range(len(self.times)))
        width = len(self.names)
        for number in numbers:
            start = WIDTH * number
            yield (
                self.times[number],
                self.symbols[number],
                bytes(self.actions[start : start + width]),
                self.confidences[start : start + width],
            )


def table_of(decisions: t.Iterable[Decision], model: str, known_models: t.Iterable[str] = ()) -> Table:
    """The table of some decisions."""
    table = Table(model, known_models)
    for decision in decisions:
        table.add(decision)
    return table
