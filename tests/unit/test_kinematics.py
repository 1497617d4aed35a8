"""Kinematics: movements with known answers, and trackpy for the squared displacement."""

import numpy as np
import pandas as pd
import pytest
from cells_table import tracked
from hypothesis import given, settings
from hypothesis import strategies as st

from cytoloom import kinematics, tracks
from cytoloom.errors import BadData


def moved(table, interval=60.0, **options):
    track = kinematics.points(tracks.objects(table), **options)
    values = kinematics.motion(
        track["frame"].to_numpy(dtype=np.int64),
        track["track_id"].to_numpy(dtype=np.int64),
        track[kinematics.SPACE].to_numpy(dtype=float),
        interval,
    )
    return track, pd.DataFrame(values)


def test_constant_velocity_with_a_gap():
    table = tracked({1: [(f, 0.0, 3.0 * f, 4.0 * f) for f in (0, 1, 4, 5)]})
    _, m = moved(table)
    assert m["dt_s"].tolist()[1:] == [60, 180, 60]
    assert m["dx_um"].tolist()[1:] == [2, 6, 2]
    assert m["dy_um"].tolist()[1:] == [1.5, 4.5, 1.5]
    assert m["displacement_um"].tolist()[1:] == [2.5, 7.5, 2.5]
    assert m["path_length_um"].tolist() == [0, 2.5, 10, 12.5]
    assert m["displacement_from_origin_um"].tolist() == [0, 2.5, 10, 12.5]
    assert m["elapsed_s"].tolist() == [0, 60, 240, 300]
    assert m["speed_um_per_s"].tolist()[1:] == pytest.approx([2.5 / 60] * 3)
    assert m["velocity_x_um_per_s"].tolist()[1:] == pytest.approx([2 / 60] * 3)
    assert m["mean_speed_um_per_s"].tolist()[1:] == pytest.approx([2.5 / 60] * 3)
    assert m["path_efficiency"].tolist()[1:] == [1, 1, 1]
    assert m["acceleration_um_per_s2"].tolist()[2:] == pytest.approx([0, 0], abs=1e-12)
    assert m["turning_angle_rad"].tolist()[2:] == pytest.approx([0, 0], abs=1e-12)
    first = m.iloc[0]
    empty = [
        "dt_s",
        "dx_um",
        "displacement_um",
        "speed_um_per_s",
        "path_efficiency",
        "turning_angle_rad",
        "acceleration_um_per_s2",
        "mean_speed_um_per_s",
    ]
    assert first[empty].isna().all()
    assert m.loc[1, ["turning_angle_rad", "acceleration_um_per_s2"]].isna().all()


def test_a_circle():
    n = 36
    angle = 2 * np.pi * np.arange(n + 1) / n
    ring = {7: [(f, 0.0, 20 * np.sin(a), 20 * np.cos(a)) for f, a in enumerate(angle)]}
    _, m = moved(tracked(ring))
    assert m["turning_angle_rad"][2:].to_numpy() == pytest.approx(2 * np.pi / n)
    assert m["speed_um_per_s"][1:].to_numpy() == pytest.approx(2 * 10 * np.sin(np.pi / n) / 60)
    assert m["displacement_from_origin_um"].iloc[-1] == pytest.approx(0, abs=1e-9)
    assert m["path_efficiency"].iloc[-1] == pytest.approx(0, abs=1e-9)


def test_a_step_back_turns_by_pi_and_a_rest_has_no_angle():
    _, m = moved(tracked({1: [(0, 0, 0, 0), (1, 0, 0, 2), (2, 0, 0, 0), (3, 0, 0, 0)]}))
    assert m["turning_angle_rad"].iloc[2] == pytest.approx(np.pi)
    assert np.isnan(m["turning_angle_rad"].iloc[3])
    assert m["acceleration_um_per_s2"].iloc[3] == pytest.approx(-1 / 60 / 60)


def test_a_cell_that_stays_has_no_path_efficiency():
    _, m = moved(tracked({1: [(0, 0, 5, 5), (1, 0, 5, 5)]}))
    assert m["path_efficiency"].isna().all()
    assert m["speed_um_per_s"].iloc[1] == 0


def test_depth_counts_in_micrometre():
    _, m = moved(tracked({1: [(0, 0, 0, 0), (1, 1, 0, 0)]}))
    assert m["displacement_um"].iloc[1] == 2.0


@given(st.permutations(range(10)))
@settings(max_examples=20)
def test_the_order_of_rows_and_other_tracks_do_not_matter(order):
    rng = np.random.default_rng(0)
    walk = {t: [(f, 0.0, *p) for f, p in enumerate(rng.random((5, 2)))] for t in (1, 2)}
    table = tracked(walk)
    _, one = moved(table.iloc[list(order)])
    _, alone = moved(table[table["track_id"] == 2])
    pd.testing.assert_frame_equal(one.iloc[5:].reset_index(drop=True), alone)


def random_walks(seed=0, n=6, frames=25, missing=0.0):
    rng = np.random.default_rng(seed)
    walk = {}
    for t in range(1, n + 1):
        place = rng.normal(size=(frames, 2)).cumsum(axis=0)
        keep = rng.random(frames) >= missing
        walk[t] = [(f, 0.0, *p) for f, p in enumerate(place) if keep[f]]
    return tracked(walk)


