"""Illumination: known flat-fields come back, and how the frames are shared changes nothing."""

from __future__ import annotations

import json

import numpy as np
import preprocess_flatfield_fit as flatfield_fit
import pytest
import tifffile
from scipy import ndimage

from cytoloom import illumination
from cytoloom.errors import BadData
from cytoloom.illumination import Fields, Method


def vignette(shape):
    """A flat-field that falls to a third at one corner; mean 1."""
    y, x = np.mgrid[: shape[0], : shape[1]] / np.array(shape).reshape(2, 1, 1)
    field = np.exp(-((y - 0.6) ** 2 + (x - 0.4) ** 2) / 0.5)
    return field / field.mean()


def scenes(number, shape, *, share=0.0, dark=False, seed=0):
    """Noisy images with cells on a share of their area, before the illumination; axes nyx."""
    rng = np.random.default_rng(seed)
    images = np.empty((number, *shape))
    seeds = 1 - (1 - share) ** (1 / 197)  # a disc of radius 8 has 197 pixels
    for image in images:
        level = rng.uniform(180, 260)
        cells = ndimage.distance_transform_edt(rng.random(shape) > seeds) <= 8
        image[:] = level * np.where(cells, 0.3 if dark else rng.uniform(2, 6), 1)
    return images


def lit(images, field, seed=1):
    """Images with shot noise under an illumination."""
    return np.random.default_rng(seed).poisson(images * field).astype(np.uint16)


def estimated(images, **options):
    """Flat-field of images, at every pixel, and the dark level."""
    moments = illumination.gather(images, images.shape[1:], Method.retrospective)
    first, second = flatfield_fit.retrospective(moments, options.get("darkfield", False))
    return first, second


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize(("number", "share"), [(1, 0.0), (8, 0.1), (30, 0.4)])
def test_a_known_flatfield_comes_back(number, share, dark):
    shape = (200, 260)
    field = vignette(shape)
    found, offset = estimated(lit(scenes(number, shape, share=share, dark=dark), field))
    error = np.abs(found / field - 1)
    assert found.mean() == pytest.approx(1)
    assert error.mean() < 0.005
    assert np.percentile(error, 99) < 0.02
    assert not offset.any()


def test_an_offset_of_all_pixels_comes_back():
    shape = (128, 128)
    field = vignette(shape)
    images = scenes(40, shape, share=0.2) * np.linspace(0.3, 3, 40)[:, None, None]
    found, offset = estimated(lit(images, field) + np.uint16(100), darkfield=True)
    assert offset[0, 0] == pytest.approx(100, abs=5)
    assert np.abs(found / field - 1).mean() < 0.02


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((3, 70, 70), np.uint16),
        np.full((3, 70, 70), 9, np.uint8),
        np.full((2, 70, 70), np.nan, np.float32),
        np.ones((2, 1, 1), np.uint8),
        np.ones((2, 2, 90), np.float32),
    ],
)
def test_without_anything_to_see_the_field_is_flat(images):
    found, offset = estimated(images)
    np.testing.assert_allclose(found, 1, atol=1e-6)
    assert not offset.any()


def test_nan_is_left_out():
    field = vignette((128, 128))
    images = lit(scenes(12, field.shape, share=0.1), field).astype(np.float32)
    images[:, 30:50, 30:50] = np.nan
    found, _ = estimated(images)
    assert np.abs(found / field - 1).mean() < 0.01


@pytest.mark.parametrize("method", list(Method))
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
def test_any_share_of_the_frames_gives_the_same(tmp_path, method, dtype):
    images = (np.random.default_rng(0).random((7, 90, 70)) * 200).astype(dtype)
    found = []
    for step in (7, 3, 1):
        for i, start in enumerate(range(0, 7, step)):
            part = illumination.gather(images[start : start + step], (90, 70), method)
            illumination.write_moments(tmp_path / f"{step}.m.{i}.parquet", part)
        found.append(illumination.read_moments(tmp_path / f"{step}.m.*.parquet"))
    for other in found[1:]:
        for name in ("thumbnails", "count", "total", "squares"):
            np.testing.assert_array_equal(getattr(other, name), getattr(found[0], name))


def test_images_of_two_sizes_have_no_common_field(tmp_path):
    for i, shape in enumerate(((8, 9), (9, 8))):
        part = illumination.gather(np.ones((1, *shape)), shape, Method.retrospective)
        illumination.write_moments(tmp_path / f"m.{i}.parquet", part)
    with pytest.raises(BadData, match="scope: position"):
        illumination.read_moments(tmp_path / "m.*.parquet")


