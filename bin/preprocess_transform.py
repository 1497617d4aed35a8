#!/usr/bin/env python3
"""ApplyTransforms: the transforms found in one channel, applied to another."""

from typing import Annotated

import numpy as np
import typer

from cytoloom import cli, images, resampling, transforms
from cytoloom import statistics as histograms
from cytoloom.errors import BadData
from cytoloom.regions import Region


def main(
    image: cli.Image,
    transforms_: Annotated[
        str,
        cli.Contract("input"),
        typer.Option("--transforms", help="transforms that a registration made"),
    ],
    out_image: cli.OutImage,
    warp: Annotated[
        str | None,
        cli.Contract("input"),
        typer.Option(help="displacement fields that a deformable registration made"),
    ] = None,
    out_statistics: cli.OutStatistics = None,
    region: cli.RegionText = None,
    interpolation: resampling.InterpolationOption = resampling.Interpolation.cubic,
    fill: resampling.FillOption = None,
) -> None:
    """Bring the frames of a channel into place by the transforms found in another one."""
    layer = images.open_layer(image, kind="image")
    box = Region.parse(region, layer.shape)
    maps = transforms.of_frames(transforms_, box.frames)
    fields = {}
    for _, arrays in transforms.read_arrays(warp, "displacement fields") if warp else ():
        wanted = [i for i, t in enumerate(arrays["frame"]) if int(t) in maps]
        fields |= {int(arrays["frame"][i]): arrays["field"][i] for i in wanted}
    data = np.empty(box.shape, layer.dtype)
    for row, t in enumerate(cli.progress(box.frames, "frames")):
        field = fields.get(t)
        if field is not None and field.shape[:3] != layer.shape[1:]:
            raise BadData(
                f"{layer.channel}: frames of {layer.shape[1:]} px (z, y, x), but the transforms "
                f"are of frames of {field.shape[:3]}"
            )
        data[row] = resampling.resample(
            layer.read(box.frame(t))[0], maps[t], layer.pixel_size,
            interpolation=interpolation.value, fill=fill, field=field,
        )  # fmt: skip
    images.write_part(out_image, data, region=box, like=layer)
    if out_statistics:
        histograms.write(out_statistics, data, box)


if __name__ == "__main__":
    cli.run(main)
