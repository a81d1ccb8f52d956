# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard's modules as Ansible runs them, on a host in memory: results, check mode, and failures in one sentence."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import pwd
import sys
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils import basic

from ansible_collections.qsc.canary.plugins.module_utils import _guard
from ansible_collections.qsc.canary.plugins.module_utils.qsc import agent, bundle
from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard import hooks, systemd
from ansible_collections.qsc.canary.plugins.modules import qsc_agent, qsc_agent_info
from helpers.machine import DIGEST, Machine
from helpers.samples import BASELINE, CANARY, COLLAPSE

SECRET = "hunter2-secret"


class Result(t.NamedTuple):
    """How a module ended, with what it printed."""

    failed: bool
    data: dict[str, t.Any]
    output: str


@contextlib.contextmanager
def arguments(values: dict[str, t.Any]) -> t.Iterator[None]:
    """The arguments a module finds, on every ansible-core this collection supports."""
    try:
        from ansible.module_utils.testing import patch_module_args
    except ImportError:
        before = basic._ANSIBLE_ARGS
        basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": values}).encode()
        try:
            yield
        finally:
            basic._ANSIBLE_ARGS = before
    else:
        with patch_module_args(values):
            yield


@pytest.fixture
def run(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> t.Callable[..., Result]:
    """Run a module on the machine: run("qsc_canary", check=True, state="armed", ...)."""
    for owner in (_guard, qsc_agent, qsc_agent_info):
        monkeypatch.setattr(owner, "Paths", lambda: machine.paths)
    monkeypatch.delenv("SUDO_USER", raising=False)

    monkeypatch.setattr(qsc_agent_info, "HOST_PYTHON", sys.executable)

    def call(name: str, *, check: bool = False, diff: bool = False, **values: t.Any) -> Result:
        if name in ("qsc_canary", "qsc_rollout", "qsc_canary_info"):
            values.setdefault("agent_digest", DIGEST)
        module = importlib.import_module(f"ansible_collections.qsc.canary.plugins.modules.{name}")
        given = {**values, "_ansible_check_mode": check, "_ansible_diff": diff, "_ansible_remote_tmp": "/tmp"}
        with arguments(given), pytest.raises(SystemExit):
            module.main()
        output = capsys.readouterr().out
        data = json.loads(output)
        return Result(bool(data.get("failed")), data, output)

    return call


Run = t.Callable[..., Result]


def settings(machine: Machine) -> dict[str, t.Any]:
    return machine.host.settings.to_dict()


# --- qsc_weights


@pytest.mark.parametrize("check", [True, False])
def test_weights(run: Run, machine: Machine, tmp_path: Path, check: bool) -> None:
    path, dest = tmp_path / "weights.json", tmp_path / "baseline.json"
    values = {"model": "patchtst", "baseline_path": str(machine.baseline_path)}
    result = run("qsc_weights", check=check, diff=True, path=str(path), baseline_dest=str(dest), **values)
    assert not result.failed
    wanted = {"changed": True, "weights": CANARY, "baseline": BASELINE, "direction": "lowers", "total": 1.0}
    assert {name: result.data[name] for name in wanted} == wanted
    assert [item["after_header"] for item in result.data["diff"]] == [str(path), str(dest)]
    assert (path.exists(), dest.exists()) == (not check, not check)
    if not check:
        assert json.loads(path.read_bytes()) == CANARY
        assert json.loads(dest.read_bytes()) == BASELINE
        again = run("qsc_weights", path=str(path), baseline_dest=str(dest), **values)
        assert not again.data["changed"]


def test_weights_without_a_path_write_nothing(run: Run) -> None:
    result = run("qsc_weights", model="tft", weight=0.25, baseline=BASELINE, known_models=["tft"])
    assert not result.data["changed"]
    assert result.data["weights"]["tft"] == 0.25
    assert result.data["deltas"]["tft"] == 0.25
    assert result.data["direction"] == "raises"


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"model": "tft", "baseline": BASELINE}, "neither in the baseline nor in the telemetry"),
        ({"model": "patchtst", "weight": 0.2, "baseline": BASELINE}, "already the baseline weight"),
        ({"model": "patchtst", "weight": 2, "baseline": BASELINE}, "weight=2.0"),
        ({"model": "patchtst", "baseline": {"patchtst": 0.5}}, "sum to 0.5"),
        (
            {"model": "patchtst", "baseline_path": "/nonexistent/weights.json"},
            "/nonexistent/weights.json cannot be read",
        ),
        ({"model": "patchtst"}, "one of the following is required: baseline, baseline_path"),
        ({"model": "patchtst", "baseline": BASELINE, "baseline_path": "/x"}, "mutually exclusive"),
    ],
)
def test_weights_refused(run: Run, values: dict[str, t.Any], word: str) -> None:
    result = run("qsc_weights", **values)
    assert result.failed
    assert word in result.data["msg"]
    assert "Traceback" not in result.output


