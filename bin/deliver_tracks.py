#!/usr/bin/env python3
"""Tracks for other programs: GEFF, TrackMate XML, napari, Cell Tracking Challenge."""

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from cytoloom import cli, files, images, tables, tracks
from cytoloom.errors import BadData, UsageError
from cytoloom.regions import Region

if TYPE_CHECKING:
    import pandas as pd

OUT = cli.Contract("output")
log = logging.getLogger("cytoloom")


def frames_of(layer: images.Layer) -> Iterator[NDArray[np.uint32]]:
    """Yield the label image of each frame, axes (z,) y, x."""
    whole = Region.whole(layer.shape)
    for frame in cli.progress(whole.frames, "mask", total=layer.shape[0]):
        data = layer.read(whole.frame(frame))[0]
        yield data[0] if len(data) == 1 else data


def check_lineage(nodes: "pd.DataFrame", edges: NDArray[np.int64], *, what: str) -> None:
    """Raise BadData where the edges do not give the tracks of the table."""
    found = tracks.lineage(nodes["frame"].to_numpy(dtype=np.int64), edges)
    for name in ("track_id", "tree_id"):
        ours = nodes[name].to_numpy(dtype=np.int64)
        pairs = np.unique(np.stack([ours, getattr(found, name)]), axis=1).shape[1]
        if not pairs == len(np.unique(ours)) == len(np.unique(getattr(found, name))):
            raise BadData(
                f"{what}: the edges do not give the {name} of the table of tracks; "
                "give both from the same tracker"
            )


def main(
    table: cli.Table,
    edges: cli.Table,
    label: Annotated[
        str | None,
        cli.Contract("input"),
        typer.Option(help="label layer, by label or by track, for --out-ctc: a path or a glob"),
    ] = None,
    trackmate: Annotated[
        str | None,
        cli.Contract("input"),
        typer.Option(help="file that TrackMate itself wrote: --out-trackmate is a copy of it"),
    ] = None,
    out_geff: Annotated[Path | None, OUT, typer.Option(help="GEFF store to write")] = None,
    out_trackmate: Annotated[Path | None, OUT, typer.Option(help="TrackMate XML to write")] = None,
    out_napari: Annotated[
        Path | None, OUT, typer.Option(help="CSV of napari's tracks layer to write")
    ] = None,
    out_napari_graph: Annotated[
        Path | None, OUT, typer.Option(help="JSON of napari's lineage graph to write")
    ] = None,
    out_ctc: Annotated[
        Path | None, OUT, typer.Option(help="Cell Tracking Challenge folder to write")
    ] = None,
) -> None:
    """Export tracks, one or several formats at once. Untracked cells are left out.

    TrackMate XML is in micrometre and second; the others are in pixels and frames, so
    that they lie on the label image.
    """
    if not any((out_geff, out_trackmate, out_napari, out_napari_graph, out_ctc)):
        raise UsageError(
            "nothing to write: give --out-geff, --out-trackmate, --out-napari, "
            "--out-napari-graph or --out-ctc"
        )
    if out_ctc and label is None:
        raise UsageError("--out-ctc needs the label image: give --label")
    everything = tables.read_table(table, "tracks")
    links = tables.read_table(edges, "edges")
    tracked = everything[everything["track_id"].notna()]
    nodes = tracks.objects(tracked, what=table)
    layer = images.open_layer(label, kind="label") if label else None
    if len(tracked) < len(everything):
        log.info("%d rows of untracked cells left out", len(everything) - len(tracked))
    pairs = tracks.edge_indices(nodes, links, what=edges)
    check_lineage(nodes, pairs, what=edges)
    if out_geff:
        write_geff(out_geff, nodes, pairs, tracked)
    if out_trackmate and trackmate:
        source = files.find(trackmate, what="TrackMate file")[0]
        with files.writing(out_trackmate) as path:
            shutil.copy(source, path)
    elif out_trackmate:
        from cytoloom.exchange import trackmate_xml

        with files.writing(out_trackmate) as path:
            scene = trackmate_xml.scene_of(everything, layer.shape if layer else None)
            trackmate_xml.write(path, nodes, pairs, scene, table=tracked)
    if out_napari or out_napari_graph:
        write_napari(out_napari, out_napari_graph, nodes, links)
    if out_ctc and layer is not None:
        write_ctc(out_ctc, nodes, links, layer)


def write_geff(
    folder: Path, nodes: "pd.DataFrame", pairs: NDArray[np.int64], table: "pd.DataFrame"
) -> None:
    """Write the GEFF store."""
    from cytoloom.exchange import geff

    size = nodes.attrs.get("pixel_size")
    with files.writing(folder) as path:
        geff.write(
            path,
            nodes,
            pairs,
            table=table,
            pixel_size=tuple(size) if size else None,
            frame_interval=nodes.attrs.get("frame_interval"),
        )


def write_napari(
    points: Path | None, graph: Path | None, nodes: "pd.DataFrame", links: "pd.DataFrame"
) -> None:
    """Write the points, the graph, or both."""
    from cytoloom.exchange import napari

    if points:
        with files.writing(points) as path:
            napari.write_points(path, nodes)
    if graph:
        with files.writing(graph) as path:
            napari.write_graph(path, links)


def write_ctc(
    folder: Path, nodes: "pd.DataFrame", links: "pd.DataFrame", layer: images.Layer
) -> None:
    """Write the Cell Tracking Challenge folder."""
    from cytoloom.exchange import ctc

    merges = int((links["link"] == "merge").sum())
    if merges:
        log.warning(
            "%d links of merges: a track of the Cell Tracking Challenge has one parent, "
            "the others are left out there",
            merges,
        )
    key = "track_id" if layer.kind == "trackedlabel" else "label"
    with files.writing(folder) as path:
        ctc.write(path, nodes, frames_of(layer), key=key)


if __name__ == "__main__":
    cli.run(main)
