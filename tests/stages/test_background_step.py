"""SplineBackground: PyAMA's algorithm written plainly, small frames, covered frames, any cut."""

import analyse_background
import numpy as np
import plain_traces
import pytest
from simulated_traces import movie

from cytoloom import images, layouts
from cytoloom.background import Outside
from cytoloom.errors import BadData
from cytoloom.regions import Region, cut


def write(folder, name, data, kind="image", frames=None):
    """Write a layer (t, y, x) in batches of frames; return its pattern."""
    stack = data[:, None]
    chunks = (1, 1, *data.shape[1:])
    shards = (frames or len(data), 1, *data.shape[1:])
    layout = layouts.Layout(
        stack.shape, stack.dtype, chunks, shards, (1.0, 1.0, 1.0), 60.0, "p", name, "image"
    )
    for index, region in enumerate(cut(stack.shape, shards)):
        path = folder / f"p.i.{name}.{kind}.{index:04d}.zarr"
        images.write_part(path, stack[region.slices], region=region, like=layout, kind=kind)
    return str(folder / f"p.i.{name}.{kind}.*.zarr")


def background(folder, image, labels, **options):
    """Return the background of frames (t, y, x)."""
    light = write(folder, "light", image)
    cells = write(folder, "cells", labels.astype(np.uint32), "label")
    out = folder / "out.zarr"
    analyse_background.main(light, out, label=cells, **options)
    layer = images.open_layer(out)
    assert layer.kind == "background"
    assert layer.dtype == np.float32
    assert layer.channel == "light"
    return layer.read()[:, 0]


def test_it_is_the_plain_algorithm(tmp_path):
    made = movie(1, 640, 5, seed=1)
    found = background(tmp_path, made.fluorescence, made.labels, tile=128, outside=Outside.constant)
    disc = plain_traces.disk(10)
    expected = plain_traces.background(made.fluorescence[0], made.labels[0], 128, disc)
    np.testing.assert_allclose(found[0], expected, atol=0.01)


@pytest.mark.parametrize("size", [300, 512, 513, 700])
def test_gradients_are_followed_to_the_edge(tmp_path, size):
    made = movie(1, size, size // 90, seed=2)
    found = background(tmp_path, made.fluorescence, made.labels)[0]
    error = np.abs(found - made.background) / made.background
    assert error.max() < 0.05
    assert error.mean() < 0.007
    assert error[50:-50, 50:-50].max() < 0.02


@pytest.mark.parametrize("shape", [(1, 1), (5, 9), (17, 300), (40, 40), (256, 256)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
def test_frames_of_any_size_and_type(tmp_path, shape, dtype):
    image = np.full((1, *shape), 100, dtype)
    labels = np.zeros(image.shape, np.uint32)
    np.testing.assert_allclose(background(tmp_path, image, labels), 100, rtol=1e-5)


def test_a_frame_all_covered(tmp_path):
    rng = np.random.default_rng(3)
    image = rng.integers(100, 200, (2, 80, 90)).astype(np.uint16)
    labels = np.ones(image.shape, np.uint32)
    labels[1, :, 40:44] = 0  # only the widened cells cover this one
    image[1, :, 40:44] = 50
    found = background(tmp_path, image, labels)
    np.testing.assert_allclose(found[0], np.percentile(image[0], 1), rtol=1e-4)
    np.testing.assert_allclose(found[1], 50, rtol=1e-4)


def test_tiles_without_background_are_bridged(tmp_path):
    _, x = np.mgrid[:400, :400]
    image = (200 + x / 4).astype(np.uint16)[None]
    labels = np.zeros(image.shape, np.uint32)
    labels[0, 100:300, 100:300] = 1
    image[labels > 0] += 1000
    found = background(tmp_path, image, labels, tile=60)
    assert np.abs(found[0] - (200 + x / 4)).max() < 12


def test_batches_of_frames_give_the_whole(tmp_path):
    made = movie(4, 200, 2, seed=4)
    whole = background(tmp_path, made.fluorescence, made.labels)
    light = write(tmp_path, "split", made.fluorescence, frames=2)
    cells = write(tmp_path, "cut", made.labels.astype(np.uint32), "label", frames=2)
    for index in range(2):
        region = Region((2 * index, 2 * index + 2), (0, 1), (0, 200), (0, 200))
        out = tmp_path / f"part.{index:04d}.zarr"
        analyse_background.main(light, out, label=cells, region=str(region))
    np.testing.assert_array_equal(
        images.open_layer(str(tmp_path / "part.*.zarr")).read()[:, 0], whole
    )


def test_other_shapes_are_refused(tmp_path):
    light = write(tmp_path, "light", np.ones((1, 20, 20), np.uint16))
    cells = write(tmp_path, "cells", np.ones((1, 20, 30), np.uint32), "label")
    with pytest.raises(BadData, match="differ in shape"):
        analyse_background.main(light, tmp_path / "out.zarr", label=cells)


def test_without_labels_nothing_is_a_cell(tmp_path, caplog):
    image = np.broadcast_to(np.linspace(100, 200, 300), (1, 300, 300)).astype(np.float32)
    bare, empty = tmp_path / "bare.zarr", np.zeros(image.shape)
    (tmp_path / "labels").mkdir()
    analyse_background.main(write(tmp_path, "light", image), bare)
    expected = background(tmp_path / "labels", image, empty)
    np.testing.assert_array_equal(images.open_layer(bare).read()[:, 0], expected)
    assert "no label image" in caplog.text
