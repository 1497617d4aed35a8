"""Packed morphology and stretches: scipy's results, bit by bit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from skimage.morphology import disk

from cytoloom import bits, stretches

FOOTPRINTS = [bits.Footprint.disk(r) for r in (0, 1, 7, 10)]
FOOTPRINTS += [bits.Footprint.square(w) for w in (1, 7, 21)]


def mask_of(seed, height, width, share):
    return np.random.default_rng(seed).random((height, width)) < share


MASKS = {
    "seed": st.integers(0, 99),
    "height": st.integers(1, 80),
    "width": st.integers(1, 140),
    "share": st.sampled_from([0.0, 0.03, 0.3, 0.8, 1.0]),
}


@given(**MASKS, which=st.integers(0, len(FOOTPRINTS) - 1), times=st.integers(0, 3))
def test_morphology_is_scipys(seed, height, width, share, which, times):
    mask, footprint = mask_of(seed, height, width, share), FOOTPRINTS[which]

    def again(mask, function, **options):
        # Not iterations=: scipy writes beyond its memory where a footprint is wider than the image.
        for _ in range(times):
            mask = function(mask, footprint.array(), **options)
        return mask

    equal = np.testing.assert_array_equal
    dilate, erode = ndimage.binary_dilation, ndimage.binary_erosion
    equal(bits.dilated(mask, footprint, times), again(mask, dilate))
    for outside in (False, True):
        shrunk = again(mask, erode, border_value=int(outside))
        equal(bits.eroded(mask, footprint, times, outside=outside), shrunk)
        equal(bits.opened(mask, footprint, times, outside=outside), again(shrunk, dilate))
        closed = again(again(mask, dilate), erode, border_value=int(outside))
        equal(bits.closed(mask, footprint, times, outside=outside), closed)


@pytest.mark.parametrize(("width", "times"), [(131, 1), (3, 60), (127, 2)])
def test_a_wide_square_is_scipys_filter(width, times):
    mask = mask_of(1, 300, 450, 1e-4) | mask_of(2, 300, 450, 5e-5)
    reach = 2 * (width // 2 * times) + 1
    grown = ndimage.maximum_filter(mask, reach, mode="constant")
    footprint = bits.Footprint.square(width)
    np.testing.assert_array_equal(bits.dilated(mask, footprint, times), grown)
    shrunk = ndimage.minimum_filter(~mask, reach, mode="constant", cval=1)
    np.testing.assert_array_equal(bits.eroded(~mask, footprint, times, outside=True), shrunk)


def test_a_disc_is_scikit_images():
    for radius in range(12):
        np.testing.assert_array_equal(bits.Footprint.disk(radius).array(), disk(radius))


@pytest.mark.parametrize("width", [2, 8])
def test_a_square_of_even_width_has_no_middle(width):
    with pytest.raises(ValueError, match="no middle"):
        bits.Footprint.square(width)


@given(**MASKS)
def test_pieces_are_scipys(seed, height, width, share):
    mask = mask_of(seed, height, width, share)
    labels, _ = ndimage.label(mask)
    np.testing.assert_array_equal(stretches.labelled(mask), labels)
    sizes = np.bincount(labels.ravel())
    keep = (sizes >= 2) & (sizes <= 9)
    keep[0] = False
    expected = np.where(keep, np.cumsum(keep), 0)[labels]
    np.testing.assert_array_equal(stretches.labelled(mask, 2, 9), expected)


@given(**MASKS)
def test_holes_are_scipys(seed, height, width, share):
    mask = mask_of(seed, height, width, share)
    np.testing.assert_array_equal(stretches.filled(mask, 200), ndimage.binary_fill_holes(mask))


def test_wide_holes_stay():
    mask = np.ones((40, 60), bool)
    mask[10:20, 10:30] = False
    assert stretches.filled(mask, 20).all()
    assert not stretches.filled(mask, 19).all()
