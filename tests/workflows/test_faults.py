"""What is killed on a cluster is tried again, with more where that helps, and nothing is lost.

Whole runs under a real SLURM: a task is killed by SIGKILL, by scancel, for its memory or its
time, a node goes down, the head of the run dies. The results are those of an undisturbed run.
"""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import faults
import pytest
from faults import Gated, half_written, ran, results, wait_for
from nextflow import Result, trace, trace_rows

pytestmark = pytest.mark.full

CUT = "*.LabelToSparse.A.*.0001.parquet"  # made by the job below
JOB = "LabelToSparse p1 A 0001"


@pytest.fixture(scope="module")
def gated(tmp_path_factory):
    return Gated(tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="module")
def undisturbed(gated, slurm_running):
    """Results of a run that nothing happens to."""
    result = gated.go(slurm_running, "--outdir", "undisturbed")
    assert result.returncode == 0, result.text
    assert set(trace(result).values()) == {"COMPLETED"}
    return results(result.outdir)


def ended_well(gated, slurm, process, undisturbed, resources="r.yaml"):
    """Wait for the run: nothing ran twice but the job that was hurt, and nothing is lost.

    The results are those of the undisturbed run, no file is half-written, not even in the work
    folder, and a resumed run has nothing left to do.
    """
    assert process.wait(faults.PATIENCE) == 0, gated.said()
    assert results(gated.folder / "results") == undisturbed
    assert not half_written(gated.folder)
    found = rows(gated)
    assert [row["status"] for row in found if row["tag"] == JOB] == ["FAILED", "COMPLETED"]
    others = [row["tag"] for row in found if row["tag"] != JOB]
    assert len(others) == len(set(others))
    again = gated.go(slurm, "-resume", resources=resources)
    assert again.returncode == 0, again.text
    assert set(trace(again).values()) == {"CACHED"}
    assert results(again.outdir) == undisturbed
    return [row for row in found if row["tag"] == JOB]


def mended(gated, slurm, undisturbed):
    """Resume a run that ended: what had finished is taken as it is, and all comes to its end."""
    outdir = gated.folder / "results"
    done = faults.finished(outdir)
    result = gated.go(slurm, "-resume")
    assert result.returncode == 0, result.text
    assert results(outdir) == undisturbed
    assert ran(result) == set(trace(result)) - done
    assert not half_written(gated.folder)
    return result


def rows(gated):
    """Rows of the trace of the run, by attempt."""
    outdir = gated.folder / "results"
    return sorted(
        trace_rows(Result(0, "", "", outdir, outdir)), key=lambda row: (row["tag"], row["attempt"])
    )


def test_a_task_killed_by_sigkill(gated, undisturbed, slurm):
    gated.arm(CUT)
    with gated.going(slurm, "--outdir", "results") as process:
        os.kill(gated.reached(process)["pid"], signal.SIGKILL)
        first, _ = ended_well(gated, slurm, process, undisturbed)
    assert first["exit"] == "137"


def test_a_task_cancelled_by_scancel(gated, undisturbed, slurm):
    gated.arm(CUT)
    with gated.going(slurm, "--outdir", "results") as process:
        slurm.run("scancel", gated.reached(process)["job"])
        ended_well(gated, slurm, process, undisturbed)


def test_a_task_killed_for_its_memory_gets_more(gated, undisturbed, slurm):
    gated.arm(CUT, megabytes=900)  # the task has 700 MB, then 1,400
    with gated.going(slurm, "--outdir", "results") as process:
        first, second = ended_well(gated, slurm, process, undisturbed)
    assert (first["memory"], second["memory"]) == ("700 MB", "1.4 GB")


def test_a_task_killed_for_its_time_gets_more(gated, undisturbed, slurm):
    text = "pipeline: {label_to_sparse: {core: {batch_size: 2, time: 1}}}\n"
    (gated.folder / "minute.yaml").write_text(text)
    gated.arm(CUT)
    with gated.going(slurm, "--outdir", "results", resources="minute.yaml") as process:
        gated.reached(process)  # and stays until SLURM ends it
        tried = ended_well(gated, slurm, process, undisturbed, "minute.yaml")
    assert [limit(row) for row in tried] == ["00:01:00", "00:02:00"]


def test_a_task_that_no_memory_is_enough_for_ends_the_run_which_is_resumed(
    gated, undisturbed, slurm
):
    gated.arm(CUT, megabytes=2300)  # the task has 700 MB, 1,400 and at last 2,100
    failed = gated.go(slurm)
    gated.disarm()
    assert failed.returncode != 0
    (line,) = (one for one in failed.stderr.splitlines() if one.startswith("cytoloom: failed"))
    assert JOB in line
    assert "memory" in line
    assert [row["status"] for row in rows(gated) if row["tag"] == JOB] == ["FAILED"] * 3
    assert not half_written(gated.folder)
    assert JOB in ran(mended(gated, slurm, undisturbed))


