"""Simulated movies of nuclei that move and divide, with their tracks.

Nuclei are discs that walk at random, keep apart, grow, and split into two of half the area
that move away from each other. A label is the number of its track, the same in all frames; a
division ends the mother and begins two daughters. The same seed gives the same movie.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Culture:
    """What is simulated; lengths in pixels, times in frames."""

    frames: int = 40
    shape: tuple[int, int] = (256, 256)
    cells: int = 15
    radius: float = 9.0
    speed: float = 1.5
    divisions: int = 8
    seed: int = 0


@dataclass
class Truth:
    """Labels by track, shape (frames, Y, X) uint32, and the mother of each daughter."""

    labels: NDArray[np.uint32]
    parents: dict[int, int]


@dataclass
class _Cell:
    track: int
    place: NDArray[np.float64]
    radius: float
    push: NDArray[np.float64]


def simulate(culture: Culture) -> Truth:
    """Simulate one position."""
    rng = np.random.default_rng(culture.seed)
    cells = _start(culture, rng)
    last, parents = culture.cells, {}
    when = sorted(rng.choice(np.arange(3, culture.frames - 3), culture.divisions).tolist())
    labels = np.zeros((culture.frames, *culture.shape), np.uint32)
    for frame in range(culture.frames):
        if frame:
            for cell in cells:
                cell.place = cell.place + rng.normal(0, culture.speed, 2) + cell.push
                cell.push = cell.push * 0.5
                cell.radius = min(culture.radius, cell.radius * 1.02)
            for _ in range(when.count(frame)):
                mother = max(cells, key=lambda cell: cell.radius)
                cells.remove(mother)
                angle = rng.uniform(0, 2 * np.pi)
                axis = np.array([np.sin(angle), np.cos(angle)])
                for side in (-1, 1):
                    last += 1
                    parents[last] = mother.track
                    small = mother.radius / np.sqrt(2)
                    place = mother.place + side * axis * small * 1.05
                    cells.append(_Cell(last, place, small, side * axis * 1.5))
        _keep_apart(cells, culture)
        _paint(labels[frame], cells)
    return Truth(labels, parents)


def _start(culture: Culture, rng: np.random.Generator) -> list[_Cell]:
    cells: list[_Cell] = []
    while len(cells) < culture.cells:
        place = rng.uniform(2 * culture.radius, np.array(culture.shape) - 2 * culture.radius)
        if all(np.linalg.norm(place - c.place) > 3 * culture.radius for c in cells):
            radius = culture.radius * rng.uniform(0.85, 1)
            cells.append(_Cell(len(cells) + 1, place, radius, np.zeros(2)))
    return cells


def _keep_apart(cells: list[_Cell], culture: Culture) -> None:
    for _ in range(20):
        for i, a in enumerate(cells):
            for b in cells[i + 1 :]:
                gap = a.place - b.place
                length = float(np.linalg.norm(gap)) or 1.0
                if (over := (a.radius + b.radius) * 1.0 - length) > 0:
                    a.place = a.place + gap / length * over / 2
                    b.place = b.place - gap / length * over / 2
        for cell in cells:
            edge = cell.radius + 1
            cell.place = np.clip(cell.place, edge, np.array(culture.shape) - edge)


def _paint(frame: NDArray[np.uint32], cells: list[_Cell]) -> None:
    """Paint each pixel with the nearest of the cells that cover it."""
    y, x = np.indices(frame.shape)
    best = np.full(frame.shape, np.inf)
    for cell in cells:
        away = np.hypot(y - cell.place[0], x - cell.place[1]) - cell.radius
        mine = (away <= 0) & (away < best)
        frame[mine] = cell.track
        best[mine] = away[mine]
