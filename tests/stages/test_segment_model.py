"""Model and ModelMap: what the engine gives, the same for any cut, one line for mistakes."""

import functools
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import phases
import preprocess_model
import pytest
import small_networks
from scipy import ndimage

from cytoloom import bioimageio, images, network_maps, network_numbers, statistics
from cytoloom.errors import BadData, UsageError

PROJECT = Path(__file__).resolve().parents[2]


def discs(frames=1, z=1, size=(200, 230), seed=0):
    """Return discs on a dim, uneven ground, uint16 (t, z, y, x)."""
    rng = np.random.default_rng(seed)
    image = rng.normal(100, 4, (frames, z, *size))
    y, x = np.indices(size)
    for plane in image.reshape(-1, *size):
        for at in rng.uniform(0, size, (40, 2)):
            plane[np.hypot(y - at[0], x - at[1]) < rng.uniform(4, 10)] += 800
    return image.astype(np.uint16)


def maps_of(image, folder, rows=1, columns=1, **options):
    """Return the map of an image (t, z, y, x) that ModelMap makes in patches."""
    folder = Path(tempfile.mkdtemp(dir=folder))
    pattern, histograms = phases.write_image(folder, image, rows, columns)
    for index, part in enumerate(images.open_layer(pattern).parts):
        preprocess_model.main(
            pattern, histograms, folder / f"m.{index}.zarr", region=str(part.region), **options
        )
    return images.open_layer(str(folder / "m.*.zarr")).read()


BEFORE = (("ensure_dtype", {"dtype": "float32"}), ("zero_mean_unit_variance", {"axes": ["y", "x"]}))
AFTER = (("sigmoid", {}),)


def test_the_package_gives_its_own_test_output(shared, tmp_path):
    folder = shared / "models" / "unet2d_nuclei_broad"
    if not folder.is_dir():
        pytest.skip(f"no model at {folder}")
    about = bioimageio.describe(bioimageio.Package(folder))
    given, expected = (np.load(folder / name) for name in about.tests)
    found = maps_of(given, tmp_path, model_name=str(folder))
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=1e-3)
    labels = phases.segment(
        "segment_model", given, tmp_path / "labels", model_name=str(folder), min_size=0
    )
    assert ((labels > 0) == (found > 0.5)).mean() > 0.99
    assert labels.max() > 20


@pytest.mark.parametrize("form", ["0.4", "0.5"])
def test_a_declared_model_is_the_engine_with_its_own_steps(tmp_path, form):
    image = discs(frames=2, size=(160, 192))
    path = small_networks.package(
        tmp_path / "p", packed=form == "0.5", before=BEFORE, after=AFTER, form=form
    )
    found = maps_of(image, tmp_path, model_name=str(path))
    for frame, result in zip(image[:, 0].astype(np.float64), found[:, 0], strict=True):
        scaled = (frame - frame.mean()) / (frame.std() + 1e-6)
        mean = ndimage.uniform_filter(scaled, 5, mode="constant")
        np.testing.assert_allclose(result, 1 / (1 + np.exp(-mean)), atol=1e-5)


@pytest.mark.parametrize("kind", ["any size", "fixed size", "plain"])
def test_patches_give_the_whole(tmp_path, kind):
    image = discs(frames=2)
    options = {}
    if kind == "plain":
        path = small_networks.mean_filter(tmp_path / "mean.onnx")
        options = {"normalise": network_maps.Normalise.percentile, "block_halo": 4}
    else:
        step = 0 if kind == "fixed size" else 16
        path = small_networks.package(
            tmp_path / "p", before=BEFORE, after=AFTER, size=64, step=step
        )
    options |= {"model_name": str(path), "block": 64}
    whole = maps_of(image, tmp_path, **options)
    np.testing.assert_array_equal(maps_of(image, tmp_path, 2, 3, **options), whole)
    big = maps_of(image, tmp_path, **(options | {"block": 512}))
    if kind != "fixed size":
        np.testing.assert_allclose(big, whole, atol=1e-5)
    segment = functools.partial(phases.segment, "segment_model", image, **options)
    labels = segment(tmp_path / "one")
    np.testing.assert_array_equal(segment(tmp_path / "many", 2, 3), labels)
    assert labels.max() > 15


def test_a_network_of_planes_sees_the_planes_of_a_stack(tmp_path):
    image = discs(z=3, size=(64, 64))
    path = small_networks.mean_filter(tmp_path / "mean.onnx")
    found = maps_of(image, tmp_path, model_name=str(path))
    expected = ndimage.uniform_filter(image[0].astype(np.float64), (0, 5, 5), mode="constant")
    np.testing.assert_allclose(found[0], expected, rtol=1e-5)
    path = small_networks.mean_filter(tmp_path / "mean3.onnx", dimensions=3)
    found = maps_of(image, tmp_path, model_name=str(path), multiple=4)
    assert found.shape == image.shape
    assert not np.allclose(found[0], expected, rtol=1e-3)


def test_a_boundary_map_parts_touching_objects():
    import segment_model

    y, x = np.indices((60, 80))
    boundary = (np.abs(x - 40) < 2).astype(np.float32)[np.newaxis]
    foreground = (np.abs(y - 30) < 12).astype(np.float32)[np.newaxis]
    maps = np.stack([foreground, boundary])
    labels, probability = segment_model.objects_of_maps(
        maps, (0, 0, 0), foreground_map=0, boundary_map=1, threshold=0.5
    )
    assert labels.max() == 2
    np.testing.assert_array_equal(labels > 0, foreground > 0.5)
    np.testing.assert_allclose(probability, 1)
    with pytest.raises(UsageError, match="no map 2"):
        segment_model.objects_of_maps(
            maps, (0, 0, 0), foreground_map=2, boundary_map=None, threshold=0.5
        )


