"""StarDist: quality of the shipped model, the same labels for any cut, models and hard inputs.

Runs in the environment of the stardist family, each image in one process.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import phases
import pytest
import segment_stardist
from scipy import ndimage
from scoring import Score, score
from skimage import io

from cytoloom import models, tables
from cytoloom.errors import BadData, InputMissing
from cytoloom.seams import number_in_raster_order

DENSE = "20b20ab049372d18"  # 603 x 1272, 289 nuclei
PROJECT = Path(__file__).resolve().parents[2]
SHIPPED = PROJECT / "assets" / "models" / "stardist_nuclei"
TINY = PROJECT / "tests" / "data" / "stardist_tiny3d"
HELD_OUT = SHIPPED / "held_out.txt"


def read(shared, name):
    folder = shared / "segmentation" / "dsb2018"
    if not folder.is_dir():
        pytest.skip(f"no images at {folder}")
    return [io.imread(folder / kind / f"{name}.tif") for kind in ("images", "masks")]


@pytest.fixture
def run(family_python, tmp_path):
    """Run a script of the tests in the family's environment."""
    python = family_python("stardist")

    def run(script, *words):
        done = subprocess.run(
            [python, PROJECT / "tests" / script, *map(str, words)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    return run


@pytest.fixture
def segment(run, tmp_path):
    """Segment frames (t, z, y, x) in the family's environment."""

    def segment(image, rows=1, columns=1, **options):
        source, target = tmp_path / "image.npy", tmp_path / "labels.npy"
        np.save(source, image)
        run("phases.py", "segment_stardist", source, target, rows, columns, json.dumps(options))
        return np.load(target)

    return segment


@pytest.fixture
def engine(run, tmp_path):
    """Predict with StarDist itself; return labels in raster order, and what it says of them."""

    def predict(image, model, **options):
        source, target = tmp_path / "frame.npy", tmp_path / "engine.npz"
        np.save(source, image)
        run("stardist_engine.py", "predict", model, source, target, json.dumps(options))
        found = dict(np.load(target))
        labels = number_in_raster_order(found.pop("labels"))
        return labels, found

    return predict


def detections(tmp_path):
    return tables.read_table(tmp_path / "labels.parquet", "detections")


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1.0, 1.3])
def test_labels_are_the_engines_own(shared, segment, engine, scale):
    image = read(shared, DENSE)[0][:480, :600]
    expected, _ = engine(image, SHIPPED, **({} if scale == 1 else {"scale": scale}))
    np.testing.assert_array_equal(segment(image[None, None], scale=scale)[0, 0], expected)
    assert expected.max() > 50


@pytest.mark.slow
def test_stacks_are_the_engines_own_in_any_cut(shared, segment, engine, tmp_path):
    path = shared / "segmentation" / "stardist" / "img3d.tif"
    if not path.is_file():
        pytest.skip(f"no stack at {path}")
    image = io.imread(path)[:16]
    image = np.concatenate([image, image[:, ::-1], image[:, :10]], axis=1)
    expected, objects = engine(image, TINY)
    np.testing.assert_array_equal(segment(image[None], model_name=str(TINY))[0], expected)
    whole = detections(tmp_path)
    distance = np.abs(objects["prob"] - whole["probability"].to_numpy()[:, np.newaxis])
    assert distance.min(axis=1).max() < 1e-5
    np.testing.assert_array_equal(segment(image[None], 2, 1, model_name=str(TINY))[0], expected)
    pd.testing.assert_frame_equal(detections(tmp_path), whole, rtol=1e-5)
    assert expected.max() > 5


@pytest.mark.slow
def test_probability_and_class_are_the_engines_own_in_any_cut(
    shared, run, segment, engine, tmp_path
):
    image = read(shared, DENSE)[0][:300, :400]
    np.save(tmp_path / "image.npy", image)
    run("stardist_engine.py", "classes", SHIPPED, tmp_path / "two", tmp_path / "image.npy")
    expected, objects = engine(image, tmp_path / "two")
    np.testing.assert_array_equal(
        segment(image[None, None], model_name=str(tmp_path / "two"))[0, 0], expected
    )
    found = detections(tmp_path)
    assert found["label"].tolist() == list(range(1, int(expected.max()) + 1))
    probability = found["probability"].to_numpy()
    nearest = np.abs(objects["prob"] - probability[:, np.newaxis]).argmin(axis=1)
    np.testing.assert_allclose(objects["prob"][nearest], probability, rtol=1e-5)  # float32
    assert objects["class_id"][nearest].tolist() == found["class_id"].tolist()
    labels = segment(image[None, None], 2, 2, model_name=str(tmp_path / "two"))
    np.testing.assert_array_equal(labels[0, 0], expected)
    pd.testing.assert_frame_equal(detections(tmp_path), found, rtol=1e-5)
    assert found["class_id"].nunique() > 1


@pytest.mark.slow
def test_patches_give_the_whole(shared, segment):
    image, truth = read(shared, DENSE)
    whole = segment(image[None, None])[0, 0]
    for tiles in (2, 4):
        np.testing.assert_array_equal(segment(image[None, None], tiles, tiles)[0, 0], whole)
    assert score(truth, whole).f1 > 0.88  # trained on; 63 found objects have no label


