#!/usr/bin/python3 -I
# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An own check: an HTTP endpoint answers 200. Needs ``qsc_canary_check_allow`` with its address, such as localhost."""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request

URL = "http://127.0.0.1:8080/health"
LIMIT_S = 2.0


def main() -> int:
    """Returns the exit status: 0 ok, 1 a violation, 75 no data."""
    begin = time.monotonic()
    try:
        with urllib.request.urlopen(URL, timeout=LIMIT_S) as answer:
            said = f"{URL} says {answer.status}"
    except urllib.error.HTTPError as error:  # it answers, and says that something is wrong
        print(f"{URL} says {error.code} {error.reason}")
        return 1
    except OSError as error:  # nobody answers: four times in a row are forgiven
        print(f"{URL}: {error}")
        return 75
    print(json.dumps({"value": time.monotonic() - begin, "limit": LIMIT_S, "message": said}))
    return 0


if __name__ == "__main__":
    try:
        status = main()
    except Exception as error:  # noqa: BLE001 - Python would end with 1, and a mistake in here must look like no violation
        print(f"{type(error).__name__}: {error}")
        status = 70
    sys.exit(status)
