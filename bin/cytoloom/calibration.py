"""Calibration as image files have it: units, pixel sizes, frame intervals, channel names.

A resolution in dots per inch is for printing and is not taken for a pixel size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cytoloom.sources import Acquisition

MICROMETRE = {  # of each unit of length
    "µm": 1.0, "μm": 1.0, "um": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0,
    "micrometre": 1.0, "\\u00b5m": 1.0, "nm": 1e-3, "nanometer": 1e-3, "mm": 1e3,
    "millimeter": 1e3, "cm": 1e4, "centimeter": 1e4, "inch": 25400.0, "m": 1e6, "meter": 1e6,
    "angstrom": 1e-4,
}  # fmt: skip
SECOND = {  # of each unit of time
    "s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3, "millisecond": 1e-3,
    "min": 60.0, "minute": 60.0, "minutes": 60.0, "h": 3600.0, "hour": 3600.0,
}  # fmt: skip


def tiff_channels(tiff: Any, scene: int = 0) -> list[str]:
    """Return the names of the channels, as far as the file tells."""
    if tiff.is_ome and tiff.ome_metadata:
        pixels = _ome_pixels(tiff, scene)
        found = [] if pixels is None else pixels.findall("{*}Channel")
        return [c.get("Name") or str(i) for i, c in enumerate(found)]
    labels = (tiff.imagej_metadata or {}).get("Labels") if tiff.is_imagej else None
    return [str(x) for x in labels] if labels else []


def _ome_pixels(tiff: Any, scene: int) -> Any:
    """Return the XML element of the pixels of one image of an OME-TIFF, or None."""
    from xml.etree import ElementTree as ET

    found = ET.fromstring(tiff.ome_metadata).findall(".//{*}Pixels")
    return found[scene] if scene < len(found) else None


def ome_acquisition(tiff: Any, scene: int, sizes: Mapping[str, int]) -> list[Acquisition]:
    """Return times and stage positions of the frames of each channel of an OME-TIFF.

    Empty where the file says nothing of them. Of a stack of planes the first counts.
    """
    pixels = _ome_pixels(tiff, scene) if tiff.is_ome and tiff.ome_metadata else None
    planes = [] if pixels is None else pixels.findall("{*}Plane")
    frames, channels = sizes.get("T", 1), sizes.get("C", 1)
    seconds = np.full((channels, frames), np.nan)
    stage = np.full((channels, frames, 3), np.nan)
    for plane in planes:
        t, c, z = (int(plane.get(f"The{axis}", 0)) for axis in "TCZ")
        if z or t >= frames or c >= channels:
            continue
        seconds[c, t] = _with_unit(plane, "DeltaT", SECOND, "s")
        stage[c, t] = [_with_unit(plane, f"Position{axis}", MICROMETRE, "µm") for axis in "ZYX"]
    if not np.isfinite(seconds).any() and not np.isfinite(stage).any():
        return []
    return [Acquisition(*one) for one in zip(seconds, stage, strict=True)]


def _with_unit(element: Any, name: str, units: Mapping[str, float], default: str) -> float:
    """Return an attribute of an XML element in our unit; NaN where it is absent or has no unit."""
    number = element.get(name)
    factor = units.get(str(element.get(f"{name}Unit", default)).lower())
    return float(number) * factor if number and factor else np.nan


def tiff_calibration(
    tiff: Any,
    scene: int = 0,
) -> tuple[tuple[float | None, float | None, float | None], float | None]:
    """Return the pixel size (z, y, x) [um] and the frame interval [s]; None where unknown."""
    if tiff.is_ome and tiff.ome_metadata:
        return _ome_calibration(_ome_pixels(tiff, scene))
    page = tiff.pages[0]
    imagej = tiff.imagej_metadata or {} if tiff.is_imagej else {}
    unit = str(imagej.get("unit", "")).lower()
    factor = MICROMETRE.get(unit)
    if factor is None and not imagej:
        factor = {2: 25400.0, 3: 10000.0}.get(page.tags.valueof("ResolutionUnit", 1))
        if factor == 25400.0:
            factor = None  # dots per inch for printing, not a measured pixel size
    y, x = (_pixel(page.tags.valueof(name), factor) for name in ("YResolution", "XResolution"))
    z = imagej.get("spacing")
    interval = imagej.get("finterval") or None
    return (float(z) * factor if z and factor else None, y, x), interval and float(interval)


def _pixel(resolution: Any, factor: float | None) -> float | None:
    if not resolution or factor is None:
        return None
    numerator, denominator = resolution
    return factor * denominator / numerator if numerator and denominator else None


def _ome_calibration(
    pixels: Any,
) -> tuple[tuple[float | None, float | None, float | None], float | None]:
    if pixels is None:
        return (None, None, None), None

    def value(name: str, units: dict[str, float], default: str) -> float | None:
        number = _with_unit(pixels, name, units, default)
        return number if number > 0 else None

    z, y, x = (value(f"PhysicalSize{a}", MICROMETRE, "µm") for a in "ZYX")
    return (z, y, x), value("TimeIncrement", SECOND, "s")
