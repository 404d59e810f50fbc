"""A reader sees the old file or the new one."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from boxpromptiml.files import atomic_path, os_reason, sha256_of, try_lock, write_bytes, write_json, write_text


def test_writes_into_new_folders(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a" / "b.bin", b"\0\1")
    write_text(str(tmp_path / "a" / "c.txt"), "grün\n")
    write_json(tmp_path / "a" / "d.json", {"ü": [1, None]})

    assert (tmp_path / "a" / "b.bin").read_bytes() == b"\0\1"
    assert (tmp_path / "a" / "c.txt").read_text(encoding="utf-8") == "grün\n"
    assert json.loads((tmp_path / "a" / "d.json").read_text(encoding="utf-8")) == {"ü": [1, None]}
    assert (tmp_path / "a" / "d.json").read_text(encoding="utf-8").endswith("}\n")
    assert sorted(os.listdir(tmp_path / "a")) == ["b.bin", "c.txt", "d.json"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file_and_no_rest(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fail() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half of the new")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_waits_for_the_disk_unless_told_not_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)

    write_bytes(tmp_path / "a", b"x", durable=False)
    assert synced == []
    write_bytes(tmp_path / "a", b"y")
    assert synced
    assert (tmp_path / "a").read_bytes() == b"y"


def test_the_temporary_file_is_hidden_beside_the_target_and_keeps_its_suffix(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "picture.png") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".picture-")
        assert temporary.suffix == ".png"
        assert not (tmp_path / "picture.png").exists()


@pytest.mark.parametrize("name", ["n" * 250 + ".txt", "漢" * 83 + ".txt"], ids=["ascii", "three bytes a character"])
def test_long_names_fit(tmp_path: Path, name: str) -> None:
    write_bytes(tmp_path / name, b"x")

    assert os.listdir(tmp_path) == [name]


@pytest.mark.skipif(os.name == "nt", reason="permissions of Unix")
def test_files_get_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "usual").write_bytes(b"")
    write_bytes(tmp_path / "ours", b"")

    assert stat.S_IMODE((tmp_path / "ours").stat().st_mode) == stat.S_IMODE((tmp_path / "usual").stat().st_mode)


def test_the_umask_is_obeyed_and_never_touched_by_many_threads(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda i: write_bytes(tmp_path / f"a{i}", b""), range(200)))
        assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o640}
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 7])
def test_sha256(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "x").write_bytes(data)

    assert sha256_of(tmp_path / "x") == sha256_of(str(tmp_path / "x")) == hashlib.sha256(data).hexdigest()
    assert sha256_of(io.BytesIO(data)) == hashlib.sha256(data).hexdigest()


def test_a_lock_keeps_other_processes_out_until_the_file_is_closed(tmp_path: Path) -> None:
    code = "import sys; from boxpromptiml.files import try_lock; print(try_lock(open(sys.argv[1], 'a')))"

    def taken_by_another() -> str:
        command = [sys.executable, "-c", code, str(tmp_path / "lock")]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    with (tmp_path / "lock").open("a") as stream:
        assert try_lock(stream)
        assert taken_by_another() == "False"
    assert taken_by_another() == "True"


@pytest.mark.parametrize("name", ["/dev/null", "/dev/full", "/dev/stdout", "pipe"])
def test_devices_and_pipes_are_not_replaced(name: str, tmp_path: Path) -> None:
    """Root could: a file would take the place of /dev/null for all programs."""
    path = tmp_path / name
    if name == "pipe":
        os.mkfifo(path)
    before = os.lstat(path)

    with pytest.raises(OSError, match=r"is not a regular file; choose another path") as caught:
        write_bytes(path, b"x")

    assert caught.value.filename == str(path)
    assert os.lstat(path).st_ino == before.st_ino


def test_an_error_names_the_file_and_not_the_one_beside_it(tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught, atomic_path(tmp_path / "a.bin") as temporary:
        raise OSError(errno.ENOSPC, "No space left on device", str(temporary))
    assert caught.value.filename == str(tmp_path / "a.bin")

    with pytest.raises(OSError) as caught, atomic_path(tmp_path / "a.bin"):
        raise OSError(errno.ENOSPC, "No space left on device")  # as writing to an open file raises it
    assert caught.value.filename == str(tmp_path / "a.bin")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device; make room and run the same"),
        (OSError(errno.ENOSPC, "Error writing: [errno 28]"), "No space left on device; make room and run the same"),
        (OSError(errno.EROFS, "Read-only file system"), "Read-only file system; choose a path that can be written to"),
        (OSError(errno.EEXIST, "File exists"), "File exists; a file is in the way; choose another path"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (OSError("something else"), "something else"),
    ],
)
def test_what_to_do_about_it(error: OSError, expected: str) -> None:
    assert os_reason(error).startswith(expected)
