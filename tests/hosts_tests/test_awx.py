# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The job templates and the workflow of awx/ on a real host, run by ansible-runner as AWX runs them.

The workflow's own data says which node follows which; the answers are the defaults of the surveys.
"""

from __future__ import annotations

import itertools
import json
import typing as t
from pathlib import Path

import pytest

from awx.data import load
from helpers.awx_job import JOB_ID, USER, Job, run_job
from helpers.awx_workflow import Walk, defaults, walk
from helpers.plays import (
    BASELINE,
    FAST,
    Host,
    entries,
    last_violated,
    process_variables,
    record,
)

REDIS_USER, SECRET = "canary-of-awx", "Tn6vQx3mRz9cLp2B"
CREDENTIAL = {"QSC_REDIS_USER": REDIS_USER, "QSC_REDIS_PASSWORD": SECRET}
"""What the credential type injects, and nothing else does."""
SITE: dict[str, t.Any] = {
    **FAST,
    "qsc_canary_monitor_hours": 20 / 3600,
    "qsc_canary_look_seconds": 1,
    # jobs keep a machine busy: a pause of the engine meanwhile, or a check that comes late, is not what is shown
    "qsc_canary_required_checks": 0.5,
    "qsc_canary_arming_timeout_seconds": 180,
    "qsc_canary_stale_after": 60,
    "qsc_canary_limits": {"start_grace": 60},
}
"""The site's group_vars."""
ANSWERS = {"model": "patchtst", "qsc_canary_wait_hours": 0.1}
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def data() -> dict[str, t.Any]:
    return load()


@pytest.fixture(scope="module")
def templates(data: dict[str, t.Any]) -> dict[str, t.Any]:
    return {one["name"]: one for one in data["controller_templates"]}


@pytest.fixture
def awx(host: Host, tmp_path: Path) -> t.Iterator[Awx]:
    """The host as a site's AWX sees it. Redis knows the credential; the engine goes on as it did."""
    host.run("redis-cli | grep -qx OK", stdin=f"ACL SETUSER {REDIS_USER} on >{SECRET} ~* &* +@all\n")
    try:
        yield Awx(host, tmp_path)
    finally:
        host.run("qsc rollback --reason 'end of a test'", check=False, timeout=90)
        host.run(f"redis-cli ACL DELUSER {REDIS_USER}; rm -f /etc/qsc_canary/redis-password")


class Awx:
    """Starts jobs, each in a private folder of its own, and keeps them."""

    def __init__(self, host: Host, folder: Path) -> None:
        self.host, self._folder = host, folder
        self.jobs: list[Job] = []
        self._number = itertools.count()

    def run(self, template: t.Mapping[str, t.Any], variables: t.Mapping[str, t.Any], **site: t.Any) -> Job:
        """One job."""
        folder = self._folder / f"job{next(self._number)}"
        folder.mkdir()
        job = run_job(
            template["playbook"],
            self.host,
            folder=folder,
            extra_vars=variables,
            group_vars={**SITE, **site},
            credential=CREDENTIAL,
        )
        self.jobs.append(job)
        return job

    def workflow(self, data: dict[str, t.Any], *, before: t.Callable[[str], None] | None = None) -> Walk:
        """The workflow to its end, with an approval."""
        templates = {one["name"]: one for one in data["controller_templates"]}

        def run(template: t.Mapping[str, t.Any], variables: t.Mapping[str, t.Any]) -> Job:
            if before is not None:
                before(template["name"])
            return self.run(template, variables)

        [workflow] = data["controller_workflows"]
        answers = {**defaults(workflow), **ANSWERS, **last_violated(self.host)}
        return walk(workflow, templates, answers, run, approve=lambda name: name == "approve")

    def assert_nothing_secret(self) -> None:
        """The password is in no output, no artifact and no file of a job."""
        for job in self.jobs:
            assert SECRET not in job.output
            assert SECRET not in json.dumps(job.artifacts)
            assert job.files_with([SECRET]) == []


