"""Results in place: whole or not at all, not twice, by link or copy; one line where it fails."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cytoloom import publishing

BIN = Path(__file__).resolve().parents[2] / "bin"
HEAD = os.getppid()


def made(folder: Path) -> list[tuple[Path, str]]:
    """A store and a table in a work folder, and where they go."""
    store = folder / "work" / "p1.ome.zarr"
    (store / "0" / "c").mkdir(parents=True)
    (store / "0" / "c" / "0").write_bytes(b"shard")
    (store / "zarr.json").write_text("{}")
    (store / "zarr.json").chmod(0o444)
    table = folder / "work" / "a 'ü.csv"
    table.write_text("frame\n")
    return [(store, "images/p1.ome.zarr"), (table, "tables/a 'ü.csv")]


def lines(pairs):
    return [json.dumps([str(source), place]) + "\n" for source, place in pairs]


def files(folder: Path) -> dict[str, tuple[bytes, int, int]]:
    return {
        str(path.relative_to(folder)): (
            path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino
        )
        for path in folder.rglob("*") if path.is_file()
    }  # fmt: skip


@pytest.mark.parametrize("mode", ["link", "copy"])
def test_results_are_whole_and_made_once(tmp_path, mode):
    pairs, out = made(tmp_path), tmp_path / "out"
    words = [sys.executable, "-m", "cytoloom.publishing", str(out), mode]
    done = subprocess.run(
        words, cwd=BIN, input="".join(lines(pairs)), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    first = files(out)
    assert {name: about[0] for name, about in first.items()} == {
        "images/p1.ome.zarr/zarr.json": b"{}",
        "images/p1.ome.zarr/0/c/0": b"shard",
        "tables/a 'ü.csv": b"frame\n",
    }
    linked = {path.name for path in out.rglob("*") if path.is_file() and path.stat().st_nlink > 1}
    assert linked == ({"zarr.json", "0"} if mode == "link" else set()), "a CSV may be edited"
    assert publishing.publish_all(lines(pairs), out, linked=mode == "link", head=HEAD) is None
    assert files(out) == first, "what is there is left as it is"
    shard = tmp_path / "work" / "p1.ome.zarr" / "0" / "c"
    (shard / "0").unlink()
    (shard / "1").write_bytes(b"other")
    assert publishing.publish_all(lines(pairs), out, linked=mode == "link", head=HEAD) is None
    assert set(files(out / "images")) == {"p1.ome.zarr/zarr.json", "p1.ome.zarr/0/c/1"}


def test_a_full_disk_is_one_line_and_leaves_nothing_half(tmp_path, monkeypatch):
    pairs, out = made(tmp_path), tmp_path / "out"
    copy2 = shutil.copy2

    def full(source, target, **more):
        if Path(source).name == "0":
            Path(target).write_bytes(b"sh")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        return copy2(source, target, **more)

    monkeypatch.setattr(shutil, "copy2", full)
    monkeypatch.setattr(shutil.copytree, "__defaults__", (False, None, full, False, False))
    said, code = publishing.publish_all(lines(pairs), out, linked=False, head=HEAD)
    assert code == 75
    assert said == (
        f"1 result could not be written to {out}: the disk is full (or over quota): "
        "make room and run again with -resume"
    )
    assert set(files(out)) == {"tables/a 'ü.csv"}
    assert not list((out / "images").iterdir())


def test_a_folder_that_is_a_file_is_told(tmp_path):
    pairs, out = made(tmp_path), tmp_path / "out"
    out.mkdir()
    (out / "tables").write_text("a file")
    said, code = publishing.publish_all(lines(pairs), out, linked=False, head=HEAD)
    assert code == 65
    assert said.startswith(f"1 result could not be written to {out}: File exists")
    assert set(files(out / "images")) == {"p1.ome.zarr/zarr.json", "p1.ome.zarr/0/c/0"}


def test_the_result_of_an_earlier_run_gives_way(tmp_path):
    """Even where its file is the newer one: a run may go back to earlier parameters."""
    pairs, out = made(tmp_path), tmp_path / "out"
    for place in ("images/p1.ome.zarr/0/c/9", "tables/a 'ü.csv"):
        (out / place).parent.mkdir(parents=True)
        (out / place).write_text("other parameters")
    assert publishing.publish_all(lines(pairs), out, linked=True, head=HEAD) is None
    assert {name: about[0] for name, about in files(out).items()} == {
        "images/p1.ome.zarr/zarr.json": b"{}",
        "images/p1.ome.zarr/0/c/0": b"shard",
        "tables/a 'ü.csv": b"frame\n",
    }


def test_where_a_file_cannot_be_linked_it_is_copied(tmp_path, monkeypatch):
    pairs, out = made(tmp_path), tmp_path / "out"

    def too_many(_source, _target):
        raise OSError(errno.EMLINK, os.strerror(errno.EMLINK))

    monkeypatch.setattr(os, "link", too_many)
    assert publishing.publish_all(lines(pairs), out, linked=True, head=HEAD) is None
    assert set(files(out)) == {
        "images/p1.ome.zarr/zarr.json", "images/p1.ome.zarr/0/c/0", "tables/a 'ü.csv",
    }  # fmt: skip


def test_after_the_death_of_the_head_nothing_is_put_into_place(tmp_path):
    pairs, out = made(tmp_path), tmp_path / "out"
    with pytest.raises(publishing.HeadIsDead):
        publishing.publish_all(lines(pairs), out, linked=True, head=HEAD + 1)
    assert not [path for path in out.rglob("*") if path.is_file()]


def test_files_of_a_user_in_a_folder_of_results_stay(tmp_path):
    """Those of an earlier run do not, and neither does anything in a store."""
    folder, out = tmp_path / "work" / "tables", tmp_path / "out"
    folder.mkdir(parents=True)
    for name in ("cells.csv", "tracks.parquet"):
        (folder / name).write_text(name)
    again = lines([(folder, "tables")])
    assert publishing.publish_all(again, out, linked=True, head=HEAD) is None
    (out / "tables" / "notes.txt").write_text("mine")
    (out / "tables" / "mine.csv").write_text("mine")
    first = files(out / "tables")
    assert publishing.publish_all(again, out, linked=True, head=HEAD) is None
    assert files(out / "tables") == first, "nothing to do"
    (folder / "cells.csv").unlink()
    (folder / "spots.csv").write_text("spots")
    assert publishing.publish_all(again, out, linked=True, head=HEAD) is None
    assert set(files(out / "tables")) == {
        "spots.csv", "tracks.parquet", "notes.txt", "mine.csv",
    }  # fmt: skip
    assert (out / "tables" / "mine.csv").read_text() == "mine"
