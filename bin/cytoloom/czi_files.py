"""Zeiss CZI as a source, decoded by Zeiss's own library.

The tiles of a mosaic are fused by the coordinates that the file gives each of them: where
two overlap, the later one (by its index m) is on top; where there is none, pixels are 0.
A file of several phases, views, illuminations or rotations is refused: their pixels are
no time, plane or channel.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
from numpy.typing import NDArray

from cytoloom.errors import BadData
from cytoloom.files import remembered
from cytoloom.regions import Region
from cytoloom.sources import Acquisition, Source, choose_scene

PIXELS = {
    "Gray8": ("uint8", 1), "Gray16": ("uint16", 1), "Gray32Float": ("float32", 1),
    "Bgr24": ("uint8", 3), "Bgr48": ("uint16", 3), "Bgr96Float": ("float32", 3),
}  # fmt: skip
OTHER_AXES = {"V": "views", "H": "phases", "I": "illuminations", "R": "rotations", "B": "blocks"}
_SEGMENT, _ENTRY = 32, 128  # bytes of a segment's header and of a directory's entry


@dataclass(frozen=True)
class _Header:
    """What the file says of itself; boxes are x, y, width, height in its own coordinates."""

    scenes: tuple[int | None, ...]  # number in the file; None: it has no scenes
    boxes: tuple[tuple[int, int, int, int], ...]
    starts: tuple[int, int, int]  # first index along t, z, c
    sizes: tuple[int, int, int]
    dtype: np.dtype[Any]
    samples: int
    channels: tuple[str, ...]
    pixel_size: tuple[float | None, float | None, float | None]
    names: tuple[str | None, ...]
    seconds: tuple[float, ...]
    increment: float | None  # s between frames, as planned
    stage: tuple[tuple[float, float, float], ...]
    complete: tuple[int, ...]  # frames of each scene before the first with a missing plane
    patchy: tuple[int, ...]  # planes of each scene that have fewer tiles than its fullest


def scene_names(path: Path) -> tuple[str | None, ...]:
    """Return the name of each scene; None where it has none."""
    return _header(path).names


def open_czi(path: Path, scene: int | None = None) -> Source:
    """Open one scene of a CZI; see `cytoloom.sources.open_source`."""
    header = _header(path)
    chosen = choose_scene(path, header.names, scene)
    _, _, width, height = header.boxes[chosen.number]
    planned, planes, _ = header.sizes
    frames = header.complete[chosen.number]
    if frames == 0:
        raise BadData(f"{path}: position {chosen.number} has no complete frame")
    notes = []
    if frames < planned:
        notes.append(f"{frames} of {planned} frames are complete; those after them are left out")
    if patchy := header.patchy[chosen.number]:
        notes.append(f"{patchy} planes lack tiles that others have: pixels are 0 there")
    acquisition = _acquisition(header, chosen.number, frames)
    known = np.isfinite(acquisition.seconds).any() or np.isfinite(acquisition.stage).any()
    return Source(
        files=(path,),
        format="CZI",
        shape=(frames, planes, height, width),
        dtype=header.dtype,
        channels=header.channels,
        pixel_size=header.pixel_size,
        frame_interval=acquisition.interval() or header.increment,
        _read=lambda region, channel: _read(path, header, chosen.number, region, channel),
        notes=tuple(f"{path}: position {chosen.number}: {note}" for note in notes),
        scene=chosen,
        acquired=(lambda channel: acquisition) if known else None,  # noqa: ARG005 - one for all
    )


def _read(path: Path, header: _Header, scene: int, region: Region, channel: int) -> NDArray[Any]:
    out = np.empty(region.shape, header.dtype)
    x0, y0, _, _ = header.boxes[scene]
    roi = (
        x0 + region.x[0], y0 + region.y[0],
        region.x[1] - region.x[0], region.y[1] - region.y[0],
    )  # fmt: skip
    first_t, first_z, first_c = header.starts
    c, sample = divmod(channel, header.samples)
    with _opened(path) as file:
        for i, t in enumerate(range(*region.t)):
            for k, z in enumerate(range(*region.z)):
                plane = {"T": first_t + t, "Z": first_z + z, "C": first_c + c}
                data = file.read(roi=roi, plane=plane, scene=header.scenes[scene])
                out[i, k] = data[..., header.samples - 1 - sample]  # blue comes first
    return out


def _acquisition(header: _Header, scene: int, frames: int) -> Acquisition:
    planned, scenes = header.sizes[0], len(header.scenes)
    seconds = np.full(frames, np.nan)
    if len(header.seconds) == planned:
        seconds[:] = header.seconds[:frames]
    elif len(header.seconds) == planned * scenes:  # all scenes of a time point, then the next
        seconds[:] = header.seconds[scene::scenes][:frames]
    place = header.stage[scene] if scene < len(header.stage) else (np.nan,) * 3
    return Acquisition(seconds, np.tile(place, (frames, 1)))


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a CZI; whatever is wrong with the file is BadData."""
    try:
        from pylibCZIrw import czi
    except ImportError as error:
        raise BadData(
            f"{path}: CZI is read by pylibCZIrw, which is made for Python 3.11 to 3.13; "
            "make the environment with one of them (CYTOLOOM_PYTHON)"
        ) from error
    try:
        with czi.open_czi(str(path)) as file:
            yield file
    except BadData:
        raise
    except (OSError, RuntimeError, ValueError, KeyError, IndexError, TypeError) as error:
        raise BadData(
            f"{path}: not a CZI, or a damaged or truncated one ({error}); copy it again"
        ) from error


