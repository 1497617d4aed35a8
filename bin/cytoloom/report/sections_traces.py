"""Traces: what each filter left, example traces, background maps, and how well models fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cytoloom.report import charts, charts_illumination, example_cells
from cytoloom.report.inputs import Inputs, Table
from cytoloom.report.page import Block, Picture, Section, attempt
from cytoloom.report.page import Table as PageTable
from cytoloom.report.sections_positions import Place, place_of
from cytoloom.report.stores import Multiscale
from cytoloom.traces import features_of, split_column

if TYPE_CHECKING:
    from matplotlib.figure import Figure

POSITIONS = 8  # with charts of their own
CELLS = 12  # in a chart of traces
FRAMES = 3  # background maps of a position


def make(inputs: Inputs) -> Section | None:
    """Return the section of traces; None where no step extracted any."""
    places = [place_of(inputs, about) for about in inputs.run["positions"]]
    tables = {slug: list(inputs.of("traces", position=slug)) for slug in (p.slug for p in places)}
    if not any(tables.values()):
        return None
    blocks = [_losses(inputs, {p.slug: p.name for p in places})]
    for place in places[:POSITIONS]:
        block = Block(place.name)
        for table in tables[place.slug]:
            for name in _shown_columns(table):
                draw = partial(_traces, table, name)
                block.pictures += attempt(f"the traces {name}", draw)
        block.pictures += [p for c in _backgrounds(place) for p in c]
        for table in tables[place.slug]:
            block.pictures += _examples(inputs, place, table)
        if not block.pictures:
            block.notes.append("No cell is left: the table above says which filter took them.")
        blocks.append(block)
    if len(places) > POSITIONS:
        blocks[0].notes.append(f"The first {POSITIONS} of {len(places)} positions have charts.")
    blocks += _fits(inputs)
    for table in inputs.of("samples"):
        inputs.problems += [f"{table.tag}: {text}" for text in table.about.get("odd", ())]
    return Section("traces", "Traces", blocks)


def _losses(inputs: Inputs, names: Mapping[str, str]) -> Block:
    """Return the table of cells that each filter left, a row for each position."""
    block = Block("Filters")
    found: dict[str, list[list[str]]] = {}
    heads: dict[str, list[str]] = {}
    for table, columns in inputs.columns("trace_filters", "step", "cells", "rows"):
        steps = [str(step) for step in columns["step"]]
        cells = [f"{int(n):,}" for n in columns["cells"]]
        heads.setdefault(table.tag, steps)
        row = [names.get(table.position, table.position), *cells, f"{int(columns['rows'][-1]):,}"]
        found.setdefault(table.tag, []).append(row)
    for tag, rows in found.items():
        head = ["position", *heads[tag], "rows left"]
        block.tables.append(PageTable(head, rows, f"Cells that are left after each filter ({tag})"))
    return block


def _shown_columns(table: Table) -> list[str]:
    """Return the columns to draw: total intensities, else whatever is first."""
    names = features_of(table.schema.names)
    totals = [name for name in names if split_column(name)[0] == "intensity_total"]
    return totals[:3] or names[:1]


def _traces(table: Table, column: str) -> Picture | None:
    columns = table.read("cell", "time_h", "good", column)
    cell, time = columns["cell"].astype(np.int64), columns["time_h"].astype(float)
    value, good = columns[column].astype(float), columns["good"].astype(bool)
    numbers = np.unique(cell[good])
    if not numbers.size:
        return None
    chosen = example_cells.chosen(numbers, CELLS)
    figure = _trace_chart(column, cell, time, value, good, chosen)
    words = f"{column}: {chosen.size} of {numbers.size:,} cells; black: median of all"
    return Picture(charts.to_img(figure, f"Example traces. {words}"), words)


def _examples(inputs: Inputs, place: Place, table: Table) -> list[Picture]:
    """Return example cells on a frame of the movie, and over time beside their traces."""
    columns = _shown_columns(table)
    if place.store is None or not columns:
        return []
    channel = str(table.about.get("channel") or table.channel)
    names = example_cells.channel_names([str(n) for n in inputs.run.get("channels", [])])
    cells = cache(partial(example_cells.read_cells, table, columns[0]))
    return [
        *attempt(
            f"the example cells of {place.name}",
            lambda: example_cells.overview(place, channel, cells()),
        ),
        *attempt(
            f"the example cells of {place.name} over time",
            lambda: example_cells.over_time(place, columns[0], cells(), names, channel),
        ),
    ]


def _trace_chart(
    column: str, cell: NDArray[Any], time: NDArray[Any], value: NDArray[Any], good: NDArray[Any],
    chosen: NDArray[Any],
) -> Figure:  # fmt: skip
    figure, axes = charts.new()
    for number, one in enumerate(chosen):
        mine = good & (cell == one)
        order = np.argsort(time[mine])
        axes.plot(
            time[mine][order], value[mine][order], linewidth=0.9, alpha=0.7,
            color=charts.colour(number), linestyle=charts.DASHES[number // 8 % 4],
        )  # fmt: skip
    times = np.unique(time[good])
    at = np.searchsorted(times, time[good])
    order = np.argsort(at, kind="stable")
    groups = np.split(value[good][order], np.flatnonzero(np.diff(at[order])) + 1)
    middle = [float(np.nanmedian(g)) if np.isfinite(g).any() else np.nan for g in groups]
    axes.plot(times, middle, color="#222222", linewidth=2)
    axes.set_xlabel("time (h)")
    axes.set_ylabel(charts.short(column, 30))
    return figure


def _backgrounds(place: Any) -> list[list[Picture]]:
    """Return maps of the backgrounds of a position: its middle frame."""
    if place.store is None:
        return []
    found = []
    for path in (place.store.path, *sorted(place.store.path.glob("image_*"))):
        if not (path / "zarr.json").is_file():
            continue
        image = Multiscale(path)
        for index, name in enumerate(image.channels):
            if "(SplineBackground" in name:
                draw = partial(_map, image, index, name, place.frames // 2)
                found.append(attempt(f"the background {name}", draw))
    return found


def _map(image: Multiscale, index: int, name: str, frame: int) -> Picture:
    plane, _ = image.frame(frame, index)
    low, high = float(plane.min()), float(plane.max())
    words = (
        f"Background of {name.partition(' (')[0]}, frame {frame}: {low:.4g} to {high:.4g} counts"
    )
    figure = charts_illumination.field(plane.astype(np.float64), "background (counts)")
    return Picture(charts.to_img(figure, words), words)


def _fits(inputs: Inputs) -> list[Block]:
    """Return how well models fit, by sample and trace."""
    names = ("sample", "trace", "quality", "r_squared", "model_type", "aic")
    blocks = []
    for table, columns in inputs.columns("fits", *names):
        free = [n.removesuffix("_lower95") for n in table.schema.names if n.endswith("_lower95")]
        values = table.read(*free)
        rows = [
            _fit_row(columns, values, free, sample, trace)
            for sample, trace in dict.fromkeys(
                zip(columns["sample"], columns["trace"], strict=True)
            )
        ]
        head = ["sample", "trace", "cells", "good", "fair", "poor", "median R²", *free]
        model = columns["model_type"][0] if rows else "no trace"
        caption = "Parameters: medians of the fits that are good or fair"
        note = f"Every fit can be seen in fits/{table.tag}/fits.html."
        block = Block(f"Fits ({table.tag}): {model}", notes=[note])
        block.tables.append(PageTable(head, rows, caption))
        blocks.append(block)
    return blocks


def _fit_row(
    columns: Mapping[str, Any], values: Mapping[str, Any], free: Sequence[str], sample: str,
    trace: str,
) -> list[str]:  # fmt: skip
    mine = (columns["sample"] == sample) & (columns["trace"] == trace)
    quality = columns["quality"][mine]
    useful = quality != "poor"
    counts = [f"{int((quality == name).sum()):,}" for name in ("good", "fair", "poor")]
    middles = []
    for name in free:
        known = values[name].astype(float)[mine][useful]
        known = known[np.isfinite(known)]
        middles.append(f"{np.median(known):.4g}" if known.size else "none")
    r = columns["r_squared"].astype(float)[mine]
    return [
        str(sample),
        str(trace),
        f"{int(mine.sum()):,}",
        *counts,
        f"{np.median(r):.3f}",
        *middles,
    ]
