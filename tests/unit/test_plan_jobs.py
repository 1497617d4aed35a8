"""Jobs of the plan: what a task reads, what its command carries, what a change reaches."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tifffile

from cytoloom.code import code_digest, modules_of

PIPELINE = """
channels: {{A: a.tif, B: b.tif}}
spacing: [0.5, 0.5]
frame_interval: 60
output_dir: out
patching: {{patch_count: [2, 2], overlap: 64}}
pipeline:
  preprocessing:
    - {{name: PercentileNormalization, tag: Norm, channels: [A], output: false}}
  segmentation:
    - {{name: StarDist, channels: [A], args: {{model_name: {model}}}}}
    - {{name: Threshold, channels: [B]}}
  label_to_sparse: {{image_label_pair: [[A, A], [B, B]]}}
  tracking:
    - {{name: LapTrack, channels: [A, B]}}
"""


@pytest.fixture
def folder(tmp_path, project):
    for seed, name in enumerate("ab"):
        image = np.random.default_rng(seed).integers(0, 900, (4, 300, 260)).astype(np.uint16)
        tifffile.imwrite(tmp_path / f"{name}.tif", image, photometric="minisblack")
    shutil.copytree(project / "assets" / "models" / "stardist_nuclei", tmp_path / "mymodel")
    (tmp_path / "p.yaml").write_text(PIPELINE.format(model="mymodel"))
    return tmp_path


def plan(folder, project, *words):
    done = subprocess.run(
        [sys.executable, project / "bin" / "plan_pipeline.py", "--pipeline", "p.yaml",
         "--out", "plan.json", *words],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "plan.json").read_text())


def jobs(document):
    return {
        job["id"]: job
        for step in document["steps"]
        for phase in step["phases"].values()
        for job in phase
    }


def commands(document):
    return {name: (job["command"], job["code"]) for name, job in jobs(document).items()}


def changed(before, after):
    assert before.keys() == after.keys()
    return {name for name in before if before[name] != after[name]}


def test_every_input_is_made_once_and_before(folder, project):
    made = set()
    for job in jobs(plan(folder, project)).values():
        assert set(job["inputs"]) <= made
        assert not made & set(job["outputs"])
        made |= set(job["outputs"])


def test_a_task_reads_its_neighbours_and_no_more(folder, project):
    found = jobs(plan(folder, project))
    segmentation = found["Threshold p1 B 0000"]["inputs"]
    images = [name for name in segmentation if ".image." in name]
    assert len(images) == 4  # 2 x 2 patches: all are neighbours
    assert found["Norm p1 A 0002"]["inputs"].count("p1.ingest.A.image.0002.zarr") == 1
    assert len([n for n in found["Norm p1 A 0002"]["inputs"] if ".image." in n]) == 1


def test_a_hidden_step_is_not_delivered(folder, project):
    found = jobs(plan(folder, project))
    (unite,) = [job for name, job in found.items() if name.startswith("unite")]
    assert not [name for name in unite["inputs"] if ".Norm." in name]
    assert [name for name in unite["inputs"] if ".StarDist." in name]


def test_a_model_is_part_of_its_step_alone(folder, project):
    before = commands(plan(folder, project))
    weights = folder / "mymodel" / "weights_best.h5"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    after = commands(plan(folder, project))
    assert changed(before, after) == {"crate", *(f"StarDist p1 A {i:04d}" for i in range(4))}


def test_a_pixel_is_part_of_its_region_alone(folder, project):
    before = commands(plan(folder, project))
    image = tifffile.imread(folder / "b.tif")
    image[2, 290, 250] += 1
    tifffile.imwrite(folder / "b.tif", image, photometric="minisblack")
    after = commands(plan(folder, project))
    assert changed(before, after) == {"ingest p1 B image 0003", "crate"}


def test_a_changed_file_of_the_same_size_and_time_is_found_when_verified(folder, project):
    import os

    before = commands(plan(folder, project))
    about = (folder / "b.tif").stat()
    image = tifffile.imread(folder / "b.tif")
    image[0, 0, 0] += 1
    tifffile.imwrite(folder / "b.tif", image, photometric="minisblack")
    os.utime(folder / "b.tif", ns=(about.st_atime_ns, about.st_mtime_ns))
    assert (folder / "b.tif").stat().st_size == about.st_size
    after = commands(plan(folder, project, "--verify_inputs"))
    assert changed(before, after) == {"ingest p1 B image 0000", "crate"}


def test_what_a_network_knows_of_objects_goes_to_their_table(folder, project):
    everything = jobs(plan(folder, project))
    makers = [job for job in everything.values() if any("detections" in n for n in job["outputs"])]
    assert makers
    assert all(" number " in job["id"] for job in makers)
    known = [n for job in makers for n in job["outputs"] if "detections" in n]
    read = [n for job in everything.values() for n in job["inputs"] if "detections" in n]
    assert set(read) == set(known)
    assert all(".StarDist.A." in name for name in known)


def test_until_ends_the_plan_and_tags_are_kept(folder, project):
    found = jobs(plan(folder, project, "--until", "Threshold"))
    assert not [name for name in found if name.startswith(("LabelToSparse", "LapTrack"))]
    assert [name for name in found if name.startswith("unite")]


def test_code_is_followed_through_imports(tmp_path, project):
    for name in ("bin", "containers"):
        shutil.copytree(project / name, tmp_path / name)
    digests = {e: code_digest(e, "core", tmp_path) for e in ("track_laptrack", "preprocess_gamma")}
    modules = {p.stem for p in modules_of(tmp_path / "bin" / "track_laptrack.py")}
    assert {"cli", "tracks", "tables", "schemas", "errors"} <= modules
    assert "plan" not in {p.parent.name for p in modules_of(tmp_path / "bin" / "track_laptrack.py")}
    code = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path), str(project / "bin")],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert code[0] != digests["track_laptrack"]
    assert code[1] == digests["preprocess_gamma"]


CODE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from cytoloom.code import code_digest
root = Path(sys.argv[1])
with open(root / "bin" / "cytoloom" / "tracks.py", "a") as module:
    module.write("# one more line\\n")
print(code_digest("track_laptrack", "core", root), code_digest("preprocess_gamma", "core", root))
"""
