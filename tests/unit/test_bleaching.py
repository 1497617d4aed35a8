"""Bleaching: known decays are found, histograms are matched as scikit-image does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.exposure import match_histograms

from cytoloom import bleaching, statistics
from cytoloom.regions import Region


def stack_of(image):
    """Histograms of an image (t, z, y, x)."""
    return statistics.of_array(image, Region.whole(image.shape))


@given(st.floats(0.005, 0.3), st.floats(50, 5000), st.floats(0, 500))
@settings(max_examples=20)
def test_a_known_decay_is_found(rate, amplitude, rest):
    frames = np.arange(60)
    found = bleaching.fit_decay(amplitude * np.exp(-rate * frames) + rest)
    assert found.rate == pytest.approx(rate, rel=1e-3)
    expected = amplitude * np.exp(-rate * frames) + rest
    np.testing.assert_allclose(found.at(frames), expected, atol=1e-4 * amplitude)


def test_noise_and_missing_frames_are_borne():
    frames = np.arange(80)
    clean = 900 * np.exp(-0.04 * frames) + 100
    means = clean * np.random.default_rng(0).normal(1, 0.01, 80)
    means[[5, 40]] = np.nan
    found = bleaching.fit_decay(means)
    assert found.rate == pytest.approx(0.04, rel=0.08)
    assert np.abs(found.at(frames) / clean - 1).max() < 0.02


@pytest.mark.parametrize(
    "means", [[7.0], [7.0, 7.0, 7.0], [0.0, 0.0], [np.nan, np.nan], [1, 2, 3, 4, 5.0], [-3, -4]]
)
def test_where_nothing_falls_nothing_is_corrected(means):
    means = np.array(means, float)
    decay = bleaching.fit_decay(means)
    assert decay.rate == 0
    assert bleaching.factors(means, 0, decay).tolist() == [1.0] * len(means)


def test_two_frames_fall_to_nothing():
    decay = bleaching.fit_decay(np.array([100.0, 50.0]))
    assert decay.at([0, 1]) == pytest.approx([100, 50], rel=1e-3)


def test_ratio_makes_frames_as_bright_as_the_reference():
    means = np.array([100.0, 80.0, 0.0, np.nan, 50.0])
    gain = bleaching.factors(means, 1)
    assert gain.tolist() == [0.8, 1.0, 1.0, 1.0, 1.6]
    assert bleaching.factors(means, 2).tolist() == [1.0] * 5


def test_means_are_those_of_the_frames():
    image = np.random.default_rng(0).integers(0, 4000, (4, 2, 9, 7)).astype(np.uint16)
    found = bleaching.frame_means(stack_of(image), 5)
    np.testing.assert_allclose(found[:4], image.mean((1, 2, 3)))
    assert np.isnan(found[4])


def test_histograms_are_matched_as_by_scikit_image():
    rng = np.random.default_rng(0)
    image = rng.poisson([[[[300]]], [[[90]]]], (2, 1, 60, 60)).astype(np.uint16)
    stack = stack_of(image)
    value, count = stack.histogram([1])
    becomes = bleaching.matched(count, *stack.histogram([0]))
    found = np.interp(image[1], value, becomes)
    np.testing.assert_allclose(found, match_histograms(image[1], image[0]), rtol=1e-12)