def test_probabilities_go_with_the_labels(tmp_path):
    from cytoloom import tables

    image = discs()
    path = small_networks.package(tmp_path / "p", before=BEFORE, after=AFTER)
    pattern, histograms = phases.write_image(tmp_path, image)
    import segment_model

    segment_model.main(
        pattern, histograms, tmp_path / "l.zarr", model_name=str(path),
        out_detections=tmp_path / "d.parquet",
    )  # fmt: skip
    found = tables.read_table(tmp_path / "d.parquet", "detections")
    labels = images.open_layer(str(tmp_path / "l.zarr")).read()
    assert found["label"].tolist() == list(range(1, int(labels.max()) + 1))
    assert found["probability"].between(0.5, 1).all()
    assert found["class_id"].isna().all()


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ((("scale_range", {"min_percentile": 5, "max_percentile": 95}),), "percentiles"),
        ((("scale_linear", {"gain": 0.5, "offset": -3}), ("zero_mean_unit_variance", {})), "mean"),
        ((("clip", {"min": 110, "max": 500}), ("scale_range", {})), "clipped"),
        ((("fixed_zero_mean_unit_variance", {"mean": 100, "std": 20}),), "fixed"),
        ((("zero_mean_unit_variance", {"mode": "fixed", "mean": 100, "std": 20}),), "fixed"),
    ],
)
def test_steps_before_the_network(steps, expected):
    frame = discs()[0]
    known = statistics.of_array(frame[np.newaxis], region((1, *frame.shape)))
    values, counts = known.histogram([0])
    found = network_numbers.prepare(frame, steps, values, counts)
    pixels = frame.astype(np.float64)
    if expected == "percentiles":
        low, high = np.percentile(pixels, [5, 95])
        pixels = (pixels - low) / (high - low)
    elif expected == "clipped":
        pixels = np.clip(pixels, 110, 500)
        pixels = (pixels - 110) / (pixels.max() - 110)
    elif expected == "mean":
        pixels = (pixels - pixels.mean()) / pixels.std()
    else:
        pixels = (pixels - 100) / 20
    np.testing.assert_allclose(found, pixels, atol=2e-5)


def region(shape):
    from cytoloom.regions import Region

    return Region.whole(shape)


def test_what_cannot_be_followed_is_named(tmp_path):
    with pytest.raises(BadData, match="along the axes y alone"):
        network_numbers.prepare(
            np.ones((1, 2, 2)), (("scale_range", {"axes": "y"}),), np.ones(1), np.ones(1)
        )
    with pytest.raises(BadData, match="'zoom' before"):
        network_numbers.prepare(np.ones((1, 2, 2)), (("zoom", {}),), np.ones(1), np.ones(1))
    (tmp_path / "no").mkdir()
    with pytest.raises(BadData, match=r"neither an \.onnx file nor a bioimage"):
        network_maps.load(str(tmp_path / "no"))
    (tmp_path / "bad.onnx").write_text("no network")
    with pytest.raises(BadData, match="not an ONNX network"):
        network_maps.load(str(tmp_path / "bad.onnx"))
    folder = small_networks.package(tmp_path / "p")
    (folder / "rdf.yaml").write_text("weights: {torchscript: {}}\ninputs: [{}]\noutputs: [{}]\n")
    with pytest.raises(BadData, match=r"no weights in the ONNX format \(only torchscript\)"):
        network_maps.load(str(folder))
    path = small_networks.mean_filter(tmp_path / "mean.onnx")
    with pytest.raises(UsageError, match="leave nothing over"):
        network_maps.load(str(path), block=64, block_halo=40)


def test_small_patches_are_refused(tmp_path):
    image = discs(size=(512, 512))
    path = small_networks.mean_filter(tmp_path / "mean.onnx")
    with pytest.raises(BadData, match=r"make the patches of `patching` larger than \d+ px"):
        phases.segment(
            "segment_model", image, tmp_path / "s", 8, 8, model_name=str(path), block=256
        )


def test_frames_without_objects(tmp_path):
    image = np.zeros((3, 1, 64, 80), np.uint16)
    image[1] = 7
    path = small_networks.package(tmp_path / "p", before=BEFORE)
    labels = phases.segment("segment_model", image, tmp_path / "s", model_name=str(path))
    assert labels.shape == image.shape
    assert not labels.any()


def test_command_line_names_a_missing_model(tmp_path):
    pattern, histograms = phases.write_image(tmp_path, np.zeros((1, 1, 32, 32), np.uint8))
    words = ["--image", pattern, "--statistics", histograms, "--out-label", tmp_path / "l.zarr"]
    done = subprocess.run(
        [sys.executable, PROJECT / "bin" / "segment_model.py", *map(str, words),
         "--model_name", "some/where.onnx"],
        capture_output=True, text=True, check=False,
        env={**os.environ, "CYTOLOOM_CACHE": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 66
    assert len(done.stderr.strip().splitlines()) == 1
    assert "where.onnx" in done.stderr
