"""Simulated fluorescent nuclei with their labels, for training and for tests.

A frame holds nuclei of about one diameter: smooth irregular outlines (a Fourier series of
low order), chromatin as noise of several scales that makes a nucleus patchy, nucleoli, a
wide range of brightness, clusters that touch, condensed plates and pairs of dividing
nuclei, haze, uneven light, blur, photon and camera noise. The recipe is ours; it follows
what is known of fluorescent nuclei, and of no image in particular.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CORNERS = 48  # of the polygon that is an outline
SIZES = (16.0, 95.0)  # diameters that frames are drawn from [px]


@dataclass(frozen=True)
class Look:
    """What the nuclei of one frame have in common."""

    diameter: float  # median, of a circle of the same area [px]
    coverage: float  # share of the frame that nuclei cover
    contrast: float  # of the chromatin, relative to the mean
    spread: float  # of the brightness of nuclei: sigma of its logarithm
    clustered: float  # chance that a nucleus is put beside the one before
    dividing: float  # chance that a nucleus is in division
    blur: float  # of the optics: sigma, in diameters
    haze: float  # light from out of focus, relative to the nuclei
    background: float  # relative to the mean nucleus
    photons: float  # of a pixel of the mean nucleus
    noise: float  # of the camera: sigma [photons]

    @classmethod
    def draw(cls, rng: np.random.Generator, diameter: float | None = None) -> Look:
        """Draw a look at random; of a given diameter if there is one."""
        low, high = np.log(SIZES)
        return cls(
            diameter=diameter or float(np.exp(rng.uniform(low, high))),
            coverage=rng.uniform(0.08, 0.5),
            contrast=rng.uniform(0.05, 0.75),
            spread=rng.uniform(0.05, 0.7),
            clustered=rng.uniform(0, 0.6),
            dividing=rng.choice([0.0, 0.06, 0.15]),
            blur=rng.uniform(0.008, 0.05),
            haze=rng.choice([0.0, rng.uniform(0, 0.4)]),
            background=rng.choice([rng.uniform(0, 0.2), rng.uniform(0.2, 2.0)]),
            photons=float(np.exp(rng.uniform(np.log(6), np.log(600)))),
            noise=rng.uniform(0.3, 4.0),
        )


def simulate(
    rng: np.random.Generator, shape: tuple[int, int], look: Look | None = None
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Simulate a frame of nuclei.

    Parameters
    ----------
    rng
        Source of randomness: the same state gives the same frame.
    shape
        Of the frame (y, x) [px].
    look
        What the nuclei are like; default: drawn at random.

    Returns
    -------
    image : ndarray, shape (y, x), float32
        Photons, with the camera's noise.
    labels : ndarray, shape (y, x), int32
        Numbered from 1 without gaps, 0 is background.
    """
    look = look or Look.draw(rng)
    labels, brightness, chromatin = _place(rng, shape, look)
    texture = _texture(rng, shape, look)
    share = chromatin[labels]
    light = brightness[labels] * np.clip(1 + share * (texture - 1), 0.05, None)
    light = _blurred(light, look.blur * look.diameter)
    if look.haze:
        light += look.haze * _blurred(light, 0.6 * look.diameter)
    light += look.background * (1 + 0.3 * noise_field(rng, shape, 0.4 * min(shape)))
    light *= np.clip(1 + rng.uniform(0, 0.3) * noise_field(rng, shape, 0.5 * min(shape)), 0.3, 2)
    photons = rng.poisson(np.clip(light, 0, None) * look.photons)
    image = photons + rng.normal(0, look.noise, shape)
    return image.astype(np.float32), labels


def noise_field(
    rng: np.random.Generator, shape: tuple[int, int], scale: float
) -> NDArray[np.float32]:
    """Return smooth noise of unit variance whose grains are about ``scale`` px wide."""
    from scipy import ndimage

    step = max(scale / 2, 1.0)
    coarse = tuple(int(np.ceil(n / step)) + 4 for n in shape)
    grains = ndimage.gaussian_filter(rng.standard_normal(coarse).astype(np.float32), 1.0)
    start = rng.uniform(0, 1, 2)
    axes = [np.arange(n) / step + 1 + s for n, s in zip(shape, start, strict=True)]
    grid = np.meshgrid(*axes, indexing="ij")
    field = ndimage.map_coordinates(grains, grid, order=1, mode="mirror")
    return (field * 3.54).astype(np.float32)  # sigma of white noise after that filter: 0.282


