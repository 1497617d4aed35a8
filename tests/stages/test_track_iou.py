"""track_iou: overlap of boxes, by definition and against the dense Hungarian method."""

import numpy as np
import plain_traces
import pytest
import track_iou
from cells_table import cells
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from simulated_traces import movie

from cytoloom import images, layouts, tables
from cytoloom.errors import UsageError
from cytoloom.regions import Region


def boxes_of(rectangles):
    """Boxes z0 y0 x0 z1 y1 x1 of flat rectangles (y, x, height, width)."""
    return np.array([(0, y, x, 1, y + h, x + w) for y, x, h, w in rectangles]).reshape(-1, 6)


def boxed(frames):
    """A table of cells from rectangles by frame; labels in order."""
    rows = [(t, n, *r) for t, rs in frames.items() for n, r in enumerate(rs, start=1)]
    table = cells([(t, n, y + h / 2, x + w / 2) for t, n, y, x, h, w in rows])
    for name, values in {
        "bbox_y0": [r[2] for r in rows],
        "bbox_x0": [r[3] for r in rows],
        "bbox_y1": [r[2] + r[4] for r in rows],
        "bbox_x1": [r[3] + r[5] for r in rows],
    }.items():
        table[name] = np.array(values, dtype=np.int32)
    return table


@pytest.fixture
def follow(tmp_path):
    def run(table, **arguments):
        tables.write_table(tmp_path / "c.parquet", table, "cells")
        out = [tmp_path / "t.parquet", tmp_path / "e.parquet"]
        track_iou.main(
            table=str(tmp_path / "c.parquet"), out_tracks=out[0], out_edges=out[1], **arguments
        )
        return tables.read_table(out[0], "tracks"), tables.read_table(out[1], "edges")

    return run


rectangles = st.lists(
    st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(1, 8), st.integers(1, 8)),
    max_size=6,
)


@given(rectangles, rectangles, st.sampled_from([0.0, 0.1, 0.4]))
def test_frame_pairs_as_the_dense_hungarian_method(first, second, least):
    a, b = boxes_of(first), boxes_of(second)
    masks = [np.zeros((2, 24, 24), dtype=bool) for _ in range(len(a) * len(b))]
    iou = np.zeros((len(a), len(b)))
    for i, p in enumerate(a):
        for j, q in enumerate(b):
            one, other = masks[i * len(b) + j]
            one[p[1] : p[4], p[2] : p[5]] = True
            other[q[1] : q[4], q[2] : q[5]] = True
            iou[i, j] = (one & other).sum() / (one | other).sum()
    pairs, found = track_iou.overlapping(a, b)
    wide = np.zeros_like(iou)
    wide[pairs[:, 0], pairs[:, 1]] = found
    np.testing.assert_allclose(wide, iou)
    kept = found >= least
    chosen = track_iou.assign(pairs[kept], found[kept])
    costs = np.where((iou >= least) & (iou > 0), 1 - iou, 1.0)
    row, column = linear_sum_assignment(costs)
    best = (1 - costs[row, column]).sum()
    assert iou[chosen[:, 0], chosen[:, 1]].sum() == pytest.approx(best)
    assert (iou[chosen[:, 0], chosen[:, 1]] >= least).all()
    assert len(set(chosen[:, 0])) == len(set(chosen[:, 1])) == len(chosen)


MOVIE = {
    0: [(0, 0, 10, 10), (30, 30, 10, 10)],
    1: [(2, 0, 10, 10), (30, 32, 10, 10), (60, 60, 10, 10)],
    2: [(4, 0, 10, 10), (60, 61, 10, 10)],
    3: [(6, 0, 10, 10), (30, 33, 10, 10), (60, 60, 10, 10)],
}


def test_newborn_cells_by_option(follow):
    found, links = follow(boxed(MOVIE))
    assert found["track_id"].notna().all()
    assert found["track_id"].nunique() == 4
    assert len(links) == 3 + 1 + 2
    found, links = follow(boxed(MOVIE), newborn=False)
    assert found["track_id"].nunique() == 2
    assert set(found.loc[found["track_id"].isna(), "y"]) == {65.0, 35.0}
    assert len(links) == 3 + 1


def test_gaps_by_option(follow):
    found, links = follow(boxed(MOVIE), max_frame_gap=2)
    assert found["track_id"].nunique() == 3
    assert (links["link"] == "gap").sum() == 1


def test_the_least_overlap(follow):
    table = boxed({0: [(0, 0, 10, 10)], 1: [(5, 0, 10, 10)]})
    for least, linked in ((1 / 3, 1), (0.34, 0)):
        assert len(follow(table, min_iou=least)[1]) == linked


def test_boxes_that_touch_do_not_overlap(follow):
    table = boxed({0: [(0, 0, 10, 10)], 1: [(10, 0, 10, 10)]})
    assert len(follow(table, min_iou=0.0)[1]) == 0


def test_a_frame_without_a_pair_does_not_end_the_others(follow):
    movie = {0: [(0, 0, 9, 9)], 1: [(50, 50, 9, 9)], 2: [(50, 51, 9, 9)]}
    assert len(follow(boxed(movie))[1]) == 1


