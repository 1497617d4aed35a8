#!/usr/bin/env python3
"""TrackMate itself, from the user's Fiji: cells in, tracks and TrackMate's own file out."""

import contextlib
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from cytoloom import cli, files, jvm, provenance, tables, track_options, tracks
from cytoloom.errors import InputMissing, UsageError

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("cytoloom")

CONDITION = re.compile(r"\s*([A-Z][A-Z0-9_]*)\s*(<|>)=?\s*([-+.\deE]+)\s*")


def conditions(texts: Sequence[str], option: str) -> list[tuple[str, bool, float]]:
    """Read filters such as ``NUMBER_SPOTS > 5`` into feature, whether above, and value.

    Raises
    ------
    UsageError
        If one cannot be read.
    """
    found = []
    for text in texts:
        match = CONDITION.fullmatch(text)
        try:
            if not match:
                raise ValueError
            found.append((match[1], match[2] == ">", float(match[3])))
        except ValueError:
            raise UsageError(
                f"{option}={text!r}: write a feature of TrackMate, > or <, and a number, "
                "such as 'NUMBER_SPOTS > 5'"
            ) from None
    return found


def with_quality(
    features: dict[str, list[Any]], nodes: "pd.DataFrame", column: str | None
) -> dict[str, list[Any]]:
    """Return the features with a column of the table as the quality of the spots."""
    if column is None:
        return features
    name = tables.column_name(column, list(nodes.columns))
    return features | {"QUALITY": nodes[name].astype(float).fillna(0.0).tolist()}


def main(
    table: cli.Table,
    out_tracks: cli.OutTable,
    out_edges: cli.OutTable,
    out_trackmate: Annotated[
        Path | None, cli.Contract("output"), typer.Option(help="TrackMate file (XML) to write")
    ] = None,
    linking_max_distance: track_options.LinkingMaxDistance = 15.0,
    max_frame_gap: track_options.MaxFrameGap = 5,
    gap_closing_max_distance: track_options.GapClosingMaxDistance = 15.0,
    gap_closing: track_options.GapClosing = True,
    splitting_max_distance: track_options.SplittingMaxDistance = None,
    merging_max_distance: track_options.MergingMaxDistance = None,
    size_min: track_options.SizeMin = None,
    size_max: track_options.SizeMax = None,
    unit: track_options.Unit = tracks.Length.px,
    alternative_linking_cost_factor: track_options.AlternativeLinkingCostFactor = 1.05,
    cutoff_percentile: track_options.CutoffPercentile = 0.9,
    min_track_length: track_options.MinTrackLength = 1,
    quality: Annotated[
        str | None,
        typer.Option(help="column that becomes TrackMate's quality; default: 1 for every cell"),
    ] = None,
    initial_spot_filter: Annotated[
        float | None, typer.Option(help="drop spots of a quality below this; default: none")
    ] = None,
    spot_filter: Annotated[
        list[str] | None,
        typer.Option(help="track only spots such as 'AREA > 50'; may be repeated"),
    ] = None,
    track_filter: Annotated[
        list[str] | None,
        typer.Option(help="keep only tracks such as 'NUMBER_SPOTS > 5'; may be repeated"),
    ] = None,
    fiji: Annotated[
        str | None,
        typer.Option(
            help="Fiji.app folder, folder of jars, or Maven coordinate of TrackMate; default: "
            "$CYTOLOOM_FIJI, else fiji in the cache folder"
        ),
    ] = None,
    heap: Annotated[
        int | None,
        typer.Option(min=64, help="Java's heap [MB]; default: 70 % of the task's memory"),
    ] = None,
) -> None:
    """Tracking by TrackMate (Tinevez 2017): its own LAP trackers, from your Fiji.

    The simple LAP tracker, or with splitting_max_distance or merging_max_distance the LAP
    tracker. Cells are imported as spots, not detected anew. Filters take TrackMate's names
    of features. The file that TrackMate writes opens in Fiji (in micrometre and second).
    """
    from cytoloom import trackmate
    from cytoloom.exchange.trackmate_xml import scene_of, spot_features

    cells = tables.read_table(table, ("cells", "tracks"))
    nodes = tracks.select(tracks.objects(cells, what=table), size_min, size_max)
    scene = scene_of(cells)
    scale = tracks.micrometre_per(nodes, unit)

    def micrometre(distance: float | None) -> float | None:
        return None if distance is None else distance * scale

    settings = trackmate.Settings(
        linking_max_distance=linking_max_distance * scale,
        max_frame_gap=max_frame_gap,
        gap_closing_max_distance=micrometre(gap_closing_max_distance if gap_closing else None),
        splitting_max_distance=micrometre(splitting_max_distance),
        merging_max_distance=micrometre(merging_max_distance),
        alternative_linking_cost_factor=alternative_linking_cost_factor,
        cutoff_percentile=cutoff_percentile,
        initial_spot_filter=initial_spot_filter,
        spot_filters=conditions(spot_filter or [], "spot_filter"),
        track_filters=conditions(track_filter or [], "track_filter"),
    )
    features = with_quality(spot_features(nodes, cells, scene), nodes, quality)
    try:
        jars = jvm.find_jars(fiji, "TrackMate")
    except InputMissing as error:
        raise InputMissing(
            f"{error}; or use LapTrack, which gives the same links without Java"
        ) from error
    java = jvm.start(jars, heap_mb=heap)
    version = trackmate.version()
    provenance.note(trackmate=version, java=java)
    with contextlib.ExitStack() as stack:
        xml = stack.enter_context(files.writing(out_trackmate)) if out_trackmate else None
        found = trackmate.run(features, settings, scene, xml)
    rows = np.cumsum(found.kept) - 1
    kept = nodes[found.kept].reset_index(drop=True)
    kept.attrs.update(nodes.attrs)
    edges = rows[found.edges]
    tracked, links = tracks.assemble(cells, kept, edges, min_track_length=min_track_length)
    tables.write_table(out_tracks, tracked, "tracks")
    tables.write_table(out_edges, links, "edges")
    log.info(
        "TrackMate %s: %d cells, %d links, %d tracks",
        version, len(kept), len(links), tracked["track_id"].nunique(),
    )  # fmt: skip


if __name__ == "__main__":
    cli.run(main)
