# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that survive a crash: the old content or the new, one writer at a time."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import stat
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.qsc.canary.plugins.module_utils.qsc import files
from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import NotProven, RecordUnreadable, Refused


def no_space(*_arguments: object, **_options: object) -> t.NoReturn:
    raise OSError(errno.ENOSPC, "No space left on device")


# --- write_atomic


def test_write_atomic_replaces_and_sets_the_mode(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    files.write_atomic(path, b"new", mode=0o600)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    files.write_atomic(path, b"newer")
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [item.name for item in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("step", ["fchmod", "fsync", "replace"])
@pytest.mark.parametrize("old", [b"old", None], ids=["old file", "no file"])
def test_write_atomic_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, old: bytes | None
) -> None:
    path = tmp_path / "file"
    if old is not None:
        path.write_bytes(old)
    with monkeypatch.context() as patch:
        patch.setattr(os, step, no_space)
        with pytest.raises(OSError, match="No space"):
            files.write_atomic(path, b"new")
    assert (path.read_bytes() if path.exists() else None) == old
    assert [item.name for item in tmp_path.iterdir()] == (["file"] if old is not None else []), "a temporary file stays"


def test_write_atomic_cannot_be_interrupted_halfway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def interrupted(*_arguments: object) -> t.NoReturn:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            files.write_atomic(path, b"new")
    assert [item.name for item in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "old"


def test_a_full_disk_keeps_the_old_file(small_disk: Path) -> None:
    path = small_disk / "file"
    files.write_atomic(path, b"old")
    with pytest.raises(OSError) as caught:
        files.write_atomic(path, b"x" * 100_000)
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == b"old"
    assert [item.name for item in small_disk.iterdir()] == ["file"]


def test_order_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """File, rename, folder: in any other order a power cut can leave an empty file under the right name."""
    steps: list[str] = []
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(handle: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file"
        steps.append(f"fsync {kind}" + (f" {os.fstat(handle).st_size}" if kind == "file" else ""))
        real_fsync(handle)

    def replace(source: str, target: Path) -> None:
        steps.append("rename")
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    files.write_atomic(tmp_path / "file", b"new")
    assert steps == ["fsync file 3", "rename", "fsync folder"]
    steps.clear()
    assert files.remove(tmp_path / "file")
    assert steps == ["fsync folder"]


def test_remove_what_is_not_there(tmp_path: Path) -> None:
    assert not files.remove(tmp_path / "file")


# --- read_bounded, read_json


def test_read_bounded(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert files.read_bounded(path, 5) == b"12345"
    with pytest.raises(FileNotFoundError):
        files.read_bounded(tmp_path / "none")


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        ("link", errno.ELOOP),
        ("dangling link", errno.ELOOP),
        ("fifo", errno.EINVAL),
        ("folder", errno.EISDIR),
        ("device", errno.EINVAL),
        ("too large", errno.EFBIG),
    ],
)
def test_read_bounded_refuses(tmp_path: Path, kind: str, number: int) -> None:
    path = tmp_path / "file"
    if kind == "link":
        (tmp_path / "other").write_text("secret")
        path.symlink_to("other")
    elif kind == "dangling link":
        path.symlink_to("nowhere")
    elif kind == "fifo":
        os.mkfifo(path)  # without O_NONBLOCK this would wait for a writer for ever
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path = Path("/dev/zero")
    else:
        path.write_bytes(b"123456")
    with pytest.raises(OSError) as caught:
        files.read_bounded(path, 5)
    assert caught.value.errno == number


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"NaN", b'{"a": Infinity}', b"-Infinity", b"[" * 100_000, b"\xff\xfe", b"9" * 5000],
    ids=lambda data: repr(data[:12]),
)
def test_read_json_refuses_what_is_not_plain_json(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(RecordUnreadable, match="file cannot be read"):
        files.read_json(path)


def test_write_json_round_trip_and_no_nan(tmp_path: Path) -> None:
    path = tmp_path / "file"
    files.write_json(path, {"b": [1.5, None], "a": "ä"})
    assert files.read_json(path) == {"b": [1.5, None], "a": "ä"}
    with pytest.raises(ValueError):
        files.write_json(path, {"a": float("nan")})
    assert files.read_json(path)["a"] == "ä"


def test_digests(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    assert files.digest_file(path) == files.digest_bytes(b"abc") == hashlib.sha256(b"abc").hexdigest()
    assert files.digest_file(tmp_path / "none") is None


# --- Lock

HOLD = """
import importlib.util, sys
sys.path[:0] = {path!r}
from ansible_collections.qsc.canary.plugins.module_utils.qsc.files import Lock
from pathlib import Path
with Lock(Path({lock!r})):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def hold(tmp_path: Path, root: Path) -> t.Iterator[t.Callable[[], subprocess.Popen[str]]]:
    """Start another process that holds the lock until its input is closed."""
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        code = HOLD.format(path=[str(root / "playbooks/collections")], lock=str(tmp_path / "lock"))
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_the_lock_excludes_another_process_until_it_dies(
    tmp_path: Path, hold: t.Callable[[], subprocess.Popen[str]]
) -> None:
    path = tmp_path / "lock"
    process = hold()
    begin = time.monotonic()
    with pytest.raises(Refused, match=r"another process has held .*lock") as caught, files.Lock(path, wait_s=0.2):
        pytest.fail("two writers at once")
    assert 0.2 <= time.monotonic() - begin < 5
    assert "qsc status" in caught.value.remedy
    process.send_signal(signal.SIGKILL)
    with files.Lock(path, wait_s=10.0):
        pass  # the kernel freed it
    with files.Lock(path, wait_s=0.0):
        pass  # and leaving frees it too


def test_the_lock_is_freed_by_an_error_inside(tmp_path: Path) -> None:
    with pytest.raises(NotProven), files.Lock(tmp_path / "lock"):
        raise NotProven("inside")
    with files.Lock(tmp_path / "lock", wait_s=0.0):
        pass


def test_the_lock_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to("elsewhere")
    with pytest.raises(OSError), files.Lock(tmp_path / "lock"):
        pass
    assert not (tmp_path / "elsewhere").exists()


# --- Clock and timestamp


def test_boot_id_is_kept_within_a_boot_and_changes_with_the_mark(tmp_path: Path) -> None:
    clock = files.Clock(tmp_path / "boot_id")
    first = clock.boot_id()
    assert files.Clock(tmp_path / "boot_id").boot_id() == first
    assert first.startswith(Path("/proc/sys/kernel/random/boot_id").read_text().strip() + "/")
    (tmp_path / "boot_id").unlink()  # what every reboot does to /run
    assert clock.boot_id() != first


def test_boot_id_without_a_mark_equals_no_boot(tmp_path: Path) -> None:
    clock = files.Clock(tmp_path / "boot_id")
    unmarked = clock.boot_id(create=False)
    assert not (tmp_path / "boot_id").exists()
    assert unmarked != clock.boot_id()


def test_clocks(tmp_path: Path) -> None:
    clock = files.Clock(tmp_path / "boot_id")
    assert abs(clock.wall() - time.time()) < 5
    first = clock.boot()
    assert first <= clock.boot()
    assert abs(first - float(Path("/proc/uptime").read_text().split()[0])) < 5


@pytest.mark.parametrize(
    ("wall", "text"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1_768_023_795.0, "2026-01-10T05:43:15.000Z"),
        (1_768_023_795.9999, "2026-01-10T05:43:15.999Z"),
    ],
)
def test_timestamp(wall: float, text: str) -> None:
    assert files.timestamp(wall) == text


def test_timestamp_ignores_the_time_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "America/New_York")
        time.tzset()
        assert files.timestamp(0.0) == "1970-01-01T00:00:00.000Z"
    time.tzset()


# --- try_io


@pytest.mark.parametrize(
    ("error", "text"),
    [(OSError(errno.ENOSPC, "full"), "it: [Errno 28] full"), (Refused("no", remedy="Do."), "it: no. Do.")],
)
def test_try_io_gives_the_error_as_text(error: Exception, text: str) -> None:
    def fail() -> None:
        raise error

    assert files.try_io("it", fail) == text
    assert files.try_io("it", lambda: 5) is None


def test_try_io_hides_no_bug() -> None:
    with pytest.raises(ZeroDivisionError):
        files.try_io("it", lambda: 1 / 0)
