#!/usr/bin/env python3
"""BleachCorrection, first phase: the brightness of every frame, from the histograms alone."""

from enum import StrEnum
from typing import Annotated

import numpy as np
import typer

from cytoloom import cli, images, tables
from cytoloom import statistics as histograms
from cytoloom.bleaching import factors, fit_decay, frame_means, matched
from cytoloom.errors import UsageError


class Method(StrEnum):
    """How frames are brought to the brightness of the reference."""

    exponential = "exponential"
    ratio = "ratio"
    histogram = "histogram"


def curves(stack, frames, method, reference, background):
    """Return columns of the table of bleaching: means before, fitted and after, and factors."""
    means = frame_means(stack, frames)
    decay = fit_decay(means - background) if method is Method.exponential else None
    columns = {"frame": np.arange(frames, dtype=np.int32), "mean_before": means}
    if method is Method.histogram:
        after = np.full(frames, np.nan)
        target = stack.histogram([reference]) if np.isfinite(means[reference]) else None
        for frame in np.flatnonzero(np.isfinite(means)):
            value, count = stack.histogram([frame])
            value = matched(count, *target) if target else value
            after[frame] = value @ count / count.sum()
        return columns | {"mean_after": after}
    gain = factors(means - background, reference, decay)
    columns |= {"factor": gain, "mean_after": (means - background) * gain + background}
    if decay is not None:
        columns["mean_fitted"] = decay.at(np.arange(frames)) + background
        columns["rate_per_frame"] = np.full(frames, decay.rate)
    return columns


def main(
    image: cli.Image,
    statistics: cli.Statistics,
    out_bleaching: cli.OutTable,
    method: Annotated[
        Method,
        typer.Option(
            help="exponential: a fitted decay to a rest; ratio: the means themselves; "
            "histogram: values of equal quantile"
        ),
    ] = Method.exponential,
    reference: Annotated[
        int, typer.Option(min=0, help="frame that all others are brought to, from 0")
    ] = 0,
    background: Annotated[
        float,
        typer.Option(
            min=0,
            help="what does not bleach, as the camera's offset; not for histogram [counts]",
        ),
    ] = 0.0,
) -> None:
    """Fit how the intensity falls over time, from the histograms of all frames."""
    layer = images.open_layer(image, kind="image")
    frames, stack = layer.shape[0], histograms.read(statistics)
    if reference >= frames:
        raise UsageError(f"reference: frame {reference} of {frames} frames (from 0)")
    columns = curves(stack, frames, method, reference, background)
    if method is Method.exponential and frames > 1 and not columns["rate_per_frame"][0]:
        cli.log.warning("%s: the intensity does not fall: nothing is corrected", layer.channel)
    interval = layer.frame_interval
    if interval is not None:
        columns["time_s"] = columns["frame"] * float(interval)
    columns |= {"position": layer.position, "method": method.value}
    table = tables.from_columns(columns, "bleaching", about=tables.describe(layer))
    tables.write_arrow(out_bleaching, table)


if __name__ == "__main__":
    cli.run(main)
