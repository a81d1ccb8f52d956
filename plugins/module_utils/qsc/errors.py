# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""The errors of the core. Each says what is wrong and, in ``remedy``, what to do about it."""

from __future__ import annotations


class QscError(Exception):
    """Base of all errors of the core; ``str()`` is the message followed by the remedy."""

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        if not self.remedy:
            return self.message
        return f"{self.message.rstrip('.')}. {self.remedy}"


class BadInput(QscError):
    """An option is wrong. The message names the option and its value; nothing was changed."""


class Refused(QscError):
    """The request is well-formed but must not be carried out now; nothing was changed."""


class NotYet(Refused):
    """Refused now, but not for good: time or an operator's word lifts it. ``until``: when at the latest that, or
    something else, happens by itself, in s since 1970; 0 where nothing does."""

    def __init__(self, message: str, *, remedy: str = "", until: float = 0.0) -> None:
        super().__init__(message, remedy=remedy)
        self.until = until


class Busy(Refused):
    """Another process of this host is at work on the same canary."""


class TelemetryError(QscError):
    """The telemetry could not be read. ``transient`` is True when a later try may succeed."""

    def __init__(self, message: str, *, remedy: str = "", transient: bool = False) -> None:
        super().__init__(message, remedy=remedy)
        self.transient = transient


class LeaseLost(QscError):
    """The host has moved on since the caller took its lease on the record."""


class NotProven(QscError):
    """The engine's process could not be shown to run what it should run."""


class RecordUnreadable(QscError):
    """A state file exists but is not what this version wrote."""


class SystemdError(QscError):
    """systemctl failed or answered nothing usable."""
