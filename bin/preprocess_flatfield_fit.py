#!/usr/bin/env python3
"""FlatField, second phase: the illumination of all images together.

The retrospective estimate is the model of BaSiC (Peng et al. 2017, Nature Communications 8,
14836): every image is its brightness times one smooth flat-field, plus one dark level, plus
sparse objects. Here the flat-field is a penalised spline rather than a sparse sum of cosines,
which needs no flat border, and objects are told from background by weights that fall off with
the residual, on the scale of the side (brighter or darker) that has fewer of them.
"""

import warnings
from enum import StrEnum
from typing import Annotated

import numpy as np
import typer

from cytoloom import cli
from cytoloom.errors import BadData
from cytoloom.illumination import (
    Fields,
    Method,
    edges_of,
    log_statistics,
    read_moments,
    write_fields,
)

FEW = 10  # images
MOST = 1000  # images used, evenly chosen
INTERVALS = 6  # of the spline, along each axis
PENALTY = 1e-3
ROUNDS = 60


class Scope(StrEnum):
    """Images that share one illumination."""

    position = "position"
    run = "run"


class Surface:
    """Smooth surfaces over a grid: tensor products of cubic B-splines with a penalty."""

    def __init__(self, shape):
        from scipy.interpolate import BSpline

        knots = np.r_[[0.0] * 3, np.linspace(0, 1, INTERVALS + 1), [1.0] * 3]
        self.y, self.x = (
            BSpline.design_matrix((np.arange(n) + 0.5) / n, knots, 3).toarray() for n in shape
        )
        self.size = self.y.shape[1]
        self.yy, self.xx = (
            (b[:, :, np.newaxis] * b[:, np.newaxis, :]).reshape(len(b), -1)
            for b in (self.y, self.x)
        )
        bend = np.diff(np.eye(self.size), 2, axis=0)
        bend, one = bend.T @ bend, np.eye(self.size)
        self.penalty = np.kron(bend, one) + np.kron(one, bend)

    def fit(self, moment, weight):
        """Return the surface, mean 1, of least squares; ``moment`` is weight times value."""
        n = self.size
        gram = (self.yy.T @ weight @ self.xx).reshape(n, n, n, n)
        gram = gram.transpose(0, 2, 1, 3).reshape(n * n, n * n)
        gram += PENALTY * np.trace(gram) / n**2 * self.penalty
        right = (self.y.T @ moment @ self.x).ravel()
        found = self.y @ np.linalg.solve(gram, right).reshape(n, n) @ self.x.T
        found = np.maximum(found, 1e-3 * max(found.mean(), 1e-12))
        return found / found.mean()


def spread(residuals):
    """Return the robust standard deviation of the side of zero that has fewer objects."""
    sides = [v for v in (residuals[residuals > 0], -residuals[residuals < 0]) if v.size]
    return max(1.4826 * min(map(np.median, sides)), 1e-3) if sides else 1e-3


