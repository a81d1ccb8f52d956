# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An error is one text: what is wrong, then what to do."""

from __future__ import annotations

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc import errors


@pytest.mark.parametrize(
    ("message", "remedy", "text"),
    [
        ("the disk is full", "", "the disk is full"),
        ("the disk is full", "Empty it.", "the disk is full. Empty it."),
        ("the disk is full.", "Empty it.", "the disk is full. Empty it."),
    ],
)
def test_text(message: str, remedy: str, text: str) -> None:
    error = errors.Refused(message, remedy=remedy)
    assert str(error) == text
    assert (error.message, error.remedy) == (message, remedy)


@pytest.mark.parametrize(
    "kind",
    [
        errors.BadInput,
        errors.LeaseLost,
        errors.NotProven,
        errors.RecordUnreadable,
        errors.Refused,
        errors.SystemdError,
        errors.TelemetryError,
    ],
)
def test_one_base(kind: type[errors.QscError]) -> None:
    assert isinstance(kind("what"), errors.QscError)


def test_a_telemetry_error_is_not_transient_unless_said() -> None:
    assert not errors.TelemetryError("what").transient
    assert errors.TelemetryError("what", transient=True).transient
