"""Refine: each operation against scikit-image or a plain definition; the same for any cut."""

import numpy as np
import pytest
import segment_refine
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from skimage import morphology, segmentation

from cytoloom import images, layouts
from cytoloom.errors import UsageError
from cytoloom.regions import cut

refine = segment_refine.refine


def blobs(shape=(1, 120, 150), count=25, seed=0):
    """Ragged objects, some touching, with holes and gaps in their numbers."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint32)
    yy, xx = np.indices(shape[1:])
    for number in range(count):
        y, x = rng.uniform(0, shape[1:])
        r = rng.uniform(3, 11)
        inside = (yy - y) ** 2 + (xx - x) ** 2 < r * r
        inside &= rng.random(shape[1:]) < 0.97
        labels[0][inside & (labels[0] == 0)] = 7 * number + 3
    return labels


@pytest.mark.parametrize("radius", [1, 2, 3.5])
def test_opening_and_closing_are_those_of_discs(radius):
    n = int(radius)
    yy, xx = np.mgrid[-n : n + 1, -n : n + 1]
    disc = yy**2 + xx**2 <= radius**2
    one = np.zeros((1, 60, 60), np.uint32)
    one[0, 10:50, 12:45] = blobs((1, 60, 60), 12, 4)[0, 10:50, 12:45] > 0
    opened = refine(one, opening=radius)
    np.testing.assert_array_equal(opened[0] > 0, morphology.opening(one[0] > 0, disc))
    closed = refine(one, closing=radius)
    expected = ndimage.binary_closing(np.pad(one[0] > 0, 8), disc)[8:-8, 8:-8]
    np.testing.assert_array_equal(closed[0] > 0, expected)


@pytest.mark.parametrize("distance", [1, 3, 6])
def test_expansion_reaches_what_scikit_image_reaches(distance):
    labels = blobs()
    result = refine(labels, expand=distance)
    expected = segmentation.expand_labels(labels[0], distance)
    np.testing.assert_array_equal(result[0] > 0, expected > 0)
    assert (result[0] != expected).mean() < 0.01  # only ties differ
    np.testing.assert_array_equal(result[labels > 0], labels[labels > 0])


def test_size_border_and_holes():
    labels = np.zeros((1, 30, 30), np.uint32)
    labels[0, 0:5, 0:5] = 9
    labels[0, 10:20, 10:20] = 70_000
    labels[0, 14:16, 14:16] = 0
    labels[0, 25, 25] = 4
    assert set(np.unique(refine(labels, min_size=2))) == {0, 9, 70_000}
    assert set(np.unique(refine(labels, max_size=25))) == {0, 4, 9}
    assert set(np.unique(refine(labels, clear_border=True))) == {0, 4, 70_000}
    filled = refine(labels, fill_holes=True)
    assert (filled == 70_000).sum() == 100


def test_a_hole_that_holds_another_object_is_left_to_it():
    labels = np.zeros((1, 20, 20), np.uint32)
    labels[0, 2:18, 2:18] = 1
    labels[0, 8:12, 8:12] = 2
    result = refine(labels, fill_holes=True, closing=3)
    np.testing.assert_array_equal(result, labels)


@given(
    st.integers(0, 10**6),
    st.sampled_from([0, 1, 2.5]),
    st.sampled_from([0, 1, 3]),
    st.sampled_from([0, 2, 4.5]),
)
def test_numbers_are_kept_and_objects_never_merge(seed, opening, closing, expand):
    labels = blobs(seed=seed)
    result = refine(labels, opening=opening, closing=closing, expand=expand, fill_holes=True)
    assert set(np.unique(result)) <= set(np.unique(labels))
    taken = (labels > 0) & (result > 0)
    grown = refine(labels, closing=closing, expand=expand)
    np.testing.assert_array_equal(grown[labels > 0], labels[labels > 0])
    if not opening:
        np.testing.assert_array_equal(result[taken], labels[taken])


def test_nothing_and_one_object_everywhere():
    empty = np.zeros((1, 9, 9), np.uint32)
    assert not refine(empty, opening=2, closing=2, expand=3, min_size=4).any()
    full = np.full((1, 9, 9), 5, np.uint32)
    np.testing.assert_array_equal(refine(full, closing=2, expand=3, fill_holes=True), full)


@pytest.mark.parametrize(
    "options",
    [
        {"opening": 2.0, "min_size": 30},
        {"closing": 3.0, "fill_holes": True, "max_size": 250},
        {"expand": 5.0, "clear_border": True},
    ],
)
def test_patches_give_the_whole(tmp_path, options):
    data = np.stack([blobs((1, 256, 192), 60, seed) for seed in (1, 2)])
    layout = layouts.Layout(
        data.shape, np.dtype(np.uint32), (1, 1, 64, 64), (1, 1, 64, 64), (1.0, 1.0, 1.0), None,
        "p", "a", "label",
    )  # fmt: skip
    regions = list(cut(data.shape, (1, 1, 64, 64)))
    for index, region in enumerate(regions):
        path = tmp_path / f"p.s.a.label.{index:04d}.zarr"
        images.write_part(path, data[region.slices], region=region, like=layout, kind="label")
    pattern = str(tmp_path / "p.s.a.label.*.zarr")
    expected = np.stack([refine(frame, **options) for frame in data])
    for index, region in enumerate(regions):
        out = tmp_path / f"p.r.a.label.{index:04d}.zarr"
        segment_refine.main(pattern, out, region=str(region), **options)
    result = images.open_layer(str(tmp_path / "p.r.a.label.*.zarr"), kind="label")
    np.testing.assert_array_equal(result.read(), expected)


def test_limits_that_exclude_all(tmp_path):
    with pytest.raises(UsageError, match="max_size"):
        segment_refine.main("x", tmp_path / "o", min_size=9, max_size=3)
