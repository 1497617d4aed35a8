#!/usr/bin/env python3
"""LogStd: cells in phase contrast, by how much intensities vary around each pixel.

A pixel belongs to a cell where the log-std of its neighbourhood is above a threshold from
the histogram of its whole frame, which a phase before finds where frames are cut into
patches. The mask is cleaned by morphology on 64 pixels at a time. Every rule looks only at
a neighbourhood of known reach, so that the result does not depend on the tiling.
"""

import json
import logging
from enum import StrEnum
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from cytoloom import bits, cli, foregrounds, images, logstd, seam_files, stretches
from cytoloom import statistics as histograms
from cytoloom.errors import BadData, UsageError
from cytoloom.files import find
from cytoloom.regions import Region
from cytoloom.seams import number_in_raster_order

log = logging.getLogger("cytoloom")
WIDEST_HOLE = 128  # px; wider gaps are ground between cells, not holes of one
SPECK = 64  # px, what the reference's clean-up drops before it fills


class Cleanup(StrEnum):
    """How the mask is cleaned."""

    shipped = "shipped"
    reference = "reference"


class Edge(StrEnum):
    """What lies outside the image for the morphology."""

    background = "background"
    ignored = "ignored"


def footprint_of(cleanup: Cleanup, size: int) -> bits.Footprint:
    """Return the disc of radius ``size`` of the reference, or the shipped square of that width."""
    if cleanup is Cleanup.reference:
        return bits.Footprint.disk(size)
    if size % 2 == 0:
        raise UsageError(f"morph_size {size}: a square needs an odd width; take {size + 1}")
    return bits.Footprint.square(size)


def clean(
    mask: NDArray[np.bool_],
    *,
    cleanup: Cleanup = Cleanup.shipped,
    size: int = 7,
    iterations: int = 3,
    edge: Edge = Edge.background,
) -> NDArray[np.bool_]:
    """Clean a mask.

    Parameters
    ----------
    mask : ndarray of bool, shape (y, x)
    cleanup
        ``shipped``: fill holes, open, close, with a square of width ``size`` [px].
        ``reference``: close, drop specks, fill holes, open, with a disc of radius ``size``.
    iterations
        Of each opening and closing.
    """
    footprint = footprint_of(cleanup, size)
    outside = edge is Edge.ignored
    if cleanup is Cleanup.shipped:
        mask = stretches.filled(mask, WIDEST_HOLE)
        mask = bits.opened(mask, footprint, iterations, outside=outside)
        return bits.closed(mask, footprint, iterations, outside=outside)
    mask = bits.closed(mask, footprint, iterations, outside=outside)
    mask = stretches.filled(stretches.labelled(mask, SPECK) > 0, WIDEST_HOLE)
    return bits.opened(mask, footprint, iterations, outside=outside)


def objects_of(
    mask: NDArray[np.bool_],
    origin: tuple[int, int, int] = (0, 0, 0),
    *,
    min_size: int = 50,
    max_size: int = 10000,
    split: bool = False,
    split_depth: float = 1.0,
) -> NDArray[np.uint32]:
    """Label the pieces of a mask (y, x), connected by edges, or those that a watershed makes."""
    if not split:
        return stretches.labelled(mask, min_size, max_size)
    parted = foregrounds.objects_of(
        mask[np.newaxis], origin, split_depth=split_depth, min_size=min_size,
        max_size=max_size, fill_holes=False,
    )[0]  # fmt: skip
    return number_in_raster_order(parted)


def explain_nothing(frame: int, mask: NDArray[np.bool_], min_size: int, max_size: int) -> None:
    """Warn that a frame has pieces, but none of the size of a cell."""
    largest = int(stretches.Pieces.of(mask).areas().max())
    log.warning(
        "frame %d: no cell of %d to %s px: the largest piece has %d px; if that is a cell, change "
        "min_size or max_size", frame, min_size, max_size or "any", largest,
    )  # fmt: skip


def reach_of(window: int, cleanup: Cleanup, size: int, iterations: int, split: bool) -> int:
    """Return how far beyond a pixel the image decides what it belongs to [px]."""
    footprint = footprint_of(cleanup, size)
    wide = max(footprint.radius, *footprint.half)
    specks = SPECK if cleanup is Cleanup.reference else 0
    touching = foregrounds.OBJECT_REACH if split else 0
    return window // 2 + 4 * iterations * wide + WIDEST_HOLE + specks + touching + 2


def check_reach(layer: images.Layer, box: Region, reach: int) -> None:
    """Raise BadData unless the parts at hand show all that decides about a region."""
    seen = seam_files.reading_region(box, reach, 1, layer)
    if seen != box.widen(reach, layer.shape):
        raise BadData(
            f"patches of this size do not show the {reach} px around each that decide about it: "
            f"make patches of at least {reach} px (fewer of them in `patching`)"
        )


