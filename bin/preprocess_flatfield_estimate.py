#!/usr/bin/env python3
"""FlatField, first phase: what the estimate needs of the frames of one batch."""

from typing import Annotated

import typer

from cytoloom import cli, images
from cytoloom.illumination import Method, gather, write_moments
from cytoloom.regions import Region


def planes_of(layer, box):
    """Yield the planes of a region, one frame in memory at a time."""
    for t in range(*box.t):
        yield from layer.read(Region((t, t + 1), box.z, box.y, box.x))[0]


def main(
    image: cli.Image,
    out_moments: cli.OutFile,
    region: cli.RegionText = None,
    method: Annotated[
        Method,
        typer.Option(
            help="retrospective: rank one plus sparse, as in BaSiC; "
            "logstats: mean and spread of the logarithm of every pixel, as in TissueMAPS"
        ),
    ] = Method.retrospective,
) -> None:
    """Gather what an estimate of the illumination needs of some frames."""
    layer = images.open_layer(image, kind="image")
    box = Region.parse(region, layer.shape)
    write_moments(out_moments, gather(planes_of(layer, box), layer.shape[2:], method))


if __name__ == "__main__":
    cli.run(main)