@pytest.mark.parametrize("newborn", [True, False])
def test_nothing_to_track(follow, newborn):
    table = boxed(MOVIE)
    found, links = follow(table[:0], newborn=newborn)
    assert len(found) == len(links) == 0
    found, _ = follow(table[table["frame"] == 2], newborn=newborn)
    assert found["track_id"].tolist() == [1, 2]


def test_size_limits_are_included(follow):
    table = boxed(MOVIE)
    table["area"] = 100
    assert follow(table, min_size=101)[0]["track_id"].isna().all()
    assert follow(table, max_size=99)[0]["track_id"].isna().all()
    assert follow(table, min_size=100, max_size=100)[0]["track_id"].notna().all()


def labels_layer(folder, frames):
    """Write label images (t, y, x); return the pattern."""
    stack = np.asarray(frames, np.uint32)[:, None]
    layout = layouts.Layout(
        stack.shape, stack.dtype, (1, *stack.shape[1:]), stack.shape, (1, 1, 1), 1.0, "p", "a"
    )
    region = Region.whole(stack.shape)
    images.write_part(folder / "a.zarr", stack, region=region, like=layout, kind="label")
    return str(folder / "a.zarr")


def cells_of(frames):
    """The table of cells of label images."""
    rows = []
    for t, frame in enumerate(frames):
        for label in np.unique(frame[frame > 0]):
            y, x = np.nonzero(frame == label)
            rows.append((t, label, y, x))
    table = cells([(t, n, y.mean(), x.mean()) for t, n, y, x in rows])
    for name, values in {
        "bbox_y0": [y.min() for *_, y, _ in rows],
        "bbox_x0": [x.min() for *_, x in rows],
        "bbox_y1": [y.max() + 1 for *_, y, _ in rows],
        "bbox_x1": [x.max() + 1 for *_, x in rows],
    }.items():
        table[name] = np.array(values, dtype=np.int32)
    table["area"] = np.array([y.size for *_, y, _ in rows], dtype=np.int64)
    return table


def test_masks_part_cells_whose_boxes_overlap(follow, tmp_path):
    first = np.zeros((20, 20), int)
    second = first.copy()
    upper = np.tri(20, k=-4, dtype=bool)
    first[upper], first[upper.T] = 1, 2  # two triangles: their boxes are nearly the same
    second[upper], second[upper.T] = 2, 1
    label = labels_layer(tmp_path, [first, second])
    tracks, edges = follow(
        cells_of([first, second]), label=label, overlap=track_iou.Overlap.mask, min_iou=0.5
    )
    assert len(edges) == 2
    assert (edges["label"] != edges["next_label"]).all()
    assert tracks["track_id"].nunique() == 2
    _, by_box = follow(cells_of([first, second]), min_iou=0.5)
    assert len(by_box) == 2


@given(st.integers(0, 30), st.sampled_from([1, 2**24]))
def test_shared_pixels_by_definition(seed, most):
    rng = np.random.default_rng(seed)
    one, two = (rng.integers(0, 5, 300).astype(np.uint32) for _ in range(2))
    first, second = np.array([1, 3, 9]), np.array([2, 4])
    before = track_iou.MOST_PAIRS
    track_iou.MOST_PAIRS = most
    try:
        found = track_iou.shared(one, two, first, second)
    finally:
        track_iou.MOST_PAIRS = before
    counts = {(first[i], second[j]): n for i, j, n in zip(*found, strict=True)}
    expected = {(a, b): int(((one == a) & (two == b)).sum()) for a in first for b in second}
    assert counts == {key: n for key, n in expected.items() if n}


def test_masks_bridge_a_missing_frame(follow, tmp_path):
    frame = np.zeros((12, 12), int)
    frame[3:8, 3:8] = 7
    stack = [frame, frame * 0, frame]
    label = labels_layer(tmp_path, stack)
    options = {"label": label, "overlap": track_iou.Overlap.mask}
    assert len(follow(cells_of(stack), **options)[1]) == 0
    assert follow(cells_of(stack), **options, max_frame_gap=2)[1]["link"].tolist() == ["gap"]


def test_masks_need_labels(follow):
    with pytest.raises(UsageError, match="needs a label image"):
        follow(boxed({0: [(1, 1, 3, 3)]}), overlap=track_iou.Overlap.mask)


@pytest.mark.parametrize("newborn", [True, False])
def test_tracks_are_those_of_the_plain_algorithm(follow, tmp_path, newborn):
    stack = movie(8, 256, 4, seed=3, speed=2.0).labels.astype(int)
    stack[3][stack[3] == 5] = 0
    stack[:2][stack[:2] == 9] = 0
    expected = list(plain_traces.track(list(stack), newborn=newborn))
    tracks, _ = follow(cells_of(stack), newborn=newborn)
    for t, (labels, ids) in enumerate(zip(stack, expected, strict=True)):
        rows = tracks[tracks["frame"] == t].set_index("label")["track_id"].fillna(0)
        for label in np.unique(labels[labels > 0]):
            assert rows[label] == ids[labels == label][0]
