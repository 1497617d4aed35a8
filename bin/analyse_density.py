#!/usr/bin/env python3
"""KernelDensityEstimation: how densely the cells of each frame lie, as an image.

A Gaussian kernel stands on every centroid. Its bandwidth is given, or chosen for each
frame by the likelihood of cells that were left out. The Gaussian is a product over the
axes, so the sum over cells is a product of matrices and costs no more than pixels x cells.
"""

from typing import Annotated

import numpy as np
import typer

from cytoloom import cli, images, statistics, tables
from cytoloom.errors import UsageError
from cytoloom.regions import Region

BANDWIDTHS = np.logspace(-5, 5, 100)
FOLDS = 5


def choose_bandwidth(points, bandwidths=BANDWIDTHS):
    """Choose the bandwidth under which cells that are left out are most likely.

    Every fifth cell is left out in turn (fewer folds for fewer cells); the score is the mean
    over the folds of their log-likelihood.

    Parameters
    ----------
    points : ndarray, shape (n, d), n >= 2
    bandwidths : ndarray, shape (m,)

    Returns
    -------
    float, in the unit of ``points``

    References
    ----------
    Habbema et al. (1974), Duin (1976): cross-validated likelihood for kernel densities.
    """
    from scipy.special import logsumexp

    count, dimensions = points.shape
    fold = np.arange(count) % min(FOLDS, count)
    scores = np.zeros(len(bandwidths))
    for left_out in range(fold.max() + 1):
        test, train = points[fold == left_out], points[fold != left_out]
        squared = ((test[:, None] - train[None]) ** 2).sum(axis=2)
        for index, width in enumerate(bandwidths):
            density = logsumexp(squared / (-2 * width**2), axis=1)
            scores[index] += density.sum() - len(test) * (
                np.log(len(train)) + dimensions / 2 * np.log(2 * np.pi * width**2)
            )
    return float(bandwidths[np.argmax(scores)])


def density_image(points, shape, pixel_size, bandwidth, step=1):
    """Return the sum of the kernels, divided by its maximum.

    Parameters
    ----------
    points : ndarray, shape (n, 3)
        Centroids z, y, x in micrometre.
    shape : (Z, Y, X)
    pixel_size : (z, y, x) in micrometre
    bandwidth : float, micrometre
    step : int
        Evaluated on every ``step``-th pixel of y and x, and interpolated between.

    Returns
    -------
    ndarray of float32, shape (Z, Y, X), 0 to 1
    """
    places = [np.unique(np.append(np.arange(0, n, s), n - 1))
              for n, s in zip(shape, (1, step, step), strict=True)]  # fmt: skip
    z, y, x = (
        np.exp(((p[:, None] * size - points[:, i]) / bandwidth) ** 2 / -2)
        for i, (p, size) in enumerate(zip(places, pixel_size, strict=True))
    )
    if shape[0] == 1:
        z = np.ones_like(z)
    coarse = np.stack([(plane * y) @ x.T for plane in z])
    for axis in (1, 2):
        coarse = _stretch(coarse, places[axis], shape[axis], axis)
    top = coarse.max()
    return (coarse / top if top > 0 else coarse).astype(np.float32)


def _stretch(values, places, length, axis):
    """Interpolate linearly from ``places`` to all of 0 … length - 1 along an axis."""
    if len(places) == length:
        return values
    at = np.arange(length)
    low = np.clip(np.searchsorted(places, at, side="right") - 1, 0, len(places) - 2)
    share = (at - places[low]) / (places[low + 1] - places[low])
    share = share.reshape([-1 if i == axis else 1 for i in range(values.ndim)])
    return values.take(low, axis) * (1 - share) + values.take(low + 1, axis) * share


def gradient_magnitude(density, pixel_size):
    """Return the length of the gradient, per micrometre; axes of length 1 have none."""
    total = np.zeros(density.shape)
    for axis, size in enumerate(pixel_size):
        if density.shape[axis] > 1:
            total += np.gradient(density.astype(np.float64), size, axis=axis) ** 2
    return np.sqrt(total).astype(np.float32)


def main(
    image: cli.Image,
    table: cli.Table,
    out_image: cli.OutImage,
    out_statistics: cli.OutStatistics = None,
    region: cli.RegionText = None,
    channel: cli.Channel = None,
    bandwidth: Annotated[
        float | None,
        typer.Option(min=1e-6, help="width of the kernel [um]; default: chosen for each frame"),
    ] = None,
    downscale_factor: Annotated[
        int,
        typer.Option(min=1, help="evaluate on every n-th pixel of y, x; interpolate between"),
    ] = 1,
    gradient: Annotated[
        bool, typer.Option(help="write the length of the density's gradient [1/um] instead")
    ] = False,
    base_image: Annotated[  # noqa: ARG001  (pipelines of pyCyto give it)
        bool, typer.Option(help="pyCyto's; the image gives the size of the result in any case")
    ] = True,
    verbose: Annotated[bool, typer.Option(help="log the bandwidth of every frame")] = False,
) -> None:
    """Density of cells as an image, 1 at the densest place of each frame.

    A frame of fewer than two cells is zero.
    """
    layer = images.open_layer(image)
    box = Region.parse(region, layer.shape)
    if box.shape[1:] != layer.shape[1:]:
        raise UsageError(f"region {box}: a density needs whole frames; give only t=start:stop")
    cells = tables.read_table(table, ("cells", "tracks"))
    axes = slice(1 if layer.shape[1] == 1 else 0, 3)
    data = np.zeros(box.shape, np.float32)
    for index, frame in enumerate(cli.progress(box.frames, "frames")):
        points = cells.loc[cells["frame"] == frame, ["z_um", "y_um", "x_um"]].to_numpy(float)
        if len(points) < 2:
            continue
        width = bandwidth or choose_bandwidth(points[:, axes])
        if verbose:
            cli.log.info("frame %d: %d cells, bandwidth %.3g um", frame, len(points), width)
        data[index] = density_image(
            points, layer.shape[1:], layer.pixel_size, width, downscale_factor
        )
        if gradient:
            data[index] = gradient_magnitude(data[index], layer.pixel_size)
    images.write_part(out_image, data, region=box, like=layer, channel=channel)
    if out_statistics:
        statistics.write(out_statistics, data, box)


if __name__ == "__main__":
    cli.run(main)
