"""Shards written and read chunk by chunk: what zarr would do with the same files, in half the time.

Only for arrays made by `layouts.array_options`: axes tczyx with one channel, in each shard
chunks of Blosc with a checksum, and an index at its end. Zarr reads what is written here, and
what zarr wrote is read here; tests hold both. Chunks beyond the edge of the array are left
out, as the format allows. Chunks go to Blosc with their type: zarr with numcodecs before 0.16
hands it bytes, which makes float data three times larger than their metadata say.

A reader that meets what it does not expect raises ValueError or OSError; `images` then asks
zarr, which knows more of the format and says what is wrong.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cytoloom.regions import Region, Shape

CHECKSUM = 4  # bytes of a crc32c
ABSENT = 2**64 - 1  # offset of a chunk that was not written

T = TypeVar("T")


def is_plain(array: Mapping[str, Any]) -> bool:
    """Tell from a ``zarr.json`` whether an array has the codecs that are known here."""
    try:
        (sharding,) = array["codecs"]
        inside = sharding["configuration"]
        names = [codec["name"] for codec in inside["codecs"]]
        index = [codec["name"] for codec in inside["index_codecs"]]
        order = inside["codecs"][0].get("configuration", {}).get("endian", "little")
        return (
            names == ["bytes", "blosc", "crc32c"]
            and index == ["bytes", "crc32c"]
            and order == "little"
            and inside.get("index_location", "end") == "end"
            and array["chunk_key_encoding"] == _KEYS
        )
    except (KeyError, ValueError, TypeError, AttributeError, IndexError):
        return False


_KEYS = {"name": "default", "configuration": {"separator": "/"}}


def path_of(array: Path, place: Iterable[int]) -> Path:
    """Return the file of the shard at a place (t, z, y, x) of the grid of shards."""
    t, z, y, x = place
    return array.joinpath("c", *map(str, (t, 0, z, y, x)))


def grid(region: Region, steps: Shape) -> Iterator[tuple[int, ...]]:
    """Yield the places in a grid of ``steps`` that a region meets, in raster order."""
    return product(
        *(
            range(start // step, -(-stop // step))
            for (start, stop), step in zip(region.spans, steps, strict=True)
        )
    )


def write(
    array: Path, data: NDArray[Any], *, region: Region, shape: Shape, chunks: Shape, shards: Shape,
    dtype: np.dtype[Any],
) -> None:  # fmt: skip
    """Write the shards of a region.

    Parameters
    ----------
    array
        Folder of the array, its ``zarr.json`` made by ``zarr``.
    data : ndarray, shape (t, z, y, x) of ``region``
    region
        Whole shards.
    shape, chunks, shards
        Of the array, along t, z, y, x.
    dtype
        Of the array; ``data`` are converted chunk by chunk.
    """
    wanted = dtype.newbyteorder("<")

    def encode(box: Region) -> bytes:
        values = data[box.within(region)].astype(wanted, copy=False)
        if values.shape != chunks:
            values = np.pad(values, [(0, c - n) for c, n in zip(chunks, values.shape, strict=True)])
        packed: bytes = _blosc().encode(np.ascontiguousarray(values))
        return packed

    for place in grid(region, shards):
        path = path_of(array, place)
        path.parent.mkdir(parents=True, exist_ok=True)
        per = tuple(s // c for s, c in zip(shards, chunks, strict=True))
        index = np.full((*per, 2), ABSENT, "<u8")
        own = _box(place, shards, shape)
        places = list(grid(own, chunks))
        with open(path, "wb") as file:
            boxes = (_box(p, chunks, shape) for p in places)
            for chunk, packed in zip(places, _in_order(encode, boxes), strict=True):
                inside = tuple(c % n for c, n in zip(chunk, per, strict=True))
                index[inside] = file.tell(), len(packed) + CHECKSUM
                file.write(packed)
                file.write(_checksum(packed))
            file.write(index.tobytes())
            file.write(_checksum(index.tobytes()))


def read(
    array: Path, out: NDArray[Any], *, region: Region, shape: Shape, chunks: Shape, shards: Shape
) -> None:
    """Read a region into ``out``, shape (t, z, y, x) of the region and type of the array.

    Raises
    ------
    ValueError, OSError
        If a chunk or an index is not what was written, or is not there.
    """
    per = tuple(s // c for s, c in zip(shards, chunks, strict=True))
    for place in grid(region, shards):
        here = _box(place, shards, shape).intersect(region)
        assert here is not None
        with open(path_of(array, place), "rb") as file:
            number = file.fileno()
            index = _index(number, per)

            def decode(chunk: tuple[int, ...], number: int = number, index: Any = index) -> None:
                inside = tuple(c % n for c, n in zip(chunk, per, strict=True))
                offset, length = (int(n) for n in index[inside])
                values = _chunk(number, offset, length, chunks, out.dtype)
                box = _box(chunk, chunks)
                common = box.intersect(region)
                assert common is not None
                out[common.within(region)] = values[common.within(box)]

            for _ in _in_order(decode, grid(here, chunks)):
                pass


def _box(place: Iterable[int], steps: Shape, shape: Shape | None = None) -> Region:
    """Return the region of a place in a grid, with ``shape`` only what lies within the array."""
    t, z, y, x = ((p * n, (p + 1) * n) for p, n in zip(place, steps, strict=True))
    box = Region(t, z, y, x)
    return box if shape is None else box.intersect(Region.whole(shape)) or box


def _index(number: int, per: tuple[int, ...]) -> NDArray[np.uint64]:
    """Read where each chunk of a shard begins, and its length."""
    size = 16 * int(np.prod(per))
    end = os.fstat(number).st_size
    if end < size + CHECKSUM:
        raise ValueError("a shard is shorter than its index")
    stored = os.pread(number, size + CHECKSUM, end - size - CHECKSUM)
    if _checksum(stored[:-CHECKSUM]) != stored[-CHECKSUM:]:
        raise ValueError("the index of a shard is damaged")
    return np.frombuffer(stored[:-CHECKSUM], "<u8").reshape(*per, 2)


def _chunk(
    number: int, offset: int, length: int, shape: Shape, dtype: np.dtype[Any]
) -> NDArray[Any]:
    if offset == ABSENT or length <= CHECKSUM:
        raise ValueError("a chunk was not written")
    stored = np.frombuffer(os.pread(number, length, offset), np.uint8)
    if len(stored) != length or _checksum(stored[:-CHECKSUM]) != stored[-CHECKSUM:].tobytes():
        raise ValueError("a chunk is damaged")
    values = np.empty(shape, dtype.newbyteorder("<"))
    _blosc().decode(stored[:-CHECKSUM], out=values)
    return values


def _checksum(data: bytes | NDArray[np.uint8]) -> bytes:
    import google_crc32c

    return int(google_crc32c.value(data)).to_bytes(CHECKSUM, "little")


@cache
def _blosc() -> Any:
    """Return the codec of `layouts.array_options`; its own threads would not heed ``--cores``."""
    from numcodecs import blosc

    blosc.use_threads = False
    return blosc.Blosc(cname="zstd", clevel=3, shuffle=blosc.BITSHUFFLE)


@cache
def _threads() -> int:
    """Return how many threads zarr would take."""
    import zarr

    return int(zarr.config.get("threading.max_workers") or os.cpu_count() or 1)


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_threads())


os.register_at_fork(after_in_child=_pool.cache_clear)  # its threads stay behind


def _in_order(function: Callable[[Any], T], items: Iterable[Any]) -> Iterator[T]:
    """Yield ``function`` of each item, a few at once, never more results than threads waiting."""
    if _threads() == 1:
        yield from map(function, items)
        return
    waiting: list[Future[T]] = []
    for item in items:
        waiting.append(_pool().submit(function, item))
        if len(waiting) > _threads():
            yield waiting.pop(0).result()
    for future in waiting:
        yield future.result()
