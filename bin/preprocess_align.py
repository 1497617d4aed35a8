#!/usr/bin/env python3
"""Register, third phase: frames brought into the place of frame 0, deformed where asked for."""

from typing import Annotated

import numpy as np
import typer

from cytoloom import ants_fits, cli, images, resampling, transforms
from cytoloom import statistics as histograms
from cytoloom.errors import UsageError
from cytoloom.pixels import numbers
from cytoloom.regions import Region


def main(
    image: cli.Image,
    transforms_: Annotated[
        str,
        cli.Contract("input"),
        typer.Option("--transforms", help="transforms of the frames, by the chain of windows"),
    ],
    out_image: cli.OutImage = None,  # type: ignore[assignment]
    out_aligned: cli.OutImage = None,  # type: ignore[assignment]
    out_warp: cli.OutFile = None,  # type: ignore[assignment]
    out_statistics: cli.OutStatistics = None,
    region: cli.RegionText = None,
    transform: ants_fits.TransformOption = ants_fits.Transform.rigid,
    stacks: ants_fits.StacksOption = 12,
    interpolation: resampling.InterpolationOption = resampling.Interpolation.cubic,
    fill: resampling.FillOption = None,
) -> None:
    """Bring every frame into the place of frame 0.

    A deformable registration goes on from there: SyN, to the mean of the first window; its
    displacement fields are kept for other channels. The result is a step's own (out_image),
    or one for its next phase (out_aligned).
    """
    target = out_image or out_aligned
    if target is None:
        raise UsageError("nothing to write: give --out-image or --out-aligned")
    layer = images.open_layer(image, kind="image")
    box = Region.parse(region, layer.shape)
    maps = transforms.of_frames(transforms_, box.frames)
    deformable = transform is ants_fits.Transform.deformable
    reference = None
    if deformable:
        first = range(min(stacks, layer.shape[0]))
        maps_of_first = transforms.of_frames(transforms_, first)
        reference = np.mean([_aligned(layer, t, maps_of_first[t]) for t in first], axis=0)
    data = np.empty(box.shape, layer.dtype)
    fields = []
    for row, t in enumerate(cli.progress(box.frames, "frames")):
        field = _field(layer, t, maps[t], reference) if deformable else None
        volume = layer.read(box.frame(t))[0]
        data[row] = resampling.resample(
            volume, maps[t], layer.pixel_size, interpolation=interpolation.value, fill=fill,
            field=field,
        )  # fmt: skip
        if field is not None:
            fields.append(field.astype(np.float32))
    if out_warp:
        frames = np.array(box.frames if deformable else [], np.int64)
        found = np.array(fields) if fields else np.zeros((0, *layer.shape[1:], 3), np.float32)
        transforms.write_arrays(out_warp, {"channel": layer.channel}, frame=frames, field=found)
    images.write_part(target, data, region=box, like=layer)
    if out_statistics:
        histograms.write(out_statistics, data, box)


def _aligned(layer, t, map_):
    """Return a frame in the place of frame 0, float32, shape (z, y, x)."""
    volume = layer.read(Region.whole(layer.shape).frame(t))[0]
    volume = numbers(volume, 0.0, 0.0).astype(np.float32)
    return resampling.resample(volume, map_, layer.pixel_size, interpolation="linear")


def _field(layer, t, map_, reference):
    """Return the displacements, shape (z, y, x, 3) [um], that are left after ``map_``."""
    moved = _aligned(layer, t, map_)
    pixel = layer.pixel_size
    if layer.shape[1] >= ants_fits.MIN_PLANES:
        return ants_fits.deform(reference.astype(np.float32), moved, pixel)
    flat = ants_fits.deform(reference.max(0).astype(np.float32), moved.max(0), pixel[1:])
    field = np.zeros((*layer.shape[1:], 3), np.float32)
    field[..., 1:] = flat
    return field


if __name__ == "__main__":
    cli.run(main)
