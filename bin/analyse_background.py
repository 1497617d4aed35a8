#!/usr/bin/env python3
"""SplineBackground: the background of a channel beside the cells of another channel's labels."""

from typing import Annotated

import numpy as np
import typer

from cytoloom import cli, images
from cytoloom import statistics as histograms
from cytoloom.background import Outside, background_of, fitting_tile
from cytoloom.errors import BadData
from cytoloom.regions import Region


def round_in_place(background):
    """Keep 16 significant bits of float32, which take half the time and room to store.

    The relative error is below 1e-5, far below that of a median of noise.
    """
    words = background.view(np.uint32)
    words += np.uint32(0x80)
    words &= np.uint32(0xFFFFFF00)


def main(
    image: cli.Image,
    out_background: cli.OutImage,
    out_statistics: cli.OutStatistics = None,
    label: Annotated[
        str | None, cli.Contract("input"), typer.Option(help="label layer: a path or quoted glob")
    ] = None,
    region: cli.RegionText = None,
    channel: cli.Channel = None,
    tile: Annotated[
        int,
        typer.Option(
            min=8, help="edge of a tile [px]; less in small frames, so that there are four tiles"
        ),
    ] = 256,
    dilation: Annotated[
        int, typer.Option(min=0, help="cells are widened by a disc of this radius [px]")
    ] = 10,
    outside: Annotated[
        Outside,
        typer.Option(
            help="beyond the centres of the outer tiles: a straight line, or constant (as PyAMA)"
        ),
    ] = Outside.linear,
) -> None:
    """Estimate a smooth background under cells: medians of overlapping tiles, and a spline.

    The image is of one channel, the label image may be of another (phase contrast). Nothing is
    subtracted: Extraction does that. Where cells cover a whole frame, it is the frame's first
    percentile. Without a label image nothing counts as a cell.
    """
    layer = images.open_layer(image, kind="image")
    cells = images.open_layer(label, kind="label") if label else None
    if cells is None:
        cli.log.warning("no label image: the background is that of whole frames, cells included")
    elif layer.shape != cells.shape:
        raise BadData(
            f"image {layer.channel!r} and label image {cells.channel!r} differ in shape: they must "
            "be of one position"
        )
    box = Region.parse(region, layer.shape)
    tiles = (fitting_tile(layer.shape[2], tile), fitting_tile(layer.shape[3], tile))
    data = np.empty(box.shape, np.float32)
    for index, frame in enumerate(cli.progress(box.frames, "frames", len(box.frames))):
        planes = layer.read(box.frame(frame))[0]
        covered = cells.read(box.frame(frame))[0] > 0 if cells else np.zeros(planes.shape, bool)
        for z, plane in enumerate(planes):
            background_of(plane, covered[z], tiles, dilation, outside, out=data[index, z])
            round_in_place(data[index, z])
    images.write_part(
        out_background, data, region=box, like=layer, kind="background", channel=channel
    )
    if out_statistics:
        histograms.write(out_statistics, data, box)


if __name__ == "__main__":
    cli.run(main)
