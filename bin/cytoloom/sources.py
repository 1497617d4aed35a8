"""Images as users have them: TIFF, OME-TIFF, OME-Zarr, ND2, CZI, and folders and globs of them.

``open_source`` reads headers only; ``Source.read`` reads any region of one channel of one
scene as tzyx. A scene is one field of view of a file that holds several: a position of an
ND2, a scene of a CZI, an image of an OME-TIFF or of a bioformats2raw store, or one of the
files ``*_scene<n>.ome.tif``.
Several files are frames of one stack, in natural order of their names (t2 before t10).
Truncated or empty files are found when the source is opened, not in the middle of a run.
Nothing is ever written beside the user's data.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytoloom.errors import BadData, InputMissing
from cytoloom.regions import Region, Shape

TIFF_SUFFIXES = (".tif", ".tiff", ".btf", ".lsm", ".stk")
SUFFIXES = (*TIFF_SUFFIXES, ".nd2", ".czi")
SPLIT = re.compile(r"(.+)_scene(\d+)(\.ome\.tiff?)", re.IGNORECASE)


@dataclass(frozen=True)
class Scene:
    """One field of view: the file that holds it and its number there.

    Attributes
    ----------
    number
        What users call it by: its index in the file, or the number in the name of its file.
    inside
        Index in the file ``path``; None: whichever lies in that file.
    name
        Its name in the file; None where it has none.
    """

    path: str
    number: int = 0
    inside: int | None = 0
    name: str | None = None


@dataclass(frozen=True)
class Acquisition:
    """When and where each frame of a scene was taken.

    Attributes
    ----------
    seconds : ndarray, float64, shape (T,)
        Since the start of the acquisition; NaN where the file does not say.
    stage : ndarray, float64, shape (T, 3)
        Stage position z, y, x [um]; NaN where the file does not say.
    """

    seconds: NDArray[np.float64]
    stage: NDArray[np.float64]

    def interval(self) -> float | None:
        """Return the mean time between frames [s]; None where it is not known."""
        known = np.flatnonzero(np.isfinite(self.seconds))
        if len(known) < 2:
            return None
        span = self.seconds[known[-1]] - self.seconds[known[0]]
        return float(span / (known[-1] - known[0])) if span > 0 else None


@dataclass(frozen=True)
class Source:
    """A stack of images in files of the user.

    Attributes
    ----------
    files
        The files or stores, in the order of their frames.
    shape
        Lengths along t, z, y, x.
    channels
        Names of the channels inside, as far as the file tells (else ``0``, ``1``, …).
    pixel_size
        Micrometre along z, y, x; None where the file does not say.
    frame_interval
        Second; None where the file does not say.
    notes
        What a user should know of the files, though it is no error.
    scene
        Which field of view of the file this is; None for a format that holds only one.
    acquired
        Gives times and stage positions of the frames of a channel; None where the file has none.
    """

    files: tuple[Path, ...]
    format: str
    shape: Shape
    dtype: np.dtype[Any]
    channels: tuple[str, ...]
    pixel_size: tuple[float | None, float | None, float | None]
    frame_interval: float | None
    _read: Callable[[Region, int], NDArray[Any]] = field(repr=False)
    notes: tuple[str, ...] = ()
    scene: Scene | None = None
    acquired: Callable[[int], Acquisition] | None = field(default=None, repr=False)

    def read(self, region: Region, channel: int = 0) -> NDArray[Any]:
        """Read a region of one channel; shape (t, z, y, x) of the region.

        Raises
        ------
        BadData
            If the pixels cannot be decoded; the message names the file.
        """
        try:
            return self._read(region, channel)
        except (BadData, InputMissing):
            raise
        except Exception as error:
            raise BadData(f"{self.files[0]}: cannot read {region}: {error}") from error

    def channel_index(self, wanted: str | int | None) -> int:
        """Return the index of a channel by name or number.

        Raises
        ------
        BadData
            If there is no such channel, or several and none is named.
        """
        if wanted is None:
            if len(self.channels) == 1:
                return 0
            raise BadData(
                f"{self.files[0]}: holds {len(self.channels)} channels "
                f"({', '.join(self.channels)}); say which with `channel:`"
            )
        if str(wanted) in self.channels:
            return self.channels.index(str(wanted))
        if str(wanted).isdecimal() and int(wanted) < len(self.channels):
            return int(wanted)
        raise BadData(
            f"{self.files[0]}: no channel {wanted!r} (channels: {', '.join(self.channels)})"
        )


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key under which ``t2`` comes before ``t10``."""
    return [
        (0, int(piece), "") if piece.isdecimal() else (1, 0, piece)
        for piece in re.split(r"(\d+)", name)
        if piece
    ]


def expand(path: Path | str, *, suffixes: Sequence[str] = TIFF_SUFFIXES) -> list[Path]:
    """Return the files or stores that a path, folder or glob names, in natural order.

    Parameters
    ----------
    suffixes
        Files of a folder that are taken.

    Raises
    ------
    InputMissing
        If there is nothing.
    """
    from cytoloom.zarr_files import is_zarr

    text = str(path)
    here = Path(text)
    if here.is_dir() and not is_zarr(here):
        names = [
            p for p in here.iterdir() if p.suffix.lower() in suffixes and not p.name.startswith(".")
        ]
        if not names:
            raise InputMissing(f"{here}: a folder without {kinds(suffixes)} files, and no OME-Zarr")
    elif here.exists():
        return [here]
    else:
        names = [Path(name) for name in glob.glob(text)]  # noqa: PTH207 - absolute too
        if not names:
            raise InputMissing(f"{text}: no such file or folder")
    return sorted(names, key=lambda p: natural_key(str(p)))


