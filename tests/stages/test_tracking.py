"""track_laptrack, track_trackpy, track_relabel: tables in, tables and label images out."""

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import track_laptrack
import track_relabel
import track_trackpy
from cells_table import cells, tracked
from simulated_lineages import Movie, lineage, score

from cytoloom import images, layouts, tables, tracks
from cytoloom.errors import BadData
from cytoloom.regions import Region

BIN = Path(track_laptrack.__file__).parent
DATA = Path(__file__).parents[1] / "data" / "laptrack"
TRACKERS = {"laptrack": track_laptrack.main, "trackpy": track_trackpy.main}


@pytest.fixture
def run(tmp_path):
    """Return a function that tracks a table and reads the results."""

    def track(main, table, **arguments):
        tables.write_table(tmp_path / "cells.parquet", table, "cells")
        out = {k: tmp_path / f"{k}.parquet" for k in ("tracks", "edges")}
        main(
            table=str(tmp_path / "cells.parquet"),
            out_tracks=out["tracks"],
            out_edges=out["edges"],
            **arguments,
        )
        return (
            tables.read_table(out["tracks"], "tracks"),
            tables.read_table(out["edges"], "edges"),
        )

    return track


def movie(n=12, frames=20, seed=0, *, missing=0.1, depth=False, size=200):
    """Random walks of n cells with missing ones, labels shuffled in each frame."""
    rng = np.random.default_rng(seed)
    place = rng.random((n, 3)) * (size / 8 if depth else 0, size, size)
    points = []
    for frame in range(frames):
        place = place + rng.normal(0, 1, place.shape) * (0.3 if depth else 0, 1, 1)
        seen = place[rng.random(n) >= missing]
        points += [
            (frame, label, *p)
            for label, p in zip(rng.permutation(len(seen)) + 1, seen, strict=True)
        ]
    return cells(points)


def chains(edges):
    return {
        tuple(map(int, e)) for e in edges[["frame", "label", "next_frame", "next_label"]].to_numpy()
    }


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("without_gap_closing", {"gap_closing": False}),
        ("with_gap_closing", {}),
        ("with_splitting", {"splitting_max_distance": 15.0}),
        ("with_merging", {"merging_max_distance": 15.0}),
        ("with_splitting_merging", {"splitting_max_distance": 15.0, "merging_max_distance": 15.0}),
    ],
)
def test_laptrack_gives_trackmates_edges(run, name, arguments):
    spots = pd.read_csv(DATA / f"trackmate_tracks_{name}_spots.csv", index_col=0)
    edges = pd.read_csv(DATA / f"trackmate_tracks_{name}_edges.csv", index_col=0)
    columns = ["frame", "id", "position_y", "position_x"]
    table = cells(list(spots[columns].itertuples(index=False, name=None)))
    found, links = run(track_laptrack.main, table, max_frame_gap=2, **arguments)
    wanted = {frozenset(e) for e in edges[["spot_source_id", "spot_target_id"]].to_numpy().tolist()}
    assert {frozenset(e) for e in links[["label", "next_label"]].to_numpy().tolist()} == wanted
    # TrackMate's tracks are our trees; its table leaves out cells without a link.
    assert found.loc[found.duplicated("tree_id", keep=False), "tree_id"].nunique() == (
        edges["track_id"].nunique()
    )


@pytest.mark.parametrize("rules", ["trackmate", "laptrack"])
def test_a_division(run, rules):
    mother = [(t, 1, 50, 50 + t) for t in range(5)]
    daughters = [(t, 1 + s, 50 + (4 * s - 2) * (t - 4), 54) for t in range(5, 9) for s in (0, 1)]
    table = cells(mother + daughters)
    found, links = run(
        track_laptrack.main,
        table,
        linking_max_distance=5.0,
        splitting_max_distance=8.0,
        rules=track_laptrack.Rules(rules),
    )
    assert found["track_id"].nunique() == 3
    assert set(found.loc[found["track_id"] > 1, "parent_track_id"]) == {1}
    assert found["tree_id"].unique().tolist() == [1]
    assert found.groupby("track_id")["generation"].first().tolist() == [0, 1, 1]
    assert (links["link"] == "split").sum() == 2


@pytest.mark.parametrize("tracker", TRACKERS)
def test_the_order_of_rows_does_not_matter(run, tracker):
    table = movie(missing=0.05)
    shuffled = table.sample(frac=1, random_state=1)
    shuffled.attrs.update(table.attrs)
    for one, two in zip(
        run(TRACKERS[tracker], table), run(TRACKERS[tracker], shuffled), strict=True
    ):
        pd.testing.assert_frame_equal(one, two)


