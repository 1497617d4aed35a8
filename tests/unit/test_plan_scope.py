"""Phases over all positions, phases that an argument replaces, inputs that may be absent."""

from __future__ import annotations

from pathlib import Path

import pytest
from plan_tools import load_text

from cytoloom.plan.builder import Builder
from cytoloom.plan.layers import Grid, LayerPlan, Position, part_name
from cytoloom.plan.model import Group, Layer, Step
from cytoloom.plan.registry import load_registry

ROW = """\
Correct:
  stage: preprocessing
  tool: CORRECT
  executable: preprocess_correct
  fan_out: frames
  inputs: {image: image}
  outputs: {image: image, flatfield: flatfield}
  reads: {fields: flatfield}
  whole: [fields]
  before:
    estimate:
      executable: preprocess_estimate
      fan_out: frames
      unless: given
      reads: {image: image}
      makes: {moments: moments}
    fit:
      executable: preprocess_fit
      fan_out: position
      scope: scope
      unless: given
      reads: {moments: moments}
      makes: {flatfield: flatfield}
"""


def built(folder: Path, names=("p", "q"), output=True, **args):
    """Plan the step for four frames, in batches of two, at some positions."""
    path = folder / "steps.yaml"
    path.write_text(ROW)
    (row,) = load_registry(path)
    places = []
    for name in names:
        place = Position(name, name, Grid.of((4, 1, 64, 64), (1, 1), (2,)), (1, 1, 1), None)
        for kind in ("image", "statistics"):
            parts = tuple(
                (part_name(name, "ingest", "A", kind, i), region)
                for i, region in enumerate(place.grid.frames(2))
            )
            place.add("ingest", "A", kind, LayerPlan(name, "ingest", "A", kind, parts))
        places.append(place)
    made = {role: Layer("A", kind, "Fix") for role, kind in row.outputs.items()}
    group = Group(("A",), "A", {"image": (Layer("A", "image", "ingest"),)}, made)
    step = Step(
        1, "Correct", "Fix", "Fix", "preprocessing", row, (group,), args, {}, (), (), (), output,
        1, {},
    )  # fmt: skip
    builder = Builder(
        places, {"A": "A"}, lambda program, _: program,
        value=lambda step, name: step.args.get(name, "position"),
    )  # fmt: skip
    return builder.build(step), places


def test_each_position_has_its_own_estimate(tmp_path):
    step, places = built(tmp_path)
    assert {name: len(jobs) for name, jobs in step.phases.items()} == {
        "estimate": 4,
        "fit": 2,
        "core": 4,
    }
    for job, place in zip(step.phases["fit"], places, strict=True):
        assert all(name.startswith(f"{place.slug}.") for name in job.inputs)


def test_one_task_takes_the_moments_of_all_positions(tmp_path):
    step, places = built(tmp_path, scope="run")
    (fit,) = step.phases["fit"]
    assert fit.id == "Fix run A fit 0000"
    assert fit.inputs == [f"{p}.Fix.A.moments.000{i}.parquet" for p in "pq" for i in range(2)]
    assert "--moments 'in/*.Fix.A.moments.*.parquet'" in fit.command
    assert fit.outputs == ["run.Fix.A.flatfield.0000.tif"]
    assert fit.publish == {fit.outputs[0]: f"flatfields/{fit.outputs[0]}"}
    for job in step.phases["core"]:
        assert fit.outputs[0] in job.inputs
    found = {place.layers["Fix", "A", "flatfield"].parts for place in places}
    assert len(found) == 1


def test_the_result_does_not_depend_on_the_name_of_a_position(tmp_path):
    step, _ = built(tmp_path, ("run", "q"), scope="run")
    (fit,) = step.phases["fit"]
    assert fit.outputs == ["run_2.Fix.A.flatfield.0000.tif"]


def test_a_hidden_step_publishes_nothing(tmp_path):
    step, _ = built(tmp_path, output=False)
    assert all(job.publish == {} for job in step.phases["fit"])


@pytest.mark.parametrize("scope", ["position", "run"])
def test_an_argument_takes_the_place_of_phases(tmp_path, scope):
    step, places = built(tmp_path, given="flat.tif", scope=scope)
    assert list(step.phases) == ["core"]
    assert not any("flatfield" in name for job in step.phases["core"] for name in job.inputs)
    assert "--fields" not in step.phases["core"][0].command
    assert ("Fix", "A", "flatfield") not in places[0].layers


PIPELINE = """
channels: {{A: a.tif}}
{labels}
spacing: [1, 1]
output_dir: out
pipeline:
  preprocessing:
    - {{name: TiledMedian, channels: [A]}}
"""


@pytest.mark.parametrize("labels", ["", "labels: {A: l.tif}"])
def test_an_optional_input_is_taken_where_it_is(tmp_path, labels):
    for name in ("a.tif", "l.tif"):
        (tmp_path / name).touch()
    pipeline = load_text(tmp_path, PIPELINE.format(labels=labels))
    (group,) = pipeline.steps[0].groups
    assert [len(group.inputs[role]) for role in ("image", "label")] == [1, int(bool(labels))]
