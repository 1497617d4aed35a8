"""How charts look and how they become part of the page.

Charts are SVG made by matplotlib without pyplot, embedded as data, so that their inner
names cannot clash and text stays sharp. Colours are Okabe and Ito's, told apart by
colour-blind readers; series also differ in dash or marker. Times are given in the unit
that suits their range.
"""

from __future__ import annotations

import base64
import io
import math
import warnings
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5195", "#555555")
DASHES = ("-", "--", "-.", ":")
MUTED = "#5b6472"
WIDTH = 3.94  # inches: three charts beside each other on the page
STYLE: Any = {
    "font.size": 9,
    "font.family": ["sans-serif"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.labelsize": 9,
    "axes.titlesize": 10,
    "axes.grid": True,
    "grid.color": "#e4e7ec",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.fonttype": "none",
    "text.parse_math": False,
    "figure.constrained_layout.use": True,
}


def colour(number: int) -> str:
    """Return the colour of the n-th series."""
    return COLOURS[number % len(COLOURS)]


def new(width: float = WIDTH, height: float = 2.75) -> tuple[Figure, Any]:
    """Return an empty figure (inches) and its axes."""
    from matplotlib import rcParams
    from matplotlib.figure import Figure

    rcParams.update(STYLE)  # for good: text and legends made later read it too
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def to_svg(figure: Figure) -> bytes:
    """Return a figure as SVG."""
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # signs that matplotlib's font lacks
        figure.savefig(out, format="svg", metadata={"Date": None}, dpi=120)
    return out.getvalue()


def to_img(figure: Figure, alt: str) -> str:
    """Return a figure as an ``img`` element with a text for those who cannot see it."""
    data = base64.b64encode(to_svg(figure)).decode()
    words = escape(alt, quote=True)
    width = round(figure.get_figwidth() * 96)
    return (
        f'<img class="chart" width="{width}" src="data:image/svg+xml;base64,{data}" alt="{words}">'
    )


def time_unit(longest_s: float | None) -> tuple[float, str]:
    """Return seconds per unit and the unit that suits times up to ``longest_s``."""
    if longest_s is None or not math.isfinite(longest_s) or longest_s <= 180:
        return 1.0, "s"
    if longest_s <= 6 * 3600:
        return 60.0, "min"
    return 3600.0, "h"


def time_axis(frames: int, interval: float | None) -> tuple[float, str]:
    """Return the length of a frame in the unit of an axis, and the axis' name."""
    if not interval:
        return 1.0, "frame"
    seconds, unit = time_unit(frames * interval)
    return interval / seconds, f"time ({unit})"


def stamp(frame: int, interval: float | None, frames: int) -> str:
    """Return frame and time in words."""
    if not interval:
        return f"frame {frame}"
    seconds, unit = time_unit(frames * interval)
    return f"frame {frame} · {frame * interval / seconds:.4g} {unit}"


def legend(axes: Axes) -> None:
    """Put a legend above the plot, where it hides nothing, in as many columns as fit."""
    handles, names = axes.get_legend_handles_labels()
    if not names:
        return
    fit = int(235 / (26 + 4.6 * max(map(len, names))))  # points: width of the plot, of a column
    axes.legend(
        handles, names, loc="lower left", bbox_to_anchor=(0, 1.0),
        ncols=min(len(names), max(1, fit)), borderaxespad=0.2, handlelength=1.8,
        handletextpad=0.5, columnspacing=1.0, labelspacing=0.25,
    )  # fmt: skip


def plain_logarithms(axes: Axes) -> None:
    """Make both axes logarithmic with plain numbers at powers of ten."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        low, high = axis.get_view_interval()
        decades = math.log10(high / low) if low > 0 else 9
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(
            FuncFormatter(lambda value, _: f"{value:g}") if decades < 1 else NullFormatter()
        )


def short(name: str, most: int = 22) -> str:
    """Return a name, cut in the middle where it is too long for a legend."""
    return name if len(name) <= most else f"{name[: most - 9]}…{name[-8:]}"


def edges_of(values: NDArray[Any], most: int = 40) -> NDArray[np.float64]:
    """Return edges of bins for a histogram, whole numbers for whole numbers."""
    values = values[np.isfinite(values)]
    if not values.size:
        return np.array([0.0, 1.0])
    low, high = float(values.min()), float(values.max())
    if values.dtype.kind in "iu" or np.all(values == np.rint(values)):
        width = max(1, math.ceil((high - low + 1) / most))
        return np.arange(low - 0.5, high + width + 0.5, width)
    if high <= low:
        return np.array([low - 0.5, low + 0.5])
    return np.linspace(low, high, min(most, max(8, round(math.sqrt(values.size)))) + 1)


def histogram(
    series: Sequence[tuple[str, NDArray[Any], int]], *, xlabel: str, ylabel: str, note: str = ""
) -> Figure:
    """Draw histograms as steps, one per series (name, values, number of its colour)."""
    pooled = np.concatenate([values for _, values, _ in series])
    edges = edges_of(pooled)
    figure, axes = new()
    with_fill = len(series) == 1
    for name, values, number in series:
        counts, _ = np.histogram(values[np.isfinite(values)], edges)
        if with_fill:
            axes.stairs(counts, edges, fill=True, color=colour(number), alpha=0.25)
        axes.stairs(
            counts, edges, color=colour(number), linewidth=1.6,
            linestyle=DASHES[number % len(DASHES)], label=f"{short(name)} (n = {values.size:,})",
        )  # fmt: skip
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.set_ylim(bottom=0)
    axes.yaxis.get_major_locator().set_params(integer=True)
    if np.all(edges[:1] % 1 == 0.5):  # whole numbers
        axes.xaxis.get_major_locator().set_params(integer=True)
        if edges[-1] - edges[0] < 4:
            axes.set_xlim(edges[0] - 2, edges[-1] + 2)
    if note:
        axes.text(0.99, 0.97, note, transform=axes.transAxes, ha="right", va="top", color=MUTED,
                  fontsize=8)  # fmt: skip
    if len(series) > 1:
        legend(axes)
    return figure
