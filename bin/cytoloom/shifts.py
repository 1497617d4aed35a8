"""Rough shifts between two images, by correlation and least squares.

Two correlations propose a shift, by phase (sharp, but misled by noise and by the fixed
pattern of a camera) and plain (broad); the one, or none, under which the images agree best
is taken. It starts a registration that is finer. Volumes are float arrays (z, y, x) or (y, x).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
Vector = NDArray[np.float64]
SMOOTHING = 1.5  # px, along y and x


def smooth(image: Image, sigma_px: float = SMOOTHING) -> Image:
    """Smooth a plane or each plane of a volume, so that noise counts less."""
    from scipy import ndimage

    sigma = (0.0,) * (image.ndim - 2) + (sigma_px, sigma_px)
    return np.asarray(ndimage.gaussian_filter(image, sigma, mode="nearest"), np.float32)


def correlation(one: NDArray[Any], two: NDArray[Any]) -> float:
    """Return Pearson's correlation; NaN where an image is constant or empty."""
    if one.size < 2:
        return float("nan")
    a, b = one - one.mean(dtype=float), two - two.mean(dtype=float)
    norm = float(np.sqrt((a * a).sum(dtype=float) * (b * b).sum(dtype=float)))
    return float((a * b).sum(dtype=float)) / norm if norm > 0 else float("nan")


def overlap(shape: Sequence[int], shift: NDArray[Any]) -> tuple[Any, Any]:
    """Return the slices of two images that show the same where the second is shifted."""
    one = tuple(slice(max(0, -s), n - max(0, s)) for n, s in zip(shape, shift, strict=True))
    two = tuple(slice(max(0, s), n - max(0, -s)) for n, s in zip(shape, shift, strict=True))
    return one, two


def find(fixed: Image, moving: Image) -> Vector:
    """Return how far ``moving`` is shifted against ``fixed`` [px], up to half the image.

    A point at ``p`` in ``fixed`` is found at ``p + shift`` in ``moving``. Zero where one of
    the two is constant.
    """
    if fixed.min() == fixed.max() or moving.min() == moving.max():
        return np.zeros(fixed.ndim)
    candidates = [np.zeros(fixed.ndim, int), *_peaks(fixed, moving)]
    best, agreement = candidates[0], -2.0
    for candidate in candidates:
        one, two = overlap(fixed.shape, candidate)
        found = correlation(fixed[one], moving[two])
        if found > agreement + 1e-6:
            best, agreement = candidate, found
    one, two = overlap(fixed.shape, best)
    return best + _fraction(fixed[one], moving[two])


def _taper(image: Image) -> Image:
    """Return an image less its mean, falling to zero at its edges."""
    out = image - image.mean(dtype=float)
    for axis, size in enumerate(image.shape):
        if size > 3:
            shape = [1] * image.ndim
            shape[axis] = size
            out = out * np.hanning(size + 2)[1:-1].reshape(shape)
    return np.asarray(out, np.float32)


def _spectrum(fixed: Image, moving: Image) -> NDArray[np.complex64]:
    from scipy import fft

    product = fft.rfftn(moving) * np.conj(fft.rfftn(fixed))
    return np.asarray(product)


def _peaks(fixed: Image, moving: Image) -> list[NDArray[np.int64]]:
    """Return the shifts of the peaks of the plain and the phase correlation [px]."""
    from scipy import fft

    product = _spectrum(_taper(fixed), _taper(moving))
    found = []
    for spectrum in (product, product / np.maximum(np.abs(product), 1e-12)):
        surface = fft.irfftn(spectrum, fixed.shape)
        peak = np.array(np.unravel_index(int(np.argmax(surface)), fixed.shape))
        size = np.array(fixed.shape)
        shift = np.where(peak > size // 2, peak - size, peak)
        if (np.abs(shift) < np.maximum(size // 2, 1)).all():
            found.append(shift)
    return found


def _fraction(fixed: Image, moving: Image) -> Vector:
    """Return the rest of a shift of about a pixel, by least squares of the intensities.

    Gauss and Newton's iterations with the gradient of the image half-way (Lucas and Kanade
    1981); a constant difference of intensity is allowed for.
    """
    from scipy import ndimage

    axes = [axis for axis, size in enumerate(fixed.shape) if size >= 8]
    rest = np.zeros(fixed.ndim)
    inner = tuple(slice(2, -2) if axis in axes else slice(None) for axis in range(fixed.ndim))
    for _ in range(6):
        moved = ndimage.shift(moving, -rest, order=3, mode="nearest")
        half = (fixed + moved) / 2
        slopes = np.stack([np.gradient(half, axis=axis)[inner].ravel() for axis in axes])
        slopes -= slopes.mean(axis=1, keepdims=True)
        difference = (moved - fixed)[inner].ravel()
        square = slopes @ slopes.T
        if np.linalg.cond(square) > 1e8:
            break
        step = np.linalg.solve(square, slopes @ (difference - difference.mean()))
        rest[axes] += np.clip(-step, -1, 1)
        if np.abs(step).max() < 1e-3:
            break
    return rest if np.abs(rest).max() <= 3 else np.zeros(fixed.ndim)
