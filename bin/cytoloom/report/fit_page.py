"""A page of all fits: one HTML file without anything from outside, for thousands of cells.

Traces and fitted curves are kept as bytes between a cell's least and greatest value; the
browser draws only those that are in view.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytoloom import __version__
from cytoloom.report import charts, page

MISSING = 255
LEVELS = 254
MOST_POINTS = 240  # of a curve in the page

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Shown:
    """The fits of one trace column: rows are cells."""

    trace: str
    times: Floats
    data: Floats
    curves: Floats
    about: Sequence[Mapping[str, Any]]  # sample, position, cell, r_squared, quality
    parameters: Sequence[str]
    values: Floats


def packed(data: Floats, curve: Floats) -> tuple[str, str, float, float]:
    """Return trace and curve as bytes (base64), and the values of bytes 0 and 254."""
    both = np.concatenate([data[np.isfinite(data)], curve[np.isfinite(curve)]])
    low, high = (float(both.min()), float(both.max())) if both.size else (0.0, 1.0)
    span = high - low or 1.0
    texts = []
    for values in (data, curve):
        known = np.isfinite(values)
        level = np.rint(np.where(known, values - low, 0) / span * LEVELS)
        code = np.where(known, level, MISSING).astype(np.uint8)
        texts.append(base64.b64encode(code.tobytes()).decode())
    return texts[0], texts[1], low, high


def content(shown: Sequence[Shown]) -> dict[str, Any]:
    """Return what the page's script draws from."""
    groups = []
    for one in shown:
        step = max(1, -(-one.times.size // MOST_POINTS))
        cells = []
        for row, about in enumerate(one.about):
            data, curve, low, high = packed(one.data[row, ::step], one.curves[row, ::step])
            values = [None if not np.isfinite(v) else float(f"{v:.4g}") for v in one.values[row]]
            cells.append({**about, "d": data, "c": curve, "a": low, "b": high, "p": values})
        groups.append(
            {
                "trace": one.trace,
                "times": [round(float(t), 4) for t in one.times[::step]],
                "parameters": list(one.parameters),
                "cells": cells,
            }
        )
    return {"groups": groups}


def histograms(shown: Sequence[Shown], samples: Sequence[str]) -> list[page.Picture]:
    """Return a histogram of each parameter of each trace, a line for each sample."""
    pictures: list[page.Picture] = []
    for one in shown:
        for column, name in enumerate(one.parameters):
            draw = partial(_histogram, one, column, name, samples)
            pictures += page.attempt(f"{name} of {one.trace}", draw)
    return pictures


def _histogram(one: Shown, column: int, name: str, samples: Sequence[str]) -> page.Picture | None:
    owner = np.array([about["sample"] for about in one.about])
    values = one.values[:, column]
    known = np.isfinite(values)
    if not known.any():
        return None
    low, high = np.percentile(values[known], [0.5, 99.5])
    wide = low > 0 and high > 50 * low
    edges = (np.geomspace if wide else np.linspace)(
        low, high if high > low else low + 1, int(np.clip(np.sqrt(known.sum()) * 2, 8, 40)) + 1
    )
    figure, axes = charts.new()
    words = []
    for number, sample in enumerate(samples):
        mine = values[known & (owner == sample)]
        if not mine.size:
            continue
        count, _ = np.histogram(mine, edges)
        axes.stairs(
            count / mine.size, edges, color=charts.colour(number), label=sample,
            linestyle=charts.DASHES[number // len(charts.COLOURS) % len(charts.DASHES)],
        )  # fmt: skip
        words.append(f"{sample}: median {np.median(mine):.4g} of {mine.size:,}")
    if wide:
        axes.set_xscale("log")
    axes.set_xlabel(name)
    axes.set_ylabel("share of cells")
    if len(samples) <= len(charts.COLOURS):
        charts.legend(axes)
    caption = f"{name}, {one.trace}. {'; '.join(words[:8])}"
    return page.Picture(charts.to_img(figure, caption), caption)


def render(title: str, model: str, shown: Sequence[Shown], notes: Sequence[str]) -> str:
    """Return the page."""
    samples = list(dict.fromkeys(about["sample"] for one in shown for about in one.about))
    data = json.dumps(content(shown), separators=(",", ":")).replace("<", "\\u003c")
    return page.render(
        "fits.html.j2",
        title=title,
        model=model,
        version=__version__,
        notes=notes,
        pictures=histograms(shown, samples),
        samples=samples,
        traces=[one.trace for one in shown],
        data=data,
    )
