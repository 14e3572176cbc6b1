"""What both kinds of storage promise: one set of tests, run on a disk and on object storage."""

import errno
import os
import re
import time
from pathlib import Path

import pytest

from dadnet.base.disk import DiskPath, remove_stale, replacing
from dadnet.base.errors import DadnetError, StorageError
from dadnet.base.location import (
    Location,
    is_remote,
    location,
    on_disk,
    replace_file,
    stored,
    write_once,
)


@pytest.fixture(params=["disk", "objects"])
def folder(request, tmp_path) -> Location:
    if request.param == "disk":
        return tmp_path / "folder"
    name = re.sub(r"\W", "", request.node.name)
    return location(request.getfixturevalue("s3").uri(f"stored/{name}"))


def test_a_file_is_written_once(folder):
    assert write_once(folder / "a", "first")
    assert not write_once(folder / "a", "second")
    assert (folder / "a").read_bytes() == b"first"


def test_a_file_is_replaced_as_a_whole_and_leaves_no_other(folder):
    for text in ("first", "second"):
        replace_file(folder / "a", text)
        assert (folder / "a").read_bytes() == text.encode()
    assert stored(folder).names() == ["a"]


def test_names_are_of_files_in_the_folder_and_folders_of_a_depth(folder):
    for name in ("a", "x-1/y/b", "x/y/c", "x/z/d", "x/e"):
        replace_file(folder / name, "")
    assert stored(folder).names() == ["a"]
    assert stored(folder).folders() == ["x", "x-1"]
    assert stored(folder).folders(2) == ["x/y", "x/z", "x-1/y"]
    assert stored(folder / "none").names() == stored(folder / "none").folders(2) == []


def test_each_file_is_read_in_order_and_none_is_no_error(folder):
    replace_file(folder / "b", "2")
    replace_file(folder / "a", "1")
    names, expected = ["b", "none", "a"], [b"2", None, b"1"]
    assert [stored(folder / name).read() for name in names] == expected
    if is_remote(folder):
        assert list(folder.read_each(names)) == expected


def test_a_file_knows_when_it_was_written_and_has_a_copy_here(folder):
    assert stored(folder / "a").modified() is None
    replace_file(folder / "a", "1")
    assert stored(folder / "a").modified().tzinfo is not None
    with stored(folder / "a").local_copy() as copy:
        assert copy.name == "a"
        assert copy.read_bytes() == b"1"


def test_a_damaged_file_is_set_aside(folder):
    replace_file(folder / "a", "bad")
    assert stored(folder / "a").set_aside(folder / "q" / "a", b"bad")
    assert not (folder / "a").exists()
    assert (folder / "q" / "a").read_bytes() == b"bad"
    replace_file(folder / "a", "other")
    assert stored(folder / "a").set_aside(folder / "b")
    assert (folder / "b").read_bytes() == b"other"


def test_what_another_process_has_mended_meanwhile_stays(folder):
    replace_file(folder / "a", "mended")
    assert not stored(folder / "a").set_aside(folder / "q" / "a", b"bad")
    assert (folder / "a").read_bytes() == b"mended"
    assert (folder / "q" / "a").read_bytes() == b"bad"


def test_a_folder_is_removed_and_none_is_no_error(folder):
    replace_file(folder / "x" / "a", "")
    for _ in range(2):
        stored(folder / "x").remove_tree()
    assert stored(folder).folders() == []


def test_a_place_that_must_be_on_disk_is_refused_elsewhere():
    assert on_disk(Path("runs")) == Path("runs")
    assert not is_remote(Path("runs"))
    with pytest.raises(DadnetError, match="expected a path on this machine, got s3://lab/runs"):
        on_disk(location("s3://lab/runs"))


def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    replace_file(tmp_path / "a", "old")

    def fail() -> None:
        with replacing(tmp_path / "a") as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_a_file_of_a_secret_is_never_readable_by_others(tmp_path):
    assert DiskPath(tmp_path / "token").write_once(b"secret", 0o600)
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("write", [write_once, replace_file])
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, write):
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left on device .* what is finished is kept"):
        write(tmp_path / "a", "x")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_writer_left_is_removed_after_a_day(tmp_path):
    old = time.time() - 100_000
    stale = tmp_path / "folds" / f".{'0a' * 8}.tmp"
    names = (f".{'0b' * 8}.tmp", ".mine.tmp", "0a0a0a0a0a0a0a0a.tmp", f".{'0A' * 8}.tmp")
    kept = [tmp_path / "folds" / name for name in names]
    stale.parent.mkdir()
    for path in (stale, *kept):
        path.write_bytes(b"half")
        if path != kept[0]:  # that one is being written
            os.utime(path, (old, old))
    (folder := tmp_path / f".{'0c' * 8}.tmp").mkdir()
    os.utime(folder, (old, old))
    remove_stale(tmp_path)
    assert {p for p in tmp_path.rglob("*") if p.is_file()} == set(kept)
