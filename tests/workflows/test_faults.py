"""What is killed on a cluster is tried again, with more where that helps, and nothing is lost.

Whole runs under a real SLURM: a task is killed by SIGKILL, by scancel, for its memory or its
time, a node goes down, the head of the run dies. The results are those of an undisturbed run.
"""

from __future__ import annotations

import os
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


def ended_well(gated, process, undisturbed):
    """Wait for the run; its results are whole and those of the undisturbed one."""
    assert process.wait(faults.PATIENCE) == 0, gated.said()
    assert results(gated.folder / "results") == undisturbed
    assert not half_written(gated.folder / "results")


def rows(gated, job=JOB):
    """Rows of a job in the trace of the run, by attempt."""
    outdir = gated.folder / "results"
    found = trace_rows(Result(0, "", "", outdir, outdir))
    return sorted((row for row in found if row["tag"] == job), key=lambda row: row["attempt"])


def test_a_task_killed_by_sigkill(gated, undisturbed, slurm):
    gated.arm(CUT)
    with gated.going(slurm, "--outdir", "results") as process:
        os.kill(gated.reached(process)["pid"], signal.SIGKILL)
        ended_well(gated, process, undisturbed)
    first, second = rows(gated)
    assert (first["status"], first["exit"], second["status"]) == ("FAILED", "137", "COMPLETED")
    assert not half_written(gated.folder / "work")


def test_a_task_cancelled_by_scancel(gated, undisturbed, slurm):
    gated.arm(CUT)
    with gated.going(slurm, "--outdir", "results") as process:
        slurm.run("scancel", gated.reached(process)["job"])
        ended_well(gated, process, undisturbed)
    assert [row["status"] for row in rows(gated)] == ["FAILED", "COMPLETED"]


def test_a_task_killed_for_its_memory_gets_more(gated, undisturbed, slurm):
    gated.arm(CUT, megabytes=900)  # the task has 700 MB, then 1,400
    with gated.going(slurm, "--outdir", "results") as process:
        ended_well(gated, process, undisturbed)
    first, second = rows(gated)
    assert (first["status"], second["status"]) == ("FAILED", "COMPLETED")
    assert (first["memory"], second["memory"]) == ("700 MB", "1.4 GB")


def test_a_task_killed_for_its_time_gets_more(gated, undisturbed, slurm):
    text = "pipeline: {label_to_sparse: {core: {batch_size: 2, time: 1}}}\n"
    (gated.folder / "minute.yaml").write_text(text)
    gated.arm(CUT)
    with gated.going(slurm, "--outdir", "results", resources="minute.yaml") as process:
        gated.reached(process)  # and stays until SLURM ends it
        ended_well(gated, process, undisturbed)
    asked = [limit(row) for row in rows(gated)]
    assert [row["status"] for row in rows(gated)] == ["FAILED", "COMPLETED"]
    assert asked == ["00:01:00", "00:02:00"]


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
        done = faults.finished(results_folder)
    result = gated.go(slurm, "-resume")
    assert result.returncode == 0, result.text
    assert results(results_folder) == undisturbed
    assert ran(result) == set(trace(result)) - done
    assert JOB in ran(result)
    assert not half_written(results_folder)


def only_the_gated_runs(slurm):
    """Whether SLURM holds one job only, and the head has had the time to hear of the others."""
    jobs = slurm.run("squeue", "-h", "-o", "%i").split()
    return len(jobs) == 1


def test_a_node_set_down(gated, undisturbed, slurm_alone):
    gated.arm(CUT)
    with gated.going(slurm_alone, "--outdir", "results") as process:
        job = gated.reached(process)["job"]
        down = ("scontrol", "update", "nodename=cpu1", "state=down", "reason=test")
        slurm_alone.run(*down)
        try:
            wait_for(lambda: job not in running(slurm_alone), "the job to be taken off", process)
        finally:
            # It may have come back by itself.
            slurm_alone.run("scontrol", "update", "nodename=cpu1", "state=resume", check=False)
        ended_well(gated, process, undisturbed)
    assert [row["status"] for row in rows(gated)] == ["FAILED", "COMPLETED"]


def running(slurm):
    return slurm.run("squeue", "-h", "-t", "running", "-o", "%i").split()
