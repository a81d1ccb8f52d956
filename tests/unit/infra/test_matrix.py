# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The matrix of steps and faults is whole: no step without its cells, no cell without a case or a reason."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from resilience import matrix, report

from ansible_collections.qsc.canary.plugins.module_utils.qsc.steps import MODULE, STEPS, Step


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_every_cell_of_a_step_is_a_case_or_a_reason(step: Step) -> None:
    cells = {fault: matrix.cell(step, fault) for fault in matrix.FAULTS}
    assert isinstance(cells["kill"], matrix.Case), "whatever is done at a step, its process can be killed there"
    for fault, cell in cells.items():
        assert isinstance(cell, matrix.Case) or len(cell) > 20, fault


def test_the_tables_know_every_step_and_no_other() -> None:
    names = [step.name for step in STEPS]
    assert sorted(matrix.WAYS) == sorted(names)
    assert sorted(matrix.TOUCHES) == sorted(names)


def test_a_new_step_needs_its_cells() -> None:
    with pytest.raises(KeyError, match=r"new\.step: say in WAYS"):
        matrix.cell(Step("new.step", MODULE, "something new"), "kill")


def test_there_are_enough_cases_and_each_has_a_name_of_its_own() -> None:
    cases = matrix.cases()
    assert len(cases) >= 120
    assert len({case.name for case in cases}) == len(cases)
    assert {case.name for case in cases if case.fast} == matrix.FAST


def test_every_fault_has_a_case_or_stands_elsewhere() -> None:
    shown = {case.fault for case in matrix.cases()} | set(matrix.BY_REFERENCE)
    without = {
        f"{name}.{damage}" for name in matrix.FILES for damage in ("older", "newer") if name in matrix._NO_SCHEMA
    }
    assert set(matrix.FAULTS) - shown == without


def test_what_stands_elsewhere_is_there(root: Path) -> None:
    for where in matrix.BY_REFERENCE.values():
        path, _colons, name = where.partition("::")
        assert not name or re.search(rf"^def {name}\(", (root / path).read_text(), re.MULTILINE), where
        assert (root / path).is_file()


def test_every_fault_that_lasts_is_undone() -> None:
    for case in matrix.cases():
        if re.search(
            r"mount|stop redis|kill -s STOP|CONFIG SET|CLIENT PAUSE|/run/systemd|stop systemd-j", case.command
        ):
            assert case.undo or case.command.endswith("start redis-server"), case.name


def test_the_page_is_of_a_run_that_lost_nothing(root: Path) -> None:
    text = (root / "docs/resilience.md").read_text()
    found = re.search(r"\*\*(\d+) cases, 0 lost\.\*\*", text)
    assert found and int(found[1]) >= 120


def test_the_page_has_a_word_for_every_phase_it_explains() -> None:
    phases = {step.phase for step in STEPS}
    assert set(report.PHASES) <= phases
    text = report.page(matrix.cases(), {})
    for phase, words in report.PHASES.items():
        assert f"## {phase}\n\n{words}\n\n| step |" in text
