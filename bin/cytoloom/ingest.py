"""From a region of a user's stack to a part of a layer.

Used by the executables that bring images and labels in, and by the plan, which takes
digests of the pixels of each region so that a changed pixel runs again exactly the
tasks that read it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cytoloom import tables
from cytoloom.errors import BadData, UsageError
from cytoloom.layouts import KINDS_OF_LABELS, Layout
from cytoloom.pixels import rounded
from cytoloom.regions import Region, Shape
from cytoloom.selection import Selection
from cytoloom.sources import Acquisition, Source

PLANES_BYTES = 2**26  # of planes that a projection reads at once


def layout_of(
    source: Source,
    selection: Selection,
    *,
    chunks: str,
    shards: str,
    pixel_size: Sequence[float],
    frame_interval: float | None,
    position: str,
    channel: str,
    kind: str,
) -> Layout:
    """Return the layout of a layer made from a selection; chunks and shards as ``t,z,y,x`` text."""
    if len(pixel_size) != 3 or min(pixel_size) <= 0:
        raise UsageError(f"pixel size {pixel_size}: three positive numbers z, y, x are needed")
    return Layout(
        shape=selection.shape,
        dtype=np.dtype(np.uint32 if kind in KINDS_OF_LABELS else source.dtype.name),
        chunks=_four(chunks),
        shards=_four(shards),
        pixel_size=(pixel_size[0], pixel_size[1], pixel_size[2]),
        frame_interval=frame_interval,
        position=position,
        channel=channel,
        kind=kind,
    )


def _four(text: str) -> Shape:
    try:
        t, z, y, x = (int(n) for n in text.split(","))
    except ValueError as error:
        raise UsageError(f"{text!r} is not four whole numbers t,z,y,x") from error
    return (t, z, y, x)


def read_selected(
    source: Source, selection: Selection, region: Region, channel: int
) -> NDArray[np.generic]:
    """Read a region of the layer that a selection makes; shape (t, z, y, x) of the region.

    Planes are projected as they are read, so that no more than a few are in memory.
    """
    box, steps = selection.source_region(region)
    if selection.projection is None:
        return source.read(box, channel)[steps]
    frames = [
        _projected(source, selection, replace(box, t=(t, t + 1)), steps, channel)
        for t in range(*box.t, selection.steps[0])
    ]
    return np.concatenate(frames)


def _projected(
    source: Source,
    selection: Selection,
    box: Region,
    steps: tuple[slice, slice, slice, slice],
    channel: int,
) -> NDArray[np.generic]:
    """Project the chosen planes of one frame; the mean of whole numbers is rounded."""
    planes = selection.ranges[1]
    plane_bytes = box.size // max(1, box.z[1] - box.z[0]) * source.dtype.itemsize
    together = max(1, PLANES_BYTES // max(1, plane_bytes))
    result: NDArray[Any] | None = None
    for first in range(0, len(planes), together):
        part = planes[first : first + together]
        read = source.read(replace(box, z=(part[0], part[-1] + 1)), channel)[steps]
        if selection.projection == "mean":
            one = read.sum(axis=1, dtype=np.float64, keepdims=True)
            result = one if result is None else result + one
        else:
            better = np.maximum if selection.projection == "max" else np.minimum
            one = better.reduce(read, axis=1, keepdims=True)
            result = one if result is None else better(result, one)
    assert result is not None
    if selection.projection != "mean":
        return result
    kind = source.dtype
    return rounded(result / len(planes), kind) if kind.kind != "b" else result > len(planes) / 2


def frames_of(source: Source, selection: Selection, channel: int) -> Acquisition | None:
    """Return when and where the selected frames were taken; None where the file does not say."""
    if source.acquired is None:
        return None
    found = source.acquired(channel)
    chosen = np.asarray(selection.ranges[0])
    return Acquisition(found.seconds[chosen], found.stage[chosen])


def frames_table(found: Acquisition, *, position: str, channel: str) -> pa.Table:
    """Return times and stage positions as a table of kind ``frames``."""
    z, y, x = found.stage.T
    columns = {
        "position": position,
        "channel": channel,
        "frame": np.arange(len(found.seconds), dtype=np.int32),
        "time_s": found.seconds,
        "stage_z_um": z,
        "stage_y_um": y,
        "stage_x_um": x,
    }
    return tables.from_columns(columns, "frames", about={"position": position, "channel": channel})


def check_dtype(source: Source, *, kind: str) -> None:
    """Raise BadData for pixels that no stage can work on (complex, text, objects)."""
    if source.dtype.kind not in ("bui" if kind in KINDS_OF_LABELS else "buif"):
        raise BadData(
            f"{source.files[0]}: pixels of type {source.dtype}; "
            + ("labels must be whole numbers" if kind in KINDS_OF_LABELS else "numbers are needed")
        )