@pytest.mark.slow
def test_a_scaled_image_in_patches_gives_the_whole(shared, segment):
    image = read(shared, DENSE)[0][None, None, :400, :500]
    whole = segment(image, scale=1.5)
    np.testing.assert_array_equal(segment(image, 2, 2, scale=1.5), whole)
    assert whole.max() > 30


@pytest.mark.slow
def test_f1_of_the_shipped_model_on_images_it_has_not_seen(shared, segment):
    names = HELD_OUT.read_text().split()
    total, shapes = Score(), {}
    for name in names:
        image, truth = read(shared, name)
        shapes.setdefault(image.shape, []).append((image, truth))
    for group in shapes.values():
        found = segment(np.stack([image for image, _ in group])[:, None])
        for (_, truth), labels in zip(group, found, strict=True):
            total += score(truth, labels[0])
    assert total.f1 > 0.9, total


@pytest.mark.slow
def test_empty_and_single_frames(segment):
    image = np.zeros((3, 1, 50, 70), np.uint16)
    image[1] = 900
    labels = segment(image)
    assert labels.shape == image.shape
    assert not labels.any()


@pytest.mark.slow
def test_a_gpu_that_is_not_there_is_refused(family_python, tmp_path):
    pattern, histograms = phases.write_image(tmp_path, np.zeros((1, 1, 32, 32), np.uint8))
    words = ["--image", pattern, "--statistics", histograms, "--out-label", tmp_path / "l.zarr"]
    done = subprocess.run(
        [family_python("stardist"), PROJECT / "bin" / "segment_stardist.py", *map(str, words),
         "--gpu"],
        capture_output=True, text=True, check=False, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert done.returncode == 65
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "finds no GPU" in done.stderr


def test_a_residual_network_has_a_geometry_too():
    config = {"grid": [1, 2, 2], "backbone": "resnet", "resnet_kernel_size": [3, 3, 3]}
    network = segment_stardist.geometry(config)
    assert network.stride == (1, 2, 2)
    assert network.reach == (18, 32, 32)


def test_geometry_of_the_shipped_model():
    folder = models.find_model("stardist_nuclei", "stardist")
    config = json.loads((folder / "config.json").read_text())
    assert segment_stardist.geometry(config) == segment_stardist.Geometry((16, 16), (110, 110))


def test_resampling_is_the_zoom_of_the_whole_frame():
    rng = np.random.default_rng(0)
    image = rng.random((480, 144)).astype(np.float32)
    for scale in (0.6, 1.3, 1.5, 2.3):
        whole = ndimage.zoom(image, scale, order=1)
        same, start = segment_stardist.resample(image, scale, (0, 0), image.shape, (16, 16))
        np.testing.assert_array_equal(same, whole)
        piece, start = segment_stardist.resample(
            image[48:128, 64:], scale, (48, 64), image.shape, (16, 16)
        )
        assert not (start % 16).any()
        y, x = start
        np.testing.assert_array_equal(piece, whole[y : y + piece.shape[0], x : x + piece.shape[1]])


def test_pycytos_default_model_says_where_to_get_it():
    with pytest.raises(InputMissing, match=r"stardist-models.*unpack it into.*models/2D_versatile"):
        models.find_model("2D_versatile_fluo", "stardist")


def test_unknown_models(tmp_path, monkeypatch):
    monkeypatch.setenv("CYTOLOOM_CACHE", str(tmp_path))
    with pytest.raises(InputMissing, match="did you mean 'stardist_nuclei'"):
        models.find_model("stardist_nucleus", "stardist")
    with pytest.raises(InputMissing, match="no such folder"):
        models.find_model("some/where", "stardist")
    (tmp_path / "models" / "mine").mkdir(parents=True)
    assert models.find_model("mine", "stardist") == tmp_path / "models" / "mine"


def test_a_damaged_model_is_refused(tmp_path, monkeypatch):
    folder = tmp_path / "assets" / "models" / "stardist_nuclei"
    folder.mkdir(parents=True)
    source = PROJECT / "assets"
    (tmp_path / "assets" / "models.yaml").write_bytes((source / "models.yaml").read_bytes())
    for file in ("config.json", "thresholds.json", "weights_best.h5"):
        (folder / file).write_bytes((source / "models" / "stardist_nuclei" / file).read_bytes())
    monkeypatch.setattr(models, "PROJECT", tmp_path)
    assert models.find_model("stardist_nuclei", "stardist") == folder
    (folder / "config.json").write_text("{}")
    with pytest.raises(BadData, match=r"config\.json: not the released file"):
        models.find_model("stardist_nuclei", "stardist")


def test_command_line_names_a_missing_model(tmp_path):
    image = np.zeros((1, 1, 32, 32), np.uint8)
    pattern, histograms = phases.write_image(tmp_path, image)
    words = ["--image", pattern, "--statistics", histograms, "--out-label", tmp_path / "l.zarr"]
    done = subprocess.run(
        [sys.executable, PROJECT / "bin" / "segment_stardist.py", *map(str, words),
         "--model_name", "2D_versatile_fluo"],
        capture_output=True, text=True, check=False,
        env={**os.environ, "CYTOLOOM_CACHE": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 66
    assert len(done.stderr.strip().splitlines()) == 1
    assert "github.com/stardist" in done.stderr
