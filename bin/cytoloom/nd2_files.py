"""Nikon ND2 as a source: every stage position is a scene, frames are read one by one.

The nd2 library decodes; here its loops (time, position, planes, and in old files channels)
become t, scene, z and c. An acquisition that was stopped early has fewer frames than were
planned: a position then ends with its last complete frame, and a note says so.
"""

from __future__ import annotations

import math
import struct
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytoloom.errors import BadData
from cytoloom.files import remembered
from cytoloom.regions import Region
from cytoloom.sources import Acquisition, Source, choose_scene

LOOPS = {
    "TimeLoop": "T", "NETimeLoop": "T", "XYPosLoop": "P", "ZStackLoop": "Z", "SpectLoop": "C",
}  # fmt: skip


@dataclass(frozen=True)
class _Header:
    """What the file says of itself; ``loops`` from the outermost to the innermost."""

    loops: tuple[tuple[str, int], ...]
    plane: tuple[int, int]
    components: tuple[int, int]  # channels in a frame, samples of a channel
    dtype: np.dtype[Any]
    channels: tuple[str, ...]
    pixel_size: tuple[float | None, float | None, float | None]
    period: float | None  # s, as planned
    lost: frozenset[int]  # frames that were planned and are not in the file
    names: tuple[str | None, ...]
    intervals: tuple[float | None, ...] = ()  # s, as measured, of each position

    def size(self, letter: str) -> int:
        """Return the length of a loop; 1 where there is none."""
        return dict(self.loops).get(letter, 1)

    def frame(self, **at: int) -> int:
        """Return the number of the frame at T, P, Z, C."""
        number = 0
        for letter, count in self.loops:
            number = number * count + at.get(letter, 0)
        return number

    def complete(self, position: int) -> int:
        """Return how many time points of a position there are before the first incomplete one."""
        planes = list(product(range(self.size("Z")), range(self.size("C"))))
        for t in range(self.size("T")) if self.lost else ():
            if any(self.frame(T=t, P=position, Z=z, C=c) in self.lost for z, c in planes):
                return t
        return self.size("T")


def scene_names(path: Path) -> tuple[str | None, ...]:
    """Return the name of each stage position; None where it has none."""
    return _header(path).names


def open_nd2(path: Path, scene: int | None = None) -> Source:
    """Open one stage position of an ND2; see `cytoloom.sources.open_source`."""
    header = _header(path)
    chosen = choose_scene(path, header.names, scene)
    frames = header.complete(chosen.number)
    if frames == 0:
        raise BadData(f"{path}: position {chosen.number} has no complete frame")
    planned = header.size("T")
    note = (
        f"{path}: position {chosen.number}: {frames} of {planned} frames are complete; "
        "those after them are left out"
    )

    looped = header.size("C") > 1  # else all channels of a frame were taken together

    def acquired(channel: int) -> Acquisition:
        return _kept_acquisition(path, header, chosen.number, frames, channel if looped else 0)

    return Source(
        files=(path,),
        format="ND2",
        shape=(frames, header.size("Z"), *header.plane),
        dtype=header.dtype,
        channels=header.channels,
        pixel_size=header.pixel_size,
        frame_interval=header.intervals[chosen.number] or header.period,
        _read=lambda region, channel: _read(path, header, chosen.number, region, channel),
        notes=(note,) if frames < planned else (),
        scene=chosen,
        acquired=acquired,
    )


