#!/usr/bin/env python3
"""TrackpyMSD: drift and mean squared displacement, with trackpy's own functions."""

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from cytoloom import cli, kinematics, tables, tracks
from cytoloom.errors import BadData

if TYPE_CHECKING:
    import pandas as pd

OptionalTable = Annotated[
    Path | None, cli.Contract("output"), typer.Option(help="table (Parquet) to write")
]
AXES = "zyx"
log = logging.getLogger("cytoloom")


def calibration(table: "pd.DataFrame", *, what: str) -> tuple[float, float]:
    """Return micrometre per pixel and frames per second; 1 where it is not known.

    Raises
    ------
    BadData
        If the pixels of the tracks are not of one size: trackpy knows only one.
    """
    size = table.attrs.get("pixel_size") or (1.0, 1.0, 1.0)
    used = size if len(table) and np.ptp(table["z"]) > 0 else size[1:]
    if not np.allclose(used, used[-1], rtol=1e-9):
        raise BadData(
            f"{what}: pixels of {' x '.join(f'{s:g}' for s in used)} um; trackpy's mean squared "
            "displacement takes one size of pixels: use Kinematics"
        )
    return float(size[2]), 1 / float(table.attrs.get("frame_interval") or 1.0)


def trajectories(nodes: "pd.DataFrame") -> "pd.DataFrame":
    """Return the table that trackpy takes: frame, particle, places [px], by frame."""
    columns = ["frame", "label", *AXES]
    found = nodes.loc[nodes["track_id"].notna(), columns].reset_index(drop=True)
    found["particle"] = nodes.loc[nodes["track_id"].notna(), "track_id"].to_numpy(dtype=np.int64)
    found["frame"] = found["frame"].astype(np.int64)
    twice = found.duplicated(["particle", "frame"])
    if twice.any():
        row = found[twice].iloc[0]
        raise BadData(f"track {row['particle']} has two cells in frame {row['frame']}")
    return found


def drift_of(traj: "pd.DataFrame", smoothing: int, axes: list[str]) -> "pd.DataFrame":
    """Return the drift of all tracks together [px] by frame; see `trackpy.compute_drift`."""
    import trackpy

    return trackpy.compute_drift(traj, smoothing, pos_columns=axes)


def squared_displacement(
    traj: "pd.DataFrame", mpp: float, fps: float, max_lag: int, axes: list[str]
) -> "pd.DataFrame":
    """Return `trackpy.imsd` of each track and `trackpy.emsd` of all (null ``track_id``).

    ``n`` counts the pairs of points; ``n_independent`` is trackpy's number of independent
    ones, by which it weights the tracks.
    """
    import pandas as pd
    import trackpy

    columns = ["track_id", "lag_frames", "lag_s", "msd_um2", "n", "n_independent"]
    longest = int((traj.groupby("particle")["frame"].agg(np.ptp)).max()) if len(traj) else 0
    if not longest:
        return pd.DataFrame(
            {c: pd.Series(dtype="Int64" if c == "track_id" else float) for c in columns}
        )
    lags = min(max_lag, longest)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        each = trackpy.imsd(traj, mpp, fps, lags, pos_columns=axes)
        every = trackpy.emsd(traj, mpp, fps, lags, detail=True, pos_columns=axes)
    counts = pairs(traj, lags)
    rows: list[tuple[Any, ...]] = [
        (pd.NA, lag, lag / fps, value, int(counts.loc[lag].sum()), number)
        for lag, value, number in zip(every.index, every["msd"], every["N"], strict=True)
    ]
    for particle in each.columns:
        rows += [
            (particle, lag, lag / fps, value, int(counts.at[lag, particle]), np.nan)
            for lag, value in enumerate(each[particle].to_numpy(), start=1)
            if np.isfinite(value)
        ]
    table = pd.DataFrame(rows, columns=columns)
    return table.astype({"track_id": "Int64", "lag_frames": "int32", "n": "int64"})


