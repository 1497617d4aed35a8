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
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from cytoloom import shards
from cytoloom.damage import first_damaged_chunk
from cytoloom.errors import BadData, InputMissing
from cytoloom.files import find, writing
from cytoloom.layouts import (
    KINDS_OF_IMAGES,
    KINDS_OF_LABELS,
    Layout,
    array_options,
    ome_attributes,
)
from cytoloom.regions import Region, Shape, bounding

_MEND_PART = "delete this store and run again with -resume: it is made anew"


@dataclass(frozen=True)
class Part:
    """One store on disk and the region that it holds."""

    path: Path
    region: Region
    plain: bool = True  # that its codecs are those of `shards`


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
            _read_part(part, common, self.layout, out[common.within(region)])
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
        If given, the kind that the layer must have (``label`` accepts all label kinds,
        ``image`` a background too).

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
    alike = {"label": KINDS_OF_LABELS, "image": KINDS_OF_IMAGES}
    if kind is not None and layout.kind not in alike.get(kind, (kind,)):
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
        _create(temporary, layout, region)
        shards.write(temporary / "0", data, region=region, dtype=wanted, **_grids(layout))


def check_labels(data: NDArray[Any], *, what: str) -> None:
    """Raise BadData unless ``data`` holds whole numbers that fit into uint32."""
    if data.dtype.kind not in "bui":
        raise BadData(f"{what}: labels of type {data.dtype}; they must be whole numbers")
    if data.dtype.itemsize > 4 or data.dtype.kind == "i":
        low, high = (int(data.min()), int(data.max())) if data.size else (0, 0)
        if low < 0 or high > np.iinfo(np.uint32).max:
            raise BadData(f"{what}: labels from {low} to {high} do not fit into uint32")


def _tczyx(region: Region) -> tuple[slice, ...]:
    t, z, y, x = region.slices
    return (t, slice(0, 1), z, y, x)


def _grids(layout: Layout) -> dict[str, Shape]:
    return {"shape": layout.shape, "chunks": layout.chunks, "shards": layout.shards}


def _create(path: Path, layout: Layout, region: Region) -> None:
    import zarr

    group = zarr.create_group(store=path, zarr_format=3, attributes=_attributes(layout, region))
    options = array_options(layout.shape, layout.dtype, layout.chunks, layout.shards)
    group.create_array("0", **options)


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
        shard = array["chunk_grid"]["configuration"]["chunk_shape"]
        sharding = next(c for c in array["codecs"] if c["name"] == "sharding_indexed")
        chunks = sharding["configuration"]["chunk_shape"]
        layout = Layout(
            shape=(t, z, y, x),
            dtype=np.dtype(array["data_type"]),
            chunks=(chunks[0], *chunks[2:]),
            shards=(shard[0], *shard[2:]),
            pixel_size=(scale[2], scale[3], scale[4]),
            frame_interval=scale[0] if "unit" in multiscale["axes"][0] else None,
            position=ours["position"],
            channel=ours["channel"],
            kind=ours["kind"],
        )
        region = ours.get("region")
        return layout, Part(path, Region.parse(region, layout.shape), shards.is_plain(array))
    except FileNotFoundError as error:
        raise InputMissing(f"{path}: not a store ({error.filename} is missing)") from error
    except (KeyError, IndexError, TypeError, ValueError, StopIteration) as error:
        raise BadData(
            f"{path}: not a store made by Cytoloom ({error!r}); bring other data in by ingest"
        ) from error


def _read_part(part: Part, region: Region, layout: Layout, out: NDArray[Any]) -> None:
    _check_shards(part, region, layout)
    if part.plain:
        try:
            shards.read(part.path / "0", out, region=region, **_grids(layout))
            return
        except (ValueError, RuntimeError, OSError):  # zarr says what it is
            pass
    array = _array(part.path)
    try:
        out[:] = np.asarray(array[_tczyx(region)])[:, 0]
    except Exception as error:
        damaged = first_damaged_chunk(array, _tczyx(region), "tczyx", "0")
        raise BadData(
            f"{part.path.resolve()}: damaged: {damaged} ({error}); {_MEND_PART}"
        ) from error


@lru_cache(maxsize=256)
def _array(store: Path) -> Any:
    """Open the array of a part once: frames are read one by one."""
    import zarr

    return zarr.open_array(store / "0", mode="r", zarr_format=3)


def _check_shards(part: Part, region: Region, layout: Layout) -> None:
    for place in shards.grid(region, layout.shards):
        path = shards.path_of(part.path / "0", place)
        if not path.is_file():
            shard = path.relative_to(part.path)
            raise BadData(f"{part.path.resolve()}: shard {shard} is missing; {_MEND_PART}")
