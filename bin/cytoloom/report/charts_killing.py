"""Charts of contacts and killing: timelines, survival, killers, cell death index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cytoloom.report import charts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROWS_SHOWN = 30
KILLERS_SHOWN = 20
TRACES_SHOWN = 150
# How a target died: words, marker, colour.
CLASSES = {
    "single": ("killed by one effector", "X", "#D55E00"),
    "multi": ("killed by several", "P", "#CC79A7"),
    "after_contact": ("died after contact", "s", "#E69F00"),
    "spontaneous": ("died without contact", "o", "#222222"),
    "at_start": ("dead at the start", "D", "#888888"),
}


def contact_timeline(
    pairs: Sequence[str], bars: Sequence[Sequence[tuple[float, float]]], *, xlabel: str
) -> Figure:
    """Draw one row per effector-target pair, with a bar for each contact (start, length)."""
    figure, axes = charts.new(height=max(1.6, 0.8 + 0.16 * len(pairs)))
    for row, spans in enumerate(bars):
        axes.broken_barh(list(spans), (row - 0.38, 0.76), facecolors=charts.COLOURS[1])
    axes.set_yticks(range(len(pairs)), pairs, fontsize=7)
    axes.set_ylim(len(pairs) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(xlabel)
    axes.set_ylabel("effector → target (tracks)")
    return figure


def survival(
    curves: Sequence[tuple[str, NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]],
    *,
    xlabel: str,
) -> Figure:
    """Draw survival curves (name, time, survival, lower95, upper95) with their bands."""
    figure, axes = charts.new()
    for number, (name, time, alive, lower, upper) in enumerate(curves):
        ink = charts.colour((0, 1, 2)[number % 3])
        axes.fill_between(time, lower, upper, step="post", color=ink, alpha=0.13, linewidth=0)
        axes.step(time, alive, where="post", color=ink, linewidth=1.8, label=name,
                  linestyle=charts.DASHES[number % 4])  # fmt: skip
    axes.set_ylim(0, 1.02)
    axes.set_xlim(left=0)
    axes.set_xlabel(xlabel)
    axes.set_ylabel("share of targets alive")
    charts.legend(axes)
    return figure


def death_timeline(
    rows: Sequence[tuple[str, float, float, float, str, Sequence[tuple[float, float]]]],
    *,
    xlabel: str,
) -> Figure:
    """Draw the life of each target.

    Parameters
    ----------
    rows
        (name, first seen, last seen, death or NaN, class, contacts as (start, length)).
    """
    figure, axes = charts.new(height=max(1.9, 1.1 + 0.16 * len(rows)))
    seen: set[str] = set()
    for row, (_, first, last, death, how, contacts) in enumerate(rows):
        end = death if np.isfinite(death) else last
        axes.broken_barh([(first, end - first)], (row - 0.3, 0.6), facecolors="#7fb8d9")
        if end < last:
            axes.broken_barh([(end, last - end)], (row - 0.3, 0.6), facecolors="#cfd3da")
        axes.broken_barh(list(contacts), (row - 0.09, 0.18), facecolors="#7a3d00")
        if np.isfinite(death) and how in CLASSES:
            words, marker, ink = CLASSES[how]
            axes.plot([death], [row], marker=marker, color=ink, markersize=6, linestyle="",
                      markeredgecolor="white", markeredgewidth=0.6,
                      label=None if how in seen else words)  # fmt: skip
            seen.add(how)
    axes.set_yticks(range(len(rows)), [row[0] for row in rows], fontsize=7)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(xlabel)
    axes.set_ylabel("target (track)")
    charts.legend(axes)
    return figure


def killers(rows: Sequence[tuple[str, int, float, int]]) -> Figure:
    """Draw the effectors that killed: (name, kills, credit, targets touched)."""
    figure, axes = charts.new(height=max(1.5, 0.8 + 0.24 * len(rows)))
    places = np.arange(len(rows))
    axes.barh(places, [credit for _, _, credit, _ in rows], color=charts.COLOURS[1], height=0.7)
    for place, (_, kills, credit, touched) in enumerate(rows):
        axes.annotate(
            f"killed {kills} of {touched} touched", (credit, place), (4, 0),
            textcoords="offset points", va="center", fontsize=8, color=charts.MUTED,
        )  # fmt: skip
    axes.set_yticks(places, [row[0] for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, max(credit for _, _, credit, _ in rows) * 1.9)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("kills (shared by all effectors in contact)")
    axes.set_ylabel("effector (track)")
    return figure


def death_index(
    traces: Mapping[int, tuple[NDArray[Any], NDArray[Any]]],
    died: set[int],
    *,
    threshold: float | None,
    xlabel: str,
) -> Figure:
    """Draw the smoothed cell death index of each target over time."""
    figure, axes = charts.new()
    named: set[bool] = set()
    for track, (time, index) in traces.items():
        dead = track in died
        axes.plot(
            time, index, color=charts.COLOURS[1 if dead else 0], linewidth=1.0,
            alpha=0.8 if len(traces) < 40 else 0.4, linestyle="-" if dead else "--",
            label=None if dead in named else ("died" if dead else "alive when last seen"),
        )  # fmt: skip
        named.add(dead)
    if threshold is not None:
        axes.axhline(threshold, color="#444444", linewidth=1, linestyle=(0, (1, 2)),
                     label=f"threshold {threshold:g}")  # fmt: skip
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel(xlabel)
    axes.set_ylabel("cell death index (smoothed)")
    charts.legend(axes)
    return figure
