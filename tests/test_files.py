import errno
import os
from unittest import mock

import pytest

from rs_otl.errors import InputError
from rs_otl.files import atomic_write, locked


def test_a_file_appears_whole(tmp_path):
    path = tmp_path / "a.txt"
    with atomic_write(path) as aside:
        aside.write_text("whole")
        assert not path.exists()
        assert aside.suffix == ".txt"
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError), atomic_write(path) as aside:
        aside.write_text("half\ud800", encoding="utf-8")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_is_named(tmp_path):
    path = tmp_path / "missing" / "a.txt"
    with (
        pytest.raises(InputError, match=r"a\.txt: cannot be written"),
        atomic_write(path) as aside,
    ):
        aside.write_text("never")


def test_a_new_file_replaces_none_that_came_meanwhile(tmp_path):
    path = tmp_path / "map.tif"

    def write():
        with atomic_write(path, new=True) as aside:
            aside.write_text("mine")
            path.write_text("another's")

    with pytest.raises(InputError, match="exists already"):
        write()
    assert path.read_text() == "another's"
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_is_written_where_there_are_no_hard_links(tmp_path):
    path = tmp_path / "map.tif"
    with mock.patch("os.link", side_effect=PermissionError):
        with atomic_write(path, new=True) as aside:
            aside.write_text("mine")
        with pytest.raises(InputError), atomic_write(path, new=True) as aside:
            aside.write_text("other")
    assert path.read_text() == "mine"


def test_a_folder_is_locked_by_one_and_leaves_nothing_behind(tmp_path):
    folder = tmp_path / "a" / "b"
    with (
        locked(folder),
        pytest.raises(InputError, match=f"still being written by process {os.getpid()} on "),
        locked(folder),
    ):
        pass
    assert list(tmp_path.iterdir()) == []
    with locked(folder):
        (folder / "written").touch()
    assert [path.name for path in folder.iterdir()] == ["written"]


@pytest.mark.parametrize("error", [OSError(errno.ENOLCK, "no locks"), NotImplementedError()])
def test_a_folder_on_a_file_system_without_locks_can_be_written(tmp_path, error):
    with mock.patch("rs_otl.files.FileLock.acquire", side_effect=error), locked(tmp_path / "a"):
        (tmp_path / "a" / "written").touch()
    assert (tmp_path / "a" / "written").exists()
