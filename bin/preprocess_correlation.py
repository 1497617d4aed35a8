#!/usr/bin/env python3
"""CrossChannelCorrelation: the contribution of each pixel to the correlation of two channels."""

from enum import StrEnum
from typing import Annotated

import numpy as np
import typer

from cytoloom import cli, images
from cytoloom import statistics as histograms
from cytoloom.errors import BadData, UsageError
from cytoloom.regions import Region


class Mode(StrEnum):
    """Scope of centre and norm."""

    SLICE = "SLICE"
    TIME = "TIME"


class Method(StrEnum):
    """How the centre of a channel is found."""

    MEAN = "MEAN"
    MEDIAN = "MEDIAN"


def centre(stack, method, frames):
    """Return the centre of a channel over frames (None: all)."""
    return stack.mean(frames) if method is Method.MEAN else stack.percentile(50, frames)


def squared_norm(stack, middle, frames):
    """Return the sum of squared distances from the centre over frames (None: all)."""
    values, counts = stack.histogram(frames)
    return float(np.dot((values - middle) ** 2, counts))


def correlate(first, second, centres, norm, scale=1024e6):
    """Return ``scale * r + 65535 / 2`` as uint16 (Pearson's r summed over its scope is 1 at most).

    Parameters
    ----------
    first, second : ndarray, same shape
    centres : tuple of 2 floats
    norm : float
        Square root of the product of both squared norms; 0 gives r = 0, and so does NaN.
    """
    with np.errstate(invalid="ignore"):  # infinity times nothing
        product = (first.astype(np.float64) - centres[0]) * (second.astype(np.float64) - centres[1])
    r = product / norm if norm > 0 else np.zeros_like(product)
    r[np.isnan(r)] = 0
    return np.clip(np.rint(scale * r + 65535 / 2), 0, 65535).astype(np.uint16)


def main(
    image: cli.Images,
    statistics: cli.StatisticsEach,
    out_image: cli.OutImage,
    out_statistics: cli.OutStatistics = None,
    region: cli.RegionText = None,
    channel: cli.Channel = None,
    mode: Annotated[
        Mode, typer.Option(help="SLICE: centre and norm per frame; TIME: of the whole stack")
    ] = Mode.SLICE,
    scale: Annotated[float, typer.Option(help="grey values per unit of correlation")] = 1024e6,
    method: Annotated[Method, typer.Option(help="centre of a channel")] = Method.MEAN,
    verbose: Annotated[bool, typer.Option(help="log the norms")] = False,
) -> None:
    """Map where two channels vary together: 32767 is none, above is together, below is opposed."""
    if len(image) != 2:
        raise UsageError(f"two channels are needed, {len(image)} are given")
    layers = [images.open_layer(pattern, kind="image") for pattern in image]
    if layers[0].shape != layers[1].shape:
        raise BadData(f"channels differ in shape: {layers[0].shape} and {layers[1].shape}")
    stacks = [histograms.read(pattern) for pattern in statistics]
    box = Region.parse(region, layers[0].shape)
    data = np.empty(box.shape, np.uint16)
    for index, frame in enumerate(box.frames):
        frames = [frame] if mode is Mode.SLICE else None
        centres = tuple(centre(stack, method, frames) for stack in stacks)
        norms = [squared_norm(s, c, frames) for s, c in zip(stacks, centres, strict=True)]
        if verbose:
            cli.log.info("frame %d: squared norms %g, %g", frame, *norms)
        pair = [layer.read(box.frame(frame))[0] for layer in layers]
        data[index] = correlate(*pair, centres, float(np.sqrt(norms[0] * norms[1])), scale)
    name = channel or "x".join(layer.channel for layer in layers)
    images.write_part(out_image, data, region=box, like=layers[0], channel=name, dtype=np.uint16)
    if out_statistics:
        histograms.write(out_statistics, data, box)


if __name__ == "__main__":
    cli.run(main)
