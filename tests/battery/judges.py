# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The judges of the battery: our gate, our monitor by policy, and a Mann-Whitney judge.

A further policy of the monitor is one more line in ``COLUMNS``.
"""

from __future__ import annotations

import bisect
import typing as t
from dataclasses import dataclass

from battery import kayenta
from battery.fixtures import CANARY, FIXTURES, SEED, Fixture, Telemetry, confidences

from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import QscError
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge import rules
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.check import INCONCLUSIVE, OK, VIOLATION, check
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.claims import KEPT
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.connection import Connection
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.cutover import StreamId
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.gate import evaluate
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.options import GateOptions, MonitorOptions
from ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.stream import StreamReader
from ansible_collections.qsc.canary.plugins.module_utils.qsc.verdict import Violation
from helpers.telemetry import STREAM, entry

START_MS = 1_768_003_200_000
STEP_MS = 10_000
HOUR_S = 3600.0
LOOKS = tuple(tenth / 6 for tenth in range(3, 37))
"""Hours since the activation at which ``sequential`` looks: every ten minutes from the first half hour on."""
_DERIVED = (rules.GATE_FAILED, rules.NO_GO)
# How one would feed a rank test: an action that is none of these has no number.
_NUMBERS = {"BUY": 1.0, "HOLD": 0.0, "SELL": -1.0}


class Finding(t.NamedTuple):
    """What a judge says. ``rules``: the codes against the canary, "refused", or the metrics that failed; ``told``:
    the figures; ``status``: the monitor's last word on a canary it did not catch, GO or WAIT (never promoted)."""

    caught: bool
    rules: tuple[str, ...]
    told: str
    status: str = ""


@dataclass(frozen=True)
class Case:
    """One fixture's telemetry, as decisions and as the rows of a stream (id in ms, row as Redis answers it)."""

    telemetry: Telemetry
    rows: t.Sequence[tuple[int, list[t.Any]]]

    @classmethod
    def of(cls, telemetry: Telemetry) -> Case:
        rows = []
        for place, made in enumerate([*telemetry.before, *telemetry.after]):
            fields = entry(made.breakdown, symbol=made.symbol, serial=place)
            ms = START_MS + place * STEP_MS
            rows.append((ms, [b"%d-0" % ms, [text.encode() for pair in fields.items() for text in pair]]))
        return cls(telemetry, rows)


Judge = t.Callable[[Case], Finding]


