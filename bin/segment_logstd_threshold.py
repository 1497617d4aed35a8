#!/usr/bin/env python3
"""LogStd, first phase where frames are cut into patches: the threshold of each whole frame."""

import json
from typing import Annotated

import typer

from cytoloom import cli, images, logstd
from cytoloom import statistics as histograms
from cytoloom.files import writing
from cytoloom.regions import Region


def main(
    image: cli.Image,
    statistics: cli.Statistics,
    out_thresholds: Annotated[
        cli.Path, cli.Contract("output"), typer.Option(help="thresholds to write (JSON)")
    ],
    region: cli.RegionText = None,
    threshold: Annotated[
        logstd.Method, typer.Option(help="how the threshold is found; see segment_logstd.py")
    ] = logstd.Method.valley,
    window_size: Annotated[
        int,
        typer.Option(min=3, max=logstd.WIDEST_WINDOW, help="window of the variance, odd [px]"),
    ] = 3,
) -> None:
    """Find the threshold of the log-std of every frame of a region, from all its pixels."""
    logstd.check_window(window_size)
    layer = images.open_layer(image, kind="image")
    box = Region.parse(region, layer.shape)
    ranges = histograms.Ranges.for_layer(statistics, layer)
    rows = []
    for frame in cli.progress(box.frames, "frames", len(box.frames)):
        for z, plane in enumerate(layer.read(box.frame(frame))[0]):
            small = logstd.sixteen_bits(plane, *ranges.of(frame))
            level = logstd.threshold_of(logstd.spread(small, window_size), window_size, threshold)
            rows.append([frame, z, level])
    with writing(out_thresholds) as temporary:
        temporary.write_text(json.dumps({"thresholds": rows}))


if __name__ == "__main__":
    cli.run(main)
