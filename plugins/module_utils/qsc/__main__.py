# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""The command where nothing is installed: ``PYTHONPATH=plugins/module_utils python3 -m qsc replay FILE``."""

from __future__ import annotations

from .command import main

if __name__ == "__main__":
    raise SystemExit(main())
