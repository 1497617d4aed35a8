"""Kinematics of tracks: steps, speeds, turning angles, path efficiency, squared displacement.

All lengths in micrometre, times in second. Definitions look *back*: the values of a
row belong to the step from the track's previous point to this one, so a track's first
row has none. Time comes from the real frame numbers, so a step across a gap is one
long step, not two. Path efficiency is net displacement / path length, from 0 to 1.

Points are rows of `cytoloom.tracks.objects` that have a track, sorted by track and
frame (see `points`): one row per cell and frame, however many channels were measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cytoloom.errors import BadData

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
SPACE = ["z_um", "y_um", "x_um"]
UNITS = {
    "elapsed_s": "s",
    "dt_s": "s",
    "dz_um": "um",
    "dy_um": "um",
    "dx_um": "um",
    "displacement_um": "um",
    "dz_from_origin_um": "um",
    "dy_from_origin_um": "um",
    "dx_from_origin_um": "um",
    "displacement_from_origin_um": "um",
    "path_length_um": "um",
    "path_efficiency": "",
    "velocity_z_um_per_s": "um/s",
    "velocity_y_um_per_s": "um/s",
    "velocity_x_um_per_s": "um/s",
    "speed_um_per_s": "um/s",
    "mean_speed_um_per_s": "um/s",
    "acceleration_um_per_s2": "um/s2",
    "turning_angle_rad": "rad",
}


def points(nodes: pd.DataFrame, min_length: int = 1) -> pd.DataFrame:
    """Return the points of all tracks of at least ``min_length`` points, by track and frame.

    Raises
    ------
    BadData
        If a track is at two places in one frame.
    """
    tracked = nodes[nodes["track_id"].notna()]
    length = tracked.groupby("track_id")["frame"].transform("size")
    kept = tracked[length >= min_length].sort_values(["track_id", "frame"])
    twice = kept.duplicated(["track_id", "frame"])
    if twice.any():
        row = kept[twice].iloc[0]
        raise BadData(f"track {row['track_id']} has two cells in frame {row['frame']}")
    return kept.reset_index(drop=True)


def _first(track: NDArray[np.int64]) -> NDArray[np.bool_]:
    return np.asarray(np.diff(track, prepend=track[:1] - 1) != 0)


def _start(first: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return, for each point, the row of its track's first point."""
    return np.maximum.accumulate(np.where(first, np.arange(len(first)), 0))


def _ratio(a: Floats, b: Floats) -> Floats:
    """Divide; nan where ``b`` is 0 or nan."""
    return np.asarray(np.divide(a, b, out=np.full(np.shape(a), np.nan), where=np.asarray(b) > 0))


def motion(
    frames: NDArray[np.int64], track: NDArray[np.int64], place: Floats, interval: float
) -> dict[str, Floats]:
    """Work out the motion at every point.

    Parameters
    ----------
    frames, track : ndarray of int64, shape (n,)
        Sorted by track, then frame.
    place : ndarray of float64, shape (n, 3)
        z, y, x [um].
    interval
        Time between frames [s].

    Returns
    -------
    dict of ndarray, shape (n,)
        The columns of ``UNITS``; nan where there is no value.
    """
    first = _first(track)
    start = _start(first)
    step = np.diff(place, axis=0, prepend=place[:1])
    step[first] = np.nan
    dt = np.diff(frames, prepend=frames[:1]) * interval
    dt[first] = np.nan
    distance = np.linalg.norm(step, axis=1)
    travelled = np.cumsum(np.nan_to_num(distance))
    path = travelled - travelled[start]
    away = place - place[start]
    net = np.linalg.norm(away, axis=1)
    elapsed = (frames - frames[start]) * interval
    velocity = step / dt[:, np.newaxis]
    speed = distance / dt
    last = np.roll(first, 1) | first  # nothing before the previous step: first two points
    before = np.roll(step, 1, axis=0)
    before[last] = np.nan
    speed_before, dt_before = np.roll(speed, 1), np.roll(dt, 1)
    acceleration = np.where(last, np.nan, (speed - speed_before) / ((dt + dt_before) / 2))
    return {
        "elapsed_s": elapsed.astype(float),
        "dt_s": dt,
        **{f"d{a}_um": step[:, i] for i, a in enumerate("zyx")},
        "displacement_um": distance,
        **{f"d{a}_from_origin_um": away[:, i] for i, a in enumerate("zyx")},
        "displacement_from_origin_um": net,
        "path_length_um": path,
        "path_efficiency": np.minimum(_ratio(net, path), 1.0),
        **{f"velocity_{a}_um_per_s": velocity[:, i] for i, a in enumerate("zyx")},
        "speed_um_per_s": speed,
        "mean_speed_um_per_s": _ratio(path, elapsed.astype(float)),
        "acceleration_um_per_s2": acceleration,
        "turning_angle_rad": turning_angle(before, step),
    }


