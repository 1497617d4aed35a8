"""Positions: outlines on images, tracks, networks and counts for the first few positions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytoloom.report import charts, charts_motion, graphs, pictures
from cytoloom.report.inputs import Inputs, Table
from cytoloom.report.page import Block, Picture, Section, attempt
from cytoloom.report.page import Table as PageTable
from cytoloom.report.stores import Store

POSITIONS = 6  # positions shown with pictures
CHANNELS = 4  # label images shown of each
NETWORKS = 3
LINES = 60_000  # track steps drawn in one picture


@dataclass
class Place:
    """A position: its description, store, and frames that were read already."""

    name: str
    slug: str
    frames: int
    depth: int
    pixel: tuple[float, float]  # um along y, x
    interval: float | None
    store: Store | None
    tags: list[str]
    cache: dict[Any, Any] = field(default_factory=dict)

    @property
    def shown(self) -> list[int]:
        """Return the first, middle and last frame."""
        return sorted({0, self.frames // 2, self.frames - 1})

    def window(self, channel: int, t: int) -> pictures.Window:
        """Return the contrast of a frame of a channel, with regard to the frames shown."""
        key = ("window", channel, t)
        if key not in self.cache:
            times = [*self.shown, t]
            found = pictures.contrast([self.image(channel, u)[0] for u in times])
            self.cache.update(
                {("window", channel, u): w for u, w in zip(times, found, strict=True)}
            )
        return self.cache[key]

    def image(self, channel: int, t: int) -> tuple[NDArray[Any], float]:
        """Return a frame of a channel; see `Multiscale.frame`."""
        key = ("image", channel, t)
        if key not in self.cache:
            assert self.store is not None
            self.cache[key] = self.store.image.frame(t, channel)
        return self.cache[key]

    def label(self, name: str, t: int) -> NDArray[Any]:
        """Return a frame of a label image."""
        key = ("label", name, t)
        if key not in self.cache:
            assert self.store is not None
            self.cache[key] = self.store.label(name).frame(t)
        return self.cache[key][0]

    def canvas(self, channel: str, t: int, labels: NDArray[Any] | None, bright: float) -> Any:
        """Return the image of a channel as a canvas, black where there is no image."""
        index = self.store.channel_of(channel) if self.store else None
        if index is not None:
            frame, step = self.image(index, t)
            if labels is None or labels.shape == frame.shape:
                return pictures.grey(frame, self.window(index, t), step=step, bright=bright)
        if labels is None:
            index = 0 if self.store and self.store.image.levels else None
            if index is None:
                return None
            frame, step = self.image(index, t)
            return pictures.grey(frame, self.window(index, t), step=step, bright=bright)
        return pictures.grey(np.zeros(labels.shape), (0, 1), step=1.0)

    def stamp(self, t: int) -> str:
        """Return frame and time in words."""
        return charts.stamp(t, self.interval, self.frames)


def make(inputs: Inputs, colours: Mapping[str, int]) -> Section | None:
    """Return the section of positions."""
    described = inputs.run["positions"]
    section = Section("positions", "Positions" if len(described) > 1 else "Images and tracks")
    if len(described) > 1:
        section.blocks.append(_overview(inputs))
    if len(described) > POSITIONS:
        section.blocks[0].notes.append(
            f"Pictures are shown of the first {POSITIONS} of {len(described)} positions."
        )
    for about in described[:POSITIONS]:
        block = _block(inputs, place_of(inputs, about), colours)
        if len(described) > 1:
            block.title = f"Position {about['name']}"
        if block.pictures:
            section.blocks.append(block)
    return section


def place_of(inputs: Inputs, about: Mapping[str, Any]) -> Place:
    """Return a position of the run's description, with its store."""
    path: Path | None = inputs.stores.get(about["slug"])
    shape, pixel = about["shape"], about["pixel_size"]
    return Place(
        about["name"], about["slug"], int(shape[0]), int(shape[1]),
        (float(pixel[1]), float(pixel[2])), about.get("frame_interval"),
        Store(path) if path else None, [step["slug"] for step in inputs.run["steps"]],
    )  # fmt: skip


def _overview(inputs: Inputs) -> Block:
    counts = inputs.summary["per_position"]
    keys = [k for k in ("cells", "tracks", "contacts", "killed")
            if any(k in values for values in counts.values())]  # fmt: skip
    rows = []
    for about in inputs.run["positions"]:
        t, z, y, x = about["shape"]
        size = f"{t} x {y} x {x}" if z == 1 else f"{t} x {z} x {y} x {x}"
        pixel = " x ".join(f"{v:g}" for v in about["pixel_size"][0 if z > 1 else 1 :])
        interval = about.get("frame_interval")
        rows.append(
            [about["name"], size, pixel, f"{interval:g}" if interval else "unknown"]
            + [f"{counts[about['name']].get(key, 0):,}" for key in keys]
        )
    head = ["position", "frames x pixels", "pixel size (µm)", "frame interval (s)", *keys]
    return Block(tables=[PageTable(head, rows)])