class MemoryReader(StreamReader):
    """The real reader over a stream in memory, some hours after the cutover: Redis' clock stands a second later."""

    def __init__(self, case: Case, hours: float) -> None:
        super().__init__(Connection(), STREAM)
        cutover = case.rows[len(case.telemetry.before) - 1][0]
        self.marker = StreamId(cutover, 0)
        self.now_ms = cutover + round(hours * HOUR_S * 1000) + 1000
        seen = [(ms, row) for ms, row in case.rows if ms < self.now_ms]
        self._times, self._rows = [ms for ms, _row in seen], [row for _ms, row in seen]

    def _call(self, *command: t.Any) -> t.Any:
        if command[0] == "TIME":
            return [str(self.now_ms // 1000).encode(), str(self.now_ms % 1000 * 1000).encode()]
        if command[0] == "XINFO":
            first, last, count = self._rows[0], self._rows[-1], len(self._rows)
            counts = [b"length", count, b"entries-added", count, b"max-deleted-entry-id", b"0-0"]
            return [*counts, b"last-generated-id", last[0], b"first-entry", first, b"last-entry", last]
        if command[0] == "XREAD":
            return self._after(*command[1:])
        name, _stream, high, low, _word, count = command
        if name != "XREVRANGE" or high == "+":
            raise NotImplementedError(command)
        begin, end = self._place(StreamId.parse(low)), self._place(StreamId.parse(high).next())
        return self._rows[begin:end][::-1][:count]

    def _after(self, *command: t.Any) -> t.Any:
        """XREAD: the oldest entries after an ID, by stream; nil where there are none."""
        word, count, streams, key, last = command
        if (word, streams, key) != ("COUNT", "STREAMS", STREAM):
            raise NotImplementedError(command)
        begin = self._place(StreamId.parse(last).next())
        found = self._rows[begin : begin + count]
        return [[STREAM.encode(), found]] if found else None

    def _place(self, low: StreamId) -> int:
        """Where the entries from ``low`` on begin; all of the stream's have the sequence number 0."""
        return bisect.bisect_left(self._times, low.ms + (low.seq > 0))


def gate(case: Case) -> Finding:
    """The gate over the six hours, with their beginning as the cutover."""
    reader = MemoryReader(case, hours=6)
    options = GateOptions.from_dict({"cutover": str(reader.marker), "models": [CANARY], "weight": 0.1})
    try:
        result = evaluate(reader, options, reader.now_ms / 1000)
    except QscError as error:
        return Finding(True, ("refused",), f"refused: {error.message}")
    if result.passed:
        return Finding(False, (), "; ".join(f"warns: {text}" for text in result.warnings))
    return Finding(True, *_against(result.violations))


def monitor(policy: str, looks: t.Sequence[float] = (6.0,)) -> Judge:
    """The monitor under a policy. ``looks``: when it checks, in hours since the activation; the first violation
    counts."""

    def judge(case: Case) -> Finding:
        progress = None
        for hours in looks:
            reader = MemoryReader(case, hours)
            raw = {"entries_added": len(case.telemetry.before), "weight": 0.1, "policy": policy}
            options = MonitorOptions.from_dict(raw, model=CANARY, since=reader.marker)
            result, progress = check(reader, options, progress, hours * HOUR_S)
            if result.verdict == VIOLATION:
                codes, told = _against(result.violations)
                return Finding(True, codes, told if len(looks) == 1 else f"{told}, after {60 * hours:.0f} min")
        if result.verdict != OK:
            return Finding(result.verdict == INCONCLUSIVE, (), result.message, result.status)
        return Finding(False, (), _unsure(result.claims), result.status)

    return judge


def _unsure(claims: t.Sequence[t.Mapping[str, t.Any]]) -> str:
    """The rules that are not certain to be kept, with value, interval and state."""
    return "; ".join(claim["sentence"] for claim in claims if claim["state"] != KEPT)


def _against(violations: t.Sequence[Violation]) -> tuple[tuple[str, ...], str]:
    """The codes without those derived from others, and their figures (of three shares that are unknown: one)."""
    own = [item for item in violations if item.code not in _DERIVED]
    codes = tuple(dict.fromkeys(item.code for item in own))
    return codes, ", ".join(dict.fromkeys(f"`{item.code}` {_figure(item)}" for item in own))


def _figure(item: Violation) -> str:
    if item.measured is None or item.limit is None:
        return "unknown"
    return f"{item.measured:.4g} ({item.limit:g})"


def mann_whitney(measure: str) -> Judge:
    """The canary's confidence, as published, and its actions as numbers, before and after the cutover."""

    def judge(case: Case) -> Finding:
        before, after = case.telemetry
        metrics = {
            "confidence": kayenta.classify(confidences(before), confidences(after), measure),
            "actions": kayenta.classify(_actions(before), _actions(after), measure),
        }
        bad = tuple(name for name, metric in metrics.items() if metric.label != kayenta.PASS)
        told = "; ".join(f"{name} {_metric(metric, measure)}" for name, metric in metrics.items())
        return Finding(kayenta.failed(list(metrics.values())), bad, told)

    return judge


def _actions(decisions: t.Iterable[t.Any]) -> list[float]:
    votes = [made.breakdown[CANARY]["action"] for made in decisions if CANARY in made.breakdown]
    return [_NUMBERS.get(action, float("nan")) for action in votes]


def _metric(metric: kayenta.Metric, measure: str) -> str:
    """The label, with the figures where they are shown for the first time: they do not depend on the measure."""
    if metric.p is None or metric.shift is None or measure != kayenta.MEAN_RATIO:
        return metric.label
    p = f"p = {metric.p:.2g}" if metric.p >= 1e-9 else "p < 1e-9"
    if not any(metric.shift):
        return f"{metric.label} ({p}, shift 0)"
    low, middle, high = metric.shift
    return f"{metric.label} ({p}, shift {middle:+.3f}, {low:+.3f} to {high:+.3f})"


class Column(t.NamedTuple):
    """One judge of the table."""

    name: str
    judge: Judge
    ours: bool


COLUMNS = (
    Column("our gate", gate, True),
    Column("our monitor, `strict`", monitor("strict"), True),
    Column("our monitor, `sequential`", monitor("sequential", LOOKS), True),
    Column("Mann-Whitney, defaults", mann_whitney(kayenta.MEAN_RATIO), False),
    Column("Mann-Whitney, `cles`", mann_whitney(kayenta.CLES), False),
)


def judge_one(fixture: Fixture, seed: int = SEED) -> dict[str, Finding]:
    """What each judge says of a fixture, by column."""
    case = Case.of(fixture.telemetry(seed))
    return {column.name: column.judge(case) for column in COLUMNS}


def judge_all() -> dict[str, dict[str, Finding]]:
    """What each judge says of each fixture: {fixture: {column: finding}}."""
    return {fixture.name: judge_one(fixture) for fixture in FIXTURES}
