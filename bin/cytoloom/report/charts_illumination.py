"""Charts of illumination: a map of a field, and intensity over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cytoloom.report import charts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LARGEST = 200  # px of a map


def field(values: NDArray[Any], name: str) -> Figure:
    """Draw a map (y, x) with its colour bar; axes are pixels of the image."""
    height, width = values.shape
    thin = -(-max(height, width) // LARGEST)
    figure, axes = charts.new(height=3.1)
    figure.set_layout_engine("compressed")  # of axes with a fixed aspect: no label is cut
    axes.grid(visible=False)
    shown = axes.imshow(
        values[::thin, ::thin], cmap="viridis", interpolation="nearest",
        extent=(0, width, height, 0), aspect="equal",
    )  # fmt: skip
    axes.set_xlabel("x (px)")
    axes.set_ylabel("y (px)")
    bar = figure.colorbar(shown, ax=axes, fraction=0.046, pad=0.03)
    bar.set_label(name)
    bar.outline.set_visible(False)
    return figure


def bleaching(
    before: NDArray[Any], fitted: NDArray[Any], after: NDArray[Any], *,
    interval: float | None, number: int,
) -> Figure:  # fmt: skip
    """Draw the mean intensity of every frame before and after the correction."""
    scale, xlabel = charts.time_axis(len(before), interval)
    times = np.arange(len(before)) * scale
    figure, axes = charts.new()
    marker = "o" if len(before) < 3 else None
    axes.plot(times, before, color=charts.MUTED, linewidth=1.6, label="before", marker=marker)
    if np.isfinite(fitted).any():
        axes.plot(times, fitted, color="#222222", linewidth=1.1, linestyle=":", label="fit")
    axes.plot(
        times, after, color=charts.colour(number), linewidth=1.6, linestyle="--", label="after",
        marker=marker,
    )  # fmt: skip
    axes.set_xlabel(xlabel)
    axes.set_ylabel("mean intensity (counts)")
    axes.set_ylim(bottom=0)
    charts.legend(axes)
    return figure
