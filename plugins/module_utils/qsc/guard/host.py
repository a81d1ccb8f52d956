# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""The host as the guard sees it: its paths, clock, settings and ledger in one hand."""

from __future__ import annotations

import os
import time
import typing as t
from dataclasses import dataclass, field

from ..files import Clock, Lock
from ..ledger import Ledger
from ..record import Record
from ..settings import Paths, Settings
from .weights import weights_bytes

WATCHDOG_TIMER = "qsc-watchdog.timer"
MONITOR_TIMER = "qsc-monitor.timer"
MONITOR_SERVICE = "qsc-monitor.service"
ROLLBACK_SERVICE = "qsc-rollback.service"


@dataclass(frozen=True)
class Guards:
    """The names of the units that guard a run; a drill has units of its own."""

    watchdog_timer: str = WATCHDOG_TIMER
    monitor_timer: str = MONITOR_TIMER
    monitor_service: str = MONITOR_SERVICE
    rollback_service: str = ROLLBACK_SERVICE


@dataclass(frozen=True)
class Host:
    """Everything a step of the guard needs; nothing in here is global, so tests can move all of it."""

    settings: Settings
    paths: Paths = field(default_factory=Paths)
    actor: str = ""
    guards: Guards = field(default_factory=Guards)
    agent_digest: str | None = None

    @property
    def wanted_agent(self) -> str:
        """The digest of the agent that belongs to who acts here: as told, "" where nobody did; else of this code."""
        if self.agent_digest is not None:
            return self.agent_digest
        from .. import agent  # here: the guards never ask

        return agent.digest()

    @property
    def clock(self) -> Clock:
        """The clocks of this host."""
        return Clock(self.paths.boot_mark)

    @property
    def ledger(self) -> Ledger:
        """The ledger of this host."""
        return Ledger.at(self.paths, self.actor)

    def lock(self, wait_s: float = 20.0) -> Lock:
        """The lock under which the record changes."""
        self.paths.run.mkdir(mode=0o755, parents=True, exist_ok=True)
        return Lock(self.paths.lock, wait_s=wait_s)

    def log(self, action: str, record: Record, **fields: t.Any) -> dict[str, t.Any]:
        """Append a ledger entry about a run."""
        entry = {"canary_id": record.id, "canary_model": record.model, **fields}
        return self.ledger.append(action, entry, wall=self.clock.wall())

    def engine_environment(self, record: Record) -> dict[str, str]:
        """What the drop-in's environment file gives the engine under this record."""
        names = record.environment
        return {
            names["weights"]: str(self.paths.weights),
            names["model"]: record.model,
            names["traffic"]: traffic(record.weight),
            names["ack"]: str(self.paths.ack),
        }

    def process_environment(self, record: Record) -> dict[str, str] | None:
        """What a proof looks for in the engine's process; None where it was reloaded: that tells of before."""
        return None if record.delivery == "reload" else self.engine_environment(record)

    def engine_env_bytes(self, record: Record) -> bytes:
        """The bytes of the environment file."""
        return "".join(f"{key}={value}\n" for key, value in self.engine_environment(record).items()).encode()

    def weights_bytes(self, record: Record) -> bytes:
        """The bytes of the weights file."""
        return weights_bytes(record.weights)


def new_canary_id(model: str, wall: float) -> str:
    """The id of a run that begins at this moment (wall s)."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(wall))
    return f"{model}-{stamp}-{os.urandom(2).hex()}"


def rollback_command(canary_id: str) -> str:
    """What ends this run when pasted into a root shell on the host."""
    return f"/usr/local/bin/qsc rollback --id {canary_id}"


def how_it_ended(record: Record) -> dict[str, t.Any]:
    """Why a run was taken back and what had been judged of it, for the ledger."""
    return {
        "violations": [item["message"] for item in record.violations],
        "codes": [item["code"] for item in record.violations],
        "measured": list(record.violations),
        "trigger": record.trigger,
        "reason": record.reason,
        "outcome": record.outcome,
        "since": dict(record.since),
        "judged": dict(record.judged),
    }


def subject(host: Host, record: Record | None) -> Record | Settings:
    """Whose engine, names and times count: the run's while it is in flight, else those of the settings.

    The record of a run that is over may be of another engine.
    """
    return record if record is not None and record.in_flight else host.settings


def traffic(weight: float) -> str:
    """A share as the engine reads it: at least two decimals ("0.10"), as many as it needs."""
    text = f"{weight:.6f}".rstrip("0")
    whole, _dot, decimals = text.partition(".")
    return f"{whole}.{decimals:0<2}"
