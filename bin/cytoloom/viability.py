"""Live and death signals of single cells: normalised, combined, smoothed, and the time of death.

All functions work on plain arrays. A signal is the mean intensity inside a cell's
outline. Both signals are scaled to 0..1 over one whole position (all frames), then
combined to a viability (two logistic terms) and to the cell death index,
CDI = death / (live + death). A cell dies when its smoothed CDI first reaches a
threshold and stays there. Scaling by percentiles alone would stretch pure noise to
0..1 where nothing dies, and so invent deaths; `live_range` and `death_range` therefore
keep the ranges from becoming narrower than what living cells differ by.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cytoloom.errors import UsageError

Floats = NDArray[np.float64]
Smoothing = Literal["gaussian", "savgol", "quadratic", "moving_average", "none"]

_STEEPNESS = 10.0
_TINY = 1e-10


def live_range(
    values: ArrayLike, *, lower: float = 1.0, upper: float = 99.0, min_live_loss: float = 0.5
) -> tuple[float, float]:
    """Return the live signals that become 0 and 1.

    Parameters
    ----------
    values : array of float
        The signal of all cells in all frames of a position, in counts; NaN is left out.
    lower, upper
        Percentiles, 0 to 100.
    min_live_loss
        The range spans at least this share of its upper end: where no cell loses more of
        its signal, the dimmest living cell is not taken for a dead one. 0 takes the
        percentiles as they are.

    Returns
    -------
    low, high : float
        In counts; NaN where there is no value.

    Raises
    ------
    UsageError
        If ``lower`` is not below ``upper``.
    """
    low, high = _percentiles(values, lower, upper)
    return float(min(low, high * (1 - min_live_loss))), high


def death_range(
    values: ArrayLike, *, lower: float = 1.0, upper: float = 99.0, min_contrast: float = 20.0
) -> tuple[float, float]:
    """Return the death signals that become 0 and 1.

    Parameters
    ----------
    values, lower, upper
        As in `live_range`.
    min_contrast
        The range is at least this many times the spread of the living cells' signal, so
        that noise is not stretched to deaths where nothing dies. The spread is the least of
        (p50 - p25) / 0.674, (p25 - p5) / 0.970 and (p10 - p2) / 0.772: each is the standard
        deviation of a normal population, and blind to the dead as long as a tenth of all
        values is of the living. 0 takes the percentiles as they are.

    Returns
    -------
    low, high : float
        In counts; NaN where there is no value.

    Raises
    ------
    UsageError
        If ``lower`` is not below ``upper``.
    """
    low, high = _percentiles(values, lower, upper)
    if np.isnan(low):
        return low, high
    p50, p25, p10, p05, p02 = np.nanpercentile(np.asarray(values, np.float64), [50, 25, 10, 5, 2])
    spread = min((p50 - p25) / 0.6745, (p25 - p05) / 0.9704, (p10 - p02) / 0.7722)
    return low, float(max(high, low + min_contrast * spread))


def _percentiles(values: ArrayLike, lower: float, upper: float) -> tuple[float, float]:
    if not 0 <= lower < upper <= 100:
        raise UsageError(
            f"percentiles {lower} and {upper}: lower must be below upper, both in 0..100"
        )
    known = np.asarray(values, np.float64)
    known = known[np.isfinite(known)]
    if not known.size:
        return np.nan, np.nan
    low, high = np.percentile(known, [lower, upper])
    return float(low), float(high)


def normalise(values: ArrayLike, low: float, high: float, *, if_constant: float = 0.0) -> Floats:
    """Scale ``low``..``high`` to 0..1 and clip; where the range is empty return ``if_constant``.

    NaN stays NaN.
    """
    values = np.asarray(values, np.float64)
    if not high > low:
        return np.where(np.isnan(values), np.nan, if_constant)
    return np.clip((values - low) / (high - low), 0.0, 1.0)


def viability(live: ArrayLike, death: ArrayLike) -> Floats:
    """Return the viability, 0 (dead) to 1 (alive), of normalised signals.

    1 / (1 + m), m the mean of exp(-10 (live - 0.5)) and exp(-10 (0.5 - death)); pyCyto's
    definition.
    """
    live, death = np.asarray(live, np.float64), np.asarray(death, np.float64)
    terms = np.exp(-_STEEPNESS * (live - 0.5)) + np.exp(-_STEEPNESS * (0.5 - death))
    return 1.0 / (1.0 + terms / 2.0)


def death_index(live: ArrayLike, death: ArrayLike) -> Floats:
    """Return the cell death index, death / (live + death + 1e-10), 0 to 1."""
    live, death = np.asarray(live, np.float64), np.asarray(death, np.float64)
    return death / (live + death + _TINY)


def fill_frames(frames: ArrayLike, values: ArrayLike) -> tuple[NDArray[np.int64], Floats]:
    """Return every frame from the first to the last, missing values interpolated linearly.

    Parameters
    ----------
    frames : array of int, shape (n,)
        Strictly ascending.
    values : array of float, shape (n,)
        NaN counts as missing; at the ends the nearest known value is taken.

    Returns
    -------
    frames, values : arrays of shape (last - first + 1,)
        All NaN where no value is known.
    """
    frames, values = np.asarray(frames, np.int64), np.asarray(values, np.float64)
    if not frames.size:
        return frames, values
    every = np.arange(frames[0], frames[-1] + 1)
    known = np.isfinite(values)
    if not known.any():
        return every, np.full(every.size, np.nan)
    return every, np.interp(every, frames[known], values[known])


def smooth(
    values: ArrayLike,
    method: Smoothing = "gaussian",
    *,
    sigma: float = 2.0,
    window: int = 11,
    polyorder: int = 3,
) -> Floats:
    """Smooth an index, one value per frame, and clip it to 0..1.

    Parameters
    ----------
    values : array of float, shape (n,)
        Without gaps; see `fill_frames`.
    method
        ``gaussian`` (standard deviation ``sigma`` frames), ``savgol`` (Savitzky-Golay of
        ``window`` frames and ``polyorder``), ``quadratic`` (the same with order 2),
        ``moving_average`` (of ``window`` frames) or ``none``. A window longer than the
        track becomes the longest odd one that fits.

    Raises
    ------
    UsageError
        If the window is not odd, or not longer than the order.

    References
    ----------
    Savitzky, A. & Golay, M. J. E. (1964). Smoothing and differentiation of data by
    simplified least squares procedures. Anal. Chem. 36, 1627-1639.
    """
    values = np.asarray(values, np.float64)
    if method == "quadratic":
        polyorder = 2
    check_window(method, window, polyorder)
    if method == "none" or values.size < 2:
        return np.clip(values, 0.0, 1.0)
    window = min(window, values.size - 1 + values.size % 2)
    if method == "gaussian":
        from scipy.ndimage import gaussian_filter1d

        smoothed = gaussian_filter1d(values, sigma, mode="nearest") if sigma > 0 else values
    elif method == "moving_average":
        from scipy.ndimage import uniform_filter1d

        smoothed = uniform_filter1d(values, window, mode="nearest")
    elif window <= polyorder:
        smoothed = values
    else:
        from scipy.signal import savgol_filter

        smoothed = savgol_filter(values, window, polyorder, mode="interp")
    return np.clip(smoothed, 0.0, 1.0)


def check_window(method: Smoothing, window: int, polyorder: int) -> None:
    """Raise UsageError unless the window fits the method."""
    if method in ("gaussian", "none"):
        return
    if window % 2 == 0:
        raise UsageError(f"smoothing window {window}: must be odd, for example {window + 1}")
    if method != "moving_average" and window <= polyorder:
        raise UsageError(f"smoothing window {window}: must be longer than the order {polyorder}")


@dataclass(frozen=True)
class Death:
    """When one cell died.

    Attributes
    ----------
    frame
        First frame at or over the threshold.
    time
        When the threshold was crossed, in frames, interpolated between that frame and the
        one before.
    at_start
        True where the cell was over the threshold when first seen: it died before.
    """

    frame: int
    time: float
    at_start: bool


def time_of_death(
    frames: ArrayLike, index: ArrayLike, *, threshold: float = 0.5, min_dead_frames: int = 3
) -> Death | None:
    """Return when ``index`` first reaches ``threshold`` and stays, or None.

    Parameters
    ----------
    frames : array of int, shape (n,)
        Consecutive.
    index : array of float, shape (n,)
        Smoothed cell death index.
    threshold
        0 to 1.
    min_dead_frames
        It must stay at or over the threshold for this many frames, or to the end.
    """
    frames, index = np.asarray(frames, np.int64), np.asarray(index, np.float64)
    edges = np.diff(np.r_[False, index >= threshold, False].astype(np.int8))
    starts, stops = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    lasting = (stops - starts >= min_dead_frames) | (stops == index.size)
    if not lasting.any():
        return None
    first = int(starts[lasting][0])
    if first == 0:
        return Death(int(frames[0]), float(frames[0]), True)
    before, after = index[first - 1], index[first]
    time = frames[first - 1] + (threshold - before) / (after - before)
    return Death(int(frames[first]), float(time), False)
