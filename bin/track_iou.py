#!/usr/bin/env python3
"""Tracking by overlap: cells are linked where their bounding boxes, or they themselves, overlap."""

import logging
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from cytoloom import cli, images, tables, track_options, tracks
from cytoloom.errors import UsageError
from cytoloom.regions import Region

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("cytoloom")
LOW = ["bbox_z0", "bbox_y0", "bbox_x0"]
HIGH = ["bbox_z1", "bbox_y1", "bbox_x1"]
MOST_PAIRS = 2**24  # counted in one array


class Overlap(StrEnum):
    """What of two cells must overlap."""

    box = "box"
    mask = "mask"


Pairs = tuple[NDArray[np.int64], NDArray[np.float64]]
Overlapping = Callable[[NDArray[np.int64], NDArray[np.int64]], Pairs]


class Masks:
    """Overlap of cells pixel by pixel, from a label image of which a few frames are kept.

    Parameters
    ----------
    layer : Layer
    frames, labels, areas : ndarray of int, shape (n,)
        Frame, label and pixels of each object.
    kept
        Frames that are kept.
    """

    def __init__(
        self,
        layer: images.Layer,
        frames: NDArray[np.int64],
        labels: NDArray[np.int64],
        areas: NDArray[np.int64],
        kept: int,
    ) -> None:
        self.layer, self.kept = layer, kept
        self.frames, self.labels, self.areas = frames, labels, areas
        self.read: dict[int, NDArray[np.uint32]] = {}

    def of(self, frame: int) -> NDArray[np.uint32]:
        """Return the labels of a frame, flat."""
        if frame not in self.read:
            whole = Region.whole(self.layer.shape)
            self.read[frame] = self.layer.read(whole.frame(frame)).ravel()
            for old in [f for f in self.read if f < frame - self.kept]:
                del self.read[old]
        return self.read[frame]

    def pairs(self, first: NDArray[np.int64], second: NDArray[np.int64]) -> Pairs:
        """Return the pairs of objects that overlap, as `overlapping`, and their IoU."""
        found, ratios = [np.empty((0, 2), np.int64)], [np.empty(0)]
        if not (len(first) and len(second)):
            return found[0], ratios[0]
        now = self.of(int(self.frames[second[0]]))
        for frame in np.unique(self.frames[first]):
            rows = np.flatnonzero(self.frames[first] == frame)
            one, two, count = shared(
                self.of(int(frame)), now, self.labels[first[rows]], self.labels[second]
            )
            areas = self.areas[first[rows[one]]] + self.areas[second[two]]
            found.append(np.stack([rows[one], two], axis=1))
            ratios.append(count / (areas - count))
        return np.concatenate(found), np.concatenate(ratios)


