"""GPU by request: marked in the plan, refused where there is none."""

from __future__ import annotations

import sys
from pathlib import Path
from types import MappingProxyType, SimpleNamespace

import pytest

from cytoloom import devices, provenance
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


def torch_with(model: str) -> SimpleNamespace:
    """What of torch is asked for a GPU."""
    cuda = SimpleNamespace(is_available=lambda: True, get_device_name=lambda _device: model)
    return SimpleNamespace(cuda=cuda)


def tensorflow_with(details: dict[str, str]) -> SimpleNamespace:
    """What of TensorFlow is asked for a GPU."""
    gpus = [SimpleNamespace(name="/physical_device:GPU:0")]
    experimental = SimpleNamespace(get_device_details=lambda gpu: details if gpu in gpus else {})
    config = SimpleNamespace(list_physical_devices=lambda _: gpus, experimental=experimental)
    return SimpleNamespace(config=config)


@pytest.mark.parametrize(("library", "module", "device", "noted"), [
    ("torch", torch_with("NVIDIA A100-PCIE-40GB"), "cuda:0", "NVIDIA A100-PCIE-40GB (cuda:0)"),
    ("tensorflow", tensorflow_with({"device_name": "Tesla V100", "compute_capability": "7"}),
     "GPU:0", "Tesla V100 (GPU:0)"),
    ("tensorflow", tensorflow_with({}), "GPU:0", "GPU:0"),
])  # fmt: skip
def test_a_gpu_is_taken_and_its_model_noted(monkeypatch, library, module, device, noted):
    monkeypatch.setitem(sys.modules, library, module)
    notes: dict[str, str] = {}
    monkeypatch.setattr(provenance, "note", notes.update)
    assert devices.choose_device(gpu=True, library=library) == device
    assert notes == {"device": noted}
