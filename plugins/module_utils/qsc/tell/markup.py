# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""Values and figures for people, whoever wrote them: they reach Markdown quoted and on one line."""

from __future__ import annotations

import re
import typing as t

from ..verdict import printable

Data = t.Mapping[str, t.Any]
_MARKUP = re.compile(r"([\\`*\[\]<>|#!~&]|(?<![^\W_])_|_(?![^\W_]))")
"""What Markdown acts on; an underscore only where it does not stand inside a word."""


def text(value: t.Any, limit: int = 500) -> str:
    """A value from telemetry for Markdown: printable, on one line, its markup escaped."""
    return _MARKUP.sub(r"\\\1", printable(str(value), limit))


def figure(value: t.Any, digits: int = 1, unit: str = "") -> str:
    """A figure for people; a missing one is said to be missing."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return "unknown"
    return f"{value:.{digits}f}{unit}"
