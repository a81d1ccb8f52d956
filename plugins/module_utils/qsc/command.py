# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""The ``qsc`` command: arguments in, one call of the core, an exit code out.

Imports stand inside the functions: a check every 30 s must not load what it does not use.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import typing as t
from pathlib import Path

from . import command_rollout
from .errors import BadInput, QscError, RecordUnreadable
from .files import read_bounded
from .settings import DrillPaths, Paths, Settings
from .verdict import printable

if t.TYPE_CHECKING:
    from .guard.host import Host
    from .judge.backtest import BacktestOptions
    from .judge.connection import Connection
    from .judge.recording import Recording
    from .ledger import Ledger

OK, VIOLATION, ERROR, WAITING, PAGED = 0, 1, 2, 4, 5
"""Exit codes of all subcommands but ``gate`` (0 pass, 2 fail or error, 3 collection complete)."""

_LONGEST_WAIT_S = 90 * 86_400.0

DESCRIPTION = """\
One model of the ensemble runs as a canary; this command shows and ends such a run on this host.

  qsc status            what runs, what is judged, until when, and the way back
  qsc status --watch    the same live, each rule with its value and limit (Ctrl-C ends it)
  qsc check             judge the canary now, changing nothing
  qsc gate --model M    would model M pass the quality gate now?
  qsc plan --model M    what would a run of M be: when judged, what can it see?
  qsc backtest --model M  how would runs of M have ended on recorded telemetry?
  qsc scoreboard        the monitor's last report
  qsc rollback          restore the baseline now, and prove it (root)
  qsc rollout           the next step of a staged rollout; pause, resume, approve, abort (root)
  qsc log               what happened on this host
  qsc log --verify      is every line of it as it was written?
  qsc acknowledge       close a page: a rollback could not be proven, and you know why (root)
  qsc evidence          write all that is known of a run into one archive (root)
  qsc replay FILE       judge every check of such an archive again; needs no host
  qsc drill             rehearse the way back on a scratch unit, never on the engine (root)

A canary is started from the controller: ansible-playbook playbooks/activate.yml -e model=M"""

EXIT_CODES = """\
exit codes: 0 ok, 1 violation or spent budget, 2 error, 4 waiting or inconclusive, 5 a human is needed;
of gate: 0 pass, 2 fail or error, 3 collection complete; of rollout: 0 done or a step is due, 4 waiting,
5 stopped; of drill: 0 passed, 1 failed, 2 error;
of replay: 0 equal, 1 differs, 2 unreadable, 4 equal as far as it could be judged again;
of status --watch --timeout S: 0 safe or promoted, 1 rolled back by a violation, 2 error or no run to wait for,
4 still running after S seconds, inconclusive, or ended without a conclusion, 5 a human is needed, 130 Ctrl-C"""


