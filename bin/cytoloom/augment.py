"""Augmentation of pairs of image and labels: where, how large, and how seen.

`window` cuts a turned, mirrored and zoomed window out of a pair; `relight` changes the
image alone. Both take their randomness from a generator, so the same seed gives the same
patches on any machine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cytoloom.simulated_nuclei import noise_field


@dataclass(frozen=True)
class Pair:
    """An image normalised between its percentiles, its labels, its median diameter [px]."""

    name: str
    image: NDArray[np.float32]
    labels: NDArray[np.int32]
    diameter: float

    @classmethod
    def of(cls, name: str, image: NDArray, labels: NDArray, high: float = 99.8) -> Pair:
        """Make a pair from an image (y, x) as it was taken, and its labels."""
        seen = normalised(image, high=high)
        return cls(name, seen, labels.astype(np.int32), median_diameter(labels))


def normalised(image: NDArray, low: float = 1.0, high: float = 99.8) -> NDArray[np.float32]:
    """Stretch an image between two of its percentiles; a constant one becomes 0."""
    bottom, top = np.percentile(image, (low, high))
    return ((image - bottom) / max(top - bottom, 1e-6)).astype(np.float32)


def median_diameter(labels: NDArray) -> float:
    """Median diameter of circles of the objects' areas [px]; 0 where there is none."""
    areas = np.bincount(labels.ravel())[1:]
    areas = areas[areas > 0]
    return float(2 * np.sqrt(np.median(areas) / np.pi)) if areas.size else 0.0


def window(
    rng: np.random.Generator, pair: Pair, patch: int, zoom: float, margin: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int32], tuple[slice, slice]]:
    """Cut a window at random, zoomed, then mirrored and turned by quarters.

    Parameters
    ----------
    rng
        Source of randomness.
    pair
        Where to cut.
    patch
        Edge of the window after zooming [px]; the image is magnified more where it is too
        small for it.
    zoom
        Magnification.
    margin
        Pixels to read around the window where the image has them.

    Returns
    -------
    image, labels : ndarray, shape (y, x)
        The window with its margin, in arrays of their own.
    inner : tuple of slice
        Where the window is in them.
    """
    from scipy import ndimage

    zoom = max(zoom, patch / min(pair.image.shape))
    size = np.floor(np.array(pair.image.shape) * zoom).astype(int)
    start = _place(rng, pair, patch, zoom, size)
    low, high = np.maximum(start - margin, 0), np.minimum(start + patch + margin, size)
    low += (start - low) % 2  # an even margin: networks with a grid sample every other pixel
    if zoom == 1:
        cut = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        image, labels = pair.image[cut], pair.labels[cut]
    else:
        axes = [(np.arange(a, b) + 0.5) / zoom - 0.5 for a, b in zip(low, high, strict=True)]
        labels = pair.labels[
            np.ix_(*[
                np.clip(np.rint(a).astype(int), 0, n - 1)
                for a, n in zip(axes, pair.labels.shape, strict=True)
            ])
        ]  # fmt: skip
        first = [max(int(a[0]) - 4, 0) for a in axes]
        last = [int(a[-1]) + 5 for a in axes]
        source = pair.image[first[0] : last[0], first[1] : last[1]]
        if zoom < 1 and rng.uniform() < 0.7:
            source = ndimage.gaussian_filter(source, 0.4 / zoom, truncate=2.0)
        grid = np.meshgrid(*(a - f for a, f in zip(axes, first, strict=True)), indexing="ij")
        image = ndimage.map_coordinates(source, grid, order=1, mode="nearest")
    inside = np.zeros(image.shape, bool)
    inset = start - low
    inside[inset[0] : inset[0] + patch, inset[1] : inset[1] + patch] = True
    image, labels, inside = _turned(int(rng.integers(8)), image, labels, inside)
    first_y, first_x = np.argwhere(inside)[0]
    inner = (slice(first_y, first_y + patch), slice(first_x, first_x + patch))
    return np.array(image, order="C"), np.array(labels, order="C"), inner


def _place(
    rng: np.random.Generator, pair: Pair, patch: int, zoom: float, size: NDArray
) -> NDArray[np.int64]:
    """Choose the origin of a window [zoomed px]: mostly around a nucleus."""
    room = size - patch
    start = np.array([rng.integers(0, r + 1) for r in room])
    if rng.uniform() < 0.85 and pair.labels.any():
        for _ in range(20):
            at = np.array([rng.integers(0, n) for n in pair.labels.shape])
            if pair.labels[tuple(at)]:
                offset = rng.integers(0, patch, 2)
                start = np.clip((at * zoom).astype(int) - offset, 0, room)
                break
    return start


def _turned(turn: int, *arrays: NDArray) -> list[NDArray]:
    """Turn and mirror arrays alike, in one of the eight ways."""
    turned = [np.rot90(a, turn % 4) for a in arrays]
    return [a[:, ::-1] for a in turned] if turn >= 4 else turned


def relight(
    rng: np.random.Generator, image: NDArray[np.float32], labels: NDArray[np.int32]
) -> NDArray[np.float32]:
    """Change how an image was taken: light, dim nuclei, blur, noise, and its normalisation."""
    from scipy import ndimage

    seen: NDArray[np.floating] = image.astype(np.float32)
    if rng.uniform() < 0.3:
        seen = _dimmed(rng, image, labels)
    if rng.uniform() < 0.3:
        tilt = noise_field(rng, image.shape, 1.0 * max(image.shape))
        seen = seen * np.clip(1 + 0.2 * tilt, 0.4, 1.6)
    if rng.uniform() < 0.3:
        seen = np.clip(seen, 0, None) ** rng.uniform(0.6, 1.5)
    if rng.uniform() < 0.25:
        seen = ndimage.gaussian_filter(seen, rng.uniform(0.4, 1.6), truncate=2.5)
    if rng.uniform() < 0.35:
        photons = np.exp(rng.uniform(np.log(8), np.log(400)))
        seen = rng.poisson(np.clip(seen + rng.uniform(0, 0.3), 0, 4) * photons) / photons
    if rng.uniform() < 0.5:
        seen = seen + rng.normal(0, rng.uniform(0.005, 0.08), image.shape)
    gain = np.exp(rng.normal(0, 0.25))
    return (seen * gain + rng.normal(0, 0.06)).astype(np.float32)


def _dimmed(
    rng: np.random.Generator, image: NDArray[np.float32], labels: NDArray[np.int32]
) -> NDArray[np.float32]:
    """Make some nuclei dimmer than others."""
    from scipy import ndimage

    floor = np.percentile(image, 5)
    factor = np.where(
        rng.uniform(size=labels.max() + 1) < rng.uniform(0.1, 0.6),
        rng.uniform(0.2, 1.0, labels.max() + 1),
        1.0,
    )
    factor[0] = 1.0
    gain = ndimage.gaussian_filter(factor[labels].astype(np.float32), 1.0, truncate=2.0)
    return floor + (image - floor) * gain
