"""napari's tracks layer: a CSV of points and a JSON of the lineage graph.

``viewer.add_tracks(points, graph=graph)`` takes them as they are. Points are in frames
and pixels, so that they lie on the label image; set the layer's ``scale`` for both.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ["track_id", "t", "z", "y", "x"]


def write_points(path: Path | str, nodes: pd.DataFrame) -> None:
    """Write one line per point: track, frame, z, y, x [px], sorted by track and frame."""
    points = nodes.rename(columns={"frame": "t"})[COLUMNS].sort_values(["track_id", "t"])
    points.to_csv(path, index=False, lineterminator="\n")


def graph(edges: pd.DataFrame) -> dict[int, list[int]]:
    """Return the tracks that each track came from, by splits and merges."""
    between = edges[edges["track_id"] != edges["next_track_id"]]
    parents: dict[int, list[int]] = {}
    pairs = sorted(
        zip(between["next_track_id"].astype(int), between["track_id"].astype(int), strict=True)
    )
    for child, parent in pairs:
        parents.setdefault(child, []).append(parent)
    return parents


def write_graph(path: Path | str, edges: pd.DataFrame) -> None:
    """Write the graph as JSON: child: [parents]."""
    Path(path).write_text(json.dumps(graph(edges), indent=1) + "\n")


def read(points: Path | str, graph: Path | str) -> tuple[np.ndarray, dict[int, list[int]]]:
    """Return what ``napari.Viewer.add_tracks`` takes: points (n, 5) and graph."""
    import pandas as pd

    lineage = json.loads(Path(graph).read_text())
    return (
        pd.read_csv(points)[COLUMNS].to_numpy(dtype=float),
        {int(child): list(parents) for child, parents in lineage.items()},
    )
