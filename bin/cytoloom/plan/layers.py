"""What exists at each point of a run: positions, their grids, and planned layers.

A `Grid` cuts a position into parts: patches, whose edges are rounded up to the chunk
grid, and frame batches, whole shards both. `LayerPlan` names a layer that some step
will make and the files of its parts.
"""

from __future__ import annotations

import itertools
import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from cytoloom.layouts import default_layout
from cytoloom.regions import Region, Shape, cut
from cytoloom.traces import csv_name

Span = tuple[int, int]
Axis = tuple[list[Span], list[int], list[int]]  # pieces, their starts, their ends

EXTENSIONS = {
    "image": "zarr",
    "background": "zarr",
    "label": "zarr",
    "trackedlabel": "zarr",
    "corelabel": "zarr",
    "aligned": "zarr",
    "pairs": "npz",
    "warp": "npz",
    "network": "graphml",
    "trackmate": "xml",
    "database": "db",
    "nodes": "db",
    "links": "db",
    "solution": "db",
    "settled": "db",
    "flatfield": "tif",
    "thresholds": "json",
    "tracescsv": "csv",
    "samplescsv": "folder",
    "fitspages": "folder",
    "crops": "folder",
    "cache": "folder",
}
CHUNK_UNIT = 64  # a multiple of every network's stride, so that tiles begin on it
BATCH_VOXELS = 2**25
LONG = 8.0  # s


def slug(name: str) -> str:
    """Return ``name`` with all but letters, digits, ``_`` and ``-`` replaced by ``_``."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", name) or "_"


@dataclass(frozen=True)
class Grid:
    """How one position is cut.

    Attributes
    ----------
    shape, chunks, shards
        Lengths along t, z, y, x of every image and label layer of the position.
    patch
        Edge of a patch along y and x, whole chunks.
    usual_batch
        Frames per batch of steps that ask for no other: what fits, and no more than the
        finest batch of the run, so that a changed pixel reaches no more than it must.
    """

    shape: Shape
    chunks: Shape
    shards: Shape
    patch: tuple[int, int]
    usual_batch: int

    @classmethod
    def of(
        cls,
        shape: Shape,
        patch_count: tuple[int, int] = (1, 1),
        batches: tuple[int, ...] = (),
        shares: tuple[int, ...] = (),
    ) -> Grid:
        """Cut ``shape`` (T, Z, Y, X) into ``patch_count`` patches along y and x.

        Parameters
        ----------
        batches
            Frames per batch that steps ask for; a shard holds no more frames than the
            smallest, so that every batch can be whole shards.
        shares
            Frames per batch of long steps (`share_of`): they bound the shards, not the
            batches of other steps.
        """
        _, _, y, x = shape
        patch = tuple(
            size if count == 1 else min(size, _round_up(-(-size // count), CHUNK_UNIT))
            for size, count in zip((y, x), patch_count, strict=True)
        )
        chunk = tuple(_chunk(edge, count) for edge, count in zip(patch, patch_count, strict=True))
        patch = tuple(_round_up(edge, c) for edge, c in zip(patch, chunk, strict=True))
        chunks, shards = default_layout(shape, (chunk[0], chunk[1]), (patch[0], patch[1]))
        plane = shape[1] * shape[2] * shape[3]
        usual = min([max(1, BATCH_VOXELS // plane), *batches])
        shards = (min([shards[0], usual, *shares]), *shards[1:])
        return cls(shape, chunks, shards, (patch[0], patch[1]), usual)

    def batch(self, wanted: int | None) -> int:
        """Return the frames per batch: ``wanted`` (or the usual) rounded up to whole shards."""
        return min(
            _round_up(wanted or self.usual_batch, self.shards[0]),
            _round_up(self.shape[0], self.shards[0]),
        )

    def tiles(self, batch: int | None = None) -> list[Region]:
        """Return the regions patch x frame batch, in raster order."""
        return list(cut(self.shape, (self.batch(batch), self.shape[1], *self.patch)))

    def frames(self, batch: int | None = None) -> list[Region]:
        """Return the regions of whole frames, one per frame batch."""
        _, z, y, x = self.shape
        return list(cut(self.shape, (self.batch(batch), z, y, x)))

    @property
    def patched(self) -> bool:
        """Whether a frame is cut into more than one patch."""
        return self.patch[0] < self.shape[2] or self.patch[1] < self.shape[3]

    @property
    def patches(self) -> int:
        """The number of patches of a frame."""
        return -(-self.shape[2] // self.patch[0]) * -(-self.shape[3] // self.patch[1])

    def patch_number(self, region: Region) -> int:
        """Return the number of the patch that a tile lies in, row by row from 0."""
        columns = -(-self.shape[3] // self.patch[1])
        return region.y[0] // self.patch[0] * columns + region.x[0] // self.patch[1]

    def neighbourhood(self, region: Region) -> Region:
        """Return ``region`` widened by one patch on each side along y and x."""
        spans = []
        for (start, stop), edge, size in zip(
            (region.y, region.x), self.patch, self.shape[2:], strict=True
        ):
            spans.append((max(0, start - edge), min(size, stop + edge)))
        return Region(region.t, region.z, spans[0], spans[1])


def share_of(shape: Shape, seconds_per_voxel: float) -> int | None:
    """Return the frames per batch of a step that is long enough for several cores, else None.

    A step that would compute for `LONG` seconds or more is cut into two to four batches.
    """
    seconds = shape[0] * shape[1] * shape[2] * shape[3] * seconds_per_voxel
    count = min(4, int(2 * seconds / LONG), shape[0])
    return -(-shape[0] // count) if count > 1 else None


def frames_for_patches(patches: int, of: int, frames: int) -> int:
    """Return the frames per task of a step in whole frames that is asked for patches per task.

    There are as many tasks as would take ``patches`` of the ``of`` patches of a field each.
    """
    return -(-frames // -(-of // patches))


def _round_up(n: int, unit: int) -> int:
    return -(-n // unit) * unit


def _chunk(edge: int, count: int) -> int:
    """Return a chunk edge of at most 1024 that cuts a patch evenly."""
    if count == 1:
        return -(-edge // -(-edge // 1024))
    pieces = -(-edge // 1024)
    while edge % pieces or (edge // pieces) % CHUNK_UNIT:
        pieces += 1
        if pieces > edge // CHUNK_UNIT:
            return CHUNK_UNIT
    return edge // pieces


@dataclass
class LayerPlan:
    """A layer that a step makes: its names and the region of each part.

    An ``inner`` layer is only for later phases of its own step: it is not delivered.
    """

    position: str
    tag: str
    channel: str
    kind: str
    parts: tuple[tuple[str, Region | None], ...]
    inner: bool = False

    @property
    def glob(self) -> str:
        """The pattern that names the layer's parts in a task's folder."""
        return self._glob(self.position)

    @property
    def glob_of_all(self) -> str:
        """The pattern that names the layer's parts at all positions."""
        return self._glob("*")

    def _glob(self, position: str) -> str:
        return f"in/{position}.{self.tag}.{slug(self.channel)}.{self.kind}.*.{self.extension}"

    @property
    def extension(self) -> str:
        """File name extension of the kind."""
        return EXTENSIONS.get(self.kind, "parquet")

    def names(self, region: Region | None = None) -> list[str]:
        """Return the parts that meet ``region`` (default: all)."""
        if region is None:
            return [name for name, _ in self.parts]
        return [self.parts[number][0] for number in self._meeting(region)]

    def _meeting(self, region: Region) -> list[int]:
        """Return the numbers of the parts that meet ``region``.

        Every task asks for its parts, so they are not all looked at: of each axis the pieces
        that it is cut into are found first, then the parts that are made of these.
        """
        axes, by_pieces, always = self._pieces
        met = [
            pieces[bisect_right(ends, start) : bisect_left(starts, stop)]
            for (pieces, starts, ends), (start, stop) in zip(axes, region.spans, strict=False)
        ]
        if math.prod(map(len, met)) > len(self.parts) or not axes:  # not cut as a grid
            found = [n for n, (_, box) in enumerate(self.parts) if box and box.intersect(region)]
        else:
            found = [n for key in itertools.product(*met) for n in by_pieces.get(key, ())]
        return sorted([*found, *always])

    @cached_property
    def _pieces(self) -> tuple[list[Axis], dict[tuple[Span, ...], list[int]], list[int]]:
        """Pieces along each axis, part numbers by their pieces, and those of no region.

        No axes where pieces lie inside others.
        """
        by_pieces: dict[tuple[Span, ...], list[int]] = {}
        always = []
        for number, (_, box) in enumerate(self.parts):
            if box is None:
                always.append(number)
            else:
                by_pieces.setdefault(tuple(box.spans), []).append(number)
        axes = []
        for found in zip(*by_pieces, strict=True):
            pieces = sorted(set(found))
            starts, ends = [start for start, _ in pieces], [stop for _, stop in pieces]
            axes.append((pieces, starts, ends))
        if any(ends != sorted(ends) for _, _, ends in axes):
            axes = []
        return axes, by_pieces, always


