# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A rollback that fails again and again: growing pauses, then one page that only a human closes."""

from __future__ import annotations

import errno
import typing as t

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import BadInput, Busy
from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard import page, rollback
from ansible_collections.qsc.canary.plugins.module_utils.qsc.ledger import Ledger
from helpers.machine import Machine


def stuck(machine: Machine) -> None:
    """A violated canary whose engine cannot be restarted."""
    machine.run_canary()
    machine.fail("restart")


def tries(machine: Machine, count: int) -> list[int]:
    return [page.one_try(machine.host)[0] for _number in range(count)]


def test_pauses_grow(machine: Machine) -> None:
    stuck(machine)
    pauses = []
    for _number in range(7):
        before = machine.time.boot
        code, lines = page.one_try(machine.host)
        pauses.append(machine.time.boot - before)
        assert code == 1, lines
    assert [round(pause) for pause in pauses] == [2, 4, 8, 16, 32, 60, 60]
    assert page.current(machine.host) is None


def test_then_a_human_is_called_once(machine: Machine) -> None:
    stuck(machine)
    assert tries(machine, 7) == [1] * 7
    before = machine.time.boot
    code, lines = page.one_try(machine.host)
    assert code == 5
    assert machine.time.boot - before < 2, "no pause: systemd must not try again"
    emergency = [line for line in lines if line.startswith("<0>")]
    assert len(emergency) == 1
    assert "not proven after 8 tries: restart failed" in emergency[0]
    assert "qsc acknowledge" in emergency[0]
    assert tries(machine, 2) == [5, 5], "every later try says so again"
    (entry,) = machine.ledger("paged")
    assert entry["canary_id"] == machine.record().id
    assert entry["tries"] == 8


def test_a_page_is_logged_under_the_lock(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two writers at once would fork the ledger's chain."""
    stuck(machine)
    tries(machine, 7)
    real, alone = Ledger.append, []

    def append(log: Ledger, action: str, fields: t.Mapping[str, t.Any], *, wall: float) -> dict[str, t.Any]:
        with pytest.raises(Busy), machine.host.lock(wait_s=0.0):
            pass
        alone.append(action)
        return real(log, action, fields, wall=wall)

    monkeypatch.setattr(Ledger, "append", append)
    tries(machine, 1)
    assert alone == ["paged"]


def test_success_forgets_the_tries_but_not_the_page(machine: Machine) -> None:
    stuck(machine)
    tries(machine, 8)
    machine.failing.clear()
    assert tries(machine, 1) == [0]
    machine.check_baseline()
    assert page.current(machine.host) is not None, "it stays until a human has seen it"
    assert not machine.paths.rollback_tries.exists()
    page.acknowledge(machine.host, "a broken disk")
    assert page.current(machine.host) is None
    (entry,) = machine.ledger("page_acknowledged")
    assert (entry["reason"], "restart failed" in entry["acknowledged"]) == ("a broken disk", True)


def test_an_acknowledgement_gives_new_tries(machine: Machine) -> None:
    stuck(machine)
    tries(machine, 8)
    page.acknowledge(machine.host, "on it")
    assert tries(machine, 1) == [1]


def test_nothing_to_acknowledge(machine: Machine) -> None:
    with pytest.raises(BadInput, match="nothing to acknowledge"):
        page.acknowledge(machine.host, "?")


def test_the_setting(make_machine: t.Callable[..., Machine]) -> None:
    machine = make_machine(page_after=2)
    stuck(machine)
    assert tries(machine, 2) == [1, 5]


def test_a_full_disk_keeps_the_page_in_run(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck(machine)
    real = page.write_json

    def no_space(path: t.Any, value: t.Any) -> None:
        if path == machine.paths.page:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, value)

    monkeypatch.setattr(page, "write_json", no_space)
    assert tries(machine, 8)[-1] == 5
    opened = page.current(machine.host)
    assert opened is not None
    assert "restart failed" in opened["reason"]
    page.acknowledge(machine.host, "full disk")
    assert page.current(machine.host) is None


def test_a_defect_of_ours_calls_a_human_too(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.run_canary()
    monkeypatch.setattr(rollback.systemd, "daemon_reload", lambda: 1 // 0)
    assert tries(machine, 8)[-1] == 5
    opened = page.current(machine.host)
    assert opened is not None
    assert "ZeroDivisionError" in opened["reason"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"at": "x"}', b'{"at": 1e999, "reason": 1, "tries": 1}'])
def test_a_damaged_page_is_a_page(machine: Machine, content: bytes) -> None:
    machine.paths.page.write_bytes(content)
    opened = page.current(machine.host)
    assert opened is not None
    assert page.line(opened).startswith("a human is needed")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"tries": "x", "last_boot": "y"}', b'{"tries": 1, "last_boot": 1%s}' % (b"0" * 400)]
)
def test_damaged_tries_are_none(machine: Machine, content: bytes) -> None:
    stuck(machine)
    machine.paths.rollback_tries.write_bytes(content)
    assert tries(machine, 1) == [1]
    machine.paths.page.write_bytes(b"{")
    machine.paths.rollback_tries.write_bytes(content)
    assert page.quiet(machine.host) is False
