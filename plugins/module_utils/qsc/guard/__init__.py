# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""Acts on the host, with privileges. Never imports the judge, never reads telemetry."""
