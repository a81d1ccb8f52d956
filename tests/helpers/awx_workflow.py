# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Walk through a workflow of awx/data as AWX does: a node runs when one before it ended in the way it waits for."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from helpers.awx_job import Job

Item = t.Mapping[str, t.Any]


@dataclass
class Walk:
    """The nodes that ran, in order, and what they came to."""

    ended: dict[str, bool] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)

    @property
    def order(self) -> list[str]:
        """The identifiers in the order they ran."""
        return list(self.ended)


def defaults(template: Item) -> dict[str, t.Any]:
    """The answers of a survey that nobody touched."""
    questions = template.get("survey_spec", {}).get("spec", [])
    return {question["variable"]: question["default"] for question in questions if "default" in question}


def walk(
    workflow: Item,
    templates: t.Mapping[str, Item],
    answers: Item,
    run: t.Callable[[Item, t.Mapping[str, t.Any]], Job],
    approve: t.Callable[[str], bool],
) -> Walk:
    """Run the nodes.

    ``answers``: of the workflow's survey; they go to every node, over what the nodes before have left (``set_stats``),
    and that over the defaults of the node's own survey.  ``run(template, variables)``: run a job.
    ``approve(identifier)``: what the human says.
    """
    nodes = {node["identifier"]: node for node in workflow["simplified_workflow_nodes"]}
    kinds = ("success_nodes", "failure_nodes", "always_nodes")
    followed = {name for node in nodes.values() for kind in kinds for name in node.get(kind, [])}
    done, left = Walk(), {name: {} for name in nodes if name not in followed}
    queue: list[tuple[str, dict[str, t.Any]]] = list(left.items())
    while queue:
        name, artifacts = queue.pop(0)
        node = nodes[name]
        if "approval_node" in node:
            done.ended[name] = approve(name)
        else:
            template = templates[node["unified_job_template"]]
            job = run(template, {**defaults(template), **artifacts, **answers})
            done.jobs[name], done.ended[name] = job, job.rc == 0
            artifacts = {**artifacts, **job.artifacts}
        kind = "success_nodes" if done.ended[name] else "failure_nodes"
        for following in (*node.get(kind, []), *node.get("always_nodes", [])):
            if following not in done.ended and following not in [waiting for waiting, _left in queue]:
                queue.append((following, dict(artifacts)))
    return done
