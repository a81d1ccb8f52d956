# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Make docs/degenerate-models.md: every fixture before every judge, whatever comes out.

The figures are those of one seed; by the seeds of ``SEEDS`` it is told what depends on the draw, and under which
heading a fixture stands. Their outcome is kept in seeds.json, because it takes minutes. Why a fixture stands under a
heading is written here for that heading alone: a finding that changes needs new words, and is refused until it has
them.
"""

from __future__ import annotations

import json
import sys
import typing as t
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "playbooks" / "collections")]

from battery import judges, kayenta  # noqa: E402
from battery.fixtures import EVENTS, FIXTURES, SEED, SEEDS, Fixture  # noqa: E402

PAGE = ROOT / "docs" / "degenerate-models.md"
UNCHANGED = "unchanged"
KEPT = Path(__file__).resolve().parent / "seeds.json"
Findings = t.Mapping[str, t.Mapping[str, judges.Finding]]
Caught = t.Mapping[str, t.Mapping[str, t.Sequence[int]]]

HEAD = f"""\
# Broken models, and who catches them

A model can be broken in ways that no crash shows. Here the reference engine's four models decide for ten symbols,
{EVENTS:,} times before a cutover and {EVENTS:,} times after it: six hours each, at six decisions a minute. After the
cutover the canary (`patchtst`) is broken; the other models stay healthy. Three canaries are healthy and ought to pass.
Everything is generated, and made by `make battery`. The figures are those of one seed ({SEED}); "k/{len(SEEDS)}" says
in how many of {len(SEEDS)} other seeds the judge catches the canary. No fixture was changed after its outcome was
known. The fixtures `unchanged` and `surer` and the column `cles` were added after the first run: the first shows false
alarms that a replay cannot show, the other two are in favour of Mann-Whitney.

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
OURS = "What we catch and Mann-Whitney does not"
FALSE = "Healthy, and caught all the same"
DRAW = "What depends on the draw"

# heading -> fixture -> why it stands there.
WHY: t.Mapping[str, t.Mapping[str, str]] = {
    NOBODY: {
        "wide": "Our rules have a least spread and no greatest one. The ranks move apart to both sides, so their sum "
        "stays where it was.",
        "one symbol": "A tenth of the decisions cannot carry the whole over a limit, and no rule of ours looks at one "
        "symbol by itself. Mann-Whitney's p is tiny, but a p is not what Kayenta goes by: the shift, the median of the "
        "differences, is still 0.",
        "one number": "The other 40 % keep the percentiles apart and the standard deviation above its limit, and no "
        "rule of ours counts how often a number comes back. The number is the median, so nothing has shifted.",
        "shifted": "69 % is inside our limit of 70 %, and we judge against limits, not against the past. Mann-Whitney "
        "compares with the past, but as many BUY as SELL votes became HOLD: in that order of the three actions nothing "
        "has moved.",
    },
    THEIRS: {
        "surer": "A shift within our limits. We compare with fixed limits, so a model that is surer than it was is a "
        "healthy one. Whether it should be is not in the telemetry; it is counted as ill here.",
        "mixed scales": "We take a number above 1 for a logit and put it through the sigmoid, which leaves confidences "
        "that keep every rule. The gate says that the scales are mixed; it does not refuse. Mann-Whitney sees the raw "
        "numbers.",
    },
    OURS: {
        "constant at the median": "Half of the old values lie below the constant and half above: that is no shift. "
        "Absolute limits on the spread see a constant whatever its value.",
        "narrow": "The mean is the same and so is the sum of the ranks; a rank test for a shift does not see a spread.",
        "half missing": "Votes that are not there are not in the sample. A count of votes would have to be a metric of "
        "its own.",
        "fallback": "The numbers are good; they come from rules instead of the model. It is the source that tells.",
        "NaN once": "NaN is removed before the test, as documented. We refuse a model that was not a number once.",
        "copycat": "Not because we know a copy when we see it: the copy lifts the agreement of the ensemble, here to "
        "the very limit. Where the others agree less it passes, and nothing else of ours stops it.",
    },
    FALSE: {
        "another model": "A canary is there because it is another model. A judge that compares it with the model it "
        "replaces finds that it is one.",
    },
    DRAW: {
        "unchanged": "Mann-Whitney takes decisions for independent of each other. Those of one symbol resemble the "
        "ones before them, as in a real market, so the confidence of six hours wanders further than the test allows "
        "for, and a model that is as it was is found to be another one. The same decisions shuffled between before and "
        "after gave no false alarm in 40 seeds.",
        "one busy symbol": "The actions have moved by a whole step with every seed. But the defaults of Kayenta want "
        "the ratio of the means to say so too; the mean of the encoded actions lies near 0, on whichever side the draw "
        "puts it, and the ratio of two such means says nothing. `cles` has no such trouble.",
        "half missing": "For Mann-Whitney as `unchanged`, from half of the votes.",
        "copycat": "For us the agreement lies on the limit, a little above it or a little below. For Mann-Whitney as "
        "`unchanged`.",
    },
}

