#!/usr/bin/python

# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: qsc_weights
short_description: Compute the weights of an ensemble with one canary
version_added: 0.1.0
description:
  - Sets ONE model to a fixed share of the ensemble's weight and scales the others in proportion to their baseline.
  - The weights sum to exactly 1 at six decimals, by the largest remainder method, and keep the baseline's order.
author:
  - The qsc.canary authors (@qsc-canary)
attributes:
  check_mode:
    support: full
    description: Can run in C(check_mode) and return what would be changed without changing the target.
  diff_mode:
    support: full
    description: Returns the weights before and after in diff mode.
options:
  model:
    description: The canary.
    type: str
    required: true
  weight:
    description: The canary's share of the ensemble's weight, above 0 and up to 1.
    type: float
    default: 0.10
  baseline:
    description: The weights the engine runs without the canary, one for each model. Exclusive with O(baseline_path).
    type: dict
  baseline_path:
    description: The file the engine reads its weights from, on the host. Exclusive with O(baseline).
    type: path
  known_models:
    description:
      - Models known from elsewhere, for example those the quality gate saw in the telemetry.
      - A model that is absent from the baseline may be a canary only when it stands here.
    type: list
    elements: str
    default: []
  path:
    description: Where to write the canary's weights as JSON. Without it nothing is written.
    type: path
  baseline_dest:
    description: Where to write a snapshot of the baseline as JSON. Without it nothing is written.
    type: path
"""

EXAMPLES = r"""
- name: See what the weights would be
  qsc.canary.qsc_weights:
    model: patchtst
    weight: 0.10
    baseline_path: /etc/quantum/model_weights.json
  register: weights

- name: Write them, with a snapshot of the baseline
  qsc.canary.qsc_weights:
    model: patchtst
    baseline: {xgb: 0.25, lgbm: 0.25, nhits: 0.30, patchtst: 0.20}
    path: /srv/canary/weights.json
    baseline_dest: /srv/canary/baseline.json
"""

RETURN = r"""
weights:
  description: The weights with the canary, one for each model, each at six decimals.
  type: dict
  returned: success
  sample: {xgb: 0.28125, lgbm: 0.28125, nhits: 0.3375, patchtst: 0.1}
baseline:
  description: The weights without it.
  type: dict
  returned: success
deltas:
  description: What each model gains or loses.
  type: dict
  returned: success
direction:
  description: Whether the canary V(raises) or V(lowers) the model's own weight.
  type: str
  returned: success
total:
  description: The sum of the weights; always 1.
  type: float
  returned: success
summary:
  description: The same in lines for a terminal.
  type: list
  elements: str
  returned: success
"""

import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.qsc.canary.plugins.module_utils._result import run_module
from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import BadInput
from ansible_collections.qsc.canary.plugins.module_utils.qsc.files import read_bounded, write_atomic
from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard.weights import (
    checked_baseline,
    parse_baseline,
    plan_weights,
    weights_bytes,
)


def compute(module: AnsibleModule) -> dict[str, t.Any]:
    """Plan the weights and write what differs."""
    params = module.params
    if params["baseline"] is not None:
        baseline = checked_baseline(params["baseline"])
    else:
        baseline = parse_baseline(read_file(params["baseline_path"]), params["baseline_path"])
    plan = plan_weights(baseline, params["model"], params["weight"], known=params["known_models"])
    files = {params["path"]: weights_bytes(plan.weights), params["baseline_dest"]: weights_bytes(plan.baseline)}
    diffs = []
    for path, after in files.items():
        if not path:
            continue
        target = Path(path)
        before = read_bounded(target) if target.exists() else b""
        if before != after:
            diffs.append(
                {
                    "before_header": path,
                    "after_header": path,
                    "before": before.decode("utf-8", "replace"),
                    "after": after.decode(),
                }
            )
            if not module.check_mode:
                write_atomic(target, after)
    return {
        "changed": bool(diffs),
        "weights": dict(plan.weights),
        "baseline": dict(plan.baseline),
        "deltas": plan.deltas,
        "direction": plan.direction,
        "total": plan.total,
        "summary": plan.lines(),
        "diff": diffs,
    }


def read_file(path: str) -> bytes:
    """The bytes of the baseline file. Raises BadInput."""
    try:
        return read_bounded(Path(path))
    except OSError as error:
        raise BadInput(
            f"baseline_path={path} cannot be read: {error.strerror}", remedy="Name the weights file the engine reads."
        ) from error


def main() -> t.NoReturn:
    module = AnsibleModule(
        argument_spec={
            "model": {"type": "str", "required": True},
            "weight": {"type": "float", "default": 0.10},
            "baseline": {"type": "dict"},
            "baseline_path": {"type": "path"},
            "known_models": {"type": "list", "elements": "str", "default": []},
            "path": {"type": "path"},
            "baseline_dest": {"type": "path"},
        },
        mutually_exclusive=[("baseline", "baseline_path")],
        required_one_of=[("baseline", "baseline_path")],
        supports_check_mode=True,
    )
    run_module(module, compute)


if __name__ == "__main__":
    main()
