"""Ground truth of users, brought to the frames and pixels of a result.

A ground truth is a folder of the Cell Tracking Challenge (``TRA``, ``SEG``), a label image
(TIFF, folder of TIFFs, OME-Zarr) whose numbers last over time, or a TrackMate file. Where the
run works on a part of the user's stack, the truth is cut alike; one that has the result's
own shape is taken as it is.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytoloom.errors import BadData
from cytoloom.exchange import ctc
from cytoloom.ingest import check_dtype
from cytoloom.regions import Region, Shape
from cytoloom.selection import Selection
from cytoloom.sources import open_source

log = logging.getLogger("cytoloom")
_MASK = re.compile(r"(man_track|man_seg|mask)_?(\d+)(?:_(\d+))?\.tif")
UNKNOWN = 2**31


@dataclass(frozen=True)
class Cut:
    """Which frames, planes and pixels of a ground truth show the result.

    Attributes
    ----------
    selection
        Of the truth, along t, z, y, x.
    """

    selection: Selection

    @classmethod
    def of(cls, truth: Shape, result: Shape, select: str | None, what: Path | str) -> Cut:
        """Cut a truth of a shape to a result; ``UNKNOWN`` lengths fit.

        Raises
        ------
        BadData
            If it shows other pixels, or more frames.
        """
        same = [a in (b, UNKNOWN) for a, b in zip(truth, result, strict=True)]
        as_it_is = not select or (all(same) and UNKNOWN not in truth)
        try:
            cut = cls(Selection.parse(None if as_it_is else select, truth))
        except BadData as error:
            raise BadData(f"{what}: {error}: {_where(truth, result, select)}") from error
        t, *box = cut.selection.shape
        fits = all(
            a == b or c == UNKNOWN for a, b, c in zip(box, result[1:], truth[1:], strict=True)
        )
        if not fits or (t > result[0] and truth[0] != UNKNOWN):
            raise BadData(f"{what}: {_where(truth, result, select)}")
        if t < result[0]:
            log.warning(
                "%s: %d frames, the result has %d: only the first %d are compared",
                *(what, t, result[0], t),
            )
        return cut

    @property
    def frames(self) -> range:
        """The truth's frames that are compared, in order."""
        return self.selection.ranges[0]

    def frame(self, number: int) -> int | None:
        """Return the result's frame for one of the truth, None where it is left out."""
        return self.frames.index(number) if number in self.frames else None

    def plane(self, number: int) -> int | None:
        """Return the result's plane for one of the truth, None where it is left out."""
        planes = self.selection.ranges[1]
        return planes.index(number) if number in planes else None

    def window(self, mask: NDArray[Any], *, planes: bool) -> NDArray[Any]:
        """Cut a mask of axes z, y, x, along z too where it has all ``planes``."""
        _, z, y, x = (slice(r.start, r.stop, r.step) for r in self.selection.ranges)
        return mask[z if planes else slice(None), y, x]

    def leaves(self, shape: Shape) -> bool:
        """Tell whether all of a truth of this shape is compared."""
        return self.selection.shape == shape


def _where(truth: Shape, result: Shape, select: str | None) -> str:
    words = "x".join("?" if n == UNKNOWN else str(n) for n in truth)
    part = f", which is {select} of the images" if select else ""
    return (
        f"shape {words} (t, z, y, x) does not fit the result's {'x'.join(map(str, result))}{part}; "
        "give the ground truth of the same images, whole or cut like the result"
    )


def is_points(path: Path | str) -> bool:
    """Tell whether a ground truth is a TrackMate file."""
    return Path(path).suffix.lower() == ".xml"


@dataclass(frozen=True)
class Annotation:
    """The objects of one frame: labels of axes z, y, x, and the result's planes that they show."""

    frame: int
    planes: tuple[int, ...] | None  # None: all
    labels: NDArray[Any]


