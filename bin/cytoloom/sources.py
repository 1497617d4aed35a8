"""Images as users have them: TIFF stacks, folders and globs of TIFFs, OME-TIFF, OME-Zarr.

``open_source`` reads headers only; ``Source.read`` reads any region of one channel as
tzyx. Several TIFFs are frames of one stack, in natural order of their names (t2 before
t10). A stack whose third axis has no name is time. Truncated or empty files are found
when the source is opened, not in the middle of a run. OME-Zarr 0.4 and 0.5 are read at
full resolution. Nothing is ever written beside the user's data.
"""

from __future__ import annotations

import glob
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytoloom.calibration import MICROMETRE, SECOND, tiff_calibration, tiff_channels
from cytoloom.errors import BadData, InputMissing
from cytoloom.regions import Region, Shape

TIFF_SUFFIXES = (".tif", ".tiff", ".btf", ".lsm", ".stk")
_SIGNS_OF_LOSS = (
    "invalid page offset", "circular reference", "corrupted", "invalid value offset",
    "missing data offset",
)  # fmt: skip


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


def expand(path: Path | str) -> list[Path]:
    """Return the files or stores that a path, folder or glob names, in natural order.

    Raises
    ------
    InputMissing
        If there is nothing.
    """
    text = str(path)
    here = Path(text)
    if here.is_dir() and not _is_zarr(here):
        names = [
            p
            for p in here.iterdir()
            if p.suffix.lower() in TIFF_SUFFIXES and not p.name.startswith(".")
        ]
        if not names:
            raise InputMissing(f"{here}: a folder without TIFF files, and no OME-Zarr")
    elif here.exists():
        return [here]
    else:
        names = [Path(name) for name in glob.glob(text)]  # noqa: PTH207 - absolute too
        if not names:
            raise InputMissing(f"{text}: no such file or folder")
    return sorted(names, key=lambda p: natural_key(str(p)))


def open_source(path: Path | str, *, axes: str | None = None) -> Source:
    """Open a stack by path, folder or glob, reading headers only.

    Parameters
    ----------
    path
        A TIFF, a folder or glob of TIFFs, or an OME-Zarr store.
    axes
        Overrides the axes that a TIFF declares, one letter each of t, c, z, y, x, s
        (``"ZYX"`` for a stack of planes that would be taken for time).

    Raises
    ------
    InputMissing
        If nothing is there.
    BadData
        If a file is empty, truncated, of another format, or the files do not agree.
    """
    files = expand(path)
    if all(_is_zarr(file) for file in files):
        parts = [_open_zarr(file) for file in files]
    else:
        parts = [_open_tiff(file, axes) for file in files]
    return parts[0] if len(parts) == 1 else _concatenate(parts)


def _is_zarr(path: Path) -> bool:
    return any((path / name).is_file() for name in ("zarr.json", ".zgroup", ".zattrs", ".zarray"))


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


