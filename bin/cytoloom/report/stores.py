"""Frames for pictures from a united store: one frame of one channel at a time.

Of a pyramid the smallest level that is still at least `GOOD` pixels long is read; planes
are projected by their maximum in blocks of 16, so that one block is in memory.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytoloom.errors import BadData

GOOD = 400  # px: a level this long along y or x is fine enough for a picture
LARGEST = 900  # px: longer frames are thinned out
PLANES = 16


def label_name(name: str) -> str:
    """Return the folder of a label image called ``name`` in a united store."""
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in name)


@dataclass(frozen=True)
class Multiscale:
    """One multiscale image or label image of a store."""

    path: Path

    @cached_property
    def ome(self) -> dict[str, Any]:
        """Return its ``ome`` attributes."""
        try:
            about = json.loads((self.path / "zarr.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BadData(f"{self.path.name}: not an OME-Zarr store ({error})") from error
        return dict(about.get("attributes", {}).get("ome", {}))

    @property
    def channels(self) -> list[str]:
        """Return the names of the channels along axis c."""
        return [channel["label"] for channel in self.ome.get("omero", {}).get("channels", [])]

    @property
    def levels(self) -> list[str]:
        """Return the names of the arrays, the largest first; none where there is no image."""
        scales = self.ome.get("multiscales", [])
        return [dataset["path"] for dataset in scales[0]["datasets"]] if scales else []

    @cached_property
    def _array(self) -> tuple[Any, float]:
        """Return the array to read and how many pixels of level 0 one of its pixels spans."""
        import zarr

        arrays: list[Any] = []
        for level in self.levels:
            array = zarr.open_array(self.path / level, mode="r")
            if arrays and max(array.shape[-2:]) < GOOD:
                break
            arrays.append(array)
        if not arrays:
            raise BadData(f"{self.path.name}: no image")
        step = arrays[0].shape[-1] / arrays[-1].shape[-1]
        return arrays[-1], float(2 ** round(np.log2(step))) if step > 1 else 1.0

    def frame(self, t: int, c: int = 0) -> tuple[NDArray[Any], float]:
        """Read one frame.

        Returns
        -------
        plane : ndarray, shape (y, x)
            3-D: the maximum over the planes.
        step : float
            Pixels of the full image that one pixel of ``plane`` spans.
        """
        array, step = self._array
        _, _, depth, height, width = array.shape
        thin = -(-max(height, width) // LARGEST)
        plane = None
        for z in range(0, depth, PLANES):
            block = np.asarray(array[t, c, z : z + PLANES]).max(axis=0)[::thin, ::thin]
            plane = block if plane is None else np.maximum(plane, block)
        assert plane is not None
        return plane, step * thin

    def crop(self, t: int, c: int, corner: tuple[int, int], side: int) -> NDArray[Any]:
        """Read a square of one frame at full resolution, 0 beyond the image's edge.

        Parameters
        ----------
        corner
            y and x of its first pixel, which may lie outside of the image.
        side
            Pixels along y and x.

        Returns
        -------
        ndarray, shape (side, side)
            3-D: the maximum over the planes.
        """
        array = self._whole
        y, x = corner
        inside = tuple(
            slice(max(0, start), max(0, min(start + side, size)))
            for start, size in zip(corner, array.shape[-2:], strict=True)
        )
        square = np.zeros((side, side), array.dtype)
        for z in range(0, array.shape[2], PLANES):
            block = np.asarray(array[t, c, z : z + PLANES, *inside]).max(axis=0)
            into = square[inside[0].start - y :, inside[1].start - x :]
            into = into[: block.shape[0], : block.shape[1]]
            np.maximum(into, block, out=into)
        return square

    @cached_property
    def _whole(self) -> Any:
        import zarr

        if not self.levels:
            raise BadData(f"{self.path.name}: no image")
        return zarr.open_array(self.path / self.levels[0], mode="r")


@dataclass(frozen=True)
class Store:
    """The united store of one position."""

    path: Path

    @cached_property
    def image(self) -> Multiscale:
        """Return the image at the root."""
        return Multiscale(self.path)

    @cached_property
    def labels(self) -> list[str]:
        """Return the names of the label images."""
        if not (self.path / "labels" / "zarr.json").is_file():
            return []
        return list(Multiscale(self.path / "labels").ome.get("labels", []))

    def label(self, name: str) -> Multiscale:
        """Return a label image."""
        return Multiscale(self.path / "labels" / name)

    def channel_of(self, name: str) -> int | None:
        """Return the index of the image of a channel: as it came in, else as a step made it."""
        channels = self.image.channels
        if name in channels:
            return channels.index(name)
        made = (i for i, c in enumerate(channels) if c.startswith(f"{name} ("))
        return next(made, None)

    def find_labels(self, channel: str, tags: list[str]) -> tuple[str, bool] | None:
        """Return the label image to show for a channel, and whether its numbers are tracks.

        Parameters
        ----------
        tags
            Slugs of the steps in the order of the plan; a later step's labels are preferred,
            and labels that are tracks to all others.
        """
        for tag in reversed(tags):
            if (name := label_name(f"{channel} tracks ({tag})")) in self.labels:
                return name, True
        for tag in reversed(tags):
            if (name := label_name(f"{channel} ({tag})")) in self.labels:
                return name, False
        return (label_name(channel), False) if label_name(channel) in self.labels else None
