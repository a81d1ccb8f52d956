#!/usr/bin/python

# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: qsc_canary
short_description: Arm, commit, raise, promote or roll back a canary on a host
version_added: 0.1.0
description:
  - Keeps the record of the run, proves what the engine's process runs, and writes the ledger.
  - It never restarts the engine towards the canary; that is the operator's play. It restarts it towards the baseline.
  - "V(armed): refuses what can be refused, then arms the way back. From here a lost connection, a killed controller or a
    reboot ends at baseline by itself, at the latest when the arming time-out has passed."
  - "V(active): proves that the restarted engine runs the canary's weights and commits the run, if the lease still holds."
  - "V(raised): arms the next of the settings' C(steps) for a canary that is safe; V(active) then commits it. The way back
    stays that of the first step."
  - "V(promoted): after the last step, writes the promoted weights into the engine's own weights file, takes the canary's
    configuration away, restarts the engine and proves it. The file of before is kept beside it."
  - "V(rolled_back): restores the baseline and proves it, with the same code as the host's own rollback."
author:
  - The qsc.canary authors (@qsc-canary)
extends_documentation_fragment:
  - qsc.canary.host
attributes:
  check_mode:
    support: full
    description:
      - With O(state=armed), O(state=raised) and O(state=promoted) this is the preflight, everything that can be refused is
        refused; O(gate) may be left out then.
      - With O(state=rolled_back) it tells what would be undone.
  diff_mode:
    support: full
    description: Returns the weights before and after, the engine's own weights file, or what is undone.
options:
  state:
    description: What to do.
    type: str
    choices: [armed, raised, active, promoted, rolled_back]
    required: true
  model:
    description:
      - The canary. Needed for O(state=armed).
      - With O(state=raised) and O(state=promoted) another model than the one in flight is refused.
    type: str
  weight:
    description: The canary's share of the ensemble's weight.
    type: float
    default: 0.10
  baseline:
    description: The weights the engine runs without the canary. Exclusive with O(baseline_path).
    type: dict
  baseline_path:
    description: The file the engine reads its weights from. Exclusive with O(baseline).
    type: path
  gate:
    description:
      - The result of M(qsc.canary.qsc_quality_gate), at most 15 minutes old. Needed for O(state=armed), O(state=raised) and
        O(state=promoted).
      - The last two need a gate whose cutover is the marker of the step that runs.
    type: dict
  confirm_full:
    description: Confirms that all other models get weight 0, with O(state=raised) and O(state=promoted).
    type: bool
    default: false
  promoted_weights:
    description: The weights that become the engine's own, with O(state=promoted). The canary's weights when left out.
    type: dict
  max_verdict_age_s:
    description:
      - Seconds since the run was found safe after which it is neither raised nor promoted.
      - At most, and without it, the time for which a safe run is held.
    type: float
  acknowledge:
    description: The id of this model's last run, when that was violated.
    type: str
    default: ""
  rollout:
    description: With O(state=armed) this is the first step of a rollout, and refused while that is paused.
    type: bool
    default: false
  lease:
    description: What O(state=armed) returned. Needed for O(state=active).
    type: dict
    suboptions:
      id:
        description: The canary's id.
        type: str
        required: true
      owner:
        description: Who holds the lease.
        type: str
        required: true
      generation:
        description: The record's generation under the lease.
        type: int
        required: true
  marker:
    description: What M(qsc.canary.qsc_stream_marker) returned after the engine's restart. Needed for O(state=active).
    type: dict
  published_weights:
    description: The weights the engine publishes, where it does, from M(qsc.canary.qsc_published_weights).
    type: dict
  trigger:
    description: Why the run is ended, for the ledger.
    type: str
    default: manual
  reason:
    description: More of the same in words.
    type: str
    default: ""
  canary_id:
    description: With O(state=rolled_back) end this run only; refused when another is in flight.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Preflight, changes nothing
  qsc.canary.qsc_canary:
    state: armed
    model: patchtst
    baseline_path: /etc/quantum/model_weights.json
    agent_digest: "{{ lookup('qsc.canary.agent_digest') }}"
  check_mode: true

- name: Restore the baseline
  qsc.canary.qsc_canary:
    state: rolled_back
    reason: maintenance
"""

RETURN = r"""
plan:
  description:
    - The C(action), the C(model), its share C(weight), the C(weights) of all models and the C(baseline).
    - The action is V(activate), V(raise) or V(promote), or V(already_active) or V(already_promoted) where nothing is to be
      done.
  type: dict
  returned: O(state=armed), O(state=raised) or O(state=promoted)
lease:
  description: The lease on the record, for O(state=active).
  type: dict
  returned: O(state=armed) or O(state=raised), not in check mode
