# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""Glue between Ansible and the guard: the host a module acts on."""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import AnsibleModule

from .qsc import agent
from .qsc import command as _command
from .qsc.errors import QscError
from .qsc.guard import install as _install
from .qsc.guard import rollback as _rollback
from .qsc.guard import units as _units
from .qsc.guard.host import Host
from .qsc.judge import published as _published
from .qsc.ledger import acting_user
from .qsc.settings import Paths, Settings
from .qsc.verdict import printable


def carried_digest() -> str:
    """The digest of the agent this collection carries.

    It is over the whole package, so a module that compares it has to carry all of it: through the command, the
    installation, the units and what the engine publishes, which together import everything.
    """
    if not (_command.SUBCOMMANDS and _install.install and _units.GUARDS and _published.__name__):
        raise QscError("the package is not carried whole", remedy="Install the collection again.")
    return agent.digest()


HOST_SPEC: dict[str, dict[str, t.Any]] = {
    "settings": {"type": "dict"},
    "actor": {"type": "str", "default": ""},
}
"""The options of a module that acts on a host; see the documentation fragment qsc.canary.host."""


def make_host(module: AnsibleModule) -> Host:
    """The host under the module's settings, or the installed ones when none are given. Raises BadInput."""
    paths = Paths()
    given = module.params.get("settings")
    settings = Settings.from_dict(given) if given is not None else Settings.load(paths.config)
    return Host(settings=settings, paths=paths, actor=_actor(module))


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
