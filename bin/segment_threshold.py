#!/usr/bin/env python3
"""Threshold: nuclei and cells by smoothing, a global and a local threshold, and a watershed.

A pixel is foreground where the smoothed image is above the global threshold of its
frame and above the smoothed mean of its surroundings. The global threshold comes from
the histogram of the whole raw frame, so it is the same in every patch; everything else
looks only at a window around each pixel. Touching objects are parted by a watershed on
the distance to the background. Distances are whole numbers with a tie-break from the
pixel's place in the frame, so the flooding does not depend on where a patch begins.
"""

from enum import StrEnum
from typing import Annotated

import numpy as np
import typer

from cytoloom import cli, foregrounds, seam_files
from cytoloom import statistics as histograms
from cytoloom.pixels import numbers

TRUNCATE = 2.5  # reach of the surroundings, in their standard deviations


class Method(StrEnum):
    """How the global threshold is chosen."""

    mixed = "mixed"
    otsu = "otsu"
    log_otsu = "log_otsu"
    none = "none"


def global_threshold(values, counts, method):
    """Return the global threshold of a frame from its histogram.

    Parameters
    ----------
    values, counts : ndarray, shape (n,)
        Distinct intensities, ascending, and how often each occurs.
    method : Method
        ``otsu``: on intensities. ``log_otsu``: on log(1 + I - min), which finds dim objects
        beside bright ones. ``mixed``: 0.3 otsu + 0.7 log_otsu. ``none``: only the local one.

    Returns
    -------
    float
        Pixels above it are foreground.

    References
    ----------
    Otsu, N. (1979). A threshold selection method from gray-level histograms.
    IEEE Trans. Syst. Man Cybern. 9, 62-66.
    """
    if method == Method.none or values.size < 2:
        return float(values[0])
    linear = _otsu(values, values, counts)
    if method == Method.otsu:
        return linear
    logarithmic = _otsu(values, np.log1p(values - values[0]), counts)
    if method == Method.log_otsu:
        return logarithmic
    return 0.3 * linear + 0.7 * logarithmic


def _otsu(values, scale, counts):
    weight = counts.astype(np.float64)
    below = np.cumsum(weight)[:-1]
    above = weight.sum() - below
    total = np.cumsum(weight * scale)
    between = below * above * (total[:-1] / below - (total[-1] - total[:-1]) / above) ** 2
    return float(values[int(np.argmax(between))])


def segment_frame(
    image,
    threshold,
    *,
    origin=(0, 0, 0),
    smoothing=1.0,
    local_window=15.0,
    local_ratio=1.0,
    split_depth=0.5,
    min_size=40,
    max_size=0,
    fill_holes=True,
):
    """Segment one frame, or a piece of one.

    Parameters
    ----------
    image : ndarray, shape (z, y, x)
        Intensities.
    threshold : float
        Global threshold of the whole frame.
    origin : tuple of int
        Place of the piece in the frame, for ties.
    smoothing, local_window : float
        Standard deviations of the two Gaussians [px]; a window of 0 leaves the local rule out.
    local_ratio : float
        Foreground is above ``local_ratio`` times the mean of the surroundings.
    split_depth : float
        Depth of the saddle between two objects in the distance map [px].
    min_size, max_size : int
        Objects outside are dropped [px]; 0 for no upper limit.

    Returns
    -------
    ndarray, shape (z, y, x), int32

    References
    ----------
    Vincent, L. and Soille, P. (1991). Watersheds in digital spaces. IEEE Trans. Pattern
    Anal. Mach. Intell. 13, 583-598.
    """
    pixels = image.astype(np.float64)
    smooth = foregrounds.gaussian(pixels, smoothing, 4.0)
    foreground = smooth > threshold
    if local_window:
        foreground &= smooth > local_ratio * foregrounds.gaussian(pixels, local_window, TRUNCATE)
    return foregrounds.objects_of(
        foreground, origin, split_depth=split_depth, min_size=min_size, max_size=max_size,
        fill_holes=fill_holes,
    )  # fmt: skip


def main(
    image: cli.Image,
    statistics: cli.Statistics,
    out_label: cli.OutLabel,
    out_objects: seam_files.OutObjects = None,
    region: cli.RegionText = None,
    halo: cli.Halo = 0,
    channel: cli.Channel = None,
    method: Annotated[
        Method, typer.Option(help="global threshold of each frame, from its whole histogram")
    ] = Method.mixed,
    threshold: Annotated[
        float | None, typer.Option(help="a fixed global threshold instead [intensity]")
    ] = None,
    factor: Annotated[float, typer.Option(min=0, help="times the global threshold")] = 1.0,
    smoothing: Annotated[
        float, typer.Option(min=0, max=10, help="Gaussian before the thresholds, sigma [px]")
    ] = 1.0,
    local_window: Annotated[
        float,
        typer.Option(
            min=0, max=100, help="surroundings of the local threshold, sigma [px]; 0: none"
        ),
    ] = 15.0,
    local_ratio: Annotated[
        float, typer.Option(min=0, help="local threshold: times the mean of the surroundings")
    ] = 1.0,
    split_depth: Annotated[
        float,
        typer.Option(
            min=0, help="smaller splits touching objects more [px of distance to background]"
        ),
    ] = 0.5,
    min_size: Annotated[int, typer.Option(min=0, help="smaller objects are dropped [px]")] = 40,
    max_size: Annotated[
        int, typer.Option(min=0, help="larger objects are dropped [px]; 0: none")
    ] = 0,
    fill_holes: Annotated[
        bool, typer.Option(help="fill holes of objects, up to 32 px wide")
    ] = True,
) -> None:
    """Segment nuclei or cells without a model: two thresholds and a watershed.

    Foreground is brighter than a threshold of the whole frame and than its surroundings;
    touching objects are parted where they are narrow. A constant image has no objects.
    """
    known = histograms.read(statistics)

    def segment(plane, frame, origin):
        values, counts = known.histogram([frame])
        level = threshold if threshold is not None else global_threshold(values, counts, method)
        if values.size < 2 and threshold is None:
            return np.zeros(plane.shape, np.uint32)
        return segment_frame(
            numbers(plane, values[0], values[-1]),
            level * factor,
            origin=origin,
            smoothing=smoothing,
            local_window=local_window,
            local_ratio=local_ratio,
            split_depth=split_depth,
            min_size=min_size,
            max_size=max_size,
            fill_holes=fill_holes,
        )

    reach = int(4 * smoothing + TRUNCATE * local_window) + foregrounds.OBJECT_REACH
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
