#!/usr/bin/env python3
"""CellPose, before the segmentation: the diameter of a stack's objects, the same for all tasks."""

from pathlib import Path
from typing import Annotated

import typer

from cytoloom import cellpose_networks as networks
from cytoloom import cli, devices, diameters, images, models, provenance
from cytoloom import statistics as histograms
from cytoloom.cellpose_frames import Frames, estimate_diameter


def main(
    image: cli.Image,
    statistics: cli.Statistics,
    out_sizes: Annotated[
        Path, cli.Contract("output"), typer.Option(help="estimated diameter to write (Parquet)")
    ],
    channel: cli.Channel = None,
    cores: cli.Cores = 1,
    model_type: Annotated[
        str, typer.Option(help="name of a model, or path of its file")
    ] = "cellpose3_nuclei",
    cellprob_thresh: Annotated[
        float, typer.Option(min=-20, max=20, help="least logit of a pixel of an object")
    ] = 0.0,
    flow_threshold: Annotated[
        float, typer.Option(min=0, help="largest error of the flows of an object; 0: all are kept")
    ] = 0.4,
    batch_size: Annotated[int, typer.Option(min=1, help="tiles that the network sees at once")] = 8,
    gpu: devices.Gpu = False,
    percentile_low: Annotated[
        float, typer.Option(min=0, max=100, help="percentile of the frame that becomes 0 [%]")
    ] = 1.0,
    percentile_high: Annotated[
        float, typer.Option(min=0, max=100, help="percentile of the frame that becomes 1 [%]")
    ] = 99.0,
    invert: Annotated[bool, typer.Option(help="dark objects on bright ground")] = False,
) -> None:
    """Estimate the diameter of the objects of a stack for a Cellpose 3 network.

    The network segments samples of the first, the middle and the last frame at the size of its
    own training objects, then at the median size of what it found. Cellpose 4 takes any size:
    for it nothing is estimated.
    """
    path = models.weights_of(model_type, ("cellpose3", "cellpose"))
    device = devices.choose_device(gpu, "torch")
    network = networks.load(path, device, cores)
    diameter = None
    if network.usual_diameter:
        frames = Frames(
            images.open_layer(image, kind="image"), histograms.read(statistics),
            low=percentile_low, high=percentile_high, invert=invert,
        )  # fmt: skip
        settings = networks.Settings(
            batch_size=batch_size,
            flow_threshold=flow_threshold,
            cellprob_threshold=cellprob_thresh,
        )
        diameter = estimate_diameter(network, frames, settings)
        cli.log.info("%s: diameter %.4g px", channel or frames.layer.channel, diameter)
    provenance.note(model=path.name, model_sha=models.digest(path), diameter=diameter)
    diameters.write(out_sizes, diameter)


if __name__ == "__main__":
    cli.run(main)