def _read(path: Path, header: _Header, position: int, region: Region, channel: int) -> NDArray[Any]:
    out = np.empty(region.shape, header.dtype)
    looped = header.size("C") > 1
    in_frame = 0 if looped else channel
    _, _, ys, xs = region.slices
    with _opened(path) as file:
        for i, t in enumerate(range(*region.t)):
            for k, z in enumerate(range(*region.z)):
                number = header.frame(T=t, P=position, Z=z, C=channel if looped else 0)
                count, samples = header.components
                frame = file.read_frame(number).reshape(count, *header.plane, samples)
                out[i, k] = frame[in_frame // samples, ys, xs, in_frame % samples]
    return out


@lru_cache(maxsize=256)
def _kept_acquisition(
    path: Path, header: _Header, position: int, frames: int, channel: int
) -> Acquisition:
    with _opened(path) as file:
        numbers = [header.frame(T=t, P=position, C=channel) for t in range(frames)]
        return _acquisition(file, numbers)


def _acquisition(file: Any, numbers: Sequence[int]) -> Acquisition:
    """Read when and where frames were taken."""
    seconds, stage = np.full(len(numbers), np.nan), np.full((len(numbers), 3), np.nan)
    for i, number in enumerate(numbers):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a file without times
                one = file.frame_metadata(number).channels[0]
            seconds[i] = one.time.relativeTimeMs / 1000
            place = one.position.stagePositionUm
            stage[i] = place.z, place.y, place.x
        except Exception:  # old files and simulated cameras do not say
            break
    return Acquisition(seconds, stage)


def _interval(file: Any, header: _Header, position: int) -> float | None:
    """Return the mean time between the frames of a position [s]; None where it is not known."""
    last = header.complete(position) - 1
    if last < 1:
        return None
    ends = _acquisition(file, [header.frame(T=t, P=position) for t in (0, last)])
    whole = ends.interval()
    return None if whole is None else whole / last


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open an ND2; whatever is wrong with the file is BadData."""
    import nd2

    try:
        with nd2.ND2File(path) as file:
            yield file
    except BadData:
        raise
    except (OSError, ValueError, struct.error, KeyError, IndexError, TypeError) as error:
        why = (
            "its end, with the map of its frames, is missing" if "ChunkMap" in str(error) else error
        )
        raise BadData(
            f"{path}: not an ND2, or a damaged or truncated one ({why}); copy it again"
        ) from error


@remembered
def _header(path: Path) -> _Header:
    with _opened(path) as file:
        return _read_header(path, file)


def _read_header(path: Path, file: Any) -> _Header:
    about = file.attributes
    loops: list[tuple[str, int]] = []
    period: float | None = None
    names: list[str | None] = []
    for loop in file.experiment:
        letter = LOOPS.get(str(loop.type))
        if letter is None or letter in [known for known, _ in loops]:
            if loop.count == 1:
                continue
            raise BadData(
                f"{path}: has a loop {loop.type} of {loop.count} that is not understood; "
                "export it as OME-TIFF"
            )
        loops.append((letter, int(loop.count)))
        if loop.type == "TimeLoop":
            period = loop.parameters.periodMs / 1000 or None
        if letter == "P":
            names = [point.name or None for point in loop.parameters.points]
    samples = int(file.components_per_channel)
    count = int(about.channelCount or 1)
    positions = dict(loops).get("P", 1)
    if about.compressionType == "lossy":
        raise BadData(f"{path}: lossy compression is not understood; export it as OME-TIFF")
    x, y, z = _pixel_size(file)
    planned = math.prod(n for _, n in loops)
    header = _Header(
        loops=tuple(loops),
        plane=(int(about.heightPx), int(about.widthPx or 0)),
        components=(count, samples),
        dtype=np.dtype(file.dtype),
        channels=_channel_names(file, max(count * samples, dict(loops).get("C", 1)), samples),
        pixel_size=(z if dict(loops).get("Z", 1) > 1 else None, y, x),
        period=period,
        lost=_lost(file, planned),
        names=tuple(names) if len(names) == positions else (None,) * positions,
    )
    intervals = tuple(_interval(file, header, position) for position in range(positions))
    return replace(header, intervals=intervals)


def _pixel_size(file: Any) -> tuple[float | None, float | None, float | None]:
    """Return the pixel size x, y, z [um]; None where the file does not say."""
    try:
        found = file.voxel_size()
    except Exception:  # odd metadata must not keep anybody from the pixels
        return None, None, None
    x, y, z = (float(s) if s and np.isfinite(s) and s > 0 else None for s in found)
    return x, y, z


def _lost(file: Any, planned: int) -> frozenset[int]:
    """Return the numbers of frames that are not in the file, which nd2 would read as zeros."""
    reader = getattr(file, "_rdr", None)
    present = getattr(reader, "_frame_offsets", None)
    if isinstance(present, dict):
        return frozenset(range(planned)) - frozenset(present)
    return frozenset(range(int(file.attributes.sequenceCount or planned), planned))


def _channel_names(file: Any, count: int, samples: int) -> tuple[str, ...]:
    """Return the names of the channels; numbers for the samples of a colour image."""
    try:
        names = [str(channel.channel.name) for channel in file.metadata.channels]
    except Exception:  # odd metadata must not keep anybody from the pixels
        names = []
    if samples > 1 or len(names) != count or len(set(names)) != count:
        return tuple(str(i) for i in range(count))
    return tuple(names)
