"""Reading of whole objects across parts of a label layer."""

import numpy as np
import pytest

from cytoloom import images, labels, layouts
from cytoloom.errors import BadData, InputMissing
from cytoloom.regions import Region, cut

SHAPE = (2, 1, 256, 384)


@pytest.fixture
def layout():
    return layouts.Layout(
        shape=SHAPE,
        dtype=np.dtype(np.uint32),
        chunks=(1, 1, 64, 64),
        shards=(1, 1, 128, 128),
        pixel_size=(1.0, 1.0, 1.0),
        frame_interval=None,
        position="p",
        channel="a",
        kind="label",
    )


def write(folder, layout, data):
    for index, region in enumerate(cut(SHAPE, layout.shards)):
        path = folder / f"p.s.a.label.{index:04d}.zarr"
        images.write_part(path, data[region.slices], region=region, like=layout, kind="label")
    return str(folder / "p.s.a.label.*.zarr")


def test_objects_that_touch_are_whole(tmp_path, layout):
    data = np.zeros(SHAPE, np.uint32)
    data[0, 0, 100:110, 20:350] = 5
    data[1, 0, 120:250, 10] = 6
    data[0, 0, 200:210, 300:310] = 7
    layer = images.open_layer(write(tmp_path, layout, data))
    region = Region((0, 1), (0, 1), (0, 128), (0, 128))
    read, box = labels.read_whole_objects(layer, region)
    assert box.x[1] >= 350
    assert (read == 5).sum() == (data == 5).sum()
    np.testing.assert_array_equal(read, data[box.slices])


def test_margin_counts_as_touching(tmp_path, layout):
    data = np.zeros(SHAPE, np.uint32)
    data[0, 0, 130, 0:300] = 9
    layer = images.open_layer(write(tmp_path, layout, data))
    region = Region((0, 1), (0, 1), (0, 128), (0, 128))
    assert labels.read_whole_objects(layer, region)[1].x[1] < 300
    assert labels.read_whole_objects(layer, region, margin=4)[1].x[1] >= 300


def test_object_beyond_the_parts_at_hand(tmp_path, layout):
    data = np.zeros(SHAPE, np.uint32)
    data[0, 0, 5, 20:350] = 5
    write(tmp_path, layout, data)
    for index in (2, 5, 8, 11):
        import shutil

        shutil.rmtree(tmp_path / f"p.s.a.label.{index:04d}.zarr")
    layer = images.open_layer(str(tmp_path / "p.s.a.label.*.zarr"))
    region = Region((0, 1), (0, 1), (0, 128), (0, 128))
    with pytest.raises(BadData, match=r"object 5 of frame 0 .*larger"):
        labels.read_whole_objects(layer, region)
    # An object that ends exactly at the edge of what is at hand cannot be told from a cut one.
    with pytest.raises(InputMissing, match="neighbouring"):
        labels.read_whole_objects(layer, Region((0, 1), (0, 1), (0, 128), (128, 256)), margin=8)


def test_empty_layer(tmp_path, layout):
    layer = images.open_layer(write(tmp_path, layout, np.zeros(SHAPE, np.uint32)))
    read, box = labels.read_whole_objects(layer, Region.whole(SHAPE))
    assert box == Region.whole(SHAPE)
    assert not read.any()
