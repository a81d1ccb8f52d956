# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the guard's unit tests."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from helpers.machine import Machine


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A host in memory whose engine runs the baseline and whose guards are installed."""
    return Machine(tmp_path / "host", monkeypatch)


@pytest.fixture
def make_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Callable[..., Machine]:
    """The same with settings of one's own."""

    def make(**settings: t.Any) -> Machine:
        return Machine(tmp_path / "host", monkeypatch, **settings)

    return make