@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_squared_displacement_is_trackpys(missing):
    import trackpy

    table = random_walks(missing=missing)
    track = kinematics.points(tracks.objects(table))
    ours = kinematics.squared_displacement(track, 60.0)
    theirs = trackpy.imsd(
        table.rename(columns={"track_id": "particle"}).astype({"particle": int}),
        mpp=0.5,
        fps=1 / 60,
        max_lagtime=1000,
    )
    each = ours[ours["track_id"].notna()].pivot(index="lag_s", columns="track_id", values="msd_um2")
    assert len(each) == len(theirs)
    np.testing.assert_allclose(each.to_numpy(dtype=float), theirs.to_numpy(), rtol=1e-8)
    if missing:
        return
    together = ours[ours["track_id"].isna()].set_index("lag_s")["msd_um2"]
    ensemble = trackpy.emsd(
        table.rename(columns={"track_id": "particle"}).astype({"particle": int}),
        mpp=0.5,
        fps=1 / 60,
        max_lagtime=1000,
    )
    np.testing.assert_allclose(together.to_numpy(), ensemble.to_numpy(), rtol=1e-8)


@pytest.mark.parametrize("origin", [False, True])
def test_squared_displacement_by_definition(origin):
    table = random_walks(seed=1, n=3, frames=8, missing=0.2)
    track = kinematics.points(tracks.objects(table))
    found = kinematics.squared_displacement(track, 2.0, origin=origin, max_lag=5)
    pooled = {}
    for number, points in track.groupby("track_id"):
        rows = points[["frame", *kinematics.SPACE]].to_numpy(dtype=float)
        starts = rows[:1] if origin else rows
        squares = {}
        for a in starts:
            for b in rows:
                if 0 < (lag := int(b[0] - a[0])) <= 5:
                    squares.setdefault(lag, []).append(((a[1:] - b[1:]) ** 2).sum())
                    pooled.setdefault(lag, []).append(squares[lag][-1])
        compare(found[(found["track_id"] == number).fillna(False)], squares)
    compare(found[found["track_id"].isna()], pooled)


def compare(rows, squares):
    assert set(rows["lag_frames"]) == set(squares)
    for row in rows.itertuples():
        values = squares[row.lag_frames]
        assert row.n == len(values)
        assert row.lag_s == 2 * row.lag_frames
        assert row.msd_um2 == pytest.approx(np.mean(values))
        if len(values) > 1:
            assert row.sd_um2 == pytest.approx(np.std(values, ddof=1))
        else:
            assert np.isnan(row.sd_um2)


def test_diffusion_of_a_random_walk():
    rng = np.random.default_rng(3)
    walk = {
        t: [(f, 0.0, *p) for f, p in enumerate(rng.normal(size=(400, 2)).cumsum(axis=0))]
        for t in range(1, 40)
    }
    table = tracked(walk, pixel_size=(1.0, 1.0, 1.0))
    track, m = moved(table, 1.0)
    msd = kinematics.squared_displacement(track, 1.0, max_lag=4)
    rows = kinematics.summary(track, {k: v.to_numpy() for k, v in m.items()}, msd, 4)
    assert rows["diffusion_um2_per_s"].mean() == pytest.approx(0.5, rel=0.05)


def test_summary_of_two_tracks():
    table = tracked({3: [(0, 0, 0, 0), (1, 0, 0, 2), (2, 0, 0, 0)], 5: [(4, 0, 1, 1)]})
    track, m = moved(table)
    msd = kinematics.squared_displacement(track, 60.0)
    rows = kinematics.summary(track, {k: v.to_numpy() for k, v in m.items()}, msd, 4)
    assert rows["track_id"].tolist() == [3, 5]
    assert rows["n_frames"].tolist() == [3, 1]
    assert rows["first_frame"].tolist() == [0, 4]
    assert rows["last_frame"].tolist() == [2, 4]
    assert rows["duration_s"].tolist() == [120, 0]
    assert rows["path_length_um"].tolist() == [2, 0]
    assert rows["net_displacement_um"].tolist() == [0, 0]
    assert rows["mean_speed_um_per_s"][0] == pytest.approx(2 / 120)
    assert rows["straightness"][0] == 0
    assert rows["mean_turning_angle_rad"][0] == pytest.approx(np.pi)
    assert rows.iloc[1][["mean_speed_um_per_s", "max_speed_um_per_s", "straightness"]].isna().all()
    assert rows["diffusion_um2_per_s"].isna().all()


def test_short_tracks_are_left_out():
    track, _ = moved(tracked({1: [(0, 0, 0, 0)], 2: [(0, 0, 1, 1), (1, 0, 1, 1)]}), min_length=2)
    assert track["track_id"].tolist() == [2, 2]


def test_no_tracks():
    table = tracked({1: [(0, 0, 0, 0)]})[:0]
    track, m = moved(table)
    msd = kinematics.squared_displacement(track, 1.0)
    assert len(msd) == 0
    assert len(kinematics.summary(track, {k: v.to_numpy() for k, v in m.items()}, msd, 4)) == 0


def test_a_track_at_two_places_is_refused():
    table = tracked({1: [(0, 0, 0, 0)], 2: [(0, 0, 9, 9)]})
    table["track_id"] = 1
    with pytest.raises(BadData, match="two cells in frame 0"):
        kinematics.points(tracks.objects(table))
