# Copyright (c) 2026, the qsc.canary authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An archive of evidence comes back as it was packed, and nothing else is taken for one, whatever it costs to write."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import tracemalloc
import typing as t
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.qsc.canary.plugins.module_utils.qsc import bundle, command
from ansible_collections.qsc.canary.plugins.module_utils.qsc.errors import BadInput

names = st.from_regex(r"[a-z][a-z0-9_.@-]{0,20}(/[a-z][a-z0-9.]{0,20})?", fullmatch=True).filter(
    lambda name: name != bundle.MANIFEST
)


def tarred(*members: tuple[str, bytes], kind: int = tarfile.USTAR_FORMAT, **header: t.Any) -> bytes:
    """A tar.gz of anybody's."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=kind) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for key, value in header.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(data))
    return gzip.compress(target.getvalue())


def read(folder: Path, data: bytes) -> bundle.Bundle:
    path = folder / "some.tar.gz"
    path.write_bytes(data)
    return bundle.read(path)


@given(st.dictionaries(names, st.binary(max_size=2000), max_size=6))
def test_what_is_packed_comes_back(tmp_path_factory: pytest.TempPathFactory, members: dict[str, bytes]) -> None:
    folder = tmp_path_factory.mktemp("bundle")
    data = bundle.pack(members, {"canary_id": "x"})
    found = read(folder, data)
    assert (found.members, found.altered) == (members, ())
    assert found.manifest["canary_id"] == "x"
    assert bundle.pack(dict(reversed(list(members.items()))), {"canary_id": "x"}) == data


def test_any_tar_reads_it(tmp_path: Path) -> None:
    data = bundle.pack({"b.txt": b"two", "a.txt": b"one"}, {})
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert tar.getnames() == ["MANIFEST.json", "a.txt", "b.txt"]
        assert {(info.mtime, info.uid, info.uname, info.mode) for info in tar} == {(0, 0, "", 0o644)}
    assert data[4:8] == b"\0\0\0\0", "the time stands in the header of gzip"
    assert read(tmp_path, data).members["a.txt"] == b"one"


NO_ARCHIVES = [
    b"",
    b"no gzip at all",
    gzip.compress(b""),
    gzip.compress(b"x" * 5000),
    gzip.compress(b"\0" * 1024),
    bundle.pack({"a": b"one"}, {})[:-30],
    bundle.pack({"a": b"one"}, {})[:40],
    tarred(("a", b"one")),
    tarred((bundle.MANIFEST, b"[]")),
    tarred((bundle.MANIFEST, b"{}")),
    tarred((bundle.MANIFEST, b'{"schema": 2, "members": {}}')),
    tarred((bundle.MANIFEST, b'{"schema": 1, "members": []}')),
    tarred((bundle.MANIFEST, b'{"schema": 1, "members": {"a": 5}}')),
    tarred((bundle.MANIFEST, b"[" * 100_000)),
    tarred(("../../etc/passwd", b"x")),
    tarred(("/etc/passwd", b"x")),
    tarred(("a/../b", b"x")),
    tarred(("a", b"x"), ("a", b"y")),
    tarred(("link", b""), type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    tarred(("link", b""), type=tarfile.LNKTYPE, linkname="/etc/passwd"),
    tarred(("folder", b""), type=tarfile.DIRTYPE),
    tarred(("n" * 300, b"x"), kind=tarfile.PAX_FORMAT),
    tarred(("n" * 300, b"x"), kind=tarfile.GNU_FORMAT),
    tarred(*((f"m{number}", b"") for number in range(bundle.MOST_MEMBERS + 2))),
]


# numbered: gzip writes the time into its bytes
@pytest.mark.parametrize("data", NO_ARCHIVES, ids=range(len(NO_ARCHIVES)))
def test_what_is_no_archive_of_ours_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], data: bytes) -> None:
    with pytest.raises(BadInput, match="is not an archive of evidence") as caught:
        read(tmp_path, data)
    assert str(caught.value).isprintable()
    assert command.main(["replay", str(tmp_path / "some.tar.gz")]) == 2
    assert "qsc replay:" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["some.tar.gz"], "nothing is put on the disk"


@pytest.mark.parametrize("header_says", [8 << 30, 100])
def test_a_bomb_takes_no_memory(tmp_path: Path, header_says: int) -> None:
    """200 MiB of nothing in 200 kB, and a header that says even more."""
    info = tarfile.TarInfo("decisions.jsonl")
    info.size = header_says
    target = io.BytesIO()
    with gzip.GzipFile(fileobj=target, mode="wb", compresslevel=1) as zipped:
        zipped.write(info.tobuf(tarfile.GNU_FORMAT) + b"\1" * (1 << 20))
        for _number in range(200):
            zipped.write(b"\1" * (1 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(BadInput):
            read(tmp_path, target.getvalue())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20


def test_what_was_altered_is_named(tmp_path: Path) -> None:
    data = bundle.pack({"a": b"one", "b": b"two", "gone": b"x"}, {})
    found = read(tmp_path, data)
    manifest = json.dumps(found.manifest).encode()
    other = tarred((bundle.MANIFEST, manifest), ("a", b"onE"), ("b", b"two"), ("more", b""))
    assert read(tmp_path, other).altered == ("a", "gone", "more")


def test_too_much_is_refused_before_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "MOST_BYTES", 100)
    with pytest.raises(BadInput, match="--no-journal"):
        bundle.pack({"a": b"x" * 101}, {})
