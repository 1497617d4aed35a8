"""The range of a type of pixel, for results that are computed as float64 and cast back.

The largest 64-bit integers have no float64 of their own: the next one is beyond the type,
and casting it gives anything.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def limits(dtype: np.dtype[Any]) -> tuple[float, float]:
    """Return the smallest and largest float64 that an integer type can hold."""
    info = np.iinfo(dtype)
    high = float(info.max)
    return float(info.min), high if int(high) <= info.max else float(np.nextafter(high, 0))


def rounded(values: NDArray[np.float64], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return float64 values as ``dtype``: integers are rounded and clipped to their range."""
    if dtype.kind in "ui":
        values = np.clip(np.rint(values), *limits(dtype))
    return values.astype(dtype)
