#!/usr/bin/env python3
"""FlatField: intensities without the unevenness of the illumination."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from cytoloom import cli, images
from cytoloom import statistics as histograms
from cytoloom.errors import BadData, UsageError
from cytoloom.files import find
from cytoloom.illumination import Type, finished, read_fields
from cytoloom.regions import Region


def main(
    image: cli.Image,
    out_image: cli.OutImage,
    out_statistics: cli.OutStatistics = None,
    fields: Annotated[
        str | None,
        cli.Contract("input"),
        typer.Option(help="estimated fields (TIFF): a path, or a quoted glob of it"),
    ] = None,
    region: cli.RegionText = None,
    flatfield: Annotated[
        Path | None,
        typer.Option(
            help="a flat-field of your own instead of an estimate: TIFF of the image's size, a "
            "second page is the dark-field; or the file that an earlier run wrote"
        ),
    ] = None,
    dtype: Annotated[
        Type, typer.Option(help="type of the result: same (rounded, clipped) or float32")
    ] = Type.same,
) -> None:
    """Correct the illumination: (image - dark-field) / flat-field, or in log space.

    The fields are estimated from all frames and planes of the position, or of all positions
    (scope: run), never from a part, and are delivered as TIFF.
    """
    if not (flatfield or fields):
        raise UsageError("give --flatfield FILE (or, within a pipeline, leave the estimate to it)")
    path = flatfield or find(str(fields), what="fields")[0]
    layer = images.open_layer(image, kind="image")
    box = Region.parse(region, layer.shape)
    found = read_fields(path)
    if found.first.shape != tuple(layer.shape[2:]):
        raise BadData(
            f"{path}: a field of {found.first.shape[0]} x {found.first.shape[1]} pixels for "
            f"images of {layer.shape[2]} x {layer.shape[3]}"
        )
    _, _, y, x = box.slices
    kind = np.dtype(np.float32) if dtype is Type.float32 else layer.dtype
    data = np.empty(box.shape, kind)
    for index, t in enumerate(range(*box.t)):
        frame = layer.read(Region((t, t + 1), box.z, box.y, box.x))[0]
        for z, plane in enumerate(frame):
            data[index, z] = finished(found.correct(plane, y, x), layer.dtype, dtype)
    images.write_part(out_image, data, region=box, like=layer)
    if out_statistics:
        histograms.write(out_statistics, data, box)


if __name__ == "__main__":
    cli.run(main)
