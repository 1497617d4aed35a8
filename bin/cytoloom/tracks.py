"""Tracks: lineage from links between objects, and the two tables that carry it.

A *track* is an unbranched chain of objects, a *tree* all tracks joined by splits and
merges, as in TrackMate's branches, CTC's tracks and GEFF's tracklets. Trackers only
say which objects are linked; everything else is worked out here, so that all of them
give the same columns. Tracks and trees are numbered from 1 by their first object
(frame, then label): neither the order of rows nor of links matters.

An object with several measured channels has several rows in a table and one place in
a track. Objects that a tracker left out keep their rows, with null ids.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cytoloom.errors import BadData

if TYPE_CHECKING:
    import pandas as pd

OBJECT = ["frame", "label"]
LINEAGE = ["track_id", "parent_track_id", "tree_id", "generation"]
POSITION_UM = ["z_um", "y_um", "x_um"]
Ints = NDArray[np.int64]


class Unit(StrEnum):
    """Unit of a tracker's distances."""

    px = "px"
    um = "um"


class Length(StrEnum):
    """Unit of a tracker's limits: with ``diameter`` they hold at any magnification."""

    px = "px"
    um = "um"
    diameter = "diameter"


@dataclass(frozen=True)
class Lineage:
    """What follows from links between n objects.

    Attributes
    ----------
    track_id, tree_id, generation : ndarray of int64, shape (n,)
    parent_track_id : ndarray of int64, shape (n,)
        0 where the track has no parent.
    link : list of str, length of the edges
        ``link``, ``gap`` (frames left out), ``split`` or ``merge``.
    """

    track_id: Ints
    parent_track_id: Ints
    tree_id: Ints
    generation: Ints
    link: list[str]


def lineage(frames: ArrayLike, edges: ArrayLike) -> Lineage:
    """Work out tracks, trees, parents and generations from links.

    Parameters
    ----------
    frames : array of int, shape (n,)
        Frame of each object; objects are in the order of frame, then label.
    edges : array of int, shape (m, 2)
        Earlier and later object of each link, as indices into ``frames``.

    Raises
    ------
    BadData
        If a link does not go forward in time or stands twice.

    Notes
    -----
    Every child of a split starts a new track one generation on. Where tracks merge, the
    merged track is new too; its parent is the merging track with the lowest number, its
    generation the highest of theirs.
    """
    frames = np.asarray(frames, dtype=np.int64)
    edges = np.asarray(edges, dtype=np.int64).reshape(-1, 2)
    n = len(frames)
    source, target = edges[:, 0], edges[:, 1]
    if np.any(frames[target] <= frames[source]):
        raise BadData("links between objects must go forward in time")
    if len(np.unique(edges, axis=0)) != len(edges):
        raise BadData("a link between two objects stands twice")
    splits = np.bincount(source, minlength=n)[source] > 1
    merges = np.bincount(target, minlength=n)[target] > 1
    inside = ~(splits | merges)
    track_id = _components(n, edges[inside])
    parent = np.zeros(n + 1, dtype=np.int64)
    generation = np.zeros(n + 1, dtype=np.int64)
    between = [
        (track_id[b], track_id[a], s)
        for (a, b), s in zip(edges[~inside], splits[~inside], strict=True)
    ]
    # A parent's number is lower than its child's, so sorted order is ancestors first.
    for child, ancestor, split in sorted(between):
        parent[child] = parent[child] or ancestor
        generation[child] = max(generation[child], generation[ancestor] + int(split))
    gap = frames[target] - frames[source] > 1
    names = np.select([splits, merges, gap], ["split", "merge", "gap"], "link")
    return Lineage(
        track_id, parent[track_id], _components(n, edges), generation[track_id], names.tolist()
    )


