"""Illumination of a microscope: what is gathered over many images, and the fields made of it.

Moments belong to whole frames and can be merged in any order without a trace of it:
thumbnails (means over the cells of a coarse grid) of every image for the retrospective
estimate, and for the statistics in log space sums of logarithms in units of 2**-20, which are
whole numbers. Fields are a TIFF of float32 with two pages: flat-field (mean 1) and dark-field
[counts], or mean and standard deviation of the decadic logarithm. Every plane of a 3-D stack
is an image of its own; NaN is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cytoloom.errors import BadData
from cytoloom.files import find, writing
from cytoloom.pixels import rounded

GRID = 64  # cells of a thumbnail along each axis, at most
LOG_UNIT = 2**20
LOG_LIMIT = 10  # decades: 80,000 images can be added up without an overflow
Plane = NDArray[Any]


class Method(StrEnum):
    """How an illumination field is estimated."""

    retrospective = "retrospective"
    logstats = "logstats"


class Type(StrEnum):
    """The type of corrected intensities: that of the image, or float32."""

    same = "same"
    float32 = "float32"


@dataclass(frozen=True)
class Moments:
    """What was gathered of some images of shape (y, x).

    Attributes
    ----------
    thumbnails : ndarray, shape (images, rows, columns), float64
        Method retrospective; NaN where a cell of the grid holds no number.
    count, total, squares : ndarray, shape (y, x), int64
        Method logstats: number of values, sum of their logarithms and of the squares of them.
    """

    method: Method
    shape: tuple[int, int]
    thumbnails: NDArray[np.float64] | None = None
    count: NDArray[np.int64] | None = None
    total: NDArray[np.int64] | None = None
    squares: NDArray[np.int64] | None = None


def edges_of(length: int) -> NDArray[np.int64]:
    """Return the edges of the cells of a thumbnail along an axis."""
    return np.rint(np.linspace(0, length, min(GRID, length) + 1)).astype(np.int64)


def thumbnail(plane: Plane) -> NDArray[np.float64]:
    """Return the mean of the pixels with a number in every cell of the grid."""
    rows, columns = (edges_of(n)[:-1] for n in plane.shape)
    finite = np.isfinite(plane)
    exact = plane.dtype.kind in "bui"
    values = plane if exact else np.where(finite, plane, 0)

    def summed(array: Plane, dtype: Any) -> Plane:
        down = np.add.reduceat(array, rows, axis=0, dtype=dtype)
        return np.asarray(np.add.reduceat(down, columns, axis=1, dtype=dtype))

    count = summed(finite, np.int64)
    total = summed(values, np.int64 if exact and plane.dtype.itemsize < 8 else np.float64)
    with np.errstate(invalid="ignore"):
        return np.asarray(total / np.where(count, count, np.nan), np.float64)


def logarithms(plane: Plane) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return decadic logarithms in units of 2**-20, and which of them count.

    Whole numbers below 1 count as logarithm 0. Floats at or below 0, and NaN, do not count.
    """
    if plane.dtype.kind in "bui":
        if plane.dtype.itemsize <= 2 and plane.dtype.kind != "i":
            table = np.arange(np.iinfo(plane.dtype).max + 1)
            whole = np.rint(np.log10(np.maximum(table, 1)) * LOG_UNIT).astype(np.int64)[plane]
        else:
            whole = np.rint(np.log10(np.maximum(plane, 1)) * LOG_UNIT).astype(np.int64)
        return whole, np.ones(plane.shape, bool)
    valid = np.isfinite(plane) & (plane > 0)
    logs = np.log10(np.where(valid, plane, 1).astype(np.float64))
    return np.rint(np.clip(logs, -LOG_LIMIT, LOG_LIMIT) * LOG_UNIT).astype(np.int64), valid


def gather(planes: Iterable[Plane], shape: tuple[int, int], method: Method) -> Moments:
    """Return the moments of images, taken one after the other."""
    if method is Method.retrospective:
        made = [thumbnail(plane) for plane in planes]
        return Moments(method, shape, thumbnails=np.array(made))
    count, total, squares = (np.zeros(shape, np.int64) for _ in range(3))
    for plane in planes:
        logs, valid = logarithms(plane)
        count += valid
        total += logs
        squares += logs * logs
    return Moments(method, shape, count=count, total=total, squares=squares)


def write_moments(path: Path | str, moments: Moments) -> None:
    """Write moments as Parquet, whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    about = {"method": moments.method.value, "shape": list(moments.shape)}
    if moments.thumbnails is not None:
        about["grid"] = list(moments.thumbnails.shape[1:])
        columns = {"thumbnail": moments.thumbnails.ravel()}
    else:
        assert moments.count is not None
        assert moments.total is not None
        assert moments.squares is not None
        arrays = (moments.count, moments.total, moments.squares)
        columns = dict(zip(("count", "total", "squares"), map(np.ravel, arrays), strict=True))
    table = pa.table(columns).replace_schema_metadata({"cytoloom": json.dumps(about)})
    with writing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", use_dictionary=False)


def read_moments(pattern: Path | str) -> Moments:
    """Read the moments of all parts, of all positions, and merge them.

    Raises
    ------
    InputMissing
        If nothing matches.
    BadData
        If the images differ in size, or a file holds no moments.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    found: Moments | None = None
    thumbnails: list[NDArray[np.float64]] = []
    for path in find(pattern, what="moments"):
        try:
            file = pq.ParquetFile(path)
            about = json.loads(file.schema_arrow.metadata[b"cytoloom"])
            method, shape = Method(about["method"]), (about["shape"][0], about["shape"][1])
        except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
            raise BadData(f"{path}: not moments of images ({error!r})") from error
        if found is None:
            zero = () if method is Method.retrospective else (np.zeros(shape, np.int64),) * 3
            found = Moments(method, shape, None, *(one.copy() for one in zero))
        if (method, shape) != (found.method, found.shape):
            raise BadData(
                f"images of {shape[0]} x {shape[1]} and of {found.shape[0]} x {found.shape[1]} "
                "pixels: one illumination field needs one size; take scope: position"
            )
        if method is Method.retrospective:
            values = file.read()["thumbnail"].to_numpy()
            thumbnails.append(values.reshape(-1, *about["grid"]))
            continue
        for name in ("count", "total", "squares"):
            getattr(found, name)[...] += file.read(columns=[name])[name].to_numpy().reshape(shape)
    assert found is not None
    if found.method is Method.logstats:
        return found
    return Moments(found.method, found.shape, thumbnails=np.concatenate(thumbnails))


