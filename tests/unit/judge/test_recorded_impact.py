# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The figures in docs/impact.md are those of the recorded telemetry; on a difference the lines to write are shown.

The recording is not part of this project: without it beside the checkout these tests are skipped by name.
"""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.compare import comparison
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.decisions import Decision, Dialect
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.drift import reference_of
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.impact import SHARES, Impact
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.recording import EVERYTHING, from_file
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.table import table_of
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.vote import VOTES
from ansible_collections.qsc.canary.plugins.module_utils.qsc.tell.impact import percent
from ansible_collections.qsc.canary.plugins.module_utils.qsc.tell.markup import figure

ROOT = Path(__file__).resolve().parents[3]
RECORDING = ROOT.parent / "shared" / "data" / "telemetry-2025-11-22.jsonl"
DIALECT = Dialect.of({"xgboost": "xgb", "lightgbm": "lgbm"}, ["fallback"])
BASELINE = {"xgb": 0.25, "lgbm": 0.25, "nhits": 0.30, "patchtst": 0.20}

pytestmark = pytest.mark.skipif(not RECORDING.exists(), reason="no recorded telemetry in ../shared/data")


@pytest.fixture(scope="module")
def decisions() -> t.Sequence[Decision]:
    return from_file(str(RECORDING), DIALECT, EVERYTHING, {}).decisions


def impact(decisions: t.Sequence[Decision], model: str, vote: str) -> dict[str, t.Any]:
    found = Impact(model, BASELINE, vote, 0.1)
    for decision in decisions:
        found.add(decision)
    return found.to_dict()


def row(*cells: object) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def flips(decisions: t.Sequence[Decision]) -> list[str]:
    lines = [row("canary", *(f"{100 * share:g} %" for share in SHARES), "at 10 %, from and to")]
    for model in BASELINE:
        shares = {item["share"]: item for item in impact(decisions, model, "confidence_weighted")["shares"]}
        ways = [f"{way['from']} to {way['to']} {way['count']}" for way in shares[0.1]["directions"]]
        lines.append(row(model, *(percent(shares[share]["flip_share"]) for share in SHARES), ", ".join(ways)))
    return lines


def reproduced(decisions: t.Sequence[Decision]) -> list[str]:
    lines = []
    for vote in VOTES:
        told = impact(decisions, "patchtst", vote)["reproduced"]
        lines.append(row(f"`{vote}`", f"{told['same']} of {told['decisions']}"))
    return lines


def beside(decisions: t.Sequence[Decision]) -> list[str]:
    found = comparison(table_of(decisions, "patchtst", BASELINE))
    assert found is not None
    lines = []
    for name, model in {"patchtst": found["canary"], **found["incumbents"]}.items():
        pair, one = model.get("same"), model.get("mcnemar")
        lines.append(
            row(
                name,
                percent(model["agreement"]),
                figure(model["kappa"], 2),
                "-" if pair is None else f"{percent(pair['agreement'])} ({figure(pair['kappa'], 2)})",
                _difference(model["difference"]),
                "-" if one is None else f"{one['canary']}, {one['incumbent']}",
                "-" if one is None else f"{one['e_value']:.2g}",
            )
        )
    return lines


def _difference(found: t.Mapping[str, t.Any]) -> str:
    return f"{found['mean']:+.3f} ({found['low']:+.3f} to {found['high']:+.3f})"


def shifts(decisions: t.Sequence[Decision]) -> list[str]:
    half = len(decisions) // 2
    lines = []
    for model in BASELINE:
        before, after = decisions[:half], decisions[half:]
        found = comparison(table_of(after, model, BASELINE), reference_of(table_of(before, model, BASELINE)))
        assert found is not None
        shift = found["drift"]["shift"]
        lines.append(
            row(
                model,
                *(
                    f"{100 * item['canary']:+.0f} = {_part(item, 'market')} {_part(item, 'own')}"
                    for item in (shift[name] for name in ("BUY", "SELL", "HOLD"))
                ),
            )
        )
    return lines


def _part(item: t.Mapping[str, t.Any], name: str) -> str:
    """A part in points, in bold where it is beyond its band."""
    text = f"{100 * item[name]:+.0f}"
    return f"**{text}**" if item["market_moved" if name == "market" else "canary_moved"] else text


@pytest.mark.parametrize("table", [flips, reproduced, beside, shifts])
def test_the_page_has_the_figures_of_the_recording(decisions, table):
    page = (ROOT / "docs" / "impact.md").read_text().splitlines()
    assert [line for line in table(decisions) if line not in page] == []


def test_the_recording_is_compared_on_all_its_decisions(decisions):
    assert len(decisions) == 510
    found = impact(decisions, "patchtst", "confidence_weighted")
    assert (found["decisions"], found["reproduced"]) == (510, {"decisions": 510, "same": 500})
    shares = {item["share"]: item["flipped"] for item in found["shares"]}
    assert shares[0.1] == 48
