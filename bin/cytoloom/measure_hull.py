"""Convex hulls of pixel objects, as scikit-image defines them, in exact integers.

A pixel counts as the diamond of the four mid-points of its edges (six in 3-D). The
*convex image* of an object is the set of pixels whose centres lie in the convex hull
of its diamonds, border included; ``solidity`` divides by its size. The Feret diameter
is the greatest distance between mid-points on the outline of the convex image.

In 2-D the hulls of all objects are found at once: the left and right sides are chains
of points sorted by row; points that lie inside the line between their neighbours are
dropped until none is left. Coordinates are doubled, so that all are integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cytoloom.measure_runs import Floats, Integers, Runs


@dataclass(frozen=True)
class Rows:
    """Leftmost and rightmost pixel of objects in rows, sorted by object, then row."""

    owner: Integers
    y: Integers
    left: Integers
    right: Integers


@dataclass(frozen=True)
class Chains:
    """Sides of convex hulls: chain 2k is the left side of object k, 2k + 1 its right side.

    ``x`` is doubled, and negated on right sides; ``y`` is doubled and ascends in a chain.
    """

    chain: Integers
    y: Integers
    x: Integers


def rows_of(runs: Runs) -> Rows:
    """Return the row ends of 2-D objects."""
    new = np.ones(runs.owner.size, bool)
    new[1:] = (runs.owner[1:] != runs.owner[:-1]) | (runs.y[1:] != runs.y[:-1])
    first = np.flatnonzero(new)
    last = np.append(first[1:], runs.owner.size) - 1
    right = runs.x[last] + runs.length[last] - 1
    return Rows(runs.owner[first], runs.y[first], runs.x[first], right)


def hull(rows: Rows) -> Chains:
    """Return the convex hulls of the pixels' diamonds."""
    return _convex(*_diamonds(_centres(rows)))


def _centres(rows: Rows) -> Chains:
    """Return the convex hulls of the pixels' centres; y and x are not doubled."""
    chain = np.concatenate([2 * rows.owner, 2 * rows.owner + 1])
    return _convex(chain, np.tile(rows.y, 2), np.concatenate([rows.left, -rows.right]))


def _diamonds(centres: Chains) -> tuple[Integers, Integers, Integers]:
    """Return chain, doubled y and doubled x of the outer corners of the pixels' diamonds."""
    chain = np.repeat(centres.chain, 3)
    y = (2 * centres.y[:, None] + np.array([-1, 0, 1])).ravel()
    x = (2 * centres.x[:, None] + np.array([0, -1, 0])).ravel()
    same = np.flatnonzero((y[1:] == y[:-1]) & (chain[1:] == chain[:-1]))
    x[same] = np.minimum(x[same], x[same + 1])
    return tuple(np.delete(a, same + 1) for a in (chain, y, x))  # type: ignore[return-value]


def _convex(chain: Integers, y: Integers, x: Integers) -> Chains:
    """Drop the points that are not corners of the lower envelope x(y) of their chain."""
    done = []
    while chain.size:
        before, after = slice(None, -2), slice(2, None)
        inner = (chain[before] == chain[1:-1]) & (chain[after] == chain[1:-1])
        inside = (x[1:-1] - x[before]) * (y[after] - y[before]) >= (x[after] - x[before]) * (
            y[1:-1] - y[before]
        )
        kept = np.ones(chain.size, bool)
        kept[1:-1] = ~(inner & inside)
        changing = np.zeros(int(chain.max()) + 1, bool)
        changing[chain[~kept]] = True
        again = changing[chain]
        done.append((chain[~again], y[~again], x[~again]))
        kept &= again
        chain, y, x = chain[kept], y[kept], x[kept]
    if not done:
        return Chains(chain, y, x)
    chain, y, x = (np.concatenate(parts) for parts in zip(*done, strict=True))
    order = np.argsort(chain, kind="stable")
    return Chains(chain[order], y[order], x[order])


