"""Labels across patches: for any cut, the same labels and numbers as without."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from cytoloom.regions import Region
from cytoloom.seams import (
    Mask,
    box_of,
    decide,
    find_objects,
    keep_touching,
    number_in_raster_order,
    paint,
)


def tiled(segment, image, cuts, halo):
    """Segment an image (z, y, x) in tiles through all three phases, without files."""
    shape = (1, *image.shape)
    ys, xs = ([0, *c, n] for c, n in zip(cuts, image.shape[1:], strict=True))
    cores = [Region((0, 1), (0, shape[1]), y, x) for y in pairwise(ys) for x in pairwise(xs)]
    parts, views = {}, []
    for region in cores:
        read = region.widen(halo, shape)
        found = keep_touching(segment(image[read.slices[1:]]), box_of(read), box_of(region))
        parts[region] = found[region.within(read)[1:]]
        views += find_objects(found, 0, box_of(read), box_of(region), image.shape)
    finals = decide(views)
    assert finals == decide(views[::-1])
    by_key = {(v.frame, v.core, v.label): v for v in views}
    out = np.zeros(image.shape, np.uint32)
    for region in cores:
        out[region.slices[1:]] = paint(parts[region], 0, box_of(region), finals, by_key)
    return out


def components(image):
    return ndimage.label(image > 0)[0]


def discs(shape, count, radius, seed):
    rng = np.random.default_rng(seed)
    image = np.zeros(shape, np.uint8)
    zz, yy, xx = np.indices(shape)
    for z, y, x in rng.uniform(0, shape, (count, 3)):
        r = rng.uniform(1, radius)
        image[(zz - z) ** 2 + (yy - y) ** 2 + (xx - x) ** 2 < r * r] = 1
    return image


def cuts_of(size):
    return st.lists(st.integers(1, size - 1), max_size=4, unique=True).map(sorted)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), count=st.integers(0, 30), ys=cuts_of(90), xs=cuts_of(70))
def test_any_cut_gives_the_untiled_labels(seed, count, ys, xs):
    image = discs((1, 90, 70), count, 6, seed)
    whole = number_in_raster_order(components(image))
    np.testing.assert_array_equal(tiled(components, image, (ys, xs), halo=70), whole)


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 10**6), ys=cuts_of(40), xs=cuts_of(40))
def test_any_cut_in_three_dimensions(seed, ys, xs):
    image = discs((6, 40, 40), 12, 5, seed)
    whole = number_in_raster_order(components(image))
    np.testing.assert_array_equal(tiled(components, image, (ys, xs), halo=40), whole)


@pytest.mark.parametrize("cuts", [([50], [50]), ([30, 60], [20, 40, 60, 80]), ([], [10])])
def test_an_object_wider_than_the_halo_is_joined(cuts):
    image = np.zeros((1, 100, 100), np.uint8)
    image[0, 10:90, 15:95] = 1
    image[0, 2:5, 2:5] = 1
    result = tiled(components, image, cuts, halo=12)
    np.testing.assert_array_equal(result, number_in_raster_order(components(image)))


def test_tiles_that_disagree_give_one_object_without_a_seam():
    image = np.zeros((1, 40, 80), np.uint8)
    image[0, 10:30, 30:50] = 1
    seen = iter([0, 2])  # the second tile sees the object two pixels wider

    def segment(tile):
        return ndimage.binary_dilation(tile, iterations=1 + next(seen)).astype(int)

    result = tiled(segment, image, ([], [40]), halo=30)
    owner = ndimage.binary_dilation(image, iterations=1)
    np.testing.assert_array_equal(result, owner)


def test_an_object_that_its_owner_missed_is_adopted():
    image = np.zeros((1, 40, 80), np.uint8)
    image[0, 10:30, 30:50] = 1
    seen = iter([0, 1])
    result = tiled(lambda tile: (tile * next(seen)).astype(int), image, ([], [40]), halo=30)
    np.testing.assert_array_equal(result, image)


def test_one_object_against_two_halves_leaves_no_pixel_with_two():
    image = np.zeros((1, 40, 80), np.uint8)
    image[0, 10:30, 25:60] = 1
    seen = iter([0, 1])

    def segment(tile):
        labels = tile.astype(int)
        if next(seen):
            labels[:, :, 35:] *= 2  # the second tile (from x = 10) splits it at x = 45
        return labels

    result = tiled(segment, image, ([], [40]), halo=30)
    assert set(np.unique(result)) == {0, 1}
    np.testing.assert_array_equal(result > 0, image > 0)


def test_more_than_65535_objects():
    image = np.zeros((1, 600, 600), np.uint8)
    image[0, ::2, ::2] = 1
    image = image[:, :, :480]
    whole = number_in_raster_order(components(image))
    assert whole.max() == 72_000
    result = tiled(components, image, ([300], [250]), halo=8)
    assert result.dtype == np.uint32
    np.testing.assert_array_equal(result, whole)


def test_nothing_found():
    image = np.zeros((1, 20, 20), np.uint8)
    assert not tiled(components, image, ([7], [9]), halo=4).any()


@given(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9), st.integers(0, 10**6))
def test_packed_masks_come_back(depth, height, width, seed):
    pixels = np.random.default_rng(seed).random((depth, height, width)) < 0.5
    mask = Mask((3, 4, 5, 3 + depth, 4 + height, 5 + width), pixels)
    np.testing.assert_array_equal(Mask.unpacked(mask.box, mask.packed()).pixels, pixels)
