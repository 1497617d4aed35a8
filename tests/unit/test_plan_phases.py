"""Phases before a step's own: what each task reads and makes, and what is delivered."""

from __future__ import annotations

from pathlib import Path

import pytest

from cytoloom.plan.builder import Builder
from cytoloom.plan.jobs import PlannedStep
from cytoloom.plan.layers import Grid, LayerPlan, Position, part_name
from cytoloom.plan.model import Group, Layer, Step
from cytoloom.plan.registry import RegistryError, load_registry

ROW = """\
Correct:
  stage: preprocessing
  tool: CORRECT
  executable: preprocess_correct
  family: ants
  fan_out: frames
  inputs: {image: image}
  outputs: {image: image, drift: drift}
  reads: {fields: fields}
  whole: [fields]
  phase: apply
  before:
    estimate:
      executable: preprocess_estimate
      fan_out: frames
      around: 1
      reads: {image: image}
      makes: {moments: moments}
    gather:
      executable: preprocess_gather
      family: core
      fan_out: position
      reads: {moments: moments}
      makes: {fields: fields, drift: drift}
"""


def registry_of(folder: Path, text: str = ROW):
    """Read a registry of its own."""
    path = folder / "steps.yaml"
    path.write_text(text)
    return load_registry(path)


@pytest.fixture
def planned(tmp_path: Path) -> tuple[PlannedStep, Position]:
    """Six frames in batches of two, planned for one channel."""
    (row,) = registry_of(tmp_path)
    place = Position("p", "p", Grid.of((6, 1, 64, 64), (1, 1), (2,)), (1, 1, 1), None)
    for kind in ("image", "statistics"):
        parts = tuple(
            (part_name("p", "ingest", "A", kind, i), region)
            for i, region in enumerate(place.grid.frames(2))
        )
        place.add("ingest", "A", kind, LayerPlan("p", "ingest", "A", kind, parts))
    image = Layer("A", "image", "ingest")
    made = {role: Layer("A", kind, "Fix") for role, kind in row.outputs.items()}
    takes = {
        "preprocess_correct": frozenset({"order"}),
        "preprocess_estimate": frozenset({"radius", "order"}),
        "preprocess_gather": frozenset[str](),
    }
    step = Step(
        1, "Correct", "Fix", "Fix", "preprocessing", row,
        (Group(("A",), "A", {"image": (image,)}, made),),
        {"radius": 3, "order": 1}, takes, (), (), (), True, 1, {},
    )  # fmt: skip
    builder = Builder([place], {"A": "A"}, lambda program, family: f"{program}@{family}")
    return builder.build(step), place


def test_phases_in_order_with_their_processes(planned: tuple[PlannedStep, Position]) -> None:
    step, _ = planned
    assert {name: len(jobs) for name, jobs in step.phases.items()} == {
        "estimate": 3,
        "gather": 1,
        "apply": 3,
    }
    assert step.tool == "CORRECT"
    assert [step.tools[name] for name in ("estimate", "gather")] == [
        "CORRECT_ESTIMATE",
        "CORRECT_GATHER",
    ]


def test_each_phase_has_its_own_code_family_and_arguments(
    planned: tuple[PlannedStep, Position],
) -> None:
    step, _ = planned
    first = {name: jobs[0] for name, jobs in step.phases.items()}
    assert {name: job.code for name, job in first.items()} == {
        "estimate": "preprocess_estimate@ants",
        "gather": "preprocess_gather@core",
        "apply": "preprocess_correct@ants",
    }
    assert "--radius 3 --order 1" in first["estimate"].command
    assert "--radius" not in first["gather"].command
    assert first["apply"].command.endswith("--order 1")


def test_a_task_reads_frames_around_and_whole_roles(planned: tuple[PlannedStep, Position]) -> None:
    step, _ = planned
    images = [[n for n in job.inputs if ".image." in n] for job in step.phases["estimate"]]
    assert [len(names) for names in images] == [2, 3, 2]
    (gather,) = step.phases["gather"]
    assert len(gather.inputs) == 3
    assert "--region" not in gather.command
    for job in step.phases["apply"]:
        assert sorted(name.split(".")[3] for name in job.inputs) == ["fields", "image"]


def test_what_is_no_output_stays_inside(planned: tuple[PlannedStep, Position]) -> None:
    step, place = planned
    assert place.layers["Fix", "A", "moments"].inner
    assert place.layers["Fix", "A", "fields"].inner
    assert not place.layers["Fix", "A", "drift"].inner
    assert not any(".drift." in name for job in step.phases["apply"] for name in job.outputs)


@pytest.mark.parametrize("bad", ["executable: preprocess_estimate", "fan_out: frames\n"])
def test_a_wrong_phase_is_refused(tmp_path: Path, bad: str) -> None:
    text = ROW.replace(bad, bad.replace("executable", "program").replace("frames", "frame"), 2)
    with pytest.raises(RegistryError):
        registry_of(tmp_path, text)
