# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Glue between Ansible and the replay of recorded telemetry.

Must be kept in sync with plugins/doc_fragments/replay.py.
"""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ._redis import telemetry_spec
from .qsc.judge import recording
from .qsc.judge.backtest import BacktestOptions
from .qsc.judge.stream import StreamReader


def replay_spec(**options: dict[str, t.Any]) -> dict[str, dict[str, t.Any]]:
    """The argument spec of a module that replays telemetry, with its own options."""
    return telemetry_spec(
        judging=True,
        model={"type": "str", "required": True},
        policy={
            "type": "list",
            "elements": "str",
            "choices": ["strict", "sequential"],
            "default": ["strict", "sequential"],
        },
        file={"type": "path"},
        weight={"type": "float"},
        baseline={"type": "dict"},
        interval_s={"type": "float", "default": 30},
        duration_s={"type": "float", "default": 21600},
        min_events={"type": "int", "default": 200},
        window_events={"type": "int", "default": 2000},
        stale_after={"type": "str", "default": "auto"},
        max_wait={"type": "str", "default": "auto"},
        every_s={"type": "float"},
        starts={"type": "int", "default": 200},
        history={"type": "int", "default": 20},
        **options,
    )


def recorded(module: AnsibleModule, reader: StreamReader, asked: BacktestOptions) -> recording.Recording:
    """The telemetry the module's options name: a file on the host, or what the stream holds."""
    dialect = asked.monitor.dialect
    if module.params["file"]:
        return recording.from_file(module.params["file"], dialect, asked.part, module.params["match"])
    return recording.from_stream(reader, dialect, asked.part)