@dataclass(frozen=True)
class CtcTruth:
    """A folder of the Cell Tracking Challenge: ``TRA`` and ``SEG``, or what is in them."""

    path: Path

    @cached_property
    def tracks(self) -> dict[int, Path]:
        """Masks of the tracks by frame."""
        return {
            frame: file
            for (frame, _), file in {**self._list("TRA"), **self._list("")}.items()
            if file.name.startswith(("man_track", "mask"))
        }

    @cached_property
    def segments(self) -> dict[tuple[int, int | None], Path]:
        """Masks of the segmentation by frame, and plane where each has its own file."""
        found = {**self._list("SEG"), **self._list("")}
        return {key: file for key, file in found.items() if file.name.startswith("man_seg")}

    @cached_property
    def lines(self) -> Path | None:
        """The file of tracks."""
        for folder in (self.path / "TRA", self.path):
            for name in (ctc.TRUTH[1], ctc.RESULT[1]):
                if (folder / name).is_file():
                    return folder / name
        return None

    def _list(self, part: str) -> dict[tuple[int, int | None], Path]:
        folder = self.path / part
        found = {}
        for file in sorted(folder.iterdir()) if folder.is_dir() else ():
            if match := _MASK.fullmatch(file.name):
                found[int(match[2]), None if match[3] is None else int(match[3])] = file
        return found

    @cached_property
    def shape(self) -> Shape:
        """Lengths along t, z, y, x; without masks of tracks frames and planes may be unknown."""
        if self.tracks:
            count = len(self.tracks)
            if sorted(self.tracks) != list(range(count)):
                raise BadData(f"{self.path}: the masks of tracks are not numbered 0 to {count - 1}")
            z, y, x = read_mask(next(iter(self.tracks.values()))).shape
            return (count, z, y, x)
        (_, plane), file = next(iter(self.segments.items()))
        z, y, x = read_mask(file).shape
        return (UNKNOWN, z if plane is None else UNKNOWN, y, x)

    def annotations(self, result: Shape, select: str | None) -> Iterator[Annotation]:
        """Yield the frames that have masks: those of ``SEG`` where there are any."""
        cut = Cut.of(self.shape, result, select, self.path)
        files = self.segments or {(frame, None): file for frame, file in self.tracks.items()}
        by_frame: dict[int, dict[int | None, Path]] = {}
        for (frame, plane), file in files.items():
            by_frame.setdefault(frame, {})[plane] = file
        for frame, masks in sorted(by_frame.items()):
            here = cut.frame(frame)
            if here is None or here >= result[0]:
                continue
            if None in masks:
                yield Annotation(here, None, cut.window(read_mask(masks[None]), planes=True))
                continue
            shown = {cut.plane(number): file for number, file in masks.items()}  # type: ignore[arg-type]
            planes = sorted(number for number in shown if number is not None)
            if planes:
                labels = np.concatenate(
                    [cut.window(read_mask(shown[number]), planes=False) for number in planes]
                )
                yield Annotation(here, tuple(planes), labels)


def read_mask(path: Path) -> NDArray[Any]:
    """Read a mask of whole numbers as axes z, y, x.

    Raises
    ------
    BadData
        If it is no such image.
    """
    import tifffile

    try:
        mask = np.asarray(tifffile.imread(path))
    except Exception as error:
        raise BadData(f"{path}: not a TIFF, or a damaged one ({error})") from error
    if mask.ndim not in (2, 3) or mask.dtype.kind not in "bui":
        raise BadData(f"{path}: not a mask: axes {mask.shape}, type {mask.dtype}")
    return mask if mask.ndim == 3 else mask[np.newaxis]


@dataclass(frozen=True)
class LabelTruth:
    """A label image."""

    path: str

    def frames(self, result: Shape, select: str | None) -> Iterator[Annotation]:
        """Yield all frames."""
        source = open_source(self.path)
        if source.shape == (result[1], 1, *result[2:]) and result[0] == 1:
            source = open_source(self.path, axes="ZYX")  # planes that were taken for frames
        check_dtype(source, kind="label")
        channel = source.channel_index(None)
        cut = Cut.of(source.shape, result, select, self.path)
        whole = Region.whole(source.shape)
        for here, frame in enumerate(cut.frames):
            mask = source.read(whole.frame(frame), channel)[0]
            yield Annotation(here, None, cut.window(mask, planes=True))


def open_masks(path: str) -> CtcTruth | LabelTruth:
    """Open a ground truth that has outlines.

    Raises
    ------
    InputMissing, BadData
        If there is nothing, or it has none.
    """
    folder = Path(path)
    if is_points(path):
        raise BadData(f"{path}: a TrackMate file has no outlines: give masks or a label image")
    if not folder.is_dir():
        return LabelTruth(path)
    truth = CtcTruth(folder)
    return truth if truth.tracks or truth.segments else LabelTruth(path)


def annotated_frames(path: str, result: Shape, select: str | None) -> Iterator[Annotation]:
    """Yield the frames of a ground truth with outlines.

    Parameters
    ----------
    path
        What the user gave.
    result
        Shape (T, Z, Y, X) of the result.
    select
        The part of the user's stack that the result shows; None: all.
    """
    truth = open_masks(path)
    if isinstance(truth, CtcTruth):
        return truth.annotations(result, select)
    return truth.frames(result, select)
