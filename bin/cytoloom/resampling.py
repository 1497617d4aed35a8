"""Frames brought into the place of the reference by an affine map and a displacement field."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from cytoloom.pixels import numbers, rounded
from cytoloom.transforms import Affine


class Interpolation(StrEnum):
    """How values between pixels are found."""

    nearest = "nearest"
    linear = "linear"
    cubic = "cubic"


InterpolationOption = Annotated[
    Interpolation,
    typer.Option(help="between pixels: cubic (B-spline) keeps detail; nearest keeps values"),
]
FillOption = Annotated[
    float | None,
    typer.Option(help="pixels from outside the frame [counts]; default: the frame's median"),
]
ORDERS = {"nearest": 0, "linear": 1, "cubic": 3}
TOLERANCE = 1e-3  # px beyond the edge that still count as inside


def resample(
    volume: NDArray[Any],
    map_: Affine,
    pixel_size: Sequence[float],
    *,
    interpolation: str = "cubic",
    fill: float | None = None,
    field: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Return a frame as seen from the reference.

    Parameters
    ----------
    volume : ndarray, shape (z, y, x)
    map_
        Where points of the reference lie in ``volume`` [um].
    pixel_size
        (z, y, x) [um].
    interpolation
        ``nearest``, ``linear`` or ``cubic`` (B-spline), as of ITK.
    fill
        Value of pixels from outside; None: the median of the frame.
    field : ndarray, shape (z, y, x, 3), optional
        Displacement of each point of the reference before ``map_`` [um].

    Returns
    -------
    ndarray, same shape and dtype
        Integers are rounded and clipped. The very pixels where nothing moves.
    """
    if map_.is_identity and (field is None or not field.any()):
        return volume
    from scipy import ndimage

    order, pixel = ORDERS[interpolation], np.asarray(pixel_size, float)
    source = numbers(volume, 0.0, 0.0).astype(np.float64)
    value = float(np.median(source)) if fill is None else fill
    flat = volume.shape[0] == 1
    coefficients = source[0] if flat else source
    if order > 1:
        coefficients = ndimage.spline_filter(coefficients, order, mode="mirror")
    out = np.empty_like(source)
    last = np.asarray(volume.shape) - 1
    for z in range(volume.shape[0]):
        points = _points(z, volume.shape[1:]) * pixel
        if field is not None:
            points += field[z]
        found = map_(points) / pixel
        checked = slice(1, 3) if flat else slice(0, 3)
        inside = ((found >= -TOLERANCE) & (found <= last + TOLERANCE))[..., checked].all(-1)
        moved = ndimage.map_coordinates(
            coefficients, np.moveaxis(found[..., checked], -1, 0), order=order,
            mode="mirror", prefilter=False,
        )  # fmt: skip
        out[z] = np.where(inside, moved, value)
    return rounded(out, volume.dtype)


def _points(z: int, shape: Sequence[int]) -> NDArray[np.float64]:
    points = np.empty((*shape, 3))
    points[..., 0] = z
    points[..., 1] = np.arange(shape[0])[:, None]
    points[..., 2] = np.arange(shape[1])
    return points
