"""Tracks of a ground truth, cut to a result: a folder that the metric packages read, or points."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cytoloom.errors import BadData, InputMissing
from cytoloom.exchange import ctc
from cytoloom.ground_truth import UNKNOWN, CtcTruth, Cut, LabelTruth, open_masks, read_mask
from cytoloom.regions import Shape
from cytoloom.selection import Selection

if TYPE_CHECKING:
    import pandas as pd


def write_tracks(path: str, folder: Path, result: Shape, select: str | None) -> int:
    """Make a folder ``TRA`` (and ``SEG``) of a ground truth, cut to the result.

    Returns
    -------
    int
        Number of frames.

    Raises
    ------
    InputMissing, BadData
        If it holds no tracks, or does not show the result.
    """
    truth = open_masks(path)
    (folder / "SEG").mkdir(parents=True)
    if isinstance(truth, LabelTruth):
        frames = list(_label_nodes(truth, result, select))
        _write(folder, _join(frames), (a.labels for a in truth.frames(result, select)))
        for file in sorted((folder / "TRA").glob("*.tif")):
            number = file.stem.removeprefix(ctc.TRUTH[0])
            (folder / "SEG" / f"man_seg{number}.tif").symlink_to(file)
        return len(frames)
    if truth.lines is None or not truth.tracks:
        raise InputMissing(
            f"{path}: no {ctc.TRUTH[1]} with its masks: EvaluateSegmentation scores outlines alone"
        )
    cut = Cut.of(truth.shape, result, select, path)
    lines = ctc.read_lines(truth.lines)
    if cut.leaves(truth.shape):
        (folder / "TRA").mkdir()
        for frame, file in truth.tracks.items():
            name = f"{ctc.TRUTH[0]}{frame:05d}.tif"
            (folder / "TRA" / name).symlink_to(file.absolute())
        for file in truth.segments.values():
            (folder / "SEG" / file.name).symlink_to(file.absolute())
        ctc.write_lines(folder / "TRA" / ctc.TRUTH[1], lines)
        return len(truth.tracks)

    def masks() -> Iterator[NDArray[Any]]:
        return (cut.window(read_mask(truth.tracks[f]), planes=True) for f in cut.frames)

    seen = [set(np.unique(mask).tolist()) for mask in masks()]
    _write(folder, cut_lines(lines, cut.frames, seen), masks())
    _cut_segments(truth, folder / "SEG", result, select)
    return len(seen)


def _write(folder: Path, nodes: pd.DataFrame, masks: Any) -> None:
    flat = (mask[0] if len(mask) == 1 else mask for mask in masks)
    ctc.write(folder / "TRA", nodes, flat, key="label", names=ctc.TRUTH)


def _cut_segments(truth: CtcTruth, folder: Path, result: Shape, select: str | None) -> None:
    import tifffile

    if not truth.segments:
        return
    for one in truth.annotations(result, select):
        for index, plane in enumerate(one.planes or ()):
            name = f"man_seg_{one.frame:05d}_{plane:05d}.tif"
            tifffile.imwrite(folder / name, one.labels[index], photometric="minisblack")
        if one.planes is None:
            mask = one.labels[0] if len(one.labels) == 1 else one.labels
            name = f"man_seg{one.frame:05d}.tif"
            tifffile.imwrite(folder / name, mask, photometric="minisblack")


def _label_nodes(
    truth: LabelTruth, result: Shape, select: str | None
) -> Iterator[tuple[int, NDArray[Any]]]:
    for one in truth.frames(result, select):
        names = np.unique(one.labels)
        yield one.frame, names[names > 0]


def _join(frames: Sequence[tuple[int, NDArray[Any]]]) -> pd.DataFrame:
    """Return one row per object; a number is a track."""
    import pandas as pd

    names = np.concatenate([np.zeros(0, np.int64), *(names for _, names in frames)])
    times = np.repeat([frame for frame, _ in frames], [len(names) for _, names in frames])
    return pd.DataFrame(
        {
            "frame": times.astype(np.int64),
            "label": names.astype(np.int64),
            "track_id": names.astype(np.int64),
            "parent_track_id": pd.array([pd.NA] * len(names), dtype="Int64"),
        }
    )


def cut_lines(lines: NDArray[np.int64], frames: range, seen: Sequence[set[int]]) -> pd.DataFrame:
    """Return the objects that a part of a ground truth shows, with their tracks.

    A track that leaves the part and comes back is two tracks without a link, as nobody who
    sees only the part could tell. A parent is kept where nothing is hidden between it and
    its child.

    Parameters
    ----------
    lines : ndarray, shape (m, 4)
        See `cytoloom.exchange.ctc.read_lines`.
    frames
        The frames of the truth that are shown.
    seen
        The labels that each of them shows.

    Returns
    -------
    DataFrame
        ``frame`` (of the part), ``label``, ``track_id``, ``parent_track_id``.
    """
    import pandas as pd

    runs: dict[int, list[list[int]]] = {}
    for number, begin, end, _ in lines.tolist():
        times = [k for k, frame in enumerate(frames) if begin <= frame <= end and number in seen[k]]
        cuts = np.flatnonzero(np.diff(times) != 1) + 1
        runs[number] = [part.tolist() for part in np.split(np.array(times, np.int64), cuts)]
    ids: dict[tuple[int, int], int] = {}
    for number, parts in runs.items():
        for index in range(len(parts)):
            ids[number, index] = len(ids) + 1
    ends = {number: end for number, _, end, _ in lines.tolist()}
    rows = []
    for number, begin, _, parent in lines.tolist():
        for index, times in enumerate(runs[number]):
            above = None
            if parent and times and runs[parent]:
                before = [k for k, frame in enumerate(frames) if frame <= ends[parent]]
                after = [k for k, frame in enumerate(frames) if frame >= begin]
                if before[-1:] == runs[parent][-1][-1:] and after[:1] == times[:1]:
                    above = ids[parent, len(runs[parent]) - 1]
            rows += [(k, number, ids[number, index], above) for k in times]
    table = pd.DataFrame(rows, columns=["frame", "label", "track_id", "parent_track_id"])
    return table.astype({"frame": int, "label": int, "track_id": int, "parent_track_id": "Int64"})


def check_tracks(lines: NDArray[np.int64], labels: Sequence[Sequence[int]], what: str) -> None:
    """Raise BadData unless lines and masks hold the same objects.

    Parameters
    ----------
    labels
        Those of the mask of each frame.
    """
    expected: list[set[int]] = [set() for _ in labels]
    for number, begin, end, _ in lines.tolist():
        if end >= len(labels):
            raise BadData(f"{what}: track {number} ends in frame {end}, after the last mask")
        for frame in range(begin, end + 1):
            expected[frame].add(number)
    for frame, (wanted, found) in enumerate(zip(expected, map(set, labels), strict=True)):
        if wanted != found:
            raise BadData(
                f"{what}: frame {frame}: track {min(wanted ^ found)} is in only one of the "
                "file of tracks and the mask"
            )


def read_points(
    path: str, result: Shape, select: str | None
) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    """Read the spots of a TrackMate file and their links, cut to the result.

    Returns
    -------
    spots : DataFrame
        ``frame``, ``z``, ``y``, ``x`` [px of the result], by frame.
    links : ndarray, shape (m, 2)
        Earlier and later spot, as positions in ``spots``.
    """
    import pandas as pd

    from cytoloom.exchange import trackmate_xml

    model = trackmate_xml.read(path)
    spots = model.spots.sort_values(["frame", "id"], kind="stable").reset_index(drop=True)
    place = spots[["z", "y", "x"]].to_numpy(float) / np.asarray(model.pixel_size)
    cut = _cut_of_image(path, result, select)
    frame = spots["frame"].map(lambda f: cut.frame(int(f))).to_numpy(dtype=float, na_value=np.nan)
    keep = np.isfinite(frame) & (frame < result[0])
    for axis, chosen in enumerate(cut.selection.ranges[1:]):
        place[:, axis] = (place[:, axis] - chosen.start) / chosen.step
        keep &= (place[:, axis] >= -0.5) & (place[:, axis] < len(chosen) - 0.5)
    number = pd.Series(np.cumsum(keep) - 1, index=spots["id"])[keep]
    ends = [model.edges[name].map(number) for name in ("source", "target")]
    known = ends[0].notna() & ends[1].notna()
    links = np.stack([end[known].to_numpy(dtype=np.int64) for end in ends], axis=1)
    table = pd.DataFrame(place[keep], columns=["z", "y", "x"])
    table.insert(0, "frame", frame[keep].astype(np.int64))
    return table, links.reshape(-1, 2)


def _cut_of_image(path: str, result: Shape, select: str | None) -> Cut:
    """Return the cut for a TrackMate file, whose settings give the shape of its image."""
    import xml.etree.ElementTree as ET

    image: Mapping[str, str] = {}
    for _, element in ET.iterparse(path):
        if element.tag == "ImageData":
            image = dict(element.attrib)
    sizes = [
        int(float(image.get(k, 0))) or UNKNOWN for k in ("nframes", "nslices", "height", "width")
    ]
    t, z, y, x = (max(a, b) if a != UNKNOWN else a for a, b in zip(sizes, result, strict=True))
    if select and sizes == list(result):
        return Cut(Selection.parse(None, result))
    return Cut(Selection.parse(select, (t, z, y, x)))
