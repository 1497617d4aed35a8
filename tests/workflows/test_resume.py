"""``-resume`` runs again exactly what a change reaches, under the real Nextflow.

One small run is made on a copy of the project; then, in order, nothing is changed, files
are touched, a pixel, an argument, a line of a stage and a line of the shared code are
changed, and after each the trace tells which tasks ran. At last a run is killed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time

import numpy as np
import pytest
import tifffile
from nextflow import copy_project, installed, run, trace

from cytoloom.code import modules_of

pytestmark = pytest.mark.slow

PIPELINE = """
channels: {A: a.tif, B: b.tif}
labels: {A: a_labels.tif, B: b_labels.tif}
spacing: [0.5, 0.5]
frame_interval: 30
output_dir: results
pipeline:
  label_to_sparse:
    image_label_pair: [[A, A], [B, B]]
  tracking:
    - {name: LapTrack, tag: Track, channels: [A, B], args: {linking_max_distance: 15}}
  postprocessing:
    - {name: Kinematics, channels: [A]}
"""
RESOURCES = "pipeline: {label_to_sparse: {core: {batch_size: 2}}}\n"
EVERY_CHANGE = {"unite p1", "export tables", "report", "crate"}


def write_movie(folder, name, seed):
    """Write four frames of discs that move to the right, and their labels."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((4, 96, 80), np.uint16)
    yy, xx = np.mgrid[:96, :80]
    for label, (y, x) in enumerate([(20, 15), (50, 30), (75, 20)], start=1):
        for t in range(4):
            labels[t][(yy - y) ** 2 + (xx - x - 5 * t) ** 2 < 60] = label
    image = rng.integers(90, 110, labels.shape).astype(np.uint16) + 1000 * (labels > 0)
    tifffile.imwrite(
        folder / f"{name}.tif",
        image.astype(np.uint16),
        metadata={"axes": "TYX"},
        photometric="minisblack",
    )
    tifffile.imwrite(
        folder / f"{name}_labels.tif", labels, metadata={"axes": "TYX"}, photometric="minisblack"
    )


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Make a folder with input, pipeline and a copy of the project, run once."""
    folder = tmp_path_factory.mktemp("resume")
    copy_project(folder / "project")
    for seed, name in enumerate("ab"):
        write_movie(folder, name, seed)
    (folder / "p.yaml").write_text(PIPELINE)
    (folder / "r.yaml").write_text(RESOURCES)
    result = go(folder, resume=False)
    assert result.returncode == 0, result.text
    assert set(trace(result).values()) == {"COMPLETED"}
    return folder


def go(folder, *, resume=True):
    words = ["--pipeline", "p.yaml", "--resources", "r.yaml", "--outdir", "results"]
    words += ["-resume"] if resume else []
    return run(words, folder, project=folder / "project")


def ran(folder):
    """Resume and return the ids of the tasks that ran, those that were cached left out."""
    result = go(folder)
    assert result.returncode == 0, result.text
    found = trace(result)
    assert set(found.values()) <= {"COMPLETED", "CACHED"}
    return {job for job, status in found.items() if status == "COMPLETED"}


def jobs_of(folder):
    """Return executable by job id."""
    import json

    plan = json.loads((folder / "results" / "pipeline_info" / "plan.json").read_text())
    return {
        job["id"]: job["command"].split(".py", 1)[0]
        for step in plan["steps"]
        for jobs in step["phases"].values()
        for job in jobs
    }


def test_nothing_changed_nothing_runs(work):
    assert ran(work) == set()


def test_a_touched_file_runs_nothing(work):
    os.utime(work / "a.tif")
    os.utime(work / "p.yaml")
    assert ran(work) == set()


def test_a_pixel_runs_its_region_and_what_follows(work):
    image = tifffile.imread(work / "a.tif")
    image[3, 5, 5] += 1
    tifffile.imwrite(work / "a.tif", image, metadata={"axes": "TYX"}, photometric="minisblack")
    assert ran(work) == EVERY_CHANGE | {
        "ingest p1 A image 0001",
        "LabelToSparse p1 A 0001",
        "LabelToSparse p1 A merge",
        "Track p1 A 0000",
        "Track p1 A relabel 0000",
        "Track p1 A relabel 0001",
        "Kinematics p1 A 0000",
        "export p1 Track A",
    }


def test_an_argument_runs_its_step_and_what_follows(work):
    text = (work / "p.yaml").read_text()
    (work / "p.yaml").write_text(
        text.replace("channels: [A]}", "channels: [A], args: {min_length: 2}}")
    )
    assert ran(work) == {"Kinematics p1 A 0000", "export tables", "report", "crate"}


def test_a_line_of_a_stage_runs_that_stage(work):
    with open(work / "project" / "bin" / "analyse_kinematics.py", "a") as script:
        script.write("# one more line\n")
    assert ran(work) == {"Kinematics p1 A 0000", "export tables", "report", "crate"}


def test_a_line_of_shared_code_runs_who_imports_it(work):
    project = work / "project"
    module = project / "bin" / "cytoloom" / "kinematics.py"
    with open(module, "a") as script:
        script.write("# one more line\n")
    users = {
        executable
        for executable in set(jobs_of(work).values())
        if module in modules_of(project / "bin" / f"{executable}.py")
    }
    assert users == {"analyse_kinematics"}
    assert ran(work) == {"Kinematics p1 A 0000", "export tables", "report", "crate"}


def test_a_line_that_nobody_imports_runs_nothing(work):
    with open(work / "project" / "bin" / "cytoloom" / "killing.py", "a") as script:
        script.write("# one more line\n")
    assert ran(work) == set()


def test_a_killed_run_resumes_to_the_same_results(work):
    def tables():
        folder = work / "results" / "tables"
        return {p.name: p.read_bytes() for p in sorted(folder.glob("*.csv"))}

    before = tables()
    text = (work / "p.yaml").read_text()
    (work / "p.yaml").write_text(text.replace("spacing: [0.5, 0.5]", "spacing: [0.25, 0.25]"))
    command, environment = installed.start_command()
    main = str(work / "project" / "main.nf")
    words = [main, "--pipeline", "p.yaml", "--resources", "r.yaml", "--outdir", "results"]
    process = subprocess.Popen(
        [*command, "run", *words, "-resume"],
        cwd=work,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    began = time.monotonic()
    started = set(work.glob("work/*/*"))
    while time.monotonic() - began < 120 and len(set(work.glob("work/*/*")) - started) < 4:
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (work / "p.yaml").write_text(text)
    assert not ran(work) & {"ingest p1 A image 0000", "Track p1 A 0000"}
    assert tables() == before
