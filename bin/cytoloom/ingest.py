"""From a region of a user's stack to a part of a layer.

Used by the executables that bring images and labels in, and by the plan, which takes
digests of the pixels of each region so that a changed pixel runs again exactly the
tasks that read it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cytoloom.errors import BadData, UsageError
from cytoloom.layouts import KINDS_OF_LABELS, Layout
from cytoloom.regions import Region, Shape
from cytoloom.selection import Selection
from cytoloom.sources import Source


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
    """Read a region of the layer that a selection makes; shape (t, z, y, x) of the region."""
    box, steps = selection.source_region(region)
    return source.read(box, channel)[steps]


def check_dtype(source: Source, *, kind: str) -> None:
    """Raise BadData for pixels that no stage can work on (complex, text, objects)."""
    if source.dtype.kind not in ("bui" if kind in KINDS_OF_LABELS else "buif"):
        raise BadData(
            f"{source.files[0]}: pixels of type {source.dtype}; "
            + ("labels must be whole numbers" if kind in KINDS_OF_LABELS else "numbers are needed")
        )
