"""Contacts: gaps, sizes and overlaps against a brute force over all pixels, and rectangles."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage import graph

from cytoloom import contacts
from cytoloom.errors import BadData

SPACINGS = {2: (0.5, 0.3), 3: (2.0, 0.5, 0.3)}


def boxes_apart(a, b, spacing):
    """Distance between the pixels of a and b as closed boxes; a, b of shape (n, ndim)."""
    steps = np.abs(a[:, None] - b[None]) - 1
    return np.sqrt(((np.maximum(steps, 0) * spacing) ** 2).sum(axis=2))


def plain_contacts(effectors, targets, counts, spacing, reach, same=False):
    """The definitions, literally: every pixel with every pixel, every face with every pixel."""
    spacing, rows = np.asarray(spacing), {}
    tolerance = 1e-6 * spacing.min()
    for e, t in product(range(1, counts[0] + 1), range(1, counts[1] + 1)):
        if same and e == t:
            continue
        a, b = np.argwhere(effectors == e), np.argwhere(targets == t)
        shared = int(((effectors == e) & (targets == t)).sum())
        gap = boxes_apart(a, b, spacing).min()
        if not (shared if reach is None else gap <= reach + tolerance):
            continue
        size, inside = 0.0, {tuple(p) for p in a}
        for pixel in a:
            for axis, side in product(range(a.shape[1]), (-1, 1)):
                beyond = pixel.copy()
                beyond[axis] += side
                if tuple(beyond) in inside:
                    continue
                centre = pixel + 0.5 + np.eye(a.shape[1])[axis] * side / 2
                outside = np.maximum(np.maximum(b - centre, centre - (b + 1)), 0)
                if (
                    np.sqrt(((outside * spacing) ** 2).sum(axis=1)).min()
                    <= (reach or 0) + tolerance
                ):
                    size += np.prod(np.delete(spacing, axis))
        rows[e - 1, t - 1] = (gap, shared * spacing.prod(), size)
    return rows


def compact(labels):
    """Number the labels that occur 1 … n."""
    found = np.unique(labels[labels > 0])
    return contacts.number_objects(labels, found, where="test"), found.size


def found_rows(pairs):
    return {
        (int(e), int(t)): (g, o, s)
        for e, t, g, o, s in zip(
            pairs.effector, pairs.target, pairs.gap, pairs.overlap, pairs.size, strict=True
        )
    }


images_of_labels = st.sampled_from([(7, 9), (1, 12), (3, 4, 5)]).flatmap(
    lambda shape: st.tuples(
        *[hnp.arrays(np.uint8, shape, elements=st.sampled_from([0, 0, 0, 1, 2, 5])) for _ in "ab"]
    )
)


@settings(max_examples=150, deadline=None)
@given(images_of_labels, st.sampled_from([None, 0.0, 0.3, 0.6, 0.9, 1.0, 2.5]), st.booleans())
def test_agrees_with_the_plain_definitions(labels, reach, same):
    (effectors, n), (targets, m) = (compact(a) for a in labels)
    if same:
        targets, m = effectors, n
    spacing = SPACINGS[effectors.ndim]
    own = np.arange(1, n + 1) if same else None
    pairs = contacts.find_contacts(effectors, targets, (n, m), spacing, reach=reach, own=own)
    expected = plain_contacts(effectors, targets, (n, m), spacing, reach, same)
    found = found_rows(pairs)
    assert list(found) == sorted(expected)
    for pair, values in expected.items():
        assert found[pair] == pytest.approx(values, abs=1e-9)


def rectangles(shape, *boxes):
    image = np.zeros(shape, np.int32)
    for number, (y, x) in enumerate(boxes, start=1):
        image[slice(*y), slice(*x)] = number
    return image


@pytest.mark.parametrize(
    ("effector", "target", "reach", "expected"),
    [
        # side by side, no pixel between them: 6 faces of 0.5 um
        (((2, 8), (2, 6)), ((2, 8), (6, 10)), 0.0, (0, 0, 6 * 0.5)),
        # one column shared: its right side, and the two ends of the shared column
        (((2, 8), (2, 7)), ((2, 8), (6, 10)), 0.0, (0, 6 * 0.15, 6 * 0.5 + 2 * 0.3)),
        # inside: the whole outline
        (((4, 6), (4, 6)), ((0, 9), (0, 9)), 0.0, (0, 4 * 0.15, 4 * 0.5 + 4 * 0.3)),
        # corner to corner
        (((0, 4), (0, 4)), ((4, 8), (4, 8)), 0.0, (0, 0, 0)),
        # two columns between them: 0.6 um
        (((2, 8), (2, 6)), ((2, 8), (8, 12)), 0.6, (0.6, 0, 6 * 0.5)),
        (((2, 8), (2, 6)), ((2, 8), (8, 12)), 0.59, None),
        # 3 columns and 1 row between their corners: sqrt(0.9**2 + 0.5**2)
        (((0, 4), (0, 4)), ((5, 9), (7, 12)), 1.03, (np.hypot(0.9, 0.5), 0, 0)),
    ],
)
def test_rectangles(effector, target, reach, expected):
    pairs = contacts.find_contacts(
        rectangles((14, 14), effector), rectangles((14, 14), target), (1, 1), (0.5, 0.3),
        reach=reach,
    )  # fmt: skip
    assert found_rows(pairs) == ({} if expected is None else {(0, 0): pytest.approx(expected)})


def test_touching_is_no_overlap():
    a, b = rectangles((9, 9), ((0, 4), (0, 4))), rectangles((9, 9), ((0, 4), (4, 8)))
    assert len(contacts.find_contacts(a, b, (1, 1), (1, 1))) == 0
    assert len(contacts.find_contacts(a, b, (1, 1), (1, 1), reach=0)) == 1


@pytest.mark.parametrize("shape", [(80, 90), (20, 25, 22)])
def test_neighbours_of_a_tissue_are_those_of_scikit_image(shape):
    """Each cell within reach 0 of its own image: the region adjacency graph, corners included."""
    seeds = np.random.default_rng(3).uniform(0, shape, (40, len(shape)))
    pixels = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    tissue = ((pixels[..., None, :] - seeds) ** 2).sum(axis=-1).argmin(axis=-1) + 1
    index, count = compact(tissue)
    own = np.arange(1, count + 1)
    pairs = contacts.find_contacts(
        index, index, (count, count), (1,) * len(shape), reach=0, own=own
    )
    expected = graph.RAG(index, connectivity=len(shape)).edges
    found = zip(pairs.effector.tolist(), pairs.target.tolist(), strict=True)
    assert set(found) == {(a - 1, b - 1) for e in expected for a, b in (e, e[::-1])}
    assert not pairs.gap.any()
    assert not pairs.overlap.any()


@pytest.mark.parametrize("counts", [(0, 0), (0, 2), (2, 0)])
@pytest.mark.parametrize("reach", [None, 0.0, 3.0])
def test_empty_frames(counts, reach):
    two = rectangles((9, 9), ((0, 4), (0, 4)), ((4, 9), (4, 9)))
    none = np.zeros_like(two)
    a, b = (two if n else none for n in counts)
    assert len(contacts.find_contacts(a, b, counts, (1, 1), reach=reach)) == 0


def test_numbers_beyond_16_bits():
    """More than 65,535 objects; numbers and pair keys do not wrap."""
    image = np.zeros((600, 600), np.uint32)
    image[::2, ::2] = np.arange(1, 300 * 300 + 1).reshape(300, 300)
    index = contacts.number_objects(image, np.arange(1, 90001), where="test")
    pairs = contacts.find_contacts(index, index, (90000, 90000), (1, 1))
    np.testing.assert_array_equal(pairs.effector, pairs.target)
    assert len(pairs) == 90000
    assert set(pairs.size) == {4.0}


@given(
    hnp.arrays(np.uint32, (5, 6), elements=st.sampled_from([0, 1, 3, 7, 2**31, 2**32 - 1])),
    st.randoms(use_true_random=False),
)
def test_numbering_keeps_only_the_tables_cells(image, random):
    labels = [int(v) for v in np.unique(image) if v]
    random.shuffle(labels)
    kept = labels[: len(labels) // 2 + 1]
    index = contacts.number_objects(image, np.array(kept, np.uint32), where="test")
    expected = np.zeros(image.shape)
    for number, label in enumerate(kept, start=1):
        expected[image == label] = number
    np.testing.assert_array_equal(index, expected)


def test_a_table_of_other_labels_is_an_error():
    image = np.array([[1, 1, 0, 4]], np.uint32)
    with pytest.raises(BadData, match=r"here: label 3 of the table \(1 in all\)"):
        contacts.number_objects(image, np.array([1, 3]), where="here")


@given(
    hnp.arrays(float, st.tuples(st.integers(0, 6), st.just(3)), elements=st.floats(-9, 9)),
    hnp.arrays(float, st.tuples(st.integers(0, 6), st.just(3)), elements=st.floats(-9, 9)),
)
def test_closest_distance(a, b):
    distances = np.sqrt(((a[:, None] - b[None]) ** 2).sum(axis=2))
    expected = distances.min(axis=1) if len(b) else np.full(len(a), np.nan)
    np.testing.assert_allclose(contacts.closest_distances(a, b), expected, atol=1e-12)
    own = np.sqrt(((a[:, None] - a[None]) ** 2).sum(axis=2)) + np.diag(np.full(len(a), np.inf))
    expected = own.min(axis=1) if len(a) > 1 else np.full(len(a), np.nan)
    np.testing.assert_allclose(
        contacts.closest_distances(a, a, own=np.arange(1, len(a) + 1)), expected, atol=1e-12
    )


def rows_of_contacts(frames, *, effector=1, target=1, size=1.0, interval=10.0):
    table = pd.DataFrame(
        {
            "position": "p1", "frame": frames, "effector_channel": "T", "target_channel": "C",
            "effector_track_id": effector, "target_track_id": target,
            "contact_length_um": size, "contact_area_um2": np.nan,
        }
    ).astype({"effector_track_id": "Int64", "target_track_id": "Int64"})  # fmt: skip
    table.attrs["frame_interval"] = interval
    return table


@pytest.mark.parametrize(
    ("max_gap", "spans"),
    [
        (0, [(1, 2, 2), (4, 4, 1), (8, 9, 2)]),
        (1, [(1, 4, 3), (8, 9, 2)]),
        (2, [(1, 4, 3), (8, 9, 2)]),
        (3, [(1, 9, 5)]),
    ],
)
def test_events(max_gap, spans):
    events = contacts.contact_events(rows_of_contacts([4, 1, 2, 9, 8]), max_gap=max_gap)
    columns = ["start_frame", "end_frame", "frames"]
    assert [tuple(r) for r in events[columns].to_numpy()] == spans
    assert list(events["event"]) == list(range(1, len(spans) + 1))
    assert list(events["start_s"]) == [10.0 * start for start, _, _ in spans]
    assert list(events["duration_s"]) == [10.0 * (stop - start + 1) for start, stop, _ in spans]


@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(1, 2), st.integers(1, 2)), max_size=30),
    st.integers(0, 3),
    st.randoms(use_true_random=False),
)
@settings(deadline=None)
def test_events_by_plain_counting(rows, max_gap, random):
    """Any order of rows, tracks apart, twins of one frame as one contact."""
    random.shuffle(rows)
    frames, effectors, targets = zip(*rows, strict=True) if rows else ((), (), ())
    table = rows_of_contacts(
        np.array(frames, np.int32), effector=list(effectors), target=list(targets)
    )
    expected = []
    for pair in sorted(set(zip(effectors, targets, strict=True))):
        seen = sorted({f for f, *p in rows if tuple(p) == pair})
        starts = [f for f in seen if not any(f - max_gap - 1 <= g < f for g in seen)]
        for number, start in enumerate(starts, start=1):
            later = [f for f in starts if f > start]
            mine = [f for f in seen if start <= f and (not later or f < later[0])]
            sizes = [sum(r == (f, *pair) for r in rows) for f in mine]
            mean = np.mean(sizes)
            expected.append((*pair, number, mine[0], mine[-1], len(mine), mean, max(sizes)))
    events = contacts.contact_events(table, max_gap=max_gap)
    columns = ["effector_track_id", "target_track_id", "event", "start_frame", "end_frame",
               "frames", "mean_contact", "max_contact"]  # fmt: skip
    np.testing.assert_allclose(
        events[columns].to_numpy(float), np.array(expected, float).reshape(-1, len(columns))
    )


def test_events_without_tracks_or_interval():
    table = rows_of_contacts([1, 2], interval=None)
    assert contacts.contact_events(table)["start_s"].isna().all()
    table["target_track_id"] = pd.array([None, 1], dtype="Int64")
    assert len(contacts.contact_events(table)) == 1
    table["target_track_id"] = pd.array([None, None], dtype="Int64")
    assert len(contacts.contact_events(table)) == 0