def test_log_statistics_are_mean_and_standard_deviation():
    images = np.array([10, 100, 1000], np.uint16).reshape(3, 1, 1)
    mean, std = illumination.log_statistics(illumination.gather(images, (1, 1), Method.logstats))
    assert (mean.item(), std.item()) == (2, 1)


def test_zeros_count_as_logarithm_zero():
    images = np.array([[[0, 5, 0]], [[100, 5, 0]]], np.uint16)
    mean, std = illumination.log_statistics(illumination.gather(images, (1, 3), Method.logstats))
    assert mean.ravel() == pytest.approx([1, np.log10(5), 0], abs=1e-6)
    assert std.ravel() == pytest.approx([np.sqrt(2), 0, 0])
    assert std[0, 1] == 0


def test_log_statistics_of_numpy():
    images = np.random.default_rng(0).integers(1, 60000, (9, 20, 30)).astype(np.uint16)
    mean, std = illumination.log_statistics(illumination.gather(images, (20, 30), Method.logstats))
    np.testing.assert_allclose(mean, np.log10(images).mean(0), atol=1e-6)
    np.testing.assert_allclose(std, np.log10(images).std(0, ddof=1), atol=2e-6)


def test_floats_without_a_logarithm_are_left_out():
    images = np.array([[[0.1, -1.0]], [[0.001, np.nan]], [[0.0, 0.5]]])
    moments = illumination.gather(images, (1, 2), Method.logstats)
    mean, std = illumination.log_statistics(moments)
    assert mean[0, 0] == pytest.approx(-2)
    assert np.isnan(mean[0, 1])
    assert np.isnan(std[0, 1])


def test_correction_in_log_space_by_definition():
    rng = np.random.default_rng(0)
    mean, std = rng.uniform(2, 3, (6, 7)), rng.uniform(0.1, 0.3, (6, 7))
    image = rng.integers(1, 3000, (6, 7)).astype(np.uint16)
    z = (np.log10(image) - mean) / std
    fields = Fields(Method.logstats, mean.astype(np.float32), std.astype(np.float32))
    found = fields.correct(image, slice(None), slice(None))
    np.testing.assert_allclose(found, 10 ** (z * std.mean() + mean.mean()), rtol=1e-4)


def test_what_never_varies_and_what_is_zero_stay_numbers():
    one = np.ones((2, 2), np.float32)
    fields = Fields(Method.logstats, 2 * one, np.array([[0, 0.2], [0.2, 0.2]], np.float32))
    image = np.array([[100, 0], [65535, 100]], np.uint16)
    found = illumination.finished(
        fields.correct(image, slice(None), slice(None)), image.dtype, illumination.Type.same
    )
    assert found[0].tolist() == [100, 0]
    assert found[1, 0] > 5000  # clipped or less, never wrapped


def test_a_field_is_corrected_window_by_window():
    rng = np.random.default_rng(0)
    fields = Fields(Method.logstats, *(rng.uniform(1, 2, (2, 8, 8)).astype(np.float32)))
    image = rng.integers(0, 900, (8, 8)).astype(np.uint16)
    whole = fields.correct(image, slice(0, 8), slice(0, 8))
    part = fields.correct(image[2:5, 3:], slice(2, 5), slice(3, 8))
    np.testing.assert_array_equal(part, whole[2:5, 3:])


@pytest.mark.parametrize("method", list(Method))
def test_fields_are_read_as_written(tmp_path, method):
    first, second = np.random.default_rng(0).uniform(1, 2, (2, 9, 11)).astype(np.float32)
    illumination.write_fields(tmp_path / "f.tif", Fields(method, first, second, 12))
    found = illumination.read_fields(tmp_path / "f.tif")
    assert (found.method, found.images) == (method, 12)
    np.testing.assert_array_equal(found.first, first)
    np.testing.assert_array_equal(found.second, second)


def test_a_flatfield_of_the_users_own_is_scaled_to_mean_one(tmp_path):
    field = np.random.default_rng(0).uniform(500, 1500, (9, 11)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "f.tif", field, metadata={"axes": "YX"})
    found = illumination.read_fields(tmp_path / "f.tif")
    np.testing.assert_allclose(found.first, field / field.mean(), rtol=1e-6)
    assert not found.second.any()


@pytest.mark.parametrize(
    "pages", [np.zeros((4, 4)), np.full((4, 4), np.nan), np.ones((3, 4, 4)), None]
)
def test_what_is_no_flatfield_is_refused(tmp_path, pages):
    path = tmp_path / "f.tif"
    if pages is None:
        path.write_text(json.dumps({}))
    else:
        tifffile.imwrite(path, pages.astype(np.float32), photometric="minisblack")
    with pytest.raises(BadData, match=r"f\.tif"):
        illumination.read_fields(path)
