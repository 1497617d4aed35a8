#!/usr/bin/env python3
"""Ultrack, sub-step segment: candidate cells of some frames, and which exclude each other."""

import pickle
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from cytoloom import cli, hypotheses, images, provenance, ultrack_engine, ultrack_options
from cytoloom.errors import UsageError
from cytoloom.files import find, writing
from cytoloom.regions import Region

SMALLEST = 8  # px: Ultrack stops at smaller pieces
LOWEST, HIGHEST = 100, 1_000_000  # Ultrack's own limits, where no label image tells the sizes
Frame = tuple[NDArray[Any], NDArray[np.float32]]


class Hierarchy(StrEnum):
    """By what the pieces of a clump are joined into candidates."""

    area = "area"
    dynamics = "dynamics"
    volume = "volume"


class Movie:
    """Foreground or contours as Ultrack reads them: by frame, one frame at a time in memory."""

    def __init__(
        self, shape: tuple[int, ...], make: Callable[[int], Frame], which: int, dtype: Any
    ) -> None:
        self.shape, self.dtype, self.ndim = shape, np.dtype(dtype), len(shape)
        self._make, self._which = make, which

    def __getitem__(self, frame: int) -> NDArray[Any]:
        return self._make(frame)[self._which]


def contours_of(labels: list[NDArray[Any]], sigma: float | None) -> Frame:
    """Join label images of one frame into foreground and contours.

    Parameters
    ----------
    labels : list of (Y, X) or (Z, Y, X) integers
    sigma
        Smoothing of the contours [px]; None: none.

    Returns
    -------
    foreground : bool
        Where any label image has a cell.
    contours : float32
        Share of the label images that have an outline there, 0 to 1.

    Notes
    -----
    As ``ultrack.utils.labels_to_contours``, but an empty frame stays 0.
    """
    from scipy import ndimage
    from skimage.segmentation import find_boundaries

    foreground = np.zeros(labels[0].shape, bool)
    contours = np.zeros(labels[0].shape, np.float32)
    for one in labels:
        foreground |= one > 0
        contours += find_boundaries(one, mode="outer")
    contours /= len(labels)
    if sigma:
        contours = ndimage.gaussian_filter(contours, sigma)
        contours /= contours.max() or 1
    return foreground, contours


