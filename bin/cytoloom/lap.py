"""Linking of objects by linear assignment, with TrackMate's rules.

Two rounds, as in Jaqaman et al.: objects of neighbouring frames are linked into
segments, then the segments are joined by gap closing, splits and merges. Costs are
squared distances; leaving an object alone costs ``factor`` times a percentile of all
costs in the round (round 1, per frame pair: their maximum).

TrackMate's rules, which the LapTrack library does not share: distances up to and
*including* the limit count; a segment has at least two objects; splits and merges
happen at its inner objects only; the percentile is the nearest rank; giving up two
links costs as much as it saves (no reward for the number of links). Candidates come
from k-d trees, so memory grows with the neighbours, not with the square of the cells.

References
----------
Jaqaman et al., Nature Methods 5, 695 (2008). Tinevez et al., Methods 115, 80 (2017).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
_TINY = 1e-6


@dataclass(frozen=True)
class Limits:
    """Limits of linking; distances in the unit of the coordinates, None forbids.

    Names and defaults are TrackMate's. ``max_frame_gap`` is the greatest difference of
    frame numbers across a gap: 2 bridges one missing frame.
    """

    linking_max_distance: float = 15.0
    gap_closing_max_distance: float | None = 15.0
    max_frame_gap: int = 5
    splitting_max_distance: float | None = None
    merging_max_distance: float | None = None
    alternative_linking_cost_factor: float = 1.05
    cutoff_percentile: float = 0.9


def link(frames: Ints, places: Floats, limits: Limits) -> Ints:
    """Link objects over time.

    Parameters
    ----------
    frames : ndarray of int, shape (n,)
        Not decreasing.
    places : ndarray of float, shape (n, 2 or 3)
    limits

    Returns
    -------
    edges : ndarray of int64, shape (m, 2)
        Earlier and later object of each link, sorted.
    """
    by_frame = _rows_by_frame(frames, np.arange(len(frames)))
    edges = [np.empty((0, 2), dtype=np.int64)]
    for frame, rows in by_frame.items():
        if frame + 1 in by_frame:
            pairs = _near(places, rows, by_frame[frame + 1], limits.linking_max_distance)
            edges.append(_solve(pairs, places, limits.alternative_linking_cost_factor, 1.0))
    segments = np.concatenate(edges)
    edges.append(_join(frames, places, segments, limits))
    everything = np.concatenate(edges)
    return everything[np.lexsort((everything[:, 1], everything[:, 0]))]


def _join(frames: Ints, places: Floats, segments: Ints, limits: Limits) -> Ints:
    """Round 2: gap closing (end to start), splits (inner to start), merges (end to inner)."""
    has_next, has_previous = (np.isin(np.arange(len(frames)), segments[:, i]) for i in (0, 1))
    ends = np.flatnonzero(has_previous & ~has_next)
    starts = _rows_by_frame(frames, np.flatnonzero(has_next & ~has_previous))
    inner = np.flatnonzero(has_next & has_previous)
    rounds = (
        (ends, starts, limits.gap_closing_max_distance, range(1, limits.max_frame_gap + 1)),
        (inner, starts, limits.splitting_max_distance, (1,)),
        (ends, _rows_by_frame(frames, inner), limits.merging_max_distance, (1,)),
    )
    pairs = [np.empty((0, 2), dtype=np.int64)]
    for sources, targets, distance, steps in rounds:
        if distance is not None:
            pairs += _candidates(frames, places, sources, targets, distance, steps)
    return _solve(
        np.concatenate(pairs),
        places,
        limits.alternative_linking_cost_factor,
        limits.cutoff_percentile,
    )


def _candidates(
    frames: Ints,
    places: Floats,
    sources: Ints,
    targets: dict[int, Ints],
    distance: float,
    steps: Iterable[int],
) -> list[Ints]:
    by_frame = _rows_by_frame(frames, sources)
    return [
        _near(places, rows, targets[frame + step], distance)
        for step in steps
        for frame, rows in by_frame.items()
        if frame + step in targets
    ]


def _rows_by_frame(frames: Ints, rows: Ints) -> dict[int, Ints]:
    values, starts = np.unique(frames[rows], return_index=True)
    return dict(zip(values.tolist(), np.split(rows, starts[1:]), strict=True)) if len(rows) else {}


def _near(places: Floats, sources: Ints, targets: Ints, distance: float) -> Ints:
    """Return all pairs at most ``distance`` apart, shape (m, 2)."""
    from scipy.spatial import KDTree

    # The tree may err by a rounding; the exact test follows.
    wide = distance * (1 + 1e-9)
    near = KDTree(places[sources]).query_ball_tree(KDTree(places[targets]), wide)
    counts = [len(found) for found in near]
    columns = np.fromiter((j for found in near for j in found), dtype=np.int64, count=sum(counts))
    pairs = np.stack([np.repeat(sources, counts), targets[columns]], axis=1)
    return pairs[_costs(pairs, places) <= distance**2]


def _costs(pairs: Ints, places: Floats) -> Floats:
    return np.asarray(((places[pairs[:, 0]] - places[pairs[:, 1]]) ** 2).sum(axis=1))


def _solve(pairs: Ints, places: Floats, factor: float, percentile: float) -> Ints:
    """Return the pairs of the cheapest assignment, each source and target used once at most.

    Every source may stay alone at the alternative cost: with one private column of that
    cost for each source, the cheapest matching of all rows minimises the sum over links of
    (cost - alternative), which is what the four-quadrant matrix of the paper minimises.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    if not len(pairs):
        return pairs
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    costs = _costs(pairs, places)
    rank = int(np.floor((len(costs) - 1) * percentile + 0.5))
    alternative = factor * np.partition(costs, rank)[rank] or _TINY
    sources, row = np.unique(pairs[:, 0], return_inverse=True)
    targets, column = np.unique(pairs[:, 1], return_inverse=True)
    n, m = len(sources), len(targets)
    alone = np.arange(n)
    # A sparse matrix has no explicit zero cost: one more for all changes no comparison.
    matrix = csr_array(
        (
            np.concatenate([costs, np.full(n, alternative)]) + max(alternative, 1.0),
            (np.concatenate([row, alone]), np.concatenate([column, m + alone])),
        ),
        shape=(n, m + n),
    )
    chosen_row, chosen_column = min_weight_full_bipartite_matching(matrix)
    linked = chosen_column < m
    return np.stack([sources[chosen_row[linked]], targets[chosen_column[linked]]], axis=1)