@pytest.mark.slow
def test_the_workflow_from_the_gate_to_the_next_share(awx: Awx, data: dict[str, t.Any], templates: t.Any) -> None:
    done = awx.workflow(data)
    failed = "".join(job.output[-3000:] for job in done.jobs.values() if job.rc)
    assert done.ended == dict.fromkeys(("gate", "activate", "wait", "approve", "promote"), True), failed
    assert [done.jobs[name].changed > 0 for name in ("gate", "activate", "wait", "promote")] == [
        False,
        True,
        False,
        True,
    ]
    now = record(awx.host)
    assert (now["state"], now["weight"]) == ("active", 0.25)

    # what each job leaves for the next one and for who looks at it
    name = awx.host.name
    told = {node: job.told[name] for node, job in done.jobs.items()}
    assert [told[node]["verdict"] for node in ("gate", "activate", "wait", "promote")] == [
        "pass",
        "active",
        "safe",
        "active",
    ]
    assert told["gate"]["figures"]["models"]["patchtst"]["actions"]["HOLD"]["percent"] > 0
    assert told["activate"]["weights"]["patchtst"] == 0.1
    assert told["promote"]["weights"]["patchtst"] == 0.25
    assert told["promote"]["rollback_cmd"] == f"/usr/local/bin/qsc rollback --id {now['id']}"
    # the wait shows where the run is while it lasts
    assert done.jobs["wait"].output.count("(item=canary") >= 3, done.jobs["wait"].output

    # who did it, for the ledger
    [activated] = [one for one in entries(awx.host, now["raised_from"]) if one["action"] == "canary_activated"]
    assert f"AWX user {USER}" in activated["actor"]
    assert f"AWX job {JOB_ID}" in activated["actor"]
    assert [job.output for job in awx.jobs if "[WARNING]" in job.output] == []

    # the other templates: the status shows it, the rollback ends it, a second one finds nothing to do
    status = awx.run(templates["Canary status"], defaults(templates["Canary status"]))
    assert (status.rc, status.changed) == (0, 0), status.output
    assert status.told[name]["share"] == 0.25
    rollout = awx.run(templates["Canary rollout"], defaults(templates["Canary rollout"]))
    assert (rollout.rc, rollout.changed) == (0, 0), rollout.output
    assert rollout.told[name]["message"], rollout.told
    rollback = awx.run(templates["Canary rollback"], defaults(templates["Canary rollback"]))
    assert rollback.rc == 0, rollback.output
    assert rollback.changed > 0
    assert (rollback.told[name]["verdict"], rollback.told[name]["proven"]) == ("baseline", "baseline")
    assert process_variables(awx.host) == {}
    again = awx.run(templates["Canary rollback"], {})
    assert (again.rc, again.changed) == (0, 0), again.output
    [ended] = [one for one in entries(awx.host, now["id"]) if one["action"] == "rollback_executed"]
    assert f"AWX job {JOB_ID}" in ended["actor"]
    drill = awx.run(templates["Canary drill"], defaults(templates["Canary drill"]))
    assert (drill.rc, drill.changed) == (0, 0), drill.output
    awx.assert_nothing_secret()


def test_a_canary_that_goes_bad_leads_to_the_rollback_node_and_the_baseline(awx: Awx, data: dict[str, t.Any]) -> None:
    def before(template: str) -> None:
        if template == "Canary wait":
            awx.host.engine("mode", "dead_zone", "rate=300")

    done = awx.workflow(data, before=before)
    assert done.ended == {"gate": True, "activate": True, "wait": False, "rollback": True}
    name = awx.host.name
    wait = done.jobs["wait"]
    assert wait.told[name]["verdict"] == "violated"
    assert f"{name} is not safe: the run was violated" in wait.flat()
    rollback = done.jobs["rollback"]
    assert f"Proven at their baseline: {name}" in rollback.flat()
    assert rollback.told[name]["proven"] == "baseline"
    now = record(awx.host)
    assert (now["state"], now["outcome"]) == ("rolled_back", "violated")
    assert process_variables(awx.host) == {}
    assert json.loads(awx.host.engine("status"))["weights"] == BASELINE
    awx.assert_nothing_secret()


@pytest.mark.slow
def test_without_the_credential_the_gate_refuses_and_nothing_follows(awx: Awx, data: dict[str, t.Any]) -> None:
    """The password comes from the credential and from nowhere else."""
    awx.host.run("redis-cli | grep -qx OK", stdin=f"ACL SETUSER {REDIS_USER} resetpass >another\n")
    done = awx.workflow(data)
    assert done.ended == {"gate": False}
    assert "invalid username-password pair" in done.jobs["gate"].flat()
    awx.assert_nothing_secret()


@pytest.mark.slow
def test_a_host_that_is_not_reached_for_a_while_is_looked_at_again(
    awx: Awx, data: dict[str, t.Any], templates: t.Any
) -> None:
    host = awx.host
    activated = awx.run(
        templates["Canary activate"], {**defaults(templates["Canary activate"]), **ANSWERS, **last_violated(host)}
    )
    assert activated.rc == 0, activated.output
    # every session of ssh ends, and no new one comes in until the run is over
    host.run("systemctl stop ssh; pkill -x sshd; systemd-run -q --on-active=8 systemctl start ssh")
    waited = awx.run(templates["Canary wait"], ANSWERS)
    assert waited.rc == 0, waited.output
    assert "not reached, looking again" in waited.flat()
    assert waited.told[host.name]["verdict"] == "safe"