def _components(n: int, edges: Ints) -> Ints:
    """Number the connected components from 1 in the order of their first object."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if n == 0:
        return np.zeros(0, dtype=np.int64)
    ones = np.ones(len(edges), dtype=bool)
    graph = coo_array((ones, (edges[:, 0], edges[:, 1])), shape=(n, n))
    _, number = connected_components(graph, directed=False)
    _, first, inverse = np.unique(number, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(1, len(first) + 1)
    return np.asarray(rank[inverse])


def objects(table: pd.DataFrame, *, what: str = "table") -> pd.DataFrame:
    """Return one row per object, in the order of frame and label.

    Parameters
    ----------
    table : DataFrame
        Of kind ``cells`` or ``tracks``, of one position; rows in any order.

    Raises
    ------
    BadData
        If there are several positions, an object has two places, or a place is not known.
    """
    positions = table["position"].unique()
    if len(positions) > 1:
        raise BadData(
            f"{what}: {len(positions)} positions ({positions[0]}, {positions[1]}, ...); "
            "tracks belong to one position: give the tables of one position at a time"
        )
    place = ["z", "y", "x", *POSITION_UM]
    values = table[place].to_numpy(dtype=float, na_value=np.nan)
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        row = table.iloc[int(np.flatnonzero(bad)[0])]
        raise BadData(
            f"{what}: {int(bad.sum())} rows without a position in space, the first in "
            f"frame {row['frame']}, label {row['label']}; filter them out or measure anew"
        )
    check_rows(table, what=what)
    ordered = table.sort_values([*OBJECT, "channel"], kind="stable")
    single = ordered.drop_duplicates(OBJECT).reset_index(drop=True)
    if len(ordered.drop_duplicates([*OBJECT, *place])) > len(single):
        both = ordered.drop_duplicates([*OBJECT, *place])
        row = both[both.duplicated(OBJECT)].iloc[0]
        raise BadData(
            f"{what}: frame {row['frame']}, label {row['label']} stands at two places; "
            "labels must be unique within a frame"
        )
    single.attrs.update(table.attrs)
    return single


def check_rows(table: pd.DataFrame, *, what: str = "table") -> None:
    """Raise BadData where an object has two rows for one channel."""
    twice = table.duplicated([*OBJECT, "channel"])
    if twice.any():
        row = table[twice].iloc[0]
        raise BadData(
            f"{what}: frame {row['frame']}, label {row['label']}, channel "
            f"{row['channel']} has more than one row"
        )


def select(nodes: pd.DataFrame, size_min: float | None, size_max: float | None) -> pd.DataFrame:
    """Return the objects whose area [px] lies strictly between the limits, in the same order."""
    keep = np.ones(len(nodes), dtype=bool)
    if size_min is not None:
        keep &= nodes["area"].to_numpy() > size_min
    if size_max is not None:
        keep &= nodes["area"].to_numpy() < size_max
    return nodes[keep].reset_index(drop=True)


def assemble(
    table: pd.DataFrame, nodes: pd.DataFrame, edges: ArrayLike, *, min_track_length: int = 1
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Make the tables of kinds ``tracks`` and ``edges``.

    Parameters
    ----------
    table : DataFrame
        Of kind ``cells``; all its rows are kept.
    nodes : DataFrame
        The tracked objects, a selection of the rows of `objects` in the same order.
    edges : array of int, shape (m, 2)
        Links as positions in ``nodes``.
    min_track_length
        Trees with fewer objects are left untracked.
    """
    import pandas as pd

    edges = np.asarray(edges, dtype=np.int64).reshape(-1, 2)
    if min_track_length > 1 and len(nodes):
        tree = _components(len(nodes), edges)
        keep = np.bincount(tree)[tree] >= min_track_length
        edges = (np.cumsum(keep) - 1)[edges[keep[edges].all(axis=1)]]
        nodes = nodes[keep].reset_index(drop=True)
    found = lineage(nodes["frame"].to_numpy(dtype=np.int64), edges)
    ids = nodes[OBJECT].copy()
    ids["track_id"] = pd.array(found.track_id, dtype="Int64")
    ids["parent_track_id"] = pd.array(found.parent_track_id, dtype="Int64")
    ids.loc[ids["parent_track_id"] == 0, "parent_track_id"] = pd.NA
    ids["tree_id"] = pd.array(found.tree_id, dtype="Int64")
    ids["generation"] = pd.array(found.generation, dtype="Int32")
    bare = table.drop(columns=[c for c in LINEAGE if c in table.columns])
    tracks = bare.merge(ids, on=OBJECT, how="left", validate="many_to_one")
    tracks.attrs.update(table.attrs)
    return tracks, _edge_table(table, nodes, edges, found)


