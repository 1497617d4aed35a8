"""Transforms of frames: algebra in micrometre, and the table in which they are kept.

A transform says where a point of the registered movie is found in a frame of the movie as
it was taken: ``p_frame = matrix @ p + offset``, points as (z, y, x) in micrometre with the
origin at the centre of the first voxel. Registered frames are in the place of frame 0.
Planes of a 2-D movie have z = 0. Displacement fields come before the matrix:
``p_frame = matrix @ (p + field(p)) + offset``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytoloom import tables
from cytoloom.errors import BadData, InputMissing
from cytoloom.files import find, writing

Vector = NDArray[np.float64]
AXES = "zyx"
MATRIX = tuple(f"matrix_{row}{column}" for row in AXES for column in AXES)
OFFSET = tuple(f"offset_{axis}_um" for axis in AXES)


@dataclass(frozen=True)
class Affine:
    """An affine map of points (z, y, x) in micrometre.

    Attributes
    ----------
    matrix : ndarray, shape (3, 3)
    offset : ndarray, shape (3,)
        [um]
    """

    matrix: Vector
    offset: Vector

    @classmethod
    def identity(cls) -> Affine:
        """Return the map that leaves all points in place."""
        return cls(np.eye(3), np.zeros(3))

    @classmethod
    def translation(cls, offset: Sequence[float] | Vector) -> Affine:
        """Return a shift by (z, y, x) in micrometre."""
        return cls(np.eye(3), np.array(offset, np.float64))

    def __call__(self, points: Vector) -> Vector:
        """Map points, shape (…, 3)."""
        return np.asarray(points @ self.matrix.T + self.offset)

    def after(self, first: Affine) -> Affine:
        """Return the map that does ``first`` and then this one."""
        return Affine(self.matrix @ first.matrix, self.matrix @ first.offset + self.offset)

    def inverse(self) -> Affine:
        """Return the map back."""
        back = np.array(np.linalg.inv(self.matrix), np.float64)
        return Affine(back, -back @ self.offset)

    @property
    def is_identity(self) -> bool:
        """Whether no point moves by more than the rounding of float64."""
        close = np.abs(self.matrix - np.eye(3)).max() < 1e-12
        return bool(close and np.abs(self.offset).max() < 1e-9)


def centre(shape: Sequence[int], pixel_size: Sequence[float] | Vector) -> Vector:
    """Return the centre of a volume (z, y, x) in micrometre."""
    return (np.asarray(shape, float) - 1) / 2 * np.asarray(pixel_size, float)


def valid_share(map_: Affine, shape: Sequence[int], pixel_size: Sequence[float] | Vector) -> float:
    """Return the share of the registered volume whose points lie inside the frame.

    Counted on a grid of at most 64 points along each axis.
    """
    axes = [np.linspace(0, n - 1, min(n, 64)) for n in shape]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1) * np.asarray(pixel_size, float)
    found = map_(points) / np.asarray(pixel_size, float)
    inside = (found >= -0.5) & (found <= np.asarray(shape) - 0.5)
    return float(inside.all(-1).mean())


def rotation(map_: Affine) -> float:
    """Return the angle of the rotation that is nearest to the map's matrix [degree].

    In 2-D it is positive from axis y to axis x; in 3-D it is not negative.
    """
    left, _, right = np.linalg.svd(map_.matrix)
    turn = left @ right
    if np.allclose(turn[0], (1, 0, 0)) and np.allclose(turn[:, 0], (1, 0, 0)):
        return float(np.degrees(np.arctan2(turn[2, 1], turn[1, 1])))
    return float(np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1))))


def write(
    path: Path,
    maps: Mapping[int, Affine],
    *,
    kind: str,
    shape: Sequence[int],
    about: Mapping[str, Any],
    correlation: Mapping[int, float],
) -> None:
    """Write the transforms of frames as a table of kind ``transforms``.

    Parameters
    ----------
    maps, correlation
        By frame.
    kind
        Name of the kind of transform: translation, rigid, affine, deformable.
    shape
        (z, y, x) of a frame [px].
    about
        ``position``, ``channel``, ``pixel_size`` (z, y, x) [um] and ``frame_interval`` [s].
    """
    import pandas as pd

    pixel = np.asarray(about["pixel_size"], float)
    middle = centre(shape, pixel)
    rows = []
    for frame, map_ in sorted(maps.items()):
        drift = map_(middle) - middle
        row: dict[str, Any] = {
            "position": about["position"], "frame": frame, "channel": about["channel"],
            "transform": kind, "drift_um": float(np.linalg.norm(drift)),
            "rotation_deg": rotation(map_), "correlation": correlation.get(frame, np.nan),
            "valid_share": valid_share(map_, shape, pixel),
        }  # fmt: skip
        row |= {f"drift_{a}": d for a, d in zip(AXES, drift / pixel, strict=True)}
        row |= {f"drift_{a}_um": d for a, d in zip(AXES, drift, strict=True)}
        row |= dict(zip(MATRIX, map_.matrix.ravel(), strict=True))
        row |= dict(zip(OFFSET, map_.offset, strict=True))
        rows.append(row)
    table = pd.DataFrame(rows)
    table.attrs.update(about)
    tables.write_table(path, table, "transforms")


def read(pattern: str) -> dict[int, Affine]:
    """Read the transforms of one position by frame.

    Raises
    ------
    BadData
        If the table holds more than one transform of a frame.
    """
    table = tables.read_arrow(pattern, "transforms")
    frames = table["frame"].to_numpy()
    if len(np.unique(frames)) < len(frames):
        raise BadData(f"{pattern}: transforms of more than one position or channel; give one")
    matrices = np.stack([table[name].to_numpy() for name in MATRIX], -1).reshape(-1, 3, 3)
    offsets = np.stack([table[name].to_numpy() for name in OFFSET], -1)
    return {
        int(t): Affine(m, b) for t, m, b in zip(frames, matrices, offsets, strict=True)
    }  # fmt: skip


def of_frames(pattern: str, frames: Iterable[int]) -> dict[int, Affine]:
    """Read the transforms of some frames.

    Raises
    ------
    InputMissing
        If a frame has none.
    """
    maps = read(pattern)
    missing = [t for t in frames if t not in maps]
    if missing:
        raise InputMissing(
            f"{pattern}: no transform of frame {missing[0]}; register the same frames first"
        )
    return maps


def write_arrays(path: Path, about: Mapping[str, Any], **arrays: NDArray[Any]) -> None:
    """Write arrays and what they are about as one .npz, whole or not at all."""
    with writing(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, about=np.array(json.dumps(about)), **arrays)  # type: ignore[arg-type]


def read_arrays(pattern: str, what: str) -> list[tuple[dict[str, Any], dict[str, NDArray[Any]]]]:
    """Read all parts written by `write_arrays`."""
    parts = []
    for path in find(pattern, what=what):
        try:
            with np.load(path) as file:
                arrays = {name: file[name] for name in file.files if name != "about"}
                parts.append((json.loads(str(file["about"])), arrays))
        except (OSError, ValueError, KeyError) as error:
            raise BadData(f"{path}: not {what} ({error})") from error
    return parts
