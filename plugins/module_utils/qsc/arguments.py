# Copyright (c) 2026, the qsc.canary authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause

"""What can be said to the ``qsc`` command. The guards' units, who speak every 30 s, need nothing of this."""

from __future__ import annotations

import argparse
import typing as t

from . import command_rollout

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


def parser(units: t.Sequence[str]) -> argparse.ArgumentParser:
    """Of every subcommand; ``units``: what can stand behind ``unit``."""
    top = argparse.ArgumentParser(
        prog="qsc", description=DESCRIPTION, epilog=EXIT_CODES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = top.add_subparsers(dest="subcommand", required=True, metavar="SUBCOMMAND")

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
    _rollout_arguments(rollout)
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
    unit.add_argument("name", choices=tuple(units))
    unit.add_argument("--drill", action="store_true", help="under a drill, for its scratch engine")
    return top


def _rollout_arguments(parser: argparse.ArgumentParser) -> None:
    """show (the default), pause, resume, approve SHARE, abort."""
    parser.set_defaults(what=command_rollout.SHOW)
    what = parser.add_subparsers(dest="what", metavar="WHAT")
    what.add_parser(command_rollout.SHOW, help="the next step of this host, or why there is none (the default)")
    pause = what.add_parser("pause", help="take no further step; the run that is active goes on, watched (root)")
    pause.add_argument("--reason", required=True, help="why, for the ledger")
    what.add_parser("resume", help="take steps again (root)")
    approve = what.add_parser("approve", help="allow the next step, where it needs that (root)")
    approve.add_argument("share", type=float, metavar="SHARE", help="the share of that step, such as 0.5")
    abort = what.add_parser(
        command_rollout.ABORT, help="restore the baseline now; no new run until this one is acknowledged (root)"
    )
    abort.add_argument("--reason", default="", help="why, for the ledger")


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