deadline:
  description: When the arming, or the monitored time, ends, UTC.
  type: str
  returned: O(state=armed), O(state=raised) or O(state=active)
record:
  description: The record after the step.
  type: dict
  returned: success
engine:
  description: What systemd says of the engine; C(started_ms) is its last start in ms since 1970.
  type: dict
  returned: O(state=armed), O(state=raised) or O(state=promoted)
proof:
  description: The C(state) that is proven, V(canary) or V(baseline), with the process facts that prove it.
  type: dict
  returned: O(state=active), O(state=promoted) or O(state=rolled_back)
rollback_cmd:
  description: What ends the run, or takes the promotion back, when pasted into a root shell on the host.
  type: str
  returned: O(state=armed), O(state=raised), O(state=active) or O(state=promoted)
summary:
  description: The same in lines for a terminal.
  type: list
  elements: str
  returned: success
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.qsc.canary.plugins.module_utils._guard import (
    HOST_SPEC,
    make_host,
    rolled_back_result,
    would_roll_back,
)
from ansible_collections.qsc.canary.plugins.module_utils._result import run_module
from ansible_collections.qsc.canary.plugins.module_utils.qsc.files import timestamp
from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard import activation, effect, promotion, rollback
from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard.host import Host, rollback_command
from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard.weights import checked_weight
from ansible_collections.qsc.canary.plugins.module_utils.qsc.record import Record
from ansible_collections.qsc.canary.plugins.module_utils.qsc.tell.status import weights_line


def armed(module: AnsibleModule, host: Host) -> dict[str, t.Any]:
    """Preflight in check mode, else arm."""
    params = module.params
    request = activation.Request(
        model=params["model"],
        weight=checked_weight(params["weight"]),
        baseline=params["baseline"],
        baseline_path=params["baseline_path"] or "",
        gate=params["gate"],
        acknowledge=params["acknowledge"],
        rollout=params["rollout"],
    )
    if module.check_mode:
        plan, record = activation.preflight(host, request), None
    else:
        plan, record = activation.arm(host, request)
    return _of_plan(plan, record)


def raised(module: AnsibleModule, host: Host) -> dict[str, t.Any]:
    """Preflight in check mode, else arm the next step. The preflight knows the last step, too."""
    request = _promotion(module)
    if module.check_mode:
        plan, record = promotion.preflight(host, request), None
    else:
        plan, record = promotion.raise_step(host, request)
    return _of_plan(plan, record)


def promoted(module: AnsibleModule, host: Host) -> dict[str, t.Any]:
    """Preflight in check mode, else the last step's weights become the engine's own."""
    request = _promotion(module)
    if module.check_mode:
        return _of_plan(promotion.preflight(host, request), None)
    plan, record, proof = promotion.promote(host, request)
    result = _of_plan(plan, None)
    if proof is not None:
        result.update(_of_record(record), rollback_cmd=promotion.undo_command(record))
        result["proof"] = {"state": "baseline", **proof.to_dict()}
        result["summary"] = [
            f"canary {record.id} is promoted: {weights_line(record.promoted)}",
            f"proven: {proof.unit} pid {proof.main_pid} runs its own weights from {record.baseline_path}, without a canary",
            f"the file of before is kept as {promotion.kept_name(record)}",
            f"way back: {promotion.undo_command(record)}",
        ]
    return result


def _promotion(module: AnsibleModule) -> promotion.Request:
    names = ("gate", "confirm_full", "promoted_weights", "acknowledge")
    params = module.params
    given = {name: params[name] for name in names}
    return promotion.Request(model=params["model"] or "", max_age_s=params["max_verdict_age_s"], **given)


def _of_plan(plan: activation.Plan, record: Record | None) -> dict[str, t.Any]:
    weights, there = plan.weights, plan.record
    changes = plan.action in ("activate", promotion.RAISE, promotion.PROMOTE)
    before = weights.baseline if changes else weights.weights
    summary = weights.lines()
    if there is not None and plan.action == promotion.RAISE:
        before = {name: there.weights.get(name, 0.0) for name in weights.weights}
        summary += [f"raised from {100 * there.weight:g} % to {100 * weights.weight:g} %, a step of canary {there.id}"]
    result = {
        "changed": changes,
        "plan": {
            "action": plan.action,
            "model": weights.model,
            "weight": weights.weight,
            "weights": dict(weights.weights),
            "baseline": dict(weights.baseline),
            "direction": weights.direction,
        },
        "engine": plan.engine.to_dict(),
        "summary": summary,
        "diff": {"before": weights_line(before) + "\n", "after": weights_line(weights.weights) + "\n"},
    }
    if there is not None and plan.action == promotion.PROMOTE:
        result["diff"].update(before_header=there.baseline_path, after_header=there.baseline_path)
        summary += [f"they become the engine's own in {there.baseline_path}; canary {there.id} ends as promoted"]
    if there is not None and plan.action in (promotion.RAISE, promotion.PROMOTE):
        result["record"] = there.to_dict()
    if there is not None and plan.action == promotion.ALREADY_PROMOTED:
        result.update(_of_record(there), rollback_cmd=promotion.undo_command(there))
        result["summary"] = [f"canary {there.id} was promoted at {timestamp(there.promoted_at)}: nothing changed"]
    if record is None and plan.action == "already_active":
        record = there
    if record is not None:
        result.update(_of_record(record))
        result["lease"] = {"id": record.id, "owner": record.owner, "generation": record.generation}
        result["deadline"] = timestamp(record.ends_at)
        if not changes:
            result["summary"] = [f"canary {record.id} is active and proven: nothing changed", *weights.lines()]
    return result


