"""Registration in a plan: frames per task, transforms for another channel, BM3D by its licence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

PIPELINE = """
channels: {{A: a.tif, B: b.tif}}
spacing: [0.5, 0.5]
output_dir: out
pipeline:
  preprocessing:
    - {{name: RegisterDenoise, tag: Fix, channels: [A], args: {args}}}
    - {{name: ApplyTransforms, tag: Move, channels: [{pair}]}}
"""


@pytest.fixture
def plan(tmp_path, project):
    for name in "ab":
        tifffile.imwrite(tmp_path / f"{name}.tif", np.ones((6, 32, 32), np.uint16))

    def make(args="{}", pair="[B, A]"):
        (tmp_path / "p.yaml").write_text(PIPELINE.format(args=args, pair=pair))
        return subprocess.run(
            [sys.executable, project / "bin" / "plan_pipeline.py", "--pipeline", "p.yaml",
             "--out", "plan.json"],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip

    return make


def steps(folder: Path):
    document = json.loads((folder / "plan.json").read_text())
    return {step["tag"]: step for step in document["steps"]}


def test_pycytos_arguments_and_frames_per_task(plan, tmp_path):
    done = plan("{stacks: 4, parallel: true, batch_size: 2}")
    assert done.returncode == 0, done.stderr
    assert "licence" not in done.stderr
    fix = steps(tmp_path)["Fix"]
    counts = {name: len(jobs) for name, jobs in fix["phases"].items()}
    assert counts == {"register": 3, "chain": 1, "align": 3, "denoise": 3}
    assert {job["family"] for jobs in fix["phases"].values() for job in jobs} == {"ants", "core"}
    assert set(fix["tools"].values()) == {
        "REGISTER_DENOISE", "REGISTER_DENOISE_REGISTER", "REGISTER_DENOISE_CHAIN",
        "REGISTER_DENOISE_ALIGN",
    }  # fmt: skip


def test_transforms_of_the_second_channel_move_the_first(plan, tmp_path):
    assert plan().returncode == 0
    (job,) = steps(tmp_path)["Move"]["phases"]["core"]
    assert job["inputs"] == [
        "p1.Fix.A.transforms.0000.parquet", "p1.Fix.A.warp.0000.npz", "p1.ingest.B.image.0000.zarr",
    ]  # fmt: skip
    assert job["outputs"][0] == "p1.Move.B.image.0000.zarr"


def test_transforms_that_nothing_makes_are_missed(plan):
    done = plan(pair="[A, B]")
    assert done.returncode == 65
    assert "needs the transforms of B: add RegisterDenoise or Register" in done.stderr
    assert "warp" not in done.stderr


def test_bm3d_has_a_family_and_its_licence_is_said_in_one_line(plan, tmp_path):
    done = plan("{method: bm3d}")
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if "licence" in line]
    assert len(lines) == 1
    assert "non-commercial use only" in lines[0]
    phases = steps(tmp_path)["Fix"]["phases"]
    assert {job["family"] for job in phases["denoise"]} == {"bm3d"}
    assert {job["family"] for job in phases["register"]} == {"ants"}
