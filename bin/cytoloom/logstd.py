"""Log-std: how much intensities vary around each pixel, and the threshold between two modes.

Cells in phase contrast are textured, the ground between them is smooth. The variance in a
small window comes from exact whole-number sums, so that a bright, quiet background is no
more in danger of cancellation than a dark one, and no pixel's value depends on what was
read with it. Images that are not of 16 bits at most are brought to 16 bits over the range
of their whole frame. A window of one value has the variance of rounding, 1/12 count^2.

The threshold of a frame comes from the histogram of all its pixels (200 bins).

References
----------
PyAMA's segmentation; Prewitt, J. and Mendelsohn, M. (1966). The analysis of cell images.
Ann. N. Y. Acad. Sci. 128, 1035-1053 (the valley).
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytoloom.errors import UsageError

BINS = 200
WIDEST_WINDOW = 31  # px: sums stay whole numbers below 2**53
ROUNDING = 1 / 12  # variance of rounding to whole numbers
STRIP = 2**16  # pixels that stay in the processor's cache
ROUNDS = 2000  # of smoothing, before a histogram counts as one of a single mode

Plane = NDArray[Any]


class Method(StrEnum):
    """How the threshold of a frame is found."""

    valley = "valley"
    mode = "mode"


def check_window(window: int) -> None:
    """Raise UsageError unless a window has a middle."""
    if window % 2 == 0:
        raise UsageError(f"window_size {window}: a window needs an odd width; take {window + 1}")


def sixteen_bits(plane: Plane, low: float, high: float) -> NDArray[np.uint16]:
    """Return a plane in 16 bits: as it is, shifted, or scaled from ``low`` ... ``high``.

    Scaling changes the log-std of all pixels by one constant, and the threshold with it.
    """
    if plane.dtype in (np.uint8, np.uint16):
        return plane.astype(np.uint16, copy=False)
    clean = np.nan_to_num(plane.astype(np.float64), nan=low, posinf=high, neginf=low)
    exact = plane.dtype.kind in "iub" and high - low <= 65535
    factor = 1.0 if exact else 65535 / (high - low) if high > low else 0.0
    return np.rint(np.clip((clean - low) * factor, 0, 65535)).astype(np.uint16)


def spread(plane: NDArray[np.uint16], window: int = 3) -> NDArray[np.float32]:
    """Return the variance in a window around each pixel, times the square of its pixels.

    Sums are exact whole numbers: of 32 bits where the intensities of a strip of rows lie close
    enough together (the variance does not see what is subtracted), else float64.

    Parameters
    ----------
    plane : ndarray of uint16, shape (y, x)
    window
        Width of the square window, odd [px]; beyond the edge the image is mirrored.

    Returns
    -------
    ndarray of float32, shape (y, x), counts^2
    """
    height, width = plane.shape
    reach, count = window // 2, window * window
    out = np.empty(plane.shape, np.float32)
    if not plane.size:
        return out
    padded = np.pad(plane, reach, mode="symmetric")
    rows = max(8, STRIP // max(1, width))
    boxes = {d: _Boxes((rows + 2 * reach, width + 2 * reach), window, d) for d in _TYPES}
    narrow = int((2**32 - 1) ** 0.5 / count)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        part = padded[top : bottom + 2 * reach]
        low = part.min()
        dtype = np.uint32 if int(part.max()) - int(low) <= narrow else np.float64
        boxes[dtype].spread(part, low, out[top:bottom])
        np.maximum(out[top:bottom], np.float32(count * count * ROUNDING), out=out[top:bottom])
    return out


_TYPES = (np.uint32, np.float64)


class _Boxes:
    """Sums over a window of a strip of rows, in buffers that are used again and again."""

    def __init__(self, shape: tuple[int, int], window: int, dtype: Any) -> None:
        self.window, self.dtype = window, dtype
        self.buffers: list[NDArray[Any]] = []
        self.shape = shape

    def spread(self, part: Plane, low: Any, out: NDArray[np.float32]) -> None:
        if not self.buffers:
            self.buffers = [np.empty(self.shape, self.dtype) for _ in range(4)]
        height, width = out.shape
        inside, total, square, work = (b[: part.shape[0], : part.shape[1]] for b in self.buffers)
        np.subtract(part, low, out=inside, casting="unsafe", dtype=self.dtype)
        total = self._box(inside, work, total)[:height, :width]
        inside *= inside
        square = self._box(inside, work, square)[:height, :width]
        square *= self.dtype(self.window**2)
        total *= total
        np.subtract(square, total, out=out, casting="unsafe", dtype=self.dtype)

    def _box(self, part: NDArray[Any], work: NDArray[Any], out: NDArray[Any]) -> NDArray[Any]:
        height, width = (size - self.window + 1 for size in part.shape)
        down, out = work[:height], out[:height]
        np.add(part[:height], part[1 : 1 + height], out=down)
        for step in range(2, self.window):
            down += part[step : step + height]
        across = out[:, :width]
        np.add(down[:, :width], down[:, 1 : 1 + width], out=across)
        for step in range(2, self.window):
            across += down[:, step : step + width]
        return out


def log_std(spread: NDArray[np.float32], window: int = 3) -> NDArray[np.float32]:
    """Return half the logarithm of the variance, log(counts), from `spread`."""
    values = np.log(spread)
    values *= np.float32(0.5)
    values -= np.float32(np.log(window * window))
    return values


def spread_of(level: float, window: int = 3) -> np.float32:
    """Return the `spread` of a log-std."""
    return np.float32(np.exp(2 * (level + np.log(window * window))))


def threshold_of(
    spread: NDArray[np.float32], window: int = 3, method: Method = Method.valley
) -> float | None:
    """Return the threshold of a frame [log(counts)]: pixels above it belong to cells.

    Parameters
    ----------
    spread : ndarray
        Of all pixels of the frame.
    method
        ``valley``: the lowest bin between the two modes that are left when the histogram is
        smoothed until it has no more (``skimage.filters.threshold_minimum``); where there is
        only one mode, as ``mode``. ``mode``: the fullest bin and three standard deviations of
        the values up to it.

    Returns
    -------
    float, or None where all values are equal: then nothing is a cell
    """
    low, high = (float(v) for v in log_std(np.array([spread.min(), spread.max()]), window))
    if not high > low:
        return None
    counts, centres = histogram(spread, window, low, high)
    if method is Method.valley:
        found = valley(counts)
        if found is not None:
            return float(centres[found])
    top = float(centres[int(np.argmax(counts))])
    number, total, squares = 0, 0.0, 0.0
    for strip in _strips(spread):
        values = np.log(strip)  # twice the log-std
        values -= np.float32(2 * (np.log(window * window) + top))
        number += int(np.count_nonzero(values <= 0))
        np.minimum(values, 0, out=values)
        total += float(values.sum())
        squares += float(values @ values)
    variance = squares / number - (total / number) ** 2 if number else 0.0
    return top + 1.5 * float(np.sqrt(max(0.0, variance)))


def _strips(spread: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    flat = spread.ravel()
    return (flat[start : start + STRIP] for start in range(0, flat.size, STRIP))


def histogram(
    spread: NDArray[np.float32], window: int, low: float, high: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return counts and centres of equal bins of the log-std from ``low`` to ``high``."""
    counts = np.zeros(BINS + 1, np.int64)
    scale = BINS / (high - low)
    shift = np.float32(-(low + np.log(window * window)) * scale)
    for strip in _strips(spread):
        values = np.log(strip)
        values *= np.float32(scale / 2)
        values += shift
        counts += np.bincount(values.astype(np.uint8), minlength=BINS + 1)
    counts[BINS - 1] += counts[BINS]
    edges = np.linspace(low, high, BINS + 1)
    return counts[:BINS], (edges[:-1] + edges[1:]) / 2


def valley(counts: NDArray[np.int64]) -> int | None:
    """Return the bin of the valley between two modes, or None where there is only one."""
    smooth = counts.astype(np.float64)
    for _ in range(ROUNDS):
        smooth = np.convolve(np.pad(smooth, 1, mode="edge"), np.full(3, 1 / 3), "valid")
        peaks = _maxima(smooth)
        if len(peaks) < 3:
            break
    if len(peaks) != 2:
        return None
    first, last = peaks
    return int(first + np.argmin(smooth[first : last + 1]))


def _maxima(smooth: NDArray[np.float64]) -> list[int]:
    """Return local maxima: the last bin of a rise before a fall."""
    steps = np.sign(np.diff(smooth))
    moving = np.flatnonzero(steps)
    turns = np.flatnonzero((steps[moving][:-1] > 0) & (steps[moving][1:] < 0))
    return [int(moving[i] + 1) for i in turns]
