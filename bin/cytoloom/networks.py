"""Networks of cells: meshes, measures per cell, GraphML, and lines drawn on an image.

Meshes are index pairs over an array of points. `delaunay_pairs` is defined for every
input: points on one line are chained along it, points in one plane of a volume are
meshed in that plane, and a point that repeats is linked to its first twin.
`threshold_connected_pairs` is what pyCyto ships under the name of triangulation.

A file of GraphML holds one graph for all its frames: nodes ``f<frame>_<channel>_<label>``
with the attribute ``frame``; no edge joins two frames. Nodes and edges are written in
the order in which they were added, so equal graphs give equal bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cytoloom.errors import BadData
from cytoloom.files import find, writing

if TYPE_CHECKING:
    import networkx as nx
    import pandas as pd

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

THRESHOLDS = tuple(range(50, 10001, 10))  # pixels; pyCyto's
DENSITY_NEIGHBOURS = 6  # the mean degree of a planar mesh
_TOLERANCE = 1e-9


def delaunay_pairs(points: Floats, *, max_distance: float | None = None) -> Integers:
    """Return the edges of the Delaunay mesh.

    Parameters
    ----------
    points : ndarray of float, shape (n, 2) or (n, 3)
        Centroids in micrometre.
    max_distance : float, optional
        Longest edge to keep, micrometre.

    Returns
    -------
    ndarray of int64, shape (m, 2)
        Row pairs i < j, sorted.

    References
    ----------
    Barber, C. B., Dobkin, D. P., Huhdanpaa, H. (1996). The Quickhull algorithm for convex
    hulls. ACM Trans. Math. Softw. 22, 469-483.
    """
    points = np.asarray(points, np.float64)
    if len(points) < 2:
        return np.empty((0, 2), np.int64)
    distinct, first, copy_of = np.unique(points, axis=0, return_index=True, return_inverse=True)
    origin = first[copy_of.ravel()]
    twins = np.flatnonzero(origin != np.arange(len(points)))
    edges = np.concatenate([first[_mesh(distinct)], np.stack([origin[twins], twins], axis=1)])
    edges = np.unique(np.sort(edges, axis=1), axis=0).astype(np.int64)
    if max_distance is not None:
        edges = edges[lengths(points, edges) <= max_distance * (1 + _TOLERANCE)]
    return edges


def _mesh(points: Floats) -> Integers:
    """Return edges over distinct points, whatever dimension they span."""
    if len(points) < 2:
        return np.empty((0, 2), np.int64)
    centred = points - points.mean(axis=0)
    _, spread, directions = np.linalg.svd(centred, full_matrices=False)
    rank = int((spread > _TOLERANCE * spread[0]).sum())
    flat = centred if rank == points.shape[1] else centred @ directions[:rank].T
    while rank > 1:
        edges = _qhull(flat / spread[0])
        if edges is not None:
            return edges
        rank -= 1
        flat = centred @ directions[:rank].T
    order = np.argsort(flat[:, 0], kind="stable")
    return np.stack([order[:-1], order[1:]], axis=1)


def _qhull(points: Floats) -> Integers | None:
    """Return Qhull's edges, or None where the points are too flat for it."""
    from scipy.spatial import Delaunay, QhullError

    try:
        mesh = Delaunay(points)
    except QhullError:
        return None
    corners = mesh.simplices.shape[1]
    sides = [mesh.simplices[:, [i, j]] for i in range(corners) for j in range(i)]
    # Points that Qhull leaves out as too near to a vertex hang on that vertex.
    return np.concatenate([*sides, mesh.coplanar[:, [0, 2]]]).astype(np.int64)


def threshold_connected_pairs(
    points: Floats, thresholds: Sequence[float] = THRESHOLDS
) -> tuple[Integers, float | None]:
    """Link all points at least 1 and at most d apart, d the first threshold that connects them.

    Parameters
    ----------
    points : ndarray of float, shape (n, ndim)
        Centroids in pixels.
    thresholds : ascending sequence of float
        Pixels.

    Returns
    -------
    edges : ndarray of int64, shape (m, 2)
        Row pairs i < j, sorted; none where no threshold connects the points.
    threshold : float or None
        The threshold d; None where none connects them, or there is no point.
    """
    from scipy.spatial import cKDTree

    nothing = np.empty((0, 2), np.int64)
    if len(points) < 2:
        return nothing, (thresholds[0] if len(points) else None)
    points = np.asarray(points, np.float64)
    tree = cKDTree(points)
    # Connectivity only grows with d: step wider until connected, then bisect.
    low, high = -1, 0
    while (edges := _linked(points, tree, thresholds[high])) is None:
        if high == len(thresholds) - 1:
            return nothing, None
        low, high = high, min(2 * high + 1, len(thresholds) - 1)
    while high - low > 1:
        middle = (low + high) // 2
        fewer = _linked(points, tree, thresholds[middle])
        if fewer is None:
            low = middle
        else:
            high, edges = middle, fewer
    return edges, thresholds[high]


