#!/usr/bin/env python3
"""Caching: the layers of a position in PyAMA's ``images.zarr``, with 8-bit copies to look at."""

from typing import Annotated

import numpy as np
import typer

from cytoloom import cli, images, union, viewing
from cytoloom import statistics as histograms
from cytoloom.errors import BadData
from cytoloom.files import find, writing
from cytoloom.layouts import KINDS_OF_LABELS
from cytoloom.regions import Region


def name_of(layer):
    """Return the name of a layer's group, as PyAMA has it where the channel has its names."""
    channel = layer.channel
    kind, _, number = channel.rpartition("_ch_")
    number = number if kind in ("pc", "fl") else channel
    prefix = {
        "label": "seg_labeled_ch_", "trackedlabel": "seg_tracked_ch_",
        "background": "fl_background_ch_",
    }  # fmt: skip
    return f"{prefix[layer.kind]}{number}" if layer.kind in prefix else channel


def link(layer, paths, target, linker):
    """Make level ``0`` of the parts, an array of shape (T, H, W), without copying a pixel.

    A shard of one channel and plane has the same bytes in five axes and in three.
    """
    about = union.metadata(paths[0] / "0")
    about["shape"] = [layer.shape[0], *layer.shape[2:]]
    about["dimension_names"] = ["t", "y", "x"]
    grids = [about["chunk_grid"], *(c for c in about["codecs"] if c["name"] == "sharding_indexed")]
    for grid in grids:
        shape = grid["configuration"]["chunk_shape"]
        grid["configuration"]["chunk_shape"] = [shape[0], *shape[3:]]
    union.write_json(target / "zarr.json", about)
    for path in paths:
        root = path / "0" / "c"
        for shard in sorted(p for p in root.rglob("*") if p.is_file()):
            t, _, _, *rest = shard.relative_to(root).parts
            linker.place(shard, target.joinpath("c", t, *rest))


def frames_of(layer):
    """Yield the plane of each frame."""
    for frame in range(layer.shape[0]):
        yield layer.read(Region.whole(layer.shape).frame(frame))[0, 0]


def converter(layer, statistics):
    """Return the function that makes a frame of a layer 8-bit."""
    if layer.kind in KINDS_OF_LABELS:
        ends = [(int(f.min()), int(f.max())) for f in frames_of(layer)]
        low, high = min(e[0] for e in ends), max(e[1] for e in ends)
        return lambda plane: viewing.labels_to_uint8(plane, low, high)
    if statistics is not None:
        return viewing.window_of(histograms.read(statistics)).to_uint8
    ends = [(np.nanmin(f), np.nanmax(f)) for f in frames_of(layer)]
    low, high = float(min(e[0] for e in ends)), float(max(e[1] for e in ends))
    return viewing.window_of_frames(frames_of(layer), low, high).to_uint8


def write_level(group, layer, statistics):
    """Write level ``1``: 8 bit, half the size."""
    labels = layer.kind in KINDS_OF_LABELS
    array = viewing.create(group, "1", (layer.shape[0], *layer.shape[2:]))
    convert = converter(layer, statistics)
    for frame, plane in enumerate(frames_of(layer)):
        array[frame] = viewing.half(convert(plane), labels=labels)


def main(
    image: cli.Images,
    statistics: cli.StatisticsEach,
    out_cache: cli.OutFile,
    label: Annotated[
        str | None, cli.Contract("input"), typer.Option(help="label layer of the first channel")
    ] = None,
    tracked: Annotated[
        str | None, cli.Contract("input"), typer.Option(help="the same, painted by track")
    ] = None,
    background: Annotated[
        list[str] | None, cli.Contract("input"), typer.Option(help="backgrounds of the images")
    ] = None,
) -> None:
    """Make 8-bit copies at half size of all layers of a position, as PyAMA's level ``1``.

    ``<channel>/0`` is the layer itself, (T, H, W), linked and not copied; ``<channel>/1`` the
    copy: intensities from the 1st to the 99th percentile of the whole stack, labels by their
    number, compressed with LZ4.
    """
    import zarr

    given = [(pattern, one) for pattern, one in zip(image, statistics, strict=True)]
    given += [(one, None) for one in (label, tracked, *(background or ())) if one]
    linker = union.Linker()
    with writing(out_cache) as folder:
        store = zarr.create_group(store=folder, zarr_format=3)
        for pattern, counted in given:
            layer = images.open_layer(pattern)
            if layer.shape[1] > 1:
                raise BadData(
                    f"{layer.kind} of {layer.channel!r} has {layer.shape[1]} planes: choose one, "
                    "or a projection, with `z:` of the input"
                )
            group = store.create_group(name_of(layer))
            link(layer, find(pattern), folder / name_of(layer) / "0", linker)
            write_level(group, layer, counted)
    cli.log.info("%s: %s", out_cache.name, linker.summary())


if __name__ == "__main__":
    cli.run(main)
