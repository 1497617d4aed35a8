#!/usr/bin/env python3
"""label_to_sparse: one row per object of a label image, with its shape and intensities."""

from typing import Annotated

import numpy as np
import typer

from cytoloom import cli, images, labels, measure, measure_runs, tables
from cytoloom.errors import BadData
from cytoloom.regions import Region

LOOKED_THROUGH = 2**26  # voxels, 256 MiB of labels


def check_pair(image, label):
    """Raise BadData unless the image and the label layer are of one shape and position."""
    if image.shape != label.shape:
        raise BadData(
            f"image {image.channel!r} is {_shape(image)} and label image {label.channel!r} is "
            f"{_shape(label)}: they must have the same shape; check `image_label_pair`"
        )
    if image.position != label.position:
        raise BadData(
            f"image {image.channel!r} is of position {image.position!r} and label image "
            f"{label.channel!r} of {label.position!r}: measure a pair of one position"
        )


def _shape(layer):
    return " x ".join(f"{axis}={n}" for axis, n in zip("tzyx", layer.shape, strict=True))


def read_objects(label, box):
    """Read the labels of one frame so that every object that meets ``box`` is whole.

    All parts at hand are looked through if they hold at most ``LOOKED_THROUGH`` voxels: then
    pieces of one label are one object wherever they lie. Else see `labels.read_whole_objects`.

    Returns
    -------
    numbers : (Z, Y, X)
    read : Region
    """
    at_hand = Region(box.t, *label.region.spans[1:])
    held = (part.region.intersect(at_hand) for part in label.parts)
    if at_hand.size <= LOOKED_THROUGH and sum(r.size for r in held if r) == at_hand.size:
        return label.read(at_hand)[0], at_hand
    numbers, read = labels.read_whole_objects(label, box)
    return numbers[0], read


def check_whole(runs, low, high, read, label):
    """Raise BadData if an object ends where the parts at hand do, inside the image."""
    for axis, (start, stop), size, name in zip(
        range(3), read.spans[1:], label.shape[1:], "zyx", strict=True
    ):
        cut = (low[:, axis] == 0) & (start > 0)
        cut |= (high[:, axis] == stop - start) & (stop < size)
        if cut.any():
            raise BadData(
                f"labels of {label.channel!r}: object {runs.label[cut][0]} of frame {read.t[0]} "
                f"leaves the parts at hand ({read}) along {name}: make the patches of `patching` "
                "larger than the objects"
            )


def measure_owned(image, label, box):
    """Measure the objects of one frame whose first pixel in raster order lies in ``box``.

    Parameters
    ----------
    image, label : Layer
    box : Region
        One frame.

    Returns
    -------
    dict of columns, empty where there is no object
    """
    numbers, read = read_objects(label, box)
    corner = [start for start, _ in read.spans[1:]]
    inside = [
        (low - start, high - start)
        for (low, high), start in zip(box.spans[1:], corner, strict=True)
    ]
    runs = measure_runs.find_runs(numbers, inside)
    if not len(runs):
        return {}
    low, high = measure_runs.bounding_boxes(runs)
    check_whole(runs, low, high, read, label)
    low, high = low.min(axis=0), high.max(axis=0)
    origin = [int(n) for n in corner + low]
    needed = Region(box.t, *zip(origin, (int(n) for n in corner + high), strict=True))
    columns = measure.measure_runs(
        runs.shifted(low),
        image.read(needed)[0],
        pixel_size=label.pixel_size,
        volume=label.shape[1] > 1,
        origin=origin,
    )
    return columns | {"frame": np.full(len(runs), box.t[0], np.int32)}


def known_of(detections, frames, labels):
    """Return the columns that a segmentation noted for objects: probability and class.

    Parameters
    ----------
    detections : str
        Pattern of the table.
    frames, labels : ndarray, shape (n,)

    Returns
    -------
    dict of lists, None for objects that the table lacks
    """
    table = tables.read_arrow(detections, "detections").to_pydict()
    rows = {key: i for i, key in enumerate(zip(table["frame"], table["label"], strict=True))}
    at = [rows.get((int(f), int(n))) for f, n in zip(frames, labels, strict=True)]
    return {
        name: [None if i is None else table[name][i] for i in at]
        for name in ("probability", "class_id")
    }


def main(
    image: cli.Image,
    label: cli.Label,
    out_cells: cli.OutTable,
    region: cli.RegionText = None,
    detections: Annotated[
        str | None,
        cli.Contract("input"),
        typer.Option(help="table of what the segmentation knows of each object: a path or glob"),
    ] = None,
) -> None:
    """Measure the objects of a label image on an image (columns: docs/columns.md).

    An object belongs to the region that holds its first pixel in raster order, and is
    measured whole, so the rows of all regions together do not depend on how the layer
    was cut. A frame without objects gives no row. Where a network made the label image, the
    probability and class that it gave to each object come along.
    """
    outlines = images.open_layer(label, kind="label")
    measured = images.open_layer(image, kind="image")
    check_pair(measured, outlines)
    box = Region.parse(region, outlines.shape)
    found = []
    for frame in cli.progress(box.frames, "frames"):
        columns = measure_owned(measured, outlines, box.frame(frame))
        if columns:
            found.append(columns)
    table = {name: np.concatenate([c[name] for c in found]) for name in found[0]} if found else {}
    if detections and found:
        table |= known_of(detections, table["frame"], table["label"])
    table |= {
        "position": outlines.position,
        "channel": measured.channel,
        "label_channel": outlines.channel,
    }
    about = tables.describe(measured)
    tables.write_arrow(out_cells, tables.from_columns(table, "cells", about=about))


if __name__ == "__main__":
    cli.run(main)
