"""PyAMA's own configuration from a raw ND2 to its results: layout, copy only, resume."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from microscope_files import write_nd2
from nextflow import PROJECT, run, trace

CONFIG = """\
params:
  copy_only: {copy_only}
  segmentation_method: logstd
  tracking_method: iou
  min_frames: 4
  border_margin: 5
  fovs: "0, 2"
  time_mapping: {{0: 0, 1: 10, 2: 25, 3: 30, 4: 40, 5: 55}}
channels:
  pc: {{channel: 0, features: [area, aspect_ratio]}}
  fl:
    - {{channel: 1, features: [intensity_total]}}
"""
VOLUME = """\
channels: {A: a.ome.tif}
spacing: [1, 1, 1]
frame_interval: 60
output_dir: out
pipeline:
  segmentation: [{name: Threshold, channels: [A]}]
  label_to_sparse: {image_label_pair: [[A, A]]}
  postprocessing: [{name: Caching, channels: [[A]]}]
"""
COLUMNS = (
    "fov,cell,frame,good,position_x,position_y,bbox_x0,bbox_y0,bbox_x1,bbox_y1,"
    "area_ch_0,aspect_ratio_ch_0,intensity_total_ch_1"
)


def movie():
    """Return three positions of six frames with one large cell each, shape (P, T, 1, C, Y, X)."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:200, :220]
    data = np.zeros((3, 6, 1, 2, 200, 220), np.uint16)
    for p, t in np.ndindex(3, 6):
        cell = (y - 90 - 2 * t) ** 2 + (x - 100 - 5 * p) ** 2 < 30**2
        data[p, t, 0, 0] = rng.normal(10000, 10, cell.shape) + cell * rng.normal(0, 900, cell.shape)
        data[p, t, 0, 1] = 200 + 0.2 * x + cell * (50 * t + 100)
    return data


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pyama")
    write_nd2(folder / "exp.nd2", movie(), loops="TP")
    (folder / "samples.yaml").write_text('samples: [{name: both, fovs: "0, 2"}]\n')
    return folder


def ran(folder, copy_only, *words):
    (folder / "processing_config.yaml").write_text(CONFIG.format(copy_only=copy_only))
    words = ["--pipeline", "processing_config.yaml", "--input", "exp.nd2", *words]
    done = run([*words, "--outdir", "results"], folder)
    assert done.returncode == 0, done.text
    return done


@pytest.mark.slow
def test_copying_first_then_the_rest(folder):
    """Copying alone delivers the images; the run that follows does not copy again."""
    done = ran(folder, "true")
    assert "read as PyAMA's configuration: the images are copied, nothing else" in done.text
    tasks = trace(done)
    assert not {name.split()[0] for name in tasks} & {"LogStd", "IoU", "Cropping", "Extraction"}
    results = folder / "results"
    for position in (0, 2):
        store = zarr.open_group(results / "images" / f"fov_00{position}.ome.zarr", mode="r")
        data = movie()[position]
        np.testing.assert_array_equal(store["0"][:], data.swapaxes(1, 2))
        taken = store.attrs["cytoloom"]["acquisition"]["fl_ch_1"]
        assert taken["time_s"] == pytest.approx([600 * t + position for t in range(6)])
        assert taken["stage_x_um"] == [100.0 * position] * 6
    assert not (results / "fov_000").exists()

    done = ran(folder, "false", "-resume")
    assert "SplineBackground, Cropping, Extraction, Caching, MergeSamples" in done.text
    tasks = trace(done)
    copied = {name: status for name, status in tasks.items() if name.startswith("ingest")}
    assert len(copied) == 4
    assert set(copied.values()) == {"CACHED"}
    assert set(tasks.values()) == {"CACHED", "COMPLETED"}
    check_results(results)
    saved = (results / "processing_config.yaml").read_text()
    assert "features:\n    - area\n    - aspect_ratio" in saved
    assert "fovs: 0, 2" in saved
    merged = next((results / "samples" / "MergeSamples").rglob("both_intensity_total_ch_1.csv"))
    lines = [line for line in merged.read_text().splitlines() if line[0] != "#"]
    assert lines[0] == "time,fov,cell,value"
    assert [line.split(",")[1] for line in lines[1:]] == ["0", "2"] * 6
    hours = [float(line.split(",")[0]) for line in lines[1::2]]
    assert hours == pytest.approx([minutes / 60 for minutes in (0, 10, 25, 30, 40, 55)], abs=1e-5)


