#!/usr/bin/env python3
"""TiledMedian: a smooth background from the medians of tiles without cells, subtracted."""

from enum import StrEnum
from typing import Annotated

import numpy as np
import typer

from cytoloom import cli, images
from cytoloom import statistics as histograms
from cytoloom.background import background_of, foreground_above_noise
from cytoloom.illumination import Type, finished
from cytoloom.regions import Region


class Output(StrEnum):
    """What the step makes."""

    corrected = "corrected"
    background = "background"


class AnyType(StrEnum):
    """The type of the result."""

    auto = "auto"
    same = "same"
    float32 = "float32"


def main(
    image: cli.Image,
    out_image: cli.OutImage,
    statistics: cli.Statistics,
    label: Annotated[
        str | None,
        cli.Contract("input"),
        typer.Option(help="label layer of the cells: a path, or a quoted glob of its parts"),
    ] = None,
    out_statistics: cli.OutStatistics = None,
    region: cli.RegionText = None,
    tile: Annotated[int, typer.Option(min=8, help="edge of a tile [px]")] = 256,
    dilation: Annotated[
        int, typer.Option(min=0, help="cells are widened by a disc of this radius [px]")
    ] = 10,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="without labels: pixels above it are cells [counts]; "
            "default: from the noise of each frame"
        ),
    ] = None,
    deviations: Annotated[
        float,
        typer.Option(
            min=0, help="without labels: threshold above the median, in sigma of the noise"
        ),
    ] = 3.0,
    weight: Annotated[
        float, typer.Option(min=0, max=1, help="share of the background that is subtracted")
    ] = 1.0,
    offset: Annotated[
        float,
        typer.Option(help="added after the subtraction, so that noise is not cut off [counts]"),
    ] = 0.0,
    output: Annotated[
        Output, typer.Option(help="the corrected image, or the background")
    ] = Output.corrected,
    dtype: Annotated[
        AnyType,
        typer.Option(
            help="type of the result: same (rounded, clipped), float32, or auto: "
            "same for the corrected image, float32 for the background"
        ),
    ] = AnyType.auto,
) -> None:
    """Subtract a smooth background: medians of overlapping tiles without cells, and a spline.

    Cells are those of the channel's label image if there is one, else what is brighter than
    the noise of the frame.
    """
    layer = images.open_layer(image, kind="image")
    labels = images.open_layer(label, kind="label") if label else None
    box = Region.parse(region, layer.shape)
    if dtype is AnyType.auto:
        dtype = AnyType.same if output is Output.corrected else AnyType.float32
    wanted = Type(dtype.value)
    data = np.empty(box.shape, np.float32 if wanted is Type.float32 else layer.dtype)
    stack = histograms.read(statistics)
    for index, t in enumerate(range(*box.t)):
        frame = layer.read(box.frame(t))[0]
        cells = labels.read(box.frame(t))[0] > 0 if labels else None
        if cells is None:
            limit = threshold
            if limit is None and (stack.frame == t).any():
                limit = foreground_above_noise(*stack.histogram([t]), deviations)
            cells = frame > (np.inf if limit is None else limit)
        for z, plane in enumerate(frame):
            result = background_of(plane, cells[z], tile, dilation)
            if output is Output.corrected:
                result = plane - weight * result + offset
            data[index, z] = finished(result, layer.dtype, wanted)
    images.write_part(out_image, data, region=box, like=layer)
    if out_statistics:
        histograms.write(out_statistics, data, box)


if __name__ == "__main__":
    cli.run(main)
