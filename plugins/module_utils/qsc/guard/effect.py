# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""The proof that the engine runs the canary's weights: delivered to its process, and effective by its own word."""

from __future__ import annotations

import os
import pwd
import time
import typing as t

from ..errors import NotProven
from ..files import digest_bytes, remove
from ..record import ACTIVE, ARMING, Record, transition
from . import systemd
from .host import Host

_ACK_WAIT_S = 60.0


def prepare_ack(host: Host, engine: systemd.UnitFacts) -> None:
    """A folder of the engine's user for its acknowledgement; nothing of an earlier run in it."""
    folder = host.paths.ack_folder
    folder.mkdir(mode=0o700, exist_ok=True)
    remove(host.paths.ack)
    user = engine.user or "root"
    try:
        entry = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
        os.chown(folder, entry.pw_uid, entry.pw_gid, follow_symlinks=False)
    except (KeyError, ValueError):
        status = os.stat(f"/proc/{engine.main_pid}")  # a dynamic user is known to the running process alone
        os.chown(folder, status.st_uid, status.st_gid, follow_symlinks=False)


def prove(host: Host, record: Record, published: t.Mapping[str, float] | None = None) -> tuple[systemd.Proof, str]:
    """Delivered (process facts) and effective (acknowledged or published). Raises NotProven with the reason."""
    before = "" if record.state == ACTIVE else str(record.engine_before.get("invocation_id", ""))
    reloaded = record.delivery == "reload"
    proof = systemd.prove(
        record.engine_unit,
        expected=host.process_environment(record),
        names=tuple(record.environment.values()),
        not_invocation="" if reloaded else before,
        stability_s=record.stability_s,
    )
    if reloaded and before and proof.invocation_id != before:
        raise NotProven(f"{record.engine_unit} was restarted while it was to be reloaded")
    if published:
        if _same_weights(published, record.weights):
            return proof, "published"
        raise NotProven(f"the engine publishes other weights: {dict(published)!r:.200}")
    if record.state == ACTIVE and record.effective == "published":
        return proof, "published"  # shown at the activation; a guard reads no telemetry to see it again
    problem = _await_acknowledgement(host, record, proof)
    if problem is None:
        return proof, "acknowledged"
    if record.accept_unproven and not reloaded:  # of a reload nothing else would show anything
        return proof, "unproven"
    raise NotProven(
        f"no proof that {record.engine_unit} uses the canary's weights: {problem}",
        remedy=f"The engine must acknowledge in ${record.environment['ack']} what it loaded, or publish its weights "
        "(qsc_canary_weights_field); see docs/engine.md",
    )


def commit(host: Host, record: Record, proof: systemd.Proof, effective: str, **changes: t.Any) -> Record:
    """The record of a run that is proven, active from now on; the caller logs and saves it."""
    boot = host.clock.boot()
    return transition(
        record,
        "activate",
        activated_at=host.clock.wall(),
        activated_boot=boot,
        watched_boot=boot,
        engine={"invocation_id": proof.invocation_id, "main_pid": proof.main_pid},
        effective=effective,
        proof=proof.to_dict(),
        **changes,
    )


def shown(host: Host, record: Record, *, timeout_s: float) -> systemd.Proof:
    """The same of a run that was proven before, at a glance. Raises NotProven."""
    names = tuple(record.environment.values())
    proof = systemd.prove(
        record.engine_unit, expected=host.process_environment(record), names=names, timeout_s=timeout_s
    )
    if record.delivery == "reload":
        if proof.invocation_id != record.engine.get("invocation_id"):
            raise NotProven(f"{record.engine_unit} is not the process that was reloaded")
        digest = digest_bytes(host.weights_bytes(record))
        problem = systemd.acknowledged(host.paths.ack, main_pid=proof.main_pid, weights_digest=digest)
        if problem is not None and record.effective == "acknowledged":
            raise NotProven(problem)
    return proof


def _await_acknowledgement(host: Host, record: Record, proof: systemd.Proof) -> str | None:
    left = record.arming_deadline_boot - host.clock.boot() if record.state == ARMING else 20.0
    end = time.monotonic() + max(0.5, min(_ACK_WAIT_S, left / 2))
    digest = digest_bytes(host.weights_bytes(record))
    while True:
        problem = systemd.acknowledged(host.paths.ack, main_pid=proof.main_pid, weights_digest=digest)
        if problem is None or time.monotonic() >= end:
            return problem
        time.sleep(0.1)


def _same_weights(published: t.Mapping[str, t.Any], weights: t.Mapping[str, float]) -> bool:
    if {name for name, value in published.items() if value} - set(weights):
        return False
    for name, weight in weights.items():
        value = published.get(name, 0.0)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        if not weight - 1e-6 <= value <= weight + 1e-6:  # no subtraction: telemetry may hold what no float can
            return False
    return True


def delivered(record: Record) -> dict[str, t.Any]:
    """How the engine got its weights, for the ledger: ``downtime_s`` of its restart, None where it is not known."""
    if record.delivery == "reload":
        return {"delivery": "reload", "downtime_s": 0.0}
    return {"delivery": "restart", "downtime_s": systemd.known_downtime_s(record.engine_unit)}
