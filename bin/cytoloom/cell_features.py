"""Features of tracked cells, frame by frame: shape of the outline, intensities of a channel.

All cells of a frame are measured at once, on runs. Shapes come from the label image (or
the table of cells, where it has them), intensities from the image minus a share of its
background. Definitions are those of the table of cells (docs/columns.md) and PyAMA's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytoloom import measure, measure_runs
from cytoloom.measure_intensity import PERCENTILES, intensities
from cytoloom.measure_runs import Runs

Columns = dict[str, NDArray[Any]]
ORDERED = (*PERCENTILES, "intensity_std", "intensity_min", "intensity_max")
INTENSITY = ("intensity_total", "intensity_mean", "intensity_variance", "particle_num", *ORDERED)
OWN_SHAPES = ("area", "aspect_ratio", "circularity")
TABLE_SHAPES = (
    "area_um2", "equivalent_diameter_area", "equivalent_radius_um", "feret_diameter_max",
    "feret_radius_um", "perimeter", "perimeter_um", "axis_major_length", "axis_minor_length",
    "axis_major_um", "axis_minor_um", "eccentricity", "orientation", "elongation", "extent",
    "solidity",
)  # fmt: skip
SHAPE = (*OWN_SHAPES, *TABLE_SHAPES)
SPOT_SIGMA = 1.0  # px
SPOT_DEVIATIONS = 5.0  # above the noise of the filtered image


@dataclass(frozen=True)
class Cells:
    """The tracked cells of one frame.

    Attributes
    ----------
    labels : ndarray, shape (y, x)
        The label image.
    runs
        Of the tracked objects, sorted by label.
    table
        Columns of the table of cells for the same objects.
    """

    labels: NDArray[Any]
    runs: Runs
    table: Mapping[str, NDArray[Any]]
    pixel_size: tuple[float, float, float]


def shapes(cells: Cells, names: set[str]) -> Columns:
    """Return features of shape."""
    runs = cells.runs
    low, _ = measure_runs.bounding_boxes(runs)
    found: Columns = {}
    if "area" in names:
        found["area"] = runs.total(runs.length)
    if "aspect_ratio" in names:
        found["aspect_ratio"] = aspect_ratios(measure_runs.moments(runs, low)[2])
    if "circularity" in names:
        area = runs.total(runs.length)
        ring = rings(cells.labels, runs.label)
        ratio = np.divide(4 * np.pi * area, ring**2.0, out=np.zeros(len(runs)), where=ring > 0)
        found["circularity"] = ratio.clip(0, 1)
    known = {n for n in names if n in cells.table and not np.isnan(cells.table[n]).all()}
    found |= {name: cells.table[name] for name in known - set(found)}
    if names - set(found):
        blank = np.zeros((1, *cells.labels.shape), np.uint8)
        measured = measure.measure_runs(runs, blank, pixel_size=cells.pixel_size, volume=False)
        found |= {name: measured[name] for name in names - set(found)}
    return found


def aspect_ratios(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the square root of the ratio of the principal second moments; 1 without a width."""
    values = np.linalg.eigvalsh(covariance[:, 1:, 1:])
    small, large = values[:, 0], values[:, 1]
    wide = small > 1e-9 * np.maximum(large, 1)
    ratio: NDArray[np.float64] = np.sqrt(
        np.divide(large, small, out=np.ones_like(large), where=wide)
    )
    return ratio


