"""Layouts: what all parts of a layer share, and the metadata that follow from it.

A layout fixes shape, type, chunks, shards and calibration of a layer. Chunks are one
frame; shards hold as many frames and planes of one patch as stay within 128 MiB. Every
array has axes tczyx with one channel, a checksum in each chunk, and empty chunks
written too, so that what is missing is damage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cytoloom.errors import UsageError
from cytoloom.regions import AXES, Region, Shape, cut

KINDS_OF_LABELS = ("label", "trackedlabel")
KINDS_OF_IMAGES = ("image", "background")
SHARD_BYTES = 128 * 2**20


@dataclass(frozen=True)
class Layout:
    """What all parts of a layer share.

    Attributes
    ----------
    shape, chunks, shards
        Lengths along t, z, y, x; a shard is a whole number of chunks.
    pixel_size
        Micrometre along z, y, x.
    frame_interval
        Second between frames, or None where nobody knows it.
    kind
        ``image``, ``background``, ``label`` or ``trackedlabel``.
    """

    shape: Shape
    dtype: np.dtype[Any]
    chunks: Shape
    shards: Shape
    pixel_size: tuple[float, float, float]
    frame_interval: float | None
    position: str
    channel: str
    kind: str = "image"

    def __post_init__(self) -> None:
        for axis, shard, chunk in zip(AXES, self.shards, self.chunks, strict=True):
            if shard % chunk:
                raise UsageError(f"a shard of {shard} along {axis} is not whole chunks of {chunk}")

    def regions(self) -> list[Region]:
        """Return the regions of the shards, in raster order."""
        return list(cut(self.shape, self.shards))

    def check_region(self, region: Region) -> None:
        """Raise UsageError unless ``region`` is whole shards of this layout."""
        for axis, (start, stop), shard, size in zip(
            AXES, region.spans, self.shards, self.shape, strict=True
        ):
            if start % shard or (stop % shard and stop != size):
                raise UsageError(
                    f"region {region} cuts a shard: along {axis} it must start and end on "
                    f"multiples of {shard} (or end at {size})"
                )


def default_layout(
    shape: Sequence[int],
    chunk_yx: tuple[int, int] | None = None,
    patch_yx: tuple[int, int] | None = None,
) -> tuple[Shape, Shape]:
    """Choose chunks and shards for a layer of ``shape`` (T, Z, Y, X).

    Chunks are one frame, up to 16 planes and at most 1024 pixels along y and x. A shard is one
    patch (default: the whole plane) and as many planes and frames as stay within 128 MiB at
    four bytes a voxel, the same for images and labels, so that their parts have the same regions.

    Returns
    -------
    chunks, shards : lengths along t, z, y, x
    """
    t, z, y, x = (max(1, int(n)) for n in shape)
    patch_y, patch_x = patch_yx or (y, x)
    if chunk_yx is None:
        chunk_yx = (_even(patch_y, 1024), _even(patch_x, 1024))
    cy, cx = chunk_yx
    sy, sx = -(-patch_y // cy) * cy, -(-patch_x // cx) * cx
    while sy * sx * 4 > SHARD_BYTES and (sy > cy or sx > cx):
        sy, sx = (
            (max(cy, sy // 2 // cy * cy), sx) if sy >= sx else (sy, max(cx, sx // 2 // cx * cx))
        )
    cz = min(z, 16 if z > 1 else 1)
    planes = max(1, SHARD_BYTES // (sy * sx * 4))
    sz = cz * max(1, min(-(-z // cz), planes // cz))
    st = max(1, min(t, planes // sz))
    return (1, cz, cy, cx), (st, sz, sy, sx)


def _even(length: int, most: int) -> int:
    """Return the edge that cuts ``length`` into the fewest equal pieces of at most ``most``."""
    return -(-length // -(-length // most))


def array_options(
    shape: Sequence[int], dtype: np.dtype[Any], chunks: Sequence[int], shards: Sequence[int]
) -> dict[str, Any]:
    """Return how every array of a store is made: axes tczyx, shards, codecs with a checksum.

    Parameters
    ----------
    shape, chunks, shards
        Lengths along t, z, y, x; there is one channel.
    """
    from zarr.codecs import BloscCodec, Crc32cCodec

    return {
        "shape": _insert_c(shape),
        "dtype": dtype,
        "chunks": _insert_c(chunks),
        "shards": _insert_c(shards),
        "compressors": [BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle"), Crc32cCodec()],
        "dimension_names": list("tczyx"),
        "fill_value": 0,
        "config": {"write_empty_chunks": True},
    }


def _insert_c(shape: Sequence[int]) -> tuple[int, ...]:
    return (shape[0], 1, *shape[1:])


def ome_attributes(
    layout: Layout,
    *,
    scales: Sequence[Sequence[float]] = ((1.0, 1.0, 1.0),),
    name: str | None = None,
) -> dict[str, Any]:
    """Return the ``ome`` attributes (OME-Zarr 0.5) of a layer, one dataset per scale (z, y, x)."""
    interval = layout.frame_interval
    time: dict[str, str] = {"name": "t", "type": "time"}
    if interval is not None:
        time["unit"] = "second"
    space = [{"name": a, "type": "space", "unit": "micrometer"} for a in "zyx"]
    datasets = [
        {
            "path": str(level),
            "coordinateTransformations": [
                {
                    "type": "scale",
                    "scale": [
                        interval or 1.0,
                        1.0,
                        *(s * f for s, f in zip(layout.pixel_size, factors, strict=True)),
                    ],
                }
            ],
        }
        for level, factors in enumerate(scales)
    ]
    ome: dict[str, Any] = {
        "version": "0.5",
        "multiscales": [
            {
                "name": name or layout.channel,
                "axes": [time, {"name": "c", "type": "channel"}, *space],
                "datasets": datasets,
            }
        ],
    }
    if layout.kind in KINDS_OF_LABELS:
        ome["image-label"] = {"version": "0.5"}
    return ome
