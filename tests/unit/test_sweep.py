"""Sweeps: the grid, what is shared between its points, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cytoloom.plan.arguments import Signatures
from cytoloom.plan.grammar import load_pipeline
from cytoloom.plan.model import Overrides, Pipeline
from cytoloom.plan.problems import PlanProblems
from cytoloom.plan.sweep import Joined, Sweep, edited, join, load_sweep

PIPELINE = """\
channels: {Nuclei: nuclei.tif}
output_dir: results
pipeline:
  preprocessing:
    - name: GammaCorrection
      tag: Gamma
      channels: all
  segmentation:
    - name: Threshold
      tag: Seg
      channels: [Nuclei]
      args: {factor: 1.1, min_size: 20}
  label_to_sparse:
    image_label_pair: [[Nuclei, Nuclei]]
  tracking:
    - name: LapTrack
      tag: Track
      channels: [Nuclei]
"""
SIGNATURES = Signatures()


def read(folder: Path, sweep: str) -> tuple[Pipeline, Sweep]:
    """Read the pipeline and a sweep of it."""
    (folder / "nuclei.tif").touch()
    (folder / "p.yaml").write_text(PIPELINE)
    (folder / "s.yaml").write_text(sweep)
    base = load_pipeline(folder / "p.yaml", signatures=SIGNATURES)
    return base, load_sweep(folder / "s.yaml", base, SIGNATURES)


def joined(folder: Path, text: str) -> Joined:
    """Read a sweep, and put its points together as the plan does."""
    base, sweep = read(folder, text)
    pipelines = [
        load_pipeline(
            folder / "p.yaml",
            replace(Overrides(), edit=lambda root, c=choice: edited(root, base, sweep, c)),
            signatures=SIGNATURES,
        )
        for choice in sweep.points()
    ]
    return join(sweep, pipelines)


def test_shared_steps_are_there_once(tmp_path: Path) -> None:
    found = joined(
        tmp_path,
        "arguments: {Seg: {factor: [0.8, 1.0, 1.2]}, Track: {linking_max_distance: [5, 10]}}",
    )
    count: dict[str, int] = {}
    for step in found.steps:
        count[step.tag] = count.get(step.tag, 0) + 1
    assert count == {"Gamma": 1, "Seg": 3, "LabelToSparse": 3, "Track": 6}
    assert len(found.points) == 6
    assert len({step.slug for step in found.steps}) == len(found.steps)


def test_a_step_reads_what_its_own_point_made(tmp_path: Path) -> None:
    found = joined(tmp_path, "arguments: {Seg: {factor: [0.8, 1.0]}}")
    steps = {step.slug: step for step in found.steps}
    for point in found.points:
        track, table = steps[point.slugs["Track"]], steps[point.slugs["LabelToSparse"]]
        assert {x.tag for xs in track.groups[0].inputs.values() for x in xs} == {
            table.slug,
            point.slugs["Seg"],
        }
        assert {x.tag for xs in table.groups[0].inputs.values() for x in xs} == {
            "Gamma",
            point.slugs["Seg"],
        }
        assert steps[point.slugs["Seg"]].args["factor"] == point.arguments["Seg"]["factor"]
        assert steps[point.slugs["Seg"]].args["min_size"] == 20


def test_a_longer_grid_keeps_the_names_of_what_was_done(tmp_path: Path) -> None:
    short = joined(tmp_path, "arguments: {Seg: {factor: [0.8, 1.0]}}")
    long = joined(tmp_path, "arguments: {Seg: {factor: [0.6, 0.8, 1.0, 1.2]}}")
    assert {s.slug for s in short.steps} < {s.slug for s in long.steps}


def test_ranges_and_crop(tmp_path: Path) -> None:
    _, sweep = read(
        tmp_path,
        "arguments: {Seg: {factor: {from: 0.5, to: 1.5, count: 3}, "
        "min_size: {from: 10, to: 30, count: 3}}}\ncrop: {t: [0, 3]}\nrank_by: TRA",
    )
    assert [[node.value for node in values] for _, _, values in sweep.axes] == [
        [0.5, 1.0, 1.5],
        [10, 20, 30],
    ]
    assert (sweep.crop["t"].start, sweep.crop["t"].stop, sweep.rank_by) == (0, 3, "TRA")


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("arguments: {Segg: {factor: [1]}}", 1, "no step with this tag; did you mean Seg?"),
        (
            "arguments:\n  Seg: {facto: [1]}",
            2,
            "unknown argument of Threshold; did you mean factor",
        ),
        ("arguments:\n  Seg:\n    factor: [1, big]", 3, "must be a number"),
        ("arguments:\n  Seg:\n    factor: 1", 3, "must be a list of values"),
        ("arguments: {Seg: {factor: {from: 1, to: 2}}}", 1, "has no count"),
        ("arguments: {}", 1, "map tags to arguments"),
        ("crop: {t: [0, 1]}", 1, "map tags to arguments"),
        ("argument: {Seg: {factor: [1]}}", 1, "did you mean arguments?"),
        ("arguments: {Seg: {factor: {from: 0, to: 1, count: 900}}}", 1, "more than the 400"),
    ],
)
def test_mistakes_have_line_and_key(tmp_path: Path, text: str, line: int, message: str) -> None:
    with pytest.raises(PlanProblems) as error:
        read(tmp_path, text)
    assert any(f"s.yaml:{line}: " in one and message in one for one in error.value.lines)
