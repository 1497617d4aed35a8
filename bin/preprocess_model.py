#!/usr/bin/env python3
"""ModelMap: a map that an ONNX or bioimage.io network makes of an image, as an image."""

from typing import Annotated

import numpy as np
import typer

from cytoloom import cli, images, network_maps
from cytoloom import statistics as histograms
from cytoloom.errors import UsageError
from cytoloom.regions import Region


def main(
    image: cli.Image,
    statistics: cli.Statistics,
    out_image: cli.OutImage,
    model_name: network_maps.ModelName,
    out_statistics: cli.OutStatistics = None,
    region: cli.RegionText = None,
    halo: cli.Halo = 0,  # noqa: ARG001 - the network decides
    channel: cli.Channel = None,
    cores: cli.Cores = 1,
    output_map: Annotated[
        int, typer.Option(min=0, help="which output channel of the network becomes the image")
    ] = 0,
    normalise: network_maps.NormaliseOption = network_maps.Normalise.declared,
    activation: network_maps.ActivationOption = network_maps.Activation.declared,
    block: network_maps.Block = 512,
    block_halo: network_maps.BlockHalo = None,
    multiple: network_maps.Multiple = 16,
    axes: network_maps.Axes = None,
) -> None:
    """Make an image of a network's map: foreground, boundaries, a denoised or virtual stain.

    What the model declares is done: to the intensities before (statistics are those of the
    whole frame), to the outputs after, and at the edges of blocks. How to use a model of your
    own: docs/models.md. The image is float32.
    """
    network = network_maps.load(
        model_name, cores=cores, block=block, block_halo=block_halo, multiple=multiple,
        axes=axes, normalise=normalise, activation=activation,
    )  # fmt: skip
    layer = images.open_layer(image, kind="image")
    known = histograms.read(statistics)
    box = Region.parse(region, layer.shape)
    data = np.empty(box.shape, np.float32)
    for frame in cli.progress(box.frames, "frames"):
        maps = network_maps.map_region(layer, box.frame(frame), network, known)
        if output_map >= len(maps):
            raise UsageError(
                f"there is no map {output_map}: the network makes {len(maps)} (from 0)"
            )
        data[frame - box.t[0]] = maps[output_map]
    images.write_part(out_image, data, region=box, like=layer, channel=channel)
    if out_statistics:
        histograms.write(out_statistics, data, box)


if __name__ == "__main__":
    cli.run(main)