# --- qsc_canary: the whole way


def test_the_way_of_a_canary(run: Run, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    before = machine.files()
    common = {"settings": settings(machine), "actor": "job 17"}
    monkeypatch.setenv("SUDO_USER", "bob")
    wish = {"state": "armed", "model": "patchtst", "baseline_path": str(machine.baseline_path), **common}
    preflight = run("qsc_canary", check=True, **wish)
    assert preflight.data["changed"]
    assert preflight.data["plan"] == {
        "action": "activate",
        "model": "patchtst",
        "weight": 0.1,
        "weights": CANARY,
        "baseline": BASELINE,
        "direction": "lowers",
    }
    assert "lease" not in preflight.data
    assert machine.files() == before

    armed = run("qsc_canary", gate=machine.gate(), **wish).data
    assert armed["changed"]
    assert armed["record"]["state"] == "arming"
    assert armed["lease"] == {name: armed["record"][name] for name in ("id", "owner", "generation")}
    assert armed["deadline"] == "2026-01-10T06:48:20.000Z"
    assert armed["engine"]["main_pid"] == machine.engine.pid

    machine.write_dropin()
    machine.time.sleep(2)
    machine.start_engine()
    marker = {"id": "1768023800000-0", "entries_added": 9000}
    would = run("qsc_canary", check=True, state="active", lease=armed["lease"], marker=marker, **common)
    assert would.data["changed"]
    assert machine.record().state == "arming"
    active = run("qsc_canary", state="active", lease=armed["lease"], marker=marker, **common).data
    assert active["record"]["state"] == "active"
    assert active["record"]["since"] == marker
    assert active["proof"]["state"] == "canary"
    assert active["rollback_cmd"] == f"/usr/local/bin/qsc rollback --id {active['record']['id']}"
    assert any("the engine acknowledged these weights" in line for line in active["summary"])
    assert (
        machine.ledger("canary_activated")[0]["actor"]
        == f"{pwd.getpwuid(os.geteuid()).pw_name} by sudo of bob (ansible: job 17)"
    )

    machine.write_verdict()
    info = run("qsc_canary_info", settings=settings(machine)).data
    assert not info["changed"]
    assert info["in_flight"]
    assert info["proof"]["state"] == "canary"
    assert info["ended"] == ""
    assert any(active["record"]["id"] in line for line in info["summary"])

    again = run("qsc_canary", gate=machine.gate(), **wish).data
    assert (again["changed"], again["plan"]["action"]) == (False, "already_active")
    assert again["lease"]["generation"] == active["record"]["generation"]

    at_canary = machine.files()
    would = run("qsc_canary", check=True, diff=True, state="rolled_back", **common)
    assert would.data["changed"]
    assert any(line.startswith("would end canary") for line in would.data["summary"])
    assert machine.files() == at_canary
    back = run("qsc_canary", state="rolled_back", reason="maintenance", **common).data
    assert (back["changed"], back["proof"]["state"], back["record"]["outcome"]) == (True, "baseline", "terminated")
    machine.check_baseline()
    twice = run("qsc_canary", state="rolled_back", **common).data
    assert not twice["changed"]
    nothing = run("qsc_canary", check=True, state="rolled_back", **common).data
    assert (nothing["changed"], nothing["summary"]) == (False, ["already at baseline, nothing to change"])


def test_the_way_from_step_to_step(run: Run, machine: Machine) -> None:
    """What promote.yml calls: raised to all of the weight, then promoted; each asked first, each asked again."""
    common = {"settings": {**settings(machine), "steps": [0.1, 1.0]}, "actor": "job 17"}
    first = machine.run_canary()
    early = run("qsc_canary", check=True, state="raised", **common)
    assert early.failed and "is not safe yet: it is watched until" in early.data["msg"]
    machine.make_safe()
    wish = {"state": "raised", "confirm_full": True, **common}
    before = machine.files()
    asked = run("qsc_canary", check=True, diff=True, **wish).data
    assert (asked["changed"], asked["plan"]["action"], asked["plan"]["weight"]) == (True, "raise", 1.0)
    assert asked["record"]["since"] == {"id": "1768023800000-0", "entries_added": 9000}, "the gate's cutover"
    assert "lease" not in asked
    assert asked["diff"]["before"] == "xgb 28.125 %, lgbm 28.125 %, nhits 33.75 %, patchtst 10 %\n"
    assert asked["diff"]["after"] == "xgb 0 %, lgbm 0 %, nhits 0 %, patchtst 100 %\n"
    assert "all other models get weight 0" in asked["summary"]
    assert f"raised from 10 % to 100 %, a step of canary {first.id}" in asked["summary"]
    assert machine.files() == before

    armed = run("qsc_canary", gate=machine.step_gate(), **wish).data
    assert (armed["changed"], armed["record"]["state"], armed["plan"]["model"]) == (True, "arming", "patchtst")
    machine.write_dropin()
    machine.start_engine()
    marker = {"id": "1768045500000-0", "entries_added": 9000}
    active = run("qsc_canary", state="active", lease=armed["lease"], marker=marker, **common).data
    assert active["record"]["raised_from"] == first.id
    machine.write_verdict()
    for check in (True, False):
        again = run("qsc_canary", check=check, gate=machine.step_gate(), **wish).data
        assert (again["changed"], again["plan"]["action"]) == (False, "already_active")
        assert again["deadline"] == active["deadline"]
        assert again["rollback_cmd"].endswith(active["record"]["id"])

    machine.make_safe()
    before = machine.files()
    assert run("qsc_canary", check=True, **wish).data["plan"]["action"] == "promote"
    wish["state"] = "promoted"
    asked = run("qsc_canary", check=True, diff=True, **wish).data
    assert asked["changed"]
    assert asked["diff"]["before_header"] == str(machine.baseline_path)
    assert asked["diff"]["before"] == "xgb 25 %, lgbm 25 %, nhits 30 %, patchtst 20 %\n"
    assert asked["diff"]["after"] == "xgb 0 %, lgbm 0 %, nhits 0 %, patchtst 100 %\n"
    assert machine.files() == before
    done = run("qsc_canary", gate=machine.step_gate(), **wish).data
    assert (done["changed"], done["record"]["state"], done["proof"]["state"]) == (True, "promoted", "baseline")
    assert done["rollback_cmd"] == machine.ledger("promoted")[0]["rollback_cmd"]
    assert any("without a canary" in line for line in done["summary"])
    for check, state in ((True, "raised"), (False, "promoted"), (True, "promoted")):
        again = run("qsc_canary", check=check, gate={}, **{**wish, "state": state}).data
        assert (again["changed"], again["plan"]["action"]) == (False, "already_promoted")
        assert "was promoted at 2026-01-10T" in again["summary"][0]


@pytest.mark.parametrize("state", ["raised", "promoted"])
def test_a_promotion_takes_its_options(run: Run, machine: Machine, state: str) -> None:
    machine.run_canary()
    machine.make_safe()
    machine.time.sleep(100)
    machine.write_verdict()
    common = {"state": state, "settings": {**settings(machine), "steps": [0.1]}, "gate": machine.step_gate()}
    for values, word in (
        ({"model": "xgb"}, "model=xgb is not the canary of this host"),
        ({"max_verdict_age_s": 60.0}, "is stale: safe since"),
        ({"promoted_weights": {"xgb": 1.0}}, "patchtst has no weight in them"),
        ({"promoted_weights": {"patchtst": 1.0}}, "all other models get weight 0"),
    ):
        result = run("qsc_canary", **common, **values)
        assert result.failed
        assert word in result.data["msg"]


# --- qsc_rollout


def test_a_rollout_and_what_is_said_about_it(run: Run, machine: Machine) -> None:
    common = {"settings": {**settings(machine), "approvals": [0.25]}, "actor": "job 17"}
    wish = {"state": "decided", "model": "patchtst", "baseline_path": str(machine.baseline_path), **common}
    before = machine.files()
    found = run("qsc_rollout", **wish).data
    assert (found["changed"], found["decision"]["action"], found["decision"]["share"]) == (False, "activate", 0.1)
    assert found["summary"] == ["next: patchtst is activated at 10 %, the first step"]
    assert machine.files() == before
    record = machine.run_canary()
    machine.make_safe()
    found = run("qsc_rollout", **wish).data
    decision = found["decision"]
    assert (decision["action"], decision["share"], decision["number"], decision["of"]) == ("wait", 0.25, 1, 4)
    assert (decision["canary_id"], decision["until_time"][:14]) == (record.id, "2026-01-11T12:")
    assert "needs an approval" in decision["sentence"]

    words: list[tuple[dict[str, t.Any], str]] = [
        ({"state": "paused", "reason": "earnings week"}, '"reason": "earnings week"'),
        ({"state": "approved", "share": 0.25}, '"step": 0.25'),
        ({"state": "resumed"}, '"paused": null'),
    ]
    for values, part in words:
        before = machine.files()
        would = run("qsc_rollout", check=True, diff=True, **values, **common)
        assert machine.files() == before
        done = run("qsc_rollout", diff=True, **values, **common)
        assert would.data["changed"] and done.data["changed"]
        assert part in done.data["diff"]["after"] and part not in done.data["diff"]["before"]
        assert would.data["diff"]["before"] == done.data["diff"]["before"]
        before = machine.files()
        for check in (True, False):
            again = run("qsc_rollout", check=check, diff=True, **values, **common)
            assert not again.data["changed"]
            assert again.data["diff"]["before"] == again.data["diff"]["after"]
        assert machine.files() == before
    assert run("qsc_rollout", **wish).data["decision"]["action"] == "raise"
    (entry,) = machine.ledger("rollout_approved")
    assert "(ansible: job 17)" in entry["actor"]

    would = run("qsc_rollout", check=True, state="aborted", **common)
    assert would.data["changed"] and any(record.id in line for line in would.data["summary"])
    assert machine.record().state == "active"
    done = run("qsc_rollout", state="aborted", reason="odd fills", **common)
    assert done.data["changed"]
    assert (done.data["proof"]["state"], done.data["record"]["trigger"]) == ("baseline", "aborted")
    for check in (True, False):
        assert not run("qsc_rollout", check=check, state="aborted", **common).data["changed"]
    machine.events.clear()
    assert run("qsc_rollout", **wish).data["decision"]["action"] == "stopped"


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"state": "approved"}, "share"),
        ({"state": "paused"}, "reason"),
        ({"state": "approved", "share": 0.25}, "no canary on this host that could be raised"),
        ({"state": "decided", "model": "patchtst"}, "the baseline is missing"),
        ({"state": "decided", "model": "pa tchtst", "baseline": BASELINE}, "is not a model's name"),
        ({"state": "decided", "model": "x", "baseline": BASELINE, "baseline_path": "/x"}, "mutually exclusive"),
        ({"state": "decided", "settings": {"approvals": [0.3]}}, "is none of the steps"),
        ({"state": "decided", "settings": {"freeze_windows": [{}]}}, "lacks from"),
    ],
)
def test_a_rollout_refused(run: Run, machine: Machine, values: dict[str, t.Any], word: str) -> None:
    result = run("qsc_rollout", **{"settings": settings(machine), **values})
    assert result.failed
    assert word in result.data["msg"]
    assert "Traceback" not in result.output


