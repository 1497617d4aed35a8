#!/usr/bin/env python3
"""LAP tracking of cells, with TrackMate's arguments and TrackMate's results."""

import logging
from enum import StrEnum
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from cytoloom import cli, lap, tables, track_options, tracks

log = logging.getLogger("cytoloom")


class Rules(StrEnum):
    """Whose rules of assignment hold."""

    trackmate = "trackmate"
    laptrack = "laptrack"


def link_laptrack(
    frames: NDArray[np.int64], places: NDArray[np.float64], limits: lap.Limits
) -> NDArray[np.int64]:
    """Link objects with the LapTrack library; arguments and result as of `lap.link`."""
    import laptrack

    if not len(frames):
        return np.empty((0, 2), dtype=np.int64)
    numbers = np.arange(frames[0], frames[-1] + 1)
    starts, stops = np.searchsorted(frames, numbers), np.searchsorted(frames, numbers, "right")

    def cutoff(distance: float | None) -> float | bool:
        return False if distance is None else distance**2

    tracker = laptrack.LapTrack(
        cutoff=limits.linking_max_distance**2,
        gap_closing_cutoff=cutoff(limits.gap_closing_max_distance),
        gap_closing_max_frame_count=limits.max_frame_gap,
        splitting_cutoff=cutoff(limits.splitting_max_distance),
        merging_cutoff=cutoff(limits.merging_max_distance),
        alternative_cost_factor=limits.alternative_linking_cost_factor,
        alternative_cost_percentile=limits.cutoff_percentile * 100,
    )
    spots = [places[a:b] for a, b in zip(starts, stops, strict=True)]
    edges = [(starts[t] + i, starts[u] + j) for (t, i), (u, j) in tracker.predict(spots).edges]
    return np.array(sorted(edges), dtype=np.int64).reshape(-1, 2)


def main(
    table: cli.Table,
    out_tracks: cli.OutTable,
    out_edges: cli.OutTable,
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
    rules: Annotated[
        Rules,
        typer.Option(
            help="trackmate: TrackMate's own results, and fast; laptrack: the LapTrack "
            "library, which also joins single cells to tracks"
        ),
    ] = Rules.trackmate,
) -> None:
    """LAP tracking (Jaqaman 2008), as TrackMate's LAP tracker does it.

    Cells outside size_min ... size_max stay in the table, untracked. Only cells of
    neighbouring frames are linked directly; everything else is a gap.
    """
    cells = tables.read_table(table, ("cells", "tracks"))
    nodes = tracks.select(tracks.objects(cells, what=table), size_min, size_max)
    limits = lap.Limits(
        linking_max_distance=linking_max_distance,
        gap_closing_max_distance=gap_closing_max_distance if gap_closing else None,
        max_frame_gap=max_frame_gap,
        splitting_max_distance=splitting_max_distance,
        merging_max_distance=merging_max_distance,
        alternative_linking_cost_factor=alternative_linking_cost_factor,
        cutoff_percentile=cutoff_percentile,
    )
    link = lap.link if rules is Rules.trackmate else link_laptrack
    found = link(nodes["frame"].to_numpy(dtype=np.int64), tracks.coordinates(nodes, unit), limits)
    tracked, edges = tracks.assemble(cells, nodes, found, min_track_length=min_track_length)
    tables.write_table(out_tracks, tracked, "tracks")
    tables.write_table(out_edges, edges, "edges")
    log.info("%d cells, %d links, %d tracks", len(nodes), len(edges), tracked["track_id"].nunique())


if __name__ == "__main__":
    cli.run(main)