def part_name(position: str, tag: str, channel: str, kind: str, index: int) -> str:
    """Return the name of a part, unique in the run."""
    extension = EXTENSIONS.get(kind, "parquet")
    return f"{position}.{tag}.{slug(channel)}.{kind}.{index:04d}.{extension}"


@dataclass
class Position:
    """One position: its name, grid, calibration, and the layers that exist so far."""

    name: str
    slug: str
    grid: Grid
    pixel_size: tuple[float, float, float]
    frame_interval: float | None
    base: str = ""  # name of its first file, without extension
    layers: dict[tuple[str, str, str], LayerPlan] = field(default_factory=dict)

    def add(self, tag: str, channel: str, kind: str, layer: LayerPlan) -> None:
        """Note a layer that a step (or ingest) makes."""
        self.layers[tag, channel, kind] = layer

    def find(self, tag: str, channel: str, kind: str) -> LayerPlan:
        """Return the layer of that kind that a step made of a channel."""
        return self.layers[tag, channel, kind]


def _store(layer: LayerPlan, usual: str, name: str) -> str:
    """Return where a store of a position goes in the results: beside its CSV of traces."""
    folder = csv_name(layer.position).split("/")[0]
    return f"{folder}/{name}" if layer.tag == usual else f"{folder}/{layer.tag}.{name}"


# Where in the results kinds go that leave as they are made: of the layer, its file, and the
# name of the position's first file.
PLACES: dict[str, Callable[[LayerPlan, str, str], str]] = {
    "flatfield": lambda _layer, name, _base: f"flatfields/{name}",
    "tracescsv": lambda layer, _name, base: csv_name(layer.position, layer.tag, base),
    "samplescsv": lambda layer, _name, _base: f"samples/{layer.tag}",
    "fitspages": lambda layer, _name, _base: f"fits/{layer.tag}",
    "crops": lambda layer, _name, _base: _store(layer, "Cropping", "cells.zarr"),
    "cache": lambda layer, _name, _base: _store(layer, "Caching", "images.zarr"),
}