def test_a_broken_state_of_the_rollout_fails_each_question(run: Run, machine: Machine) -> None:
    machine.paths.rollout.write_text('{"paused": null}')
    for values in ({"state": "decided"}, {"state": "paused", "reason": "x"}, {"state": "resumed"}):
        result = run("qsc_rollout", settings=settings(machine), **values)
        assert result.failed and f"rm {machine.paths.rollout}" in result.data["msg"]
        assert "Traceback" not in result.output


def test_an_activation_that_is_only_accepted_says_so(run: Run, machine: Machine) -> None:
    machine.acknowledges = False
    common = {"settings": {**settings(machine), "accept_unproven": True}}
    armed = run("qsc_canary", state="armed", model="patchtst", baseline=BASELINE, gate=machine.gate(), **common).data
    machine.write_dropin()
    machine.start_engine()
    active = run("qsc_canary", state="active", lease=armed["lease"], marker={"id": "1-0"}, **common).data
    assert any("NOT PROVEN" in line for line in active["summary"])


@pytest.mark.parametrize(
    ("values", "word", "error"),
    [
        ({"state": "armed", "model": "patchtst", "gate": {}}, "the baseline is missing", "BadInput"),
        ({"state": "armed", "model": "patchtst", "baseline": BASELINE}, "the gate's answer is missing", "Refused"),
        ({"state": "armed"}, "model", None),
        ({"state": "active"}, "lease", None),
        ({"state": "active", "lease": {"id": "x", "owner": "y", "generation": 1}}, "marker", None),
        ({"state": "active", "lease": {"id": "x"}, "marker": {}}, "generation", None),
        (
            {"state": "active", "lease": {"id": "x", "owner": "y", "generation": 1}, "marker": {"id": "1-0"}},
            "the record is gone",
            "LeaseLost",
        ),
        ({"state": "armed", "model": "patchtst", "weight": 0.0, "baseline": BASELINE}, "weight=0.0", "BadInput"),
        ({"state": "flying"}, "value of state must be one of", None),
    ],
)
def test_canary_refused(run: Run, machine: Machine, values: dict[str, t.Any], word: str, error: str | None) -> None:
    before = machine.files()
    result = run("qsc_canary", settings=settings(machine), **values)
    assert result.failed
    assert word in result.data["msg"]
    assert result.data.get("error") == error
    assert "Traceback" not in result.output
    assert machine.files() == before


