# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The `qsc` command: what it prints, how it ends, and that no error is a traceback."""

from __future__ import annotations

import errno
import io
import json
import signal
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc import command
from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import QscError
from ansible_collections.qsc.canary.plugins.module_utils.qsc.files import Lock
from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard import drill, rollback
from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard.host import Host
from ansible_collections.qsc.canary.plugins.module_utils.qsc.settings import DrillPaths
from helpers.machine import Machine, Unit
from helpers.recorded import lines, record
from helpers.samples import COLLAPSE

SUBCOMMANDS = (
    "status", "check", "gate", "plan", "backtest", "scoreboard", "rollback", "rollout", "log", "acknowledge", "drill",
    "evidence", "replay", "unit",
)  # fmt: skip
Run = t.Callable[..., tuple[int, str, str]]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A host in memory that the command takes for its own."""
    made = Machine(tmp_path / "host", monkeypatch)
    made.paths.config.parent.mkdir(parents=True)
    made.paths.config.write_text(json.dumps(made.host.settings.to_dict()))
    monkeypatch.setattr(command, "Paths", lambda: made.paths)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    return made


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command: (exit code, stdout, stderr)."""

    def call(*arguments: str) -> tuple[int, str, str]:
        try:
            code = command.main(arguments)
        except SystemExit as leave:
            code = int(leave.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return call


def test_help(run: Run) -> None:
    code, out, err = run("--help")
    assert (code, err) == (0, "")
    assert all(f"qsc {name}" in out for name in SUBCOMMANDS if name != "unit")
    assert "exit codes: 0 ok, 1 violation or spent budget, 2 error, 4 waiting or inconclusive" in out
    assert "of gate: 0 pass, 2 fail or error, 3 collection complete" in out


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_help_of_a_subcommand(run: Run, name: str) -> None:
    code, out, err = run(name, "--help")
    assert (code, err) == (0, "")
    assert f"usage: qsc {name}" in out
    assert "exit codes:" in out


def test_the_table_of_subcommands_is_whole() -> None:
    assert tuple(command.SUBCOMMANDS) == SUBCOMMANDS


@pytest.mark.parametrize(
    "arguments",
    [(), ("fly",), ("gate",), ("plan",), ("backtest",), ("backtest", "--model", "x", "--starts", "many"),
     ("gate", "--model"), ("gate", "--model", "x", "--mode", "y"), ("unit",), ("unit", "x"),
     ("log", "-n", "many"), ("status", "extra"), ("rollout", "fly"), ("rollout", "pause"), ("rollout", "approve"),
     ("rollout", "approve", "half"), ("rollback", "--force")],
)  # fmt: skip
def test_usage_errors_end_with_2(run: Run, arguments: tuple[str, ...]) -> None:
    code, _out, err = run(*arguments)
    assert code == 2
    assert "usage: qsc" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("arguments", [("status",), ("check",), ("gate", "--model", "x"), ("rollback",)])
def test_without_an_installation(run: Run, machine: Machine, arguments: tuple[str, ...]) -> None:
    machine.paths.config.unlink()
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert (
        err == f"qsc {arguments[0]}: {machine.paths.config} does not exist. Install the agent: playbooks/install.yml\n"
    )


def test_status(run: Run, machine: Machine) -> None:
    code, out, err = run("status")
    assert (code, err) == (0, "")
    assert "canary    none yet" in out


def test_status_of_a_violated_run(run: Run, machine: Machine) -> None:
    machine.run_canary()
    assert run("status")[0] == 0
    machine.write_verdict(verdict="violation", violations=(COLLAPSE,))
    assert run("status")[0] == 1
    rollback.roll_back(machine.host, rollback.Finding("qsc_monitor_violation", "HOLD", "violated", (COLLAPSE,)))
    assert run("status")[0] == 0, "over is over"


def test_status_as_json(run: Run, machine: Machine) -> None:
    record = machine.run_canary()
    code, out, _err = run("status", "--json")
    assert code == 0
    assert json.loads(out)["record"]["id"] == record.id


def test_status_that_could_not_read_everything(run: Run, machine: Machine) -> None:
    machine.paths.record.write_text("{")
    code, out, _err = run("status")
    assert code == 2
    assert "problem   " in out


def test_rollback(run: Run, machine: Machine) -> None:
    record = machine.run_canary()
    code, out, err = run("rollback", "--id", record.id, "--reason", "maintenance")
    assert (code, err) == (0, "")
    assert "baseline restored" in out
    machine.check_baseline()
    (entry,) = machine.ledger("rollback_executed")
    assert (entry["trigger"], entry["reason"]) == ("manual", "maintenance")
    code, out, _err = run("rollback")
    assert code == 0
    assert "already at baseline, nothing changed" in out
    assert "seconds to baseline" not in out


def test_a_rollback_says_the_seconds_to_the_baseline(
    run: Run, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the command on: an operator waits for another process' lock as well."""
    monkeypatch.setattr(rollback, "time", machine.time)
    machine.run_canary()
    lock = Host.lock

    def held(host: Host, wait_s: float = 20.0) -> Lock:
        machine.time.sleep(7.0)
        return lock(host, wait_s)

    monkeypatch.setattr(Host, "lock", held)
    code, out, _err = run("rollback", "--reason", "maintenance")
    assert code == 0
    assert "seconds to baseline: 9.3, from the command to the proof\n" in out, "7 s lock, 0.3 s restart, 2 s stability"


def test_a_rollback_cannot_be_stopped_at_its_terminal(run: Run, machine: Machine) -> None:
    """Stopped, it would hold the lock for ever, and every guard of the host would wait for it."""
    before = signal.getsignal(signal.SIGTSTP)
    try:
        run("rollback")
        assert signal.getsignal(signal.SIGTSTP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTSTP, before)


def test_rollback_of_another_run(run: Run, machine: Machine) -> None:
    record = machine.run_canary()
    code, out, err = run("rollback", "--id", "patchtst-older")
    assert (code, out) == (2, "")
    assert record.id in err
    assert machine.runs_canary


def test_rollback_needs_root(run: Run, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.run_canary()
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    code, _out, err = run("rollback")
    assert (code, err) == (2, "qsc rollback: a rollback needs root. Run: sudo qsc rollback\n")
    assert machine.runs_canary


def test_a_rollback_that_is_not_proven_is_an_error(run: Run, machine: Machine) -> None:
    machine.run_canary()
    machine.fail("restart")
    code, _out, err = run("rollback")
    assert code == 2
    assert "qsc rollback: restart failed" in err


def test_log(run: Run, machine: Machine) -> None:
    assert run("log") == (0, "", "")
    machine.run_canary()
    run("rollback")
    code, out, _err = run("log")
    assert code == 0
    assert [line.split()[1] for line in out.splitlines()] == ["canary_activated", "rollback_executed"]
    assert len(run("log", "-n", "1")[1].splitlines()) == 1
    assert len(run("log", "-n", "0")[1].splitlines()) == 2
    entries = [json.loads(line) for line in run("log", "--json")[1].splitlines()]
    assert entries == machine.ledger()


def test_log_verify(run: Run, machine: Machine) -> None:
    assert run("log", "--verify") == (0, "0 entries verified: ok\n", "")
    record = machine.run_canary()
    run("rollback")
    assert run("log", "--verify") == (0, "2 entries verified, sequence 1 to 2: ok\n", "")
    good = machine.paths.ledger.read_text()
    machine.paths.ledger.write_text(good.replace('"canary_weight": 0.1', '"canary_weight": 0.2'))
    code, out, err = run("log", "--verify")
    assert (code, err) == (1, "")
    problem, total = out.splitlines()
    assert problem.startswith("qsc_canary.jsonl line 1 (sequence 1, canary_activated): changed, its SHA-256 is not")
    assert total == "2 entries verified, sequence 1 to 2: 1 problem"
    machine.paths.ledger.write_text(good + '{"torn')
    assert run("log", "--verify")[0] == 1
    machine.host.log("look", record)
    code, out, _err = run("log", "--verify")
    assert code == 0
    assert out.splitlines()[0].startswith(
        "note: qsc_canary.jsonl line 3 (sequence 3, ledger_repaired): 6 bytes of a torn"
    )
    assert out.splitlines()[-1] == "4 entries verified, sequence 1 to 4: ok"


def test_log_verify_that_cannot_read(run: Run, machine: Machine) -> None:
    machine.paths.ledger.symlink_to("elsewhere")
    (machine.paths.ledger.parent / "elsewhere").write_text("{}\n")
    code, out, err = run("log", "--verify")
    assert (code, out) == (2, "")
    assert str(machine.paths.ledger) in err


def test_scoreboard(run: Run, machine: Machine) -> None:
    code, _out, err = run("scoreboard")
    assert code == 2
    assert "the monitor has not checked yet. See: qsc status" in err
    machine.paths.scoreboard.parent.mkdir(parents=True)
    machine.paths.scoreboard.write_text("# Scoreboard\n")
    assert run("scoreboard") == (0, "# Scoreboard\n", "")
    machine.paths.scoreboard.write_text("# \x1b]0;title\x07 \x9b31m\r\n" + "x" * 600)
    _code, out, _err = run("scoreboard")
    assert [line.isprintable() for line in out.splitlines()] == [True, True]
    assert out.endswith("x" * 600 + "\n")


# --- units


def test_unit_watchdog(run: Run, machine: Machine) -> None:
    assert run("unit", "watchdog") == (0, "", "")
    machine.write_dropin()
    machine.fail("start")
    code, out, _err = run("unit", "watchdog")
    assert code == 1
    assert "the watchdog failed" in out


def test_unit_rollback_takes_its_reason_from_the_verdict(run: Run, machine: Machine) -> None:
    machine.run_canary()
    machine.write_verdict(verdict="violation", violations=(COLLAPSE,), message="HOLD=78.3%")
    code, out, _err = run("unit", "rollback")
    assert code == 0
    assert "baseline restored" in out
    (entry,) = machine.ledger("rollback_executed")
    assert (entry["trigger"], entry["violations"]) == ("qsc_monitor_violation", [COLLAPSE.message])


def test_unit_rollback_that_fails_ends_with_an_error_so_that_it_is_tried_again(run: Run, machine: Machine) -> None:
    machine.run_canary()
    machine.fail("restart")
    code, out, _err = run("unit", "rollback")
    assert code == 1
    assert "try 1 failed: restart failed" in out
    assert machine.record().state == "rolling_back"


def test_a_page_shows_and_is_closed_by_a_human(run: Run, machine: Machine) -> None:
    machine.run_canary()
    machine.fail("restart")
    codes = [run("unit", "rollback")[0] for _number in range(8)]
    assert codes == [1] * 7 + [5]
    code, out, _err = run("status")
    assert code == 5
    assert "PAGE      a human is needed since " in out
    assert "is not proven after 8 tries: restart failed" in out
    code, out, _err = run("acknowledge", "--reason", "the disk was full")
    assert (code, "acknowledged: the baseline of" in out) == (0, True)
    assert run("status")[0] != 5
    code, _out, err = run("acknowledge", "--reason", "again")
    assert (code, "there is nothing to acknowledge on this host" in err) == (2, True)


def test_a_rollout_on_the_host(run: Run, machine: Machine) -> None:
    code, out, _err = run("rollout")
    assert (code, out.partition(". ")[0]) == (
        0,
        "done: nothing to do: no canary is in flight on this host, and no model is named",
    )
    record = machine.run_canary()
    code, out, err = run("rollout", "show")
    assert (code, err) == (4, "")
    assert f"waiting: canary {record.id} (patchtst at 10 %) is watched and not safe yet (until 2026-01-10T1" in out
    assert "step 1 of 4" in out
    assert run("rollout", "approve", "0.5")[0] == 2, "25 % comes next"
    code, out, _err = run("rollout", "approve", "0.25")
    assert (code, "the step to 25 % is approved" in out) == (0, True)
    machine.make_safe()
    code, out, _err = run("rollout")
    assert (code, "is safe and raised to 25 %" in out) == (0, True)
    assert f"approved: 25 % after {record.id}, by root" in out
    code, out, _err = run("rollout", "pause", "--reason", "earnings week")
    assert (code, "paused since" in out and "earnings week" in out) == (0, True)
    code, out, _err = run("rollout")
    assert (code, "waiting: the rollout of this host is paused since" in out) == (4, True)
    assert run("rollout", "resume")[0] == 0
    code, out, _err = run("rollout", "abort", "--reason", "odd fills")
    assert (code, "(aborted: odd fills)" in out) == (0, True)
    code, out, _err = run("rollout")
    assert (code, f"-e acknowledge={record.id}" in out) == (5, True)
    assert "already at baseline" in run("rollout", "abort")[1]


def test_a_rollout_is_aborted_with_damaged_settings(run: Run, machine: Machine) -> None:
    machine.run_canary()
    machine.paths.config.write_text("{")
    assert run("rollout", "abort")[0] == 0
    machine.check_baseline()


def test_a_broken_state_of_the_rollout_is_named(run: Run, machine: Machine) -> None:
    machine.run_canary()
    machine.paths.rollout.write_text("{")
    for arguments in ((), ("show",), ("pause", "--reason", "x"), ("resume",), ("approve", "0.25")):
        code, _out, err = run("rollout", *arguments)
        assert (code, err.count("\n")) == (2, 1)
        assert f"rm {machine.paths.rollout}" in err


@pytest.mark.parametrize("arguments", [("pause", "--reason", "x"), ("resume",), ("approve", "0.25"), ("abort",)])
def test_a_word_on_a_rollout_needs_root(run: Run, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    code, _out, err = run("rollout", *arguments)
    assert (code, "needs root" in err) == (2, True)


def test_an_acknowledgement_needs_root_and_a_reason(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("acknowledge")[0] == 2
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    code, _out, err = run("acknowledge", "--reason", "x")
    assert (code, "needs root" in err) == (2, True)


def test_unit_resume(run: Run, machine: Machine) -> None:
    machine.run_canary()
    machine.paths.boot_mark.unlink()
    code, out, _err = run("unit", "resume")
    assert code == 0
    assert "rebooted" in out
    assert machine.record().state == "rolling_back"


# --- errors

ERRORS: t.Mapping[str, tuple[Exception, str]] = {
    "ours": (QscError("what", remedy="Do."), "qsc log: what. Do.\n"),
    "permission": (
        PermissionError(errno.EACCES, "Permission denied", "/x"),
        "qsc log: /x: permission denied. Run it as root.\n",
    ),
    "system": (OSError(errno.EIO, "Input/output error", "/x"), "qsc log: [Errno 5] Input/output error: '/x'\n"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_are_one_sentence(run: Run, machine: Machine, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    error, text = ERRORS[case]

    def fail(_options: object) -> t.NoReturn:
        raise error

    monkeypatch.setattr(command, "SUBCOMMANDS", {**command.SUBCOMMANDS, "log": fail})
    assert run("log") == (2, "", text)


class Broken(io.StringIO):
    """A stream nobody reads any more, as when the journal is stopped."""

    def write(self, _text: str) -> int:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def test_a_print_never_stops_a_rollback(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.run_canary()
    monkeypatch.setattr(sys, "stdout", Broken())
    monkeypatch.setattr(sys, "stderr", Broken())
    assert command.main(["unit", "rollback"]) == 0
    machine.check_baseline()


# --- the password


def test_the_password_comes_from_the_credential_first(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    machine.paths.password.write_text("of the file")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    given: list[str] = []

    class Connection:
        @classmethod
        def from_dict(cls, _raw: object, *, password: str) -> t.Any:
            given.append(password)
            return cls()

    monkeypatch.setattr(
        "ansible_collections.qsc.canary.plugins.module_utils.qsc.judge.connection.Connection", Connection
    )
    connect = command._connection
    connect(machine.host.settings, machine.paths)
    (tmp_path / "redis-password").write_text("of systemd")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    connect(machine.host.settings, machine.paths)
    (tmp_path / "redis-password").unlink()
    connect(machine.host.settings, machine.paths)
    assert given == ["of the file", "of systemd", ""]


@pytest.mark.parametrize("content", ["{", '{"unknown": 1}', None])
def test_damaged_settings_do_not_stop_the_way_back(
    run: Run, machine: Machine, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    """Somebody edits or removes the settings while a canary runs: the record knows all that a rollback needs."""
    machine.run_canary()
    if content is None:
        machine.paths.config.unlink()
    else:
        machine.paths.config.write_text(content)
    code, _out, err = run("unit", "rollback")
    assert code == 0
    assert "the settings cannot be used" in err
    assert machine.record().state == "rolled_back"
    machine.check_baseline()


# --- drill


def drill_report(**changes: t.Any) -> drill.Report:
    values = {"agent": "x", "failed_step": "", "reason": "", "seconds": 8.4, "steps": (), "rounds": (), "found": ()}
    return drill.Report(**{**values, **changes})


@pytest.mark.parametrize(("failed_step", "code"), [("", 0), ("guards", 1)])
def test_drill(run: Run, machine: Machine, monkeypatch: pytest.MonkeyPatch, failed_step: str, code: int) -> None:
    monkeypatch.setattr(drill, "run", lambda _host: drill_report(failed_step=failed_step, reason="masked"))
    found, out, err = run("drill")
    assert (found, err) == (code, "")
    assert out.startswith(f"drill {'FAILED' if failed_step else 'PASSED'} in 8.4 s")
    found, out, _err = run("drill", "--json")
    result = json.loads(out)
    assert (found, result["passed"], result["failed_step"]) == (code, not failed_step, failed_step)
    assert result["lines"][0].startswith("drill ")


def test_drill_needs_root(run: Run, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    for arguments in (("drill",), ("drill", "--clean")):
        assert run(*arguments) == (2, "", "qsc drill: a drill needs root. Run: sudo qsc drill\n")


def test_drill_clean(run: Run, machine: Machine) -> None:
    assert run("drill", "--clean") == (0, "", "")
    left = DrillPaths(machine.paths.prefix).state
    left.mkdir()
    assert run("drill", "--clean") == (0, f"removed {left}\n", "")


def test_the_units_of_a_drill_leave_the_run_alone(run: Run, machine: Machine) -> None:
    """The same entry points, told that it is a drill: nothing is in flight there, whatever is in flight here."""
    machine.run_canary()
    DrillPaths(machine.paths.prefix).state.mkdir()
    before = machine.record()
    assert run("unit", "monitor", "--drill") == (0, "no canary in flight\n", "")
    assert run("unit", "watchdog", "--drill") == (0, "", "")
    machine.units["qsc-drill-engine.service"] = Unit(active_state="inactive", sub_state="dead")
    code, out, _err = run("unit", "rollback", "--drill")
    assert (code, "already at baseline, nothing changed" in out) == (0, True), out
    assert machine.record() == before
    assert machine.runs_canary


def test_there_is_no_engine_but_that_of_a_drill(run: Run, machine: Machine) -> None:
    code, _out, err = run("unit", "engine")
    assert (code, err) == (2, "qsc unit: the agent has no engine but that of a drill. Run: qsc drill\n")


@pytest.fixture(scope="module")
def telemetry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An hour and a half at ten decisions a minute."""
    return record(tmp_path_factory.mktemp("telemetry"), lines(900))


SHORT = ("--model", "patchtst", "--duration", "1800")


def test_backtest_of_a_file(machine: Machine, run: Run, telemetry: Path, tmp_path: Path) -> None:
    page, picture = tmp_path / "page.md", tmp_path / "picture.svg"
    asked = ("backtest", *SHORT, "--file", str(telemetry), "--starts", "4")
    code, out, err = run(*asked, "--markdown", str(page), "--svg", str(picture))
    assert (code, err) == (0, "")  # no bar where nobody looks at a terminal
    assert "backtest  patchtst on 900 decisions of the file" in out
    assert "strict      " in out
    assert "sequential  " in out
    assert page.read_text().startswith("# Backtest")
    assert picture.read_text().startswith("<svg ")
    code, out, err = run(*asked, "--policy", "strict", "--json", "--degradation", "constant@60", "--seed", "3")
    data = json.loads(out)
    assert (code, err, data["seed"]) == (0, "", 3)
    assert [item["policy"] for item in data["policies"]] == ["strict"]
    assert data["policies"][0]["degradations"][0]["degradation"] == "constant@60"
    assert "plot" not in data


def test_backtest_needs_no_settings_for_a_file(machine: Machine, run: Run, telemetry: Path) -> None:
    machine.paths.config.unlink()
    code, out, _err = run("backtest", *SHORT, "--file", str(telemetry), "--starts", "2")
    assert code == 0
    assert "patchtst" in out
    code, _out, err = run("backtest", *SHORT)
    assert code == 2
    assert "Install the agent" in err


def test_backtest_takes_aliases_and_limits_over_the_settings(machine: Machine, run: Run, telemetry: Path) -> None:
    asked = ("--file", str(telemetry), "--starts", "2", "--duration", "1800", "--json", "--policy", "strict")
    code, out, _err = run("backtest", "--model", "net", "--alias", "patchtst=net", "--limit", "min_std=0.3", *asked)
    assert code == 0
    found = json.loads(out)["policies"][0]
    assert found["rolled_back"] == found["starts"]
    assert "flat_predictions (net)" in found["rules"]


def test_plan_tells_what_a_share_would_change(machine: Machine, run: Run, telemetry: Path, tmp_path: Path) -> None:
    weights = tmp_path / "before.json"
    weights.write_text(json.dumps({"xgb": 0.25, "lgbm": 0.25, "nhits": 0.3, "patchtst": 0.2}))
    asked = ("plan", *SHORT, "--file", str(telemetry))
    code, out, _err = run(*asked, "--baseline", str(weights), "--weight", "0.4")
    assert code == 0
    assert "impact    at 40 %: " in out and "impact    flips by share: 0 %: " in out
    code, out, _err = run(*asked, "--baseline", str(weights), "--limit", "flip_share_max=0.3", "--json")
    assert (code, json.loads(out)["impact"]["weight"]) == (0, 0.1), "the first step"
    code, _out, err = run(*asked, "--baseline", str(tmp_path / "none.json"))
    assert code == 2 and "--baseline" in err and "does not exist" in err
    weights.write_text("{")
    code, _out, err = run(*asked, "--baseline", str(weights))
    assert code == 2 and "is not JSON" in err


@pytest.mark.parametrize("content", [None, "{", '{"patchtst": 0.2, "xgb": 0.8}'])
def test_the_engines_own_file_tells_the_baseline_where_it_can_be_read(
    machine: Machine, run: Run, telemetry: Path, tmp_path: Path, content: str | None
) -> None:
    path = tmp_path / "engine.json"
    if content is not None:
        path.write_text(content)
    settings = json.loads(machine.paths.config.read_text())
    machine.paths.config.write_text(json.dumps({**settings, "baseline_path": str(path)}))
    code, out, _err = run("plan", *SHORT, "--file", str(telemetry), "--json")
    assert code == 0
    assert (json.loads(out)["impact"] is not None) == (content is not None and len(content) > 1)


def test_plan_of_a_file(machine: Machine, run: Run, telemetry: Path) -> None:
    code, out, err = run("plan", *SHORT, "--file", str(telemetry))
    assert (code, err) == (0, "")
    assert "plan      patchtst: 30 min under strict" in out
    assert "history   sequential would have rolled back" in out
    code, out, _err = run("plan", *SHORT, "--file", str(telemetry), "--json", "--cutover", "1768002000000")
    assert code == 0
    assert json.loads(out)["decisions"] < 900


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--alias", "x"), "--alias 'x' is not NAME=VALUE"),
        (("--alias", "=x"), "--alias '=x' is not NAME=VALUE"),
        (("--limit", "min_std=low"), "--limit min_std='low' is not a number"),
        (("--limit", "speed=1"), "limits: unknown limit 'speed'"),
        (("--policy", "lenient"), "policy='lenient' is unknown"),
        (("--duration", "0"), "duration_s=0.0 is out of range"),
        (("--model", "tft"), "model='tft' never votes in the file"),
    ],
)
@pytest.mark.parametrize("name", ["backtest", "plan"])
def test_a_replay_names_what_cannot_be_meant(
    machine: Machine, run: Run, telemetry: Path, name: str, arguments: tuple[str, ...], said: str
) -> None:
    code, out, err = run(name, *SHORT, "--file", str(telemetry), *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"qsc {name}: ")
    assert said in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--since", "soon"), "since='soon' cannot be read"),
        (("--since", "2030-01-01T00:00:00Z"), "holds no decision after 2030-01-01T00:00:00"),
        (("--every", "0"), "every_s=0.0 is out of range"),
        (("--degradation", "fall"), "degradation='fall' is not a degradation"),
        (("--seed", "-1"), "seed=-1 is out of range"),
        (("--history", "5000"), "too few for one start with 5000 before it"),
        (("--starts", "2", "--svg", "/nonexistent/x.svg"), "--svg '/nonexistent/x.svg' cannot be written"),
    ],
)
def test_a_backtest_names_what_cannot_be_meant(
    machine: Machine, run: Run, telemetry: Path, arguments: tuple[str, ...], said: str
) -> None:
    code, out, err = run("backtest", *SHORT, "--file", str(telemetry), *arguments)
    assert (code, out) == (2, "")
    assert said in err


def test_the_bar_is_for_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    with command._Progress() as tick:
        for done in range(1, 201):
            tick(done, 200)
    text = shown.getvalue()
    assert "[###############...............] 100 of 200 runs" in text
    assert text.count("\r[") == 101  # once a percent
    assert text.endswith("\r\033[K")
