"""How files are written: whole or not at all, on the disk, and nothing of anybody else's is touched."""

import fcntl
import os
import stat
import subprocess
import sys

import pytest

from bn_graph.errors import InputError
from bn_graph.files import make_folder, read_whole, sync_tree, temporary_beside, write_whole
from tests.disk import synced


def test_a_file_that_is_replaced_keeps_its_mode_and_a_new_one_gets_that_of_the_umask(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("old")
    old.chmod(0o640)
    write_whole(old, b"content")
    write_whole(new, b"content")
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(old.stat().st_mode) == 0o640
    assert stat.S_IMODE(new.stat().st_mode) == 0o666 & ~umask
    assert old.read_bytes() == new.read_bytes() == b"content"
    assert sorted(os.listdir(tmp_path)) == ["new", "old"]


def test_a_link_stays_a_link_and_what_it_leads_to_is_written(tmp_path):
    place = tmp_path / "elsewhere" / "file"
    place.parent.mkdir()
    place.write_text("old")
    (tmp_path / "link").symlink_to(place)
    write_whole(tmp_path / "link", b"content")
    assert (tmp_path / "link").is_symlink() and place.read_bytes() == b"content"


def test_where_writing_fails_the_old_file_is_there_and_nothing_else(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("old")

    def fail(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left on device: '.*/file'"):
        write_whole(tmp_path / "file", b"content")
    assert os.listdir(tmp_path) == ["file"] and (tmp_path / "file").read_text() == "old"


def test_what_a_killed_write_has_left_is_removed_by_the_next_one(tmp_path):
    program = f"""
import os, sys
from pathlib import Path
from bn_graph.files import temporary_beside
with temporary_beside(Path({str(tmp_path / "file")!r})) as folder:
    (folder / "file").write_bytes(b"half")
    os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", program])
    (left,) = os.listdir(tmp_path)
    assert left.startswith(".bn_graph.temporary.")
    write_whole(tmp_path / "file", b"content")
    assert os.listdir(tmp_path) == ["file"]


def test_what_somebody_is_writing_now_is_not_removed(tmp_path):
    with temporary_beside(tmp_path / "one") as folder:
        (folder / "file").write_bytes(b"half")
        write_whole(tmp_path / "other", b"content")
        assert (folder / "file").read_bytes() == b"half"
    assert os.listdir(tmp_path) == ["other"]


def test_a_folder_that_is_taken_away_before_it_is_locked_is_made_again(tmp_path, monkeypatch):
    """Another process may take it for one that was left, in the moment before it has its lock."""
    taken, flock = [], fcntl.flock

    def lock(handle, operation):
        if not taken:
            taken.append(os.readlink(f"/proc/self/fd/{handle}"))
            os.rmdir(taken[0])
        return flock(handle, operation)

    monkeypatch.setattr(fcntl, "flock", lock)
    write_whole(tmp_path / "file", b"content")
    assert taken and os.listdir(tmp_path) == ["file"] and (tmp_path / "file").read_bytes() == b"content"


def test_links_that_are_named_like_temporary_folders_are_left_alone(tmp_path):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "file").write_text("theirs")
    (tmp_path / ".bn_graph.temporary.link").symlink_to(theirs)
    write_whole(tmp_path / "file", b"content")
    assert (theirs / "file").read_text() == "theirs" and (tmp_path / ".bn_graph.temporary.link").is_symlink()


def test_a_file_of_terabytes_is_refused_with_the_largest_size(tmp_path):
    path = tmp_path / "sparse"
    with open(path, "wb") as file:
        file.truncate(2**43)
    with pytest.raises(InputError, match=r"sparse: expected at most 1000 bytes, found 8796093022208$"):
        read_whole(path, 1000)


# on the disk


def test_a_file_is_on_the_disk_before_it_has_its_name_and_the_name_afterwards(tmp_path, monkeypatch):
    events = synced(monkeypatch)
    write_whole(tmp_path / "name", b"content")
    assert events == [("sync", "file"), ("rename", "name"), ("sync", tmp_path.name)]


def test_new_folders_are_on_the_disk_in_those_above_them(tmp_path, monkeypatch):
    events = synced(monkeypatch)
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert sorted(events) == sorted([("sync", "a"), ("sync", tmp_path.name)])


def test_a_tree_is_on_the_disk_with_all_that_is_in_it(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_text("content")
    events = synced(monkeypatch)
    sync_tree(tmp_path)
    assert sorted(events) == sorted([("sync", "a"), ("sync", "file"), ("sync", tmp_path.name)])