def shared(
    before: NDArray[np.uint32],
    now: NDArray[np.uint32],
    first: NDArray[np.int64],
    second: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return which of the labels ``first`` and ``second`` overlap, and in how many pixels.

    Parameters
    ----------
    before, now : ndarray of uint32, shape (pixels,)
    """
    both = np.flatnonzero((before > 0) & (now > 0))
    places = []
    for labels, wanted in ((before[both], first), (now[both], second)):
        number = np.full(int(labels.max(initial=0)) + 1, -1, np.int64)
        inside = wanted < number.size
        number[wanted[inside]] = np.flatnonzero(inside)
        places.append(number[labels])
    known = (places[0] >= 0) & (places[1] >= 0)
    key = places[0][known] * len(second) + places[1][known]
    if len(first) * len(second) <= MOST_PAIRS:
        counts = np.bincount(key, minlength=1)
        keys = np.flatnonzero(counts)
        counts = counts[keys]
    else:
        keys, counts = np.unique(key, return_counts=True)
    return keys // len(second), keys % len(second), counts


def overlapping(
    first: NDArray[np.int64], second: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the pairs of boxes that overlap, and their intersection over union.

    Parameters
    ----------
    first, second : ndarray of int, shape (n, 6) and (m, 6)
        First and end (not included) along z, y, x: ``z0 y0 x0 z1 y1 x1`` [px].

    Returns
    -------
    pairs : ndarray of int, shape (k, 2)
        Rows of ``first`` and ``second``.
    iou : ndarray of float, shape (k,)
    """
    from scipy.spatial import KDTree

    if not (len(first) and len(second)):
        return np.empty((0, 2), dtype=np.int64), np.empty(0)
    reach = sum((boxes[:, 3:] - boxes[:, :3]).max() for boxes in (first, second)) / 2
    trees = [KDTree((boxes[:, 3:] + boxes[:, :3]) / 2) for boxes in (first, second)]
    near = trees[0].query_ball_tree(trees[1], reach, p=np.inf)
    pairs = np.array(
        [(i, j) for i, found in enumerate(near) for j in sorted(found)], dtype=np.int64
    ).reshape(-1, 2)
    a, b = first[pairs[:, 0]], second[pairs[:, 1]]
    common = np.clip(np.minimum(a[:, 3:], b[:, 3:]) - np.maximum(a[:, :3], b[:, :3]), 0, None)
    shared = common.prod(axis=1)
    union = sum((boxes[:, 3:] - boxes[:, :3]).prod(axis=1) for boxes in (a, b)) - shared
    iou = shared / union
    return pairs[iou > 0], iou[iou > 0]


def assign(pairs: NDArray[np.int64], iou: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the pairs, each row and column used once at most, of the greatest sum of overlaps.

    The Hungarian method with costs 1 - IoU, and 1 for a box that stays alone.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    if not len(pairs):
        return pairs
    rows, row = np.unique(pairs[:, 0], return_inverse=True)
    columns, column = np.unique(pairs[:, 1], return_inverse=True)
    n, m = len(rows), len(columns)
    alone = np.arange(n)
    # A sparse matrix has no explicit zero cost: one more for all changes no comparison.
    costs = np.concatenate([1 - iou, np.ones(n)]) + 1
    places = (np.concatenate([row, alone]), np.concatenate([column, m + alone]))
    chosen_row, chosen_column = min_weight_full_bipartite_matching(
        csr_array((costs, places), shape=(n, m + n))
    )
    linked = chosen_column < m
    return np.stack([rows[chosen_row[linked]], columns[chosen_column[linked]]], axis=1)


def link(
    frames: NDArray[np.int64],
    boxes: NDArray[np.int64],
    *,
    min_iou: float = 0.1,
    max_frame_gap: int = 1,
    newborn: bool = True,
    pairs_of: Overlapping | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Link objects over time.

    Parameters
    ----------
    frames : ndarray of int, shape (n,)
        Not decreasing.
    boxes : ndarray of int, shape (n, 6)
        See `overlapping`.
    min_iou
        Pairs that overlap less are not linked.
    max_frame_gap
        For how many frames the last box of a lost object waits; 1: it must be in the next.
    newborn
        Whether an object may begin a track after the first frame.
    pairs_of
        Gives the pairs of two lists of objects that overlap; default: by their boxes.

    Returns
    -------
    edges : ndarray of int64, shape (m, 2)
        Earlier and later object of each link, sorted.
    tracked : ndarray of bool, shape (n,)
        All, or with ``newborn`` off those whose track begins in the first frame.
    """
    pairs_of = pairs_of or (lambda first, second: overlapping(boxes[first], boxes[second]))
    edges = [np.empty((0, 2), dtype=np.int64)]
    waiting = np.empty(0, dtype=np.int64)
    tracked = newborn | (frames == frames.min(initial=np.iinfo(np.int64).max))
    numbers, starts = np.unique(frames, return_index=True)
    for frame, new in zip(numbers, np.split(np.arange(len(frames)), starts[1:]), strict=False):
        waiting = waiting[frames[waiting] >= frame - max_frame_gap]
        near, iou = pairs_of(waiting, new)
        chosen = assign(near[iou >= min_iou], iou[iou >= min_iou])
        pairs = np.stack([waiting[chosen[:, 0]], new[chosen[:, 1]]], axis=1)
        tracked[pairs[:, 1]] |= tracked[pairs[:, 0]]
        edges.append(pairs)
        left = np.setdiff1d(waiting, pairs[:, 0])
        waiting = np.sort(np.concatenate([left, new[tracked[new]]]))
    everything = np.concatenate(edges)
    return everything[np.lexsort((everything[:, 1], everything[:, 0]))], tracked


def of_size(nodes: "pd.DataFrame", least: int | None, most: int | None) -> "pd.DataFrame":
    """Return the objects of ``least`` to ``most`` pixels, both included, in the same order."""
    limits = least or 0, np.inf if most is None else most
    return nodes[nodes["area"].between(*limits)].reset_index(drop=True)


def main(
    table: cli.Table,
    out_tracks: cli.OutTable,
    out_edges: cli.OutTable,
    label: Annotated[
        str | None,
        cli.Contract("input"),
        typer.Option(help="label layer of the cells, for overlap: mask: a path or glob"),
    ] = None,
    overlap: Annotated[
        Overlap, typer.Option(help="of bounding boxes (as PyAMA), or of the cells themselves")
    ] = Overlap.box,
    min_iou: Annotated[
        float, typer.Option(min=0, max=1, help="least intersection over union of linked cells")
    ] = 0.1,
    max_frame_gap: Annotated[
        int,
        typer.Option(
            min=1, help="greatest difference of frame numbers of linked cells; 1: no gaps"
        ),
    ] = 1,
    newborn: Annotated[
        bool,
        typer.Option(
            help="cells that appear later get tracks too; without, only those of the first frame "
            "(as PyAMA tracks)"
        ),
    ] = True,
    min_size: Annotated[
        int | None, typer.Option(min=0, help="smaller cells are not tracked [px]")
    ] = None,
    max_size: Annotated[
        int | None, typer.Option(min=0, help="larger cells are not tracked [px]")
    ] = None,
    min_track_length: track_options.MinTrackLength = 1,
) -> None:
    """Tracking by intersection over union, for cells that hardly move.

    Frame by frame the assignment of the greatest overlap (Hungarian method), as in PyAMA.
    No splits and no merges. Smaller and larger cells than asked for stay in the table, untracked.
    """
    cells = tables.read_table(table, ("cells", "tracks"))
    nodes = of_size(tracks.objects(cells, what=table), min_size, max_size)
    frames = nodes["frame"].to_numpy(dtype=np.int64)
    masks = None
    if overlap is Overlap.mask:
        if label is None:
            raise UsageError("overlap: mask needs a label image of the cells; take overlap: box")
        masks = Masks(
            images.open_layer(label, kind="label"),
            frames,
            nodes["label"].to_numpy(dtype=np.int64),
            nodes["area"].to_numpy(dtype=np.int64),
            max_frame_gap,
        )
    edges, tracked = link(
        frames,
        nodes[LOW + HIGH].to_numpy(dtype=np.int64),
        min_iou=min_iou,
        max_frame_gap=max_frame_gap,
        newborn=newborn,
        pairs_of=masks.pairs if masks else None,
    )
    kept = nodes[tracked].reset_index(drop=True)
    kept.attrs.update(nodes.attrs)
    edges = (np.cumsum(tracked) - 1)[edges]
    found, links = tracks.assemble(cells, kept, edges, min_track_length=min_track_length)
    tables.write_table(out_tracks, found, "tracks")
    tables.write_table(out_edges, links, "edges")
    log.info("%d cells, %d links, %d tracks", len(kept), len(links), found["track_id"].nunique())


if __name__ == "__main__":
    cli.run(main)
