"""Objects of a foreground: holes filled, touching ones parted by a watershed, small ones dropped.

Touching objects are parted where they are narrow, by a watershed on the distance to the
background. Distances are whole numbers with a tie-break from the pixel's place in the
frame, so the flooding does not depend on where a piece begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

OBJECT_REACH = 64  # how far clumps are seen beyond a patch [px]
HOLE = 32  # wider holes stay [px]
DEEPEST = 32.0  # distances beyond are taken as equal, so that they are seen in any patch [px]
STEPS = 256  # distances are kept in 1/256 px


def objects_of(
    foreground: NDArray[np.bool_],
    origin: Sequence[int] = (0, 0, 0),
    *,
    seeds: NDArray[np.bool_] | None = None,
    split_depth: float = 0.5,
    min_size: int = 0,
    max_size: int = 0,
    fill_holes: bool = True,
) -> NDArray[np.int32]:
    """Label the objects of a foreground.

    Parameters
    ----------
    foreground : ndarray, shape (z, y, x), bool
    origin
        Place of the piece in the frame, for ties.
    seeds : ndarray, shape (z, y, x), bool, optional
        Connected pieces of it are the cores of objects; default: maxima of the distance.
    split_depth
        Depth of the saddle between two objects in the distance map [px], without seeds.
    min_size, max_size
        Objects outside are dropped [px]; 0 for no upper limit.

    Returns
    -------
    ndarray, shape (z, y, x), int32

    References
    ----------
    Vincent, L. and Soille, P. (1991). Watersheds in digital spaces. IEEE Trans. Pattern
    Anal. Mach. Intell. 13, 583-598.
    """
    from scipy import ndimage
    from skimage.segmentation import watershed

    if fill_holes:
        foreground = np.stack([_filled(plane) for plane in foreground])
    distance = np.rint(gaussian(_distance(foreground), 1.0, 4.0) * STEPS).astype(np.int64)
    if seeds is None:
        markers = _markers(distance, foreground, int(split_depth * STEPS))
    else:
        markers, _ = ndimage.label(seeds & foreground)
    relief = -(distance * 2**16 + _ties(foreground.shape, origin)).astype(np.float64)
    labels = watershed(relief, markers, mask=foreground)
    return _select(labels, min_size, max_size)


def gaussian(pixels: NDArray[np.float64], sigma: float, truncate: float) -> NDArray[np.float64]:
    """Return an image (z, y, x) smoothed along axes longer than 1; a sigma of 0 leaves it."""
    from scipy import ndimage

    if not sigma:
        return pixels
    sigmas = [0 if size == 1 else sigma for size in pixels.shape]
    smooth: NDArray[np.float64] = ndimage.gaussian_filter(pixels, sigmas, truncate=truncate)
    return smooth


def _filled(plane: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fill the holes of a plane that are at most ``HOLE`` wide and high: a rim can enclose all."""
    from scipy import ndimage

    gaps, count = ndimage.label(~plane)
    fill = np.zeros(count + 1, bool)
    for number, place in enumerate(ndimage.find_objects(gaps), start=1):
        small = all(s.stop - s.start <= HOLE for s in place)
        inside = all(s.start > 0 and s.stop < n for s, n in zip(place, plane.shape, strict=True))
        fill[number] = small and inside
    filled: NDArray[np.bool_] = plane | fill[gaps]
    return filled


def _distance(foreground: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Distance to the background, at most ``DEEPEST``; the edge of the image is no background."""
    from scipy import ndimage

    if foreground.all():
        return np.full(foreground.shape, DEEPEST)
    return np.minimum(ndimage.distance_transform_edt(foreground), DEEPEST)


def _markers(
    distance: NDArray[np.int64], foreground: NDArray[np.bool_], depth: int
) -> NDArray[Any]:
    """Label the maxima that rise ``depth`` above the saddle to a higher one."""
    from scipy import ndimage
    from skimage.morphology import local_maxima, reconstruction

    flooded = reconstruction(np.maximum(distance - depth, 0), distance)
    maxima = local_maxima(flooded[0])[np.newaxis] if len(flooded) == 1 else local_maxima(flooded)
    labels: NDArray[Any]
    labels, _ = ndimage.label(maxima & foreground, np.ones((3, 3, 3)))
    return labels


def _ties(shape: Sequence[int], origin: Sequence[int]) -> NDArray[np.int64]:
    """Return pseudo-random whole numbers below 2**16 that depend on the place in the frame."""
    z, y, x = (
        np.arange(start, start + size, dtype=np.uint64).reshape(
            [-1 if a == i else 1 for a in range(3)]
        )
        for i, (start, size) in enumerate(zip(origin, shape, strict=True))
    )
    mixed = z * np.uint64(0x9E3779B97F4A7C15) + y * np.uint64(0xC2B2AE3D27D4EB4F)
    mixed = mixed + x * np.uint64(0x165667B19E3779F9)
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    return (mixed >> np.uint64(48)).astype(np.int64)


def _select(labels: NDArray[Any], min_size: int, max_size: int) -> NDArray[np.int32]:
    sizes = np.bincount(labels.ravel())
    drop = sizes < min_size
    if max_size:
        drop |= sizes > max_size
    drop[0] = False
    return np.where(drop[labels], 0, labels)
