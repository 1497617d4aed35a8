#!/usr/bin/env python3
"""Crocker-Grier tracking of cells with trackpy."""

import logging
import warnings
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from cytoloom import cli, tables, track_options, tracks
from cytoloom.errors import BadData, UsageError

log = logging.getLogger("cytoloom")


class Prediction(StrEnum):
    """Where a cell is expected in the next frame."""

    none = "none"
    nearest_velocity = "nearest_velocity"
    drift = "drift"
    channel = "channel"


class FlowAxis(StrEnum):
    """Axis of a flow."""

    x = "x"
    y = "y"


class LinkStrategy(StrEnum):
    """How trackpy solves a group of competing cells."""

    auto = "auto"
    recursive = "recursive"
    nonrecursive = "nonrecursive"
    hybrid = "hybrid"
    numba = "numba"
    drop = "drop"


class NeighborStrategy(StrEnum):
    """How trackpy finds neighbours."""

    KDTree = "KDTree"
    BTree = "BTree"


def link(
    frames: NDArray[np.int64],
    places: NDArray[np.float64],
    *,
    search_range: float,
    predictor: Any = None,
    **options: Any,
) -> NDArray[np.int64]:
    """Link objects over time.

    Parameters
    ----------
    frames : ndarray of int, shape (n,)
        Not decreasing.
    places : ndarray of float, shape (n, 2 or 3)
        Axes (z,) y, x.
    search_range
        Greatest distance, in the unit of ``places``.
    predictor
        One of `trackpy.predict`, fresh.
    options
        Of `trackpy.link`: memory, adaptive_stop, adaptive_step, neighbor_strategy,
        link_strategy.

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
    linked = _linked if predictor is None else _predicted
    frame = None
    particles: list[int] = []
    try:
        for number, ids in linked(frames, places, search_range, predictor, options):
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


Numbered = Iterator[tuple[int, Any]]


def _linked(
    frames: NDArray[np.int64], places: NDArray[Any], search_range: float, _: Any, options: Any
) -> Numbered:
    """Yield frame and particles, frames without cells included, as `trackpy.link` does."""
    import trackpy

    numbers = np.arange(frames[0], frames[-1] + 1)
    starts, stops = np.searchsorted(frames, numbers), np.searchsorted(frames, numbers, "right")
    spots = ((int(t), places[a:b]) for t, a, b in zip(numbers, starts, stops, strict=True))
    yield from trackpy.link_iter(spots, search_range, **options)


def _predicted(
    frames: NDArray[np.int64],
    places: NDArray[Any],
    search_range: float,
    predictor: Any,
    options: Any,
) -> Numbered:
    """Yield frame and particles of the frames with cells, as a predictor's ``link_df`` does."""
    import pandas as pd

    columns = list("zyx"[-places.shape[1] :])
    table = pd.DataFrame(places, columns=columns).assign(frame=frames)
    spots = (part for _, part in table.groupby("frame"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no velocities yet: cells are expected where they were
        for part in predictor.link_df_iter(spots, search_range, pos_columns=columns, **options):
            yield int(part["frame"].iloc[0]), part["particle"]


def predictor_of(
    prediction: Prediction, span: int, bin_size: float | None, flow_axis: str, minsamples: int
) -> Any:
    """Return a fresh predictor of trackpy, or None."""
    from trackpy import predict

    match prediction:
        case Prediction.nearest_velocity:
            return predict.NearestVelocityPredict(span=span)
        case Prediction.drift:
            return predict.DriftPredict(span=span)
        case Prediction.channel:
            if bin_size is None:
                raise UsageError("prediction=channel needs bin_size")
            return predict.ChannelPredict(bin_size, flow_axis, minsamples=minsamples, span=span)
    return None


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
    prediction: Annotated[
        Prediction,
        typer.Option(
            help="expect cells where they were; or further by the velocity of the nearest cell, "
            "by the mean velocity of all, or by the profile of a channel's flow"
        ),
    ] = Prediction.none,
    prediction_span: Annotated[
        int, typer.Option(min=1, help="velocities are over this many frames")
    ] = 1,
    bin_size: Annotated[
        float | None,
        typer.Option(min=0, help="prediction=channel: width of the bins across the flow [unit]"),
    ] = None,
    flow_axis: Annotated[
        FlowAxis, typer.Option(help="prediction=channel: axis of the flow")
    ] = FlowAxis.x,
    minsamples: Annotated[
        int, typer.Option(min=1, help="prediction=channel: cells that a bin must have")
    ] = 20,
    link_strategy: Annotated[
        LinkStrategy,
        typer.Option(help="how competing cells are solved; drop leaves them unlinked"),
    ] = LinkStrategy.auto,
    neighbor_strategy: Annotated[
        NeighborStrategy, typer.Option(help="how neighbours are found; the result is the same")
    ] = NeighborStrategy.KDTree,
    size_min: track_options.SizeMin = None,
    size_max: track_options.SizeMax = None,
    unit: track_options.Unit = tracks.Length.px,
    min_track_length: track_options.MinTrackLength = 1,
) -> None:
    """Nearest-neighbour tracking (Crocker and Grier 1996) with trackpy.

    The same tracks as trackpy.link with these arguments; min_track_length is the threshold
    of trackpy.filter_stubs. No splits and no merges. Cells outside size_min ... size_max
    stay in the table, untracked.
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
        link_strategy=str(link_strategy),
        neighbor_strategy=str(neighbor_strategy),
        predictor=predictor_of(prediction, prediction_span, bin_size, flow_axis, minsamples),
    )
    tracked, edges = tracks.assemble(cells, nodes, found, min_track_length=min_track_length)
    tables.write_table(out_tracks, tracked, "tracks")
    tables.write_table(out_edges, edges, "edges")
    log.info("%d cells, %d links, %d tracks", len(nodes), len(edges), tracked["track_id"].nunique())


if __name__ == "__main__":
    cli.run(main)