def _open_tiff(path: Path, axes: str | None) -> Source:
    import tifffile

    if path.is_file() and path.stat().st_size == 0:
        raise BadData(f"{path}: an empty file")
    try:
        with _listening(path) as said, tifffile.TiffFile(path) as tiff:
            if not tiff.series:
                raise BadData(f"{path}: a TIFF without images")
            series = tiff.series[0]
            declared = (axes or series.axes).upper()
            if len(declared) != len(series.shape):
                raise BadData(
                    f"{path}: axes {declared!r} for an image of shape {tuple(series.shape)}"
                )
            _check_complete(path, tiff)
            sizes = dict(zip(_name_axes(path, declared), series.shape, strict=True))
            pixel_size, interval = tiff_calibration(tiff)
            names = tiff_channels(tiff)
            dtype = np.dtype(series.dtype)
    except BadData:
        raise
    except OSError as error:
        raise BadData(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:
        raise BadData(f"{path}: not a TIFF, or a damaged or truncated one ({error})") from error
    count = sizes.get("C", 1) * sizes.get("S", 1)
    channels = names if len(names) == count else [str(i) for i in range(count)]
    order = "".join(sizes)

    def read(region: Region, channel: int) -> NDArray[Any]:
        import zarr

        with tifffile.imread(path, aszarr=True, series=0, level=0) as store:
            array = zarr.open_array(store, mode="r")
            samples = sizes.get("S", 1)
            index: dict[str, Any] = dict(zip("TZYX", region.slices, strict=True))
            index |= {"C": channel // samples, "S": channel % samples}
            data = np.asarray(array[tuple(index[a] for a in order)])
        kept = [a for a in order if a in "TZYX"]
        data = data.transpose([kept.index(a) for a in "TZYX" if a in kept])
        return data.reshape(region.shape)

    return Source(
        files=(path,),
        format="TIFF",
        shape=(sizes.get("T", 1), sizes.get("Z", 1), sizes["Y"], sizes["X"]),
        dtype=dtype,
        channels=tuple(channels),
        pixel_size=pixel_size,
        frame_interval=interval,
        _read=read,
        notes=tuple(f"{path}: {text}" for text in said[:3]),
    )


@contextmanager
def _listening(path: Path) -> Iterator[list[str]]:
    """Raise BadData where tifffile only warns that it leaves out parts of a damaged file.

    Yields the list of its warnings.
    """
    said: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    log, ear = logging.getLogger("tifffile"), Ear()
    propagate, log.propagate = log.propagate, False
    log.addHandler(ear)
    try:
        yield said
    finally:
        log.removeHandler(ear)
        log.propagate = propagate
        if any(sign in text for text in said for sign in _SIGNS_OF_LOSS):
            raise BadData(
                f"{path}: truncated or damaged: its pages point to where nothing is; copy it again"
            )


def _name_axes(path: Path, declared: str) -> str:
    """Return the axes with unnamed ones (tifffile's I, Q, …) taken for time, else planes."""
    named = ""
    for axis in declared:
        if axis not in "TCZYXS":
            axis = next((a for a in "TZC" if a not in declared and a not in named), axis)
        named += axis
    if len(set(named)) != len(named) or not set("YX") <= set(named) <= set("TCZYXS"):
        raise BadData(
            f"{path}: axes {declared!r} are not understood; give them with `axes:`, for example TYX"
        )
    return named


def _check_complete(path: Path, tiff: Any) -> None:
    """Raise BadData where the file ends before the pixels that its headers promise."""
    size = path.stat().st_size
    for number, page in enumerate(tiff.series[0].pages):
        if page is None:
            raise BadData(f"{path}: page {number} is missing (truncated file?)")
        ends = [o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=False)]
        if ends and max(ends) > size:
            raise BadData(
                f"{path}: truncated: page {number} ends at byte {max(ends):,} "
                f"but the file has {size:,}; copy it again"
            )


def _open_zarr(path: Path) -> Source:
    import zarr

    try:
        group = zarr.open_group(path, mode="r")
        attributes = dict(group.attrs)
        ome = attributes.get("ome", attributes)
        multiscale = ome["multiscales"][0]
        dataset = multiscale["datasets"][0]
        array = group[dataset["path"]]
        axes = [a["name"] if isinstance(a, dict) else a for a in multiscale["axes"]]
        units = [a.get("unit", "") if isinstance(a, dict) else "" for a in multiscale["axes"]]
        scale = dict(zip(axes, _zarr_scale(multiscale, dataset, len(axes)), strict=True))
        sizes = dict(zip(axes, array.shape, strict=True))
    except Exception as error:
        raise BadData(f"{path}: not a readable OME-Zarr image ({error!r})") from error
    if not {"y", "x"} <= set(axes) <= set("tczyx"):
        raise BadData(f"{path}: axes {axes} are not understood")
    unit = dict(zip(axes, units, strict=True))
    count = sizes.get("c", 1)
    labels = [
        str(c.get("label", i)) for i, c in enumerate(ome.get("omero", {}).get("channels", []))
    ]

    def size_of(axis: str) -> float | None:
        factor = MICROMETRE.get(unit.get(axis, "").lower())
        return scale[axis] * factor if factor and 0 < scale[axis] < np.inf else None

    def read(region: Region, channel: int) -> NDArray[Any]:
        index = dict(zip("tzyx", region.slices, strict=True)) | {"c": slice(channel, channel + 1)}
        data = np.asarray(array[tuple(index[a] for a in axes)])
        data = data.transpose([axes.index(a) for a in "ctzyx" if a in axes])
        return data.reshape(region.shape)

    return Source(
        files=(path,),
        format="OME-Zarr",
        shape=(sizes.get("t", 1), sizes.get("z", 1), sizes["y"], sizes["x"]),
        dtype=np.dtype(array.dtype),
        channels=tuple(labels if len(labels) == count else map(str, range(count))),
        pixel_size=(size_of("z"), size_of("y"), size_of("x")),
        frame_interval=scale["t"] * SECOND[unit["t"].lower()]
        if unit.get("t", "").lower() in SECOND and 0 < scale["t"] < np.inf
        else None,
        _read=read,
        notes=_absent_chunks(path, array),
    )


def _absent_chunks(path: Path, array: Any) -> tuple[str, ...]:
    """Note chunks without a file: by the format they are empty, but they may have been lost."""
    absent = array.nchunks - array.nchunks_initialized
    if not absent:
        return ()
    note = (
        f"{path}: {absent:,} of {array.nchunks:,} chunks have no file and are read as "
        f"{array.fill_value}; copy the store again if it should be complete"
    )
    return (note,)


def _zarr_scale(multiscale: dict[str, Any], dataset: dict[str, Any], n: int) -> list[float]:
    scale = np.ones(n)
    for place in (multiscale, dataset):
        for transform in place.get("coordinateTransformations", []):
            if transform["type"] == "scale":
                scale = scale * np.asarray(transform["scale"], float)
    return [float(s) for s in scale]