def turning_angle(before: Floats, after: Floats) -> Floats:
    """Return the angle between steps, 0 (straight on) to pi (back) [rad]; nan for no step.

    Parameters
    ----------
    before, after : ndarray of float64, shape (n, 3)
    """
    across = np.linalg.norm(np.cross(before, after), axis=1)
    angle = np.arctan2(across, (before * after).sum(axis=1))
    moved = (np.linalg.norm(before, axis=1) > 0) & (np.linalg.norm(after, axis=1) > 0)
    return np.where(moved, angle, np.nan)


def squared_displacement(
    track: pd.DataFrame, interval: float, *, max_lag: int | None = None, origin: bool = False
) -> pd.DataFrame:
    """Return the mean squared displacement of each track and of all together.

    Parameters
    ----------
    track : DataFrame
        See `points`.
    interval
        Time between frames [s].
    max_lag
        Longest lag [frame]; None: as long as the tracks.
    origin
        False: over all pairs of points that lie a lag apart (time average).
        True: from the track's first point only, as in pyCyto.

    Returns
    -------
    DataFrame
        ``track_id`` (null: all tracks together, each pair of points counts once),
        ``lag_frames``, ``lag_s``, ``msd_um2``, ``n`` (number of pairs), ``sd_um2`` (sample
        standard deviation of the squared displacements; null for one).

    References
    ----------
    Qian, Sheetz and Elson, Biophys. J. 60, 910 (1991).
    """
    import pandas as pd

    names, group = np.unique(track["track_id"].to_numpy(dtype=np.int64), return_inverse=True)
    frames = track["frame"].to_numpy(dtype=np.int64)
    place = track[SPACE].to_numpy(dtype=float)
    start = _start(_first(group))
    age = frames - frames[start]
    longest = int(age.max(initial=0)) if max_lag is None else min(max_lag, int(age.max(initial=0)))
    key = group * (int(age.max(initial=0)) + 1) + age
    columns = [np.empty((0, 5))]
    for lag in range(1, longest + 1):
        later = np.flatnonzero(age >= lag)
        if origin:
            later = later[age[later] == lag]
            earlier, found = start[later], np.ones(len(later), dtype=bool)
        else:
            earlier = np.searchsorted(key, key[later] - lag)
            found = key[earlier] == key[later] - lag
        square = ((place[later[found]] - place[earlier[found]]) ** 2).sum(axis=1)
        if len(square):
            columns.append(_moments(lag, square, group[later[found]]))
    rows = np.concatenate(columns)
    table = pd.DataFrame(rows[:, 1:], columns=["lag_frames", "msd_um2", "n", "sd_um2"])
    each = rows[:, 0] >= 0
    numbers = pd.array(np.zeros(len(rows), dtype=np.int64), dtype="Int64")
    numbers[each] = names[rows[each, 0].astype(np.int64)]
    numbers[~each] = pd.NA
    table["track_id"] = numbers
    table["lag_s"] = table["lag_frames"] * interval
    return table.astype({"lag_frames": "int32", "n": "int64"})