FOOT = """\
## What this does not show

- Another ensemble. A figure close to its limit can fall on the other side in one that agrees more, or less.
- That Mann-Whitney is a bad judge. It is made for a canary beside a control group that lives at the same time, fed with
  one point a minute. A model of this ensemble has no twin, so its own past is the control, and a market that turns
  would be held against the canary. Somebody who feeds more metrics (the share of each action, the standard deviation,
  the number of votes, for every ten minutes) gives it what it misses here; each of them has to be thought of.
- That limits are enough. They catch what is broken by itself; whether a healthy canary is a good one is not in its
  votes.
"""


def over_seeds() -> dict[str, dict[str, list[int]]]:
    """The seeds of ``SEEDS`` with which each judge catches each fixture: {fixture: {column: seeds}}. Takes minutes."""
    caught: dict[str, dict[str, list[int]]] = {}
    for fixture in FIXTURES:
        by = caught[fixture.name] = {column.name: [] for column in judges.COLUMNS}
        for seed in SEEDS:
            for name, finding in judges.judge_one(fixture, seed).items():
                by[name] += [seed] * finding.caught
        print(f"{fixture.name:<24}{', '.join(f'{name} {len(seeds)}' for name, seeds in by.items())}", flush=True)
    return caught


def headings(fixture: Fixture, caught: Caught) -> list[str]:
    """Under which headings a fixture stands: by what most seeds say, and whether all of them say the same."""
    by = caught[fixture.name]

    def most(*, ours: bool) -> bool:
        return any(2 * len(by[column.name]) > len(SEEDS) for column in judges.COLUMNS if column.ours == ours)

    titles = []
    if not fixture.ill:
        titles += [FALSE] if most(ours=True) or most(ours=False) else []
    elif not most(ours=True):
        titles.append(THEIRS if most(ours=False) else NOBODY)
    elif not most(ours=False):
        titles.append(OURS)
    if any(0 < len(seeds) < len(SEEDS) for seeds in by.values()) and not as_unchanged(fixture, caught):
        titles.append(DRAW)
    return titles


def as_unchanged(fixture: Fixture, caught: Caught) -> bool:
    """True when Mann-Whitney catches a fixture with the seeds with which it catches a healthy model that goes on, and
    ours do not waver."""
    if fixture.name == UNCHANGED:
        return False
    theirs = [column.name for column in judges.COLUMNS if not column.ours]
    ours = [len(caught[fixture.name][column.name]) for column in judges.COLUMNS if column.ours]
    same = all(caught[fixture.name][name] == caught[UNCHANGED][name] for name in theirs)
    return same and all(times in (0, len(SEEDS)) for times in ours)


def page(found: Findings, caught: Caught) -> str:
    """The whole page. Raises KeyError for a finding that has no words."""
    names = [column.name for column in judges.COLUMNS]
    rows = [f"| canary | | ill | {' | '.join(names)} |", "|---" * (3 + len(names)) + "|"]
    placed: dict[str, list[str]] = {title: [] for title in WHY}
    for fixture in FIXTURES:
        seeds = caught[fixture.name]
        cells = [_cell(found[fixture.name][name], len(seeds[name])) for name in names]
        rows.append(f"| {fixture.name} | {fixture.text} | {'yes' if fixture.ill else 'no'} | {' | '.join(cells)} |")
        for title in headings(fixture, caught):
            placed[title].append(f"- **{fixture.name}** ({fixture.text}). {WHY[title][fixture.name]}")
    alike = [f"**{fixture.name}**" for fixture in FIXTURES if as_unchanged(fixture, caught)]
    if alike:
        placed[DRAW].append(
            f"- {', '.join(alike)}. Mann-Whitney catches them with the seeds of `{UNCHANGED}` and with no other, by "
            "the confidence, to which nothing was done: not because of what is broken."
        )
    parts = [HEAD, "\n".join(rows) + "\n", _counts(caught)]
    parts += [f"## {title}\n\n" + "\n".join(lines) + "\n" for title, lines in placed.items() if lines]
    return "\n".join([*parts, FOOT])


def _cell(finding: judges.Finding, times: int) -> str:
    word = f"{'**caught**' if finding.caught else 'no'} ({times}/{len(SEEDS)})"
    return f"{word}: {finding.told}" if finding.told else word


def _counts(caught: Caught) -> str:
    lines = [f"| over {len(SEEDS)} seeds | of the ill ones caught | of the healthy ones caught |", "|---|---|---|"]
    for column in judges.COLUMNS:
        cells = []
        for ill in (True, False):
            times = [len(caught[fixture.name][column.name]) for fixture in FIXTURES if fixture.ill == ill]
            every = len(times) * len(SEEDS)
            cells.append(f"{sum(times)} of {every} ({100 * sum(times) / every:.0f} %)")
        lines.append(f"| {column.name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def kept() -> dict[str, dict[str, list[int]]]:
    """What ``over_seeds`` gave when the page was made."""
    found: dict[str, dict[str, list[int]]] = json.loads(KEPT.read_text())
    return found


def main() -> int:
    """Judge everything, keep the outcome by seed, write the page."""
    caught = over_seeds()
    rows = [f" {json.dumps(name)}: {json.dumps(by)}" for name, by in caught.items()]
    KEPT.write_text("{\n" + ",\n".join(rows) + "\n}\n")
    PAGE.write_text(page(judges.judge_all(), caught))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
