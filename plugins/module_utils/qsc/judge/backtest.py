# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""Recorded telemetry judged as if a canary had run on it from every possible start, under each policy. Pure.

The answer to "how often would this policy roll a canary of this host back?" before the day on which it does.
"""

from __future__ import annotations

import math
import typing as t
from collections import Counter
from dataclasses import asdict, dataclass

from ..errors import BadInput
from ..settings import model_name
from .cutover import ZERO, parse_cutover, utc
from .gate import findings
from .impact import Tally
from .options import POLICIES, STRICT, GateOptions, MonitorOptions, number, whole
from .planted import Degradation, degradations
from .recording import EVERYTHING, Range, Recording
from .replay import CUT_OFF, INCONCLUSIVE, ROLLED_BACK, SAFE, Outcome, Replay
from .summary import percentile, summarise

EVERY_S = 300.0
MOST_STARTS = 200
LEAST_HISTORY = 20
"""Decisions before the first start: fewer tell nothing of how they come, and silence would be taken for an end."""
_Z95 = 1.959963984540054

Tick = t.Callable[[int, int], None]


@dataclass(frozen=True)
class BacktestOptions:
    """What to replay. ``every_s``: between two starts, None = as many as ``starts`` allows; ``history``: decisions
    before the first start; ``monitor``: how a run is judged, its marker apart."""

    model: str
    monitor: MonitorOptions
    policies: tuple[str, ...] = POLICIES
    part: Range = EVERYTHING
    interval_s: float = 30.0
    every_s: float | None = None
    starts: int = MOST_STARTS
    history: int = LEAST_HISTORY
    degradations: tuple[Degradation, ...] = ()
    seed: int = 0

    @classmethod
    def from_dict(cls, raw: t.Mapping[str, t.Any]) -> BacktestOptions:
        """Check and take the options of the module or the command (None = default). Raises BadInput."""
        given = {name: value for name, value in raw.items() if value is not None}
        model = model_name(given.get("model"))
        policies = given.get("policy") or list(POLICIES)
        if not isinstance(policies, (list, tuple)):
            raise BadInput(f"policy={policies!r:.80} is not a list", remedy="Give [strict, sequential] or one of them.")
        for policy in policies:
            if policy not in POLICIES:
                raise BadInput(f"policy={policy!r:.80} is unknown", remedy="Use strict, sequential or both.")
        judging = {**given, "policy": given.get("run_policy", STRICT)}
        every = given.get("every_s")
        return cls(
            model=model,
            monitor=MonitorOptions.from_dict(judging, model=model, since=ZERO),
            policies=tuple(dict.fromkeys(policies)),
            part=_part(given),
            interval_s=number("interval_s", given.get("interval_s", 30.0), 0.5, 3600),
            every_s=None if every is None else number("every_s", every, 1, 30 * 86_400),
            starts=whole("starts", given.get("starts", MOST_STARTS), 1, 10_000),
            history=whole("history", given.get("history", LEAST_HISTORY), 0),
            degradations=degradations(given.get("degradation", ())),
            seed=whole("seed", given.get("seed", 0), 0, (1 << 63) - 1),
        )


def _part(given: t.Mapping[str, t.Any]) -> Range:
    since = parse_cutover(given["since"], None, option="since").after if given.get("since") else ZERO
    until = parse_cutover(given["until"], None, option="until").after if given.get("until") else None
    if until is not None and until <= since:
        raise BadInput(
            f"until={given['until']!r:.80} is not after since={given.get('since')!r:.80}", remedy="Give a later one."
        )
    return Range(since, until)


@dataclass(frozen=True)
class Share:
    """``count`` of ``of`` starts, with an interval of 95 %. The starts overlap: the interval is that of ``runs``
    independent runs, as many as fit one after the other."""

    count: int
    of: int
    runs: float

    def to_dict(self) -> dict[str, t.Any]:
        """As JSON-ready data; shares as fractions."""
        low, high = wilson(self.count, self.of, self.runs)
        share = self.count / self.of if self.of else None
        return {"count": self.count, "of": self.of, "share": share, "low": low, "high": high, "runs": self.runs}


def wilson(count: int, of: int, runs: float | None = None) -> tuple[float, float]:
    """The interval of Wilson (1927) of 95 % for a chance seen ``count`` times in ``of``, which say as much as ``runs``
    independent ones; all of it of nothing."""
    n = of if runs is None else runs
    if not (of and n > 0):
        return 0.0, 1.0
    p, z2 = count / of, _Z95**2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    radius = _Z95 * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return (max(0.0, centre - radius) if count else 0.0), (min(1.0, centre + radius) if count < of else 1.0)


@dataclass(frozen=True)
class Found:
    """What a degradation met under one policy: ``alive`` runs had not ended when it began, ``detected`` of them were
    rolled back after ``delays_s``; ``anyway`` of them are rolled back without it as well."""

    degradation: Degradation
    alive: int
    anyway: int
    delays_s: tuple[float, ...]
    runs: float

    def to_dict(self) -> dict[str, t.Any]:
        """As JSON-ready data."""
        return {
            "degradation": self.degradation.text,
            "after_s": self.degradation.after_s,
            "alive": self.alive,
            "anyway": self.anyway,
            "detected": Share(len(self.delays_s), self.alive, self.runs).to_dict(),
            "delay_s": {"median": _at(self.delays_s, 50), "p95": _at(self.delays_s, 95)},
        }


@dataclass(frozen=True)
class PolicyResult:
    """All runs under one policy; ``passed``: at which starts the gate would have let the model through."""

    policy: str
    outcomes: tuple[Outcome, ...]
    passed: tuple[bool, ...]
    found: tuple[Found, ...] = ()

    def count(self, result: str) -> int:
        """How many runs ended so."""
        return sum(item.result == result for item in self.outcomes)

    @property
    def runs(self) -> float:
        """How many runs of their mean length fit into the time they cover, one after the other."""
        return _runs(self.outcomes)

    @property
    def rolled_back(self) -> Share:
        """Of all starts."""
        return Share(self.count(ROLLED_BACK), len(self.outcomes), self.runs)

    @property
    def rolled_back_passed(self) -> Share:
        """Of the starts at which the gate passes."""
        kept = [item for item, passed in zip(self.outcomes, self.passed) if passed]
        return Share(sum(item.result == ROLLED_BACK for item in kept), len(kept), min(self.runs, len(kept)))

    def to_dict(self) -> dict[str, t.Any]:
        """As JSON-ready data."""
        ended = [item for item in self.outcomes if item.result == ROLLED_BACK]
        rules = Counter(rule for item in ended for rule in item.rules)
        why = Counter(item.rules[0] for item in self.outcomes if item.result == INCONCLUSIVE)
        first = Counter(item.rules[0] for item in ended if item.rules)
        return {
            "policy": self.policy,
            "starts": len(self.outcomes),
            **{name: self.count(name) for name in (ROLLED_BACK, SAFE, INCONCLUSIVE, CUT_OFF)},
            "rollback": self.rolled_back.to_dict(),
            "rollback_passed": self.rolled_back_passed.to_dict(),
            "median_s": _at([item.at_s for item in ended], 50),
            "median_decisions": _at([float(item.decisions) for item in ended], 50),
            "rules": dict(rules.most_common()),
            "first_rules": dict(first.most_common()),
            "inconclusive_for": dict(why.most_common()),
            "degradations": [item.to_dict() for item in self.found],
            "runs": [{**item.to_dict(), "gate": passed} for item, passed in zip(self.outcomes, self.passed)],
        }


def _runs(outcomes: t.Sequence[Outcome]) -> float:
    if not outcomes:
        return 0.0
    mean = math.fsum(item.at_s for item in outcomes) / len(outcomes)
    covered = max(item.start_ms / 1000 + item.at_s for item in outcomes) - outcomes[0].start_ms / 1000
    return min(float(len(outcomes)), max(1.0, covered / mean if mean > 0 else 1.0))


def _at(values: t.Sequence[float], p: float) -> float | None:
    return percentile(sorted(values), p) if values else None


@dataclass(frozen=True)
class Backtest:
    """The answer. ``every_s``: what lay between two starts, those apart between which no decision came."""

    source: str
    options: BacktestOptions
    decisions: int
    first_ms: int
    last_ms: int
    every_s: float
    starts: tuple[int, ...]
    passed: tuple[bool, ...]
    policies: tuple[PolicyResult, ...]

    def to_dict(self) -> dict[str, t.Any]:
        """The module's return, JSON-ready, but for the reports made of it."""
        monitor = self.options.monitor
        return {
            "source": self.source,
            "model": self.options.model,
            "weight": monitor.weight,
            "decisions": self.decisions,
            "since": utc(self.first_ms),
            "until": utc(self.last_ms),
            "span_s": (self.last_ms - self.first_ms) / 1000,
            "every_s": self.every_s,
            "interval_s": self.options.interval_s,
            "duration_s": monitor.duration_s,
            "min_events": monitor.min_events,
            "window_events": monitor.window_events,
            "limits": asdict(monitor.limits),
            "seed": self.options.seed,
            "starts": len(self.starts),
            "gate_passed": sum(self.passed),
            "policies": [item.to_dict() for item in self.policies],
        }