def named(msd: pd.DataFrame, track: pd.DataFrame) -> pd.DataFrame:
    """Return ``msd`` with the position and label channel of the table ``track``."""
    result = msd.copy()
    for name in ("position", "label_channel"):
        result[name] = track[name].iloc[0] if len(track) else ""
    result.attrs.update(track.attrs)
    return result


def _moments(lag: int, square: Floats, group: NDArray[np.int64]) -> Floats:
    """Return rows of group (-1: all), lag, mean, n and standard deviation."""
    groups, inverse = np.unique(group, return_inverse=True)
    n = np.bincount(inverse)
    mean = np.bincount(inverse, square) / n
    spread = np.bincount(inverse, (square - mean[inverse]) ** 2)
    total = np.array([-1.0, lag, square.mean(), len(square), ((square - square.mean()) ** 2).sum()])
    rows = np.column_stack([groups, np.full(len(n), lag), mean, n, spread])
    rows = np.vstack([total, rows])
    rows[:, 4] = np.sqrt(_ratio(rows[:, 4], rows[:, 3] - 1))
    return rows


def summary(
    track: pd.DataFrame, moved: dict[str, Floats], msd: pd.DataFrame, fit_lags: int
) -> pd.DataFrame:
    """Return one row per track.

    Parameters
    ----------
    track : DataFrame
        See `points`.
    moved
        See `motion`.
    msd : DataFrame
        See `squared_displacement`, time average.
    fit_lags
        Lags in the fit of the diffusion coefficient; a track without all of them has none.
    """
    import pandas as pd

    number = track["track_id"].to_numpy(dtype=np.int64)
    first = _first(number)
    last = np.roll(first, -1)
    speed = pd.Series(moved["speed_um_per_s"]).groupby(number)
    turning = pd.Series(moved["turning_angle_rad"]).groupby(number)
    duration = moved["elapsed_s"][last]
    path, net = moved["path_length_um"][last], moved["displacement_from_origin_um"][last]
    counts = np.diff(np.flatnonzero(np.append(first, True)))
    result = pd.DataFrame(
        {
            "position": track["position"].to_numpy()[first],
            "label_channel": track["label_channel"].to_numpy()[first],
            "track_id": number[first],
            "tree_id": track["tree_id"].to_numpy()[first],
            "first_frame": track["frame"].to_numpy()[first],
            "last_frame": track["frame"].to_numpy()[last],
            "n_frames": counts,
            "duration_s": duration,
            "path_length_um": path,
            "net_displacement_um": net,
            "mean_speed_um_per_s": _ratio(path, duration),
            "max_speed_um_per_s": speed.max().to_numpy(),
            "straightness": moved["path_efficiency"][last],
            "mean_turning_angle_rad": turning.mean().to_numpy(),
        }
    )
    result["diffusion_um2_per_s"] = (
        result["track_id"]
        .map(diffusion(msd, fit_lags, 2 if np.ptp(track["z_um"]) == 0 else 3) if len(track) else {})
        .astype(float)
    )
    return result


def diffusion(msd: pd.DataFrame, fit_lags: int, dimensions: int) -> dict[int, float]:
    """Return the diffusion coefficient [um2/s] of each track: slope of its MSD / (2 d).

    A straight line with a free intercept (the error of localisation) through the first
    ``fit_lags`` lags, unweighted.
    """
    early = msd[msd["track_id"].notna() & (msd["lag_frames"] <= fit_lags)]
    wide = early.pivot_table(index="track_id", columns="lag_s", values="msd_um2")
    if wide.shape[1] < fit_lags:
        return {}
    wide = wide.dropna()
    lag = wide.columns.to_numpy(dtype=float)
    centred = lag - lag.mean()
    slope = wide.to_numpy(dtype=float) @ centred / (centred @ centred)
    return dict(zip(wide.index.astype(int), slope / (2 * dimensions), strict=True))
