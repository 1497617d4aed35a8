"""Ultrack in the plan: its tasks and windows, its inputs, and what a changed argument reaches."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import tifffile

PIPELINE = """
channels: {{A: a.tif, C: a.tif}}
labels: {{A: a.tif, B: a.tif}}
spacing: [1, 1]
frame_interval: 60
output_dir: out
pipeline:
  tracking:
    - name: Ultrack
      {inputs}
      args: {args}
"""
RESOURCES = """
pipeline:
  tracking:
    Ultrack:
      mem: 8G
      segment: {batch_size: 3}
      link: {batch_size: 3}
      solve: {mem: 32G}
"""


@pytest.fixture
def jobs_of(tmp_path, project):
    """Plan a movie of 10 frames; return its jobs by phase."""
    tifffile.imwrite(tmp_path / "a.tif", np.ones((10, 64, 64), np.uint16), photometric="minisblack")
    (tmp_path / "r.yaml").write_text(RESOURCES)

    def plan(args, inputs="labels: [A]"):
        (tmp_path / "p.yaml").write_text(PIPELINE.format(args=json.dumps(args), inputs=inputs))
        done = subprocess.run(
            [sys.executable, project / "bin" / "plan_pipeline.py", "--pipeline", "p.yaml",
             "--resources", "r.yaml", "--out", "plan.json"],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        steps = json.loads((tmp_path / "plan.json").read_text())["steps"]
        return next(step["phases"] for step in steps if step["name"] == "Ultrack")

    return plan


def regions(jobs):
    return [job["command"].split("--region ")[1].split(",")[0] for job in jobs]


def test_frames_in_batches_and_windows_by_turns(jobs_of):
    phases = jobs_of({"window_size": 4})
    assert [*phases] == [
        "database", "segment", "link", "solve", "settle", "paint", "export", "relabel",
    ]  # fmt: skip
    assert regions(phases["segment"]) == ["t=0:3", "t=3:6", "t=6:9", "t=9:10"]
    assert regions(phases["solve"]) == ["t=0:4", "t=8:10"]
    assert regions(phases["settle"]) == ["t=4:8"]
    nodes = [[n for n in job["inputs"] if ".nodes." in n] for job in phases["link"]]
    assert [len(names) for names in nodes] == [2, 3, 3, 2]
    (settle,) = phases["settle"]
    assert sum(".solution." in name for name in settle["inputs"]) == 2


def test_one_window_needs_no_second_round(jobs_of):
    phases = jobs_of({})
    assert "settle" not in phases
    assert len(phases["solve"]) == 1
    assert "--earlier" not in phases["export"][0]["command"]


def test_several_label_images_and_maps_of_one_kind_of_cells(jobs_of):
    (database,) = jobs_of({}, "labels: [A, B]")["database"]
    assert database["command"].count("--label ") == 2
    assert "--image" not in database["command"]
    assert len(jobs_of({}, "labels: [[A], [B]]")["database"]) == 2
    (database,) = jobs_of({}, "images: [A, C]")["database"]
    assert database["command"].count("--image ") == 2


def test_an_argument_reaches_its_own_phase_and_those_after_it(jobs_of):
    before, after = jobs_of({"window_size": 4}), jobs_of({"window_size": 4, "power": 3.0})
    changed = {
        name
        for name in before
        for one, other in zip(before[name], after[name], strict=True)
        if (one["command"], one["code"]) != (other["command"], other["code"])
    }
    assert changed == {"solve", "settle"}
