# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""awx/apply.yml through the real modules of awx.awx, against a stand-in of AWX's API on loopback."""

from __future__ import annotations

import json
import re
import subprocess
import typing as t
from dataclasses import dataclass
from pathlib import Path

import pytest

from awx.collection import collections
from awx.data import listed_by_awx
from awx.stand_in import ENCRYPTED, StandIn, Store
from tools.checkout import checkout_files

SECRET, KEY = "Rw5nJq8zKd2vXb7P", "not-a-key-but-secret-Ym4tGs9c"
pytestmark = pytest.mark.timeout(400)


@dataclass(frozen=True)
class Applied:
    """One run: its exit code, its output, and what it wrote."""

    rc: int
    output: str
    writes: t.Sequence[str]

    @property
    def changed(self) -> int:
        return sum(int(number) for number in re.findall(r"changed=(\d+)", self.output))


@dataclass(frozen=True)
class Controller:
    """A stand-in and the way to it."""

    server: StandIn
    root: Path
    environment: dict[str, str]
    key: Path

    def apply(self, *words: str, **variables: t.Any) -> Applied:
        """Run awx/apply.yml."""
        self.server.store.writes.clear()
        extra = {"qsc_awx_ssh_key_file": str(self.key), **variables}
        done = subprocess.run(
            ["ansible-playbook", "awx/apply.yml", "-e", json.dumps(extra), "--diff", "-v", *words],
            cwd=self.root,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        return Applied(done.returncode, done.stdout, tuple(self.server.store.writes))


@pytest.fixture(scope="module")
def controller(
    root: Path, clean_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> t.Iterator[Controller]:
    key = tmp_path_factory.mktemp("key") / "id"
    key.write_text(KEY + "\n")
    with StandIn(listed_by_awx(checkout_files(root))) as server:
        environment = {
            **clean_environment,
            "PYTHONPATH": str(collections()),  # as an installed package `ansible` is found, beside the clone's own path
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_NOCOLOR": "1",
            "CONTROLLER_HOST": server.url,
            "CONTROLLER_OAUTH_TOKEN": "test-token",
            "QSC_REDIS_PASSWORD": SECRET,
            "QSC_REDIS_TLS": "true",
        }
        yield Controller(server, root, environment, key)


@pytest.fixture(scope="module")
def runs(controller: Controller) -> tuple[Applied, Applied]:
    """An empty AWX, twice."""
    return controller.apply(), controller.apply()


@pytest.fixture
def store(controller: Controller, runs: tuple[Applied, Applied]) -> Store:
    """What was made."""
    return controller.server.store


def test_an_empty_awx_is_filled(runs: tuple[Applied, Applied]) -> None:
    first = runs[0]
    assert first.rc == 0, first.output
    assert first.changed > 0
    assert len(first.writes) > 50
    assert "[WARNING]" not in first.output.replace("[WARNING]: No inventory was parsed", "").replace(
        "[WARNING]: provided hosts list is empty", ""
    )


def test_a_second_run_changes_nothing(runs: tuple[Applied, Applied]) -> None:
    second = runs[1]
    assert second.rc == 0, second.output
    assert (second.changed, list(second.writes)) == (0, [])


def test_what_was_made_hangs_together(store: Store) -> None:
    templates = store.by_name("job_templates")
    assert sorted(templates) == [
        "Canary activate", "Canary drill", "Canary gate", "Canary promote", "Canary rollback", "Canary rollout",
        "Canary status", "Canary wait",
    ]  # fmt: skip
    credentials = {thing["id"] for thing in store.things["credentials"].values()}
    for template in templates.values():
        assert template["project"] == store.by_name("projects")["Canary playbooks"]["id"]
        assert template["inventory"] == store.by_name("inventories")["Canary engines"]["id"]
        assert set(store.links["job_templates", template["id"], "credentials"]) == credentials
    questions = store.surveys["job_templates", templates["Canary activate"]["id"]]["spec"]
    assert [question["variable"] for question in questions] == ["model", "weight", "cutover", "dry_run", "acknowledge"]
    source = store.by_name("inventory_sources")["Canary engines from git"]
    assert source["source_project"] == store.by_name("projects")["Canary inventory"]["id"]


def test_the_nodes_run_what_they_should_and_lead_where_they_should(store: Store) -> None:
    nodes = {thing["identifier"]: thing for thing in store.things["workflow_job_template_nodes"].values()}
    names = {thing["id"]: thing["identifier"] for thing in nodes.values()}
    for name in ("gate", "activate", "wait", "promote", "rollback"):
        assert nodes[name]["unified_job_template"] == store.by_name("job_templates")[f"Canary {name}"]["id"]
    [approval] = store.things["workflow_approval_templates"].values()
    assert (nodes["approve"]["unified_job_template"], approval["timeout"]) == (approval["id"], 43200)
    links = {
        (names[number], kind): [names[other] for other in others]
        for (place, number, kind), others in store.links.items()
        if place == "workflow_job_template_nodes"
    }
    assert links == {
        ("gate", "success_nodes"): ["activate"],
        ("activate", "success_nodes"): ["wait"],
        ("activate", "failure_nodes"): ["rollback"],
        ("wait", "success_nodes"): ["approve"],
        ("wait", "failure_nodes"): ["rollback"],
        ("approve", "success_nodes"): ["promote"],
        ("approve", "failure_nodes"): ["rollback"],
        ("promote", "failure_nodes"): ["rollback"],
    }


def test_awx_gets_the_templates_of_the_credential_type_untouched(store: Store) -> None:
    kind = store.by_name("credential_types")["Redis of the canary"]
    assert kind["injectors"]["env"]["QSC_REDIS_PASSWORD"] == "{{ password }}"


def test_secrets_reach_awx_and_nothing_else(store: Store, runs: tuple[Applied, Applied]) -> None:
    credentials = store.by_name("credentials")
    assert credentials["Canary Redis"]["inputs"]["password"] == SECRET
    assert credentials["Canary Redis"]["inputs"]["tls"] is True
    assert credentials["Canary hosts"]["inputs"]["ssh_key_data"] == KEY + "\n"
    shown = store.shown("credentials", credentials["Canary Redis"])
    assert shown["inputs"]["password"] == ENCRYPTED
    for run in runs:
        assert SECRET not in run.output
        assert KEY not in run.output


def test_the_schedules_wait_for_somebody_to_switch_them_on(store: Store) -> None:
    schedules = store.by_name("schedules")
    assert len(schedules) == 2
    assert not any(schedule["enabled"] for schedule in schedules.values())


def test_a_misspelt_field_is_refused_by_the_module(controller: Controller, runs: tuple[Applied, Applied]) -> None:
    wrong = [{"name": "Canary engines", "organisation": "Trading", "organization": "Trading"}]
    done = controller.apply("--start-at-task", "Make the inventories", controller_inventories=wrong)
    assert done.rc != 0
    assert "Unsupported parameters" in done.output
    assert "organisation" in done.output
    assert done.writes == ()


def test_a_template_of_a_playbook_that_awx_does_not_list_is_refused(
    controller: Controller, runs: tuple[Applied, Applied]
) -> None:
    wrong = [{"name": "Other", "project": "Canary playbooks", "playbook": "playbooks/hosts_matched.yml"}]
    done = controller.apply("--start-at-task", "Make the job templates", controller_templates=wrong)
    assert done.rc != 0
    assert "Playbook not found for project: playbooks/hosts_matched.yml" in done.output
