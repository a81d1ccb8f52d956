# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent put on a host below a temporary folder: idempotent, switched by one rename, and it really runs."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import typing as t
from dataclasses import fields
from pathlib import Path

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc import agent, ledger
from ansible_collections.qsc.canary.plugins.module_utils.qsc import record as records
from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import BadInput, RecordUnreadable, Refused
from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard import install as i
from ansible_collections.qsc.canary.plugins.module_utils.qsc.guard import installed
from ansible_collections.qsc.canary.plugins.module_utils.qsc.ledger import Ledger, verify
from ansible_collections.qsc.canary.plugins.module_utils.qsc.settings import OPERATOR_KEYS, Paths, Settings
from helpers.samples import UNIT, make_record

SECRET = "hunter2-secret"
SETTINGS = Settings.from_dict({"min_events": 50})


def no_space(*_arguments: object) -> t.NoReturn:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    monkeypatch.setattr(os, "fsync", lambda _handle: None)
    return Paths(tmp_path / "host")


@pytest.fixture
def few_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small package: these tests are about switching, not about its content."""
    version(monkeypatch, 1)


def version(monkeypatch: pytest.MonkeyPatch, number: int) -> str:
    """From now on the collection carries another version; its digest."""
    sources = {"run.py": f"print({number})\n".encode(), "qsc/__init__.py": b""}
    monkeypatch.setattr(agent, "sources", lambda: sources)
    monkeypatch.setattr(agent, "FILES", ("__init__.py",))
    return agent.digest()


def everything(paths: Paths) -> dict[str, t.Any]:
    found: dict[str, t.Any] = {}
    for path in sorted(paths.prefix.rglob("*")):
        status = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[str(path)] = (content, stat.S_IMODE(status.st_mode), status.st_mtime_ns)
    return found


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_install(paths: Paths, umask: int) -> None:
    """On a host whose root has a strict umask the monitor's user must still reach the code."""
    before = os.umask(umask)
    try:
        planned = installed.plan(SETTINGS, SECRET, paths)
        assert not paths.prefix.exists(), "a plan changes nothing"
        assert i.install(SETTINGS, SECRET, paths) == planned
    finally:
        os.umask(before)
    digest = agent.digest()
    assert planned[0] == f"agent none -> {digest}"
    folder = paths.agent_root / digest
    assert agent.installed_digest(paths) == digest
    assert {name: (folder / name).read_bytes() for name in agent.sources()} == agent.sources()
    assert Settings.load(paths.config).to_dict() == {
        **SETTINGS.to_dict(),
        "ignore_models": ["fallback"],
        "steps": [0.1, 0.25, 0.5, 1.0],
        "approvals": [],
        "model_artifacts": [],
        "freeze_windows": [],
    }
    assert paths.password.read_text() == SECRET
    assert mode(paths.password) == 0o600
    assert mode(paths.config) == 0o644
    folders = (paths.agent_root, folder, folder / "qsc", folder / "qsc" / "guard", paths.config.parent, paths.state)
    for path in (*folders, paths.run, paths.ledger.parent, paths.dropin(UNIT).parent):
        assert mode(path) == 0o755, path
    for name in agent.sources():
        assert mode(folder / name) == (0o755 if name == "run.py" else 0o644)
    assert os.readlink(paths.command) == "../lib/qsc_canary/current/run.py"
    assert list(folder.rglob("*.pyc")), "not byte-compiled"
    assert [path.name for path in paths.agent_root.iterdir() if path.name.startswith(".")] == []