def main(arguments: t.Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        return int(SUBCOMMANDS[options.subcommand](options))
    except QscError as error:
        say(f"qsc {options.subcommand}: {error}", error=True)
    except PermissionError as error:
        say(f"qsc {options.subcommand}: {error.filename}: permission denied. Run it as root.", error=True)
    except OSError as error:
        say(f"qsc {options.subcommand}: {error}", error=True)
    return ERROR


def say(text: str, *, error: bool = False) -> None:
    """Print; a log that cannot be written to never aborts a rollback."""
    stream = sys.stderr if error else sys.stdout
    try:
        stream.write(f"{text}\n")
        stream.flush()
    except (OSError, ValueError):
        return


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="qsc", description=DESCRIPTION, epilog=EXIT_CODES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="subcommand", required=True, metavar="SUBCOMMAND")

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=text,
            description=text,
            epilog=EXIT_CODES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    status = add("status", "show what runs, what is judged, until when, and the way back")
    form = status.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="all facts as JSON")
    form.add_argument(
        "--watch", action="store_true", help="a live tree; once and as plain text where there is no terminal"
    )
    status.add_argument(
        "--timeout",
        type=_seconds,
        metavar="S",
        help="with --watch: wait at most S seconds for the end of the run and tell it by the exit code",
    )
    check = add("check", "judge the canary in flight now, changing nothing")
    check.add_argument("--json", action="store_true", help="the verdict as JSON")
    gate = add("gate", "judge the telemetry since a cutover, changing nothing")
    gate.add_argument("--model", required=True, help="the model that would be the canary")
    gate.add_argument(
        "--cutover", default="", help="2026-01-10T05:43:15Z, epoch ms or stream ID; default: the engine's last start"
    )
    _weights_arguments(gate)
    gate.add_argument("--mode", choices=("canary", "collection"), default="canary")
    gate.add_argument("--json", action="store_true", help="the result as JSON")
    plan = add("plan", "say what a run would be before it begins, changing nothing")
    _judging_arguments(plan)
    plan.add_argument("--cutover", default="", help="look at the telemetry after this only (as for the gate)")
    plan.add_argument("--json", action="store_true", help="the result as JSON")
    backtest = add("backtest", "replay recorded telemetry as if canaries had run on it, changing nothing")
    _judging_arguments(backtest)
    backtest.add_argument("--since", default="", help="2026-01-10T05:43:15Z, epoch ms or stream ID")
    backtest.add_argument("--until", default="", help="the same; default: all there is")
    backtest.add_argument("--every", type=float, metavar="S", help="s between two starts (default: 300, or more)")
    backtest.add_argument("--starts", type=int, metavar="N", help="at most N starts (default: 200)")
    backtest.add_argument("--history", type=int, metavar="N", help="decisions before the first start (default: 20)")
    backtest.add_argument(
        "--degradation",
        action="append",
        default=[],
        metavar="KIND",
        help="plant one and see when it is found: standard, collapse:HOLD:0.9, shrink:0.1, dropout:0.5, constant; "
        "@SECONDS after the start (default 3600); may be repeated",
    )
    backtest.add_argument("--seed", type=int, default=0, help="of what is planted (default 0)")
    backtest.add_argument("--markdown", default="", metavar="PATH", help="write the report there")
    backtest.add_argument("--svg", default="", metavar="PATH", help="write the picture there")
    backtest.add_argument("--json", action="store_true", help="the result as JSON, with every run")
    add("scoreboard", "print the report of the monitor's last check")
    rollback = add("rollback", "restore the baseline now and prove it; does nothing where it already runs")
    rollback.add_argument("--id", default="", help="end this run only; refused when another one is in flight")
    rollback.add_argument("--reason", default="", help="why, for the ledger")
    rollout = add("rollout", "show the next step of a staged rollout; pause, resume, approve or abort it")
    command_rollout.add_arguments(rollout)
    log = add("log", "print the ledger")
    log.add_argument("-n", type=int, default=20, metavar="N", help="the newest N entries (default 20; 0: all)")
    log.add_argument("--json", action="store_true", help="one JSON object a line")
    log.add_argument(
        "--verify",
        action="store_true",
        help="print no entry but every line that was changed, removed or moved; 1 when there is one",
    )
    acknowledge = add("acknowledge", "close the page that a rollback in vain has opened; the host tries anew")
    acknowledge.add_argument("--reason", required=True, help="what was wrong, for the ledger")
    drill = add("drill", "rehearse activation, violation and rollback on a scratch unit, never on the engine")
    drill.add_argument("--json", action="store_true", help="the result as JSON")
    drill.add_argument("--clean", action="store_true", help="only remove what a drill that was killed has left")
    evidence = add("evidence", "write one archive of all that is known about a run, and log its digest")
    evidence.add_argument("id", nargs="?", default="", metavar="ID", help="the run (default: the newest one)")
    evidence.add_argument("--output", default="", metavar="PATH", help="default: qsc-evidence-ID.tar.gz, here")
    evidence.add_argument("--no-journal", action="store_true", help="leave the journal of engine and guards out")
    evidence.add_argument("--json", action="store_true", help="what was written, as JSON")
    replay = add("replay", "judge every check of an archive of evidence again and say whether the verdicts are equal")
    replay.add_argument("file", metavar="FILE", help="what qsc evidence has written; needs no host, no root, no Redis")
    replay.add_argument("--json", action="store_true", help="the answer as JSON, with every difference")
    unit = add("unit", "for the systemd units alone")
    unit.add_argument("name", choices=tuple(_UNITS))
    unit.add_argument("--drill", action="store_true", help="under a drill, for its scratch engine")
    return parser


def _judging_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True, help="the model that would be the canary")
    _weights_arguments(parser)
    parser.add_argument(
        "--policy", action="append", default=[], metavar="POLICY", help="strict or sequential (default: both)"
    )
    parser.add_argument(
        "--alias", action="append", default=[], metavar="NAME=MODEL", help="beside the settings; may be repeated"
    )
    parser.add_argument(
        "--limit", action="append", default=[], metavar="NAME=NUMBER", help="over the settings; may be repeated"
    )
    parser.add_argument("--file", default="", help='JSON lines {"ms": ..., "fields": {...}}; default: the stream')
    parser.add_argument("--duration", type=float, metavar="S", help="s of a run (default: the settings')")


def _weights_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--weight", type=float, metavar="SHARE", help="the canary's share (default: the first step)")
    parser.add_argument(
        "--baseline",
        default="",
        metavar="PATH",
        help="weights before the canary (default: the engine's file)",
    )


def _seconds(text: str) -> float:
    value = float(text)  # ValueError: argparse says what was wrong
    if not 0 <= value <= _LONGEST_WAIT_S:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds from 0 to {_LONGEST_WAIT_S:.0f}")
    return value


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