def _block(inputs: Inputs, place: Place, colours: Mapping[str, int]) -> Block:
    block = Block()
    measured, tracked = inputs.measured(place.slug), inputs.tracked(place.slug)
    channels = list(dict.fromkeys([*measured, *_label_channels(inputs, place)]))
    if len(channels) > CHANNELS:
        block.notes.append(
            f"Pictures of the first {CHANNELS} of {len(channels)} label images are shown."
        )
    if channels and not place.store:
        block.notes.append("There is no image store of this position, so no pictures of cells.")
    if place.depth > 1:
        block.notes.append(f"Pictures show the maximum over {place.depth} planes.")
    if place.store:
        block.notes.append(
            "Contrast: 0.5 and 99.8 percentiles of each frame, at least a quarter of that of the "
            "frames shown together."
        )
        for channel in channels[:CHANNELS]:
            block.pictures += _overlays(place, channel)
        if not channels:
            block.pictures += _plain(place)
        for channel in list(tracked)[:CHANNELS]:
            what = f"the tracks of {channel} at {place.name}"
            table = tracked[channel]
            block.pictures += attempt(what, partial(_tracks, place, channel, table))
        block.pictures += _networks(inputs, place)
    what = f"the counts per frame at {place.name}"
    block.pictures += attempt(what, lambda: _counts(place, measured, colours, block))
    return block


def _label_channels(inputs: Inputs, place: Place) -> list[str]:
    """Return the channels that have a label image, if no table was made of them."""
    if not place.store:
        return []
    names = [str(n) for n in inputs.run.get("channels", [])]
    return [n for n in names if place.store.find_labels(n, place.tags)]


def _overlays(place: Place, channel: str) -> list[Picture]:
    found = place.store.find_labels(channel, place.tags) if place.store else None
    if found is None:
        return []
    name, tracked = found
    made = []
    for t in place.shown:
        what = f"the outlines of {channel} in frame {t} of {place.name}"
        made += attempt(what, partial(_overlay, place, channel, name, tracked, t))
    return made


def _overlay(place: Place, channel: str, name: str, tracked: bool, t: int) -> Picture:
    labels = place.label(name, t)
    canvas = place.canvas(channel, t, labels, 0.75)
    pictures.draw_outlines(canvas, labels)
    number = len(np.unique(labels[labels > 0]))
    alt = (
        f"{channel} at {place.name}, {place.stamp(t)}: image in grey with the outlines of "
        f"{number} cells"
    )
    by = "a colour per track" if tracked else "a colour per label"
    caption = f"{channel}, {place.stamp(t)}: {number} cells, {by}"
    return Picture(
        pictures.figure_svg(canvas, pixel_um=place.pixel[1], stamp=place.stamp(t), alt=alt),
        caption,
    )


def _plain(place: Place) -> list[Picture]:
    """Show the images alone where nothing was segmented."""
    made: list[Picture] = []
    names = place.store.image.channels if place.store else []
    for index, channel in enumerate(names[:CHANNELS]):

        def draw(index: int = index, channel: str = channel) -> Picture:
            t = place.frames // 2
            frame, step = place.image(index, t)
            canvas = pictures.grey(frame, place.window(index, t), step=step)
            stamp = place.stamp(t)
            svg = pictures.figure_svg(
                canvas, pixel_um=place.pixel[1], stamp=stamp, alt=f"Image of {channel}, {stamp}"
            )
            return Picture(svg, f"{channel}, {stamp}")

        made += attempt(f"the image of {channel} at {place.name}", draw)
    return made


def _tracks(place: Place, channel: str, table: Table) -> Picture | None:
    columns = table.read("track_id", "frame", "y", "x")
    lines, drawn, total = track_lines(columns, place.frames)
    if not total:
        return None
    canvas = place.canvas(channel, place.frames - 1, None, 0.55)
    if canvas is None:
        return None
    pictures.draw_lines(canvas, lines)
    seconds, unit = charts.time_unit((place.interval or 0) * place.frames)
    last = place.frames - 1
    ends = (
        (f"0 {unit}", f"{last * place.interval / seconds:.4g} {unit}")
        if place.interval
        else ("frame 0", f"frame {last}")
    )
    caption = f"Tracks of {channel}: {total:,} with two or more frames, coloured by time"
    if drawn < total:
        caption += f"; the {drawn:,} longest are drawn"
    return Picture(
        pictures.figure_svg(
            canvas, pixel_um=place.pixel[1], stamp=f"tracks · image: frame {last}",
            alt=f"{caption}, over the last image of {place.name}",
        ),
        caption,
        ramp=ends,
    )  # fmt: skip