def rings(labels: NDArray[Any], wanted: NDArray[Any]) -> NDArray[np.int64]:
    """Return how many pixels beside each object (of 4) are not its own."""
    keys = []
    width = labels.shape[1]
    place = np.arange(labels.size).reshape(labels.shape)
    for axis in (0, 1):
        first = np.take(labels, range(labels.shape[axis] - 1), axis)
        second = np.take(labels, range(1, labels.shape[axis]), axis)
        differ = first != second
        at = np.take(place, range(labels.shape[axis] - 1), axis)[differ]
        step = width if axis == 0 else 1
        keys += [(first[differ], at + step), (second[differ], at)]
    owner = np.concatenate([k[0] for k in keys]).astype(np.int64)
    pixel = np.concatenate([k[1] for k in keys])
    index = np.searchsorted(wanted, owner).clip(0, max(0, len(wanted) - 1))
    mine = wanted[index] == owner if len(wanted) else np.zeros(owner.size, bool)
    once = np.unique(index[mine] * labels.size + pixel[mine])
    return np.bincount(once // labels.size, minlength=len(wanted))


def light(
    cells: Cells,
    image: NDArray[Any],
    background: NDArray[Any] | None,
    names: set[str],
    *,
    weight: float = 1.0,
    erosion: int = 0,
) -> Columns:
    """Return features of intensity: of the image minus ``weight`` times its background.

    Parameters
    ----------
    image, background : ndarray, shape (y, x)
    erosion
        Width of the square by which each cell is shrunk first [px]; 0: not at all.
    """
    runs = cells.runs
    at = measure_runs.pixels(runs, cells.labels.shape[1], cells.labels.shape[0])
    owner = np.repeat(np.arange(len(runs)), runs.total(runs.length))
    if erosion > 1:
        inside = eroded(cells.labels, erosion).ravel()[at]
        at, owner = at[inside], owner[inside]
    values = image.ravel()[at].astype(np.float64)
    if background is not None and weight:
        values -= weight * background.ravel()[at]
    count = np.bincount(owner, minlength=len(runs))
    some = np.flatnonzero(count)
    first = (np.cumsum(count) - count)[some]
    total = np.zeros(len(runs))
    total[some] = np.add.reduceat(values, first) if values.size else 0.0
    nothing = np.full(len(runs), np.nan)
    mean = np.divide(total, count, out=nothing.copy(), where=count > 0)
    found: Columns = {"intensity_total": total, "intensity_mean": mean}
    if "intensity_variance" in names:
        apart = values - mean[owner]
        found["intensity_variance"] = nothing.copy()
        if values.size:
            found["intensity_variance"][some] = np.add.reduceat(apart * apart, first) / count[some]
    if names & set(ORDERED):
        measured = intensities(values, count[some]) if some.size else {}
        for name in names & set(ORDERED):
            found[name] = nothing.copy()
            found[name][some] = measured.get(name, ())
    if "particle_num" in names:
        found["particle_num"] = particles(image, cells.labels, runs.label)
    return {name: found[name] for name in names}


def eroded(labels: NDArray[Any], width: int) -> NDArray[np.bool_]:
    """Return the pixels whose square of ``width`` lies in one object and in the image."""
    from scipy import ndimage

    low = ndimage.minimum_filter(labels, width, mode="constant", cval=0)
    high = ndimage.maximum_filter(labels, width, mode="constant", cval=0)
    inside: NDArray[np.bool_] = (low == high) & (labels > 0)
    return inside


def particles(image: NDArray[Any], labels: NDArray[Any], wanted: NDArray[Any]) -> NDArray[np.int64]:
    """Return the number of bright spots in each cell.

    A spot is a local maximum of a difference of Gaussians (1 and 1.6 px) that rises 5 robust
    standard deviations of the filtered frame above its median.
    """
    from scipy import ndimage

    pixels = image.astype(np.float32)
    fine = ndimage.gaussian_filter(pixels, SPOT_SIGMA)
    filtered = fine - ndimage.gaussian_filter(pixels, 1.6 * SPOT_SIGMA)
    middle = np.median(filtered)
    noise = 1.4826 * np.median(np.abs(filtered - middle))
    spots = filtered == ndimage.maximum_filter(filtered, 3)
    spots &= filtered > middle + SPOT_DEVIATIONS * noise
    owner = labels[spots].astype(np.int64)
    index = np.searchsorted(wanted, owner).clip(0, max(0, len(wanted) - 1))
    mine = wanted[index] == owner
    return np.bincount(index[mine], minlength=len(wanted))


def crops(cells: Cells) -> list[tuple[tuple[slice, slice], NDArray[np.bool_]]]:
    """Return the bounding box of each cell and its mask in it."""
    low, high = measure_runs.bounding_boxes(cells.runs)
    found = []
    for label, (_, y0, x0), (_, y1, x1) in zip(cells.runs.label, low, high, strict=True):
        box = np.s_[int(y0) : int(y1), int(x0) : int(x1)]
        found.append((box, cells.labels[box] == label))
    return found
