# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""``qsc rollout``: what its arguments call."""

from __future__ import annotations

import functools
import typing as t

if t.TYPE_CHECKING:
    import argparse

    from .guard.host import Host

SHOW, ABORT = "show", "abort"
_DUE, _WAITING, _STOPPED = 0, 4, 5


def run(options: argparse.Namespace, host: Host) -> tuple[int, list[str]]:
    """(exit code, lines): 0 done or a step is due, 4 waiting, 5 stopped until a human says how to go on."""
    from .guard import promotion, reconcile, rollout_state

    if options.what == "pause":
        return _DUE, [rollout_state.pause(host, options.reason)[2]]
    if options.what == "resume":
        return _DUE, [rollout_state.resume(host)[2]]
    if options.what == "approve":
        next_step = functools.partial(promotion.next_step, host.settings.steps)
        return _DUE, [rollout_state.approve(host, options.share, next_step)[2]]
    if options.what == ABORT:
        return _DUE, reconcile.abort(host, options.reason).lines()
    return _show(host)


def _show(host: Host) -> tuple[int, list[str]]:
    """As the next ``playbooks/rollout.yml`` for the model of this host would decide."""
    from .guard import reconcile, rollout, rollout_state
    from .record import load

    record = load(host.paths.record)
    decision = reconcile.decided(host, reconcile.Request(model=record.model if record is not None else ""))
    state = rollout_state.read(host)
    lines = [decision.line()]
    if decision.canary_id:
        lines.append(f"step {decision.number} of {decision.of}")
    if state.paused is not None:
        lines.append(state.paused.line())
    lines += [f"approved: {100 * item.step:g} % after {item.canary_id}, by {item.by}" for item in state.approvals]
    return {rollout.WAIT: _WAITING, rollout.STOPPED: _STOPPED}.get(decision.action, _DUE), lines
