"""Room on the disk: nothing is held twice, cleaning up takes no result, a full disk loses nothing.

What the dry run states of files and bytes is held against what a run writes.
"""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from pathlib import Path

import faults
import nextflow
import pytest
from nextflow import run, trace, trace_rows

pytestmark = pytest.mark.slow
WORDS = ["--pipeline", "p.yaml", "--resources", "r.yaml", "--outdir", "results"]


def prepare(folder: Path, side: int = 300) -> None:
    """Write a movie of noise, which does not compress, and its pipeline."""
    faults.movie(folder, size=(side, side))
    (folder / "p.yaml").write_text(faults.PIPELINE)
    (folder / "r.yaml").write_text(faults.RESOURCES)


def room(*folders: Path) -> int:
    """Bytes of the files in folders, each hard-linked file once, as du counts them.

    A CSV, which users may edit, is a copy; here it counts for nothing.
    """
    every = (path for folder in folders for path in folder.rglob("*"))
    files = (path for path in every if not path.is_symlink() and path.suffix != ".csv")
    found = {
        about.st_ino: about.st_size for path in files if (about := path.stat()) and path.is_file()
    }
    return sum(found.values())


def test_results_take_no_room_of_their_own_and_stay_after_cleanup(tmp_path):
    prepare(tmp_path)
    result = run(WORDS, tmp_path, "v1")
    assert result.returncode == 0, result.text
    shards = [path for path in result.outdir.rglob("0/c/**/*") if path.is_file()]
    assert shards
    assert all(path.stat().st_nlink > 1 for path in shards)
    stores = [tmp_path / "results" / "images", tmp_path / "results" / "tracks"]
    both, work = room(tmp_path / "work", *stores), room(tmp_path / "work")
    assert both == work
    linked = [
        path
        for path in result.outdir.rglob("*")
        if path.is_file() and path.stat().st_nlink > 1 and path.suffix != ".csv"
    ]
    assert not [path for path in linked if path.stat().st_mode & 0o222], (
        "linked files are read-only"
    )

    before = faults.results(result.outdir)
    inputs = {path: path.read_bytes() for path in tmp_path.glob("*.tif")}
    cleaned = run([*WORDS, "-resume", "--cleanup"], tmp_path, "v1")
    assert cleaned.returncode == 0, cleaned.text
    assert len(faults.ran(cleaned)) <= 1, "but for what tells the words of the command line"
    left = list((tmp_path / "work").glob("??/*"))
    assert len(left) == len(faults.ran(cleaned)), "what this run did not use of the earlier one"
    assert faults.results(result.outdir) == before
    assert {path: path.read_bytes() for path in tmp_path.glob("*.tif")} == inputs


def test_the_dry_run_states_what_is_written(tmp_path):
    prepare(tmp_path)
    stated = run([*WORDS, "--dry_run"], tmp_path, "v1")
    line = next(line for line in stated.stdout.splitlines() if line.startswith("Expected: "))
    numbers = [float(word.replace(",", "")) for word in line.split() if word[0].isdigit()]
    files, megabytes, _ = numbers
    result = run(WORDS, tmp_path, "v1")
    assert result.returncode == 0, result.text
    made = [Path(row["workdir"]) / "out" for row in trace_rows(result)]
    found = {path.stat().st_ino: path for out in made for path in out.rglob("*") if path.is_file()}
    size = sum(path.stat().st_size for path in found.values())
    assert 0.7 * len(found) <= files <= 1.3 * len(found), (line, len(found))
    assert size <= megabytes * 2**20
    assert size > 0.1 * megabytes * 2**20, "noise does not compress away"


