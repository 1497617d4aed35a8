"""Reading label layers by whole objects.

What is measured on an object, or done to its shape, must see the object whole, however
the work is cut. ``read_whole_objects`` widens what is read until every object that
touches the region lies inside, and refuses an object that leaves the parts at hand. An
object may fall into pieces as long as no gap between them is wider than ``GAP`` pixels.
Objects that do not touch the region may still be cut at the edge of what is returned:
callers ask for a margin where such neighbours matter.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytoloom.errors import BadData, InputMissing
from cytoloom.images import Layer
from cytoloom.regions import AXES, Region, Span

GAP = 16


def read_whole_objects(
    layer: Layer, region: Region, margin: int = 0
) -> tuple[NDArray[np.uint32], Region]:
    """Read a region with every object that touches it, or its margin, whole.

    Parameters
    ----------
    layer
        Label layer; the parts at hand must meet all objects that touch the region.
    region
        What the caller writes.
    margin
        Pixels in y, x (and z of 3-D data) around the region that count as touching.

    Returns
    -------
    labels : ndarray, shape (t, z, y, x) of ``region_read``, uint32
    region_read : Region
        Holds ``region``, its margin and all objects that touch them.

    Raises
    ------
    InputMissing
        If the parts at hand do not even cover the region and its margin.
    BadData
        If an object is larger than what is at hand.
    """
    at_hand = layer.region
    touched = region.widen(margin, layer.shape)
    box = _clip(touched.widen(64, layer.shape), at_hand)
    if box.intersect(touched) != touched:
        raise InputMissing(
            f"labels of {layer.channel!r}: the parts at hand hold {at_hand}, "
            f"but {touched} is needed; give the neighbouring parts too"
        )
    while True:
        labels = np.asarray(layer.read(box))
        need = _extent(labels, box, touched).widen(GAP, layer.shape)
        if need.intersect(box) == need:
            return labels, box
        _check_at_hand(labels, box, touched, at_hand, layer)
        grown = _hull(box, need).widen(64, layer.shape)
        grown = _clip(grown, at_hand)
        if grown == box:
            return labels, box
        box = grown


def touching(labels: NDArray[Any], box: Region, region: Region) -> list[NDArray[Any]]:
    """Return, for each frame of ``box``, the numbers of the objects that touch ``region``."""
    inner = labels[region.within(box)]
    return [_numbers(plane) for plane in inner]


def _numbers(plane: NDArray[Any]) -> NDArray[Any]:
    found = np.unique(plane)
    return found[found > 0]


def _extent(labels: NDArray[Any], box: Region, region: Region) -> Region:
    """Return the box around ``region`` and the seen parts of all objects that touch it."""
    hull = [list(span) for span in region.spans]
    for plane, numbers in zip(labels, touching(labels, box, region), strict=True):
        if not numbers.size:
            continue
        wanted = np.isin(plane, numbers)
        for axis in range(3):
            others = tuple(a for a in range(3) if a != axis)
            where = np.flatnonzero(wanted.any(axis=others))
            origin = box.spans[axis + 1][0]
            hull[axis + 1][0] = min(hull[axis + 1][0], origin + int(where[0]))
            hull[axis + 1][1] = max(hull[axis + 1][1], origin + int(where[-1]) + 1)
    return Region(*((start, stop) for start, stop in hull))


def _check_at_hand(
    labels: NDArray[Any], box: Region, region: Region, at_hand: Region, layer: Layer
) -> None:
    """Raise BadData if an object reaches the edge of the parts at hand inside the image."""
    for axis in range(1, 4):
        for side in (0, 1):
            edge = box.spans[axis][side]
            if edge != at_hand.spans[axis][side] or edge in (0, layer.shape[axis]):
                continue
            face = np.take(labels, 0 if side == 0 else -1, axis=axis)
            for t, (plane, numbers) in enumerate(
                zip(face, touching(labels, box, region), strict=True)
            ):
                cut = np.intersect1d(plane, numbers)
                if cut.size:
                    raise BadData(
                        f"labels of {layer.channel!r}: object {cut[0]} of frame {box.t[0] + t} "
                        f"leaves the parts at hand at {AXES[axis]}={edge}: it is larger than the "
                        "patches around it; make the patches of `patching` larger than the objects"
                    )


def _hull(a: Region, b: Region) -> Region:
    spans: list[Span] = [
        (min(p[0], q[0]), max(p[1], q[1])) for p, q in zip(a.spans, b.spans, strict=True)
    ]
    return Region(*spans)


def _clip(region: Region, bounds: Region) -> Region:
    return region.intersect(bounds) or region
