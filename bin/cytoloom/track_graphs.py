"""Scores of links, divisions and whole tracks by traccuracy, and its matching of points."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytoloom.scores import TRACCURACY, Rows, quiet
from cytoloom.track_scores import Frames, Matches


def graph_of_folder(folder: Path, lines: str) -> Any:
    """Return traccuracy's graph of a folder of masks, None where it holds no object."""
    with quiet():
        from traccuracy.loaders import load_ctc_data

        if not (folder / lines).read_text().strip():
            return None
        graph = load_ctc_data(str(folder), str(folder / lines), run_checks=False)
    _number_by_frame(graph)
    return graph


def _number_by_frame(graph: Any) -> None:
    """Number the objects of each frame from 1: traccuracy makes a matrix over all numbers."""
    for frame, nodes in graph.nodes_by_frame.items():
        names = np.unique(graph.segmentation[frame])
        names = names[names > 0]
        mask = graph.segmentation[frame]
        graph.segmentation[frame] = np.where(mask > 0, np.searchsorted(names, mask) + 1, 0)
        for node in nodes:
            attributes = graph.nodes[node]
            key = graph.label_key
            attributes[key] = int(np.searchsorted(names, attributes[key])) + 1


def graph_of_points(
    lines: NDArray[np.int64], track: NDArray[np.int64], frame: NDArray[np.int64],
    place: NDArray[np.float64],
) -> Any:  # fmt: skip
    """Return traccuracy's graph of points; None where there is none.

    Parameters
    ----------
    lines
        Tracks: number, first frame, last frame, parent.
    track, frame : ndarray, shape (n,)
        Of each point.
    place : ndarray, shape (n, 2 or 3)
    """
    if not len(track):
        return None
    import networkx as nx
    from traccuracy import TrackingGraph

    axes = ("z", "y", "x")[-place.shape[1] :]
    graph: Any = nx.DiGraph()
    node = {}
    for number, (t, f, p) in enumerate(
        zip(track.tolist(), frame.tolist(), place.tolist(), strict=True)
    ):
        node[t, f] = number
        graph.add_node(number, t=f, track=t, **dict(zip(axes, p, strict=True)))
    ends = {number: end for number, _, end, _ in lines.tolist()}
    for number, begin, end, parent in lines.tolist():
        for f in range(begin, end):
            graph.add_edge(node[number, f], node[number, f + 1])
        if parent:
            graph.add_edge(node[parent, ends[parent]], node[number, begin])
    return TrackingGraph(graph, location_keys=axes)


def match_by_iou(true: Any, found: Any, threshold: float) -> Any:
    """Match the nodes of two graphs one to one by the IoU of their masks."""
    from traccuracy.matchers import IOUMatcher

    with quiet():
        return IOUMatcher(iou_threshold=threshold, one_to_one=True).compute_mapping(true, found)


def match_by_distance(true: Any, found: Any, distance: float) -> Any:
    """Match the nodes of two graphs one to one by distance."""
    from traccuracy.matchers import PointMatcher

    with quiet():
        return PointMatcher(threshold=distance).compute_mapping(true, found)


def matches_of_points(
    matched: Any, true_lines: NDArray[np.int64], found_lines: NDArray[np.int64], frames: int
) -> Matches:
    """Return a matching of points in the form that py-ctcmetrics scores."""
    true, found = matched.gt_graph.nodes, matched.pred_graph.nodes
    pairs: list[list[tuple[int, int]]] = [[] for _ in range(frames)]
    for a, b in matched.mapping:
        pairs[true[a]["t"]].append((true[a]["track"], found[b]["track"]))
    ordered = [sorted(one) for one in pairs]
    return Matches(
        true_lines,
        found_lines,
        tracks_by_frame(((n["t"], n["track"]) for n in true.values()), frames),
        tracks_by_frame(((n["t"], n["track"]) for n in found.values()), frames),
        [[a for a, _ in one] for one in ordered],
        [[b for _, b in one] for one in ordered],
    )


def tracks_by_frame(points: Iterable[tuple[int, int]], frames: int) -> Frames:
    """Return the tracks of each frame, in order."""
    found: Frames = [[] for _ in range(frames)]
    for frame, track in points:
        found[frame].append(track)
    return [sorted(one) for one in found]


def add_traccuracy(rows: Rows, matched: Any, buffer: int) -> None:
    """Add traccuracy's scores of nodes, links, divisions and tracks.

    Parameters
    ----------
    buffer
        Frames by which a division may be early or late, at most.
    """
    from traccuracy.metrics import (
        BasicMetrics,
        CompleteTracks,
        DivisionMetrics,
        TrackOverlapMetrics,
    )

    with quiet():
        for metric in (BasicMetrics(), TrackOverlapMetrics(), CompleteTracks()):
            for name, value in metric.compute(matched).results.items():
                rows.add(_plain(name), value, TRACCURACY)
        divisions = DivisionMetrics(max_frame_buffer=buffer).compute(matched).results
        for number in range(buffer + 1):
            for name, value in divisions[f"Frame Buffer {number}"].items():
                rows.add(_plain(name), value, TRACCURACY, threshold=float(number))
        _add_events(rows, matched)


def _plain(name: str) -> str:
    return name.lower().replace(" ", "_")


def _add_events(rows: Rows, matched: Any) -> None:
    """Add the right and wrong links and divisions of each frame, as traccuracy marked them."""
    from traccuracy import EdgeFlag, NodeFlag

    true, found = matched.gt_graph, matched.pred_graph
    events = {
        "true_positive_edges": (true, EdgeFlag.TRUE_POS),
        "false_positive_edges": (found, EdgeFlag.FALSE_POS),
        "false_negative_edges": (true, EdgeFlag.FALSE_NEG),
        "true_positive_divisions": (true, NodeFlag.TP_DIV),
        "false_positive_divisions": (found, NodeFlag.FP_DIV),
        "false_negative_divisions": (true, NodeFlag.FN_DIV),
    }
    last = max(true.end_frame, found.end_frame)
    for name, (graph, flag) in events.items():
        if isinstance(flag, EdgeFlag):
            nodes = [edge[1] for edge in graph.get_edges_with_flag(flag)]
        else:
            nodes = list(graph.get_nodes_with_flag(flag))
        counts = Counter(int(graph.nodes[node]["t"]) for node in nodes)
        threshold = 0.0 if "division" in name else None
        for frame in range(last):
            rows.add(name, counts[frame], TRACCURACY, frame=frame, threshold=threshold)
