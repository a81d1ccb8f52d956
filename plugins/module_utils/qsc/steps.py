# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""Every step at which a host may be cut off, in one table. What is killed before or after any of them must come back.

The code says ``reached`` directly before it takes a step; the resilience suite listens there, and has a case for every
step of the table. Steps of the play are tasks of the role: their text is the task's name.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

PLAY, MODULE, MONITOR, WATCHDOG, ROLLBACK, BOOT, INSTALL = (
    "play", "module", "monitor", "watchdog", "rollback", "resume", "install",
)  # fmt: skip


@dataclass(frozen=True)
class Step:
    """One step: its name (phase.what), who takes it, and what it does."""

    name: str
    by: str
    text: str

    @property
    def phase(self) -> str:
        """What stands before the dot: arm, fire, back and the like."""
        return self.name.partition(".")[0]


STEPS: t.Sequence[Step] = (
    Step("arm.previous", MODULE, "the run of the step before is kept"),
    Step("arm.record", MODULE, "the record says arming, with owner and deadline"),
    Step("arm.snapshot", MODULE, "the baseline as the host has it is kept"),
    Step("arm.weights", MODULE, "the canary's weights are written"),
    Step("arm.monitor", MODULE, "the acknowledgement's folder is made and the monitor's timer started"),
    Step("arm.environment", MODULE, "the environment file is written"),
    Step("fire.dropin", PLAY, "Write the drop-in"),
    Step("fire.restart", PLAY, "Restart the engine"),
    Step("fire.marker", PLAY, "Mark the stream"),
    Step("hook.before", MODULE, "the pre-restart hook runs"),
    Step("hook.after", MODULE, "the post-restart hook runs"),
    Step("prove.effect", MODULE, "the engine's process is read and its acknowledgement awaited"),
    Step("commit.ledger", MODULE, "the activation is logged"),
    Step("commit.record", MODULE, "the record says active"),
    Step("check.read", MONITOR, "the telemetry is read"),
    Step("check.state", MONITOR, "the monitor's memory is written"),
    Step("check.verdict", MONITOR, "the verdict and heartbeat are written"),
    Step("check.scoreboard", MONITOR, "the scoreboard is written"),
    Step("watch.look", WATCHDOG, "record, verdict, engine and files are looked at"),
    Step("watch.latch", WATCHDOG, "the record says rolling_back"),
    Step("watch.start", WATCHDOG, "the rollback is started"),
    Step("reprove.ledger", WATCHDOG, "a deliberate restart that was proven is logged"),
    Step("reprove.record", WATCHDOG, "the record holds the new process"),
    Step("conclude.ledger", WATCHDOG, "the end of the monitored time is logged as safe"),
    Step("conclude.record", WATCHDOG, "the record says safe"),
    Step("back.latch", ROLLBACK, "the record says rolling_back"),
    Step("back.environment", ROLLBACK, "the environment file is removed"),
    Step("back.dropin", ROLLBACK, "the drop-in is removed"),
    Step("back.timer", ROLLBACK, "the monitor's timer is stopped"),
    Step("back.weights_file", ROLLBACK, "a weights file that was changed is put back"),
    Step("back.reload", ROLLBACK, "systemd reads its units again"),
    Step("back.pre_hook", ROLLBACK, "the pre-restart hook runs"),
    Step("back.restart", ROLLBACK, "the engine is restarted"),
    Step("back.prove", ROLLBACK, "the new process is shown to run the baseline"),
    Step("back.post_hook", ROLLBACK, "the post-restart hook runs"),
    Step("back.ledger", ROLLBACK, "the rollback is logged"),
    Step("back.record", ROLLBACK, "the record says rolled_back"),
    Step("stepback.latch", ROLLBACK, "the record says that the step before is tried"),
    Step("stepback.files", ROLLBACK, "the files of the step before are written"),
    Step("stepback.restart", ROLLBACK, "the engine is restarted with the weights of the step before"),
    Step("stepback.prove", ROLLBACK, "the engine's process and its acknowledgement are read"),
    Step("stepback.ledger", ROLLBACK, "the step back is logged"),
    Step("stepback.record", ROLLBACK, "the record says active, at the step before"),
    Step("boot.record", BOOT, "a run of an earlier boot is taken on its way to the baseline"),
    Step("boot.resume", BOOT, "a run that may go on is taken over into this boot"),
    Step("boot.environment", BOOT, "its environment file is written again"),
    Step("drift.ledger", WATCHDOG, "a change of the engine's weights file is logged"),
    Step("drift.record", WATCHDOG, "the record knows of it"),
    Step("promote.record", MODULE, "the record says promoting"),
    Step("promote.file", MODULE, "the promoted weights are written into the engine's own weights file"),
    Step("promote.disarm", MODULE, "environment file and drop-in are removed"),
    Step("promote.restart", MODULE, "the engine is restarted with its own weights"),
    Step("promote.prove", MODULE, "the new process is shown to run without the canary's variables"),
    Step("promote.timer", MODULE, "the monitor's timer is stopped"),
    Step("promote.ledger", MODULE, "the promotion is logged"),
    Step("promote.commit", MODULE, "the record says promoted"),
    Step("upgrade.credential", INSTALL, "the credential is replaced"),
    Step("upgrade.code", INSTALL, "the new code is put beside the old"),
    Step("upgrade.switch", INSTALL, "the link to the code is switched"),
    Step("upgrade.settings", INSTALL, "the settings are replaced"),
    Step("upgrade.units", INSTALL, "the unit files are replaced"),
    Step("upgrade.reload", INSTALL, "systemd reads them"),
    Step("upgrade.guards", INSTALL, "the guards are enabled and started"),
)  # fmt: skip

listener: t.Callable[[str], object] | None = None
"""Called with the name of each step that is about to be taken. Nothing but a test ever sets it."""


def reached(name: str) -> None:
    """Say that this step is about to be taken."""
    if listener is not None:
        listener(name)
