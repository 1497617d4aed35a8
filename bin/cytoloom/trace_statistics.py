"""Numbers of a trace without a model: area under the curve, onset of a rise, sudden changes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
LEAST_POINTS = 10  # of a trace in which changes are sought
ONSET_POINTS = 4
GRID = 64


@dataclass(frozen=True)
class Onset:
    """``offset + slope x max(t - time, 0)``: all NaN where there are too few points."""

    time: float = np.nan
    slope: float = np.nan
    offset: float = np.nan


@dataclass(frozen=True)
class Event:
    """The greatest change of level: whether it counts, when it is, and its size."""

    found: bool = False
    time: float = np.nan
    score: float = np.nan


def area_under_curve(times: Floats, values: Floats) -> float:
    """Return the area under a curve by trapezoids [value x h]; NaN of fewer than two points."""
    known = np.isfinite(values)
    if known.sum() < 2:
        return np.nan
    return float(np.trapezoid(values[known], times[known]))


def onset(times: Floats, values: Floats, window: float = 4.0) -> Onset:
    """Fit a level and a straight rise after it to the beginning of a trace.

    Parameters
    ----------
    times, values : ndarray, shape (n,)
        h; NaN: no point.
    window
        Only points up to this time after the first are taken [h].
    """
    known = np.isfinite(values)
    t, y = times[known], values[known]
    if t.size:
        near = t <= t[0] + window
        t, y = t[near], y[near]
    if t.size < ONSET_POINTS:
        return Onset()
    low, high = float(t[0]), float(t[-2])
    best = Onset()
    for _ in range(3):
        tried = np.linspace(low, high, GRID)
        rise = np.maximum(t - tried[:, np.newaxis], 0)
        apart = rise - rise.mean(axis=1, keepdims=True)
        slope = apart @ (y - y.mean()) / (apart**2).sum(axis=1)
        offset = y.mean() - slope * rise.mean(axis=1)
        left = y - offset[:, np.newaxis] - slope[:, np.newaxis] * rise
        found = int(np.argmin((left**2).sum(axis=1)))
        best = Onset(float(tried[found]), float(slope[found]), float(offset[found]))
        step = tried[1] - tried[0]
        low, high = max(float(t[0]), best.time - step), min(float(t[-2]), best.time + step)
        if not high > low:
            break
    return best


def event(times: Floats, values: Floats) -> Event:
    """Find the greatest change of level of a trace by cumulative sums.

    With S the cumulative sum of deviations from the mean, in standard deviations and divided by
    the root of the number of points n, the change is where |S| is greatest, at least
    max(3, 5 %) points from both ends. It counts where |S|, times a penalty for a trend (the sum of
    squares beside a straight line over that beside a step, at most 1), is above
    2 sqrt(n / 50), clipped to 0.8 ... 2. Traces of fewer than 10 points have none.

    References
    ----------
    Page, E. S. (1954). Continuous inspection schemes. Biometrika 41, 100-115.
    """
    known = np.isfinite(values)
    t, y = times[known], values[known]
    n = y.size
    spread = float(y.std()) if n else 0.0
    if n < LEAST_POINTS or spread == 0:
        return Event()
    sums = np.cumsum(y - y.mean()) / (spread * np.sqrt(n))
    margin = max(3, int(np.ceil(0.05 * n)))
    inner = np.arange(margin - 1, n - margin)
    place = int(inner[np.argmax(np.abs(sums[inner]))])
    line = np.polynomial.polynomial.polyfit(t, y, 1)
    beside_line = float(((y - np.polynomial.polynomial.polyval(t, line)) ** 2).sum())
    before, after = y[: place + 1], y[place + 1 :]
    beside_step = float(((before - before.mean()) ** 2).sum() + ((after - after.mean()) ** 2).sum())
    penalty = 1.0 if beside_step == 0 else min(1.0, beside_line / beside_step)
    score = float(abs(sums[place])) * penalty
    threshold = float(np.clip(2 * np.sqrt(n / 50), 0.8, 2.0))
    return Event(score > threshold, float(t[place + 1]), score)


def normalised(values: Floats, area: Floats, width: int = 5) -> Floats:
    """Return values divided by the running median of the area of the cell, rows by rows.

    Parameters
    ----------
    values, area : ndarray, shape (cells, n)
    width
        Frames of the running median, odd.
    """
    reach = width // 2
    padded = np.pad(area, ((0, 0), (reach, reach)), constant_values=np.nan)
    around = np.lib.stride_tricks.sliding_window_view(padded, width, axis=1)
    with np.errstate(all="ignore"):
        middle = np.array([[_median(window) for window in row] for row in around])
        result: Floats = np.where(middle > 0, values / middle, np.nan)
    return result


def _median(window: Floats) -> float:
    known = window[np.isfinite(window)]
    return float(np.median(known)) if known.size else np.nan
