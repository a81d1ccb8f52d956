# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""Glue between Ansible and the guard: the host a module acts on."""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import AnsibleModule

from .qsc.guard import rollback as _rollback
from .qsc.guard.host import Host
from .qsc.ledger import acting_user
from .qsc.settings import Paths, Settings
from .qsc.verdict import printable

HOST_SPEC: dict[str, dict[str, t.Any]] = {
    "settings": {"type": "dict"},
    "actor": {"type": "str", "default": ""},
    "agent_digest": {"type": "str", "default": ""},
}
"""The options of a module that acts on a host; see the documentation fragment qsc.canary.host."""


def make_host(module: AnsibleModule) -> Host:
    """The host under the module's settings, or the installed ones when none are given. Raises BadInput."""
    paths = Paths()
    given = module.params.get("settings")
    settings = Settings.from_dict(given) if given is not None else Settings.load(paths.config)
    # A module carries what it imports, not the whole package: only the controller can tell what the host should run.
    return Host(settings=settings, paths=paths, actor=_actor(module), agent_digest=module.params["agent_digest"])


def _actor(module: AnsibleModule) -> str:
    """Who acts: the user on the host, whose sudo that was, and who runs the play."""
    controller = printable(module.params.get("actor") or "", 200)
    return f"{acting_user()} (ansible: {controller})" if controller else f"{acting_user()} (ansible)"


def would_roll_back(host: Host) -> dict[str, t.Any]:
    """A module's result in check mode: what a rollback would undo now."""
    found = _rollback.pending(host)
    return {
        "changed": bool(found),
        "summary": [f"would {line}" for line in found] or ["already at baseline, nothing to change"],
        "diff": {"before": "".join(f"{line}\n" for line in found), "after": ""},
    }


def rolled_back_result(outcome: _rollback.Outcome) -> dict[str, t.Any]:
    """A module's result: what a rollback did."""
    return {
        "changed": outcome.changed,
        "record": outcome.record.to_dict() if outcome.record is not None else None,
        "proof": {"state": "baseline", **outcome.proof.to_dict()} if outcome.proof is not None else None,
        "summary": outcome.lines(),
    }