def convex_rows(chains: Chains, low: Integers, high: Integers) -> Rows:
    """Return the rows of the convex images; rows without a pixel are left out.

    Parameters
    ----------
    chains
        Hulls of the objects.
    low, high : (objects,)
        First row, and row after the last, of each object.
    """
    height = high - low
    owner = np.repeat(np.arange(height.size), height)
    y = np.arange(owner.size) - np.repeat(np.cumsum(height) - height - low, height)
    base = 2 * int(high.max(initial=0)) + 2
    corners = chains.chain * base + chains.y + 1
    ends = []
    for side in (0, 1):
        at = np.searchsorted(corners, (2 * owner + side) * base + 2 * y + 1, side="right") - 1
        rise = chains.y[at + 1] - chains.y[at]
        twice = chains.x[at] * rise + (chains.x[at + 1] - chains.x[at]) * (2 * y - chains.y[at])
        ends.append(-(-twice // (2 * rise)))
    left, right = ends[0], -ends[1]
    kept = left <= right
    return Rows(owner[kept], y[kept], left[kept], right[kept])


def diameters(chains: Chains, objects: int, spacing: Sequence[float] = (1.0, 1.0)) -> Floats:
    """Return the greatest distance between two corners of each hull.

    Parameters
    ----------
    chains
        Hulls of the objects.
    objects
        Their number.
    spacing
        Size of a pixel along y, x.
    """
    owner = chains.chain // 2
    x = np.where(chains.chain % 2, -chains.x, chains.x)
    order = np.argsort(owner, kind="stable")
    points = np.stack([chains.y, x], axis=1)[order] * (np.asarray(spacing) / 2)
    count = np.bincount(owner, minlength=objects)
    first = np.cumsum(count) - count
    out = np.zeros(objects)
    for size in np.flatnonzero(np.bincount(count)).tolist():
        of_size = np.flatnonzero(count == size)
        step = max(1, 2_000_000 // (size * size))
        for chosen in np.split(of_size, np.arange(step, of_size.size, step)):
            corners = points[first[chosen, None] + np.arange(size)]
            dy, dx = np.moveaxis(corners[:, :, None] - corners[:, None], -1, 0)
            out[chosen] = (dy * dy + dx * dx).max(axis=(1, 2))
    return np.sqrt(out)


def solid_hulls(
    runs: Runs, corner: Integers, shape: Integers, spacing: Sequence[float]
) -> tuple[Integers, Floats, Floats]:
    """Return the sizes of the convex images and the Feret diameters of 3-D objects.

    Parameters
    ----------
    runs
        The objects.
    corner, shape : (objects, 3)
        Lower corners and sizes of their bounding boxes.
    spacing
        Size of a voxel along z, y, x.

    Returns
    -------
    count : voxels
    feret : voxels
    feret_scaled : the unit of ``spacing``
    """
    count = np.empty(len(runs), np.int64)
    feret = np.empty((2, len(runs)))
    scales = np.array([[1.0, 1.0, 1.0], list(spacing)])
    bounds = np.append(runs.first, runs.owner.size)
    for k in range(len(runs)):
        part = slice(bounds[k], bounds[k + 1])
        z, y, x = (a[part] - corner[k, i] for i, a in enumerate((runs.z, runs.y, runs.x)))
        rows = rows_of(replace(runs, owner=z, y=y, x=x, length=runs.length[part]))
        left, right = _fill(_diamond_hull(rows).equations, shape[k])
        z, y = np.nonzero(left <= right)
        rows = Rows(z, y, left[z, y], right[z, y])
        count[k] = (rows.right - rows.left + 1).sum()
        around = _diamond_hull(rows)
        feret[:, k] = [_diameter(around.points[around.vertices] * scale) for scale in scales]
    return count, feret[0], feret[1]


def _diamond_hull(rows: Rows) -> Any:
    """Return the convex hull of the diamonds of one object; ``rows.owner`` is z."""
    from scipy.spatial import ConvexHull

    centres = _centres(rows)  # of each plane
    x = np.where(centres.chain % 2, -centres.x, centres.x)
    voxels = np.stack([centres.chain // 2, centres.y, x], axis=1)
    half = np.concatenate([np.eye(3), -np.eye(3)]) / 2
    return ConvexHull((voxels[:, None] + half).reshape(-1, 3))


def _fill(equations: Floats, shape: Integers) -> tuple[Integers, Integers]:
    """Return the first and last voxel along x inside a hull, for all z, y of a box."""
    tolerance = 1e-10
    lines = np.indices((shape[0], shape[1])).reshape(2, -1)
    left = np.zeros(lines.shape[1])
    right = np.full(lines.shape[1], float(shape[2] - 1))
    slope = equations[:, 2]
    step = max(1, 1_000_000 // lines.shape[1])
    for side in (slope > 1e-12, slope < -1e-12, np.abs(slope) <= 1e-12):
        facets = equations[side]
        for block in np.split(facets, np.arange(step, len(facets), step)):
            if not len(block):
                continue
            rest = tolerance - block[:, 3:] - block[:, :2] @ lines
            if abs(block[0, 2]) <= 1e-12:
                right[(rest < 0).any(axis=0)] = -1.0
            elif block[0, 2] > 0:
                np.minimum(right, (rest / block[:, 2:3]).min(axis=0), out=right)
            else:
                np.maximum(left, (rest / block[:, 2:3]).max(axis=0), out=left)
    ends = np.ceil(left).astype(np.int64), np.floor(right).astype(np.int64)
    return tuple(a.reshape(shape[0], shape[1]) for a in ends)  # type: ignore[return-value]


def _diameter(points: Floats) -> float:
    from scipy.spatial.distance import pdist

    return float(np.sqrt(pdist(points, "sqeuclidean").max()))
