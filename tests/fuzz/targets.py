# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is fuzzed: one function a reader, bytes in, an exception out where a promise is broken.

Used by the fuzzer (tests/fuzz/run.py), which knows only `qsc`, and by the replay of its corpus in the normal suite.
"""

from __future__ import annotations

import gzip
import json
import math
import re
import tempfile
import typing as t
import unicodedata
from pathlib import Path

from qsc import bundle, command_evidence, record
from qsc.errors import BadInput, RecordUnreadable, TelemetryError
from qsc.files import parse_json, read_json
from qsc.guard.systemd import acknowledged
from qsc.guard.watchdog import remembered
from qsc.guard.weights import SUM_TOLERANCE, parse_baseline
from qsc.judge import wording
from qsc.judge.check import Progress
from qsc.judge.claims import claims_of
from qsc.judge.compare import comparison
from qsc.judge.cutover import StreamId, parse_cutover, utc
from qsc.judge.decisions import ACTIONS, MOST_BYTES, Decision, Dialect, parse
from qsc.judge.fold import Fold
from qsc.judge.frame import Frame
from qsc.judge.impact import Change, Tally, weights_at
from qsc.judge.monitor import RunState
from qsc.judge.published import weights_in
from qsc.judge.rules import Limits
from qsc.judge.stream import entry_of
from qsc.judge.summary import MOST_MODELS, Summary, ensemble_figures, model_figures
from qsc.judge.table import Table
from qsc.ledger import Ledger, verify
from qsc.settings import MODEL_NAME, Settings
from qsc.tell import figures as page_of_figures
from qsc.tell import impact as shown
from qsc.tell import report, watch
from qsc.tell.evidence import replay_lines
from qsc.tell.status import ledger_line
from qsc.verdict import LIMIT, STATUSES, VERDICTS, Verdict

WEIGHTS = {"xgb": 0.25, "lgbm": 0.25, "nhits": 0.3, "patchtst": 0.2}
CHANGE = Change("patchtst", WEIGHTS, weights_at(WEIGHTS, "patchtst", 0.6))
DIALECT = Dialect.of({"xgboost": "xgb"}, ["fallback"])
RUN: t.Mapping[str, t.Any] = {
    "record": {
        "id": "x", "state": "rolled_back", "outcome": "safe", "model": "m", "weight": 0.1, "baseline": {},
        "trigger": "", "reason": "", "violations": [], "rolled_back_at": 0.0, "violated_at": 0.0, "extended": False,
        "resumed": 0,
    },
}  # fmt: skip
"""As much of a host as the live tree needs to show figures."""
FOLDER = Path(tempfile.mkdtemp(prefix="qsc-fuzz-"))


class Broken(AssertionError):
    """A promise does not hold. Not `assert`: it must hold under -O too."""


def need(condition: bool, what: str) -> None:
    if not condition:
        raise Broken(what)


def _fields(data: bytes) -> list[tuple[bytes, bytes]]:
    """Bytes as an entry's fields: a payload, or with a first byte 1 field by field, NUL between."""
    if data[:1] == b"\x01":
        parts = data[1:].split(b"\0")
        return list(zip(parts[::2], parts[1::2]))
    return [(b"event_type", b"trade.intent"), (b"payload", data)]


def _check_decision(found: Decision) -> None:
    need(bool(found.votes or found.blockers or found.inactive or found.ignored), "an entry said nothing at all")
    for blocker in found.blockers:
        need(blocker.message.isprintable() and len(blocker.message) <= 400, "a blocker's message is not for a terminal")
        need(blocker.model.isprintable() and len(blocker.model) <= 64, "a blocker's model is no name")
    for name, vote in found.votes.items():
        need(0 < len(name) <= 64 and name.isprintable(), "a voter is no name")
        need(vote.action in ACTIONS, "a vote is none of the three actions")
        need(isinstance(vote.confidence, float) and 0 <= vote.confidence <= 1, "a confidence outside [0, 1]")
        need(vote.source.isprintable() and len(vote.source) <= 64, "a source is not for a terminal")
        need(isinstance(vote.shadow, bool) and isinstance(vote.normalized, bool), "a flag is no boolean")


