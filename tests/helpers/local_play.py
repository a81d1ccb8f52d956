# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Let Ansible evaluate something on this machine, the way a play would."""

from __future__ import annotations

import subprocess
import typing as t
from pathlib import Path

import yaml


def evaluate(folder: Path, play: t.Mapping[str, t.Any], environment: t.Mapping[str, str]) -> None:
    """Run one play on localhost, with Ansible's own Python, in a folder of its own; it must succeed."""
    (folder / "play.yml").write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, **play}]))
    done = subprocess.run(
        ["ansible-playbook", "play.yml", "-e", "ansible_python_interpreter={{ ansible_playbook_python }}"],
        cwd=folder,
        env={**environment, "ANSIBLE_LOCAL_TEMP": str(folder / "tmp"), "ANSIBLE_NOCOLOR": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
