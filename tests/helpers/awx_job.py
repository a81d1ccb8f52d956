# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a playbook as a job of AWX: by ansible-runner, from the project's folder, with a private folder of its own.

As AWX does, survey answers and the job's own facts are extra variables, a credential is environment of the controller,
and ansible-runner writes neither into files of its own (``suppress_env_files``).
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

from qsc_hosts.inventory import inventory as inventory_text
from qsc_hosts.machine import Host
from qsc_hosts.setup import environment as podman_environment

from helpers.plays import ROOT, environment

USER, JOB_ID = "mia", 4711
AWX_VARIABLES: t.Mapping[str, t.Any] = {"awx_user_name": USER, "awx_job_id": JOB_ID, "awx_job_launch_type": "manual"}
"""What AWX gives to every job."""

# In a process of its own: ansible-runner changes signal handlers and the environment of the one it runs in.
_RUN = """
import json, sys
import ansible_runner
asked = json.load(sys.stdin)
done = ansible_runner.run(suppress_env_files=True, quiet=True, **asked)
artifacts = {}
for event in done.events:
    if event["event"] == "playbook_on_stats":
        artifacts = event["event_data"].get("artifact_data", {})
print(json.dumps({"rc": done.rc, "status": done.status, "stats": done.stats, "artifacts": artifacts}))
"""


@dataclass(frozen=True)
class Job:
    """What a job came to. ``artifacts``: what AWX keeps of ``set_stats`` and gives to the next node of a workflow."""

    rc: int
    status: str
    output: str
    artifacts: t.Mapping[str, t.Any]
    changed: int
    folder: Path
    seconds: float

    @property
    def told(self) -> t.Mapping[str, t.Mapping[str, t.Any]]:
        """{host: entry} of ``qsc_canary``."""
        found: t.Mapping[str, t.Mapping[str, t.Any]] = self.artifacts.get("qsc_canary", {})
        return found

    def flat(self) -> str:
        """The output without colours and the line breaks that YAML puts into long texts."""
        text = re.sub(r"\x1b\[[0-9;]*m", "", self.output)
        return re.sub(r"\s+", " ", text.replace("\\n", " ")).replace("''", "'")

    def files_with(self, words: t.Sequence[str]) -> list[str]:
        """Files of the job that hold one of the words. The one that ansible-runner writes for itself, with the whole
        environment and for its owner alone, is left out: AWX removes it with the private folder at the job's end."""
        found = []
        for path in sorted(self.folder.rglob("*")):
            if not path.is_file() or path.is_symlink():
                continue
            if path.name == "command" and path.parent.parent.name == "artifacts":
                assert path.stat().st_mode & 0o077 == 0, f"{path} can be read by others"
                continue
            data = path.read_bytes()
            found += [str(path.relative_to(self.folder)) for word in words if word.encode() in data]
        return found


def run_job(
    playbook: str,
    *hosts: Host,
    folder: Path,
    extra_vars: t.Mapping[str, t.Any] | None = None,
    group_vars: t.Mapping[str, t.Any] | None = None,
    credential: t.Mapping[str, str] | None = None,
    isolation: t.Mapping[str, t.Any] | None = None,
    timeout: float = 300,
) -> Job:
    """Run one job to its end.

    ``playbook``: its path in the project.  ``folder``: empty, for this job alone.  ``group_vars``: what the site's
    inventory says of its engines.  ``credential``: the controller's environment.
    ``isolation``: what ansible-runner has to know to run it in a container; the project is then ``folder``/project.
    """
    inventory = json.loads(inventory_text(list(hosts)))
    inventory["qsc_engines"]["vars"] = dict(group_vars or {})
    asked: dict[str, t.Any] = {
        "private_data_dir": str(folder),
        "project_dir": str(ROOT),
        "playbook": playbook,
        "inventory": inventory,
        "extravars": {**AWX_VARIABLES, **(extra_vars or {})},
        "envvars": {"ANSIBLE_FORCE_COLOR": "0", **(credential or {})},
        "settings": {"job_timeout": int(timeout)},
    }
    if isolation is not None:
        del asked["project_dir"]
        asked.update(isolation)
    begin = time.monotonic()
    answer = _run(asked, folder, timeout)
    output = "".join(path.read_text() for path in sorted((folder / "artifacts").glob("*/stdout")))
    changed = sum((answer["stats"] or {}).get("changed", {}).values())
    return Job(
        rc=answer["rc"],
        status=answer["status"],
        output=output,
        artifacts=answer["artifacts"],
        changed=changed,
        folder=folder,
        seconds=time.monotonic() - begin,
    )


def run_local(
    plays: t.Sequence[t.Mapping[str, t.Any]], folder: Path, hosts: t.Mapping[str, t.Any]
) -> tuple[int, t.Mapping[str, t.Any]]:
    """(exit code, artifacts) of plays of a test."""
    playbook = folder / "play.json"
    playbook.write_text(json.dumps(list(plays)))
    asked = {
        "private_data_dir": str(folder),
        "project_dir": str(ROOT),
        "playbook": str(playbook),
        "inventory": {"all": {"hosts": dict(hosts)}},
    }
    answer = _run(asked, folder, 60)
    return answer["rc"], answer["artifacts"]


def _containers() -> dict[str, str]:
    """How podman has to be called on this machine."""
    conf = podman_environment().get("CONTAINERS_CONF")
    return {} if conf is None else {"CONTAINERS_CONF": conf}


def _run(asked: t.Mapping[str, t.Any], folder: Path, timeout: float) -> dict[str, t.Any]:
    done = subprocess.run(
        [sys.executable, "-c", _RUN],
        cwd=folder,
        env=environment(**_containers()),
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=timeout + 60,
        check=False,
    )
    assert done.returncode == 0, f"ansible-runner did not come to its end:\n{done.stdout}\n{done.stderr}"
    answer: dict[str, t.Any] = json.loads(done.stdout.splitlines()[-1])
    return answer