def active(module: AnsibleModule, host: Host) -> dict[str, t.Any]:
    """Prove the effect and commit the run."""
    lease, marker = module.params["lease"], module.params["marker"]
    if module.check_mode:
        return {"changed": True, "summary": ["would prove the effect and commit the run"]}
    record, proof = activation.activate(
        host,
        canary_id=lease["id"],
        owner=lease["owner"],
        generation=lease["generation"],
        since=marker,
        published=module.params["published_weights"],
    )
    deadline = timestamp(record.activated_at + record.duration_s)
    how = {
        "acknowledged": "the engine acknowledged these weights",
        "published": "the engine publishes these weights",
        "unproven": "NOT PROVEN that the engine uses these weights (accepted by qsc_canary_accept_unproven)",
    }[record.effective]
    return {
        "changed": True,
        **_of_record(record),
        "proof": {"state": "canary", **proof.to_dict()},
        "deadline": deadline,
        "summary": [
            f"canary {record.id} is active: {record.model} at {100 * record.weight:g} %",
            f"proven: {proof.unit} pid {proof.main_pid} runs {weights_line(record.weights)}; {how}",
            *_delivery(effect.delivered(record)),
            f"monitored every {record.interval_s:g} s until {deadline}; any violation restores the baseline by itself",
            f"way back: {rollback_command(record.id)}",
        ],
    }


def _delivery(how: t.Mapping[str, t.Any]) -> list[str]:
    """What the delivery cost, where that is known."""
    if how["delivery"] == "reload":
        return ["the engine was reloaded, not restarted; the way back is a restart"]
    return [] if how["downtime_s"] is None else [f"the restart took {how['downtime_s']:g} s"]


def rolled_back(module: AnsibleModule, host: Host) -> dict[str, t.Any]:
    """Restore and prove the baseline, or tell what would be undone."""
    if module.check_mode:
        return would_roll_back(host)
    finding = rollback.Finding(module.params["trigger"], module.params["reason"])
    outcome = rollback.roll_back(host, finding, canary_id=module.params["canary_id"])
    return rolled_back_result(outcome)


def _of_record(record: Record) -> dict[str, t.Any]:
    return {"record": record.to_dict(), "rollback_cmd": rollback_command(record.id)}


def act(module: AnsibleModule) -> dict[str, t.Any]:
    """One step."""
    host = make_host(module)
    return STATES[module.params["state"]](module, host)


STATES: t.Mapping[str, t.Callable[[AnsibleModule, Host], dict[str, t.Any]]] = {
    "armed": armed,
    "raised": raised,
    "active": active,
    "promoted": promoted,
    "rolled_back": rolled_back,
}


def main() -> t.NoReturn:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": list(STATES), "required": True},
            **HOST_SPEC,
            "model": {"type": "str"},
            "weight": {"type": "float", "default": 0.10},
            "baseline": {"type": "dict"},
            "baseline_path": {"type": "path"},
            "gate": {"type": "dict"},
            "confirm_full": {"type": "bool", "default": False},
            "promoted_weights": {"type": "dict"},
            "max_verdict_age_s": {"type": "float"},
            "acknowledge": {"type": "str", "default": ""},
            "rollout": {"type": "bool", "default": False},
            "lease": {
                "type": "dict",
                "options": {
                    "id": {"type": "str", "required": True},
                    "owner": {"type": "str", "required": True},
                    "generation": {"type": "int", "required": True},
                },
            },
            "marker": {"type": "dict"},
            "published_weights": {"type": "dict"},
            "trigger": {"type": "str", "default": "manual"},
            "reason": {"type": "str", "default": ""},
            "canary_id": {"type": "str", "default": ""},
        },
        required_if=[("state", "armed", ("model",)), ("state", "active", ("lease", "marker"))],
        mutually_exclusive=[("baseline", "baseline_path")],
        supports_check_mode=True,
    )
    run_module(module, act)


if __name__ == "__main__":
    main()
