# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every input the fuzzer ever found, and those it started from, keep every promise of their reader (tests/fuzz)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

sys.path[:0] = [str(ROOT / "plugins" / "module_utils"), str(ROOT / "tests" / "fuzz")]
from targets import TARGETS  # noqa: E402 - the fuzzer imports the core as the host does

CORPUS = ROOT / "tests" / "fuzz" / "corpus"


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_of_a_target_keeps_its_promises(name):
    inputs = sorted(CORPUS.joinpath(name).iterdir())
    assert inputs
    for path in inputs:
        try:
            TARGETS[name](path.read_bytes())
        except Exception as error:
            raise AssertionError(f"{path}: {error!r}") from error


def test_every_target_has_a_corpus_and_every_corpus_a_target():
    assert sorted(TARGETS) == sorted(folder.name for folder in CORPUS.iterdir())