def track_lines(
    columns: Mapping[str, NDArray[Any]], frames: int, most: int = LINES
) -> tuple[list[Any], int, int]:
    """Return the steps of tracks as coloured lines.

    Parameters
    ----------
    columns
        ``track_id`` (NaN: untracked), ``frame``, ``y``, ``x``.
    frames
        Number of frames of the movie.
    most
        Steps to draw at most, those of the longest tracks first.

    Returns
    -------
    lines : list of ((y, x), (y, x), palette index)
    drawn, total : numbers of tracks with at least two points
    """
    track = columns["track_id"].astype(float)
    known = np.isfinite(track)
    order = np.flatnonzero(known)
    order = order[np.lexsort((columns["frame"][known], track[known]))]
    _, starts, counts = np.unique(track[order], return_index=True, return_counts=True)
    long = np.flatnonzero(counts > 1)
    total = len(long)
    long = long[np.argsort(-counts[long], kind="stable")]
    inside = np.cumsum(counts[long] - 1) <= most
    long = np.sort(long[inside])
    y, x, frame = (columns[name][order] for name in ("y", "x", "frame"))
    lines = []
    for one in long:
        rows = range(starts[one], starts[one] + counts[one] - 1)
        for a in rows:
            share = (frame[a] + frame[a + 1]) / 2 / max(1, frames - 1)
            ink = pictures.time_colour(float(share))
            lines.append(((y[a], x[a]), (y[a + 1], x[a + 1]), ink))
    return lines, len(long), total


def _counts(
    place: Place, measured: Mapping[str, Table], colours: Mapping[str, int], block: Block
) -> Picture | None:
    if not measured:
        return None
    series = {}
    for channel, table in measured.items():
        frames = table.read("frame")["frame"].astype(np.int64)
        series[channel] = np.bincount(frames, minlength=place.frames)
        if not len(frames):
            block.notes.append(f"No cell of {channel} was found at {place.name}.")
    figure = charts_motion.counts_per_frame(series, colours, interval=place.interval)
    words = "; ".join(
        f"{name}: {counts.min()} to {counts.max()} cells" for name, counts in series.items()
    )
    return Picture(charts.to_img(figure, f"Cells per frame. {words}"), "Cells in each frame")


def _networks(inputs: Inputs, place: Place) -> list[Picture]:
    made = []
    steps = {step["slug"]: step["tag"] for step in inputs.run["steps"]}
    networks = list(inputs.networks.get(place.slug, {}).items())[:NETWORKS]
    for (tag, channel), paths in networks:
        name = f"{steps.get(tag, tag)} ({channel})"
        what = f"the network {name} at {place.name}"
        made += attempt(what, partial(_network, place, name, paths))
    return made


def _network(place: Place, name: str, paths: list[Path]) -> Picture:
    found = graphs.read_frame(paths, wanted=place.frames // 2)
    channels = list(dict.fromkeys(cell[1] for cell in found.cells))
    base = next((c for c in channels if place.store and place.store.channel_of(c) is not None), "")
    canvas = place.canvas(base, found.frame, None, 0.55)
    if canvas is None:
        labels = place.label(place.store.labels[0], found.frame) if place.store else None
        canvas = place.canvas("", found.frame, labels, 1.0)
    ink = {c: pictures.object_colour(n) for n, c in enumerate(channels)}
    for channel in channels:
        outlined = place.store.find_labels(channel, place.tags) if place.store else None
        if outlined:
            plane = place.label(outlined[0], found.frame)
            pictures.draw_outlines(canvas, plane, colour=ink[channel])
    points = [(y / place.pixel[0], x / place.pixel[1]) for *_, y, x in found.cells]
    white = pictures.GREYS - 1
    pictures.draw_lines(canvas, ((points[a], points[b], white) for a, b in found.links), width=2)
    dots = ((*p, ink[c[1]]) for p, c in zip(points, found.cells, strict=True))
    pictures.draw_dots(canvas, dots, radius=4)
    stamp = place.stamp(found.frame)
    names = ("orange", "light blue", "green", "yellow", "dark orange", "pink")
    key = ", ".join(f"{c} in {names[n % len(names)]}" for n, c in enumerate(channels))
    caption = (
        f"Network {name}, {stamp}: {len(found.cells):,} cells ({key}), {len(found.links):,} links"
    )
    svg = pictures.figure_svg(
        canvas, pixel_um=place.pixel[1], stamp=stamp, alt=f"{caption}, drawn over the image"
    )
    return Picture(svg, caption)
