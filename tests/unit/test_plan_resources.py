"""The resource YAML: values, sub-jobs, dependencies, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from plan_tools import ASSETS, COMPLETE, load, load_text

from cytoloom.plan.problems import PlanProblems
from cytoloom.plan.resources import Resources, Wait, load_resources

PAIRS = {
    "pipeline-resources": "pipeline.template",
    "pipeline-resources-deploy": "pipeline_cytox_confocal",
    "pipeline-resources-docker": "pipeline_docker",
    "pipeline-resources-gpu": "pipeline_UTSE",
}


def read(folder: Path, text: str, **overrides: Any) -> Resources:
    pipeline = load_text(folder, COMPLETE, **overrides)
    path = folder / "r.yaml"
    path.write_text(text)
    return load_resources(path, pipeline)


def refused(folder: Path, text: str) -> list[str]:
    with pytest.raises(PlanProblems) as caught:
        read(folder, text)
    return [line.removeprefix(f"{folder / 'r.yaml'}:") for line in caught.value.lines]


def step(written: str) -> str:
    return f"pipeline: {{segmentation: {{Nuclei: {{{written}}}}}}}\n"


@pytest.mark.parametrize(
    ("written", "field", "value"),
    [
        ("mem: 32G", "memory_mb", 32768),
        ("mem: 1024M", "memory_mb", 1024),
        ("mem: 2048K", "memory_mb", 2),
        ("mem: 1.5T", "memory_mb", 1572864),
        ("mem: 500", "memory_mb", 500),
        ("mem: 8GB", "memory_mb", 8192),
        ('time: "04:00:00"', "seconds", 14400),
        ("time: 04:00:00", "seconds", 14400),
        ('time: "10-00:00:00"', "seconds", 864000),
        ('time: "1-12"', "seconds", 129600),
        ('time: "1-12:30"', "seconds", 131400),
        ('time: "90:30"', "seconds", 5430),
        ("time: 90", "seconds", 5400),
        ("cpus-per-task: 8", "cpus", 8),
        ("ntasks: 7", "ntasks", 7),
        ("gres: gpu:a100-pcie-40gb:1", "gres", "gpu:a100-pcie-40gb:1"),
        ("partition: gpu_short", "partition", "gpu_short"),
        ("dependency: singleton", "singleton", True),
        ("dependency: Normalize", "dependency", (Wait("Normalize"),)),
        ("dependency: [Merge, singleton]", "dependency", (Wait("Merge"),)),
        ("dependency: 'Merge, Normalize'", "dependency", (Wait("Merge"), Wait("Normalize"))),
        ("dependency: [patching]", "dependency", ()),
        ("dependency: null", "dependency", ()),
        ('cpus-per-task: "8"', "cpus", 8),
        ("mem: 32GB", "memory_mb", 32768),
        ("mem: null", "memory_mb", None),
        ("time: 10-00:00:00", "seconds", 864000),
        ("gres: [gpu:a100:1, 'tmp:100']", "gres", "gpu:a100:1,tmp:100"),
        ("gres: null", "gres", None),
        ("partition: [short, long]", "partition", "short,long"),
        ("qos: high", "options", {"qos": "high"}),
        ("dependency_type: afterany", "dependency_type", "afterany"),
        ("batch_size: null", "batch_size", None),
    ],
)
def test_values(tmp_path: Path, written: str, field: str, value: object) -> None:
    resources = read(tmp_path, step(written))
    assert getattr(resources.steps["Nuclei"].job, field) == value


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("mem: 32X", "must be memory such as 32G"),
        ("mem: 32B", "must be memory"),
        ("mem: 0", "must be memory"),
        ("mem: [1]", "must be memory"),
        ("time: soon", "must be a time such as"),
        ("time: 1:2:3:4", "must be a time such as"),
        ("gres: 'gpu 1'", "must be name:type:count"),
        ("partition: a b", "must be the name of a partition"),
        ("cpus-per-task: 0", "at least 1"),
        ("batch_size: many", "a whole number"),
        ("cpus_per_task: 4", "did you mean cpus-per-task?"),
        ("dependency: Normalise", "did you mean Normalize?"),
        ("dependency_type: afterokay", "did you mean afterok?"),
        ("core: {memory: 3}, number: {}", "unknown key of resources"),
    ],
)
def test_refused_values(tmp_path: Path, written: str, message: str) -> None:
    (problem,) = refused(tmp_path, step(written))
    assert problem.startswith("1: pipeline.segmentation.Nuclei")
    assert message in problem


def test_sub_jobs_inherit(tmp_path: Path) -> None:
    text = "pipeline:\n  label_to_sparse:\n    partition: short\n    core: {batch_size: 100}\n"
    text += "    merge: {mem: 128G, partition: long}\n"
    resources = read(tmp_path, text)
    found = resources.steps["LabelToSparse"]
    assert (found.part("core").partition, found.part("merge").partition) == ("short", "long")
    assert found.part("merge").memory_mb == 131072
    assert resources.batch_size("LabelToSparse") == 100
    assert resources.batch_size("Track") is None


def test_resources_by_tag_of_tabulation(tmp_path: Path) -> None:
    text = "pipeline: {label_to_sparse: {LabelToSparse: {core: {batch_size: 7}}}}\n"
    assert read(tmp_path, text).batch_size("LabelToSparse") == 7


def test_unknown_names_all_at_once(tmp_path: Path) -> None:
    text = (
        "pipelines: 3\npipeline:\n  segmentaton: {}\n  segmentation:\n    Nuclej: {mem: 1G}\n"
        "    Track: {mem: 1G}\n  tracking:\n    Nothing: {}\n    Track: 5\n"
    )
    found = refused(tmp_path, text)
    assert [int(line.split(":")[0]) for line in found] == [1, 3, 5, 6, 8, 9]
    assert "did you mean pipeline?" in found[0]
    assert "did you mean segmentation?" in found[1]
    assert "did you mean Nuclei?" in found[2]
    assert "is a step of tracking, not of segmentation" in found[3]
    assert "the pipeline has no step with this tag in tracking" in found[4]
    assert "must be a mapping of resources, not 5" in found[5]


def test_circle_of_dependencies_is_named(tmp_path: Path) -> None:
    text = (
        "pipeline:\n  preprocessing:\n    Merge: {dependency: Contact}\n"
        "  segmentation:\n    Nuclei:\n      dependency: [Refine, Merge]\n"
        "    Refine: {dependency: Refine}\n"
    )
    found = refused(tmp_path, text)
    assert all("dependencies go in a circle" in line for line in found)
    assert any("Refine waits for Refine" in line for line in found)
    assert any(line.startswith("3:") and "Merge waits for Contact" in line for line in found)
    assert any("Nuclei waits for Refine, which needs the results of Nuclei" in line
               for line in found)  # fmt: skip


def test_steps_after_until_are_known(tmp_path: Path) -> None:
    text = "pipeline: {postprocessing: {Contact: {batch_size: 6}}}\n"
    assert read(tmp_path, text, until="Nuclei").batch_size("Contact") == 6


def test_every_resource_template_has_a_partner() -> None:
    assert {p.stem for p in (ASSETS / "resources").glob("*.yaml")} >= set(PAIRS)


@pytest.mark.parametrize("name", PAIRS)
def test_templates(name: str) -> None:
    pipeline = load(ASSETS / "pipelines" / f"{PAIRS[name]}.yaml", dry_run=True)
    resources = load_resources(ASSETS / "resources" / f"{name}.yaml", pipeline)
    assert set(resources.steps) <= {step.tag for step in pipeline.steps}
    if name == "pipeline-resources":
        contact = resources.steps["ContactTCellCancer"].job
        assert (contact.ntasks, contact.batch_size, contact.memory_mb) == (7, 6, 92160)
        assert resources.patching is not None
        assert resources.patching.cpus == 3
