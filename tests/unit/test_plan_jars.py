"""Java jars of the user's: found before anything runs, their digest part of the task."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tifffile

PIPELINE = """
channels: {{A: a.tif}}
output_dir: out
{top}
pipeline:
  segmentation: [{{name: Threshold, channels: [A]}}]
  label_to_sparse: {{image_label_pair: [[A, A]]}}
  tracking: [{{name: TrackMate, channels: [A], args: {{linking_max_distance: 15{args}}}}}]
"""


@pytest.fixture
def plan(tmp_path, project):
    """Plan a pipeline: exit code, stderr, jobs of TrackMate and of the export of its tracks."""
    image = np.zeros((2, 40, 40), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="minisblack")

    def run(*words, top="", args="", **environment):
        (tmp_path / "p.yaml").write_text(PIPELINE.format(top=top, args=args))
        clean = {k: v for k, v in os.environ.items() if k != "CYTOLOOM_FIJI"}
        done = subprocess.run(
            [sys.executable, project / "bin" / "plan_pipeline.py", "--pipeline", "p.yaml",
             "--out", "plan.json", *words],
            cwd=tmp_path, capture_output=True, text=True, check=False,
            env=clean | {"CYTOLOOM_CACHE": str(tmp_path / "cache")} | environment,
        )  # fmt: skip
        if done.returncode or words:
            return done.returncode, done.stderr, None, None
        steps = {s["tag"]: s for s in json.loads((tmp_path / "plan.json").read_text())["steps"]}
        return (
            0, done.stderr,
            steps["TrackMate"]["phases"]["core"][0], steps["export"]["phases"]["core"][0],
        )  # fmt: skip

    return run


@pytest.fixture
def fiji(tmp_path):
    folder = tmp_path / "Fiji.app" / "plugins"
    folder.mkdir(parents=True)
    (folder / "TrackMate-7.14.0.jar").write_bytes(b"a jar")
    return folder.parent


def test_absent_jars_are_an_error_of_the_plan(plan):
    code, text, *_ = plan()
    assert code == 66
    assert len(text.strip().splitlines()) == 1
    assert "step TrackMate: TrackMate's jars are not part of Cytoloom" in text
    assert "or use LapTrack" in text
    code, text, *_ = plan("--dry_run")
    assert code == 0
    assert "warning: step TrackMate" in text


@pytest.mark.parametrize(
    "where",
    [{"args": ", fiji: Fiji.app"}, {"top": "fiji_dir: Fiji.app"}, {"CYTOLOOM_FIJI": "Fiji.app"}],
)
def test_where_the_jars_are(plan, fiji, where):
    code, text, job, _ = plan(**where)
    assert code == 0, text
    assert f"--fiji {fiji}" in job["command"]
    assert "jar " in job["code"]


def test_another_jar_is_another_task(plan, fiji):
    before = plan(args=", fiji: Fiji.app")[2]["code"]
    (fiji / "plugins" / "TrackMate-7.14.0.jar").write_bytes(b"another jar")
    assert plan(args=", fiji: Fiji.app")[2]["code"] != before


def test_a_coordinate_is_left_to_the_task(plan):
    code, _, job, _ = plan(args=", fiji: 'sc.fiji:TrackMate:7.14.0'")
    assert code == 0
    assert "--fiji sc.fiji:TrackMate:7.14.0" in job["command"]


def test_trackmates_own_file_is_delivered(plan, fiji):
    _, _, job, export = plan(top=f"fiji_dir: {fiji}")
    name = "p1.TrackMate.A.trackmate.0000.xml"
    assert name in job["outputs"]
    assert name in export["inputs"]
    assert "--trackmate 'in/p1.TrackMate.A.trackmate.*.xml'" in export["command"]
    assert "tracks/p1.TrackMate.A.trackmate.xml" in export["publish"].values()
