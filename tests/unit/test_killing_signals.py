"""Signals of single cells: ranges, viability, CDI, smoothing, time of death."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose

from cytoloom import viability
from cytoloom.errors import UsageError

UNIT = st.floats(0, 1, width=32)
COUNTS = arrays(np.float64, st.integers(2, 80), elements=st.floats(1, 60000, width=32))


def test_viability_is_the_definition_written_out():
    live, death = 0.8, 0.1
    mean = (np.exp(-10 * (live - 0.5)) + np.exp(-10 * (0.5 - death))) / 2
    assert viability.viability(live, death) == pytest.approx(1 / (1 + mean), rel=1e-15)
    assert viability.viability(0.5, 0.5) == pytest.approx(0.5)


@given(UNIT, UNIT, UNIT)
def test_viability_rises_with_life_and_falls_with_death(a, b, other):
    low, high = sorted((a, b))
    assert 0 < viability.viability(low, other) <= viability.viability(high, other) < 1
    assert viability.viability(other, low) >= viability.viability(other, high)


@given(UNIT, UNIT)
def test_death_index_is_a_share(live, death):
    index = float(viability.death_index(live, death))
    assert 0 <= index <= 1
    if live + death > 1e-3:
        assert index == pytest.approx(death / (live + death), abs=1e-6)


def test_a_cell_without_any_signal_has_index_zero():
    assert viability.death_index(0.0, 0.0) == 0.0


@given(COUNTS, st.floats(0.01, 100))
def test_scaled_counts_give_the_same_normalised_signal(values, factor):
    for find in (viability.live_range, viability.death_range):
        once = viability.normalise(values, *find(values))
        again = viability.normalise(values * factor, *find(values * factor))
        assert_allclose(once, again, atol=1e-6)
        assert once.min() >= 0
        assert once.max() <= 1


def test_percentiles_are_numpys_where_the_signal_is_clear():
    rng = np.random.default_rng(1)
    values = np.r_[rng.normal(100, 2, 500), rng.normal(900, 20, 500)]
    expected = tuple(np.percentile(values, [1, 99]))
    assert viability.death_range(values) == pytest.approx(expected)
    assert viability.live_range(values) == pytest.approx(expected)


def test_noise_alone_is_never_stretched_to_death():
    values = np.random.default_rng(2).normal(100, 5, 5000)
    stretched = viability.normalise(values, *viability.death_range(values, min_contrast=0))
    guarded = viability.normalise(values, *viability.death_range(values))
    assert stretched.max() == 1
    assert guarded.max() < 0.35


@pytest.mark.parametrize("dead", [0.1, 0.5, 0.85])
def test_the_guard_is_blind_to_how_many_are_dead(dead):
    rng = np.random.default_rng(3)
    values = np.r_[rng.normal(100, 5, 1000), rng.normal(800, 50, int(1000 * dead / (1 - dead)))]
    assert viability.death_range(values)[1] == pytest.approx(np.percentile(values, 99))


def test_the_dimmest_living_cell_is_not_taken_for_dead():
    values = np.random.default_rng(4).uniform(600, 1000, 1000)
    assert viability.normalise(values, *viability.live_range(values)).min() > 0.15
    assert viability.normalise(values, *viability.live_range(values, min_live_loss=0)).min() == 0


def test_constant_and_missing_signals():
    assert viability.normalise([3.0, 3.0], 3.0, 3.0, if_constant=1.0).tolist() == [1.0, 1.0]
    assert np.isnan(viability.normalise([np.nan, 1.0], 0.0, 2.0)[0])
    assert all(np.isnan(viability.death_range([np.nan])))
    assert all(np.isnan(viability.live_range([])))


@pytest.mark.parametrize(("lower", "upper"), [(50, 50), (60, 40), (-1, 99), (1, 101)])
def test_wrong_percentiles_are_refused(lower, upper):
    with pytest.raises(UsageError, match="lower must be below upper"):
        viability.live_range([1.0, 2.0], lower=lower, upper=upper)


def test_missing_frames_are_interpolated():
    frames, values = viability.fill_frames([3, 5, 8], [0.0, 1.0, np.nan])
    assert frames.tolist() == [3, 4, 5, 6, 7, 8]
    assert values.tolist() == [0.0, 0.5, 1.0, 1.0, 1.0, 1.0]
    assert np.isnan(viability.fill_frames([1, 3], [np.nan, np.nan])[1]).all()
    assert viability.fill_frames([], [])[0].size == 0


INDEX = arrays(np.float64, st.integers(1, 60), elements=UNIT)


@given(INDEX, st.sampled_from(["gaussian", "savgol", "quadratic", "moving_average", "none"]))
def test_smoothing_keeps_length_and_range_and_constants(values, method):
    smoothed = viability.smooth(values, method)
    assert smoothed.shape == values.shape
    assert smoothed.min() >= 0
    assert smoothed.max() <= 1
    assert_allclose(viability.smooth(np.full(values.size, 0.3), method), 0.3, atol=1e-12)


@pytest.mark.parametrize(("method", "order"), [("quadratic", 2), ("savgol", 3)])
def test_polynomials_pass_the_polynomial_smoothers(method, order):
    x = np.linspace(0, 1, 30)
    values = 0.2 + 0.5 * x**order
    assert_allclose(viability.smooth(values, method), values, atol=1e-12)


def test_moving_average_is_the_mean_of_the_window():
    values = np.random.default_rng(0).random(40)
    smoothed = viability.smooth(values, "moving_average", window=11)
    assert smoothed[20] == pytest.approx(values[15:26].mean())


def test_gaussian_is_the_weighted_mean():
    values = np.random.default_rng(0).random(41)
    weight = np.exp(-0.5 * (np.arange(-8, 9) / 2.0) ** 2)
    expected = np.dot(values[12:29], weight) / weight.sum()
    assert viability.smooth(values, "gaussian", sigma=2)[20] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("method", ["savgol", "quadratic", "moving_average"])
def test_an_even_window_is_refused(method):
    with pytest.raises(UsageError, match="must be odd, for example 11"):
        viability.smooth(np.zeros(20), method, window=10)


def test_a_window_not_longer_than_the_order_is_refused():
    with pytest.raises(UsageError, match="longer than the order"):
        viability.smooth(np.zeros(20), "savgol", window=3, polyorder=3)


def brute_force_death(frames, index, threshold, least):
    """Return (frame, at_start) by looking at every start in turn."""
    for i in range(len(index)):
        before_is_over = i > 0 and index[i - 1] >= threshold
        stays = all(v >= threshold for v in index[i : i + least])
        if index[i] >= threshold and not before_is_over and stays:
            return frames[i], i == 0
    return None


@given(INDEX, st.floats(0.05, 0.95), st.integers(1, 6), st.integers(0, 100))
def test_time_of_death_equals_brute_force(index, threshold, least, first):
    frames = np.arange(first, first + index.size)
    found = viability.time_of_death(frames, index, threshold=threshold, min_dead_frames=least)
    expected = brute_force_death(frames, index, threshold, least)
    assert (found and (found.frame, found.at_start)) == expected
    if found and not found.at_start:
        assert found.frame - 1 < found.time <= found.frame
        assert np.interp(found.time, frames, index) == pytest.approx(threshold, abs=1e-6)


def test_a_short_excursion_is_no_death_but_the_end_of_the_track_may_be():
    def dies(index):
        return viability.time_of_death(range(len(index)), index, min_dead_frames=3)

    assert dies([0, 0, 1, 1, 0, 0, 0]) is None
    assert dies([0, 0, 0, 0, 0, 1]).time == pytest.approx(4.5)
    assert dies([0, 0, 1, 1, 1, 0, 0]).frame == 2
    assert dies([1, 1, 1, 0]).at_start
    assert dies([np.nan, np.nan]) is None
    assert dies([]) is None
