# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whose engine a step is about."""

from __future__ import annotations

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard.host import Host, subject
from ansible_collections.qsc.canary.plugins.module_utils.qsc.settings import Settings
from helpers.samples import make_record


@pytest.mark.parametrize(
    ("state", "unit"),
    [("arming", "old.service"), ("active", "old.service"), ("rolling_back", "old.service"),
     ("rolled_back", "new.service"), ("promoted", "new.service")],
)  # fmt: skip
def test_a_run_that_is_over_says_nothing_of_the_engine_of_today(state: str, unit: str) -> None:
    host = Host(settings=Settings(engine_unit="new.service"))
    assert subject(host, make_record(state=state, engine_unit="old.service")).engine_unit == unit


def test_without_a_record_the_settings_count() -> None:
    assert subject(Host(settings=Settings(engine_unit="new.service")), None).engine_unit == "new.service"
