#!/usr/bin/env python3
"""Neighbour network of the cells of one channel, frame by frame (CellTriangulation).

`delaunay` links natural neighbours, by distance in micrometre. `threshold_connected`
links all centroids up to d pixels apart, d being the first of 50, 60, … 10000 px that
connects the frame: what pyCyto ships under this name. A frame that no threshold
connects has nodes but no edges. Of volumes, thresholds count in pixels of x.
Each frame stands for itself.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from cytoloom import cli, images, networks, statistics, tables
from cytoloom.errors import UsageError
from cytoloom.regions import Region

if TYPE_CHECKING:
    import networkx as nx
    import pandas as pd

log = logging.getLogger("cytoloom")
UNITS = {
    "neighbour_distance_um": "um",
    "nearest_neighbour_um": "um",
    "local_density_per_um2": "um-2",
    "local_density_per_um3": "um-3",
}
ENDLESS = (2**31 - 1,) * 4  # shape to read a region's text by, where there is no image


class Method(StrEnum):
    """Which cells are linked."""

    delaunay = "delaunay"
    threshold_connected = "threshold_connected"


def link_frame(
    cells: pd.DataFrame,
    pixel_size: Sequence[float],
    *,
    method: Method = Method.delaunay,
    max_distance: float | None = None,
    flat: bool = True,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the edges between the rows of one frame, and the centroids in micrometre.

    Parameters
    ----------
    cells : DataFrame
        Rows of one frame.
    pixel_size : (z, y, x) in micrometre
    flat : bool
        Whether the data are planes, not volumes.

    Returns
    -------
    edges : ndarray of int64, shape (m, 2)
    points : ndarray of float64, shape (n, 2) of (y, x), or (n, 3) of (z, y, x)
    """
    axes = ["y", "x"] if flat else ["z", "y", "x"]
    points = cells[[f"{axis}_um" for axis in axes]].to_numpy(np.float64)
    if method is Method.delaunay:
        return networks.delaunay_pairs(points, max_distance=max_distance), points
    pixels = cells[axes].to_numpy(np.float64)
    if not flat:
        pixels = pixels * (np.asarray(pixel_size) / pixel_size[2])
    edges, threshold = networks.threshold_connected_pairs(pixels)
    if threshold is None and len(cells) > 1:
        log.warning(
            "frame %d: no threshold up to %d px connects its %d cells; its network has no edge",
            cells["frame"].iloc[0], networks.THRESHOLDS[-1], len(cells),
        )  # fmt: skip
    return edges, points


def measure_networks(
    cells: pd.DataFrame, channel: str, *, flat: bool, **settings: Any
) -> tuple[nx.Graph, pd.DataFrame, dict[int, NDArray[np.float64]]]:
    """Link the cells of every frame.

    Parameters
    ----------
    cells : DataFrame
        Kind `cells` or `tracks`; ``attrs["pixel_size"]`` in micrometre (z, y, x).
    settings
        Method and longest edge, see `link_frame`.

    Returns
    -------
    graph : networkx.Graph
        All frames; an edge's ``weight`` is its length in micrometre.
    cells : DataFrame
        The same rows with the measures of `networks.measure_nodes`.
    lines : dict of frame to ndarray, shape (m, 2, 3)
        End points (z, y, x) of the edges in pixels.
    """
    import networkx as nx
    import pandas as pd

    graph, lines = nx.Graph(channel=channel), {}
    none = np.empty((0, 2 if flat else 3))
    measures = [networks.measure_nodes(none, np.empty((0, 2), np.int64))]
    cells = cells.sort_values(["frame", "label"], ignore_index=True)
    for frame, rows in cells.groupby("frame"):
        edges, points = link_frame(rows, cells.attrs["pixel_size"], flat=flat, **settings)
        names = networks.add_cells(graph, rows, channel)
        for (i, j), length in zip(edges, networks.lengths(points, edges), strict=True):
            graph.add_edge(names[i], names[j], weight=float(length))
        measures.append(networks.measure_nodes(points, edges))
        lines[int(frame)] = rows[["z", "y", "x"]].to_numpy(np.float64)[edges]
    if len(measures) > 1:
        del measures[0]
    places = pd.concat([pd.DataFrame(m) for m in measures], ignore_index=True)
    measured = pd.concat([cells, places], axis=1)
    measured.attrs.update(cells.attrs)
    return graph, measured, lines


def main(
    table: cli.Table,
    image: cli.Image = None,  # type: ignore[assignment]
    out_network: cli.OutNetwork = None,
    out_table: cli.OutTable = None,  # type: ignore[assignment]
    out_image: cli.OutImage = None,  # type: ignore[assignment]
    out_statistics: cli.OutStatistics = None,
    region: cli.RegionText = None,
    channel: cli.Channel = None,
    method: Annotated[
        Method,
        typer.Option(
            help="delaunay: natural neighbours; threshold_connected: the smallest of 50, 60, … "
            "10000 px that connects the frame"
        ),
    ] = Method.delaunay,
    max_distance: Annotated[
        float | None,
        typer.Option(min=0, help="longest edge of the delaunay mesh, um; default: no limit"),
    ] = None,
    base_image: Annotated[
        bool, typer.Option(help="draw the lines over the image, not over black")
    ] = False,
) -> None:
    """Neighbour network of the cells of one channel, and each cell's place in it."""
    if max_distance is not None and method is not Method.delaunay:
        raise UsageError("--max_distance is for --method delaunay only: leave one of them out")
    if image is None and (out_image is not None or base_image):
        raise UsageError("a picture needs --image, which gives it its size")
    cells = tables.read_table(table, ("cells", "tracks"))
    layer = images.open_layer(image) if image is not None else None
    where = Region.parse(region, layer.shape if layer else ENDLESS)
    if where.shape[1:] != tuple((layer.shape if layer else ENDLESS)[1:]):
        raise UsageError(f"region {where}: networks need whole frames; give only t=start:stop")
    flat = layer.shape[1] == 1 if layer else bool(cells["volume_um3"].isna().all())
    graph, measured, lines = measure_networks(
        cells[cells["frame"].between(where.t[0], where.t[1] - 1)],
        cells.attrs.get("channel") or "cells",
        flat=flat,
        method=method,
        max_distance=max_distance,
    )
    if out_network is not None:
        networks.write_graphml(out_network, graph)
    if out_table is not None:
        tables.write_table(out_table, measured, cells.attrs["kind"], units=UNITS)
    if out_image is not None and layer is not None:
        data = np.stack(
            [
                draw_frame(layer, where.frame(t), lines.get(t, ()), base_image=base_image)
                for t in where.frames
            ]
        )
        images.write_part(out_image, data, region=where, like=layer, kind="image", channel=channel)
        if out_statistics is not None:
            statistics.write(out_statistics, data, where)


def draw_frame(layer: images.Layer, where: Region, lines: Any, *, base_image: bool) -> NDArray[Any]:
    """Return the picture of one frame's network, shape (z, y, x)."""
    drawn = networks.draw_lines(where.shape[1:], lines)
    return networks.render(drawn, layer.read(where)[0] if base_image else None)


if __name__ == "__main__":
    cli.run(main)
