"""Statistics of an image over frames or a whole stack, from mergeable histograms.

Whoever writes an image part writes the histogram of its pixels beside it. What
belongs to a frame or a stack (percentiles, Otsu thresholds, means) is computed from
the histograms of all parts in that scope, so it cannot depend on how the work was
cut. Integer images have exact histograms. Floats are rounded to 12 significant bits
(relative error below 2**-13). NaN and infinities are left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cytoloom.errors import BadData
from cytoloom.files import find, writing
from cytoloom.regions import Region

if TYPE_CHECKING:
    from cytoloom.images import Layer

_BITS_DROPPED = 12  # of float32's 24 significant bits


@dataclass(frozen=True)
class Statistics:
    """Histograms by frame: three arrays of equal length, sorted by frame, then value."""

    frame: NDArray[np.int32]
    value: NDArray[np.float64]
    count: NDArray[np.int64]

    def histogram(self, frames: Iterable[int] | None = None) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the distinct values, ascending, and their counts over some frames or all.

        Raises
        ------
        BadData
            If there is no pixel in those frames.
        """
        value, count = self.value, self.count
        if frames is not None:
            wanted = np.isin(self.frame, np.fromiter(frames, np.int64))
            value, count = value[wanted], count[wanted]
        values, inverse = np.unique(value, return_inverse=True)
        if not values.size:
            raise BadData(
                "statistics: no pixel with a number in the wanted frames "
                "(an image of nothing but NaN, or the histogram of a part is missing)"
            )
        counts = np.zeros(values.size, np.int64)
        np.add.at(counts, inverse, count)
        return values, counts

    def percentile(self, q: float, frames: Iterable[int] | None = None) -> float:
        """Return the q-th percentile (0 to 100), linearly interpolated as numpy's default."""
        values, counts = self.histogram(frames)
        last = np.cumsum(counts)
        rank = q / 100 * (last[-1] - 1)
        low, high = np.searchsorted(last, [np.floor(rank), np.ceil(rank)], side="right")
        below, above = values[low], values[high]
        return float(below + (above - below) * (rank - np.floor(rank)))

    def mean(self, frames: Iterable[int] | None = None) -> float:
        """Return the mean."""
        values, counts = self.histogram(frames)
        return float(np.dot(values, counts.astype(np.float64)) / counts.sum())

    def minimum(self, frames: Iterable[int] | None = None) -> float:
        """Return the smallest value."""
        return float(self.histogram(frames)[0][0])

    def maximum(self, frames: Iterable[int] | None = None) -> float:
        """Return the largest value."""
        return float(self.histogram(frames)[0][-1])

    def otsu(self, frames: Iterable[int] | None = None) -> float:
        """Return Otsu's threshold: pixels above it are foreground; the value itself if constant.

        References
        ----------
        Otsu, N. (1979). A threshold selection method from gray-level histograms.
        IEEE Trans. Syst. Man Cybern. 9, 62-66.
        """
        values, counts = self.histogram(frames)
        if values.size == 1:
            return float(values[0])
        weight = counts.astype(np.float64)
        below = np.cumsum(weight)
        above = below[-1] - below
        total = np.cumsum(weight * values)
        mean_below = total[:-1] / below[:-1]
        mean_above = (total[-1] - total[:-1]) / above[:-1]
        between = below[:-1] * above[:-1] * (mean_below - mean_above) ** 2
        return float(values[int(np.argmax(between))])


def of_array(data: NDArray[Any], region: Region) -> Statistics:
    """Return the histograms of ``data``, shape (t, z, y, x) of ``region``."""
    frames, values, counts = [], [], []
    for frame, plane in zip(region.frames, data, strict=True):
        value, count = _histogram(plane)
        frames.append(np.full(value.size, frame, np.int32))
        values.append(value)
        counts.append(count)
    if not frames:
        return Statistics(np.empty(0, np.int32), np.empty(0), np.empty(0, np.int64))
    return Statistics(np.concatenate(frames), np.concatenate(values), np.concatenate(counts))


def _histogram(plane: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    if plane.dtype in (np.uint8, np.uint16, np.bool_):
        counts = np.bincount(plane.ravel())
        present = np.flatnonzero(counts)
        return present.astype(np.float64), counts[present].astype(np.int64)
    if plane.dtype.kind == "f":
        with np.errstate(over="ignore"):
            single = plane.astype(np.float32).ravel()
        single = single[np.isfinite(single)]
        plane = single.view(np.uint32)
        half = np.uint32(1 << (_BITS_DROPPED - 1))
        keep = np.uint32(0xFFFFFFFF << _BITS_DROPPED & 0xFFFFFFFF)
        rounded, counts = np.unique((plane + half) & keep, return_counts=True)
        values = rounded.view(np.float32).astype(np.float64)
        order = np.argsort(values, kind="stable")
        return values[order], counts[order].astype(np.int64)
    value, count = np.unique(plane, return_counts=True)
    return value.astype(np.float64), count.astype(np.int64)


def write(path: Path | str, data: NDArray[Any], region: Region) -> None:
    """Write the histograms of ``data``, shape (t, z, y, x) of ``region``, whole or not at all."""
    save(path, of_array(data, region))


def save(path: Path | str, statistics: Statistics) -> None:
    """Write histograms, whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table(
        {"frame": statistics.frame, "value": statistics.value, "count": statistics.count}
    )
    with writing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read(pattern: Path | str) -> Statistics:
    """Read and merge the histograms of the parts that a path or glob names.

    Raises
    ------
    InputMissing
        If nothing matches.
    BadData
        If a file is not a histogram.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    parts = []
    for path in find(pattern, what="statistics"):
        try:
            parts.append(pq.ParquetFile(path).read(columns=["frame", "value", "count"]))
        except (pa.ArrowException, OSError, KeyError) as error:
            raise BadData(f"{path}: not a histogram ({error})") from error
    table = pa.concat_tables(parts).group_by(["frame", "value"]).aggregate([("count", "sum")])
    table = table.sort_by([("frame", "ascending"), ("value", "ascending")])
    return Statistics(
        table["frame"].to_numpy(), table["value"].to_numpy(), table["count_sum"].to_numpy()
    )


@dataclass(frozen=True)
class Ranges:
    """Least and greatest intensity of each frame, for images of more than 16 bits."""

    known: Statistics | None

    @classmethod
    def for_layer(cls, pattern: Path | str, layer: Layer) -> Ranges:
        """Read the histograms of a layer, where its type alone does not say enough."""
        small = layer.dtype.kind == "u" and layer.dtype.itemsize <= 2
        return cls(None if small else read(pattern))

    def of(self, frame: int) -> tuple[float, float]:
        """Return the range of a frame; 0, 0 where it is not needed or there is no number."""
        if self.known is None:
            return 0.0, 0.0
        values = self.known.value[self.known.frame == frame]
        return (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
