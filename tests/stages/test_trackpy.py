"""trackpy's steps against trackpy itself: locate, link, filter_stubs, drift and displacement."""

import warnings

import analyse_trackpy
import numpy as np
import pandas as pd
import phases
import pytest
import segment_trackpy
import tabulate_merge
import track_trackpy
from cells_table import cells, tracked
from skimage import io

from cytoloom import tables, tracks
from cytoloom.errors import BadData, UsageError

LOCATED = ["y", "x", "mass", "size", "ecc", "signal", "raw_mass", "ep", "frame"]


@pytest.fixture
def trackpy():
    import trackpy

    trackpy.quiet()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield trackpy


def beads(n=20, frames=12, size=120, depth=0, seed=0):
    """Gaussian spots that drift and diffuse, as 8-bit frames (t, z, y, x)."""
    rng = np.random.default_rng(seed)
    shape = (depth or 1, size, size)
    place = rng.random((n, 3)) * shape
    grid = np.indices(shape)
    movie = []
    for _ in range(frames):
        place = place + rng.normal(0.1, 0.5, place.shape) * ([1, 1, 1] if depth else [0, 1, 1])
        frame = np.zeros(shape)
        for centre in place if depth else place * [0, 1, 1]:
            square = ((grid - centre[:, None, None, None]) ** 2).sum(axis=0)
            frame += 120 * np.exp(-square / (2 * 2.0**2))
        movie.append(frame + rng.normal(10, 2, shape))
    return np.clip(movie, 0, 255).astype(np.uint8)


@pytest.fixture
def locate(tmp_path):
    """Locate spots of a movie in batches of frames; return the joined table."""

    def run(movie, batch=None, **arguments):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        pattern, _ = phases.write_image(folder, movie)
        step = batch or len(movie)
        for index, start in enumerate(range(0, len(movie), step)):
            segment_trackpy.main(
                image=pattern,
                out_cells=folder / f"part.{index:04d}.parquet",
                region=f"t={start}:{min(start + step, len(movie))}",
                **arguments,
            )
        tabulate_merge.main(table=f"{folder}/part.*.parquet", out_cells=folder / "cells.parquet")
        return tables.read_table(folder / "cells.parquet", "cells")

    return run


def follow(table, folder, **arguments):
    tables.write_table(folder / "c.parquet", table, "cells")
    track_trackpy.main(
        table=str(folder / "c.parquet"),
        out_tracks=folder / "t.parquet",
        out_edges=folder / "e.parquet",
        **arguments,
    )
    return tables.read_table(folder / "t.parquet", "tracks")


def same_numbers(found, theirs):
    for name in LOCATED:
        np.testing.assert_array_equal(found[name].to_numpy(float), theirs[name].to_numpy(float))


@pytest.mark.parametrize("batch", [None, 5])
def test_locate_is_batch(locate, trackpy, batch):
    movie = beads()
    options = {"minmass": 300.0, "separation": 9.0, "topn": 15}
    found = locate(movie, batch, diameter=9, **options)
    theirs = trackpy.batch(movie[:, 0], 9, processes=1, **options)
    assert len(found) == len(theirs) > 100
    same_numbers(found, theirs)
    np.testing.assert_array_equal(found["label"], theirs.groupby("frame").cumcount() + 1)
    np.testing.assert_allclose(found["intensity_sum"], found["raw_mass"])


def test_locate_in_three_dimensions(locate, trackpy):
    movie = beads(n=15, frames=2, size=56, depth=24)
    found = locate(movie, diameter=9, diameter_z=7, minmass=500.0)
    theirs = trackpy.batch(movie, (7, 9, 9), processes=1, minmass=500.0).dropna(subset="x")
    assert len(found) == len(theirs) > 3
    for name in ("z", "y", "x", "mass", "size_z", "size_x"):
        np.testing.assert_array_equal(found[name].to_numpy(float), theirs[name].to_numpy(float))
    assert found["ep_z"].notna().all()
    assert (found["bbox_z1"] - found["bbox_z0"]).max() == 7


def test_frames_without_spots(locate):
    movie = beads(frames=3)
    movie[1] = 10
    found = locate(movie, diameter=9, minmass=300.0)
    assert set(found["frame"]) == {0, 2}
    empty = locate(np.full_like(movie, 10), diameter=9)
    assert len(empty) == 0
    assert set(LOCATED) <= set(empty.columns)


def test_what_locate_refuses(locate):
    movie = beads(frames=1)
    with pytest.raises(UsageError, match="must be odd"):
        locate(movie, diameter=8)
    with pytest.raises(UsageError, match="maxsize needs the same diameter"):
        locate(beads(n=2, frames=1, size=32, depth=9), diameter=9, diameter_z=7, maxsize=3.0)


