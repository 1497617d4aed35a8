"""Smaller levels of a layer: halved along y and x until no edge exceeds 512 pixels.

Level 0 is the layer itself and is never copied. Images are averaged over 2 x 2 pixels
(the last row or column of an odd edge over what is there), labels take the pixel at
the upper left, so that no number arises that was not there. z and t are kept.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytoloom import shards
from cytoloom.files import writing
from cytoloom.images import Layer
from cytoloom.layouts import KINDS_OF_LABELS, array_options
from cytoloom.regions import Region, Shape

LARGEST_TOP = 512


def level_shapes(shape: Shape, largest: int = LARGEST_TOP) -> list[Shape]:
    """Return the shapes (t, z, y, x) of all levels, level 0 first."""
    shapes = [shape]
    while max(shapes[-1][2:]) > largest:
        t, z, y, x = shapes[-1]
        shapes.append((t, z, -(-y // 2), -(-x // 2)))
    return shapes


def halve(data: NDArray[Any], *, labels: bool) -> NDArray[Any]:
    """Return ``data`` (…, y, x) at half size along y and x, edges rounded up; dtype kept."""
    if labels:
        return data[..., ::2, ::2]
    *_, y, x = data.shape
    pad = [(0, 0)] * (data.ndim - 2) + [(0, y % 2), (0, x % 2)]
    whole = np.pad(data, pad, mode="edge").astype(np.float64)
    mean = whole.reshape(*whole.shape[:-2], (y + 1) // 2, 2, (x + 1) // 2, 2).mean(axis=(-3, -1))
    return (np.rint(mean) if data.dtype.kind in "ui" else mean).astype(data.dtype)


def write_levels(path: Path | str, layer: Layer, region: Region) -> None:
    """Write levels 1, 2, … of whole frames of a layer as one part, whole or not at all.

    Parameters
    ----------
    path
        Store to make: a group with arrays ``1``, ``2``, …, each with the metadata of the
        whole level and only the shards of ``region``.
    region
        Whole frames; along t whole shards of the layer.
    """
    import zarr

    shapes = level_shapes(layer.shape)
    labels = layer.kind in KINDS_OF_LABELS
    with writing(path) as temporary:
        group = zarr.create_group(store=temporary, zarr_format=3)
        grids: list[dict[str, Shape]] = []
        for level, shape in enumerate(shapes[1:], start=1):
            grid = _grid(layer, shape)
            group.create_array(str(level), **array_options(dtype=layer.dtype, **grid))
            grids.append(grid)
        for frames in _batches(region, layer.shards[0]):
            data = layer.read(frames)
            for level, grid in enumerate(grids, start=1):
                data = halve(data, labels=labels)
                box = replace(Region.whole(grid["shape"]), t=frames.t)
                shards.write(temporary / str(level), data, region=box, dtype=layer.dtype, **grid)


def _grid(layer: Layer, shape: Shape) -> dict[str, Shape]:
    """Return shape, chunks and shards of a level: a shard is whole planes."""
    (ct, cz, cy, cx), (t, z, y, x) = layer.chunks, shape
    chunks = (min(ct, t), min(cz, z), min(cy, y), min(cx, x))
    st, sz, sy, sx = (
        -(-n // c) * c for n, c in zip((layer.shards[0], z, y, x), chunks, strict=True)
    )
    return {"shape": shape, "chunks": chunks, "shards": (st, sz, sy, sx)}


def _batches(region: Region, step: int) -> list[Region]:
    return [
        Region((t, min(t + step, region.t[1])), region.z, region.y, region.x)
        for t in range(region.t[0], region.t[1], step)
    ]


def scales(shapes: list[Shape]) -> list[tuple[float, float, float]]:
    """Return how much larger a pixel of each level is along z, y, x."""
    return [(1.0, float(2**level), float(2**level)) for level in range(len(shapes))]
