"""Contacts between the cells of two label images: exact, per pair, in micrometre.

A cell is the union of its pixels' squares (voxels' boxes in 3-D). For a pair of an
effector E and a target T of one frame:

- *overlap*: area (volume) of the pixels that carry both labels;
- *gap*: shortest distance between the two unions; 0 when they overlap or touch, by a
  face, an edge or a corner (8 neighbours in 2-D, 26 in 3-D);
- *size*: length (area in 3-D) of E's outline that lies within the reach of T: the sum
  of E's pixel faces whose centre is inside T, on its border, or at most `reach` away.
  It is E's membrane that is counted: a T cell that lies inside a cancer cell has its
  whole outline in contact. A contact by a corner alone has size 0.

Two pixel faces are nearest at points of the lattice of half pixels, so gaps and
reaches are found exactly, by k-d trees over the outlines' lattice points. Cost grows
with the outlines of close pairs, not with cells x cells x pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cytoloom.errors import BadData

if TYPE_CHECKING:
    import pandas as pd

Integers = NDArray[np.int64]
Nearest = Callable[[NDArray[np.float64], NDArray[np.float64], float], NDArray[np.float64]]
_CHUNK = 1 << 24  # distances that a device holds at once
_TOLERANCE = 1e-9  # relative; 3 x 0.3 um must be within 0.9 um


@dataclass(frozen=True)
class Pairs:
    """Contacts of one frame; effector and target count rows of their tables from 0.

    Attributes
    ----------
    effector, target
        Rows, sorted by effector, then target.
    gap
        Micrometre; 0 when the two touch or overlap.
    overlap
        Micrometre squared (cubed in 3-D).
    size
        Micrometre (squared in 3-D) of the effector's outline that is in contact.
    """

    effector: Integers
    target: Integers
    gap: NDArray[np.float64]
    overlap: NDArray[np.float64]
    size: NDArray[np.float64]

    def __len__(self) -> int:
        return self.effector.size


@dataclass(frozen=True)
class Outline:
    """All pixel faces between an object and what is not that object, sorted by object.

    Attributes
    ----------
    count
        Number of objects; objects are numbered from 1.
    owner
        Object of each face, shape (F,).
    axis
        Axis that the face is perpendicular to, shape (F,).
    centre
        Face centre in half pixels, shape (F, ndim): pixel i spans 2i to 2i + 2.
    inside, outside
        Flat index of the pixel on either side, shape (F,); outside is -1 beyond the image.
    """

    count: int
    owner: Integers
    axis: Integers
    centre: Integers
    inside: Integers
    outside: Integers

    @cached_property
    def starts(self) -> Integers:
        """First face of each object: faces of object k are starts[k-1]:starts[k]."""
        return np.searchsorted(self.owner, np.arange(1, self.count + 2))

    @cached_property
    def boxes(self) -> tuple[Integers, Integers]:
        """Lowest and highest lattice point of each object, shape (n, ndim), in half pixels."""
        if not self.count:
            return self.centre, self.centre
        first = self.starts[:-1]
        return np.minimum.reduceat(self.centre, first), np.maximum.reduceat(self.centre, first)

    def points(self, faces: Integers) -> Integers:
        """Return the lattice points of faces: corners, edge centres and, in the middle, the centre.

        Returns
        -------
        ndarray of int64, shape (F, 3 in 2-D or 9 in 3-D, ndim), in half pixels
        """
        ndim = self.centre.shape[1]
        around = [
            list(product(*([0] if axis == normal else [-1, 0, 1] for axis in range(ndim))))
            for normal in range(ndim)
        ]
        steps: Integers = np.array(around)[self.axis[faces]]
        return self.centre[faces][:, np.newaxis] + steps


def number_objects(image: NDArray[Any], labels: NDArray[Any], *, where: str) -> NDArray[np.int32]:
    """Replace each label by its row in ``labels`` plus 1; labels that are not listed by 0.

    Parameters
    ----------
    image : ndarray of integers, any shape
    labels : ndarray of integers, shape (n,), distinct and positive
    where : str
        Names the image in an error.

    Raises
    ------
    BadData
        If a listed label has no pixel: the table belongs to another label image.
    """
    labels = np.asarray(labels, np.int64)
    if not labels.size:
        return np.zeros(image.shape, np.int32)
    numbers = np.arange(1, labels.size + 1, dtype=np.int32)
    highest = max(int(image.max(initial=0)), int(labels.max()))
    index: NDArray[np.int32]
    if highest < 1 << 26:
        table = np.zeros(highest + 1, np.int32)
        table[labels] = numbers
        index = table[image]
    else:
        index = np.zeros(image.shape, np.int32)
        foreground = image > 0
        values = image[foreground].astype(np.int64)
        order = np.argsort(labels)
        at = np.searchsorted(labels[order], values).clip(max=labels.size - 1)
        found = order[at]
        index[foreground] = np.where(labels[found] == values, numbers[found], 0)
    missing = labels[np.bincount(index.ravel(), minlength=labels.size + 1)[1:] == 0]
    if missing.size:
        raise BadData(
            f"{where}: label {missing[0]} of the table ({missing.size} in all) has no pixel in the "
            "label image: give the table that was made from these labels"
        )
    return index


def outline(index: NDArray[np.int32], count: int) -> Outline:
    """Return the faces of objects 1 … ``count`` of an index image, 2-D or 3-D."""
    found: list[tuple[Integers, ...]] = []
    for axis in range(index.ndim):
        values = np.moveaxis(index, axis, 0)
        change = np.argwhere(values[:-1] != values[1:])
        ends = [np.insert(np.argwhere(values[i]), 0, i % len(values), axis=1) for i in (0, -1)]
        onward = change + np.eye(1, index.ndim, dtype=np.int64)
        stride = int(np.prod(index.shape[axis + 1 :]))
        for place, side, beyond in (
            (change, 1, True), (onward, -1, True), (ends[0], -1, False), (ends[1], 1, False)
        ):  # fmt: skip
            owner = values[tuple(place.T)].astype(np.int64)
            place, owner = place[owner > 0], owner[owner > 0]
            place = np.insert(place[:, 1:], axis, place[:, 0], axis=1)
            inside = np.ravel_multi_index(tuple(place.T), index.shape)
            outside = inside + side * stride if beyond else np.full_like(inside, -1)
            centre = 2 * place + 1
            centre[:, axis] += side
            found.append((owner, np.full_like(owner, axis), centre, inside, outside))
    owner, axes, centre, inside, outside = (np.concatenate(f) for f in zip(*found, strict=True))
    order = np.argsort(owner, kind="stable")
    return Outline(count, *(a[order] for a in (owner, axes, centre, inside, outside)))


def face_sizes(spacing: Sequence[float]) -> NDArray[np.float64]:
    """Return the length (3-D: area) in micrometre of a pixel face, by the axis it is normal to."""
    sizes = [
        np.prod([s for i, s in enumerate(spacing) if i != axis]) for axis in range(len(spacing))
    ]
    return np.array(sizes, np.float64)


def find_contacts(
    effectors: NDArray[np.int32],
    targets: NDArray[np.int32],
    counts: tuple[int, int],
    spacing: Sequence[float],
    *,
    reach: float | None = None,
    own: Integers | None = None,
    nearest: Nearest | None = None,
) -> Pairs:
    """Return the pairs of one frame that are in contact.

    Parameters
    ----------
    effectors, targets : ndarray of int32, shape (y, x) or (z, y, x)
        Index images: objects 1 … n, 0 elsewhere (see `number_objects`).
    counts : (int, int)
        Number of objects in each.
    spacing : sequence of float
        Pixel size in micrometre along the axes of the images.
    reach : float, optional
        Largest gap in micrometre. None: only pairs that share a pixel, whatever touches.
    own : ndarray of int64, shape (n,), optional
        Where both are of the same layer: the number of each effector among the targets, or
        0; a cell is no partner of itself.
    nearest : callable, optional
        How distances are found: `nearest_by_tree` (default) or one of `nearest_on`.

    Returns
    -------
    Pairs
    """
    stride = counts[1] + 1
    both = (effectors > 0) & (targets > 0)
    keys = effectors[both].astype(np.int64) * stride + targets[both]
    shared, pixels = np.unique(keys, return_counts=True)
    if own is None:
        own = np.zeros(counts[0], np.int64)
    apart = own[shared // stride - 1] != shared % stride
    shared, pixels = shared[apart], pixels[apart]
    border = outline(effectors, counts[0])
    direct = _faces_at(border, targets, stride)
    if reach is None:
        keys, gaps = shared, np.zeros(shared.size)
        faces = direct[np.isin(direct[:, 0], shared)]
    else:
        keys, gaps, near = _within(
            border, outline(targets, counts[1]), spacing, reach, own, nearest or nearest_by_tree
        )
        inner = np.setdiff1d(shared, keys)
        keys, gaps = np.append(keys, inner), np.append(gaps, np.zeros(inner.size))
        gaps[np.isin(keys, shared)] = 0
        order = np.argsort(keys)
        keys, gaps = keys[order], gaps[order]
        faces = _distinct_rows(np.concatenate([near, direct[np.isin(direct[:, 0], keys)]]))
    overlap = np.zeros(keys.size)
    overlap[np.searchsorted(keys, shared)] = pixels * float(np.prod(spacing))
    per_axis = np.zeros((keys.size, len(spacing)), np.int64)
    np.add.at(per_axis, (np.searchsorted(keys, faces[:, 0]), border.axis[faces[:, 1]]), 1)
    size = per_axis @ face_sizes(spacing)
    return Pairs(keys // stride - 1, keys % stride - 1, gaps, overlap, size)


def _faces_at(border: Outline, targets: NDArray[np.int32], stride: int) -> Integers:
    """Return (pair key, face) of the faces inside a target or on its border, shape (n, 2)."""
    flat = targets.ravel()
    here = flat[border.inside].astype(np.int64)
    beyond = np.where(border.outside >= 0, flat[border.outside], 0).astype(np.int64)
    beyond[beyond == here] = 0
    faces = np.arange(border.owner.size)
    rows = [
        np.stack([border.owner[t > 0] * stride + t[t > 0], faces[t > 0]], axis=1)
        for t in (here, beyond)
    ]
    return np.concatenate(rows)


def nearest_by_tree(
    surface: NDArray[np.float64], points: NDArray[np.float64], limit: float
) -> NDArray[np.float64]:
    """Return the distance of each point to the nearest of a surface; inf beyond ``limit``.

    Parameters
    ----------
    surface : ndarray, shape (n, ndim)
    points : ndarray, shape (..., ndim)
    limit : float

    Returns
    -------
    ndarray, shape of ``points`` without the last axis
    """
    from scipy.spatial import cKDTree

    found, _ = cKDTree(surface).query(points, distance_upper_bound=limit)
    return np.asarray(found)


def nearest_on(device: str) -> Nearest:
    """Return a `Nearest` that compares all points with all others on a device of PyTorch.

    Distances are of float64 and the same as those of `nearest_by_tree`.
    """
    import torch

    def nearest(
        surface: NDArray[np.float64], points: NDArray[np.float64], limit: float
    ) -> NDArray[np.float64]:
        there = torch.from_numpy(surface).to(device)
        flat = torch.from_numpy(points.reshape(-1, points.shape[-1]))
        least = [
            ((part.to(device)[:, None] - there[None]) ** 2).sum(dim=2).amin(dim=1).sqrt().cpu()
            for part in flat.split(max(1, _CHUNK // max(1, surface.size)))
        ]
        found = torch.cat(least).numpy().reshape(points.shape[:-1])
        return np.where(found < limit, found, np.inf)

    return nearest


def _within(
    border: Outline,
    other: Outline,
    spacing: Sequence[float],
    reach: float,
    own: Integers,
    nearest: Nearest,
) -> tuple[Integers, NDArray[np.float64], Integers]:
    """Return keys and gaps of pairs whose outlines are within reach, and their (key, face)."""
    half = np.asarray(spacing, np.float64) / 2
    limit = reach * (1 + _TOLERANCE) + _TOLERANCE * float(half.min())
    stride = other.count + 1
    keys, gaps, faces = [np.empty(0, np.int64)], [np.empty(0)], [np.empty((0, 2), np.int64)]
    for target, candidates in _neighbours(border, other, half, limit, own):
        theirs = np.arange(other.starts[target - 1], other.starts[target])
        surface = _distinct_rows(other.points(theirs).reshape(-1, half.size)) * half
        low, high = surface.min(axis=0) - limit - half, surface.max(axis=0) + limit + half
        mine = np.concatenate(
            [np.arange(border.starts[e - 1], border.starts[e]) for e in candidates]
        )
        # A face reaches half a pixel beyond its centre.
        place = border.centre[mine] * half
        mine = mine[((place >= low) & (place <= high)).all(axis=1)]
        if not mine.size:
            continue
        reached = nearest(surface, border.points(mine) * half, limit)
        owners, first = np.unique(border.owner[mine], return_index=True)
        gap = np.minimum.reduceat(reached.min(axis=1), first)
        near = np.isfinite(reached[:, reached.shape[1] // 2])
        keys.append(owners[np.isfinite(gap)] * stride + target)
        gaps.append(gap[np.isfinite(gap)])
        faces.append(np.stack([border.owner[mine] * stride + target, mine], axis=1)[near])
    return np.concatenate(keys), np.concatenate(gaps), np.concatenate(faces)


def _neighbours(
    border: Outline, other: Outline, half: NDArray[np.float64], limit: float, own: Integers
) -> list[tuple[int, Integers]]:
    """Return each target with the effectors whose bounding boxes are within ``limit``."""
    (low, high), (other_low, other_high) = border.boxes, other.boxes
    found = []
    for target in range(1, other.count + 1):
        apart = np.maximum(low - other_high[target - 1], other_low[target - 1] - high)
        distance = np.sqrt(((np.maximum(apart, 0) * half) ** 2).sum(axis=1))
        close = np.flatnonzero((distance <= limit) & (own != target)) + 1
        if close.size:
            found.append((target, close))
    return found


def _distinct_rows(rows: Integers) -> Integers:
    """Return the distinct rows of small integers, sorted, as np.unique(axis=0), but faster."""
    if not rows.size:
        return rows
    low = rows.min(axis=0)
    span = rows.max(axis=0) - low + 1
    flat = np.unique(np.ravel_multi_index(tuple((rows - low).T), tuple(span)))
    return np.asarray(np.stack(np.unravel_index(flat, tuple(span)), axis=1) + low, np.int64)


def closest_distances(
    effectors: NDArray[np.float64],
    targets: NDArray[np.float64],
    *,
    own: Integers | None = None,
) -> NDArray[np.float64]:
    """Return each effector's distance to the nearest target centroid; NaN without a target.

    Parameters
    ----------
    effectors, targets : ndarray of float, shape (n, 3) and (m, 3)
        Centroids in micrometre.
    own : ndarray of int64, shape (n,), optional
        See `find_contacts`: a cell is not its own neighbour.
    """
    from scipy.spatial import cKDTree

    if not len(effectors) or not len(targets):
        return np.full(len(effectors), np.nan)
    distance, number = cKDTree(targets).query(effectors, k=[1, 2])
    itself = np.zeros(len(effectors), bool) if own is None else number[:, 0] + 1 == own
    nearest = np.where(itself, distance[:, 1], distance[:, 0])
    return np.where(np.isfinite(nearest), nearest, np.nan)


def contact_events(contacts: pd.DataFrame, *, max_gap: int = 0) -> pd.DataFrame:
    """Join the contacts of the same two tracks in following frames into events.

    Parameters
    ----------
    contacts : DataFrame
        A `contacts` table of whole tracks; rows without both track ids belong to no event.
        ``attrs["frame_interval"]`` gives the seconds; without it they are null.
    max_gap : int
        Frames without contact that an event may bridge.

    Returns
    -------
    DataFrame
        A `contact_events` table. An event lasts from the start of its first frame to the
        end of its last: a contact seen in one frame lasts one frame interval.
    """
    import pandas as pd

    pair = ["position", "effector_channel", "target_channel", "effector_track_id",
            "target_track_id"]  # fmt: skip
    rows = contacts.dropna(subset=["effector_track_id", "target_track_id"])
    size = rows["contact_length_um"].fillna(rows["contact_area_um2"]).astype("float64")
    rows = rows[[*pair, "frame"]].assign(size=size)
    # Two labels of one track in one frame are one contact.
    rows = rows.groupby([*pair, "frame"], as_index=False).agg(size=("size", "sum"))
    begins = rows.groupby(pair)["frame"].diff().fillna(max_gap + 2) > max_gap + 1
    event = begins.groupby([rows[name] for name in pair]).cumsum().astype("int32")
    events = (
        rows.assign(event=event)
        .groupby([*pair, "event"], as_index=False)
        .agg(
            start_frame=("frame", "min"),
            end_frame=("frame", "max"),
            frames=("frame", "size"),
            mean_contact=("size", "mean"),
            max_contact=("size", "max"),
        )
    )
    interval = contacts.attrs.get("frame_interval")
    seconds = np.nan if interval is None else float(interval)
    start = events["start_frame"].astype("float64") * seconds
    end = (events["end_frame"] + 1).astype("float64") * seconds
    span = (events["end_frame"] - events["start_frame"] + 1).astype("float64") * seconds
    events = events.assign(start_s=start, end_s=end, duration_s=span)
    events.attrs.update(contacts.attrs)
    return pd.DataFrame(events)
