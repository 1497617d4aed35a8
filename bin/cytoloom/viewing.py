"""The 8-bit copies that are made for looking at: half size, LZ4, as PyAMA's level ``1``.

Intensities from the 1st to the 99th percentile of the whole stack become 0 to 255, labels
are spread over that range. Each frame is a chunk of its own, of at most 256 pixels a side.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytoloom.pyramids import halve
from cytoloom.statistics import Statistics

LOW, HIGH = 1.0, 99.0  # percentiles
EDGE = 256  # px, of a chunk
BINS = 2**16


@dataclass(frozen=True)
class Window:
    """The intensities that become 0 and 255."""

    low: float
    high: float

    def to_uint8(self, data: NDArray[Any]) -> NDArray[np.uint8]:
        """Return intensities as 8 bit; 8-bit data stay as they are, a constant becomes 0."""
        if data.dtype == np.uint8:
            return data
        span = self.high - self.low
        if span <= 0:
            return np.zeros(data.shape, np.uint8)
        scaled = (data.astype(np.float64) - self.low) * (255 / span)
        return np.nan_to_num(np.clip(scaled, 0, 255)).astype(np.uint8)


def window_of(found: Statistics) -> Window:
    """Return the window of an image from its histograms; the whole range where that is empty."""
    low, high = found.percentile(LOW), found.percentile(HIGH)
    return Window(low, high) if high > low else Window(found.minimum(), found.maximum())


def window_of_frames(frames: Iterable[NDArray[Any]], low: float, high: float) -> Window:
    """Return the window of frames whose range is known, to a 65,536th of that range."""
    if not high > low:
        return Window(low, low)
    counts = np.zeros(BINS, np.int64)
    for frame in frames:
        counts += np.histogram(frame, bins=BINS, range=(low, high))[0]
    last = np.cumsum(counts)
    edges = np.linspace(low, high, BINS + 1)
    at = [int(np.searchsorted(last, q / 100 * last[-1])) for q in (LOW, HIGH)]
    found = Window(float(edges[at[0]]), float(edges[min(at[1] + 1, BINS)]))
    return found if found.high > found.low else Window(low, high)


def labels_to_uint8(labels: NDArray[Any], low: int, high: int) -> NDArray[np.uint8]:
    """Return labels as 8 bit, where ``low`` to ``high`` is the range over the whole stack."""
    if high <= 1:
        return (labels * np.uint8(255)).astype(np.uint8)
    if high == low:
        return np.zeros(labels.shape, np.uint8)
    scaled = (labels.astype(np.float64) - low) * (255 / (high - low))
    return scaled.astype(np.uint8)


def half(data: NDArray[np.uint8], *, labels: bool) -> NDArray[np.uint8]:
    """Return (…, H, W) at half size, edges rounded down (a single row or column stays)."""
    *_, y, x = data.shape
    whole = data[..., : max(y // 2 * 2, 1), : max(x // 2 * 2, 1)]
    return halve(whole, labels=labels)


def half_shape(y: int, x: int) -> tuple[int, int]:
    """Return the height and width at half size."""
    return max(y // 2, 1), max(x // 2, 1)


def create(group: Any, name: str, shape: tuple[int, int, int]) -> Any:
    """Create the array of a level of 8 bit, shape (T, H, W), of half the size of an image."""
    from zarr.codecs import BloscCodec

    t, y, x = shape
    height, width = half_shape(y, x)
    return group.create_array(
        name,
        shape=(t, height, width),
        dtype=np.uint8,
        chunks=(1, min(EDGE, height), min(EDGE, width)),
        compressors=[BloscCodec(cname="lz4", clevel=5, shuffle="noshuffle")],
        dimension_names=["t", "y", "x"],
        fill_value=0,
    )