def _plain(data: bytes) -> dict[str, tuple[str, float]] | None:
    """An independent reading of a well-formed decision; None where this reading does not apply."""
    try:
        event = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    breakdown = event.get("model_breakdown") if isinstance(event, dict) else None
    if not isinstance(breakdown, dict) or not breakdown or not set(breakdown) <= {"xgb", "lgbm", "nhits", "patchtst"}:
        return None
    told = {}
    for name, said in breakdown.items():
        if not isinstance(said, dict) or "shadow" in said or "inactive" in said:
            return None
        number = said.get("confidence")
        if said.get("action") not in ("BUY", "SELL", "HOLD") or type(number) not in (int, float):
            return None
        if not 0 <= number < 700:
            return None
        told[name] = (said["action"], float(number) if number <= 1 else 1 / (1 + math.exp(-number)))
    return told


def decision(data: bytes) -> None:
    """One entry: votes or blockers, never an exception; a well-formed one as an independent parse reads it."""
    fields = _fields(data)
    found = parse(StreamId(1, 0), fields, DIALECT)
    _check_decision(found)
    plain = _plain(fields[1][1]) if len(fields) == 2 and fields[1][0] == b"payload" else None
    if plain is not None and not found.blockers:
        need({name: (vote.action, vote.confidence) for name, vote in found.votes.items()} == plain, "read differently")
    if sum(len(name) + len(value) for name, value in fields) > MOST_BYTES:
        need(not found.votes, "an entry that is too large was read")


def reports(data: bytes) -> None:
    """Several entries, a line each: figures in their ranges, and a page and lines nothing can act on."""
    summary, tally, table = Summary(), Tally(CHANGE), Table("patchtst", WEIGHTS)
    for i, line in enumerate(data.split(b"\n")[:50]):
        found = parse(StreamId(i + 1, 0), _fields(line), DIALECT)
        summary.add(found)
        tally.add(found)
        table.add(found)
    _check_compared(tally, comparison(table))
    need(len(summary.models) <= MOST_MODELS, "too many models are kept")
    models = {}
    for name, model in summary.models.items():
        figures = model_figures(name, model, summary.events)
        need(sum(figures.counts.values()) == figures.samples <= summary.events, "votes were lost or made up")
        models[name] = figures.to_dict()
    json.dumps([models, ensemble_figures(summary).to_dict()], allow_nan=False)
    for name in summary.models:
        escaped = report.text(name, 64)
        need("\n" not in escaped and escaped.isprintable(), "a name reaches a page raw")
        for mark in "<>|`*[]":
            need(f"\\{mark}" in escaped or mark not in escaped, f"{mark} of a name reaches a page as markup")


def _check_compared(tally: Tally, found: t.Mapping[str, t.Any] | None) -> None:
    """What is only shown is bounded JSON, and its lines are for a terminal."""
    need(0 <= tally.flipped == sum(tally.directions.values()) <= tally.compared, "flips were lost or made up")
    need(0 <= tally.unsized <= tally.flipped and tally.cents >= 0, "positions were lost or made up")
    text = json.dumps([tally.page(), found], allow_nan=False)
    need(len(text) < 1 << 16, "a comparison without bounds")
    for line in [*shown.flips_line(tally.page()), *shown.comparison_lines(found)]:
        need(line.isprintable(), "a line is not for a terminal")
    for line in [*shown.flips_section(tally.page()), *shown.comparison_section(found)]:
        need(line.isprintable() and not re.search(r"(?<!\\)<", line), "a line of a page can be acted on")


def entries(data: bytes) -> None:
    """A row as Redis answers it."""
    parts = data.split(b"\0")
    try:
        found = entry_of([parts[0], parts[1:]])
    except ValueError:
        return
    need(all(isinstance(name, bytes) and isinstance(value, bytes) for name, value in found.fields), "not bytes")
    _check_decision(parse(found.id, found.fields, DIALECT))


def stream_id(data: bytes) -> None:
    """An ID or ValueError; a cutover or BadInput."""
    try:
        found = StreamId.parse(data)
    except ValueError:
        pass
    else:
        need(StreamId.parse(str(found)) == found and found.previous() <= found < found.next(), "an ID out of order")
        need(utc(found.ms).isprintable(), "a moment is not for a terminal")
    try:
        cutover = parse_cutover(data.decode("utf-8", "surrogateescape"), 2**53)
    except BadInput as error:
        need(bool(error.remedy), "no remedy")
    else:
        need(0 <= cutover.after.ms <= 2**53 + 2000, "a cutover in the future")


def published(data: bytes) -> None:
    """Weights, nothing, or TelemetryError."""
    try:
        found = weights_in([(b"payload", data)], "weights", StreamId(1, 0), {})
    except TelemetryError as error:
        need(str(error).isprintable(), "an error is not for a terminal")
        return
    if found is not None:
        good = all(MODEL_NAME.fullmatch(name) and 0 <= share <= 1 for name, share in found.items())
        need(bool(found) and good, "these are no weights")


