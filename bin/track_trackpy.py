#!/usr/bin/env python3
"""Crocker-Grier tracking of cells with trackpy."""

import logging
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from cytoloom import cli, tables, tracks
from cytoloom.errors import BadData, UsageError

log = logging.getLogger("cytoloom")


def link(
    frames: NDArray[np.int64],
    places: NDArray[np.float64],
    *,
    search_range: float,
    memory: int = 0,
    adaptive_stop: float | None = None,
    adaptive_step: float = 0.95,
) -> NDArray[np.int64]:
    """Link objects over time.

    Parameters
    ----------
    frames : ndarray of int, shape (n,)
        Not decreasing.
    places : ndarray of float, shape (n, 2 or 3)
    search_range
        Greatest distance, in the unit of ``places``.
    memory
        Frames for which an object may vanish.
    adaptive_stop, adaptive_step
        Where too many objects compete, the range shrinks by ``step`` down to ``stop``.

    Returns
    -------
    edges : ndarray of int64, shape (m, 2)
        Earlier and later object of each link, sorted.

    Raises
    ------
    BadData
        If more objects compete than trackpy can solve.

    References
    ----------
    Crocker and Grier, J. Colloid Interface Sci. 179, 298 (1996).
    """
    import trackpy

    if not len(frames):
        return np.empty((0, 2), dtype=np.int64)
    trackpy.quiet()
    numbers = np.arange(frames[0], frames[-1] + 1)
    starts, stops = np.searchsorted(frames, numbers), np.searchsorted(frames, numbers, "right")
    spots = ((int(t), places[a:b]) for t, a, b in zip(numbers, starts, stops, strict=True))
    frame = None
    particles: list[int] = []
    try:
        for number, ids in trackpy.link_iter(
            spots,
            search_range,
            memory=memory,
            adaptive_stop=adaptive_stop,
            adaptive_step=adaptive_step,
            link_strategy="hybrid",
        ):
            frame = number
            particles += [int(i) for i in ids]
    except trackpy.SubnetOversizeException as error:
        where = "the first frames" if frame is None else f"frame {frame + 1}"
        raise BadData(
            f"{where}: {error}; too many cells compete within search_range={search_range:g}: "
            "lower search_range or memory, or set adaptive_stop (for example to half of it)"
        ) from error
    particle = np.array(particles, dtype=np.int64)
    order = np.argsort(particle, kind="stable")
    edges = np.stack([order[:-1], order[1:]], axis=1)[np.diff(particle[order]) == 0]
    return edges[np.lexsort((edges[:, 1], edges[:, 0]))]


def main(
    table: cli.Table,
    out_tracks: cli.OutTable,
    out_edges: cli.OutTable,
    search_range: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="greatest distance a cell moves between frames [unit]; "
            "default: linking_max_distance",
        ),
    ] = None,
    memory: Annotated[
        int | None,
        typer.Option(min=0, help="frames for which a cell may vanish; default: max_frame_gap - 1"),
    ] = None,
    adaptive_stop: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="where too many cells compete, shrink the range down to this "
            "[unit]; not given: an error",
        ),
    ] = None,
    adaptive_step: Annotated[
        float, typer.Option(min=0.01, max=0.99, help="factor by which the range shrinks")
    ] = 0.95,
    linking_max_distance: Annotated[
        float, typer.Option(min=0, help="TrackMate's name for search_range [unit]")
    ] = 15.0,
    max_frame_gap: Annotated[int, typer.Option(min=1, help="TrackMate's name for memory + 1")] = 1,
    size_min: Annotated[
        float | None, typer.Option(help="track only cells of an area above this [px]")
    ] = None,
    size_max: Annotated[
        float | None, typer.Option(help="track only cells of an area below this [px]")
    ] = None,
    unit: Annotated[
        tracks.Unit, typer.Option(help="unit of the distances: px (pixels along x) or um")
    ] = tracks.Unit.px,
    min_track_length: Annotated[
        int, typer.Option(min=1, help="tracks of fewer cells stay untracked")
    ] = 1,
) -> None:
    """Nearest-neighbour tracking (Crocker and Grier 1996) with trackpy.

    No splits and no merges. Cells outside size_min ... size_max stay in the table,
    untracked.
    """
    reach = linking_max_distance if search_range is None else search_range
    if adaptive_stop is not None and adaptive_stop >= reach:
        raise UsageError(f"adaptive_stop={adaptive_stop:g} must be below search_range={reach:g}")
    cells = tables.read_table(table, ("cells", "tracks"))
    nodes = tracks.select(tracks.objects(cells, what=table), size_min, size_max)
    found = link(
        nodes["frame"].to_numpy(dtype=np.int64),
        tracks.coordinates(nodes, unit),
        search_range=reach,
        memory=max_frame_gap - 1 if memory is None else memory,
        adaptive_stop=adaptive_stop,
        adaptive_step=adaptive_step,
    )
    tracked, edges = tracks.assemble(cells, nodes, found, min_track_length=min_track_length)
    tables.write_table(out_tracks, tracked, "tracks")
    tables.write_table(out_edges, edges, "edges")
    log.info("%d cells, %d links, %d tracks", len(nodes), len(edges), tracked["track_id"].nunique())


if __name__ == "__main__":
    cli.run(main)