def test_info_waits_for_the_checks_of_a_run(run: Run, machine: Machine) -> None:
    record = machine.activate(machine.armed_and_restarted())
    common = {"settings": settings(machine), "wait_checks": 2, "canary_id": record.id}
    begin = machine.time.boot
    early = run("qsc_canary_info", **common, timeout_s=31)
    followed = early.data["followed"]
    assert not early.failed
    assert machine.time.boot - begin == pytest.approx(31)
    other = run("qsc_canary_info", **{**common, "canary_id": "patchtst-another"}).data["followed"]
    assert (other["canary_id"], other["ended"], other["check"]) == ("patchtst-another", True, [])
    assert (followed["reached"], followed["ended"], followed["checks"], followed["check"]) == (False, False, 0, [])

    machine.time.at(30, lambda: machine.write_verdict(checks_done=1, checks_judged=1))
    machine.time.at(60, lambda: machine.write_verdict(checks_done=2, checks_judged=2))
    before = machine.files()
    second = run("qsc_canary_info", check=True, **common).data
    followed = second["followed"]
    assert {name for name in before if machine.files()[name] != before[name]} <= {str(machine.paths.verdict)}
    assert not second["changed"]
    assert second["verdict"]["checks_done"] == 2
    assert (followed["canary_id"], followed["checks"], followed["reached"], followed["end"]) == (record.id, 2, True, "")
    assert followed["check"][0].startswith("check 2 at 20")
    assert followed["ahead"][-1] == 'qsc rollback --reason "..."'

    assert not run("qsc_canary", state="rolled_back", reason="maintenance", settings=settings(machine)).failed
    over = run("qsc_canary_info", **{**common, "wait_checks": 3}).data["followed"]
    assert (over["ended"], over["reached"], over["ahead"]) == (True, True, [])
    assert "ended terminated (manual: maintenance). BACK AT THE BASELINE: pid " in over["end"]
    assert "followed" not in run("qsc_canary_info", settings=settings(machine)).data