def medians(values, axis):
    """Return medians that leave out NaN; NaN where there is nothing else."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nanmedian(values, axis=axis)


def fit_flatfield(stack, darkfield=False):
    """Estimate flat-field and dark level of images that have one illumination.

    Parameters
    ----------
    stack : ndarray, shape (images, rows, columns)
        Thumbnails; NaN is left out.
    darkfield : bool
        Estimate a level that all pixels have in common (camera offset) too.

    Returns
    -------
    flat : ndarray, shape (rows, columns)
        Mean 1.
    dark : float
        0 unless asked for.
    """
    known = np.isfinite(stack)
    bright = known.any(axis=(1, 2)) & (np.nanmax(np.where(known, stack, 0), axis=(1, 2)) > 0)
    stack, known = stack[bright], known[bright]
    if not len(stack) or stack.shape[1] < 4 or stack.shape[2] < 4:
        return np.ones(stack.shape[1:]), 0.0
    scale = stack[known].mean()
    data = np.where(known, stack, 0) / scale
    surface, low = Surface(data.shape[1:]), float(max(data[known].min(), 0))
    level = medians(np.where(known, data, np.nan), (1, 2))
    level = np.where(level > 0, level, 1e-6)
    first = medians(np.where(known, data / level[:, np.newaxis, np.newaxis], np.nan), 0)
    seen = np.isfinite(first)
    flat = surface.fit(np.where(seen, first, 0), seen.astype(float))
    brightness, dark = level, 0.0
    for _ in range(ROUNDS):
        model = brightness[:, np.newaxis, np.newaxis] * flat
        residual = (data - dark) / model - 1
        weight = known / (1 + (residual / (2 * spread(residual[known]))) ** 2) ** 2 / model
        before = flat
        flat = surface.fit(
            np.tensordot(brightness, weight * (data - dark), 1),
            np.tensordot(brightness**2, weight, 1),
        )
        ws, wd = (weight * flat).sum((1, 2)), (weight * data).sum((1, 2))
        wss, wsd = (weight * flat**2).sum((1, 2)), (weight * flat * data).sum((1, 2))
        if darkfield:
            free = (weight.sum((1, 2)) - ws**2 / wss).sum()
            dark = float(np.clip((wd - ws * wsd / wss).sum() / free, 0, low)) if free > 0 else 0.0
        brightness = np.maximum((wsd - dark * ws) / wss, 1e-6)
        if np.abs(flat - before).max() < 1e-6:
            break
    return flat, dark * scale


def enlarged(field, shape):
    """Return a field on the grid of thumbnails at every pixel, by a cubic spline."""
    from scipy.interpolate import RectBivariateSpline

    if field.shape == tuple(shape):
        return field
    places = []
    for length in shape:
        edges = edges_of(length)
        places.append((edges[:-1] + edges[1:] - 1) / 2)
    orders = [min(3, n - 1) for n in field.shape]
    spline = RectBivariateSpline(
        *places, field, kx=orders[0], ky=orders[1], s=0, bbox=[-0.5, shape[0], -0.5, shape[1]]
    )
    return spline(np.arange(shape[0]), np.arange(shape[1]))


def retrospective(moments, darkfield):
    """Return the fields that the thumbnails of all images give."""
    thumbnails = moments.thumbnails
    if len(thumbnails) > MOST:
        thumbnails = thumbnails[np.linspace(0, len(thumbnails) - 1, MOST).astype(int)]
    flat, dark = fit_flatfield(thumbnails, darkfield)
    if min(flat.shape) > 1:
        flat = enlarged(flat, moments.shape)
    flat = np.maximum(np.broadcast_to(flat, moments.shape), 1e-3)
    return flat / flat.mean(), np.full(moments.shape, dark)


def logarithmic(moments, smoothing):
    """Return mean and standard deviation of the logarithms, smoothed."""
    from scipy.ndimage import gaussian_filter

    mean, std = log_statistics(moments)
    known = np.isfinite(mean)
    if not known.any():
        raise BadData(
            "logstats needs at least two images; take method: retrospective, or scope: run"
        )
    fields = []
    for field in (mean, std):
        field = np.where(known, field, 0)
        if smoothing or not known.all():
            sigma = smoothing or 1.0
            share = gaussian_filter(known.astype(float), sigma)
            smooth = gaussian_filter(field, sigma) / np.where(share > 1e-6, share, np.inf)
            smooth = np.where(share > 1e-6, smooth, field[known].mean())
            field = smooth if smoothing else np.where(known, field, smooth)
        fields.append(field)
    return fields


def main(
    moments: cli.InputFile,
    out_flatfield: cli.OutFile,
    darkfield: Annotated[
        bool,
        typer.Option(help="estimate an offset that all pixels share too (retrospective)"),
    ] = False,
    smoothing: Annotated[
        float, typer.Option(min=0, help="sigma that smooths both fields of logstats [px]; 0: none")
    ] = 5.0,
    scope: Annotated[
        Scope,
        typer.Option(help="estimate a field of each position, or one of the whole run"),
    ] = Scope.position,
) -> None:
    """Estimate the illumination fields from what was gathered of all images."""
    gathered = read_moments(moments)
    if gathered.method is Method.retrospective:
        number = len(gathered.thumbnails)
        first, second = retrospective(gathered, darkfield)
    else:
        number = int(gathered.count.max())
        first, second = logarithmic(gathered, smoothing)
    if number < FEW:
        cli.log.warning(
            "the illumination comes from %d images, fewer than %d: objects may remain in it%s",
            number, FEW, "" if scope is Scope.run else "; scope: run takes all positions together",
        )  # fmt: skip
    fields = Fields(gathered.method, np.float32(first), np.float32(second), number)
    write_fields(out_flatfield, fields)


if __name__ == "__main__":
    cli.run(main)