@remembered
def _header(path: Path) -> _Header:
    with _opened(path) as file:
        planes = _planes(file)
        for axis, what in OTHER_AXES.items():
            count = len(set(planes[axis]))
            if count > 1:
                raise BadData(
                    f"{path}: holds {count} {what} ({axis}), which are not understood; "
                    "split or process it in ZEN first"
                )
        spans = [(min(planes[a], default=0), max(planes[a], default=0) + 1) for a in "TZC"]
        rectangles = file.scenes_bounding_rectangle_no_pyramid
        scenes = tuple(sorted(rectangles)) or (None,)
        found = [rectangles[s] for s in scenes if s is not None]
        boxes = found or [file.total_bounding_rectangle_no_pyramid]
        dtype, samples = _pixel_type(path, file.pixel_types)
        root = ET.fromstring(file.raw_metadata)
        complete = _complete(planes, scenes, spans)
        patchy = _patchy(planes, scenes)
    count = (spans[2][1] - spans[2][0]) * samples
    return _Header(
        scenes=scenes,
        boxes=tuple((b.x, b.y, b.w, b.h) for b in boxes),
        starts=(spans[0][0], spans[1][0], spans[2][0]),
        sizes=(spans[0][1] - spans[0][0], spans[1][1] - spans[1][0], spans[2][1] - spans[2][0]),
        dtype=dtype,
        samples=samples,
        channels=_channel_names(root, count),
        pixel_size=_pixel_size(root),
        names=tuple(_scene_name(root, s) for s in scenes),
        seconds=_time_stamps(path),
        increment=_number(root.find(".//{*}Image/{*}Dimensions/{*}T//{*}Interval/{*}Increment")),
        stage=tuple(_stage(root, s) for s in scenes),
        complete=complete,
        patchy=patchy,
    )


def _planes(file: Any) -> dict[str, list[int]]:
    """Return the index along each axis of every tile at full resolution."""
    found: dict[str, list[int]] = {axis: [] for axis in ("S", "T", "Z", "C", *OTHER_AXES)}

    def note(_index: int, block: Any) -> bool:
        at = block.coordinate.to_dict()
        for axis, indices in found.items():
            indices.append(at.get(axis, 0))
        return True

    file.enumerate_subblocks_subset(note, only_layer0=True)
    return found


def _complete(
    planes: Mapping[str, Sequence[int]],
    scenes: Sequence[int | None],
    spans: Sequence[tuple[int, int]],
) -> tuple[int, ...]:
    """Return how many frames of each scene have all planes: the library fills gaps with zeros."""
    there = set(zip(*(planes[axis] for axis in "STZC"), strict=True))
    frames, depths, channels = (range(*span) for span in spans)

    def whole(scene: int, t: int) -> bool:
        return all((scene, t, z, c) in there for z in depths for c in channels)

    return tuple(
        next((i for i, t in enumerate(frames) if not whole(scene or 0, t)), len(frames))
        for scene in scenes
    )