def test_info_refuses_a_time_nobody_would_wait(run: Run, machine: Machine) -> None:
    machine.run_canary()
    for timeout_s in (-1, 1e9):
        result = run("qsc_canary_info", settings=settings(machine), wait_checks=1, timeout_s=timeout_s)
        assert result.failed
        assert f"timeout_s={timeout_s:g}. Give seconds from 0 to 86400." in result.data["msg"]


def test_a_refusal_gives_reason_and_remedy_apart(run: Run, machine: Machine) -> None:
    machine.run_canary()
    result = run(
        "qsc_canary", state="armed", model="xgb", baseline=BASELINE, gate=machine.gate(), settings=settings(machine)
    )
    assert result.failed
    assert result.data["remedy"].endswith(f"qsc rollback --id {machine.record().id}")
    assert result.data["msg"] == f"{result.data['reason']}. {result.data['remedy']}"


@pytest.mark.parametrize("name", ["qsc_canary", "qsc_canary_info"])
def test_without_settings_the_installed_ones_are_taken(run: Run, machine: Machine, name: str) -> None:
    values = {"state": "rolled_back"} if name == "qsc_canary" else {}
    result = run(name, **values)
    assert result.failed
    assert "config.json does not exist" in result.data["msg"]
    machine.paths.config.parent.mkdir(parents=True)
    machine.paths.config.write_text(json.dumps(settings(machine)))
    assert not run(name, **values).failed


