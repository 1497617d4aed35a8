"""Files: written whole or not at all, read once until they change."""

import os

import pytest

from cytoloom import files


def test_a_file_is_there_whole_or_not_at_all(tmp_path):
    target = tmp_path / "folder" / "table.csv"
    with files.writing(target) as draft:
        draft.write_text("first")
        assert not target.exists()
    assert target.read_text() == "first"

    def half():
        with files.writing(target) as draft:
            draft.write_text("half")
            raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        half()
    assert target.read_text() == "first"
    assert list(target.parent.iterdir()) == [target]


def test_a_folder_takes_the_place_of_another(tmp_path):
    target = tmp_path / "store.zarr"
    for name in ("a", "b"):
        with files.writing(target) as draft:
            draft.mkdir()
            (draft / name).touch()
    assert [path.name for path in target.iterdir()] == ["b"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_is_read_once_until_it_changes(tmp_path):
    read = []

    @files.remembered
    def content(path):
        read.append(path)
        return path.read_text()

    path = tmp_path / "header"
    path.write_text("one")
    assert [content(path), content(path)] == ["one", "one"]
    assert len(read) == 1
    path.write_text("three")
    assert content(path) == "three"
    path.write_text("other")
    about = path.stat()
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns + 1))  # of the same size
    assert content(path) == "other"
    assert len(read) == 3
