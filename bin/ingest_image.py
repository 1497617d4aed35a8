#!/usr/bin/env python3
"""Ingest: a region of a user's image stack becomes one part of an image layer."""

from typing import Annotated

import numpy as np
import typer

from cytoloom import cli, images, ingest, statistics
from cytoloom.layouts import KINDS_OF_LABELS
from cytoloom.regions import Region
from cytoloom.selection import Selection
from cytoloom.sources import open_source


def main(
    source: Annotated[
        str, typer.Option(help="TIFF, folder or glob of TIFFs, or OME-Zarr; never changed")
    ],
    out_image: cli.OutImage,
    chunks: Annotated[str, typer.Option(help="chunk as t,z,y,x [px]")],
    shards: Annotated[str, typer.Option(help="shard as t,z,y,x [px]")],
    position: Annotated[str, typer.Option(help="name of the position")],
    channel: Annotated[str, typer.Option(help="name of the channel")],
    pixel_size: Annotated[list[float], typer.Option(help="micrometre; once each for z, y, x")],
    frame_interval: Annotated[float | None, typer.Option(help="second between frames")] = None,
    source_channel: Annotated[str | None, typer.Option(help="channel inside the file")] = None,
    axes: Annotated[str | None, typer.Option(help="axes of the TIFF, e.g. TYX")] = None,
    select: Annotated[str | None, typer.Option(help="e.g. t=0:100:1,y=0:512:1")] = None,
    kind: Annotated[str, typer.Option(help="image or label")] = "image",
    blank: Annotated[bool, typer.Option(help="write zeros that count in no statistics")] = False,
    out_statistics: cli.OutStatistics = None,
    region: cli.RegionText = None,
) -> None:
    """Copy a region of a user's stack into one part of a layer, pixels unchanged."""
    opened = open_source(source, axes=axes)
    ingest.check_dtype(opened, kind=kind)
    selection = Selection.parse(select, opened.shape)
    layout = ingest.layout_of(
        opened,
        selection,
        chunks=chunks,
        shards=shards,
        pixel_size=pixel_size,
        frame_interval=frame_interval,
        position=position,
        channel=channel,
        kind=kind,
    )
    box = Region.parse(region, layout.shape)
    if blank:
        data = np.zeros(box.shape, layout.dtype)
    else:
        data = ingest.read_selected(opened, selection, box, opened.channel_index(source_channel))
    if kind in KINDS_OF_LABELS:
        images.check_labels(data, what=source)
    images.write_part(out_image, data, region=box, like=layout, kind=kind, dtype=layout.dtype)
    if out_statistics:
        counted = Region((box.t[0], box.t[0]), box.z, box.y, box.x) if blank else box
        statistics.write(out_statistics, data[: len(counted.frames)], counted)


if __name__ == "__main__":
    cli.run(main)
