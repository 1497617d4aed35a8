#!/usr/bin/env python3
"""BleachCorrection: every frame as bright as the reference frame."""

from typing import Annotated

import numpy as np
import typer

from cytoloom import cli, images, tables
from cytoloom import statistics as histograms
from cytoloom.bleaching import matched
from cytoloom.illumination import Type, finished
from cytoloom.regions import Region


def rescaled(frame, factor, background):
    """Return a frame with its intensities above the background multiplied."""
    return (frame.astype(np.float64) - background) * factor + background


def matching(frame, source, target):
    """Return a frame whose values become those of equal quantile of the target.

    ``source`` and ``target`` are histograms, (values, counts), of the whole frames.
    """
    return np.interp(frame.astype(np.float64), source[0], matched(source[1], *target))


def main(
    image: cli.Image,
    out_image: cli.OutImage,
    statistics: cli.Statistics,
    bleaching: Annotated[
        str, cli.Contract("input"), typer.Option(help="table of bleaching, of the phase before")
    ],
    out_statistics: cli.OutStatistics = None,
    region: cli.RegionText = None,
    reference: Annotated[
        int, typer.Option(min=0, help="frame that all others are brought to, from 0")
    ] = 0,
    background: Annotated[
        float,
        typer.Option(
            min=0,
            help="what does not bleach, as the camera's offset; not for histogram [counts]",
        ),
    ] = 0.0,
    dtype: Annotated[
        Type, typer.Option(help="type of the result: same (rounded, clipped) or float32")
    ] = Type.same,
) -> None:
    """Correct bleaching: by a fitted decay, by the ratio of means, or by matching histograms.

    What belongs to a frame comes from the histograms of all its parts. Values beyond the type
    of the image are clipped: take dtype: float32 where frames are brightened a lot.
    """
    layer = images.open_layer(image, kind="image")
    box = Region.parse(region, layer.shape)
    table = tables.read_table(bleaching, "bleaching").set_index("frame")
    stack = histograms.read(statistics)
    data = np.empty(box.shape, np.float32 if dtype is Type.float32 else layer.dtype)
    for index, t in enumerate(range(*box.t)):
        frame = layer.read(box.frame(t))[0]
        if table["method"][t] == "histogram":
            both = all((stack.frame == one).any() for one in (t, reference))
            corrected = (
                matching(frame, stack.histogram([t]), stack.histogram([reference]))
                if both
                else frame.astype(np.float64)
            )
        else:
            corrected = rescaled(frame, float(table["factor"][t]), background)
        data[index] = finished(corrected, layer.dtype, dtype)
    images.write_part(out_image, data, region=box, like=layer)
    if out_statistics:
        histograms.write(out_statistics, data, box)


if __name__ == "__main__":
    cli.run(main)
