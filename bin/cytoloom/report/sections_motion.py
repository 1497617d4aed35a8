"""Motion: speeds, mean squared displacement and lengths of tracks, all positions together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytoloom.report import charts, charts_motion
from cytoloom.report.inputs import Inputs
from cytoloom.report.page import Block, Picture, Section, attempt

Series = dict[str, NDArray[Any]]


def make(inputs: Inputs, colours: Mapping[str, int]) -> Section | None:
    """Return the section of motion; None where nothing was tracked."""
    places = [place["slug"] for place in inputs.run["positions"]]
    tables = [pair for slug in places for pair in inputs.tracked(slug).items()]
    if not tables:
        return None
    block = Block()
    lengths = _join(
        (label, _lengths(table.read("track_id")["track_id"])) for label, table in tables
    )
    if not sum(map(len, lengths.values())):
        return Section("motion", "Motion", [Block(notes=["No track was found."])])
    moving = [pair for slug in places for pair in inputs.moving(slug).items()]
    block.pictures += attempt("the speeds", lambda: _speeds(moving, colours))
    block.pictures += attempt("the squared displacements", lambda: _msd(inputs, colours))
    block.pictures += attempt("the lengths of tracks", lambda: _length_chart(lengths, colours))
    if len(places) > 1:
        block.notes.append(f"All {len(places)} positions together.")
    if not moving:
        block.notes.append("No step measured speeds; add Kinematics to the pipeline for them.")
    return Section("motion", "Motion", [block])


def _join(pairs: Any) -> Series:
    found: dict[str, list[NDArray[Any]]] = {}
    for label, values in pairs:
        found.setdefault(label, []).append(values)
    return {label: np.concatenate(values) for label, values in found.items()}


def _lengths(tracks: NDArray[Any]) -> NDArray[np.int64]:
    tracks = tracks.astype(float)
    return np.unique(tracks[np.isfinite(tracks)], return_counts=True)[1]


def _length_chart(lengths: Series, colours: Mapping[str, int]) -> Picture:
    words = "; ".join(
        f"{name}: {len(v):,} tracks, median {np.median(v):g} frames"
        for name, v in lengths.items()
        if len(v)
    )
    figure = charts_motion.lengths({k: v for k, v in lengths.items() if len(v)}, colours)
    return Picture(charts.to_img(figure, f"Lengths of tracks. {words}"), words)


def _speeds(moving: Any, colours: Mapping[str, int]) -> Picture | None:
    def finite(table: Any) -> NDArray[Any]:
        speed = table.read("speed_um_per_s")["speed_um_per_s"].astype(float)
        return speed[np.isfinite(speed)]

    series = _join((label, finite(table)) for label, table in moving)
    series = {label: values for label, values in series.items() if values.size}
    if not series:
        return None
    figure = charts_motion.speeds(series, colours)
    words = []
    for name, values in series.items():
        factor, unit = charts_motion.speed_unit(float(np.median(values)))
        words.append(f"{name}: median speed {np.median(values) * factor:.3g} {unit}")
    return Picture(charts.to_img(figure, "Speeds. " + "; ".join(words)), "; ".join(words))


def _msd(inputs: Inputs, colours: Mapping[str, int]) -> Picture | None:
    single: list[Any] = []
    together: list[Any] = []
    shown: dict[str, int] = {}
    names = ("track_id", "lag_s", "msd_um2")
    for table, columns in inputs.columns("msd", *names):
        label = inputs.label_channel(table)
        track, lag, value = (columns[name].astype(float) for name in names)
        whole = ~np.isfinite(track)
        if (value[whole] > 0).any():
            together.append((label, lag[whole], value[whole]))
        order = np.flatnonzero(~whole)
        order = order[np.lexsort((lag[order], track[order]))]
        cuts = np.flatnonzero(np.diff(track[order])) + 1
        for rows in np.split(order, cuts):
            if len(rows) < 2 or shown.get(label, 0) >= charts_motion.TRACKS_SHOWN:
                continue
            shown[label] = shown.get(label, 0) + 1
            single.append((label, lag[rows], value[rows]))
    if not together:
        return None
    figure = charts_motion.squared_displacement(single, together, colours)
    caption = f"Thick: all tracks together; thin: single tracks ({len(single)} shown)"
    return Picture(
        charts.to_img(figure, f"Mean squared displacement against lag. {caption}"), caption
    )
