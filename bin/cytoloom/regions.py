"""Regions: half-open boxes over the axes t, z, y, x, in frames and pixels of a layer.

A region names what one task writes. ``--halo`` widens what it reads, never what
it writes, and never in time. All methods return new regions; the text form
``t=0:50,z=0:1,y=0:1200,x=1200:2400`` is the one used on command lines, in store
attributes and in file names of the plan.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from cytoloom.errors import UsageError

AXES = ("t", "z", "y", "x")
Shape = tuple[int, int, int, int]
Span = tuple[int, int]
_TERM = re.compile(r"\s*([tzyx])\s*=\s*(\d+)\s*:\s*(\d+)\s*")


@dataclass(frozen=True, order=True)
class Region:
    """A box ``[start, stop)`` along each of t, z, y, x."""

    t: Span
    z: Span
    y: Span
    x: Span

    def __post_init__(self) -> None:
        for axis, (start, stop) in zip(AXES, self.spans, strict=True):
            if not 0 <= start <= stop:
                raise UsageError(f"region {self}: {axis}={start}:{stop} is not a range")

    @classmethod
    def whole(cls, shape: Sequence[int]) -> Region:
        """Return the region of a whole layer of shape (T, Z, Y, X)."""
        t, z, y, x = (int(n) for n in shape)
        return cls((0, t), (0, z), (0, y), (0, x))

    @classmethod
    def parse(cls, text: str | None, shape: Sequence[int]) -> Region:
        """Read the text form; an axis left out is whole.

        Raises
        ------
        UsageError
            If the text is not a region, or lies outside ``shape`` (T, Z, Y, X).
        """
        spans = dict(zip(AXES, cls.whole(shape).spans, strict=True))
        for term in (text or "").split(",") if text else []:
            match = _TERM.fullmatch(term)
            if match is None:
                raise UsageError(
                    f"region {text!r}: {term.strip()!r} is not of the form axis=start:stop "
                    "with an axis of t, z, y, x (for example t=0:50,y=0:1200)"
                )
            axis, start, stop = match[1], int(match[2]), int(match[3])
            if stop > spans[axis][1] or start >= stop:
                raise UsageError(
                    f"region {text!r}: {axis}={start}:{stop} does not lie in 0:{spans[axis][1]}"
                )
            spans[axis] = (start, stop)
        return cls(**spans)

    @property
    def spans(self) -> tuple[Span, Span, Span, Span]:
        """The four ranges in the order t, z, y, x."""
        return (self.t, self.z, self.y, self.x)

    @property
    def shape(self) -> Shape:
        """Length along t, z, y, x."""
        t, z, y, x = (stop - start for start, stop in self.spans)
        return (t, z, y, x)

    @property
    def size(self) -> int:
        """Number of voxels."""
        t, z, y, x = self.shape
        return t * z * y * x

    @property
    def slices(self) -> tuple[slice, slice, slice, slice]:
        """The region as an index into an array of axes tzyx of the whole layer."""
        t, z, y, x = (slice(start, stop) for start, stop in self.spans)
        return (t, z, y, x)

    @property
    def frames(self) -> range:
        """The frames of the region."""
        return range(*self.t)

    def widen(self, halo: int, shape: Sequence[int]) -> Region:
        """Return the region grown by ``halo`` pixels in y, x (and z of 3-D data), clipped."""
        grown = {}
        for axis, (start, stop), size in zip(AXES[1:], self.spans[1:], shape[1:], strict=True):
            grown[axis] = (max(0, start - halo), min(int(size), stop + halo))
        return Region(t=self.t, **grown)

    def within(self, outer: Region) -> tuple[slice, slice, slice, slice]:
        """Return this region as an index into an array that holds ``outer``."""
        t, z, y, x = (
            slice(start - origin, stop - origin)
            for (start, stop), (origin, _) in zip(self.spans, outer.spans, strict=True)
        )
        return (t, z, y, x)

    def intersect(self, other: Region) -> Region | None:
        """Return the common box, or None where there is none."""
        spans = [
            (max(a[0], b[0]), min(a[1], b[1])) for a, b in zip(self.spans, other.spans, strict=True)
        ]
        if any(start >= stop for start, stop in spans):
            return None
        return Region(*spans)

    def frame(self, t: int) -> Region:
        """Return the part of this region in frame ``t``."""
        return Region((t, t + 1), self.z, self.y, self.x)

    def __str__(self) -> str:
        return ",".join(
            f"{axis}={start}:{stop}" for axis, (start, stop) in zip(AXES, self.spans, strict=True)
        )


def bounding(regions: Sequence[Region]) -> Region:
    """Return the smallest region that holds all of ``regions``."""
    spans = []
    for axis in range(4):
        ranges = [region.spans[axis] for region in regions]
        spans.append((min(r[0] for r in ranges), max(r[1] for r in ranges)))
    return Region(*spans)


def cut(shape: Sequence[int], steps: Sequence[int]) -> Iterator[Region]:
    """Cut a layer of ``shape`` (T, Z, Y, X) into regions of at most ``steps`` along each axis.

    Regions come in raster order; the last ones along an axis may be smaller.
    """
    ranges = [
        [(start, min(start + step, size)) for start in range(0, size, step)]
        for size, step in zip(shape, steps, strict=True)
    ]
    for spans in product(*ranges):
        yield Region(*spans)
