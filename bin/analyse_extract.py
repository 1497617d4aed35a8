#!/usr/bin/env python3
"""Extraction, first phase: features of every tracked cell in every frame and channel.

The first channel is the one whose label image and tracks tell the cells (phase contrast);
the others are measured inside the outlines, minus their background where there is one.
Filters and the flag ``good`` need all frames: analyse_traces.py.
"""

import difflib
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import typer

from cytoloom import cell_features, cli, images, measure_runs, plugins, tables, traces
from cytoloom.errors import BadData
from cytoloom.regions import Region

NONE = "none"


@dataclass(frozen=True)
class Wanted:
    """Features of one channel: built in, and functions of the plug-in."""

    shapes: frozenset[str]
    light: frozenset[str]
    own: tuple[str, ...]

    @property
    def names(self):
        """All names, sorted."""
        return sorted({*self.shapes, *self.light, *self.own})


def choose(features, channels, offered, phase):
    """Return the wanted features of each channel.

    Parameters
    ----------
    features : list of str
        ``feature`` (of shape: of the first channel; of intensity: of all others), or
        ``channel:feature``.
    channels : list of str
        The first is that of the outlines.
    offered : dict of functions of the plug-in
    phase : set of str
        Those of them that are measured on the first channel.

    Raises
    ------
    BadData
        If there is no such feature or channel.
    """
    found = {name: set() for name in channels}
    known = [*cell_features.SHAPE, *cell_features.INTENSITY, *offered]
    for text in features:
        channel, _, feature = text.rpartition(":")
        if feature == NONE:
            continue
        if feature not in known:
            near = difflib.get_close_matches(feature, known, 1)
            mean = f"; did you mean {near[0]}?" if near else ""
            raise BadData(f"features: no feature {feature!r}{mean} (features: {', '.join(known)})")
        if channel and channel not in channels:
            raise BadData(
                f"features: {text!r}: no channel {channel!r} here (channels: {', '.join(channels)})"
            )
        first = feature in cell_features.SHAPE or feature in phase
        for name in [channel] if channel else channels[:1] if first else channels[1:]:
            found[name].add(feature)
    return {
        name: Wanted(
            frozenset(n for n in names if n in cell_features.SHAPE and n not in offered),
            frozenset(n for n in names if n in cell_features.INTENSITY and n not in offered),
            tuple(sorted(n for n in names if n in offered)),
        )
        for name, names in found.items()
    }


def plugin_values(functions, names, path, cells, image, background, weight, context):
    """Return the features of a plug-in for every cell.

    Raises
    ------
    BadData
        If a function fails or does not give a number.
    """
    found = {name: np.full(len(cells.runs), np.nan) for name in names}
    for index, (box, mask) in enumerate(cell_features.crops(cells)):
        ground = None if background is None else background[box]
        crop = image[box].astype(np.float64)
        if ground is not None:
            crop -= weight * ground
        about = context | {
            "cell": int(cells.table["track_id"][index]), "raw": image[box], "background": ground
        }  # fmt: skip
        for name in names:
            where = f"feature {name}, cell {about['cell']}, frame {about['frame']}"
            try:
                value = functions[name](crop.copy(), mask.copy(), dict(about))
            except Exception as error:
                raise BadData(f"plug-in {plugins.told(path, error)} ({where})") from error
            try:
                found[name][index] = float(value)
            except (TypeError, ValueError) as error:
                raise BadData(
                    f"plug-in {path}: {where}: gave {value!r:.80}, not a number"
                ) from error
    return found


def cells_of(label, frame, table):
    """Return the tracked cells of a frame, or None where there is none.

    Parameters
    ----------
    table : dict of ndarray
        Columns of the frame's tracked rows, sorted by label.
    """
    labels = label.read(Region.whole(label.shape).frame(frame))[0, 0]
    runs = measure_runs.find_runs(labels[np.newaxis])
    tracked = np.isin(runs.label, table["label"])
    if not tracked.any():
        return None
    if not tracked.all():
        runs = measure_runs.select(runs, tracked)
    rows = np.searchsorted(table["label"], runs.label)
    columns = {name: values[rows] for name, values in table.items()}
    return cell_features.Cells(labels, runs, columns, label.pixel_size)


def base_columns(cells, frame, position):
    """Return the columns that every trace has."""
    low, high = measure_runs.bounding_boxes(cells.runs)
    (y0, x0), (y1, x1) = low[:, 1:].T, high[:, 1:].T - 1
    count = len(cells.runs)
    return {
        "position": np.full(count, position, object),
        "fov": np.full(count, traces.fov_of(position), np.int32),
        "cell": cells.table["track_id"].astype(np.int64),
        "frame": np.full(count, frame, np.int32),
        "label": cells.runs.label.astype(np.uint32),
        "good": np.ones(count, bool),
        "position_x": (x0 + x1) / 2,
        "position_y": (y0 + y1) / 2,
        "bbox_x0": x0.astype(np.int32),
        "bbox_y0": y0.astype(np.int32),
        "bbox_x1": x1.astype(np.int32),
        "bbox_y1": y1.astype(np.int32),
    }


