# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every step times every fault on real hosts: the host ends proven, at its baseline or at the committed weights."""

from __future__ import annotations

import json
import typing as t

import pytest
from qsc_hosts import fleet

from helpers.plays import ROOT, WORKER, Host

from . import harness, matrix

RESULTS = ROOT / "build" / "resilience"


@pytest.fixture(scope="session")
def faulty_host() -> t.Iterator[Host]:
    """One installed host a worker; each case puts it back by itself."""
    with fleet.session(f"faults-{WORKER}", 1) as [host]:
        harness.prepare(host)
        yield host


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case.name.replace(" x ", "-x-"), marks=() if case.fast else pytest.mark.slow)
        for case in matrix.cases()
    ],
)
def test_the_host_ends_proven(faulty_host: Host, case: matrix.Case) -> None:
    found = harness.run(faulty_host, case)
    RESULTS.mkdir(parents=True, exist_ok=True)
    told = {"step": case.step, "fault": case.fault, "wanted": case.end, "within_s": case.within_s, **found}
    (RESULTS / f"{case.step}--{case.fault}.json").write_text(json.dumps(told, indent=1) + "\n")
    assert found["reached"], found["why"]
    assert not found["wrong"], f"{found['end']}: {found['wrong']}; {found['seen']}; steps {found['steps']}"
    assert found["seconds"] <= case.within_s
