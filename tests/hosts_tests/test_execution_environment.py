# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The image of execution-environment.yml, built for real: activation, status and rollback from inside it."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
import yaml
from qsc_hosts.machine import key
from qsc_hosts.setup import podman

from helpers.awx_job import Job, run_job
from helpers.ee_image import Image, build, remove
from helpers.plays import FAST, ROOT, Host, last_violated, process_variables, record
from tools.checkout import copy_checkout

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
SITE = {**FAST, "qsc_canary_arming_timeout_seconds": 180, "qsc_canary_stale_after": 60}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Image]:
    yield build(tmp_path_factory.mktemp("ee"))
    remove()


def _job(image: Image, host: Host, folder: Path, playbook: str, *, project: bool, **variables: t.Any) -> Job:
    """A job in the image. Without a project there is only the image's own collection."""
    folder.mkdir()
    if project:
        copy_checkout(folder / "project")
    isolation = {
        "process_isolation": True,
        "process_isolation_executable": "podman",
        "container_image": image.name,
        # as root, so that the key can be read; on the machine's network, where the test host's port is
        "container_options": ["--user=root", "--network=host"],
        "container_volume_mounts": [f"{key()}:{key()}:ro"],
    }
    return run_job(playbook, host, folder=folder, extra_vars=variables, group_vars=SITE, isolation=isolation)


def test_the_image_holds_what_it_should_and_nothing_of_this_machine(
    image: Image, record_property: t.Callable[[str, object], None]
) -> None:
    print(f"execution environment: {image.megabytes:.0f} MB")
    record_property("execution environment, MB (not s)", image.megabytes)
    run = ("run", "--rm", "--network=none", image.name)
    listed = json.loads(podman(*run, "ansible-galaxy", "collection", "list", "--format", "json").stdout)
    found = {name: one["version"] for folder in listed.values() for name, one in folder.items()}
    version = yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"]
    # ansible-core counts a part of itself as a collection
    assert {name: one for name, one in found.items() if not name.startswith("ansible.")} == {"qsc.canary": version}
    assert podman(*run, "ssh", "-V").returncode == 0
    assert podman(*run, "ansible-runner", "--version").stdout.strip() == "2.4.3"
    assert podman(*run, "sh", "-c", "cat /etc/pip.conf /run/build-ca.pem 2>/dev/null || true").stdout == ""
    assert "PIP_CERT" not in podman(*run, "env").stdout


def test_activation_status_and_rollback_from_inside(image: Image, host: Host, tmp_path: Path) -> None:
    activated = _job(
        image, host, tmp_path / "a", "playbooks/activate.yml", project=True, model="patchtst", **last_violated(host)
    )
    assert activated.rc == 0, activated.output
    assert activated.told[host.name]["verdict"] == "active"
    assert process_variables(host)["QSC_CANARY_MODEL"] == "patchtst"
    status = _job(image, host, tmp_path / "s", "playbooks/status.yml", project=True)
    assert (status.rc, status.changed) == (0, 0), status.output
    assert status.told[host.name]["canary_id"] == record(host)["id"]
    rollback = _job(image, host, tmp_path / "r", "qsc.canary.rollback", project=False)
    assert rollback.rc == 0, rollback.output
    assert rollback.told[host.name]["proven"] == "baseline"
    assert process_variables(host) == {}


def test_the_definition_names_this_version() -> None:
    version = yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"]
    definition = yaml.safe_load((ROOT / "execution-environment.yml").read_text())
    [collection] = definition["dependencies"]["galaxy"]["collections"]
    [file] = definition["additional_build_files"]
    assert file["src"] == f"qsc-canary-{version}.tar.gz"
    assert collection["name"] == f"{file['dest']}/{file['src']}"