@pytest.mark.parametrize("tracker", TRACKERS)
@pytest.mark.parametrize("kept", ["none", "one frame", "two cells far apart in time"])
def test_little_or_nothing_to_track(run, tracker, kept):
    table = movie()
    if kept == "two cells far apart in time":
        keep = (table["label"] == 1) & table["frame"].isin([0, 15])
    else:
        keep = (table["frame"] == 3) & (kept == "one frame")
    found, links = run(TRACKERS[tracker], table[keep])
    assert len(found) == keep.sum()
    assert len(links) == 0
    assert found["track_id"].tolist() == list(range(1, len(found) + 1))
    assert found["parent_track_id"].isna().all()
    assert {"track_id", "tree_id", "generation"} <= set(found.columns)


@pytest.mark.parametrize("tracker", TRACKERS)
def test_size_limits_are_strict_and_keep_all_rows(run, tracker):
    table = cells([(t, n, 20 * n, 20) for t in range(3) for n in (1, 2, 3, 4)], channels=("a", "b"))
    table["area"] = table["label"].astype(int) * 10
    found, _ = run(TRACKERS[tracker], table, size_min=10, size_max=40)
    assert len(found) == len(table)
    assert found.loc[found["area"].isin([10, 40]), "track_id"].isna().all()
    assert found.loc[found["area"].isin([20, 30]), "track_id"].notna().all()
    assert found["track_id"].nunique() == 2


@pytest.mark.parametrize("tracker", TRACKERS)
def test_coordinates_that_are_not_numbers_are_refused(run, tracker):
    table = movie()
    table.loc[5, "x"] = np.inf
    with pytest.raises(BadData, match="without a position in space"):
        run(TRACKERS[tracker], table)


@pytest.mark.parametrize("tracker", TRACKERS)
def test_depth_counts_with_its_own_spacing(run, tracker):
    points = [(t, n, 2.0 * t * (n == 1), 40 * n, 40) for t in range(2) for n in (1, 2)]
    table = cells(points, pixel_size=(5.0, 0.5, 0.5))
    pixels, micrometres = 20.0, 10.0
    for limit, linked in ((pixels - 0.5, 1), (pixels + 0.5, 2)):
        _, links = run(TRACKERS[tracker], table, linking_max_distance=limit)
        assert len(links) == linked
    _, links = run(
        TRACKERS[tracker],
        table,
        linking_max_distance=micrometres + 0.1,
        unit=track_laptrack.tracks.Unit.um,
    )
    assert len(links) == 2
    assert links["distance_um"].tolist() == [10.0, 0.0]


@pytest.mark.parametrize(("gap", "linked"), [(2, False), (3, True)])
@pytest.mark.parametrize("tracker", TRACKERS)
def test_gaps_of_the_same_length_for_both_trackers(run, tracker, gap, linked):
    table = cells([(t, 1, 20, 20) for t in (0, 1, 4, 5)] + [(t, 2, 90, 90) for t in range(6)])
    _, links = run(TRACKERS[tracker], table, max_frame_gap=gap)
    assert ((0 + 1, 1, 4, 1) in chains(links)) is linked
    assert set(links["link"]) == ({"link", "gap"} if linked else {"link"})


@pytest.mark.parametrize("tracker", TRACKERS)
def test_recovers_the_true_tracks_of_walkers(run, tracker):
    truth = movie(n=30, missing=0.0, size=1500)
    found, links = run(TRACKERS[tracker], truth)
    assert found["track_id"].nunique() == 30
    assert (found.groupby("track_id")["frame"].nunique() == 20).all()
    assert len(links) == 30 * 19


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore:The inplace keyword"
)
def test_trackpy_is_trackpys_own_linking(run):
    import trackpy

    table = movie(n=60, frames=15, missing=0.1)
    found, _ = run(track_trackpy.main, table, search_range=6.0, memory=2)
    trackpy.quiet()
    theirs = trackpy.link(table[["frame", "y", "x", "label"]].copy(), 6.0, memory=2)
    both = found.merge(theirs, on=["frame", "label"])
    pairs = both[["track_id", "particle"]].drop_duplicates()
    assert len(pairs) == both["track_id"].nunique() == both["particle"].nunique()


