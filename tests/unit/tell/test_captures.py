# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The captures in the documentation are what the code draws."""

from __future__ import annotations

from tools.status_watch import PAGE, with_captures


def test_the_documentation_shows_what_is_drawn() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text.count("```text") == 2
    assert with_captures(text) == text, "run: .venv/bin/python tests/tools/status_watch.py"