def check_results(results: Path):
    """The layout of the reference, and the cell of each position in it."""
    for position in (0, 2):
        folder = results / f"fov_00{position}"
        images = zarr.open_group(folder / "images.zarr", mode="r")
        names = ["pc_ch_0", "fl_ch_1", "seg_labeled_ch_0", "seg_tracked_ch_0"]
        assert set(images.group_keys()) == {*names, "fl_background_ch_1"}
        np.testing.assert_array_equal(images["fl_ch_1/0"][:], movie()[position, :, 0, 1])
        assert images["pc_ch_0/1"].shape == (6, 100, 110)
        cells = zarr.open_group(folder / "cells.zarr", mode="r")
        assert cells["metadata/cell_ids"][:].tolist() == [1]
        assert cells["metadata/valid_frames"][:].all()
        file = folder / f"exp_fov_00{position}_traces.csv"
        with open(file, newline="") as text:
            rows = list(csv.DictReader(text))
        assert ",".join(rows[0]) == COLUMNS
        assert [int(row["frame"]) for row in rows] == list(range(6))
        assert {row["fov"] for row in rows} == {str(position)}
        area = np.array([float(row["area_ch_0"]) for row in rows])
        total = np.array([float(row["intensity_total_ch_1"]) for row in rows])
        np.testing.assert_allclose(area, np.pi * 30**2, rtol=0.1)
        pixels = np.count_nonzero(movie()[position, :, 0, 1] > 260, axis=(1, 2))
        np.testing.assert_allclose(total, pixels * (50 * np.arange(6) + 100), rtol=0.03)


@pytest.mark.slow
def test_fluorescence_alone(folder):
    """Without phase contrast: backgrounds, and copies of all there is; no cells."""
    (folder / "only.yaml").write_text("channels: {fl: [[1, [intensity_total]]]}\nparams: {fovs: 1}")
    words = ["--pipeline", "only.yaml", "--input", "exp.nd2", "--outdir", "only"]
    done = run(words, folder)
    assert done.returncode == 0, done.text
    assert "no phase contrast" in done.text
    made = zarr.open_group(folder / "only" / "fov_001" / "images.zarr", mode="r")
    assert set(made.group_keys()) == {"fl_ch_1", "fl_background_ch_1"}
    assert made["fl_background_ch_1/1"].shape == (6, 100, 110)
    under = made["fl_background_ch_1/0"][3]
    np.testing.assert_allclose(under[:40, 20], 200 + 0.2 * 20, rtol=0.02)
    assert sorted(p.name for p in (folder / "only" / "fov_001").iterdir()) == ["images.zarr"]


@pytest.mark.slow
def test_copies_to_look_at_that_fail_end_nothing_else(tmp_path):
    """Caching refuses a volume; the cells of the only position are measured and delivered."""
    stack = np.full((2, 3, 60, 70), 100, np.uint16)
    stack[:, :, 20:40, 20:45] = 900
    tifffile.imwrite(tmp_path / "a.ome.tif", stack, metadata={"axes": "TZYX"})
    (tmp_path / "p.yaml").write_text(VOLUME)
    words = [sys.executable, PROJECT / "cytoloom", "run", "--pipeline", "p.yaml"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 65, said
    assert "failed: Caching p1 A 0000: analyse_cache: image of 'A' has 3 planes" in said
    out = tmp_path / "out"
    assert 'id="positions"' in (out / "report.html").read_text()
    with open(out / "tables" / "LabelToSparse.A.cells.csv", newline="") as text:
        assert len(list(csv.DictReader(text))) == 2
    assert not (out / "p1").exists()
