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

from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.rules import WAIT  # noqa: E402

PAGE = ROOT / "docs" / "degenerate-models.md"
UNCHANGED = "unchanged"
STRICT, SEQUENTIAL = "our monitor, `strict`", "our monitor, `sequential`"
KEPT = Path(__file__).resolve().parent / "seeds.json"
Findings = t.Mapping[str, t.Mapping[str, judges.Finding]]
BySeed = t.Mapping[str, t.Mapping[str, t.Sequence[int]]]


class Kept(t.NamedTuple):
    """Seeds by fixture and column: those with which the judge catches the canary, and those with which our monitor
    does not but ends at WAIT."""

    caught: BySeed
    waits: BySeed


HEAD = f"""\
# Broken models, and who catches them

A model can be broken in ways that no crash shows. Here the reference engine's four models decide for ten symbols,
{EVENTS:,} times before a cutover and {EVENTS:,} times after it: six hours each, at six decisions a minute. After the
cutover the canary (`patchtst`) is broken; the other models stay healthy. Three canaries are healthy and ought to pass.
Everything is generated, and made by `make battery`. The figures are those of one seed ({SEED}); "k/{len(SEEDS)}" says
in how many of {len(SEEDS)} other seeds the judge catches the canary. No fixture was changed after its outcome was
known. The fixtures `unchanged` and `surer` and the columns `cles` and `sequential` were added after the first run:
`unchanged` shows false alarms that a replay cannot show, `surer` and `cles` are in favour of Mann-Whitney, `sequential`
is a policy that came later.

- **our gate**: `gate.py` over the six hours after the cutover, with its default limits;
- **our monitor, `strict`**: `check.py` under this policy, one check at the end of the six hours over its newest 2,000
  decisions. A real one checks 720 times, so it sees these sooner, and is also wrong more often, see
  [how-it-works.md](how-it-works.md#two-policies);
- **our monitor, `sequential`**: `check.py` under this policy, {len(judges.LOOKS)} checks, every ten minutes from the
  first half hour to the end of the six hours; the first violation counts, and it is told after how many minutes it was
  found. As `strict` looks once here, that is no comparison of their speed. The 200th decision, from which rules are
  judged, comes after 33 minutes: what is found after 30 is a blocker or an immediate trip;
- **Mann-Whitney**: the test and the classification of Netflix' Kayenta (NetflixACAJudge), made after its documents and
  not its own program: interval of {100 * kayenta.CONFIDENCE:g} % around the Hodges-Lehmann shift, tolerance
  {kayenta.TOLERANCE}, direction `either`, NaN removed; the effect size is the ratio of the means (its default) or
  `cles`. It compares the canary after the cutover with the canary before it, in two metrics: its confidence as
  published, and its actions as numbers, BUY = 1, HOLD = 0, SELL = -1, for that is how one would feed a rank test.
  Anything else has no number. Caught means that a metric is High or Low, or that half of the metrics have no data:
  that is one of these two, and would not be one of three.

A rule of ours is shown with its figure and its limit, a metric of Mann-Whitney's with p and the shift.

A canary that our monitor does not catch ends GO or WAIT. Under `strict` GO says that no figure is beyond its limit,
under `sequential` that every rule is certain to be kept; only a canary that ends GO is promoted. WAIT says that nothing
is against it and that it is not certain all the same: the run is inconclusive, and the host returns to its baseline
unless it was told otherwise. The rules that are not certain are shown with their figure and its interval;
"WAIT k/{len(SEEDS)}" says in how many of the other seeds it ends so.
"""