def walkers(n=40, frames=30, size=120.0, missing=0.1, seed=1, flow=0.0):
    rng = np.random.default_rng(seed)
    place = rng.random((n, 2)) * size
    points = []
    for frame in range(frames):
        place = place + rng.normal(0, 0.8, place.shape) + [0, flow]
        seen = place[rng.random(n) > missing]
        points += [(frame, i, *p) for i, p in enumerate(seen, start=1)]
    return cells(points)


def same_tracks(found, linked):
    """The same rows together; trackpy numbers what begins in one frame in no set order."""
    pairs = pd.DataFrame({"a": found["track_id"].to_numpy(), "b": linked["particle"].to_numpy()})
    assert len(found) == len(linked)
    assert len(pairs.drop_duplicates()) == pairs["a"].nunique() == pairs["b"].nunique()


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({}, {}),
        ({"memory": 3}, {"memory": 3}),
        ({"memory": 2, "adaptive_stop": 1.0, "adaptive_step": 0.9},) * 2,
        ({"link_strategy": track_trackpy.LinkStrategy.drop}, {"link_strategy": "drop"}),
        (
            {"link_strategy": track_trackpy.LinkStrategy.nonrecursive, "memory": 1},
            {"link_strategy": "nonrecursive", "memory": 1},
        ),
        (
            {"neighbor_strategy": track_trackpy.NeighborStrategy.BTree},
            {"neighbor_strategy": "BTree"},
        ),
    ],
)
def test_link_is_link(tmp_path, trackpy, ours, theirs):
    table = walkers()
    found = follow(table, tmp_path, search_range=6.0, **ours)
    linked = trackpy.link(table[["frame", "y", "x"]], 6.0, **theirs)
    same_tracks(found, linked)


@pytest.mark.parametrize("name", ["nearest_velocity", "drift", "channel"])
def test_predictions(tmp_path, trackpy, name):
    table = walkers(n=60, flow=3.0, missing=0.05)
    found = follow(
        table,
        tmp_path,
        search_range=4.0,
        memory=2,
        prediction=track_trackpy.Prediction(name),
        prediction_span=2,
        bin_size=20.0,
        minsamples=3,
    )
    predictor = {
        "nearest_velocity": lambda p: p.NearestVelocityPredict(span=2),
        "drift": lambda p: p.DriftPredict(span=2),
        "channel": lambda p: p.ChannelPredict(20.0, "x", minsamples=3, span=2),
    }[name](trackpy.predict)
    linked = predictor.link_df(table[["frame", "y", "x"]], 4.0, memory=2)
    np.testing.assert_array_equal(found["track_id"].astype(int) - 1, linked["particle"])
    assert (
        found["track_id"].nunique()
        < follow(table, tmp_path, search_range=4.0)["track_id"].nunique()
    )


def test_a_channel_needs_its_bins(tmp_path):
    with pytest.raises(UsageError, match="needs bin_size"):
        follow(walkers(frames=2), tmp_path, prediction=track_trackpy.Prediction.channel)


def displacement(table, folder, **arguments):
    tables.write_table(folder / "t.parquet", table, "tracks")
    out = {name: folder / f"{name}.parquet" for name in ("tracks", "msd", "drift")}
    analyse_trackpy.main(
        table=str(folder / "t.parquet"),
        **{f"out_{name}": path for name, path in out.items()},
        **arguments,
    )
    return [tables.read_table(path) for path in out.values()]


@pytest.mark.parametrize("smoothing", [0, 3])
def test_drift_and_displacement_are_trackpys(tmp_path, trackpy, smoothing):
    table = walkers(flow=0.4)
    found = follow(table, tmp_path, search_range=6.0, memory=3, min_track_length=8)
    linked = trackpy.link(table[["frame", "y", "x"]], 6.0, memory=3)
    kept = trackpy.filter_stubs(linked, 8).reset_index(drop=True)
    assert found["track_id"].notna().sum() == len(kept)
    drift = trackpy.compute_drift(kept, smoothing)
    steady = trackpy.subtract_drift(kept, drift)
    each, every = trackpy.imsd(steady, 0.5, 1 / 60), trackpy.emsd(steady, 0.5, 1 / 60)
    places, msd, table_of_drift = displacement(found, tmp_path, smoothing=smoothing)
    np.testing.assert_array_equal(table_of_drift["drift_x"], drift["x"])
    np.testing.assert_array_equal(table_of_drift["drift_y_um"], drift["y"] * 0.5)
    ensemble = msd[msd["track_id"].isna()]
    np.testing.assert_array_equal(ensemble["msd_um2"], every)
    np.testing.assert_allclose(ensemble["lag_s"], every.index, rtol=1e-12)
    wide = msd[msd["track_id"].notna()].pivot(
        index="lag_frames", columns="track_id", values="msd_um2"
    )
    np.testing.assert_array_equal(wide.to_numpy(float), each.to_numpy(float))
    ordered = places[places["track_id"].notna()].sort_values(["frame", "track_id"])
    np.testing.assert_array_equal(
        ordered["x_without_drift"], steady.sort_index(level=["frame", "particle"])["x"]
    )