def _patchy(planes: Mapping[str, Sequence[int]], scenes: Sequence[int | None]) -> tuple[int, ...]:
    """Return how many planes of each scene have fewer tiles than the fullest one."""
    tiles = Counter(zip(*(planes[axis] for axis in "STZC"), strict=True))
    counts: dict[int, list[int]] = {}
    for (scene, *_), count in tiles.items():
        counts.setdefault(scene, []).append(count)
    found = [counts.get(scene or 0, []) for scene in scenes]
    return tuple(len(of) - of.count(max(of, default=0)) for of in found)


def _pixel_type(path: Path, types: dict[int, str]) -> tuple[np.dtype[Any], int]:
    """Return the type that holds the pixels of all channels, and the samples of each."""
    unknown = sorted({kind for kind in types.values() if kind not in PIXELS})
    if unknown:
        raise BadData(
            f"{path}: pixels of type {unknown[0]} are not understood (known: {', '.join(PIXELS)})"
        )
    samples = {PIXELS[kind][1] for kind in types.values()}
    if len(samples) != 1:
        raise BadData(f"{path}: mixes colour and grey channels; split it in ZEN first")
    return np.result_type(*(PIXELS[kind][0] for kind in types.values())), samples.pop()


def _number(element: ET.Element | None) -> float | None:
    try:
        value = float(element.text or "") if element is not None else 0.0
    except ValueError:
        return None
    return value if 0 < value < np.inf else None


def _channel_names(root: ET.Element, count: int) -> tuple[str, ...]:
    """Return the names of the channels; numbers where there are none, or two alike."""
    found = root.findall(".//{*}Image/{*}Dimensions/{*}Channels/{*}Channel")
    names = [channel.get("Name") or "" for channel in found]
    if len(names) != count or len(set(names)) != count or "" in names:
        return tuple(str(i) for i in range(count))
    return tuple(names)


def _pixel_size(root: ET.Element) -> tuple[float | None, float | None, float | None]:
    """Return micrometre along z, y, x: the file has metre."""
    found = {
        item.get("Id"): _number(item.find("{*}Value"))
        for item in root.findall(".//{*}Scaling/{*}Items/{*}Distance")
    }
    z, y, x = (value * 1e6 if (value := found.get(axis)) else None for axis in "ZYX")
    return z, y, x


def _scene(root: ET.Element, number: int | None) -> ET.Element | None:
    scenes = root.findall(".//{*}Image/{*}Dimensions/{*}S/{*}Scenes/{*}Scene")
    wanted = str(number or 0)
    return next((scene for scene in scenes if scene.get("Index", "0") == wanted), None)


def _scene_name(root: ET.Element, number: int | None) -> str | None:
    scene = _scene(root, number)
    return None if scene is None else scene.get("Name") or None


def _stage(root: ET.Element, number: int | None) -> tuple[float, float, float]:
    """Return the stage position z, y, x [um] of a scene; NaN where the file does not say."""
    scene = _scene(root, number)
    found = [] if scene is None else scene.findall("{*}Positions/{*}Position")
    centre = None if scene is None else scene.findtext("{*}CenterPosition")
    nowhere = (np.nan,) * 3
    try:
        if len(found) == 1:
            z, y, x = (float(found[0].get(axis) or np.nan) for axis in "ZYX")
            return z, y, x
        if centre:
            x, y = (float(value) for value in centre.split(","))
            return np.nan, y, x
    except ValueError:
        return nowhere
    return nowhere


def _time_stamps(path: Path) -> tuple[float, ...]:
    """Return the attachment ``TimeStamps`` [s]; empty where there is none.

    The library does not give attachments. Layout: ZISRAW (CZI) file format, version 1.2.
    """
    with path.open("rb") as file:

        def at(offset: int, layout: str) -> tuple[Any, ...]:
            file.seek(offset)
            return struct.unpack(layout, file.read(struct.calcsize(layout)))

        try:
            (directory,) = at(_SEGMENT + 72, "<q")
            (count,) = at(directory + _SEGMENT, "<i") if directory > 0 else (0,)
            for i in range(count):
                entry = directory + _SEGMENT + 256 + i * _ENTRY
                place, name = at(entry, "<12xq28x80s")
                if name.split(b"\0")[0] != b"TimeStamps":
                    continue
                start = place + _SEGMENT + 256
                _, number = at(start, "<ii")
                stamps = at(start + 8, f"<{number}d")
                known = stamps and np.isfinite(stamps).all()
                return tuple(s - min(stamps) for s in stamps) if known else ()
        except (struct.error, OSError, ValueError, OverflowError, MemoryError):
            return ()
    return ()
