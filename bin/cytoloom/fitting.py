"""Bounded least squares of many curves at once.

All cells are fitted together by Levenberg and Marquardt's method on arrays
``(cells, times)``: a cell's step depends on its own points only, so results do not depend
on which cells are fitted together. Parameters that span more than three decades are
stepped in their logarithm; one that lies at a bound and would leave it is held there.

Each fit starts from the best few of many candidates spread over the bounds, whose linear
parameters are solved for; so it does not end in the next hollow of the sum of squares.

References
----------
Marquardt, D. (1963). An algorithm for least-squares estimation of nonlinear parameters.
J. SIAM 11, 431-441.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cytoloom.kinetics import Floats, Model

CANDIDATES = 512
STARTS = 3  # fits of each cell
ROUNDS = 200
CHUNK = 512  # cells that are fitted together
DECADES = 1e3
STEP = 1e-6  # of the scaled parameters, for derivatives
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Fits:
    """Fits of cells.

    Attributes
    ----------
    values, low, high : ndarray, shape (cells, free)
        Parameters, and their 95 % confidence limits; NaN where there are none.
    success : ndarray of bool, shape (cells,)
    squares, r_squared, aic : ndarray, shape (cells,)
    points : ndarray of int, shape (cells,)
    """

    values: Floats
    low: Floats
    high: Floats
    success: Mask
    squares: Floats
    r_squared: Floats
    aic: Floats
    points: NDArray[np.int64]


def fit(model: Model, times: Floats, data: Floats, *, cores: int = 1) -> Fits:
    """Fit a model to curves.

    Parameters
    ----------
    times : ndarray, shape (n,), h
    data : ndarray, shape (cells, n)
        NaN: no point. A cell with fewer points than free parameters has no fit.

    Returns
    -------
    Fits
    """
    chunks = [data[i : i + CHUNK] for i in range(0, len(data), CHUNK)] or [data]
    with ThreadPoolExecutor(max_workers=cores) as pool:
        found = list(pool.map(lambda part: _fit(model, times, part), chunks))
    return Fits(*(np.concatenate([getattr(f, n) for f in found]) for n in Fits.__annotations__))


def _fit(model: Model, times: Floats, data: Floats) -> Fits:
    known = np.isfinite(data)
    points = known.sum(axis=1)
    enough = np.flatnonzero(points >= len(model.free))
    cells, free = len(data), len(model.free)
    values = np.full((cells, free), np.nan)
    low, high = values.copy(), values.copy()
    squares, r_squared = np.full(cells, np.nan), np.zeros(cells)
    aic = np.full(cells, np.nan)
    if enough.size:
        part, mask = data[enough], known[enough]
        part = np.where(mask, part, 0.0)
        best, cost = _best(model, times, part, mask)
        best = _ordered(model, best)
        values[enough], squares[enough] = best, cost
        mean = part.sum(axis=1) / points[enough]
        total = (np.where(mask, part - mean[:, np.newaxis], 0) ** 2).sum(axis=1)
        explained = 1 - np.divide(cost, total, out=np.ones_like(cost), where=total > 0)
        r_squared[enough] = np.where(total > 0, explained, cost <= 1e-12).clip(0, 1)
        low[enough], high[enough] = _limits(model, times, mask, best, cost)
        n = points[enough]
        aic[enough] = n * np.log(np.maximum(cost, 1e-300) / n) + 2 * (free + 1)
    success = np.isfinite(squares)
    return Fits(values, low, high, success, squares, r_squared, aic, points)


@dataclass(frozen=True)
class _Scale:
    """Parameters in a scale in which steps are alike: 0 to 1, by logarithm over decades."""

    low: Floats
    high: Floats
    decades: Mask

    @classmethod
    def of(cls, model: Model) -> _Scale:
        low = np.array([p.low for p in model.free.values()], float)
        high = np.array([p.high for p in model.free.values()], float)
        return cls(low, high, (low > 0) & (high > DECADES * np.maximum(low, 1e-300)))

    def real(self, scaled: Floats) -> Floats:
        ratio = np.where(self.decades, self.high / np.where(self.decades, self.low, 1.0), 1.0)
        base = np.where(self.decades, self.low, 1.0)
        plain = self.low + scaled * (self.high - self.low)
        result = np.where(self.decades, base * ratio**scaled, plain)
        return np.clip(result, self.low, self.high)

    def scaled(self, real: Floats) -> Floats:
        real = np.clip(real, self.low, self.high)
        ratio = np.where(self.decades, self.high / np.where(self.decades, self.low, 1.0), np.e)
        base = np.where(self.decades, self.low, 1.0)
        logarithmic = np.log(np.where(self.decades, real, 1.0) / base) / np.log(ratio)
        return np.where(self.decades, logarithmic, (real - self.low) / (self.high - self.low))


def _best(model: Model, times: Floats, data: Floats, mask: Mask) -> tuple[Floats, Floats]:
    """Return the best of the fits from several starts, and its sum of squares."""
    best, cost = None, None
    for start in _starts(model, times, data, mask):
        values, squares = _descend(model, times, data, mask, start)
        if best is None or cost is None:
            best, cost = values, squares
            continue
        better = squares < cost
        best[better], cost[better] = values[better], squares[better]
    assert best is not None
    assert cost is not None
    for name in ("t0",) if "t0" in model.free else ():
        # The sum of squares has a kink wherever the onset passes a point.
        column = list(model.free).index(name)
        gap = float(np.median(np.diff(times))) if times.size > 1 else 1.0
        for shift in (-1.5 * gap, 1.5 * gap):
            start = best.copy()
            start[:, column] += shift
            values, squares = _descend(model, times, data, mask, start)
            better = squares < cost
            best[better], cost[better] = values[better], squares[better]
    return best, cost


def _starts(model: Model, times: Floats, data: Floats, mask: Mask) -> Sequence[Floats]:
    """Return starts (cells, free): those of the candidates that come closest to each cell."""
    from scipy.stats import qmc

    scale, names = _Scale.of(model), list(model.free)
    spread = qmc.Halton(len(names), scramble=False, seed=None).random(CANDIDATES)
    candidates = scale.real(spread)
    usual = np.array([p.start for p in model.free.values()], float)
    if "t0" in names:  # an onset after the last point is seen by none
        column, end = names.index("t0"), float(times.max(initial=0))
        late = min(scale.high[column], max(scale.low[column], end))
        candidates[:, column] = scale.low[column] + spread[:, column] * (late - scale.low[column])
    candidates[0] = usual
    linear = [names.index(name) for name in model.linear]
    costs = np.full((len(data), CANDIDATES), np.inf)
    solved = np.empty((len(data), CANDIDATES, len(linear)))
    weight = mask.astype(float)
    for index, candidate in enumerate(candidates):
        curves = _parts(model, times, candidate, linear)
        costs[:, index], solved[:, index] = _project(
            curves, data, weight, scale.low[linear], scale.high[linear]
        )
    costs[~np.isfinite(costs)] = np.inf
    count = min(STARTS, CANDIDATES)
    chosen = np.argsort(costs, axis=1, kind="stable")[:, :count]
    starts = []
    for rank in range(count):
        start = candidates[chosen[:, rank]].copy()
        start[:, linear] = solved[np.arange(len(data)), chosen[:, rank]]
        starts.append(np.clip(start, scale.low, scale.high))
    return starts


def _parts(model: Model, times: Floats, candidate: Floats, linear: list[int]) -> Floats:
    """Return the curve without its linear parameters, and what each adds to it per unit."""
    at = np.repeat(candidate[np.newaxis], len(linear) + 1, axis=0)
    at[:, linear] = 0
    for row, column in enumerate(linear, start=1):
        at[row, column] = 1
    curves = model.curve(times, at)
    return np.concatenate([curves[:1], curves[1:] - curves[:1]])


def _project(
    curves: Floats, data: Floats, weight: Floats, low: Floats, high: Floats
) -> tuple[Floats, Floats]:
    """Return the least sum of squares over the linear parameters, within their bounds."""
    base, parts = curves[0], curves[1:]
    left = (data - base) * weight
    if not len(parts):
        return (left**2).sum(axis=1), np.empty((len(data), 0))
    products = np.einsum("cn,in,jn->cij", weight, parts, parts)
    side = np.einsum("cn,in->ci", left, parts)
    size = np.einsum("cii->ci", products).max(axis=1)
    ridge = np.eye(len(parts)) * (1e-12 * size + 1e-300)[:, np.newaxis, np.newaxis]
    with np.errstate(all="ignore"):
        solved = np.linalg.solve(products + ridge, side[:, :, np.newaxis])[:, :, 0]
    solved = np.clip(np.nan_to_num(solved), low, high)
    rest = left - np.einsum("ci,in->cn", solved, parts) * weight
    return (rest**2).sum(axis=1), solved


def _residuals(model: Model, times: Floats, data: Floats, mask: Mask, values: Floats) -> Floats:
    curve = model.curve(times, values)
    left = np.where(mask, data - curve, 0.0)
    return np.where(np.isfinite(left), left, 1e150)


def _descend(
    model: Model, times: Floats, data: Floats, mask: Mask, start: Floats
) -> tuple[Floats, Floats]:
    """Fit from a start (cells, free); cells that have come to rest are left alone."""
    scale = _Scale.of(model)
    place = scale.scaled(start)
    damping = np.full(len(data), 1e-2)
    left = _residuals(model, times, data, mask, scale.real(place))
    cost = np.einsum("cn,cn->c", left, left)
    active = np.arange(len(data))
    for _ in range(ROUNDS):
        if not active.size:
            break
        here, rest = place[active], left[active]
        slopes = _slopes(model, times, mask[active], scale, here)
        push = np.einsum("cnp,cn->cp", slopes, rest)
        held = ((here <= 0) & (push < 0)) | ((here >= 1) & (push > 0))
        curvature = np.einsum("cnp,cnq->cpq", slopes, slopes)
        step = _step(curvature, push, held, damping[active])
        tried = np.clip(here + step, 0, 1)
        new = _residuals(model, times, data[active], mask[active], scale.real(tried))
        squares = np.einsum("cn,cn->c", new, new)
        before = cost[active]
        better = squares < before
        moved = active[better]
        place[moved], left[moved], cost[moved] = tried[better], new[better], squares[better]
        damping[active] = np.where(better, damping[active] / 5, damping[active] * 4)
        damping = np.clip(damping, 1e-12, 1e12)
        small = np.abs(tried - here).max(axis=1) < 1e-10
        still = better & (before - squares <= 1e-12 * before) | small
        stuck = ~better & (damping[active] >= 1e10)
        active = active[~(still | stuck)]
    return scale.real(place), cost


def _slopes(model: Model, times: Floats, mask: Mask, scale: _Scale, place: Floats) -> Floats:
    """Return derivatives of the curve by the scaled parameters, (cells, n, free)."""
    slopes = np.empty((*mask.shape, place.shape[1]))
    for column in range(place.shape[1]):
        ahead, behind = place.copy(), place.copy()
        ahead[:, column] = np.minimum(place[:, column] + STEP, 1)
        behind[:, column] = np.maximum(place[:, column] - STEP, 0)
        rise = model.curve(times, scale.real(ahead)) - model.curve(times, scale.real(behind))
        run = (ahead - behind)[:, column]
        slopes[:, :, column] = np.where(mask, rise, 0) / run[:, np.newaxis]
    return np.nan_to_num(slopes, posinf=0, neginf=0)


def _step(curvature: Floats, push: Floats, held: Mask, damping: Floats) -> Floats:
    """Return the damped step; parameters that are held do not move."""
    free = ~held
    matrix = curvature * (free[:, :, np.newaxis] & free[:, np.newaxis, :])
    diagonal = np.einsum("cii->ci", matrix)
    floor = 1e-12 * diagonal.max(axis=1, initial=0)[:, np.newaxis] + 1e-300
    extra = damping[:, np.newaxis] * np.maximum(diagonal, floor)
    matrix[:, np.arange(push.shape[1]), np.arange(push.shape[1])] += np.where(free, extra, 1.0)
    solved = np.linalg.solve(matrix, (push * free)[:, :, np.newaxis])[:, :, 0]
    return np.where(free, np.nan_to_num(solved), 0)


def _ordered(model: Model, values: Floats) -> Floats:
    """Let parameters that may change places do so, where the bounds allow it."""
    names = list(model.free)
    for first, second in model.ordered:
        a, b = names.index(first), names.index(second)
        swap = values[:, a] < values[:, b]
        swap &= (values[:, b] <= model.free[first].high) & (values[:, a] >= model.free[second].low)
        rows = np.flatnonzero(swap)
        values[rows, a], values[rows, b] = values[rows, b].copy(), values[rows, a].copy()
    return values


def _limits(
    model: Model, times: Floats, mask: Mask, values: Floats, cost: Floats
) -> tuple[Floats, Floats]:
    """Return 95 % confidence limits from the curvature; NaN at a bound or without freedom."""
    from scipy.stats import t as student

    scale = _Scale.of(model)
    place = scale.scaled(values)
    slopes = _slopes(model, times, mask, scale, place)
    curvature = np.einsum("cnp,cnq->cpq", slopes, slopes)
    edge = (place <= 1e-9) | (place >= 1 - 1e-9)
    free = ~edge
    matrix = curvature * (free[:, :, np.newaxis] & free[:, np.newaxis, :])
    index = np.arange(values.shape[1])
    matrix[:, index, index] = np.where(free, matrix[:, index, index], 1.0)
    degrees = mask.sum(axis=1) - free.sum(axis=1)
    with np.errstate(all="ignore"):
        variance = np.einsum("cii->ci", np.linalg.pinv(matrix, hermitian=True))
        variance = variance * (cost / np.where(degrees > 0, degrees, np.nan))[:, np.newaxis]
        half = student.ppf(0.975, np.maximum(degrees, 1))[:, np.newaxis] * np.sqrt(variance)
        # From the scaled parameter to the real one, by the slope between both.
        delta = 1e-6
        per = (scale.real(place + delta) - scale.real(place - delta)) / (2 * delta)
        half = half * np.abs(per)
    half[edge] = np.nan
    return values - half, values + half
