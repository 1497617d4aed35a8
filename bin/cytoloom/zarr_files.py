"""OME-Zarr 0.4 and 0.5 as sources, at full resolution.

A store of several images as bioformats2raw lays it out (groups ``0``, ``1``, …) is a file of
several positions.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytoloom.calibration import MICROMETRE, SECOND
from cytoloom.damage import first_damaged_chunk
from cytoloom.errors import BadData
from cytoloom.regions import Region
from cytoloom.sources import Source, choose_scene


def is_zarr(path: Path) -> bool:
    """Tell a Zarr store from another folder."""
    return any((path / name).is_file() for name in ("zarr.json", ".zgroup", ".zattrs", ".zarray"))


def scene_names(path: Path) -> list[str | None]:
    """Return the names of the images of a store; one without a name for a single image."""
    import zarr

    try:
        group = zarr.open_group(path, mode="r")
        attributes = dict(group.attrs)
        if "bioformats2raw.layout" not in attributes.get("ome", attributes):
            return [None]
        numbers = takewhile(lambda n: str(n) in group, count())
        return [str(n) for n in numbers] or [None]
    except Exception as error:
        raise BadData(f"{path}: not a readable OME-Zarr image ({error!r})") from error


def open_zarr(path: Path, scene: int | None = None) -> Source:
    """Open an image of a store; see `cytoloom.sources.open_source`."""
    names = scene_names(path)
    chosen = choose_scene(path, names, scene)
    inside = names[chosen.number]
    source = _open_image(path / inside if inside is not None else path)
    return replace(source, files=(path,), scene=chosen)


def _open_image(path: Path) -> Source:
    import zarr

    try:
        group = zarr.open_group(path, mode="r")
        attributes = dict(group.attrs)
        ome = attributes.get("ome", attributes)
        multiscale = ome["multiscales"][0]
        dataset = multiscale["datasets"][0]
        array = group[dataset["path"]]
        axes = [a["name"] if isinstance(a, dict) else a for a in multiscale["axes"]]
        units = [a.get("unit", "") if isinstance(a, dict) else "" for a in multiscale["axes"]]
        scale = dict(zip(axes, _zarr_scale(multiscale, dataset, len(axes)), strict=True))
        sizes = dict(zip(axes, array.shape, strict=True))
    except Exception as error:
        raise BadData(f"{path}: not a readable OME-Zarr image ({error!r})") from error
    if not {"y", "x"} <= set(axes) <= set("tczyx"):
        raise BadData(f"{path}: axes {axes} are not understood")
    unit = dict(zip(axes, units, strict=True))
    channels = sizes.get("c", 1)
    labels = [
        str(c.get("label", i)) for i, c in enumerate(ome.get("omero", {}).get("channels", []))
    ]

    def size_of(axis: str) -> float | None:
        factor = MICROMETRE.get(unit.get(axis, "").lower())
        return scale[axis] * factor if factor and 0 < scale[axis] < np.inf else None

    def read(region: Region, channel: int) -> NDArray[Any]:
        index = dict(zip("tzyx", region.slices, strict=True)) | {"c": slice(channel, channel + 1)}
        box = tuple(index[a] for a in axes)
        try:
            data = np.asarray(array[box])
        except Exception as error:
            damaged = first_damaged_chunk(array, box, axes, dataset["path"])
            raise BadData(
                f"{path}: damaged: {damaged} ({error}); copy this file again "
                "from where the store came from"
            ) from error
        data = data.transpose([axes.index(a) for a in "ctzyx" if a in axes])
        return data.reshape(region.shape)

    return Source(
        files=(path,),
        format="OME-Zarr",
        shape=(sizes.get("t", 1), sizes.get("z", 1), sizes["y"], sizes["x"]),
        dtype=np.dtype(array.dtype),
        channels=tuple(labels if len(labels) == channels else map(str, range(channels))),
        pixel_size=(size_of("z"), size_of("y"), size_of("x")),
        frame_interval=scale["t"] * SECOND[unit["t"].lower()]
        if unit.get("t", "").lower() in SECOND and 0 < scale["t"] < np.inf
        else None,
        _read=read,
        notes=_absent_chunks(path, array),
    )


def _absent_chunks(path: Path, array: Any) -> tuple[str, ...]:
    """Note chunks without a file: by the format they are empty, but they may have been lost."""
    absent = array.nchunks - array.nchunks_initialized
    if not absent:
        return ()
    note = (
        f"{path}: {absent:,} of {array.nchunks:,} chunks have no file and are read as "
        f"{array.fill_value}; copy the store again if it should be complete"
    )
    return (note,)


def _zarr_scale(multiscale: dict[str, Any], dataset: dict[str, Any], n: int) -> list[float]:
    scale = np.ones(n)
    for place in (multiscale, dataset):
        for transform in place.get("coordinateTransformations", []):
            if transform["type"] == "scale":
                scale = scale * np.asarray(transform["scale"], float)
    return [float(s) for s in scale]
