"""TIFF, OME-TIFF and ImageJ TIFF as sources, read region by region.

A stack whose third axis has no name is time. Truncated or empty files are found when the
file is opened, not in the middle of a run. Each image of an OME-TIFF is a scene. Its metadata
may lie in a file of their own (``.companion.ome``), which is read instead of what it stands for.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
from numpy.typing import NDArray

from cytoloom.calibration import ome_acquisition, tiff_calibration, tiff_channels
from cytoloom.errors import BadData
from cytoloom.regions import Region
from cytoloom.sources import Scene, Source, choose_scene

COMPANION = ".companion.ome"
_SIGNS_OF_LOSS = (
    "invalid page offset", "circular reference", "corrupted", "invalid value offset",
    "missing data offset",
)  # fmt: skip


def open_tiff(path: Path, axes: str | None, scene: int | None = None) -> Source:
    """Open one image of a TIFF, by default the first; see `cytoloom.sources.open_source`."""
    import tifffile

    try:
        pixels, xml = _metadata_apart(path)
        with _listening(path) as said, tifffile.TiffFile(pixels, omexml=xml) as tiff:
            if not tiff.series:
                raise BadData(f"{path}: a TIFF without images")
            own = _own_scene(pixels, tiff) if scene is None else scene
            chosen = choose_scene(path, _scene_names(tiff), own)
            series = tiff.series[chosen.number]
            declared = (axes or series.axes).upper()
            if len(declared) != len(series.shape):
                raise BadData(
                    f"{path}: axes {declared!r} for an image of shape {tuple(series.shape)}"
                )
            _check_complete(path, series)
            sizes = dict(zip(_name_axes(path, declared), series.shape, strict=True))
            pixel_size, interval = tiff_calibration(tiff, chosen.number)
            names = tiff_channels(tiff, chosen.number)
            files = _files_of(path, series)
            if xml is not None:
                files = tuple(dict.fromkeys((*files, pixels, *_described(path))))
            acquisitions = ome_acquisition(tiff, chosen.number, sizes)
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

        with tifffile.imread(
            pixels, aszarr=True, series=chosen.number, level=0, omexml=xml
        ) as store:
            array = zarr.open_array(store, mode="r")
            samples = sizes.get("S", 1)
            index: dict[str, Any] = dict(zip("TZYX", region.slices, strict=True))
            index |= {"C": channel // samples, "S": channel % samples}
            data = np.asarray(array[tuple(index[a] for a in order)])
        kept = [a for a in order if a in "TZYX"]
        data = data.transpose([kept.index(a) for a in "TZYX" if a in kept])
        return data.reshape(region.shape)

    return Source(
        files=files,
        format="TIFF",
        shape=(sizes.get("T", 1), sizes.get("Z", 1), sizes["Y"], sizes["X"]),
        dtype=dtype,
        channels=tuple(channels),
        pixel_size=pixel_size,
        frame_interval=interval or (acquisitions[0].interval() if acquisitions else None),
        _read=read,
        notes=tuple(f"{path}: {text}" for text in said[:3]),
        scene=chosen,
        acquired=(lambda channel: acquisitions[min(channel, len(acquisitions) - 1)])
        if acquisitions
        else None,
    )


def scenes(path: Path) -> list[Scene]:
    """Return the images of an OME-TIFF; a single one without a name of another TIFF.

    Of a set of files, an image is found in the file that holds it and no other one: whichever
    file of the set is given, it is the same.
    """
    import tifffile

    try:
        pixels, xml = _metadata_apart(path)
        with _listening(path), tifffile.TiffFile(pixels, omexml=xml) as tiff:
            names = _scene_names(tiff)
            holders = [_holder(series) for series in tiff.series[: len(names)]]
    except BadData:
        raise
    except OSError as error:
        raise BadData(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:
        raise BadData(f"{path}: not a TIFF, or a damaged or truncated one ({error})") from error
    apart = len(set(holders)) == len(names) > 1
    return [
        Scene(str(holder), i, None, name) if apart and holder else Scene(str(path), i, i, name)
        for i, (name, holder) in enumerate(zip(names, holders or [None], strict=True))
    ]


def _holder(series: Any) -> Path | None:
    """Return the file that holds the first page of an image."""
    page = next((page for page in series.pages if page is not None), None)
    return None if page is None else Path(page.parent.filehandle.path)


def _metadata_apart(path: Path) -> tuple[Path, str | None]:
    """Return the file that holds pixels, and the OME-XML where it lies in another file.

    Raises
    ------
    BadData
        If that file is not there.
    """
    import tifffile

    if path.name.lower().endswith(COMPANION):
        text = path.read_text(encoding="utf-8-sig")
        named = ET.fromstring(text).find(".//{*}TiffData/{*}UUID")
        file = path.with_name(Path(named.get("FileName", "") if named is not None else "").name)
        if file == path.parent or not file.is_file():
            raise BadData(f"{path}: the TIFF {file.name} that it describes is not beside it")
        return file, text
    with _listening(path), tifffile.TiffFile(path) as tiff:
        own = tiff.ome_metadata if tiff.is_ome else None
    found = ET.fromstring(own).find("{*}BinaryOnly") if own and "BinaryOnly" in own else None
    if found is None:
        return path, None
    other = path.with_name(Path(found.get("MetadataFile", "")).name)
    if other in (path, path.parent) or not other.is_file():
        raise BadData(
            f"{path}: its metadata are in {other.name}, which is not beside it: copy that file too"
        )
    if other.name.lower().endswith(COMPANION):
        return path, other.read_text(encoding="utf-8-sig")
    with _listening(other), tifffile.TiffFile(other) as tiff:
        return path, tiff.ome_metadata


def _own_scene(path: Path, tiff: Any) -> int:
    """Return the first image with pixels in this file: an OME-TIFF may be spread over several."""
    for number, series in enumerate(tiff.series):
        parents = {page.parent.filehandle.path for page in series.pages if page is not None}
        if any(Path(parent).resolve() == path.resolve() for parent in parents):
            return number
    return 0


def _scene_names(tiff: Any) -> list[str | None]:
    if not tiff.is_ome or not tiff.series:
        return [None]
    return [series.name or None for series in tiff.series]


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


def _files_of(path: Path, series: Any) -> tuple[Path, ...]:
    """Return the files that hold the pages of an image: an OME-TIFF may be spread over several."""
    found = {Path(page.parent.filehandle.path) for page in series.pages if page is not None}
    others = sorted(file for file in found if file.resolve() != path.resolve())
    return (path, *others)


def _described(path: Path) -> list[Path]:
    """Return the files beside an image that may hold its metadata: a change in them counts."""
    return sorted(path.parent.glob(f"*{COMPANION}"))


def _check_complete(path: Path, series: Any) -> None:
    """Raise BadData where the file ends before the pixels that its headers promise."""
    for number, page in enumerate(series.pages):
        if page is None:
            raise BadData(f"{path}: page {number} is missing (truncated file?)")
        size = page.parent.filehandle.size  # an OME-TIFF may be spread over several files
        ends = [o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=False)]
        if ends and max(ends) > size:
            raise BadData(
                f"{path}: truncated: page {number} ends at byte {max(ends):,} "
                f"but the file has {size:,}; copy it again"
            )
