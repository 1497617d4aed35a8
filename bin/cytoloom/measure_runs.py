"""Objects of a label image as runs: horizontal stretches of one label.

Size, bounding box, moments, ownership and hull need only the ends of runs, a small
fraction of the pixels, and come out of them as exact integers. Labels may be any
numbers: nothing is ever allocated by the greatest label. Runs are sorted by label
and then in raster order, so the first run of an object starts at its first pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytoloom.errors import BadData
from cytoloom.stretches import expanded

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


@dataclass(frozen=True)
class Runs:
    """Runs of all objects, sorted by object, then in raster order.

    Attributes
    ----------
    label : (objects,)
        Labels, ascending.
    first : (objects,)
        Index of each object's first run.
    owner : (runs,)
        Object of each run, counted from 0.
    z, y, x, length : (runs,)
        Start and number of pixels.
    """

    label: Integers
    first: Integers
    owner: Integers
    z: Integers
    y: Integers
    x: Integers
    length: Integers

    def __len__(self) -> int:
        return self.label.size

    def shifted(self, by: Sequence[int]) -> Runs:
        """Return the runs in an array whose origin lies at z, y, x of ``by``."""
        z, y, x = by
        return replace(self, z=self.z - z, y=self.y - y, x=self.x - x)

    def total(self, values: Integers) -> Integers:
        """Return the sum of a value of the runs over each object."""
        return np.add.reduceat(values, self.first)


def find_runs(labels: NDArray[Any], inside: Box | None = None) -> Runs:
    """Return the runs of the objects whose first pixel in raster order lies in ``inside``.

    Parameters
    ----------
    labels : (Z, Y, X) integers
        0 is background.
    inside
        Half-open ranges of z, y, x; default: everywhere.

    Raises
    ------
    BadData
        If the labels are not whole numbers.
    """
    if labels.dtype.kind not in "bui":
        raise BadData(f"labels of type {labels.dtype}: they must be whole numbers")
    _, rows, width = labels.shape
    start, length, label = _scan(labels)
    order = np.argsort(label, kind="stable")
    start, length, label = start[order], length[order], label[order]
    first = _starts(label)
    row, x = np.divmod(start, width)
    z, y = np.divmod(row, rows)
    owner = np.repeat(np.arange(first.size), np.diff(first, append=label.size))
    runs = Runs(label[first], first, owner, z, y, x, length)
    if inside is None:
        return runs
    kept = np.ones(first.size, bool)
    for axis, (low, high) in zip((z, y, x), inside, strict=True):
        kept &= (axis[first] >= low) & (axis[first] < high)
    return runs if kept.all() else select(runs, kept)


def select(runs: Runs, kept: NDArray[np.bool_]) -> Runs:
    """Return the runs of the objects for which ``kept`` is true."""
    chosen = kept[runs.owner]
    count = np.bincount(runs.owner, minlength=len(runs))[kept]
    return Runs(
        runs.label[kept],
        np.cumsum(count) - count,
        np.repeat(np.arange(count.size), count),
        runs.z[chosen],
        runs.y[chosen],
        runs.x[chosen],
        runs.length[chosen],
    )


def _scan(labels: NDArray[Any]) -> tuple[Integers, Integers, Integers]:
    """Return start (index into the flat image), length and label of all runs, in raster order."""
    flat = labels.ravel()
    if not flat.size:
        empty = np.empty(0, np.int64)
        return empty, empty, empty
    starts = np.empty(flat.size, bool)
    np.not_equal(flat[1:], flat[:-1], out=starts[1:])
    starts[:: labels.shape[-1]] = True
    start = np.flatnonzero(starts)
    label = flat[start].astype(np.int64)
    length = np.diff(start, append=flat.size)
    found = label != 0
    return start[found], length[found], label[found]


def _starts(sorted_values: Integers) -> Integers:
    """Return where each group of equal values begins."""
    changed = np.ones(sorted_values.size, bool)
    np.not_equal(sorted_values[1:], sorted_values[:-1], out=changed[1:])
    return np.flatnonzero(changed)


def pixels(runs: Runs, width: int, height: int) -> Integers:
    """Return the places of all pixels in the flat array, object by object.

    ``width`` and ``height`` are the lengths of the array along x and y.
    """
    start = (runs.z * height + runs.y) * width + runs.x
    return expanded(start, runs.length)


def bounding_boxes(runs: Runs) -> tuple[Integers, Integers]:
    """Return the lower and upper (exclusive) corners z, y, x of the objects, shape (objects, 3)."""
    low = [np.minimum.reduceat(a, runs.first) for a in (runs.z, runs.y, runs.x)]
    ends = (runs.z + 1, runs.y + 1, runs.x + runs.length)
    high = [np.maximum.reduceat(a, runs.first) for a in ends]
    return np.stack(low, axis=1), np.stack(high, axis=1)


def moments(runs: Runs, corner: Integers) -> tuple[Integers, Floats, Floats]:
    """Return number of pixels, centroid and second central moments.

    Sums are exact integers about a pixel near the centroid, so the moments do not
    depend on where the object lies, and symmetric objects have exactly equal ones.

    Parameters
    ----------
    runs
        The objects.
    corner : (objects, 3)
        Lower corners of their bounding boxes.

    Returns
    -------
    count : (objects,)
    centroid : (objects, 3), pixels from ``corner``
    covariance : (objects, 3, 3), pixels squared; divided by ``count``
    """
    count = runs.total(runs.length)
    m, corner_of = runs.length, corner[runs.owner]
    z, y, x = (a - corner_of[:, i] for i, a in enumerate((runs.z, runs.y, runs.x)))
    twice = m * (m - 1)
    sums = np.stack([runs.total(m * z), runs.total(m * y), runs.total(m * x + twice // 2)], axis=1)
    middle = np.rint(sums / count[:, None]).astype(np.int64)
    first = (sums - middle * count[:, None]).astype(np.float64)
    z, y, x = (a - middle[runs.owner, i] for i, a in enumerate((z, y, x)))
    along = m * x + twice // 2
    second = {
        (0, 0): m * z * z,
        (0, 1): m * z * y,
        (1, 1): m * y * y,
        (0, 2): z * along,
        (1, 2): y * along,
        (2, 2): m * x * x + x * twice + twice * (2 * m - 1) // 6,
    }
    covariance = np.empty((len(runs), 3, 3))
    for (i, j), values in second.items():
        central = (runs.total(values) - first[:, i] * first[:, j] / count) / count
        covariance[:, i, j] = covariance[:, j, i] = central
    return count, sums / count[:, None], covariance
