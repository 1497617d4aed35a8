"""Backgrounds against scikit-image and scipy, and against the definition of the tiles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.interpolate import RectBivariateSpline
from skimage import morphology, restoration

from cytoloom import background
from cytoloom.errors import BadData


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.uint32, np.float32, float])
@pytest.mark.parametrize(("shape", "radius"), [((37, 51), 5), ((9, 400), 12), ((1, 1), 3)])
def test_rolling_ball_is_that_of_scikit_image(dtype, shape, radius):
    image = np.random.default_rng(1).integers(0, 250, shape).astype(dtype)
    if image.dtype.kind == "f":
        image += np.random.default_rng(2).random(shape).astype(dtype)
    found = background.rolling_ball(image, radius)
    assert found.dtype == image.dtype
    np.testing.assert_array_equal(found, restoration.rolling_ball(image, radius=radius))


def test_rolling_ball_at_the_top_of_the_type_does_not_wrap():
    image = np.full((20, 20), 65535, np.uint16)
    image[10, 10] = 60000
    found = background.rolling_ball(image, 4)
    np.testing.assert_array_equal(found, restoration.rolling_ball(image, radius=4))
    with pytest.raises(BadData, match="leave no room"):
        background.rolling_ball(np.full((3, 3), 2**63 - 1, np.uint64), 5)


def test_rolling_ball_passes_by_what_is_no_number():
    image = np.random.default_rng(1).random((30, 30)).astype(np.float32)
    whole = background.rolling_ball(image, 4)
    image[3, 3] = np.nan
    found = background.rolling_ball(image, 4)
    assert np.isnan(found[3, 3])
    assert np.isfinite(found).sum() == found.size - 1
    np.testing.assert_array_equal(found[12:], whole[12:])


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 12), st.integers(0, 999))
@settings(max_examples=30)
def test_dilation_is_by_a_disc(height, width, radius, seed):
    mask = np.random.default_rng(seed).random((height, width)) < 0.02
    expected = ndimage.binary_dilation(mask, morphology.disk(radius)) if mask.any() else mask
    np.testing.assert_array_equal(background.dilated(mask, radius), expected)


def by_definition(image, foreground, tile):
    """Medians of overlapping tiles and a spline through their centres, step by step."""
    values = np.where(foreground, np.nan, image.astype(float))
    edges = []
    for n in image.shape:
        d = max(-(-n // tile) + 1, 2)
        edges.append(np.round(np.linspace(0, n, 2 * d - 1)).astype(int))
    rows, columns = edges
    medians = np.array(
        [
            [np.nanmedian(values[r0:r1, c0:c1]) for c0, c1 in zip(columns, columns[2:])]  # noqa: B905
            for r0, r1 in zip(rows, rows[2:])  # noqa: B905
        ]
    )
    centres = [(e[:-2] + e[2:] - 1) / 2 for e in edges]
    return RectBivariateSpline(*centres, medians)(*map(np.arange, image.shape))


def scene(shape, level=500, seed=0):
    """A background that varies smoothly, noise, and a mask of bright cells; axes yx."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    smooth = level * (1 + 0.3 * np.sin(y / shape[0] * 2) + 0.2 * x / shape[1])
    cells = ndimage.binary_dilation(rng.random(shape) < 0.0008, morphology.disk(6))
    return smooth, smooth + rng.normal(0, 5, shape) + 900 * cells, cells


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_tiles_are_those_of_the_definition(dtype):
    _, image, cells = scene((300, 420))
    image = image.astype(dtype)
    mask = background.dilated(cells, 5)
    found = background.tiled_background(image, mask, 64)
    np.testing.assert_allclose(found, by_definition(image, mask, 64), rtol=1e-6)


@pytest.mark.parametrize("size", [1, 5, 40, 256, 257, 512, 513])
def test_frames_of_any_size_have_a_background(size):
    smooth, image, cells = scene((size, 150))
    found = background.tiled_background(image, cells, 256)
    assert found.shape == image.shape
    assert np.abs(found / smooth - 1).mean() < 0.1


def test_tiles_without_background_are_interpolated():
    smooth, image, cells = scene((300, 300))
    cells[90:220, 90:220] = True
    found = background.tiled_background(image, cells, 60)
    assert np.isfinite(found).all()
    assert np.abs(found / smooth - 1)[30:-30, 30:-30].max() < 0.05


def test_a_frame_that_is_all_covered_has_a_background_all_the_same():
    image = np.arange(100, 10100, dtype=np.uint16).reshape(100, 100)
    found = background.tiled_background(image, np.ones(image.shape, bool), 50)
    assert np.unique(found).tolist() == [np.percentile(image, 1)]
    assert not background.tiled_background(image * np.nan, image > 0, 50).any()


def test_nan_is_no_background():
    _, image, cells = scene((120, 120))
    broken = image.copy()
    broken[20:40, 20:40] = np.nan
    found = background.tiled_background(broken, cells, 60)
    masked = cells.copy()
    masked[20:40, 20:40] = True
    np.testing.assert_array_equal(found, background.tiled_background(image, masked, 60))


def test_foreground_is_what_is_above_the_noise():
    rng = np.random.default_rng(0)
    image = np.rint(rng.normal(200, 10, (200, 200)))
    image[50:90, 50:90] += 400
    limit = background.foreground_above_noise(*np.unique(image, return_counts=True), 3)
    assert limit == pytest.approx(230, abs=3)
    flat = background.foreground_above_noise(np.array([7.0]), np.array([10]), 3)
    assert flat == 7
