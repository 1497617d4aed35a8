"""A damaged chunk of a user's store is named, with its store, array and file."""

from __future__ import annotations

import os

import numpy as np
import planned
import pytest
import zarr
from odd_files import cells, pipeline, store

from cytoloom import sources
from cytoloom.errors import BadData
from cytoloom.regions import Region

IMAGE = cells(frames=4)


def truncate(path):
    path.write_bytes(path.read_bytes()[:100])


def test_plain_chunks(tmp_path):
    store(tmp_path / "a.zarr", IMAGE, chunks=(1, 32, 48))
    truncate(tmp_path / "a.zarr" / "0" / "c" / "2" / "1" / "0")
    source = sources.open_source(tmp_path / "a.zarr")
    whole = Region.whole(source.shape)
    with pytest.raises(BadData) as error:
        source.read(whole)
    assert str(error.value).startswith(
        f"{tmp_path}/a.zarr: damaged: array 0, chunk t=2:3,y=32:64,x=0:48, file 0/c/2/1/0 ("
    )
    assert str(error.value).endswith("copy this file again from where the store came from")
    np.testing.assert_array_equal(source.read(Region((0, 2), *whole.spans[1:]))[:, 0], IMAGE[:2])


def test_a_chunk_in_a_shard(tmp_path):
    store(tmp_path / "a.zarr", IMAGE)
    group = zarr.open_group(tmp_path / "a.zarr")
    del group["0"]
    array = group.create_array(
        "0", shape=IMAGE.shape, dtype=IMAGE.dtype, chunks=(1, 32, 48), shards=(2, 64, 96)
    )
    array[:] = IMAGE
    shard = tmp_path / "a.zarr" / "0" / "c" / "1" / "0" / "0"
    content = bytearray(shard.read_bytes())
    content[0] ^= 255  # the first byte of the first chunk's frame
    shard.write_bytes(content)
    source = sources.open_source(tmp_path / "a.zarr")
    with pytest.raises(BadData, match=r"chunk t=2:3,y=0:32,x=0:48, file 0/c/1/0/0 "):
        source.read(Region.whole(source.shape))


def test_old_stores(tmp_path):
    store(tmp_path / "a.zarr", IMAGE, version=2, chunks=(1, 64, 96))
    truncate(tmp_path / "a.zarr" / "0" / "3.0.0")
    source = sources.open_source(tmp_path / "a.zarr")
    with pytest.raises(BadData, match=r"array 0, chunk t=3:4,y=0:64,x=0:96, file 0/3\.0\.0 "):
        source.read(Region.whole(source.shape))


@pytest.mark.parametrize("known", [False, True])
def test_found_by_the_plan_and_by_the_task_that_reads_it(tmp_path, known):
    """Where an earlier run knew the store by its times, the task finds what the plan does not."""
    store(tmp_path / "a.zarr", IMAGE, chunks=(1, 64, 96))
    if known:
        assert planned.run(tmp_path, pipeline({"A": "a.zarr"})).code == 0
    chunk = tmp_path / "a.zarr" / "0" / "c" / "2" / "0" / "0"
    about = chunk.stat()
    content = bytearray(chunk.read_bytes())
    content[:8] = bytes(8)
    chunk.write_bytes(content)
    os.utime(chunk, ns=(about.st_atime_ns, about.st_mtime_ns))
    done = planned.run(tmp_path, pipeline({"A": "a.zarr"}))
    assert bool(done.jobs) == known
    assert done.code == 65
    assert len(done.err.splitlines()) == 1
    for word in (f"{tmp_path}/a.zarr: ", "array 0, chunk t=2:3", "0/c/2/0/0", "copy this file"):
        assert word in done.err