def test_a_system_error_is_one_sentence(run: Run, machine: Machine) -> None:
    machine.paths.lock.mkdir()
    result = run("qsc_canary", state="rolled_back", settings=settings(machine))
    assert result.failed
    assert "Is a directory" in result.data["msg"]
    assert "Traceback" not in result.output


# --- qsc_agent


@pytest.fixture
def small_agent(monkeypatch: pytest.MonkeyPatch, machine: Machine) -> None:
    """An agent of one empty file: what it is does not matter here."""
    monkeypatch.setattr(agent, "sources", lambda: {"run.py": b""})
    monkeypatch.setattr(agent, "digest_in", lambda folder: folder.name if (folder / "run.py").exists() else "")


@pytest.mark.usefixtures("small_agent")
def test_agent(run: Run, machine: Machine) -> None:
    values = {"settings": settings(machine), "redis_password": SECRET}
    before = machine.files()
    planned = run("qsc_agent", check=True, diff=True, **values)
    assert planned.data["changed"]
    assert machine.files() == before
    done = run("qsc_agent", diff=True, **values)
    assert done.data["changes"] == planned.data["changes"]
    assert done.data["digest"] == DIGEST
    assert machine.paths.password.read_text() == SECRET
    assert SECRET not in planned.output + done.output
    again = run("qsc_agent", diff=True, **values)
    assert (again.data["changed"], again.data["changes"]) == (False, [])
    gone = run("qsc_agent", check=True, state="absent")
    assert gone.data["changed"]
    assert machine.paths.config.exists()
    assert run("qsc_agent", state="absent").data["changed"]
    assert not machine.paths.config.exists()
    assert not run("qsc_agent", state="absent").data["changed"]


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({}, "settings"),
        ({"settings": {"min_event": 5}}, "unknown option 'min_event'"),
        ({"settings": {}, "redis_password": f"{SECRET}\nx"}, "contains a line end"),
    ],
)
def test_agent_refused(run: Run, machine: Machine, values: dict[str, t.Any], word: str) -> None:
    before = machine.files()
    result = run("qsc_agent", **values)
    assert result.failed
    assert word in result.data["msg"]
    assert SECRET not in result.output
    assert machine.files() == before


@pytest.mark.usefixtures("small_agent")
def test_agent_info(run: Run, machine: Machine) -> None:
    """What the installation would do, without its code; nothing once it has been done."""
    values = {"settings": settings(machine), "redis_password": SECRET}
    asked = {**values, "agent_digest": agent.digest(), "libraries": ["json"], "user": "nobody"}
    before = machine.files()
    found = run("qsc_agent_info", **asked)
    assert machine.files() == before
    assert (found.data["changed"], found.data["current"]) == (False, False)
    done = run("qsc_agent", **values)
    assert found.data["changes"] == done.data["changes"]
    again = run("qsc_agent_info", **asked)
    assert (again.data["current"], again.data["changes"]) == (True, [])
    for other, says in (
        ({"agent_digest": "0" * 16}, f"agent {agent.digest()} -> {'0' * 16}"),
        ({"redis_password": "another"}, f"credential {machine.paths.password}"),
        ({"libraries": ["json", "nosuchlibrary"]}, "library nosuchlibrary"),
        ({"user": "nosuchuser"}, "user nosuchuser"),
        ({"user": "root"}, "user root"),
        ({"units": {"qsc-watchdog.timer": "[Timer]\n"}}, f"unit {machine.paths.units / 'qsc-watchdog.timer'}"),
    ):
        differs = run("qsc_agent_info", **{**asked, **other})
        assert (differs.data["current"], differs.data["changed"]) == (False, False)
        assert says in differs.data["changes"]
        assert SECRET not in differs.output


@pytest.mark.usefixtures("small_agent")
def test_agent_info_refuses_what_the_installation_would(run: Run, machine: Machine) -> None:
    values = {"settings": settings(machine), "redis_password": SECRET}
    run("qsc_agent", **values)
    record = machine.run_canary()
    asked = {"settings": {**values["settings"], "interval_s": 77.0}, "agent_digest": agent.digest()}
    result = run("qsc_agent_info", **asked)
    assert result.failed
    assert f"canary {record.id} is in flight" in result.data["msg"]


