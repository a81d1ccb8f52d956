# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The reference engines: two trading engines that know the collection by nothing but its contract.

``quantum.py`` and ``orbit.py`` are the engines, ``tool.py`` tells them at run time how to behave, ``modes.py`` says
which codes each behaviour must lead to. Nothing of the collection is imported.
"""
