"""Stores: parts united equal the whole, whole or not at all, damage named."""

import json
import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import DTYPES, arrays, grids, layout_of

from cytoloom import images, layouts, union
from cytoloom.errors import BadData, InputMissing, UsageError
from cytoloom.plan.layers import Grid
from cytoloom.regions import Region


def write_parts(folder, grid, batch, data, kind="image"):
    layout = layout_of(grid, data.dtype, kind)
    for index, region in enumerate(grid.tiles(batch)):
        path = folder / f"p.s.c.{kind}.{index:04d}.zarr"
        images.write_part(path, data[region.slices], region=region, like=layout, kind=kind)
    return folder / f"p.s.c.{kind}.*.zarr"


@given(grids(), DTYPES, st.data())
@settings(max_examples=25)
def test_any_tiling_united_equals_the_whole(tmp_path_factory, made, dtype, draw):
    import zarr

    grid, batch = made
    data = draw.draw(arrays(grid.shape, dtype))
    folder = tmp_path_factory.mktemp("parts")
    pattern = write_parts(folder, grid, batch, data)
    layer = images.open_layer(pattern)
    np.testing.assert_array_equal(layer.read(), data)
    target = folder / "united.zarr"
    parts = [part.path for part in layer.parts]
    union.write_group(target, {"ome": layouts.ome_attributes(layer.layout)})
    linker = union.Linker()
    union.unite_arrays([parts, parts], target / "0", "0", linker)
    found = zarr.open_array(target / "0", mode="r")[:]
    for channel in range(2):
        np.testing.assert_array_equal(found[:, channel], data)
    assert linker.how["copy"] == linker.how["reflink"] == 0
    shutil.rmtree(folder)


@given(grids(), st.data())
@settings(max_examples=25)
def test_any_region_reads_across_parts(tmp_path_factory, made, draw):
    grid, batch = made
    data = draw.draw(arrays(grid.shape, np.uint16))
    folder = tmp_path_factory.mktemp("parts")
    layer = images.open_layer(write_parts(folder, grid, batch, data))
    spans = []
    for size in grid.shape:
        start = draw.draw(st.integers(0, size - 1))
        spans.append((start, draw.draw(st.integers(start + 1, size))))
    region = Region(*spans)
    np.testing.assert_array_equal(layer.read(region), data[region.slices])
    shutil.rmtree(folder)


def test_parts_do_not_share_a_file(tmp_path):
    grid = Grid.of((3, 1, 300, 300), (2, 2))
    data = np.ones(grid.shape, np.uint8)
    write_parts(tmp_path, grid, 1, data)
    shards = [
        str(p.relative_to(store))
        for store in tmp_path.glob("*.zarr")
        for p in (store / "0" / "c").rglob("*")
        if p.is_file()
    ]
    assert len(shards) == len(set(shards))


def test_a_region_that_cuts_a_shard_is_refused(tmp_path):
    grid = Grid.of((2, 1, 300, 300), (2, 2))
    region = Region((0, 2), (0, 1), (0, 100), (0, 100))
    with pytest.raises(UsageError, match="cuts a shard: along y"):
        images.write_part(
            tmp_path / "a.zarr",
            np.zeros(region.shape, np.uint16),
            region=region,
            like=layout_of(grid),
        )
    assert not list(tmp_path.iterdir())


def test_labels_are_uint32_and_never_narrowed(tmp_path):
    grid = Grid.of((1, 1, 400, 400))
    labels = np.arange(160_000, dtype=np.int64).reshape(grid.shape)
    layer = images.open_layer(write_parts(tmp_path, grid, None, labels, kind="label"))
    assert layer.dtype == np.uint32
    assert layer.read().max() == 159_999


@pytest.mark.parametrize("worst", [-1, 2**32])
def test_labels_that_do_not_fit_are_an_error(tmp_path, worst):
    grid = Grid.of((1, 1, 10, 10))
    labels = np.zeros(grid.shape, np.int64)
    labels[0, 0, 3, 3] = worst
    with pytest.raises(BadData, match="do not fit into uint32"):
        write_parts(tmp_path, grid, None, labels, kind="label")


def test_float_labels_are_an_error(tmp_path):
    grid = Grid.of((1, 1, 10, 10))
    with pytest.raises(BadData, match="whole numbers"):
        write_parts(tmp_path, grid, None, np.zeros(grid.shape, np.float32), kind="label")


def damaged(tmp_path, how):
    grid = Grid.of((4, 1, 64, 64))
    rng = np.random.default_rng(0)
    data = rng.integers(0, 60_000, grid.shape).astype(np.uint16)
    pattern = write_parts(tmp_path, grid, 2, data)
    shard = next(p for p in tmp_path.rglob("c/0/*/*/*/*") if p.is_file())
    how(shard)
    return images.open_layer(pattern)