def kinds(suffixes: Sequence[str]) -> str:
    """Return in words what kinds of files have these suffixes."""
    return "TIFF, ND2 or CZI" if ".nd2" in suffixes else "TIFF"


def scenes_of(path: Path | str) -> list[Scene]:
    """Return the fields of view of a file, in order of their numbers, reading headers only.

    A file ``*_scene<n>.ome.tif`` stands for itself and all its siblings.

    Raises
    ------
    InputMissing, BadData
        As `open_source`.
    """
    from cytoloom.zarr_files import is_zarr

    here = Path(path)
    if not here.exists():
        raise InputMissing(f"{path}: no such file or folder")
    _check_size(here)
    split = SPLIT.fullmatch(here.name)
    if split:
        return _siblings(here, split)
    suffix = here.suffix.lower()
    reader: Any
    if is_zarr(here):
        from cytoloom import zarr_files as reader
    elif suffix == ".nd2":
        from cytoloom import nd2_files as reader
    elif suffix == ".czi":
        from cytoloom import czi_files as reader
    elif suffix in TIFF_SUFFIXES or here.name.lower().endswith(".companion.ome"):
        from cytoloom import tiff_files

        return tiff_files.scenes(here)
    else:
        return [Scene(str(path))]
    names = reader.scene_names(here)
    return [Scene(str(path), i, i, name) for i, name in enumerate(names)]


def _siblings(here: Path, split: re.Match[str]) -> list[Scene]:
    """Return the scenes of an OME-TIFF that was split into one file for each."""
    found: dict[int, Path] = {}
    for other in here.parent.iterdir():
        match = SPLIT.fullmatch(other.name)
        if match is None or match[1] != split[1]:
            continue
        number = int(match[2])
        if number in found:
            raise BadData(f"{other}: scene {number} is there twice, also as {found[number].name}")
        found[number] = other
    return [Scene(str(file), number, None) for number, file in sorted(found.items())]


def open_source(path: Path | str, *, axes: str | None = None, scene: int | None = None) -> Source:
    """Open a stack by path, folder or glob, reading headers only.

    Parameters
    ----------
    path
        A TIFF, ND2 or CZI, a folder or glob of TIFFs, or an OME-Zarr store.
    axes
        Overrides the axes that a TIFF declares, one letter each of t, c, z, y, x, s
        (``"ZYX"`` for a stack of planes that would be taken for time).
    scene
        Which field of view of the file. Without it, the only one; of a TIFF the first.

    Raises
    ------
    InputMissing
        If nothing is there.
    BadData
        If a file is empty, truncated, of another format, the files do not agree, or the
        file holds several fields of view and none is chosen.
    """
    parts = [_open(file, axes, scene) for file in expand(path)]
    return parts[0] if len(parts) == 1 else _concatenate(parts)


def _open(path: Path, axes: str | None, scene: int | None) -> Source:
    from cytoloom.zarr_files import is_zarr, open_zarr

    if is_zarr(path):
        return open_zarr(path, scene)
    _check_size(path)
    suffix = path.suffix.lower()
    if suffix == ".nd2":
        from cytoloom.nd2_files import open_nd2

        return open_nd2(path, scene)
    if suffix == ".czi":
        from cytoloom.czi_files import open_czi

        return open_czi(path, scene)
    from cytoloom.tiff_files import open_tiff

    return open_tiff(path, axes, scene)


def _check_size(path: Path) -> None:
    if path.is_file() and path.stat().st_size == 0:
        raise BadData(f"{path}: an empty file")


def choose_scene(path: Path, names: Sequence[str | None], scene: int | None) -> Scene:
    """Return the scene of a number; without one the only scene.

    Raises
    ------
    BadData
        If there is no such scene, or several and none is chosen.
    """
    if scene is None and len(names) > 1:
        raise BadData(
            f"{path}: holds {len(names)} positions; give it as `input:`, or say which with `fov:` "
            f"(0 to {len(names) - 1})"
        )
    number = scene or 0
    if not 0 <= number < len(names):
        raise BadData(f"{path}: no position {number} (there are {len(names)}, from 0)")
    return Scene(str(path), number, number, names[number])


def _concatenate(parts: Sequence[Source]) -> Source:
    first = parts[0]
    for part in parts[1:]:
        same = (part.shape[1:], part.dtype, len(part.channels))
        if same != (first.shape[1:], first.dtype, len(first.channels)):
            raise BadData(
                f"{part.files[0]}: {part.shape[1:]} (z, y, x) {part.dtype} does not fit "
                f"{first.files[0]}: {first.shape[1:]} {first.dtype}; "
                "frames of one stack must have one shape and type"
            )
    starts = np.cumsum([0] + [part.shape[0] for part in parts])

    def read(region: Region, channel: int) -> NDArray[Any]:
        out = np.empty(region.shape, first.dtype)
        for start, part in zip(starts, parts, strict=False):
            low, high = max(region.t[0], start), min(region.t[1], start + part.shape[0])
            if low < high:
                local = Region((low - start, high - start), region.z, region.y, region.x)
                out[low - region.t[0] : high - region.t[0]] = part.read(local, channel)
        return out

    return Source(
        files=tuple(file for part in parts for file in part.files),
        format=first.format,
        shape=(int(starts[-1]), *first.shape[1:]),
        dtype=first.dtype,
        channels=first.channels,
        pixel_size=first.pixel_size,
        frame_interval=first.frame_interval,
        _read=read,
        notes=tuple(note for part in parts for note in part.notes)[:3],
    )
