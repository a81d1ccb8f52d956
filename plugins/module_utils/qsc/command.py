# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""The ``qsc`` command: arguments in, one call of the core, an exit code out.

Imports stand inside the functions: a check every 30 s must not load what it does not use.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
import typing as t
from pathlib import Path

from .errors import BadInput, QscError, RecordUnreadable
from .files import read_bounded
from .settings import DrillPaths, Paths, Settings
from .verdict import printable

if t.TYPE_CHECKING:
    import argparse

    from .guard.host import Host
    from .judge.backtest import BacktestOptions
    from .judge.connection import Connection
    from .judge.recording import Recording
    from .ledger import Ledger

OK, VIOLATION, ERROR, WAITING, PAGED = 0, 1, 2, 4, 5
"""Exit codes of all subcommands but ``gate`` (0 pass, 2 fail or error, 3 collection complete)."""


def main(arguments: t.Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    unit = _UNITS.get(words[1]) if words[:1] == ["unit"] and words[1:] and words[2:] in ([], ["--drill"]) else None
    if unit is not None:  # the guards' own words, every 30 s: argparse alone would be a fifth of the watchdog
        return _run("unit", functools.partial(unit, "--drill" in words))
    from . import arguments as _arguments

    options = _arguments.parser(tuple(_UNITS)).parse_args(words)
    return _run(options.subcommand, functools.partial(SUBCOMMANDS[options.subcommand], options))


def _run(name: str, action: t.Callable[[], int]) -> int:
    try:
        return int(action())
    except QscError as error:
        say(f"qsc {name}: {error}", error=True)
    except PermissionError as error:
        say(f"qsc {name}: {error.filename}: permission denied. Run it as root.", error=True)
    except OSError as error:
        say(f"qsc {name}: {error}", error=True)
    return ERROR


def say(text: str, *, error: bool = False) -> None:
    """Print; a log that cannot be written to never aborts a rollback."""
    stream = sys.stderr if error else sys.stdout
    try:
        stream.write(f"{text}\n")
        stream.flush()
    except (OSError, ValueError):
        return


def _host() -> Host:
    from .guard.host import Host

    paths = Paths()
    return Host(settings=Settings.load(paths.config), paths=paths, actor=_actor())


def _guard_host() -> Host:
    """The host for what leads back to the baseline: damaged settings must not stop it, the record says enough."""
    from .guard.host import Host
    from .record import load

    paths, actor = Paths(), _actor()
    try:
        return Host(settings=Settings.load(paths.config), paths=paths, actor=actor)
    except QscError as error:
        problem = error
    try:
        record = load(paths.record)
        if record is None and not paths.config.exists():
            raise problem
    except RecordUnreadable:
        record = None
    say(f"the settings cannot be used ({problem}); going on without them", error=True)
    if record is None:
        return Host(settings=Settings(), paths=paths, actor=actor)
    settings = Settings(engine_unit=record.engine_unit, environment=record.environment, stability_s=record.stability_s)
    return Host(settings=settings, paths=paths, actor=actor)


def _actor() -> str:
    if "INVOCATION_ID" in os.environ and not sys.stdin.isatty() and os.getppid() == 1:
        return "systemd"
    from .ledger import acting_user

    return acting_user()


def _connection(settings: Settings, paths: Paths) -> Connection:
    from .credentials import connection

    return connection(settings, paths)


def _status(options: argparse.Namespace) -> int:
    from .guard.status import gather
    from .tell.status import status_lines

    if options.watch:
        return _watch(options)
    if options.timeout is not None:
        raise BadInput("--timeout waits only with --watch", remedy="Run: qsc status --watch --timeout S")
    facts = gather(_host())
    if options.json:
        say(json.dumps(facts, indent=1, sort_keys=True))
    else:
        say("\n".join(status_lines(facts)))
    return _status_code(facts)


def _status_code(facts: t.Mapping[str, t.Any]) -> int:
    violated = facts["verdict"] is not None and facts["verdict"]["verdict"] == "violation" and facts["in_flight"]
    if facts["page"]:
        return PAGED
    if facts["problems"]:
        return ERROR
    return VIOLATION if violated else OK


def _watch(options: argparse.Namespace) -> int:
    from .guard.status import live
    from .tell.follow import with_figures
    from .tell.live import INTERRUPTED, watch

    host = _host()
    try:
        code, facts = watch(lambda: with_figures(live(host), host.paths), sys.stdout, timeout_s=options.timeout)
    except KeyboardInterrupt:  # while it waited without a terminal
        return INTERRUPTED
    return _status_code(facts) if code is None else code


def _check(options: argparse.Namespace) -> int:
    from .judge import monitor
    from .tell.report import verdict_lines

    paths = Paths()
    settings = Settings.load(paths.config)
    verdict = monitor.check_now(paths, _connection(settings, paths))
    if verdict is None:
        raise BadInput("no canary is in flight: there is nothing to check", remedy="Ask the gate: qsc gate --model M")
    if options.json:
        say(json.dumps(verdict.to_dict(), indent=1, sort_keys=True))
    else:
        say("\n".join(verdict_lines(verdict)))
    return {"ok": OK, "violation": VIOLATION, "terminated": VIOLATION, "transient": ERROR}.get(verdict.verdict, WAITING)


def _gate(options: argparse.Namespace) -> int:
    from .guard import systemd
    from .judge.gate import evaluate
    from .judge.options import GateOptions
    from .judge.stream import StreamReader
    from .tell.report import gate_lines

    paths = Paths()
    settings = Settings.load(paths.config)
    started_ms = systemd.show(settings.engine_unit).started_ms
    if not options.cutover and not started_ms:
        raise BadInput(
            f"{settings.engine_unit} has not started since the boot: its last start cannot be the cutover",
            remedy="Give one: qsc gate --model M --cutover 2026-01-10T05:43:15Z",
        )
    cutover = options.cutover or str(started_ms)
    judging = settings.judging()
    raw = {
        **{name: judging[name] for name in ("aliases", "ignore_models", "limits", "stale_after")},
        **_weights(options, settings),
        "cutover": cutover,
        "max_events": settings.window_events,
        "policy": settings.policy,
        "duration_s": settings.duration_s,
        "mode": options.mode,
        "models": [options.model],
    }
    if options.mode == "canary":
        raw["min_events"] = settings.min_events
    with StreamReader(_connection(settings, paths), settings.stream, settings.match) as reader:
        result = evaluate(reader, GateOptions.from_dict(raw), now=_now())
    if options.json:
        say(json.dumps(result.to_dict(), indent=1, sort_keys=True))
    else:
        say("\n".join(gate_lines(result)))
    return result.exit_code


def _plan(options: argparse.Namespace) -> int:
    from .judge.backtest import BacktestOptions
    from .judge.plan import plan
    from .tell.backtest import plan_result

    settings = _replayed_settings(options)
    asked = BacktestOptions.from_dict({**_replaying(options, settings), "since": options.cutover})
    recorded = _recorded(options, settings, asked)
    with _Progress() as tick:
        result = plan_result(plan(recorded, asked, tick))
    say(json.dumps(result, indent=1) if options.json else "\n".join(result["report_lines"]))
    return OK


def _backtest(options: argparse.Namespace) -> int:
    from .judge.backtest import BacktestOptions, backtest
    from .tell.backtest import backtest_result

    settings = _replayed_settings(options)
    names = ("since", "until", "starts", "history", "degradation", "seed")
    own = {name: getattr(options, name) for name in names}
    asked = BacktestOptions.from_dict({**_replaying(options, settings), **own, "every_s": options.every})
    recorded = _recorded(options, settings, asked)
    with _Progress() as tick:
        result = backtest_result(backtest(recorded, asked, tick))
    for option, content in (("markdown", result["report"]), ("svg", result["plot"])):
        if getattr(options, option):
            _write_page(option, getattr(options, option), content)
    if options.json:
        kept = {name: value for name, value in result.items() if name not in ("report", "plot")}
        say(json.dumps(kept, indent=1))
    else:
        say("\n".join(result["report_lines"]))
    return OK


def _replayed_settings(options: argparse.Namespace) -> Settings:
    """Those of the host; a file can be replayed where none are installed."""
    path = Paths().config
    return Settings() if options.file and not path.exists() else Settings.load(path)


def _recorded(options: argparse.Namespace, settings: Settings, asked: BacktestOptions) -> Recording:
    from .judge import recording
    from .judge.stream import StreamReader

    if options.file:
        return recording.from_file(options.file, asked.monitor.dialect, asked.part, settings.match)
    with StreamReader(_connection(settings, Paths()), settings.stream, settings.match) as reader:
        return recording.from_stream(reader, asked.monitor.dialect, asked.part)


def _replaying(options: argparse.Namespace, settings: Settings) -> dict[str, t.Any]:
    """What a backtest and a plan take from the settings, and from the command line."""
    judging = settings.judging()
    names = ("ignore_models", "min_events", "window_events", "stale_after", "max_wait")
    limits = {name: _number(name, text) for name, text in _pairs("limit", options.limit).items()}
    return {
        **{name: judging[name] for name in names},
        **_weights(options, settings),
        "aliases": {**settings.aliases, **_pairs("alias", options.alias)},
        "limits": {**settings.limits, **limits},
        "interval_s": settings.interval_s,
        "duration_s": settings.duration_s if options.duration is None else options.duration,
        "model": options.model,
        "policy": options.policy,
        "run_policy": settings.policy,
    }


def _weights(options: argparse.Namespace, settings: Settings) -> dict[str, t.Any]:
    """The weights before the canary, its share, and how the engine votes. Without a file that tells the weights nothing
    is said of what the share changes."""
    from .guard.weights import parse_baseline

    found: dict[str, t.Any] = {"vote": settings.vote, "weight": settings.steps[0]}
    if options.weight is not None:
        found["weight"] = options.weight
    path = options.baseline or settings.baseline_path
    if not path:
        return found
    try:
        return {**found, "baseline": parse_baseline(read_bounded(Path(path)), path)}
    except FileNotFoundError:
        if options.baseline:
            raise BadInput(f"--baseline {path!r:.200} does not exist", remedy="Name a file of weights.") from None
    except (OSError, BadInput):
        if options.baseline:
            raise
    return found


def _pairs(option: str, given: t.Sequence[str]) -> dict[str, str]:
    found = {}
    for text in given:
        name, separator, value = text.partition("=")
        if not (name and separator and value):
            raise BadInput(f"--{option} {text!r:.80} is not NAME=VALUE", remedy=f"Use --{option} NAME=VALUE.")
        found[name] = value
    return found


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise BadInput(f"--limit {name}={text!r:.80} is not a number", remedy="Use --limit NAME=NUMBER.") from None


def _write_page(option: str, path: str, content: str) -> None:
    try:
        with open(path, "w", encoding="utf-8", errors="replace") as stream:
            stream.write(content)
    except OSError as error:
        raise BadInput(
            f"--{option} {path!r:.200} cannot be written: {error.strerror or error}", remedy="Name another file."
        ) from error


class _Progress:
    """A bar on the terminal; nothing where standard error is none."""

    _WIDTH = 30

    def __init__(self, what: str = "runs") -> None:
        self._what = what
        self._shown = sys.stderr.isatty()
        self._parts = -1

    def __enter__(self) -> t.Callable[[int, int], None]:
        return self._tick

    def __exit__(self, *_exc: object) -> None:
        if self._parts >= 0:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()

    def _tick(self, done: int, total: int) -> None:
        parts = 100 * done // total
        if not self._shown or parts == self._parts:
            return
        self._parts = parts
        full = self._WIDTH * done // total
        sys.stderr.write(f"\r[{'#' * full}{'.' * (self._WIDTH - full)}] {done} of {total} {self._what}")
        sys.stderr.flush()


def _now() -> float:
    import time

    return time.time()


def _scoreboard(_options: argparse.Namespace) -> int:
    path = Paths().scoreboard
    try:
        text = read_bounded(path).decode(errors="replace").rstrip()
    except FileNotFoundError:
        raise BadInput(f"{path} does not exist: the monitor has not checked yet", remedy="See: qsc status") from None
    for line in text.split("\n"):  # the file is the monitor's: root's terminal must not act on it
        say(printable(line, len(line)))
    return OK


def _rollback(options: argparse.Namespace) -> int:
    from .guard.rollback import Finding, roll_back

    if os.geteuid() != 0:
        raise BadInput("a rollback needs root", remedy="Run: sudo qsc rollback")
    # stopped at its terminal it would hold the lock, and all guards with it
    signal.signal(signal.SIGTSTP, signal.SIG_IGN)
    finding = Finding("manual", options.reason or "ended by an operator")
    outcome = roll_back(_guard_host(), finding, canary_id=options.id)
    say("\n".join(outcome.lines()))
    return OK


def _rollout(options: argparse.Namespace) -> int:
    from . import command_rollout

    if options.what != command_rollout.SHOW and os.geteuid() != 0:
        raise BadInput(f"to {options.what} a rollout needs root", remedy=f"Run: sudo qsc rollout {options.what}")
    aborts = options.what == command_rollout.ABORT
    if aborts:
        signal.signal(signal.SIGTSTP, signal.SIG_IGN)  # as for a rollback
    code, lines = command_rollout.run(options, _guard_host() if aborts else _host())
    say("\n".join(lines))
    return code


def _log(options: argparse.Namespace) -> int:
    from .ledger import Ledger
    from .tell.status import ledger_line

    ledger = Ledger.at(Paths())
    if options.verify:
        return _verify(ledger)
    entries = ledger.tail(options.n) if options.n > 0 else ledger.entries()
    for entry in entries:
        say(json.dumps(entry) if options.json else ledger_line(entry))
    return OK


def _verify(ledger: Ledger) -> int:
    from .ledger import verify

    found = verify(ledger)
    for line in (*found.problems, *(f"note: {note}" for note in found.notes)):
        say(line)
    span = f", sequence {found.first} to {found.last}" if found.entries else ""
    entries = "1 entry" if found.entries == 1 else f"{found.entries} entries"
    problems = "1 problem" if len(found.problems) == 1 else f"{len(found.problems)} problems"
    say(f"{entries} verified{span}: {problems if found.problems else 'ok'}")
    return VIOLATION if found.problems else OK


def _acknowledge(options: argparse.Namespace) -> int:
    from .guard import page

    if os.geteuid() != 0:
        raise BadInput("an acknowledgement needs root", remedy="Run: sudo qsc acknowledge")
    say(f"acknowledged: {page.acknowledge(_guard_host(), options.reason)}")
    return OK


def _drill(options: argparse.Namespace) -> int:
    from .guard import drill
    from .tell.drill import drill_lines

    if os.geteuid() != 0:
        raise BadInput("a drill needs root", remedy="Run: sudo qsc drill")
    if options.clean:
        for path in drill.clean_up(Paths()):
            say(f"removed {path}")
        return OK
    report = drill.run(_host()).to_dict()
    lines = drill_lines(report)
    say(json.dumps({**report, "lines": lines}, indent=1) if options.json else "\n".join(lines))
    return OK if report["passed"] else VIOLATION


def _evidence(options: argparse.Namespace) -> int:
    from . import command_evidence
    from .tell.evidence import evidence_lines

    command_evidence.needs_root()
    host = _guard_host()
    written = command_evidence.write(
        host,
        lambda: _connection(host.settings, host.paths),
        canary_id=options.id,
        output=options.output,
        journal=not options.no_journal,
    )
    say(json.dumps(written, indent=1) if options.json else "\n".join(evidence_lines(written)))
    return WAITING if "decisions.jsonl" in written["absent"] else OK


def _replay(options: argparse.Namespace) -> int:
    from . import command_evidence
    from .tell.evidence import replay_lines

    with _Progress("checks") as tick:
        told = command_evidence.replay(options.file, tick)
    say(json.dumps(told, indent=1) if options.json else "\n".join(replay_lines(told)))
    return command_evidence.code_of(told)


def _unit(options: argparse.Namespace) -> int:
    return _UNITS[str(options.name)](bool(options.drill))


def _unit_host(drill: bool) -> Host:
    """Of a run, or of a drill, whose units are told so."""
    if not drill:
        return _guard_host()
    from .guard.drill import scratch_host

    return scratch_host(Paths(), _actor())


def _unit_monitor(drill: bool) -> int:
    from .judge import monitor, rehearsal

    paths = Paths()
    if drill:
        code, lines = rehearsal.run_unit(DrillPaths(paths.prefix))
    else:
        settings = Settings.load(paths.config)
        code, lines = monitor.run_unit(paths, lambda: _connection(settings, paths))
    for line in lines:
        say(line)
    return code


def _unit_watchdog(drill: bool) -> int:
    from .guard import watchdog

    code, lines = watchdog.run(_unit_host(drill))
    for line in lines:
        say(line)
    return code


def _unit_rollback(drill: bool) -> int:
    from .guard import page

    code, lines = page.one_try(_unit_host(drill))
    for line in lines:
        say(line)
    return code


def _unit_resume(drill: bool) -> int:
    from .guard import resume

    for line in resume.decide(_unit_host(drill)):
        say(line)
    return OK


def _unit_engine(drill: bool) -> int:
    from .guard import scratch_engine

    if not drill:
        raise BadInput("the agent has no engine but that of a drill", remedy="Run: qsc drill")
    scratch_engine.run(DrillPaths(Paths().prefix).engine_weights)


_UNITS: t.Mapping[str, t.Callable[[bool], int]] = {
    "monitor": _unit_monitor,
    "watchdog": _unit_watchdog,
    "rollback": _unit_rollback,
    "resume": _unit_resume,
    "engine": _unit_engine,
}

SUBCOMMANDS: t.Mapping[str, t.Callable[[argparse.Namespace], int]] = {
    "status": _status,
    "check": _check,
    "gate": _gate,
    "plan": _plan,
    "backtest": _backtest,
    "scoreboard": _scoreboard,
    "rollback": _rollback,
    "rollout": _rollout,
    "log": _log,
    "acknowledge": _acknowledge,
    "drill": _drill,
    "evidence": _evidence,
    "replay": _replay,
    "unit": _unit,
}

if __name__ == "__main__":  # python3 -m qsc.command, where nothing is installed
    raise SystemExit(main())
