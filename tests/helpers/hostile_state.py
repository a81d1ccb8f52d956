# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A state file with something else in one place."""

from __future__ import annotations

import copy
import math
import typing as t

from hypothesis import strategies as st

VALUES: tuple[t.Any, ...] = (
    None, True, "", "x", "1", [], {}, [1], {"a": 1}, [[1, 2]], math.nan, math.inf, -math.inf, -1, -1.0, 0, 0.0, 0.5, 1,
    2, 1001, 1002, 2.5, 1e308, -1e308, 1e200, -1e200, 1e155, 1e16, 5e-324, 1 << 53, 1 << 62, 1 << 70, 10**400,
)  # fmt: skip


def places(state: t.Any, path: tuple[t.Any, ...] = ()) -> list[tuple[t.Any, ...]]:
    """Every place in a state, the whole of it among them."""
    found = [path]
    if isinstance(state, dict):
        for name, value in state.items():
            found += places(value, (*path, name))
    elif isinstance(state, (list, tuple)):
        for number, value in enumerate(state):
            found += places(value, (*path, number))
    return found


def changed(state: t.Any, path: tuple[t.Any, ...], value: t.Any) -> t.Any:
    """The state with the value in that place."""
    if not path:
        return value
    state = copy.deepcopy(state)
    inner = state
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return state


def shortened(state: t.Any, path: tuple[t.Any, ...], more: bool) -> t.Any:
    """The state with one item less, or one more, in the list or dictionary there."""
    state = copy.deepcopy(state)
    inner = state
    for step in path:
        inner = inner[step]
    if isinstance(inner, list):
        if more:
            inner.append(inner[-1] if inner else 1)
        elif inner:
            inner.pop()
    elif isinstance(inner, dict):
        if more:
            inner["more"] = 1
        elif inner:
            inner.popitem()
    return state


def hostile(state: t.Any) -> st.SearchStrategy[t.Any]:
    """Such states: one place changed, or one list or dictionary of another length."""
    where = places(state)
    return st.one_of(
        st.builds(lambda path, value: changed(state, path, value), st.sampled_from(where), st.sampled_from(VALUES)),
        st.builds(lambda path, more: shortened(state, path, more), st.sampled_from(where), st.booleans()),
    )