def verdict(data: bytes) -> None:
    """A verdict whose every field is of its type and range, or RecordUnreadable."""
    try:
        found = Verdict.from_hostile(data)
    except RecordUnreadable as error:
        need(str(error).isprintable(), "an error is not for a terminal")
        return
    need(len(data) <= LIMIT and found.verdict in VERDICTS and found.status in STATUSES, "not one of its words")
    need(all(math.isfinite(number) for number in (found.checked_at, found.checked_boot)), "no moment")
    need(all(line.isprintable() for line in report.verdict_lines(found)), "a line is not for a terminal")
    need(Verdict.from_hostile(json.dumps(found.to_dict()).encode()) == found, "it does not survive its own form")


def figures(data: bytes) -> None:
    """Figures whose every field is of its type and range, in lines that nothing can act on, or RecordUnreadable."""
    try:
        found = page_of_figures.Figures.from_hostile(data)
    except RecordUnreadable as error:
        need(str(error).isprintable(), "an error is not for a terminal")
        return
    need(len(data) <= page_of_figures.LIMIT and len(found.rules) <= 32, "a page that is not bounded")
    again = json.dumps(found.to_dict(), allow_nan=False).encode()
    need(page_of_figures.Figures.from_hostile(again) == found, "it does not survive its own form")
    for columns in (80, 200):
        for line in watch.tree({**RUN, "figures": found.to_dict()}, columns):
            need(line.isprintable(), "a line is not for a terminal")
            need(sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line) <= columns, "a line wraps")


def run_state(data: bytes) -> None:
    """The monitor's state, or RecordUnreadable; what was loaded can be written and loaded again."""
    path = FOLDER / "state.json"
    path.write_bytes(data)
    try:
        found = RunState.load(path, "id")
    except RecordUnreadable:
        return
    if found.latched is not None:
        need(found.latched["verdict"] in VERDICTS and found.latched["status"] in STATUSES, "latched none of its words")
        need(all(isinstance(item["message"], str) for item in found.latched["violations"]), "latched no sentence")
    path.write_text(json.dumps(found.to_dict(), allow_nan=False))
    need(RunState.load(path, "id") == found, "it does not survive its own form")


def progress(data: bytes) -> None:
    """Progress, or one of the documented errors."""
    try:
        found = Progress.from_dict(parse_json(data))
    except (ValueError, KeyError, TypeError, RecursionError):
        return
    need(Progress.from_dict(found.to_dict()) == found, "it does not survive its own form")


CLAIMS = claims_of(Limits(flip_share_max=0.2))
SINCE = StreamId(1_768_000_000_000, 0)


def _again(found: Fold) -> Fold:
    raw = parse_json(json.dumps(found.to_dict(), allow_nan=False).encode())
    return Fold.from_dict(raw, model="patchtst", since=SINCE, claims=CLAIMS, alone=False, grace_s=120.0, change=CHANGE)


def _check_fold(found: Fold) -> None:
    for item in found.evidence.read():
        need(not math.isnan(item.low) and not math.isnan(item.high), "an interval that is none")
        need(wording.sentence(item, found.evidence.frame).isprintable(), "a sentence is not for a terminal")
    need(_again(found).to_dict() == found.to_dict(), "it does not survive its own form")