NOBODY = "What nobody catches"
THEIRS = "What Mann-Whitney catches and we do not"
OURS = "What we catch and Mann-Whitney does not"
POLICIES = "Where our two policies differ"
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
        "has moved. `sequential` does not catch it either, "
        "but does not promote it.",
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
        "the very limit. Where the others agree less the gate and `strict` let it pass: no other rule "
        "stops it.",
    },
    POLICIES: {
        "shifted": "Nobody calls it a violation, and it is none. `strict` promotes it, for 69 % is below 70 %. "
        "`sequential` asks for certainty that the long run is: the interval of six hours reaches beyond the limit, so "
        "it is not promoted. A healthy canary with so many HOLD would fare no better.",
        "copycat": "`strict` goes by the figure, so on one side of the limit it ends the run and on the other it says "
        "GO. For `sequential` the interval holds the limit: neither a violation is certain nor that the rule is kept. "
        "It never ends the run early, and it never promotes.",
    },
    FALSE: {
        "another model": "A canary is there because it is another model. A judge that compares it with the model it "
        "replaces finds that it is one.",
    },
    DRAW: {
        "unchanged": "Mann-Whitney takes decisions for independent of each other. Those of one symbol resemble the "
        "ones before them, as in a real market, so the confidence of six hours wanders further than the test allows "
        "for, and a model that is as it was is found to be another one. The same decisions shuffled between before and "
        "after gave no false alarm in 40 seeds. `sequential` does not call that a violation, but it pays as well: "
        "where the buckets of the confidence resemble their neighbours, it holds nothing about its spread for certain, "
        "however far the figure is from the limit (0.15 from 0.05), and ends WAIT.",
        "identical": "For `sequential` as `unchanged`.",
        "another model": "For `sequential` as `unchanged`.",
        "wide": "For `sequential` as `unchanged`: because buckets resemble each other, not because of what is broken.",
        "surer": "For `sequential` as `unchanged`: because buckets resemble each other, not because of what is broken.",
        "one symbol": "For Mann-Whitney and for `sequential` as `unchanged`, by the confidence, to which nothing was "
        "done.",
        "mixed scales": "For `sequential` as `unchanged`, in the range as well.",
        "one number": "The repeated number pulls p10 and p90 together, to about .2 where .12 is the limit. With some "
        "seeds the interval of `sequential` reaches the limit, and it ends WAIT: by the figure that is broken, though "
        "no rule is violated.",
        "one busy symbol": "The actions have moved by a whole step with every seed. But the defaults of Kayenta want "
        "the ratio of the means to say so too; the mean of the encoded actions lies near 0, on whichever side the draw "
        "puts it, and the ratio of two such means says nothing. `cles` has no such trouble.",
        "half missing": "For Mann-Whitney as `unchanged`, from half of the votes.",
        "copycat": "For our gate and `strict` the agreement lies on the limit, a little above it or a little below. "
        "For Mann-Whitney as `unchanged`.",
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


def over_seeds() -> Kept:
    """What each judge makes of each fixture with the seeds of ``SEEDS``. Takes minutes."""
    caught: dict[str, dict[str, list[int]]] = {}
    waits: dict[str, dict[str, list[int]]] = {}
    for fixture in FIXTURES:
        by = caught[fixture.name] = {column.name: [] for column in judges.COLUMNS}
        unsure = waits[fixture.name] = {column.name: [] for column in judges.COLUMNS}
        for seed in SEEDS:
            for name, finding in judges.judge_one(fixture, seed).items():
                by[name] += [seed] * finding.caught
                unsure[name] += [seed] * (finding.status == WAIT)
        print(f"{fixture.name:<24}{', '.join(f'{name} {len(seeds)}' for name, seeds in by.items())}", flush=True)
    return Kept(caught, waits)


def headings(fixture: Fixture, found: Kept) -> list[str]:
    """Under which headings a fixture stands: by what most seeds say, and whether all of them say the same."""
    by, waits = found.caught[fixture.name], found.waits[fixture.name]

    def most(*, ours: bool) -> bool:
        return any(2 * len(by[column.name]) > len(SEEDS) for column in judges.COLUMNS if column.ours == ours)

    titles = []
    if not fixture.ill:
        titles += [FALSE] if most(ours=True) or most(ours=False) else []
    elif not most(ours=True):
        titles.append(THEIRS if most(ours=False) else NOBODY)
    elif not most(ours=False):
        titles.append(OURS)
    if by[STRICT] != by[SEQUENTIAL] or 2 * len(waits[SEQUENTIAL]) > len(SEEDS):
        titles.append(POLICIES)
    wavers = any(0 < len(seeds) < len(SEEDS) for seeds in (*by.values(), *waits.values()))
    if wavers and not as_unchanged(fixture, found):
        titles.append(DRAW)
    return titles


def as_unchanged(fixture: Fixture, found: Kept) -> bool:
    """True when Mann-Whitney catches a fixture with the seeds with which it catches a healthy model that goes on, and
    ours do not waver."""
    if fixture.name == UNCHANGED:
        return False
    caught, waits = found
    theirs = [column.name for column in judges.COLUMNS if not column.ours]
    ours = [len(by[fixture.name][column.name]) for by in (caught, waits) for column in judges.COLUMNS if column.ours]
    same = all(caught[fixture.name][name] == caught[UNCHANGED][name] for name in theirs)
    return same and all(times in (0, len(SEEDS)) for times in ours)


def promoted(fixture: Fixture, found: Kept) -> bool:
    """True when a fixture ends GO under both policies with most seeds."""
    ends = [sum(len(by[fixture.name][name]) for by in found) for name in (STRICT, SEQUENTIAL)]
    return all(2 * times < len(SEEDS) for times in ends)


def page(findings: Findings, seeds: Kept) -> str:
    """The whole page. Raises KeyError for a finding that has no words."""
    names = [column.name for column in judges.COLUMNS]
    rows = [f"| canary | | ill | {' | '.join(names)} |", "|---" * (3 + len(names)) + "|"]
    placed: dict[str, list[str]] = {title: [] for title in WHY}
    for fixture in FIXTURES:
        cells = [_cell(findings[fixture.name][name], seeds, fixture.name, name) for name in names]
        rows.append(f"| {fixture.name} | {fixture.text} | {'yes' if fixture.ill else 'no'} | {' | '.join(cells)} |")
        for title in headings(fixture, seeds):
            placed[title].append(f"- **{fixture.name}** ({fixture.text}). {WHY[title][fixture.name]}")
    alike = [f"**{fixture.name}**" for fixture in FIXTURES if as_unchanged(fixture, seeds)]
    if alike:
        placed[DRAW].append(
            f"- {', '.join(alike)}. Mann-Whitney catches them with the seeds of `{UNCHANGED}` and with no other, by "
            "the confidence, to which nothing was done: not because of what is broken."
        )
    blind = [f"**{fixture.name}**" for fixture in FIXTURES if fixture.ill and promoted(fixture, seeds)]
    if blind:
        placed[POLICIES].append(
            f"- Not in {', '.join(blind)}: these are ill and end GO under both policies with most seeds. Certain is "
            "that our rules are kept, and they are kept; certainty is no help against what no rule asks for."
        )
    parts = [HEAD, "\n".join(rows) + "\n", _counts(seeds)]
    parts += [f"## {title}\n\n" + "\n".join(lines) + "\n" for title, lines in placed.items() if lines]
    return "\n".join([*parts, FOOT])


def _cell(finding: judges.Finding, seeds: Kept, fixture: str, column: str) -> str:
    times, waits = len(seeds.caught[fixture][column]), len(seeds.waits[fixture][column])
    word = "**caught**" if finding.caught else f"no, {finding.status}" if finding.status else "no"
    word += f" ({times}/{len(SEEDS)}{f', WAIT {waits}/{len(SEEDS)}' if waits else ''})"
    return f"{word}: {finding.told}" if finding.told else word


def _counts(seeds: Kept) -> str:
    titles = [f"over {len(SEEDS)} seeds"]
    titles += [f"of the {kind} ones {end}" for kind in ("ill", "healthy") for end in ("caught", "at WAIT")]
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for column in judges.COLUMNS:
        cells = []
        for ill in (True, False):
            names = [fixture.name for fixture in FIXTURES if fixture.ill == ill]
            for by in seeds:
                times, every = sum(len(by[name][column.name]) for name in names), len(names) * len(SEEDS)
                cells.append(f"{times} of {every} ({100 * times / every:.0f} %)")
        if column.name not in (STRICT, SEQUENTIAL):
            cells[1] = cells[3] = "-"  # these have no such word
        lines.append(f"| {column.name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def kept() -> Kept:
    """What ``over_seeds`` gave when the page was made."""
    return Kept(**json.loads(KEPT.read_text()))


def _text(found: Kept) -> str:
    """As JSON, a fixture a line."""
    parts = []
    for name, rows in found._asdict().items():
        lines = ",\n".join(f"  {json.dumps(fixture)}: {json.dumps(by)}" for fixture, by in rows.items())
        parts.append(f' "{name}": {{\n{lines}\n }}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def main() -> int:
    """Judge everything, keep the outcome by seed, write the page."""
    found = over_seeds()
    KEPT.write_text(_text(found))
    PAGE.write_text(page(judges.judge_all(), found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
