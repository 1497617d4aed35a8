#!/usr/bin/env python3
"""PercentileNormalization: a linear rescale between two percentiles of the whole stack."""

from typing import Annotated

import numpy as np
import typer

from cytoloom import cli, images
from cytoloom import statistics as histograms
from cytoloom.errors import UsageError
from cytoloom.pixels import limits
from cytoloom.regions import Region


def rescale(image, low, high):
    """Rescale so that ``low`` becomes 0 and ``high`` the full range, and clip.

    Parameters
    ----------
    image : ndarray, any shape
        Integers (full range: the largest value of the dtype) or floats (full range: 1).
    low, high : float
        Intensities.

    Returns
    -------
    ndarray, same shape and dtype
        All zeros where ``low`` equals ``high``.
    """
    full = limits(image.dtype)[1] if image.dtype.kind in "ui" else 1.0
    if high <= low:
        return np.zeros_like(image)
    scaled = (image.astype(np.float64) - low) * (full / (high - low))
    return np.clip(scaled, 0, full, out=scaled).astype(image.dtype)


def main(
    image: cli.Image,
    statistics: cli.Statistics,
    out_image: cli.OutImage,
    out_statistics: cli.OutStatistics = None,
    region: cli.RegionText = None,
    lp: Annotated[float, typer.Option(min=0, max=100, help="lower percentile, to 0 [%]")] = 5,
    up: Annotated[
        float, typer.Option(min=0, max=100, help="upper percentile, to the dtype's maximum [%]")
    ] = 95,
    verbose: Annotated[bool, typer.Option(help="log the two intensities")] = True,
) -> None:
    """Rescale intensities between two percentiles of the whole stack, all frames together.

    The percentiles come from the merged histograms of the whole stack, never from a part.
    """
    if lp >= up:
        raise UsageError(f"lp ({lp}) must be below up ({up})")
    layer = images.open_layer(image, kind="image")
    box = Region.parse(region, layer.shape)
    stack = histograms.read(statistics)
    low, high = stack.percentile(lp), stack.percentile(up)
    if verbose:
        cli.log.info("%s: %g %% = %g, %g %% = %g", layer.channel, lp, low, up, high)
    data = rescale(layer.read(box), low, high)
    images.write_part(out_image, data, region=box, like=layer)
    if out_statistics:
        histograms.write(out_statistics, data, box)


if __name__ == "__main__":
    cli.run(main)
