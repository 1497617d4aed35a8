#!/usr/bin/env python3
"""Pyramid: the smaller levels of a layer, one frame batch at a time."""

from typing import Annotated

import typer

from cytoloom import cli, images
from cytoloom.errors import UsageError
from cytoloom.pyramids import write_levels
from cytoloom.regions import Region


def main(
    out_pyramid: cli.OutFile,
    image: Annotated[
        str | None, cli.Contract("input"), typer.Option(help="image layer: path or glob")
    ] = None,
    label: Annotated[
        str | None, cli.Contract("input"), typer.Option(help="label layer: path or glob")
    ] = None,
    region: cli.RegionText = None,
) -> None:
    """Write levels 1, 2, … (half, quarter, … along y and x) of a region of whole frames."""
    if (image is None) == (label is None):
        raise UsageError("give either --image or --label")
    layer = images.open_layer(image or label)
    box = Region.parse(region, layer.shape)
    if box.spans[1:] != Region.whole(layer.shape).spans[1:]:
        raise UsageError(f"region {box}: whole frames are needed")
    write_levels(out_pyramid, layer, box)


if __name__ == "__main__":
    cli.run(main)
