"""CellPose in a plan: its model decides on the environment, its diameter on the first phase."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import planned
import pytest
import tifffile

PIPELINE = """
channels: {{A: a.tif}}
spacing: [0.5, 0.5]
output_dir: out
patching: {{patch_count: [1, 2]}}
pipeline:
  segmentation:
    - {{name: CellPose, channels: [A], args: {{{args}}}}}
"""


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """Plan a pipeline of one CellPose step; return its end, and its jobs by phase."""
    monkeypatch.setenv("CYTOLOOM_CACHE", str(tmp_path / "cache"))
    image = np.random.default_rng(0).integers(0, 900, (2, 100, 300)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="minisblack")

    def make(args):
        (tmp_path / "p.yaml").write_text(PIPELINE.format(args=args))
        ended = planned.command(
            "plan_pipeline", "--pipeline", "p.yaml", "--out", "plan.json", cwd=tmp_path
        )
        if ended.code:
            return ended, {}, {}
        document = json.loads((tmp_path / "plan.json").read_text())
        (step,) = [step for step in document["steps"] if step["name"] == "CellPose"]
        return ended, step["phases"], step["resources"]

    return make


def test_the_diameter_is_estimated_once_for_the_stack_unless_it_is_given(plan):
    _, phases, _ = plan("")
    assert list(phases) == ["diameter", "core", "number", "stitch"]
    assert len(phases["diameter"]) == 1
    (sizes,) = [n for n in phases["diameter"][0]["outputs"] if n.endswith("parquet")]
    assert all(sizes in job["inputs"] for job in phases["core"])
    assert {job["family"] for job in phases["core"] + phases["diameter"]} == {"cellpose3"}
    assert "diameter" in plan("diameter: 0")[1]
    assert "diameter" not in plan("diameter: 18.5")[1]


def test_the_model_decides_on_the_environment(plan, tmp_path):
    with zipfile.ZipFile(tmp_path / "mysam", "w") as archive:
        archive.writestr("mysam/data.pkl", b"}W2q")
    _, phases, _ = plan("model_type: mysam, diameter: 20")
    assert {job["family"] for job in phases["core"]} == {"cellpose"}
    assert {job["family"] for job in phases["stitch"]} == {"core"}
    assert str(tmp_path / "mysam") in phases["core"][0]["command"]


def test_gpu_is_asked_for(plan):
    _, phases, resources = plan("gpu: true, diameter: 20")
    assert resources["core"]["gres"] == "gpu:1"
    assert "gres" not in resources["stitch"]
    assert "--gpu" in phases["core"][0]["command"]


@pytest.mark.parametrize(("args", "code", "message"), [
    ("model_type: cyto", 66, "models fetch cyto"),
    ("model_type: ctyo3", 66, "did you mean 'cyto3'"),
    ("model_type: net/works", 66, "no such file or folder"),
    ("diametre: 20", 65, "did you mean diameter"),
])  # fmt: skip
def test_what_is_wrong_is_said_before_anything_runs(plan, args, code, message):
    ended, _, _ = plan(args)
    assert ended.code == code
    assert message in ended.err
    assert len(ended.lines) == 1


def test_pycytos_arguments_are_taken(plan):
    ended, phases, _ = plan(
        "diameter: 18, cellprob_thresh: -3, model_matching_thresh: 10.0, gpu: false, "
        "channels: [0, 0], batch_size: 4, flow_threshold: 0.0, verbose: true"
    )
    assert not ended.code, ended.err
    command = phases["core"][0]["command"]
    assert "--cellprob_thresh=-3" in command
    assert "--batch_size 4" in command