def read_thresholds(pattern: str) -> dict[tuple[int, int], float | None]:
    """Return the threshold of each frame and plane that the phase before found."""
    found = {}
    for path in find(pattern, what="thresholds"):
        try:
            rows = json.loads(path.read_text())["thresholds"]
            found |= {(frame, z): value for frame, z, value in rows}
        except (ValueError, LookupError, TypeError) as error:
            raise BadData(f"{path}: not thresholds of segment_logstd_threshold.py") from error
    return found


def main(
    image: cli.Image,
    statistics: cli.Statistics,
    out_label: cli.OutLabel,
    out_objects: seam_files.OutObjects = None,
    thresholds: Annotated[
        str | None,
        cli.Contract("input"),
        typer.Option(help="thresholds of whole frames: a path or glob; needed for patches"),
    ] = None,
    region: cli.RegionText = None,
    halo: cli.Halo = 0,
    channel: cli.Channel = None,
    threshold: Annotated[
        logstd.Method,
        typer.Option(
            help="valley: between the two modes of the frame's histogram of log-std; mode: the "
            "fullest bin + 3 standard deviations of the values up to it (as PyAMA ships)"
        ),
    ] = logstd.Method.valley,
    window_size: Annotated[
        int,
        typer.Option(min=3, max=logstd.WIDEST_WINDOW, help="window of the variance, odd [px]"),
    ] = 3,
    cleanup: Annotated[
        Cleanup,
        typer.Option(
            help="shipped: fill, open, close with a square; reference: close, drop specks, fill, "
            "open with discs, which drops cells narrower than 2 x morph_size x morph_iterations"
        ),
    ] = Cleanup.shipped,
    morph_size: Annotated[
        int,
        typer.Option(
            min=1, max=63, help="width of the square (odd), radius of the reference's disc [px]"
        ),
    ] = 7,
    morph_iterations: Annotated[
        int, typer.Option(min=0, max=20, help="of each opening and closing")
    ] = 3,
    edge: Annotated[
        Edge,
        typer.Option(
            help="outside of the image: background (as scipy: cells lose their rim at the image's "
            "edge), or ignored"
        ),
    ] = Edge.background,
    min_size: Annotated[int, typer.Option(min=0, help="smaller cells are dropped [px]")] = 50,
    max_size: Annotated[
        int, typer.Option(min=0, help="larger cells are dropped [px]; 0: none")
    ] = 10000,
    split: Annotated[
        bool, typer.Option(help="part touching cells where they are narrow (watershed)")
    ] = False,
    split_depth: Annotated[
        float,
        typer.Option(
            min=0, help="with split: smaller parts more [px of distance to the background]"
        ),
    ] = 1.0,
) -> None:
    """Segment cells in phase contrast by the local variation of the intensities (log-std).

    As PyAMA does, but right on bright backgrounds. Holes wider than 128 px stay. A frame of
    one value, or without any cell, has no objects.
    """
    logstd.check_window(window_size)
    reach = reach_of(window_size, cleanup, morph_size, morph_iterations, split)
    layer = images.open_layer(image, kind="image")
    known = read_thresholds(thresholds) if thresholds else None
    check_reach(layer, Region.parse(region, layer.shape), reach)
    ranges = histograms.Ranges.for_layer(statistics, layer)

    def segment(volume, frame, origin):
        if known is None and volume.shape != layer.shape[1:]:
            raise UsageError("a part of a frame needs --thresholds of the whole frame")
        found, last = [], 0
        for z, plane in enumerate(volume):
            spread = logstd.spread(logstd.sixteen_bits(plane, *ranges.of(frame)), window_size)
            if known is None:
                level = logstd.threshold_of(spread, window_size, threshold)
            else:
                level = known[frame, origin[0] + z]
            if level is None:
                found.append(np.zeros(plane.shape, np.uint32))
                continue
            textured = spread > logstd.spread_of(level, window_size)
            mask = clean(
                textured, cleanup=cleanup, size=morph_size, iterations=morph_iterations, edge=edge
            )
            place = (origin[0] + z, *origin[1:])
            cells = objects_of(
                mask, place, min_size=min_size, max_size=max_size, split=split,
                split_depth=split_depth,
            )  # fmt: skip
            if mask.any() and not cells.any():
                explain_nothing(frame, mask, min_size, max_size)
            if last:
                cells[cells > 0] += np.uint32(last)
            last = max(last, int(cells.max(initial=0)))
            found.append(cells)
        labels = found[0][np.newaxis] if len(found) == 1 else np.stack(found)
        return seam_files.Found(labels, in_order=True)

    seam_files.segment_part(
        image,
        out_label,
        segment,
        out_objects=out_objects,
        region=region,
        halo=max(halo, reach),
        channel=channel,
    )


if __name__ == "__main__":
    cli.run(main)
