#!/usr/bin/env python3
"""GammaCorrection: gain * (I / max)^gamma * max, the dtype kept."""

from typing import Annotated

import numpy as np
import typer

from cytoloom import cli, images
from cytoloom import statistics as histograms
from cytoloom.pixels import rounded
from cytoloom.regions import Region


def correct_gamma(image, maximum, gamma=1.0, gain=1.0):
    """Apply ``gain * (image / maximum) ** gamma * maximum``, clipped to the dtype.

    Parameters
    ----------
    image : ndarray, any shape
    maximum : float
        Largest intensity of the whole stack; 0 leaves the image as it is.

    Returns
    -------
    ndarray, same shape and dtype
    """
    if maximum <= 0:
        return image.copy()
    scaled = gain * np.power(np.clip(image / maximum, 0, None), gamma) * maximum
    return rounded(scaled, image.dtype)


def main(
    image: cli.Image,
    statistics: cli.Statistics,
    out_image: cli.OutImage,
    out_statistics: cli.OutStatistics = None,
    region: cli.RegionText = None,
    gamma: Annotated[float, typer.Option(min=0, help="exponent; below 1 lifts dark pixels")] = 1.0,
    gain: Annotated[float, typer.Option(min=0, help="factor on the result")] = 1.0,
    verbose: Annotated[bool, typer.Option(help="log the maximum")] = False,
) -> None:
    """Gamma correction relative to the largest intensity of the whole stack."""
    layer = images.open_layer(image, kind="image")
    box = Region.parse(region, layer.shape)
    maximum = histograms.read(statistics).maximum()
    if verbose:
        cli.log.info("%s: maximum %g", layer.channel, maximum)
    data = correct_gamma(layer.read(box), maximum, gamma, gain)
    images.write_part(out_image, data, region=box, like=layer)
    if out_statistics:
        histograms.write(out_statistics, data, box)


if __name__ == "__main__":
    cli.run(main)