def test_trackpy_says_what_to_do_about_crowds(run):
    rng = np.random.default_rng(0)
    points = [(t, n, *p) for t in range(2) for n, p in enumerate(rng.random((150, 2)) * 40, 1)]
    with pytest.raises(BadData, match="lower search_range or memory, or set adaptive_stop"):
        run(track_trackpy.main, cells(points), search_range=15.0)
    found, _ = run(track_trackpy.main, cells(points), search_range=15.0, adaptive_stop=0.5)
    assert len(found) == 300


def test_min_track_length_is_trackmates_table(run):
    table = cells([(0, 1, 5, 5), (1, 1, 5, 5), (0, 2, 99, 99)])
    found, _ = run(track_laptrack.main, table, min_track_length=2)
    assert found["track_id"].tolist() == [1, pd.NA, 1]


@pytest.mark.slow
@pytest.mark.parametrize("tracker", TRACKERS)
def test_the_same_bytes_in_two_processes(tmp_path, tracker):
    tables.write_table(tmp_path / "cells.parquet", movie(n=40, missing=0.15), "cells")
    written = []
    for seed in "12":
        folder = tmp_path / seed
        command = [
            sys.executable,
            BIN / f"track_{tracker}.py",
            "--table",
            tmp_path / "cells.parquet",
            "--out-tracks",
            folder / "t.parquet",
            "--out-edges",
            folder / "e.parquet",
            "--max_frame_gap",
            "3",
        ]
        subprocess.run(command, check=True, env=os.environ | {"PYTHONHASHSEED": seed})
        written.append([(folder / f"{n}.parquet").read_bytes() for n in "te"])
    assert written[0] == written[1]


