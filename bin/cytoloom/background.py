"""Background of fluorescence images: a ball rolled below them, or medians of tiles."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytoloom.errors import BadData

Plane = NDArray[Any]
Mask = NDArray[np.bool_]


def rolling_ball(image: Plane, radius: int) -> Plane:
    """Return the background that a ball below the intensities leaves, as ``image`` in type.

    At every pixel it is the highest point of a ball (``radius`` in pixels and in counts) that
    is centred there and nowhere above the image: scikit-image's ``rolling_ball``, value by
    value, but many times faster, because each offset in the ball is one operation on the image.

    Parameters
    ----------
    image : ndarray, shape (y, x)
        NaN is left out, and stays where it is.
    radius : int
        Beyond the edges nothing holds the ball.

    References
    ----------
    Sternberg, S. R. (1983). Biomedical image processing. Computer 16, 22-34.
    """
    exact = image.dtype.kind in "bui"
    missing = None if exact else np.isnan(image)
    data, beyond = _roomy(image, radius) if exact else (image, image.dtype.type(np.inf))
    if missing is not None and missing.any():
        data = np.where(missing, beyond, data)
    height, width = image.shape
    out = np.empty((height, width), data.dtype)
    drops = _drops(radius, image.dtype)
    rows = max(16, 2**17 // max(1, width))  # strips that stay in the processor's cache
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        strip = _strip(data, top - radius, bottom + radius, radius, beyond)
        best = np.full((bottom - top, width), beyond, data.dtype)
        for drop, offsets in drops:
            lowest = None
            for dy, dx in offsets:
                moved = strip[
                    radius + dy : radius + dy + bottom - top, radius + dx : radius + dx + width
                ]
                lowest = moved.copy() if lowest is None else np.minimum(lowest, moved, out=lowest)
            assert lowest is not None
            np.minimum(best, lowest + drop, out=best)
        out[top:bottom] = best
    if missing is not None:
        out[missing] = np.nan
    return out.astype(image.dtype, copy=False)


def _roomy(image: Plane, radius: int) -> tuple[Plane, Any]:
    """Return whole numbers in a type in which adding the ball cannot overflow, and its top."""
    low, high = int(image.min(initial=0)), int(image.max(initial=0))
    for dtype in (np.uint16, np.int32, np.int64):
        info = np.iinfo(dtype)
        if info.min <= low and high + 2 * radius + 2 < info.max:
            return image.astype(dtype), dtype(info.max - radius - 1)
    raise BadData(f"intensities up to {high} leave no room for a ball of radius {radius}")


def _drops(radius: int, dtype: np.dtype[Any]) -> list[tuple[Any, list[tuple[int, int]]]]:
    """Return how far the ball lies below its top, with the offsets (y, x) where it does.

    Whole numbers only notice whole counts.
    """
    exact = dtype.kind in "bui"
    found: dict[Any, list[tuple[int, int]]] = {}
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            square = dx * dx + dy * dy
            if square <= radius * radius:
                height = np.sqrt(float(radius * radius - square))
                drop = int(radius - height) if exact else dtype.type(radius) - dtype.type(height)
                found.setdefault(drop, []).append((dy, dx))
    return sorted(found.items())


def _strip(data: Plane, top: int, bottom: int, side: int, beyond: Any) -> Plane:
    """Return rows of an image with a margin on all sides that holds nothing."""
    height, width = data.shape
    strip = np.full((bottom - top, width + 2 * side), beyond, data.dtype)
    first, last = max(top, 0), min(bottom, height)
    strip[first - top : last - top, side : side + width] = data[first:last]
    return strip


def dilated(mask: Mask, radius: int) -> Mask:
    """Return a mask grown by a disc (offsets of length at most ``radius``)."""
    if radius < 1 or not mask.any():
        return mask
    height, width = mask.shape
    sums = np.zeros((height, width + 2 * radius + 1), np.int32)
    sums[:, radius + 1 : radius + 1 + width] = np.cumsum(mask, axis=1, dtype=np.int32)
    sums[:, radius + 1 + width :] = sums[:, radius + width : radius + width + 1]
    out = np.zeros_like(mask)
    for dy in range(min(radius, height - 1) + 1):
        half = int(np.sqrt(radius * radius - dy * dy))
        right = sums[:, radius + half + 1 : radius + half + 1 + width]
        near = right != sums[:, radius - half : radius - half + width]
        out[dy:] |= near[: height - dy]
        out[: height - dy] |= near[dy:]
    return out


def tile_edges(length: int, tile: int) -> NDArray[np.int64]:
    """Return the edges of tiles that overlap by half: tile i spans edges i to i + 2."""
    count = max(-(-length // tile) + 1, 2)
    return np.rint(np.linspace(0, length, 2 * count - 1)).astype(np.int64)


def tile_medians(image: Plane, foreground: Mask, tile: int) -> NDArray[np.float64]:
    """Return the median of the background in every tile; NaN where a tile has none."""
    rows, columns = (tile_edges(length, tile) for length in image.shape)
    found = np.full((len(rows) - 2, len(columns) - 2), np.nan)
    usable = ~foreground if image.dtype.kind in "bui" else ~foreground & np.isfinite(image)
    for i in range(found.shape[0]):
        band, known = image[rows[i] : rows[i + 2]], usable[rows[i] : rows[i + 2]]
        for j in range(found.shape[1]):
            span = slice(columns[j], columns[j + 2])
            values = band[:, span][known[:, span]]
            if values.size:
                found[i, j] = _median(values)
    return found


def _median(values: Plane) -> float:
    """Return the median; of 8 and 16 bit from a histogram, which takes a pass and no sorting."""
    if values.dtype not in (np.uint8, np.uint16) or values.size < 4096:
        return float(np.median(values.astype(np.float64)))
    last = np.cumsum(np.bincount(values))
    middle = [(values.size - 1) // 2, values.size // 2]
    return float(np.searchsorted(last, middle, side="right").mean())


def tiled_background(image: Plane, foreground: Mask, tile: int) -> NDArray[np.float64]:
    """Return the smooth background of a frame, shape (y, x).

    Medians of the background in tiles that overlap by half, and a bivariate spline through
    their centres: cubic, or of a lower order where there are fewer than four tiles along an
    axis; beyond the outer centres it is constant. Tiles without background are interpolated
    from the others. Where no pixel is background, it is the first percentile of the frame.
    """
    from scipy.interpolate import RBFInterpolator, RectBivariateSpline

    medians = tile_medians(image, foreground, tile)
    known = np.isfinite(medians)
    if not known.any():
        finite = image[np.isfinite(image)]
        return np.full(image.shape, np.percentile(finite, 1) if finite.size else 0.0)
    centres = []
    for length in image.shape:
        edges = tile_edges(length, tile)
        centres.append((edges[:-2] + edges[2:] - 1) / 2)
    if not known.all():
        grid = np.stack(np.meshgrid(*centres, indexing="ij"), axis=-1)
        fill = RBFInterpolator(grid[known], medians[known], kernel="linear", degree=0)
        medians[~known] = fill(grid[~known])
    for axis, length in enumerate(medians.shape):
        if length == 1:  # a spline needs two
            medians = np.repeat(medians, 2, axis=axis)
            centres[axis] = np.array([centres[axis][0], centres[axis][0] + 1])
    ky, kx = (min(3, length - 1) for length in medians.shape)
    spline = RectBivariateSpline(*centres, medians, kx=ky, ky=kx, s=0)
    return np.asarray(spline(*(np.arange(length) for length in image.shape)))


def foreground_above_noise(value: Plane, count: Plane, deviations: float) -> float:
    """Return the intensity above which pixels are foreground, from a histogram.

    The median and ``deviations`` robust standard deviations (from the median absolute
    deviation of the values below it, which objects do not touch) above it.
    """
    order = np.cumsum(count)
    median = value[np.searchsorted(order, (order[-1] - 1) // 2, side="right")]
    below = value <= median
    distance, weight = (median - value[below])[::-1], count[below][::-1]
    half = np.cumsum(weight)
    spread = distance[np.searchsorted(half, (half[-1] - 1) // 2, side="right")]
    return float(median + deviations * 1.4826 * spread)
