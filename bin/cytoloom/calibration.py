"""Calibration as image files have it: units, pixel sizes, frame intervals, channel names.

A resolution in dots per inch is for printing and is not taken for a pixel size.
"""

from __future__ import annotations

from typing import Any

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


def tiff_channels(tiff: Any) -> list[str]:
    """Return the names of the channels, as far as the file tells."""
    if tiff.is_ome and tiff.ome_metadata:
        from xml.etree import ElementTree as ET

        root = ET.fromstring(tiff.ome_metadata)
        pixels = root.find(".//{*}Pixels")
        found = [] if pixels is None else pixels.findall("{*}Channel")
        return [c.get("Name") or str(i) for i, c in enumerate(found)]
    labels = (tiff.imagej_metadata or {}).get("Labels") if tiff.is_imagej else None
    return [str(x) for x in labels] if labels else []


def tiff_calibration(
    tiff: Any,
) -> tuple[tuple[float | None, float | None, float | None], float | None]:
    """Return the pixel size (z, y, x) [um] and the frame interval [s]; None where unknown."""
    if tiff.is_ome and tiff.ome_metadata:
        return _ome_calibration(tiff.ome_metadata)
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
    text: str,
) -> tuple[tuple[float | None, float | None, float | None], float | None]:
    from xml.etree import ElementTree as ET

    pixels = ET.fromstring(text).find(".//{*}Pixels")
    if pixels is None:
        return (None, None, None), None

    def value(name: str, units: dict[str, float], default: str) -> float | None:
        number = pixels.get(name)
        factor = units.get(pixels.get(f"{name}Unit", default).lower())
        return float(number) * factor if number and factor and float(number) > 0 else None

    z, y, x = (value(f"PhysicalSize{a}", MICROMETRE, "µm") for a in "ZYX")
    return (z, y, x), value("TimeIncrement", SECOND, "s")
