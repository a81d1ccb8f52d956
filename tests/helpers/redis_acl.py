# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Redis user as docs/redis-acl.md shows it, with a password of the tests."""

from __future__ import annotations

import re
from pathlib import Path

DOCUMENT = Path(__file__).resolve().parent.parent.parent / "docs" / "redis-acl.md"
USER = "qsc-canary"
PASSWORD = "geheim-2b7e151628aed2a6"


def documented(password: str = PASSWORD) -> list[str]:
    """The rules of the one ACL SETUSER line of the document."""
    [line] = re.findall(rf"^ACL SETUSER {USER} (.+)$", DOCUMENT.read_text(), re.MULTILINE)
    return [f">{password}" if word == ">PASSWORD" else word for word in line.split()]