@contextmanager
def small_disk(folder: Path, size: str):
    """Mount a file system of a given size; yields a function that changes its size."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, check=False).returncode:
        pytest.skip("a file system can be mounted by root only")
    try:
        yield lambda larger: subprocess.run(
            ["mount", "-o", f"remount,size={larger}", str(folder)], check=True
        )
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.full
def test_a_disk_that_is_full_while_a_shard_is_written(tmp_path, slurm):
    prepare(tmp_path, side=1200)
    (tmp_path / "quick.config").write_text(faults.CONFIG)
    words = [*WORDS, "-c", "quick.config", "-profile", "slurm,local"]

    def run(words):
        # A copy: methods.md names the commit of a checkout, and whether it has changes.
        return nextflow.run(words, tmp_path, "v1", env=slurm.env, project=project)

    project = nextflow.copy_project(tmp_path / "project")
    plain = run([*words, "--outdir", "plain"])
    assert plain.returncode == 0, plain.text
    with small_disk(tmp_path / "small", "1m") as resize:
        words += ["-w", str(tmp_path / "small")]
        failed = run(words)
        assert failed.returncode != 0
        (said,) = [line for line in failed.stderr.splitlines() if "cytoloom: failed:" in line]
        assert said.endswith("the disk is full (or over quota): make room and resume")
        assert not faults.half_written(tmp_path)
        done = faults.finished(failed.outdir)
        resize("200m")
        result = run([*words, "-resume"])
        assert result.returncode == 0, result.text
        assert faults.ran(result) == set(trace(result)) - done
        assert faults.results(result.outdir) == faults.results(tmp_path / "plain")
        assert not faults.half_written(tmp_path)


@pytest.mark.full
def test_an_output_folder_that_is_full(tmp_path):
    """It is on another file system than the work folder, so results are copies."""
    prepare(tmp_path, side=1200)
    with small_disk(tmp_path / "results", "1m") as resize:
        failed = run(WORDS, tmp_path, "v1")
        assert failed.returncode != 0
        (line,) = [line for line in failed.stderr.splitlines() if "could not be written" in line]
        assert line.endswith(
            f"could not be written to {failed.outdir}: the disk is full (or over quota): "
            "make room and run again with -resume"
        )
        assert "Failed to publish" not in failed.text
        assert not faults.half_written(tmp_path)
        kept = faults.results(failed.outdir)
        pages = [
            failed.outdir / "pipeline_info" / f"{name}.html" for name in ("report", "timeline")
        ]
        assert all(page.read_text().rstrip().endswith("</html>") for page in pages if page.exists())
        resize("200m")
        result = run([*WORDS, "-resume"], tmp_path, "v1")
        assert result.returncode == 0, result.text
        assert set(trace(result).values()) == {"CACHED"}
        assert all(page.exists() for page in pages)
        copied = faults.results(result.outdir)
        assert kept.items() <= copied.items()
        made = [Path(row["workdir"]) / "out" for row in trace_rows(result)]
        (store,) = [out / "p1.ome.zarr" for out in made if (out / "p1.ome.zarr").exists()]
        whole = {f"images/p1.ome.zarr/{name}": one for name, one in faults.results(store).items()}
        assert "images/p1.ome.zarr/0/zarr.json" in whole
        assert {n: one for n, one in copied.items() if n.startswith("images/")} == whole


@pytest.mark.full
def test_an_input_folder_that_cannot_be_written(tmp_path, slurm):
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    prepare(inputs)
    project = nextflow.copy_project(tmp_path / "project")  # not a checkout, as above
    plain = run([*WORDS[:-1], str(tmp_path / "plain")], inputs, "v1", project=project)
    assert plain.returncode == 0, plain.text
    mount = ["mount", "--bind", "-o", "ro", str(inputs), str(inputs)]
    if os.geteuid() or subprocess.run(mount, check=False).returncode:
        pytest.skip("a folder can be mounted read-only by root only")
    try:
        start = tmp_path / "start"
        start.mkdir()
        words = ["--pipeline", f"{inputs}/p.yaml", "--resources", f"{inputs}/r.yaml"]
        more = ["--outdir", "results", "-profile", "slurm,local"]
        result = run([*words, *more], start, "v1", env=slurm.env, project=project)
        assert result.returncode == 0, result.text
        assert faults.results(result.outdir) == faults.results(tmp_path / "plain")
        refused = run([*words, "--outdir", str(inputs / "results")], start, "v1")
        assert refused.returncode in (2, 65, 66, 73)
        (line,) = refused.stderr.splitlines()
        assert str(inputs) in line
    finally:
        subprocess.run(["umount", "-l", str(inputs)], check=True)
