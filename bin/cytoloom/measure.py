"""Measurements of the objects of a label image: shape, place and intensity.

Definitions are scikit-image's ``regionprops`` (in pixels), with physical twins that
take the pixel size, anisotropic ones too (``regionprops(spacing=...)``). All objects
of a frame are measured at once with array operations on runs; nothing loops over
objects, but for the hulls in 3-D. A value depends only on the object's own pixels,
never on where it lies in the array, so any tiling gives the same bits.

Where scikit-image has no value there is NaN: perimeter, eccentricity and orientation
in 3-D, ``perimeter_um`` where pixels are not square, elongation of a single line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytoloom import measure_hull as hulls
from cytoloom.errors import BadData
from cytoloom.measure_intensity import intensities
from cytoloom.measure_runs import (
    Box,
    Floats,
    Integers,
    Runs,
    bounding_boxes,
    find_runs,
    moments,
    pixels,
)
from cytoloom.stretches import expanded

Columns = dict[str, NDArray[Any]]

# Weight of an outline pixel by 1 + 2 x (outline pixels beside it) + 10 x (those at its corners).
_STEP = np.zeros(50, np.int64)
_STEP[[5, 7, 15, 17, 25, 27]] = 1
_STEP[[21, 33]] = 2
_STEP[[13, 23]] = 3
_STEP_LENGTH = np.array([0.0, 1.0, np.sqrt(2), (1 + np.sqrt(2)) / 2])


def measure(
    labels: NDArray[Any],
    image: NDArray[Any],
    *,
    pixel_size: Sequence[float],
    volume: bool,
    origin: Sequence[int] = (0, 0, 0),
    inside: Box | None = None,
) -> Columns:
    """Measure the objects of one frame.

    Parameters
    ----------
    labels : (Z, Y, X) integers
        0 is background. The objects that are measured lie wholly inside.
    image : (Z, Y, X)
        Any real type.
    pixel_size
        Micrometre along z, y, x.
    volume
        Whether the layer is 3-D; if not, Z is 1.
    origin
        Place of the array in its layer, along z, y, x.
    inside
        Half-open ranges along z, y, x, counted in the array: measure only the objects whose
        first pixel in raster order lies there. Default: all.

    Returns
    -------
    dict
        The measured columns of the ``cells`` table, rows sorted by label; empty if there is none.

    Raises
    ------
    BadData
        If the shapes differ, or the labels are not whole numbers.
    """
    if labels.shape != image.shape:
        raise BadData(f"labels of shape {labels.shape}, image of shape {image.shape}")
    runs = find_runs(labels, inside)
    return measure_runs(runs, image, pixel_size=pixel_size, volume=volume, origin=origin)


def measure_runs(
    runs: Runs,
    image: NDArray[Any],
    *,
    pixel_size: Sequence[float],
    volume: bool,
    origin: Sequence[int] = (0, 0, 0),
) -> Columns:
    """Measure objects that are given as runs in ``image``, shape (Z, Y, X); see `measure`.

    References
    ----------
    S. van der Walt et al. (2014). scikit-image. PeerJ 2:e453; ``measure.regionprops``.
    """
    if not len(runs):
        return {}
    low, high = bounding_boxes(runs)
    count, centroid, covariance = moments(runs, low)
    _, height, width = image.shape
    return {
        "label": runs.label.astype(np.uint32),
        **_places(low, high, centroid, origin, pixel_size),
        **_sizes(count, high - low, pixel_size, volume),
        **_hulls(runs, low, high, count, pixel_size, volume),
        **_outlines(runs, (height, width), pixel_size, volume),
        **_axes(covariance, pixel_size, volume),
        **intensities(image.ravel()[pixels(runs, width, height)], count),
    }


def _places(
    low: Integers, high: Integers, centroid: Floats, origin: Sequence[int], size: Sequence[float]
) -> Columns:
    columns: Columns = {}
    for i, axis in enumerate("zyx"):
        columns[axis] = (low[:, i] + origin[i]) + centroid[:, i]
        columns[f"{axis}_um"] = columns[axis] * size[i]
        columns[f"bbox_{axis}0"] = (low[:, i] + origin[i]).astype(np.int32)
        columns[f"bbox_{axis}1"] = (high[:, i] + origin[i]).astype(np.int32)
    return columns


def _sizes(count: Integers, shape: Integers, size: Sequence[float], volume: bool) -> Columns:
    dimensions = 3 if volume else 2
    physical = count * np.prod(size[-dimensions:])
    nothing = np.full(count.size, np.nan)
    return {
        "area": count,
        "area_um2": nothing if volume else physical,
        "volume_um3": physical if volume else nothing,
        "equivalent_diameter_area": _diameter(count, dimensions),
        "equivalent_radius_um": _diameter(physical, dimensions) / 2,
        "extent": count / np.prod(shape, axis=1),
    }


def _diameter(content: NDArray[Any], dimensions: int) -> Floats:
    root = np.sqrt if dimensions == 2 else np.cbrt
    diameter: Floats = root(2 * dimensions * content / np.pi)
    return diameter


def _hulls(
    runs: Runs, low: Integers, high: Integers, count: Integers, size: Sequence[float], volume: bool
) -> Columns:
    if volume:
        convex, feret, feret_um = hulls.solid_hulls(runs, low, high - low, size)
    else:
        around = hulls.hull(hulls.rows_of(runs))
        rows = hulls.convex_rows(around, low[:, 1], high[:, 1])
        convex = np.bincount(rows.owner, rows.right - rows.left + 1, len(runs)).astype(np.int64)
        outline = hulls.hull(rows)
        feret = hulls.diameters(outline, len(runs))
        square = size[1] == size[2]
        feret_um = feret * size[1] if square else hulls.diameters(outline, len(runs), size[1:])
    return {
        "feret_diameter_max": feret,
        "feret_radius_um": feret_um / 2,
        "solidity": count / convex,
    }


def _outlines(runs: Runs, shape: Sequence[int], size: Sequence[float], volume: bool) -> Columns:
    if volume:
        nothing = np.full(len(runs), np.nan)
        return {"perimeter": nothing, "perimeter_um": nothing}
    length = perimeters(runs, shape)
    square = np.isclose(size[1], size[2], rtol=1e-6)
    return {"perimeter": length, "perimeter_um": length * (size[1] if square else np.nan)}


def perimeters(runs: Runs, shape: Sequence[int]) -> Floats:
    """Return the lengths of the outlines of 2-D objects in an array of ``shape`` (Y, X).

    The outline of an object are its pixels with a neighbour (of 4) outside it.

    References
    ----------
    K. Benkrid, D. Crookes (2000). Design and FPGA implementation of a perimeter estimator.
    """
    at, owner, width = outline_pixels(runs, shape)
    outline = np.zeros((shape[0] + 2) * width, np.int32)
    outline[at] = owner
    code = np.ones(at.size, np.uint8)
    for step in (1, -1, width, -width):
        code += np.uint8(2) * (outline[at + step] == owner)
    for step in (width + 1, width - 1, 1 - width, -1 - width):
        code += np.uint8(10) * (outline[at + step] == owner)
    steps = np.bincount((owner.astype(np.int64) - 1) * 4 + _STEP[code], minlength=4 * len(runs))
    # Not a product of matrices: its rounding would depend on the number of objects.
    length: Floats = (steps.reshape(len(runs), 4) * _STEP_LENGTH).sum(axis=1)
    return length


def outline_pixels(runs: Runs, shape: Sequence[int]) -> tuple[Integers, NDArray[np.int32], int]:
    """Return place and object (from 1) of outline pixels, in an array padded by one pixel."""
    width = shape[1] + 2
    plane = (shape[0] + 2) * width
    first = runs.owner * plane + (runs.y + 1) * width + runs.x + 1
    last = first + runs.length
    inner = first + 1, last - 1
    for step in (width, -width):
        inner = _common(inner, (first + step, last + step))
    # What is not inner lies between an end of the run, or of an inner piece, and the next.
    begin = np.sort(np.concatenate([first, inner[1]]))
    length = np.sort(np.concatenate([inner[0], last])) - begin
    owner, at = np.divmod(expanded(begin, length), plane)
    return at, (owner + 1).astype(np.int32), width


def _common(
    a: tuple[Integers, Integers], b: tuple[Integers, Integers]
) -> tuple[Integers, Integers]:
    """Return what two lists of half-open stretches, each ascending and disjoint, have in common."""
    low = np.searchsorted(b[1], a[0], side="right")
    count = np.maximum(np.searchsorted(b[0], a[1], side="left") - low, 0)
    of_a = np.repeat(np.arange(count.size), count)
    of_b = expanded(low, count)
    first, last = np.maximum(a[0][of_a], b[0][of_b]), np.minimum(a[1][of_a], b[1][of_b])
    some = first < last
    return first[some], last[some]


def _axes(covariance: Floats, size: Sequence[float], volume: bool) -> Columns:
    scale = np.asarray(size, np.float64)
    used = slice(0 if volume else 1, 3)
    covariance, scale = covariance[:, used, used], scale[used]
    inertia, values = _inertia(covariance)
    major, minor = _axis_lengths(values, volume)
    major_um, minor_um = _axis_lengths(_inertia(covariance * np.outer(scale, scale))[1], volume)
    nothing = np.full(major.size, np.nan)
    ratio = np.divide(major_um, minor_um, out=nothing.copy(), where=minor_um > 1e-6 * major_um)
    return {
        "axis_major_length": major,
        "axis_minor_length": minor,
        "axis_major_um": major_um,
        "axis_minor_um": minor_um,
        "elongation": ratio,
        "eccentricity": nothing if volume else _eccentricity(values),
        "orientation": nothing if volume else _orientation(inertia),
    }


def _inertia(covariance: Floats) -> tuple[Floats, Floats]:
    """Return the inertia tensors and their eigenvalues in descending order."""
    diagonal = np.einsum("nii->ni", covariance)
    inertia = -covariance
    np.einsum("nii->ni", inertia)[:] = diagonal.sum(axis=1, keepdims=True) - diagonal
    return inertia, np.clip(np.linalg.eigvalsh(inertia)[:, ::-1], 0, None)


def _axis_lengths(values: Floats, volume: bool) -> tuple[Floats, Floats]:
    if not volume:
        return 4 * np.sqrt(values[:, 0]), 4 * np.sqrt(values[:, 1])
    first, second, third = values.T
    major = np.sqrt(np.maximum(0, 10 * (first + second - third)))
    return major, np.sqrt(np.maximum(0, 10 * (-first + second + third)))


def _eccentricity(values: Floats) -> Floats:
    share = np.divide(values[:, 1], values[:, 0], out=np.ones(len(values)), where=values[:, 0] > 0)
    return np.sqrt(1 - share)


def _orientation(inertia: Floats) -> Floats:
    a, b, c = inertia[:, 0, 0], inertia[:, 0, 1], inertia[:, 1, 1]
    diagonal = np.where(b < 0, np.pi / 4, -np.pi / 4)
    return np.where(a == c, diagonal, 0.5 * np.arctan2(-2 * b, c - a))
