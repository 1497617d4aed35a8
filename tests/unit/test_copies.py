"""Results that are copied: whole or not at all, not twice, and one line where it fails."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from cytoloom import copies

BIN = Path(__file__).resolve().parents[2] / "bin"


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


def test_copies_are_whole_and_made_once(tmp_path):
    pairs, out = made(tmp_path), tmp_path / "out"
    words = [sys.executable, "-m", "cytoloom.copies", str(out)]
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
    assert copies.copy_all(lines(pairs), out) is None
    assert files(out) == first, "what is there is left as it is"
    shard = tmp_path / "work" / "p1.ome.zarr" / "0" / "c"
    (shard / "0").unlink()
    (shard / "1").write_bytes(b"other")
    assert copies.copy_all(lines(pairs), out) is None
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
    said, code = copies.copy_all(lines(pairs), out)
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
    said, code = copies.copy_all(lines(pairs), out)
    assert code == 65
    assert said.startswith(f"1 result could not be written to {out}: File exists")
    assert set(files(out / "images")) == {"p1.ome.zarr/zarr.json", "p1.ome.zarr/0/c/0"}
