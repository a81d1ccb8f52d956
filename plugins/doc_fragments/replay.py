# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """How recorded telemetry is replayed. Must be kept in sync with plugins/module_utils/_replay.py."""

    DOCUMENTATION = r"""
options:
  model:
    description: The model that would be the canary.
    type: str
    required: true
  policy:
    description: The policies to replay.
    type: list
    elements: str
    choices: [strict, sequential]
    default: [strict, sequential]
  file:
    description:
      - A file of JSON lines on the host, an object with C(ms) (the epoch in milliseconds) and C(fields) (the entry's, by
        name) each, in order.
      - By default what the stream still holds. With a file no Redis is asked.
    type: path
  weight:
    description: The canary's weight. At 1.0 an ensemble of fewer than two voters is not held against it.
    type: float
  baseline:
    description: The weights of the ensemble before the canary, for what its weight changes.
    type: dict
  interval_s:
    description: Seconds between two checks.
    type: float
    default: 30
  duration_s:
    description: How long a run lasts, in seconds.
    type: float
    default: 21600
  min_events:
    description: Decisions from which on the figures are judged.
    type: int
    default: 200
  window_events:
    description: Under V(strict) the newest so many decisions are judged.
    type: int
    default: 2000
  stale_after:
    description: Seconds without a new decision that are a violation; V(auto) takes them from the decisions before each start.
    type: str
    default: auto
  max_wait:
    description: Seconds after which a run without O(min_events) decisions is inconclusive; V(auto) as above.
    type: str
    default: auto
  every_s:
    description: Seconds between two starts; by default 300, or as many more as O(starts) asks for.
    type: float
  starts:
    description: At most so many starts. Steps between which no decision came count once.
    type: int
    default: 200
  history:
    description: Decisions before the first start; fewer than 20 tell nothing of how they come.
    type: int
    default: 20
"""
