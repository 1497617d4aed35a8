"""Survival of cells that enter and leave observation at any time.

The Kaplan-Meier product limit with delayed entry (left truncation) and right
censoring, Greenwood's variance, the log-log confidence band, and the log-rank test.
These few lines are here, not taken from lifelines or scipy.stats, because importing
those costs 4 s and 1.5 s in a task that computes for milliseconds; the tests hold
them to both libraries.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """A survival curve: a step function that starts at the first entry.

    Attributes
    ----------
    time : array of float, shape (n,)
        The first entry, then each time at which a cell died or left, ascending.
    survival, lower, upper : arrays of float, shape (n,)
        Probability to survive beyond that time, with its confidence band.
    at_risk, events : arrays of int, shape (n,)
        Cells observed just before that time; deaths at that time.
    """

    time: Floats
    survival: Floats
    lower: Floats
    upper: Floats
    at_risk: NDArray[np.int64]
    events: NDArray[np.int64]

    @property
    def median(self) -> float:
        """First time with a survival of at most 0.5; NaN if never reached."""
        below = np.flatnonzero(self.survival <= 0.5)
        return float(self.time[below[0]]) if below.size else float("nan")


def kaplan_meier(
    entry: ArrayLike, exit_: ArrayLike, died: ArrayLike, *, confidence: float = 0.95
) -> Curve:
    """Estimate a survival curve.

    Parameters
    ----------
    entry, exit_ : arrays of float, shape (n,)
        When each cell came under observation, and when it died or left. A cell is at risk
        at ``entry < time <= exit_``. Any unit.
    died : array of bool, shape (n,)
        False: censored.
    confidence
        Level of the pointwise band.

    Returns
    -------
    Curve
        Empty where there is no cell. Where the survival is 1 or 0 the band has no width.

    References
    ----------
    Kaplan, E. L. & Meier, P. (1958). Nonparametric estimation from incomplete
    observations. J. Am. Stat. Assoc. 53, 457-481.
    Kalbfleisch, J. D. & Prentice, R. L. (2002). The statistical analysis of failure time
    data, 2nd ed., section 1.4 (log-log band).
    """
    from scipy.special import ndtri

    entry, exit_ = np.asarray(entry, np.float64), np.asarray(exit_, np.float64)
    died = np.asarray(died, bool)
    if not entry.size:
        none, zero = np.empty(0), np.empty(0, np.int64)
        return Curve(none, none, none, none, zero, zero)
    start = entry.min()
    time = np.unique(np.r_[start, exit_])
    at_risk = _at_risk(entry, exit_, time)
    events = _deaths_at(exit_, died, time)
    with np.errstate(divide="ignore", invalid="ignore"):
        survival = np.cumprod(np.where(events > 0, 1.0 - events / at_risk, 1.0))
        hazard = np.where(events > 0, events / (at_risk * (at_risk - events)), 0.0)
        log = np.log(survival)
        half = -ndtri((1 - confidence) / 2) * np.sqrt(np.cumsum(hazard)) / log
        bounds = survival ** np.exp(half), survival ** np.exp(-half)
    certain = (survival >= 1) | (survival <= 0)
    lower, upper = (np.where(certain, survival, bound) for bound in bounds)
    at_risk[time == start] = np.count_nonzero(entry == start)
    low, high = np.minimum(lower, upper), np.maximum(lower, upper)
    return Curve(time, np.asarray(survival, np.float64), low, high, at_risk, events)


def log_rank(
    entry: ArrayLike, exit_: ArrayLike, died: ArrayLike, group: ArrayLike
) -> tuple[float, float]:
    """Test whether two groups die at the same rate.

    Parameters
    ----------
    entry, exit_, died
        As in `kaplan_meier`. A cell that changes group is given as two rows: censored in
        the first where it enters the second (the Mantel-Byar test).
    group : array of bool, shape (n,)

    Returns
    -------
    statistic, p : float
        Chi-squared with one degree of freedom; NaN where nobody is at risk in both groups
        when a cell dies.

    References
    ----------
    Mantel, N. (1966). Evaluation of survival data and two new rank order statistics.
    Cancer Chemother. Rep. 50, 163-170.
    Mantel, N. & Byar, D. P. (1974). Evaluation of response-time data involving transient
    states. J. Am. Stat. Assoc. 69, 81-86.
    """
    from scipy.special import chdtrc

    entry, exit_ = np.asarray(entry, np.float64), np.asarray(exit_, np.float64)
    died, group = np.asarray(died, bool), np.asarray(group, bool)
    time = np.unique(exit_[died])
    risk, deaths = _at_risk(entry, exit_, time), _deaths_at(exit_, died, time)
    risk_1 = _at_risk(entry[group], exit_[group], time)
    deaths_1 = _deaths_at(exit_[group], died[group], time)
    share = risk_1 / risk
    variance = deaths * share * (1 - share) * (risk - deaths) / np.maximum(risk - 1, 1)
    if not variance.sum() > 0:
        return float("nan"), float("nan")
    statistic = (deaths_1 - deaths * share).sum() ** 2 / variance.sum()
    return float(statistic), float(chdtrc(1, statistic))


def _at_risk(entry: Floats, exit_: Floats, time: Floats) -> NDArray[np.int64]:
    entered = np.searchsorted(np.sort(entry), time, side="left")
    left = np.searchsorted(np.sort(exit_), time, side="left")
    return (entered - left).astype(np.int64)


def _deaths_at(exit_: Floats, died: NDArray[np.bool_], time: Floats) -> NDArray[np.int64]:
    deaths = np.sort(exit_[died])
    right = np.searchsorted(deaths, time, side="right")
    return (right - np.searchsorted(deaths, time, side="left")).astype(np.int64)
