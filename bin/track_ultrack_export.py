#!/usr/bin/env python3
"""Ultrack, sub-step export: tracks, their edges, and how well the solver did."""

from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from cytoloom import cli, hypotheses, tables, track_options, tracks, ultrack_options

if TYPE_CHECKING:
    import pandas as pd

OURS = ["node", "parent_node"]


def links_of(nodes: "pd.DataFrame") -> NDArray[np.int64]:
    """Return the links of objects as pairs of rows, earlier and later, shape (m, 2)."""
    import pandas as pd

    if not len(nodes):
        return np.empty((0, 2), np.int64)
    index = pd.Index(nodes["node"].astype(np.int64))
    parents = nodes["parent_node"].to_numpy(np.int64)
    earlier = index.get_indexer(parents)
    later = np.flatnonzero(earlier >= 0)
    return np.stack([earlier[later], later], axis=1).astype(np.int64)


def solver_table(windows: list[hypotheses.Window], position: str) -> "pd.DataFrame":
    """Return the table of kind ``solver``: one row per window that had anything to solve."""
    import pandas as pd

    rows = [
        {
            "position": position,
            "window": window.number,
            "first_frame": window.start,
            "last_frame": window.stop - 1,
            **window.about,
        }
        for window in windows
        if window.about
    ]
    return pd.DataFrame(rows)


def main(
    table: cli.Table,
    solution: ultrack_options.Solutions,
    out_tracks: cli.OutTable,
    out_edges: cli.OutTable,
    out_solver: cli.OutTable,
    earlier: ultrack_options.Earlier = None,
    channel: cli.Channel = None,  # noqa: ARG001 - all phases are given it
    min_track_length: track_options.MinTrackLength = 1,
    max_gap: Annotated[
        float | None,
        typer.Option(
            min=0, help="refuse a result of which the solver's gap is over this; default: never"
        ),
    ] = None,
) -> None:
    """Turn the solver's choice into tracks, edges (divisions included) and lineages."""
    from cytoloom.errors import BadData

    cells = tables.read_table(table, "cells")
    nodes = tracks.objects(cells, what=table)
    found = links_of(nodes) if len(nodes) else np.empty((0, 2), np.int64)
    bare = cells.drop(columns=[c for c in OURS if c in cells.columns])
    tracked, edges = tracks.assemble(bare, nodes, found, min_track_length=min_track_length)
    solved = hypotheses.windows([*solution, *(earlier or [])])
    said = solver_table(solved, hypotheses.read_settings(solution[0]).position)
    worst = float(said["gap"].max()) if len(said) else 0.0
    if max_gap is not None and worst > max_gap:
        raise BadData(
            f"the solver's gap is {worst:.3g}, over max_gap {max_gap:g}: raise time_limit, lower "
            "solution_gap, or give a smaller window_size"
        )
    tables.write_table(out_tracks, tracked, "tracks")
    tables.write_table(out_edges, edges, "edges")
    tables.write_table(out_solver, said, "solver")
    divisions = int((edges["link"] == "split").sum()) // 2 if len(edges) else 0
    cli.log.info(
        "%d cells, %d tracks, %d divisions, greatest gap %.3g %% in %d windows",
        len(nodes), tracked["track_id"].nunique(), divisions, 100 * worst, len(said),
    )  # fmt: skip


if __name__ == "__main__":
    cli.run(main)
