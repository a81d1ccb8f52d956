# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a module of this collection for real, in a process of its own, as a task on the host would.

The process is a fork that has Ansible imported already: a module then takes a tenth of a second instead of one and a
half. `fresh` starts a new interpreter instead, as Ansible does.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import subprocess
import sys
import time
import traceback
import typing as t
from pathlib import Path

from ansible.module_utils import basic

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGE = "ansible_collections.qsc.canary.plugins.modules"
TIMEOUT_S = 60.0


def run_module(
    name: str, *, check: bool = False, fresh: bool = False, before: str = "", **options: t.Any
) -> dict[str, t.Any]:
    """The result of one module; ``failed`` is always there. ``before`` is Python that runs first (implies fresh)."""
    arguments = json.dumps({"ANSIBLE_MODULE_ARGS": {**options, "_ansible_check_mode": check}})
    code, output = _interpreter(name, arguments, before) if fresh or before else _fork(name, arguments)
    try:
        result = json.loads(output)
    except ValueError:
        raise AssertionError(f"{name} printed no result:\n{output}") from None
    result.setdefault("failed", False)
    assert (code != 0) == result["failed"], output
    return dict(result)


def _interpreter(name: str, arguments: str, before: str) -> tuple[int, str]:
    code = f"{before}\nimport runpy\nrunpy.run_module({PACKAGE + '.' + name!r}, run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=arguments,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        env={"PYTHONPATH": str(ROOT / "playbooks" / "collections"), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
    )
    return done.returncode, done.stdout or done.stderr


def _fork(name: str, arguments: str) -> tuple[int, str]:
    module = importlib.import_module(f"{PACKAGE}.{name}")
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        os._exit(_child(module.main, arguments, writing))
    os.close(writing)
    output, end = b"", time.monotonic() + TIMEOUT_S
    while select.select([reading], [], [], max(0.0, end - time.monotonic()))[0]:
        block = os.read(reading, 1 << 16)
        if not block:
            break
        output += block
    else:
        os.kill(pid, signal.SIGKILL)
    os.close(reading)
    _pid, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), output.decode()


def _child(main: t.Callable[[], t.Any], arguments: str, writing: int) -> int:
    code = 70
    with os.fdopen(writing, "w", encoding="utf-8") as output:
        sys.stdout = sys.stderr = output
        basic._ANSIBLE_ARGS = arguments.encode()
        basic._ANSIBLE_PROFILE = "legacy"
        try:
            main()
        except SystemExit as done:
            code = done.code if isinstance(done.code, int) else 0
        except BaseException:  # noqa: BLE001 (the last word of a process of its own)
            traceback.print_exc()
    return code