def test_agent_needs_systemd(run: Run, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd, "booted", lambda: False)
    for name, more in (("qsc_agent", {}), ("qsc_agent_info", {"agent_digest": "0123"})):
        result = run(name, settings=settings(machine), **more)
        assert result.failed
        assert "not booted with systemd" in result.data["msg"]


def test_agent_stays_while_a_canary_is_in_flight(run: Run, machine: Machine) -> None:
    record = machine.run_canary()
    result = run("qsc_agent", state="absent")
    assert result.failed
    assert record.id in result.data["msg"]
    assert machine.record() == record


# --- qsc_gate_report

REFUSAL = {
    "passed": False,
    "exit_code": 2,
    "mode": "canary",
    "events": 400,
    "reason": "patchtst \x1b[31mfailed",
    "report": "# Gate\n",
    "cutover": {"time": "2026-01-10T05:43:15Z"},
    "window": {"first_id": "1-0", "last_id": "2-0"},
    "models": {"patchtst": {"violations": [vars(COLLAPSE)]}},
    "ensemble": {"violations": [{"message": "Agreement 40.0% (<55%)"}]},
    "blockers": ["xgb: invalid action", {"message": "lgbm: NaN"}],
}


def test_a_refused_gate_is_logged(run: Run, machine: Machine) -> None:
    result = run("qsc_gate_report", model="patchtst", gate=REFUSAL, settings=settings(machine))
    assert (result.data["changed"], result.data["refused"]) == (False, True)
    assert machine.paths.gate_report.read_text() == "# Gate\n"
    (entry,) = machine.ledger()
    assert (entry["action"], entry["canary_model"], entry["quality_gate_events"]) == ("gate_refused", "patchtst", 400)
    assert entry["cutover_ts"] == "2026-01-10T05:43:15Z"
    assert entry["violations"] == [
        f"patchtst: {COLLAPSE.message}", "Agreement 40.0% (<55%)", "xgb: invalid action", "lgbm: NaN",
    ]  # fmt: skip
    assert entry["reason"].isprintable()


@pytest.mark.parametrize(
    ("changes", "logged"),
    [({"passed": True}, 0), ({"mode": "collection"}, 0), ({"passed": "yes"}, 1), ({"passed": 1}, 1), ({}, 1)],
)
def test_which_gates_are_logged(run: Run, machine: Machine, changes: dict[str, t.Any], logged: int) -> None:
    run("qsc_gate_report", model="patchtst", gate={**REFUSAL, **changes}, settings=settings(machine))
    assert len(machine.ledger("gate_refused")) == logged
    assert machine.paths.gate_report.exists()


def test_gate_report_in_check_mode(run: Run, machine: Machine) -> None:
    before = machine.files()
    result = run("qsc_gate_report", check=True, model="patchtst", gate=REFUSAL, settings=settings(machine))
    assert result.data["refused"]
    assert machine.files() == before


@pytest.mark.parametrize("gate", [{}, {"models": None, "ensemble": None, "blockers": None, "report": None}])
def test_a_gate_that_broke_off_is_kept_too(run: Run, machine: Machine, gate: dict[str, t.Any]) -> None:
    result = run("qsc_gate_report", model="patchtst", gate=gate, settings=settings(machine))
    assert not result.failed
    assert machine.ledger("gate_refused")[0]["reason"] == "the gate did not pass"


# --- qsc_hook

PAUSE, GO_ON = "/usr/bin/true", "/usr/bin/false"


def hook_settings(machine: Machine) -> dict[str, t.Any]:
    return {**settings(machine), "pre_restart": f"{PAUSE}", "post_restart": GO_ON, "hook_timeout_s": 3.0}


@pytest.fixture
def no_rights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "check", lambda _host: None)


@pytest.mark.usefixtures("no_rights")
def test_a_hook_runs_once_where_it_is_due(run: Run, machine: Machine) -> None:
    values = {"settings": hook_settings(machine), "event": "activate", "model": "patchtst", "weight": 0.1}
    result = run("qsc_hook", hook="pre_restart", actor="job 7", **values)
    assert (result.failed, result.data["changed"], result.data["ran"]) == (False, True, True)
    assert run("qsc_hook", hook="post_restart", **values).data["changed"]
    after = run("qsc_hook", hook="post_restart", **values)
    assert (after.data["changed"], after.data["ran"]) == (False, False)
    assert [program for program, _variables in machine.commands] == [PAUSE, GO_ON]
    assert machine.commands[0][1]["QSC_CANARY_MODEL"] == "patchtst"
    assert "job 7" in machine.ledger("hook_run")[0]["actor"]


