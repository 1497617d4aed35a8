#!/usr/bin/env python3
"""Ultrack: the chosen cells of some frames as a label image and as a table."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytoloom import cli, hypotheses, images, measure, tables, ultrack_options
from cytoloom.errors import BadData, UsageError
from cytoloom.regions import Region


def paint(found: list[hypotheses.Outline], shape: tuple[int, int, int]) -> NDArray[np.uint32]:
    """Paint the cells of one frame as 1 ... n, in the order given; shape is Z, Y, X."""
    frame = np.zeros(shape, np.uint32)
    for label, outline in enumerate(found, start=1):
        box = tuple(
            slice(start, start + size)
            for start, size in zip(outline.corner, outline.mask.shape, strict=True)
        )
        frame[box][outline.mask] = label
    return frame


def measured_image(layer: images.Layer | None, box: Region) -> NDArray[Any]:
    """Return the image of one frame, or zeros."""
    return layer.read(box)[0] if layer else np.zeros(box.shape[1:], np.uint8)


def main(
    nodes: ultrack_options.Nodes,
    solution: ultrack_options.Solutions,
    out_label: cli.OutLabel,
    out_cells: cli.OutTable,
    earlier: ultrack_options.Earlier = None,
    label: ultrack_options.Labels = None,
    image: ultrack_options.Images = None,
    region: cli.RegionText = None,
    channel: cli.Channel = None,
) -> None:
    """Paint and measure the cells that the solver chose; intensities on the first image.

    Without label images the first two images are foreground and contours, and the third, if
    there is one, is measured.
    """
    shared = hypotheses.read_settings(nodes)
    given = label or image
    if not given:
        raise UsageError("give a label or image layer: it says how the label image is stored")
    like = images.open_layer(given[0])
    if tuple(like.shape) != shared.shape:
        raise BadData(f"{given[0]} has the shape {like.shape}, the database {shared.shape}")
    rest = (image or [])[0 if label else 2 :]
    measured = images.open_layer(rest[0], kind="image") if rest else None
    part = Region.parse(region, like.shape)
    chosen = hypotheses.solution([*solution, *(earlier or [])], *part.t)
    painted = np.zeros(part.shape, np.uint32)
    columns: list[dict[str, Any]] = []
    for index, frame in enumerate(cli.progress(part.frames, "frames")):
        found = hypotheses.outlines(nodes, frame, set(chosen))
        if not found:
            continue
        painted[index] = paint(found, shared.shape[1:])
        one = measure.measure(
            painted[index],
            measured_image(measured, part.frame(frame)),
            pixel_size=shared.pixel_size,
            volume=shared.volume,
        )
        one = {k: v for k, v in one.items() if measured or not k.startswith("intensity")}
        order = one["label"].astype(np.int64) - 1
        numbers = np.array([outline.id for outline in found], np.int64)[order]
        one["node"] = numbers
        one["parent_node"] = np.array([chosen[int(n)] for n in numbers], np.int64)
        one["frame"] = np.full(len(numbers), frame, np.int32)
        columns.append(one)
    images.write_part(
        out_label, painted, region=part, like=like, kind="label", channel=channel or shared.channel
    )
    table = (
        {name: np.concatenate([c[name] for c in columns]) for name in columns[0]} if columns else {}
    )
    table |= {
        "position": shared.position,
        "channel": measured.channel if measured else shared.channel,
        "label_channel": channel or shared.channel,
    }
    about = tables.describe(measured or like)
    tables.write_arrow(out_cells, tables.from_columns(table, "cells", about=about))


if __name__ == "__main__":
    cli.run(main)