def limit(row):
    """Time that a task asked SLURM for."""
    text = (Path(row["workdir"]) / ".command.run").read_text()
    return next(line.split()[-1] for line in text.splitlines() if line.startswith("#SBATCH -t"))


def test_the_head_killed_and_resumed(gated, undisturbed, slurm):
    gated.arm(CUT)
    results_folder = gated.folder / "results"
    with gated.going(slurm, "--outdir", "results") as process:
        gated.reached(process)
        wait_for(lambda: len(faults.finished(results_folder)) >= 5, "finished tasks", process)
        wait_for(lambda: only_the_gated_runs(slurm), "the others to end", process)
        process.kill()
        process.wait()
    assert JOB in ran(mended(gated, slurm, undisturbed))


def only_the_gated_runs(slurm):
    """Whether SLURM holds one job only, and the head has had the time to hear of the others."""
    jobs = slurm.run("squeue", "-h", "-o", "%i").split()
    return len(jobs) == 1


def test_a_node_set_down(gated, undisturbed, slurm_alone):
    gated.arm(CUT)
    with gated.going(slurm_alone, "--outdir", "results") as process:
        job = gated.reached(process)["job"]
        wait_for(lambda: only_the_gated_runs(slurm_alone), "the others to end", process)
        down = ("scontrol", "update", "nodename=cpu1", "state=down", "reason=test")
        slurm_alone.run(*down)
        try:
            wait_for(lambda: job not in running(slurm_alone), "the job to be taken off", process)
        finally:
            # It may have come back by itself.
            slurm_alone.run("scontrol", "update", "nodename=cpu1", "state=resume", check=False)
        ended_well(gated, slurm_alone, process, undisturbed)


def running(slurm):
    return slurm.run("squeue", "-h", "-t", "running", "-o", "%i").split()


def test_a_chunk_of_the_input_is_damaged_and_copied_again(gated, undisturbed, slurm):
    """Found before anything runs; once it is whole again, nothing runs either."""
    shutil.copytree(
        gated.folder / "undisturbed" / "images" / "p1.ome.zarr", gated.folder / "in.ome.zarr"
    )
    text = faults.PIPELINE.replace("A: a.tif", "A: {path: in.ome.zarr, channel: A}")
    assert text != faults.PIPELINE
    (gated.folder / "store.yaml").write_text(text)
    words = ["--pipeline", "store.yaml", "--outdir", "from store"]
    whole = gated.go(slurm, *words)
    assert whole.returncode == 0, whole.text
    kept = results(whole.outdir)
    chunk = gated.folder / "in.ome.zarr" / "0" / "c" / "1" / "0" / "0" / "0" / "0"
    content = chunk.read_bytes()
    chunk.chmod(0o644)
    chunk.write_bytes(content[: len(content) // 2])
    refused = gated.go(slurm, *words, "-resume")
    assert refused.returncode == 65
    (line,) = refused.stderr.splitlines()
    assert "in.ome.zarr: damaged: array 0, chunk t=2:3," in line
    assert "file 0/c/1/0/0/0/0 (" in line
    assert "copy this file again" in line
    assert results(whole.outdir) == kept
    chunk.write_bytes(content)
    again = gated.go(slurm, *words, "-resume")
    assert again.returncode == 0, again.text
    assert set(trace(again).values()) == {"CACHED"}
    assert results(whole.outdir) == kept


def test_a_chunk_in_the_work_folder_is_damaged_and_made_anew(gated, undisturbed, slurm):
    whole = gated.go(slurm)
    assert whole.returncode == 0, whole.text
    folders = {row["tag"]: Path(row["workdir"]) for row in rows(gated)}
    (store,) = (folders["ingest p1 A label 0001"] / "out").glob("*.label.*.zarr")
    (shard,) = (path for path in (store / "0" / "c").rglob("*") if path.is_file())
    content = shard.read_bytes()
    shard.unlink()  # results are links of it: they are whole
    shard.write_bytes(content[: len(content) // 2])
    shutil.rmtree(folders[JOB] / "out")  # what reads the store has to run again

    failed = gated.go(slurm, "-resume")
    assert failed.returncode != 0
    (line,) = (one for one in failed.stderr.splitlines() if one.startswith("cytoloom: failed"))
    assert f"{store}: damaged: array 0, chunk t=2:3," in line
    assert "delete this store and run again with -resume" in line
    assert not half_written(gated.folder)
    shutil.rmtree(store)
    result = gated.go(slurm, "-resume")
    assert result.returncode == 0, result.text
    assert results(result.outdir) == undisturbed
    kept = {name for name, status in trace(result).items() if status == "CACHED"}
    assert kept == {
        "ingest p1 A image 0000", "ingest p1 A image 0001", "ingest p1 A label 0000",
        "LabelToSparse p1 A 0000",
    }  # fmt: skip
