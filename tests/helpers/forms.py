# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which cases of a test on hosts `make test` runs; `make test-full` runs them all."""

from __future__ import annotations

import typing as t

import pytest


def cases(names: t.Iterable[str], fast: t.Container[str]) -> list[t.Any]:
    """All of them, those that are not ``fast`` marked as slow: they take the same path over a host as one that is, and
    what is different about them is tested without a host as well."""
    return [name if name in fast else pytest.param(name, marks=pytest.mark.slow) for name in names]