def test_what_is_installed_runs(paths: Paths, clean_environment: dict[str, str]) -> None:
    i.install(SETTINGS, "", paths)
    done = subprocess.run(
        [sys.executable, "-I", str(paths.command), "--help"],
        env=clean_environment,
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "qsc rollback" in done.stdout
    assert not (paths.agent_root / agent.digest() / "__pycache__" / "run.cpython.pyc").exists()


def test_twice(paths: Paths) -> None:
    i.install(SETTINGS, SECRET, paths)
    before = everything(paths)
    assert installed.plan(SETTINGS, SECRET, paths) == []
    assert i.install(SETTINGS, SECRET, paths) == []
    assert everything(paths) == before


CHANGES: t.Mapping[str, tuple[t.Callable[[Paths], object], str]] = {
    "code": (lambda paths: (current(paths) / "run.py").write_text("evil"), "was changed by hand: repaired"),
    "file removed": (lambda paths: (current(paths) / "qsc/__init__.py").unlink(), "was changed by hand: repaired"),
    "link": (lambda paths: (paths.agent_root / "current").unlink(), "agent none -> "),
    "settings": (lambda paths: paths.config.write_text("{}"), "settings "),
    "settings removed": (lambda paths: paths.config.unlink(), "settings "),
    "password": (lambda paths: paths.password.write_text("other"), "credential "),
    "password readable by all": (lambda paths: paths.password.chmod(0o644), "credential "),
    "password removed": (lambda paths: paths.password.unlink(), "credential "),
    "command": (lambda paths: paths.command.unlink(), "command "),
    "command a file": (
        lambda paths: (paths.command.unlink(), paths.command.write_text("evil")),
        "command ",
    ),
    "folder": (lambda paths: paths.run.rmdir(), "folder "),
    "folder for everybody": (lambda paths: paths.config.parent.chmod(0o777), "was open to others: repaired"),
    "state for a group": (lambda paths: paths.state.chmod(0o775), "was open to others: repaired"),
}


def current(paths: Paths) -> Path:
    return paths.agent_root / agent.installed_digest(paths)


if os.geteuid() == 0:
    CHANGES = {
        **CHANGES,
        "password of another": (lambda paths: os.chown(paths.password, 12345, 0), "credential "),
        "folder of another": (lambda paths: os.chown(paths.agent_root, 12345, 0), "was open to others: repaired"),
    }


@pytest.mark.parametrize("case", CHANGES)
@pytest.mark.usefixtures("few_files")
def test_what_was_changed_by_hand_is_repaired(paths: Paths, case: str) -> None:
    change, sentence = CHANGES[case]
    i.install(SETTINGS, SECRET, paths)
    change(paths)
    changes = installed.plan(SETTINGS, SECRET, paths)
    assert len(changes) == 1, changes
    assert sentence in changes[0]
    assert i.install(SETTINGS, SECRET, paths) == changes
    assert installed.plan(SETTINGS, SECRET, paths) == []
    assert mode(paths.password) == 0o600
    assert {name: (current(paths) / name).read_bytes() for name in agent.sources()} == agent.sources()


@pytest.mark.usefixtures("few_files")
def test_the_password_is_in_no_sentence(paths: Paths) -> None:
    told = [
        *installed.plan(SETTINGS, SECRET, paths),
        *i.install(SETTINGS, SECRET, paths),
        *installed.plan(SETTINGS, "other", paths),
    ]
    assert told
    assert SECRET not in "\n".join(told)
    assert [path for path in paths.prefix.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()] == [
        paths.password
    ]


@pytest.mark.parametrize("password", ["two\nlines", "nul\0"])
@pytest.mark.parametrize("action", [installed.plan, i.install])
@pytest.mark.usefixtures("few_files")
def test_a_password_of_two_lines(paths: Paths, password: str, action: t.Callable[..., object]) -> None:
    with pytest.raises(BadInput) as caught:
        action(SETTINGS, password, paths)
    assert password not in str(caught.value)
    assert not paths.prefix.exists()


def test_an_upgrade_keeps_the_agent_of_a_running_check(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = []
    for number in range(4):
        digests.append(version(monkeypatch, number))
        i.install(SETTINGS, "", paths)
        kept = {path.name for path in paths.agent_root.iterdir() if path.is_dir() and not path.is_symlink()}
        assert kept == set(digests[-2:])
        assert agent.installed_digest(paths) == digests[-1]


def test_a_step_back_and_forth_keeps_the_agent_of_a_running_check(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent in use before is kept whatever the age of its folder, and whatever a crash left lying about."""
    for number in (1, 2, 1):
        before = version(monkeypatch, number)
        i.install(SETTINGS, "", paths)
    (paths.agent_root / ".new-99").mkdir()
    os.utime(paths.agent_root / before, (1, 1))
    after = version(monkeypatch, 3)
    i.install(SETTINGS, "", paths)
    kept = {path.name for path in paths.agent_root.iterdir() if path.is_dir() and not path.is_symlink()}
    assert kept == {before, after}


def test_a_step_back_uses_what_is_there(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    first = version(monkeypatch, 1)
    i.install(SETTINGS, "", paths)
    inode = (paths.agent_root / first).stat().st_ino
    version(monkeypatch, 2)
    i.install(SETTINGS, "", paths)
    version(monkeypatch, 1)
    i.install(SETTINGS, "", paths)
    assert agent.installed_digest(paths) == first
    assert (paths.agent_root / first).stat().st_ino == inode


def test_the_link_is_moved_by_one_rename(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed at any step, `current` leads to one whole agent or the other."""
    version(monkeypatch, 1)
    i.install(SETTINGS, "", paths)
    version(monkeypatch, 2)
    real = os.replace
    seen: list[bool] = []

    def replace(source: t.Any, target: t.Any) -> None:
        seen.append((paths.agent_root / "current" / "run.py").exists())
        real(source, target)
        seen.append((paths.agent_root / "current" / "run.py").exists())

    monkeypatch.setattr(os, "replace", replace)
    i.install(SETTINGS, "", paths)
    assert seen
    assert all(seen)


@pytest.mark.parametrize("step", ["replace", "symlink"])
def test_a_full_disk_leaves_the_old_agent(paths: Paths, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    first = version(monkeypatch, 1)
    i.install(SETTINGS, "", paths)
    version(monkeypatch, 2)

    def fail(*_arguments: object, **_options: object) -> t.NoReturn:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, step, fail)
        with pytest.raises(OSError):
            i.install(SETTINGS, "", paths)
    assert agent.installed_digest(paths) == first
    assert (paths.agent_root / "current" / "run.py").exists()
    i.install(SETTINGS, "", paths)
    assert installed.plan(SETTINGS, "", paths) == []


# --- uninstall


@pytest.mark.usefixtures("few_files")
def test_uninstall_leaves_the_ledger_alone(paths: Paths) -> None:
    i.install(SETTINGS, SECRET, paths)
    records.save(paths.record, make_record(state="rolled_back"))
    Ledger.at(paths).append("canary_activated", {}, wall=0.0)
    before = everything(paths)
    planned = i.uninstall(paths, dry_run=True)
    assert everything(paths) == before
    assert i.uninstall(paths) == planned
    left = [path for path in paths.prefix.rglob("*") if not path.is_dir()]
    assert sorted(left) == sorted([paths.ledger, paths.ledger_anchor])
    found = verify(Ledger.at(paths))
    assert (found.entries, found.problems) == (1, []), "its anchor is a part of it"
    assert not paths.dropin(UNIT).parent.exists()
    assert i.uninstall(paths) == []


@pytest.mark.usefixtures("few_files")
@pytest.mark.parametrize("dry_run", [True, False])
def test_uninstall_loses_no_entry_that_waits(paths: Paths, monkeypatch: pytest.MonkeyPatch, dry_run: bool) -> None:
    i.install(SETTINGS, SECRET, paths)
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "_write_all", no_space)
        Ledger.at(paths).append("rollback_executed", {}, wall=0.0)
    before = everything(paths)
    with pytest.raises(Refused, match=r"wait in .*ledger_pending\.jsonl: 1") as caught:
        i.uninstall(paths, dry_run=dry_run)
    assert "Make room" in caught.value.remedy
    assert everything(paths) == before
    Ledger.at(paths).flush(wall=0.0)
    i.uninstall(paths)
    assert not paths.command.exists()


@pytest.mark.usefixtures("few_files")
def test_uninstall_keeps_the_drop_ins_of_others(paths: Paths) -> None:
    i.install(SETTINGS, SECRET, paths)
    other = paths.dropin(UNIT).with_name("memory.conf")
    other.write_text("[Service]\n")
    i.uninstall(paths)
    assert other.exists()


@pytest.mark.usefixtures("few_files")
def test_uninstall_with_damaged_settings(paths: Paths) -> None:
    i.install(SETTINGS, SECRET, paths)
    paths.config.write_text("{")
    i.uninstall(paths)
    assert not paths.config.exists()


@pytest.mark.parametrize("state", ["arming", "active", "rolling_back"])
@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.usefixtures("few_files")
def test_a_canary_in_flight_keeps_its_guards(paths: Paths, state: str, dry_run: bool) -> None:
    i.install(SETTINGS, SECRET, paths)
    records.save(paths.record, make_record(state=state))
    before = everything(paths)
    with pytest.raises(Refused, match=make_record().id) as caught:
        i.uninstall(paths, dry_run=dry_run)
    assert "rollback.yml" in caught.value.remedy
    assert everything(paths) == before


@pytest.mark.usefixtures("few_files")
def test_an_unreadable_record_keeps_the_guards(paths: Paths) -> None:
    i.install(SETTINGS, SECRET, paths)
    paths.record.write_text("{")
    with pytest.raises(RecordUnreadable):
        i.uninstall(paths)
    assert paths.command.is_symlink()


def test_without_a_password_the_credential_on_the_host_is_kept(tmp_path: Path) -> None:
    """A play without the password in its environment must not cut a watching monitor off from its telemetry."""
    paths = Paths(tmp_path)
    i.install(Settings(), "secret", paths)
    assert i.install(Settings(), None, paths) == []
    assert paths.password.read_bytes() == b"secret"
    assert i.install(Settings(), "", paths)
    assert paths.password.read_bytes() == b""


def test_without_any_password_the_credential_file_exists(tmp_path: Path) -> None:
    """LoadCredential fails a unit whose file is missing."""
    paths = Paths(tmp_path)
    i.install(Settings(), None, paths)
    assert paths.password.read_bytes() == b""
    assert paths.password.stat().st_mode & 0o777 == 0o600


def _with_a_run(paths: Paths, settings: Settings, **changes: t.Any) -> None:
    i.install(settings, "secret", paths)
    records.save(paths.record, make_record(**changes))


@pytest.mark.parametrize("state", ["arming", "active", "rolling_back"])
def test_the_settings_of_a_run_in_flight_do_not_change(tmp_path: Path, state: str) -> None:
    """The monitor of a run reads the connection from the settings: another play must not point it elsewhere."""
    paths = Paths(tmp_path)
    _with_a_run(paths, Settings(), state=state)
    other = Settings(connection={"login_port": 6380})
    for action in (installed.plan, i.install):
        with pytest.raises(Refused, match="the settings of its guards cannot change now"):
            action(other, "secret", paths)
    assert Settings.load(paths.config).connection == {}


OTHERS: dict[str, t.Any] = {  # of each setting a value that is not the default one
    "environment": {"weights": "W", "model": "M", "traffic": "T", "ack": "A"}, "connection": {"login_port": 6380},
    "match": {"a": "b"}, "aliases": {"a": "b"}, "ignore_models": ["x"], "limits": {"start_grace": 1.0},
    "engine_unit": "other.service", "stream": "other", "policy": "sequential", "inconclusive": "hold",
    "accept_unproven": True, "baseline_path": "/srv/x.json", "weights_field": "w", "on_reboot": "resume",
    "baseline_drift": "keep", "stale_after": 77.0, "max_wait": 77.0, "required_checks": 0.77, "stability_s": 7.0,
    "own_checks": True, "model_artifacts": ["/srv/m.pt"], "vote": "weight_only", "rollback_to": "previous_step",
    "pre_restart": "/bin/x", "post_restart": "/bin/x", "reload_command": "/bin/x",
    "steps": [0.05, 0.5], "approvals": [0.25],
    "freeze_windows": [{"from": "22:00", "to": "06:00", "timezone": "UTC"}],
}  # fmt: skip


@pytest.mark.parametrize("key", [item.name for item in fields(Settings)])
def test_what_an_operator_may_change_during_a_run(tmp_path: Path, key: str) -> None:
    """How far and when an operator goes on, and nothing else: whoever adds a setting has to decide."""
    paths = Paths(tmp_path)
    _with_a_run(paths, Settings(), state="active")
    before = Settings().to_dict()[key]
    other = Settings.from_dict({key: OTHERS[key] if key in OTHERS else before + 1})
    assert other.to_dict()[key] != before
    assert OPERATOR_KEYS == ("approvals", "freeze_windows", "steps"), "more needs a reason: a guard must never read it"
    if key in OPERATOR_KEYS:
        assert i.install(other, "secret", paths) == [f"settings {paths.config}"]
        assert Settings.load(paths.config).to_dict()[key] == other.to_dict()[key]
    else:
        with pytest.raises(Refused, match="the settings of its guards cannot change now"):
            i.install(other, "secret", paths)


def test_no_guard_of_a_run_reads_what_an_operator_may_change() -> None:
    core = Path(i.__file__).parent.parent
    judges = [f"judge/{path.name}" for path in (core / "judge").glob("*.py")]
    guards = [f"guard/{name}.py" for name in ("watchdog", "rollback", "resume", "page", "systemd", "weights", "host")]
    for name in (*judges, *guards):
        text = (core / name).read_text()
        assert [key for key in OPERATOR_KEYS if f"settings.{key}" in text] == [], name
    assert "steps" not in Settings().judging()
    assert not set(OPERATOR_KEYS) & set(Settings().judging())


def test_credential_and_code_of_a_run_in_flight_may_be_renewed(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    _with_a_run(paths, Settings(), state="active")
    assert i.install(Settings(), "renewed", paths)
    assert paths.password.read_bytes() == b"renewed"


def test_a_run_that_is_over_holds_nothing_fast(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    _with_a_run(paths, Settings(), state="rolled_back")
    assert i.install(Settings(interval_s=5.0), "secret", paths)


def test_the_code_comes_before_its_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut off in between, new code reads old settings by its defaults; old code may not know a new setting."""
    paths = Paths(tmp_path)
    order: list[str] = []
    code, write = i._install_code, i.write_atomic
    monkeypatch.setattr(i, "_install_code", lambda where: (order.append("code"), code(where)))
    monkeypatch.setattr(i, "write_atomic", lambda path, *a, **k: (order.append(path.name), write(path, *a, **k)))
    i.install(Settings(), "secret", paths)
    assert order.index("code") < order.index("config.json")


def test_what_is_compared_needs_no_code_but_its_digest(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that only asks carries a part of the package."""
    i.install(SETTINGS, SECRET, paths)
    wanted = agent.digest()
    monkeypatch.setattr(agent, "sources", no_space)
    assert installed.plan(SETTINGS, SECRET, paths, wanted) == []
    assert installed.plan(SETTINGS, SECRET, paths, "0" * 16) == [f"agent {wanted} -> {'0' * 16}"]
    (paths.agent_root / wanted / "qsc" / "verdict.py").unlink()
    assert installed.plan(SETTINGS, SECRET, paths, wanted) == [f"agent {wanted} was changed by hand: repaired"]
