#!/usr/bin/env python3
"""RollingBall: the background that a ball rolled below the intensities leaves, subtracted."""

from enum import StrEnum
from typing import Annotated

import numpy as np
import typer

from cytoloom import cli, images
from cytoloom import statistics as histograms
from cytoloom.background import rolling_ball
from cytoloom.errors import InputMissing, UsageError
from cytoloom.illumination import Type, finished
from cytoloom.regions import Region


class Output(StrEnum):
    """What the step makes."""

    corrected = "corrected"
    background = "background"


def around(layer, box, radius):
    """Read a region with what the ball reaches; along z nothing is added."""
    wide = box.widen(radius, layer.shape)
    wide = Region(wide.t, box.z, wide.y, wide.x)
    try:
        return layer.read(wide), wide
    except InputMissing as error:
        raise UsageError(
            f"a ball of radius {radius} px reaches beyond the patches around: take fewer patches "
            f"or a smaller radius ({error})"
        ) from error


def main(
    image: cli.Image,
    out_image: cli.OutImage,
    out_statistics: cli.OutStatistics = None,
    region: cli.RegionText = None,
    radius: Annotated[
        int,
        typer.Option(min=1, max=500, help="of the ball [px]; larger than the largest object"),
    ] = 50,
    offset: Annotated[
        float,
        typer.Option(help="added after the subtraction, so that noise is not cut off [counts]"),
    ] = 0.0,
    output: Annotated[
        Output, typer.Option(help="the corrected image, or the background")
    ] = Output.corrected,
    dtype: Annotated[
        Type, typer.Option(help="type of the result: same (rounded, clipped) or float32")
    ] = Type.same,
) -> None:
    """Subtract the background found by a rolling ball, plane by plane.

    The values are those of scikit-image's rolling_ball.
    """
    layer = images.open_layer(image, kind="image")
    box = Region.parse(region, layer.shape)
    kind = np.dtype(np.float32) if dtype is Type.float32 else layer.dtype
    data = np.empty(box.shape, kind)
    for index, t in enumerate(range(*box.t)):
        frame, wide = around(layer, box.frame(t), radius)
        _, _, y, x = box.within(wide)
        for z, plane in enumerate(frame[0]):
            result = rolling_ball(plane, radius)[y, x].astype(np.float64)
            if output is Output.corrected:
                result = plane[y, x] - result + offset
            data[index, z] = finished(result, layer.dtype, dtype)
    images.write_part(out_image, data, region=box, like=layer)
    if out_statistics:
        histograms.write(out_statistics, data, box)


if __name__ == "__main__":
    cli.run(main)
