"""Bleaching: how fast the intensity of a movie falls, and what brings its frames back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytoloom.statistics import Statistics

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Decay:
    """``amplitude * exp(-rate * frame) + rest``, in counts and per frame."""

    amplitude: float
    rate: float
    rest: float

    def at(self, frames: Any) -> Values:
        """Return the intensities of some frames."""
        return np.asarray(self.amplitude * np.exp(-self.rate * np.asarray(frames)) + self.rest)


def frame_means(stack: Statistics, frames: int) -> Values:
    """Return the mean of every frame, from the histograms; NaN for one without a number."""
    counts = stack.count.astype(np.float64)
    number = np.bincount(stack.frame, counts, minlength=frames)
    total = np.bincount(stack.frame, counts * stack.value, minlength=frames)
    return np.asarray(total / np.where(number > 0, number, np.nan))


def fit_decay(means: Values) -> Decay:
    """Fit an exponential that falls to a constant rest, both not negative, by least squares.

    For every rate the two other parameters follow; the rate is searched. With fewer than four
    frames the rest is 0. Where nothing falls the rate is 0.
    """
    from scipy.optimize import minimize_scalar

    frames = np.flatnonzero(np.isfinite(means)).astype(float)
    values = means[np.isfinite(means)]
    level = float(values.mean()) if values.size else 0.0
    if values.size < 2 or level <= 0 or np.ptp(values) == 0:
        return Decay(0.0, 0.0, max(level, 0.0))
    with_rest = values.size >= 4

    def solved(rate: float) -> tuple[float, Decay]:
        curve = np.exp(-rate * frames)
        fits = [Decay(max(float(curve @ values / (curve @ curve)), 0.0), rate, 0.0)]
        if with_rest:
            centred = curve - curve.mean()
            if centred @ centred > 1e-12 * len(frames):
                amplitude = float(centred @ values / (centred @ centred))
                rest = float(values.mean() - amplitude * curve.mean())
                if amplitude >= 0 and rest >= 0:
                    fits.append(Decay(amplitude, rate, rest))
        errors = [float(((fit.at(frames) - values) ** 2).sum()) for fit in fits]
        best = int(np.argmin(errors))
        return errors[best], fits[best]

    longest = max(frames[-1] - frames[0], 1.0)
    rates = np.geomspace(1e-3 / longest, 20.0, 150)
    errors = [solved(rate)[0] for rate in rates]
    place = int(np.argmin(errors))
    low, high = rates[max(place - 1, 0)], rates[min(place + 1, len(rates) - 1)]
    found = minimize_scalar(
        lambda rate: solved(rate)[0], bounds=(low, high), method="bounded",
        options={"xatol": 1e-9 * high},
    )  # fmt: skip
    error, decay = solved(float(found.x))
    flat = float(((values - level) ** 2).sum())
    return decay if error < flat else Decay(0.0, 0.0, level)


def factors(means: Values, reference: int, decay: Decay | None = None) -> Values:
    """Return what each frame is multiplied by to be as bright as the reference frame.

    Parameters
    ----------
    means
        Means of the frames less the background.
    decay
        A fit to take instead of the means themselves.

    Returns
    -------
    ndarray, shape (frames,)
        1 for frames (or a reference) without any intensity.
    """
    curve = means if decay is None else decay.at(np.arange(len(means)))
    good = np.isfinite(curve) & (curve > 0)
    if not good[reference]:
        return np.ones(len(means))
    return np.where(good, curve[reference] / np.where(good, curve, 1), 1.0)


def matched(count: NDArray[Any], target: NDArray[Any], target_count: NDArray[Any]) -> Values:
    """Return what each value of a histogram becomes so that it matches another one.

    ``count`` is of the values in ascending order; the other histogram is ``target`` (values)
    and ``target_count``.

    Values of equal quantile, linearly interpolated, as scikit-image's ``match_histograms``.
    """
    quantile = np.cumsum(count) / count.sum()
    target_quantile = np.cumsum(target_count) / target_count.sum()
    return np.asarray(np.interp(quantile, target_quantile, target))
