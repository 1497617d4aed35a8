"""LAP linking: TrackMate's own results, the LapTrack library, and brute force."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cytoloom import lap

DATA = Path(__file__).parents[1] / "data" / "laptrack"
SETTINGS = {
    "without_gap_closing": lap.Limits(max_frame_gap=2, gap_closing_max_distance=None),
    "with_gap_closing": lap.Limits(max_frame_gap=2),
    "with_splitting": lap.Limits(max_frame_gap=2, splitting_max_distance=15),
    "with_merging": lap.Limits(max_frame_gap=2, merging_max_distance=15),
    "with_splitting_merging": lap.Limits(
        max_frame_gap=2, splitting_max_distance=15, merging_max_distance=15
    ),
}


def trackmate(name):
    """Return TrackMate's spots in the order of frames, and its edges forward in time."""
    spots = pd.read_csv(DATA / f"trackmate_tracks_{name}_spots.csv", index_col=0)
    edges = pd.read_csv(DATA / f"trackmate_tracks_{name}_edges.csv", index_col=0)
    frame = dict(zip(spots["id"], spots["frame"], strict=True))
    pairs = zip(edges["spot_source_id"], edges["spot_target_id"], strict=True)
    wanted = {tuple(sorted(map(int, pair), key=frame.__getitem__)) for pair in pairs}
    return spots.sort_values(["frame", "id"]).reset_index(drop=True), wanted


def ids_of(spots, edges):
    ids = spots["id"].to_numpy()
    return {(int(ids[a]), int(ids[b])) for a, b in edges}


@pytest.mark.parametrize("name", SETTINGS)
def test_reproduces_trackmate_edge_by_edge(name):
    spots, wanted = trackmate(name)
    places = spots[["position_y", "position_x"]].to_numpy()
    found = lap.link(spots["frame"].to_numpy(dtype=np.int64), places, SETTINGS[name])
    assert ids_of(spots, found) == wanted


def walk(n, frames, seed, *, size=300.0, missing=0.05):
    """Random walks with missing points: frames, places."""
    rng = np.random.default_rng(seed)
    place = rng.random((n, 2)) * size
    rows = []
    for frame in range(frames):
        place = place + rng.normal(0, 2, place.shape)
        seen = place[rng.random(n) > missing]
        rows.append(np.column_stack([np.full(len(seen), frame), seen]))
    table = np.concatenate(rows)
    return table[:, 0].astype(np.int64), np.ascontiguousarray(table[:, 1:])


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_the_laptrack_library_between_neighbouring_frames(seed):
    from track_laptrack import link_laptrack

    frames, places = walk(20, 30, seed, size=400.0)
    limits = lap.Limits(gap_closing_max_distance=None)
    ours = lap.link(frames, places, limits)
    assert ours.tolist() == link_laptrack(frames, places, limits).tolist()
    assert len(ours) > 400


def cheapest(sources, targets, limit, factor):
    """Try all assignments: the least sum of (cost - alternative)."""
    costs = {
        (i, j): float(((a - b) ** 2).sum())
        for i, a in enumerate(sources)
        for j, b in enumerate(targets)
        if ((a - b) ** 2).sum() <= limit**2
    }
    if not costs:
        return 0.0
    alternative = factor * max(costs.values()) or 1e-6
    best = 0.0
    for k in range(1, min(len(sources), len(targets)) + 1):
        for chosen in combinations(costs, k):
            if len({i for i, _ in chosen}) == len({j for _, j in chosen}) == k:
                best = min(best, sum(costs[c] - alternative for c in chosen))
    return best


places_2d = st.lists(
    st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=4, unique=True
).map(lambda p: np.array(p, dtype=float))


@given(places_2d, places_2d, st.sampled_from([3.0, 5.0, 20.0]))
def test_a_frame_pair_is_linked_at_the_least_cost(first, second, limit):
    frames = np.repeat([0, 1], [len(first), len(second)])
    places = np.concatenate([first, second])
    edges = lap.link(frames, places, lap.Limits(linking_max_distance=limit))
    costs = ((places[edges[:, 0]] - places[edges[:, 1]]) ** 2).sum(axis=1)
    assert (costs <= limit**2).all()
    all_costs = ((first[:, None] - second[None]) ** 2).sum(axis=2)
    near = all_costs[all_costs <= limit**2]
    alternative = (1.05 * near.max() or 1e-6) if near.size else 0.0
    assert (costs - alternative).sum() == pytest.approx(cheapest(first, second, limit, 1.05))


@pytest.mark.parametrize(("gap", "linked"), [(1, False), (2, False), (3, True)])
def test_frame_gap_is_a_difference_of_frames(gap, linked):
    frames = np.array([0, 1, 4, 5])
    edges = lap.link(frames, np.zeros((4, 2)), lap.Limits(max_frame_gap=gap))
    assert ([1, 2] in edges.tolist()) is linked


@pytest.mark.parametrize(("distance", "linked"), [(15.0, True), (15.0001, False)])
def test_the_limit_itself_counts(distance, linked):
    edges = lap.link(np.array([0, 1]), np.array([[0, 0], [0, distance]]), lap.Limits())
    assert len(edges) == linked


def test_a_division_in_three_dimensions():
    mother = [(t, 0.0, 0.0, t) for t in range(5)]
    daughters = [(t, 0.0, s * (t - 3.0), t) for t in range(5, 9) for s in (1, -1.5)]
    table = np.array(mother + daughters)
    edges = lap.link(
        table[:, 0].astype(np.int64), table[:, 1:], lap.Limits(5, splitting_max_distance=5)
    )
    assert {(a, b) for a, b in edges.tolist() if a == 4} == {(4, 5), (4, 6)}


@pytest.mark.parametrize("n", [0, 1])
def test_nothing_to_link(n):
    assert lap.link(np.zeros(n, dtype=np.int64), np.zeros((n, 2)), lap.Limits()).shape == (0, 2)


def test_cells_that_stand_still_are_linked():
    frames = np.repeat(np.arange(6), 3)
    places = np.tile(np.array([[0.0, 0], [40, 0], [0, 40]]), (6, 1))
    assert len(lap.link(frames, places, lap.Limits())) == 15


@pytest.mark.slow
def test_time_grows_with_neighbours_not_with_the_square():
    frames, places = walk(2000, 50, 0, size=2000.0)
    edges = lap.link(frames, places, lap.Limits(splitting_max_distance=15))
    assert len(edges) > 80_000
