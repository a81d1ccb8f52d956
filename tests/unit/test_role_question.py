# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The quickstart's question: who is asked what, and that nothing but a yes goes on, on a real terminal and without one.

A play of two hosts on this machine stands for the activation; "ARMED" stands for what would change the engine.
"""

from __future__ import annotations

import subprocess
import typing as t
from pathlib import Path

import pytest
import yaml

from helpers.terminal import CTRL_C, Terminal

PROMPT = "anything else leaves the engine alone:"
ARMED = "ARMED one"
NAMED = "-e confirm=yes"

Start = t.Callable[..., tuple[list[str], dict[str, t.Any]]]


@pytest.fixture
def start(root: Path, tmp_path: Path, clean_environment: dict[str, str]) -> Start:
    """(the command, the rest) of a play that asks on two hosts: start(confirm="yes", serial=2)."""
    role = root / "roles/qsc_canary"

    def make(
        *options: str, serial: int = 1, checks: int = 5, confirm: t.Any = False
    ) -> tuple[list[str], dict[str, t.Any]]:
        start_tasks = yaml.safe_load((role / "tasks/quickstart.yml").read_text())
        refusals = [task for task in start_tasks if "Refuse" in task["name"]]
        assert len(refusals) == 2
        play = {
            "hosts": "one,two",
            "gather_facts": False,
            "connection": "local",
            "serial": serial,
            "vars": {
                **yaml.safe_load((role / "defaults/main.yml").read_text()),
                "qsc_canary_confirm": confirm,
                "qsc_canary_model": "m",
                "qsc_canary_quickstart_checks": checks,
            },
            "tasks": [
                *refusals,
                {"ansible.builtin.include_tasks": str(role / "tasks/confirm.yml"), "when": "not ansible_check_mode"},
                {"ansible.builtin.debug": {"msg": "ARMED {{ inventory_hostname }}"}},
            ],
        }
        (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
        env = {
            **clean_environment,
            "ANSIBLE_COLLECTIONS_PATH": str(root / "playbooks/collections"),
            "ANSIBLE_LOCAL_TEMP": str(tmp_path / "tmp"),
            "ANSIBLE_NOCOLOR": "1",
            "TERM": "xterm",
        }
        command = ["ansible-playbook", "-i", "one,two,", "play.yml", *options]
        return command, {"cwd": tmp_path, "env": env}

    return make


def without_a_terminal(start: Start, *options: str, **changes: t.Any) -> tuple[int, str]:
    command, rest = start(*options, **changes)
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        **rest,
    )
    return done.returncode, " ".join(done.stdout.split())


def test_every_host_is_asked_by_name_and_yes_goes_on(start: Start) -> None:
    command, rest = start()
    with Terminal(command, **rest) as terminal:
        for name in ("one", "two"):
            terminal.wait_for(f"{name}: activate m at 10 % of the weight?")
            assert f"ARMED {name}" not in terminal.output
            terminal.answer(PROMPT, " Yes \r")
            terminal.wait_for(f"ARMED {name}")
        assert terminal.end() == 0, terminal.output
        assert terminal.output.count("of the weight?") == 2


@pytest.mark.parametrize("keys", ["no\r", "y\r", "\r", "yes please\r", "n\x7fno\r"])
def test_anything_else_stops_all_of_it(start: Start, keys: str) -> None:
    command, rest = start()
    with Terminal(command, **rest) as terminal:
        terminal.answer(PROMPT, keys)
        assert terminal.end() == 2, terminal.output
        text = " ".join(terminal.output.split())
        assert "one: m is not activated, the engine was left alone: the answer was" in text
        assert "ARMED" not in text
        assert "two: activate" not in text, "the next host is not even asked"


@pytest.mark.parametrize("then", ["a", "c"])
def test_ctrl_c_at_the_prompt(start: Start, then: str) -> None:
    """pause offers to continue after that; what continues has no yes."""
    command, rest = start()
    with Terminal(command, **rest) as terminal:
        terminal.answer(PROMPT, CTRL_C)
        terminal.answer("'A' to abort", then)
        assert terminal.end() != 0, terminal.output
        assert "ARMED" not in terminal.output
        assert ("is not activated" in terminal.output) == (then == "c")


def test_keys_that_were_pressed_before_the_question_are_no_answer(start: Start) -> None:
    command, rest = start()
    with Terminal(command, **rest) as terminal:
        terminal.wait_for("TASK [Refuse")
        terminal.type("yes\r")
        terminal.answer(PROMPT, "no\r")
        assert terminal.end() == 2, terminal.output
        assert "ARMED" not in terminal.output


def test_without_a_terminal_it_is_refused_before_anything_else(start: Start) -> None:
    code, text = without_a_terminal(start)
    assert code == 2, text
    assert "There is no terminal to ask at." in text
    assert NAMED in text
    assert "Nothing was changed." in text
    assert "Ask for a yes" not in text
    assert "ARMED" not in text


def test_a_pause_that_could_not_ask_is_no_yes(start: Start, tmp_path: Path) -> None:
    """Should the terminal be gone between the two: the empty answer of the pause stops it as well."""
    command, rest = start()
    path = tmp_path / "play.yml"
    [play] = yaml.safe_load(path.read_text())
    play["tasks"] = play["tasks"][2:]
    path.write_text(yaml.safe_dump([play]))
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        **rest,
    )
    assert done.returncode == 2, done.stdout
    assert "stdin is not interactive" in done.stdout
    assert NAMED in done.stdout
    assert "ARMED" not in done.stdout


@pytest.mark.parametrize("confirm", ["yes", "true", True])
def test_yes_in_advance_asks_nobody(start: Start, confirm: t.Any) -> None:
    code, text = without_a_terminal(start, confirm=confirm)
    assert code == 0, text
    assert "ARMED one" in text
    assert "ARMED two" in text
    assert "not interactive" not in text, "not even a pause that could not ask"


def test_check_mode_asks_nobody(start: Start) -> None:
    code, text = without_a_terminal(start, "--check")
    assert code == 0, text
    assert "of the weight?" not in text


def test_one_question_is_about_one_host(start: Start) -> None:
    code, text = without_a_terminal(start, serial=2, confirm="yes")
    assert code == 2, text
    assert "put serial: 1 into the play. It has 2 hosts at once." in text
    assert "ARMED" not in text


@pytest.mark.parametrize("checks", [0, 51, -1])
def test_the_number_of_checks_is_bounded(start: Start, checks: int) -> None:
    code, text = without_a_terminal(start, checks=checks, confirm="yes")
    assert code == 2, text
    assert f"qsc_canary_quickstart_checks must be from 1 to 50; it is {checks}." in text
