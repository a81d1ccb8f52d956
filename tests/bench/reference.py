# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plain way to judge a stream, to measure against: one XRANGE of everything, json, numpy.

It is how the program that this collection replaces read its telemetry; it judges the newest decisions and no more than
their figures. Not a part of the collection.

usage: reference.py PORT STREAM CUTOVER NEWEST
"""

from __future__ import annotations

import json
import sys

import numpy as np
import redis


def main(port: str, stream: str, cutover: str, newest: str) -> int:
    client = redis.Redis(port=int(port))
    entries = client.xrange(stream, min=f"({cutover}", max="+")
    confidences: dict[str, list[float]] = {}
    actions: dict[str, list[str]] = {}
    agreement = []
    for _id, fields in entries[-int(newest) :]:
        event = json.loads(fields[b"payload"])
        votes = event["model_breakdown"]
        for model, said in votes.items():
            confidences.setdefault(model, []).append(said["confidence"])
            actions.setdefault(model, []).append(said["action"])
        said = [vote["action"] for vote in votes.values()]
        agreement.append(max(said.count(action) for action in set(said)) / len(said))
    for model, values in confidences.items():
        array = np.array(values)
        shares = {action: actions[model].count(action) / len(values) for action in ("BUY", "SELL", "HOLD")}
        print(model, len(values), shares, array.std(), np.percentile(array, [10, 90]))
    print(float(np.mean(agreement)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