def backtest(recording: Recording, options: BacktestOptions, tick: Tick | None = None) -> Backtest:
    """Replay a recording. ``tick(done, total)`` is called after every run. Raises BadInput."""
    recording.require(options.model, options.monitor.dialect)
    replay = Replay(recording.decisions, options.monitor, options.interval_s)
    starts, every_s = _starts(replay, recording, options)
    passed = tuple(_gate_passes(recording, replay.before(start), options) for start in starts)
    total = len(starts) * len(options.policies) * (1 + len(options.degradations))
    done = 0

    def run(start: int, policy: str, degradation: Degradation | None) -> Outcome:
        nonlocal done
        outcome = replay.run(start, policy, degradation, options.seed)
        done += 1
        if tick is not None:
            tick(done, total)
        return outcome

    results = []
    for policy in options.policies:
        outcomes = tuple(run(start, policy, None) for start in starts)
        found = tuple(
            _found(what, outcomes, [run(start, policy, what) for start in starts]) for what in options.degradations
        )
        results.append(PolicyResult(policy, outcomes, passed, found))
    return Backtest(
        recording.source, options, len(recording.decisions), recording.first_ms, recording.last_ms, every_s, starts,
        passed, tuple(results),
    )  # fmt: skip


def _starts(replay: Replay, recording: Recording, options: BacktestOptions) -> tuple[tuple[int, ...], float]:
    least = options.monitor.min_events
    first, last = replay.room(options.history, least)
    if first > last:
        raise BadInput(
            f"{recording.source} holds {len(recording.decisions)} decisions: too few for one start with "
            f"{options.history} before it (history) and {least} after it (min_events)",
            remedy="Give a longer recording or an earlier since.",
        )
    every_s = options.every_s
    if every_s is None:
        every_s = EVERY_S * max(1, math.ceil((last - first) / 1000 / EVERY_S / options.starts))
    wanted = 1 + int((last - first) / (1000 * every_s))
    if wanted > options.starts:
        raise BadInput(
            f"every_s={every_s:g} gives {wanted} starts, more than starts={options.starts}",
            remedy=f"Leave every_s out, or give starts={wanted}.",
        )
    found: list[int] = []
    for start in range(first, last + 1, int(1000 * every_s)):
        if not found or replay.before(start) > replay.before(found[-1]):
            found.append(start)
    return tuple(found), every_s


def _gate_passes(recording: Recording, place: int, options: BacktestOptions) -> bool:
    """Whether the rules let the model pass on the newest decisions before a start, however few they are."""
    monitor = options.monitor
    decisions = recording.decisions[max(0, place - monitor.window_events) : place]
    summary = summarise(decisions)
    flips = None
    if monitor.limits.flip_share_max < 1 and monitor.change is not None:
        flips = Tally(monitor.change)
        for decision in decisions:
            flips.add(decision)
    asked = GateOptions(
        "", models=(options.model,), dialect=monitor.dialect, limits=monitor.limits, weight=monitor.weight
    )
    return options.model in summary.models and not findings(summary, asked, flips).against


def _found(what: Degradation, plain: t.Sequence[Outcome], ill: t.Sequence[Outcome]) -> Found:
    """Both with the same starts. A run that ended before the degradation began says nothing about it."""
    pairs = [(one, other) for one, other in zip(plain, ill) if other.at_s > what.after_s]
    delays = tuple(other.at_s - what.after_s for _one, other in pairs if other.result == ROLLED_BACK)
    anyway = sum(one.result == ROLLED_BACK for one, _other in pairs)
    return Found(what, len(pairs), anyway, delays, _runs([other for _one, other in pairs]))
