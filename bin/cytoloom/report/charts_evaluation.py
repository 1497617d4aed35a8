"""Charts of scores: over the IoU threshold, per frame, and errors per frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cytoloom.report import charts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Curve = tuple[NDArray[Any], NDArray[Any]]


def over_iou(series: Mapping[str, Curve]) -> Figure:
    """Draw scores over the IoU from which objects match."""
    figure, axes = charts.new()
    for number, (name, (threshold, value)) in enumerate(series.items()):
        axes.plot(
            threshold, value, color=charts.colour(number), marker="o", markersize=3, linewidth=1.6,
            linestyle=charts.DASHES[number % 4], label=charts.short(name),
        )  # fmt: skip
    axes.set_xlabel("IoU from which objects match")
    axes.set_ylabel("score")
    axes.set_ylim(0, 1.02)
    charts.legend(axes)
    return figure


def per_frame(series: Mapping[str, Curve], *, interval: float | None, ylabel: str) -> Figure:
    """Draw scores of single frames; frames without a value are gaps, single ones are dots."""
    frames = max((int(f.max()) + 1 for f, _ in series.values() if len(f)), default=1)
    scale, xlabel = charts.time_axis(frames, interval)
    figure, axes = charts.new()
    for number, (name, (frame, value)) in enumerate(series.items()):
        known = np.isfinite(value)
        alone = known.sum() < 3 or (np.diff(frame[known]) > 1).all()
        axes.plot(
            frame * scale, value, color=charts.colour(number), linewidth=1.6,
            linestyle="none" if alone else charts.DASHES[number % 4],
            marker="o" if alone else None, markersize=4, label=charts.short(name),
        )  # fmt: skip
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    every = np.concatenate([v[np.isfinite(v)] for _, v in series.values()])
    if ylabel == "score":
        axes.set_ylim(max(0.0, float(every.min(initial=1)) - 0.05), 1.02)
    else:
        axes.set_ylim(bottom=0)
        axes.yaxis.get_major_locator().set_params(integer=True)
    charts.legend(axes)
    return figure


def errors(series: Mapping[str, Curve], *, interval: float | None) -> Figure:
    """Draw the number of errors in each frame as stacked bars, one colour per kind of error."""
    frames = max(int(f.max()) + 1 for f, _ in series.values())
    scale, xlabel = charts.time_axis(frames, interval)
    figure, axes = charts.new()
    below = np.zeros(frames)
    for number, (name, (frame, value)) in enumerate(series.items()):
        height = np.zeros(frames)
        height[frame.astype(int)] = np.nan_to_num(value)
        axes.bar(
            np.arange(frames) * scale, height, width=0.9 * scale, bottom=below,
            color=charts.colour(number), label=name,
        )  # fmt: skip
        below += height
    axes.set_xlabel(xlabel)
    axes.set_ylabel("errors in frame")
    axes.set_ylim(0, max(1.0, 1.05 * below.max()))
    axes.yaxis.get_major_locator().set_params(integer=True)
    charts.legend(axes)
    return figure
