"""Models and fits: the usual formulas, equal rates, scipy's fits, recovered parameters."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special
from scipy.optimize import curve_fit

from cytoloom import fitting, kinetics, trace_statistics
from cytoloom.errors import BadData

TIMES = np.arange(180) / 6
DRAWS = {
    "maturation": {
        "t0": (0.2, 0.9), "ktl": (500, 5000), "delta": (0.05, 0.3), "offset": (100, 300)
    },
    "trivial": {"t0": (1, 5), "ktl": (200, 2000), "delta": (0.15, 0.4), "beta": (0.03, 0.08)},
    "maturation_blocked": {
        "G0": (500, 2000), "Gu0": (500, 2000), "km": (0.8, 2), "beta": (0.02, 0.1)
    },
    "twostage": {"k_tl": (500, 2000), "k_m": (0.5, 2), "beta": (0.02, 0.1), "offset": (50, 100)},
    "exponential_decay": {"amplitude": (500, 2000), "rate": (0.1, 0.5), "offset": (50, 100)},
}  # fmt: skip


def simulated(name, count, snr, seed=0):
    """Return the model, true parameters, and noisy curves whose range is ``snr`` deviations."""
    rng = np.random.default_rng(seed)
    model = kinetics.MODELS[name]
    true = np.stack([rng.uniform(*DRAWS[name][p], count) for p in model.free], axis=1)
    clean = model.curve(TIMES, true)
    noise = np.ptp(clean, axis=1)[:, None] / snr
    return model, true, clean + rng.normal(size=clean.shape) * noise


RATES = {name: st.floats(1e-4, 5) for name in ("a", "b", "c")}


@given(**RATES, time=st.floats(0, 30))
def test_differences_are_the_usual_formulas(a, b, c, time):
    t = np.array([time])
    if abs(a - b) > 0.05:
        expected = (np.exp(-a * t) - np.exp(-b * t)) / (b - a)
        np.testing.assert_allclose(
            kinetics.first_difference(t, a, b), expected, rtol=1e-6, atol=1e-12
        )
    if min(abs(a - b), abs(b - c), abs(a - c)) > 0.05:
        expected = np.exp(-a * t) / ((a - b) * (a - c)) + np.exp(-b * t) / ((b - a) * (b - c))
        expected = expected + np.exp(-c * t) / ((c - a) * (c - b))
        found = kinetics.second_difference(t, a, b, c)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


@given(a=st.floats(1e-3, 3), gap=st.sampled_from([0, 1e-15, 1e-9, 1e-6, 1e-4, 1e-2]))
def test_equal_rates_are_nothing_special(a, gap):
    t = np.linspace(0, 30, 50)
    far = kinetics.second_difference(t, a, a + 1e-7, a - 1e-7)
    np.testing.assert_allclose(far, t**2 / 2 * np.exp(-a * t), rtol=1e-4, atol=1e-12)
    near = kinetics.second_difference(t, a, a + gap, a + 0.5)
    base = kinetics.second_difference(t, a, a, a + 0.5)
    np.testing.assert_allclose(near, base, rtol=40 * gap + 1e-6, atol=1e-9)
    np.testing.assert_allclose(kinetics.first_difference(t, a, a), t * np.exp(-a * t))


def test_maturation_is_the_formula_of_the_reference():
    t, t0, ktl, delta, offset, km, beta = TIMES, 0.4, 900.0, 0.11, 70.0, 1.28, 5.22e-3
    dt = t - t0
    with np.errstate(over="ignore"):
        inner = np.exp(-(beta + km) * dt) / (beta - delta + km) - np.exp(-beta * dt) / (
            beta - delta
        )
        inner += km / ((beta - delta) * (beta - delta + km)) * np.exp(-delta * dt)
    expected = offset + (dt > 0) * ktl * np.nan_to_num(inner)
    found = kinetics.maturation(t, t0, ktl, delta, offset, km, beta, 1.0)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_trivial_is_the_formula_of_the_reference():
    t, ktl, delta, beta = TIMES, 900.0, 0.11, 0.043
    expected = ktl / (delta - beta) * (1 - np.exp(-(delta - beta) * t)) * np.exp(-beta * t)
    np.testing.assert_allclose(kinetics.trivial(t, 0.0, ktl, delta, beta), expected, rtol=1e-9)


@pytest.mark.parametrize("name", DRAWS)
def test_fits_are_as_good_as_scipys_from_the_truth(name):
    model, true, data = simulated(name, 12, 10)
    found = fitting.fit(model, TIMES, data)
    bounds = [[p.low for p in model.free.values()], [p.high for p in model.free.values()]]
    for row, start, cost in zip(data, true, found.squares, strict=True):
        best, _ = curve_fit(
            lambda t, *p: model.curve(t, np.array([p]))[0], TIMES, row, p0=start, bounds=bounds
        )
        assert cost <= ((row - model.curve(TIMES, best[None])[0]) ** 2).sum() * (1 + 1e-6)
    assert (found.r_squared > 0.7).all()


@pytest.mark.parametrize("name", DRAWS)
def test_parameters_are_recovered(name):
    model, true, data = simulated(name, 150, 10, seed=2)
    found = fitting.fit(model, TIMES, data)
    # What cells have in common is right within 5 %: no bias. Each cell has its noise.
    for column, parameter in enumerate(model.free):
        span = np.ptp(DRAWS[name][parameter])
        scale = np.maximum(np.abs(true[:, column]), 0.2 * span) if parameter != "t0" else 1.0  # h
        error = (found.values[:, column] - true[:, column]) / scale
        if parameter != "offset" or name == "exponential_decay":
            assert abs(np.median(error)) < 0.05, (parameter, np.median(error))
    inside = (true >= found.low) & (true <= found.high)
    known = np.isfinite(found.low).all(axis=1)
    assert inside[known][:, -1].mean() > 0.88


def least_deviations(model, true, noise):
    """Return the Cramer-Rao bound of each parameter: no unbiased fit has a smaller deviation."""
    bounds = np.empty(true.shape)
    for row, (values, sigma) in enumerate(zip(true, noise, strict=True)):
        steps = 1e-5 * np.maximum(np.abs(values), 1e-3)
        ahead, behind = (model.curve(TIMES, values + s * np.diag(steps)) for s in (1, -1))
        slopes = (ahead - behind) / (2 * steps[:, np.newaxis]) / sigma
        bounds[row] = np.sqrt(np.diag(np.linalg.inv(slopes @ slopes.T)))
    return bounds


@pytest.mark.slow
@pytest.mark.parametrize(("name", "snr"), [*((name, 10) for name in DRAWS), ("trivial", 100)])
def test_fits_are_as_exact_as_noise_allows(name, snr):
    model, true, data = simulated(name, 100, snr, seed=3)
    noise = np.ptp(model.curve(TIMES, true), axis=1) / snr
    bound = least_deviations(model, true, noise)
    error = fitting.fit(model, TIMES, data).values - true
    for column, parameter in enumerate(model.free):
        deviations = error[:, column] / bound[:, column]
        spread = np.median(np.abs(deviations)) / 0.6745
        assert 0.7 < spread < 1.4, (parameter, spread)  # of 100 cells
        assert abs(np.median(deviations)) < 0.3, parameter
        # As many cells are right within 5 % as the bound allows.
        allowed = special.erf(0.05 * np.abs(true) / bound / np.sqrt(2))[:, column].mean()
        within = (np.abs(error[:, column]) < 0.05 * np.abs(true[:, column])).mean()
        assert within > allowed - 0.1, (parameter, within, allowed)


def test_cells_fitted_together_or_alone_agree():
    model, _, data = simulated("trivial", 5, 20)
    data[2, 10:40] = np.nan
    together = fitting.fit(model, TIMES, data, cores=2)
    for row in range(5):
        alone = fitting.fit(model, TIMES, data[row : row + 1])
        np.testing.assert_allclose(alone.values[0], together.values[row], rtol=1e-5)


def test_too_few_points_are_no_fit():
    model, _, data = simulated("trivial", 3, 20)
    data[0, 3:] = np.nan
    data[1] = np.nan
    found = fitting.fit(model, TIMES, data)
    assert found.success.tolist() == [False, False, True]
    assert found.r_squared[:2].tolist() == [0, 0]
    assert np.isnan(found.values[:2]).all()
    assert found.points.tolist() == [3, 0, 180]
    nothing = fitting.fit(model, TIMES, data[:0])
    assert nothing.values.shape == (0, 4)


@pytest.mark.parametrize("name", DRAWS)
def test_constant_and_absurd_traces_do_not_fail(name):
    model = kinetics.MODELS[name]
    rows = [np.zeros(180), np.full(180, 1e12), np.linspace(5, -5, 180), np.full(180, -3.0)]
    found = fitting.fit(model, TIMES, np.array(rows))
    assert found.success.all()
    low = [p.low for p in model.free.values()]
    high = [p.high for p in model.free.values()]
    assert ((found.values >= low) & (found.values <= high)).all()
    assert ((found.r_squared >= 0) & (found.r_squared <= 1)).all()


def test_parameters_can_be_fixed_freed_and_bounded():
    model = kinetics.MODELS["maturation"].changed({"t0": 0.5}, {"km": 2.0}, {"km": (1, 3)})
    assert "t0" not in model.free
    assert model.fixed["t0"] == 0.5
    assert model.free["km"] == kinetics.Parameter(2.0, 1, 3)
    with pytest.raises(BadData, match="no parameter 'kk'"):
        model.changed({"kk": 1}, {}, {})
    with pytest.raises(BadData, match="starts outside"):
        model.changed({}, {"ktl": 0.1}, {})
    with pytest.raises(BadData, match="give its bounds"):
        model.changed({}, {"beta": 0.1}, {})
    assert kinetics.find_model("Trivial", {}).name == "trivial"
    with pytest.raises(BadData, match="Unknown model 'x'"):
        kinetics.find_model("x", {})


def test_statistics_of_a_trace():
    t = np.arange(60) / 10
    rise = 5 + 3 * np.maximum(t - 1.23, 0)
    found = trace_statistics.onset(t, rise)
    np.testing.assert_allclose([found.time, found.slope, found.offset], [1.23, 3, 5], atol=2e-3)
    assert np.isnan(trace_statistics.onset(t[:3], rise[:3]).time)
    assert trace_statistics.area_under_curve(t, np.full(60, 2.0)) == pytest.approx(2 * 5.9)
    assert np.isnan(trace_statistics.area_under_curve(t[:1], rise[:1]))


@pytest.mark.parametrize("count", [12, 50, 200])
def test_a_step_is_an_event_and_a_trend_is_none(count):
    rng = np.random.default_rng(count)
    t = np.arange(count, dtype=float)
    noise = rng.normal(0, 0.2, count)
    step = trace_statistics.event(t, (t >= count // 2) * 3.0 + noise)
    assert step.found
    assert step.time == count // 2
    assert not trace_statistics.event(t, 0.05 * t + 0.1 * noise).found
    assert not trace_statistics.event(t, np.ones(count)).found
    assert not trace_statistics.event(t[:9], step.time * t[:9]).found


def test_values_by_area():
    area = np.array([[10.0, 10, 1000, 10, np.nan, 20, 20]])
    values = np.full((1, 7), 40.0)
    found = trace_statistics.normalised(values, area)
    np.testing.assert_allclose(found[0, :2], [4, 4])
    np.testing.assert_allclose(found[0, -1], 2)