def flip(shard):
    content = bytearray(shard.read_bytes())
    content[len(content) // 3] ^= 255
    shard.write_bytes(content)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (flip, r"array 0, chunk t=\d:\d,c=0:1,z=0:1,y=0:64,x=0:64, file 0/c/0/0/0/0/0"),
        (lambda shard: os.truncate(shard, 100), "file 0/c/0/0/0/0/0"),
        (Path.unlink, "shard 0/c/0/0/0/0/0 is missing"),
    ],
    ids=["flipped byte", "truncated", "deleted"],
)
@pytest.mark.filterwarnings("ignore")  # zarr leaves reads of other chunks unfinished
def test_damage_is_named(tmp_path, how, said):
    layer = damaged(tmp_path, how)
    with pytest.raises(BadData, match=said) as error:
        layer.read()
    assert "-resume" in str(error.value)


def test_parts_that_do_not_cover_the_region_are_named(tmp_path):
    grid = Grid.of((4, 1, 64, 64), batches=(2,))
    pattern = write_parts(tmp_path, grid, 2, np.ones(grid.shape, np.uint8))
    shutil.rmtree(sorted(tmp_path.glob("*.zarr"))[1])
    layer = images.open_layer(pattern)
    with pytest.raises(InputMissing, match="not covered"):
        layer.read(Region.whole(grid.shape))


def test_parts_of_two_layers_are_refused(tmp_path):
    for index, size in enumerate((64, 65)):
        grid = Grid.of((1, 1, size, size))
        region = grid.tiles()[0]
        path = tmp_path / f"p.{index}.zarr"
        images.write_part(path, np.ones(grid.shape, np.uint8), region=region, like=layout_of(grid))
    with pytest.raises(BadData, match="not a part of the same layer"):
        images.open_layer(tmp_path / "*.zarr")


@pytest.mark.parametrize("content", ["", "{}", '{"attributes": {}}', "[]", "nonsense"])
def test_a_store_of_others_is_one_line(tmp_path, content):
    store = tmp_path / "x.zarr"
    (store / "0").mkdir(parents=True)
    (store / "zarr.json").write_text(content)
    (store / "0" / "zarr.json").write_text(content)
    with pytest.raises(BadData, match="not a store made by Cytoloom") as error:
        images.open_layer(store)
    assert "\n" not in str(error.value)


def test_ome_zarr_validates_and_reads_a_part(tmp_path):
    import zarr
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader
    from ome_zarr_models.v05.image import Image
    from ome_zarr_models.v05.image_label import ImageLabel

    grid = Grid.of((3, 2, 70, 90))
    data = np.random.default_rng(1).integers(0, 9, grid.shape).astype(np.uint16)
    for kind, model in (("image", Image), ("label", ImageLabel)):
        pattern = write_parts(tmp_path, grid, None, data, kind=kind)
        store = next(tmp_path.glob(Path(pattern).name))
        model.from_zarr(zarr.open_group(store, mode="r"))
        ome = json.loads((store / "zarr.json").read_text())["attributes"]["ome"]
        scale = ome["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]["scale"]
        assert scale == [30.0, 1.0, 2.0, 0.5, 0.25]
    store = next(tmp_path.glob("p.s.c.image.*.zarr"))
    (node,) = list(Reader(parse_url(str(store)))())
    np.testing.assert_array_equal(np.asarray(node.data[0])[:, 0], data)


def _write_slowly(path, ready):
    grid = Grid.of((40, 1, 256, 256))
    data = np.random.default_rng(0).integers(0, 60_000, grid.shape).astype(np.uint16)
    ready.set()
    while True:
        images.write_part(path, data, region=Region.whole(grid.shape), like=layout_of(grid))


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_whole_stores_or_none(tmp_path):
    context = multiprocessing.get_context("fork")
    rng = np.random.default_rng(3)
    for attempt in range(8):
        path = tmp_path / f"{attempt}.zarr"
        ready = context.Event()
        process = context.Process(target=_write_slowly, args=(path, ready))
        process.start()
        ready.wait(30)
        time.sleep(float(rng.uniform(0, 0.6)))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        for found in tmp_path.glob("[0-9]*.zarr"):
            assert images.open_layer(found).read().shape == (40, 1, 256, 256)


def test_an_error_while_writing_leaves_nothing(tmp_path, monkeypatch):
    grid = Grid.of((1, 1, 64, 64))
    monkeypatch.setattr(images, "_create", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="full"):
        write_parts(tmp_path, grid, None, np.ones(grid.shape, np.uint8))
    assert not list(tmp_path.iterdir())


@given(grids())
def test_layouts_keep_their_promises(made):
    grid, batch = made
    for chunk, shard in zip(grid.chunks, grid.shards, strict=True):
        assert shard % chunk == 0
    assert np.prod(grid.shards) * 4 <= layouts.SHARD_BYTES
    for region in [*grid.tiles(batch), *grid.frames(batch)]:
        layout_of(grid).check_region(region)
        if grid.patched:
            assert all(start % 64 == 0 for start in (region.y[0], region.x[0]))
