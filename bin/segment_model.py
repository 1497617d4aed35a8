#!/usr/bin/env python3
"""Model: objects from the maps of any ONNX or bioimage.io network.

The network gives a foreground map, and perhaps a map of the boundaries between objects.
Pixels above a threshold are foreground; touching objects are parted where the boundary
map parts them, or where they are narrow.
"""

from typing import Annotated

import numpy as np
import typer

from cytoloom import cli, foregrounds, images, network_maps, seam_files
from cytoloom import statistics as histograms
from cytoloom.errors import UsageError
from cytoloom.regions import Region


def objects_of_maps(maps, origin, *, foreground_map, boundary_map, threshold, **options):
    """Label the objects that a network's maps show.

    Parameters
    ----------
    maps : ndarray, shape (channel, z, y, x)
    origin : tuple of int
        Place of the piece in the frame.
    foreground_map, boundary_map : int, int or None
        Which channel is which.
    threshold : float
        Of both maps.

    Returns
    -------
    labels : ndarray, shape (z, y, x), int32
    probability : ndarray, shape (n,)
        Mean of the foreground map over each object 1, 2, ….
    """
    for number in (foreground_map, boundary_map):
        if number is not None and number >= len(maps):
            raise UsageError(f"there is no map {number}: the network makes {len(maps)} (from 0)")
    foreground = maps[foreground_map]
    seeds = None
    if boundary_map is not None:
        seeds = (foreground > threshold) & (maps[boundary_map] <= threshold)
    labels = foregrounds.objects_of(foreground > threshold, origin, seeds=seeds, **options)
    areas = np.bincount(labels.ravel())[1:]
    sums = np.bincount(labels.ravel(), foreground.ravel())[1:]
    return labels, sums / np.maximum(areas, 1)


def main(
    image: cli.Image,
    statistics: cli.Statistics,
    out_label: cli.OutLabel,
    model_name: network_maps.ModelName,
    out_detections: seam_files.OutDetections = None,
    out_objects: seam_files.OutObjects = None,
    region: cli.RegionText = None,
    halo: cli.Halo = 0,
    channel: cli.Channel = None,
    cores: cli.Cores = 1,
    foreground_map: Annotated[
        int, typer.Option(min=0, help="which output channel of the network is the foreground")
    ] = 0,
    boundary_map: Annotated[
        int | None, typer.Option(min=0, help="which one is the boundary of objects; default: none")
    ] = None,
    threshold: Annotated[
        float, typer.Option(help="foreground and boundary are above it [value of the map]")
    ] = 0.5,
    split_depth: Annotated[
        float,
        typer.Option(
            min=0,
            help="without a boundary map, smaller splits touching objects more [px of distance "
            "to background]",
        ),
    ] = 0.5,
    min_size: Annotated[int, typer.Option(min=0, help="smaller objects are dropped [px]")] = 20,
    max_size: Annotated[
        int, typer.Option(min=0, help="larger objects are dropped [px]; 0: none")
    ] = 0,
    fill_holes: Annotated[
        bool, typer.Option(help="fill holes of objects, up to 32 px wide")
    ] = True,
    normalise: network_maps.NormaliseOption = network_maps.Normalise.declared,
    activation: network_maps.ActivationOption = network_maps.Activation.declared,
    block: network_maps.Block = 512,
    block_halo: network_maps.BlockHalo = None,
    multiple: network_maps.Multiple = 16,
    axes: network_maps.Axes = None,
) -> None:
    """Segment with any network in the ONNX format, or any bioimage.io model that has one.

    What the model declares is done: to the intensities before (statistics are those of the
    whole frame), to the outputs after, and at the edges of blocks. How to use a model of your
    own: docs/models.md. A network of planes sees the planes of a stack one by one.
    """
    network = network_maps.load(
        model_name, cores=cores, block=block, block_halo=block_halo, multiple=multiple,
        axes=axes, normalise=normalise, activation=activation,
    )  # fmt: skip
    layer = images.open_layer(image, kind="image")
    known = histograms.read(statistics)

    def segment(plane, frame, origin):
        spans = [(o, o + n) for o, n in zip(origin, plane.shape, strict=True)]
        maps = network_maps.map_region(layer, Region((frame, frame + 1), *spans), network, known)
        labels, probability = objects_of_maps(
            maps, origin, foreground_map=foreground_map, boundary_map=boundary_map,
            threshold=threshold, split_depth=split_depth, min_size=min_size, max_size=max_size,
            fill_holes=fill_holes,
        )  # fmt: skip
        return seam_files.Found(labels, probability)

    seam_files.segment_part(
        image,
        out_label,
        segment,
        out_detections=out_detections,
        out_objects=out_objects,
        region=region,
        halo=max(halo, foregrounds.OBJECT_REACH),
        channel=channel,
    )


if __name__ == "__main__":
    cli.run(main)
