# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every guard of a host, taken away one at a time: a named test must turn red.

A promise that no test would miss is none.
"""

from __future__ import annotations

from defect import CORE, UNITS, Defect

WATCHDOG, ROLLBACK, SYSTEMD, HOOKS, STEPBACK = (
    f"{CORE}/guard/{name}.py" for name in ("watchdog", "rollback", "systemd", "hooks", "stepback")
)
TESTS = "tests/unit/guard"

GUARDS = (
    Defect(
        "G1", "the watchdog sees what is wrong and starts no rollback",
        WATCHDOG,
        "    systemd.start(host.guards.rollback_service, block=False)\n",
        "",
        (f"{TESTS}/test_watchdog.py::test_a_violation_is_latched_and_the_rollback_started",),
    ),
    Defect(
        "G2", "a monitor that fails fires nothing",
        f"{UNITS}/qsc-monitor.service.j2",
        "OnFailure=qsc-rollback.service\n",
        "",
        (f"{TESTS}/test_way_back.py::test_a_failed_monitor_fires_the_rollback",),
    ),
    Defect(
        "G3", "a violation ends the monitor with success",
        f"{CORE}/judge/monitor.py",
        "        return EXIT_VIOLATION, lines\n",
        "        return EXIT_OK, lines\n",
        ("tests/integration/test_judge_unit.py::test_a_violation_exits_with_one_and_latches",),
    ),
    Defect(
        "G4", "a check that could not read the telemetry counts as none",
        f"{CORE}/judge/monitor.py",
        "return Checked(found, state.missed().latch(found), answers=answers)",
        "return Checked(found, state.latch(found), answers=answers)",
        ("tests/integration/test_judge_unit.py::test_a_check_that_could_not_be_made_is_missed_not_safe",),
    ),
    Defect(
        "G5", "a missed check is a failure of the monitor, not one to be counted",
        f"{UNITS}/qsc-monitor.service.j2",
        "SuccessExitStatus=75 SIGTERM",
        "SuccessExitStatus=SIGTERM",
        (f"{TESTS}/test_way_back.py::test_a_failed_monitor_fires_the_rollback",),
    ),
    Defect(
        "G6", "a run without telemetry goes on",
        WATCHDOG,
        "if facts.verdict is not None and facts.verdict.missed_in_a_row > MISSED_LIMIT:",
        "if False:",
        (f"{TESTS}/test_diagnose.py::test_one_thing_wrong",),
    ),
    Defect(
        "G7", "a violated run can be activated, proven again or concluded",
        f"{CORE}/record.py",
        'if state is None or (record.latched and event not in ("roll_back", "proven")):',
        "if state is None:",
        ("tests/unit/hall/test_record.py::test_a_latched_record_only_goes_towards_baseline",),
    ),
    Defect(
        "G8", "a play that lost its lease goes on",
        f"{CORE}/record.py",
        "if (record.id, record.owner, record.generation) != (canary_id, owner, generation):",
        "if record.id != canary_id:",
        ("tests/unit/hall/test_record.py::test_the_lease_is_lost",),
    ),
    Defect(
        "G9", "a play that is past its deadline commits",
        f"{CORE}/guard/activation.py",
        "if record.state == ARMING and (late > 0 or record.boot_id != host.clock.boot_id()):",
        "if False:",
        (f"{TESTS}/test_activation.py::test_past_the_deadline",),
    ),
    Defect(
        "G10", "two writers hold the lock",
        f"{CORE}/files.py",
        "fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        "fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)",
        ("tests/unit/hall/test_files.py::test_the_lock_excludes_another_process_until_it_dies",),
    ),
    Defect(
        "G11", "nobody misses a silent monitor",
        WATCHDOG,
        "if silent > silence_limit(facts.record) and not facts.late:",
        "if False:",
        (f"{TESTS}/test_watchdog.py::test_silence_rolls_back",),
    ),
    Defect(
        "G12", "an activation that was never finished stays",
        WATCHDOG,
        "if facts.record.state == ARMING and facts.boot > facts.record.arming_deadline_boot:",
        "if False:",
        (f"{TESTS}/test_watchdog.py::test_an_armed_run_ends_at_its_deadline",),
    ),
    Defect(
        "G13", "a boot decides nothing",
        f"{CORE}/guard/resume.py",
        "if record is None or not record.live or record.boot_id == host.clock.boot_id():",
        "if True:",
        (f"{TESTS}/test_watchdog.py::test_a_run_of_an_earlier_boot_ends_before_the_engine_starts",),
    ),
    Defect(
        "G14", "an engine that used up its start limit is restarted without forgetting that",
        ROLLBACK,
        "    systemd.reset_failed(unit)\n",
        "",
        (f"{TESTS}/test_rollback.py::test_order",),
    ),
    Defect(
        "G15", "any process of the engine proves anything",
        SYSTEMD,
        'own = environment.get("INVOCATION_ID") == facts.invocation_id',
        "own = True",
        (f"{TESTS}/test_systemd.py::test_a_process_of_another_invocation_proves_nothing",),
    ),
    Defect(
        "G16", "the process of before the restart proves the restart",
        SYSTEMD,
        "if facts.running and facts.invocation_id and facts.invocation_id != not_invocation:",
        "if facts.running and facts.invocation_id:",
        (f"{TESTS}/test_systemd.py::test_the_process_of_before_the_restart_proves_nothing",),
    ),
    Defect(
        "G17", "the drop-in goes before the environment file",
        ROLLBACK,
        '    reached("back.environment")\n',
        "    for unit in _units(host, record):\n        _remove(host.paths.dropin(unit), notes)\n",
        (f"{TESTS}/test_rollback.py::test_order",),
    ),
    Defect(
        "G18", "canary configuration without a run is left alone",
        WATCHDOG,
        "    if not orphans:\n",
        "    if True:\n",
        (f"{TESTS}/test_watchdog.py::test_orphans_start_the_rollback",),
    ),
    Defect(
        "G19", "an unreadable record ends nothing",
        WATCHDOG,
        'return _start_rollback(host, f"record unreadable: {error.message}", again=True)',
        "return [error.message]",
        (f"{TESTS}/test_watchdog.py::test_an_unreadable_record_starts_the_rollback",),
    ),
    Defect(
        "G20", "an engine that systemd restarted goes on as the canary",
        WATCHDOG,
        "    if facts.engine.n_restarts > 0:\n",
        "    if False:\n",
        (f"{TESTS}/test_diagnose.py::test_one_thing_wrong",),
    ),
    Defect(
        "G21", "a rollback that is stopped at its terminal holds the lock for ever",
        f"{CORE}/command.py",
        "    signal.signal(signal.SIGTSTP, signal.SIG_IGN)\n",
        "",
        ("tests/unit/hall/test_command.py::test_a_rollback_cannot_be_stopped_at_its_terminal",),
    ),
    Defect(
        "G22", "a frozen host takes a canary",
        f"{CORE}/guard/activation.py",
        "    check_freeze(host)\n",
        "",
        (f"{TESTS}/test_activation.py::test_a_frozen_host_takes_no_canary_but_always_gives_one_back",),
    ),
    Defect(
        "G23", "a reboot resumes whatever speaks against it",
        f"{CORE}/guard/resume.py",
        "            if verdict is not None and not against:\n",
        "            if verdict is not None:\n",
        (f"{TESTS}/test_resume.py::test_what_speaks_against_it_ends_at_baseline",),
    ),
    Defect(
        "G24", "a rollback in vain calls nobody",
        f"{CORE}/guard/page.py",
        "    if tries >= host.settings.page_after:\n",
        "    if False:\n",
        (f"{TESTS}/test_page.py::test_then_a_human_is_called_once",),
    ),
    Defect(
        "G25", "a model that always comes back is taken again and again",
        f"{CORE}/guard/history.py",
        "    if most and count >= most:\n",
        "    if False:\n",
        (f"{TESTS}/test_history.py::test_the_loop_breaker",),
    ),
    Defect(
        "G26", "a pre-restart hook that fails stops no activation",
        HOOKS,
        "    if ran.exit_status != 0:\n        undone = ",
        "    if False:\n        undone = ",
        (f"{TESTS}/test_hooks.py::test_a_pre_restart_hook_that_fails_stops_the_step_and_is_undone",),
    ),
    Defect(
        "G27", "a hook that fails stops a rollback",
        HOOKS,
        "    return [] if ran.exit_status == 0 else [f\"the {hook.replace('_', '-')} hook {_how(ran, timeout_s)}\"]\n",
        "    if ran.exit_status != 0:\n        raise Refused(_how(ran, timeout_s))\n    return []\n",
        (f"{TESTS}/test_hooks.py::test_no_hook_stops_a_rollback",),
    ),
    Defect(
        "G28", "what a killed play paused stays paused",
        WATCHDOG,
        "return 0, [*_watch_in_turn(host), *_close_hook(host)]",
        "return 0, _watch_in_turn(host)",
        (f"{TESTS}/test_hooks.py::test_what_a_killed_play_paused_goes_on",),
    ),
    Defect(
        "G29", "a rollback that needs no restart leaves paused what a killed play has paused",
        ROLLBACK,
        "                hooks.after_rollback(host, hooks.left_open(host, notes), notes)\n",
        "                pass\n",
        (f"{TESTS}/test_hooks.py::test_what_a_killed_play_paused_goes_on_with_the_rollback_that_ends_its_run",),
    ),
    Defect(
        "G30", "a step back that was cut off is tried again",
        STEPBACK,
        "        and not record.step_back\n",
        "",
        (f"{TESTS}/test_stepback.py::test_killed_anywhere_on_the_way_it_ends_at_the_baseline",),
    ),
    Defect(
        "G31", "a step back leads from the baseline to a canary",
        STEPBACK,
        "        and not begun\n",
        "",
        (
            f"{TESTS}/test_stepback.py::test_after_a_reboot_it_is_the_baseline",
            f"{TESTS}/test_stepback.py::test_a_full_disk_does_not_lead_from_the_baseline_to_a_step_back",
        ),
    ),
    Defect(
        "G32", "an engine that was reloaded is proven to run the baseline without a restart",
        ROLLBACK,
        "force = file_restored or host.paths.restart_due.exists() or _was_reloaded(record)",
        "force = file_restored",
        (f"{TESTS}/test_hooks.py::test_a_lost_record_of_a_reloaded_engine_is_no_proof_of_the_baseline",),
    ),
    Defect(
        "G33", "an own check that finds a violation ends nothing",
        f"{CORE}/judge/monitor.py",
        "    result = with_own(result, answers)\n",
        "",
        ("tests/integration/test_own_checks.py::test_a_violation_of_a_required_check_ends_the_run",),
    ),
    Defect(
        "G34", "an own check that stays silent ends nothing",
        f"{CORE}/judge/answers.py",
        "        elif item.silent > MISSED_LIMIT:\n",
        "        elif False:\n",
        ("tests/unit/judge/test_answers.py::test_silence_is_counted_and_ends_the_run_after_four_checks",),
    ),
    Defect(
        "G35", "a program that others than root can change is run",
        f"{CORE}/own_checks.py",
        "    return bool(status.st_mode & 0o022) and not sticky_folder",
        "    return False and not sticky_folder",
        ("tests/integration/test_own_checks.py::test_one_that_others_may_write_is_not_run",),
    ),
    Defect(
        "G36", "a model that is retrained in mid-run goes on",
        WATCHDOG,
        '        return Finding("model_changed", facts.another_model, "inconclusive")\n',
        "        return None\n",
        (f"{TESTS}/test_artifacts.py::test_a_change_ends_the_run_at_the_baseline",),
    ),
)  # fmt: skip
