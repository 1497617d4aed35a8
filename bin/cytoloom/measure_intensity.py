"""Intensities of objects: sums, moments and order statistics.

The values of each object are sorted once, as integers that hold object and value
together. All statistics are taken from the sorted values, so they cannot depend on
where an object lies or how the work was cut; sums of integers are exact below 2**53.
NaN makes all statistics of its object NaN, as in scikit-image.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytoloom.measure_runs import Floats, Integers

PERCENTILES = {
    "intensity_p05": 0.05,
    "intensity_p25": 0.25,
    "intensity_median": 0.5,
    "intensity_p75": 0.75,
    "intensity_p95": 0.95,
}


def intensities(values: NDArray[Any], count: Integers) -> dict[str, Floats]:
    """Measure the intensity columns of objects.

    Parameters
    ----------
    values : (pixels,)
        Of any real type, object by object.
    count : (objects,)
        Pixels of each object, at least 1.

    Returns
    -------
    dict
        ``intensity_sum``, ``_mean``, ``_median``, ``_std`` (population), ``_min``, ``_max``,
        ``_p05``, ``_p25``, ``_p75``, ``_p95``; percentiles by linear interpolation.
    """
    values = sorted_values(values, count)
    first = np.cumsum(count) - count
    with np.errstate(invalid="ignore"):  # infinities: inf - inf is NaN, and so is the statistic
        total = np.add.reduceat(values, first)
        mean = total / count
        deviation = values - np.repeat(mean, count)
        deviation *= deviation
        out = {
            "intensity_sum": total,
            "intensity_mean": mean,
            "intensity_std": np.sqrt(np.add.reduceat(deviation, first) / count),
            "intensity_min": values[first],
            "intensity_max": values[first + count - 1],
        }
        for name, fraction in PERCENTILES.items():
            out[name] = _quantile(values, first, count, fraction)
    broken = np.isnan(out["intensity_max"])  # NaN sorts last
    for column in out.values():
        column[broken] = np.nan
    return out


def sorted_values(values: NDArray[Any], count: Integers) -> Floats:
    """Return the values as float64, sorted within each object; NaN last."""
    if values.dtype.itemsize > 4:
        owner = np.repeat(np.arange(count.size), count)
        return values[np.lexsort((values, owner))].astype(np.float64)
    bits = values.dtype.itemsize * 8
    wide = np.uint32 if bits <= 16 and count.size < 2**16 else np.uint64
    key: NDArray[Any] = np.repeat(np.left_shift(np.arange(count.size, dtype=wide), bits), count)
    key |= _ordered(values)
    key.sort()
    return _restored(key.astype(f"u{values.dtype.itemsize}"), values.dtype)


def _ordered(values: NDArray[Any]) -> NDArray[Any]:
    """Return unsigned integers that sort as the values do, NaN last."""
    dtype = values.dtype
    unsigned = values.view(f"u{dtype.itemsize}")
    if dtype.kind in "bu":
        return unsigned
    top = unsigned.dtype.type(1 << (8 * dtype.itemsize - 1))
    if dtype.kind == "i":
        return unsigned ^ top
    positive = np.where(np.isnan(values), np.array(np.nan, dtype), values).view(unsigned.dtype)
    return np.where(positive & top, ~positive, positive | top)


def _restored(ordered: NDArray[Any], dtype: np.dtype[Any]) -> Floats:
    if dtype.kind in "bu":
        return ordered.astype(np.float64)
    top = ordered.dtype.type(1 << (8 * dtype.itemsize - 1))
    if dtype.kind == "i":
        return (ordered ^ top).view(dtype).astype(np.float64)
    return np.where(ordered & top, ordered ^ top, ~ordered).view(dtype).astype(np.float64)


def _quantile(values: Floats, first: Integers, count: Integers, fraction: float) -> Floats:
    place = fraction * (count - 1)
    low = np.floor(place).astype(np.int64)
    below = values[first + low]
    above = values[first + np.minimum(low + 1, count - 1)]
    share = place - low
    return np.where(below == above, below, below + (above - below) * share)
