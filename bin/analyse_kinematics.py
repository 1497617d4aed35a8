#!/usr/bin/env python3
"""Kinematics: how cells move, per point, per track, and as mean squared displacement."""

import logging
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cytoloom import cli, kinematics, tables, tracks

OptionalTable = Annotated[
    Path | None, cli.Contract("output"), typer.Option(help="table (Parquet) to write")
]
log = logging.getLogger("cytoloom")


class From(StrEnum):
    """From where squared displacements are counted."""

    lag = "lag"
    origin = "origin"


def main(
    table: cli.Table,
    out_tracks: cli.OutTable,
    out_msd: OptionalTable = None,
    out_track_summary: OptionalTable = None,
    min_length: Annotated[
        int, typer.Option(min=1, help="leave out tracks of fewer points [frames]")
    ] = 1,
    max_lag: Annotated[
        int | None, typer.Option(min=1, help="longest lag of the MSD [frames]; default: all")
    ] = None,
    msd_from: Annotated[
        From,
        typer.Option(
            help="lag: all pairs of points a lag apart; origin: the track's first point (pyCyto)"
        ),
    ] = From.lag,
    fit_lags: Annotated[
        int, typer.Option(min=2, help="lags in the fit of the diffusion coefficient [frames]")
    ] = 4,
) -> None:
    """Kinematics of tracks, in micrometre and second.

    Adds columns to the table of tracks: step, displacement and path length, velocity,
    speed, acceleration, turning angle and path efficiency (net displacement / path
    length). Values look back to the track's previous point, so its first has none.
    """
    tracked = tables.read_table(table, "tracks")
    interval = tracked.attrs.get("frame_interval")
    units = dict(kinematics.UNITS)
    if interval is None:
        log.warning(
            "%s: the frame interval is not known; times are in frames, not seconds "
            "(set `frame_interval` at the input)",
            table,
        )
        interval = 1.0
        units = {name: unit.replace("s", "frame") for name, unit in units.items()}
    nodes = kinematics.points(tracks.objects(tracked, what=table), min_length)
    moved = kinematics.motion(
        nodes["frame"].to_numpy(dtype="int64"),
        nodes["track_id"].to_numpy(dtype="int64"),
        nodes[kinematics.SPACE].to_numpy(dtype=float),
        interval,
    )
    merged = tracked.drop(columns=[c for c in units if c in tracked.columns]).merge(
        nodes[tracks.OBJECT].assign(**moved), on=tracks.OBJECT, how="left", validate="many_to_one"
    )
    merged.attrs.update(tracked.attrs)
    tables.write_table(out_tracks, merged, "tracks", units=units)
    lags = kinematics.squared_displacement(nodes, interval, max_lag=max_lag)
    if out_msd:
        wanted = lags
        if msd_from is From.origin:
            wanted = kinematics.squared_displacement(nodes, interval, max_lag=max_lag, origin=True)
        tables.write_table(out_msd, kinematics.named(wanted, tracked), "msd")
    if out_track_summary:
        summary = kinematics.summary(nodes, moved, lags, fit_lags)
        summary.attrs.update(tracked.attrs)
        tables.write_table(out_track_summary, summary, "track_summary")


if __name__ == "__main__":
    cli.run(main)