def pairs(traj: "pd.DataFrame", lags: int) -> "pd.DataFrame":
    """Count the pairs of points a lag apart, by lag and track."""
    import pandas as pd

    counts = {}
    for particle, rows in traj.groupby("particle"):
        frames = rows["frame"].to_numpy()
        gaps = (frames[np.newaxis] - frames[:, np.newaxis])[np.triu_indices(len(frames), 1)]
        counts[particle] = np.bincount(gaps, minlength=lags + 1)[1 : lags + 1]
    return pd.DataFrame(counts, index=range(1, lags + 1))


def drift_table(
    drift: "pd.DataFrame", nodes: "pd.DataFrame", size: tuple[float, ...]
) -> "pd.DataFrame":
    """Return the drift as a table of kind ``drift``."""
    import pandas as pd

    table = pd.DataFrame({"frame": drift.index.to_numpy(dtype=np.int32)})
    table["position"] = nodes["position"].iloc[0] if len(nodes) else ""
    for axis, length in zip(AXES, size, strict=True):
        moved = drift[axis].to_numpy(dtype=float) if axis in drift else np.zeros(len(drift))
        table[f"drift_{axis}"] = moved
        table[f"drift_{axis}_um"] = moved * length
    table.attrs.update(nodes.attrs)
    return table


def main(
    table: cli.Table,
    out_tracks: cli.OutTable,
    out_msd: OptionalTable = None,
    out_drift: OptionalTable = None,
    subtract_drift: Annotated[
        bool, typer.Option(help="take the common motion of all tracks off first")
    ] = True,
    smoothing: Annotated[
        int, typer.Option(min=0, help="smooth the drift over this many frames; 0: not at all")
    ] = 0,
    max_lag: Annotated[int, typer.Option(min=1, help="longest lag [frames]")] = 100,
    min_length: Annotated[
        int, typer.Option(min=1, help="leave out tracks of fewer points (trackpy.filter_stubs)")
    ] = 1,
) -> None:
    """Drift and mean squared displacement by trackpy: compute_drift, imsd and emsd.

    The numbers are trackpy's. The ensemble (no track_id) weights each track by its number
    of independent measurements, unlike Kinematics, which weights every pair of points
    alike. Adds the places without drift [px] to the table of tracks.
    """
    import trackpy

    tracked = tables.read_table(table, "tracks")
    nodes = tracks.objects(tracked, what=table)
    traj = trajectories(nodes)
    length = traj.groupby("particle")["frame"].transform("size")
    traj = traj[length >= min_length].reset_index(drop=True)
    axes = list(AXES) if len(traj) and np.ptp(traj["z"]) > 0 else list(AXES[1:])
    drift = drift_of(traj, smoothing, axes)
    if subtract_drift and len(traj):
        traj = trackpy.subtract_drift(traj, drift).reset_index(drop=True)
    corrected = traj[tracks.OBJECT].copy()
    for axis in AXES:
        corrected[f"{axis}_without_drift"] = traj[axis]
    drop = [c for c in corrected.columns if c in tracked.columns and c not in tracks.OBJECT]
    merged = tracked.drop(columns=drop).merge(
        corrected, on=tracks.OBJECT, how="left", validate="many_to_one"
    )
    merged.attrs.update(tracked.attrs)
    units = {f"{axis}_without_drift": "px" for axis in AXES}
    tables.write_table(out_tracks, merged, "tracks", units=units)
    if out_msd:
        mpp, fps = calibration(nodes, what=table)
        lags = squared_displacement(traj, mpp, fps, max_lag, axes[::-1])
        tables.write_table(out_msd, kinematics.named(lags, nodes), "msd")
    if out_drift:
        size = nodes.attrs.get("pixel_size") or (1.0, 1.0, 1.0)
        tables.write_table(out_drift, drift_table(drift, nodes, tuple(size)), "drift")
    log.info("%d tracks, %d points", traj["particle"].nunique(), len(traj))


if __name__ == "__main__":
    cli.run(main)
