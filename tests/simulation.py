"""A simulated killing assay with known cells, contacts, deaths and killers.

Effectors (small discs) walk between targets (large ellipses), dock at one, stay, and
leave. Some dockings are lethal: after a delay the death dye of the target rises and
its own signal falls along a logistic curve whose midpoint is the time of death. Some
targets die of themselves, one may leave the field. Every label is its cell's number,
the same in all frames, so labels are tracks. The simulation checks its own truth: the
effectors whose pixels overlap a target when it dies are exactly its killers, and for
some frames around. The same seed gives the same movie. Numpy and scipy only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

GUARD = 4  # frames around a death in which nobody docks or leaves


@dataclass(frozen=True)
class Assay:
    """What is simulated; lengths in pixels, times in frames.

    ``spontaneous`` targets die without contact, ``lethal`` is the chance that a docking
    kills, ``leaving`` targets drift out of the field. ``noise`` is the camera's standard
    deviation in counts (shot noise of ``gain`` counts per photon comes on top),
    ``bleaching`` the share of the effector and target signal lost at the last frame,
    ``residual`` what a dead target keeps of its own signal.
    """

    frames: int = 60
    shape: tuple[int, int] = (256, 256)
    targets: int = 12
    effectors: int = 8
    target_radius: float = 11.0
    effector_radius: float = 5.5
    spontaneous: int = 2
    leaving: int = 0
    lethal: float = 0.6
    delay: tuple[int, int] = (7, 12)
    speed: float = 5.0
    death_width: float = 0.6
    residual: float = 0.35
    signal: float = 1000.0
    noise: float = 8.0
    gain: float = 1.0
    blur: float = 1.0
    bleaching: float = 0.0
    background: float = 100.0
    pixel_size: float = 0.65
    frame_interval: float = 120.0
    seed: int = 0


@dataclass
class Movie:
    """Images and labels by name, arrays of axes tzyx, and the truth.

    ``images`` has TCell, Cancer, Dead (uint16), ``labels`` TCell and Cancer (uint32).
    ``deaths``: one dict per target: target, died, death_frame (first frame at or after the
    time of death; None: survived), killers (sorted list). ``contacts``: tuples (frame,
    effector, target) of labels that share a pixel. ``centres``: by the name of the labels,
    the centres (y, x) of the cells 1, 2, ... in px, shape (frames, cells, 2).
    """

    assay: Assay
    images: dict[str, NDArray[np.uint16]]
    labels: dict[str, NDArray[np.uint32]]
    deaths: list[dict[str, Any]]
    contacts: list[tuple[int, int, int]]
    centres: dict[str, NDArray[np.float64]]


@dataclass
class _State:
    """Where all cells are, and what the effectors are up to."""

    target: NDArray[np.float64]
    home: NDArray[np.float64]
    effector: NDArray[np.float64]
    goal: NDArray[np.int64]
    docked: NDArray[np.int64]  # frames since docking, -1: under way
    stay: NDArray[np.int64]
    death: dict[int, int] = field(default_factory=dict)  # target -> frame
    doomed: dict[int, int] = field(default_factory=dict)  # spontaneous deaths to come


def simulate(assay: Assay) -> Movie:
    """Simulate one position."""
    rng = np.random.default_rng(assay.seed)
    state = _start(assay, rng)
    shapes = rng.uniform(0.93, 1.07, assay.targets), rng.uniform(0, np.pi, assay.targets)
    paths = np.zeros((assay.frames, assay.targets + assay.effectors, 2))
    for frame in range(assay.frames):
        if frame:
            _step(assay, state, frame, rng)
        paths[frame] = np.concatenate([state.target, state.effector])
    death = state.death | state.doomed
    labels = {
        "Cancer": _draw(assay, paths[:, : assay.targets], assay.target_radius, *shapes),
        "TCell": _draw(
            assay,
            paths[:, assay.targets :],
            assay.effector_radius,
            np.ones(assay.effectors),
            np.zeros(assay.effectors),
        ),
    }
    contacts = overlaps(labels["TCell"], labels["Cancer"])
    deaths = [
        _truth(assay, labels["Cancer"], contacts, t, death.get(t)) for t in _range(assay.targets)
    ]
    _check(assay, deaths, contacts)
    images = _images(assay, labels, death, rng)
    centres = {"Cancer": paths[:, : assay.targets], "TCell": paths[:, assay.targets :]}
    return Movie(assay, images, labels, deaths, contacts, centres)


def _range(number: int) -> range:
    return range(1, number + 1)


def _start(assay: Assay, rng: np.random.Generator) -> _State:
    """Place targets on a jittered grid, effectors between them."""
    height, width = assay.shape
    columns = max(1, round(np.sqrt(max(assay.targets, 1) * width / height)))
    rows = max(1, -(-assay.targets // columns))
    grid = [
        ((r + 0.5) * height / rows, (c + 0.5) * width / columns)
        for r in range(rows)
        for c in range(columns)
    ]
    home = np.array(grid[: assay.targets]).reshape(-1, 2)
    home += rng.uniform(-2, 2, home.shape)
    corners = [
        (r * height / rows, (c + 0.5) * width / columns)
        for r in range(rows + 1)
        for c in range(columns)
    ]
    corners = [corners[i] for i in rng.permutation(len(corners))]
    start = np.array([corners[i % len(corners)] for i in range(assay.effectors)]).reshape(-1, 2)
    start += rng.uniform(-1, 1, start.shape)
    barred = rng.permutation(assay.targets - assay.leaving)[: assay.spontaneous]
    doomed = {
        int(t) + 1: int(rng.integers(assay.frames // 4, assay.frames * 3 // 4)) for t in barred
    }
    state = _State(
        home.copy(),
        home,
        start,
        np.full(assay.effectors, -1),
        np.full(assay.effectors, -1),
        np.zeros(assay.effectors, np.int64),
        doomed=doomed,
    )
    for _ in range(50):
        _separate(assay, state)
    return state


def _drifts(assay: Assay, target: int) -> bool:
    return target >= assay.targets - assay.leaving


def _step(assay: Assay, state: _State, frame: int, rng: np.random.Generator) -> None:
    height, width = assay.shape
    pull = 0.2 * (state.home - state.target)
    state.target += pull + rng.normal(0, 0.4, state.target.shape)
    for target in range(assay.targets):
        if _drifts(assay, target) and frame > assay.frames // 3:
            state.home[target, 1] += 3.0
            state.target[target, 1] += 2.0
    for effector in rng.permutation(assay.effectors):
        _decide(assay, state, int(effector), frame, rng)
    for _ in range(6):
        for effector in range(assay.effectors):
            _walk(assay, state, effector, rng)
        _separate(assay, state)
    reach = assay.effector_radius
    state.effector[:, 0] = np.clip(state.effector[:, 0], reach, height - reach)
    state.effector[:, 1] = np.clip(state.effector[:, 1], reach, width - reach)
    for effector in range(assay.effectors):
        goal = state.goal[effector]
        if goal < 0 or state.docked[effector] >= 0:
            continue
        if np.linalg.norm(state.effector[effector] - state.target[goal]) < _dock(assay) + 1:
            _arrive(assay, state, effector, frame, rng)


def _dock(assay: Assay) -> float:
    return assay.target_radius + 0.2 * assay.effector_radius


def _decide(
    assay: Assay, state: _State, effector: int, frame: int, rng: np.random.Generator
) -> None:
    """Leave after the stay; look for a target that may be docked at."""
    if state.docked[effector] >= 0:
        state.docked[effector] += 1
        if state.docked[effector] < state.stay[effector]:
            return
        state.docked[effector] = state.goal[effector] = -1
        state.stay[effector] = frame + 2  # a rest before the next target
    if state.goal[effector] >= 0 and not _open(assay, state, int(state.goal[effector]), frame, 12):
        state.goal[effector] = -1
    if state.goal[effector] >= 0 or frame < state.stay[effector]:
        return
    free = [t for t in range(assay.targets) if _open(assay, state, t, frame, 12)]
    if free:
        far = np.linalg.norm(state.target[free] - state.effector[effector], axis=1)
        near = np.argsort(far)[:3]
        state.goal[effector] = free[int(rng.choice(near))]


def _open(assay: Assay, state: _State, target: int, frame: int, travel: int) -> bool:
    """Tell whether an effector may dock at a target that it reaches within ``travel`` frames."""
    barred = target + 1 in state.doomed or _drifts(assay, target)
    if barred or frame + travel + GUARD >= assay.frames:
        return False
    known = state.death.get(target + 1)
    return known is None or known > frame + GUARD


def _arrive(
    assay: Assay, state: _State, effector: int, frame: int, rng: np.random.Generator
) -> None:
    goal = int(state.goal[effector])
    state.docked[effector] = 0
    known = state.death.get(goal + 1)
    if known is not None and known <= frame + GUARD:
        state.goal[effector] = state.docked[effector] = -1
        return
    if known is None:
        delay = int(rng.integers(assay.delay[0], assay.delay[1] + 1))
        if rng.random() >= assay.lethal:
            state.stay[effector] = int(rng.integers(3, 7))
            return
        known = frame + delay
        if known + GUARD < assay.frames:
            state.death[goal + 1] = known
            for other in np.flatnonzero((state.goal == goal) & (state.docked >= 0)):
                state.stay[other] = state.docked[other] + known - frame + GUARD + 1
            return
        state.stay[effector] = assay.frames
        return
    state.stay[effector] = known - frame + GUARD + 1


def _walk(assay: Assay, state: _State, effector: int, rng: np.random.Generator) -> None:
    """Move by a sixth of a frame: to the goal, around all else."""
    place, goal = state.effector[effector], state.goal[effector]
    step = rng.normal(0, 0.35, 2)
    if goal >= 0:
        away = place - state.target[goal]
        aim = state.target[goal] + away / max(np.linalg.norm(away), 1e-9) * _dock(assay)
        toward = aim - place
        length = np.linalg.norm(toward)
        if state.docked[effector] >= 0:
            place += toward
            return
        step += toward / max(length, 1e-9) * min(length, assay.speed / 6)
    place += step


def _separate(assay: Assay, state: _State) -> None:
    """Push effectors off targets that are not theirs, and off each other."""
    margin = 4.0
    least = 1.07 * assay.target_radius + assay.effector_radius + margin
    apart = 2 * assay.effector_radius + margin
    for effector in range(assay.effectors):
        for target in range(assay.targets):
            if target != state.goal[effector]:
                _push(state.effector[effector], state.target[target], least)
        for other in range(assay.effectors):
            if other != effector and state.docked[effector] < 0:
                _push(state.effector[effector], state.effector[other], apart)


def _push(place: NDArray[np.float64], other: NDArray[np.float64], least: float) -> None:
    """Move ``place`` to at least ``least`` from ``other``, with a slide to the side."""
    dy, dx = place[0] - other[0], place[1] - other[1]
    length = max(math.hypot(dy, dx), 1e-6)
    if length < least:
        outward = (least - length) / length
        place[0] += dy * outward - 0.3 * dx / length
        place[1] += dx * outward + 0.3 * dy / length


def _draw(
    assay: Assay,
    paths: NDArray[np.float64],
    radius: float,
    stretch: NDArray[np.float64],
    angle: NDArray[np.float64],
) -> NDArray[np.uint32]:
    """Return label images (t, 1, y, x): ellipses of axes radius * stretch, radius / stretch."""
    height, width = assay.shape
    labels = np.zeros((len(paths), 1, height, width), np.uint32)
    reach = int(np.ceil(1.1 * radius)) + 1
    for frame, places in enumerate(paths):
        for cell, (cy, cx) in enumerate(places):
            top, left = (max(0, int(c) - reach) for c in (cy, cx))
            box = labels[frame, 0, top : max(0, int(cy) + reach), left : max(0, int(cx) + reach)]
            y, x = np.ogrid[: box.shape[0], : box.shape[1]]
            dy, dx = y + top - cy, x + left - cx
            along = (dy * np.cos(angle[cell]) + dx * np.sin(angle[cell])) / stretch[cell]
            across = (dx * np.cos(angle[cell]) - dy * np.sin(angle[cell])) * stretch[cell]
            box[along**2 + across**2 <= radius**2] = cell + 1
    return labels


def overlaps(
    effectors: NDArray[np.integer[Any]], targets: NDArray[np.integer[Any]]
) -> list[tuple[int, int, int]]:
    """Return (frame, effector, target) of all labels that share a pixel; arrays tzyx."""
    frame, *_ = both = np.nonzero((effectors > 0) & (targets > 0))
    rows = np.stack([frame, effectors[tuple(both)], targets[tuple(both)]], axis=1)
    return [tuple(int(v) for v in row) for row in np.unique(rows.astype(np.int64), axis=0)]


def _truth(
    assay: Assay,
    labels: NDArray[np.uint32],
    contacts: Sequence[tuple[int, int, int]],
    target: int,
    death: int | None,
) -> dict[str, Any]:
    killers = sorted({e for f, e, t in contacts if t == target and f == death})
    seen = np.flatnonzero((labels == target).any(axis=(1, 2, 3)))
    return {
        "target": target,
        "died": death is not None,
        "death_frame": death,
        "killers": killers,
        "contacted": any(t == target for _, _, t in contacts),
        "first_frame": int(seen[0]),
        "last_frame": int(seen[-1]),
    }


def _check(
    assay: Assay, deaths: Sequence[dict[str, Any]], contacts: Sequence[tuple[int, int, int]]
) -> None:
    """Assert that who touches a target around its death is never in doubt."""
    for row in deaths:
        if not row["died"]:
            continue
        around = range(row["death_frame"] - 2, row["death_frame"] + 3)
        for frame in around:
            here = sorted({e for f, e, t in contacts if t == row["target"] and f == frame})
            if here != row["killers"]:
                raise AssertionError(
                    f"seed {assay.seed}: target {row['target']} dies at {row['death_frame']} by "
                    f"{row['killers']}, but {here} touch it at {frame}; take another seed"
                )


def _images(
    assay: Assay,
    labels: dict[str, NDArray[np.uint32]],
    death: dict[int, int],
    rng: np.random.Generator,
) -> dict[str, NDArray[np.uint16]]:
    """Render three channels: background + cells, blurred, with shot and camera noise."""
    times = np.arange(assay.frames)
    bright = np.ones((assay.frames, assay.targets + 1))
    dye = np.full((assay.frames, assay.targets + 1), 0.03)
    own = rng.uniform(0.7, 1.0, assay.targets + 1)
    uptake = rng.uniform(0.75, 1.0, assay.targets + 1)
    for target in _range(assay.targets):
        dead = np.zeros(assay.frames)
        if target in death:
            late = np.clip((times - death[target]) / assay.death_width, -50, 50)
            dead = 1 / (1 + np.exp(-late))
        bright[:, target] = own[target] * (1 - (1 - assay.residual) * dead)
        dye[:, target] = 0.03 + uptake[target] * dead
    bright[:, 0] = dye[:, 0] = 0
    effector = rng.uniform(0.8, 1.0, assay.effectors + 1)
    effector[0] = 0
    faded = 1 - assay.bleaching * times[:, None, None, None] / max(assay.frames - 1, 1)
    frame = times[:, None, None, None]
    clean = {
        "TCell": effector[labels["TCell"]] * faded,
        "Cancer": bright[frame, labels["Cancer"]] * faded,
        "Dead": dye[frame, labels["Cancer"]],
    }
    return {name: _expose(assay, plane, rng) for name, plane in clean.items()}


def _expose(
    assay: Assay, clean: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.uint16]:
    from scipy.ndimage import gaussian_filter

    counts = gaussian_filter(np.float32(clean), (0, 0, assay.blur, assay.blur)) * assay.signal
    lit = counts > 0
    if assay.gain > 0:
        counts[lit] = rng.poisson(counts[lit] / assay.gain) * assay.gain
    counts += assay.background + assay.noise * rng.standard_normal(clean.shape, np.float32)
    return np.clip(np.rint(counts), 0, 65535).astype(np.uint16)