def _linked(points: Floats, tree: Any, threshold: float) -> Integers | None:
    """Return the edges of 1 to ``threshold`` pixels if they connect all points, else None."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = tree.query_pairs(threshold * (1 + _TOLERANCE), output_type="ndarray")
    distance = lengths(points, edges)
    edges = edges[(distance >= 1) & (distance <= threshold)]
    count = len(points)
    graph = coo_array((np.ones(len(edges), bool), (edges[:, 0], edges[:, 1])), (count, count))
    if connected_components(graph, directed=False, return_labels=False) > 1:
        return None
    return np.asarray(edges[np.lexsort((edges[:, 1], edges[:, 0]))], np.int64)


def lengths(points: Floats, edges: Integers) -> Floats:
    """Return the length of each edge, in the unit of the points."""
    steps = points[edges[:, 0]] - points[edges[:, 1]]
    return np.asarray(np.sqrt((steps**2).sum(axis=1)), np.float64)


def measure_nodes(points: Floats, edges: Integers) -> dict[str, NDArray[Any]]:
    """Measure each point's place in a mesh; NaN where there is no neighbour.

    Parameters
    ----------
    points : ndarray of float, shape (n, 2) or (n, 3)
        Centroids in micrometre.
    edges : ndarray of int, shape (m, 2)

    Returns
    -------
    dict
        ``network_degree``: edges of the point. ``neighbour_distance_um``: their mean length.
        ``nearest_neighbour_um``: distance to the nearest other point, linked or not.
        ``local_density_per_um2`` (``_um3`` in 3-D): k / (area of the disc that reaches the
        k-th nearest other point), k = 6, or all other points where there are fewer.
    """
    from scipy.spatial import cKDTree

    count, ndim = points.shape
    degree = np.bincount(edges.ravel(), minlength=count)
    total = np.zeros(count)
    np.add.at(total, edges.ravel(), np.repeat(lengths(points, edges), 2))
    near, density = np.full(count, np.nan), np.full(count, np.nan)
    others = min(DENSITY_NEIGHBOURS, count - 1)
    if others > 0:
        distance = cKDTree(points).query(points, k=others + 1)[0]
        near, reach = distance[:, 1], distance[:, -1]
        ball = np.pi * reach**2 if ndim == 2 else 4 / 3 * np.pi * reach**3
        density[reach > 0] = others / ball[reach > 0]
    linked = degree > 0
    return {
        "network_degree": degree.astype(np.int32),
        "neighbour_distance_um": np.where(linked, total / np.maximum(degree, 1), np.nan),
        "nearest_neighbour_um": near,
        f"local_density_per_um{ndim}": density,
    }


def node_id(frame: int, channel: str, label: int) -> str:
    """Return the name of a cell in a network."""
    return f"f{frame}_{channel}_{label}"


def add_cells(graph: nx.Graph[str], cells: pd.DataFrame, channel: str) -> list[str]:
    """Add a node per row of a cells or tracks table; return the names in the order of rows."""
    tracks: list[int] = [0] * len(cells)
    if "track_id" in cells.columns:
        tracks = cells["track_id"].fillna(0).astype("int64").to_list()
    columns = (cells[name].to_list() for name in ("frame", "label", "z_um", "y_um", "x_um"))
    names = []
    for frame, label, z, y, x, track in zip(*columns, tracks, strict=True):
        name = node_id(frame, channel, label)
        known = {"track_id": track} if track else {}  # track ids start from 1
        graph.add_node(
            name, frame=frame, channel=channel, label=label, z_um=z, y_um=y, x_um=x, **known
        )
        names.append(name)
    return names


def write_graphml(path: Path | str, graph: nx.Graph[str]) -> None:
    """Write a graph as GraphML, whole or not at all; equal graphs give equal bytes."""
    import networkx as nx

    with writing(path) as temporary:
        nx.write_graphml_xml(graph, temporary)


def read_graphml(pattern: Path | str) -> nx.Graph[str]:
    """Read the graphs of all parts that a path or glob names, as one graph.

    Raises
    ------
    InputMissing
        If nothing matches.
    BadData
        If a file is not GraphML.
    """
    from xml.etree.ElementTree import ParseError

    import networkx as nx

    whole: nx.Graph[str] = nx.Graph()
    for path in find(pattern, what="network"):
        try:
            part = nx.read_graphml(path)
        except (ParseError, nx.NetworkXError, KeyError, ValueError) as error:
            raise BadData(f"{path}: not a GraphML network ({error})") from error
        whole.graph.update(part.graph)
        whole.add_nodes_from(part.nodes(data=True))
        whole.add_edges_from(part.edges(data=True))
    return whole


def draw_lines(
    shape: Sequence[int], lines: Iterable[tuple[Sequence[float], Sequence[float]]]
) -> NDArray[np.bool_]:
    """Return where straight lines, one pixel wide, run.

    Parameters
    ----------
    shape : (z, y, x) of one frame
    lines : pairs of end points, each (z, y, x) in pixels

    Returns
    -------
    ndarray of bool, shape (z, y, x)
    """
    from skimage.draw import line, line_nd

    canvas = np.zeros(tuple(shape), bool)
    last = np.array(shape) - 1
    for start, stop in lines:
        ends = [np.clip(np.rint(p).astype(np.int64), 0, last) for p in (start, stop)]
        if shape[0] == 1:
            rows, columns = line(*(int(v) for v in (*ends[0][1:], *ends[1][1:])))
            canvas[0, rows, columns] = True
        else:
            canvas[line_nd(*ends, endpoint=True)] = True
    return canvas


def render(lines: NDArray[np.bool_], base: NDArray[Any] | None = None) -> NDArray[Any]:
    """Return lines as an image: 255 on 0 (uint8), or at the brightest value of a base image.

    Parameters
    ----------
    lines : ndarray of bool, shape (z, y, x)
    base : ndarray, same shape, optional
        Image of one frame; its dtype is kept.
    """
    if base is None:
        return lines.astype(np.uint8) * np.uint8(255)
    finite = base[np.isfinite(base)] if base.dtype.kind == "f" else base
    image = base.copy()
    image[lines] = max(finite.max(initial=0), 1)
    return image
