"""Which chunk of a Zarr array is damaged: looked for only after reading has failed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any


def first_damaged_chunk(array: Any, box: Sequence[slice], axes: Sequence[str], name: str) -> str:
    """Name the first chunk within ``box`` that cannot be read, and the file that holds it.

    Parameters
    ----------
    array : zarr.Array
    box
        One slice with both ends for each axis of the array.
    axes
        Their names.
    name
        Path of the array in its store.

    Returns
    -------
    str
        ``array 0, chunk t=0:1,y=0:64,x=0:64, file 0/c/0/0/0``, below the root of the store.
    """
    holders = array.shards or array.chunks
    ranges = [
        range(part.start - part.start % step, part.stop, step)
        for part, step in zip(box, array.chunks, strict=True)
    ]
    for starts in product(*ranges):
        ends = [
            min(start + step, size)
            for start, step, size in zip(starts, array.chunks, array.shape, strict=True)
        ]
        try:
            array[tuple(slice(a, b) for a, b in zip(starts, ends, strict=True))]
        except Exception:
            where = ",".join(
                f"{axis}={a}:{b}" for axis, a, b in zip(axes, starts, ends, strict=True)
            )
            holder = tuple(a // step for a, step in zip(starts, holders, strict=True))
            key = array.metadata.encode_chunk_key(holder)
            return f"array {name}, chunk {where}, file {name}/{key}"
    return f"array {name}, though no chunk of it when read alone"
