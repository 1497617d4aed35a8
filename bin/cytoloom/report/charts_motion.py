"""Charts of counts and motion: cells per frame, speeds, squared displacement, lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cytoloom.report import charts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TRACKS_SHOWN = 150


def counts_per_frame(
    series: Mapping[str, NDArray[Any]], colours: Mapping[str, int], *, interval: float | None,
    ylabel: str = "cells in frame",
) -> Figure:  # fmt: skip
    """Draw numbers per frame, one line per series; each has a value for every frame."""
    frames = max(map(len, series.values()))
    scale, xlabel = charts.time_axis(frames, interval)
    figure, axes = charts.new()
    marker = "o" if frames < 3 else None
    for name, counts in series.items():
        number = colours.get(name, 0)
        axes.plot(
            np.arange(len(counts)) * scale, counts, color=charts.colour(number), linewidth=1.6,
            linestyle=charts.DASHES[number % 4], label=charts.short(name), marker=marker,
        )  # fmt: skip
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.set_ylim(bottom=0)
    axes.yaxis.get_major_locator().set_params(integer=True)
    if len(series) > 1:
        charts.legend(axes)
    return figure


def speed_unit(typical: float) -> tuple[float, str]:
    """Return the factor and unit that show a speed in um/s by a number that is easy to read."""
    for factor, unit in ((1.0, "s"), (60.0, "min")):
        if typical * factor >= 0.1:
            return factor, f"µm/{unit}"
    return 3600.0, "µm/h"


def speeds(series: Mapping[str, NDArray[Any]], colours: Mapping[str, int]) -> Figure:
    """Draw the distribution of speeds (um/s); the uppermost half per cent is cut off."""
    finite = {name: v[np.isfinite(v)] for name, v in series.items()}
    pooled = np.concatenate(list(finite.values()))
    factor, unit = speed_unit(float(np.median(pooled[pooled > 0])) if (pooled > 0).any() else 0)
    top = float(np.percentile(pooled, 99.5))
    cut = int((pooled > top).sum())
    return charts.histogram(
        [(name, v[v <= top] * factor, colours.get(name, 0)) for name, v in finite.items()],
        xlabel=f"speed ({unit})",
        ylabel="steps of tracks",
        note=f"{cut:,} faster steps not shown" if cut else "",
    )


def lengths(series: Mapping[str, NDArray[Any]], colours: Mapping[str, int]) -> Figure:
    """Draw the distribution of the lengths of tracks in frames."""
    return charts.histogram(
        [(name, values, colours.get(name, 0)) for name, values in series.items()],
        xlabel="length of track (frames)",
        ylabel="tracks",
    )


def squared_displacement(
    single: Sequence[tuple[str, NDArray[Any], NDArray[Any]]],
    together: Sequence[tuple[str, NDArray[Any], NDArray[Any]]],
    colours: Mapping[str, int],
) -> Figure:
    """Draw mean squared displacement against lag, both logarithmic.

    Parameters
    ----------
    single, together
        (channel, lag in s, squared displacement in um2) per track, and per channel and
        position over all tracks.
    """
    longest = max(float(lag.max()) for _, lag, _ in together)
    seconds, unit = charts.time_unit(longest)
    figure, axes = charts.new()
    for name, lag, value in single:
        good = value > 0
        axes.plot(lag[good] / seconds, value[good], color=charts.colour(colours.get(name, 0)),
                  linewidth=0.5, alpha=0.22)  # fmt: skip
    named: set[str] = set()
    for name, lag, value in together:
        good, number = value > 0, colours.get(name, 0)
        axes.plot(
            lag[good] / seconds, value[good], color=charts.colour(number), linewidth=2.2,
            linestyle=charts.DASHES[number % 4], marker="o" if good.sum() == 1 else None,
            label=None if name in named else charts.short(name),
        )  # fmt: skip
        named.add(name)
    _slope_one(axes, together[0], seconds)
    charts.plain_logarithms(axes)
    axes.set_xlabel(f"lag ({unit})")
    axes.set_ylabel("mean squared displacement (µm²)")
    charts.legend(axes)
    return figure


def _slope_one(axes: Any, series: tuple[str, NDArray[Any], NDArray[Any]], seconds: float) -> None:
    """Draw a line of slope 1, which free diffusion follows."""
    _, lag, value = series
    good = value > 0
    if good.sum() < 2:
        return
    x = lag[good][[0, -1]] / seconds
    axes.plot(x, value[good][0] * x / x[0], color="#444444", linewidth=1, linestyle=(0, (1, 2)),
              label="slope 1 (diffusion)")  # fmt: skip