def without_specks(foreground: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Drop pieces smaller than `SMALLEST` pixels."""
    from scipy import ndimage

    pieces, count = ndimage.label(foreground)
    if not count:
        return foreground
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return (sizes >= SMALLEST)[pieces]


def frames_of(
    label: list[str] | None, image: list[str] | None, sigma: float | None, threshold: float
) -> tuple[images.Layer, Callable[[int], Frame]]:
    """Return the layer that gives the shape, and a function that makes a frame's two maps."""
    kind, given = ("label", label) if label else ("image", (image or [])[:2])
    layers = [images.open_layer(one, kind=kind) for one in given or []]
    if not layers or (kind == "image" and len(layers) < 2):
        raise UsageError("give label layers, or images of foreground and contours")
    last: dict[int, Frame] = {}

    def make(frame: int) -> Frame:
        if frame not in last:
            read = [layer.read(Region.whole(layer.shape).frame(frame))[0] for layer in layers]
            flat = [one[0] if one.shape[0] == 1 else one for one in read]
            if kind == "label":
                foreground, contours = contours_of(flat, sigma)
            else:
                foreground, contours = flat[0] > threshold, flat[1].astype(np.float32)
            last.clear()
            last[frame] = without_specks(foreground), contours
        return last[frame]

    return layers[0], make


def limits_of(
    areas: tuple[int, int, int] | None, min_area: int | None, max_area: int | None, factor: float
) -> dict[str, Any]:
    """Return Ultrack's limits of area [px]; what is not given follows from the cells' own areas.

    Raises
    ------
    UsageError
        If the lower limit is over the upper one.
    """
    low, high = LOWEST, HIGHEST
    if areas:
        low, high = max(SMALLEST, areas[0] // 2), max(SMALLEST, areas[2] + areas[2] // 2)
    low = max(SMALLEST, min_area if min_area is not None else low)
    high = max_area if max_area is not None else max(low, high)
    if low > high:
        raise UsageError(f"min_area {low} is over max_area {high}")
    return {"min_area": low, "max_area": high, "min_area_factor": min(factor, low / SMALLEST)}


def outlines_of(rows: list[tuple[Any, ...]], frame: int) -> Iterator[tuple[Any, ...]]:
    """Give the rows of our table of outlines for nodes as Ultrack stores them."""
    for number, node in rows:
        node = pickle.loads(node)  # made by this task
        mask, corner = node.mask, list(node.bbox[: node.mask.ndim])
        if mask.ndim == 2:
            mask, corner = mask[None], [0, *corner]
        yield hypotheses.pack(number, frame, corner, mask)


def nodes_in_server(server: hypotheses.Server, frame: int) -> list[tuple[Any, ...]]:
    """Return number and pickle of the nodes of a frame."""
    import sqlalchemy as sqla

    with ultrack_engine.connected(server) as connection:
        query = sqla.text("SELECT id, pickle FROM nodes WHERE t = :t ORDER BY id")
        return [(number, bytes(node)) for number, node in connection.execute(query, {"t": frame})]


def nodes_in_file(path: Path, frame: int) -> list[tuple[Any, ...]]:
    """Return number and pickle of the nodes of a frame."""
    connection = sqlite3.connect(path)
    query = "SELECT id, pickle FROM nodes WHERE t = ? ORDER BY id"
    rows = connection.execute(query, (frame,)).fetchall()
    connection.close()
    return rows


def main(
    settings: ultrack_options.Settings,
    out_nodes: ultrack_options.OutDatabase,
    label: ultrack_options.Labels = None,
    image: ultrack_options.Images = None,
    region: cli.RegionText = None,
    channel: cli.Channel = None,  # noqa: ARG001 - all phases are given it
    sigma: Annotated[
        float | None,
        typer.Option(min=0, help="smoothing of the contours of label images [px]; default: none"),
    ] = None,
    threshold: Annotated[
        float, typer.Option(help="an image of foreground counts as foreground above this")
    ] = 0.5,
    min_area: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="smallest candidate [px]; default: half of the 1st percentile of the cells' "
            "areas (without label images 100)",
        ),
    ] = None,
    max_area: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="greatest candidate [px]; default: 1.5 times the greatest cell (without label "
            "images 1000000)",
        ),
    ] = None,
    min_area_factor: Annotated[
        float,
        typer.Option(min=1, help="pieces of foreground below min_area / this are dropped"),
    ] = 4.0,
    min_frontier: Annotated[
        float,
        typer.Option(min=0, help="candidates are joined where the contour between them is weaker"),
    ] = 0.0,
    max_noise: Annotated[
        float, typer.Option(min=0, help="uniform noise added to the contours, against ties")
    ] = 0.0,
    ws_hierarchy: Annotated[
        Hierarchy, typer.Option(help="what joins pieces into candidates")
    ] = Hierarchy.area,
) -> None:
    """Find the candidate cells of some frames by Ultrack's hierarchical watershed."""
    shared = hypotheses.read_settings(settings)
    layer, make = frames_of(label, image, sigma, threshold)
    part = Region.parse(region, layer.shape)
    whole = (layer.shape[0], *(layer.shape[1:] if shared.volume else layer.shape[2:]))
    foreground, contours = Movie(whole, make, 0, bool), Movie(whole, make, 1, np.float32)
    limits = limits_of(shared.areas, min_area, max_area, min_area_factor)
    provenance.note(resolved={name: float(value) for name, value in limits.items()})
    count = 0
    with writing(out_nodes) as temporary, ultrack_engine.scratch() as folder:
        data = folder / ultrack_engine.NAME
        shutil.copyfile(find(settings, what="database")[0], data)
        with ultrack_engine.quiet():
            from ultrack import segment
        config = ultrack_engine.configuration(
            folder,
            shared,
            segmentation=limits
            | {
                "threshold": 0.5,
                "min_frontier": min_frontier,
                "max_noise": max_noise,
                "ws_hierarchy": ws_hierarchy.value,
            },
        )
        if shared.server:
            ultrack_engine.clear_frames(shared.server, *part.t, nodes=True)
        with hypotheses.made(data, shared) as ours:
            ours.commit()
            for frame in cli.progress(part.frames, "frames"):
                with ultrack_engine.quiet():
                    segment(foreground, contours, config, batch_index=frame)
                rows = (
                    nodes_in_server(shared.server, frame)
                    if shared.server
                    else nodes_in_file(data, frame)
                )
                ours.executemany(
                    "INSERT INTO outlines VALUES (?, ?, ?, ?)", outlines_of(rows, frame)
                )
                ours.commit()
                count += len(rows)
        shutil.move(data, temporary)
    cli.log.info("%d candidates in %d frames", count, len(part.frames))


if __name__ == "__main__":
    cli.run(main)