def test_without_drift_and_short_tracks_left_out(tmp_path):
    still = {1: [(t, 0, 5.0, 5.0 + t) for t in range(6)], 2: [(t, 0, 9.0, 9.0) for t in range(2)]}
    _, msd, _ = displacement(
        tracked(still), tmp_path, subtract_drift=False, min_length=3, max_lag=3
    )
    ensemble = msd[msd["track_id"].isna()]
    np.testing.assert_allclose(ensemble["msd_um2"], np.array([1, 4, 9]) * 0.25)
    assert ensemble["n"].tolist() == [5, 4, 3]
    assert set(msd["track_id"].dropna()) == {1}


@pytest.mark.parametrize("points", [{}, {1: [(3, 0, 5.0, 5.0)]}])
def test_nothing_moves(tmp_path, points):
    table = tracked(points or {1: [(0, 0, 1.0, 1.0)]})
    places, msd, _ = displacement(table if points else table[:0], tmp_path)
    assert len(places) == len(points)
    assert len(msd) == 0
    assert {"n_independent", "msd_um2"} <= set(msd.columns)


def test_pixels_must_be_square(tmp_path):
    table = tracked({1: [(t, 0, 5.0, 5.0) for t in range(3)]}, pixel_size=[1.0, 0.5, 0.4])
    with pytest.raises(BadData, match=r"pixels of 0\.5 x 0\.4 um"):
        displacement(table, tmp_path)


@pytest.mark.slow
def test_the_walkthrough_on_real_colloids(locate, trackpy, tmp_path, shared):
    """Raw frames to displacement as in trackpy's walkthrough, on a part of its movie."""
    files = sorted((shared / "particles" / "bulk_water").glob("*.png"))[:12]
    movie = np.stack([io.imread(file)[:160, :240, 1] for file in files])[:, None]
    found = locate(movie, 4, diameter=11, minmass=20.0, invert=True)
    theirs = trackpy.batch(movie[:, 0], 11, minmass=20, invert=True, processes=1)
    same_numbers(found, theirs)
    linked = trackpy.link(theirs, 5, memory=3)
    kept = trackpy.filter_stubs(linked, 6).reset_index(drop=True)
    ours = follow(found, tmp_path, search_range=5.0, memory=3, min_track_length=6)
    ours = ours[ours["track_id"].notna()]
    assert (ours["track_id"].nunique(), len(ours)) == (kept["particle"].nunique(), len(kept))
    typical = (kept["mass"] > 50) & (kept["size"] < 2.6) & (kept["ecc"] < 0.3)
    kept = kept[typical].reset_index(drop=True)
    ours = ours[(ours["mass"] > 50) & (ours["size"] < 2.6) & (ours["ecc"] < 0.3)]
    steady = trackpy.subtract_drift(kept, trackpy.compute_drift(kept))
    every = trackpy.emsd(steady, 1.0, 1.0)
    _, msd, _ = displacement(ours, tmp_path)
    np.testing.assert_array_equal(msd.loc[msd["track_id"].isna(), "msd_um2"], every)


def test_the_unit_is_pixels_along_x(tmp_path):
    table = cells([(0, 1, 10, 10), (1, 1, 10, 18)], pixel_size=[1.0, 0.5, 0.5])
    assert follow(table, tmp_path, search_range=5.0)["track_id"].nunique() == 2
    unit = tracks.Unit.um
    assert follow(table, tmp_path, search_range=5.0, unit=unit)["track_id"].nunique() == 1


def test_tables_stay_sorted_and_complete(locate):
    found = locate(beads(frames=4), 2, diameter=9, minmass=300.0)
    assert found[["frame", "label"]].equals(
        found[["frame", "label"]].sort_values(["frame", "label"], ignore_index=True)
    )
    assert isinstance(found, pd.DataFrame)
    assert (found["area"] > 0).all()