def test_bad_data_is_one_line_and_exit_65(tmp_path):
    table = movie()
    table["position"] = np.where(table["frame"] < 5, "p1", "p2")
    tables.write_table(tmp_path / "cells.parquet", table, "cells")
    command = [
        sys.executable,
        BIN / "track_laptrack.py",
        "--table",
        tmp_path / "cells.parquet",
        "--out-tracks",
        tmp_path / "t.parquet",
        "--out-edges",
        tmp_path / "e.parquet",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 65
    assert len(done.stderr.splitlines()) == 1
    assert "one position at a time" in done.stderr
    assert not (tmp_path / "t.parquet").exists()


def layout(shape, shards):
    return layouts.Layout(
        shape=shape,
        dtype=np.dtype(np.uint32),
        chunks=shards,
        shards=shards,
        pixel_size=(1.0, 0.5, 0.5),
        frame_interval=60.0,
        position="p1",
        channel="TCell",
        kind="label",
    )


@pytest.fixture
def labelled(tmp_path):
    """Write a label image of random labels and a table that tracks most of them."""
    rng = np.random.default_rng(0)
    data = rng.integers(0, 9, (4, 1, 16, 24), dtype=np.uint32)
    data[1] = 0
    like = layout(data.shape, (1, 1, 8, 8))
    whole = Region.whole(data.shape)
    images.write_part(tmp_path / "label.zarr", data, region=whole, like=like, kind="label")
    table = tracked({n: [(t, 0, 1, 1) for t in (0, 2, 3)] for n in range(1, 8)})
    table["track_id"] = (table["track_id"] * 100_000).where(table["label"] != 3)
    tables.write_table(tmp_path / "tracks.parquet", table, "tracks")
    return tmp_path, data, table


def test_relabel_by_definition_and_tiled_as_whole(labelled):
    folder, data, table = labelled
    label, path = str(folder / "label.zarr"), str(folder / "tracks.parquet")
    track_relabel.main(label=label, table=path, out_trackedlabel=folder / "whole.zarr")
    whole = images.open_layer(folder / "whole.zarr", kind="trackedlabel").read()
    wanted = np.zeros_like(data)
    for row in table.dropna(subset=["track_id"]).itertuples():
        wanted[row.frame][data[row.frame] == row.label] = row.track_id
    assert np.array_equal(whole, wanted)
    assert whole.dtype == np.uint32
    for i, region in enumerate(("t=0:2,x=0:8", "t=0:2,x=8:24", "t=2:4")):
        track_relabel.main(
            label=label, table=path, region=region, out_trackedlabel=folder / f"part.{i:04d}.zarr"
        )
    assert np.array_equal(images.open_layer(f"{folder}/part.*.zarr").read(), whole)


def test_relabel_without_any_track(labelled):
    folder, _, table = labelled
    tables.write_table(folder / "none.parquet", table[:0], "tracks")
    track_relabel.main(
        label=str(folder / "label.zarr"),
        table=str(folder / "none.parquet"),
        out_trackedlabel=folder / "none.zarr",
    )
    assert not images.open_layer(folder / "none.zarr").read().any()


def test_track_numbers_must_fit_into_a_label_image(labelled):
    folder, _, table = labelled
    table["track_id"] = table["track_id"] + 2**32
    tables.write_table(folder / "big.parquet", table, "tracks")
    with pytest.raises(BadData, match="does not fit into a label image"):
        track_relabel.main(
            label=str(folder / "label.zarr"),
            table=str(folder / "big.parquet"),
            out_trackedlabel=folder / "big.zarr",
        )


def test_recovers_a_real_lineage_of_three_generations(run, shared):
    """Cells of btrack's test movie: 500 frames, one cell that divides twice."""
    folder = shared / "tracks_gt" / "btrack"
    points = pd.read_csv(folder / "test_data.csv")
    truth = json.loads((folder / "test_ground_truth.json").read_text())
    graph = json.loads((folder / "test_graph.json").read_text())
    names = points.index + 1
    table = cells(list(zip(points["t"], names, points["y"], points["x"], strict=True)))
    found, links = run(
        track_laptrack.main,
        table,
        linking_max_distance=40.0,
        gap_closing_max_distance=40.0,
        splitting_max_distance=40.0,
    )
    wanted = {pair for rows in truth.values() for pair in pairwise(rows)}
    wanted |= {(truth[str(p)][-1], truth[c][0]) for c, ps in graph.items() for p in ps}
    pairs = links[["label", "next_label"]].to_numpy(dtype=int) - 1
    assert set(map(tuple, pairs.tolist())) == wanted
    track = found.set_index(found["label"].astype(int) - 1)
    of = {int(k): track.loc[rows[0], "track_id"] for k, rows in truth.items()}
    for name, rows in truth.items():
        assert set(track.loc[rows, "track_id"]) == {of[int(name)]}
        parents = {of[p] for p in graph.get(name, [])}
        assert set(track.loc[rows, "parent_track_id"].dropna()) == parents
    assert found.groupby("track_id")["generation"].first().tolist() == [0, 1, 1, 2, 2, 2, 2]


# What docs/tracking.md recommends for dividing nuclei.
DIVIDING = {
    "unit": tracks.Length.diameter,
    "linking_max_distance": 1.0,
    "max_frame_gap": 3,
    "gap_closing_max_distance": 0.5,
    "splitting_max_distance": 1.0,
    "rules": track_laptrack.Rules.laptrack,
}


@pytest.mark.parametrize(
    ("movie", "diameter"),
    [
        (Movie(frames=65, start=20, cycle=35), 60),
        pytest.param(Movie(frames=150, start=12, cycle=60), 60, marks=pytest.mark.slow),
        pytest.param(Movie(start=40, width=14, cycle=60), 20, marks=pytest.mark.slow),
        pytest.param(Movie(apart=0.8), 40, marks=pytest.mark.slow),
        pytest.param(Movie(missing=0.01), 40, marks=pytest.mark.slow),
    ],
)
def test_dividing_nuclei_by_the_recommended_arguments(run, movie, diameter):
    table, truth = lineage(movie, diameter, seed=1)
    _, links = run(track_laptrack.main, table, **DIVIDING)
    tra, f1 = score(table, truth, chains(links))
    assert tra >= 0.999
    assert f1 >= 0.9


@pytest.mark.parametrize("tracker", TRACKERS)
def test_distances_in_diameters_hold_at_any_magnification(run, tracker):
    found = []
    for zoom in (1, 4):
        table = cells([(t, n, zoom * (9.0 * t + 40 * n), 10.0) for t in (0, 1) for n in (1, 2)])
        table["equivalent_radius_um"] = 2.5 * zoom  # a diameter of 10 px
        limits = [
            len(run(TRACKERS[tracker], table, linking_max_distance=d, unit=DIVIDING["unit"])[1])
            for d in (0.89, 0.91)
        ]
        found.append(limits)
    assert found == [[0, 2], [0, 2]]


def test_diameters_need_sizes(run):
    table = movie(n=3, frames=3)
    table["equivalent_radius_um"] = np.nan
    with pytest.raises(BadData, match="has no sizes of cells"):
        run(track_laptrack.main, table, unit=DIVIDING["unit"])
