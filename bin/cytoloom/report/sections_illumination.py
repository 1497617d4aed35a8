"""Illumination, background and bleaching: fields, curves, and images before and after."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytoloom.illumination import Method, read_fields
from cytoloom.report import charts, charts_illumination, pictures
from cytoloom.report.inputs import Inputs, Table
from cytoloom.report.page import Block, Picture, Section, attempt
from cytoloom.report.sections_positions import Place, place_of

STEPS = ("FlatField", "RollingBall", "TiledMedian", "BleachCorrection")
FIELDS = 6  # maps shown
CURVES = 6
PAIRS = 4  # steps and channels shown before and after, of the first position
NUMBERS = ("frame", "mean_before", "mean_fitted", "mean_after", "rate_per_frame")


def make(inputs: Inputs, colours: Mapping[str, int]) -> Section | None:
    """Return the section of illumination; None where no step corrected it."""
    blocks = [_fields(inputs), _bleaching(inputs, colours), _pairs(inputs)]
    blocks = [block for block in blocks if block.pictures or block.notes]
    return Section("illumination", "Illumination and background", blocks) if blocks else None


# ---- fields -----------------------------------------------------------------------------


def _fields(inputs: Inputs) -> Block:
    block = Block("Illumination")
    if len(inputs.fields) > FIELDS:
        block.notes.append(f"The first {FIELDS} of {len(inputs.fields)} fields are shown.")
    for path in inputs.fields[:FIELDS]:
        block.pictures += attempt(f"the field {path.name}", partial(_field, inputs, path))
    return block


def _field(inputs: Inputs, path: Path) -> Picture:
    position, tag, channel = path.name.split(".")[:3]
    places = {place["slug"]: place["name"] for place in inputs.run["positions"]}
    names = {slug: name for name, slug in inputs.run.get("slugs", {}).items()}
    found = read_fields(path)
    field = found.first.astype(np.float64)
    if found.method is Method.logstats:
        field = 10 ** (field - field.mean())
    low, high = float(field.min()), float(field.max())
    where = places.get(position, "all positions")
    caption = (
        f"{names.get(channel, channel)}, {where} ({tag}): {low:.2f} to {high:.2f} of the mean, "
        f"from {found.images:,} images"
    )
    if found.method is Method.retrospective and (dark := float(found.second.mean())):
        caption += f"; offset {dark:.4g} counts"
    figure = charts_illumination.field(field, "relative illumination")
    return Picture(charts.to_img(figure, f"Map of the illumination. {caption}"), caption)


# ---- bleaching --------------------------------------------------------------------------


def _bleaching(inputs: Inputs, colours: Mapping[str, int]) -> Block:
    block = Block("Bleaching")
    tables = list(inputs.columns("bleaching", *NUMBERS))
    if len(tables) > CURVES:
        block.notes.append(f"The first {CURVES} of {len(tables)} curves are shown.")
    for table, columns in tables[:CURVES]:
        what = f"the bleaching of {table.channel} at {table.position}"
        block.pictures += attempt(what, partial(_curve, table, columns, colours))
    return block


def _curve(
    table: Table, columns: Mapping[str, NDArray[Any]], colours: Mapping[str, int]
) -> Picture:
    channel = str(table.about.get("channel") or table.channel)
    interval = table.about.get("frame_interval")
    values = {name: columns[name].astype(float) for name in NUMBERS}
    figure = charts_illumination.bleaching(
        values["mean_before"], values["mean_fitted"], values["mean_after"],
        interval=interval, number=colours.get(channel, 0),
    )  # fmt: skip
    before, after = (_share(values[name]) for name in ("mean_before", "mean_after"))
    caption = f"{channel} at {table.about.get('position', table.position)}: mean of the last frame "
    caption += f"{before} of that of the first before, {after} after"
    rate = values["rate_per_frame"][:1]
    if rate.size and rate[0] > 0:
        half = np.log(2) / rate[0]
        caption += f"; half-life {half:.3g} frames"
        if interval:
            seconds, unit = charts.time_unit(half * interval)
            caption += f" ({half * interval / seconds:.3g} {unit})"
    return Picture(charts.to_img(figure, f"Intensity over time. {caption}"), caption)


def _share(means: NDArray[Any]) -> str:
    known = means[np.isfinite(means)]
    return f"{known[-1] / known[0]:.0%}" if known.size and known[0] > 0 else "unknown"


# ---- before and after -------------------------------------------------------------------


def _pairs(inputs: Inputs) -> Block:
    block = Block("Before and after")
    about = inputs.run["positions"][0] if inputs.run["positions"] else None
    place = place_of(inputs, about) if about else None
    if place is None or place.store is None:
        return block
    for shown, (step, channel, before, after) in enumerate(_corrected(inputs, place)):
        if shown == PAIRS:
            block.notes.append(f"The first {PAIRS} corrections are shown.")
            break
        what = f"{channel} before and after {step['tag']}"
        block.pictures += attempt(what, partial(_pair, place, step, channel, before, after))
    if block.pictures:
        block.notes.append(
            f"Position {place.name}. Left and right have one contrast where intensities are "
            "corrected by a factor, and contrasts of equal width where a background is subtracted."
        )
    return block


def _corrected(inputs: Inputs, place: Place) -> Iterator[tuple[dict[str, Any], str, int, int]]:
    """Yield steps with a channel, and the indices of its image before and after."""
    assert place.store is not None
    names = place.store.image.channels
    current: dict[str, str] = {name: name for name in inputs.run.get("channels", [])}
    for step in inputs.run["steps"]:
        if step["stage"] != "preprocessing":
            continue
        for group in step["channels"]:
            made = group[0] if len(group) == 1 and group[0] in step["outputs"] else None
            if made is None:
                continue
            before, after = current.get(made, made), f"{made} ({step['slug']})"
            current[made] = after
            if step["name"] in STEPS and before in names and after in names:
                yield step, made, names.index(before), names.index(after)


def _pair(place: Place, step: dict[str, Any], channel: str, before: int, after: int) -> Picture:
    bleached = step["name"] == "BleachCorrection"
    t = place.frames - 1 if bleached else place.frames // 2
    (left, scale), (right, _) = place.image(before, t), place.image(after, t)
    factor = step["name"] in ("FlatField", "BleachCorrection")
    known = place.image(before, 0)[0] if bleached else left
    low, high = pictures.contrast([known])[0]
    start = low if factor else pictures.contrast([right])[0][0]
    windows = ((low, high), (start, start + high - low))
    canvases = [
        pictures.grey(frame, window, step=scale)
        for frame, window in zip((left, right), windows, strict=True)
    ]
    gap = np.full((canvases[0].pixels.shape[0], 6), pictures.GREYS - 1, np.uint8)
    joined = np.hstack([canvases[0].pixels, gap, canvases[1].pixels])
    canvas = pictures.Canvas(joined, canvases[0].step)
    stamp = f"{place.stamp(t)} · before | after"
    caption = f"{channel}, {step['tag']}: before (left) and after (right), {place.stamp(t)}"
    svg = pictures.figure_svg(canvas, pixel_um=place.pixel[1], stamp=stamp, alt=caption, lines=60)
    return Picture(svg, caption, wide=True)
