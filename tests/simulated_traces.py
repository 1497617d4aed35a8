"""A simulated movie of cells in phase contrast and fluorescence, with everything known.

Cells are ellipses that move a little, textured in phase contrast, with a bright rim. Their
fluorescence is flat inside the true outline and follows a translation model; it lies on a
background with a gradient. Shot noise and read-out noise on top.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage


@dataclass(frozen=True)
class Movie:
    """Images (t, y, x) of 16 bits, true labels by track, and the true total of each cell."""

    phase: np.ndarray
    fluorescence: np.ndarray
    labels: np.ndarray
    total: np.ndarray  # (t, cells): counts above the background in the true outline
    background: np.ndarray  # (y, x)
    times: np.ndarray  # h
    parameters: np.ndarray  # (cells, 4): t0 [h], ktl [counts/h], delta, beta [1/h]


def trivial(time, t0, ktl, delta, beta):
    """Return translation and degradation after a time of onset."""
    dt = np.maximum(time - t0, 0)
    rate = delta - beta
    ratio = dt if abs(rate) < 1e-9 else -np.expm1(-rate * dt) / rate
    return ktl * ratio * np.exp(-beta * dt)


def movie(
    frames=40, size=512, columns=6, seed=0, *, radius=(16, 24), speed=1.0, interval=0.25, noise=3.0
):
    """Return a movie of ``columns`` squared cells; ``speed`` in px per frame, times in hours."""
    rng = np.random.default_rng(seed)
    step, count = size / columns, columns**2
    places = (np.stack(np.divmod(np.arange(count), columns), axis=1) + 0.5) * step
    places += rng.uniform(-0.08, 0.08, (count, 2)) * step
    axes, turns = rng.uniform(*radius, (count, 2)), rng.uniform(0, np.pi, count)
    parameters = np.stack(
        [
            rng.uniform(0.5, 2, count), rng.uniform(150, 400, count),
            rng.uniform(0.15, 0.4, count), rng.uniform(0.03, 0.08, count),
        ],
        axis=1,
    )  # fmt: skip
    times = np.arange(frames) * interval
    level = np.stack([trivial(times, *p) for p in parameters], axis=1)
    y, x = np.mgrid[:size, :size]
    background = 200 + 120 * x / size + 60 * y / size - 50 * ((x - y) / size) ** 2
    texture = ndimage.gaussian_filter(rng.normal(size=(size, size)), 1.2)
    texture *= 400 / texture.std()
    phase = np.empty((frames, size, size), np.uint16)
    fluorescence, labels = np.empty_like(phase), np.zeros_like(phase)
    direction = rng.normal(0, 1, (count, 2))
    for t in range(frames):
        shift = speed * 4 * np.sin(0.15 * t * direction / np.abs(direction).max())
        for cell in range(count):
            _draw(labels[t], cell + 1, places[cell] + shift[cell], axes[cell], turns[cell])
        inside = labels[t] > 0
        rim = ndimage.binary_dilation(inside, iterations=1) & ~ndimage.binary_erosion(inside)
        grey = 3000 + rng.normal(0, 30, inside.shape) + inside * texture + 800 * rim
        phase[t] = grey.clip(0, 65535)
        light = background + np.concatenate([[0], level[t]])[labels[t]]
        light = rng.poisson(light) + rng.normal(0, noise, light.shape)
        fluorescence[t] = np.rint(light).clip(0, 65535)
    areas = np.stack([np.bincount(f.ravel(), minlength=count + 1)[1:] for f in labels])
    return Movie(phase, fluorescence, labels, areas * level, background, times, parameters)


def _draw(labels, number, place, axes, turn):
    reach = int(axes.max()) + 2
    y0, x0 = (max(0, int(p) - reach) for p in place)
    box = labels[y0 : y0 + 2 * reach + 1, x0 : x0 + 2 * reach + 1]
    y, x = np.mgrid[y0 : y0 + box.shape[0], x0 : x0 + box.shape[1]]
    y, x = y - place[0], x - place[1]
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    box[((u / axes[0]) ** 2 + (v / axes[1]) ** 2 < 1) & (box == 0)] = number
