#!/usr/bin/env python3
"""Scores of tracks against ground truth: DET, SEG, TRA, links, divisions, identities."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from cytoloom import cli, images, tables, track_graphs, track_scores, tracks, truth_tracks
from cytoloom.errors import BadData, UsageError
from cytoloom.exchange import ctc
from cytoloom.ground_truth import UNKNOWN, is_points
from cytoloom.regions import Region, Shape
from cytoloom.scores import Rows
from cytoloom.selection import Selection

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("cytoloom")
IN, CONTROL = cli.Contract("input"), cli.Contract("control")


def frames_of(layer: images.Layer, frames: int) -> Iterator[NDArray[np.uint32]]:
    """Yield the label images of the first frames, axes (z,) y, x."""
    whole = Region.whole(layer.shape)
    for frame in cli.progress(range(frames), "frame", total=frames):
        data = layer.read(whole.frame(frame))[0]
        yield data[0] if len(data) == 1 else data


def tracked_objects(cells: pd.DataFrame, what: str) -> pd.DataFrame:
    """Return the tracked objects of a table, one row each."""
    if cells.attrs["kind"] != "tracks":
        raise BadData(f"{what}: no tracks in it: give the table of a tracking step")
    return tracks.objects(cells[cells["track_id"].notna()], what=what)


def labelled_objects(layer: images.Layer, lineage: str | None, *, places: bool) -> pd.DataFrame:
    """Return the objects of a label image whose numbers are tracks, with their parents.

    Parameters
    ----------
    lineage
        File of tracks in the format of the Cell Tracking Challenge; None: no parents.
    places
        Add the centroids ``z``, ``y``, ``x``.
    """
    import pandas as pd
    from skimage.measure import regionprops_table

    parent = {}
    if lineage is not None:
        lines = ctc.read_lines(lineage)
        parent = {number: above for number, _, _, above in lines.tolist() if above}
    found = []
    for frame, labels in enumerate(frames_of(layer, layer.shape[0])):
        if places:
            cube = labels if labels.ndim == 3 else labels[np.newaxis]
            values = regionprops_table(cube, properties=("label", "centroid"))
            found += [(frame, *row) for row in zip(*values.values(), strict=True)]
        else:
            names = np.unique(labels)
            found += [(frame, name, 0, 0, 0) for name in names[names > 0].tolist()]
    nodes = pd.DataFrame(found, columns=["frame", "track_id", "z", "y", "x"])
    nodes = nodes.astype({"frame": np.int64, "track_id": np.int64})
    above = nodes["track_id"].map(parent)
    nodes["parent_track_id"] = above.where(above.isin(list(parent.values()))).astype("Int64")
    return nodes


def check_length(frames: int, truth: str) -> None:
    """Raise BadData unless there is something to track."""
    if frames < 2:
        raise BadData(f"{truth}: tracks need two frames; EvaluateSegmentation scores a single one")


def shape_of(nodes: pd.DataFrame, select: str | None) -> Shape:
    """Return the shape of the images that a table was measured on, as far as it is known."""
    far = UNKNOWN
    if select:
        return Selection.parse(select, (far, far, far, far)).shape
    flat = not len(nodes) or np.ptp(nodes["z"].to_numpy(float)) == 0
    return (far, 1 if flat else far, far, far)


def add_outlines(
    rows: Rows, truth: str, nodes: pd.DataFrame, layer: images.Layer, select: str | None,
    key: str, iou_threshold: float, max_frame_buffer: int, folder: Path,
) -> None:  # fmt: skip
    """Add all scores of tracks with outlines against masks; ``folder`` is for files between."""
    there, here = folder / "truth", folder / "result"
    frames = truth_tracks.write_tracks(truth, there, layer.shape, select)
    check_length(frames, truth)
    ctc.write(here, nodes[nodes["frame"] < frames], frames_of(layer, frames), key=key)
    matches = track_scores.match_folders(there, here)
    track_scores.add_ctc(rows, matches)
    graphs = (
        track_graphs.graph_of_folder(there / "TRA", ctc.TRUTH[1]),
        track_graphs.graph_of_folder(here, ctc.RESULT[1]),
    )
    if None not in graphs:
        matched = track_graphs.match_by_iou(*graphs, iou_threshold)
        track_graphs.add_traccuracy(rows, matched, max_frame_buffer)


def add_points(
    rows: Rows, truth: str, nodes: pd.DataFrame, shape: Shape, pixel_size: Any, select: str | None,
    max_distance: float, unit: tracks.Unit, max_frame_buffer: int,
) -> None:  # fmt: skip
    """Add all scores of tracks against points."""
    spots, links = truth_tracks.read_points(truth, shape, select)
    order = tracks.lineage(spots["frame"].to_numpy(dtype=np.int64), links)
    merges = order.link.count("merge")
    if merges:
        log.warning("%s: %d links of merges: one parent is kept, as in the scores", truth, merges)
    spots["track_id"], spots["parent_track_id"] = order.track_id, order.parent_track_id
    size = np.asarray(pixel_size, float)
    scale = size if unit is tracks.Unit.um else size / size[2]
    graphs, lines = [], []
    for table in (spots, nodes):
        piece, line = ctc.pieces(table)
        place = table[["z", "y", "x"]].to_numpy(float) * scale
        place = place[:, 1:] if shape[1] == 1 else place
        frame = table["frame"].to_numpy(dtype=np.int64)
        graphs.append(track_graphs.graph_of_points(line, piece, frame, place))
        lines.append(line)
    last = int(max([-1, *spots["frame"], *nodes["frame"]])) + 1
    frames = last if shape[0] == UNKNOWN else shape[0]
    check_length(frames, truth)
    if None in graphs:
        track_scores.add_ctc(rows, _without_matches(lines, (spots, nodes), frames))
        return
    matched = track_graphs.match_by_distance(graphs[0], graphs[1], max_distance)
    matches = track_graphs.matches_of_points(matched, lines[0], lines[1], frames)
    track_scores.add_ctc(rows, matches)
    track_graphs.add_traccuracy(rows, matched, max_frame_buffer)


def _without_matches(
    lines: list[NDArray[np.int64]], found: tuple[pd.DataFrame, pd.DataFrame], frames: int
) -> track_scores.Matches:
    both = [
        track_graphs.tracks_by_frame(
            zip(table["frame"].tolist(), ctc.pieces(table)[0].tolist(), strict=True), frames
        )
        for table in found
    ]
    none: track_scores.Frames = [[] for _ in range(frames)]
    return track_scores.Matches(lines[0], lines[1], both[0], both[1], none, none)


def main(
    ground_truth: Annotated[
        str,
        typer.Option(
            help="folder of the Cell Tracking Challenge (with TRA, SEG), label image whose numbers "
            "last over time (TIFF, folder of TIFFs, OME-Zarr) or TrackMate XML"
        ),
    ],
    out_evaluation: cli.OutTable,
    label: Annotated[
        str | None, IN, typer.Option(help="label layer, by track or by label: a path or a glob")
    ] = None,
    table: Annotated[str | None, IN, typer.Option(help="table of tracks: a path or a glob")] = None,
    select: Annotated[
        str | None,
        CONTROL,
        typer.Option(help="part of the user's stack that the result shows: t=0:50:1,y=0:512:1"),
    ] = None,
    lineage: Annotated[
        str | None,
        typer.Option(
            help="for labels without a table: file of tracks with parents (res_track.txt)"
        ),
    ] = None,
    iou_threshold: Annotated[
        float,
        typer.Option(
            min=0.01, max=1, help="IoU from which two outlines match, for links and divisions"
        ),
    ] = 0.5,
    max_frame_buffer: Annotated[
        int, typer.Option(min=0, help="frames by which a division may be early or late")
    ] = 2,
    max_distance: Annotated[
        float,
        typer.Option(min=0, help="distance up to which two points match, for TrackMate XML [unit]"),
    ] = 15.0,
    unit: Annotated[
        tracks.Unit, typer.Option(help="unit of the distance: px (pixels along x) or um")
    ] = tracks.Unit.px,
) -> None:
    """Score tracks against ground truth: DET, SEG, TRA, links, divisions, identity switches.

    The scores are those of py-ctcmetrics and traccuracy, per frame and over all frames.
    """
    if label is None and table is None:
        raise UsageError("nothing to score: give --label, --table or both")
    if table is not None and lineage is not None:
        raise UsageError("--lineage goes with labels alone: a table of tracks has its own parents")
    points = is_points(ground_truth)
    if label is None and not points:
        raise UsageError("outlines are scored on a label image: give --label")
    layer = images.open_layer(label, kind="label") if label else None
    if table is not None:
        cells = tables.read_table(table, "tracks")
        nodes, about = tracked_objects(cells, table), {str(k): v for k, v in cells.attrs.items()}
    elif layer is not None:
        nodes, about = labelled_objects(layer, lineage, places=points), tables.describe(layer)
    channel = layer.channel if layer else str(about["channel"])
    rows = Rows(str(about["position"]), channel)
    if points:
        shape = layer.shape if layer else shape_of(nodes, select)
        size = about.get("pixel_size") or (1.0, 1.0, 1.0)
        add_points(
            rows, ground_truth, nodes, shape, size, select, max_distance, unit, max_frame_buffer
        )
    elif layer is not None:
        by_label = table is not None and layer.kind != "trackedlabel"
        out_evaluation.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".scores-", dir=out_evaluation.parent) as name:
            add_outlines(
                rows, ground_truth, nodes, layer, select, "label" if by_label else "track_id",
                iou_threshold, max_frame_buffer, Path(name).absolute(),
            )  # fmt: skip
    tables.write_arrow(
        out_evaluation, tables.from_columns(rows.columns(), "evaluation", about=about)
    )
    for name in ("DET", "SEG", "TRA"):
        value = rows.value(name)
        log.info("%s: %s", name, "none" if value is None else f"{value:.4f}")


if __name__ == "__main__":
    cli.run(main)
