"""Background of fluorescence images: a ball rolled below them, or medians of tiles."""

from __future__ import annotations

import logging
from enum import StrEnum
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytoloom import bits
from cytoloom.errors import BadData

log = logging.getLogger("cytoloom")
Plane = NDArray[Any]
Mask = NDArray[np.bool_]
SMALLEST_TILE = 16  # px, of those that are made smaller for small frames


class Outside(StrEnum):
    """What a background is beyond the centres of the outer tiles."""

    linear = "linear"
    constant = "constant"


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
    return bits.dilated(mask, bits.Footprint.disk(radius))


def tile_edges(length: int, tile: int) -> NDArray[np.int64]:
    """Return the edges of tiles that overlap by half: tile i spans edges i to i + 2."""
    count = max(-(-length // tile) + 1, 2)
    return np.rint(np.linspace(0, length, 2 * count - 1)).astype(np.int64)


def fitting_tile(length: int, tile: int) -> int:
    """Return ``tile``, or less where a cubic spline would not have its four tiles."""
    return min(tile, max(SMALLEST_TILE, -(-length // 3)))


def tile_medians(image: Plane, foreground: Mask, tiles: tuple[int, int]) -> NDArray[np.float64]:
    """Return the median of the background in every tile; NaN where a tile has none.

    Tiles overlap by half, so each is four blocks. Whole numbers of up to 16 bits are counted
    once for each block; a tile's median comes from the sum of four counts, without sorting.
    """
    rows, columns = (tile_edges(n, tile) for n, tile in zip(image.shape, tiles, strict=True))
    found = np.full((len(rows) - 2, len(columns) - 2), np.nan)
    if image.dtype not in (np.uint8, np.uint16):
        usable = ~foreground if image.dtype.kind in "bui" else ~foreground & np.isfinite(image)
        for i, j in np.ndindex(found.shape):
            tile = np.s_[rows[i] : rows[i + 2], columns[j] : columns[j + 2]]
            values = image[tile][usable[tile]]
            if values.size:
                found[i, j] = np.median(values.astype(np.float64))
        return found
    low, size = int(image.min()), int(image.max()) - int(image.min()) + 1
    before = None
    for i in range(len(rows) - 1):
        band, covered = image[rows[i] : rows[i + 1]], foreground[rows[i] : rows[i + 1]]
        blocks = np.zeros((len(columns) - 1, size), np.int32)
        for j, (start, stop) in enumerate(pairwise(columns)):
            values = band[:, start:stop][~covered[:, start:stop]]
            blocks[j] = np.bincount(values - image.dtype.type(low), minlength=size)
        pairs = blocks[1:] + blocks[:-1]
        if before is not None:
            for j, counts in enumerate(before + pairs):
                found[i - 1, j] = low + _median(counts)
        before = pairs
    return found


def _median(counts: NDArray[np.int32]) -> float:
    """Return the median of whole numbers from 0 by how often each occurs; NaN of none."""
    last = np.cumsum(counts)
    if not last[-1]:
        return np.nan
    middle = [(last[-1] - 1) // 2, last[-1] // 2]
    return float(np.searchsorted(last, middle, side="right").mean())


def tiled_background(
    image: Plane,
    foreground: Mask,
    tile: int | tuple[int, int],
    *,
    outside: Outside = Outside.constant,
    out: Plane | None = None,
) -> Plane:
    """Return the smooth background of a frame, shape (y, x), float32 or float64.

    Medians of the background in tiles that overlap by half, and a bivariate spline through
    their centres: cubic, or of a lower order where there are fewer than four tiles along an
    axis. Tiles without background are interpolated from the others. Where no pixel is
    background, it is the first percentile of the frame.

    Parameters
    ----------
    image : ndarray, shape (y, x)
    foreground : ndarray of bool, shape (y, x)
    tile
        Edge of a tile, or edges along y and x [px].
    outside
        Beyond the outer centres the background is constant (as scipy's
        ``RectBivariateSpline`` has it) or goes on along the line through the last two.
    out
        Where it is written to, as its type.
    """
    from scipy.interpolate import RBFInterpolator

    tiles = (tile, tile) if isinstance(tile, int) else tile
    medians = tile_medians(image, foreground, tiles)
    known = np.isfinite(medians)
    if not known.any():
        finite = image[np.isfinite(image)]
        level = np.empty(image.shape) if out is None else out
        level[:] = np.percentile(finite, 1) if finite.size else 0.0
        return level
    centres = []
    for length, size in zip(image.shape, tiles, strict=True):
        edges = tile_edges(length, size)
        centres.append((edges[:-2] + edges[2:] - 1) / 2)
    if not known.all():
        grid = np.stack(np.meshgrid(*centres, indexing="ij"), axis=-1)
        fill = RBFInterpolator(grid[known], medians[known], kernel="linear", degree=0)
        medians[~known] = fill(grid[~known])
    down, across = (_spline(c, n, outside) for c, n in zip(centres, image.shape, strict=True))
    precise = np.result_type(image.dtype, np.float32)  # of 16 bit images: float32
    result: Plane = np.matmul((down @ medians).astype(precise), across.T.astype(precise), out=out)
    return result


def _spline(centres: NDArray[np.float64], length: int, outside: Outside) -> NDArray[np.float64]:
    """Return what each pixel along an axis takes of each tile, shape (length, tiles).

    The interpolating spline of a grid is one spline along each axis after the other.
    """
    from scipy.interpolate import make_interp_spline

    if len(centres) == 1:
        return np.ones((length, 1))
    one = np.eye(len(centres))
    spline = make_interp_spline(centres, one, k=min(3, len(centres) - 1))
    places = np.arange(length, dtype=np.float64)
    inside = places.clip(centres[0], centres[-1])
    weights: NDArray[np.float64] = spline(inside)
    if outside is Outside.linear:  # the line through two centres: a spline's slope is less sure
        for end, inner in ((0, 1), (-1, -2)):
            beyond = np.flatnonzero(places < centres[0] if end == 0 else places > centres[-1])
            share = (places[beyond] - centres[end]) / (centres[inner] - centres[end])
            weights[beyond, end] = 1 - share
            weights[beyond, inner] = share
    return weights


def background_of(
    plane: Plane,
    foreground: Mask,
    tile: int | tuple[int, int],
    dilation: int,
    outside: Outside = Outside.constant,
    out: Plane | None = None,
) -> Plane:
    """Return the background beside a widened foreground; less is widened where nothing is left.

    Parameters
    ----------
    dilation
        Radius of the disc [px].
    """
    for radius in dict.fromkeys((dilation, 0)):
        mask = dilated(foreground, radius)
        if not mask.all():
            return tiled_background(plane, mask, tile, outside=outside, out=out)
    log.warning("a frame has no background: its first percentile is taken")
    return tiled_background(plane, foreground, tile, out=out)


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
