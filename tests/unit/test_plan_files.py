"""Files of the user that arguments name: found, filled in per position, part of the task."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tifffile

PIPELINE = """
labels: [Cells]
input: sheet.csv
spacing: [1, 1]
frame_interval: 1
image_range: {{t: [0, {frames}]}}
output_dir: out
pipeline:
  evaluation:
    - name: EvaluateSegmentation
      channels: [Cells]
      args: {{ground_truth: "{truth}"}}
"""


@pytest.fixture
def folder(tmp_path):
    rows = ["position,channel,path,kind"]
    for name in "ab":
        labels = np.ones((4, 16, 16), np.uint16)
        tifffile.imwrite(tmp_path / f"{name}.tif", labels, photometric="minisblack")
        (tmp_path / "truth" / name).mkdir(parents=True)
        tifffile.imwrite(tmp_path / "truth" / name / "Cells.tif", labels, photometric="minisblack")
        rows.append(f"{name},Cells,{name}.tif,label")
    (tmp_path / "sheet.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def run(folder, project, truth, *words, frames=-1):
    (folder / "p.yaml").write_text(PIPELINE.format(truth=truth, frames=frames))
    return subprocess.run(
        [sys.executable, project / "bin" / "plan_pipeline.py", "--pipeline", "p.yaml",
         "--out", "plan.json", *words],
        cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "CYTOLOOM_CACHE": str(folder / "cache")},
    )  # fmt: skip


def scores(folder, project, truth, **options):
    """Commands and codes of the tasks that score."""
    done = run(folder, project, truth, **options)
    assert done.returncode == 0, done.stderr
    steps = json.loads((folder / "plan.json").read_text())["steps"]
    step = next(step for step in steps if step["stage"] == "evaluation")
    return [(job["command"], job["code"]) for job in step["phases"]["core"]]


def test_each_position_has_its_own_file(folder, project):
    (a, code_a), (b, code_b) = scores(folder, project, "truth/{position}/{channel}.tif")
    assert f"--ground_truth {folder}/truth/a/Cells.tif" in a
    assert f"--ground_truth {folder}/truth/b/Cells.tif" in b
    assert "--select" not in a
    assert "ground_truth" in code_a
    assert code_a == code_b  # the same pixels


def test_a_changed_file_runs_its_task_again(folder, project):
    truth = "truth/{position}/{channel}.tif"
    before = scores(folder, project, truth)
    path = folder / "truth" / "b" / "Cells.tif"
    tifffile.imwrite(path, np.full((4, 16, 16), 2, np.uint16), photometric="minisblack")
    os.utime(path, (1, 1))
    after = scores(folder, project, truth)
    assert before[0] == after[0]
    assert before[1][1] != after[1][1]


def test_the_selected_part_goes_with_it(folder, project):
    (command, _), _ = scores(folder, project, "truth/{position}/{channel}.tif", frames=2)
    assert "--select t=0:2:1,z=0:1:1,y=0:16:1,x=0:16:1" in command


def test_a_missing_file_is_said_before_the_run(folder, project):
    done = run(folder, project, "truth/{position}.tif")
    assert done.returncode == 66
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert "p.yaml:12: step EvaluateSegmentation: ground_truth: 'truth/a.tif'" in lines[0]
    assert "(position a)" in lines[0]
    dry = run(folder, project, "truth/{position}.tif", "--dry_run")
    assert dry.returncode == 0
    assert dry.stderr.count("warning") >= 2


@pytest.mark.parametrize("truth", ["truth/{site}.tif", "truth/{.tif"])
def test_only_names_that_are_known_are_filled_in(folder, project, truth):
    done = run(folder, project, truth)
    assert done.returncode == 65
    assert "only {position} and {channel} are filled in" in done.stderr
