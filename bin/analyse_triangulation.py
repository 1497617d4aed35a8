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
ENDLESS = (2**31 - 1,) * 4  # shape to read a region's text by, where there is no image


class Method(StrEnum):
    delaunay = "delaunay"
    threshold_connected = "threshold_connected"


def link_frame(
    cells: pd.DataFrame, method: Method, max_distance: float | None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the edges between the rows of one frame, and the centroids in micrometre.

    Returns
    -------
    edges : ndarray of int64, shape (m, 2)
    points : ndarray of float64, shape (n, 2) of (y, x), or (n, 3) of (z, y, x)
    """
    flat = cells["volume_um3"].isna().all()
    axes = ("y", "x") if flat else ("z", "y", "x")
    points = cells[[f"{axis}_um" for axis in axes]].to_numpy(np.float64)
    if method is Method.delaunay:
        return networks.delaunay_pairs(points, max_distance=max_distance), points
    pixels = cells[list(axes)].to_numpy(np.float64)
    if not flat:
        size = cells.attrs["pixel_size"]
        pixels = pixels * (np.asarray(size) / size[2])
    edges, threshold = networks.threshold_connected_pairs(pixels)
    if threshold is None and len(cells) > 1:
        log.warning(
            "frame %d: no threshold up to %d px connects its %d cells; its network has no edge",
            cells["frame"].iloc[0], networks.THRESHOLDS[-1], len(cells),
        )  # fmt: skip
    return edges, points


def frame_network(
    cells: pd.DataFrame, edges: NDArray[np.int64], points: NDArray[np.float64], channel: str
) -> nx.Graph:
    """Return the graph of one frame; an edge's ``weight`` is its length in micrometre."""
    import networkx as nx

    graph = nx.Graph(channel=channel)
    names = networks.add_cells(graph, cells, channel)
    for (first, second), length in zip(edges, networks.lengths(points, edges), strict=True):
        graph.add_edge(names[first], names[second], weight=float(length))
    return graph


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
    import networkx as nx
    import pandas as pd

    if max_distance is not None and method is not Method.delaunay:
        raise UsageError("--max_distance is for --method delaunay only: leave one of them out")
    if out_image is not None and image is None:
        raise UsageError("--out-image needs --image, which gives the picture its size")
    cells = tables.read_table(table, ("cells", "tracks"))
    layer = images.open_layer(image) if image is not None else None
    where = Region.parse(region, layer.shape if layer else ENDLESS)
    if layer and where.shape[1:] != tuple(layer.shape[1:]):
        raise UsageError(f"region {where}: networks need whole frames; give only t=start:stop")
    about = cells.attrs
    cells = cells[cells["frame"].between(where.t[0], where.t[1] - 1)].reset_index(drop=True)
    name = about.get("channel") or "cells"

    measures, graphs, pictures = [networks.measure_nodes(np.empty((0, 2)), np.empty((0, 2), int))], [], {}
    for frame, rows in cells.groupby("frame"):
        edges, points = link_frame(rows, method, max_distance)
        graphs.append(frame_network(rows, edges, points, name))
        measures.append(networks.measure_nodes(points, edges))
        pictures[frame] = rows[["z", "y", "x"]].to_numpy()[edges]
    whole = nx.compose_all(graphs) if graphs else nx.Graph(channel=name)

    if out_network is not None:
        networks.write_graphml(out_network, whole)
    if out_table is not None:
        places = pd.concat([pd.DataFrame(m) for m in measures], ignore_index=True)
        joined = pd.concat([cells, places], axis=1)
        joined.attrs.update(about)
        units = {c: c.rsplit("_", 1)[-1] for c in places if c.endswith("_um")}
        tables.write_table(out_table, joined, about["kind"], units=units)
    if out_image is not None and layer is not None:
        data = np.stack([
            draw_frame(layer, where.frame(t), pictures.get(t, ()), base_image=base_image)
            for t in where.frames
        ])  # fmt: skip
        images.write_part(out_image, data, region=where, like=layer, kind="image", channel=channel)
        if out_statistics is not None:
            statistics.write(out_statistics, data, where)


def draw_frame(
    layer: images.Layer, where: Region, lines: Any, *, base_image: bool
) -> NDArray[Any]:
    """Return the picture of one frame's network, shape (z, y, x)."""
    drawn = networks.draw_lines(where.shape[1:], lines)
    return networks.render(drawn, layer.read(where)[0] if base_image else None)


if __name__ == "__main__":
    cli.run(main)
