"""Selections: the part of a user's stack that a run works on, ``[start, stop, step]`` per axis.

A layer's frame or pixel ``i`` is the source's ``start + i * step``. ``None`` or -1 as stop
means the end. The text form ``t=0:100:2,y=0:512`` is used on command lines. Beside it
stands what becomes of the planes: all are kept, one is taken, or they are projected.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cytoloom.errors import BadData, UsageError
from cytoloom.regions import AXES, Region, Shape

PROJECTIONS = ("max", "min", "mean")
_TERM = re.compile(r"([tzyx])=(\d+):(\d+)(?::(\d+))?")


@dataclass(frozen=True)
class Selection:
    """For each of t, z, y, x a ``range`` of source coordinates.

    With ``projection`` (max, min or mean) the chosen planes become one.
    """

    ranges: tuple[range, range, range, range]
    projection: str | None = None

    @classmethod
    def of(cls, image_range: Mapping[str, Sequence[int | None]], shape: Shape) -> Selection:
        """Select from a source of ``shape`` (T, Z, Y, X) by ``axis: [start, stop, step]``.

        Raises
        ------
        BadData
            If nothing is selected along an axis.
        """
        ranges = []
        for axis, size in zip(AXES, shape, strict=True):
            start, stop, step = image_range.get(axis) or (0, None, 1)
            end = size if stop is None or stop == -1 else min(int(stop), size)
            chosen = range(int(start or 0), end, int(step or 1))
            if not chosen:
                raise BadData(
                    f"image_range.{axis}: [{start}, {stop}, {step}] selects nothing of {size}"
                )
            ranges.append(chosen)
        t, z, y, x = ranges
        return cls((t, z, y, x))

    @classmethod
    def parse(cls, text: str | None, shape: Shape) -> Selection:
        """Read the text form; an axis left out is whole."""
        given: dict[str, list[int | None]] = {}
        for term in text.split(",") if text else []:
            match = _TERM.fullmatch(term.strip())
            if match is None:
                raise UsageError(f"selection {text!r}: {term!r} is not axis=start:stop:step")
            given[match[1]] = [int(match[2]), int(match[3]), int(match[4] or 1)]
        return cls.of(given, shape)

    @property
    def shape(self) -> Shape:
        """Shape of the layer."""
        t, z, y, x = (len(r) for r in self.ranges)
        return (t, 1 if self.projection else z, y, x)

    def of_planes(self, z: str | int | None) -> Selection:
        """Return the selection with its planes kept (``all``), projected, or all but one left out.

        Parameters
        ----------
        z
            ``all`` (as None), ``max``, ``min``, ``mean``, or the index of a plane.

        Raises
        ------
        BadData
            If it is none of these, or there is no such plane.
        """
        text = "all" if z is None else str(z).strip().lower()
        if text == "all":
            return self
        if text in PROJECTIONS:
            return replace(self, projection=text)
        t, planes, y, x = self.ranges
        if not text.isdecimal():
            valid = ", ".join(PROJECTIONS)
            raise BadData(f"z: {z!r} is not the index of a plane, all, or one of {valid}")
        if int(text) not in planes:
            there = f"{planes.start} to {planes[-1]}" if len(planes) > 1 else f"only {planes.start}"
            raise BadData(f"z: there is no plane {text} (planes: {there})")
        return replace(self, ranges=(t, range(int(text), int(text) + 1), y, x))

    @property
    def steps(self) -> Shape:
        """Source steps per layer step along t, z, y, x."""
        t, z, y, x = (r.step for r in self.ranges)
        return (t, z, y, x)

    def source_region(self, region: Region) -> tuple[Region, tuple[slice, slice, slice, slice]]:
        """Return the box to read from the source, and the steps in it, for a layer region."""
        if self.projection:
            region = Region(region.t, (0, len(self.ranges[1])), region.y, region.x)
        spans, steps = [], []
        for (start, stop), chosen in zip(region.spans, self.ranges, strict=True):
            taken = chosen[start:stop]
            spans.append((taken[0], taken[-1] + 1))
            steps.append(slice(None, None, chosen.step))
        t, z, y, x = steps
        return Region(*spans), (t, z, y, x)

    def __str__(self) -> str:
        return ",".join(
            f"{a}={r.start}:{r.stop}:{r.step}" for a, r in zip(AXES, self.ranges, strict=True)
        )