def fold(data: bytes) -> None:
    """The state of the policy sequential, or one of the documented errors; it can be read, written and gone on with."""
    try:
        raw = parse_json(data)
        found = Fold.from_dict(
            raw, model="patchtst", since=SINCE, claims=CLAIMS, alone=False, grace_s=120.0, change=CHANGE
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return
    _check_fold(found)


def folding(data: bytes) -> None:
    """Entries, a line each, some time apart: whatever they hold, what is remembered of them survives its own form."""
    found = Fold.new("patchtst", SINCE, Frame(bucket_s=60.0), CLAIMS, alone=False, grace_s=120.0, change=CHANGE)
    ms = SINCE.ms
    for line in data.split(b"\n")[:200]:
        ms += 1 + 997 * len(line)
        found.add(parse(StreamId(ms, 0), _fields(line), DIALECT))
    _check_fold(found)


def evidence(data: bytes) -> None:
    """An archive, as it is or by its parts: an answer in lines for a terminal, or BadInput."""
    path = FOLDER / "evidence.tar.gz"
    if data[:1] == b"\x01":
        names = ("checks.jsonl", "decisions.jsonl", "telemetry.json", "record.json", "ledger.jsonl")
        data = bundle.pack(dict(zip(names, data[1:].split(b"\0"))), {})
    elif data[:1] == b"\x02":
        data = gzip.compress(data[1:], 1)
    path.write_bytes(data)
    try:
        told = command_evidence.replay(str(path))
    except BadInput as error:
        need(bool(error.remedy) and str(error).isprintable(), "an error is not for a terminal")
        return
    json.dumps(told, allow_nan=False)
    need(command_evidence.code_of(told) in (0, 1, 4), "no exit code")
    for line in replay_lines(told):
        need(line.isprintable() and len(line) < 2000, "a line is not for a terminal")


def records(data: bytes) -> None:
    """A record, or RecordUnreadable."""
    path = FOLDER / "record.json"
    path.write_bytes(data)
    try:
        found = record.load(path)
    except RecordUnreadable:
        return
    need(found is not None and found.state in record.STATES, "no state")
    text = json.dumps(found.to_dict(), allow_nan=False)
    need(json.dumps(record.parse(json.loads(text)).to_dict()) == text, "it does not survive its own form")


def settings(data: bytes) -> None:
    """Settings, or BadInput or RecordUnreadable; what was accepted is accepted again."""
    path = FOLDER / "config.json"
    path.write_bytes(data)
    try:
        found = Settings.load(path)
    except (BadInput, RecordUnreadable):
        return
    text = json.dumps(found.to_dict(), allow_nan=False)
    need(json.dumps(Settings.from_dict(json.loads(text)).to_dict()) == text, "it does not survive its own form")


def acknowledgement(data: bytes) -> None:
    """None only for the right process and digest, else a sentence."""
    path = FOLDER / "ack"
    path.write_bytes(data)
    found = acknowledged(path, main_pid=2**31, weights_digest="d" * 64)
    need(found is None or (found.isprintable() and len(found) < 400 + len(str(path))), "not a sentence")
    if found is None:
        need(json.loads(data) == {**json.loads(data), "pid": 2**31, "sha256": "d" * 64}, "acknowledged by another")


def baseline(data: bytes) -> None:
    """Weights that sum to 1, by plain names, or BadInput."""
    try:
        found = parse_baseline(data, "baseline")
    except BadInput:
        return
    need(abs(math.fsum(found.values()) - 1) <= SUM_TOLERANCE, "not 1")
    need(all(MODEL_NAME.fullmatch(name) for name in found), "a name that is not plain")


def json_file(data: bytes) -> None:
    """JSON without NaN, or RecordUnreadable."""
    path = FOLDER / "some.json"
    path.write_bytes(data)
    try:
        read_json(path)
    except RecordUnreadable:
        return


def ledger(data: bytes) -> None:
    """Whatever stands in the ledger is shown in lines for a terminal, and the next entry can be appended."""
    log = _log()
    log.path.write_bytes(data)
    for entry in log.entries():
        need(ledger_line(entry).isprintable(), "a line is not for a terminal")
    _appends(log)


def ledger_state(data: bytes) -> None:
    """Whatever stands in the ledger's anchor and waits in /run, the next entry can be appended."""
    log = _log()
    anchor, _line_end, waiting = data.partition(b"\n")
    log.anchor.write_bytes(anchor)
    log.pending.write_bytes(waiting)
    _appends(log)


def _log() -> Ledger:
    names = ("ledger.jsonl", "ledger_anchor.json", "ledger_pending.jsonl", "config.json")
    for name in names:
        (FOLDER / name).unlink(missing_ok=True)
    return Ledger(*(FOLDER / name for name in names))


def _appends(log: Ledger) -> None:
    for found in (*verify(log).problems, *verify(log).notes):
        need(found.isprintable(), "a finding is not for a terminal")
    log.append("fuzzed", {}, wall=1.0)
    before = len(log.entries())
    need(log.tail(1)[0]["action"] == "fuzzed", "the entry was swallowed")
    log.append("fuzzed", {}, wall=2.0)
    need(len(log.entries()) == before + 1, "the second entry was swallowed")


def watchdog_memory(data: bytes) -> None:
    """Two moments of this boot, or none."""
    path = FOLDER / "watchdog.json"
    path.write_bytes(data)
    found = remembered(path, 5000.0)
    need(found is None or all(0 <= moment <= 5000 for moment in found), "not a moment of this boot")


TARGETS: t.Mapping[str, t.Callable[[bytes], None]] = {
    function.__name__: function
    for function in (
        decision, reports, entries, stream_id, published, verdict, figures, run_state, progress, fold, folding,
        evidence, records, settings, acknowledgement, baseline, json_file, ledger, ledger_state, watchdog_memory,
    )
}  # fmt: skip
