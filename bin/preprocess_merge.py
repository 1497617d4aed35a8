#!/usr/bin/env python3
"""ChannelMerge: a weighted sum of two or more channels."""

from typing import Annotated

import numpy as np
import typer

from cytoloom import cli, images
from cytoloom import statistics as histograms
from cytoloom.errors import BadData, UsageError
from cytoloom.pixels import rounded
from cytoloom.regions import Region


def default_weights(means):
    """Return weights 1 / mean, scaled to sum 1; a channel of mean 0 gets weight 0.

    Parameters
    ----------
    means : sequence of float
        Mean intensity of each whole stack.
    """
    inverse = np.array([1 / m if m > 0 else 0.0 for m in means])
    total = inverse.sum()
    return inverse / total if total > 0 else np.full(len(inverse), 1 / len(inverse))


def merge(images_, weights):
    """Return the weighted sum, rounded once and clipped to the dtype of the first image."""
    total = np.zeros(images_[0].shape, np.float64)
    for image, weight in zip(images_, weights, strict=True):
        total += image * weight
    return rounded(total, images_[0].dtype)


def main(
    image: cli.Images,
    statistics: cli.StatisticsEach,
    out_image: cli.OutImage,
    out_statistics: cli.OutStatistics = None,
    region: cli.RegionText = None,
    channel: cli.Channel = None,
    weights: Annotated[
        list[float] | None,
        typer.Option(help="one per channel, scaled to sum 1; default 1 / mean of each stack"),
    ] = None,
    verbose: Annotated[bool, typer.Option(help="log the weights")] = False,
) -> None:
    """Merge channels into a new one as a weighted sum.

    Default weights are computed anew for each group of channels, from the means of the whole
    stacks.
    """
    layers = [images.open_layer(pattern, kind="image") for pattern in image]
    first = layers[0]
    for layer in layers[1:]:
        if layer.shape != first.shape:
            raise BadData(
                f"channels {first.channel!r} and {layer.channel!r} differ in shape: "
                f"{first.shape} and {layer.shape}"
            )
    if weights:
        if len(weights) != len(layers) or min(weights) < 0 or sum(weights) <= 0:
            raise UsageError(f"weights {weights}: {len(layers)} numbers, none negative, are needed")
        chosen = np.array(weights) / sum(weights)
    else:
        chosen = default_weights([histograms.read(pattern).mean() for pattern in statistics])
    if verbose:
        cli.log.info("weights %s", ", ".join(f"{w:.4f}" for w in chosen))
    box = Region.parse(region, first.shape)
    data = merge([layer.read(box) for layer in layers], chosen)
    name = channel or "+".join(layer.channel for layer in layers)
    images.write_part(out_image, data, region=box, like=first, channel=name)
    if out_statistics:
        histograms.write(out_statistics, data, box)


if __name__ == "__main__":
    cli.run(main)
