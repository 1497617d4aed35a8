"""Dividing nuclei that wander and push each other away, with their true links; for tests only."""

from dataclasses import dataclass

import numpy as np
from cells_table import cells

ROUNDS = 12  # of pushing apart in each frame


@dataclass(frozen=True)
class Movie:
    """Kinds of movies; lengths in diameters, times in frames."""

    frames: int = 80
    start: int = 15
    divisions: int = 40
    width: float = 12.0
    step: float = 0.06  # of the random velocity
    cycle: float = 45.0  # between divisions
    apart: float = 0.55  # daughters at birth
    missing: float = 0.0  # chance that a nucleus is not found in a frame


def lineage(movie, diameter, seed):
    """Return the table of cells [px] and the true links as rows of (frame, label) pairs."""
    rng = np.random.default_rng(seed)
    size = movie.width * diameter
    place = rng.random((movie.start, 2)) * size
    due = rng.uniform(3, movie.cycle, movie.start)
    velocity = np.zeros_like(place)
    grown = np.ones(movie.start)
    last = [None] * movie.start
    points, links, divided = [], [], 0
    for frame in range(movie.frames):
        place = pushed_apart(place, grown, diameter)
        place = np.clip(place, 0.3 * diameter, size - 0.3 * diameter)
        for i in range(len(place)):
            if last[i] and grown[i] == 1 and rng.random() < movie.missing:
                continue
            label = 1 + sum(p[0] == frame for p in points[-len(place) :])
            area = np.pi / 4 * diameter**2 * grown[i] * rng.normal(1, 0.04)
            points.append((frame, label, *place[i], area))
            if last[i]:
                links.append((*last[i], frame, label))
            last[i] = (frame, label)
        grown = np.minimum(grown + 0.1, 1)
        kick = rng.choice([1, 1, 1, 2], (len(place), 1))
        velocity = 0.6 * velocity + rng.normal(0, movie.step * diameter, velocity.shape) * kick
        place = place + velocity
        for i in np.flatnonzero(due < frame):
            due[i] = frame + rng.normal(movie.cycle, 0.15 * movie.cycle)
            if divided == movie.divisions:
                continue
            divided += 1
            angle = rng.uniform(0, 2 * np.pi)
            half = np.array([np.sin(angle), np.cos(angle)]) * movie.apart * diameter / 2
            place = np.vstack([place, place[i] - half])
            place[i] += half
            velocity = np.vstack([velocity, [0, 0]])
            velocity[i] = 0
            due = np.append(due, frame + rng.normal(movie.cycle, 0.15 * movie.cycle))
            grown[i] = 0.55
            grown = np.append(grown, 0.55)
            last.append(last[i])
    return table(points), {tuple(map(int, link)) for link in links}


def pushed_apart(place, grown, diameter):
    """Move nuclei that overlap away from each other."""
    for _ in range(ROUNDS):
        difference = place[:, None] - place[None]
        distance = np.linalg.norm(difference, axis=2) + np.eye(len(place)) * 1e9
        wanted = 0.46 * diameter * np.sqrt(grown)[:, None] + 0.46 * diameter * np.sqrt(grown)[None]
        push = np.clip(wanted - distance, 0, None) / 4
        place = place + (difference / distance[..., None] * push[..., None]).sum(axis=1)
    return place


def table(points):
    """Return the table of cells with areas and diameters."""
    found = cells([p[:4] for p in points], pixel_size=(1.0, 0.25, 0.25), frame_interval=300.0)
    area = np.array([p[4] for p in points])
    found["area"] = area.round().astype(np.int64)
    found["equivalent_diameter_area"] = np.sqrt(4 * area / np.pi)
    found["equivalent_radius_um"] = found["equivalent_diameter_area"] / 2 * 0.25
    return found


def score(table, truth, found):
    """TRA of perfect detections, and F1 of divisions, by definition.

    TRA counts the links that are missing (1.5), wrong (1) and of the wrong kind (1) against
    building the graph from nothing (10 for a node, 1.5 for a link): Matula et al., PLoS ONE
    10, e0144959 (2015). A division counts where both daughters are right.
    """
    children = []
    for links in (truth, found):
        after = {}
        for link in links:
            after.setdefault(link[:2], set()).add(link[2:])
        children.append(after)
    both = truth & found
    kinds = sum(len({len(after[link[:2]]) > 1 for after in children}) > 1 for link in both)
    changes = 1.5 * len(truth - found) + len(found - truth) + kinds
    tra = 1 - changes / (10 * len(table) + 1.5 * len(truth))
    real, ours = ({k: v for k, v in after.items() if len(v) > 1} for after in children)
    right = sum(ours.get(mother) == daughters for mother, daughters in real.items())
    return tra, 2 * right / (len(real) + len(ours))