def _place(
    rng: np.random.Generator, shape: tuple[int, int], look: Look
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
    """Put nuclei into a frame: labels, and by label the brightness and share of texture."""
    labels = np.zeros(shape, np.int32)
    brightness, chromatin = [0.0], [0.0]
    wanted = look.coverage * labels.size / (np.pi / 4 * look.diameter**2)
    count = max(1, rng.poisson(wanted))
    centre = rng.uniform(0, 1, 2) * shape
    for _ in range(3 * count):
        if len(brightness) > count:
            break
        diameter = look.diameter * np.clip(rng.normal(1, 0.15), 0.6, 1.5)
        if rng.uniform() < look.clustered:
            angle = rng.uniform(0, 2 * np.pi)
            near = centre + diameter * rng.uniform(0.85, 1.1) * _direction(angle)
        else:
            near = rng.uniform(-0.05, 1.05, 2) * shape
        light = np.exp(rng.normal(0, look.spread))
        for outline, gain, share in _nucleus(rng, near, diameter, look):
            if _paint(labels, outline, len(brightness)):
                brightness.append(light * gain)
                chromatin.append(share)
                centre = near
    return labels, np.array(brightness, np.float32), np.array(chromatin, np.float32)


def _nucleus(
    rng: np.random.Generator, centre: NDArray, diameter: float, look: Look
) -> list[tuple[NDArray, float, float]]:
    """Return the outlines of a nucleus, or of both halves, each with brightness and texture."""
    if rng.uniform() >= look.dividing:
        stretch = np.exp(abs(rng.normal(0, 0.2)))
        return [(_outline(rng, centre, diameter, stretch, rng.uniform(0.01, 0.12)), 1.0, 1.0)]
    angle, gain = rng.uniform(0, np.pi), rng.uniform(1.4, 2.8)
    if rng.uniform() < 0.4:
        plate = _outline(rng, centre, 0.65 * diameter, rng.uniform(1.5, 3), 0.06, angle)
        return [(plate, gain, 0.3)]
    apart = 0.5 * diameter * rng.uniform(0.45, 1.0) * _direction(angle + np.pi / 2)
    size = diameter * rng.uniform(0.5, 0.7)
    stretch = rng.uniform(1.3, 2.3)
    return [
        (_outline(rng, centre + side * apart, size, stretch, 0.05, angle), gain, 0.4)
        for side in (-1, 1)
    ]


def _direction(angle: float) -> NDArray:
    return np.array([np.sin(angle), np.cos(angle)])


def _outline(
    rng: np.random.Generator,
    centre: NDArray,
    diameter: float,
    stretch: float,
    roughness: float,
    angle: float | None = None,
) -> NDArray:
    """Return an outline (corner, 2): an ellipse with a radius that varies smoothly."""
    around = np.arange(CORNERS) * (2 * np.pi / CORNERS)
    radius = np.ones(CORNERS)
    for order in range(2, 7):
        radius += rng.normal(0, roughness * 1.5 / order) * np.cos(
            order * around + rng.uniform(0, 2 * np.pi)
        )
    radius = np.clip(radius, 0.4, 1.8) * diameter / 2
    long, short = radius * np.sqrt(stretch), radius / np.sqrt(stretch)
    turn = rng.uniform(0, np.pi) if angle is None else angle
    along, across = long * np.cos(around), short * np.sin(around)
    return centre + np.stack(
        [
            along * np.sin(turn) + across * np.cos(turn),
            along * np.cos(turn) - across * np.sin(turn),
        ],
        axis=1,
    )


def _paint(labels: NDArray[np.int32], outline: NDArray, label: int) -> bool:
    """Paint an outline where nothing is, unless too much of it is taken or outside."""
    from skimage.draw import polygon

    y, x = polygon(outline[:, 0], outline[:, 1], labels.shape)
    if len(y) < 12:
        return False
    free = labels[y, x] == 0
    if free.mean() < 0.8:
        return False
    labels[y[free], x[free]] = label
    return True


def _texture(rng: np.random.Generator, shape: tuple[int, int], look: Look) -> NDArray[np.float32]:
    """Return chromatin of mean about 1: noise of several scales, with dark nucleoli."""
    scales = np.array([0.06, 0.1, 0.18, 0.35])
    weights = rng.dirichlet([1, 1, 1, 1])
    noise = sum(
        np.sqrt(w) * noise_field(rng, shape, s * look.diameter)
        for w, s in zip(weights, scales, strict=True)
    )
    texture = 1 + look.contrast * noise
    if rng.uniform() < 0.5:
        holes = noise_field(rng, shape, 0.22 * look.diameter) > rng.uniform(1.0, 2.0)
        texture = np.where(holes, texture * rng.uniform(0.2, 0.8), texture)
    return texture.astype(np.float32)


def _blurred(image: NDArray, sigma: float) -> NDArray[np.float32]:
    from scipy import ndimage

    return ndimage.gaussian_filter(image.astype(np.float32), sigma, truncate=3.0)