@pytest.mark.usefixtures("no_rights")
@pytest.mark.parametrize("hook", ["pre_restart", "post_restart", "reload"])
def test_a_hook_in_check_mode_runs_nothing(run: Run, machine: Machine, hook: str) -> None:
    before = machine.files()
    result = run("qsc_hook", check=True, hook=hook, settings=hook_settings(machine))
    assert (result.data["changed"], result.data["ran"]) == (hook != "reload", False)
    assert (machine.files(), machine.commands) == (before, [])


@pytest.mark.usefixtures("no_rights")
def test_hooks_that_fail_fail_the_module_in_one_sentence(run: Run, machine: Machine) -> None:
    machine.exit_status[PAUSE] = 3
    result = run("qsc_hook", hook="pre_restart", settings=hook_settings(machine))
    assert result.failed
    assert result.data["msg"].startswith("the pre-restart hook failed with status 3 (no exchange)")
    machine.exit_status = {GO_ON: 1}
    run("qsc_hook", hook="pre_restart", settings=hook_settings(machine))
    result = run("qsc_hook", hook="post_restart", settings=hook_settings(machine))
    assert result.failed
    assert "what was paused may still be paused" in result.data["msg"]


def test_a_hook_that_does_not_exist_is_refused_by_name(run: Run, machine: Machine) -> None:
    values = {**settings(machine), "pre_restart": "/nowhere/pause"}
    result = run("qsc_hook", hook="pre_restart", settings=values)
    assert result.failed
    assert "qsc_canary_pre_restart=/nowhere/pause cannot be run on this host: No such file" in result.data["msg"]


def test_the_info_tells_what_a_run_came_to(run: Run, machine: Machine) -> None:
    """In the words a play waits for, by the rule that `qsc status --watch --timeout` goes by."""

    def ended() -> str:
        return str(run("qsc_canary_info", settings=settings(machine)).data["ended"])

    assert ended() == "none"
    machine.run_canary()
    assert ended() == ""
    machine.make_safe()
    assert ended() == "safe"
    assert not run("qsc_canary", state="rolled_back", settings=settings(machine)).failed
    assert ended() == "safe"  # it was, before somebody ended it


def test_a_run_that_somebody_ended_early_was_never_decided(run: Run, machine: Machine) -> None:
    machine.run_canary()
    assert not run("qsc_canary", state="rolled_back", settings=settings(machine)).failed
    assert run("qsc_canary_info", settings=settings(machine)).data["ended"] == "undecided"


def test_evidence(run: Run, machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a check there are no decisions, and the archive says so."""
    monkeypatch.setattr(systemd, "journal", lambda *_units, **_bounds: (b'{"MESSAGE":"hello"}\n', False))
    path = tmp_path / "evidence.tar.gz"
    refused = run("qsc_evidence", settings=settings(machine), path=str(path))
    assert refused.failed
    assert "no canary ever ran on this host" in refused.data["msg"]
    canary = machine.run_canary()
    planned = run("qsc_evidence", check=True, settings=settings(machine), path=str(path))
    assert (planned.data["changed"], path.exists()) == (True, False)
    done = run("qsc_evidence", settings=settings(machine), path=str(path)).data
    assert (done["changed"], done["canary_id"], done["path"]) == (True, canary.id, str(path))
    found = bundle.read(path)
    assert found.members["journal.jsonl"] == b'{"MESSAGE":"hello"}\n'
    assert json.loads(found.members["record.json"])["id"] == done["canary_id"]
    assert "no check of this run was logged" in done["absent"]["checks.jsonl"]
    assert any(line.startswith("absent: decisions.jsonl") for line in done["summary"])
    assert machine.host.ledger.tail(1)[0]["sha256"] == done["sha256"]
    without = run("qsc_evidence", settings=settings(machine), path=str(path), journal=False).data
    assert without["absent"]["journal.jsonl"] == "left out on request"
    other = run("qsc_evidence", settings=settings(machine), path="/nowhere/x")
    assert "is not a file in a folder that exists" in other.data["msg"]
