# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A reboot under `resume`: the run goes on only where everything speaks for it, and is proven again."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard import resume, rollback, watchdog
from ansible_collections.qsc.canary.plugins.module_utils.qsc.record import save
from helpers.machine import Machine
from helpers.samples import COLLAPSE


@pytest.fixture
def machine(make_machine: t.Callable[..., Machine]) -> Machine:
    """A host whose runs go on after a reboot."""
    return make_machine(on_reboot="resume")


def run_for(machine: Machine, seconds: float, **verdict: t.Any) -> None:
    machine.run_canary()
    machine.time.sleep(seconds)
    machine.write_verdict(**verdict)


def reboot(machine: Machine, down_s: float = 60.0) -> None:
    """The host goes down and comes up: /run is empty, the clock of the boot starts again, nothing runs."""
    machine.stop_engine()
    machine.units["qsc-monitor.timer"].active_state = "inactive"
    for path in machine.paths.run.rglob("*"):
        if path.is_file():
            path.unlink()
    machine.paths.ack_folder.rmdir()
    machine.time.sleep(down_s)
    machine.time.boot = 20.0
    machine.events.clear()


def check(machine: Machine, seconds: float = 30.0, **verdict: t.Any) -> list[str]:
    machine.time.sleep(seconds)
    machine.write_verdict(**verdict)
    return watchdog.watch(machine.host)


def test_the_run_goes_on(machine: Machine) -> None:
    run_for(machine, 3600)
    before = machine.record()
    reboot(machine)
    notes = resume.decide(machine.host)
    assert "goes on after a reboot, 3600 s of its run are watched so far" in notes[0]
    assert machine.events == [], "a blocking call of systemd before the engine would be a deadlock"
    record = machine.record()
    assert (record.state, record.resumed, record.resuming) == ("active", 1, True)
    assert record.activated_boot == machine.time.boot - 3600
    assert watchdog.watch(machine.host) == [], "the engine has not had its turn yet"
    assert machine.events == ["start qsc-monitor.timer"], "the monitor's timer is not enabled"
    machine.start_engine()
    assert machine.runs_canary
    assert check(machine) == []
    record = machine.record()
    assert (record.state, record.resuming) == ("active", False)
    assert record.engine["invocation_id"] == machine.engine.invocation
    assert [entry["action"] for entry in machine.ledger()] == [
        "canary_activated", "run_resumed", "engine_restart_proven",
    ]  # fmt: skip
    # the time down does not count as watched: the whole of the monitored time is still owed
    machine.time.sleep(21_600 - 3600 - 60)
    machine.write_verdict()
    watchdog.watch(machine.host)
    assert machine.record().outcome == ""
    machine.time.sleep(60)
    machine.write_verdict()
    watchdog.watch(machine.host)
    assert machine.record().outcome == "safe"
    assert machine.record().activated_at == before.activated_at


def test_three_reboots(machine: Machine) -> None:
    run_for(machine, 600)
    for number in (1, 2, 3):
        reboot(machine)
        resume.decide(machine.host)
        machine.start_engine()
        check(machine)
        check(machine, 570)
        record = machine.record()
        assert (record.state, record.resumed) == ("active", number)
        assert machine.time.boot - record.activated_boot == pytest.approx(600 * (number + 1), abs=10)


def test_a_second_reboot_before_the_first_check_loses_no_time_and_invents_none(machine: Machine) -> None:
    run_for(machine, 600)
    for _number in range(2):
        reboot(machine)
        resume.decide(machine.host)
        assert machine.time.boot - machine.record().activated_boot == 600


def changed_dropin(machine: Machine) -> None:
    machine.dropin.write_text("[Service]\n")


def latched(machine: Machine) -> None:
    save(machine.paths.record, replace(machine.record(), violations=(vars(COLLAPSE),), trigger="reboot"))


def many(machine: Machine) -> None:
    save(machine.paths.record, replace(machine.record(), resumed=resume.MOST_REBOOTS))


def forward(machine: Machine) -> None:
    machine.time.wall += 2000


def backward(machine: Machine) -> None:
    machine.time.wall -= 300


AGAINST: t.Mapping[str, tuple[t.Callable[[Machine], object], str]] = {
    "drop-in changed": (changed_dropin, "drop-in was changed or removed"),
    "drop-in removed": (lambda machine: machine.dropin.unlink(), "drop-in was changed or removed"),
    "weights changed": (lambda machine: machine.paths.weights.write_text("{}"), "weights file was changed"),
    "weights removed": (lambda machine: machine.paths.weights.unlink(), "No such file"),
    "snapshot changed": (lambda machine: machine.paths.baseline.write_text("{}"), "saved baseline was changed"),
    "never checked": (lambda machine: machine.paths.verdict.unlink(), "never checked"),
    "verdict damaged": (lambda machine: machine.paths.verdict.write_text("{"), "verdict cannot be used"),
    "latched": (latched, "a violation was recorded"),
    "down for too long": (forward, "s ago, at most 1800 s"),
    "clock put back": (backward, "s ago, at most 1800 s"),
    "reboots without end": (many, "reboot number 6"),
    "engine's user unknown": (
        lambda machine: setattr(machine.engine, "user", "nobody-of-this-name"), "No such file"),
}  # fmt: skip


