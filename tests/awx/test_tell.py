# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a job leaves in its statistics: an entry for each host, parts of one entry added up, by the role's own task."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
import yaml

from helpers.awx_job import run_local

RESULT = {
    "record": {
        "id": "patchtst-1", "model": "patchtst", "state": "active", "outcome": "", "weight": 0.1, "weights": {"a": 0.9},
    },
    "rollback_cmd": "/usr/local/bin/qsc rollback --id patchtst-1",
    "deadline": "2026-01-10T12:00:00Z",
    "proof": {"state": "canary", "pid": 7},
}  # fmt: skip


def told(folder: Path, tasks: t.Sequence[t.Mapping[str, t.Any]], *hosts: str) -> tuple[int, t.Mapping[str, t.Any]]:
    """(exit code, artifacts) of a job that runs these tasks on hosts of this machine, one host after the other."""
    play = {
        "name": "Tell",
        "hosts": "all",
        "gather_facts": False,
        "serial": 1,
        "vars": {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"},
        "tasks": list(tasks),
    }
    return run_local([play], folder, {host: {} for host in hosts})


def tell(said: t.Any, of: t.Any = None) -> dict[str, t.Any]:
    """The role's task."""
    return {
        "ansible.builtin.include_role": {"name": "qsc.canary.qsc_canary", "tasks_from": "tell"},
        "vars": {"_qsc_canary_told": said, **({} if of is None else {"_qsc_canary_told_of": of})},
    }


def test_every_host_has_its_entry_and_later_words_add_to_earlier_ones(tmp_path: Path) -> None:
    tasks = [
        tell({"step": "gate", "verdict": "pass", "figures": {"models": {"a": 1}}, "reason": ""}),
        tell({"step": "activate", "verdict": "{{ 'active on ' ~ inventory_hostname }}"}, RESULT),
    ]
    code, artifacts = told(tmp_path, tasks, "one", "two", "three")
    assert code == 0
    assert list(artifacts) == ["qsc_canary"]
    assert sorted(artifacts["qsc_canary"]) == ["one", "three", "two"]
    assert artifacts["qsc_canary"]["two"] == {
        "step": "activate",
        "verdict": "active on two",
        "figures": {"models": {"a": 1}},
        "canary_id": "patchtst-1",
        "model": "patchtst",
        "state": "active",
        "share": 0.1,
        "weights": {"a": 0.9},
        "proven": "canary",
        "until": "2026-01-10T12:00:00Z",
        "rollback_cmd": "/usr/local/bin/qsc rollback --id patchtst-1",
    }


def test_a_job_that_fails_has_told_before(tmp_path: Path) -> None:
    tasks = [tell({"step": "gate", "verdict": "refused"}), {"ansible.builtin.fail": {"msg": "the gate refuses"}}]
    code, artifacts = told(tmp_path, tasks, "one")
    assert code != 0
    assert artifacts == {"qsc_canary": {"one": {"step": "gate", "verdict": "refused"}}}


@pytest.mark.parametrize("result", [{}, {"record": None, "proof": None}, {"msg": "it failed", "failed": True}])
def test_what_is_not_known_is_left_out(tmp_path: Path, result: dict[str, t.Any]) -> None:
    code, artifacts = told(tmp_path, [tell({"step": "status", "verdict": "none", "page": ""}, result)], "one")
    assert (code, artifacts) == (0, {"qsc_canary": {"one": {"step": "status", "verdict": "none"}}})


def test_whatever_comes_back_from_a_host_is_only_text(tmp_path: Path) -> None:
    """A host's words are handed to the next job as variables: nothing in them may be evaluated."""
    marker = tmp_path / "evaluated"
    words = "{{ lookup('ansible.builtin.pipe', 'touch " + str(marker) + "') }}"
    (tmp_path / "said.json").write_text(json.dumps({"reason": words}))
    echo = {
        "ansible.builtin.command": {"argv": ["cat", str(tmp_path / "said.json")]},
        "register": "said",
        "changed_when": False,
    }
    tasks = [echo, tell({"step": "gate", "reason": "{{ (said.stdout | from_json).reason }}"})]
    code, artifacts = told(tmp_path, tasks, "one")
    assert (code, artifacts["qsc_canary"]["one"]["reason"]) == (0, words)
    assert not marker.exists()


def test_every_entry_point_that_looks_or_acts_tells(root: Path) -> None:
    """Once each where it can end well; the drill and what only installs or removes tell nothing."""
    for name in ("activate", "arm", "gate", "promote", "rollback", "rollout", "status", "wait"):
        text = (root / f"roles/qsc_canary/tasks/{name}.yml").read_text()
        assert "ansible.builtin.include_tasks: tell.yml" in text, name
    everything = [path.read_text() for path in (root / "roles").rglob("*.yml")]
    assert sum(text.count("set_stats:") for text in everything) == 1
    [task] = yaml.safe_load((root / "roles/qsc_canary/tasks/tell.yml").read_text())
    assert task["ansible.builtin.set_stats"]["per_host"] is False  # AWX keeps no other
