#!/usr/bin/python3 -I
# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An own check: what a PromQL query gives must not be above a limit. Needs ``qsc_canary_check_allow`` with the
address of Prometheus, such as localhost.
"""

from __future__ import annotations

import json
import math
import sys
import urllib.parse
import urllib.request

PROMETHEUS = "http://127.0.0.1:9090"
QUERY = "sum(rate(orders_rejected_total[10m])) / sum(rate(orders_total[10m]))"
LIMIT = 0.05
TIMEOUT_S = 3.0


def main() -> int:
    """Returns the exit status: 0 ok, 1 a violation, 75 no data."""
    url = f"{PROMETHEUS}/api/v1/query?" + urllib.parse.urlencode({"query": QUERY, "timeout": f"{TIMEOUT_S:g}s"})
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            found = json.load(answer)["data"]["result"]
    except OSError as error:  # a query that is wrong is an HTTP error, and as much without an answer
        print(f"{PROMETHEUS}: {error}")
        return 75
    values = [float(item["value"][1]) for item in found]
    if len(values) != 1 or math.isnan(values[0]):
        print(f"the query gives {len(values)} values, not one number")
        return 75
    print(json.dumps({"value": values[0], "limit": LIMIT, "message": f"{values[0]:.4g} of {QUERY}"}))
    return 1 if values[0] > LIMIT else 0


if __name__ == "__main__":
    try:
        status = main()
    except Exception as error:  # noqa: BLE001 - Python would end with 1, and a mistake in here must look like no violation
        print(f"{type(error).__name__}: {error}")
        status = 70
    sys.exit(status)
