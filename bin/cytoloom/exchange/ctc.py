"""The Cell Tracking Challenge's result folder: ``res_track.txt`` and ``maskNNN.tif``.

A CTC track has an object in every frame from its first to its last, so a track with a
gap becomes several, each the parent of the next, as TrackMate's exporter does it.
Masks are 16 bit: more than 65,535 tracks do not fit, and are an error. A track has
one parent: of merging tracks only the one with the lowest number is kept.

References
----------
Maska et al., Nature Methods 20, 1010 (2023); naming and content of annotations, 2022.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cytoloom.errors import BadData

if TYPE_CHECKING:
    import pandas as pd

MOST = int(np.iinfo(np.uint16).max)
TRACKS = "res_track.txt"
RESULT, TRUTH = ("mask", TRACKS), ("man_track", "man_track.txt")  # names of masks and lines


def pieces(nodes: pd.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut tracks at gaps.

    Parameters
    ----------
    nodes : DataFrame
        ``track_id``, ``parent_track_id``, ``frame``: one row per object.

    Returns
    -------
    piece : ndarray of int64, shape (n,)
        CTC track of each row, numbered from 1 by track and frame.
    lines : ndarray of int64, shape (m, 4)
        Number, first frame, last frame, parent (0: none) of each CTC track.

    Raises
    ------
    BadData
        If there are more than 65,535.
    """
    track = nodes["track_id"].to_numpy(dtype=np.int64)
    frame = nodes["frame"].to_numpy(dtype=np.int64)
    order = np.lexsort((frame, track))
    new_track = np.diff(track[order], prepend=-1) != 0
    starts = np.flatnonzero(new_track | (np.diff(frame[order], prepend=-1) != 1))
    stops = np.append(starts, len(order))[1:] - 1
    if len(starts) > MOST:
        raise BadData(
            f"{len(starts)} tracks do not fit into the 16 bit of the Cell Tracking Challenge "
            f"(at most {MOST}); leave this format out, or export part of the data"
        )
    number = np.arange(1, len(starts) + 1)
    piece = np.empty(len(order), dtype=np.int64)
    piece[order] = np.repeat(number, stops - starts + 1)
    last = dict(zip(track[order][stops].tolist(), number.tolist(), strict=True))
    parent = nodes["parent_track_id"].fillna(0).to_numpy(dtype=np.int64)[order][starts]
    # Of the pieces of one track, the first has the track's parent, each other the piece before.
    above = np.where(new_track[starts], [last.get(p, 0) for p in parent.tolist()], number - 1)
    lines = np.column_stack([number, frame[order][starts], frame[order][stops], above])
    return piece, lines.reshape(-1, 4).astype(np.int64)


def write(
    folder: Path,
    nodes: pd.DataFrame,
    frames: Iterable[NDArray[Any]],
    *,
    key: str = "track_id",
    names: tuple[str, str] = RESULT,
) -> None:
    """Write a result folder, or the tracks of a ground truth.

    Parameters
    ----------
    folder
        Folder to make.
    nodes : DataFrame
        See `pieces`.
    frames
        Label image of each frame from 0, axes (z,) y, x; its pixels hold ``key``.
    key
        ``track_id`` or ``label``.
    names
        ``RESULT`` or ``TRUTH``.

    Raises
    ------
    BadData
        If an object of the table has no pixel, or there are too many tracks.
    """
    import tifffile

    piece, lines = pieces(nodes)
    folder.mkdir(parents=True)
    write_lines(folder / names[1], lines)
    digits = 4 if len(lines) and lines[:, 2].max() > 999 else 3
    wanted: dict[int, dict[int, int]] = {}
    for frame, name, number in zip(nodes["frame"], nodes[key], piece.tolist(), strict=True):
        wanted.setdefault(int(frame), {})[int(name)] = number
    for number, labels in enumerate(frames):
        mask = _mask(labels, wanted.get(number, {}), number, key)
        tifffile.imwrite(
            folder / f"{names[0]}{number:0{digits}d}.tif",
            mask,
            photometric="minisblack",
            compression="zlib",
            metadata=None,
        )


def write_lines(path: Path, lines: NDArray[np.int64]) -> None:
    """Write a file of tracks: number, first frame, last frame, parent."""
    path.write_text("".join(f"{' '.join(map(str, line))}\n" for line in lines.tolist()))


def read_lines(path: Path | str) -> NDArray[np.int64]:
    """Read a file of tracks, shape (m, 4): number, first frame, last frame, parent.

    Raises
    ------
    BadData
        If it is no such file, a number stands twice, a track ends before it begins, or a
        parent is not there or does not end before its child begins.
    """
    path = Path(path)
    try:
        rows = [line.split() for line in path.read_text().splitlines() if line.strip()]
        lines = np.array([list(map(int, row)) for row in rows], np.int64).reshape(len(rows), 4)
    except ValueError as error:
        raise BadData(
            f"{path}: not a file of tracks: each line has four whole numbers (track, first "
            "frame, last frame, parent or 0)"
        ) from error
    ends = {number: end for number, _, end, _ in lines.tolist()}
    if len(ends) < len(lines):
        raise BadData(f"{path}: a track stands twice")
    for number, begin, end, parent in lines.tolist():
        if not 0 <= begin <= end:
            raise BadData(f"{path}: track {number} lasts from frame {begin} to {end}")
        if parent and parent not in ends:
            raise BadData(f"{path}: track {number}: its parent {parent} is not there")
        if parent and ends[parent] >= begin:
            raise BadData(f"{path}: track {number} begins before its parent {parent} ends")
    return lines


def _mask(labels: NDArray[Any], ids: dict[int, int], frame: int, key: str) -> NDArray[np.uint16]:
    import fastremap

    missing = set(ids) - set(fastremap.unique(labels).tolist())
    if missing:
        raise BadData(
            f"frame {frame}: {key} {min(missing)} has no pixel in the label image; "
            "give the label image that belongs to this table"
        )
    known = fastremap.mask_except(labels.astype(np.uint32), list(ids))
    renamed = fastremap.remap(known, ids, preserve_missing_labels=True, in_place=True)
    return np.asarray(renamed, dtype=np.uint16)


def read(folder: Path | str) -> tuple[NDArray[np.int64], dict[int, NDArray[np.uint16]]]:
    """Read a result folder and check that lines and masks agree.

    Returns
    -------
    lines : ndarray of int64, shape (m, 4)
    masks : dict of ndarray, by frame

    Raises
    ------
    BadData
        If a track has no object in one of its frames, a mask holds an object of no track, or a
        parent does not end before its child begins.
    """
    import tifffile

    folder = Path(folder)
    lines = read_lines(folder / TRACKS)
    masks = {int(p.stem[4:]): tifffile.imread(p) for p in sorted(folder.glob("mask*.tif"))}
    expected: dict[int, set[int]] = {frame: set() for frame in masks}
    for number, begin, end, _ in lines.tolist():
        for frame in range(begin, end + 1):
            expected.setdefault(frame, set()).add(number)
    for frame, numbers in sorted(expected.items()):
        found = set(np.unique(masks[frame]).tolist()) - {0} if frame in masks else set()
        if found != numbers:
            raise BadData(
                f"{folder}: frame {frame}: tracks {sorted(found ^ numbers)[:3]} are in "
                f"only one of {TRACKS} and the mask"
            )
    return lines, masks
