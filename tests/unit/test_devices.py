"""GPU by request: marked in the plan, refused where there is none."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

import pytest

from cytoloom import devices
from cytoloom.errors import BadData
from cytoloom.plan.builder import Builder
from cytoloom.plan.layers import Grid, LayerPlan, Position, part_name
from cytoloom.plan.model import Group, Layer, Step
from cytoloom.plan.registry import Row, load_registry

ROW = """\
Network:
  stage: segmentation
  tool: NETWORK
  executable: segment_network
  family: network
  fan_out: patch
  seams: true
  gpu: optional
  gpu_family: network_gpu
  inputs: {image: image}
  outputs: {label: label}
"""


def jobs_of(row: Row, args: dict[str, object]):
    """Plan one image of two patches; return the jobs of all phases."""
    place = Position("p", "p", Grid.of((1, 1, 64, 128), (1, 2), ()), (1, 1, 1), None)
    parts = tuple(
        (part_name("p", "ingest", "A", "image", i), region)
        for i, region in enumerate(place.grid.tiles(None))
    )
    place.add("ingest", "A", "image", LayerPlan("p", "ingest", "A", "image", parts))
    groups = (
        Group(("A",), "A", {"image": (Layer("A", "image", "ingest"),)},
              {"label": Layer("A", "label", "S")}),
    )  # fmt: skip
    step = Step(
        1, row.name, "S", "S", row.stage, row, groups, args,
        MappingProxyType({row.executable: frozenset({"gpu"})}), (), (), (), True, 1, {},
    )  # fmt: skip
    planned = Builder([place], {"A": "A"}, lambda *_: "code").build(step)
    return planned.phases


@pytest.fixture
def row(tmp_path: Path) -> Row:
    """A row of a step that can use a GPU."""
    (tmp_path / "steps.yaml").write_text(ROW)
    (found,) = load_registry(tmp_path / "steps.yaml")
    return found


@pytest.mark.parametrize(("args", "family", "gpu"), [
    ({}, "network", False), ({"gpu": False}, "network", False),
    ({"gpu": True}, "network_gpu", True),
])  # fmt: skip
def test_gpu_chooses_the_family_of_the_network_alone(row, args, family, gpu):
    phases = jobs_of(row, args)
    assert {(job.family, job.gpu) for job in phases["core"]} == {(family, gpu)}
    assert {(job.family, job.gpu) for job in phases["number"] + phases["stitch"]} == {
        ("core", False)
    }


def test_a_missing_gpu_is_refused_in_one_line(monkeypatch):
    monkeypatch.setattr(devices, "find_gpu", lambda _: None)
    monkeypatch.delenv(devices.ALLOW_CPU, raising=False)
    assert devices.choose_device(gpu=False, library="torch") == "cpu"
    with pytest.raises(BadData, match=r"torch finds no GPU here.*gpu: false") as caught:
        devices.choose_device(gpu=True, library="torch")
    assert "\n" not in str(caught.value)
    monkeypatch.setenv(devices.ALLOW_CPU, "1")
    assert devices.choose_device(gpu=True, library="torch") == "cpu"


def test_a_gpu_is_taken(monkeypatch):
    monkeypatch.setattr(devices, "find_gpu", lambda _: "cuda:0")
    assert devices.choose_device(gpu=True, library="torch") == "cuda:0"
