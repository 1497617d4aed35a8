"""Shards: the same pixels as zarr reads and writes, and damage that is seen."""

import shutil

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import DTYPES, arrays, grids, layout_of

from cytoloom import images, layouts, shards
from cytoloom.regions import Region


def made_by_zarr(path, data, layout):
    options = layouts.array_options(layout.shape, data.dtype, layout.chunks, layout.shards)
    array = zarr.create_array(path, zarr_format=3, **options)
    array[:] = data[:, np.newaxis]
    return array


def grid_of(layout):
    return {"shape": layout.shape, "chunks": layout.chunks, "shards": layout.shards}


@given(grids(), DTYPES, st.data())
@settings(max_examples=20)
def test_zarr_reads_what_is_written_and_the_reverse(tmp_path_factory, made, dtype, draw):
    grid, _ = made
    layout = layout_of(grid, np.dtype(dtype))
    data = draw.draw(arrays(grid.shape, dtype))
    folder = tmp_path_factory.mktemp("shards")
    other = made_by_zarr(folder / "zarr", data, layout)
    shutil.copytree(folder / "zarr", folder / "ours", ignore=shutil.ignore_patterns("c"))
    whole = Region.whole(layout.shape)
    shards.write(folder / "ours", data, region=whole, dtype=other.dtype, **grid_of(layout))
    np.testing.assert_array_equal(zarr.open_array(folder / "ours", mode="r")[:, 0], data)
    spans = []
    for size in grid.shape:
        start = draw.draw(st.integers(0, size - 1))
        spans.append((start, draw.draw(st.integers(start + 1, size))))
    region = Region(*spans)
    for store in ("zarr", "ours"):
        found = np.empty(region.shape, dtype)
        shards.read(folder / store, found, region=region, **grid_of(layout))
        np.testing.assert_array_equal(found, data[region.slices])
    shutil.rmtree(folder)


@pytest.fixture
def smooth(tmp_path):
    """Return a part of float32 in four chunks, its data and its one shard."""
    y, x = np.mgrid[:600, :600]
    data = (np.sin(y / 99) + x / 50).astype(np.float32)[np.newaxis, np.newaxis]
    layout = layouts.Layout(
        data.shape, data.dtype, (1, 1, 300, 300), (1, 1, 600, 600), (1, 1, 1), None, "p", "c"
    )
    path = tmp_path / "p.zarr"
    images.write_part(path, data, region=Region.whole(data.shape), like=layout)
    return path, data, path / "0/c/0/0/0/0/0"


def test_values_are_shuffled_by_their_type(smooth, tmp_path):
    from numcodecs import blosc

    path, data, shard = smooth
    asked = zarr.open_array(path / "0").metadata.codecs[0].codecs[1]
    assert asked.typesize == data.dtype.itemsize
    codec = blosc.Blosc("zstd", 3, blosc.BITSHUFFLE)
    pieces = [data[0, 0, y : y + 300, x : x + 300] for y in (0, 300) for x in (0, 300)]
    packed = sum(len(codec.encode(np.ascontiguousarray(p))) + 4 for p in pieces)
    assert shard.stat().st_size == packed + 4 * 16 + 4


@pytest.mark.parametrize("place", [100, -10, -1])
def test_a_changed_byte_is_seen(smooth, place):
    path, data, shard = smooth
    stored = bytearray(shard.read_bytes())
    stored[place] ^= 1
    shard.write_bytes(stored)
    layout = images.open_layer(path).layout
    with pytest.raises(ValueError, match="damaged"):
        shards.read(
            path / "0", np.empty_like(data), region=Region.whole(data.shape), **grid_of(layout)
        )


def test_other_codecs_are_left_to_zarr(tmp_path):
    plain = zarr.create_array(tmp_path / "a", shape=(4, 4), dtype="u1", chunks=(2, 2))
    assert not shards.is_plain(plain.metadata.to_dict())
    data = np.arange(64, dtype=np.uint16).reshape(1, 1, 8, 8)
    layout = layouts.Layout(
        data.shape, data.dtype, (1, 1, 4, 4), (1, 1, 8, 8), (1, 1, 1), None, "p", "c"
    )
    images.write_part(tmp_path / "p.zarr", data, region=Region.whole(data.shape), like=layout)
    (part,) = images.open_layer(tmp_path / "p.zarr").parts
    assert part.plain
    shutil.rmtree(tmp_path / "p.zarr" / "0")
    options = layouts.array_options(data.shape, data.dtype, (1, 1, 4, 4), (1, 1, 8, 8))
    options["compressors"] = [zarr.codecs.GzipCodec()]
    zarr.create_array(tmp_path / "p.zarr" / "0", **options)[:] = data[:, np.newaxis]
    layer = images.open_layer(tmp_path / "p.zarr")
    assert not layer.parts[0].plain
    np.testing.assert_array_equal(layer.read(), data)
