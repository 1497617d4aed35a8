"""Whole runs as jobs of a real SLURM: what sbatch is told, the GPU, and the demo's results."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from nextflow import PROJECT, Result, run, trace, trace_rows
from slurm_daemons import Slurm
from test_graph import job, make_environment, step

from cytoloom.environments import environment_name, environment_path

DEMO = PROJECT / "tests" / "system" / "slurm" / "demo.sh"
QUICK = "executor.pollInterval = '1 sec'\nexecutor.exitReadTimeout = '10 sec'\n"


def start(folder: Path, slurm: Slurm, *words: str) -> Result:
    """Run under SLURM without images, asking squeue often."""
    (folder / "quick.config").write_text(QUICK)
    words = ("-c", "quick.config", "-profile", "slurm,local", *words)
    return run(list(words), folder, parser="v1", env=slurm.env)  # the strict one: no -c here


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, slurm_running: Slurm) -> Result:
    """Three tasks on the CPU as an array, one on the pretended GPU, with options of a site."""
    folder = tmp_path_factory.mktemp("slurm")
    make_environment(folder / "envs")
    jobs = [job(f"In {i}", f"touch out/in.{i}", [], [f"in.{i}"]) for i in range(3)]
    say = "echo $CUDA_VISIBLE_DEVICES $SLURMD_NODENAME > out/said"
    plan = {
        "version": "0",
        "outdir": "output",
        "steps": [
            step("In", "ingest", "IMAGES", core=jobs),
            step("Gpu", "segmentation", "STARDIST", core=[job("Gpu", say, ["in.0"], ["said"])]),
        ],
    }
    asked = {"cpus": 2, "memory_mb": 300, "seconds": 600}
    plan["steps"][0]["resources"] = {"core": {**asked, "name": "In"}}
    gpu = {**asked, "name": "Gpu", "gres": "gpu:1", "options": {"qos": "normal"}}
    plan["steps"][1]["resources"] = {"core": gpu}
    (folder / "plan.yaml").write_text(json.dumps(plan))
    site = ["--partition", "cpu", "--gpu_partition", "gpu", "--gpu_type", "pretended"]
    more = ["--array_size", "3", "--cluster_options=--comment=mine"]
    return start(
        folder, slurm_running, "--pipeline", "plan.yaml", "--envs", "envs", *site, *more
    )  # fmt: skip


def header(result: Result, name: str) -> set[str]:
    """What a job told sbatch."""
    (row,) = (row for row in trace_rows(result) if row["tag"] == name)
    text = (Path(row["workdir"]) / ".command.run").read_text()
    lines = [line for line in text.splitlines() if line.startswith("#SBATCH")]
    return {word for line in lines for word in line.split()}


@pytest.mark.slow
def test_tasks_are_jobs_with_their_resources(plain: Result) -> None:
    assert plain.returncode == 0, plain.text
    assert set(trace(plain).values()) == {"COMPLETED"}
    said = header(plain, "Gpu")
    assert {"--gres=gpu:pretended:1", "gpu", "--qos=normal", "--comment=mine", "300M"} <= said
    assert "--job-name=Gpu" in said
    (row,) = (row for row in trace_rows(plain) if row["tag"] == "Gpu")
    assert "apptainer" not in (Path(row["workdir"]) / ".command.run").read_text()


@pytest.mark.slow
def test_equal_tasks_go_as_one_array(plain: Result) -> None:
    ids = {row["native_id"].split("_")[0] for row in trace_rows(plain) if row["tag"] != "Gpu"}
    assert len(ids) == 1


@pytest.mark.slow
def test_the_gpu_that_slurm_gave_arrives_in_the_task(plain: Result) -> None:
    (row,) = (row for row in trace_rows(plain) if row["tag"] == "Gpu")
    assert (Path(row["workdir"]) / "out" / "said").read_text().split() == ["0", "gpu1"]


@pytest.mark.slow
def test_a_step_that_is_given_a_gpu_and_finds_none_says_so_in_one_line(
    tmp_path: Path, slurm: Slurm, family_python
) -> None:
    """The pretended GPU is none. Its family's place is taken by the one without CUDA."""
    family_python("stardist")
    envs = tmp_path / "envs"
    envs.mkdir()
    for family, stands in (("core", "core"), ("stardist_gpu", "stardist")):
        link = envs / environment_name(family, PROJECT)
        link.symlink_to(environment_path(stands, PROJECT))
    found = PROJECT / "assets" / "demo" / "mitosis_2ch" / "C1-MAX_mitosis.tif"
    (tmp_path / "p.yaml").write_text(
        f"channels: {{A: {found}}}\nspacing: [1, 1]\nframe_interval: 1\noutput_dir: out\n"
        "image_range: {t: [0, 1]}\npipeline:\n  segmentation:\n"
        "    - {name: StarDist, tag: Nuclei, channels: [A], args: {model_name: stardist_nuclei}}\n"
    )
    (tmp_path / "r.yaml").write_text(
        "pipeline: {segmentation: {Nuclei: {partition: gpu, gres: 'gpu:1', mem: 4G}}}\n"
    )
    words = ["--pipeline", "p.yaml", "--resources", "r.yaml", "--outdir", "out"]
    result = start(tmp_path, slurm, *words, "--envs", str(envs))
    assert result.returncode == 1, result.text
    (line,) = (one for one in result.stderr.splitlines() if one.startswith("cytoloom: failed"))
    assert "gpu: true, but tensorflow finds no GPU here" in line


def demo(folder: Path, slurm: Slurm, profile: str) -> str:
    done = subprocess.run(
        [DEMO, folder, profile], capture_output=True, text=True, check=False, timeout=3000
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.full
@pytest.mark.parametrize("profile", ["slurm,local", "slurm"])
def test_the_demo_under_slurm_gives_the_results_of_the_local_profile(
    tmp_path: Path, slurm: Slurm, profile: str
) -> None:
    """``slurm``: in images."""
    said = demo(tmp_path / "demo", slurm, profile)
    assert said.rstrip().endswith("identical")
    (line,) = (one for one in said.splitlines() if one.startswith("tasks that were jobs"))
    assert int(line.split(": ")[1]) > 10
