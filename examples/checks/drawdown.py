#!/usr/bin/python3 -I
# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An own check: the drawdown since the activation, from a file with a line "epoch seconds,equity" for each moment.

Needs nothing but the right to read the file as the user qsc-canary.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

FILE = Path("/var/lib/trading/equity.csv")
LIMIT_PERCENT = 3.0


def main() -> int:
    """Returns the exit status: 0 ok, 1 a violation, 75 no data."""
    since = json.load(sys.stdin)["activated_at"]
    peak = worst = moments = 0.0
    try:
        with FILE.open(encoding="ascii") as lines:
            for line in lines:
                moment, equity = map(float, line.split(","))
                if moment < since:
                    continue
                moments += 1
                peak = max(peak, equity)
                worst = max(worst, 100 * (1 - equity / peak))
    except OSError as error:
        print(f"{FILE}: {error.strerror}")
        return 75
    if moments < 2:
        print("no equity since the activation yet")
        return 75
    print(json.dumps({"value": worst, "limit": LIMIT_PERCENT, "message": f"drawdown {worst:.2f} %"}))
    return 1 if worst > LIMIT_PERCENT else 0


if __name__ == "__main__":
    try:
        status = main()
    except Exception as error:  # noqa: BLE001 - Python would end with 1, and a mistake in here must look like no violation
        print(f"{type(error).__name__}: {error}")
        status = 70
    sys.exit(status)
