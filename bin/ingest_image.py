#!/usr/bin/env python3
"""Ingest: a region of a user's image stack becomes one part of an image layer."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from cytoloom import cli, images, ingest, statistics, tables
from cytoloom.layouts import KINDS_OF_LABELS
from cytoloom.regions import Region
from cytoloom.selection import Selection
from cytoloom.sources import open_source


def main(
    source: Annotated[
        str,
        typer.Option(help="TIFF, ND2, CZI, folder or glob of TIFFs, or OME-Zarr; never changed"),
    ],
    out_image: cli.OutImage,
    chunks: Annotated[str, typer.Option(help="chunk as t,z,y,x [px]")],
    shards: Annotated[str, typer.Option(help="shard as t,z,y,x [px]")],
    position: Annotated[str, typer.Option(help="name of the position")],
    channel: Annotated[str, typer.Option(help="name of the channel")],
    pixel_size: Annotated[list[float], typer.Option(help="micrometre; once each for z, y, x")],
    frame_interval: Annotated[float | None, typer.Option(help="second between frames")] = None,
    source_channel: Annotated[str | None, typer.Option(help="channel inside the file")] = None,
    scene: Annotated[int | None, typer.Option(help="position in the file, from 0")] = None,
    z: Annotated[str | None, typer.Option(help="all, a plane, or max, min, mean of them")] = None,
    axes: Annotated[str | None, typer.Option(help="axes of the TIFF, e.g. TYX")] = None,
    select: Annotated[str | None, typer.Option(help="e.g. t=0:100:1,y=0:512:1")] = None,
    kind: Annotated[str, typer.Option(help="image or label")] = "image",
    blank: Annotated[bool, typer.Option(help="write zeros that count in no statistics")] = False,
    out_statistics: cli.OutStatistics = None,
    out_frames: Annotated[
        Path | None,
        cli.Contract("output"),
        typer.Option(help="times and stage positions to write (Parquet)"),
    ] = None,
    region: cli.RegionText = None,
) -> None:
    """Copy a region of a user's stack into one part of a layer, pixels unchanged."""
    opened = open_source(source, axes=axes, scene=scene)
    ingest.check_dtype(opened, kind=kind)
    selection = Selection.parse(select, opened.shape).of_planes(z)
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
    inside = opened.channel_index(source_channel)
    if blank:
        data = np.zeros(box.shape, layout.dtype)
    else:
        data = ingest.read_selected(opened, selection, box, inside)
    if kind in KINDS_OF_LABELS:
        images.check_labels(data, what=source)
    images.write_part(out_image, data, region=box, like=layout, kind=kind, dtype=layout.dtype)
    if out_statistics:
        counted = Region((box.t[0], box.t[0]), box.z, box.y, box.x) if blank else box
        statistics.write(out_statistics, data[: len(counted.frames)], counted)
    if out_frames and (found := ingest.frames_of(opened, selection, inside)):
        table = ingest.frames_table(found, position=position, channel=channel)
        tables.write_arrow(out_frames, table)


if __name__ == "__main__":
    cli.run(main)
