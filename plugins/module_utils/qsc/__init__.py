# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""The core of qsc.canary: judge, guard and tell, on a common hall. Never imports Ansible."""

__version__ = "0.1.0"
"""The version of the collection, as galaxy.yml has it: a host must know which one acted."""
