"""Kaplan-Meier and log-rank: by hand, and against scipy and lifelines."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from cytoloom.survival import kaplan_meier, log_rank

# Remission of 6-MP patients (Freireich et al. 1963), the textbook example.
WEEKS = [6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35]
RELAPSE = [1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0]
PLACEBO = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]


def cohort(seed, size=60, late=True):
    rng = np.random.default_rng(seed)
    entry = rng.integers(0, 8, size).astype(float) * late
    exit_ = entry + rng.integers(1, 25, size)
    return entry, exit_, rng.random(size) < 0.6


def test_kaplan_meier_by_hand():
    curve = kaplan_meier([0] * 5, [1, 2, 2, 3, 4], [True, True, False, True, False])
    assert curve.time.tolist() == [0, 1, 2, 3, 4]
    assert_allclose(curve.survival, [1, 4 / 5, 4 / 5 * 3 / 4, 0.6 * 1 / 2, 0.3])
    assert curve.at_risk.tolist() == [5, 5, 4, 2, 1]
    assert curve.events.tolist() == [0, 1, 1, 1, 0]
    assert curve.median == 3


def test_textbook_remission_curve():
    curve = kaplan_meier(np.zeros(21), WEEKS, RELAPSE)
    at = dict(zip(curve.time.tolist(), curve.survival.tolist(), strict=True))
    published = {6: 0.857, 7: 0.807, 10: 0.753, 13: 0.690, 16: 0.627, 22: 0.538, 23: 0.448}
    assert {t: round(at[t], 3) for t in published} == published


def test_no_cells_and_no_deaths():
    assert kaplan_meier([], [], []).time.size == 0
    assert np.isnan(kaplan_meier([], [], []).median)
    curve = kaplan_meier([0, 0], [5, 7], [False, False])
    assert curve.survival.tolist() == [1, 1, 1]
    assert curve.lower.tolist() == curve.upper.tolist() == [1, 1, 1]
    assert np.isnan(log_rank([0, 0], [5, 7], [False, False], [True, False])[1])
    assert np.isnan(log_rank([0, 0], [5, 7], [True, True], [True, True])[1])


def test_late_entry_counts_only_while_observed():
    curve = kaplan_meier([0, 0, 3], [2, 5, 5], [True, True, False])
    assert curve.at_risk.tolist() == [2, 2, 2]
    assert_allclose(curve.survival, [1, 0.5, 0.25])


@given(st.integers(0, 10_000), st.floats(0.1, 1e4))
def test_the_unit_of_time_does_not_matter(seed, unit):
    entry, exit_, died = cohort(seed)
    one, other = kaplan_meier(entry, exit_, died), kaplan_meier(entry * unit, exit_ * unit, died)
    assert_allclose(one.time * unit, other.time)
    for column in ("survival", "lower", "upper", "at_risk", "events"):
        assert_allclose(getattr(one, column), getattr(other, column))
    assert np.all(np.diff(one.survival) <= 0)
    assert np.all((one.lower <= one.survival) & (one.survival <= one.upper))
    group = np.arange(entry.size) % 2 == 0
    assert_allclose(
        log_rank(entry, exit_, died, group), log_rank(entry * unit, exit_ * unit, died, ~group)
    )


@pytest.mark.parametrize("seed", range(5))
def test_equals_scipy(seed):
    from scipy import stats

    _, exit_, died = cohort(seed, late=False)
    curve = kaplan_meier(np.zeros(exit_.size), exit_, died)
    censored = stats.CensoredData.right_censored(exit_, ~died)
    theirs = stats.ecdf(censored).sf
    assert_allclose(theirs.evaluate(curve.time), curve.survival, atol=1e-12)
    with np.errstate(divide="ignore", invalid="ignore"):
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # undefined where survival is 0 or 1
            band = theirs.confidence_interval(method="log-log")
    inner = (theirs.probabilities > 0) & (theirs.probabilities < 1)
    where = np.searchsorted(curve.time, theirs.quantiles[inner])
    assert_allclose(band.low.probabilities[inner], curve.lower[where], atol=1e-12)
    assert_allclose(band.high.probabilities[inner], curve.upper[where], atol=1e-12)
    group = np.arange(exit_.size) % 3 == 0
    halves = [
        stats.CensoredData.right_censored(exit_[half], ~died[half]) for half in (group, ~group)
    ]
    assert log_rank(np.zeros(exit_.size), exit_, died, group)[1] == pytest.approx(
        stats.logrank(*halves).pvalue
    )


@pytest.mark.slow  # importing lifelines takes seconds
@pytest.mark.parametrize("seed", range(5))
def test_equals_lifelines_with_late_entry(seed):
    from lifelines import KaplanMeierFitter

    entry, exit_, died = cohort(seed)
    curve = kaplan_meier(entry, exit_, died)
    fitted = KaplanMeierFitter().fit(exit_, died, entry=entry)
    assert_allclose(fitted.survival_function_at_times(curve.time), curve.survival, atol=1e-12)
    inner = (curve.survival > 0) & (curve.survival < 1)
    band = fitted.confidence_interval_.loc[curve.time[inner]].to_numpy()
    assert_allclose(band[:, 0], curve.lower[inner], atol=1e-9)
    assert_allclose(band[:, 1], curve.upper[inner], atol=1e-9)


def test_textbook_log_rank():
    time, died = np.r_[WEEKS, PLACEBO], np.r_[RELAPSE, np.ones(21, int)]
    statistic, _ = log_rank(np.zeros(42), time, died, np.arange(42) < 21)
    assert statistic == pytest.approx(16.79, abs=0.005)  # Kleinbaum & Klein, chapter 2


@pytest.mark.parametrize("seed", range(5))
def test_log_rank_with_late_entry_equals_a_loop_over_deaths(seed):
    entry, exit_, died = cohort(seed)
    group = np.arange(entry.size) % 3 == 0
    difference = variance = 0.0
    for time in sorted(set(exit_[died])):
        risk = (entry < time) & (time <= exit_)
        dead = died & (exit_ == time)
        n, n1, d, d1 = risk.sum(), (risk & group).sum(), dead.sum(), (dead & group).sum()
        difference += d1 - d * n1 / n
        if n > 1:
            variance += d * (n1 / n) * (1 - n1 / n) * (n - d) / (n - 1)
    assert log_rank(entry, exit_, died, group)[0] == pytest.approx(difference**2 / variance)