def tracked_rows(table, box):
    """Return the tracked rows of the frames of a region, as columns by frame."""
    rows = tables.read_table(table, "tracks")
    rows = rows[rows["track_id"].notna() & rows["frame"].isin(list(box.frames))]
    rows = rows.drop_duplicates(["frame", "label"]).sort_values(["frame", "label"])
    wanted = ["label", "track_id", *cell_features.TABLE_SHAPES]
    wanted = [name for name in wanted if name in rows]
    return {
        int(frame): {
            name: group[name].to_numpy(np.int64 if name in wanted[:2] else np.float64, na_value=-1)
            if name in wanted[:2]
            else group[name].to_numpy(np.float64, na_value=np.nan)
            for name in wanted
        }
        for frame, group in rows.groupby("frame")
    }


def main(
    image: cli.Images,
    label: cli.Label,
    table: cli.Table,
    out_traces: cli.OutTable,
    background: Annotated[
        list[str] | None,
        cli.Contract("input"),
        typer.Option(help="background layer of a channel: a path or glob; may be repeated"),
    ] = None,
    region: cli.RegionText = None,
    features: Annotated[
        list[str],
        typer.Option(
            help="what to measure; none: only places. A feature of shape is of the first channel, "
            "one of intensity of all others, channel:feature of one; see docs/traces.md"
        ),
    ] = ["area", "intensity_total"],  # noqa: B006 (typer copies it)
    background_weight: Annotated[
        float, typer.Option(help="share of the background that is subtracted, taken as 0 ... 1")
    ] = 1.0,
    erosion_size: Annotated[
        int, typer.Option(min=0, help="cells are shrunk by a square of this width first [px]")
    ] = 0,
    plugin: Annotated[
        str | None, typer.Option(help="Python file with features of your own; docs/traces.md")
    ] = None,
) -> None:
    """Measure tracked cells: PyAMA's features, all of the table of cells, and your own.

    Columns are named feature_ch_channel. A frame without cells gives no row.
    """
    layers = [images.open_layer(one, kind="image") for one in image]
    outlines = images.open_layer(label, kind="label")
    check(layers, outlines)
    grounds = {one.channel: one for one in (images.open_layer(b) for b in background or ())}
    module = plugins.load(plugin) if plugin else None
    functions = plugins.functions(module) if module else {}
    phase = set(getattr(module, "PHASE", ()))
    wanted = choose(list(features), [one.channel for one in layers], functions, phase)
    weight = float(np.clip(background_weight, 0, 1))
    box = Region.parse(region, outlines.shape)
    by_frame = tracked_rows(table, box)
    parts = []
    for frame in cli.progress(box.frames, "frames", len(box.frames)):
        cells = cells_of(outlines, frame, by_frame[frame]) if frame in by_frame else None
        if cells is None:
            continue
        columns = base_columns(cells, frame, outlines.position)
        where = Region.whole(outlines.shape).frame(frame)
        for layer in layers:
            want, name = wanted[layer.channel], layer.channel
            found = cell_features.shapes(cells, want.shapes) if want.shapes else {}
            if want.light or want.own:
                pixels = layer.read(where)[0, 0]
                ground = grounds[name].read(where)[0, 0] if name in grounds else None
                if want.light:
                    found |= cell_features.light(
                        cells, pixels, ground, want.light, weight=weight, erosion=erosion_size
                    )
                context = {"frame": frame, "channel": name, "pixel_size": layer.pixel_size[1:]}
                found |= plugin_values(
                    functions, want.own, plugin, cells, pixels, ground, weight, context
                )
            columns |= {traces.column(n, name): found[n] for n in want.names}
        parts.append(columns)
    write(out_traces, parts, wanted, outlines)


def check(layers, outlines):
    """Raise BadData unless all layers are of one position, in one plane."""
    for layer in layers:
        if layer.shape != outlines.shape or layer.position != outlines.position:
            raise BadData(
                f"image {layer.channel!r} and label image {outlines.channel!r} are not of one "
                "position and shape"
            )
    if outlines.shape[1] > 1:
        raise BadData(
            f"{outlines.channel!r} has {outlines.shape[1]} planes: traces are of 2-D data"
        )


def write(path, parts, wanted, outlines):
    """Write the rows of all frames; without any, a table with all columns."""
    names = [traces.column(n, c) for c, want in wanted.items() for n in want.names]
    if parts:
        columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    else:
        columns = {name: np.empty(0) for name in names}
    about = tables.describe(outlines)
    about["pixels"] = list(outlines.shape[2:])
    tables.write_arrow(path, tables.from_columns(columns, "traces", about=about))


if __name__ == "__main__":
    cli.run(main)
