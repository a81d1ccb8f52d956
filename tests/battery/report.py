# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Make docs/degenerate-models.md: every fixture before every judge, whatever comes out.

Which fixture stands under which heading follows from the findings; why it does so is written here for that heading
alone. A finding that changes needs new words, and is refused until it has them.
"""

from __future__ import annotations

import sys
import typing as t
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "playbooks" / "collections")]

from battery import judges, kayenta  # noqa: E402
from battery.fixtures import EVENTS, FIXTURES, SEED, Fixture  # noqa: E402

PAGE = ROOT / "docs" / "degenerate-models.md"
Findings = t.Mapping[str, t.Mapping[str, judges.Finding]]

HEAD = f"""\
# Broken models, and who catches them

A model can be broken in ways that no crash shows. Here the reference engine's four models decide for ten symbols,
{EVENTS:,} times before a cutover and {EVENTS:,} times after it: six hours each, at six decisions a minute. After the
cutover the canary (`patchtst`) is broken; the other models stay healthy. Two canaries are healthy and ought to pass.
Everything is generated from one seed ({SEED}). Made by `make battery`. No fixture was changed after its outcome was
known; `surer` and the column `cles` were added after the first run, both in favour of Mann-Whitney.

- **our gate**: `gate.py` over the six hours after the cutover, with its default limits;
- **our monitor**: `check.py` under the policy named, one check at the end of the six hours over its newest 2,000
  decisions. A real one checks 720 times, so it sees these sooner, and is also wrong more often, see
  [how-it-works.md](how-it-works.md);
- **Mann-Whitney**: the test and the classification of Netflix' Kayenta (NetflixACAJudge), made after its documents and
  not its own program: interval of {100 * kayenta.CONFIDENCE:g} % around the Hodges-Lehmann shift, tolerance
  {kayenta.TOLERANCE}, direction `either`, NaN removed; the effect size is the ratio of the means (its default) or
  `cles`. It compares the canary after the cutover with the canary before it, in two metrics: its confidence as
  published, and its actions as numbers, BUY = 1, HOLD = 0, SELL = -1, for that is how one would feed a rank test.
  Anything else has no number. Caught means that a metric is High or Low, or that half of the metrics have no data:
  that is one of these two, and would not be one of three.

A rule of ours is shown with its figure and its limit, a metric of Mann-Whitney's with p and the shift.
"""

NOBODY = "What nobody catches"
THEIRS = "What Mann-Whitney catches and we do not"
CLES = "What Mann-Whitney catches with `cles` only"
OURS = "What we catch and Mann-Whitney does not"
FALSE = "Healthy, and caught all the same"

WHY: t.Mapping[str, t.Mapping[str, str]] = {
    NOBODY: {
        "wide": "Our rules have a least spread and no greatest one. The ranks move apart to both sides, so their sum "
        "stays where it was.",
        "one symbol": "A tenth of the decisions cannot carry the whole over a limit, and no rule of ours looks at one "
        "symbol by itself. Mann-Whitney's p is tiny, but a p is not what "
        "Kayenta goes by: the shift, the median of the differences, is still 0.",
        "one number": "The other 40 % keep the percentiles apart and the standard deviation above its limit, and no "
        "rule of ours counts how often a number comes back. The number is the median, so nothing has shifted.",
        "shifted": "69 % is inside our limit of 70 %, and we judge against limits, not against the past. Mann-Whitney "
        "compares with the past, but as many BUY as SELL votes became HOLD: in that order of the three actions nothing "
        "has moved.",
    },
    THEIRS: {
        "surer": "A shift within our limits. We compare with fixed limits, so a model that is surer than it was is a "
        "healthy one. Whether it should be is not in the telemetry.",
        "mixed scales": "We take a number above 1 for a logit and put it through the sigmoid, which leaves confidences "
        "that keep every rule. The gate says that the scales are mixed; it does not refuse. Mann-Whitney sees the raw "
        "numbers.",
    },
    CLES: {
        "one busy symbol": "The shift is a whole step, but the mean of the encoded actions lies near 0, now on one "
        "side and now on the other, and the ratio of two such means says nothing. `cles` has no such trouble.",
    },
    OURS: {
        "constant at the median": "Half of the old values lie below the constant and half above: that is no "
        "shift. Absolute limits on the spread see a constant whatever its value.",
        "narrow": "The mean is the same and so is the sum of the ranks; a rank test for a shift does not see a spread.",
        "half missing": "Votes that are not there are not in the sample. A count of votes would have to be a metric of "
        "its own.",
        "fallback": "The numbers are good; they come from rules instead of the model. It is the source that tells.",
        "NaN once": "NaN is removed before the test, as documented. We refuse a model that was not a number once.",
        "copycat": "Not because we know a copy when we see it: the copy lifts the agreement of the ensemble, here just "
        "over the limit. Where the others agree less it would pass, and nothing else of ours would stop it.",
    },
    FALSE: {
        "another model": "A canary is there because it is another model. A judge that compares it with the model it "
        "replaces finds that it is one.",
    },
}

FOOT = """\
## What this does not show

