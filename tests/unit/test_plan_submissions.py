"""What phases ask for, what they wait for, and the sbatch lines of the dry run."""

from __future__ import annotations

from pathlib import Path

import pytest
from plan_tools import ASSETS
from planned import command

from cytoloom.plan.layers import frames_for_patches
from cytoloom.plan.resource_values import memory_text, time_text
from cytoloom.plan.submissions import Site

SHAPE = ["--assume_shape", "t=100,y=2400,x=2400"]
TWO = """\
channels: {A: a.tif, B: b.tif}
output_dir: out
pipeline:
  segmentation:
    - {name: Threshold, tag: First, channels: [A]}
    - {name: Threshold, tag: Second, channels: [B]}
  label_to_sparse:
    image_label_pair: [[A, A]]
"""


def lines(folder: Path, pipeline: str | Path, resources: str | Path, *more: str) -> dict[str, str]:
    """The submissions of a dry run by the name of the job."""
    paths = []
    for name, text in (("p.yaml", pipeline), ("r.yaml", resources)):
        path = text if isinstance(text, Path) else folder / name
        if isinstance(text, str):
            path.write_text(text)
        paths.append(path)
    words = ["--dry_run", "--pipeline", paths[0], "--resources", paths[1], *SHAPE, *more]
    done = command("plan_pipeline", *words)
    assert done.code == 0, done.err
    found = [line for line in done.out.splitlines() if line.startswith("sbatch ")]
    return {line.split("--job-name=")[1].split()[0]: line for line in found}


@pytest.mark.slow
def test_pycytos_own_files_show_the_options_that_it_documents(tmp_path: Path) -> None:
    found = lines(
        tmp_path,
        ASSETS / "pipelines" / "pipeline.template.yaml",
        ASSETS / "resources" / "pipeline-resources.yaml",
    )
    cellpose = found["Cellpose_TCell"]
    for option in (
        "--partition=gpu_short", "--gres=gpu:a100-pcie-40gb:1", "--cpus-per-task=8", "--mem=32G",
        "--dependency=afterok:RegisterDenoise", "--array=0-3",
    ):  # fmt: skip
        assert option in cellpose.split()
    assert "--time=04:00:00" in found["RegisterDenoise.denoise"]
    assert "--dependency=singleton" in found["RegisterDenoise.denoise"]
    assert "--array=0-3" in found["Normalize"]  # 4 patches, one batch
    contact = found["ContactTCellCancer"]
    assert "--cpus-per-task=14" in contact
    assert "--ntasks=7 of 2" in contact
    assert "--array" not in contact  # 6 of 4 patches per task
    assert "--gres" not in found["Cellpose_TCell.stitch"]
    assert "--partition=short" in found["Cellpose_TCell.stitch"]
    assert "--mem=128G" in found["LabelToSparse.merge"]


def resources(text: str) -> str:
    return f"pipeline: {{segmentation: {{{text}}}}}\n"


def test_afterany_counts_only_where_no_data_are_needed(tmp_path: Path) -> None:
    text = resources("Second: {dependency: First, dependency_type: afterany}")
    text = text.rstrip("\n")[:-1] + ", label_to_sparse: {core: {dependency: [First, Second], "
    text += "dependency_type: afterany}}}\n"
    found = lines(tmp_path, TWO, text)
    assert "--dependency=afterany:First" in found["Second"]
    assert "--dependency=afterok:First,afterany:Second" in found["LabelToSparse"]


def test_a_site_fills_what_the_resources_do_not_say(tmp_path: Path) -> None:
    text = resources("First: {partition: long, qos: high}")
    site = ["--partition", "short", "--account", "lab", "--qos", "low"]
    found = lines(tmp_path, TWO, text, *site)
    assert {"--partition=long", "--account=lab", "--qos=high"} <= set(found["First"].split())
    assert {"--partition=short", "--account=lab", "--qos=low"} <= set(found["Second"].split())


@pytest.mark.parametrize(
    ("asked", "gres"),
    [("gpu:1", "gpu:a100:1"), ("gpu", "gpu:a100:1"), ("gpu:2", "gpu:a100:2"),
     ("gpu:v100:1", "gpu:v100:1"), ("tmp:10", "tmp:10")],
)  # fmt: skip
def test_type_of_gpu(asked: str, gres: str) -> None:
    site = Site(partition="short", gpu_partition="gpus", gpu_type="a100").of({"gres": asked})
    assert site["gres"] == gres
    assert site["partition"] == ("short" if asked.startswith("tmp") else "gpus")


def test_container_profiles_fill_what_is_not_said(tmp_path: Path) -> None:
    text = """\
default_profile: docker
tasks:
  Second: {module: m, params: {}, dependencies: [First]}
execution_configs:
  docker:
    First: {type: container, runner: docker, image: a/b, resources: {memory: 6GB, cpus: 2}}
    Nothing: {resources: {memory: 1G}}
  bare: {First: {type: baremetal}}
"""
    found = lines(tmp_path, TWO, text)
    assert {"--mem=6G", "--cpus-per-task=2"} <= set(found["First"].split())
    assert "--dependency=afterok:First" in found["Second"]


def test_the_resources_beside_a_pipeline_are_taken_unless_others_are_given(tmp_path: Path) -> None:
    pipeline = tmp_path / "kill.assay.yaml"
    pipeline.write_text(TWO)
    words = ["--dry_run", "--pipeline", pipeline, *SHAPE]
    assert "sbatch" not in command("plan_pipeline", *words).out
    sibling = tmp_path / "pipeline-resources.kill.assay.yaml"
    sibling.write_text(resources("First: {mem: 5G}"))
    found = command("plan_pipeline", *words)
    assert "--mem=5G" in found.out
    (line,) = (line for line in found.err.splitlines() if str(sibling) in line)
    assert line.endswith("found beside the pipeline (--resources none: without)")
    assert "sbatch" not in command("plan_pipeline", *words, "--resources", "none").out
    (tmp_path / "r.yaml").write_text(resources("First: {mem: 6G}"))
    given = command("plan_pipeline", *words, "--resources", tmp_path / "r.yaml")
    assert "--mem=6G" in given.out
    assert str(sibling) not in given.err


def test_patches_per_task_become_frames() -> None:
    assert frames_for_patches(6, 4, 100) == 100
    assert frames_for_patches(6, 24, 100) == 25
    assert frames_for_patches(1, 4, 10) == 3


def test_values_as_sbatch_takes_them() -> None:
    assert (memory_text(32768), memory_text(1500)) == ("32G", "1500M")
    assert (time_text(14400), time_text(864000), time_text(61)) == (
        "04:00:00", "10-00:00:00", "00:01:01"
    )  # fmt: skip