@pytest.mark.parametrize("case", AGAINST)
def test_what_speaks_against_it_ends_at_baseline(machine: Machine, case: str) -> None:
    spoil, why = AGAINST[case]
    run_for(machine, 600)
    reboot(machine)
    spoil(machine)
    notes = resume.decide(machine.host)
    assert why in notes[0], notes
    assert "the engine starts at baseline" in notes[0]
    assert not machine.paths.engine_env.exists()
    record = machine.record()
    assert (record.state, record.trigger) == ("rolling_back", "reboot")
    machine.start_engine()
    assert not machine.runs_canary
    rollback.roll_back(machine.host, rollback.Finding("", ""))
    machine.check_baseline()


@pytest.mark.parametrize("verdict", ["violation", "inconclusive"])
def test_a_verdict_that_nobody_acted_on_yet_counts(machine: Machine, verdict: str) -> None:
    run_for(
        machine, 600, verdict=verdict, message="HOLD=78.3%", violations=(COLLAPSE,) if verdict == "violation" else ()
    )
    reboot(machine)
    notes = resume.decide(machine.host)
    assert "HOLD=78.3%" in notes[0]
    assert machine.record().outcome == ("violated" if verdict == "violation" else "terminated")


def test_an_arming_run_never_goes_on(machine: Machine) -> None:
    machine.arm()
    machine.write_verdict(verdict="waiting")
    reboot(machine)
    assert "was not completed" in resume.decide(machine.host)[0]
    assert machine.record().state == "rolling_back"


def test_without_the_option_nothing_goes_on(make_machine: t.Callable[..., Machine]) -> None:
    machine = make_machine()
    run_for(machine, 600)
    reboot(machine)
    assert "the engine starts at baseline" in resume.decide(machine.host)[0]
    assert machine.record().state == "rolling_back"


def test_cut_off_before_the_environment_file_ends_at_baseline(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_for(machine, 600)
    reboot(machine)

    class Killed(BaseException):
        pass

    def killed(*_arguments: object, **_options: object) -> t.NoReturn:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(resume, "write_atomic", killed)
        with pytest.raises(Killed):
            resume.decide(machine.host)
    machine.start_engine()
    assert not machine.runs_canary
    check(machine)
    assert (machine.record().state, machine.record().trigger) == ("rolling_back", "environment_changed")


def test_an_engine_that_does_not_come_up_is_not_waited_for_for_ever(machine: Machine) -> None:
    run_for(machine, 600)
    reboot(machine)
    resume.decide(machine.host)
    for _number in range(3):
        assert check(machine) == []
    check(machine, 60)
    assert machine.record().trigger == "engine_down"


def test_an_engine_that_failed_at_boot_is_not_waited_for(machine: Machine) -> None:
    run_for(machine, 600)
    reboot(machine)
    resume.decide(machine.host)
    machine.engine.result = "exit-code"
    check(machine)
    assert machine.record().trigger == "engine_down"


def test_an_engine_that_comes_up_without_proof_ends_the_run(machine: Machine) -> None:
    run_for(machine, 600)
    reboot(machine)
    resume.decide(machine.host)
    machine.acknowledges = False
    machine.start_engine()
    check(machine)
    assert machine.record().trigger == "restart_not_proven"


def test_a_monitor_that_stays_silent_after_the_boot_ends_the_run(machine: Machine) -> None:
    run_for(machine, 3600)
    reboot(machine)
    resume.decide(machine.host)
    machine.start_engine()
    watchdog.watch(machine.host)
    for _number in range(7):
        machine.time.sleep(30)
        watchdog.watch(machine.host)
    assert machine.record().trigger == "monitor_silent"


def test_the_time_to_promote_goes_on_while_the_host_is_down(machine: Machine) -> None:
    run_for(machine, 21_600)
    watchdog.watch(machine.host)
    assert machine.record().outcome == "safe"
    reboot(machine, down_s=1200)
    resume.decide(machine.host)
    machine.start_engine()
    check(machine)
    assert machine.record().outcome == "safe"
    check(machine, 86_400 - 1200 - 60)
    assert machine.record().state == "active"
    check(machine, 60)
    assert machine.record().trigger == "hold_expired"
