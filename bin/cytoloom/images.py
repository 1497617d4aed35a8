"""Image and label layers as OME-Zarr 0.5 stores, written part by part.

A *part* is a group with one array ``0`` of axes tczyx (c = 1) that has the metadata
of the whole layer and only the shards of its own region. A *layer* is the set of
its parts; it is read by region, across parts, as an array of axes tzyx. A region
that is written is whole shards, so no two tasks write one file. Inner chunks carry
a crc32c; empty chunks are written too, so that a shard that is not there is damage,
named as such, and never silently background. Labels are uint32, never narrowed.

Zarr is imported only where pixels are read or written: opening a layer reads JSON.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from cytoloom.errors import BadData, InputMissing, UsageError
from cytoloom.files import find, writing
from cytoloom.regions import AXES, Region, Shape, bounding, cut

KINDS_OF_LABELS = ("label", "trackedlabel")
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
        ``image``, ``label`` or ``trackedlabel``.
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


@dataclass(frozen=True)
class Part:
    """One store on disk and the region that it holds."""

    path: Path
    region: Region


@dataclass(frozen=True)
class Layer:
    """A layer that can be read by region: its layout and the parts that are at hand."""

    layout: Layout
    parts: tuple[Part, ...]

    shape = property(lambda self: self.layout.shape)
    dtype = property(lambda self: self.layout.dtype)
    chunks = property(lambda self: self.layout.chunks)
    shards = property(lambda self: self.layout.shards)
    pixel_size = property(lambda self: self.layout.pixel_size)
    frame_interval = property(lambda self: self.layout.frame_interval)
    position = property(lambda self: self.layout.position)
    channel = property(lambda self: self.layout.channel)
    kind = property(lambda self: self.layout.kind)

    @cached_property
    def region(self) -> Region:
        """The box around all parts that are at hand."""
        return bounding([part.region for part in self.parts])

    def read(self, region: Region | None = None) -> NDArray[Any]:
        """Read a region (default: all that is at hand).

        Returns
        -------
        ndarray, shape (t, z, y, x) of the region, dtype of the layer

        Raises
        ------
        InputMissing
            If the parts at hand do not cover the region.
        BadData
            If a shard is missing or damaged; the message names it.
        """
        region = region or self.region
        out = np.empty(region.shape, self.dtype)
        covered = 0
        for part in self.parts:
            common = part.region.intersect(region)
            if common is None:
                continue
            out[common.within(region)] = _read_part(part, common, self.layout)
            covered += common.size
        if covered != region.size:
            raise InputMissing(
                f"{self.kind} of {self.channel!r}: region {region} is not covered by the parts "
                f"at hand ({', '.join(str(p.path.name) for p in self.parts[:3])}, …); "
                "give all parts that meet the region and its halo"
            )
        return out


def open_layer(pattern: Path | str, *, kind: str | None = None) -> Layer:
    """Open a layer by the path of one part or a glob of its parts.

    Parameters
    ----------
    pattern
        Path or glob.
    kind
        If given, the kind that the layer must have (``label`` accepts all label kinds).

    Raises
    ------
    InputMissing
        If nothing matches.
    BadData
        If a store is not one of ours, or the parts do not belong together.
    """
    opened = [_open_part(path) for path in find(pattern, what="layer")]
    layout = opened[0][0]
    for other, part in opened[1:]:
        if other != layout:
            raise BadData(f"{part.path}: not a part of the same layer as {opened[0][1].path}")
    labels = layout.kind in KINDS_OF_LABELS
    if kind is not None and kind != layout.kind and not (kind == "label" and labels):
        raise BadData(f"{opened[0][1].path}: a layer of kind {layout.kind!r}, not {kind!r}")
    return Layer(layout, tuple(part for _, part in opened))


def write_part(
    path: Path | str,
    data: NDArray[Any],
    *,
    region: Region,
    like: Layer | Layout,
    kind: str = "image",
    channel: str | None = None,
    dtype: DTypeLike | None = None,
) -> None:
    """Write one part, whole or not at all.

    Parameters
    ----------
    path
        The store to make.
    data : ndarray, shape (t, z, y, x) of ``region``
    region
        Whole shards of the layer.
    like
        The layer or layout that gives shape, chunks, shards, pixel size, position.
    channel, dtype
        Where they differ from ``like``. Labels are always uint32.

    Raises
    ------
    UsageError
        If the region cuts a shard.
    BadData
        If labels do not fit into uint32.
    """
    layout = like.layout if isinstance(like, Layer) else like
    wanted = np.dtype(np.uint32 if kind in KINDS_OF_LABELS else dtype or data.dtype)
    if kind in KINDS_OF_LABELS:
        check_labels(data, what=str(path))
    layout = replace(layout, dtype=wanted, kind=kind, channel=channel or layout.channel)
    layout.check_region(region)
    if data.shape != region.shape:
        raise ValueError(f"data of shape {data.shape} for region {region}")
    with writing(path) as temporary:
        array = _create(temporary, layout, region)
        array[_tczyx(region)] = data.astype(wanted, copy=False)[:, np.newaxis]


def check_labels(data: NDArray[Any], *, what: str) -> None:
    """Raise BadData unless ``data`` holds whole numbers that fit into uint32."""
    if data.dtype.kind not in "bui":
        raise BadData(f"{what}: labels of type {data.dtype}; they must be whole numbers")
    if data.dtype.itemsize > 4 or data.dtype.kind == "i":
        low, high = (int(data.min()), int(data.max())) if data.size else (0, 0)
        if low < 0 or high > np.iinfo(np.uint32).max:
            raise BadData(f"{what}: labels from {low} to {high} do not fit into uint32")


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


def _tczyx(region: Region) -> tuple[slice, ...]:
    t, z, y, x = region.slices
    return (t, slice(0, 1), z, y, x)


def _create(path: Path, layout: Layout, region: Region) -> Any:
    import zarr

    group = zarr.create_group(store=path, zarr_format=3, attributes=_attributes(layout, region))
    options = array_options(layout.shape, layout.dtype, layout.chunks, layout.shards)
    return group.create_array("0", **options)


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


def _attributes(layout: Layout, region: Region) -> dict[str, Any]:
    return {
        "ome": ome_attributes(layout),
        "cytoloom": {
            "position": layout.position,
            "channel": layout.channel,
            "kind": layout.kind,
            "region": str(region),
        },
    }


def _open_part(path: Path) -> tuple[Layout, Part]:
    try:
        group = json.loads((path / "zarr.json").read_text())["attributes"]
        array = json.loads((path / "0" / "zarr.json").read_text())
        ours, multiscale = group["cytoloom"], group["ome"]["multiscales"][0]
        scale = multiscale["datasets"][0]["coordinateTransformations"][0]["scale"]
        t, _, z, y, x = array["shape"]
        shards = array["chunk_grid"]["configuration"]["chunk_shape"]
        sharding = next(c for c in array["codecs"] if c["name"] == "sharding_indexed")
        chunks = sharding["configuration"]["chunk_shape"]
        layout = Layout(
            shape=(t, z, y, x),
            dtype=np.dtype(array["data_type"]),
            chunks=(chunks[0], *chunks[2:]),
            shards=(shards[0], *shards[2:]),
            pixel_size=(scale[2], scale[3], scale[4]),
            frame_interval=scale[0] if "unit" in multiscale["axes"][0] else None,
            position=ours["position"],
            channel=ours["channel"],
            kind=ours["kind"],
        )
        region = ours.get("region")
        return layout, Part(path, Region.parse(region, layout.shape))
    except FileNotFoundError as error:
        raise InputMissing(f"{path}: not a store ({error.filename} is missing)") from error
    except (KeyError, IndexError, TypeError, ValueError, StopIteration) as error:
        raise BadData(
            f"{path}: not a store made by Cytoloom ({error!r}); bring other data in by ingest"
        ) from error


def _read_part(part: Part, region: Region, layout: Layout) -> NDArray[Any]:
    _check_shards(part, region, layout)
    try:
        return np.asarray(_array(part.path)[_tczyx(region)])[:, 0]
    except Exception as error:
        raise BadData(
            f"{part.path}: damaged data in region {region} "
            f"({_damaged_shard(part, region, layout)}: {error}); "
            "delete that part and run again with -resume"
        ) from error


@lru_cache(maxsize=256)
def _array(store: Path) -> Any:
    """Open the array of a part once: frames are read one by one."""
    import zarr

    return zarr.open_array(store / "0", mode="r", zarr_format=3)


def _shard_paths(part: Part, region: Region, layout: Layout) -> list[tuple[Region, Path]]:
    grid = [
        range(start // step, -(-stop // step))
        for (start, stop), step in zip(region.spans, layout.shards, strict=True)
    ]
    return [
        (
            Region(
                *(
                    (i * step, min((i + 1) * step, size))
                    for i, step, size in zip((t, z, y, x), layout.shards, layout.shape, strict=True)
                )
            ),
            part.path / "0" / "c" / str(t) / "0" / str(z) / str(y) / str(x),
        )
        for t in grid[0]
        for z in grid[1]
        for y in grid[2]
        for x in grid[3]
    ]


def _check_shards(part: Part, region: Region, layout: Layout) -> None:
    for _, path in _shard_paths(part, region, layout):
        if not path.is_file():
            raise BadData(
                f"{part.path}: shard {path.relative_to(part.path)} is missing; "
                "delete that part and run again with -resume"
            )


def _damaged_shard(part: Part, region: Region, layout: Layout) -> str:
    array = _array(part.path)
    for box, path in _shard_paths(part, region, layout):
        for chunk in cut(box.shape, layout.chunks):
            where = Region(
                *((b[0] + c[0], b[0] + c[1]) for b, c in zip(box.spans, chunk.spans, strict=True))
            )
            try:
                array[_tczyx(where)]
            except Exception:
                return f"shard {path.relative_to(part.path)}, chunk {where}"
    return "shard unknown"
