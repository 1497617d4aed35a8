"""What every method must know of pixels: the range of their type, and those without a number.

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


def numbers(image: NDArray[Any], low: float, high: float) -> NDArray[Any]:
    """Return an image without NaN and infinities: filters would carry them to other pixels.

    NaN and -inf become ``low``, inf becomes ``high``: the same values in every piece of a frame.
    """
    if image.dtype.kind != "f":
        return image
    return np.nan_to_num(image, nan=low, posinf=high, neginf=low)