def log_statistics(moments: Moments) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and standard deviation (n - 1) of the logarithms, shape (y, x) each.

    Where fewer than two values count, both are NaN.
    """
    mean, std = np.empty(moments.shape), np.empty(moments.shape)
    assert moments.count is not None
    assert moments.total is not None
    assert moments.squares is not None
    for top in range(0, moments.shape[0], 256):  # strips, to save memory
        rows = slice(top, top + 256)
        mean[rows], std[rows] = _log_statistics(
            moments.count[rows], moments.total[rows], moments.squares[rows]
        )
    return mean, std


def _log_statistics(
    count: NDArray[np.int64], total: NDArray[np.int64], squares: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    number = np.maximum(count, 1)
    whole = total // number
    rest = total - whole * number
    # exact up to the last term: a constant has no deviation at all
    deviations = (squares - number * whole * whole - 2 * rest * whole) - rest * (rest / number)
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = np.maximum(deviations, 0) / (number - 1)
    mean = (whole + rest / number) / LOG_UNIT
    enough = count > 1
    std = np.sqrt(np.where(enough, variance, np.nan)) / LOG_UNIT
    return np.where(enough, mean, np.nan), std


@dataclass(frozen=True)
class Fields:
    """Illumination fields, shape (y, x) each, float32.

    ``first`` and ``second`` are flat-field and dark-field, or mean and standard deviation of
    the decadic logarithm. ``images`` is from how many images they come; 0: not known.
    """

    method: Method
    first: NDArray[np.float32]
    second: NDArray[np.float32]
    images: int = 0

    def correct(self, image: Plane, y: slice, x: slice) -> NDArray[np.float64]:
        """Return an image (…, y, x) of a window of the field without its illumination.

        Flat-field: (image - dark) / flat. Logarithms: x' = (x - mean) / std * average std +
        average mean, as TissueMAPS does; pixels at or below 0 stay, and where nothing varies
        only the mean is corrected.
        """
        first, second = (field[y, x].astype(np.float64) for field in (self.first, self.second))
        if self.method is Method.retrospective:
            return np.asarray((image - second) / first)
        average = float(np.mean(self.second, dtype=np.float64))
        gain = np.where(second > 0, average / np.where(second > 0, second, 1), 1.0)
        centre = float(np.mean(self.first, dtype=np.float64))
        positive = image > 0
        logs = np.log10(np.where(positive, image, 1).astype(np.float64))
        with np.errstate(over="ignore"):
            return np.where(positive, 10 ** ((logs - first) * gain + centre), image)


def write_fields(path: Path | str, fields: Fields) -> None:
    """Write fields as a TIFF of two pages, whole or not at all."""
    import tifffile

    about = {"cytoloom": "illumination", "method": fields.method.value, "images": fields.images}
    with writing(path) as temporary:
        tifffile.imwrite(
            temporary,
            np.stack([fields.first, fields.second]),
            photometric="minisblack",
            metadata=None,
            description=json.dumps(about),
            compression="zlib",
        )


def read_fields(path: Path | str) -> Fields:
    """Read fields: those that Cytoloom wrote, or any TIFF of a flat-field (and a dark-field).

    Raises
    ------
    BadData
        If the file is no TIFF of one or two pages, or a flat-field is not above 0 everywhere.
    """
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            pages = np.squeeze(file.asarray())
            about = json.loads(_description(file))
    except FileNotFoundError:
        raise
    except (tifffile.TiffFileError, OSError, ValueError) as error:
        raise BadData(f"{path}: not a TIFF that can be read ({error})") from error
    pages = pages[np.newaxis] if pages.ndim == 2 else pages
    if pages.ndim != 3 or pages.shape[0] > 2:
        raise BadData(
            f"{path}: shape {pages.shape}; a flat-field is one page, with a dark-field two"
        )
    method = Method(about.get("method", "retrospective"))
    first = pages[0].astype(np.float64)
    second = pages[1] if len(pages) == 2 else np.zeros(first.shape)
    bad = not np.isfinite(first).all() or not np.isfinite(second).all()
    if bad or (method is Method.retrospective and (first <= 0).any()):
        raise BadData(f"{path}: a flat-field must be a number above 0 in every pixel")
    if method is Method.retrospective and "method" not in about:
        first /= first.mean()
    return Fields(
        method, first.astype(np.float32), second.astype(np.float32), int(about.get("images", 0))
    )


def _description(file: Any) -> str:
    """Return what Cytoloom wrote into a TIFF, or an empty mapping for other files."""
    text = file.pages[0].description or ""
    return text if text.startswith('{"cytoloom": "illumination"') else "{}"


def finished(values: NDArray[np.float64], dtype: np.dtype[Any], wanted: Type) -> NDArray[Any]:
    """Return corrected intensities in the type of the image, rounded and clipped, or float32."""
    return rounded(values, np.dtype(np.float32) if wanted is Type.float32 else dtype)