def _edge_table(
    table: pd.DataFrame, nodes: pd.DataFrame, edges: Ints, found: Lineage
) -> pd.DataFrame:
    import pandas as pd

    source, target = edges[:, 0], edges[:, 1]
    place = nodes[POSITION_UM].to_numpy(dtype=float)
    frame = nodes["frame"].to_numpy(dtype=np.int32)
    label = nodes["label"].to_numpy(dtype=np.uint32)
    columns: dict[str, Any] = {
        "position": nodes["position"].to_numpy()[source],
        "frame": frame[source],
        "label": label[source],
        "next_frame": frame[target],
        "next_label": label[target],
        "track_id": found.track_id[source],
        "next_track_id": found.track_id[target],
        "link": found.link,
        "distance_um": np.linalg.norm(place[target] - place[source], axis=1),
    }
    result = pd.DataFrame(columns)
    result.attrs.update(table.attrs)
    return result


def edge_indices(nodes: pd.DataFrame, edges: pd.DataFrame, *, what: str = "edges") -> Ints:
    """Return a table of edges as positions in ``nodes`` (see `objects`), shape (m, 2).

    Raises
    ------
    BadData
        If an edge names an object that is not there.
    """
    import pandas as pd

    index = pd.MultiIndex.from_arrays([nodes["frame"].astype(int), nodes["label"].astype(int)])
    ends = []
    for columns in (OBJECT, ["next_frame", "next_label"]):
        wanted = pd.MultiIndex.from_arrays([edges[c].astype(int) for c in columns])
        found = index.get_indexer(wanted)
        if (found < 0).any():
            frame, label = wanted[int(np.flatnonzero(found < 0)[0])]
            raise BadData(
                f"{what}: frame {frame}, label {label} is not in the table of tracks; "
                "give the edges that the same tracker wrote"
            )
        ends.append(found)
    return np.stack(ends, axis=1).astype(np.int64).reshape(-1, 2)


def coordinates(nodes: pd.DataFrame, unit: Unit | Length) -> NDArray[np.float64]:
    """Return the places of objects in one isotropic unit, shape (n, 2 or 3), axes (z,) y, x.

    Parameters
    ----------
    unit
        ``um``; ``px``: pixels along x, so that z and y of other pixel sizes are scaled; or
        ``diameter``: the median diameter of the objects.
        The axis z is left out where all objects have the same.
    """
    if unit == Unit.px:
        size = np.asarray(nodes.attrs.get("pixel_size") or (1.0, 1.0, 1.0), dtype=float)
        place = nodes[["z", "y", "x"]].to_numpy(dtype=float) * (size / size[2])
    else:
        place = nodes[POSITION_UM].to_numpy(dtype=float) / micrometre_per(nodes, unit)
    flat = len(place) == 0 or np.ptp(place[:, 0]) == 0
    return np.ascontiguousarray(place[:, 1:] if flat else place)


def micrometre_per(nodes: pd.DataFrame, unit: Unit | Length) -> float:
    """Return the length of a unit [um]; see `coordinates`.

    Raises
    ------
    BadData
        If the unit is the diameter of the objects, and none has a size.
    """
    if unit == Unit.um or len(nodes) == 0:
        return 1.0
    if unit == Unit.px:
        return float((nodes.attrs.get("pixel_size") or (1.0, 1.0, 1.0))[2])
    radius = nodes["equivalent_radius_um"].to_numpy(dtype=float)
    if not (radius > 0).any():
        raise BadData(
            "unit=diameter: the table has no sizes of cells (equivalent_radius_um); give the "
            "distances in px or um"
        )
    return float(2 * np.median(radius[radius > 0]))