- One seed and one ensemble. A figure close to its limit can fall on the other side in another one.
- That Mann-Whitney is a bad judge. It is made for a canary beside a control group that lives at the same time, fed with
  one point a minute. A model of this ensemble has no twin, so its own past is the control, and a market that turns
  would be held against the canary. Somebody who feeds more metrics (the share of each action, the standard deviation,
  the number of votes, for every ten minutes) gives it what it misses here; each of them has to be thought of.
- That limits are enough. They catch what is broken by itself; whether a healthy canary is a good one is not in its
  votes.
"""


def heading(fixture: Fixture, found: t.Mapping[str, judges.Finding]) -> str:
    """Under which heading a fixture stands; "" when every side is right."""
    ours = any(found[column.name].caught for column in judges.COLUMNS if column.ours)
    theirs = [found[column.name].caught for column in judges.COLUMNS if not column.ours]
    if not fixture.ill:
        return FALSE if ours or any(theirs) else ""
    if ours and any(theirs):
        return "" if all(theirs) else CLES
    return OURS if ours else THEIRS if any(theirs) else NOBODY


def page(found: Findings) -> str:
    """The whole page. Raises KeyError for a finding that has no words."""
    names = [column.name for column in judges.COLUMNS]
    rows = [f"| canary | | ill | {' | '.join(names)} |", "|---" * (3 + len(names)) + "|"]
    for fixture in FIXTURES:
        cells = [_cell(found[fixture.name][name]) for name in names]
        rows.append(f"| {fixture.name} | {fixture.text} | {'yes' if fixture.ill else 'no'} | {' | '.join(cells)} |")
    parts = [HEAD, "\n".join(rows) + "\n", _counts(found)]
    placed: dict[str, list[str]] = {title: [] for title in WHY}
    for fixture in FIXTURES:
        title = heading(fixture, found[fixture.name])
        if title:
            placed[title].append(f"- **{fixture.name}** ({fixture.text}). {WHY[title][fixture.name]}")
    for title, lines in placed.items():
        if lines:
            parts.append(f"## {title}\n\n" + "\n".join(lines) + "\n")
    return "\n".join([*parts, FOOT])


def _cell(finding: judges.Finding) -> str:
    word = "**caught**" if finding.caught else "no"
    return f"{word}: {finding.told}" if finding.told else word


def _counts(found: Findings) -> str:
    lines = ["| judge | of the ill ones caught | of the healthy ones caught |", "|---|---|---|"]
    for column in judges.COLUMNS:
        cells = []
        for ill in (True, False):
            caught = [found[fixture.name][column.name].caught for fixture in FIXTURES if fixture.ill == ill]
            cells.append(f"{sum(caught)} of {len(caught)}")
        lines.append(f"| {column.name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the page."""
    found = judges.judge_all()
    PAGE.write_text(page(found))
    for name, by in found.items():
        print(
            f"{name:<24}{', '.join(column for column, finding in by.items() if finding.caught) or 'caught by nobody'}"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
