# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The captures in docs/status-watch.md, made of the sample facts in tests/helpers/scenes.py.

tests/tools/status_watch.py writes them anew; tests/unit/tell/test_captures.py says when they are not those of the code.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "status-watch.md"
_PLACE = re.compile(r"<!-- scene: ([a-z ]+) (\d+) -->\n.*?<!-- end -->", re.DOTALL)


def with_captures(text: str) -> str:
    """The page with each capture as the code draws it now."""
    from ansible_collections.qsc.canary.plugins.module_utils.qsc.tell.watch import tree
    from helpers.scenes import SCENES

    def capture(found: re.Match[str]) -> str:
        name, columns = found.group(1), int(found.group(2))
        lines = "\n".join(tree(SCENES[name](), columns - 1))  # as on a terminal, whose last column stays free
        return f"<!-- scene: {name} {columns} -->\n```text\n{lines}\n```\n<!-- end -->"

    return _PLACE.sub(capture, text)


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT / "playbooks" / "collections"), str(ROOT / "tests")]
    PAGE.write_text(with_captures(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
